//! Shows a run as it happens: a board on a terminal, plain lines with a heartbeat elsewhere, or
//! JSON lines.

mod board;
mod plain;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deployer_core::address::Address;
use deployer_core::error::ErrorKind;
use deployer_core::kind::Role;
use deployer_core::node::Action;
use deployer_core::plan::Plan;
use deployer_core::report::{Event, Reporter};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use board::{Board, Ended};
pub use plain::{doing, done};

use plain::Plain;

use crate::appearance::{self, Progress};
use crate::scene::Scene;
use crate::view::brief::brief;
use crate::view::{self, plan};

/// Why a delete waits for the next run.
const PUT_OFF: &str =
    "left to the next apply: the roll-out that was not waited for may still need it";

/// The reporter of a plan that is carried out, as suits where the output goes. `run` is the run's
/// number, where every target has the same.
pub fn reporter(as_json: bool, plan: &Plan, scene: &Scene, run: Option<u64>) -> Arc<dyn Reporter> {
    if as_json {
        Arc::new(JsonLines)
    } else {
        match appearance::progress() {
            Progress::Bar => {
                let board = Board::of(plan, scene, run, Instant::now());
                Arc::new(Live::new(board))
            }
            Progress::Plain => Arc::new(Plain::of(plan, scene)),
            Progress::Silent => Arc::new(Silent),
        }
    }
}

/// The reporter of what is done beside a plan.
pub fn beside(as_json: bool, (app, environment): (&str, &str), scene: &Scene) -> Arc<dyn Reporter> {
    let plan = Plan {
        app: app.to_owned(),
        environment: environment.to_owned(),
        targets: Vec::new(),
        changes: Vec::new(),
        notes: Vec::new(),
        fingerprint: String::new(),
    };
    reporter(as_json, &plan, scene, None)
}

/// Shows nothing.
struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// The program's own steps, which are of no cloud's kind, by the end of their address's: what is
/// being done, and what was done.
const STEPS: [(&str, &str, &str); 2] = [
    ("rollback", "put back", "put back"),
    // What came of it is told with its findings.
    ("verify", "verify", "examined"),
];

/// The words of a step that is being run; `None` for everything else.
fn step(address: &Address, action: Action) -> Option<(&'static str, &'static str)> {
    let mut steps = STEPS.into_iter();
    let (kind, now, then) = match plan::role(address) {
        Role::Migration => ("migration", "migrate", "migrated"),
        Role::Image => ("image", "copy", "copied"),
        _ => steps.find(|(kind, ..)| address.kind.ends_with(kind))?,
    };
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

/// What was done.
pub fn past(address: &Address, action: Action) -> &'static str {
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

/// The board that is on the terminal now.
static SHOWN: Mutex<Option<(ProgressBar, Arc<Mutex<Board>>)>> = Mutex::new(None);

/// Says that a run is to stop: on the board, where there is one, so that it stays; on standard
/// error in any case.
pub fn say_stopping(words: &str) {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*shown {
        None => sayln!("\n{words}"),
        Some((bar, board)) => {
            board.lock().unwrap_or_else(PoisonError::into_inner).stop();
            // Above the board: it stays when that is gone.
            bar.println(words);
        }
    }
}

/// A board that is drawn anew all the time, until it is dropped: then that of a plan stays as it is
/// last.
struct Live {
    bar: ProgressBar,
    board: Arc<Mutex<Board>>,
    stays: bool,
}

impl Live {
    fn new(board: Board) -> Self {
        // What is done beside a plan is told with its outcome.
        let stays = !board.is_empty();
        let board = Arc::new(Mutex::new(board));
        let drawn = Arc::clone(&board);
        let draw = move |_: &ProgressState, to: &mut dyn std::fmt::Write| {
            let board = drawn.lock().unwrap_or_else(PoisonError::into_inner);
            // A board that cannot be drawn is drawn at the next turn.
            to.write_str(&board.render(Instant::now(), size()))
                .unwrap_or_default();
        };
        let style = ProgressStyle::with_template("{board}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("board", draw);
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(TURN);
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some((bar.clone(), Arc::clone(&board)));
        Self { bar, board, stays }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a turn of the spinners takes.
const TURN: Duration = Duration::from_millis(120);

/// The columns and rows of the terminal.
fn size() -> (usize, usize) {
    const USUAL: (usize, usize) = (80, 24);
    let size = console::Term::stderr().size_checked();
    size.map_or(USUAL, |(rows, columns)| {
        // A line as wide as the terminal makes some of them go on in the next one.
        (usize::from(columns).max(41) - 1, usize::from(rows).max(8))
    })
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = None;
        if !self.stays {
            return;
        }
        let (columns, _) = size();
        let board = self.board().render(Instant::now(), (columns, usize::MAX));
        sayln!("{board}");
    }
}

impl Reporter for Live {
    fn event(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut board = self.board();
        match event {
            Event::Started { address, action } => {
                board.start(address, verb(address, *action), now);
            }
            Event::Note { address, line } => board.note(address, &shorter(line)),
            Event::Done { address, .. } => board.end(address, Ended::Well, now),
            Event::Detached { address } => {
                board.end(address, Ended::Left("begun, not waited for"), now);
            }
            Event::PutOff { address } => board.end(address, Ended::Left(PUT_OFF), now),
            Event::Failed { address, error, .. } => {
                let words = match error.kind() {
                    ErrorKind::TimedOut => "NOT READY IN TIME, no longer waited for".to_owned(),
                    _ => format!("FAILED: {}", plan::cause(&brief(&error.chain()[0]))),
                };
                board.end(address, Ended::Badly(words), now);
            }
            Event::Undoing { address } => board.start(address, "put back", now),
            Event::Undone { address, stays } => match stays {
                None => board.end(address, Ended::Left("as before"), now),
                Some(_) => board.end(address, Ended::Left("stays"), now),
            },
            Event::NotUndone { address, .. } => {
                board.end(address, Ended::Badly("NOT PUT BACK".to_owned()), now);
            }
            Event::Held { address } => board.end(address, Ended::NotStarted, now),
        }
    }
}

/// A line without more of a digest than people compare.
fn shorter(line: &str) -> String {
    const MARK: &str = "sha256:";
    const WHOLE: usize = 64;
    let mut parts = line.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_hexdigit).count();
        match digits == WHOLE {
            true => text.push_str(&format!("{}{}", &part[..12], &part[WHOLE..])),
            false => text.push_str(&format!("{MARK}{part}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_digest_twelve_digits_are_said() {
        let line = format!("sent sha256:{}, 1 of 2", "615e".repeat(16));
        assert_eq!(shorter(&line), "sent 615e615e615e, 1 of 2");
        assert_eq!(shorter("sha256:12 and text"), "sha256:12 and text");
    }
}
