//! One cloud does not answer: the other one gets there, and so does that one once it is back.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::call::{Cloud, Effect};
use deployer_sandbox::faults::FaultKind;
use deployer_sandbox::runner::Purpose;

use crate::events::{about, named, texts};
use crate::in_process::calls::IsLast;
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, assert_serves, first_serves, run, says};

crate::tests! {
    a_cloud_that_does_not_answer_leaves_the_other_one_alone => before_the_start,
    a_cloud_that_goes_down_after_a_write_leaves_the_other_one_alone => after_a_write,
    one_answer_of_google_that_does_not_come_is_no_failure => one_answer,
    an_endpoint_where_nobody_listens_is_named => nobody_listens,
    a_roll_out_goes_on_when_its_cloud_does_not_answer_any_more => while_it_rolls_out,
}

/// Down from the start: the command cannot even ask who calls there.
async fn before_the_start(stage: &Stage) {
    first_serves(stage).await;
    let rounds = [
        (2, Cloud::Google, "gcp", "aws"),
        (3, Cloud::Aws, "aws", "gcp"),
    ];
    for (version, cloud, down, up) in rounds {
        want(stage, version);
        stage.calls.take_down(cloud);
        let said = run(stage, &as_json(APPLY), "all", Exit::Failure).await;
        let errors = named(&said, "error");
        assert_eq!(errors.len(), 1, "{said}");
        assert_eq!(errors[0]["error"]["kind"], "unavailable", "{said}");
        let verdicts = named(&said, "verdict");
        assert_eq!(verdicts.len(), 1, "{down} was never begun:\n{said}");
        arrived(&said, up, version);
        assert_serves(stage, up, version).await;
        let text = run(stage, APPLY, down, Exit::Failure).await;
        says(&text, &["error: no answer: "]);
        back_again(stage, (down, up), version).await;
    }
}

/// One sentence, whichever client it is; nothing of what a library calls it.
async fn nobody_listens(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let manifest = format!("{}/deployer.toml", stage.folder());
    for cloud in ["aws", "gcp"] {
        let set = format!("targets.{cloud}.endpoint=http://127.0.0.1:1");
        let words = ["status", "-f", &manifest, "--cloud", cloud, "--set", &set];
        let (ended, said) = stage.run_as_typed(&words).await;
        assert!(
            format!("{ended:?}").contains("Failure"),
            "{ended:?}: {said}"
        );
        says(
            &said,
            &[
                "error: no answer: cannot ",
                "  caused by: cannot connect to http://127.0.0.1:1: refused\n",
                "  hint: is the sandbox up? `deployer sandbox up` starts one\n",
            ],
        );
        assert_eq!(said.matches("caused by").count(), 1, "{said}");
        assert!(!said.contains("dispatch failure"), "{said}");
    }
}

/// Down after its first change: what was not started there is told as that.
async fn after_a_write(stage: &Stage) {
    first_serves(stage).await;
    let aws: IsLast = |call| call.cloud == Cloud::Aws && call.effect == Effect::Write;
    let google: IsLast = |call| call.cloud == Cloud::Google && call.effect == Effect::Write;
    let rounds = [
        (2, aws, FaultKind::Unavailable, "aws", "gcp"),
        (3, aws, FaultKind::HungUp, "aws", "gcp"),
        (4, google, FaultKind::Unavailable, "gcp", "aws"),
        (5, google, FaultKind::HungUp, "gcp", "aws"),
    ];
    for (version, last, how, down, up) in rounds {
        want(stage, version);
        stage.calls.take_down_after(last, how);
        let said = run(stage, &as_json(APPLY), "all", Exit::Failure).await;
        let verdict = about(&said, "verdict", down);
        assert_eq!(verdict["outcome"], "failed", "{verdict:#}");
        let failed = verdict["failed"].as_array().expect("a list");
        assert!(!failed.is_empty(), "{verdict:#}");
        for failure in failed {
            assert_eq!(failure["error"]["kind"], "unavailable", "{failure:#}");
        }
        let service = match down {
            "aws" => "aws/us-east-1/ecs.service/swept-test-idp",
            _ => "gcp/us-central1/run.service/swept-test-idp",
        };
        assert!(texts(&verdict["held"]).contains(&service), "{verdict:#}");
        arrived(&said, up, version);
        assert_serves(stage, up, version).await;
        back_again(stage, (down, up), version).await;
    }
}

