//! `ecs.service`: the service that keeps the tasks running, and its roll-out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, LaunchType, LoadBalancer, NetworkConfiguration,
    PropagateTags, Service as SdkService, Tag,
};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Effect, Kept, Reading, Ready, Resource, Token, Undone, Watch};
use deployer_core::spec::Replicas;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use deployer_manifest::section::{AwsSection, AwsService};

use super::lookup::{describe, read};
use super::service_fields::{
    as_before, balancer_text, deployment_configuration, describe_deployment, describe_rollout,
    fields_of, for_good, is_around, sorted, tags_of,
};
use super::task_definition::WithTags;
use super::{Migrated, Names, autopsy, operate, rollout};
use crate::client::Clients;
use crate::error::{Told, code, failure, incomplete, words};
use crate::tags::{self, Ownership, Tags};

/// The kind of a service's node.
pub(crate) const SERVICE: &str = "ecs.service";

/// How long a roll-out may take: image pull, start, health checks and draining of the old tasks.
pub(crate) const ROLL_OUT: Duration = Duration::from_secs(15 * 60);
/// How long a deleted service may drain before its name is free.
const DRAINING: Duration = Duration::from_secs(10 * 60);

/// A service that is to run the task definition.
pub(super) struct Service {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) names: Names,
    pub(super) settings: AwsService,
    pub(super) port: u16,
    pub(super) replicas: Replicas,
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

    fn scales(&self) -> bool {
        self.replicas.max > self.replicas.min
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

    fn grace_period(&self) -> Option<i32> {
        self.settings.target_group.as_ref()?;
        let seconds = self.settings.health_check_grace_period.unwrap_or(0);
        Some(i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    fn count(&self) -> i32 {
        i32::try_from(self.replicas.min).unwrap_or(i32::MAX)
    }

    fn with_tags(&self) -> WithTags {
        match self.scope {
            Scope::Whole => WithTags::Yes,
            Scope::CodeOnly => WithTags::No,
        }
    }

    fn desired_whole(&self, fields: &mut Fields) {
        let section = &self.clients.section;
        if !self.scales() {
            fields.set("desired_count", self.replicas.min);
        }
        fields.set("launch_type", LaunchType::Fargate.as_str());
        fields.set("network.subnets", sorted(&section.subnets));
        fields.set("network.security_groups", sorted(&section.security_groups));
        fields.set("network.assign_public_ip", section.assign_public_ip);
        if let Some(group) = &self.settings.target_group {
            let text = balancer_text(group, &self.names.container, i32::from(self.port));
            fields.set("load_balancer", text);
        }
        fields.set_some("health_check_grace_period", self.grace_period());
        describe_deployment(fields, &deployment_configuration());
        fields.set("execute_command", self.settings.enable_execute_command);
        fields.set("propagate_tags", PropagateTags::Service.as_str());
        tags::describe(fields, &self.ownership.tags);
    }

    /// Creates it once. `None` while a deleted service of the same name drains.
    async fn try_create(&self, token: &Token) -> Result<Option<SdkService>> {
        let created = self
            .clients
            .ecs
            .create_service()
            .cluster(&self.clients.section.cluster)
            .service_name(self.name())
            .task_definition(self.definition.settled()?.0)
            .client_token(&token.0)
            .desired_count(self.count())
            .launch_type(LaunchType::Fargate)
            .network_configuration(network(&self.clients.section)?)
            .set_load_balancers(Some(self.load_balancers()).filter(|list| !list.is_empty()))
            .set_health_check_grace_period_seconds(self.grace_period())
            .deployment_configuration(deployment_configuration())
            .enable_execute_command(self.settings.enable_execute_command)
            .propagate_tags(PropagateTags::Service)
            .set_tags(Some(sdk_tags(&self.ownership.tags)))
            .send()
            .await;
        match created {
            Ok(answer) => Ok(answer.service),
            Err(error) if words(&error).to_lowercase().contains("draining") => Ok(None),
            Err(error) => Err(failure(
                &error,
                &format!("create service `{}`", self.name()),
            )),
        }
    }

    async fn update_service(&self, changes: &[FieldChange]) -> Result<SdkService> {
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
        } else if changed("rollout") {
            // The same task definition again: only a new deployment tries it again.
            call = call.force_new_deployment(true);
        }
        if changed("desired_count") {
            call = call.desired_count(self.count());
        }
        if changed("network.") {
            call = call.network_configuration(network(&self.clients.section)?);
        }
        if changed("load_balancer") {
            call = call.set_load_balancers(Some(self.load_balancers()));
        }
        if changed("health_check_grace_period") {
            call = call.set_health_check_grace_period_seconds(self.grace_period());
        }
        if changed("deployment.") {
            call = call.deployment_configuration(deployment_configuration());
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

    async fn retag(&self, actual: &SdkService, wanted: &Tags) -> Result<()> {
        let changes = tags::changes(&tags_of(actual), wanted);
        let arn = actual.service_arn().unwrap_or_default();
        let ecs = &self.clients.ecs;
        if !changes.set.is_empty() {
            ecs.tag_resource()
                .resource_arn(arn)
                .set_tags(Some(sdk_tags(&changes.set)))
                .send()
                .await
                .told(|| format!("tag service `{}`", self.name()))?;
        }
        if !changes.remove.is_empty() {
            ecs.untag_resource()
                .resource_arn(arn)
                .set_tag_keys(Some(changes.remove))
                .send()
                .await
                .told(|| format!("remove tags of service `{}`", self.name()))?;
        }
        Ok(())
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
        match (service.status(), self.scope) {
            // Tags are not visible to a code-only deployment: the configured name decides.
            (Some("ACTIVE"), Scope::CodeOnly) => Ok(Reading::Present(service)),
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
                (Scope::CodeOnly, _) => false,
                // Autosscaling owns it.
                (Scope::Whole, "desired_count") => !self.scales(),
                (Scope::Whole, _) => true,
            };
            if compared {
                fields.set_value(name, value.clone());
            }
        }
        describe_rollout(&mut fields, actual);
        fields
    }

    fn effect(&self, field: &str) -> Effect {
        match field {
            "launch_type" => Effect::Replace,
            _ => Effect::InPlace,
        }
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
        poll(
            self.clients.clock(),
            Pace::until(DRAINING),
            &what,
            || async {
                Ok(match self.try_create(token).await? {
                    Some(service) => Look::Found(service),
                    None => {
                        let why = "the service of that name that was deleted still drains";
                        watch.note(why);
                        Look::NotYet(why.into())
                    }
                })
            },
        )
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
        let retagged = changes.iter().any(tags::is_tag);
        if retagged {
            self.retag(actual, &self.ownership.tags).await?;
        }
        let mut updated = match changes.iter().all(tags::is_tag) {
            true => actual.clone(),
            false => self.update_service(changes).await?,
        };
        if retagged {
            updated.tags = Some(sdk_tags(&self.ownership.tags));
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
        // The circuit breaker may have been faster: then it is on its way.
        if now.task_definition() == Some(served) && !changes.iter().any(is_around) {
            operate::until_serves(&self.clients, self.name(), served, None, watch).await?;
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
            operate::until_serves(&self.clients, self.name(), served, begun.as_ref(), watch)
                .await?;
        }
        if changes.iter().any(tags::is_tag) {
            self.retag(now, &tags_of(before)).await?;
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
        let state = rollout::judge(&seen, &wanted);
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
        rollout::unsettled(actual)
    }

    fn pace(&self) -> Pace {
        Pace::closely(ROLL_OUT)
    }

    fn detachable(&self) -> bool {
        true
    }
}
