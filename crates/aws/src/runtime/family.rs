//! The revisions of a task definition's family: read, told whose they are, tagged, deregistered.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{
    TaskDefinition as SdkDefinition, TaskDefinitionField, TaskDefinitionStatus,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::kind::seen;
use deployer_core::node::Reading;
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};

use super::Names;
use super::definition_read::{self, family_of, short};
use crate::client::Clients;
use crate::error::{Told, code, denied, failure, words};
use crate::lookup::services::WithTags;
use crate::tagging::TagApi;
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The families of the tasks that the manifest's other services have.
pub(super) fn of_others(
    clients: &Clients,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
) -> BTreeSet<String> {
    let services = env.services.values();
    let others = services.filter(|it| it.key != service.key);
    let families = others.flat_map(|other| {
        let names = Names::of(clients, other);
        [names.of_migration().family, names.family]
    });
    families.collect()
}

/// A revision as ECS has it.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionActual {
    /// The definition.
    pub(crate) definition: SdkDefinition,
    pub(super) tags: Tags,
}

impl DefinitionActual {
    pub(super) fn arn(&self) -> &str {
        self.definition.task_definition_arn().unwrap_or_default()
    }

    /// Its fields, as compared, the tags too.
    pub(crate) fn fields(&self, container: &str, port: u16) -> Fields {
        let mut fields = definition_read::observed(&self.definition, container, port);
        tags::describe(&mut fields, &self.tags);
        fields
    }
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

/// What the inventory notes of a revision that carries no mark.
pub(crate) fn revision_fields(arn: &str) -> Fields {
    let mut fields = Fields::new();
    fields.set("revision", arn);
    fields
}

/// The active revisions of a family that are ours, each with its tags: by our own mark. Those that
/// a code-only deployment registered carry none and are ours as far as `unmarked` says, which knows
/// revisions by their ARN.
pub(super) async fn our_revisions(
    clients: &Clients,
    family: &str,
    ownership: &Ownership,
    unmarked: &Past,
) -> Result<Vec<(String, Tags)>> {
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
        let arns = page.task_definition_arns().iter();
        revisions.extend(arns.filter(|arn| family_of(arn) == family).cloned());
    }
    let mut ours = Vec::new();
    for arn in revisions {
        let reading = read_definition(clients, &arn, WithTags::Yes).await?;
        let Some(actual) = seen(reading, &format!("task definition `{}`", short(&arn)))? else {
            continue;
        };
        let is_ours = match ownership.foreign(&actual.tags) {
            None => true,
            Some(stranger) => stranger.owner().is_none() && unmarked.says(&revision_fields(&arn)),
        };
        if is_ours {
            ours.push((arn, actual.tags));
        }
    }
    Ok(ours)
}

/// Deregisters every active revision of a family that is ours.
pub(super) async fn deregister(
    clients: &Clients,
    family: &str,
    ownership: &Ownership,
    unmarked: &Past,
) -> Result<()> {
    for (revision, _) in our_revisions(clients, family, ownership, unmarked).await? {
        let call = clients.ecs.deregister_task_definition();
        let sent = call.task_definition(&revision).send().await;
        sent.told(|| format!("deregister task definition `{revision}`"))?;
    }
    Ok(())
}

pub(super) async fn retag(clients: &Clients, arn: &str, changes: TagChanges) -> Result<()> {
    let written = TagApi::Ecs.write(clients, arn, changes).await;
    written.told(|| format!("tag task definition `{}`", short(arn)))
}
