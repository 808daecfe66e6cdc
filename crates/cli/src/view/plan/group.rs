//! Puts the nodes of a plan together as people think of them: by service, database and cache, both
//! clouds side by side; pure.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::kind::Role;
use deployer_core::node::{Action, Effect};
use deployer_core::plan::{Change, Plan};
use deployer_manifest::catalogue;

use crate::facts::{Fact, How, ImageName};
use crate::scene::{Group, Kind, Scene, Side};

use super::fields::{self, Family};
use super::lines::cut;

/// What of the plan is one thing.
pub struct Thing<'a> {
    /// The manifest's name; `registry` and `secrets` for what several share.
    pub name: String,
    /// `None` for what several share.
    pub kind: Option<Kind>,
    pub family: Family,
    pub group: Option<&'a Group>,
    /// Its nodes, by cloud.
    pub changes: BTreeMap<CloudName, Vec<&'a Change>>,
}

/// A fact, and whether another hand made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub fact: Fact,
    pub by_another_hand: bool,
}

/// What happens on one cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// Whether the thing itself is made.
    pub is_new: bool,
    pub facts: Vec<Told>,
    /// What is done, in order: `push`, `migrate`, `roll out`.
    pub acts: Vec<String>,
    /// What it may hurt.
    pub effects: BTreeSet<&'static str>,
    /// Whether another revision serves then.
    pub rolls_out: bool,
    /// The release before and the one it becomes; the same where that one serves again.
    pub releases: Option<(Option<u64>, u64)>,
}

impl<'a> Thing<'a> {
    /// Those of its nodes on one cloud to which something is done.
    pub fn changed(&self, cloud: CloudName) -> impl Iterator<Item = &'a Change> {
        let changes = self.changes.get(&cloud).into_iter().flatten().copied();
        changes.filter(|change| change.action != Action::NoOp)
    }

    /// The clouds where something is done.
    pub fn clouds(&self) -> Vec<CloudName> {
        let clouds = self.changes.keys().copied();
        clouds
            .filter(|cloud| self.changed(*cloud).next().is_some())
            .collect()
    }

    /// It on one cloud, as the scene has it.
    pub fn side(&self, cloud: CloudName) -> Option<&'a Side> {
        self.group?.sides.get(&cloud)
    }

    /// Whether it is held on some cloud.
    pub fn is_held(&self) -> bool {
        let sides = self.group.into_iter().flat_map(|group| &group.sides);
        sides.into_iter().any(|(_, side)| side.hold.is_some())
    }

    /// The mark of what happens to it.
    pub fn action(&self) -> Action {
        let all: Vec<&Change> = self
            .clouds()
            .into_iter()
            .flat_map(|it| self.changed(it))
            .collect();
        let itself =
            |it: &&&Change| fields::is_service(&it.address) || fields::is_store(&it.address);
        let mains: Vec<&&Change> = all.iter().filter(itself).collect();
        // What only goes before a service or a store makes neither.
        let is_made = !mains.is_empty() || self.kind.is_none();
        let of = match mains.is_empty() {
            true => all.iter().collect::<Vec<_>>(),
            false => mains,
        };
        let is = |action: Action| !of.is_empty() && of.iter().all(|it| it.action == action);
        if all.is_empty() {
            Action::NoOp
        } else if of.iter().any(|it| {
            // What of a database is made first takes nothing from it.
            it.action == Action::Replace && (self.kind.is_none() || !it.creates_first())
        }) && self.kind != Some(Kind::Service)
        {
            Action::Replace
        } else if is(Action::Create) && is_made && self.is_whole() {
            Action::Create
        } else if is(Action::Delete) {
            Action::Delete
        } else if is(Action::Release) {
            Action::Release
        } else {
            Action::Update
        }
    }

    /// Whether nothing of it is there yet, on any cloud that has it in this plan.
    fn is_whole(&self) -> bool {
        let mut all = self.changes.values().flatten();
        all.all(|it| {
            it.action != Action::NoOp
                || !fields::is_service(&it.address) && !fields::is_store(&it.address)
        })
    }

    /// What happens on one cloud.
    pub fn doing(&self, cloud: CloudName) -> Doing {
        let changes: Vec<&Change> = self.changed(cloud).collect();
        let side = self.side(cloud);
        let itself = |it: &Change| fields::is_service(&it.address) || fields::is_store(&it.address);
        let main = changes.iter().find(|it| itself(it));
        let is_new = main.is_some_and(|it| it.action == Action::Create)
            || main.is_none()
                && self.kind.is_none()
                && changes.iter().all(|it| it.action == Action::Create);
        let rolls_out = changes.iter().any(|it| fields::rolls_out(it));
        let last = side.and_then(|side| side.last.as_ref());
        let releases = rolls_out.then(|| {
            let before = last.map(|last| last.number);
            let next = side.and_then(|side| side.next);
            match last {
                Some(last) if last.again => (before, last.number),
                _ => (before, next.unwrap_or(before.unwrap_or(0) + 1)),
            }
        });
        // A scene without services is of a plan that says nothing of releases.
        let releases = releases.filter(|_| side.is_some_and(|side| !side.nodes.is_empty()));
        Doing {
            is_new,
            facts: facts(&changes, last.map(|last| last.facts.as_slice()), rolls_out),
            acts: acts(&changes, is_new),
            effects: effects(&changes, self.kind),
            rolls_out,
            releases,
        }
    }
}

