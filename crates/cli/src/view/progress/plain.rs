//! A run as one line for each event, time first: for pipes, jobs and terminals that draw nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deployer_core::address::{Address, CloudName};
use deployer_core::error::ErrorKind;
use deployer_core::kind::Role;
use deployer_core::plan::Plan;
use deployer_core::report::{Event, Reporter};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{PUT_OFF, past, shorter, verb};
use crate::duration;
use crate::scene::Scene;
use crate::view::foreign;
use crate::view::github;
use crate::view::plan;

/// A node that is silent for so long is mentioned again.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The longest name in a column of its own, in characters.
const NAME: usize = 20;

/// What a node last said, and when it was last mentioned.
struct Last {
    since: Instant,
    mentioned: Instant,
    note: String,
}

/// Writes lines to standard error.
pub struct Plain {
    /// The service, database or cache of each node of the plan.
    names: BTreeMap<Address, String>,
    /// What is called so in a cloud, by the manifest's name.
    called: BTreeMap<(CloudName, String), String>,
    /// The secret, by the manifest's name, that a node is or belongs to.
    secrets: BTreeMap<Address, String>,
    /// The width of the longest of them.
    widest: usize,
    running: Mutex<BTreeMap<Address, Last>>,
    /// In a job of GitHub's, the lines of a plan fold.
    _group: Option<github::Group>,
}

