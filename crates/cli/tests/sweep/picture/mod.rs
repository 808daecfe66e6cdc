//! What the clouds and the ledger hold, read past the program: the sandbox's own dump, without what
//! is over and what differs from run to run.
//!
//! A line names a thing, `aws rds subnet_groups swept-test-main`, or says a member of one, with `:
//! ` between them and ` = ` before its value.

mod rules;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use crate::in_process::ledger::KillingStore;
use crate::in_process::stage::Stage;
use rules::Pins;

/// Longer than a service drains or an instance is deleted.
const SETTLES: Duration = Duration::from_secs(1200);

/// The members that a list's entries are known by.
const NAMES: [&str; 11] = [
    "name", "Name", "key", "Key", "role", "digest", "arn", "id", "revision", "type", "tag",
];

/// Every line, sorted. What was there when the stage was set, and is as it was, is left out.
pub async fn take(stage: &Stage) -> String {
    // What goes on by itself comes to its end.
    stage.time.pass(SETTLES).await;
    let began: BTreeSet<String> = clouds(&stage.began).into_iter().collect();
    let mut lines = clouds(&stage.sandbox.dump());
    lines.retain(|line| !began.contains(line));
    let mut noted = Vec::new();
    ledger(&mut noted, &stage.ledger).await;
    lines.extend(noted.iter().map(|line| rules::alike(line)));
    for started in stage.containers.started() {
        if started.command.iter().any(|word| word == "migrate") {
            let digest = &started.digest;
            lines.push(format!(
                "migration {} of {digest} was started",
                started.repository
            ));
        }
    }
    lines.sort();
    lines.join("\n")
}

/// The things of a picture: what is there on the clouds, what the ledger calls ours, and so on. A
/// secret that is deleted, and only kept for a while, is none.
#[allow(dead_code, reason = "the sweep compares whole pictures")]
pub fn things(picture: &str) -> Vec<&str> {
    let deleted: BTreeSet<&str> = picture
        .lines()
        .filter_map(|line| line.strip_suffix(": deleted = true"))
        .collect();
    let things = picture.lines().filter(|line| !line.contains(": "));
    things.filter(|thing| !deleted.contains(thing)).collect()
}

/// The lines of everything in a dump.
fn clouds(dump: &Value) -> Vec<String> {
    let pins = Pins::of(dump);
    let mut lines = Vec::new();
    for (cloud, services) in members(dump) {
        for (service, kinds) in members(services) {
            for (kind, things) in members(kinds) {
                let place = format!("{cloud}/{service}/{kind}");
                if rules::is_history(&place) || rules::is_history(&format!("{cloud}/{service}")) {
                    continue;
                }
                for (name, thing) in entries(things, &pins) {
                    let head = format!("{cloud} {service} {kind} {name}");
                    thing_lines(&mut lines, (&head, &place), thing, &pins);
                }
            }
        }
    }
    lines
}

/// A thing, or each of several of one name.
fn thing_lines(lines: &mut Vec<String>, (head, place): (&str, &str), thing: &Value, pins: &Pins) {
    if let Value::Array(several) = thing {
        for one in several {
            let head = format!("{head} {}", name_of(one, pins).unwrap_or_default());
            thing_lines(lines, (head.trim_end(), place), one, pins);
        }
        return;
    }
    if rules::is_over(thing) {
        return;
    }
    lines.push(head.to_owned());
    let mut told = Vec::new();
    member_lines(&mut told, ("", &format!("{place}/*")), thing, pins);
    lines.extend(told.iter().map(|member| format!("{head}: {member}")));
}

/// A line for each value within: its way there, and what it is.
fn member_lines(lines: &mut Vec<String>, (way, place): (&str, &str), value: &Value, pins: &Pins) {
    if rules::is_history(place) {
        return;
    }
    let join = |name: &str| match way {
        "" => name.to_owned(),
        way => format!("{way}.{name}"),
    };
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = rules::named(key, pins);
                // When it was deleted differs; that it was does not.
                if key == "deleted" && !value.is_null() {
                    lines.push(format!("{} = true", join(&name)));
                    continue;
                }
                member_lines(
                    lines,
                    (&join(&name), &format!("{place}/{key}")),
                    value,
                    pins,
                );
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (index, entry) in list.iter().enumerate() {
                // A version of a secret that no stage names is gone.
                if place.ends_with("secretsmanager/secrets/*/versions")
                    && rules::stages(entry).is_empty()
                {
                    continue;
                }
                let name = name_of(entry, pins).unwrap_or_else(|| index.to_string());
                let way = format!("{way}[{name}]");
                member_lines(lines, (&way, &format!("{place}/*")), entry, pins);
            }
        }
        Value::Array(list) => {
            let shown = list.iter().filter_map(|it| rules::shown(place, it, pins));
            let shown: Vec<String> = shown.collect();
            if !shown.is_empty() {
                lines.push(format!("{way} = [{}]", shown.join(", ")));
            }
        }
        value => {
            let shown = rules::shown(place, value, pins);
            lines.extend(shown.map(|shown| format!("{way} = {shown}")));
        }
    }
}

/// The things of a kind, with their names.
fn entries<'a>(things: &'a Value, pins: &Pins) -> Vec<(String, &'a Value)> {
    match things {
        Value::Object(things) => {
            let things = things.iter();
            things
                .map(|(name, it)| (rules::named(name, pins), it))
                .collect()
        }
        Value::Array(things) => {
            let things = things.iter();
            things
                .map(|it| (name_of(it, pins).unwrap_or_default(), it))
                .collect()
        }
        other => vec![(String::new(), other)],
    }
}

/// What an entry of a list is known by.
fn name_of(entry: &Value, pins: &Pins) -> Option<String> {
    let of_a_secret = entry.get("stages").map(|_| rules::stages(entry));
    let named = NAMES.iter().find_map(|name| entry[name].as_str());
    let of_itself = named.map(|name| {
        let name = match name.strip_prefix("arn:aws:") {
            Some(arn) => arn.splitn(4, ':').last().unwrap_or_default(),
            None => name,
        };
        rules::named(name, pins)
    });
    of_a_secret.or(of_itself)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Releases, holds, migrations and the inventory; runs and locks tell how often it was tried.
async fn ledger(lines: &mut Vec<String>, store: &KillingStore) {
    for path in store.standing().await {
        let value = store.document(&path).await;
        let path = path.to_string();
        if path.contains("/releases/") {
            let members = [
                "number",
                "content_id",
                "image",
                "revision",
                "tag",
                "rollback_to",
                "detached",
            ];
            lines.push(format!("release {}", chosen(&value, &members)));
        } else if path.contains("/holds/") {
            lines.push(format!(
                "hold {}",
                chosen(&value, &["rejected", "content_id", "serving", "unfinished"])
            ));
        } else if path.contains("/inventory/") {
            // Of the folder itself it is said that it has everything.
            match value["address"].as_str() {
                Some(address) => {
                    lines.push(format!("ours {address}"));
                    let needs = &value["item"]["needs"];
                    lines.push(format!("ours {address}: needs = {needs}"));
                }
                None => lines.push("inventory is whole".to_owned()),
            }
        } else if path.contains("/migrations/") {
            let record = &value["record"];
            lines.push(format!("migration {} {}", record["what"], record["state"]));
        }
    }
}

fn chosen(found: &Value, members: &[&str]) -> String {
    let mut text = String::new();
    for member in members {
        let value = found.pointer(&format!("/{member}")).unwrap_or(&Value::Null);
        write!(text, "{member} {value} ").expect("a string takes text");
    }
    text
}
