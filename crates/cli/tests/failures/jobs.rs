//! Migrations that fail, that take too long, and that the clouds cannot even start.

use std::time::Duration;

use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_ecs::types::{DesiredStatus, Task, TaskStopCode};
use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Started};
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, clouds, first_serves, run, says};

crate::tests! {
    a_migration_that_exits_with_3_stops_there_and_is_not_run_again_unasked => exits,
    a_migration_that_takes_too_long_is_a_failure => too_long,
    a_migration_that_its_cloud_does_not_know_for_a_while_is_waited_for => unknown_for_a_while,
    a_migration_that_its_cloud_has_forgotten_is_a_persons_to_judge => gone,
    a_migration_that_never_started_is_run_by_the_next_apply => never_started,
    a_migration_that_never_started_is_run_once_however_often_the_next_applies_are_killed => never_started_then_killed,
    a_migration_whose_secret_cannot_be_read_is_told_in_the_clouds_words => unreadable_secret,
    a_migration_that_a_cloud_refuses_to_start_is_run_by_the_next_apply => refused,
    a_migration_for_which_fargate_has_no_room_is_tried_again_and_left_to_the_next_apply => no_room,
    a_migration_that_runs_out_of_memory_is_told_as_that => out_of_memory,
    no_migration_is_started_beside_another_one_of_its_service => beside_another,
    a_job_that_another_hand_changed_since_the_plan_is_not_changed_back => changed_meanwhile,
}

/// The call that starts a migration on each cloud.
const START: [(&str, &str); 2] = [
    ("aws", "ecs:RunTask"),
    ("gcp", "run.projects.locations.jobs.run"),
];
/// The call that looks how it goes.
const LOOK: [(&str, &str); 2] = [
    ("aws", "ecs:DescribeTasks"),
    ("gcp", "run.projects.locations.jobs.executions.get"),
];

async fn exits(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(|started| Behaviour {
        exit: (started.purpose == Purpose::Finish).then_some(runner::Exit::with(3)),
        lines: vec!["relation \"users\" is locked".to_owned()],
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&SECOND);
    for cloud in ["aws", "gcp"] {
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(&said, &["exit code 3", "relation \"users\" is locked"]);
        assert_serves(stage, cloud, 1).await;
        is_not_run_again(stage, cloud).await;
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    let retry = ["migrate", "--retry", "--yes"];
    run(stage, &retry, "all", Exit::Success).await;
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 2).await;
    }
}

/// A migration that may have begun its work is a person's to judge.
async fn is_not_run_again(stage: &Stage, cloud: &str) {
    let started = stage.containers.started().len();
    let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
    says(&said, &["--retry"]);
    let now = stage.containers.started().len();
    assert_eq!(now, started, "nobody asked for it");
}

/// "Capacity is unavailable at this time. Please try again later": so it is, and nothing of it ran.
async fn no_room(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.sandbox.have_capacity(false);
    let (_, said) = stage.run(APPLY, "aws").await;
    says(
        &said,
        &[
            "could not be started: Capacity is unavailable",
            "nothing of it ran",
        ],
    );
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(&said, &["it could not be started at"]);
    let room = async {
        stage.time.pass(Duration::from_secs(90)).await;
        stage.sandbox.have_capacity(true);
    };
    let (_, ()) = tokio::join!(run(stage, APPLY, "aws", Exit::Success), room);
    assert_serves(stage, "aws", 1).await;
    let started = stage.containers.started();
    let ran = started.iter().filter(|it| it.purpose == Purpose::Finish);
    assert_eq!(ran.count(), 1);
}

async fn out_of_memory(stage: &Stage) {
    stage.behave(|started| Behaviour {
        exit: (started.purpose == Purpose::Finish).then_some(runner::Exit::OUT_OF_MEMORY),
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted::FIRST);
    for (cloud, words) in [("aws", "OutOfMemoryError"), ("gcp", "memory limit")] {
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(&said, &["migrat", words]);
    }
}

/// What takes longer than it may is stopped, by the program on AWS and by Cloud Run itself.
async fn too_long(stage: &Stage) {
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(7200),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted::FIRST);
    let words = [
        (
            "aws",
            "the migration of `swept-test-idp` had not ended after 300 s, and was stopped",
        ),
        (
            "gcp",
            "failed with message: The configured timeout was reached.",
        ),
    ];
    for (cloud, words) in words {
        let began = stage.time.now();
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(&said, &[words]);
        let took = stage.time.now().duration_since(began).as_secs();
        assert!((300..400).contains(&took), "{took} s");
        is_not_run_again(stage, cloud).await;
    }
    let started = stage.containers.started();
    assert!(started.iter().all(|it| it.purpose == Purpose::Finish));
    let stopped = stopped_tasks(stage).await;
    let [task] = stopped.as_slice() else {
        panic!("one task is stopped: {stopped:#?}");
    };
    assert_eq!(task.stop_code(), Some(&TaskStopCode::UserInitiated));
    let why = "deployer: the migration's time is over";
    assert_eq!(task.stopped_reason(), Some(why));
    assert_eq!(task.last_status(), Some("STOPPED"));
    let execution = newest_execution(stage).await;
    assert_eq!(execution["failedCount"], 1, "{execution:#}");
    assert!(execution["completionTime"].is_string(), "{execution:#}");
}

