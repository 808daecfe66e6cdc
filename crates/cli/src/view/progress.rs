//! Shows a run as it happens: live lines on a terminal, plain lines with a heartbeat elsewhere, or JSON lines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deployer_core::address::Address;
use deployer_core::error::ErrorKind;
use deployer_core::node::Action;
use deployer_core::report::{Event, Reporter};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::appearance::{self, Progress};
use crate::duration;
use crate::view;
use crate::view::foreign::{self, address as shown};

/// A node that is silent for so long is mentioned again in plain mode.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Why a delete waits for the next run.
const PUT_OFF: &str =
    "left to the next apply: the roll-out that was not waited for may still need it";

/// The reporter that suits where the output goes.
pub fn reporter(as_json: bool) -> Arc<dyn Reporter> {
    if as_json {
        Arc::new(JsonLines)
    } else {
        match appearance::progress() {
            Progress::Bar => Arc::new(Live::default()),
            Progress::Plain => Arc::new(Plain::default()),
            Progress::Silent => Arc::new(Silent),
        }
    }
}

/// Shows nothing.
struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// Steps that have a word of their own, by the end of their kind: what is being done, and what was done.
const STEPS: [(&str, &str, &str); 4] = [
    (".migration", "migrate", "migrated"),
    (".image", "copy", "copied"),
    ("rollback", "put back", "put back"),
    // What came of it is told with its findings.
    ("verify", "verify", "examined"),
];

/// The words of a step that is being run; `None` for everything else.
fn step(address: &Address, action: Action) -> Option<(&'static str, &'static str)> {
    let mut steps = STEPS.into_iter();
    let (kind, now, then) = steps.find(|(kind, ..)| address.kind.ends_with(kind))?;
    match action {
        Action::Create | Action::Update | Action::Replace => Some((now, then)),
        Action::NoOp if kind == "verify" => Some((now, then)),
        Action::NoOp | Action::Delete | Action::Release => None,
    }
}

/// What is being done, as people say it.
pub fn verb(address: &Address, action: Action) -> &'static str {
    if let Some((now, _)) = step(address, action) {
        return now;
    }
    match action {
        Action::NoOp => "wait for",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Delete => "delete",
        Action::Release => "release",
    }
}

fn past(address: &Address, action: Action) -> &'static str {
    if let Some((_, then)) = step(address, action) {
        return then;
    }
    match action {
        Action::NoOp => "ready",
        Action::Create => "created",
        Action::Update => "updated",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
        Action::Release => "released",
    }
}

struct JsonLines;

impl Reporter for JsonLines {
    fn event(&self, event: &Event<'_>) {
        view::json_line(&match event {
            Event::Started { address, action } => {
                json!({"event": "started", "address": address, "action": action})
            }
            Event::Note { address, line } => {
                json!({"event": "note", "address": address, "note": line})
            }
            Event::Done {
                address,
                action,
                took,
            } => {
                json!({"event": "done", "address": address, "action": action, "seconds": took.as_secs_f64()})
            }
            Event::Detached { address } => json!({"event": "detached", "address": address}),
            Event::PutOff { address } => json!({"event": "put_off", "address": address}),
            Event::Failed {
                address,
                error,
                took,
            } => json!({
                "event": "failed", "address": address, "seconds": took.as_secs_f64(),
                "error": view::error::document(error),
            }),
            Event::Undoing { address } => json!({"event": "undoing", "address": address}),
            Event::Undone { address, stays } => {
                json!({"event": "undone", "address": address, "stays": stays})
            }
            Event::NotUndone { address, error } => json!({
                "event": "not_undone", "address": address, "error": view::error::document(error),
            }),
            Event::Held { address } => json!({"event": "held", "address": address}),
        });
    }
}

/// What a node last said, and when it was last mentioned.
struct Last {
    since: Instant,
    mentioned: Instant,
    note: String,
}

#[derive(Default)]
struct Plain {
    running: Mutex<BTreeMap<Address, Last>>,
}

impl Plain {
    fn running(&self) -> MutexGuard<'_, BTreeMap<Address, Last>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, address: &Address, line: &str) {
        let mut running = self.running();
        let now = Instant::now();
        if let Some(last) = running.get_mut(address)
            && (last.note != line || now - last.mentioned > HEARTBEAT)
        {
            let took = duration::show(now - last.since);
            sayln!("  {}: {} ({took})", shown(address), foreign::line(line));
            last.mentioned = now;
            last.note = line.to_owned();
        }
    }
}

