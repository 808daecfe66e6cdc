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

use crate::duration;
use crate::view;

/// A node that is silent for so long is mentioned again in plain mode.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Why a delete waits for the next run.
const PUT_OFF: &str =
    "left to the next apply: the roll-out that was not waited for may still need it";

/// The reporter that suits where the output goes.
pub fn reporter(as_json: bool) -> Arc<dyn Reporter> {
    if as_json {
        Arc::new(JsonLines)
    } else if view::is_watched() {
        Arc::new(Live::default())
    } else {
        Arc::new(Plain::default())
    }
}

/// What is being done, as people say it.
pub fn verb(action: Action) -> &'static str {
    match action {
        Action::NoOp => "wait for",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Delete => "delete",
        Action::Release => "release",
    }
}

fn past(action: Action) -> &'static str {
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
            sayln!("  {address}: {line} ({})", duration::show(now - last.since));
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
                sayln!("  {address}: {}", verb(*action));
            }
            Event::Note { address, line } => self.note(address, line),
            Event::Done {
                address,
                action,
                took,
            } => {
                self.running().remove(address);
                sayln!(
                    "  {address}: {} in {}",
                    past(*action),
                    duration::show(*took)
                );
            }
            Event::Detached { address } => {
                self.running().remove(address);
                sayln!("  {address}: begun, not waited for");
            }
            Event::PutOff { address } => sayln!("  {address}: {PUT_OFF}"),
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
                sayln!(
                    "  {address}: {how} after {}: {error}",
                    duration::show(*took)
                );
            }
            Event::Undoing { address } => sayln!("  {address}: put back"),
            Event::Undone { address, stays } => match stays {
                None => sayln!("  {address}: as before"),
                Some(why) => sayln!("  {address}: stays: {why}"),
            },
            Event::NotUndone { address, error } => sayln!("  {address}: NOT PUT BACK: {error}"),
            Event::Held { address } => sayln!("  {address}: not started"),
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
        self.begin(address, &format!("{} {address}", verb(action)));
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

    fn end(&self, address: &Address, line: &str) {
        if let Some(bar) = self.running().remove(address) {
            bar.finish_and_clear();
        }
        // Nobody is left to tell when the terminal is gone.
        self.lines.println(line).unwrap_or_default();
    }
}

impl Reporter for Live {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { address, action } => self.start(address, *action),
            Event::Note { address, line } => {
                if let Some(bar) = self.running().get(address) {
                    bar.set_message((*line).to_owned());
                }
            }
            Event::Done {
                address,
                action,
                took,
            } => {
                let line = format!(
                    "  ✓ {} {address} in {}",
                    past(*action),
                    duration::show(*took)
                );
                self.end(address, &line);
            }
            Event::Detached { address } => self.end(address, &format!("  … {address} begun")),
            Event::PutOff { address } => self.end(address, &format!("  … {address}: {PUT_OFF}")),
            Event::Failed {
                address,
                error,
                took,
            } => {
                self.end(
                    address,
                    &format!("  ✗ {address} after {}: {error}", duration::show(*took)),
                );
            }
            Event::Undoing { address } => self.begin(address, &format!("put back {address}")),
            Event::Undone { address, stays } => match stays {
                None => self.end(address, &format!("  ✓ {address} as before")),
                Some(why) => self.end(address, &format!("  · {address} stays: {why}")),
            },
            Event::NotUndone { address, error } => {
                self.end(address, &format!("  ✗ {address} not put back: {error}"));
            }
            Event::Held { address } => self.end(address, &format!("  · {address} not started")),
        }
    }
}
