//! What a plan is about, in the manifest's words: which node is of which service, database or
//! cache, what the manifest says of it, what was released before, and what failed. Read from the
//! ledger beside the plan; a plan file keeps it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::compose::{Declared, DeclaredService};
use deployer_core::journal::Event;
use deployer_core::ledger::{Content, Release, RunHeader, RunRecord};
use deployer_core::spec::{CacheSpec, DatabaseSpec, EnvironmentSpec, ServiceSpec};
use deployer_manifest::catalogue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::{self, Fact, ImageName, Version};
use crate::failure;
use crate::held;
use crate::numbers;
use crate::session::{Place, Session};
use crate::usual;
use crate::work::Work;

/// So many of the newest runs that failed are looked through for one that tried what is planned.
const REPORTS: usize = 5;

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

/// The names alone of what a plan is about: no ledger is asked.
pub fn names(session: &Session) -> Scene {
    let mut scene = Scene::default();
    for place in &session.places {
        scene.stores(&place.env, place.name());
        scene.name_secrets(&place.env);
        for (key, spec) in &place.env.services {
            let side = Side {
                name: spec.name.clone(),
                ..Side::default()
            };
            scene.put(Kind::Service, key, place.name(), side);
        }
    }
    scene
}

/// Looks at what a plan is about. Never fails: what the ledger does not answer is left out.
pub async fn of(session: &Session, work: Option<&Work>) -> Scene {
    let mut scene = Scene {
        at: session.clock.now(),
        ..Scene::default()
    };
    for place in &session.places {
        scene.stores(&place.env, place.name());
        scene.name_secrets(&place.env);
        let cloud = place.name();
        let last_run = match work {
            Some(_) => place.ledger.last_run().await.ok().flatten(),
            None => None,
        };
        let services = place.env.services.iter();
        let sides = services.map(|(key, spec)| async {
            let mut side = Side {
                name: spec.name.clone(),
                says: says(spec, work.and_then(|it| image(it, key))),
                ..Side::default()
            };
            if let Some(work) = work {
                recall(&mut side, place, work, (key, spec), last_run.as_ref()).await;
            }
            (key.clone(), side)
        });
        for (key, side) in futures::future::join_all(sides).await {
            scene.put(Kind::Service, &key, cloud, side);
        }
    }
    scene.unread = unread(session, work);
    if let Some(work) = work {
        scene.number(session, work).await;
        scene.usual = usual::of(session, &work.prepared.plan).await;
    }
    for held in work.map_or(&[][..], |it| &it.held) {
        let note = held::note(session, held).await;
        let hold = &held.hold;
        let group = scene.groups.iter_mut();
        let mut group = group.filter(|it| it.kind == Kind::Service && it.name == held.service);
        if let Some(side) = group.next().and_then(|it| it.sides.get_mut(&held.cloud)) {
            side.hold = Some(Held {
                by: hold.by.clone(),
                from: hold.rejected,
                to: hold.unfinished.unwrap_or(hold.serving),
                since: hold.since,
                unfinished: hold.unfinished.is_some(),
                note,
            });
        }
    }
    scene
        .groups
        .sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    scene
}

/// The targets that could not be read, or not all of them; the first error of each.
fn unread(session: &Session, work: Option<&Work>) -> BTreeMap<CloudName, String> {
    let failed = session.failed.iter();
    let failed = failed.map(|(cloud, error)| (*cloud, error));
    let blocked = work.into_iter().flat_map(|it| &it.prepared.blocked);
    let blocked = blocked.map(|it| (it.address.cloud, &it.error));
    let mut unread = BTreeMap::new();
    for (cloud, error) in failed.chain(blocked) {
        // What was tried, and the last cause: what lies between says how it was found out.
        let words = || {
            let chain = error.chain();
            match chain.as_slice() {
                [] => String::new(),
                [only] => only.clone(),
                [first, .., last] => format!("{first}: {last}"),
            }
        };
        unread.entry(cloud).or_insert_with(words);
    }
    unread
}

