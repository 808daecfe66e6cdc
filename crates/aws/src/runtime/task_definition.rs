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
    Service as SdkService, TaskDefinition as SdkDefinition, TaskDefinitionStatus,
};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::kind::seen;
use deployer_core::node::{Resource, Watch};
use deployer_core::ours::{Past, Stranger};
use deployer_core::wait::{Look, Pace, poll};

use super::definition::{Blueprint, Commands};
pub(crate) use super::definition_read::{family_of, short};
pub(crate) use super::family::describe_revision;
use super::family::{DefinitionActual, deregister, our_revisions, read_definition, retag};
use super::{Names, definition_read, lookup, service_calls, service_fields};
use crate::access::PASS_ROLES;
use crate::client::ATTEMPTS;
use crate::error::{Told, incomplete};
pub(crate) use crate::lookup::services::WithTags;
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of a task definition's node.
pub(crate) const TASK_DEFINITION: &str = TaskDefinition::KIND;

/// How long a registration is tried that ECS does not answer.
const REGISTERING: Duration = Duration::from_secs(2 * 60);

/// What ECS says when revisions of one family are registered at the same time.
const TOO_MANY: &str = "Too many concurrent attempts to create a new revision";

/// A family of which a revision is to say what the blueprint says.
pub(crate) struct TaskDefinition {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) names: Names,
    pub(super) blueprint: Mutex<Blueprint>,
    pub(super) scope: Scope,
    /// Whether the inventory has the family: a revision without a mark is then one of ours, or on
    /// top of ours.
    pub(super) known: bool,
    /// Whether an ECS service runs one of the family, or of what the family is made from.
    pub(super) serves: bool,
    /// The family of what serves, whose latest revision this is made from where none runs: what a
    /// migration has beyond the manifest is what its service has.
    pub(super) model: Option<String>,
    pub(super) output: Output<Revision>,
}

/// The revisions that may be what is wanted already: what the service runs, if it is of the family,
/// before the family's latest. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Revisions(Vec<DefinitionActual>);

impl TaskDefinition {
    fn family(&self) -> &str {
        &self.names.family
    }

    fn port(&self) -> u16 {
        self.blueprint().port
    }

    /// The revision that is compared, published and tagged: the first that says what is wanted, or
    /// else the first.
    fn chosen(&self, there: &Revisions) -> Option<DefinitionActual> {
        let (container, wanted) = (&self.names.container, self.blueprint().fields());
        let says = |it: &&DefinitionActual| {
            definition_read::observed(&it.definition, container, self.port()) == wanted
        };
        let equal = there.0.iter().find(says);
        equal.or_else(|| there.0.first()).cloned()
    }

    fn build_on(&self, base: &SdkDefinition) -> Result<()> {
        self.blueprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .build_on(base)
    }

