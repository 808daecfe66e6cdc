//! Secret Manager: the secrets of an environment, declared, compared in memory, pinned by version
//! number.

mod calls;
mod kind;
mod members;
mod secret;

pub(crate) use calls::{Store, moment};
pub(crate) use members::{MEMBER, Taken};
pub(crate) use secret::{SECRET, Secret};

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{SecretContent, SecretStatus, SecretStore, SecretVersion, Secrets};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::graph::{Graph, Inputs, Output, Value};
use deployer_core::node::Token;
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, Member, SecretSource, SecretSpec};
use google_cloud_secretmanager_v1::model::secret_version::State;
use secrecy::SecretString;

use crate::Gcp;
use crate::composition::Composition;
use crate::error::{self, Found};
use crate::labels;

use calls::{denied, number};

impl SecretStore for Composition<'_> {
    fn secret(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion> {
        let env = self.env;
        let address = Address::new(&self.project.target, SECRET, &secret.name);
        let output = Output::of(&address);
        let ownership = labels::ownership(env, secret.adopt, &graph.past(&address));
        graph.resource(|inputs| Secret {
            store: Store::new(&self.project, &secret.name),
            key: secret.key.clone(),
            source: secret.source.clone(),
            by_value: env.injects_value_of(&secret.key),
            address,
            ownership,
            content: taken(content, inputs),
            anothers: AtomicBool::new(false),
            there: Mutex::default(),
            output: output.clone(),
        });
        output
    }

    /// Cloud Run takes whole secrets only: another one holds the member alone.
    fn member(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        member: &Member,
    ) -> Output<SecretVersion> {
        let taken = Taken::new(&self.project, secret, member);
        let value = taken.output();
        graph.resource(|_| taken);
        let own = SecretSpec {
            name: member.held_in.clone(),
            source: SecretSource::Cloud,
            member: None,
            ..secret.clone()
        };
        self.secret(graph, &own, SecretContent::From(Value::From(value)))
    }
}

#[async_trait]
impl Secrets for Gcp {
    async fn status(&self, name: &str) -> Result<Option<SecretStatus>> {
        let store = Store::new(&self.project, name);
        let Found::Here(versions) = error::found(
            store.versions(State::Enabled).await,
            &format!("cannot list the versions of secret `{name}`"),
        )?
        else {
            return match store.secret().await? {
                Found::Absent => Ok(None),
                Found::Denied(why) => Err(denied(name, &why)),
                Found::Here(_) => Err(denied(name, "its versions cannot be listed")),
            };
        };
        let newest = versions.iter().max_by_key(|version| number(&version.name));
        Ok(Some(SecretStatus {
            version: newest.map(|version| store.pin(&version.name)).transpose()?,
            changed: newest.and_then(|version| moment(version.create_time.as_ref())),
            versions: versions.len(),
            disabled: match newest {
                Some(_) => None,
                None => store.newest_disabled().await?,
            },
        }))
    }

    async fn value(&self, name: &str) -> Result<Option<SecretString>> {
        let store = Store::new(&self.project, name);
        match store.current().await? {
            Some(version) => store.read_value(&version.version).await.map(Some),
            None => Ok(None),
        }
    }

    async fn value_of(&self, version: &SecretVersion) -> Result<Option<SecretString>> {
        let store = Store::of(&self.project, version);
        store.value_of(&version.version).await
    }

    fn is_of(&self, version: &SecretVersion, address: &Address) -> bool {
        let names = &self.project.names;
        address.kind == SECRET
            && names.secret_in_full(&version.secret) == names.secret_in_full(&address.name)
    }

    async fn unusable(&self, version: &SecretVersion) -> Result<Option<String>> {
        let store = Store::of(&self.project, version);
        store.unusable(&version.version).await
    }

    async fn put_version(
        &self,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        value: &SecretString,
        _token: &Token,
    ) -> Result<SecretVersion> {
        let ownership = labels::ownership(env, secret.adopt, &Past::default());
        let store = Store::new(&self.project, &secret.name);
        match store.ensure(&ownership).await {
            Err(error) if error.kind() == ErrorKind::Conflict && secret.may_be_anothers() => {
                return Err(error.hint("this environment only reads it: its owner sets it"));
            }
            ensured => ensured?,
        }
        store.ensure_value(value).await
    }
}

/// The secret of ours or of others whose versions the services take.
pub(crate) fn held_in(secret: &SecretSpec) -> &str {
    match &secret.member {
        Some(member) => &member.held_in,
        None => &secret.name,
    }
}

/// The content with the output that it is made from as the node's input.
fn taken(content: SecretContent, inputs: &mut Inputs) -> SecretContent {
    match content {
        SecretContent::From(value) => SecretContent::From(inputs.pass(&value)),
        SecretContent::Keep | SecretContent::Exactly(_) | SecretContent::AtFirst(_) => content,
    }
}
