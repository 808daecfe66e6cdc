//! The migration: one step on every cloud and runtime. It says what is to be done; [`Jobs`] says
//! how.
//!
//! At most one execution runs for an image, a program and a database, whenever a run is killed, and
//! before any traffic moves. The note of a start is durable before the call; what was decided where
//! the clouds differ stands at each function of `run.rs`.

mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::address::Address;
use crate::capability::{
    Birth, ImageRef, MigrationKey, MigrationRecord, MigrationStanding, Rerun, SecretVersion,
    ServiceInputs,
};
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::graph::{Graph, Inputs, Listed, Output, Value};
use crate::jobs::Jobs;
use crate::node::{Evidence, Step, Token, Undone, Watch};
use crate::spec::MigrateSpec;

/// A migration that has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated;

/// What a database is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The secret's version that names it, where one does.
    pub pin: Option<SecretVersion>,
    /// Which one of that name it is, where that is known.
    pub birth: Option<Birth>,
}

/// Which database a migration is for.
#[async_trait]
pub trait Whose: Send + Sync {
    /// Looks up what only the cloud knows; called before planning. Writes nothing.
    async fn look(&self) -> Result<()> {
        Ok(())
    }

    /// What it is known by. `None` while that is not known. Pure.
    fn known(&self) -> Option<Identity>;

    /// Adds the database to what the plan shows. Pure.
    fn describe(&self, fields: &mut Fields);
}

/// How every migration that was ever started stands, by key.
type Standings = BTreeMap<String, MigrationStanding>;

/// A migration that is to have succeeded before its service changes.
pub struct Migration<J> {
    jobs: J,
    address: Address,
    service: String,
    spec: MigrateSpec,
    image: Value<ImageRef>,
    database: Box<dyn Whose>,
    record: Arc<dyn MigrationRecord>,
    rerun: Rerun,
    /// What the record said before planning.
    seen: Mutex<Option<Standings>>,
    output: Output<Migrated>,
    ran: Output<String>,
}

/// Declares the migration of a service, which the cloud calls `service`; `build` takes what its
/// executions and its database are made of. Returns what the service's next revision waits for, and
/// the key once it has run.
pub fn declare<J: Jobs + Listed>(
    graph: &mut Graph,
    address: Address,
    (service, spec): (&str, &MigrateSpec),
    given: &ServiceInputs,
    build: impl FnOnce(&mut Inputs) -> (J, Box<dyn Whose>),
) -> (Output<Migrated>, Output<String>) {
    let (output, ran) = (Output::of(&address), Output::of(&address));
    graph.step(|inputs| {
        let (jobs, database) = build(inputs);
        Migration {
            jobs,
            address,
            service: service.to_owned(),
            spec: spec.clone(),
            image: inputs.pass(&given.image),
            database,
            record: Arc::clone(&given.migrated),
            rerun: given.rerun,
            seen: Mutex::default(),
            output: output.clone(),
            ran: ran.clone(),
        }
    });
    (output, ran)
}

/// A migration is listed by the executions that it runs as.
impl<J: Jobs + Listed> Listed for Migration<J> {}

impl<J: Jobs> Migration<J> {
    /// The key, as soon as everything that it is made of is known.
    fn key(&self) -> Option<MigrationKey> {
        let (image, database) = (self.image.known()?, self.database.known()?);
        let Identity { pin, birth } = database;
        let key = MigrationKey::new(&self.spec, &image, pin.as_ref(), birth.as_ref());
        Some(key)
    }

    fn seen(&self) -> Option<Standings> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// What people call it.
    fn what(&self) -> String {
        format!("the migration of `{}`", self.service)
    }
}

/// What is said of one that failed and waits for a person's word.
pub const NOT_AGAIN: &str = "apply does not run it again";

/// The hint at a migration that failed for what nobody but the app knows.
pub const PUT_RIGHT: &str =
    "what serves is as it was; put it right, then run `deployer migrate --retry`";

/// What a record proves. Only a success for this very image, program and database does.
fn proof(standing: MigrationStanding, rerun: Rerun) -> Evidence {
    let due = match standing {
        MigrationStanding::Succeeded { at } if rerun.succeeded() => {
            format!("to be run again; it succeeded at {at:.0}")
        }
        MigrationStanding::Succeeded { at } => {
            return Evidence::Done(format!("it succeeded at {at:.0}"));
        }
        MigrationStanding::Never => "it has not run for this image and database".to_owned(),
        MigrationStanding::Started { .. } => {
            "it was started before, and how it ended is not known".to_owned()
        }
        MigrationStanding::Failed { at, why } if rerun.failed() => {
            format!("to be tried again; it failed at {at:.0}: {why}")
        }
        MigrationStanding::Failed { at, why } => {
            format!("it failed at {at:.0}: {why}; {NOT_AGAIN}, `deployer migrate --retry` does")
        }
        MigrationStanding::NotStarted { at, why, .. } => {
            format!("it could not be started at {at:.0}: {why}")
        }
    };
    Evidence::NotDone(due)
}

#[async_trait]
impl<J: Jobs> Step for Migration<J> {
    fn address(&self) -> &Address {
        &self.address
    }

    /// The record alone is evidence, and its look takes no call to the cloud where that names the
    /// database by itself: of what the ledger lost, [`Step::run`] asks the cloud.
    async fn evidence(&self) -> Result<Evidence> {
        self.database.look().await?;
        let seen = self.record.standings().await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        let evidence = Evidence::Unknown("not compared yet".to_owned());
        if !matches!(self.judge(&evidence), Evidence::Done(_)) {
            self.jobs.possible().await?;
        }
        Ok(evidence)
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("program", self.spec.program());
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        self.jobs.describe(&mut fields);
        self.database.describe(&mut fields);
        fields
    }

    fn judge(&self, evidence: &Evidence) -> Evidence {
        // Once it has run, that is the evidence.
        if let Evidence::Done(_) = evidence {
            return evidence.clone();
        }
        match (self.key(), self.seen()) {
            (Some(key), Some(seen)) => proof(key.among(&seen), self.rerun),
            (Some(_), None) => evidence.clone(),
            (None, _) => Evidence::Unknown("its database is known after apply".to_owned()),
        }
    }

    fn publish(&self) {
        self.output.publish(Migrated);
        if let Some(key) = self.key() {
            self.ran.publish(key.key);
        }
    }

    async fn run(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let named = self
            .key()
            .ok_or_else(|| Error::internal("a migration ran before its inputs were known"))?;
        let _turn = self.record.turn(&named.key).await;
        let standing = named.standing(self.record.as_ref()).await?;
        let key = named.key.as_str();
        let run = run::Run {
            migration: self,
            key,
            token,
            watch,
        };
        run.from(standing).await
    }

    async fn left(&self, failed: Option<ErrorKind>) -> Result<Undone> {
        let (Some(key), Some(seen)) = (self.key(), self.seen()) else {
            return Ok(Undone::Stays("it did not run".into()));
        };
        key.left(&seen, failed, self.record.as_ref()).await
    }
}
