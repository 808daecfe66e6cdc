//! Carries out a prepared plan under the lock, writes the journals, and judges how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::engine::{self, Arrivals, Interrupt, Journal, Means, OnFailure, Verdict};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::journal::Event;
use deployer_core::ledger::{Content, RunHeader, RunJournal};
use deployer_core::node::Waiting;
use deployer_core::ours::Noted;
use deployer_core::plan::Prepared;
use deployer_core::redeploy::Redeploy;
use deployer_core::renames::Keyed;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::again::{self, Again};
use crate::document;
use crate::exit::Exit;
use crate::left;
use crate::named;
use crate::session::Session;
use crate::system::{self, Stop};
pub use crate::unwritten::Unwritten;
use crate::usual;
use crate::view::{self, foreign};

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

/// Refuses what loses data unless each node is named. `again` is what to type again, without the
/// names: the hint says each of them, as whoever pastes it is to read what goes.
pub fn guard_data(prepared: &Prepared, allowed: &[String], again: Again) -> Result<()> {
    const BY_NAME: usize = 5;
    let losses = view::plan::losses(&prepared.plan).into_iter();
    let losses: Vec<String> = losses.map(|change| change.address.to_string()).collect();
    let lost = losses.iter().filter(|address| !allowed.contains(*address));
    let lost: Vec<&str> = lost.map(String::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let name = |again: Again, it: &String| again.option("--allow-data-loss", it);
    let again = losses.iter().fold(again, name);
    let more = lost.len().saturating_sub(BY_NAME);
    let message = match more {
        0 => format!("this would lose the data of {}", lost.join(", ")),
        _ => format!(
            "this would lose the data of {} things: {}, and {more} more",
            lost.len(),
            lost[..BY_NAME].join(", ")
        ),
    };
    Err(Error::input(message).hint(format!("if that is meant: {again}")))
}

/// Stands for the journal of a target where none can be written: nothing of it is changed.
struct NoJournal(Error);

impl NoJournal {
    fn error<T>(&self) -> Result<T> {
        let again = Error::new(self.0.kind(), self.0.chain().join(": "));
        Err(match self.0.hint_text() {
            Some(hint) => again.hint(hint),
            None => again,
        })
    }
}

#[async_trait]
impl Journal for NoJournal {
    async fn write(&self, _event: Event) -> Result<()> {
        self.error()
    }

    async fn remember(&self, _address: &Address, _noted: &Noted) -> Result<()> {
        self.error()
    }

    async fn forget(&self, _address: &Address) -> Result<()> {
        self.error()
    }

    async fn permit(&self) -> Result<()> {
        self.error()
    }
}

/// What a run is to make serve, by the services' names.
#[derive(Default)]
pub struct Aim {
    pub contents: BTreeMap<String, Content>,
    pub redeploys: BTreeMap<String, Redeploy>,
    /// The id of the plan file that it carries out.
    pub plan: Option<String>,
}

/// A run that is under way: its number and journals by cloud.
pub struct Journals {
    journals: BTreeMap<CloudName, Arc<RunJournal>>,
    /// The targets where none could be begun.
    none: BTreeMap<CloudName, Arc<NoJournal>>,
}

impl Journals {
    /// Begins a run in every target's ledger. The lock is held. Where that fails nothing of the
    /// target is changed, and the others go on.
    ///
    /// Errors: ledger, when it fails everywhere.
    pub async fn begin(session: &Session, command: &str) -> Result<Self> {
        Self::begin_with(session, command, |_| Aim::default()).await
    }

    /// The same of a run that is to make this serve on each target.
    pub async fn begin_with(
        session: &Session,
        command: &str,
        aim: impl Fn(CloudName) -> Aim,
    ) -> Result<Self> {
        let manifest = serde_json::to_value(&session.loaded.manifest)
            .map_err(|error| Error::internal("the manifest has no JSON form").because(error))?;
        let (mut journals, mut none) = (BTreeMap::new(), BTreeMap::new());
        let typed = Uuid::new_v4().to_string();
        for place in &session.places {
            let Aim {
                contents,
                redeploys,
                plan,
            } = aim(place.name());
            let header = RunHeader {
                number: 0,
                command: command.into(),
                by: system::who(),
                at: session.clock.now(),
                manifest: manifest.clone(),
                contents,
                redeploys,
                plan,
                typed: Some(typed.clone()),
            };
            match place.ledger.begin_run(header).await {
                Ok(journal) => {
                    document::note_run(place.name(), journal.number());
                    journals.insert(place.name(), Arc::new(journal));
                }
                Err(error) if session.places.len() == none.len() + 1 => return Err(error),
                Err(error) => {
                    none.insert(place.name(), Arc::new(NoJournal(error)));
                }
            }
        }
        Ok(Self { journals, none })
    }

    /// From now on nothing of this target is changed.
    fn close(&mut self, cloud: CloudName, error: Error) {
        self.journals.remove(&cloud);
        self.none.insert(cloud, Arc::new(NoJournal(error)));
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

    /// Writes an entry about what is done beside the plan. Where there is no journal there is
    /// nothing of the kind.
    pub async fn write(&self, cloud: CloudName, event: Event) -> Result<()> {
        match self.journals.get(&cloud) {
            Some(journal) => journal.write(event).await,
            None => Ok(()),
        }
    }

    /// Keeps what was found out about the failure on one cloud, for `deployer report`.
    pub async fn keep_report<T>(&self, cloud: CloudName, found: &T) -> Result<()>
    where
        T: Serialize + Clone + Keyed + Send + Sync,
    {
        match self.journals.get(&cloud) {
            Some(journal) => journal.keep_report(found).await,
            None => Ok(()),
        }
    }

    /// The run's number on the first cloud that has one.
    pub fn number(&self) -> Option<u64> {
        self.journals.values().next().map(|run| run.number())
    }

    /// The run's number, where it has the same in every target's ledger.
    pub fn one_number(&self) -> Option<u64> {
        let mut numbers = self.journals.values().map(|run| run.number());
        let first = numbers.next()?;
        numbers.all(|it| it == first).then_some(first)
    }

    /// Writes how the run ended on each cloud: on those too that come after one where that fails.
    pub async fn end(&self, outcomes: &BTreeMap<CloudName, String>, unwritten: &mut Unwritten) {
        for (cloud, journal) in &self.journals {
            let outcome = outcomes
                .get(cloud)
                .cloned()
                .unwrap_or_else(|| "failed".into());
            unwritten.keep(*cloud, journal.write(Event::Ended { outcome }).await);
        }
        for (cloud, none) in &self.none {
            unwritten.keep(*cloud, none.error::<()>());
        }
    }

    fn erased(&self) -> BTreeMap<CloudName, Arc<dyn Journal>> {
        let journals = self.journals.iter();
        let journals = journals.map(|(cloud, it)| (*cloud, Arc::clone(it) as Arc<dyn Journal>));
        let none = self.none.iter();
        let none = none.map(|(cloud, it)| (*cloud, Arc::clone(it) as Arc<dyn Journal>));
        journals.chain(none).collect()
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

/// Carries out a plan. A target whose ledger cannot be written before the first call is not
/// touched.
pub async fn carry_out(
    session: &Session,
    prepared: &Prepared,
    journals: &Journals,
    arrivals: &dyn Arrivals,
    manner: Manner,
    (stop, as_json): (&Stop, bool),
) -> (BTreeMap<CloudName, Verdict>, Unwritten) {
    let mut unwritten = Unwritten::default();
    let mut open = Journals {
        journals: journals.journals.clone(),
        none: journals.none.clone(),
    };
    let mut closed = engine::reconcile_inventory(prepared, &open.erased()).await;
    for place in &session.places {
        if let Err(error) = left::forget_changed(place, prepared).await {
            closed.entry(place.name()).or_insert(error);
        }
    }
    for (cloud, error) in closed {
        open.close(cloud, error);
    }
    let mut scene = named::names(session);
    if !as_json {
        scene.usual = usual::of(session, &prepared.plan).await;
    }
    let reporter = view::progress::reporter(as_json, &prepared.plan, &scene, journals.one_number());
    let means = Means {
        clock: session.clock.as_ref(),
        reporter: reporter.as_ref(),
        journals: open.erased(),
        waiting: manner.waiting,
        on_failure: manner.on_failure,
        interrupt: stop,
        arrivals,
        seed: Uuid::new_v4(),
    };
    let verdicts = engine::execute(prepared, &means).await;
    left::note(session, prepared, &verdicts, &mut unwritten).await;
    (verdicts, unwritten)
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        verdict if !verdict.attention.is_empty() => "needs attention",
        verdict if !verdict.undone.is_empty() => "undone",
        verdict if is_unverified(verdict) => "verification failed",
        verdict if !verdict.failed.is_empty() => "failed",
        verdict if verdict.blocked => "blocked",
        verdict if verdict.interrupted => "interrupted",
        verdict if !verdict.detached.is_empty() => "detached",
        _ => "succeeded",
    }
    .into()
}

/// Whether nothing failed but the verification of candidates.
fn is_unverified(verdict: &Verdict) -> bool {
    let mut failed = verdict.failed.iter();
    !verdict.failed.is_empty() && failed.all(|it| it.error.kind() == ErrorKind::Unverified)
}

/// Brings the ledgers up to what a plan saw that leaves nothing to do: a run that was killed may
/// not have come to it.
pub async fn reconcile(
    session: &Session,
    prepared: &Prepared,
    journals: &Journals,
    verdicts: &BTreeMap<CloudName, Verdict>,
) -> Unwritten {
    let mut unwritten = Unwritten::default();
    for (cloud, error) in engine::reconcile_inventory(prepared, &journals.erased()).await {
        unwritten.keep(cloud, Err::<(), _>(error));
    }
    left::note(session, prepared, verdicts, &mut unwritten).await;
    unwritten
}

/// The words that the journals end with, on every cloud; `unverified` are those where a service
/// does not do what it should.
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

/// Says for each cloud what failed and what is left; returns the worst exit code. `outcomes` are
/// the words that the journals ended with; the errors of the nodes in `told` are told elsewhere.
pub fn report(
    verdicts: &BTreeMap<CloudName, Verdict>,
    outcomes: &BTreeMap<CloudName, String>,
    told: &BTreeSet<Address>,
    stop: &Stop,
    as_json: bool,
) -> Exit {
    let mut worst = Exit::Success;
    for (cloud, verdict) in verdicts {
        worst = worst.max(exit_of(verdict));
        for failed in &verdict.failed {
            if !as_json && !told.contains(&failed.address) {
                let what = named(&failed.address);
                sayln!("\n{cloud}: {what}, {:.0}", failed.at);
                say!("{}", view::error::render(&failed.error));
            }
        }
        if !verdict.held.is_empty() && !as_json {
            tell_all(*cloud, "not started", &verdict.held);
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
    // Where something failed, its own report says what to type.
    let stopped = |it: &Verdict| it.interrupted && it.failed.is_empty();
    if !as_json && verdicts.values().any(stopped) {
        sayln!("  hint: run the same command again: it goes on where this one stopped");
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
        // What stays is harmless by its kind's own word; whatever is not stands under `attention`.
        Some(Exit::DeploymentFailed) if !verdict.undone.is_empty() => Exit::RolledBack,
        worst => worst.unwrap_or(Exit::Success),
    }
}

/// An address as commands take it.
fn named(address: &Address) -> String {
    foreign::one_line(&address.to_string())
}

/// What became of nodes, on one cloud: the first ones by name.
fn tell_all(cloud: CloudName, what: &str, of: &[Address]) {
    const MOST: usize = 12;
    let mut names: Vec<String> = of.iter().take(MOST).map(named).collect();
    match of.len().saturating_sub(MOST) {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    let words = format!("{cloud}: {what}: {}", names.join(", "));
    match std::io::stderr().is_terminal() {
        true => {
            for line in view::plan::wrap(&words, view::error_width()) {
                sayln!("{line}");
            }
        }
        // Whole, for those who search it.
        false => sayln!("{words}"),
    }
}

fn tell_undo(cloud: CloudName, verdict: &Verdict) {
    if !verdict.undone.is_empty() {
        tell_all(cloud, "as before", &verdict.undone);
    }
    for (address, why) in &verdict.stays {
        let (address, why) = (named(address), foreign::words(why));
        sayln!("{cloud}: {address} stays: {why}");
    }
    if verdict.attention.is_empty() {
        return;
    }
    sayln!("\n{cloud}: needs attention, not as before:");
    for (address, error) in &verdict.attention {
        sayln!("  {}", named(address));
        say!("{}", view::error::render(error));
    }
    let hint = "`deployer status` says what serves, `deployer plan` what differs";
    sayln!("  hint: {}", again::completed(hint));
}
