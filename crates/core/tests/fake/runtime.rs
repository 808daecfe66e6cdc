//! The fake's definitions, migrations and services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, ImageRef, Revision, SecretVersion};
use deployer_core::clock::Clock;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Listed;
use deployer_core::graph::{Output, Value};
use deployer_core::jobs::{self, End, Jobs, Nth, Started, State, Trail};
use deployer_core::migration::{Identity, Migrated, Whose};
use deployer_core::node::{Kept, Reading, Ready, Resource, Token, Undone, Watch};
use deployer_core::wait::{Pace, Readiness};
use tokio::time::Instant;

use super::storage::objection;
use super::world::{Api, Definition, Execution, OURS, Service, World};

fn pin(version: &SecretVersion) -> String {
    format!("{}#{}", version.secret, version.version)
}

pub struct DefinitionNode {
    pub api: Api,
    pub address: Address,
    pub image: Value<ImageRef>,
    pub variables: BTreeMap<String, String>,
    /// By variable.
    pub secrets: BTreeMap<String, Value<SecretVersion>>,
    pub revision: Output<Revision>,
}

impl DefinitionNode {
    fn wanted(&self) -> Result<Definition> {
        let pins = self
            .secrets
            .iter()
            .map(|(name, version)| Ok((name.clone(), pin(&version.settled()?))));
        Ok(Definition {
            image: self.image.settled()?.0,
            variables: self.variables.clone(),
            secrets: pins.collect::<Result<_>>()?,
        })
    }

    async fn register(&self) -> Result<(usize, Definition)> {
        let family = &self.address.name;
        let wanted = self.wanted()?;
        let effect = |world: &mut World| {
            for pin in wanted.secrets.values() {
                let (name, version) = pin.split_once('#').unwrap();
                let held = world.secrets.get(name).filter(|secret| !secret.deleted);
                if held.is_none_or(|secret| secret.values.len() < version.parse().unwrap()) {
                    return world.violation(format!("a definition came before its secret `{pin}`"));
                }
            }
            let revisions = world.definitions.entry(family.clone()).or_default();
            revisions.push(wanted.clone());
            Ok((revisions.len(), wanted.clone()))
        };
        self.api.write("RegisterDefinition", family, effect).await
    }
}

impl Listed for DefinitionNode {}

#[async_trait]
impl Resource for DefinitionNode {
    type Actual = (usize, Definition);

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let family = &self.address.name;
        self.api
            .read("DescribeDefinition", family, |world| {
                let revisions = world.definitions.get(family);
                match revisions.and_then(|all| Some((all.len(), all.last()?.clone()))) {
                    Some(latest) => Reading::Present(latest),
                    None => Reading::Absent,
                }
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields.set_all("env", &self.variables);
        for (name, version) in &self.secrets {
            fields.set_value(format!("secrets.{name}"), version.field(pin));
        }
        fields
    }

    fn observed(&self, (_, actual): &Self::Actual) -> Fields {
        let mut fields = Fields::new();
        fields.set("image", &actual.image);
        fields.set_all("env", &actual.variables);
        fields.set_all("secrets", &actual.secrets);
        fields
    }

    fn publish(&self, (number, _): &Self::Actual) {
        self.revision
            .publish(Revision(format!("{}:{number}", self.address.name)));
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.revision.withdraw();
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.register().await
    }

    async fn update(
        &self,
        _: &Self::Actual,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.register().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, _: &Self::Actual, _token: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }
}

/// One-off executions of a definition; the fake, like Cloud Run, takes no idempotency token.
pub struct Executions {
    pub api: Api,
    pub clock: Arc<dyn Clock>,
    pub name: String,
    pub timeout: Duration,
    pub revision: Value<Revision>,
}

/// The nth one that was ever made.
fn execution(nth: usize, one: &Execution) -> jobs::Execution {
    let over = Instant::now() >= one.ends;
    jobs::Execution {
        id: nth.to_string(),
        made: None,
        state: match (over, &one.failure) {
            (false, _) => State::Running("it runs".into()),
            (true, None) => State::Over(End::Succeeded),
            (true, Some(why)) => State::Over(End::Failed(why.clone())),
        },
    }
}

#[async_trait]
impl Jobs for Executions {
    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn name(&self, id: &str) -> String {
        format!("execution `{id}`")
    }

