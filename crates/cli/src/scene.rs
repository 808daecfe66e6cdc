//! What a plan is about, in the manifest's words: which node is of which service, database or
//! cache, what the manifest says of it, what was released before, and what failed. A plan file
//! keeps it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::Fact;

/// What a plan is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// Databases, caches and services, in this order, by name.
    pub groups: Vec<Group>,
    /// The secrets' names in the clouds, with the manifest's.
    pub secrets: BTreeMap<String, String>,
    /// When it was looked at.
    #[serde(default)]
    pub at: Timestamp,
    /// The targets of which the plan does not know all, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<CloudName, String>,
    /// The services of which nothing but the code is planned. None where everything is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub code_of: BTreeSet<String>,
    /// How many seconds what is done usually takes, node by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usual: BTreeMap<Address, u64>,
}

/// What a person thinks of as one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub kind: Kind,
    /// The manifest's name.
    pub name: String,
    /// On each cloud.
    pub sides: BTreeMap<CloudName, Side>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Database,
    Cache,
    Service,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Service => "service",
        }
    }
}

/// It on one cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its name in the cloud.
    pub name: String,
    /// Its nodes, where they were declared.
    pub nodes: BTreeSet<Address>,
    /// What the manifest says of it, line by line.
    pub says: Vec<String>,
    /// What it is in this cloud alone: product and size.
    pub size: Option<String>,
    /// The last release of a service, and what differs from it now.
    pub last: Option<Last>,
    /// The number of the release that a service becomes, where something is done to it. Files of
    /// before do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The last run tried this very content, and it failed.
    pub failed: Option<FailedBefore>,
    /// It is left alone.
    pub hold: Option<Held>,
}

/// The last release of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub number: u64,
    /// What differs from it in what the manifest says now.
    pub facts: Vec<Fact>,
    /// Whether what is to serve is of its content, so that it is this release again.
    #[serde(default, skip_serializing_if = "is_not")]
    pub again: bool,
}

fn is_not(it: &bool) -> bool {
    !it
}

/// A run that failed with the very content that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBefore {
    pub run: u64,
    pub at: Timestamp,
    /// The cloud's words, as the run wrote them.
    pub why: String,
    /// What the app printed last, where that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub by: String,
    /// The release that was gone back from.
    pub from: u64,
    /// The release that serves instead, or is to.
    pub to: u64,
    pub since: Timestamp,
    /// Whether the rollback did not come to its end.
    pub unfinished: bool,
    /// The plan's note of it, which says the same at length.
    pub note: String,
}

impl Scene {
    /// Adds one side of something.
    pub(crate) fn put(&mut self, kind: Kind, name: &str, cloud: CloudName, side: Side) {
        let mut groups = self.groups.iter_mut();
        match groups.find(|it| it.kind == kind && it.name == name) {
            Some(group) => {
                group.sides.insert(cloud, side);
            }
            None => self.groups.push(Group {
                kind,
                name: name.to_owned(),
                sides: BTreeMap::from([(cloud, side)]),
            }),
        }
    }

    /// What is called so in a cloud, by the manifest's name.
    pub fn called(&self) -> BTreeMap<(CloudName, String), String> {
        let groups = self.groups.iter().flat_map(|group| {
            let sides = group.sides.iter();
            sides.map(|(cloud, side)| ((*cloud, side.name.clone()), group.name.clone()))
        });
        groups.collect()
    }

    /// The secret, by the manifest's name, that a node of this name is or belongs to.
    pub fn secret(&self, node: &str) -> Option<&str> {
        let is_it = |name: &str| {
            let rest = node.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut secrets = self.secrets.iter();
        let found = secrets.find(|(name, _)| is_it(name));
        found.map(|(_, key)| key.as_str())
    }

    /// Whether the manifest has something of this name.
    pub fn has(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group.name == name)
    }

    /// Every hold, with the service's name and its cloud.
    pub fn holds(&self) -> impl Iterator<Item = (&str, CloudName, &Held)> {
        self.groups.iter().flat_map(|group| {
            let sides = group.sides.iter();
            sides.filter_map(|(cloud, side)| {
                Some((group.name.as_str(), *cloud, side.hold.as_ref()?))
            })
        })
    }
}