impl Scene {
    fn put(&mut self, kind: Kind, name: &str, cloud: CloudName, side: Side) {
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

    /// Says of the services to which something is done which releases they become.
    async fn number(&mut self, session: &Session, work: &Work) {
        let services = self.groups.iter_mut();
        let services = services.filter(|it| it.kind == Kind::Service);
        let numbered = services.map(|group| async {
            for cloud in numbers::taking_part(work, &group.name) {
                if let Some(side) = group.sides.get_mut(&cloud) {
                    let subject = (cloud, group.name.as_str());
                    side.next = Some(work.numbers.next(session, work, subject, None).await);
                }
            }
        });
        futures::future::join_all(numbered).await;
    }

    fn name_secrets(&mut self, env: &EnvironmentSpec) {
        let secrets = env.secrets.values();
        let named = secrets.map(|it| (it.name.clone(), it.key.clone()));
        self.secrets.extend(named);
    }

    fn stores(&mut self, env: &EnvironmentSpec, cloud: CloudName) {
        for database in env.databases.values() {
            let side = of_database(database, cloud);
            self.put(Kind::Database, &database.key, cloud, side);
        }
        for cache in env.caches.values() {
            let side = of_cache(cache, cloud);
            self.put(Kind::Cache, &cache.key, cloud, side);
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

fn declared<'a>(work: &'a Work, cloud: CloudName, key: &str) -> Option<&'a DeclaredService> {
    let of = |it: &&Declared| it.cloud == cloud;
    work.declared.iter().find(of)?.services.get(key)
}

fn image(work: &Work, key: &str) -> Option<ImageName> {
    let found = work.images.get(key)?;
    Some(ImageName {
        tag: found.tag.clone(),
        digest: found.digest.clone(),
    })
}

/// What was released before, and whether the last run failed with what is planned now.
async fn recall(
    side: &mut Side,
    place: &Place,
    work: &Work,
    (key, spec): (&str, &ServiceSpec),
    last_run: Option<&RunRecord>,
) {
    let declared = declared(work, place.name(), key);
    side.nodes = declared.map(|it| it.nodes.clone()).unwrap_or_default();
    let content = work.contents(place.name()).remove(key);
    let last: Option<Release> = work.numbers.newest_on(place, key).await.ok().flatten();
    if let (Some(last), Some(image)) = (&last, image(work, key)) {
        let pins = declared.into_iter().flat_map(|it| &it.secrets);
        let pins = pins.filter_map(|(key, version)| Some((key.clone(), version.known()?)));
        let now = Version {
            spec,
            image,
            secrets: pins.collect(),
        };
        let facts = facts::between(&Version::of(last), &now);
        let mut redeploys = work.redeploys.get(&place.name()).into_iter();
        let asked_for = redeploys.any(|it| it.contains_key(key));
        let is_it = content.as_ref().is_some_and(|it| it.is_of(last));
        side.last = Some(Last {
            number: last.number,
            again: is_it && facts.is_empty() && !asked_for,
            facts,
        });
    }
    let Some(content) = content else {
        return;
    };
    if let Some(run) = last_run.filter(|it| attempted(&it.header, key, &content)) {
        if run.outcome() != Some("succeeded") {
            side.failed = failed_before(run, &side.nodes);
        }
    } else if side.last.as_ref().is_none_or(|last| !last.facts.is_empty()) {
        side.failed = failed_earlier(place, key, &content, &side.nodes).await;
    }
    if let Some(failed) = &mut side.failed {
        failed.said = failure::last_line(place, failed.run, key).await;
    }
}

fn attempted(run: &RunHeader, key: &str, content: &Content) -> bool {
    run.command == "apply" && run.contents.get(key) == Some(content)
}

/// What became of this content in a run before the last one, where it never served since: a
/// rollback, or an apply of other services, lies between. What the ledger does not answer is left
/// out.
async fn failed_earlier(
    place: &Place,
    key: &str,
    content: &Content,
    nodes: &BTreeSet<Address>,
) -> Option<FailedBefore> {
    let reported = place.ledger.reported_runs(REPORTS).await.ok()?;
    let tried = reported.iter().find(|it| attempted(it, key, content))?;
    let releases = place.ledger.releases(key).await.ok()?;
    let served_since = releases
        .iter()
        .any(|it| content.is_of(it) && it.made_by().is_some_and(|run| run > tried.number));
    if served_since {
        return None;
    }
    failed_before(&place.ledger.run(tried.number).await.ok()??, nodes)
}

/// The first node of these that failed in a run.
pub fn failed_before(run: &RunRecord, nodes: &BTreeSet<Address>) -> Option<FailedBefore> {
    run.entries.iter().find_map(|entry| match &entry.event {
        Event::Failed { address, why } if nodes.contains(address) => Some(FailedBefore {
            run: run.header.number,
            at: entry.at,
            why: why.clone(),
            said: None,
        }),
        _ => None,
    })
}

/// `image 1.0 (02dfa3628d5f), port 3000, 1 vCPU, 2 GiB, 1 instance`, and so on: what somebody
/// wrote, no default.
fn says(spec: &ServiceSpec, image: Option<ImageName>) -> Vec<String> {
    let said = |field: &str| !spec.unsaid.contains(field);
    let mut first = Vec::new();
    if let Some(image) = image {
        first.push(match &image.tag {
            Some(tag) => format!("image {tag} ({})", image.short()),
            None => format!("image {}", image.short()),
        });
    }
    first.push(format!("port {}", spec.port));
    if said("cpu") {
        first.push(spec.cpu.to_string());
    }
    if said("memory") {
        first.push(spec.memory.to_string());
    }
    if said("replicas") {
        let replicas = facts::replicas(spec.replicas);
        let word = if replicas == "1" {
            "instance"
        } else {
            "instances"
        };
        first.push(format!("{replicas} {word}"));
    }
    let mut lines = vec![first.join(", ")];
    let names = |word: &str, names: Vec<&String>| {
        let names = names.into_iter().map(String::as_str).collect::<Vec<_>>();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(" ")))
    };
    let variables = [
        names("env", spec.env.keys().collect()),
        names("secrets", spec.secrets.keys().collect()),
    ];
    let variables: Vec<String> = variables.into_iter().flatten().collect();
    if !variables.is_empty() {
        lines.push(variables.join(" · "));
    }
    if let Some(migrate) = &spec.migrate {
        lines.push(format!("migrates first: {}", migrate.program()));
    }
    if let Some(record) = &spec.record {
        lines.push(format!("name {}", record.name));
    }
    lines
}

