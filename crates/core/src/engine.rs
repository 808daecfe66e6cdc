//! Carries out a plan: a node starts the moment its inputs exist, across every target at once.

mod gate;
mod schedule;
mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use uuid::Uuid;

use crate::address::{Address, CloudName};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::node::{Action, Node, Sort, Token, Waiting, Watch};
use crate::ours::{Began, Certain, Noted};
use crate::plan::{self, Prepared};
use crate::report::{Event, Reporter};
use crate::wait::{self, Look, Readiness};
use schedule::{Job, Schedule};

/// How many notes of what is there are written at the same time.
const AT_ONCE: usize = 64;

/// Where a run's entries and the inventory go: one per target.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes an entry; durable when it returns.
    async fn write(&self, event: journal::Event) -> Result<()>;

    /// Notes that this exists, or will, with what it needs and what is written there; durable
    /// before the write goes out.
    async fn remember(&self, address: &Address, noted: &Noted) -> Result<()>;

    /// Notes that this is gone.
    async fn forget(&self, address: &Address) -> Result<()>;

    /// Notes that a look found it absent, or another owner's: what was made only just now may look
    /// so, and is looked for once more by the next run before it is forgotten.
    async fn absent(&self, address: &Address) -> Result<()> {
        self.forget(address).await
    }

    /// Notes that this run made it and cannot see it: it stays known as ours, whatever its age,
    /// until a later run does not see it either.
    async fn unseen(&self, _address: &Address) -> Result<()> {
        Ok(())
    }

    /// Notes that everything of ours stands in the inventory: what carries our mark was listed, and
    /// is noted.
    async fn whole(&self) -> Result<()> {
        Ok(())
    }

    /// Returns once it is certain that this run may go on changing the target: asked before each
    /// call that changes something and before each look. Waits while that is in doubt.
    ///
    /// Errors: locked, when somebody took the lock over; ledger, when that cannot be found out.
    async fn permit(&self) -> Result<()> {
        Ok(())
    }
}

/// Asked before each node starts.
pub trait Interrupt: Send + Sync {
    /// Whether a person asked to stop: nothing new starts, what is in flight is awaited.
    fn requested(&self) -> bool;
}

/// Told of each node the moment it is there, whatever becomes of the others.
#[async_trait]
pub trait Arrivals: Send + Sync {
    /// The node is ready; or, with [`Waiting::Detached`], it was left before it was. What is
    /// written about it is durable when this returns.
    ///
    /// Errors: ledger, when it cannot be written down; the node then counts as failed.
    async fn arrived(&self, address: &Address, waiting: Waiting) -> Result<()>;
}

/// Nobody is told.
#[async_trait]
impl Arrivals for () {
    async fn arrived(&self, _address: &Address, _waiting: Waiting) -> Result<()> {
        Ok(())
    }
}

/// What a run is given.
pub struct Means<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Takes the events.
    pub reporter: &'a dyn Reporter,
    /// The journals of the targets that are worked on.
    pub journals: BTreeMap<CloudName, Arc<dyn Journal>>,
    /// Whether to wait for readiness.
    pub waiting: Waiting,
    /// What becomes of what a target's run changed before something of it failed.
    pub on_failure: OnFailure,
    /// Asked before each node starts.
    pub interrupt: &'a dyn Interrupt,
    /// Told of each node that is there.
    pub arrivals: &'a dyn Arrivals,
    /// The seed of the idempotency tokens: the run's id.
    pub seed: Uuid,
}

/// What becomes of what a run changed in a target where something failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It stays: the next run goes on from there.
    #[default]
    Keep,
    /// Every node that started is put back, newest first; what holds data stays.
    Undo,
}

/// How a run went in one target.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Nodes that were changed and are ready.
    pub done: Vec<Address>,
    /// Nodes that were left before they were ready, as asked for, and deletes that wait for these:
    /// the next run makes them.
    pub detached: Vec<Address>,
    /// Nodes that failed, in that order.
    pub failed: Vec<Failed>,
    /// Nodes that were not started because of a failure or an interruption.
    pub held: Vec<Address>,
    /// Nodes that are as they were before the run.
    pub undone: Vec<Address>,
    /// Nodes that an undo left as they are, each with why.
    pub stays: Vec<(Address, String)>,
    /// Nodes that an undo could not put back: a person has to look.
    pub attention: Vec<(Address, Error)>,
    /// Whether a person stopped it.
    pub interrupted: bool,
    /// Whether the target was not touched because something in it could not be planned.
    pub blocked: bool,
}

/// A node that failed.
#[derive(Debug)]
pub struct Failed {
    /// The node.
    pub address: Address,
    /// Why.
    pub error: Error,
    /// When that was known.
    pub at: Timestamp,
}

