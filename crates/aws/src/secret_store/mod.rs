//! Secrets Manager: secrets as nodes, and their values and versions for the commands.

mod calls;
mod kind;
mod members;
mod secret;
pub(crate) mod value_from;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use deployer_core::address::Address;
use deployer_core::capability::{SecretContent, SecretStatus, SecretStore, SecretVersion, Secrets};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::{Graph, Output};
use deployer_core::node::Token;
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, Member, SecretSpec};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::Aws;
use crate::client::Clients;
use crate::composition::Composition;
use crate::error::{code, denied, failure};

pub(crate) use members::{MEMBER, Taken};
pub(crate) use secret::{SECRET, Secret};

/// The label of the version that is read by default.
pub(crate) const CURRENT: &str = "AWSCURRENT";

/// Whether somebody has it rotated: Secrets Manager, by a function, or the service that it belongs
/// to (RDS rotates the secrets that it manages every seven days). "Versions that don't have staging
/// labels are considered deprecated, and Secrets Manager can delete them" (user guide): a version
/// that is pinned dies with the second rotation.
fn rotates(secret: &DescribeSecretOutput) -> bool {
    let owner = secret.owning_service().unwrap_or_default();
    secret.rotation_enabled().unwrap_or_default() || !owner.is_empty()
}

/// Whatever is current when a task starts, in place of one version: of a secret that somebody else
/// rotates. A version's own id has 32 characters or more.
fn current_of(secret: &str) -> SecretVersion {
    SecretVersion {
        secret: secret.to_owned(),
        version: CURRENT.to_owned(),
    }
}

/// What people should know of a secret that is not pinned.
const NOT_PINNED: &str =
    "is rotated by its owner and not pinned: tasks take the value of the day on which they start";

/// A secret's description, as far as the caller may see it.
enum Described {
    Absent,
    Denied(String),
    Found(Box<DescribeSecretOutput>),
}

async fn describe(clients: &Clients, name: &str) -> Result<Described> {
    let answer = clients
        .secrets
        .describe_secret()
        .secret_id(name)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(Described::Found(Box::new(answer))),
        Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(Described::Absent),
        Err(error) => match denied(&error) {
            Some(words) => Ok(Described::Denied(words)),
            None => Err(failure(&error, &format!("read secret `{name}`"))),
        },
    }
}

/// What a version holds.
#[derive(Clone)]
enum Payload {
    /// Text.
    Text(SecretString),
    /// Bytes.
    Binary,
    /// There is no such version, or none that can be read now.
    Absent,
}

impl Payload {
    fn text(self) -> Option<SecretString> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary | Self::Absent => None,
        }
    }
}

/// The value of the current version, if it is text. `None` when there is none.
async fn value(clients: &Clients, name: &str) -> Result<Option<SecretString>> {
    payload(clients, name).await.map(Payload::text)
}

/// What the current version holds.
///
/// Errors: denied, when the caller may not read it.
async fn payload(clients: &Clients, name: &str) -> Result<Payload> {
    if let Some(current) = clients.lookups.secret_values.ask(name).await? {
        return Ok(current.value.map_or(Payload::Binary, Payload::Text));
    }
    let answer = clients
        .secrets
        .get_secret_value()
        .secret_id(name)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(match answer.secret_string {
            Some(text) => Payload::Text(text.into()),
            None => Payload::Binary,
        }),
        Err(error) => match code(&error) {
            // No such secret, no current version, or scheduled for deletion.
            Some("ResourceNotFoundException" | "InvalidRequestException") => Ok(Payload::Absent),
            _ => Err(failure(
                &error,
                &format!("read the value of secret `{name}`"),
            )),
        },
    }
}

/// What one version holds. `None` when there is no such version any more.
///
/// Errors: denied, when the caller may not read it.
pub(crate) async fn value_of(
    clients: &Clients,
    secret: &str,
    version: &str,
) -> Result<Option<SecretString>> {
    let ask = clients.secrets.get_secret_value().secret_id(secret);
    let ask = match version {
        CURRENT => ask.version_stage(CURRENT),
        version => ask.version_id(version),
    };
    let answer = ask.send().await;
    match answer {
        Ok(answer) => Ok(answer.secret_string.map(SecretString::from)),
        Err(error) => match code(&error) {
            Some("ResourceNotFoundException" | "InvalidRequestException") => Ok(None),
            _ => {
                let what = format!("read version `{version}` of secret `{secret}`");
                Err(failure(&error, &what))
            }
        },
    }
}

/// The version that carries `AWSCURRENT`.
fn current(secret: &DescribeSecretOutput) -> Option<String> {
    secret
        .version_ids_to_stages()?
        .iter()
        .find(|(_, stages)| stages.iter().any(|stage| stage == CURRENT))
        .map(|(version, _)| version.clone())
}

