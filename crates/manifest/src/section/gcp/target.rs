//! What of Google Cloud's section every target has.

use std::collections::BTreeMap;

use deployer_core::catalogue::{Catalogue, Runtime};
use deployer_core::spec::{LeadsTo, RecordSpec};
use deployer_gcp::catalogue::{CATALOGUE, CLOUD_RUN};
use serde_json::Value;

use super::GcpSection;
use crate::called::Called;
use crate::names::Named;
use crate::names::canonical;
use crate::section::{
    LedgerPlace, OwnInstance, OwnService, SecretOverride, Section, ServiceNames, beside_default,
};

impl Section for GcpSection {
    fn catalogue(&self) -> &'static Catalogue {
        &CATALOGUE
    }

    fn account(&self) -> &str {
        &self.project
    }

    fn region(&self) -> &str {
        &self.region
    }

    fn ledger(&self) -> LedgerPlace<'_> {
        LedgerPlace {
            address: self.ledger.as_deref(),
            region: &self.region,
            owner: None,
        }
    }

    fn endpoints(&self) -> [(&'static str, Option<&str>); 2] {
        [
            ("endpoint", self.endpoint.as_deref()),
            ("registry_endpoint", self.registry_endpoint.as_deref()),
        ]
    }

    fn tables(&self) -> [(&'static str, Vec<&String>); 4] {
        [
            ("services", self.services.keys().collect()),
            ("secrets", self.secrets.keys().collect()),
            ("databases", self.databases.keys().collect()),
            ("caches", self.caches.keys().collect()),
        ]
    }

    fn secrets(&self) -> &BTreeMap<String, SecretOverride> {
        &self.secrets
    }

    fn service(&self, key: &str) -> OwnService {
        let own = self.services.get(key).cloned().unwrap_or_default();
        OwnService {
            architecture: own.architecture,
            cpu: own.cpu,
            memory: own.memory,
            replicas: own.replicas,
            env: own.env,
            url: own.url,
            adopt: own.adopt,
        }
    }

    fn service_said(&self, key: &str) -> Value {
        beside_default(self.services.get(key))
    }

    fn database(&self, key: &str) -> OwnInstance<'_> {
        let own = self.databases.get(key);
        own.map_or_else(OwnInstance::default, |own| OwnInstance {
            name: own.name.as_deref(),
            size: own.tier.as_deref(),
            adopt: own.adopt,
        })
    }

    fn cache(&self, key: &str) -> OwnInstance<'_> {
        let own = self.caches.get(key);
        own.map_or_else(OwnInstance::default, |own| OwnInstance {
            name: own.name.as_deref(),
            size: None,
            adopt: own.adopt,
        })
    }

    fn record(&self, key: &str) -> Option<RecordSpec> {
        let dns = self.services.get(key)?.dns.as_ref()?;
        let zone = dns.zone.trim_end_matches('.');
        Some(RecordSpec {
            name: canonical(&dns.name),
            zone: match &dns.project {
                Some(project) => format!("{project}/{zone}"),
                None => zone.to_owned(),
            },
            leads_to: LeadsTo::Address(dns.address),
            servers: dns.servers.clone(),
            adopt: dns.adopt,
        })
    }

    fn domains(&self, _key: &str) -> Vec<String> {
        Vec::new()
    }

    fn runtime(&self, _key: &str) -> &'static Runtime {
        &CLOUD_RUN
    }

    fn service_names(&self, app: &str, environment: &str, called: Called<'_>) -> ServiceNames {
        let names = self.names(app, environment, called);
        ServiceNames {
            job: names.job,
            service: names.service,
            repository: format!("{}/{}", names.repository, names.image),
        }
    }

    fn named(&self, app: &str, environment: &str, called: Called<'_>) -> Vec<Named> {
        self.checked_names(app, environment, called)
    }
}
