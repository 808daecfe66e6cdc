//! The commands that are disturbed, and how each point is judged.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Ran, Started};
use regex_lite::Regex;
use serde_json::Value;

use crate::asked::Asked;
use crate::clouds;
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
    /// Of a key pair that both clouds share.
    FirstApplyWithKeys,
    UpdateWithMigration,
    Rollback,
    Rotation,
    /// Of a second version that is never healthy.
    Undo,
    Destroy,
    DestroyWithData,
    /// A destroy that is answered by an apply.
    Anew,
    /// A service of App Runner's with its connector and its scaling; its migration is a task.
    RunnerFirstApply,
    /// Another image, scaling and network of it, with a migration that is a job.
    RunnerUpdate,
    RunnerRollback,
    /// Of a second version that is never healthy.
    RunnerUndo,
    RunnerDestroy,
    /// A new roll-out of what serves.
    Redeploy,
    RunnerRedeploy,
    /// A second version that is asked on Cloud Run before it gets the traffic.
    GatedUpdate,
}

impl Scenario {
    pub const ALL: [Self; 18] = [
        Self::FirstApply,
        Self::FirstApplyWithData,
        Self::FirstApplyWithKeys,
        Self::UpdateWithMigration,
        Self::Rollback,
        Self::Rotation,
        Self::Undo,
        Self::Destroy,
        Self::DestroyWithData,
        Self::Anew,
        Self::RunnerFirstApply,
        Self::RunnerUpdate,
        Self::RunnerRollback,
        Self::RunnerUndo,
        Self::RunnerDestroy,
        Self::Redeploy,
        Self::RunnerRedeploy,
        Self::GatedUpdate,
    ];

    /// Whether its command is tried on one cloud alone, or on both at once with `all`.
    pub fn is_tried_on(self, cloud: &str) -> bool {
        match self {
            Self::FirstApplyWithKeys => cloud == "all",
            _ if self.is_on_app_runner() => cloud == "aws",
            Self::GatedUpdate => cloud == "gcp",
            Self::UpdateWithMigration | Self::Rollback | Self::Destroy => true,
            _ => cloud != "all",
        }
    }

    fn is_on_app_runner(self) -> bool {
        matches!(
            self,
            Self::RunnerFirstApply
                | Self::RunnerUpdate
                | Self::RunnerRollback
                | Self::RunnerUndo
                | Self::RunnerDestroy
                | Self::RunnerRedeploy
        )
    }

    /// Writes a manifest of this scenario's.
    fn want(self, stage: &Stage, wanted: &Wanted) {
        stage.want(wanted);
        if !self.is_on_app_runner() {
            return;
        }
        let other_network = self == Self::RunnerUpdate && wanted.version == SECOND.version;
        stage.edit(|manifest| {
            let (aws, _) = manifest.split_once("[targets.gcp]").expect("a target");
            let manifest = aws
                .replace("command = [\"CMD\", \"/app\", \"healthcheck\"]\n", "")
                .replace(
                    "cluster = \"default\"\n",
                    "runtime = \"app-runner\"\naccess_role = \"idp-access\"\n",
                );
            match other_network {
                true => manifest.replace("e5f60002", "e5f60009"),
                false => manifest,
            }
        });
    }

    fn before(self) -> Vec<Wanted> {
        let first = Wanted::FIRST;
        let data = Wanted {
            data: true,
            ..first
        };
        match self {
            Self::FirstApply
            | Self::FirstApplyWithData
            | Self::FirstApplyWithKeys
            | Self::RunnerFirstApply => Vec::new(),
            Self::UpdateWithMigration => vec![Wanted {
                old_secret: true,
                ..first
            }],
            // One more than it goes back to: typed twice, it would go there.
            Self::Rollback | Self::RunnerRollback => vec![first, SECOND, THIRD],
            Self::Rotation
            | Self::Undo
            | Self::Destroy
            | Self::Anew
            | Self::RunnerUpdate
            | Self::RunnerUndo
            | Self::RunnerDestroy
            | Self::Redeploy
            | Self::RunnerRedeploy
            | Self::GatedUpdate => vec![first],
            Self::DestroyWithData => vec![data],
        }
    }

