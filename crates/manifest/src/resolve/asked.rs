//! Resolves a service's name in the DNS and what is asked of it once it serves.

use deployer_core::address::CloudName;
use deployer_core::spec::{HttpCheck, LeadsTo, RecordSpec, TokenCheck, VerifySpec};

use super::Resolver;
use super::clouds::domains;
use crate::interpolate::Scope;
use crate::model::{Check, Service, TokenRequest};
use crate::source::KeyPath;

/// A name as the DNS compares it: lower case, without the last dot.
pub(crate) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

impl Resolver<'_> {
    pub(super) fn record(&self, key: &str) -> Option<RecordSpec> {
        let targets = &self.manifest.targets;
        match self.cloud {
            CloudName::Aws => {
                let service = targets.aws.as_ref()?.services.get(key)?;
                let dns = service.dns.as_ref()?;
                Some(RecordSpec {
                    name: canonical(&dns.name),
                    zone: dns.zone.trim_end_matches('.').to_owned(),
                    leads_to: LeadsTo::LoadBalancer(dns.load_balancer.clone()),
                    servers: dns.servers.clone(),
                    adopt: dns.adopt,
                })
            }
            CloudName::Gcp => {
                let service = targets.gcp.as_ref()?.services.get(key)?;
                let dns = service.dns.as_ref()?;
                Some(RecordSpec {
                    name: canonical(&dns.name),
                    zone: match &dns.project {
                        Some(project) => format!("{project}/{}", dns.zone.trim_end_matches('.')),
                        None => dns.zone.trim_end_matches('.').to_owned(),
                    },
                    leads_to: LeadsTo::Address(dns.address),
                    servers: dns.servers.clone(),
                    adopt: dns.adopt,
                })
            }
        }
    }

    /// The names that the runtime answers for by itself.
    pub(super) fn domains(&self, key: &str) -> Vec<String> {
        let aws = self.manifest.targets.aws.as_ref();
        let own = aws.and_then(|aws| aws.services.get(key));
        match (self.cloud, own) {
            (CloudName::Aws, Some(own)) => domains(own),
            (CloudName::Aws, None) | (CloudName::Gcp, _) => Vec::new(),
        }
    }

    pub(super) fn verify(&mut self, key: &str, service: &Service, scope: &Scope) -> VerifySpec {
        let verify = &service.verify;
        let at = KeyPath::new(["services", key, "verify", "checks"]);
        let checks = verify.checks.iter().enumerate();
        VerifySpec {
            metrics: verify.metrics.clone(),
            jwks: verify.jwks.clone(),
            token: verify.token.clone().map(|token| {
                let TokenRequest {
                    path,
                    client_id,
                    client_secret,
                    scope,
                } = token;
                TokenCheck {
                    path,
                    client_id,
                    client_secret,
                    scope,
                }
            }),
            checks: checks
                .map(|(index, check)| self.check(check, scope, &at.join(index.to_string())))
                .collect(),
        }
    }

    fn check(&mut self, check: &Check, scope: &Scope, at: &KeyPath) -> HttpCheck {
        let usual = || format!("{} {}", check.method.as_str(), check.path);
        let mut headers = check.headers.clone();
        for (name, value) in &mut headers {
            *value = self.fill(value, scope, || at.join("headers").join(name));
        }
        HttpCheck {
            name: check.name.clone().unwrap_or_else(usual),
            method: check.method.as_str().to_owned(),
            path: check.path.clone(),
            headers,
            status: check.status,
            expect_headers: check.expect_headers.clone(),
            json: check.json.clone(),
            body: check.body.clone(),
            within: check.within,
        }
    }
}
