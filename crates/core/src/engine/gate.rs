//! Rolls a node out: its candidate becomes ready, passes the gate, gets the traffic. Each of the
//! three stands in the journal; a node that holds nothing back is one step.

use super::{Journal, Means, NodeWatch, elapsed, token, until_ready};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{GATE, Gate, Passage, TRAFFIC};
use crate::journal;
use crate::node::{Action, Node, Watch};
use crate::report::Event;

/// Waits until a node is ready, and lets what it holds back through its gate to the traffic.
///
/// What fails on the way gets no traffic, and its own address is taken away.
pub(super) async fn roll_out(
    node: &dyn Node,
    journal: &dyn Journal,
    means: &Means<'_>,
    watch: &dyn Watch,
) -> Result<()> {
    let led = lead(node, journal, means, watch).await;
    if let Err(error) = &led
        && is_over(error.kind())
        && journal.permit().await.is_ok()
    {
        let token = token(means.seed, node.address(), "withhold");
        if let Err(error) = node.withhold(&token).await {
            let why = error.chain().join(": ");
            watch.note(&format!(
                "the candidate's own address stays until the next apply: {why}"
            ));
        }
    }
    led
}

/// Whether a failure is the end of a candidate: not one where it may go on without us.
fn is_over(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::TimedOut
        | ErrorKind::Unavailable
        | ErrorKind::Credentials
        | ErrorKind::Locked
        | ErrorKind::Ledger => false,
        ErrorKind::Input
        | ErrorKind::Denied
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Rejected
        | ErrorKind::Failed
        | ErrorKind::RolledBack
        | ErrorKind::Untrue
        | ErrorKind::Unverified
        | ErrorKind::Interrupted
        | ErrorKind::Internal => true,
    }
}

async fn lead(
    node: &dyn Node,
    journal: &dyn Journal,
    means: &Means<'_>,
    watch: &dyn Watch,
) -> Result<()> {
    until_ready(node, journal, means.clock, watch).await?;
    let Some(gate) = node.gate() else {
        return Ok(());
    };
    let address = node.address().step(GATE);
    let asked = ask(&address, &gate, means);
    step(&address, Action::Create, (journal, means), asked, async {
        Ok(())
    })
    .await?;
    let address = node.address().step(TRAFFIC);
    let moved = async {
        watch.note("moving the traffic");
        let token = token(means.seed, &address, "");
        node.promote(&token, watch).await
    };
    let serves = until_ready(node, journal, means.clock, watch);
    step(&address, Action::Update, (journal, means), moved, serves).await
}

/// Asks a candidate. Nothing starts in a run that was stopped before.
async fn ask(address: &Address, gate: &Gate, means: &Means<'_>) -> Result<()> {
    let watch = NodeWatch {
        address,
        reporter: means.reporter,
    };
    let action = Action::NoOp;
    means.reporter.event(&Event::Started { address, action });
    let started = means.clock.now();
    let asked = match means.interrupt.requested() {
        true => Err(Error::new(
            ErrorKind::Interrupted,
            "the run was stopped before the candidate was verified",
        )),
        false => gate.checks.ask(&gate.candidate).await,
    };
    let took = elapsed(started, means.clock.now());
    match asked {
        Ok(passage) => {
            if let Passage::NotAsked(why) = passage {
                watch.note(&format!("the checks follow the traffic: {why}"));
            }
            means.reporter.event(&Event::Done {
                address,
                action,
                took,
            });
            Ok(())
        }
        Err(error) => {
            means.reporter.event(&Event::Failed {
                address,
                error: &error,
                took,
            });
            Err(error)
        }
    }
}

/// Makes a step of a node's, and waits for what it comes to: in the journal before it begins, once
/// it landed, and at its end.
async fn step(
    address: &Address,
    action: Action,
    (journal, means): (&dyn Journal, &Means<'_>),
    make: impl Future<Output = Result<()>>,
    settled: impl Future<Output = Result<()>>,
) -> Result<()> {
    let started = journal::Event::Started {
        address: address.clone(),
        action,
        token: token(means.seed, address, "").0,
    };
    journal.write(started).await?;
    journal.permit().await?;
    let made = async {
        make.await?;
        let address = address.clone();
        journal.write(journal::Event::Landed { address }).await?;
        settled.await
    };
    let address = address.clone();
    match made.await {
        Ok(()) => journal.write(journal::Event::Ready { address }).await,
        Err(error) if error.kind() == ErrorKind::Ledger => Err(error),
        Err(error) => {
            let why = error.chain().join(": ");
            journal
                .write(journal::Event::Failed { address, why })
                .await?;
            Err(error)
        }
    }
}