    fn wanted(self) -> Wanted {
        let first = Wanted::FIRST;
        match self {
            Self::FirstApply
            | Self::Destroy
            | Self::Anew
            | Self::RunnerFirstApply
            | Self::RunnerDestroy
            | Self::Redeploy
            | Self::RunnerRedeploy => first,
            Self::FirstApplyWithKeys => Wanted {
                keys: true,
                ..first
            },
            Self::FirstApplyWithData | Self::DestroyWithData => Wanted {
                data: true,
                ..first
            },
            Self::UpdateWithMigration | Self::Undo | Self::RunnerUndo | Self::GatedUpdate => SECOND,
            Self::RunnerUpdate => Wanted {
                replicas: 2,
                ..SECOND
            },
            Self::Rollback | Self::RunnerRollback => THIRD,
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
            | Self::FirstApplyWithKeys
            | Self::UpdateWithMigration
            | Self::Rotation
            | Self::RunnerFirstApply
            | Self::RunnerUpdate => APPLY,
            Self::Undo | Self::RunnerUndo => UNDO,
            Self::Redeploy | Self::RunnerRedeploy => REDEPLOY,
            Self::GatedUpdate => VERIFIED,
            Self::Rollback | Self::RunnerRollback => &["rollback", "--yes", "--no-verify"],
            Self::Destroy | Self::DestroyWithData | Self::Anew | Self::RunnerDestroy => {
                &["destroy", "--yes", "--allow-data-loss", "all"]
            }
        }
    }

    /// What is typed in the end, until nothing is left to do.
    fn settles(self) -> &'static [&'static str] {
        match self {
            // Unasked it would get the traffic.
            Self::GatedUpdate => VERIFIED,
            _ => APPLY,
        }
    }

    fn is_redeploy(self) -> bool {
        matches!(self, Self::Redeploy | Self::RunnerRedeploy)
    }

    /// How the command ends when nothing disturbs it.
    fn ends(self) -> Exit {
        match self {
            Self::Undo | Self::RunnerUndo => Exit::RolledBack,
            _ => Exit::Success,
        }
    }

    /// What of a picture is the same however often the command was begun. Each roll-out that fails
    /// uses up a number, and Cloud Run keeps its revision.
    fn told_alike(self, picture: String) -> String {
        match self {
            Self::Undo | Self::RunnerUndo => {}
            // Whoever was not told that it was made asks for another one.
            Self::Redeploy | Self::RunnerRedeploy => {}
            // What was not destroyed is not made anew: that it serves, and that nothing is left to
            // do, is all that is alike.
            Self::Anew => return String::new(),
            // Not every private key is of one length in PEM.
            Self::FirstApplyWithKeys => {
                let length = Regex::new("(jwt-private.*) [0-9]+ characters").expect("a pattern");
                return length
                    .replace_all(&picture, "${1} some characters")
                    .into_owned();
            }
            _ => return picture,
        }
        let number = Regex::new("(swept-test-idp(\"\\))?[:-])[0-9]+").expect("a pattern");
        let picture = number.replace_all(&picture, "${1}N").into_owned();
        let picture = match self.is_redeploy() {
            true => {
                let release = Regex::new("(?m)^release number [0-9]+").expect("a pattern");
                let all = release.replace_all(&picture, "release number N");
                all.into_owned()
            }
            false => picture,
        };
        let mut lines: Vec<&str> = picture.lines().collect();
        lines.sort_unstable();
        lines.dedup_by(|one, other| one == other && !one.starts_with("migration "));
        lines.join("\n")
    }
}

const SECOND: Wanted = Wanted {
    version: 2,
    greeting: "good evening",
    ..Wanted::FIRST
};
const THIRD: Wanted = Wanted {
    version: 3,
    ..Wanted::FIRST
};
const APPLY: &[&str] = &["apply", "--yes", "--no-verify"];
const VERIFIED: &[&str] = &["apply", "--yes"];
const REDEPLOY: &[&str] = &["apply", "--redeploy", "idp", "--yes", "--no-verify"];
const UNDO: &[&str] = &["apply", "--yes", "--no-verify", "--on-failure", "undo"];
/// A killed process gives no lock back: the next one waits until the lease has ended.
pub const LEASE_ENDS: Duration = Duration::from_secs(300);

