//! What of a plan may hurt, in words, before everything else; pure.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::migration::NOT_AGAIN;
use deployer_core::node::{Action, Effect};
use deployer_core::plan::{Change, Plan};

use crate::again;
use crate::duration;
use crate::scene::{FailedBefore, Scene};
use crate::view::brief::brief;
use crate::view::foreign;

use super::fields;
use super::group::Thing;
use super::lines::{count, cut, label, list, names, wrap};
use super::{RED, YELLOW};

/// Where the words begin, in columns.
const INDENT: usize = 18;
/// How much of an earlier error is repeated, in characters.
const WHY: usize = 120;
/// How many nodes a warning names.
const NAMED: usize = 4;

/// The lines with what may hurt, each with its colour.
pub fn dangers(
    plan: &Plan,
    scene: &Scene,
    things: &[&Thing<'_>],
    width: usize,
) -> Vec<(&'static str, String)> {
    let mut said: Vec<(&'static str, &'static str, String)> = Vec::new();
    for (cloud, why) in &scene.unread {
        let why = cut(&foreign::one_line(why), WHY);
        said.push((RED, "NOT PLANNED", format!("{cloud}: {why}")));
    }
    for thing in things {
        for cloud in thing.clouds() {
            said.extend(of_changes(thing, cloud));
        }
    }
    said.extend(of_stores_lost(plan, things));
    said.extend(last_copies(things));
    said.extend(public(things));
    said.extend(things.iter().filter_map(|it| will_not_run(it)));
    for thing in things {
        said.extend(another_hand(thing));
        said.extend(failed_before(thing, scene));
    }
    let mut lines = Vec::new();
    for (colour, word, words) in said {
        let room = width.saturating_sub(INDENT);
        for (at, line) in wrap(&words, room).into_iter().enumerate() {
            let line = match at {
                0 => format!("!  {word:<13}  {line}"),
                _ => format!("{:INDENT$}{line}", ""),
            };
            lines.push((colour, line));
        }
    }
    lines
}

/// What single changes hurt: what is replaced, and who is cut off meanwhile.
fn of_changes(thing: &Thing<'_>, cloud: CloudName) -> Vec<(&'static str, &'static str, String)> {
    let mut said = Vec::new();
    for change in thing.changed(cloud) {
        let name = &thing.name;
        let why = foreign::words(&again::completed(&change.reason));
        let what = fields_of(change);
        match change.effect {
            Effect::Interrupts => said.push((
                YELLOW,
                "INTERRUPTS",
                format!("{name} on {cloud}: {what}{why}"),
            )),
            Effect::Replace if fields::is_store(&change.address) => {
                said.push((RED, "REPLACED", format!("{name} on {cloud}: {what}{why}")));
            }
            Effect::Replace | Effect::LosesData | Effect::InPlace => {}
        }
    }
    said
}

/// The fields that change, before the reason.
fn fields_of(change: &Change) -> String {
    let fields: Vec<String> = change
        .changes
        .iter()
        .map(|it| foreign::one_line(&it.field))
        .collect();
    match fields.is_empty() || fields.len() > NAMED {
        true => String::new(),
        false => format!("{}; ", fields.join(", ")),
    }
}

/// What loses its data, by cloud: by name where it is little.
fn of_stores_lost(plan: &Plan, things: &[&Thing<'_>]) -> Vec<(&'static str, &'static str, String)> {
    let mut said = Vec::new();
    for target in &plan.targets {
        let cloud = target.cloud;
        let changed = things.iter().flat_map(|it| it.changed(cloud));
        let lost: Vec<&Change> = changed
            .filter(|it| it.effect == Effect::LosesData)
            .collect();
        let mut words: BTreeMap<&str, usize> = BTreeMap::new();
        for change in &lost {
            *words.entry(fields::word(&change.address)).or_default() += 1;
        }
        if lost.is_empty() {
            continue;
        }
        let what = match lost.len() > NAMED {
            true => {
                let words = words.iter().map(|(word, number)| count(*number, word));
                list(&words.collect::<Vec<_>>())
            }
            false => {
                let words = lost.iter().map(|it| {
                    let deleted = match it.action {
                        Action::Delete => "deleted",
                        Action::Replace => "replaced",
                        Action::NoOp | Action::Create | Action::Update | Action::Release => {
                            "changed"
                        }
                    };
                    let why = foreign::words(&again::completed(&it.reason));
                    let (word, name) = (fields::word(&it.address), &it.address.name);
                    let name = foreign::one_line(name);
                    match it.action {
                        // Why is the same for all of them, and not what matters here.
                        Action::Delete => format!("{word} {name} is {deleted}"),
                        _ => format!("{word} {name} is {deleted}: {}{why}", fields_of(it)),
                    }
                });
                words.collect::<Vec<_>>().join("; ")
            }
        };
        said.push((RED, "LOSES DATA", format!("{cloud}: {what}")));
    }
    said
}

/// Where what a deleted database held is to be found then.
fn last_copies(things: &[&Thing<'_>]) -> Vec<(&'static str, &'static str, String)> {
    let mut said = Vec::new();
    for thing in things {
        for cloud in thing.clouds() {
            let deleted = thing.changed(cloud);
            let deleted = deleted.filter(|it| it.action == Action::Delete);
            for leaves in deleted.filter_map(|it| fields::leaves(&it.address)) {
                let (name, leaves) = (&thing.name, foreign::one_line(&leaves));
                said.push((YELLOW, "LAST COPY", format!("{name} on {cloud}: {leaves}")));
            }
        }
    }
    said
}

/// Which services everyone may call once this is carried out.
fn public(things: &[&Thing<'_>]) -> Vec<(&'static str, &'static str, String)> {
    let opened = |thing: &&&Thing<'_>, cloud: CloudName| {
        thing.changed(cloud).any(|change| {
            let Some((field, value)) = fields::means(&change.address).opens else {
                return false;
            };
            let mut fields = change.changes.iter();
            matches!(change.action, Action::Create | Action::Update)
                && fields.any(|it| {
                    let new = it.new.as_ref().map(ToString::to_string);
                    it.field == field && new.as_deref() == Some(value)
                })
        })
    };
    let open = CloudName::ALL.into_iter().filter_map(|cloud| {
        let things = things.iter().filter(|it| opened(it, cloud));
        let open: Vec<String> = things.map(|it| it.name.clone()).collect();
        let verb = if open.len() == 1 { "answers" } else { "answer" };
        let words = || format!("{} {verb} everyone on {cloud}", names(&open));
        (!open.is_empty()).then(words)
    });
    open.map(|words| (RED, "PUBLIC", words)).collect()
}

/// What another hand changed since the last apply.
fn another_hand(thing: &Thing<'_>) -> Option<(&'static str, &'static str, String)> {
    let fields: Vec<String> = thing
        .clouds()
        .into_iter()
        .flat_map(|cloud| thing.changed(cloud))
        .flat_map(|change| &change.drift)
        .map(|drift| drift.field.clone())
        .collect();
    let words = format!(
        "{}: {} changed since the last apply, by no run of ours",
        thing.name,
        count(fields.len(), "field")
    );
    (!fields.is_empty()).then_some((YELLOW, "ANOTHER HAND", words))
}

/// A migration failed, and waits for a person's word: an apply comes no further.
fn will_not_run(thing: &Thing<'_>) -> Option<(&'static str, &'static str, String)> {
    let clouds = thing.clouds().into_iter();
    let waits = |cloud: &CloudName| thing.changed(*cloud).any(fields::is_refused);
    let clouds: Vec<CloudName> = clouds.filter(waits).collect();
    let words = format!(
        "the migration of {} on {} failed, and {NOT_AGAIN}: put it right, then `deployer migrate --retry`",
        thing.name,
        label(&clouds)
    );
    let words = again::completed(&words).into_owned();
    (!clouds.is_empty()).then_some((RED, "WILL NOT RUN", words))
}

/// The run before failed with this very content.
fn failed_before(thing: &Thing<'_>, scene: &Scene) -> Vec<(&'static str, &'static str, String)> {
    let clouds = thing.clouds().into_iter();
    let failed = clouds.filter_map(|cloud| Some((cloud, thing.side(cloud)?.failed.as_ref()?)));
    let mut told: Vec<(Vec<CloudName>, &FailedBefore)> = Vec::new();
    for (cloud, failed) in failed {
        let same = |it: &FailedBefore| {
            (it.run, &it.said) == (failed.run, &failed.said)
                && (it.said.is_some() || it.why == failed.why)
        };
        match told.iter_mut().find(|(_, it)| same(it)) {
            Some((clouds, _)) => clouds.push(cloud),
            None => told.push((vec![cloud], failed)),
        }
    }
    told.into_iter()
        .map(|(clouds, failed)| {
            let ago = duration::since(failed.at, scene.at);
            // The app's own words tell more than the cloud's.
            let why = match &failed.said {
                Some(said) => format!("\"{}\"", cut(said, WHY)),
                None => cut(&cause(&brief(&failed.why)), WHY),
            };
            let why = foreign::one_line(&why);
            let (name, run, on) = (&thing.name, failed.run, label(&clouds));
            let words =
                format!("{name} on {on}: this very content failed {ago} ago (run {run}): {why}");
            (RED, "FAILED BEFORE", words)
        })
        .collect()
}

/// The part of an earlier error that tells most: how tasks ended, or the cloud's words without its
/// events and addresses.
pub fn cause(why: &str) -> String {
    let of_task = |part: &&str| part.starts_with("task stopped: ");
    let parts = why.split("; ").filter(|part| !part.starts_with("event: "));
    let parts: Vec<&str> = parts.collect();
    if let Some(part) = parts.iter().find(|it| of_task(it)) {
        return (*part).to_owned();
    }
    let whole = parts.join("; ");
    match whole.split_once(" failed: ") {
        Some((address, words)) if !address.contains(' ') => words.to_owned(),
        _ => whole,
    }
}
