//! `ecs.service`: the service that keeps the tasks running, and its roll-out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, DeploymentConfiguration, LaunchType, LoadBalancer,
    NetworkConfiguration, PropagateTags, Service as SdkService, Tag,
};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Ready, Resource, Token, Undone, Watch};
use deployer_core::spec::Replicas;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use deployer_manifest::section::{AwsSection, AwsService};

use super::lookup::{describe, read, read_service};
use super::operate::Until;
use super::refusals::{IS_THERE, PASSING, SETTLING, Tried, beyond_us};
use super::rollout::{Asked, Judge};
use super::service_fields::{
    UNDEPLOYED, as_before, balancer_text, deployment_configuration, describe_rollout, fields_of,
    for_good, is_around, sorted, tags_of, text_of_balancer,
};
use super::task_definition::WithTags;
use super::{Migrated, Names, autopsy, operate, rollout};
use crate::client::Clients;
use crate::error::{Told, code, failure, incomplete, words};
use crate::reading::seen;
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a service's node.
pub(crate) const SERVICE: &str = "ecs.service";

/// How long a deleted service may drain before its name is free.
const DRAINING: Duration = Duration::from_secs(10 * 60);

/// A service that is to run the task definition.
pub(super) struct Service {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// Whether the inventory has it: what a code-only deployment, which sees no tags, goes by.
    pub(super) known: bool,
    pub(super) names: Names,
    pub(super) settings: AwsService,
    pub(super) port: u16,
    pub(super) replicas: Replicas,
    pub(super) start_period: Duration,
    pub(super) patience: Duration,
    pub(super) judge: Judge,
    pub(super) scope: Scope,
    pub(super) definition: Value<Revision>,
    /// Traffic moves only after it.
    pub(super) migrated: Value<Migrated>,
    pub(super) revision: Output<Revision>,
}

/// The error for a code-only deployment of a service that is not there.
pub(crate) fn absent(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no service `{name}` to deploy to"),
    )
    .hint("run `deployer apply` without `--only` first: it makes the service")
}

/// The error for a code-only deployment of a service that may be somebody else's.
fn unknown(name: &str) -> Error {
    let what = format!("service `{name}` is not known to be ours: the ledger does not name it");
    Error::new(ErrorKind::Conflict, what)
        .hint("run `deployer apply` without `--only` once: it looks at the mark of the service")
}

/// Deletes a service with its tasks. Succeeds when it is draining or gone already.
pub(crate) async fn delete_service(clients: &Clients, name: &str) -> Result<()> {
    let deleted = clients
        .ecs
        .delete_service()
        .cluster(&clients.section.cluster)
        .service(name)
        .force(true)
        .send()
        .await;
    match deleted {
        Err(error)
            if matches!(
                code(&error),
                Some("ServiceNotFoundException" | "ServiceNotActiveException")
            ) =>
        {
            Ok(())
        }
        other => other.map(drop).told(|| format!("delete service `{name}`")),
    }
}

/// Takes our mark off a service.
pub(crate) async fn release_service(clients: &Clients, name: &str) -> Result<()> {
    match read_service(clients, name).await? {
        Reading::Present(service) => {
            let changes = TagChanges::unmark(&tags_of(&service));
            retag(clients, name, &service, changes).await
        }
        other => seen(other, &format!("service `{name}`")).map(drop),
    }
}

