//! Carries out a prepared plan under the lock, writes the journals, and judges how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use deployer_core::address::{Address, CloudName};
use deployer_core::engine::{self, Interrupt, Journal, Means, OnFailure, Verdict};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::journal::Event;
use deployer_core::ledger::{RunHeader, RunJournal};
use deployer_core::node::Waiting;
use deployer_core::ours::Noted;
use deployer_core::plan::Prepared;
use serde_json::json;
use uuid::Uuid;

use crate::args::{Global, Which};
use crate::exit::Exit;
use crate::left;
use crate::session::Session;
use crate::system::{self, Stop};
use crate::view;

/// Asks before anything is written. `--yes` answers; without it and without a terminal, refuses.
pub fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::input("nobody is here to agree").hint("pass --yes when this is meant"));
    }
    say!("\n{question} [y/N] ");
    // A prompt that cannot be shown is answered by whoever types anyway.
    std::io::stderr().flush().unwrap_or_default();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::input("cannot read the answer").because(error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Interrupted,
            "not applied; nothing was changed",
        )),
    }
}

/// Refuses what loses data unless each node is named. `command` is what to type again, without the names.
pub fn guard_data(prepared: &Prepared, allowed: &[String], command: &str) -> Result<()> {
    let losses = prepared.plan.losses();
    let losses: Vec<String> = losses.map(|change| change.address.to_string()).collect();
    let lost = losses.iter().filter(|address| !allowed.contains(*address));
    let lost: Vec<&str> = lost.map(String::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let words = losses.iter().map(|it| format!(" --allow-data-loss {it}"));
    let words: String = words.collect();
    let message = format!("this would lose the data of {}", lost.join(", "));
    Err(Error::input(message).hint(format!("if that is meant: {command}{words}")))
}

/// A command as it was typed, as far as it names what it works on.
pub fn typed(global: &Global, command: &str) -> String {
    let mut words = vec![format!("deployer {command}")];
    if global.manifest != std::path::Path::new("deployer.toml") {
        words.push(format!("--manifest {}", global.manifest.display()));
    }
    if let Some(environment) = &global.env {
        words.push(format!("--env {environment}"));
    }
    match global.cloud {
        Which::All => {}
        Which::Aws => words.push("--cloud aws".into()),
        Which::Gcp => words.push("--cloud gcp".into()),
    }
    words.extend(global.set.iter().map(|set| format!("--set '{set}'")));
    words.join(" ")
}

/// A run that is under way: its number and journals by cloud.
pub struct Journals {
    journals: BTreeMap<CloudName, Arc<RunJournal>>,
}

impl Journals {
    /// Begins a run in every target's ledger. The lock is held.
    pub async fn begin(session: &Session, command: &str) -> Result<Self> {
        let manifest = serde_json::to_value(&session.loaded.manifest)
            .map_err(|error| Error::internal("the manifest has no JSON form").because(error))?;
        let mut journals = BTreeMap::new();
        for place in &session.places {
            let header = RunHeader {
                number: 0,
                command: command.into(),
                by: system::who(),
                at: session.clock.now(),
                manifest: manifest.clone(),
            };
            journals.insert(
                place.name(),
                Arc::new(place.ledger.begin_run(header).await?),
            );
        }
        Ok(Self { journals })
    }

    /// The run's number on a cloud, as text.
    pub fn name(&self, cloud: CloudName) -> String {
        self.journals
            .get(&cloud)
            .map_or_else(String::new, |run| format!("run {}", run.number()))
    }

    /// Notes that this is ours from now on.
    pub async fn remember(&self, cloud: CloudName, address: &Address, noted: &Noted) -> Result<()> {
        match self.journals.get(&cloud) {
            Some(journal) => journal.remember(address, noted).await,
            None => Ok(()),
        }
    }

    /// Writes how the run ended on each cloud.
    pub async fn end(&self, outcomes: &BTreeMap<CloudName, String>) -> Result<()> {
        for (cloud, journal) in &self.journals {
            let outcome = outcomes
                .get(cloud)
                .cloned()
                .unwrap_or_else(|| "failed".into());
            journal.write(Event::Ended { outcome }).await?;
        }
        Ok(())
    }

    fn erased(&self) -> BTreeMap<CloudName, Arc<dyn Journal>> {
        self.journals
            .iter()
            .map(|(cloud, journal)| (*cloud, Arc::clone(journal) as Arc<dyn Journal>))
            .collect()
    }
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub waiting: Waiting,
    pub on_failure: OnFailure,
}

impl Manner {
    /// Waits for everything; keeps what was done before a failure.
    pub const THOROUGH: Self = Self {
        waiting: Waiting::Ready,
        on_failure: OnFailure::Keep,
    };
}

/// Carries out a plan.
pub async fn carry_out(
    session: &Session,
    prepared: &Prepared,
    journals: &Journals,
    manner: Manner,
    stop: &Stop,
    as_json: bool,
) -> Result<BTreeMap<CloudName, Verdict>> {
    engine::reconcile_inventory(prepared, &journals.erased()).await?;
    left::forget_changed(session, prepared).await?;
    let reporter = view::progress::reporter(as_json);
    let means = Means {
        clock: session.clock.as_ref(),
        reporter: reporter.as_ref(),
        journals: journals.erased(),
        waiting: manner.waiting,
        on_failure: manner.on_failure,
        interrupt: stop,
        seed: Uuid::new_v4(),
    };
    let verdicts = engine::execute(prepared, &means).await;
    let noted = left::note(session, prepared, &verdicts).await;
    or_tell(noted, &verdicts, stop, as_json)?;
    Ok(verdicts)
}

/// What came of writing down what was done. Where that failed - the lock was lost, the ledger is out of reach - people are
/// told first what was done all the same.
pub fn or_tell<T>(
    written: Result<T>,
    verdicts: &BTreeMap<CloudName, Verdict>,
    stop: &Stop,
    as_json: bool,
) -> Result<T> {
    written.inspect_err(|_| {
        let outcomes = outcomes(verdicts, &BTreeSet::new());
        report(verdicts, &outcomes, stop, as_json);
    })
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        verdict if !verdict.attention.is_empty() => "needs attention",
        verdict if !verdict.undone.is_empty() => "undone",
        verdict if !verdict.failed.is_empty() => "failed",
        verdict if verdict.blocked => "blocked",
        verdict if verdict.interrupted => "interrupted",
        verdict if !verdict.detached.is_empty() => "detached",
        _ => "succeeded",
    }
    .into()
}