/// What can be sent again is: made under a name of ours, or changed under its etag. AWS's client
/// does so by itself; Google's asks to be told (AIP-194). Its Terraform provider sends any call
/// again (`transport/error_retry_predicates.go`: connection resets, 500, 502, 503).
async fn one_answer(stage: &Stage) {
    let first = [
        "artifactregistry.projects.locations.repositories.create",
        "secretmanager.projects.secrets.create",
        "run.projects.locations.jobs.create",
        "run.projects.locations.services.create",
    ];
    let then = [
        "run.projects.locations.jobs.patch",
        "run.projects.locations.services.patch",
    ];
    let each = |calls: &[&str], what: &str| {
        let fault =
            |call: &&str| format!("[[fault]]\ncall = \"{call}\"\nwhat = \"{what}\"\nnth = 1\n");
        calls.iter().map(fault).collect::<String>()
    };
    want(stage, 1);
    stage.disturb(&each(&first, "reset_after")).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    for (version, what) in [(2, "reset_after"), (3, "reset_before"), (4, "unavailable")] {
        want(stage, version);
        stage.disturb(&each(&then, what)).await;
        run(stage, APPLY, "gcp", Exit::Success).await;
        assert_serves(stage, "gcp", version).await;
    }
    stage.disturb("").await;
    let said = run(
        stage,
        &["plan", "--detailed-exitcode"],
        "gcp",
        Exit::Success,
    )
    .await;
    says(&said, &["No changes"]);
    let said = run(stage, &["releases", "idp", "--json"], "gcp", Exit::Success).await;
    assert_eq!(said.matches("\"revision\"").count(), 4, "{said}");
}

/// Down once it has begun to roll out: the roll-out goes on without anybody who looks, and the next
/// apply finds it done.
async fn while_it_rolls_out(stage: &Stage) {
    first_serves(stage).await;
    let rounds: [(u32, IsLast, &str, &str, Exit); 2] = [
        (
            2,
            |call| call.name == "ecs:UpdateService",
            "aws",
            "gcp",
            Exit::DeploymentFailed,
        ),
        (
            3,
            |call| call.name == "run.projects.locations.services.patch",
            "gcp",
            "aws",
            Exit::Failure,
        ),
    ];
    for (version, last, down, up, exit) in rounds {
        want(stage, version);
        stage.calls.take_down_after(last, FaultKind::Unavailable);
        let said = run(stage, &as_json(APPLY), "all", exit).await;
        let verdict = about(&said, "verdict", down);
        assert_eq!(verdict["outcome"], "failed", "{verdict:#}");
        assert_eq!(
            verdict["failed"][0]["error"]["exit_code"],
            exit.code(),
            "{verdict:#}"
        );
        arrived(&said, up, version);
        stage.calls.arm(None);
        stage.time.pass(Duration::from_secs(300)).await;
        assert_serves(stage, down, version).await;
        stage.calls.arm(None);
        let said = run(stage, &as_json(APPLY), "all", Exit::Success).await;
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
        let release = about(&said, "release", down);
        assert_eq!(release["release"]["number"], version, "{release:#}");
        migrated_once(stage, version);
    }
}

fn want(stage: &Stage, version: u32) {
    stage.write_image(version, "amd64");
    stage.want(&Wanted {
        version,
        ..Wanted::FIRST
    });
}

fn as_json<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--json"]].concat()
}

/// The verdict of the cloud that was fine is its own.
fn arrived(said: &str, cloud: &str, version: u32) {
    let verdict = about(said, "verdict", cloud);
    assert_eq!(verdict["outcome"], "succeeded", "{verdict:#}");
    for none in ["failed", "held", "detached", "undone"] {
        assert_eq!(verdict[none], serde_json::json!([]), "{none}: {verdict:#}");
    }
    let release = about(said, "release", cloud);
    assert_eq!(release["release"]["number"], version, "{release:#}");
}

/// The cloud is back, and the same command finishes.
async fn back_again(stage: &Stage, (down, up): (&str, &str), version: u32) {
    stage.calls.arm(None);
    assert_serves(stage, down, version - 1).await;
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in [down, up] {
        assert_serves(stage, cloud, version).await;
    }
    migrated_once(stage, version);
}

/// Each cloud's database has met the migration of this version, once.
fn migrated_once(stage: &Stage, version: u32) {
    let digest = stage.digest(version);
    let mut started = stage.containers.started();
    started.retain(|it| it.purpose == Purpose::Finish && it.digest == digest);
    assert_eq!(started.len(), 2, "{started:#?}");
}