impl Verdict {
    /// Whether everything asked for was done.
    pub fn succeeded(&self) -> bool {
        self.failed.is_empty() && self.held.is_empty() && !self.interrupted && !self.blocked
    }
}

/// Brings the inventories up to what the plan saw: what is there stands in them even when an older
/// ledger was lost, what is gone does not. Called once per run, before [`execute`].
///
/// Returns the targets whose inventory cannot be written, each with why: the others' are.
pub async fn reconcile_inventory(
    prepared: &Prepared,
    journals: &BTreeMap<CloudName, Arc<dyn Journal>>,
) -> BTreeMap<CloudName, Error> {
    let mut failed = BTreeMap::new();
    for (cloud, journal) in journals {
        if let Err(error) = reconcile(prepared, *cloud, journal.as_ref()).await {
            failed.insert(*cloud, error);
        }
    }
    failed
}

async fn reconcile(prepared: &Prepared, cloud: CloudName, journal: &dyn Journal) -> Result<()> {
    let mut noted_of = Vec::new();
    for change in prepared.plan.of(cloud) {
        let there = matches!(
            change.act(),
            Action::NoOp | Action::Update | Action::Replace
        );
        let node = prepared.graph.find(&change.address);
        let node = node.map(|id| &prepared.graph.entry(id).node);
        let bears_mark = node.is_some_and(|node| node.bears_mark());
        if change.sort == Sort::Resource
            && there
            && bears_mark
            && let Some(id) = prepared.graph.find(&change.address)
        {
            let needs = prepared.graph.resources_needed_by(&change.address);
            let noted = prepared.graph.entry(id).node.noted();
            let noted = Noted {
                needs: needs.into_iter().collect(),
                // One that a lost ledger adopted bears our mark already.
                began: match prepared.graph.adopts(&change.address) {
                    true => Began::Found,
                    false => noted.began,
                },
                certain: match (change.action, prepared.graph.is_whole()) {
                    (_, false) => Certain::InPart,
                    (Action::NoOp, true) => Certain::Now,
                    (_, true) => Certain::NotYet,
                },
                ..noted
            };
            noted_of.push((&change.address, noted));
        }
    }
    let orphans = prepared.orphans.iter();
    for orphan in orphans.filter(|it| it.node.address().cloud == cloud) {
        // What was found by its mark alone: whatever becomes of this run, the next one knows it.
        let noted = Noted {
            needs: orphan.needs.clone(),
            began: match orphan.released {
                Some(_) => Began::Found,
                None => Began::Before,
            },
            certain: Certain::InPart,
            ..Noted::default()
        };
        noted_of.push((orphan.node.address(), noted));
    }
    let remembered = noted_of
        .iter()
        .map(|(address, noted)| journal.remember(address, noted));
    all(remembered).await?;
    let gone = prepared.gone.iter().filter(|it| it.cloud == cloud);
    all(gone.map(|address| journal.absent(address))).await?;
    match prepared.listed.contains(&cloud) && !prepared.is_blocked(cloud) {
        true => journal.whole().await,
        false => Ok(()),
    }
}

/// Awaits all of these at once; each is awaited although another one failed. The first error.
async fn all(notes: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let noted: Vec<Result<()>> = futures::stream::iter(notes)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    noted.into_iter().collect()
}