/// Every thing of a plan: databases, caches and services by name, then what they share.
pub fn things<'a>(plan: &'a Plan, scene: &'a Scene) -> Vec<Thing<'a>> {
    let mut things: Vec<Thing<'a>> = scene
        .groups
        .iter()
        .map(|group| Thing {
            name: group.name.clone(),
            kind: Some(group.kind),
            family: match group.kind {
                Kind::Database => Family::Database,
                Kind::Cache => Family::Cache,
                Kind::Service => Family::Service,
            },
            group: Some(group),
            changes: BTreeMap::new(),
        })
        .collect();
    for change in &plan.changes {
        let family = fields::family(&change.address);
        let place = match family {
            Family::Secret | Family::Shared => None,
            Family::Service | Family::Database | Family::Cache => {
                owner(&change.address, family, &things)
            }
        };
        let place = place.unwrap_or_else(|| {
            let name = name_of(plan, &change.address, family);
            let found = things
                .iter()
                .position(|it| it.family == family && it.name == name);
            found.unwrap_or_else(|| {
                things.push(Thing {
                    name,
                    kind: match family {
                        Family::Service => Some(Kind::Service),
                        Family::Database => Some(Kind::Database),
                        Family::Cache => Some(Kind::Cache),
                        Family::Secret | Family::Shared => None,
                    },
                    family,
                    group: None,
                    changes: BTreeMap::new(),
                });
                things.len() - 1
            })
        });
        let of_cloud = things[place].changes.entry(change.address.cloud);
        of_cloud.or_default().push(change);
    }
    things.sort_by_key(|it| {
        let rank = it.kind.map_or(3, |kind| kind as u8);
        (rank, it.family == Family::Secret, it.name.clone())
    });
    things
}

/// The names of services in the order in which they are told.
pub fn services<'a>(things: impl Iterator<Item = &'a Thing<'a>>) -> Vec<String> {
    let services = things.filter(|it| it.kind == Some(Kind::Service));
    services.map(|it| it.name.clone()).collect()
}

/// A name in the cloud as one word.
fn plain(name: &str) -> String {
    name.trim_start_matches('/').replace('/', "-")
}

/// Whose node this is: as declared, or by its name.
fn owner(address: &Address, family: Family, things: &[Thing<'_>]) -> Option<usize> {
    let side = |thing: &Thing<'_>| {
        let group = thing.group?;
        group.sides.get(&address.cloud).cloned()
    };
    let declared = |thing: &Thing<'_>| side(thing).is_some_and(|it| it.nodes.contains(address));
    if let Some(found) = things.iter().position(declared) {
        return Some(found);
    }
    let kinds = &catalogue(address.cloud).kinds;
    let name = plain(kinds.whose(&address.kind, &address.name));
    let is_child = |of: &str| match family {
        Family::Database | Family::Cache => {
            !fields::is_store(address)
                && name
                    .strip_prefix(of)
                    .is_some_and(|rest| rest.starts_with('-'))
        }
        Family::Service | Family::Secret | Family::Shared => false,
    };
    let matching = things.iter().enumerate().filter_map(|(at, thing)| {
        let side = side(thing).filter(|_| thing.family == family)?;
        let of = plain(&side.name);
        (name == of || is_child(&of)).then_some((of.len(), at))
    });
    matching.max().map(|(_, at)| at)
}

/// What a thing is called that the manifest does not name any more.
fn name_of(plan: &Plan, address: &Address, family: Family) -> String {
    match family {
        Family::Secret => return "secrets".into(),
        Family::Shared => return fields::shared(address).into(),
        Family::Service | Family::Database | Family::Cache => {}
    }
    let name = plain(&address.name);
    let prefix = format!("{}-{}-", plan.app, plan.environment);
    let name = name.strip_prefix(&prefix).unwrap_or(&name);
    name.strip_suffix("-migrate").unwrap_or(name).to_owned()
}