/// One migration was left running by a run that was killed; another one waits for its end, also
/// where the manifest calls the job otherwise.
async fn beside_another(stage: &Stage) {
    let (_, start) = START[1];
    first_serves(stage).await;
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(280),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&SECOND);
    stage.calls.arm(None);
    let hand = async {
        while !stage.calls.names().iter().any(|name| name == start) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        stage.time.pass(Duration::from_secs(10)).await;
    };
    stage.run_until(APPLY, "gcp", hand).await;
    // Longer than the lease of who was killed.
    stage.time.pass(Duration::from_secs(120)).await;
    let began = stage.containers.started().len();
    let another = "[services.idp.migrate]\ncommand = [\"migrate\", \"--further\"]\n";
    let renamed = "[targets.gcp.services.idp]\njob = \"swept-test-other\"\n";
    for overlay in [another.to_owned(), format!("{another}{renamed}")] {
        stage.file("deployer.test.toml", &overlay);
        let said = run(stage, APPLY, "gcp", Exit::Failure).await;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        says(
            &said,
            &[
                "another migration is still running, as execution `swept-test-idp-migrate-",
                "gcloud run jobs executions cancel swept-test-idp-migrate-",
            ],
        );
        assert_eq!(stage.containers.started().len(), began, "nothing ran");
    }
    stage.file("deployer.test.toml", another);
    stage.time.pass(Duration::from_secs(300)).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
}

/// What another hand set of the job after it was read is no part of the plan.
async fn changed_meanwhile(stage: &Stage) {
    const PATCH: &str = "run.projects.locations.jobs.patch";
    const READ: &str = "run.projects.locations.jobs.get";
    first_serves(stage).await;
    stage.want(&SECOND);
    let theirs = async || {
        let mut job = stage.google(Method::GET, &job_path(), None).await;
        job["template"]["template"]["timeout"] = json!("77s");
        let members = job.as_object_mut().expect("a job");
        members.remove("etag");
        stage.google(Method::PATCH, &job_path(), Some(job)).await;
    };
    // The image is pushed between the plan and the job.
    stage
        .calls
        .delay("registry PUT manifest", Duration::from_secs(20));
    let hand = async {
        while !stage.calls.names().iter().any(|name| name == READ) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        stage.time.pass(Duration::from_secs(5)).await;
        theirs().await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "gcp", Exit::Failure), hand);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &["was changed since it was planned: `timeout`", "plan again"],
    );
    let patches = stage.calls.names().into_iter();
    assert_eq!(patches.filter(|name| name == PATCH).count(), 1, "theirs");
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
}

async fn stopped_tasks(stage: &Stage) -> Vec<Task> {
    stage.time.pass(Duration::from_secs(60)).await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let family = clouds::name_of("idp");
    let stopped = DesiredStatus::Stopped;
    let listed = ecs.list_tasks().family(family).desired_status(stopped);
    let arns = listed.send().await.expect("an answer").task_arns;
    let described = ecs.describe_tasks().set_tasks(arns).send().await;
    described.expect("an answer").tasks.unwrap_or_default()
}

async fn newest_execution(stage: &Stage) -> Value {
    let path = format!("{}/executions", job_path());
    let listed = stage.google(Method::GET, &path, None).await;
    listed["executions"][0].clone()
}

fn job_path() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/jobs/swept-test-idp-migrate")
}