/// Carries out everything that the plan changes, and waits for what still settles.
///
/// The targets fail independently: a failure holds what has not started in its own target. What is
/// in flight is awaited. Blocked targets are not touched.
pub async fn execute(prepared: &Prepared, means: &Means<'_>) -> BTreeMap<CloudName, Verdict> {
    let mut schedule = Schedule::of(prepared);
    let mut verdicts: BTreeMap<CloudName, Verdict> = prepared
        .plan
        .targets
        .iter()
        .map(|target| {
            let verdict = Verdict {
                blocked: prepared.is_blocked(target.cloud),
                ..Verdict::default()
            };
            (target.cloud, verdict)
        })
        .collect();
    let mut in_flight = FuturesUnordered::new();
    let mut started: BTreeMap<CloudName, Vec<Arc<dyn Node>>> = BTreeMap::new();
    loop {
        let may_start = |cloud: CloudName| {
            let failed = |verdict: &Verdict| !verdict.failed.is_empty();
            !means.interrupt.requested() && !verdicts.get(&cloud).is_some_and(failed)
        };
        for job in schedule.take_ready(may_start) {
            if job.action != Action::NoOp {
                let of_target = started.entry(job.node.address().cloud).or_default();
                of_target.push(Arc::clone(&job.node));
            }
            in_flight.push(async move {
                let started = means.clock.now();
                let result = carry_out(&job, means).await;
                (job, result, elapsed(started, means.clock.now()))
            });
        }
        let Some((job, result, took)) = in_flight.next().await else {
            break;
        };
        let address = job.node.address().clone();
        match result {
            Ok(Outcome::Ready) => schedule.finish(&address),
            Ok(Outcome::Detached) => {
                for put_off in schedule.put_off_deletes_of_what_is_used_by(&address) {
                    means.reporter.event(&Event::PutOff { address: &put_off });
                    let verdict = verdicts.entry(put_off.cloud).or_default();
                    verdict.detached.push(put_off);
                }
                schedule.finish(&address);
            }
            // It stays unfinished: what needs it is held, in whichever target.
            Err(_) => {}
        }
        let verdict = verdicts.entry(address.cloud).or_default();
        settle(verdict, address, job.action, result, took, means);
    }
    for address in schedule.into_unstarted() {
        means.reporter.event(&Event::Held { address: &address });
        let verdict = verdicts.entry(address.cloud).or_default();
        verdict.interrupted |= means.interrupt.requested();
        verdict.held.push(address);
    }
    if means.on_failure == OnFailure::Keep {
        for verdict in verdicts.values_mut() {
            harmed(prepared, verdict);
        }
    }
    if means.on_failure == OnFailure::Undo {
        let changes = prepared.plan.changes.iter();
        let made = changes.filter(|change| change.act() == Action::Create);
        let made = made.map(|change| &change.address).collect();
        // A delete begins when everything else is there: what serves knows what is gone no more,
        // and serves on.
        let going = plan::going(prepared.plan.changes.iter());
        let only_left = |failed: &Failed| going.contains(&failed.address);
        let failed = verdicts
            .iter_mut()
            .filter(|(_, verdict)| !verdict.failed.iter().all(only_left));
        let undos = failed.filter_map(|(cloud, verdict)| {
            let nodes = started.remove(cloud)?;
            let graph = &prepared.graph;
            Some(undo::newest_first(nodes, graph, &made, verdict, means))
        });
        futures::future::join_all(undos).await;
    }
    verdicts
}

/// What serves goes on as before where its next version failed, or never began: unless something
/// that it needs is not as before. That needs attention.
fn harmed(prepared: &Prepared, verdict: &mut Verdict) {
    let failed = verdict.failed.iter().map(|failed| &failed.address);
    let serves_on = failed.chain(&verdict.held).filter(|address| {
        let node = prepared.graph.find(address);
        let node = node.map(|id| &prepared.graph.entry(id).node);
        let mut changes = prepared.plan.changes.iter();
        let there = changes.any(|it| it.address == **address && it.action == Action::Update);
        there && node.is_some_and(|node| node.detachable())
    });
    let needs = serves_on.flat_map(|it| prepared.graph.resources_needed_by(it));
    let needs: BTreeSet<Address> = needs.collect();
    let done = verdict.done.iter().filter(|it| needs.contains(*it));
    let harms = done.filter_map(|address| {
        let node = &prepared.graph.entry(prepared.graph.find(address)?).node;
        let message = format!("{address} is not as before: {}", node.harm()?);
        Some((address.clone(), Error::new(ErrorKind::Untrue, message)))
    });
    let harms: Vec<(Address, Error)> = harms.collect();
    verdict.attention.extend(harms);
}

fn settle(
    verdict: &mut Verdict,
    address: Address,
    action: Action,
    result: Result<Outcome>,
    took: Duration,
    means: &Means<'_>,
) {
    match result {
        Ok(Outcome::Ready) => {
            means.reporter.event(&Event::Done {
                address: &address,
                action,
                took,
            });
            verdict.done.push(address);
        }
        Ok(Outcome::Detached) => {
            means.reporter.event(&Event::Detached { address: &address });
            verdict.detached.push(address);
        }
        Err(error) => {
            means.reporter.event(&Event::Failed {
                address: &address,
                error: &error,
                took,
            });
            let at = means.clock.now();
            verdict.failed.push(Failed { address, error, at });
        }
    }
}

enum Outcome {
    Ready,
    Detached,
}

struct NodeWatch<'a> {
    address: &'a Address,
    reporter: &'a dyn Reporter,
}

impl Watch for NodeWatch<'_> {
    fn note(&self, line: &str) {
        self.reporter.event(&Event::Note {
            address: self.address,
            line,
        });
    }
}