/// What differs on one cloud: from the last release where that explains the roll-out, and what else
/// the plan says.
fn facts(changes: &[&Change], last: Option<&[Fact]>, rolls_out: bool) -> Vec<Told> {
    let released = last.filter(|facts| rolls_out && !facts.is_empty());
    let mut told: Vec<Told> = released
        .unwrap_or_default()
        .iter()
        .map(|fact| Told {
            fact: fact.clone(),
            by_another_hand: false,
        })
        .collect();
    let counted = told.iter().any(|it| it.fact.what == "replicas");
    let tag = changes
        .iter()
        .filter(|it| fields::is_image(&it.address))
        .flat_map(|it| &it.changes)
        .find(|it| it.field == "tag")
        .and_then(|it| it.new.as_ref().map(ToString::to_string));
    let differing = changes
        .iter()
        .filter(|it| matches!(it.action, Action::Update | Action::Replace));
    for change in differing {
        for field in &change.changes {
            let drifted = change.drift.iter().any(|it| it.field == field.field);
            let of_a_release = fields::is_of_a_release(&change.address, &field.field);
            let counts = fields::is_a_count(&change.address, &field.field);
            let told_already = (released.is_some() && of_a_release) || (counted && counts);
            if told_already && !drifted {
                continue;
            }
            let Some(fact) = fields::fact(&change.address, field) else {
                continue;
            };
            let fact = with_image(fact, tag.as_ref());
            match told.iter_mut().find(|it| it.fact.what == fact.what) {
                Some(same) => same.by_another_hand |= drifted,
                None => told.push(Told {
                    fact,
                    by_another_hand: drifted,
                }),
            }
        }
    }
    told
}

/// The same without the registry's name, where it is of an image.
fn with_image(fact: Fact, tag: Option<&String>) -> Fact {
    let How::Values(Some(old), Some(new)) = &fact.how else {
        return fact;
    };
    let digest = |text: &String| text.rsplit_once('@').map(|(_, digest)| digest.to_owned());
    match (fact.what.as_str(), digest(old), digest(new)) {
        ("image", Some(old), Some(new)) => Fact {
            what: fact.what,
            how: How::Image {
                old: ImageName {
                    tag: None,
                    digest: old,
                },
                new: ImageName {
                    tag: tag.cloned(),
                    digest: new,
                },
            },
        },
        _ => fact,
    }
}

fn acts(changes: &[&Change], is_new: bool) -> Vec<String> {
    const REASON: usize = 120;
    let with = |wanted: &dyn Fn(&Change) -> bool| {
        let mut words: Vec<String> = Vec::new();
        for change in changes.iter().filter(|it| wanted(it)) {
            let word = fields::word(&change.address).to_owned();
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    };
    if is_new {
        let is_made = |it: &Change| it.action == Action::Create && !fields::is_image(&it.address);
        let made = with(&|it: &Change| is_made(it) && !fields::is_migration(&it.address));
        return vec![made.join(", ")];
    }
    let mut acts = Vec::new();
    if changes.iter().any(|it| fields::is_image(&it.address)) {
        acts.push("push".to_owned());
    }
    let mut migrations = changes
        .iter()
        .filter(|it| fields::is_migration(&it.address));
    if let Some(migration) = migrations.next() {
        // Once more is worth a reason.
        acts.push(match migration.reason.starts_with("to be ") {
            _ if fields::is_refused(migration) => "migration REFUSED".to_owned(),
            true => format!("migrate, {}", cut(&migration.reason, REASON)),
            false => "migrate".to_owned(),
        });
    }
    let rolls_out = changes.iter().any(|it| fields::rolls_out(it));
    let beside = |it: &Change| {
        let role = fields::role(&it.address);
        let of_roll_out = role == Role::Revision;
        !role.is_step() && !(rolls_out && (fields::is_service(&it.address) || of_roll_out))
    };
    let verbs = [
        (Action::Create, "create"),
        (Action::Update, "update"),
        (Action::Replace, "replace"),
        (Action::Delete, "delete"),
        (Action::Release, "leave to itself:"),
    ];
    for (action, verb) in verbs {
        let words = with(&|it: &Change| it.action == action && beside(it));
        if !words.is_empty() {
            acts.push(format!("{verb} {}", words.join(", ")));
        }
    }
    if rolls_out {
        acts.push("roll out".to_owned());
    }
    acts
}

/// What the changes may hurt, in words.
fn effects(changes: &[&Change], kind: Option<Kind>) -> BTreeSet<&'static str> {
    let mut effects = BTreeSet::new();
    for change in changes {
        match change.effect {
            Effect::LosesData => effects.insert("LOSES DATA"),
            Effect::Interrupts => effects.insert("INTERRUPTS"),
            Effect::Replace | Effect::InPlace => false,
        };
        let is_store = kind.is_some_and(|kind| kind != Kind::Service);
        if change.action == Action::Replace && (is_store || fields::is_service(&change.address)) {
            effects.insert("REPLACED");
        }
    }
    effects
}
