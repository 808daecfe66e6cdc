//! The commands that are disturbed, and how each point is judged.

use deployer::Exit;

use crate::in_process::calls::Fault;
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::in_process::time::VirtualTime;
use crate::picture;

/// What is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    FirstApply,
    FirstApplyWithData,
    UpdateWithMigration,
    Rollback,
    Rotation,
    Destroy,
    DestroyWithData,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::FirstApply,
        Self::FirstApplyWithData,
        Self::UpdateWithMigration,
        Self::Rollback,
        Self::Rotation,
        Self::Destroy,
        Self::DestroyWithData,
    ];

    fn before(self) -> Vec<Wanted> {
        let first = Wanted::FIRST;
        let data = Wanted {
            data: true,
            ..first
        };
        match self {
            Self::FirstApply | Self::FirstApplyWithData => Vec::new(),
            Self::UpdateWithMigration => vec![Wanted {
                old_secret: true,
                ..first
            }],
            Self::Rollback => vec![first, SECOND],
            Self::Rotation | Self::Destroy => vec![first],
            Self::DestroyWithData => vec![data],
        }
    }

    fn wanted(self) -> Wanted {
        let first = Wanted::FIRST;
        match self {
            Self::FirstApply | Self::Destroy => first,
            Self::FirstApplyWithData | Self::DestroyWithData => Wanted {
                data: true,
                ..first
            },
            Self::UpdateWithMigration | Self::Rollback => SECOND,
            Self::Rotation => Wanted {
                mail_password: "mail two",
                ..first
            },
        }
    }

    fn command(self) -> &'static [&'static str] {
        match self {
            Self::FirstApply
            | Self::FirstApplyWithData
            | Self::UpdateWithMigration
            | Self::Rotation => APPLY,
            Self::Rollback => &["rollback", "--yes", "--no-verify", "--to", "r1"],
            Self::Destroy | Self::DestroyWithData => &[
                "destroy",
                "--yes",
                "--allow-data-loss",
                "aws/us-east-1/rds.instance/swept-test-main",
                "--allow-data-loss",
                "gcp/us-central1/sql.instance/swept-test-main",
            ],
        }
    }
}

const SECOND: Wanted = Wanted {
    version: 2,
    greeting: "good evening",
    ..Wanted::FIRST
};
const APPLY: &[&str] = &["apply", "--yes", "--no-verify"];
/// A killed process gives no lock back: the next one waits until the lease has ended.
const LEASE_ENDS: std::time::Duration = std::time::Duration::from_secs(300);

/// How it is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Undisturbed,
    /// The nth call to the cloud.
    Call(usize, Fault),
    Write(Crash),
}

/// How a point ended.
pub struct End {
    pub picture: String,
    /// The calls of the disturbed command, by name.
    pub calls: Vec<String>,
    /// The ledger's writes.
    pub writes: usize,
}

/// Tries one point; `Err` says what is wrong with how it ended.
pub fn attempt(scenario: Scenario, cloud: &str, point: Point) -> Result<End, String> {
    let time = VirtualTime::start();
    time.run(async {
        let stage = Stage::set(&time).await;
        let end = disturb(&stage, scenario, cloud, point).await;
        stage.clear().await;
        end
    })
}

async fn disturb(
    stage: &Stage,
    scenario: Scenario,
    cloud: &str,
    point: Point,
) -> Result<End, String> {
    for wanted in scenario.before() {
        stage.want(&wanted);
        expect(stage.run(APPLY, cloud).await, &[Exit::Success], "the stage")?;
    }
    stage.want(&scenario.wanted());
    let (fault, crash) = match point {
        Point::Undisturbed => (None, None),
        Point::Call(nth, fault) => (Some((nth, fault)), None),
        Point::Write(crash) => (None, Some(crash)),
    };
    stage.calls.arm(fault);
    stage.ledger.arm(crash);
    let (ended, words) = stage.run(scenario.command(), cloud).await;
    let (calls, writes) = (stage.calls.names(), stage.ledger.writes());
    stage.calls.arm(None);
    stage.ledger.arm(None);
    judge(&ended, point, &words)?;
    if matches!(ended, Ended::Killed) {
        stage.time.pass(LEASE_ENDS).await;
    }
    go_on(stage, scenario, cloud, &ended).await?;
    Ok(End {
        picture: picture::take(stage).await,
        calls,
        writes,
    })
}

/// The disturbed command itself: it may fail, or succeed by trying again; only a killed one may say nothing.
fn judge(ended: &Ended, point: Point, words: &str) -> Result<(), String> {
    match (ended, point) {
        (Ended::Killed, Point::Write(_)) => Ok(()),
        (Ended::Exit(Exit::Success), Point::Undisturbed | Point::Call(..)) => Ok(()),
        (Ended::Exit(_), Point::Call(_, fault)) if fault != Fault::ThrottledTwice => {
            match words.contains("error") {
                true => Ok(()),
                false => Err(format!("it failed without a word:\n{words}")),
            }
        }
        _ => Err(format!("it ended with {ended:?}:\n{words}")),
    }
}

/// What a person types next, and that nothing is left to do after it.
async fn go_on(
    stage: &Stage,
    scenario: Scenario,
    cloud: &str,
    ended: &Ended,
) -> Result<(), String> {
    let done = matches!(ended, Ended::Exit(Exit::Success));
    match scenario {
        Scenario::Destroy | Scenario::DestroyWithData => {
            let again = stage.run(scenario.command(), cloud).await;
            return expect(again, &[Exit::Success], "the next destroy");
        }
        // Before its first write a rollback has not begun: it is asked for again.
        Scenario::Rollback if !done && !stage.has_hold().await => {
            let again = stage.run(scenario.command(), cloud).await;
            expect(again, &[Exit::Success], "the next rollback")?;
        }
        _ => {}
    }
    let settled = match scenario {
        Scenario::Rollback => Exit::Held,
        _ => Exit::Success,
    };
    let next = stage.run(APPLY, cloud).await;
    expect(next, &[settled], "the next apply")?;
    stage.calls.arm(None);
    let last = stage.run(APPLY, cloud).await;
    expect(last, &[settled], "the last apply")?;
    match stage.calls.writes() {
        writes if writes.is_empty() => Ok(()),
        writes => Err(format!("the last apply still writes: {writes:?}")),
    }
}

fn expect((ended, words): (Ended, String), exits: &[Exit], what: &str) -> Result<(), String> {
    match ended {
        Ended::Exit(exit) if exits.contains(&exit) => Ok(()),
        ended => Err(format!("{what} ended with {ended:?}:\n{words}")),
    }
}