impl Reporter for Plain {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { address, action } => {
                let now = Instant::now();
                let last = Last {
                    since: now,
                    mentioned: now,
                    note: String::new(),
                };
                self.running().insert((*address).clone(), last);
                sayln!("  {}: {}", shown(address), verb(address, *action));
            }
            Event::Note { address, line } => self.note(address, line),
            Event::Done {
                address,
                action,
                took,
            } => {
                self.running().remove(address);
                sayln!(
                    "  {}: {} in {}",
                    shown(address),
                    past(address, *action),
                    duration::show(*took)
                );
            }
            Event::Detached { address } => {
                self.running().remove(address);
                sayln!("  {}: begun, not waited for", shown(address));
            }
            Event::PutOff { address } => sayln!("  {}: {PUT_OFF}", shown(address)),
            Event::Failed {
                address,
                error,
                took,
            } => {
                self.running().remove(address);
                let how = match error.kind() {
                    ErrorKind::TimedOut => "NOT READY IN TIME, no longer waited for",
                    _ => "FAILED",
                };
                // The error itself is told with everything that belongs to it, once.
                let took = duration::show(*took);
                sayln!("  {}: {how} after {took}", shown(address));
            }
            Event::Undoing { address } => sayln!("  {}: put back", shown(address)),
            Event::Undone { address, stays } => match stays {
                None => sayln!("  {}: as before", shown(address)),
                Some(why) => sayln!("  {}: stays: {}", shown(address), foreign::words(why)),
            },
            Event::NotUndone { address, .. } => sayln!("  {}: NOT PUT BACK", shown(address)),
            Event::Held { address } => sayln!("  {}: not started", shown(address)),
        }
    }
}

#[derive(Default)]
struct Live {
    lines: MultiProgress,
    running: Mutex<BTreeMap<Address, ProgressBar>>,
}

impl Live {
    fn running(&self) -> MutexGuard<'_, BTreeMap<Address, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, address: &Address, action: Action) {
        self.begin(
            address,
            &format!("{} {}", verb(address, action), shown(address)),
        );
    }

    fn begin(&self, address: &Address, what: &str) {
        let style =
            ProgressStyle::with_template("  {spinner} {prefix} {elapsed:>4} {wide_msg:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.lines.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.running().insert(address.clone(), bar);
    }

    fn end(&self, address: &Address, mark: char, line: &str) {
        if let Some(bar) = self.running().remove(address) {
            bar.finish_and_clear();
        }
        // Nobody is left to tell when the terminal is gone.
        self.lines
            .println(format!("  {mark} {line}"))
            .unwrap_or_default();
    }
}

impl Reporter for Live {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { address, action } => self.start(address, *action),
            Event::Note { address, line } => {
                if let Some(bar) = self.running().get(address) {
                    bar.set_message(foreign::line(line));
                }
            }
            Event::Done {
                address,
                action,
                took,
            } => {
                let (past, took) = (past(address, *action), duration::show(*took));
                self.end(
                    address,
                    '✓',
                    &format!("{past} {} in {took}", shown(address)),
                );
            }
            Event::Detached { address } => {
                self.end(address, '…', &format!("{} begun", shown(address)));
            }
            Event::PutOff { address } => {
                self.end(address, '…', &format!("{}: {PUT_OFF}", shown(address)));
            }
            Event::Failed {
                address,
                error,
                took,
            } => {
                let how = match error.kind() {
                    ErrorKind::TimedOut => "not ready in time, no longer waited for",
                    _ => "failed",
                };
                let took = duration::show(*took);
                self.end(
                    address,
                    '✗',
                    &format!("{} {how} after {took}", shown(address)),
                );
            }
            Event::Undoing { address } => {
                self.begin(address, &format!("put back {}", shown(address)));
            }
            Event::Undone { address, stays } => match stays {
                None => self.end(address, '✓', &format!("{} as before", shown(address))),
                Some(why) => {
                    let why = foreign::words(why);
                    self.end(address, '·', &format!("{} stays: {why}", shown(address)));
                }
            },
            Event::NotUndone { address, .. } => {
                self.end(address, '✗', &format!("{} not put back", shown(address)));
            }
            Event::Held { address } => {
                self.end(address, '·', &format!("{} not started", shown(address)));
            }
        }
    }
}
