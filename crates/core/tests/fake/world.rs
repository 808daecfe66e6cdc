//! What a fake cloud holds, and its calls: each is logged, takes its virtual time and can be made
//! to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::data::Kind;
use super::route::Route;
use super::tuning::Tuning;

/// What the fake's resources carry when they are ours.
pub const OURS: &str = "app/staging";

/// A secret; versions are numbered from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    pub owner: String,
    pub note: String,
    pub values: Vec<String>,
    pub deleted: bool,
}

/// One revision of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub image: String,
    pub variables: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, String>,
}

/// One execution of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub key: String,
    pub revision: String,
    pub failure: Option<String>,
    pub ends: Instant,
}

/// A service and its latest roll-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub owner: String,
    pub replicas: u32,
    pub wanted: String,
    /// What served before the latest roll-out.
    pub before: Option<String>,
    pub failure: Option<String>,
    pub ends: Instant,
    /// The tuning that the latest roll-out is to have, and what serves before it had.
    pub tuning: Option<String>,
    pub tuning_before: Option<String>,
}

impl Service {
    pub fn settled(&self) -> bool {
        Instant::now() >= self.ends
    }

    pub fn serving(&self) -> Option<&String> {
        if self.settled() && self.failure.is_none() {
            Some(&self.wanted)
        } else {
            self.before.as_ref()
        }
    }

    /// The tuning that what serves has.
    pub fn serving_tuning(&self) -> Option<&String> {
        match self.settled() && self.failure.is_none() {
            true => self.tuning.as_ref(),
            false => self.tuning_before.as_ref(),
        }
    }

    /// Every tuning that instances may have now.
    pub fn tunings(&self) -> impl Iterator<Item = &String> {
        let rolling = !self.settled();
        let wanted = self
            .tuning
            .as_ref()
            .filter(|_| rolling || self.failure.is_none());
        let before = self.tuning_before.as_ref();
        let before = before.filter(|_| rolling || self.failure.is_some());
        wanted.into_iter().chain(before)
    }

    /// Everything that instances may run now.
    fn in_use(&self) -> impl Iterator<Item = &String> {
        let rolling = !self.settled();
        let wanted = (rolling || self.failure.is_none()).then_some(&self.wanted);
        let before = (rolling || self.failure.is_some())
            .then_some(self.before.as_ref())
            .flatten();
        wanted.into_iter().chain(before)
    }
}

/// A database or a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub owner: String,
    pub class: String,
    /// The secret's version that its password is: `NAME#VERSION`.
    pub password: String,
    pub ends: Instant,
}

impl Instance {
    pub fn settled(&self) -> bool {
        Instant::now() >= self.ends
    }
}

/// How the cloud treats what it is asked for.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What a call takes, unless it has a time of its own.
    pub call: Duration,
    pub calls: BTreeMap<&'static str, Duration>,
    pub migration: Duration,
    pub roll_out: Duration,
    /// What a database or a cache takes to start or to change.
    pub instance: Duration,
    /// Digests whose instances never become healthy.
    pub unhealthy: BTreeSet<String>,
    /// Digests whose migration fails, with the cloud's words.
    pub failing: BTreeMap<String, String>,
    /// `kind/name` of what the caller may not see.
    pub denied: BTreeSet<String>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            call: Duration::from_millis(80),
            calls: BTreeMap::new(),
            migration: Duration::from_secs(20),
            roll_out: Duration::from_secs(90),
            instance: Duration::from_secs(720),
            unhealthy: BTreeSet::new(),
            failing: BTreeMap::new(),
            denied: BTreeSet::new(),
        }
    }
}

/// Everything that one fake cloud holds.
#[derive(Default)]
pub struct World {
    pub repositories: BTreeMap<String, (String, BTreeSet<String>)>,
    pub secrets: BTreeMap<String, Secret>,
    pub log_groups: BTreeMap<String, String>,
    pub definitions: BTreeMap<String, Vec<Definition>>,
    pub executions: Vec<Execution>,
    pub services: BTreeMap<String, Service>,
    pub databases: BTreeMap<String, Instance>,
    pub caches: BTreeMap<String, Instance>,
    /// Whose each is, and what.
    pub tunings: BTreeMap<String, (String, Tuning)>,
    /// Where packets go.
    pub routes: BTreeMap<String, Route>,
    /// Where each name leads.
    pub records: BTreeMap<String, String>,
    /// What was released: our mark is off.
    pub released: BTreeSet<String>,
    pub manners: Manners,
    /// What no caller in its right mind asks for.
    pub violations: Vec<String>,
}

impl World {
    pub fn instances(&mut self, kind: Kind) -> &mut BTreeMap<String, Instance> {
        match kind {
            Kind::Database => &mut self.databases,
            Kind::Cache => &mut self.caches,
        }
    }

    pub fn definition(&self, revision: &str) -> Option<&Definition> {
        let (family, number) = revision.rsplit_once(':')?;
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        self.definitions.get(family)?.get(index)
    }