async fn carry_out(job: &Job, means: &Means<'_>) -> Result<Outcome> {
    let address = job.node.address();
    let journal = means.journals.get(&address.cloud).ok_or_else(|| {
        Error::internal(format!(
            "{address} was to be changed but its target has no journal"
        ))
    })?;
    means.reporter.event(&Event::Started {
        address,
        action: job.action,
    });
    let result = change(job, journal.as_ref(), means).await;
    if let Err(error) = &result
        && error.kind() != ErrorKind::Ledger
    {
        let why = error.chain().join(": ");
        journal
            .write(journal::Event::Failed {
                address: address.clone(),
                why,
            })
            .await?;
    }
    result
}

async fn change(job: &Job, journal: &dyn Journal, means: &Means<'_>) -> Result<Outcome> {
    let address = job.node.address();
    let watch = NodeWatch {
        address,
        reporter: means.reporter,
    };
    let token = token(means.seed, address, "");
    remember(job, journal, Landing::Ahead).await?;
    let started = journal::Event::Started {
        address: address.clone(),
        action: job.action,
        token: token.0.clone(),
    };
    journal.write(started).await?;
    journal.permit().await?;
    job.node.carry_out(job.action, &token, &watch).await?;
    journal
        .write(journal::Event::Landed {
            address: address.clone(),
        })
        .await?;
    if matches!(job.action, Action::Delete | Action::Release) {
        journal.forget(address).await?;
    }
    if means.waiting == Waiting::Detached && job.node.detachable() {
        // One look, so that the outputs are known to what comes after it and to the release.
        match job.node.look().await? {
            Readiness::Pending(_) => {
                means.arrivals.arrived(address, Waiting::Detached).await?;
                return Ok(Outcome::Detached);
            }
            readiness => {
                if let Some(error) = failure(address, &readiness) {
                    return Err(error);
                }
            }
        }
    } else {
        gate::roll_out(job.node.as_ref(), journal, means, &watch).await?;
    }
    remember(job, journal, Landing::Done).await?;
    means.arrivals.arrived(address, Waiting::Ready).await?;
    journal
        .write(journal::Event::Ready {
            address: address.clone(),
        })
        .await?;
    Ok(Outcome::Ready)
}

/// Whether a write is about to go out or has landed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Landing {
    Ahead,
    Done,
}

/// Notes in the inventory what a create or an update makes. A step leaves nothing behind that could
/// be deleted.
async fn remember(job: &Job, journal: &dyn Journal, landing: Landing) -> Result<()> {
    let began = match job.action {
        Action::Create => Began::Made,
        // Before it goes out, it stands there since the plan was taken over.
        Action::Update | Action::Replace if landing == Landing::Done => Began::Before,
        Action::NoOp | Action::Update | Action::Replace | Action::Delete | Action::Release => {
            return Ok(());
        }
    };
    if job.node.sort() != Sort::Resource {
        return Ok(());
    }
    let noted = Noted {
        needs: job.recorded_needs.iter().cloned().collect(),
        began,
        certain: match landing {
            _ if !job.is_whole => Certain::InPart,
            Landing::Ahead => Certain::NotYet,
            Landing::Done => Certain::Now,
        },
        ..job.node.noted()
    };
    journal.remember(job.node.address(), &noted).await
}

async fn until_ready(
    node: &dyn Node,
    journal: &dyn Journal,
    clock: &dyn Clock,
    watch: &dyn Watch,
) -> Result<()> {
    let what = node.address().to_string();
    wait::poll_at(clock, || node.pace(), &what, || async {
        journal.permit().await?;
        match node.look().await {
            Ok(Readiness::Pending(why)) => {
                watch.note(&why);
                Ok(Look::NotYet(why))
            }
            Ok(readiness) => match failure(node.address(), &readiness) {
                Some(error) => Err(error),
                None => Ok(Look::Found(())),
            },
            // A look changes nothing, and what it looks at goes on meanwhile: the deadline decides.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let why = format!("the cloud cannot be asked: {}", error.chain().join(": "));
                watch.note(&why);
                Ok(Look::NotYet(why))
            }
            Err(error) => Err(error),
        }
    })
    .await
    .map_err(|error| match node.detachable() && error.kind() == ErrorKind::TimedOut {
        // Our own patience, not the cloud's word.
        true => error.hint(
            "it has not failed: the cloud goes on, and the same command waits on; `patience` of the service says for how long",
        ),
        false => error,
    })
}

fn failure(address: &Address, readiness: &Readiness) -> Option<Error> {
    let (kind, why) = readiness.failure()?;
    Some(Error::new(kind, format!("{address} failed: {why}")))
}

/// The token of a node's calls in one run; `purpose` tells apart calls that are not tries of one
/// another.
fn token(seed: Uuid, address: &Address, purpose: &str) -> Token {
    let name = format!("{address}{purpose}");
    Token(Uuid::new_v5(&seed, name.as_bytes()).to_string())
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}
