//! What a plan says of a kind, in the same way for both clouds.

use std::time::Duration;

use serde::Serialize;

use super::{Data, Kind};

/// What part a thing of a kind plays for the reader of a plan: a plan shows it with the others of
/// that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What serves.
    Service,
    /// What a service's next version is made of, and told with its roll-out.
    Revision,
    /// What stands beside one service: its log, its scaling, its names.
    BesideService,
    /// The copy of a service's image.
    Image,
    /// What migrates a service's database.
    Migration,
    /// A database as its cloud runs it.
    Database,
    /// What stands beside a database, or in it.
    BesideDatabase,
    /// A cache.
    Cache,
    /// What stands beside a cache.
    BesideCache,
    /// A secret, and who may read it.
    Secret,
    /// Where the images of several services are.
    Registry,
    /// What several services run in.
    Shared,
}

impl Role {
    /// Whether it is done in a service's way to its next version, and leaves nothing of its own.
    pub fn is_step(self) -> bool {
        matches!(self, Self::Image | Self::Migration)
    }

    /// Whether it is a database or a cache itself.
    pub fn is_store(self) -> bool {
        matches!(self, Self::Database | Self::Cache)
    }
}

/// What changes of a kind's fields mean to the reader of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// Whether a change of this field of a service makes another version serve.
    pub rolls_out: fn(field: &str) -> bool,
    /// Whether a change of this field only follows from a cause that stands elsewhere.
    pub follows: fn(field: &str) -> bool,
    /// The fields that say how many instances there are.
    pub counts: &'static [&'static str],
    /// The field that says that everyone may call a service, with its value where everyone may.
    pub opens: Option<(&'static str, &'static str)>,
}

impl Meaning {
    /// Each change is a cause, and means nothing more.
    pub const PLAIN: Self = Self {
        rolls_out: |_| false,
        follows: |_| false,
        counts: &[],
        opens: None,
    };
}

/// What a plan says of a kind, or of a step.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// Its name in addresses.
    pub kind: &'static str,
    /// What it is.
    pub role: Role,
    /// How long its vendor usually takes to make one, where that is worth telling.
    pub takes: Option<Duration>,
    /// What is left of one that was deleted.
    pub leaves: Option<&'static str>,
    /// What deleting one loses.
    pub data: Data,
    /// What changes of its fields mean.
    pub means: Meaning,
    /// Whose it is, by its name.
    pub whose: fn(name: &str) -> &str,
    /// Whether releases name its revisions.
    pub recorded: bool,
}

impl Telling {
    /// What a kind says of itself.
    pub const fn of<K: Kind>() -> Self {
        Self {
            kind: K::KIND,
            role: K::ROLE,
            takes: K::TAKES,
            leaves: K::LEAVES,
            data: K::DATA,
            means: K::MEANS,
            whose: K::WHOSE,
            recorded: K::RECORDED,
        }
    }

    /// What is told of a step, and of what goes with something else.
    pub const fn of_step(kind: &'static str, role: Role) -> Self {
        Self {
            kind,
            role,
            takes: None,
            leaves: None,
            data: Data::None,
            means: Meaning::PLAIN,
            whose: |name| name,
            recorded: false,
        }
    }
}
