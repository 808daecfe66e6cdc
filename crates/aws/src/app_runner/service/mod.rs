//! `app_runner.service`: what serves, and its roll-out.

mod create;
mod restore;
mod update;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService, ServiceStatus};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::read_or_sort;
use deployer_core::ledger::Release;
use deployer_core::migration::Migrated;
use deployer_core::names::LEDGER_TAG;
use deployer_core::node::{Effect, Ready, Resource, Undone, Watch};
use deployer_core::redeploy::{self, Redeploy};
use deployer_core::spec::LedgerNote;
use deployer_core::wait::{Pace, Readiness};

use super::calls::{self, absent};
use super::described::{
    AROUND, CREATE_FAILED, DELETE_FAILED, fields_of, image_of, is_private, revision_of,
};
use super::operations::{self, Begun, Ours};
use super::served::as_it_serves;
use super::shape::{Around, Shape};
use super::{autopsy, hints, url_of};
use crate::error::Told;
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

pub(super) use restore::until_serves;

/// The kind of a service's node.
pub(crate) const SERVICE: &str = Service::KIND;

/// A service that is to serve.
pub(crate) struct Service {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// The ledger that it is to be in.
    pub(super) ledger: Option<LedgerNote>,
    /// Whether the inventory has it: what a code-only deployment, which sees no tags, goes by.
    pub(super) known: bool,
    pub(super) shape: Shape,
    /// `None` in a code-only deployment.
    pub(super) around: Option<Around>,
    pub(super) patience: Duration,
    pub(super) scope: Scope,
    /// Traffic moves only after it.
    pub(super) migrated: Value<Migrated>,
    pub(super) revision: Output<Revision>,
    pub(super) url: Output<Option<String>>,
    /// Where the manifest says that it is reached.
    pub(super) known_url: Option<String>,
    /// The new roll-out of what serves that is asked for.
    pub(super) redeploy: Option<Redeploy>,
    /// Those of the ledger, oldest first, in a code-only deployment: it leaves as it is what
    /// serves, which may be another configuration than App Runner describes.
    pub(super) releases: Vec<Release>,
}

/// A service as App Runner has it, and what this run began there.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    /// In a code-only deployment as it serves.
    pub(super) service: SdkService,
    /// Whether that is another configuration than is described, made of a release.
    remade: bool,
    pub(super) tags: Tags,
    operation: Ours,
    /// How its last deployment failed, when it was found so.
    failed: Option<String>,
    /// The id of its last deployment, as far as it was told.
    deployed: Option<String>,
}

impl Actual {
    fn read(service: SdkService, tags: Tags, latest: &[OperationSummary]) -> Self {
        let busy = calls::is_busy(&service);
        Self {
            service,
            remade: false,
            tags,
            operation: Ours::Newest,
            failed: operations::failed(latest).filter(|_| !busy),
            deployed: operations::newest(latest),
        }
    }

    fn begun(begun: Begun, tags: Tags) -> Self {
        let deployed = match &begun.operation {
            Ours::Named(id) => Some(id.clone()),
            Ours::After(_) | Ours::Newest => None,
        };
        Self {
            service: begun.service,
            remade: false,
            tags,
            operation: begun.operation,
            failed: None,
            deployed,
        }
    }
}

impl Service {
    fn name(&self) -> &str {
        &self.address.name
    }

    /// Whether a field is this deployment's affair.
    fn compares(&self, field: &str) -> bool {
        match self.scope {
            Scope::Whole => true,
            Scope::CodeOnly => matches!(field, "image" | "rollout" | "state" | redeploy::FIELD),
        }
    }

    fn compared(&self, fields: &Fields) -> Fields {
        let mut compared = Fields::new();
        for (name, value) in fields.iter().filter(|(name, _)| self.compares(name)) {
            compared.set_value(name, value.clone());
        }
        compared
    }

    async fn tags_of(&self, service: &SdkService) -> Result<Tags, Refusal> {
        match self.scope {
            Scope::Whole => calls::tags(&self.clients, service).await,
            // A code-only deployment may lack the permission: the ledger decides.
            Scope::CodeOnly => Ok(Tags::new()),
        }
    }

    /// What is there, whosever it is, and whether it is on its way out.
    async fn find(&self) -> Result<Option<(Actual, bool)>, Refusal> {
        let Some(service) = calls::find(&self.clients, self.name()).await? else {
            return Ok(None);
        };
        let latest = match service.status() {
            // Of what is paused the last deployment says what is resumed.
            ServiceStatus::OperationInProgress | ServiceStatus::Running | ServiceStatus::Paused => {
                calls::operations(&self.clients, &service).await?
            }
            _ => Vec::new(),
        };
        let going = calls::is_busy(&service) && operations::is_going(&latest);
        let tags = self.tags_of(&service).await?;
        Ok(Some((Actual::read(service, tags, &latest), going)))
    }

