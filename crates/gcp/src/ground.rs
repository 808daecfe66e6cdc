//! The ground of one composition: what one capability of this cloud makes and another takes.
//!
//! Each part is a [`Value`]: given by the manifest, or from the node that makes it. A kind takes it
//! as an input, so that it depends on that node; no kind reads an id from the specification. On
//! Google Cloud ids are names: whoever declares a node publishes its name at once, so that it is
//! known before the thing is there.

use std::collections::BTreeMap;

use deployer_core::graph::{Inputs, Value};

use crate::spec::GcpSpec;

/// A VPC network: its name, or its full one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkName(pub(crate) String);

/// A subnetwork: its name, or its full one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubnetworkName(pub(crate) String);

/// A connector of Serverless VPC Access: its name, or its full one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectorName(pub(crate) String);

/// A service account, by its e-mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccount(pub(crate) String);

/// What the capabilities of one composition hand each other.
pub(crate) struct Ground {
    /// Through which services and jobs reach the VPC, and where databases and caches are that have
    /// no network of their own.
    pub(crate) network: Network,
    /// What a service and its jobs run as, by the service's key. None of those for which nobody
    /// names an account.
    accounts: BTreeMap<String, Value<ServiceAccount>>,
    /// The network of each database that has one of its own, by the database's key.
    of_databases: BTreeMap<String, Value<NetworkName>>,
    /// The network of each cache that has one of its own, by the cache's key.
    of_caches: BTreeMap<String, Value<NetworkName>>,
}

impl Ground {
    /// What the manifest gives of it, for services of these keys.
    pub(crate) fn given<'a>(section: &GcpSpec, services: impl Iterator<Item = &'a String>) -> Self {
        let accounts = services.filter_map(|key| {
            let account = ServiceAccount(section.account_of(key)?.clone());
            Some((key.clone(), Value::Given(account)))
        });
        let network = |name: &String| Value::Given(NetworkName(name.clone()));
        let own =
            |(key, name): (&String, &Option<String>)| Some((key.clone(), network(name.as_ref()?)));
        let databases = section.databases.iter().map(|(key, it)| (key, &it.network));
        let caches = section.caches.iter().map(|(key, it)| (key, &it.network));
        let subnetwork = |name: &String| Value::Given(SubnetworkName(name.clone()));
        let connector = |name: &String| Value::Given(ConnectorName(name.clone()));
        Self {
            network: Network {
                connector: section.vpc_connector.as_ref().map(connector),
                network: section.network.as_ref().map(network),
                subnetwork: section.subnetwork.as_ref().map(subnetwork),
            },
            accounts: accounts.collect(),
            of_databases: databases.filter_map(own).collect(),
            of_caches: caches.filter_map(own).collect(),
        }
    }

    /// What the service of this key and its jobs run as. `None` where nobody names an account.
    pub(crate) fn account_of(&self, service: &str) -> Option<&Value<ServiceAccount>> {
        self.accounts.get(service)
    }

    /// Where the database of this key is.
    pub(crate) fn of_database(&self, key: &str) -> Place<'_> {
        self.place(self.of_databases.get(key))
    }

    /// Where the cache of this key is.
    pub(crate) fn of_cache(&self, key: &str) -> Place<'_> {
        self.place(self.of_caches.get(key))
    }

    fn place<'a>(&'a self, own: Option<&'a Value<NetworkName>>) -> Place<'a> {
        Place {
            network: own.or(self.network.network.as_ref()),
            is_own: own.is_some(),
        }
    }
}

/// Through which services and jobs reach the VPC.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) connector: Option<Value<ConnectorName>>,
    /// Of direct egress.
    pub(crate) network: Option<Value<NetworkName>>,
    /// Of direct egress.
    pub(crate) subnetwork: Option<Value<SubnetworkName>>,
}

impl Network {
    /// As inputs of a node.
    pub(crate) fn taken(&self, inputs: &mut Inputs) -> Self {
        Self {
            connector: self.connector.as_ref().map(|it| inputs.pass(it)),
            network: self.network.as_ref().map(|it| inputs.pass(it)),
            subnetwork: self.subnetwork.as_ref().map(|it| inputs.pass(it)),
        }
    }

    /// Whether it asks for direct egress.
    pub(crate) fn is_direct(&self) -> bool {
        self.network.is_some() || self.subnetwork.is_some()
    }
}

/// Where a database or cache is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// `None` where neither the manifest's part for it nor the target names one.
    pub(crate) network: Option<&'a Value<NetworkName>>,
    /// Whether it is named for this very one. The target's network is the services' way in, and
    /// says nothing of what was somebody's.
    pub(crate) is_own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{GcpCache, GcpDatabase, GcpService};

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn name(place: Place<'_>) -> (Option<String>, bool) {
        let known = place.network.and_then(Value::known);
        (known.map(|it| it.0), place.is_own)
    }

    #[test]
    fn a_network_of_its_own_wins_over_the_targets() {
        let own = GcpDatabase {
            network: text("data"),
            ..GcpDatabase::default()
        };
        let spec = GcpSpec {
            network: text("main"),
            databases: [("main".to_owned(), own)].into(),
            caches: [("sessions".to_owned(), GcpCache::default())].into(),
            ..GcpSpec::default()
        };
        let ground = Ground::given(&spec, [].into_iter());
        assert_eq!(name(ground.of_database("main")), (text("data"), true));
        assert_eq!(name(ground.of_database("other")), (text("main"), false));
        assert_eq!(name(ground.of_cache("sessions")), (text("main"), false));
        assert!(ground.network.is_direct());
    }

    #[test]
    fn a_service_runs_as_its_own_account_else_as_the_targets() {
        let own = GcpService {
            service_account: text("api@p.iam.gserviceaccount.com"),
            ..GcpService::default()
        };
        let mut spec = GcpSpec {
            services: [("api".to_owned(), own)].into(),
            ..GcpSpec::default()
        };
        let keys = ["api".to_owned(), "web".to_owned()];
        let account = |spec: &GcpSpec, key: &str| {
            let ground = Ground::given(spec, keys.iter());
            let known = ground.account_of(key).and_then(Value::known);
            known.map(|it| it.0)
        };
        assert_eq!(account(&spec, "web"), None);
        spec.service_account = text("app@p.iam.gserviceaccount.com");
        assert_eq!(account(&spec, "web"), spec.service_account);
        assert_eq!(account(&spec, "api"), spec.services["api"].service_account);
    }
}