/// What is done with the second version, while its apply runs on a cloud, right after its migration
/// was asked for.
async fn meanwhile(stage: &Stage, cloud: &str, hand: impl Future<Output = ()>) -> String {
    let (_, call) = START.into_iter().find(|it| it.0 == cloud).expect("known");
    stage.want(&SECOND);
    stage.calls.arm(None);
    let other = async {
        while !stage.calls.names().iter().any(|name| name == call) {
            stage.time.pass(Duration::from_millis(200)).await;
        }
        hand.await;
    };
    let started = stage.containers.started().len();
    let run = run(stage, APPLY, cloud, Exit::DeploymentFailed);
    let (said, ()) = tokio::join!(run, other);
    let now = stage.containers.started().len();
    assert_eq!(now, started, "nothing ran:\n{said}");
    clouds::assert_serves(stage, cloud, "idp", 1).await;
    said
}

/// The migrations that ran in the second version on a cloud.
fn migrations(stage: &Stage, cloud: &str) -> usize {
    migrations_to(stage, cloud, 2)
}

fn migrations_to(stage: &Stage, cloud: &str, version: u32) -> usize {
    let digest = stage.digest(version);
    let of_cloud = |it: &&Started| it.repository.starts_with(&format!("{cloud}/"));
    let started = stage.containers.started();
    let jobs = started
        .iter()
        .filter(of_cloud)
        .filter(|it| it.purpose == Purpose::Finish && it.digest == digest);
    jobs.count()
}

