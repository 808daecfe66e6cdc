//! What a hold keeps, how long it stands, and what is never taken from a revision that serves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{
    APPLY, DESTROY, SECOND, assert_serves, clouds, first_serves, picture, run, says, unhealthy,
};

crate::tests! {
    a_migration_alone_makes_no_database_anew => migrate_alone,
    a_rollback_whose_second_try_is_refused_is_finished_by_the_next_apply => refused_while_finishing,
    a_secret_that_what_serves_beside_a_hold_pins_is_not_deleted => pinned_beside_a_hold,
    secrets_follow_a_rollback_to_a_release_of_the_code_alone => code_alone,
    a_rollback_that_another_one_came_after_is_not_finished_any_more => superseded,
    a_rollback_that_is_typed_again_by_its_name_is_one => named_again,
    two_services_of_one_image_and_one_database_are_migrated_once => one_migration,
    a_secret_that_was_set_before_a_rollback_lifts_no_hold => set_before,
    nothing_is_held_where_nothing_serves_any_more => destroyed_in_part,
    an_undo_that_cannot_put_a_service_back_leaves_it_what_it_runs_on => undo_refused,
    a_code_deployment_says_what_it_pins => code_alone_pins,
}

const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];
const THIRD: Wanted = Wanted {
    version: 3,
    ..Wanted::FIRST
};

fn manifest(stage: &Stage) -> PathBuf {
    Path::new(&stage.file("beside", "")).with_file_name("deployer.toml")
}

fn replace(stage: &Stage, old: &str, new: &str) {
    let path = manifest(stage);
    let text = std::fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(old), "{text}");
    std::fs::write(path, text.replace(old, new)).expect("it can be written");
}