/// The version of a secret that an instance reads that starts now.
///
/// Errors: not found, when there is none; denied, when the caller may not see it.
pub(crate) async fn current_version(
    clients: &Clients,
    version: &SecretVersion,
) -> Result<SecretVersion> {
    if version.version == CURRENT {
        return Ok(version.clone());
    }
    let name = &version.secret;
    let now = match describe(clients, name).await? {
        Described::Found(secret) if secret.deleted_date().is_none() => current(&secret),
        Described::Found(_) | Described::Absent => None,
        Described::Denied(words) => {
            let message = format!("cannot read secret `{name}`: {words}");
            return Err(Error::new(ErrorKind::Denied, message)
                .hint("allow the caller secretsmanager:DescribeSecret on it"));
        }
    };
    let version = now.ok_or_else(|| {
        let message = format!("secret `{name}` has no value");
        Error::new(ErrorKind::NotFound, message).hint("give it one: `deployer secrets set`")
    })?;
    Ok(SecretVersion {
        secret: name.clone(),
        version,
    })
}

impl SecretStore for Composition<'_> {
    fn secret(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion> {
        let mut output = None;
        let past = graph.past(&self.clients.address(SECRET, &secret.name));
        graph.resource(|inputs| {
            let content = match content {
                SecretContent::From(value) => SecretContent::From(inputs.pass(&value)),
                given => given,
            };
            let node = Secret::new(Arc::clone(&self.clients), self.env, secret, content, &past);
            output = Some(node.output());
            node
        });
        output.expect("the graph builds what it declares")
    }

    fn member(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        member: &Member,
    ) -> Output<SecretVersion> {
        let node = members::Taken::new(Arc::clone(&self.clients), secret, member);
        let output = node.output();
        graph.resource(|_| node);
        output
    }
}

#[async_trait]
impl Secrets for Aws {
    async fn status(&self, name: &str) -> Result<Option<SecretStatus>> {
        let secret = match describe(&self.clients, name).await? {
            Described::Absent => return Ok(None),
            Described::Found(secret) => secret,
            Described::Denied(words) => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("cannot read secret `{name}`: {words}"),
                )
                .hint("allow the caller secretsmanager:DescribeSecret on it"));
            }
        };
        if secret.deleted_date().is_some() {
            return Ok(None);
        }
        let changed = secret.last_changed_date().or(secret.created_date());
        let stages = secret.version_ids_to_stages();
        Ok(Some(SecretStatus {
            version: current(&secret).map(|version| SecretVersion {
                secret: secret.arn().unwrap_or_default().to_owned(),
                version,
            }),
            changed: changed.and_then(|at| Timestamp::from_millisecond(at.to_millis().ok()?).ok()),
            versions: stages.map_or(0, |stages| {
                stages.values().filter(|stages| !stages.is_empty()).count()
            }),
            // Secrets Manager switches nothing off.
            disabled: None,
        }))
    }

    async fn value(&self, name: &str) -> Result<Option<SecretString>> {
        value(&self.clients, name).await
    }

    async fn value_of(&self, version: &SecretVersion) -> Result<Option<SecretString>> {
        value_of(&self.clients, &version.secret, &version.version).await
    }

    fn is_of(&self, version: &SecretVersion, address: &Address) -> bool {
        // The ARN ends with the name, a hyphen and six letters of AWS's own choice.
        let id = version.secret.rsplit_once(":secret:");
        let id = id.map_or(version.secret.as_str(), |(_, id)| id);
        let rest = id.strip_prefix(address.name.as_str());
        let is_named = |rest: &str| rest.is_empty() || (rest.len() == 7 && rest.starts_with('-'));
        address.kind == SECRET && rest.is_some_and(is_named)
    }

    fn is_moving(&self, version: &SecretVersion) -> bool {
        version.version == CURRENT
    }

    async fn unusable(&self, version: &SecretVersion) -> Result<Option<String>> {
        let secret = match describe(&self.clients, &version.secret).await? {
            Described::Absent => return Ok(Some("its secret is gone".to_owned())),
            Described::Found(secret) => secret,
            // Whoever may not look finds out when it is used.
            Described::Denied(_) => return Ok(None),
        };
        if let Some(at) = secret.deleted_date() {
            return Ok(Some(format!("its secret is to be deleted at {at}")));
        }
        if version.version == CURRENT {
            let none = || "it has no current version".to_owned();
            return Ok(current(&secret).is_none().then(none));
        }
        let stages = secret.version_ids_to_stages();
        if stages.is_some_and(|it| it.contains_key(&version.version)) {
            return Ok(None);
        }
        // A version without a label is not listed, and kept for a while
        // (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>).
        match value_of(&self.clients, &version.secret, &version.version).await {
            Ok(Some(_)) => Ok(None),
            Ok(None) => Ok(Some("it is gone".to_owned())),
            Err(error) if error.kind() == ErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put_version(
        &self,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        value: &SecretString,
        token: &Token,
    ) -> Result<SecretVersion> {
        let content = SecretContent::Exactly(value.clone());
        // Only an apply removes tags.
        let past = Past::default();
        Secret::new(Arc::clone(&self.clients), env, secret, content, &past)
            .put_version(value, token)
            .await
    }
}
