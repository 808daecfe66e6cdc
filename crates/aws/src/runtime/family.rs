//! What a task definition is by its address alone: a family, of which our revisions are read,
//! deregistered, let go.

use aws_sdk_ecs::types::TaskDefinitionStatus;
use deployer_core::fields::Fields;
use deployer_core::kind::seen;
use deployer_core::ours::{Past, Stranger};

use super::task_definition::{
    TaskDefinition, WithTags, family_of, read_definition, revision_fields, short,
};
use crate::error::Told;
use crate::permissions::PASS_ROLES;
use crate::site::prelude::*;
use crate::tags::{Ownership, Tags};

/// A family is known by which of its active revisions are ours.
impl Kind for TaskDefinition {
    type Site = Clients;
    type Is = Fields;
    const KIND: &'static str = "ecs.task-definition";
    const NOUN: &'static str = "task definition";
    const TIER: Tier = Tier::Definition;
    const FACTS: Facts = Facts {
        arn: // Each revision has an ARN of its own; deregistered ones keep theirs, with their tags.
        Some(Arn::named("ecs", "task-definition", |name| {
            Some(name.rsplit_once(':')?.0)
        })),
        access: Access {
            feature: Feature::Always,
            read: &[grant(
                &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"],
                ANYTHING,
            )],
            change: &[
                grant(
                    &[
                        "ecs:RegisterTaskDefinition",
                        "ecs:TagResource",
                        "ecs:UntagResource",
                    ],
                    DEFINITIONS,
                ),
                grant(&["ecs:DeregisterTaskDefinition"], ANYTHING),
                PASS_ROLES,
            ],
        },
    };
    const ABSENT: &'static [&'static str] = &[];

    fn describe(is: &Fields, to: &mut Description) {
        to.extend(is);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Fields>>, Refusal> {
        let family = at.name();
        let latest = match read_definition(at, family, WithTags::Yes).await? {
            Reading::Present(latest) => latest,
            other => return Ok(other.map(|_| There::bare(Fields::new()))),
        };
        let ours = our_revisions(at, family, &at.owner, &at.past).await?;
        if ours.is_empty() {
            let unmarked = || "none of its revisions carries our mark".to_owned().into();
            let stranger = at.owner.foreign(&latest.tags).unwrap_or_else(unmarked);
            return Ok(Reading::Foreign(stranger));
        }
        let names: Vec<&str> = ours.iter().map(|(arn, _)| short(arn)).collect();
        let mut fields = Fields::new();
        fields.set("revisions", names.join(", "));
        Ok(Reading::Present(There::bare(fields)))
    }

    fn foreign(_at: &At<Clients>, _there: &There<Fields>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    /// Every active revision that is ours.
    async fn remove(
        at: &At<Clients>,
        _there: &There<Fields>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(deregister(at, at.name(), &at.owner, &at.past).await?)
    }

    async fn release(at: &At<Clients>, _there: &There<Fields>) -> Result<(), Refusal> {
        let none = Past::default();
        for (arn, tags) in our_revisions(at, at.name(), &at.owner, &none).await? {
            retag(at, &arn, at.owner.unmark(&tags)).await?;
        }
        Ok(())
    }
}

/// The active revisions of a family that are ours, each with its tags: by our own mark. Those that
/// a code-only deployment registered carry none and are ours as far as `unmarked` says, which knows
/// revisions by their ARN.
async fn our_revisions(
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
