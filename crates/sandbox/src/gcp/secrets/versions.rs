//! Versions of secrets: added, read, disabled, destroyed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::{SECRETS, check_etag};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::fresh_etag;
use crate::gcp::schema::Object;
use crate::gcp::shelf::Key;
use crate::gcp::wire::Call;

/// Google's limit on a payload.
const LARGEST: usize = 65_536;

/// One version. Its number is its place, from 1.
#[derive(Serialize)]
pub(super) struct Version {
    #[serde(serialize_with = "crate::dump::text")]
    data: Vec<u8>,
    state: State,
    created: String,
    destroyed: Option<String>,
    etag: String,
    checked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
enum State {
    Enabled,
    Disabled,
    Destroyed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }
}

impl Version {
    fn message(&self, name: &str, replication: &Value) -> Value {
        let replicated = match replication.get("userManaged") {
            Some(managed) => {
                let replicas = managed["replicas"].as_array().into_iter().flatten();
                let replicas = replicas.map(|it| json!({ "location": it["location"] }));
                json!({ "userManaged": { "replicas": replicas.collect::<Vec<_>>() } })
            }
            None => json!({ "automatic": {} }),
        };
        let mut out = json!({
            "name": name,
            "createTime": self.created,
            "state": self.state.name(),
            "replicationStatus": replicated,
            "etag": self.etag,
            "clientSpecifiedPayloadChecksum": self.checked,
        });
        if let Some(destroyed) = &self.destroyed {
            out["destroyTime"] = destroyed.clone().into();
        }
        out
    }
}

/// Aliases name existing versions and do not look like one.
pub(super) fn check_aliases(versions: &[Version], aliases: &Object) -> Outcome<()> {
    for (alias, number) in aliases {
        let number: usize = number
            .as_str()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        let named = alias.starts_with(|c: char| c.is_ascii_alphabetic())
            && alias.len() <= 63
            && alias != "latest"
            && alias
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !named {
            return Err(ApiError::field(
                "secret.version_aliases",
                format!("the alias '{alias}' is not valid"),
            ));
        }
        if number == 0 || number > versions.len() {
            return Err(ApiError::precondition(format!(
                "The alias '{alias}' names version {number}, which does not exist."
            )));
        }
    }
    Ok(())
}