async fn retag(
    clients: &Clients,
    name: &str,
    service: &SdkService,
    changes: TagChanges,
) -> Result<()> {
    let arn = service.service_arn().unwrap_or_default();
    let ecs = &clients.ecs;
    if !changes.set.is_empty() {
        ecs.tag_resource()
            .resource_arn(arn)
            .set_tags(Some(sdk_tags(&changes.set)))
            .send()
            .await
            .told(|| format!("tag service `{name}`"))?;
    }
    if !changes.remove.is_empty() {
        ecs.untag_resource()
            .resource_arn(arn)
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of service `{name}`"))?;
    }
    Ok(())
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// The network of the tasks, of services and of migrations alike.
pub(super) fn network(section: &AwsSection) -> Result<NetworkConfiguration> {
    let public = if section.assign_public_ip {
        AssignPublicIp::Enabled
    } else {
        AssignPublicIp::Disabled
    };
    let vpc = AwsVpcConfiguration::builder()
        .set_subnets(Some(section.subnets.clone()))
        .set_security_groups(Some(section.security_groups.clone()))
        .assign_public_ip(public)
        .build()
        .map_err(incomplete)?;
    Ok(NetworkConfiguration::builder()
        .awsvpc_configuration(vpc)
        .build())
}

impl Service {
    fn name(&self) -> &str {
        &self.names.service
    }

    fn asked(&self) -> Asked {
        Asked::of(self.replicas)
    }

    fn load_balancers(&self) -> Vec<LoadBalancer> {
        let group = self.settings.target_group.iter();
        group
            .map(|group| {
                LoadBalancer::builder()
                    .target_group_arn(group)
                    .container_name(&self.names.container)
                    .container_port(i32::from(self.port))
                    .build()
            })
            .collect()
    }

    /// The time in which failed checks do not count: the scheduler ends what a load balancer calls unhealthy, from the first
    /// second on where it is told nothing else. `None` where the manifest does not say: then it is left as it is.
    fn grace_period(&self) -> Option<i32> {
        let balanced = self.settings.target_group.is_some();
        let usual = balanced.then_some(self.start_period.as_secs());
        let said = self.settings.health_check_grace_period.map(u64::from);
        let seconds = said.or(usual)?;
        Some(i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    /// What is there with ours in it: another target group is somebody else's way in.
    fn load_balancers_with(&self, actual: &SdkService) -> Vec<LoadBalancer> {
        let mut balancers = self.load_balancers();
        let ours = self.settings.target_group.as_deref();
        let others = actual.load_balancers().iter();
        balancers.extend(others.filter(|it| it.target_group_arn() != ours).cloned());
        balancers
    }

    fn deployment(&self, actual: Option<&SdkService>) -> DeploymentConfiguration {
        deployment_configuration(
            actual.and_then(SdkService::deployment_configuration),
            self.settings.minimum_healthy_percent,
            self.settings.maximum_percent,
        )
    }

    /// The count, where it is not among those asked for: inside the range it is whoever scales that decides.
    fn observed_count(&self, actual: &SdkService, fields: &mut Fields) {
        match actual.desired_count() {
            count if self.asked().allows(count) => fields.set("desired_count", self.asked()),
            count => fields.set("desired_count", count),
        }
    }

    /// Ours among the load balancers; without one in the manifest they are somebody else's.
    fn observed_balancer(&self, actual: &SdkService, fields: &mut Fields) {
        let Some(group) = &self.settings.target_group else {
            return;
        };
        let mut balancers = actual.load_balancers().iter();
        if let Some(found) = balancers.find(|it| it.target_group_arn() == Some(group)) {
            fields.set("load_balancer", text_of_balancer(found));
        }
    }

    fn with_tags(&self) -> WithTags {
        match self.scope {
            Scope::Whole => WithTags::Yes,
            Scope::CodeOnly => WithTags::No,
        }
    }

    fn desired_whole(&self, fields: &mut Fields) {
        let section = &self.clients.section;
        fields.set("desired_count", self.asked());
        fields.set("network.subnets", sorted(&section.subnets));
        fields.set("network.security_groups", sorted(&section.security_groups));
        fields.set("network.assign_public_ip", section.assign_public_ip);
        if let Some(group) = &self.settings.target_group {
            let text = balancer_text(group, &self.names.container, i32::from(self.port));
            fields.set("load_balancer", text);
        }
        fields.set_some("health_check_grace_period", self.grace_period());
        fields.set("deployment.circuit_breaker", true);
        fields.set("deployment.rollback", true);
        fields.set_some(
            "deployment.minimum_healthy_percent",
            self.settings.minimum_healthy_percent,
        );
        fields.set_some("deployment.maximum_percent", self.settings.maximum_percent);
        fields.set("execute_command", self.settings.enable_execute_command);
        fields.set("propagate_tags", PropagateTags::Service.as_str());
        tags::describe(fields, &self.ownership.tags);
    }

    /// Creates it once.
    async fn try_create(&self, token: &Token) -> Result<Tried> {
        let created = self
            .clients
            .ecs
            .create_service()
            .cluster(&self.clients.section.cluster)
            .service_name(self.name())
            .task_definition(self.definition.settled()?.0)
            .client_token(&token.0)
            .desired_count(self.asked().nearest(0))
            .launch_type(LaunchType::Fargate)
            .network_configuration(network(&self.clients.section)?)
            .set_load_balancers(Some(self.load_balancers()).filter(|list| !list.is_empty()))
            .set_health_check_grace_period_seconds(self.grace_period())
            .deployment_configuration(self.deployment(None))
            .enable_execute_command(self.settings.enable_execute_command)
            .propagate_tags(PropagateTags::Service)
            .set_tags(Some(sdk_tags(&self.ownership.tags)))
            .send()
            .await;
        let error = match created {
            Ok(answer) => return Ok(Tried::Made(answer.service.map(Box::new))),
            Err(error) => error,
        };
        let said = words(&error);
        let failed = || failure(&error, &format!("create service `{}`", self.name()));
        if said.to_lowercase().contains("draining") {
            let why = "the service of that name that was deleted still drains";
            return Ok(Tried::Later(why.to_owned()));
        }
        if said.contains(IS_THERE) {
            return Ok(Tried::There(failed()));
        }
        match PASSING.iter().any(|passing| said.contains(passing)) {
            true => Ok(Tried::Passing(failed())),
            false => Err(failed()),
        }
    }

    /// What is there although the plan did not see it: an answer from before lagged, or the reply to an earlier call was lost.
    async fn take_up(&self, refused: Error, watch: &dyn Watch) -> Result<Look<SdkService>> {
        let there = match self.read().await? {
            Reading::Present(there) => there,
            Reading::Foreign(how) => {
                let name = self.name();
                let message = format!("service `{name}` exists and is not ours: {how}");
                return Err(Error::new(ErrorKind::Conflict, message).because(refused));
            }
            _ => return Ok(Look::NotYet(refused.chain().join(": "))),
        };
        let changes = self.observed(&there).changes_to(&self.desired());
        if changes.is_empty() {
            return Ok(Look::Found(there));
        }
        watch.note("it is there already: it is changed");
        let token = Token(String::new());
        let updated = self.update(&there, &changes, &token, watch).await?;
        Ok(Look::Found(updated))
    }

    async fn update_service(
        &self,
        actual: &SdkService,
        changes: &[FieldChange],
    ) -> Result<SdkService> {
        let changed = |prefix: &str| {
            changes
                .iter()
                .any(|change| change.field.starts_with(prefix))
        };
        let mut call = self
            .clients
            .ecs
            .update_service()
            .cluster(&self.clients.section.cluster)
            .service(self.name());
        if changed("task_definition") {
            call = call.task_definition(self.definition.settled()?.0);
        } else if changed("rollout") || UNDEPLOYED.iter().any(|field| changed(field)) {
            // The same task definition again: only a new deployment tries it again, or gives running tasks the setting.
            call = call.force_new_deployment(true);
        }
        if changed("desired_count") {
            call = call.desired_count(self.asked().nearest(actual.desired_count()));
        }
        if changed("network.") {
            call = call.network_configuration(network(&self.clients.section)?);
        }
        if changed("load_balancer") {
            call = call.set_load_balancers(Some(self.load_balancers_with(actual)));
        }
        if changed("health_check_grace_period") {
            call = call.set_health_check_grace_period_seconds(self.grace_period());
        }
        if changed("deployment.") {
            call = call.deployment_configuration(self.deployment(Some(actual)));
        }
        if changed("execute_command") {
            call = call.enable_execute_command(self.settings.enable_execute_command);
        }
        if changed("propagate_tags") {
            call = call.propagate_tags(PropagateTags::Service);
        }
        let answer = call
            .send()
            .await
            .told(|| format!("update service `{}`", self.name()))?;
        answer
            .service
            .ok_or_else(|| Error::new(ErrorKind::Rejected, "ECS answered no service"))
    }

    async fn retag(&self, actual: &SdkService, changes: TagChanges) -> Result<()> {
        retag(&self.clients, self.name(), actual, changes).await
    }
}

#[async_trait]
impl Resource for Service {
    type Actual = SdkService;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let service = match read(&self.clients, self.name(), self.with_tags()).await? {
            Reading::Present(service) => service,
            Reading::Absent if self.scope == Scope::CodeOnly => return Err(absent(self.name())),
            other => return Ok(other),
        };
        if service.status() == Some("ACTIVE")
            && let Some(error) = beyond_us(&service)
        {
            return Err(error);
        }
        match (service.status(), self.scope) {
            // Tags are not visible to a code-only deployment: the ledger decides.
            (Some("ACTIVE"), Scope::CodeOnly) if self.known => Ok(Reading::Present(service)),
            (Some("ACTIVE"), Scope::CodeOnly) => Err(unknown(self.name())),
            (_, Scope::CodeOnly) => Err(absent(self.name())),
            (Some("ACTIVE"), Scope::Whole) => match self.ownership.foreign(&tags_of(&service)) {
                Some(how) => Ok(Reading::Foreign(how)),
                None => Ok(Reading::Present(service)),
            },
            (Some("DRAINING"), Scope::Whole) => Ok(Reading::Tombstoned(
                "it drains; its name is free once its tasks have stopped".into(),
            )),
            (_, Scope::Whole) => Ok(Reading::Absent),
        }
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        let definition = self.definition.field(|revision| revision.0.clone());
        fields.set_value("task_definition", definition);
        fields.set("rollout", "sound");
        if self.scope == Scope::Whole {
            self.desired_whole(&mut fields);
        }
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let whole = fields_of(actual);
        let mut fields = Fields::new();
        for (name, value) in whole.iter() {
            let compared = match (self.scope, name) {
                (_, "task_definition") => true,
                (Scope::CodeOnly, _) | (_, "desired_count" | "load_balancer") => false,
                // What the manifest does not say is left alone.
                (_, "health_check_grace_period") => self.grace_period().is_some(),
                (_, "deployment.minimum_healthy_percent") => {
                    self.settings.minimum_healthy_percent.is_some()
                }
                (_, "deployment.maximum_percent") => self.settings.maximum_percent.is_some(),
                (Scope::Whole, _) => true,
            };
            if compared {
                fields.set_value(name, value.clone());
            }
        }
        if self.scope == Scope::Whole {
            self.observed_count(actual, &mut fields);
            self.observed_balancer(actual, &mut fields);
        }
        describe_rollout(&mut fields, actual);
        fields
    }

    fn publish(&self, actual: &Self::Actual) {
        if let Some(definition) = actual.task_definition() {
            self.revision.publish(Revision(definition.to_owned()));
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        if changes
            .iter()
            .any(|change| change.field == "task_definition")
        {
            self.revision.withdraw();
        }
    }

    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        self.migrated.settled()?;
        if self.scope == Scope::CodeOnly {
            return Err(absent(self.name()));
        }
        let what = format!("the name of service `{}`", self.name());
        let (clock, began) = (self.clients.clock(), self.clients.clock().elapsed());
        poll(clock, Pace::until(DRAINING), &what, || async {
            match self.try_create(token).await? {
                Tried::Made(Some(service)) => Ok(Look::Found(*service)),
                Tried::Made(None) => {
                    Err(Error::new(ErrorKind::Rejected, "ECS answered no service"))
                }
                Tried::There(refused) => self.take_up(refused, watch).await,
                Tried::Passing(error) if clock.elapsed().saturating_sub(began) > SETTLING => {
                    Err(error)
                }
                Tried::Passing(error) => {
                    let why = error.chain().join(": ");
                    watch.note(&why);
                    Ok(Look::NotYet(why))
                }
                Tried::Later(why) => {
                    watch.note(&why);
                    Ok(Look::NotYet(why))
                }
            }
        })
        .await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.migrated.settled()?;
        // First, so that the roll-out is what a failure comes after; not read again, as an answer may be from before.
        let retagged = match changes.iter().any(tags::is_tag) {
            true => {
                let tags = tags_of(actual);
                let changes = self.ownership.changes(&tags);
                let after = changes.applied_to(&tags);
                self.retag(actual, changes).await?;
                Some(after)
            }
            false => None,
        };
        let mut updated = match changes.iter().all(tags::is_tag) {
            true => actual.clone(),
            false => self.update_service(actual, changes).await?,
        };
        if let Some(tags) = &retagged {
            updated.tags = Some(sdk_tags(tags));
        }
        Ok(updated)
    }

    async fn restore(
        &self,
        before: &Self::Actual,
        now: &Self::Actual,
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let served = before.task_definition().unwrap_or_default();
        let changes = self.observed(now).changes_to(&self.observed(before));
        let until = Until {
            wanted: served,
            // Nobody served before where another hand had wanted it so.
            asked: Asked::at_least(before.desired_count().min(1)),
            patience: self.patience,
        };
        // The circuit breaker may have been faster: then it is on its way.
        if now.task_definition() == Some(served) && !changes.iter().any(is_around) {
            operate::until_serves(&self.clients, self.name(), &until, None, watch).await?;
        } else {
            let call = self
                .clients
                .ecs
                .update_service()
                .cluster(&self.clients.section.cluster)
                .service(self.name())
                .task_definition(served);
            let begun = as_before(call, before, &changes)
                .send()
                .await
                .told(|| format!("put back service `{}`", self.name()))?
                .service;
            operate::until_serves(&self.clients, self.name(), &until, begun.as_ref(), watch)
                .await?;
        }
        if changes.iter().any(tags::is_tag) {
            let back = self.ownership.changes_back(&tags_of(now), &tags_of(before));
            self.retag(now, back).await?;
        }
        match for_good(&changes).as_slice() {
            [] => Ok(Undone::PutBack),
            fields => Ok(Undone::Stays(format!(
                "{} cannot be put back; everything else is as before",
                fields.join(", ")
            ))),
        }
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the service is not as before")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_service(&self.clients, self.name()).await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let wanted = match self.definition.known() {
            Some(revision) => revision.0,
            None => actual.task_definition().unwrap_or_default().to_owned(),
        };
        let seen = describe(&self.clients, self.name(), self.with_tags()).await?;
        // One that was deleted is described for a while: what is not there at all is not there yet.
        let Some(seen) = seen.filter(|seen| !rollout::lags(seen, actual)) else {
            return Ok(Ready {
                state: Readiness::Pending(rollout::LAGGING.into()),
                actual: actual.clone(),
            });
        };
        let state = self
            .judge
            .look(&seen, &wanted, self.clients.clock().elapsed());
        let state = match state.failure() {
            None => state,
            Some((_, why)) => {
                let why = why.to_owned();
                let reasons = autopsy::why_stopped(&self.clients, &self.names, &seen).await;
                state.with_words([vec![why], reasons].concat().join("; "))
            }
        };
        Ok(Ready {
            state,
            actual: seen,
        })
    }

    fn unsettled(&self, actual: &Self::Actual) -> Option<String> {
        rollout::unsettled(actual, self.judge.asked())
    }

    fn pace(&self) -> Pace {
        Pace::closely(self.patience)
    }

    fn detachable(&self) -> bool {
        true
    }
}