    fn stop_command(&self, id: &str) -> String {
        format!("fake stop {id}")
    }

    fn longest(&self) -> Duration {
        self.timeout
    }

    fn repeats(&self) -> bool {
        false
    }

    async fn ticket(&self, _key: &str, _nth: Nth<'_>) -> Result<String> {
        let look = |world: &World| world.executions.len().to_string();
        self.api.read("DescribeJob", &self.name, look).await
    }

    async fn start(&self, key: &str, _ticket: &str) -> Result<Started> {
        let revision = self.revision.settled()?.0;
        let effect = |world: &mut World| {
            let Some(definition) = world.definition(&revision) else {
                return world.violation(format!("a migration came before `{revision}`"));
            };
            let digest = definition.image.rsplit('@').next().unwrap_or_default();
            let failure = world.manners.failing.get(digest).cloned();
            let made = Execution {
                key: key.into(),
                revision: revision.clone(),
                failure,
                ends: Instant::now() + world.manners.migration,
            };
            let started = execution(world.executions.len(), &made);
            world.executions.push(made);
            Ok(Started::As(started))
        };
        self.api.write("RunMigration", &self.name, effect).await
    }

    async fn find(&self, key: &str, ticket: Option<&str>) -> Result<Trail> {
        let since = ticket.and_then(|it| it.parse().ok()).unwrap_or(0);
        let look = |world: &World| {
            let all = world.executions.iter().enumerate().skip(since);
            let mut found: Vec<_> = all.filter(|(_, one)| one.key == key).collect();
            found.reverse();
            let found = found.into_iter().map(|(nth, one)| execution(nth, one));
            found.collect()
        };
        let executions = self.api.read("ListExecutions", &self.name, look).await?;
        Ok(Trail {
            executions,
            hidden: false,
        })
    }

    async fn look(&self, id: &str) -> Result<Option<jobs::Execution>> {
        let nth: usize = id.parse().unwrap();
        let look = |world: &World| world.executions.get(nth).map(|one| execution(nth, one));
        self.api.read("DescribeExecution", &self.name, look).await
    }

    /// The fake has one service.
    fn is_of_another_service(&self, _ticket: &str) -> bool {
        false
    }

    async fn beside(&self, key: &str, _others: &[String]) -> Result<Option<String>> {
        let look = |world: &World| {
            let runs = |one: &Execution| one.key != key && Instant::now() < one.ends;
            let running = world.executions.iter().position(runs);
            running.map(|nth| nth.to_string())
        };
        self.api.read("ListExecutions", &self.name, look).await
    }

    async fn stop(&self, id: &str, why: &str) -> Result<()> {
        let nth: usize = id.parse().unwrap();
        let effect = |world: &mut World| {
            world.executions[nth].ends = Instant::now();
            world.executions[nth].failure = Some(why.into());
            Ok(())
        };
        self.api.write("StopExecution", &self.name, effect).await
    }

    async fn last_lines(&self, _id: &str) -> Vec<String> {
        Vec::new()
    }
}

/// The database by its secret's version and its birth.
pub struct DatabaseOf {
    pub version: Option<Value<SecretVersion>>,
    pub birth: Option<Value<Birth>>,
}

impl Whose for DatabaseOf {
    fn known(&self) -> Option<Identity> {
        let pin = match &self.version {
            None => None,
            Some(version) => Some(version.known()?),
        };
        let birth = match &self.birth {
            None => None,
            Some(birth) => Some(birth.known()?),
        };
        Some(Identity { pin, birth })
    }

