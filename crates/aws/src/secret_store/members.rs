//! `secretsmanager.member`: one member of a secret that is a JSON object; only ever read. ECS takes
//! it by its key.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::SecretVersion;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::member::{binary, member_of};
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::spec::{Member, SecretSpec};

use super::{
    CURRENT, Described, NOT_PINNED, Payload, current, current_of, describe, payload, rotates,
};
use crate::client::Clients;

/// The kind of a member's node.
pub(crate) const MEMBER: &str = "secretsmanager.member";

/// One member, with the version of the secret that it is in.
pub(crate) struct Taken {
    clients: Arc<Clients>,
    address: Address,
    secret: String,
    key: String,
    output: Output<SecretVersion>,
}

impl Taken {
    pub(super) fn new(clients: Arc<Clients>, secret: &SecretSpec, member: &Member) -> Self {
        let name = format!("{}:{}", secret.name, member.key);
        let address = clients.address(MEMBER, &name);
        Self {
            output: Output::of(&address),
            clients,
            address,
            secret: secret.name.clone(),
            key: member.key.clone(),
        }
    }

    pub(super) fn output(&self) -> Output<SecretVersion> {
        self.output.clone()
    }

    fn never<T>(&self, what: &str) -> Result<T> {
        let what = format!("{} is only read and cannot be {what}", self.address);
        Err(Error::internal(what))
    }
}

#[async_trait]
impl Resource for Taken {
    /// `None` while the secret is not there: its own node says so.
    type Actual = Option<SecretVersion>;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let described = match describe(&self.clients, &self.secret).await? {
            Described::Found(described) => described,
            Described::Absent => return Ok(Reading::Present(None)),
            Described::Denied(words) => return Ok(Reading::Denied(words)),
        };
        let Some(version) = current(&described).filter(|_| described.deleted_date().is_none())
        else {
            return Ok(Reading::Present(None));
        };
        match payload(&self.clients, &self.secret).await {
            Ok(Payload::Text(value)) => drop(member_of(&self.secret, &value, &self.key)?),
            Ok(Payload::Binary) => return Err(binary(&self.secret)),
            Ok(Payload::Absent) => {}
            // It is ECS that reads it, with a role of its own.
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => return Err(error),
        }
        let secret = described.arn().unwrap_or_default().to_owned();
        Ok(Reading::Present(Some(match rotates(&described) {
            true => current_of(&secret),
            false => SecretVersion { secret, version },
        })))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set("member", &self.key);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        self.desired(Some(actual))
    }

    fn bears_mark(&self, _actual: &Self::Actual) -> bool {
        false
    }

    fn notes(&self, actual: &Self::Actual) -> Vec<String> {
        let moves = actual.as_ref().is_some_and(|it| it.version == CURRENT);
        moves.then(|| NOT_PINNED.to_owned()).into_iter().collect()
    }

    fn publish(&self, actual: &Self::Actual) {
        match actual {
            Some(version) => self.output.publish(version.clone()),
            None => self.output.withdraw(),
        }
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.never("made")
    }

    async fn update(
        &self,
        _actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.never("changed")
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("it is somebody else's and only read")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        self.never("deleted")
    }
}
