//! The last line of a plan: what serves then, what is made and deleted, and whether data is
//! touched; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::node::{Action, Sort};
use deployer_core::plan::{Change, Plan};
use deployer_core::usual;

use crate::duration;
use crate::scene::{Kind, Scene};
use crate::view::foreign;

use super::fields::{self, Family};
use super::group::Thing;
use super::lines::{count, list};

/// So many things are told by name.
const BY_NAME: usize = 4;
/// So many losses are told one by one.
const LOSSES: usize = 8;
/// What stands before the address of a loss that is allowed.
pub const ALLOWED: &str = "--allow-data-loss ";

/// What the plan comes to.
pub fn sum(plan: &Plan, scene: &Scene, things: &[Thing<'_>]) -> Vec<String> {
    let held = scene.holds().map(|(service, ..)| service);
    let held: std::collections::BTreeSet<&str> = held.collect();
    if !scene.unread.is_empty() {
        let clouds = on(scene.unread.keys().copied());
        let rest = match plan.is_empty() {
            true => vec!["Nothing else is known to be done.".to_owned()],
            false => known(plan, scene, things, &held),
        };
        let mut lines = rest.into_iter();
        let first = lines.next().unwrap_or_default();
        let first = first.strip_prefix("Plan: ").unwrap_or(&first).to_owned();
        let first = format!("Plan: INCOMPLETE: {clouds} could not be planned. {first}");
        return std::iter::once(first).chain(lines).collect();
    }
    if plan.is_empty() {
        return vec![match held.len() {
            0 if plan.changes.is_empty() && !plan.notes.is_empty() => {
                "No changes: everything else is as it is to be.".into()
            }
            0 if plan.changes.is_empty() => {
                "No changes: nothing of this environment is there.".into()
            }
            0 => unchanged(scene),
            held => format!("Plan: nothing to do, {} on hold.", count(held, "service")),
        }];
    }
    known(plan, scene, things, &held)
}

/// That nothing is to be done, and of what that is known.
pub fn unchanged(scene: &Scene) -> String {
    if scene.code_of.is_empty() {
        return "No changes: what is there is what the manifest says.".into();
    }
    let services: Vec<&String> = scene.code_of.iter().collect();
    format!(
        "No changes to the code of {}: nothing else was looked at.",
        list(&services)
    )
}

/// What is known to be done.
fn known(
    plan: &Plan,
    scene: &Scene,
    things: &[Thing<'_>],
    held: &std::collections::BTreeSet<&str>,
) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(made(things));
    parts.extend(rolled_out(things));
    parts.extend(migrated(things));
    for (action, verb) in [
        (Action::Update, "changed"),
        (Action::Replace, "replaced"),
        (Action::Delete, "deleted"),
        (Action::Release, "left to themselves"),
    ] {
        parts.extend(others((scene, things), action, verb));
    }
    let mut lines = Vec::new();
    let mut first = Vec::new();
    if !parts.is_empty() {
        first.push(format!("{}.", parts.join("; ")));
    }
    if !held.is_empty() {
        first.push(format!("{} on hold.", count(held.len(), "service")));
    }
    let refused = plan.changes.iter().filter(|it| fields::is_refused(it));
    if refused.count() > 0 {
        first.push("STOPS at a migration that is not run again.".to_owned());
    }
    let data = data(plan, things);
    if !data.is_empty() {
        first.push(data);
    }
    lines.push(format!("Plan: {}", first.join(" ")));
    lines.extend(losses(plan, LOSSES));
    lines.push(nodes(plan));
    lines.extend(time(plan, scene));
    lines
}

/// What lets each loss of data pass, as it is typed; so many of them.
pub fn losses(plan: &Plan, most: usize) -> Vec<String> {
    let all: Vec<String> = fields::losses(plan)
        .into_iter()
        .map(|it| format!("{ALLOWED}{}", foreign::one_line(&it.address.to_string())))
        .collect();
    let more = all.len().saturating_sub(most);
    let rest = (more > 0).then(|| format!("and so for {more} more, which --details names."));
    all.into_iter().take(most).chain(rest).collect()
}

/// `About 12 min, most of it for the databases.` Nothing where it is not known, or no time at all.
fn time(plan: &Plan, scene: &Scene) -> Option<String> {
    const WORTH_SAYING: u64 = 10;
    let takes = |change: &Change| scene.usual.get(&change.address).copied();
    let chain = usual::longest(plan, |change| takes(change).map(Duration::from_secs));
    let all: u64 = chain.iter().map(|(_, takes)| takes.as_secs()).sum();
    let of = |family: Family| {
        let of = chain
            .iter()
            .filter(|(it, _)| fields::family(&it.address) == family);
        of.map(|(_, takes)| takes.as_secs()).sum::<u64>()
    };
    let (databases, caches) = (of(Family::Database), of(Family::Cache));
    let mostly = match () {
        () if 2 * databases > all => ", most of it for the databases",
        () if 2 * caches > all => ", most of it for the caches",
        () => "",
    };
    let about = duration::about(Duration::from_secs(all));
    let about = match about.strip_suffix('m') {
        Some(minutes) if !minutes.contains('h') => format!("{minutes} min"),
        Some(_) | None => about,
    };
    (all >= WORTH_SAYING).then(|| format!("About {about}{mostly}."))
}

/// `2 services and 1 database are made on aws and gcp`
fn made(things: &[Thing<'_>]) -> Option<String> {
    let new: Vec<&Thing<'_>> = things
        .iter()
        .filter(|it| it.kind.is_some() && it.action() == Action::Create)
        .collect();
    let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
    for thing in &new {
        *kinds.entry(thing.kind?).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .rev()
        .map(|(kind, number)| count(*number, kind.word()))
        .collect();
    let clouds = new.iter().flat_map(|it| it.clouds());
    (!new.is_empty()).then(|| format!("{} to create on {}", list(&kinds), on(clouds)))
}

fn on(clouds: impl Iterator<Item = CloudName>) -> String {
    let clouds: std::collections::BTreeSet<CloudName> = clouds.collect();
    let clouds: Vec<&str> = clouds.iter().map(|it| it.as_str()).collect();
    list(&clouds)
}

/// `web becomes r3 on aws and gcp`, or how many roll out.
fn rolled_out(things: &[Thing<'_>]) -> Option<String> {
    let rolling: Vec<(&Thing<'_>, Vec<CloudName>)> = things
        .iter()
        .filter(|it| it.kind.is_some() && it.action() == Action::Update)
        .map(|it| {
            let clouds = it.clouds().into_iter();
            let rolls = clouds.filter(|cloud| it.doing(*cloud).rolls_out);
            (it, rolls.collect::<Vec<_>>())
        })
        .filter(|(_, clouds)| !clouds.is_empty())
        .collect();
    match rolling.as_slice() {
        [] => None,
        [(thing, clouds)] => {
            let becomes = |cloud: &CloudName| {
                let (before, then) = thing.doing(*cloud).releases?;
                Some((then, before == Some(then)))
            };
            let releases: Vec<Option<(u64, bool)>> = clouds.iter().map(becomes).collect();
            let name = &thing.name;
            Some(match releases.as_slice() {
                [Some(first), rest @ ..] if rest.iter().all(|it| *it == Some(*first)) => {
                    let on = on(clouds.iter().copied());
                    match first {
                        (number, false) => format!("{name} becomes r{number} on {on}"),
                        (number, true) => format!("{name} is r{number} again on {on}"),
                    }
                }
                _ => format!("{name} rolls out on {}", on(clouds.iter().copied())),
            })
        }
        many => {
            let clouds = many.iter().flat_map(|(_, clouds)| clouds.iter().copied());
            let clouds = on(clouds);
            let number = many.len();
            Some(format!("{} roll out on {clouds}", count(number, "service")))
        }
    }
}

/// Whether a migration runs and nothing is rolled out.
fn only_migrates(thing: &Thing<'_>) -> bool {
    let clouds = thing.clouds();
    let mut changes = clouds.iter().flat_map(|cloud| thing.changed(*cloud));
    let runs = changes.any(|it| fields::is_migration(&it.address));
    runs && thing.action() == Action::Update && !clouds.iter().any(|it| thing.doing(*it).rolls_out)
}

/// `shop is migrated on aws and gcp`
fn migrated(things: &[Thing<'_>]) -> Option<String> {
    let of: Vec<&Thing<'_>> = things.iter().filter(|it| only_migrates(it)).collect();
    let names: Vec<&str> = of.iter().map(|it| it.name.as_str()).collect();
    let clouds = on(of.iter().flat_map(|it| it.clouds()));
    let what = match names.len() {
        0 => return None,
        1..=BY_NAME => list(&names),
        many => count(many, "service"),
    };
    let verb = if names.len() == 1 { "is" } else { "are" };
    Some(format!("{what} {verb} migrated on {clouds}"))
}

/// What else happens to things: by name where they are few, else by number, each kind for itself.
fn others((scene, things): (&Scene, &[Thing<'_>]), action: Action, verb: &str) -> Option<String> {
    let of = things.iter().filter(|it| it.action() == action);
    let of = of.filter(|it| {
        let mut clouds = it.clouds().into_iter();
        action != Action::Update || !clouds.any(|cloud| it.doing(cloud).rolls_out)
    });
    let of = of.filter(|it| !only_migrates(it));
    let all: Vec<&Thing<'_>> = of.collect();
    let names: Vec<String> = all.iter().map(|it| it.name.clone()).collect();
    let what = match names.len() > BY_NAME {
        true => list(&counted(scene, &all, action)),
        false => names.join(", "),
    };
    (!all.is_empty()).then(|| format!("{what} {verb}"))
}

/// `3 services, 1 database, 4 secrets, registry`
fn counted(scene: &Scene, things: &[&Thing<'_>], action: Action) -> Vec<String> {
    let mut words = Vec::new();
    for kind in [Kind::Service, Kind::Database, Kind::Cache] {
        let number = things.iter().filter(|it| it.kind == Some(kind)).count();
        words.extend((number > 0).then(|| count(number, kind.word())));
    }
    for thing in things.iter().filter(|it| it.kind.is_none()) {
        let clouds = CloudName::ALL.into_iter();
        let changed = clouds.flat_map(|cloud| thing.changed(cloud));
        let secrets =
            changed.filter(|it| it.action == action && fields::word(&it.address) == "secret");
        // Of several clouds one that the manifest calls the same is one.
        let named = secrets.map(|it| scene.secret(&it.address.name).unwrap_or(&it.address.name));
        let named: BTreeSet<&str> = named.collect();
        words.push(match (thing.family, named.len()) {
            (Family::Secret, number @ 1..) => count(number, "secret"),
            _ => thing.name.clone(),
        });
    }
    words
}

fn data(plan: &Plan, things: &[Thing<'_>]) -> String {
    let losses = plan.losses().count();
    if losses > 0 {
        return match losses {
            1 => "1 node LOSES ITS DATA, which wants:".to_owned(),
            losses => format!("{losses} nodes LOSE THEIR DATA, which each wants:"),
        };
    }
    let counts = plan.counts();
    let deleted = match counts.delete + counts.replace {
        0 => "Nothing is deleted",
        _ => "What is deleted holds no data",
    };
    let touched = plan.changes.iter().filter(|change| {
        let family = fields::family(&change.address);
        matches!(family, Family::Database | Family::Cache)
            && !matches!(change.action, Action::NoOp | Action::Create)
    });
    let migrates = plan.changes.iter().any(|change| {
        change.sort == Sort::Step
            && change.action != Action::NoOp
            && fields::is_migration(&change.address)
            && !fields::is_refused(change)
    });
    let data = match (touched.count(), migrates) {
        (0, false) => "no data is touched",
        (0, true) => "a migration runs on the data",
        (_, false) => "data stays where it is",
        (_, true) => "data stays where it is, and a migration runs on it",
    };
    // Nothing is there that could be deleted or touched.
    let all_new = things
        .iter()
        .all(|it| matches!(it.action(), Action::Create));
    match all_new {
        true => String::new(),
        false => format!("{deleted}, {data}."),
    }
}

/// `5 nodes change, 29 do not (--details).`
fn nodes(plan: &Plan) -> String {
    let still = plan.changes.iter().filter(|it| it.action == Action::NoOp);
    let still = still.count();
    let counts = plan.counts();
    let parts: Vec<String> = [
        (counts.create, "to create or run"),
        (counts.update, "to update"),
        (counts.replace, "to replace"),
        (counts.delete, "to delete"),
        (counts.release, "to release"),
        (still, "unchanged"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    format!("Nodes: {} (--details).", parts.join(", "))
}
