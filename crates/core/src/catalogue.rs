//! What a cloud offers and what it calls it: facts that each cloud's crate states once, for the
//! checks of a manifest and for whoever prints.
//!
//! A fact that only one cloud has stands in that cloud's crate; what both have stands here as a
//! field, so that a cloud that says nothing of it does not compile.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::address::CloudName;
use crate::kind::{Role, Telling};
use crate::moved::Moved;
use crate::names::Rule;
use crate::spec::{MebiBytes, MilliCpu};

/// What a cloud has of what is asked for, in its own word; else what it has instead, as a phrase.
pub type Offer<T> = Result<T, String>;

/// One cloud's facts; no call of it is needed to know them.
#[derive(Debug)]
pub struct Catalogue {
    /// Whose they are.
    pub cloud: CloudName,
    /// Its name, for people: "on AWS".
    pub title: &'static str,
    /// What it calls the account that everything is in, as the manifest does: `account`, `project`.
    pub account: &'static str,
    /// The scheme of an address in its object store: `s3`.
    pub buckets: &'static str,
    /// The names of secrets.
    pub secrets: SecretNames,
    /// Its managed PostgreSQL.
    pub database: Databases,
    /// Its managed Redis.
    pub cache: Caches,
    /// Whether it sets a variable of this name itself, or refuses it; `PORT` aside.
    pub keeps_variable: fn(name: &str) -> bool,
    /// What is known of its kinds.
    pub kinds: Kinds,
}

/// What secrets are called.
#[derive(Debug)]
pub struct SecretNames {
    /// What a new one may be called.
    pub rule: &'static Rule,
    /// What one that is only read may be called: also names that others gave.
    pub read: &'static Rule,
    /// How one member of a secret that holds more is read.
    pub members: Members,
    /// The name of the secret `key` of an environment; always inside the rule.
    pub made: fn(app: &str, environment: &str, key: &str) -> String,
}

/// How one member of a secret that holds more reaches a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// The runtime takes it out of the whole.
    Read,
    /// It is copied into a secret of its own.
    Copied,
}

/// The names of one sort of thing.
#[derive(Clone, Copy, Debug)]
pub struct Namespace {
    /// What one may be.
    pub rule: &'static Rule,
    /// No two things of one space have equal names, and a message calls such a thing so; empty
    /// where equal names do no harm.
    pub space: &'static str,
}

/// What a cloud offers of databases.
#[derive(Debug)]
pub struct Databases {
    /// The product.
    pub product: &'static str,
    /// What an instance is called.
    pub instance: Namespace,
    /// The manifest's key for a size in the cloud's own word: `class`.
    pub size: &'static str,
    /// The size with exactly this CPU and memory, in the cloud's own word.
    pub sized: fn(cpu: MilliCpu, memory: MebiBytes) -> Offer<String>,
    /// The disks that it has, in GiB.
    pub storage_gib: RangeInclusive<u32>,
    /// For how many days backups are kept at most.
    pub backup_days: u32,
    /// What a standby needs.
    pub standby: Standby,
}

/// What a standby of a database needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Nothing else.
    Alone,
    /// Backups, and with them recovery to a point in time.
    WithBackups,
}

/// What a cloud offers of caches.
#[derive(Debug)]
pub struct Caches {
    /// The product.
    pub product: &'static str,
    /// What an instance is called.
    pub instance: Namespace,
    /// The smallest instance with at least this memory; `own` is a size in the cloud's own word,
    /// which wins where the cloud has such words.
    pub sized: fn(own: Option<&str>, memory: MebiBytes) -> Offer<CacheSize>,
    /// What a client needs to know of it in secret.
    pub secret: CacheSecret,
}

/// The size of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// In the cloud's own word; empty where it has none.
    pub class: String,
    /// Its memory in whole GiB, rounded down and at least 1.
    pub memory_gib: u32,
}

/// What a client needs to know of a cache in secret, beside its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSecret {
    /// The token, which we make; public authorities vouch for the server.
    Token,
    /// The server's own authority; the cloud makes the token.
    Authority,
}

/// What runs services.
#[derive(Debug)]
pub struct Runtime {
    /// The product that sells sizes: the one that a message names.
    pub name: &'static str,
    /// What a service is called.
    pub service: Namespace,
    /// The CPUs that it has, in thousandths; where it has many more, those near the one asked for.
    pub cpus: fn(asked: u32) -> Vec<u32>,
    /// The memory in MiB that goes with this CPU, the one nearest to what is asked for. `None`
    /// where it has no such CPU.
    pub memory: fn(cpu: u32, asked: u32) -> Option<u32>,
    /// What becomes of a service that may have no instance at all.
    pub idle: Idle,
    /// How it finds out whether an instance is healthy.
    pub health: HealthCheck,
    /// How long a roll-out is waited for unless somebody says otherwise, where that is not as long
    /// as everywhere.
    pub patience: Option<Duration>,
}