/// Brings the ledgers up to what a plan saw that leaves nothing to do: a run that was killed may not have come to it.
pub async fn reconcile(
    session: &Session,
    prepared: &Prepared,
    journals: &Journals,
    verdicts: &BTreeMap<CloudName, Verdict>,
) -> Result<()> {
    engine::reconcile_inventory(prepared, &journals.erased()).await?;
    left::note(session, prepared, verdicts).await
}

/// The words that the journals end with, on every cloud; `unverified` are those where a service does not do what it should.
pub fn outcomes(
    verdicts: &BTreeMap<CloudName, Verdict>,
    unverified: &BTreeSet<CloudName>,
) -> BTreeMap<CloudName, String> {
    let outcome = |cloud: &CloudName, verdict: &Verdict| match unverified.contains(cloud) {
        true => "verification failed".into(),
        false => outcome(verdict),
    };
    verdicts
        .iter()
        .map(|(cloud, verdict)| (*cloud, outcome(cloud, verdict)))
        .collect()
}

/// Says for each cloud what failed and what is left; returns the worst exit code. `outcomes` are the words that the
/// journals ended with.
pub fn report(
    verdicts: &BTreeMap<CloudName, Verdict>,
    outcomes: &BTreeMap<CloudName, String>,
    stop: &Stop,
    as_json: bool,
) -> Exit {
    let mut worst = Exit::Success;
    for (cloud, verdict) in verdicts {
        worst = worst.max(exit_of(verdict));
        for failed in &verdict.failed {
            if !as_json {
                sayln!("\n{cloud}: {}, {:.0}", failed.address, failed.at);
                say!("{}", view::error::render(&failed.error));
            }
        }
        if !verdict.held.is_empty() && !as_json {
            let held: Vec<String> = verdict.held.iter().map(Address::to_string).collect();
            sayln!("{cloud}: not started: {}", held.join(", "));
            let mend = match verdict.interrupted {
                true => "",
                false => "mend the cause and ",
            };
            sayln!("  hint: {mend}run the same command again: it goes on where this one stopped");
        }
        if !as_json {
            tell_undo(*cloud, verdict);
        }
        if as_json {
            view::json_line(&json!({
                "event": "verdict", "cloud": cloud, "outcome": outcomes.get(cloud),
                "done": verdict.done, "detached": verdict.detached, "held": verdict.held,
                "undone": verdict.undone,
                "stays": verdict.stays.iter().map(|(address, why)| json!({
                    "address": address, "why": why,
                })).collect::<Vec<_>>(),
                "attention": verdict.attention.iter().map(|(address, error)| json!({
                    "address": address, "error": view::error::document(error),
                })).collect::<Vec<_>>(),
                "failed": verdict.failed.iter().map(view::error::failed).collect::<Vec<_>>(),
            }));
        }
    }
    if stop.requested() {
        return worst.max(Exit::Interrupted);
    }
    worst
}

/// The exit code of one target.
fn exit_of(verdict: &Verdict) -> Exit {
    if !verdict.attention.is_empty() {
        return Exit::NeedsAttention;
    }
    let failed = verdict.failed.iter();
    let worst = failed.map(|it| Exit::from(it.error.kind())).max();
    match worst {
        Some(Exit::DeploymentFailed) if !verdict.undone.is_empty() => Exit::RolledBack,
        worst => worst.unwrap_or(Exit::Success),
    }
}

fn tell_undo(cloud: CloudName, verdict: &Verdict) {
    if !verdict.undone.is_empty() {
        let undone: Vec<String> = verdict.undone.iter().map(Address::to_string).collect();
        sayln!("{cloud}: as before: {}", undone.join(", "));
    }
    for (address, why) in &verdict.stays {
        sayln!("{cloud}: {address} stays: {why}");
    }
    if verdict.attention.is_empty() {
        return;
    }
    sayln!("\n{cloud}: needs attention, it could not be put back:");
    for (address, error) in &verdict.attention {
        sayln!("  {address}");
        say!("{}", view::error::render(error));
    }
    sayln!("  hint: `deployer status` says what serves, `deployer plan` what differs");
}