fn zones(high_availability: bool) -> &'static str {
    match high_availability {
        true => "with a standby in another zone",
        false => "one zone",
    }
}

fn of_database(spec: &DatabaseSpec, cloud: CloudName) -> Side {
    let product = catalogue(cloud).database.product;
    let backups = match spec.backup_days {
        0 => "NO backups".to_owned(),
        1 => "daily backups for a day".to_owned(),
        days => format!("daily backups for {days} days"),
    };
    let size = format!(
        "{product} {}, {}",
        spec.class,
        zones(spec.high_availability)
    );
    Side {
        name: spec.name.clone(),
        says: vec![format!(
            "PostgreSQL {}, {} GiB, {backups}",
            spec.version, spec.storage_gib
        )],
        size: Some(size),
        ..Side::default()
    }
}

fn of_cache(spec: &CacheSpec, cloud: CloudName) -> Side {
    let product = catalogue(cloud).cache.product;
    let size = format!("{product} {}", spec.class);
    // Where sizes have no words.
    let size = size.trim_end();
    Side {
        name: spec.name.clone(),
        says: vec![format!("Redis {}, {} GiB", spec.version, spec.memory_gib)],
        size: Some(format!("{size}, {}", zones(spec.high_availability))),
        ..Side::default()
    }
}
