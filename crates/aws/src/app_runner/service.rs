//! `app_runner.service`: what serves, and its roll-out.

// long: one resource, each of whose answers depends on what its last operation was.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService, ServiceStatus};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::{Refused, read_or_sort};
use deployer_core::ledger::Release;
use deployer_core::migration::Migrated;
use deployer_core::names::LEDGER_TAG;
use deployer_core::node::{Effect, Ready, Resource, Undone, Watch};
use deployer_core::redeploy::{self, Redeploy};
use deployer_core::spec::LedgerNote;
use deployer_core::wait::{Look, Pace, Readiness, poll};

use super::calls::{self, Begun, ROLE_UNKNOWN_YET, SETTLING, UNKNOWN_ROLE, absent};
use super::described::{AROUND, CREATE_FAILED, fields_of, image_of, revision_of};
use super::operations::{self, Ours};
use super::served::as_it_serves;
use super::shape::{Around, Shape, with_image};
use super::{autopsy, hints, kind, url_of};
use crate::error::{Told, incomplete};
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of a service's node.
pub(crate) const SERVICE: &str = Service::KIND;

/// What App Runner says when a service of the name is there.
const IS_THERE: &str = "already exists";
/// How long a deleted service may keep its name.
const GOING: Duration = Duration::from_secs(20 * 60);

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
            Ours::Newest => None,
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

    /// Creates it once.
    async fn try_create(&self) -> Result<Look<Begun>> {
        let around = self.around.as_ref().ok_or_else(|| absent(self.name()))?;
        let call = self.clients.app_runner.create_service();
        let created = call
            .service_name(self.name())
            .source_configuration(self.shape.source(None)?)
            .instance_configuration(self.shape.instance(None))
            .health_check_configuration(self.shape.health(None))
            .network_configuration(around.network(&self.clients, None).await?)
            .auto_scaling_configuration_arn(around.scaling.settled()?.0)
            .set_tags(Some(sdk_tags(&self.ownership.tags).map_err(incomplete)?))
            .send()
            .await;
        let refusal = match created.map_err(Refusal::from) {
            Ok(answer) => {
                let operation = Ours::answered(Some(answer.operation_id()));
                let service = answer.service.ok_or_else(calls::nothing)?;
                return Ok(Look::Found(Begun { service, operation }));
            }
            Err(refusal) => refusal,
        };
        if refusal.says(UNKNOWN_ROLE) {
            return Ok(Look::NotYet(ROLE_UNKNOWN_YET.to_owned()));
        }
        let closed = hints::is_closed(&refusal);
        let error = refusal.of(&format!("create service `{}`", self.name()));
        Err(match closed {
            true => error.hint(hints::CLOSED),
            false => error,
        })
    }

    async fn make(&self, watch: &dyn Watch) -> Result<Begun> {
        let what = format!("service `{}`", self.name());
        let (clock, began) = (self.clients.clock(), self.clients.clock().elapsed());
        poll(clock, Pace::until(GOING), &what, || async {
            match self.try_create().await {
                Ok(Look::NotYet(why)) if clock.elapsed().saturating_sub(began) < SETTLING => {
                    watch.note(&why);
                    Ok(Look::NotYet(why))
                }
                Ok(Look::NotYet(why)) => {
                    let message = format!("cannot create service `{}`: {why}", self.name());
                    Err(Error::new(ErrorKind::Rejected, message).hint(hints::ROLES))
                }
                Ok(found) => Ok(found),
                Err(error) if error.chain().join(": ").contains(IS_THERE) => {
                    self.take_up(error, watch).await
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// What is there although the plan did not see it: an answer from before lagged, the reply to
    /// an earlier call was lost, or a deleted one has its name still.
    async fn take_up(&self, refused: Error, watch: &dyn Watch) -> Result<Look<Begun>> {
        let found = self.find().await;
        let found = found.told(|| format!("read service `{}`", self.name()))?;
        let Some((there, false)) = found else {
            watch.note("the service of that name that was deleted is not gone yet");
            return Ok(Look::NotYet(refused.chain().join(": ")));
        };
        if let Some(stranger) = self.ownership.foreign(&there.tags) {
            let name = self.name();
            let message = format!("service `{name}` exists and is not ours: {stranger}");
            return Err(Error::new(ErrorKind::Conflict, message).because(refused));
        }
        if !self.differs(&there) {
            return Ok(Look::Found(Begun {
                service: there.service,
                operation: Ours::Newest,
            }));
        }
        watch.note("it is there already: it is changed");
        let call = self.whole(&there).await?;
        let begun = calls::update(&self.clients, &self.updating(), call, watch).await?;
        Ok(Look::Found(begun))
    }

    fn updating(&self) -> String {
        format!("update service `{}`", self.name())
    }

    fn call(&self, there: &Actual) -> UpdateServiceFluentBuilder {
        let call = self.clients.app_runner.update_service();
        call.service_arn(there.service.service_arn())
    }

    /// Everything that the manifest says, in one call: what is not said stays as it is.
    async fn whole(&self, there: &Actual) -> Result<UpdateServiceFluentBuilder> {
        let service = Some(&there.service);
        let Some(around) = &self.around else {
            let served = &there.service;
            let source = with_image(served, &self.shape.image.settled()?)?;
            let call = self.call(there).source_configuration(source);
            return Ok(match there.remade {
                // What is not said stays as it is described, which did not serve.
                true => call
                    .set_instance_configuration(served.instance_configuration.clone())
                    .set_health_check_configuration(served.health_check_configuration.clone()),
                false => call,
            });
        };
        Ok(self
            .call(there)
            .source_configuration(self.shape.source(service)?)
            .instance_configuration(self.shape.instance(service))
            .health_check_configuration(self.shape.health(service))
            .network_configuration(around.network(&self.clients, service).await?)
            .auto_scaling_configuration_arn(around.scaling.settled()?.0))
    }

    async fn retag(&self, there: &Actual, changes: TagChanges) -> Result<()> {
        let arn = there.service.service_arn();
        let written = calls::when_free(&self.clients, "tag the service", &Silent, || {
            TagApi::AppRunner.write(&self.clients, arn, changes.clone())
        });
        written.await
    }

    /// Looks once how the operation stands.
    async fn look(&self, service: &SdkService, ours: &Ours, as_wanted: bool) -> Result<Readiness> {
        let latest = self.latest(service).await?;
        Ok(operations::judge(service, &latest, ours, as_wanted))
    }
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
                return Err(crate::runtime::service::calls::unknown(self.name()));
            }
            // It never came to be: only a whole apply makes it anew.
            Scope::CodeOnly if there.service.status() == &ServiceStatus::CreateFailed => {
                return Err(absent(self.name()));
            }
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
    /// (aws/apprunner-roadmap#95), and deleting works with either.
    fn cost(&self, change: &FieldChange, there: &Actual) -> Effect {
        let failed = there.service.status() == &ServiceStatus::CreateFailed;
        match change.field.as_str() {
            "state" if failed => Effect::Replace,
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
            ServiceStatus::Paused => {
                vec!["another hand paused it: nobody is served until it is resumed".to_owned()]
            }
            _ => Vec::new(),
        };
        state.into_iter().chain(stays).collect()
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
        self.migrated.settled()?;
        // First, so that the roll-out is what a failure comes after.
        let mut tags = there.tags.clone();
        if changes.iter().any(tags::is_tag) {
            let changes = self.ownership.changes(&tags);
            tags = changes.applied_to(&tags);
            self.retag(there, changes).await?;
        }
        if changes.iter().all(tags::is_tag) {
            return Ok(Actual {
                tags,
                ..there.clone()
            });
        }
        let mut now = there.clone();
        if there.service.status() == &ServiceStatus::Paused {
            let resumed = calls::resume(&self.clients, &there.service, watch).await?;
            now = Actual {
                // Resuming runs again what was paused: that is no deployment, and what was put back
                // before is what it runs.
                deployed: there.deployed.clone(),
                failed: there.failed.clone(),
                ..Actual::begun(resumed, tags.clone())
            };
            now = self.serving(now).await?;
        } else if calls::is_busy(&there.service) {
            // Whatever it makes of the service is compared, not what is there in the middle of it.
            let arn = there.service.service_arn();
            let free = calls::until_free(&self.clients, arn, self.name(), watch).await?;
            now.service = free.ok_or_else(|| absent(self.name()))?;
            now = self.serving(now).await?;
        }
        let changes = self.differences(&now);
        if changes.is_empty() {
            return Ok(Actual { tags, ..now });
        }
        let begun = match redeploy::is_all_of(&changes) {
            true => calls::deploy(&self.clients, &now.service, watch).await?,
            // It deploys whatever it changes.
            false => {
                let call = self.whole(&now).await?;
                calls::update(&self.clients, &self.updating(), call, watch).await?
            }
        };
        Ok(Actual::begun(begun, tags))
    }

    /// What App Runner puts back by itself is waited for first.
    async fn restore(
        &self,
        before: &Actual,
        now: &Actual,
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let arn = now.service.service_arn();
        let free = calls::until_free(&self.clients, arn, self.name(), watch).await?;
        let service = free.ok_or_else(|| absent(self.name()))?;
        if before.service.status() == &ServiceStatus::CreateFailed {
            return Ok(Undone::Stays("it did not serve before either".into()));
        }
        if before.failed.is_some() {
            return self.leave(&service).await;
        }
        let (was, is) = (fields_of(&before.service), fields_of(&service));
        if was.changes_to(&is).iter().any(|it| it.field != "state") {
            let call = self.clients.app_runner.update_service().service_arn(arn);
            let call = as_before(call, &before.service);
            let action = format!("put back service `{}`", self.name());
            let begun = calls::update(&self.clients, &action, call, watch).await?;
            self.until_serves(&begun, watch).await?;
        }
        if before.tags != now.tags {
            let back = self.ownership.changes_back(&now.tags, &before.tags);
            self.retag(now, back).await?;
        }
        Ok(Undone::PutBack)
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
        let deleted = kind::delete(&self.clients, arn).await;
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
                let reasons = autopsy::reasons(&self.clients, &actual.service).await;
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

impl Service {
    /// What is not put back: a deployment had failed before this run, and what was described then
    /// may be what failed.
    async fn leave(&self, service: &SdkService) -> Result<Undone> {
        let latest = self.latest(service).await?;
        Ok(match operations::failed(&latest) {
            Some(how) => Undone::Stays(format!("{how}: what served before it serves")),
            None => Undone::Lost(
                "the deployment before this run's had failed, and App Runner does not say what \
                 served then"
                    .into(),
            ),
        })
    }

    async fn until_serves(&self, begun: &Begun, watch: &dyn Watch) -> Result<()> {
        until_serves(&self.clients, begun, self.patience, watch).await
    }
}

/// Waits until what a call began has ended well.
///
/// Errors: rolled back, failed or untrue, when something else serves at the end; timed out.
pub(super) async fn until_serves(
    clients: &Clients,
    begun: &Begun,
    patience: Duration,
    watch: &dyn Watch,
) -> Result<()> {
    let (name, arn) = (begun.service.service_name(), begun.service.service_arn());
    let what = format!("service `{name}`");
    let wanted = revision_of(&begun.service);
    poll(clients.clock(), Pace::until(patience), &what, || async {
        let seen = calls::describe(clients, arn).await;
        let seen = seen.told(|| format!("read {what}"))?;
        let seen = seen.ok_or_else(|| absent(name))?;
        let latest = calls::operations(clients, &seen).await;
        let latest = latest.told(|| format!("list the operations of {what}"))?;
        let as_wanted = revision_of(&seen) == wanted;
        match operations::judge(&seen, &latest, &begun.operation, as_wanted) {
            Readiness::Ready => Ok(Look::Found(())),
            Readiness::Pending(why) => {
                watch.note(&why);
                Ok(Look::NotYet(why))
            }
            readiness => {
                let (kind, why) = readiness.failure().unwrap_or((ErrorKind::Failed, ""));
                Err(Error::new(kind, format!("{what} does not serve: {why}")))
            }
        }
    })
    .await
}

/// The call that makes a service as it was.
fn as_before(call: UpdateServiceFluentBuilder, before: &SdkService) -> UpdateServiceFluentBuilder {
    let scaling = before.auto_scaling_configuration_summary();
    let scaling = scaling.and_then(|it| it.auto_scaling_configuration_arn());
    call.set_source_configuration(before.source_configuration().cloned())
        .set_instance_configuration(before.instance_configuration().cloned())
        .set_health_check_configuration(before.health_check_configuration().cloned())
        .set_network_configuration(before.network_configuration().cloned())
        .set_auto_scaling_configuration_arn(scaling.map(str::to_owned))
}