/// How it is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Undisturbed,
    /// The nth call to the cloud.
    Call(usize, Fault),
    Write(Crash),
}

impl Point {
    /// What happens to a call, and where the process ends.
    pub fn parts(self) -> (Option<(usize, Fault)>, Option<Crash>) {
        match self {
            Self::Undisturbed => (None, None),
            Self::Call(nth, fault) => (Some((nth, fault)), None),
            Self::Write(crash) => (None, Some(crash)),
        }
    }
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
    stage.write_image(3, "amd64");
    stage.behave(healthy);
    for wanted in scenario.before() {
        scenario.want(stage, &wanted);
        expect(stage.run(APPLY, cloud).await, &[Exit::Success], "the stage")?;
    }
    scenario.want(stage, &scenario.wanted());
    if matches!(scenario, Scenario::Undo | Scenario::RunnerUndo) {
        let digest = stage.digest(scenario.wanted().version);
        stage.behave(move |started| Behaviour {
            healthy: started.digest != digest || started.purpose != Purpose::Serve,
            ..Behaviour::usual(started.purpose)
        });
    }
    let asked = match scenario {
        Scenario::GatedUpdate => Some(Asked::set(stage).await),
        _ => None,
    };
    let before = started(stage);
    let (fault, crash) = point.parts();
    stage.calls.arm(fault);
    stage.ledger.arm(crash);
    let (ended, words) = stage.run(scenario.command(), cloud).await;
    let (calls, writes) = (stage.calls.names(), stage.ledger.writes());
    stage.calls.arm(None);
    stage.ledger.arm(None);
    judge(&ended, scenario, point, &words)?;
    if matches!(ended, Ended::Exit(Exit::RolledBack)) {
        assert_serves(stage, cloud, 1).await;
    }
    if matches!(ended, Ended::Killed) {
        stage.time.pass(LEASE_ENDS).await;
    }
    go_on(stage, scenario, cloud, (&ended, &words)).await?;
    if scenario.is_redeploy() {
        rolled_out_as_recorded(stage, cloud, started(stage) - before).await?;
    }
    if asked.is_some_and(|asked| !asked.has_candidate_been_asked()) {
        return Err("it serves and was not asked before".to_owned());
    }
    Ok(End {
        picture: scenario.told_alike(picture::take(stage).await),
        calls,
        writes,
    })
}

/// How many instances were started to serve.
fn started(stage: &Stage) -> usize {
    let started = stage.containers.started();
    let serving = started.iter().filter(|it| it.purpose == Purpose::Serve);
    serving.count()
}

/// Each roll-out that was asked for is a release, and there are no more of either than were asked
/// for. ECS makes one more of a call whose reply is lost, which takes the place of the first.
async fn rolled_out_as_recorded(stage: &Stage, cloud: &str, rolled: usize) -> Result<(), String> {
    let (_, said) = stage.run(&["releases", "--json"], cloud).await;
    let document: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    let releases = document[0]["releases"].as_array();
    let releases = releases.into_iter().flatten();
    let anew = releases.filter(|it| it["redeployed"] == true).count();
    match (1..=2).contains(&anew) && (anew..=anew + 1).contains(&rolled) {
        true => Ok(()),
        false => Err(format!("{anew} recorded of {rolled} roll-outs:\n{said}")),
    }
}

/// Nothing is wrong with a container. One that waits for its migration ends with it; while none has
/// begun, it says so when it is stopped.
fn healthy(started: &Started) -> Behaviour {
    if !started.command.iter().any(|word| word == WAITS) {
        return Behaviour::usual(started.purpose);
    }
    Behaviour {
        exit: None,
        stopped: runner::Exit::with(209),
        commands: Ran {
            // As the runner prints them: its mark, the program's lines, its mark.
            lines: vec!["{4}".to_owned()],
            takes: Duration::from_secs(20),
            last: vec!["{4} over".to_owned()],
            ends: Some(runner::Exit::with(0)),
        },
        ..Behaviour::usual(started.purpose)
    }
}

/// What a task has among its words that waits for its migration.
const WAITS: &str = "deployer-migration";