    fn describe(&self, fields: &mut Fields) {
        if let Some(version) = &self.version {
            fields.set_value("database", version.field(pin));
        }
    }
}

pub struct ServiceNode {
    pub api: Api,
    pub address: Address,
    pub replicas: u32,
    pub revision: Value<Revision>,
    pub tuning: Option<Value<String>>,
    pub migrated: Option<Value<Migrated>>,
    pub deadline: Duration,
    pub serves: Output<Revision>,
    pub url: Output<Option<String>>,
}

impl ServiceNode {
    async fn roll_out(&self, call: &'static str) -> Result<Service> {
        let name = &self.address.name;
        let revision = self.revision.settled()?.0;
        self.migrated.as_ref().map(Value::settled).transpose()?;
        let tuning = self.tuning.as_ref().map(Value::settled).transpose()?;
        let effect = |world: &mut World| {
            let Some(definition) = world.definition(&revision) else {
                return world.violation(format!("a service came before `{revision}`"));
            };
            let digest = definition.image.rsplit('@').next().unwrap_or_default();
            let failure = world
                .manners
                .unhealthy
                .contains(digest)
                .then(|| "rolled back: 3 tasks died".to_owned());
            let old = world.services.get(name);
            if call == "CreateService" && old.is_some() {
                return world.violation(format!("service `{name}` exists already"));
            }
            if let Some(tuning) = tuning
                .as_ref()
                .filter(|it| !world.tunings.contains_key(*it))
            {
                return world.violation(format!("a service came before its tuning `{tuning}`"));
            }
            let old = world.services.get(name);
            let before = old.and_then(Service::serving).cloned();
            let tuning_before = old.and_then(Service::serving_tuning).cloned();
            let ends = Instant::now() + world.manners.roll_out;
            let wanted = revision.clone();
            let new = Service {
                owner: OURS.into(),
                replicas: self.replicas,
                wanted,
                before,
                failure,
                ends,
                tuning,
                tuning_before,
            };
            world.services.insert(name.clone(), new.clone());
            Ok(new)
        };
        self.api.write(call, name, effect).await
    }
}

impl Listed for ServiceNode {}

#[async_trait]
impl Resource for ServiceNode {
    type Actual = Service;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Service>> {
        let name = &self.address.name;
        self.api
            .read("DescribeService", name, |world| {
                let found = world.services.get(name);
                objection(world, &self.address, found.map(|service| &service.owner))
                    .unwrap_or(found.cloned().map_or(Reading::Absent, Reading::Present))
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set_value(
            "revision",
            self.revision.field(|revision| revision.0.clone()),
        );
        fields.set("replicas", self.replicas);
        if let Some(tuning) = &self.tuning {
            fields.set_value("tuning", tuning.field(String::clone));
        }
        fields
    }

    fn observed(&self, actual: &Service) -> Fields {
        let mut fields = Fields::new();
        let revision = if actual.settled() {
            actual.serving()
        } else {
            Some(&actual.wanted)
        };
        fields.set_some("revision", revision);
        fields.set("replicas", actual.replicas);
        let tuning = match actual.settled() {
            true => actual.serving_tuning(),
            false => actual.tuning.as_ref(),
        };
        fields.set_some("tuning", tuning);
        fields
    }

    fn publish(&self, actual: &Service) {
        self.serves.publish(Revision(actual.wanted.clone()));
        self.url.publish(None);
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.serves.withdraw();
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Service> {
        self.roll_out("CreateService").await
    }

    async fn update(
        &self,
        _: &Service,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<Service> {
        self.roll_out("UpdateService").await
    }

    async fn restore(
        &self,
        before: &Service,
        _: &Service,
        _: &Token,
        _: &dyn Watch,
    ) -> Result<Undone> {
        let name = &self.address.name;
        let effect = |world: &mut World| {
            world.services.insert(name.clone(), before.clone());
            Ok(Undone::PutBack)
        };
        self.api.write("UpdateService", name, effect).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, _: &Service, _token: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }

    async fn readiness(&self, _: &Service) -> Result<Ready<Service>> {
        let name = &self.address.name;
        let actual = self
            .api
            .read("DescribeService", name, |world| {
                world.services[name].clone()
            })
            .await?;
        let state = match (&actual.failure, actual.settled()) {
            (_, false) => Readiness::Pending("1 of 2 tasks healthy".into()),
            (Some(why), true) => Readiness::Failed(why.clone()),
            (None, true) => Readiness::Ready,
        };
        Ok(Ready { state, actual })
    }

    fn unsettled(&self, actual: &Service) -> Option<String> {
        (!actual.settled()).then(|| "1 of 2 tasks healthy".into())
    }

    fn pace(&self) -> Pace {
        Pace::until(self.deadline)
    }

    fn detachable(&self) -> bool {
        true
    }
}
