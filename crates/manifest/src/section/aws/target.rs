//! What of AWS's section every target has.

use std::collections::BTreeMap;

use deployer_aws::catalogue::{APP_RUNNER, CATALOGUE, FARGATE};
use deployer_core::catalogue::{Catalogue, Runtime};
use deployer_core::spec::{LeadsTo, RecordSpec};
use serde_json::Value;

use super::{AwsRuntime, AwsSection};
use crate::called::Called;
use crate::names::Named;
use crate::names::canonical;
use crate::section::{
    LedgerPlace, OwnInstance, OwnService, SecretOverride, Section, ServiceNames, beside_default,
};

impl Section for AwsSection {
    fn catalogue(&self) -> &'static Catalogue {
        &CATALOGUE
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn region(&self) -> &str {
        &self.region
    }

    /// The usual name of a bucket is one that anybody can make in an account of theirs first: "We
    /// recommend using the bucket owner condition whenever you perform a supported S3 operation and
    /// know the account ID of the expected bucket owner" (S3 user guide, "Verifying bucket
    /// ownership with bucket owner condition").
    fn ledger(&self) -> LedgerPlace<'_> {
        let usual = match self.ledger {
            Some(_) => None,
            None => Some(self.account.as_str()),
        };
        LedgerPlace {
            address: self.ledger.as_deref(),
            region: self.ledger_region.as_deref().unwrap_or(&self.region),
            owner: self.ledger_owner.as_deref().or(usual),
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
            size: own.class.as_deref(),
            adopt: own.adopt,
        })
    }

    fn cache(&self, key: &str) -> OwnInstance<'_> {
        let own = self.caches.get(key);
        own.map_or_else(OwnInstance::default, |own| OwnInstance {
            name: own.name.as_deref(),
            size: own.class.as_deref(),
            adopt: own.adopt,
        })
    }

    fn record(&self, key: &str) -> Option<RecordSpec> {
        let dns = self.services.get(key)?.dns.as_ref()?;
        Some(RecordSpec {
            name: canonical(&dns.name),
            zone: dns.zone.trim_end_matches('.').to_owned(),
            leads_to: LeadsTo::LoadBalancer(dns.load_balancer.clone()),
            servers: dns.servers.clone(),
            adopt: dns.adopt,
        })
    }

    fn domains(&self, key: &str) -> Vec<String> {
        self.answered_by(key)
    }

    fn runtime(&self, key: &str) -> &'static Runtime {
        match self.runtime_of(key) {
            AwsRuntime::Ecs => &FARGATE,
            AwsRuntime::AppRunner => &APP_RUNNER,
        }
    }

    fn service_names(&self, app: &str, environment: &str, called: Called<'_>) -> ServiceNames {
        let names = self.names(app, environment, called);
        ServiceNames {
            job: format!("{}-migrate", names.service),
            service: names.service,
            repository: names.repository,
        }
    }

    fn named(&self, app: &str, environment: &str, called: Called<'_>) -> Vec<Named> {
        self.checked_names(app, environment, called)
    }
}