/// What becomes of a service without instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// A request starts one.
    Wakes,
    /// Nothing starts one, or the cloud refuses it.
    Refused {
        /// Why, as a sentence.
        why: &'static str,
        /// What the help begins with; may be empty.
        help: &'static str,
    },
}

/// Which health checks a runtime takes; spans in whole seconds.
#[derive(Debug)]
pub struct HealthCheck {
    /// Who takes them, as a message says it.
    pub whose: &'static str,
    /// Who asks.
    pub asks: Asks,
    /// Between checks.
    pub interval: RangeInclusive<u64>,
    /// Of one check.
    pub timeout: RangeInclusive<u64>,
    /// After the start, without counting failures.
    pub start_period: RangeInclusive<u64>,
    /// How many failures in a row make an instance unhealthy.
    pub retries: RangeInclusive<u64>,
}

/// Who asks whether an instance is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The runtime, over HTTP.
    Runtime,
    /// The container itself, with a command; without one there is no check.
    Container,
}

/// What is known of a cloud's kinds, by the name that addresses have.
#[derive(Debug)]
pub struct Kinds {
    /// What a kind calls itself. `None` for one that this version does not know.
    pub noun: fn(kind: &str) -> Option<&'static str>,
    /// What who reads a plan is told of them, table by table.
    pub told: &'static [&'static [Telling]],
    /// What is left of the thing of this name, once it was deleted with this token. `None` where
    /// nothing is.
    pub left: fn(kind: &str, name: &str, token: &str) -> Option<String>,
    /// Those that had other names in addresses when something was written of them.
    pub moved: Moved,
}

impl Kinds {
    /// What is told of a kind. `None` for one that this version does not know.
    pub fn told(&self, kind: &str) -> Option<&'static Telling> {
        let mut all = self.told.iter().copied().flatten();
        all.find(|it| it.kind == kind)
    }

    /// Whether deleting a thing must be allowed by name, by what the inventory noted of its data.
    pub fn holds_data(&self, kind: &str, noted: Option<bool>) -> bool {
        let told = self.told(kind);
        told.is_some_and(|it| it.data.is_guarded_as_noted(noted))
    }

    /// What a kind is to who reads a plan. `None` for what this version does not know.
    pub fn role(&self, kind: &str) -> Option<Role> {
        Some(self.told(kind)?.role)
    }

    /// Whose a thing of a kind is, by its name.
    pub fn whose<'a>(&self, kind: &str, name: &'a str) -> &'a str {
        self.told(kind).map_or(name, |it| (it.whose)(name))
    }

    /// How long the vendor usually takes to make one, where that is minutes. These times are ours,
    /// of small instances in one zone (`docs/ledger.md`).
    pub fn takes(&self, kind: &str) -> Option<Duration> {
        self.told(kind)?.takes
    }

    /// What is left of a thing that was deleted, as a phrase in which `NAME` stands for its name.
    /// `None` where nothing is.
    pub fn leaves(&self, kind: &str) -> Option<&'static str> {
        self.told(kind)?.leaves
    }
}

impl Runtime {
    /// Whether instances of this size are offered; else the nearest, as a phrase.
    ///
    /// # Errors
    ///
    /// The pair with the nearest CPU, and the pair with the nearest CPU that has this memory.
    pub fn offers(&self, cpu: MilliCpu, memory: MebiBytes) -> Offer<()> {
        let memory_with = |cpu: u32| (self.memory)(cpu, memory.0);
        if memory_with(cpu.0) == Some(memory.0) {
            return Ok(());
        }
        let cpus = (self.cpus)(cpu.0);
        let having = cpus.iter().copied();
        let having = having.filter(|it| memory_with(*it) == Some(memory.0));
        let having: Vec<u32> = having.collect();
        let near = |cpus: Vec<u32>| {
            let cpus = cpus.into_iter();
            cpus.min_by_key(|other| (other.abs_diff(cpu.0), *other))
        };
        let near = [near(cpus), near(having)].into_iter().flatten();
        let near = near.filter_map(|cpu| Some((cpu, memory_with(cpu)?)));
        Err(nearest_pairs(near.collect()))
    }

    /// Whether it is that very one.
    pub fn is(&self, other: &'static Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The value nearest to `asked`; rather more than less, when it is as near.
pub fn nearest(offered: impl IntoIterator<Item = u32>, asked: u32) -> Option<u32> {
    let offered = offered.into_iter();
    offered.min_by_key(|other| (other.abs_diff(asked), Reverse(*other)))
}

/// What is offered instead, each once: pairs of CPU in thousandths and memory in MiB.
pub fn nearest_pairs(mut pairs: Vec<(u32, u32)>) -> String {
    pairs.sort_unstable();
    pairs.dedup();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(cpu, memory)| format!("{} with {}", MilliCpu(cpu), MebiBytes(memory)))
        .collect();
    format!("the nearest that it offers: {}", pairs.join(", or "))
}