async fn applied(stage: &Stage, all: &[Wanted], cloud: &str) {
    stage.write_image(3, "amd64");
    for wanted in all {
        stage.want(wanted);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
}

/// Whether a secret is there whose name ends with this.
async fn has_secret(stage: &Stage, cloud: &str, name: &str) -> bool {
    let picture = picture::take(stage).await;
    let (kind, end) = match cloud {
        "aws" => ("aws secretsmanager secrets ", format!("/{name}")),
        _ => ("gcp secretmanager secrets ", format!("-{name}")),
    };
    let mut things = picture::things(&picture).into_iter();
    things.any(|thing| thing.starts_with(kind) && thing.ends_with(&end))
}

/// A migration alone makes no database anew.
async fn migrate_alone(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    replace(
        stage,
        "storage = \"20GiB\"",
        "storage = \"20GiB\"\ndatabase = \"another\"",
    );
    stage.calls.arm(None);
    let said = run(stage, &["migrate", "--yes"], "aws", Exit::Input).await;
    says(
        &said,
        &[
            "this would lose the data of aws/us-east-1/rds.instance/swept-test-main",
            "deployer apply",
            "--allow-data-loss aws/us-east-1/rds.instance/swept-test-main",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// A rollback that is killed, and whose second try is refused: the next apply finishes it, and
/// brings nothing rejected back.
async fn refused_while_finishing(stage: &Stage) {
    applied(stage, &[Wanted::FIRST, SECOND], "all").await;
    for (cloud, call) in [
        ("aws", "ecs:UpdateService"),
        ("gcp", "run.projects.locations.services.patch"),
    ] {
        let mut nth = 1;
        loop {
            stage.ledger.arm(Some(Crash::After(nth)));
            let (ended, said) = stage.run(BACK, cloud).await;
            stage.ledger.arm(None);
            assert!(matches!(ended, Ended::Killed), "{said}");
            stage.time.pass(Duration::from_secs(300)).await;
            if stage.has_hold().await {
                break;
            }
            nth += 1;
        }
        stage.calls.deny(call);
        run(stage, BACK, cloud, Exit::Denied).await;
        stage.calls.arm(None);
        let said = run(stage, APPLY, cloud, Exit::Held).await;
        says(&said, &["r1 again"]);
        assert_serves(stage, cloud, 1).await;
        stage.calls.arm(None);
        run(stage, APPLY, cloud, Exit::Held).await;
        assert_eq!(stage.calls.writes(), Vec::<String>::new(), "{cloud}");
        let forward = [APPLY, &["--release-hold"]].concat();
        run(stage, &forward, cloud, Exit::Success).await;
    }
}

/// The rejected version needs a secret no more that the one before, which serves again, has pinned.
async fn pinned_beside_a_hold(stage: &Stage) {
    let with_old = Wanted {
        old_secret: true,
        ..Wanted::FIRST
    };
    stage.write_image(3, "amd64");
    for cloud in ["aws", "gcp"] {
        applied(stage, &[with_old, SECOND], cloud).await;
        run(stage, BACK, cloud, Exit::Success).await;
        run(stage, APPLY, cloud, Exit::Held).await;
        assert!(has_secret(stage, cloud, "old").await, "{cloud}");
        assert_serves(stage, cloud, 1).await;
        // A rollback goes there again.
        let forward = [APPLY, &["--release-hold"]].concat();
        run(stage, &forward, cloud, Exit::Success).await;
        assert!(has_secret(stage, cloud, "old").await, "{cloud}");
        // Where nothing pins it any more, it goes.
        applied(stage, &[THIRD], cloud).await;
        assert!(!has_secret(stage, cloud, "old").await, "{cloud}");
    }
}

/// A release of the code alone names no secrets, and those that follow do so all the same.
async fn code_alone(stage: &Stage) {
    let follow = |stage: &Stage| {
        let secret = "[secrets.mail-password]\n";
        replace(
            stage,
            secret,
            &format!("{secret}on_rollback = \"follow\"\n"),
        );
    };
    stage.write_image(3, "amd64");
    stage.want(&Wanted::FIRST);
    follow(stage);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.want(&SECOND);
    follow(stage);
    let only = [APPLY, &["--only", "idp"]].concat();
    run(stage, &only, "aws", Exit::Success).await;
    stage.want(&Wanted {
        mail_password: "mail two",
        ..THIRD
    });
    follow(stage);
    run(stage, APPLY, "aws", Exit::Success).await;
    run(stage, BACK, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    let serving = clouds::ecs_service(stage, "idp").await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let definition = ecs
        .describe_task_definition()
        .task_definition(serving.task_definition().expect("one serves"));
    let definition = definition.send().await.expect("an answer").task_definition;
    let definition = definition.expect("it is there");
    let secrets = definition.container_definitions()[0].secrets();
    let pinned = secrets.iter().find(|it| it.name() == "MAIL_PASSWORD");
    let pinned = pinned.expect("it is a variable").value_from();
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let (arn, _) = pinned
        .split_once(":::")
        .or_else(|| pinned.rsplit_once("::"))
        .expect("a pin");
    let current = secrets
        .get_secret_value()
        .secret_id(arn.trim_end_matches(':'));
    let current = current.send().await.expect("a value");
    assert_eq!(current.secret_string(), Some("mail two"));
    let version = current.version_id().expect("a version");
    assert!(pinned.ends_with(version), "{pinned} is not {version}");
}

/// A rollback is killed where it had landed; another one to somewhere else is typed. The next plain
/// one is a step of its own.
async fn superseded(stage: &Stage) {
    applied(stage, &[Wanted::FIRST, SECOND, THIRD], "aws").await;
    let mut nth = 1;
    loop {
        stage.ledger.arm(Some(Crash::Before(nth)));
        let (ended, said) = stage.run(BACK, "aws").await;
        stage.ledger.arm(None);
        assert!(matches!(ended, Ended::Killed), "{said}");
        stage.time.pass(Duration::from_secs(300)).await;
        let serving = clouds::serving(stage, "aws", "idp").await;
        if serving.is_some_and(|image| image.ends_with(&stage.digest(2))) {
            break;
        }
        nth += 1;
    }
    let to_first = [BACK, &["--to", "r1"]].concat();
    run(stage, &to_first, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    let said = run(stage, BACK, "aws", Exit::Input).await;
    assert!(!said.contains("had come to its end"), "{said}");
    says(&said, &["no release before"]);
    // Both contents that somebody went back from are on hold.
    for rejected in [SECOND, THIRD] {
        stage.want(&rejected);
        run(stage, APPLY, "aws", Exit::Held).await;
    }
}

/// Typed again by its name after a kill at any write, a rollback is one, and the apply after it has
/// nothing to send.
async fn named_again(stage: &Stage) {
    applied(stage, &[Wanted::FIRST, SECOND, THIRD], "all").await;
    let back = [BACK, &["--to", "r2"]].concat();
    let forward = [APPLY, &["--release-hold"]].concat();
    for cloud in ["aws", "gcp"] {
        stage.ledger.arm(None);
        run(stage, &back, cloud, Exit::Success).await;
        let writes = stage.ledger.writes();
        for nth in (1..=writes).step_by(2) {
            run(stage, &forward, cloud, Exit::Success).await;
            stage.ledger.arm(Some(Crash::After(nth)));
            let (ended, said) = stage.run(&back, cloud).await;
            stage.ledger.arm(None);
            assert!(matches!(ended, Ended::Killed), "{said}");
            stage.time.pass(Duration::from_secs(300)).await;
            run(stage, &back, cloud, Exit::Success).await;
            assert_serves(stage, cloud, 2).await;
            stage.calls.arm(None);
            run(stage, APPLY, cloud, Exit::Held).await;
            assert_eq!(stage.calls.writes(), Vec::<String>::new(), "{cloud} {nth}");
        }
    }
}

/// Two services of one image and one database have one migration.
async fn one_migration(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 1,
        ..Wanted::FIRST
    });
    replace(
        stage,
        "health = { path = \"/\", command = [\"CMD\", \"/app\"] }\n",
        "health = { path = \"/\", command = [\"CMD\", \"/app\"] }\n\
         migrate = { command = [\"migrate\"], timeout = \"5m\" }\n\
         env = { DATABASE_URL = { secret = \"database-url\" } }\n",
    );
    for cloud in ["aws", "gcp"] {
        let of_before = migrations(stage);
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(migrations(stage) - of_before, 1, "{cloud}");
    }
}

fn migrations(stage: &Stage) -> usize {
    let started = stage.containers.started();
    let all = started.iter();
    all.filter(|it| it.purpose == Purpose::Finish).count()
}

/// A secret that was set before the rollback, and never applied, is not what mends the rejected
/// version.
async fn set_before(stage: &Stage) {
    applied(stage, &[Wanted::FIRST, SECOND], "all").await;
    for cloud in ["aws", "gcp"] {
        set(stage, cloud, "0123456789abcdef0123456789abcdef").await;
        run(stage, BACK, cloud, Exit::Success).await;
        run(stage, APPLY, cloud, Exit::Held).await;
        assert_serves(stage, cloud, 1).await;
        // One that is set afterwards may be.
        set(stage, cloud, "fedcba9876543210fedcba9876543210").await;
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 2).await;
    }
}

async fn set(stage: &Stage, cloud: &str, value: &str) {
    let file = stage.file("value", value);
    let words = ["secrets", "set", "cookie-key", "--file", &file];
    run(stage, &words, cloud, Exit::Success).await;
}

/// A hold keeps something serving: where a destroy took that away, there is nothing to keep.
async fn destroyed_in_part(stage: &Stage) {
    applied(stage, &[Wanted::FIRST, SECOND], "all").await;
    for (cloud, call) in [
        ("aws", "ecr:DeleteRepository"),
        (
            "gcp",
            "artifactregistry.projects.locations.repositories.delete",
        ),
    ] {
        run(stage, BACK, cloud, Exit::Success).await;
        stage.calls.deny(call);
        run(stage, DESTROY, cloud, Exit::Denied).await;
        stage.calls.arm(None);
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 2).await;
    }
}

/// An undo that cannot put a service back leaves it what it runs on.
async fn undo_refused(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.want(&Wanted {
        old_secret: true,
        more_services: 1,
        ..SECOND
    });
    stage.behave(
        |started: &Started| match started.env.contains_key("GREETING") {
            true => Behaviour::usual(started.purpose),
            false => unhealthy(started),
        },
    );
    // The first one rolls out, the second one would go back.
    let rule = "[[fault]]\ncall = \"ecs:UpdateService\"\nwhat = \"denied\"\nnth = 2\ntimes = 20\n";
    stage.disturb(rule).await;
    let undo = [APPLY, &["--on-failure", "undo"]].concat();
    let said = run(stage, &undo, "aws", Exit::NeedsAttention).await;
    stage.disturb("").await;
    assert_serves(stage, "aws", 2).await;
    assert!(has_secret(stage, "aws", "old").await, "{said}");
    says(&said, &["swept-test-idp stays and needs it"]);
}

/// Its release is another one than that of the same image with a secret that came after it.
async fn code_alone_pins(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    let only = [APPLY, &["--only", "idp"]].concat();
    run(stage, &only, "all", Exit::Success).await;
    stage.want(&Wanted {
        mail_password: "mail that is bad",
        ..SECOND
    });
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        let said = run(stage, BACK, cloud, Exit::Success).await;
        says(&said, &["→ r2"]);
        assert_serves(stage, cloud, 2).await;
    }
}