    /// Refuses, and remembers that it had to.
    pub fn violation<T>(&mut self, words: String) -> Result<T> {
        self.violations.push(words.clone());
        Err(Error::new(ErrorKind::Rejected, words))
    }

    /// The definitions that instances may run now.
    pub fn running(&self) -> Vec<Definition> {
        let revisions = self.services.values().flat_map(Service::in_use);
        revisions
            .filter_map(|revision| self.definition(revision).cloned())
            .collect()
    }

    /// Everything but times, to compare two worlds.
    pub fn picture(&self) -> String {
        let executions: Vec<_> = self
            .executions
            .iter()
            .map(|one| (&one.key, &one.revision, &one.failure))
            .collect();
        let services: Vec<_> = self
            .services
            .iter()
            .map(|(name, one)| {
                let (serving, tuning) = (one.serving(), one.serving_tuning());
                (
                    name,
                    &one.owner,
                    one.replicas,
                    serving,
                    one.settled(),
                    tuning,
                )
            })
            .collect();
        let instances: Vec<_> = self
            .databases
            .iter()
            .chain(&self.caches)
            .map(|(name, one)| (name, &one.owner, &one.class, &one.password, one.settled()))
            .collect();
        format!(
            "instances {instances:#?}\ntunings {:#?}\nroutes {:#?}\nrecords {:#?}\nrepositories {:#?}\nsecrets {:#?}\nlog groups {:#?}\ndefinitions {:#?}\nexecutions {:#?}\nservices {:#?}",
            self.tunings,
            self.routes,
            self.records,
            self.repositories,
            self.secrets,
            self.log_groups,
            self.definitions,
            executions,
            services
        )
    }
}

/// A call that went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    pub what: String,
    pub sort: CallSort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSort {
    Read,
    Write,
}

/// When an injected failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nothing happens in the cloud.
    BeforeEffect,
    /// It happens, and the reply is lost.
    AfterEffect,
    /// Nothing happens, and asking again does not help.
    Refused,
}

#[derive(Default)]
struct Wire {
    calls: Vec<Call>,
    fault: Option<(usize, Strike)>,
    writes: usize,
}

/// The calls of one fake cloud.
#[derive(Clone, Default)]
pub struct Api {
    world: Arc<Mutex<World>>,
    wire: Arc<Mutex<Wire>>,
}

impl Api {
    /// The world itself, past the calls: for tests.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    /// Forgets the calls so far; the `nth` write from now on (from 1) fails.
    pub fn arm(&self, fault: Option<(usize, Strike)>) {
        *self.wire() = Wire {
            fault,
            ..Wire::default()
        };
    }

    /// The calls since the last [`Api::arm`].
    pub fn calls(&self) -> Vec<Call> {
        self.wire().calls.clone()
    }

    /// The names of the writes since the last [`Api::arm`], in order.
    pub fn writes(&self) -> Vec<&'static str> {
        let calls = self.calls();
        calls
            .iter()
            .filter(|call| call.sort == CallSort::Write)
            .map(|call| call.name)
            .collect()
    }

    fn send(&self, name: &'static str, what: &str, sort: CallSort) -> (Duration, Option<Strike>) {
        let time = {
            let world = self.world();
            world
                .manners
                .calls
                .get(name)
                .copied()
                .unwrap_or(world.manners.call)
        };
        let mut wire = self.wire();
        wire.calls.push(Call {
            name,
            what: what.to_owned(),
            sort,
        });
        if sort == CallSort::Read {
            return (time, None);
        }
        wire.writes += 1;
        let strike = wire
            .fault
            .filter(|(nth, _)| *nth == wire.writes)
            .map(|(_, strike)| strike);
        (time, strike)
    }

    pub async fn read<T>(
        &self,
        name: &'static str,
        what: &str,
        look: impl FnOnce(&World) -> T,
    ) -> Result<T> {
        let (time, _) = self.send(name, what, CallSort::Read);
        tokio::time::sleep(time).await;
        Ok(look(&self.world()))
    }

    /// The effect comes half-way: whoever is dropped after it never hears of it.
    pub async fn write<T>(
        &self,
        name: &'static str,
        what: &str,
        effect: impl FnOnce(&mut World) -> Result<T>,
    ) -> Result<T> {
        let (time, strike) = self.send(name, what, CallSort::Write);
        let lost = || {
            Error::new(
                ErrorKind::Unavailable,
                format!("cannot {name} `{what}`: nobody answered"),
            )
        };
        tokio::time::sleep(time / 2).await;
        match strike {
            Some(Strike::BeforeEffect) => return Err(lost()),
            Some(Strike::Refused) => {
                let refused = format!("cannot {name} `{what}`: it is refused");
                return Err(Error::new(ErrorKind::Rejected, refused));
            }
            Some(Strike::AfterEffect) | None => {}
        }
        let result = effect(&mut self.world());
        tokio::time::sleep(time / 2).await;
        match strike {
            Some(_) => Err(lost()),
            None => result,
        }
    }
}
