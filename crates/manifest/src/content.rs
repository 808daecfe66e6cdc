//! Gives each configuration of a service two ids: of what every target has of it, and of what is
//! one target's own.

use deployer_core::address::CloudName;
use deployer_core::spec::{Architecture, SecretUse};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{EnvValue, Health, Manifest, Migrate};
use crate::units::{Cpu, Memory, Scale};

/// The cloud-neutral configuration of a service; where its image came from is not part of it.
#[derive(Serialize)]
struct Content<'a> {
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<Architecture>,
    port: u16,
    health: &'a Health,
    cpu: Cpu,
    memory: Memory,
    replicas: Scale,
    entrypoint: &'a [String],
    command: &'a [String],
    env: Vec<(&'a str, Variable<'a>)>,
    migrate: Option<Migrate>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Variable<'a> {
    Plain(&'a str),
    Secret(SecretUse),
}

impl Manifest {
    /// Sixteen hexadecimal digits of a SHA-256 over the image's digest and the service's
    /// configuration before any target is looked at: equal on every target, and different as soon
    /// as digest or configuration are. What `[targets.*]` override has an id of its own,
    /// [`Manifest::overrides_id`]; `deployer_core::ledger::content` is the id of both.
    ///
    /// `None` when the manifest has no such service.
    pub fn content_id(&self, service: &str, image_digest: &str) -> Option<String> {
        let service = self.services.get(service)?;
        let content = Content {
            digest: image_digest,
            architecture: service.architecture,
            port: service.port,
            health: &service.health,
            cpu: service.cpu,
            memory: service.memory,
            replicas: service.replicas,
            entrypoint: &service.entrypoint,
            command: &service.command,
            env: service
                .env
                .iter()
                .map(|(name, value)| (name.as_str(), self.variable(value)))
                .collect(),
            // By origins: what a secret is called is nothing of a release.
            migrate: service.migrate.clone().map(|migrate| Migrate {
                database: migrate.database.map(|key| self.secret_origin(&key)),
                ..migrate
            }),
        };
        let value = serde_json::to_value(content).expect("a service is plain data with text keys");
        Some(hashed(&value))
    }

    /// The same of what a target's own section says of a service beside that: what is left at its
    /// default says nothing.
    pub fn overrides_id(&self, target: CloudName, service: &str) -> Option<String> {
        let own = self.targets.of(target)?.service_said(service);
        Some(hashed(&own))
    }
}

fn hashed(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    let mut id = hex::encode(Sha256::digest(text.as_bytes()));
    id.truncate(16);
    id
}

impl Manifest {
    fn variable<'a>(&self, value: &'a EnvValue) -> Variable<'a> {
        match value {
            EnvValue::Plain(text) => Variable::Plain(text),
            EnvValue::Secret(secret) => {
                let used = self.secret_use(secret);
                let secret = self.secret_origin(&used.secret);
                Variable::Secret(SecretUse { secret, ..used })
            }
        }
    }
}

/// JSON with sorted keys and no spaces, whatever order `serde_json` was built to keep.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}