/// A migration of which nothing ran has not been executed: the next apply runs it, once.
async fn never_started(stage: &Stage) {
    first_serves(stage).await;
    let said = meanwhile(stage, "aws", delete_image_on_aws(stage)).await;
    says(
        &said,
        &[
            "could not be started",
            "TaskFailedToStart",
            "CannotPullContainerError",
            "`deployer apply ",
        ],
    );
    let said = meanwhile(stage, "gcp", delete_image_on_google(stage)).await;
    says(
        &said,
        &[
            "could not be started",
            "CONTAINER_MISSING",
            "not found",
            "`deployer apply ",
        ],
    );
    for cloud in ["aws", "gcp"] {
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(migrations(stage, cloud), 1, "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
}

/// Killed before each write to the ledger in turn, the applies after it still start it no more than
/// once.
async fn never_started_then_killed(stage: &Stage) {
    first_serves(stage).await;
    meanwhile(stage, "aws", delete_image_on_aws(stage)).await;
    meanwhile(stage, "gcp", delete_image_on_google(stage)).await;
    for (cloud, call) in START {
        let (mut kills, mut right_after) = (0, false);
        loop {
            stage.calls.arm(None);
            // Several times at each: what one of them got done, the next does not write again.
            stage.ledger.arm(Some(Crash::Before(kills / 3 + 1)));
            match stage.run(APPLY, cloud).await {
                (Ended::Killed, _) => {
                    kills += 1;
                    right_after |= stage.calls.names().last().is_some_and(|it| it == call);
                    // Longer than the lease of who was killed.
                    stage.time.pass(Duration::from_secs(120)).await;
                }
                (Ended::Exit(exit), said) => {
                    assert_eq!(exit, Exit::Success, "{said}");
                    break;
                }
            }
        }
        assert!(right_after, "once before the execution's name was written");
        stage.ledger.arm(None);
        assert_eq!(migrations(stage, cloud), 1, "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
}

/// Neither cloud has to know what it has just started, and what it knew it may not know for a
/// moment.
async fn unknown_for_a_while(stage: &Stage) {
    first_serves(stage).await;
    for (version, nth) in [(2, 1), (3, 3)] {
        stage.write_image(version, "amd64");
        stage.want(&Wanted {
            version,
            ..Wanted::FIRST
        });
        for (cloud, call) in LOOK {
            let rule =
                format!("[[fault]]\ncall = \"{call}\"\nwhat = \"stale\"\nnth = {nth}\ntimes = 4\n");
            stage.disturb(&rule).await;
            run(stage, APPLY, cloud, Exit::Success).await;
            assert_eq!(stage.fired().await, 4, "{cloud}");
            stage.disturb("").await;
            assert_eq!(migrations_to(stage, cloud, version), 1, "{cloud}");
            clouds::assert_serves(stage, cloud, "idp", version).await;
        }
    }
}

/// Killed while a migration ran, and back when the cloud has forgotten it: a person has to look at
/// the database.
async fn gone(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    for (cloud, look) in LOOK {
        stage.behave(|started| Behaviour {
            takes: match started.purpose {
                Purpose::Finish => Duration::from_secs(60),
                Purpose::Serve => Duration::ZERO,
            },
            ..Behaviour::usual(started.purpose)
        });
        stage.calls.arm(None);
        let kill = async {
            while !stage.calls.names().iter().any(|name| name == look) {
                stage.time.pass(Duration::from_millis(200)).await;
            }
            stage.ledger.arm(Some(Crash::Before(1)));
        };
        let ((ended, said), ()) = tokio::join!(stage.run(APPLY, cloud), kill);
        assert!(matches!(ended, Ended::Killed), "{said}");
        stage.ledger.arm(None);
        // ECS tells of a stopped task for an hour.
        stage.time.pass(Duration::from_secs(2 * 3600)).await;
        if cloud == "gcp" {
            let execution = newest_execution(stage).await;
            let name = execution["name"].as_str().expect("a name");
            stage
                .google(Method::DELETE, &format!("/v2/{name}"), None)
                .await;
        }
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(&said, &["how it ended is not known", "--retry"]);
        assert_eq!(migrations(stage, cloud), 1, "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 1).await;
        is_not_run_again(stage, cloud).await;
        let retry = ["migrate", "--retry", "--yes"];
        run(stage, &retry, cloud, Exit::Success).await;
        assert_eq!(migrations(stage, cloud), 2, "{cloud}");
        run(stage, APPLY, cloud, Exit::Success).await;
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
}

async fn delete_image_on_aws(stage: &Stage) {
    let ecr = aws_sdk_ecr::Client::new(&stage.aws().await);
    let image = ImageIdentifier::builder().image_digest(stage.digest(2));
    let repositories = ecr.describe_repositories().send().await;
    let repositories = repositories.expect("an answer");
    let repository = repositories.repositories()[0].repository_name();
    let deleted = ecr
        .batch_delete_image()
        .set_repository_name(repository.map(str::to_owned))
        .image_ids(image.build())
        .send()
        .await;
    assert!(deleted.expect("an answer").failures().is_empty());
}

async fn delete_image_on_google(stage: &Stage) {
    let job = stage.google(Method::GET, &job_path(), None).await;
    let image = &job["template"]["template"]["containers"][0]["image"];
    let (path, digest) = image
        .as_str()
        .and_then(|it| it.split_once('@'))
        .expect("pinned");
    assert_eq!(digest, stage.digest(2));
    let parts: Vec<&str> = path.split('/').collect();
    let [_, _, repository, package] = parts.as_slice() else {
        panic!("{path}");
    };
    let version = format!(
        "/v1/projects/{PROJECT}/locations/{LOCATION}/repositories/{repository}/packages/{package}/versions/{digest}?force=true"
    );
    stage.google(Method::DELETE, &version, None).await;
}

/// A secret that cannot be read keeps the container from starting. ECS says so in a field; Cloud
/// Run only in words that it uses for containers that ran as well: there a person has to judge.
async fn unreadable_secret(stage: &Stage) {
    first_serves(stage).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let hand = async {
        let deleted = secrets
            .delete_secret()
            .secret_id("/swept/test/mail-password");
        deleted.send().await.expect("it is there");
    };
    let said = meanwhile(stage, "aws", hand).await;
    says(
        &said,
        &[
            "could not be started",
            "ResourceInitializationError",
            "mail-password",
            "marked for deletion",
        ],
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage, "aws"), 1);
    clouds::assert_serves(stage, "aws", "idp", 2).await;

    let version = |verb: &str| {
        format!("/v1/projects/{PROJECT}/secrets/swept-test-mail-password/versions/1:{verb}")
    };
    let say = async |verb: &str| {
        stage
            .google(Method::POST, &version(verb), Some(json!({})))
            .await;
    };
    let said = meanwhile(stage, "gcp", say("disable")).await;
    says(&said, &["secret_key_ref", "DISABLED", "no exit code"]);
    say("enable").await;
    is_not_run_again(stage, "gcp").await;
    let retry = ["migrate", "--retry", "--yes"];
    run(stage, &retry, "gcp", Exit::Success).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(migrations(stage, "gcp"), 1);
    clouds::assert_serves(stage, "gcp", "idp", 2).await;
}

/// A cloud that refuses to start a migration has not started it.
async fn refused(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    for (cloud, call) in START {
        stage.calls.deny(call);
        let said = run(stage, APPLY, cloud, Exit::Denied).await;
        says(&said, &["not allowed: ", "migrat"]);
        assert_eq!(migrations(stage, cloud), 0, "{cloud}");
        stage.calls.arm(None);
        clouds::assert_serves(stage, cloud, "idp", 1).await;
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(migrations(stage, cloud), 1, "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
}
