//! `ecs.service`: the service that keeps the tasks running, and its roll-out.

// long: one resource; its fields, calls and kind are beside it.

mod agents;
pub(crate) mod calls;
pub(crate) mod fields;
mod kind;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::spec::AwsService;
use async_trait::async_trait;
use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::{
    DeploymentConfiguration, LaunchType, NetworkConfiguration, PropagateTags, Service as SdkService,
};
use deployer_core::address::Address;
use deployer_core::capability::{Revision, Scope};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::Refused;
use deployer_core::migration::Migrated;
use deployer_core::names::LEDGER_TAG;
use deployer_core::node::{Ready, Resource, Undone, Watch};
use deployer_core::redeploy::{self, Redeploy};
use deployer_core::spec::{LedgerNote, Replicas};
use deployer_core::wait::{Look, Pace, Readiness, poll};

use crate::error::{Told, failure, incomplete, words};
use crate::ground::{ClusterName, Network, SecurityGroups, Subnets};
use crate::runtime::balancers::Balancers;
use crate::runtime::lookup::{describe, read};
use crate::runtime::operate::Until;
use crate::runtime::refusals::{IS_THERE, SETTLING, Tried, beyond_us, passes};
use crate::runtime::rollout::{Asked, Judge};
use crate::runtime::task_definition::WithTags;
use crate::runtime::{Names, autopsy, operate, rollout};
use crate::site::prelude::*;
use crate::tags::{self, Ownership};
use calls::{absent, retag, send_update};
use fields::{
    UNDEPLOYED, as_before, deployment_configuration, describe_rollout, fields_of, for_good,
    is_around, tags_of,
};
use kind::delete;

/// The kind of a service's node.
pub(crate) const SERVICE: &str = Service::KIND;

/// How long a deleted service may drain before its name is free.
const DRAINING: Duration = Duration::from_secs(10 * 60);

/// A service that is to run the task definition.
pub(crate) struct Service {
    pub(in crate::runtime) clients: Arc<Clients>,
    pub(in crate::runtime) address: Address,
    pub(in crate::runtime) ownership: Ownership,
    /// The ledger that it is to be in.
    pub(in crate::runtime) ledger: Option<LedgerNote>,
    /// Whether the inventory has it: what a code-only deployment, which sees no tags, goes by.
    pub(in crate::runtime) known: bool,
    pub(in crate::runtime) names: Names,
    pub(in crate::runtime) cluster: Value<ClusterName>,
    pub(in crate::runtime) network: Network,
    /// Whether tasks get a public address.
    pub(in crate::runtime) public_ip: Option<bool>,
    pub(in crate::runtime) settings: AwsService,
    pub(in crate::runtime) balancers: Balancers,
    pub(in crate::runtime) replicas: Replicas,
    /// What the manifest is silent about of a service that is adopted.
    pub(in crate::runtime) unsaid: BTreeSet<String>,
    pub(in crate::runtime) start_period: Duration,
    pub(in crate::runtime) patience: Duration,
    pub(in crate::runtime) judge: Judge,
    pub(in crate::runtime) scope: Scope,
    pub(in crate::runtime) definition: Value<Revision>,
    /// Traffic moves only after it.
    pub(in crate::runtime) migrated: Value<Migrated>,
    pub(in crate::runtime) revision: Output<Revision>,
    /// The new roll-out of what serves that is asked for.
    pub(in crate::runtime) redeploy: Option<Redeploy>,
    /// The deployment that is judged: what this run's change began, or what it found there.
    pub(in crate::runtime) begun: Mutex<Option<String>>,
    /// The deployment whose tasks were found to take no commands, whatever the service says.
    pub(in crate::runtime) without_agent: Mutex<Option<String>>,
}

impl Service {
    fn name(&self) -> &str {
        &self.names.service
    }

    fn asked(&self) -> Asked {
        Asked::of(self.replicas)
    }

    /// Whether a field is the manifest's affair. On a service that is adopted, what it is silent
    /// about stays.
    fn compares(&self, field: &str) -> bool {
        let settings = &self.settings;
        let is_new = !settings.adopt;
        match (self.scope, field) {
            (_, "task_definition" | "rollout" | redeploy::FIELD) => true,
            (Scope::CodeOnly, _) => false,
            (_, "desired_count") => !self.unsaid.contains("replicas"),
            (_, "network.security_groups") => {
                is_new || SecurityGroups::are_said(&self.network.security_groups)
            }
            (_, "network.assign_public_ip") => is_new || self.public_ip.is_some(),
            (_, "health_check_grace_period") => {
                let said = settings.health_check_grace_period.is_some();
                let usual =
                    self.balancers.group.is_some() && !self.unsaid.contains("health.start_period");
                said || usual
            }
            (_, "deployment.minimum_healthy_percent") => settings.minimum_healthy_percent.is_some(),
            (_, "deployment.maximum_percent") => settings.maximum_percent.is_some(),
            (_, "execute_command") => is_new || settings.enable_execute_command.is_some(),
            (_, "propagate_tags") => is_new,
            (Scope::Whole, _) => true,
        }
    }

