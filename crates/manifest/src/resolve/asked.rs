//! Resolves what is asked of a service once it serves.

use deployer_core::spec::{HttpCheck, TokenCheck, VerifySpec};

use super::Resolver;
use crate::interpolate::Scope;
use crate::model::{Check, Service, TokenRequest};
use crate::source::KeyPath;

impl Resolver<'_> {
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