    /// The same as it serves, where that is what a code-only deployment changes the image of.
    ///
    /// Errors: those of [`as_it_serves`].
    async fn serving(&self, there: Actual) -> Result<Actual> {
        if self.scope == Scope::Whole {
            return Ok(there);
        }
        let latest = self.latest(&there.service).await?;
        let served = as_it_serves(&self.clients, there.service, &latest, &self.releases);
        let (service, remade) = served?;
        Ok(Actual {
            service,
            remade,
            ..there
        })
    }

    async fn latest(&self, service: &SdkService) -> Result<Vec<OperationSummary>> {
        let latest = calls::operations(&self.clients, service).await;
        latest.told(|| format!("list the operations of service `{}`", self.name()))
    }

    /// What differs but for its tags.
    fn differences(&self, there: &Actual) -> Vec<FieldChange> {
        let desired = self.desired(Some(there));
        let mut changes = self.observed(there).changes_to(&desired);
        changes.retain(|change| !tags::is_tag(change));
        changes
    }

    fn differs(&self, there: &Actual) -> bool {
        !self.differences(there).is_empty()
    }

    /// Looks once how the operation stands.
    async fn look(&self, service: &SdkService, ours: &Ours, as_wanted: bool) -> Result<Readiness> {
        let latest = self.latest(service).await?;
        Ok(operations::judge(service, &latest, ours, as_wanted))
    }
}

/// Whether it is in a state that only its deletion ends.
fn is_useless(service: &SdkService) -> bool {
    matches!(
        service.status(),
        ServiceStatus::CreateFailed | ServiceStatus::DeleteFailed
    )
}

/// Tells nobody.
struct Silent;

impl Watch for Silent {
    fn note(&self, _line: &str) {}
}