impl Plain {
    /// Of a plan, by what it is called in the manifest.
    pub fn of(plan: &Plan, scene: &Scene) -> Self {
        let (mut names, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for thing in plan::things(plan, scene) {
            for address in thing
                .changes
                .values()
                .flatten()
                .flat_map(|it| it.addresses())
            {
                names.insert(address.clone(), thing.name.clone());
                if let Some(key) = scene.secret(&address.name) {
                    secrets.insert(address.clone(), key.to_owned());
                }
            }
        }
        let widest = names.values().map(|name| name.chars().count()).max();
        let title = || format!("{} · {}: what was done", plan.app, plan.environment);
        Self {
            widest: widest.unwrap_or(0).clamp(4, NAME),
            _group: (!names.is_empty())
                .then(|| github::group(&title()))
                .flatten(),
            called: scene.called(),
            secrets,
            names,
            running: Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Address, Last>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, address: &Address, what: &str) {
        let what = match self.secrets.get(address) {
            Some(key) => of_secret(word(address), key, what),
            None => what.to_owned(),
        };
        let what = what.as_str();
        sayln!(
            "{}",
            line(
                Timestamp::now(),
                address,
                self.name(address),
                self.widest,
                what
            )
        );
    }

    fn name<'a>(&'a self, address: &'a Address) -> &'a str {
        let called = || self.called.get(&(address.cloud, address.name.clone()));
        let name = self.names.get(address).or_else(called);
        name.map_or(&address.name, String::as_str)
    }

    fn note(&self, address: &Address, text: &str) {
        let mut running = self.running();
        let now = Instant::now();
        if let Some(last) = running.get_mut(address)
            && (last.note != text || now - last.mentioned > HEARTBEAT)
        {
            let took = duration::show(now - last.since);
            let told = foreign::line(&shorter(text));
            self.say(address, &format!("{}: {told} ({took})", word(address)));
            last.mentioned = now;
            last.note = text.to_owned();
        }
    }

    fn start(&self, address: &Address) {
        let now = Instant::now();
        let last = Last {
            since: now,
            mentioned: now,
            note: String::new(),
        };
        self.running().insert(address.clone(), last);
    }

    fn end(&self, address: &Address, what: &str) {
        self.running().remove(address);
        self.say(address, what);
    }
}

/// `20:01:58 aws  main      create database`, the time in UTC.
fn line(at: Timestamp, address: &Address, name: &str, widest: usize, what: &str) -> String {
    let at = at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S");
    let name = foreign::one_line(&plan::cut(name, NAME));
    format!("{at} {:<4} {name:<widest$}  {what}", address.cloud.as_str())
}

/// What a node is called.
fn word(address: &Address) -> &str {
    match plan::role(address) {
        // The verb says that it is a copy.
        Role::Image => "image",
        _ => plan::word(address),
    }
}

/// The same text, with the name of the secret behind the word of its node.
fn of_secret(word: &str, key: &str, text: &str) -> String {
    let key = foreign::one_line(key);
    let named = match word.strip_suffix("a secret") {
        Some(before) => format!("{before}secret {key}"),
        None => format!("{word} {key}"),
    };
    text.replacen(word, &named, 1)
}

/// What is done with the node's own word, unless the verb says it all.
pub fn doing(address: &Address, verb: &str) -> String {
    match address.kind.as_str() {
        _ if plan::role(address) == Role::Migration => verb.to_owned(),
        kind if kind.ends_with("rollback") || kind.ends_with("verify") => verb.to_owned(),
        _ => format!("{verb} {}", word(address)),
    }
}

/// The same of what was done: the word comes first.
pub fn done(address: &Address, past: &str) -> String {
    match doing(address, past) {
        alone if alone == past => alone,
        _ => format!("{} {past}", word(address)),
    }
}

impl Reporter for Plain {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { address, action } => {
                self.start(address);
                self.say(address, &doing(address, verb(address, *action)));
            }
            Event::Note { address, line } => self.note(address, line),
            Event::Done {
                address,
                action,
                took,
            } => {
                let what = done(address, past(address, *action));
                self.end(address, &format!("{what} in {}", duration::show(*took)));
            }
            Event::Detached { address } => {
                self.end(address, &done(address, "begun, not waited for"));
            }
            Event::PutOff { address } => {
                self.say(address, &format!("{}: {PUT_OFF}", word(address)));
            }
            Event::Failed {
                address,
                error,
                took,
            } => {
                let how = match error.kind() {
                    ErrorKind::TimedOut => "NOT READY IN TIME, no longer waited for",
                    _ => "FAILED",
                };
                // The error itself is told with everything that belongs to it, once.
                let took = duration::show(*took);
                let what = format!("{} {how} after {took}", word(address));
                self.end(address, &what);
                let title = format!("{} on {}", self.name(address), address.cloud);
                github::error(&title, plan::cause(&error.chain()[0]).as_ref());
            }
            Event::Undoing { address } => self.say(address, &format!("put back {}", word(address))),
            Event::Undone { address, stays } => match stays {
                None => self.say(address, &format!("{} as before", word(address))),
                Some(why) => {
                    let why = foreign::words(why);
                    self.say(address, &format!("{} stays: {why}", word(address)));
                }
            },
            Event::NotUndone { address, .. } => {
                self.say(address, &format!("{} NOT PUT BACK", word(address)));
            }
            Event::Held { address } => {
                self.say(address, &format!("{} not started", word(address)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::address::{CloudName, Target};
    use deployer_core::node::Action;

    use super::*;

    fn address(kind: &str, name: &str) -> Address {
        let target = Target {
            cloud: CloudName::Aws,
            account: "1".into(),
            region: "here".into(),
            sandbox: true,
        };
        Address::new(&target, kind, name)
    }

    #[test]
    fn a_line_has_the_time_the_cloud_and_what_the_manifest_calls_it() {
        let at = "2026-11-29T20:01:58Z".parse().expect("a time");
        let database = address("rds.instance", "shop-staging-main");
        let what = doing(&database, verb(&database, Action::Create));
        assert_eq!(
            line(at, &database, "main", 6, &what),
            "20:01:58 aws  main    create database"
        );
        let what = done(&database, past(&database, Action::Create));
        assert_eq!(what, "database created");
    }

    #[test]
    fn a_verb_that_says_it_all_stands_alone() {
        let migration = address("ecs.migration", "shop-staging");
        assert_eq!(
            doing(&migration, verb(&migration, Action::Create)),
            "migrate"
        );
        assert_eq!(
            done(&migration, past(&migration, Action::Create)),
            "migrated"
        );
        let image = address("ecr.image", "shop-staging");
        assert_eq!(doing(&image, verb(&image, Action::Create)), "copy image");
        assert_eq!(done(&image, past(&image, Action::Create)), "image copied");
    }

    #[test]
    fn a_secret_is_told_by_its_name() {
        let said = of_secret("secret", "jwt", "create secret");
        assert_eq!(said, "create secret jwt");
        let said = of_secret(
            "access to a secret",
            "jwt",
            "access to a secret created in 0.1s",
        );
        assert_eq!(said, "access to secret jwt created in 0.1s");
    }
}