    fn blueprint(&self) -> Blueprint {
        self.blueprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the service runs. `None` when there is no service, or it runs nothing.
    async fn running(&self, with_tags: WithTags) -> Result<Option<SdkService>> {
        if !self.serves {
            return Ok(None);
        }
        let service = lookup::describe(&self.clients, &self.names.service, with_tags).await?;
        Ok(service.filter(|it| it.status() == Some("ACTIVE") && it.task_definition().is_some()))
    }

    async fn read_whole(&self) -> Result<Reading<Revisions>> {
        let (latest, service) = tokio::join!(
            read_definition(&self.clients, self.family(), WithTags::Yes),
            self.running(WithTags::Yes)
        );
        let (latest, service) = (latest?, service?);
        let arn = service.as_ref().and_then(SdkService::task_definition);
        let running = match (&latest, arn) {
            (Reading::Denied(words), _) => return Ok(Reading::Denied(words.clone())),
            (Reading::Present(latest), Some(arn)) if latest.arn() == arn => Some(latest.clone()),
            (_, Some(arn)) => match read_definition(&self.clients, arn, WithTags::Yes).await? {
                Reading::Present(running) => Some(running),
                Reading::Denied(words) => return Ok(Reading::Denied(words)),
                _ => None,
            },
            (_, None) => None,
        };
        let tags = service.map(|service| service_fields::tags_of(&service));
        // A revision that a code-only deployment or another hand registered has no tags; the
        // service tells.
        let ours = tags.is_some_and(|tags| self.ownership.foreign(&tags).is_none());
        let mut there = Vec::new();
        if let Some(running) = running.filter(|_| ours) {
            self.build_on(&running.definition)?;
            if self.is_of_family(&running) {
                there.push(running);
            }
        }
        if let Reading::Present(latest) = latest {
            // The inventory tells of one without tags too.
            if let Some(stranger) = self.ownership.foreign(&latest.tags)
                && (stranger.owner().is_some() || !(ours || self.known))
            {
                return Ok(Reading::Foreign(stranger));
            }
            self.build_on_model().await?;
            if !self.has_base() {
                self.build_on(&latest.definition)?;
            }
            if there.iter().all(|it| it.arn() != latest.arn()) {
                there.push(latest);
            }
        }
        self.build_on_model().await?;
        Ok(match there.is_empty() {
            true => Reading::Absent,
            false => Reading::Present(Revisions(there)),
        })
    }

    /// Where nothing runs to build on.
    async fn build_on_model(&self) -> Result<()> {
        let Some(model) = self.model.as_ref().filter(|_| !self.has_base()) else {
            return Ok(());
        };
        match read_definition(&self.clients, model, WithTags::Yes).await? {
            Reading::Present(it) if self.ownership.foreign(&it.tags).is_none() => {
                self.build_on(&it.definition)
            }
            _ => Ok(()),
        }
    }

    fn is_of_family(&self, revision: &DefinitionActual) -> bool {
        family_of(revision.arn()) == self.family()
    }

    fn has_base(&self) -> bool {
        self.blueprint().base.is_some()
    }

    /// What runs gives the pins, and what is carried over; it, or the family's latest revision, is
    /// what is compared.
    async fn read_code(&self) -> Result<Reading<Revisions>> {
        if !self.serves {
            return self.read_code_of_tasks().await;
        }
        let Some(service) =
            lookup::describe(&self.clients, &self.names.service, WithTags::No).await?
        else {
            return Err(service_calls::absent(&self.names.service));
        };
        let arn = service.task_definition().unwrap_or_default();
        let running = describe_revision(&self.clients, arn).await?;
        {
            let mut blueprint = self
                .blueprint
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            blueprint.take_over(&running)?;
            blueprint.build_on(&running)?;
        }
        let active = running.status() == Some(&TaskDefinitionStatus::Active);
        let running = DefinitionActual {
            definition: running,
            tags: Tags::new(),
        };
        let mut there = Vec::new();
        if active && self.is_of_family(&running) {
            there.push(running);
        }
        let latest = read_definition(&self.clients, self.family(), WithTags::No).await?;
        Ok(match latest {
            Reading::Present(latest) if there.iter().all(|it| it.arn() != latest.arn()) => {
                there.push(latest);
                Reading::Present(Revisions(there))
            }
            Reading::Denied(words) => Reading::Denied(words),
            _ if there.is_empty() => Reading::Absent,
            _ => Reading::Present(Revisions(there)),
        })
    }

    /// The same of a family that no service runs: its latest revision gives the pins.
    async fn read_code_of_tasks(&self) -> Result<Reading<Revisions>> {
        let latest = read_definition(&self.clients, self.family(), WithTags::No).await?;
        let Reading::Present(latest) = latest else {
            return Ok(latest.map(|latest| Revisions(vec![latest])));
        };
        let mut blueprint = self
            .blueprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        blueprint.take_over(&latest.definition)?;
        blueprint.build_on(&latest.definition)?;
        Ok(Reading::Present(Revisions(vec![latest])))
    }

    /// Registers a revision, once: the call has no token and makes another revision each time, so
    /// that it is not the SDK that tries it again.
    async fn register(&self) -> Result<Revisions> {
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
                    // Somebody registers a revision of the family at the same moment; "Please try
                    // again later".
                    Err(error) if error.chain().join(": ").contains(TOO_MANY) => {
                        Ok(Look::NotYet(error.chain().join(": ")))
                    }
                    outcome => Ok(Look::Found(outcome)),
                }
            },
        );
        let registered = registered.await??;
        // What ECS filled in is there now.
        self.build_on(&registered.definition)?;
        Ok(Revisions(vec![registered]))
    }

    /// Whether there is an active revision of the family.
    ///
    /// Errors: conflict, when the family is not ours.
    pub(super) async fn is_there(&self) -> Result<bool> {
        let reading = self.read().await?;
        let seen = seen(reading, &format!("task definition `{}`", self.family()))?;
        Ok(seen.is_some())
    }

    /// Registers a revision that says what is wanted, unless the latest one does, and publishes it.
    ///
    /// Errors: conflict, when the family is not ours.
    pub(super) async fn make_ready(&self) -> Result<()> {
        self.is_there().await?;
        let ready = self.register().await?;
        self.publish(&ready);
        Ok(())
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
        let says =
            definition_read::observed(&latest.definition, &self.names.container, self.port());
        Ok((says == self.blueprint().fields()).then_some(latest))
    }

    /// With our mark, also in a code-only deployment: else the next plan wants it back. Where that
    /// may not tag, which is a permission of its own, the ledger knows the revision.
    async fn try_to_register(&self) -> Result<DefinitionActual> {
        match self.register_with(self.ownership.tags.clone()).await {
            Err(error) if self.scope == Scope::CodeOnly && may_not_tag(&error) => {
                self.register_with(Tags::new()).await
            }
            outcome => outcome,
        }
    }

    async fn register_with(&self, tags: Tags) -> Result<DefinitionActual> {
        let sent = sdk_tags(&tags).map_err(incomplete)?;
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let answer = self
            .blueprint()
            .registration(&self.clients.ecs, self.family())?
            .set_tags((!sent.is_empty()).then_some(sent))
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
}