/// The disturbed command itself: it may fail, or succeed by trying again; only a killed one may say
/// nothing.
fn judge(ended: &Ended, scenario: Scenario, point: Point, words: &str) -> Result<(), String> {
    match (ended, point) {
        (Ended::Killed, Point::Write(crash)) if crash.kills() => Ok(()),
        (Ended::Exit(exit), Point::Undisturbed | Point::Call(..)) if *exit == scenario.ends() => {
            Ok(())
        }
        // Its own words are there when it looks.
        (Ended::Exit(exit), Point::Write(Crash::ReplyLost(_))) if *exit == scenario.ends() => {
            Ok(())
        }
        // What is removed at the end of a run may stay.
        (Ended::Exit(exit), Point::Write(Crash::Fails(_))) if *exit == scenario.ends() => Ok(()),
        (Ended::Exit(_), Point::Write(Crash::Fails(_))) => told(words),
        (Ended::Exit(_), Point::Call(_, fault)) if fault != Fault::ThrottledTwice => told(words),
        _ => Err(format!("it ended with {ended:?}:\n{words}")),
    }
}

/// Whether a command that failed says so: by an error, or at the head of its report.
pub fn says_that_it_failed(words: &str) -> bool {
    words.contains("error") || words.contains(" failed on ")
}

fn told(words: &str) -> Result<(), String> {
    match says_that_it_failed(words) {
        true => Ok(()),
        false => Err(format!("it failed without a word:\n{words}")),
    }
}

/// On every cloud that the command was typed on.
async fn assert_serves(stage: &Stage, cloud: &str, version: u32) {
    for one in ["aws", "gcp"] {
        if cloud == one || cloud == "all" {
            clouds::assert_serves(stage, one, "idp", version).await;
        }
    }
}

/// What a person types next, and that nothing is left to do after it.
async fn go_on(
    stage: &Stage,
    scenario: Scenario,
    cloud: &str,
    (ended, words): (&Ended, &str),
) -> Result<(), String> {
    let done = matches!(ended, Ended::Exit(Exit::Success));
    match scenario {
        Scenario::Destroy | Scenario::DestroyWithData | Scenario::RunnerDestroy => {
            let again = stage.run(scenario.command(), cloud).await;
            return expect(again, &[Exit::Success], "the next destroy");
        }
        // The same words again: it goes back once. Whoever was told that it serves does not type
        // them.
        Scenario::Rollback | Scenario::RunnerRollback => {
            if !done && !words.contains("is on hold") {
                let again = stage.run(scenario.command(), cloud).await;
                expect(again, &[Exit::Success], "the same rollback again")?;
            }
            assert_serves(stage, cloud, 2).await;
        }
        // The same again has the same end. Then somebody mends the image.
        Scenario::Undo | Scenario::RunnerUndo => {
            let mut again = stage.run(scenario.command(), cloud).await;
            // A roll-out that Cloud Run still carries on is waited for. When it fails, this run has
            // changed nothing to put back.
            if again.1.contains("No changes") {
                expect(again, &[Exit::DeploymentFailed], "the roll-out's end")?;
                again = stage.run(scenario.command(), cloud).await;
            }
            expect(again, &[Exit::RolledBack], "the next undo")?;
            assert_serves(stage, cloud, 1).await;
            stage.behave(|started| Behaviour::usual(started.purpose));
        }
        // Whoever was told that it is made does not ask again.
        Scenario::Redeploy | Scenario::RunnerRedeploy if !done => {
            let again = stage.run(scenario.command(), cloud).await;
            expect(again, &[Exit::Success], "the same roll-out again")?;
        }
        _ => {}
    }
    let settled = match scenario {
        Scenario::Rollback | Scenario::RunnerRollback => Exit::Held,
        _ => Exit::Success,
    };
    let next = stage.run(scenario.settles(), cloud).await;
    expect(next, &[settled], "the next apply")?;
    stage.calls.arm(None);
    let last = stage.run(scenario.settles(), cloud).await;
    expect(last, &[settled], "the last apply")?;
    if scenario == Scenario::Anew {
        assert_serves(stage, cloud, 1).await;
    }
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
