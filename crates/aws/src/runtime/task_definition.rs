//! `ecs.task-definition`: a family whose latest revision says what the manifest says.
//!
//! A change registers a new revision. Old ones are never deregistered: releases roll back to them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::Config;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::types::{
    Compatibility, NetworkMode, Tag, TaskDefinition as SdkDefinition, TaskDefinitionField,
    TaskDefinitionStatus,
};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::wait::{Look, Pace, poll};

use super::definition::{self, Blueprint};
use super::{Names, lookup, service};
use crate::client::{ATTEMPTS, Clients};
use crate::error::{Told, code, denied, failure, words};
use crate::tags::{self, Ownership, Tags};

/// The kind of a task definition's node.
pub(crate) const TASK_DEFINITION: &str = "ecs.task-definition";

/// How long a registration is tried that ECS does not answer.
const REGISTERING: Duration = Duration::from_secs(2 * 60);

/// A family whose latest active revision is to say what the blueprint says.
pub(super) struct TaskDefinition {
    clients: Arc<Clients>,
    address: Address,
    ownership: Ownership,
    names: Names,
    blueprint: Mutex<Blueprint>,
    scope: Scope,
    output: Output<Revision>,
}

/// A revision as ECS has it.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionActual {
    /// The definition.
    pub(crate) definition: SdkDefinition,
    tags: Tags,
}

impl DefinitionActual {
    fn arn(&self) -> &str {
        self.definition.task_definition_arn().unwrap_or_default()
    }

    /// Its fields, as compared, the tags too.
    pub(crate) fn fields(&self, container: &str) -> Fields {
        let mut fields = definition::observed(&self.definition, container);
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

/// Whether tags are asked for: that is a permission of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithTags {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// Reads a revision by its ARN, or a family's latest active one by its name.
pub(crate) async fn read_definition(
    clients: &Clients,
    name: &str,
    with_tags: WithTags,
) -> Result<Reading<DefinitionActual>> {
    let include = match with_tags {
        WithTags::Yes => Some(vec![TaskDefinitionField::Tags]),
        WithTags::No => None,
    };
    let answer = clients
        .ecs
        .describe_task_definition()
        .task_definition(name)
        .set_include(include)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            // ECS has no code of its own for it.
            let unknown = code(&error) == Some("ClientException")
                && words(&error).to_lowercase().contains("unable to describe");
            if unknown {
                return Ok(Reading::Absent);
            }
            return match denied(&error) {
                Some(words) => Ok(Reading::Denied(words)),
                None => Err(failure(&error, &format!("read task definition `{name}`"))),
            };
        }
    };
    let tags = tags::from_pairs(answer.tags().iter().map(|tag| (tag.key(), tag.value())));
    Ok(match answer.task_definition {
        Some(definition) if definition.status() != Some(&TaskDefinitionStatus::Active) => {
            Reading::Absent
        }
        Some(definition) => Reading::Present(DefinitionActual { definition, tags }),
        None => Reading::Absent,
    })
}

/// Reads one revision, whatever its status; it must exist.
pub(crate) async fn describe_revision(clients: &Clients, arn: &str) -> Result<SdkDefinition> {
    let answer = clients
        .ecs
        .describe_task_definition()
        .task_definition(arn)
        .send()
        .await
        .told(|| format!("read task definition `{arn}`"))?;
    answer.task_definition.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no task definition `{arn}`"),
        )
    })
}

/// Deregisters every active revision of a family: for a service that is removed whole.
pub(crate) async fn deregister_family(clients: &Clients, family: &str) -> Result<()> {
    let mut pages = clients
        .ecs
        .list_task_definitions()
        .family_prefix(family)
        .status(TaskDefinitionStatus::Active)
        .into_paginator()
        .send();
    let mut revisions = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.told(|| format!("list the revisions of task definition `{family}`"))?;
        revisions.extend(page.task_definition_arns().iter().cloned());
    }
    for revision in revisions.iter().filter(|arn| family_of(arn) == family) {
        clients
            .ecs
            .deregister_task_definition()
            .task_definition(revision)
            .send()
            .await
            .told(|| format!("deregister task definition `{revision}`"))?;
    }
    Ok(())
}

/// The family in `arn:...:task-definition/FAMILY:REVISION`.
pub(crate) fn family_of(arn: &str) -> &str {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    name.split(':').next().unwrap_or(name)
}

/// `FAMILY:REVISION`, for people.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

impl TaskDefinition {
    pub(super) fn new(
        clients: Arc<Clients>,
        address: Address,
        ownership: Ownership,
        names: Names,
        blueprint: Blueprint,
        scope: Scope,
        output: Output<Revision>,
    ) -> Self {
        Self {
            clients,
            address,
            ownership,
            names,
            blueprint: Mutex::new(blueprint),
            scope,
            output,
        }
    }

    fn family(&self) -> &str {
        &self.names.family
    }