/// Whether a call was refused for its tags alone: ECS asks for the permission to tag where a
/// resource is made with tags ("Grant permission to tag resources on creation", Amazon ECS
/// Developer Guide), and IAM names the action that is missing.
fn may_not_tag(error: &Error) -> bool {
    let said = || error.chain().join(": ");
    error.kind() == ErrorKind::Denied && said().contains("ecs:TagResource")
}

/// A family is known by which of its active revisions are ours.
impl Kind for TaskDefinition {
    type Site = Clients;
    type Is = Fields;
    const KIND: &'static str = "ecs.task-definition";
    const NOUN: &'static str = "task definition";
    const ROLE: Role = Role::Revision;
    const TIER: Tier = Tier::Definition;
    const DATA: Data = Data::None;
    const RECORDED: bool = true;
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
    const MARKS: Marks<Self> = Marks::own();
    const ABSENT: &'static [&'static str] = &[];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

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
}

impl Released for TaskDefinition {
    async fn release(at: &At<Clients>, _there: &There<Fields>) -> Result<(), Refusal> {
        let none = Past::default();
        for (arn, tags) in our_revisions(at, at.name(), &at.owner, &none).await? {
            retag(at, &arn, at.owner.unmark(&tags)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Resource for TaskDefinition {
    type Actual = Revisions;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        match self.scope {
            Scope::Whole => self.read_whole().await,
            Scope::CodeOnly => self.read_code().await,
        }
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = self.blueprint().fields();
        if self.scope == Scope::Whole {
            tags::describe(&mut fields, &self.ownership.tags);
        }
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let Some(chosen) = self.chosen(actual) else {
            return Fields::new();
        };
        match self.scope {
            Scope::Whole => chosen.fields(&self.names.container, self.port()),
            Scope::CodeOnly => {
                definition_read::observed(&chosen.definition, &self.names.container, self.port())
            }
        }
    }

    fn notes(&self, _actual: &Self::Actual) -> Vec<String> {
        let blueprint = self.blueprint();
        let takes_none = match blueprint.commands {
            Commands::OfPeople => blueprint.takes_none(),
            // A migration's is refused.
            Commands::OfMigration | Commands::Untold => None,
        };
        let note = takes_none.map(|why| format!("no command can be run in its tasks: {why}"));
        note.into_iter().collect()
    }

    fn publish(&self, actual: &Self::Actual) {
        if let Some(chosen) = self.chosen(actual) {
            self.output.publish(Revision(chosen.arn().to_owned()));
        }
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
        let mut chosen = self
            .chosen(actual)
            .ok_or_else(|| Error::internal("a task definition without revisions was retagged"))?;
        let changes = self.ownership.changes(&chosen.tags);
        let tags = changes.applied_to(&chosen.tags);
        retag(&self.clients, chosen.arn(), changes).await?;
        chosen.tags = tags;
        Ok(Revisions(vec![chosen]))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless(
            "a revision that nobody uses harms nobody: the one that served before is there",
        )
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        let none = Past::default();
        deregister(&self.clients, self.family(), &self.ownership, &none).await
    }
}
