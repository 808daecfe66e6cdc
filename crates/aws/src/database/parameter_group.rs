//! `rds.parameter_group`: what an instance's engine is told. One per major version, as its family can never change.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_rds::types::{ApplyMethod, Parameter};
use deployer_core::address::Address;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Effect, Kept, Reading, Resource, Token, Watch};
use deployer_core::wait::{Look, poll};

use super::subnet_group::LINGER;
use super::tagging;
use crate::client::Clients;
use crate::error::{Told, code};
use crate::reading::{owned, seen, unseen, until_seen};
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a parameter group's node.
pub(crate) const PARAMETER_GROUP: &str = "rds.parameter_group";

/// Refuses connections without TLS.
const FORCE_SSL: &str = "rds.force_ssl";

/// A parameter's way to say yes.
const ON: &str = "1";

/// The code for a group that is not there.
const NOT_FOUND: &str = "DBParameterGroupNotFound";

/// The name of the group for one major version. A major upgrade needs another one while the instance still has this.
pub(super) fn name(instance: &str, version: u16) -> String {
    format!("{instance}-postgres{version}")
}

/// A parameter group that is to exist.
pub(super) struct ParameterGroup {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// The major version of PostgreSQL.
    pub(super) version: u16,
    /// Its name.
    pub(super) output: Output<String>,
}

/// A parameter group as RDS has it.
#[derive(Clone, Debug)]
pub(crate) struct ParameterGroupActual {
    arn: String,
    family: String,
    force_ssl: Option<String>,
    tags: Tags,
}

impl ParameterGroupActual {
    /// Its tags.
    pub(crate) fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("family", &self.family);
        fields.set_some(FORCE_SSL, self.force_ssl.as_deref());
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

fn called(name: &str) -> String {
    format!("database parameter group `{name}`")
}

/// Reads a parameter group, the parameters that we set, and its tags.
pub(crate) async fn read_parameter_group(
    clients: &Clients,
    name: &str,
) -> Result<Reading<ParameterGroupActual>> {
    let answer = clients
        .rds
        .describe_db_parameter_groups()
        .db_parameter_group_name(name)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unseen(&error, NOT_FOUND, &called(name)),
    };
    let Some(group) = answer.db_parameter_groups().first() else {
        return Ok(Reading::Absent);
    };
    let arn = group
        .db_parameter_group_arn()
        .unwrap_or_default()
        .to_owned();
    let family = group
        .db_parameter_group_family()
        .unwrap_or_default()
        .to_owned();
    let what = called(name);
    let (force_ssl, tags) = tokio::join!(
        read_force_ssl(clients, name),
        tagging::read(clients, &arn, &what)
    );
    Ok(match (force_ssl?, tags?) {
        (Reading::Present(force_ssl), tags) => tags.map(|tags| ParameterGroupActual {
            arn,
            family,
            force_ssl,
            tags,
        }),
        (Reading::Denied(words), _) => Reading::Denied(words),
        (Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_), _) => Reading::Absent,
    })
}

/// What the group says about TLS, whoever said it: what was set to the family's default is not told as the user's
/// (terraform-provider-aws, internal/service/rds/parameter_group.go, #593), and from PostgreSQL 15 on the default is to force it.
async fn read_force_ssl(clients: &Clients, name: &str) -> Result<Reading<Option<String>>> {
    let mut pages = clients
        .rds
        .describe_db_parameters()
        .db_parameter_group_name(name)
        .into_paginator()
        .items()
        .send();
    while let Some(parameter) = pages.next().await {
        match parameter {
            Ok(parameter) if parameter.parameter_name() == Some(FORCE_SSL) => {
                return Ok(Reading::Present(
                    parameter.parameter_value().map(str::to_owned),
                ));
            }
            Ok(_) => {}
            Err(error) => {
                let what = format!("the parameters of {}", called(name));
                return unseen(&error, NOT_FOUND, &what);
            }
        }
    }
    Ok(Reading::Present(None))
}

/// Deletes a parameter group, waiting for an instance with it that is being deleted.
pub(crate) async fn delete_parameter_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    let removed = poll(clients.clock(), LINGER, &what, || async {
        let deleted = clients
            .rds
            .delete_db_parameter_group()
            .db_parameter_group_name(name)
            .send()
            .await;
        match deleted {
            Err(error) if code(&error) == Some(NOT_FOUND) => Ok(Look::Found(Ok(()))),
            Err(error) if code(&error) == Some("InvalidDBParameterGroupState") => {
                Ok(Look::NotYet("an instance still has it".into()))
            }
            // The SDK has tried it again already: a refusal to delete is no look that failed.
            other => Ok(Look::Found(
                other.map(drop).told(|| format!("delete {what}")),
            )),
        }
    });
    removed.await?
}

/// Takes our mark off a parameter group.
pub(crate) async fn release_parameter_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    match read_parameter_group(clients, name).await? {
        Reading::Present(actual) => {
            let changes = TagChanges::unmark(&actual.tags);
            tagging::retag(clients, &actual.arn, &what, changes).await
        }
        other => seen(other, &what).map(drop),
    }
}

impl ParameterGroup {
    fn name(&self) -> &str {
        &self.address.name
    }

    fn family(&self) -> String {
        format!("postgres{}", self.version)
    }

    async fn again(&self) -> Result<ParameterGroupActual> {
        let (clock, what) = (self.clients.clock(), called(self.name()));
        until_seen(clock, &what, || self.read()).await
    }

    async fn force_ssl(&self) -> Result<()> {
        let parameter = Parameter::builder()
            .parameter_name(FORCE_SSL)
            .parameter_value(ON)
            .apply_method(ApplyMethod::Immediate)
            .build();
        self.clients
            .rds
            .modify_db_parameter_group()
            .db_parameter_group_name(self.name())
            .parameters(parameter)
            .send()
            .await
            .map(drop)
            .told(|| format!("set `{FORCE_SSL}` in {}", called(self.name())))
    }
}

#[async_trait]
impl Resource for ParameterGroup {
    type Actual = ParameterGroupActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_parameter_group(&self.clients, self.name()).await?;
        Ok(owned(reading, &self.ownership, |actual| &actual.tags))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("family", self.family());
        fields.set(FORCE_SSL, ON);
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn effect(&self, field: &str) -> Effect {
        match field {
            "family" => Effect::Replace,
            _ => Effect::InPlace,
        }
    }

    fn publish(&self, _actual: &Self::Actual) {
        self.output.publish(self.name().to_owned());
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        let created = self
            .clients
            .rds
            .create_db_parameter_group()
            .db_parameter_group_name(self.name())
            .db_parameter_group_family(self.family())
            .description(self.ownership.description())
            .set_tags(Some(tagging::sdk_tags(&self.ownership.tags)))
            .send()
            .await;
        match created {
            // A lost reply: what is there is ours, or this read says otherwise.
            Err(error) if code(&error) == Some("DBParameterGroupAlreadyExists") => {
                self.again().await?;
            }
            other => {
                other.told(|| format!("create {}", called(self.name())))?;
            }
        }
        self.force_ssl().await?;
        self.again().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        if changes.iter().any(|change| change.field == FORCE_SSL) {
            self.force_ssl().await?;
        }
        let what = called(self.name());
        let changes = self.ownership.changes(&actual.tags);
        tagging::retag(&self.clients, &actual.arn, &what, changes).await?;
        self.again().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the database runs with other parameters than before")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_parameter_group(&self.clients, self.name()).await
    }
}