#[async_trait]
impl Resource for Service {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let what = format!("service `{}`", self.name());
        let found = match self.find().await {
            Ok(found) => found,
            Err(refusal) => return read_or_sort(refusal, Self::ABSENT, &what),
        };
        let (there, going) = match (found, self.scope) {
            (None, Scope::Whole) => return Ok(Reading::Absent),
            (None, Scope::CodeOnly) => return Err(absent(self.name())),
            (Some(found), _) => found,
        };
        if going {
            return Ok(Reading::Tombstoned(
                "App Runner deletes it; its name is free once it is gone".into(),
            ));
        }
        match self.scope {
            Scope::CodeOnly if !self.known => {
                return Err(deployer_core::ours::unknown(self.name()));
            }
            // It never came to be, or is half gone: only a whole apply makes it anew.
            Scope::CodeOnly if is_useless(&there.service) => return Err(absent(self.name())),
            Scope::CodeOnly => {}
            Scope::Whole => {
                if let Some(how) = self.ownership.foreign(&there.tags) {
                    return Ok(Reading::Foreign(how));
                }
                let noted = there.tags.get(LEDGER_TAG).map(String::as_str);
                if let Some(ledger) = &self.ledger {
                    ledger.check(noted, self.name())?;
                }
            }
        }
        match image_of(&there.service) {
            Some(_) if there.failed.is_some() || calls::is_busy(&there.service) => {
                Ok(Reading::Present(self.serving(there).await?))
            }
            Some(_) => Ok(Reading::Present(there)),
            None => Err(hints::built_from_source(self.name())),
        }
    }

    fn desired(&self, there: Option<&Actual>) -> Fields {
        let mut fields = self.shape.fields(there.map(|it| &it.service));
        if let Some(around) = &self.around {
            around.describe(&mut fields);
        }
        fields.set("rollout", "sound");
        let newest = there.and_then(|it| it.deployed.as_deref());
        redeploy::describe(&mut fields, self.redeploy.as_ref(), newest);
        if self.scope == Scope::Whole {
            tags::describe(&mut fields, &self.ownership.tags);
        }
        self.compared(&fields)
    }

    /// After an update that failed what served before serves, and no source says whether
    /// DescribeService shows its configuration again or the one that failed: the last deployment's
    /// own end is a field, so that the plan says it and an apply deploys again.
    fn observed(&self, there: &Actual) -> Fields {
        let mut fields = fields_of(&there.service);
        match &there.failed {
            Some(how) => fields.set("rollout", format!("failed: {how}")),
            None => fields.set("rollout", "sound"),
        }
        tags::describe(&mut fields, &there.tags);
        self.compared(&fields)
    }

    /// One that never came to be is not updated but made anew. "The failed service isn't usable"
    /// ("When service creation fails", AWS App Runner Developer Guide): nothing is lost with it.
    /// UpdateService can rebuild one since June 2023; an account's older API refused it
    /// (aws/apprunner-roadmap#95), and deleting works with either. One that could not be deleted
    /// takes no update at all: its deletion is tried again.
    fn cost(&self, change: &FieldChange, there: &Actual) -> Effect {
        match change.field.as_str() {
            "state" if is_useless(&there.service) => Effect::Replace,
            _ => Effect::InPlace,
        }
    }

    fn notes(&self, there: &Actual) -> Vec<String> {
        let instance = there.service.instance_configuration();
        let role = instance.and_then(|it| it.instance_role_arn());
        let stays =
            role.filter(|_| self.scope == Scope::Whole && self.shape.roles.instance.is_none());
        let stays = stays.map(|role| {
            format!("its role {role} stays: App Runner takes none away (`task_role` names another)")
        });
        let state = match there.service.status() {
            ServiceStatus::CreateFailed => vec![format!(
                "it {CREATE_FAILED} before and never served: it is deleted and made anew"
            )],
            ServiceStatus::DeleteFailed => vec![format!(
                "it {DELETE_FAILED} before, and nobody knows what of it is left: it is deleted and \
                 made anew"
            )],
            ServiceStatus::Paused => {
                vec!["another hand paused it: nobody is served until it is resumed".to_owned()]
            }
            _ => Vec::new(),
        };
        let private = is_private(&there.service).then(|| {
            "it lets in what comes from a VPC only: another hand made it so, and so it stays"
                .to_owned()
        });
        state.into_iter().chain(stays).chain(private).collect()
    }

    fn publish(&self, there: &Actual) {
        self.revision.publish(revision_of(&there.service));
        let given = url_of(&self.clients, &there.service);
        self.url.publish(self.known_url.clone().or(given));
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        let around = |it: &FieldChange| AROUND.contains(&it.field.as_str()) || tags::is_tag(it);
        if !changes.iter().all(around) {
            self.revision.withdraw();
        }
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        self.migrated.settled()?;
        if self.scope == Scope::CodeOnly {
            return Err(absent(self.name()));
        }
        let begun = self.make(watch).await?;
        Ok(Actual::begun(begun, self.ownership.tags.clone()))
    }

    async fn update(
        &self,
        there: &Actual,
        changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.change(there, changes, watch).await
    }

    async fn restore(
        &self,
        before: &Actual,
        now: &Actual,
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        self.put_back(before, now, watch).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the service is not as before")
    }

    async fn delete(&self, there: &Actual, _token: &Token) -> Result<()> {
        let arn = there.service.service_arn();
        let free = calls::until_free(&self.clients, arn, self.name(), &Silent).await?;
        if free.is_none() {
            return Ok(());
        }
        let deleted = calls::delete(&self.clients, arn).await;
        deleted.told(|| format!("delete service `{}`", self.name()))
    }

    async fn readiness(&self, there: &Actual) -> Result<Ready<Actual>> {
        let arn = there.service.service_arn();
        let seen = calls::describe(&self.clients, arn).await;
        let seen = seen.told(|| format!("read service `{}`", self.name()))?;
        let Some(service) = seen else {
            let state = Readiness::Replaced("somebody deleted the service".into());
            let actual = there.clone();
            return Ok(Ready { state, actual });
        };
        let actual = Actual {
            service,
            remade: false,
            ..there.clone()
        };
        let as_wanted = !self.differs(&actual);
        let state = self
            .look(&actual.service, &there.operation, as_wanted)
            .await?;
        let state = match state.failure() {
            None => state,
            Some((_, why)) => {
                let why = why.to_owned();
                let reasons =
                    autopsy::reasons(&self.clients, &actual.service, &there.operation).await;
                state.with_words([vec![why], reasons].concat().join("; "))
            }
        };
        Ok(Ready { state, actual })
    }

    fn unsettled(&self, there: &Actual) -> Option<String> {
        calls::is_busy(&there.service).then(|| "an operation is under way".to_owned())
    }

    fn pace(&self) -> Pace {
        Pace::until(self.patience)
    }

    fn detachable(&self) -> bool {
        true
    }
}