    /// The network that the manifest says, and of what is there the rest.
    fn network_over(&self, actual: &SdkService) -> Result<NetworkConfiguration> {
        let mut wanted = self.network.of_tasks(self.public_ip)?;
        let there = actual.network_configuration();
        let there = there.and_then(|network| network.awsvpc_configuration());
        if let (Some(wanted), Some(there)) = (&mut wanted.awsvpc_configuration, there) {
            if !self.compares("network.security_groups") {
                wanted.security_groups.clone_from(&there.security_groups);
            }
            if !self.compares("network.assign_public_ip") {
                wanted.assign_public_ip.clone_from(&there.assign_public_ip);
            }
        }
        Ok(wanted)
    }

    /// The time in which failed checks do not count: the scheduler ends what a load balancer calls
    /// unhealthy, from the first second on where it is told nothing else. `None` where the manifest
    /// does not say.
    fn grace_period(&self) -> Option<i32> {
        let balanced = self.balancers.group.is_some();
        let usual = balanced.then_some(self.start_period.as_secs());
        let said = self.settings.health_check_grace_period.map(u64::from);
        let seconds = said.or(usual)?;
        Some(i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    fn deployment(&self, actual: Option<&SdkService>) -> DeploymentConfiguration {
        deployment_configuration(
            actual.and_then(SdkService::deployment_configuration),
            self.settings.minimum_healthy_percent,
            self.settings.maximum_percent,
        )
    }

    fn with_tags(&self) -> WithTags {
        match self.scope {
            Scope::Whole => WithTags::Yes,
            Scope::CodeOnly => WithTags::No,
        }
    }

    /// All that a service has, as the manifest and its defaults say.
    fn wished(&self) -> Fields {
        let (network, settings) = (&self.network, &self.settings);
        let mut fields = Fields::new();
        let definition = self.definition.field(|revision| revision.0.clone());
        fields.set_value("task_definition", definition);
        fields.set("rollout", "sound");
        fields.set("desired_count", self.asked());
        fields.set_value("network.subnets", network.subnets.field(Subnets::text));
        let groups = network.security_groups.field(SecurityGroups::text);
        fields.set_value("network.security_groups", groups);
        let public = self.public_ip.unwrap_or_default();
        fields.set("network.assign_public_ip", public);
        if let Some(balancer) = self.balancers.wanted() {
            fields.set_value("load_balancer", balancer);
        }
        fields.set_some("health_check_grace_period", self.grace_period());
        fields.set("deployment.circuit_breaker", true);
        fields.set("deployment.rollback", true);
        let (least, most) = (settings.minimum_healthy_percent, settings.maximum_percent);
        fields.set_some("deployment.minimum_healthy_percent", least);
        fields.set_some("deployment.maximum_percent", most);
        let exec = settings.enable_execute_command.unwrap_or_default();
        fields.set("execute_command", exec);
        fields.set("propagate_tags", PropagateTags::Service.as_str());
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    /// Those of the fields that are the manifest's affair.
    fn compared(&self, fields: &Fields) -> Fields {
        let mut compared = Fields::new();
        for (name, value) in fields.iter().filter(|(name, _)| self.compares(name)) {
            compared.set_value(name, value.clone());
        }
        compared
    }

    /// Creates it once.
    async fn try_create(&self, token: &Token) -> Result<Tried> {
        let created = self
            .clients
            .ecs
            .create_service()
            .cluster(self.cluster.settled()?.0)
            .service_name(self.name())
            .task_definition(self.definition.settled()?.0)
            .client_token(&token.0)
            .desired_count(self.asked().nearest(0))
            .launch_type(LaunchType::Fargate)
            .network_configuration(self.network.of_tasks(self.public_ip)?)
            .set_load_balancers(Some(self.balancers.first()?).filter(|list| !list.is_empty()))
            .set_health_check_grace_period_seconds(self.grace_period())
            .deployment_configuration(self.deployment(None))
            .enable_execute_command(self.settings.enable_execute_command.unwrap_or_default())
            .propagate_tags(PropagateTags::Service)
            .set_tags(Some(sdk_tags(&self.ownership.tags).map_err(incomplete)?))
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
        match passes(&failed()) {
            true => Ok(Tried::Passing(failed())),
            false => Err(failed()),
        }
    }

    /// What is there although the plan did not see it: an answer from before lagged, or the reply
    /// to an earlier call was lost.
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
        let changes = self
            .observed(&there)
            .changes_to(&self.desired(Some(&there)));
        if changes.is_empty() {
            return Ok(Look::Found(there));
        }
        watch.note("it is there already: it is changed");
        let token = Token(String::new());
        let updated = self.update(&there, &changes, &token, watch).await?;
        Ok(Look::Found(updated))
    }

    /// Changes it: in one call, but for the grace period, which ECS takes only of a service that
    /// has a load balancer already (aws-cloudformation/cloudformation-coverage-roadmap#1313) and
    /// does not bear on one that has none (hashicorp/terraform-provider-aws#31104).
    async fn update_service(
        &self,
        actual: &SdkService,
        changes: &[FieldChange],
    ) -> Result<SdkService> {
        let changed = |field: &str| changes.iter().any(|change| change.field == field);
        let action = format!("update service `{}`", self.name());
        let grace = |seconds: Option<i32>| {
            let call = self.call()?;
            Ok::<_, Error>(call.set_health_check_grace_period_seconds(seconds))
        };
        let had = !actual.load_balancers().is_empty();
        let balancers = changed("load_balancer").then(|| self.balancers.among(actual));
        let balancers = balancers.transpose()?;
        let has = balancers.as_ref().map_or(had, |after| !after.is_empty());
        let later = changed("health_check_grace_period") && !had && has;
        if had && !has && actual.health_check_grace_period_seconds() > Some(0) {
            send_update(&self.clients, &action, grace(Some(0))?).await?;
        }
        let mut call = self.changed(actual, changes)?;
        call = call.set_load_balancers(balancers);
        if changed("health_check_grace_period") && !later {
            call = call.set_health_check_grace_period_seconds(self.grace_period());
        }
        let updated = send_update(&self.clients, &action, call).await?;
        match later {
            true => send_update(&self.clients, &action, grace(self.grace_period())?).await,
            false => Ok(updated),
        }
    }

    fn call(&self) -> Result<UpdateServiceFluentBuilder> {
        let ClusterName(cluster) = self.cluster.settled()?;
        let call = self.clients.ecs.update_service();
        Ok(call.cluster(cluster).service(self.name()))
    }

    /// A call that makes these changes, but for those of load balancers.
    fn changed(
        &self,
        actual: &SdkService,
        changes: &[FieldChange],
    ) -> Result<UpdateServiceFluentBuilder> {
        let changed = |prefix: &str| {
            changes
                .iter()
                .any(|change| change.field.starts_with(prefix))
        };
        let mut call = self.call()?;
        if changed("task_definition") {
            call = call.task_definition(self.definition.settled()?.0);
        } else if changed("rollout")
            || redeploy::is_among(changes)
            || UNDEPLOYED.iter().any(|field| changed(field))
        {
            // The same task definition again: only a new deployment tries it again, gives running
            // tasks the setting, or starts them anew. UpdateService takes no token: sent again
            // because its reply was lost, it makes one deployment more, which takes the place of
            // the first.
            call = call.force_new_deployment(true);
        }
        if changed("desired_count") {
            call = call.desired_count(self.asked().nearest(actual.desired_count()));
        }
        if changed("network.") {
            call = call.network_configuration(self.network_over(actual)?);
        }
        if changed("deployment.") {
            call = call.deployment_configuration(self.deployment(Some(actual)));
        }
        if changed("execute_command") {
            let exec = self.settings.enable_execute_command.unwrap_or_default();
            call = call.enable_execute_command(exec);
        }
        if changed("propagate_tags") {
            call = call.propagate_tags(PropagateTags::Service);
        }
        Ok(call)
    }

    /// Keeps which deployment this run's change began.
    fn note_begun(&self, service: &SdkService) {
        let begun = rollout::newest(service).map(str::to_owned);
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    /// The deployment that is judged. A run that changes nothing judges what it finds, which an
    /// earlier one may have begun.
    fn begun(&self, there: &SdkService) -> Option<String> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_none() {
            *begun = rollout::newest(there).map(str::to_owned);
        }
        begun.clone()
    }

    fn note_agent(&self, without: Option<String>) {
        let noted = self.without_agent.lock();
        *noted.unwrap_or_else(PoisonError::into_inner) = without;
    }

    /// Whether what runs was found to take no commands.
    fn is_without_agent(&self, there: &SdkService) -> bool {
        let found = self.without_agent.lock();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        found.is_some() && found.as_deref() == rollout::newest(there)
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
            Reading::Present(service) => {
                let found = agents::gone_back_to_without(&self.clients, &self.names, &service);
                let found = found.await;
                self.note_agent(found);
                service
            }
            Reading::Absent if self.scope == Scope::CodeOnly => return Err(absent(self.name())),
            other => return Ok(other),
        };
        // Whose it is comes first: what is not ours is nobody's to change here, whatever it is.
        let ours = |service: SdkService| match beyond_us(&service) {
            Some(error) => Err(error),
            None => Ok(Reading::Present(service)),
        };
        match (service.status(), self.scope) {
            // Tags are not visible to a code-only deployment: the ledger decides.
            (Some("ACTIVE"), Scope::CodeOnly) if self.known => ours(service),
            (Some("ACTIVE"), Scope::CodeOnly) => Err(deployer_core::ours::unknown(self.name())),
            (_, Scope::CodeOnly) => Err(absent(self.name())),
            (Some("ACTIVE"), Scope::Whole) => match self.ownership.foreign(&tags_of(&service)) {
                Some(how) => Ok(Reading::Foreign(how)),
                None => {
                    let tags = tags_of(&service);
                    let noted = tags.get(LEDGER_TAG).map(String::as_str);
                    if let Some(ledger) = &self.ledger {
                        ledger.check(noted, self.name())?;
                    }
                    ours(service)
                }
            },
            (Some("DRAINING"), Scope::Whole) => Ok(Reading::Tombstoned(
                "it drains; its name is free once its tasks have stopped".into(),
            )),
            (_, Scope::Whole) => Ok(Reading::Absent),
        }
    }

    fn desired(&self, there: Option<&Self::Actual>) -> Fields {
        let mut wished = self.wished();
        let newest = there.and_then(rollout::newest);
        redeploy::describe(&mut wished, self.redeploy.as_ref(), newest);
        self.compared(&wished)
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let mut whole = Fields::new();
        for (name, value) in fields_of(actual)
            .iter()
            .filter(|it| it.0 != "load_balancer")
        {
            whole.set_value(name, value.clone());
        }
        // Inside the range it is whoever scales that decides.
        if self.asked().allows(actual.desired_count()) {
            whole.set("desired_count", self.asked());
        }
        whole.set_some("load_balancer", self.balancers.observed(actual));
        if self.is_without_agent(actual) {
            whole.set("execute_command", "true, but not of what runs");
        }
        describe_rollout(&mut whole, actual);
        // A roll-out that was asked for and that ECS took back did not start anything anew, though
        // the task definition serves: nobody was told yet, as its run was killed.
        let asked = self.redeploy.as_ref();
        let asked = asked.filter(|it| !it.is_due(rollout::newest(actual)));
        if let Some(why) = asked.and_then(|_| rollout::went_back(actual)) {
            whole.set("rollout", format!("failed: {why}"));
        }
        self.compared(&whole)
    }

    fn wrote(&self, _there: Option<&Self::Actual>) -> Option<Fields> {
        self.balancers.to_note()
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
        // First, so that the roll-out is what a failure comes after; not read again, as an answer
        // may be from before.
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
        self.note_begun(&updated);
        if let Some(tags) = &retagged {
            updated.tags = Some(sdk_tags(tags).map_err(incomplete)?);
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
            let action = format!("put back service `{}`", self.name());
            let (bare, call) = (self.call()?, self.call()?.task_definition(served));
            let mut begun = None;
            for call in as_before(&bare, call, (before, now), &changes) {
                begun = Some(send_update(&self.clients, &action, call).await?);
            }
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
        let deleted = delete(&self.clients, self.name()).await;
        match deleted {
            Err(refusal) if refusal.is_one_of(Self::ABSENT) => Ok(()),
            other => other.told(|| format!("delete service `{}`", self.name())),
        }
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
        let begun = self.begun(actual);
        let state = match rollout::taken_back(&seen, begun.as_deref(), &wanted) {
            Some(why) => Readiness::RolledBack(why.to_owned()),
            None => self
                .judge
                .look(&seen, &wanted, self.clients.clock().elapsed()),
        };
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
