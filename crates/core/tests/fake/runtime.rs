//! The fake's definitions, migrations and services.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{
    Birth, ImageRef, MigrationKey, MigrationRecord, MigrationStanding, Rerun, Revision,
    SecretVersion,
};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Evidence, Kept, Reading, Ready, Resource, Step, Token, Undone, Watch};
use deployer_core::spec::MigrateSpec;
use deployer_core::wait::{Look, Pace, Readiness, poll};
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

/// Runs a release's migration; the fake, like Cloud Run, takes no idempotency token.
pub struct Migration {
    pub api: Api,
    pub clock: Arc<dyn Clock>,
    pub address: Address,
    pub spec: MigrateSpec,
    pub image: Value<ImageRef>,
    pub database: Option<Value<SecretVersion>>,
    pub birth: Option<Value<Birth>>,
    pub revision: Value<Revision>,
    pub record: Arc<dyn MigrationRecord>,
    pub rerun: Rerun,
    pub seen: Mutex<Option<(String, MigrationStanding)>>,
    pub done: Output<()>,
}

impl Migration {
    fn key(&self) -> Option<String> {
        let database = match &self.database {
            None => None,
            Some(version) => Some(version.known()?),
        };
        let birth = match &self.birth {
            None => None,
            Some(birth) => Some(birth.known()?),
        };
        let image = self.image.known()?;
        let key = MigrationKey::new(&self.spec, &image, database.as_ref(), birth.as_ref());
        Some(key.key)
    }

    fn failed(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Failed,
            format!("the migration `{}` failed: {why}", self.address.name),
        )
    }

    async fn found(&self, key: &str) -> Result<Option<usize>> {
        let what = &self.address.name;
        self.api
            .read("ListExecutions", what, |world| {
                world.executions.iter().rposition(|one| one.key == key)
            })
            .await
    }

    async fn start(&self, key: &str) -> Result<usize> {
        self.record.started(key, &self.address.name, None).await?;
        let revision = self.revision.settled()?.0;
        let effect = |world: &mut World| {
            let Some(definition) = world.definition(&revision) else {
                return world.violation(format!("a migration came before `{revision}`"));
            };
            let digest = definition.image.rsplit('@').next().unwrap_or_default();
            let failure = world.manners.failing.get(digest).cloned();
            let ends = Instant::now() + world.manners.migration;
            world.executions.push(Execution {
                key: key.into(),
                revision: revision.clone(),
                failure,
                ends,
            });
            Ok(world.executions.len() - 1)
        };
        self.api
            .write("RunMigration", &self.address.name, effect)
            .await
    }

    async fn follow(&self, key: &str, execution: usize, watch: &dyn Watch) -> Result<()> {
        self.record.running(key, &execution.to_string()).await?;
        let pace = Pace::until(self.spec.timeout);
        let ended = poll(self.clock.as_ref(), pace, &self.address.name, || async {
            let seen = self
                .api
                .read("DescribeExecution", &self.address.name, |world| {
                    let one = &world.executions[execution];
                    (Instant::now() >= one.ends).then(|| one.failure.clone())
                });
            watch.note("the migration runs");
            Ok(match seen.await? {
                None => Look::NotYet("the migration runs".into()),
                Some(failure) => Look::Found(failure),
            })
        })
        .await?;
        match ended {
            None => self.record.ended(key, Ok(())).await,
            Some(why) => {
                self.record.ended(key, Err(why.clone())).await?;
                Err(self.failed(&why))
            }
        }
    }
}

#[async_trait]
impl Step for Migration {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let what = &self.address.name;
        let last = self
            .api
            .read("ListExecutions", what, |world| {
                world.executions.last().map(|one| one.key.clone())
            })
            .await?;
        let seen = match last {
            None => None,
            Some(key) => Some((key.clone(), self.record.standing(&key).await?)),
        };
        *self.seen.lock().unwrap() = seen;
        Ok(Evidence::Unknown(
            "it depends on the image and the database".into(),
        ))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields
    }

    fn judge(&self, evidence: &Evidence) -> Evidence {
        let Some(key) = self.key() else {
            return evidence.clone();
        };
        match &*self.seen.lock().unwrap() {
            Some((seen, MigrationStanding::Succeeded { .. })) if *seen == key => {
                Evidence::Done("it ran".into())
            }
            _ => Evidence::NotDone("it has not run for this image and database".into()),
        }
    }

    fn publish(&self) {
        self.done.publish(());
    }

    async fn run(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        let key = self
            .key()
            .ok_or_else(|| Error::internal("a migration ran before its key was known"))?;
        let execution = match self.record.standing(&key).await? {
            MigrationStanding::Succeeded { .. } => return Ok(()),
            MigrationStanding::Failed { why, .. } if !self.rerun.failed() => {
                return Err(self.failed(&why));
            }
            MigrationStanding::Failed { .. } | MigrationStanding::NotStarted { .. } => {
                self.start(&key).await?
            }
            MigrationStanding::Never | MigrationStanding::Started { .. } => {
                match self.found(&key).await? {
                    Some(execution) => execution,
                    None => self.start(&key).await?,
                }
            }
        };
        self.follow(&key, execution, watch).await
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Stays("what a step did stays done".into()))
    }
}

pub struct ServiceNode {
    pub api: Api,
    pub address: Address,
    pub replicas: u32,
    pub revision: Value<Revision>,
    pub migrated: Option<Value<()>>,
    pub deadline: Duration,
    pub serves: Output<Revision>,
    pub url: Output<Option<String>>,
}

impl ServiceNode {
    async fn roll_out(&self, call: &'static str) -> Result<Service> {
        let name = &self.address.name;
        let revision = self.revision.settled()?.0;
        self.migrated.as_ref().map_or(Ok(()), Value::settled)?;
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
            let before = old.and_then(Service::serving).cloned();
            let ends = Instant::now() + world.manners.roll_out;
            let wanted = revision.clone();
            let new = Service {
                owner: OURS.into(),
                replicas: self.replicas,
                wanted,
                before,
                failure,
                ends,
            };
            world.services.insert(name.clone(), new.clone());
            Ok(new)
        };
        self.api.write(call, name, effect).await
    }
}

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