    fn blueprint(&self) -> Blueprint {
        self.blueprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn read_whole(&self) -> Result<Reading<DefinitionActual>> {
        let reading = read_definition(&self.clients, self.family(), WithTags::Yes).await?;
        let Reading::Present(actual) = &reading else {
            return Ok(reading);
        };
        let Some(how) = self.ownership.foreign(&actual.tags) else {
            return Ok(reading);
        };
        // A revision that a code-only deployment or another hand registered has no tags; the service tells.
        match lookup::owner_tags(&self.clients, &self.names.service).await? {
            Some(tags) if self.ownership.foreign(&tags).is_none() => Ok(reading),
            _ => Ok(Reading::Foreign(how)),
        }
    }

    /// What runs gives the pins; the family's latest revision is what is compared.
    async fn read_code(&self) -> Result<Reading<DefinitionActual>> {
        let Some(service) =
            lookup::describe(&self.clients, &self.names.service, WithTags::No).await?
        else {
            return Err(service::absent(&self.names.service));
        };
        let arn = service.task_definition().unwrap_or_default();
        let running = describe_revision(&self.clients, arn).await?;
        self.blueprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_over(&running)?;
        read_definition(&self.clients, self.family(), WithTags::No).await
    }

    /// Registers a revision, once: the call has no token and makes another revision each time, so that it is not the SDK
    /// that tries it again.
    async fn register(&self) -> Result<DefinitionActual> {
        let tries = AtomicU32::new(0);
        let registered = poll(
            self.clients.clock(),
            Pace::until(REGISTERING),
            "the registration",
            || async {
                // A lost reply: what is there already is not registered again.
                if let Some(there) = self.latest_as_wanted().await? {
                    return Ok(Look::Found(Ok(there)));
                }
                match self.try_to_register().await {
                    Err(error)
                        if error.kind() == ErrorKind::Unavailable
                            && tries.fetch_add(1, Ordering::Relaxed) + 1 < ATTEMPTS =>
                    {
                        Ok(Look::NotYet(error.chain().join(": ")))
                    }
                    outcome => Ok(Look::Found(outcome)),
                }
            },
        );
        registered.await?
    }

    /// The family's latest revision, if it says what the blueprint says.
    async fn latest_as_wanted(&self) -> Result<Option<DefinitionActual>> {
        let with_tags = match self.scope {
            Scope::Whole => WithTags::Yes,
            Scope::CodeOnly => WithTags::No,
        };
        let latest = read_definition(&self.clients, self.family(), with_tags).await?;
        let Reading::Present(latest) = latest else {
            return Ok(None);
        };
        let says = definition::observed(&latest.definition, &self.names.container);
        Ok((says == self.blueprint().fields()).then_some(latest))
    }

    async fn try_to_register(&self) -> Result<DefinitionActual> {
        let tags = match self.scope {
            Scope::Whole => self.ownership.tags.clone(),
            // Tagging is a permission that a code-only deployment may lack.
            Scope::CodeOnly => Tags::new(),
        };
        let blueprint = self.blueprint();
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let answer = self
            .clients
            .ecs
            .register_task_definition()
            .family(self.family())
            .network_mode(NetworkMode::Awsvpc)
            .requires_compatibilities(Compatibility::Fargate)
            .runtime_platform(definition::runtime_platform(blueprint.architecture))
            .cpu(&blueprint.cpu)
            .memory(blueprint.memory.to_string())
            .execution_role_arn(&blueprint.execution_role)
            .set_task_role_arn(blueprint.task_role.clone())
            .container_definitions(blueprint.container()?)
            .set_tags((!tags.is_empty()).then(|| sdk_tags(&tags)))
            .customize()
            .config_override(once)
            .send()
            .await
            .told(|| format!("register task definition `{}`", self.family()))?;
        let definition = answer
            .task_definition
            .ok_or_else(|| Error::new(ErrorKind::Rejected, "ECS answered no task definition"))?;
        Ok(DefinitionActual { definition, tags })
    }

    async fn retag(&self, actual: &DefinitionActual) -> Result<()> {
        let changes = tags::changes(&actual.tags, &self.ownership.tags);
        let name = short(actual.arn());
        if !changes.set.is_empty() {
            self.clients
                .ecs
                .tag_resource()
                .resource_arn(actual.arn())
                .set_tags(Some(sdk_tags(&changes.set)))
                .send()
                .await
                .told(|| format!("tag task definition `{name}`"))?;
        }
        if !changes.remove.is_empty() {
            self.clients
                .ecs
                .untag_resource()
                .resource_arn(actual.arn())
                .set_tag_keys(Some(changes.remove))
                .send()
                .await
                .told(|| format!("remove tags of task definition `{name}`"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Resource for TaskDefinition {
    type Actual = DefinitionActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        match self.scope {
            Scope::Whole => self.read_whole().await,
            Scope::CodeOnly => self.read_code().await,
        }
    }

    fn desired(&self) -> Fields {
        let mut fields = self.blueprint().fields();
        if self.scope == Scope::Whole {
            tags::describe(&mut fields, &self.ownership.tags);
        }
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields(&self.names.container)
    }

    fn publish(&self, actual: &Self::Actual) {
        self.output.publish(Revision(actual.arn().to_owned()));
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        if !changes.iter().all(tags::is_tag) {
            self.output.withdraw();
        }
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.register().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        if !changes.iter().all(tags::is_tag) {
            return self.register().await;
        }
        // Tags alone make no new revision, so the service does not roll out for them.
        self.retag(actual).await?;
        let mut actual = actual.clone();
        actual.tags.clone_from(&self.ownership.tags);
        Ok(actual)
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless(
            "a revision that nobody uses harms nobody: the one that served before is there",
        )
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        deregister_family(&self.clients, self.family()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_family_and_revision() {
        let arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/idp:7";
        assert_eq!(family_of(arn), "idp");
        assert_eq!(short(arn), "idp:7");
    }
}