impl Gcp {
    pub(super) fn add_secret_version(&self, call: &Call, key: &Key) -> Outcome {
        let payload = call.body.get("payload").and_then(Value::as_object);
        let data = payload
            .and_then(|p| p.get("data"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let data = STANDARD.decode(data).unwrap_or_default();
        if data.is_empty() {
            return Err(ApiError::field(
                "payload.data",
                "the payload must not be empty",
            ));
        }
        if data.len() > LARGEST {
            return Err(ApiError::field(
                "payload.data",
                format!("the payload is larger than {LARGEST} bytes"),
            ));
        }
        let sent = payload
            .and_then(|p| p.get("dataCrc32c"))
            .and_then(Value::as_str);
        if let Some(sent) = sent
            && sent != crc32c::crc32c(&data).to_string()
        {
            return Err(ApiError::invalid(
                "The checksum provided in data_crc32c does not match the payload: the data is corrupt.",
            ));
        }
        SECRETS.at(self, key, |secret| {
            secret.kept.versions.push(Version {
                data,
                state: State::Enabled,
                created: self.now(),
                destroyed: None,
                etag: fresh_etag(),
                checked: sent.is_some(),
            });
            let number = secret.kept.versions.len();
            let name = format!("{}/versions/{number}", self.secret_name(key));
            Ok(secret.kept.versions[number - 1].message(&name, &secret.message["replication"]))
        })
    }

    pub(super) fn secret_versions(&self, call: &Call, key: &Key, method: &str) -> Outcome {
        let version = call.var(2);
        match method {
            "versions.list" => self.list_secret_versions(call, key),
            "versions.get" => {
                let replication = self.replication(key);
                self.with_version(key, version, |name, v| Ok(v.message(name, &replication)))
            }
            "versions.access" => self.with_version(key, version, |name, v| {
                if v.state != State::Enabled {
                    return Err(wrong_state(name, v.state));
                }
                let crc = crc32c::crc32c(&v.data).to_string();
                Ok(json!({ "name": name, "payload": { "data": STANDARD.encode(&v.data), "dataCrc32c": crc } }))
            }),
            "versions.enable" => self.set_state(call, key, State::Enabled),
            "versions.disable" => self.set_state(call, key, State::Disabled),
            "versions.destroy" => self.set_state(call, key, State::Destroyed),
            other => Err(ApiError::unimplemented(format!("secrets.{other}"))),
        }
    }

    fn with_version<T>(
        &self,
        key: &Key,
        wanted: &str,
        act: impl FnOnce(&str, &mut Version) -> Outcome<T>,
    ) -> Outcome<T> {
        let secret_name = self.secret_name(key);
        SECRETS.at(self, key, |secret| {
            let number = match wanted {
                "latest" => secret.kept.versions.len(),
                wanted => match secret
                    .message
                    .get("versionAliases")
                    .and_then(|a| a.get(wanted))
                {
                    Some(number) => number
                        .as_str()
                        .and_then(|n| n.parse().ok())
                        .unwrap_or_default(),
                    None => wanted.parse().unwrap_or_default(),
                },
            };
            if secret.kept.versions.is_empty() && wanted == "latest" {
                return Err(ApiError::not_found(format!(
                    "Secret [{secret_name}] not found or has no versions."
                )));
            }
            let name = format!("{secret_name}/versions/{number}");
            let found = number
                .checked_sub(1)
                .and_then(|index| secret.kept.versions.get_mut(index));
            let version = found.ok_or_else(|| {
                ApiError::not_found(format!(
                    "Secret Version [{secret_name}/versions/{wanted}] not found."
                ))
            })?;
            act(&name, version)
        })
    }

    fn replication(&self, key: &Key) -> Value {
        SECRETS
            .at(
                self,
                key,
                |secret| Ok(secret.message["replication"].clone()),
            )
            .unwrap_or_default()
    }

    fn set_state(&self, call: &Call, key: &Key, state: State) -> Outcome {
        let etag = call
            .body
            .get("etag")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let replication = self.replication(key);
        self.with_version(key, call.var(2), |name, version| {
            check_etag(&version.etag, etag)?;
            if version.state == State::Destroyed {
                return Err(wrong_state(name, version.state));
            }
            if state == State::Destroyed {
                version.data.fill(0);
                version.data.clear();
                version.destroyed = Some(self.now());
            }
            version.state = state;
            version.etag = fresh_etag();
            Ok(version.message(name, &replication))
        })
    }

    fn list_secret_versions(&self, call: &Call, key: &Key) -> Outcome {
        let filter = call.query("filter");
        let wanted = match filter.split_once([':', '=']) {
            None if filter.is_empty() => None,
            Some((word, value)) if word.trim().eq_ignore_ascii_case("state") => {
                Some(value.trim().to_ascii_uppercase())
            }
            _ => {
                return Err(ApiError::invalid(format!(
                    "Invalid filter: the sandbox does not know '{filter}'"
                )));
            }
        };
        SECRETS.at(self, key, |secret| {
            let newest_first = secret.kept.versions.iter().enumerate().rev();
            let found: Vec<Value> = newest_first
                .filter(|(_, v)| {
                    wanted
                        .as_deref()
                        .is_none_or(|state| v.state.name() == state)
                })
                .map(|(index, v)| {
                    let name = format!("{}/versions/{}", self.secret_name(key), index + 1);
                    v.message(&name, &secret.message["replication"])
                })
                .collect();
            call.listed(found, 25_000)
        })
    }

    /// The value that Cloud Run gives a container, and the version's full name. The error is Cloud
    /// Run's sentence.
    pub(in crate::gcp) fn secret_value(
        &self,
        secret: &str,
        version: &str,
        account: &str,
    ) -> Result<String, String> {
        let (project, id) = match secret
            .strip_prefix("projects/")
            .and_then(|s| s.split_once("/secrets/"))
        {
            Some((project, id)) => (project, id),
            None => (self.host().project.as_str(), secret),
        };
        let version = if version.is_empty() {
            "latest"
        } else {
            version
        };
        // <https://github.com/terraform-google-modules/terraform-docs-samples/pull/168>.
        let denied = |name: &str| {
            format!(
                "Permission denied on secret: {name} for Revision service account {account}. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level."
            )
        };
        let Ok(home) = self.secret_home(project) else {
            return Err(denied(&format!(
                "projects/{project}/secrets/{id}/versions/{version}"
            )));
        };
        let key = (home, id.to_owned());
        let name = format!("{}/versions/{version}", self.secret_name(&key));
        let policy = SECRETS.at(self, &key, |secret| Ok(secret.policy.clone()));
        let is_ours = key.0.is_empty();
        if policy.is_ok_and(|policy| !self.may_read_secret(&policy, account, is_ours)) {
            return Err(denied(&name));
        }
        let found = self.with_version(&key, version, |_, v| Ok((v.state, v.data.clone())));
        match found {
            Err(_) => Err(format!("Secret {name} was not found")),
            Ok((State::Enabled, data)) => String::from_utf8(data).map_err(|_| {
                format!(
                    "Secret {name} is not valid UTF-8 and cannot be used as an environment variable"
                )
            }),
            Ok((state, _)) => Err(format!("Secret {name} is in {} state", state.name())),
        }
    }
}

fn wrong_state(name: &str, state: State) -> ApiError {
    ApiError::precondition(format!(
        "Secret Version [{name}] is in {} state.",
        state.name()
    ))
}
