//! ElastiCache for Redis: subnet group and replication group.

pub(crate) mod group_calls;
mod group_fields;
mod judgement;
mod modify;
pub(crate) mod replication_group;
mod status;
pub(crate) mod subnet_group;
mod tagging;

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Cache, CacheOutputs, PasswordRule, SecretVersion, StoreStatus};
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::spec::{CacheSpec, EnvironmentSpec};

use crate::Aws;
use crate::database::Place;
use crate::reading::seen;
use crate::tags::Ownership;

use replication_group::{REPLICATION_GROUP, ReplicationGroup};
use subnet_group::{SUBNET_GROUP, SubnetGroup};

/// `AuthToken` of CreateReplicationGroup, in the ElastiCache API reference.
static TOKEN: PasswordRule = PasswordRule {
    shortest: 16,
    longest: 128,
    takes: |c| c.is_ascii_alphanumeric() || "!&#$^<>-".contains(c),
    says: "ElastiCache takes 16 to 128 letters, digits and `!&#$^<>-`",
};

#[async_trait]
impl Cache for Aws {
    fn cache(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs {
        let clients = &self.clients;
        let settings = clients.section.caches.get(&cache.key);
        let own = settings.map(|own| (&own.subnets, &own.security_groups));
        let place = Place::of(self, own, cache.adopt);
        let ownership = |graph: &Graph, address: &Address| {
            Ownership::new(env, cache.adopt, &graph.past(address))
        };

        let address = clients.address(SUBNET_GROUP, &cache.name);
        let ours = ownership(graph, &address);
        let subnet_group = Output::of(&address);
        graph.resource(|_| SubnetGroup {
            clients: Arc::clone(clients),
            address,
            ownership: ours,
            subnets: place.subnets,
            output: subnet_group.clone(),
        });

        let address = clients.address(REPLICATION_GROUP, &cache.name);
        let ours = ownership(graph, &address);
        let url = Output::of(&address);
        let secret = cache.token.as_ref().and_then(|key| env.secrets.get(key));
        let token = token.expect("on AWS a cache's token is a secret of the environment");
        graph.resource(|inputs| ReplicationGroup {
            clients: Arc::clone(clients),
            address,
            ownership: ours,
            spec: cache.clone(),
            security_groups: place.security_groups,
            subnet_group: inputs.take(&subnet_group),
            token: inputs.pass(token),
            secret: secret.map_or_else(String::new, |secret| secret.name.clone()),
            url: url.clone(),
            left: std::sync::Mutex::default(),
        });
        // Amazon's own authorities sign the servers' certificates; every system trusts them.
        CacheOutputs {
            url,
            authority: None,
        }
    }

    fn token_rule(&self) -> Option<&'static PasswordRule> {
        Some(&TOKEN)
    }

    async fn status(&self, cache: &CacheSpec) -> Result<Option<StoreStatus>> {
        let (clients, name) = (&self.clients, &cache.name);
        let what = group_calls::called(name);
        let Some(group) = seen(group_calls::describe(clients, name).await?, &what)? else {
            return Ok(None);
        };
        let member = group_calls::member(clients, name, &group).await?;
        Ok(Some(status::of(&group, seen(member, &what)?.as_ref())))
    }
}
