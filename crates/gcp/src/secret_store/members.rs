//! One member of a secret that is a JSON object: only ever read. What it holds becomes the value of
//! a secret of ours.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::member::{binary, member_of};
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::spec::{Member, SecretSpec};
use secrecy::SecretString;

use super::Store;
use crate::project::Project;

/// The kind in addresses.
pub(crate) const MEMBER: &str = "secretmanager.member";

/// One member.
pub(crate) struct Taken {
    store: Store,
    key: String,
    address: Address,
    output: Output<SecretString>,
}

impl Taken {
    /// The member of that secret.
    pub(crate) fn new(project: &Arc<Project>, secret: &SecretSpec, member: &Member) -> Self {
        let name = format!("{}/{}", secret.name, member.key);
        let address = Address::new(&project.target, MEMBER, name);
        Self {
            store: Store::new(project, &secret.name),
            key: member.key.clone(),
            output: Output::of(&address),
            address,
        }
    }

    /// What it holds.
    pub(crate) fn output(&self) -> Output<SecretString> {
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
    type Actual = Option<SecretString>;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let name = self.store.name();
        let value = match self.store.current_value().await {
            Ok(None) => return Ok(Reading::Present(None)),
            Ok(Some((_, Some(value)))) => value,
            Ok(Some((_, None))) => return Err(binary(name)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                return Ok(Reading::Denied(crate::error::in_words(&error)));
            }
            Err(error) => return Err(error),
        };
        member_of(name, &value, &self.key).map(|value| Reading::Present(Some(value)))
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

    fn publish(&self, actual: &Self::Actual) {
        match actual {
            Some(value) => self.output.publish(value.clone()),
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
