//! ElastiCache for Redis: subnet group and replication group.

pub(crate) mod calls;
mod judgement;
mod modify;
pub(crate) mod replication_group;
mod shape;
mod status;
pub(crate) mod subnet_group;

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::capability::{
    Cache, CacheOutputs, Caches, PasswordRule, SecretVersion, StoreStatus,
};
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{Declared, seen};
use deployer_core::spec::CacheSpec;

use crate::spec::CacheTls;

use crate::Aws;
use crate::composition::Composition;
use crate::database::makes_groups;
use crate::tags;

use replication_group::{REPLICATION_GROUP, ReplicationGroup};
use subnet_group::SubnetGroup;

/// `AuthToken` of CreateReplicationGroup, in the ElastiCache API reference.
static TOKEN: PasswordRule = PasswordRule {
    shortest: 16,
    longest: 128,
    takes: |c| c.is_ascii_alphanumeric() || "!&#$^<>-".contains(c),
    says: "ElastiCache takes 16 to 128 letters, digits and `!&#$^<>-`",
};

impl Cache for Composition<'_> {
    fn cache(
        &self,
        graph: &mut Graph,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs {
        let (clients, env) = (&self.clients, self.env);
        let settings = clients.section.caches.get(&cache.key);
        let own = settings.map(|own| (&own.subnets, &own.security_groups));
        let network = self.ground.network.of_store(own, cache.adopt);
        let address = clients.address(REPLICATION_GROUP, &cache.name);
        let makes_groups = makes_groups(cache.adopt, &graph.past(&address));
        let subnet_group = makes_groups.then(|| {
            let declared = Declared {
                site: clients,
                name: &cache.name,
                env,
                adopt: cache.adopt,
            };
            graph.declare(declared, |inputs| SubnetGroup {
                subnets: inputs.pass(&network.subnets),
            })
        });

        let ours = tags::ownership(env, cache.adopt, &graph.past(&address));
        let url = Output::of(&address);
        let secret = cache.token.as_ref().and_then(|key| env.secrets.get(key));
        let token = token.expect("on AWS a cache's token is a secret of the environment");
        let tls = settings.and_then(|own| own.tls);
        let usual = match cache.adopt {
            true => CacheTls::Preferred,
            false => CacheTls::Required,
        };
        graph.resource(|inputs| ReplicationGroup {
            clients: Arc::clone(clients),
            address,
            ownership: ours,
            spec: cache.clone(),
            security_groups: inputs.pass(&network.security_groups),
            subnet_group: match &subnet_group {
                Some(made) => inputs.take(made),
                None => Value::Given(String::new()),
            },
            is_to_be_there: !makes_groups,
            tls: tls.unwrap_or(usual),
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
}

#[async_trait]
impl Caches for Aws {
    fn token_rule(&self) -> Option<&'static PasswordRule> {
        Some(&TOKEN)
    }

    async fn status(&self, cache: &CacheSpec) -> Result<Option<StoreStatus>> {
        let (clients, name) = (&self.clients, &cache.name);
        let what = calls::called(name);
        let Some(group) = seen(calls::describe(clients, name).await?, &what)? else {
            return Ok(None);
        };
        let member = calls::member(clients, name, &group).await?;
        Ok(Some(status::of(&group, seen(member, &what)?.as_ref())))
    }
}
