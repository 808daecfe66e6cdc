//! Makes networks that a manifest can name out of what uses them. Performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::capability::Network;
use google_cloud_run_v2::model::Service;

use super::of_services;
use crate::paths::{Names, short};

/// How many are offered.
const MOST: usize = 9;

/// Ways into networks.
#[derive(Default)]
pub(super) struct Ways<'a> {
    /// Network and subnetwork of services' direct egress; Cloud Run tells at least one of them.
    of_services: BTreeMap<(String, String), BTreeSet<&'a str>>,
    of_data: BTreeMap<String, String>,
}

impl<'a> Ways<'a> {
    /// The direct egress of services.
    pub(super) fn of(names: &Names, services: &'a [Service]) -> Self {
        let mut ways = Self::default();
        let near = |name: &str, full: String| match name.is_empty() {
            true => String::new(),
            false => names.nearby(full),
        };
        for service in services {
            let template = service.template.as_ref();
            let access = template.and_then(|template| template.vpc_access.as_ref());
            for way in access.iter().flat_map(|access| &access.network_interfaces) {
                let network = near(&way.network, names.network(&way.network));
                let subnetwork = near(&way.subnetwork, names.subnetwork(&way.subnetwork));
                let by = ways.of_services.entry((network, subnetwork)).or_default();
                by.insert(short(&service.name));
            }
        }
        ways
    }

    /// Adds the network of data.
    pub(super) fn note_data(&mut self, network: String, seen: String) {
        if !network.is_empty() {
            self.of_data.entry(network).or_insert(seen);
        }
    }

    /// Those of most services first; then networks where only data is.
    pub(super) fn networks(self) -> Vec<Network> {
        let mut ranked: Vec<_> = self.of_services.into_iter().collect();
        ranked.sort_by_key(|(_, by)| std::cmp::Reverse(by.len()));
        let text = |text: String| (!text.is_empty()).then_some(text);
        let mut networks: Vec<Network> = ranked
            .into_iter()
            .map(|((network, subnetwork), by)| Network {
                name: text(network),
                seen: of_services(&by),
                runs_services: true,
                subnets: text(subnetwork).into_iter().collect(),
                ..Network::default()
            })
            .collect();
        for (network, seen) in self.of_data {
            let known = networks.iter().any(|it| it.name.as_ref() == Some(&network));
            if !known {
                networks.push(Network {
                    name: Some(network),
                    seen,
                    ..Network::default()
                });
            }
        }
        networks.truncate(MOST);
        networks
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::vpc_access::NetworkInterface;
    use google_cloud_run_v2::model::{RevisionTemplate, VpcAccess};

    use super::super::identities;
    use super::*;
    use crate::paths::test_names;
    use deployer_core::capability::Candidate;

    fn service(name: &str, account: &str, network: &str, subnetwork: &str) -> Service {
        let way = NetworkInterface::new()
            .set_network(network)
            .set_subnetwork(subnetwork);
        let access = VpcAccess::new().set_network_interfaces([way]);
        let template = RevisionTemplate::new()
            .set_service_account(account)
            .set_vpc_access(access);
        Service::new()
            .set_name(format!(
                "projects/demo-project/locations/europe-west1/services/{name}"
            ))
            .set_template(template)
    }

    #[test]
    fn what_most_services_have_comes_first_and_what_is_near_has_its_short_name() {
        let near = "projects/demo-project/global/networks/main";
        let far = "projects/host/global/networks/shared";
        let services = [
            service("a", "x@demo-project.iam.gserviceaccount.com", far, ""),
            service("b", "y@demo-project.iam.gserviceaccount.com", near, "inner"),
            service(
                "c",
                "y@demo-project.iam.gserviceaccount.com",
                "main",
                "inner",
            ),
        ];
        let accounts = identities(&services);
        assert_eq!(
            accounts[0],
            Candidate::new("y@demo-project.iam.gserviceaccount.com", "of 2 services")
        );
        let names = test_names();
        let mut ways = Ways::of(&names, &services);
        ways.note_data("main".into(), "of database main".into());
        ways.note_data("data".into(), "of cache sessions".into());
        let networks = ways.networks();
        let told: Vec<_> = networks
            .iter()
            .map(|it| (it.name.as_deref(), it.subnets.clone(), it.seen.as_str()))
            .collect();
        let wanted = [
            (Some("main"), vec!["inner".to_owned()], "of 2 services"),
            (Some(far), vec![], "of service a"),
            (Some("data"), vec![], "of cache sessions"),
        ];
        assert_eq!(told, wanted);
    }
}
