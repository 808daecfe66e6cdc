//! Redis on Memorystore: an instance whose token and authority Google makes, and the URL that they
//! make together.

mod calls;
mod instance;
mod shape;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Cache, CacheOutputs, Caches, SecretVersion, StoreStatus};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::spec::CacheSpec;

use crate::Gcp;
use crate::composition::Composition;
use crate::labels;
use crate::site::prelude::*;
use calls::Calls;
use shape::Shape;

pub(crate) use instance::Instance;

/// The kind in addresses.
pub(crate) const KIND: &str = Instance::KIND;

impl Cache for Composition<'_> {
    fn cache(
        &self,
        graph: &mut Graph,
        cache: &CacheSpec,
        _token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs {
        let env = self.env;
        let place = self.ground.of_cache(&cache.key);
        let names = self.project.names.clone();
        let address = Address::new(&self.project.target, KIND, &cache.name);
        let ownership = labels::ownership(env, cache.adopt, &graph.past(&address));
        let url = Output::of(&address);
        let authority = Output::of(&address);
        graph.resource(|inputs| Instance {
            calls: Calls::new(&self.project, &cache.name),
            address,
            shape: Shape {
                spec: cache.clone(),
                has_own_network: place.is_own,
                network: place.network.map(|network| inputs.pass(network)),
                ownership,
                names,
            },
            seen: Mutex::default(),
            url: url.clone(),
            authority: authority.clone(),
        });
        CacheOutputs {
            url,
            authority: Some(authority),
        }
    }
}

#[async_trait]
impl Caches for Gcp {
    async fn status(&self, cache: &CacheSpec) -> Result<Option<StoreStatus>> {
        let calls = Calls::new(&self.project, &cache.name);
        let instance = calls.find().await?.seen(&calls.cannot("read"))?;
        Ok(instance.map(|instance| status::of(&instance)))
    }
}
