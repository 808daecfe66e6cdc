//! `logs` prints what one release's instances print, or what one migration printed, and nothing
//! else, on both clouds and both of AWS's runtimes.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose};

use crate::app_runner;
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, SECOND, first_serves, run, says};

crate::tests! {
    logs_of_a_release_are_those_of_its_instances => of_releases,
    logs_of_a_migration_are_those_of_its_execution_whenever_it_ran => of_migrations,
    logs_of_a_migration_that_failed_are_there_without_a_release => of_a_failure,
    logs_of_releases_and_migrations_beside_app_runner => on_app_runner,
    logs_of_a_release_or_a_migration_that_is_not_there_are_refused => of_nothing,
}

/// Longer than ECS tells of a task that stopped.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// Each container says which version it is, and what it is for.
fn talk(stage: &Stage) {
    let second = stage.digest(2);
    stage.behave(move |started| {
        let version = if started.digest == second { 2 } else { 1 };
        let what = match started.purpose {
            Purpose::Serve => "serves",
            Purpose::Finish => "migrates",
        };
        Behaviour {
            lines: vec![format!("version {version} {what}")],
            ..Behaviour::usual(started.purpose)
        }
    });
}

async fn both_versions(stage: &Stage) {
    talk(stage);
    first_serves(stage).await;
    stage.time.pass(Duration::from_secs(300)).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.time.pass(Duration::from_secs(60)).await;
}

/// `logs` with these words prints these lines and no other.
async fn prints(stage: &Stage, cloud: &str, words: &[&str], lines: &[&str]) {
    let all = [&["logs", "idp"][..], words].concat();
    let said = run(stage, &all, cloud, Exit::Success).await;
    let said_of = |line: &str| said.lines().filter(|it| it.ends_with(line)).count();
    for line in [
        "version 1 serves",
        "version 1 migrates",
        "version 2 serves",
        "version 2 migrates",
    ] {
        let expected = usize::from(lines.contains(&line));
        assert_eq!(
            said_of(line),
            expected,
            "`{line}` on {cloud}, {words:?}:\n{said}"
        );
    }
}

async fn of_releases(stage: &Stage) {
    both_versions(stage).await;
    for cloud in ["aws", "gcp"] {
        let since = ["--since", "30m"];
        for (release, line) in [("r1", "version 1 serves"), ("r2", "version 2 serves")] {
            let words = [&["--release", release][..], &since].concat();
            prints(stage, cloud, &words, &[line]).await;
            let words = [&words[..], &["--grep", "migrates"]].concat();
            prints(stage, cloud, &words, &[]).await;
        }
    }
    // A cloud that cannot tell any more says so.
    stage.time.pass(FORGOTTEN).await;
    let words = ["--release", "r1", "--since", "1d"];
    prints(stage, "gcp", &words, &["version 1 serves"]).await;
    let all = [&["logs", "idp"][..], &words].concat();
    let said = run(stage, &all, "aws", Exit::Success).await;
    says(&said, &["told for 1h after it stopped"]);
}

async fn of_migrations(stage: &Stage) {
    both_versions(stage).await;
    stage.time.pass(FORGOTTEN).await;
    for cloud in ["aws", "gcp"] {
        prints(stage, cloud, &["--migration"], &["version 2 migrates"]).await;
        let first = ["--migration", "--release", "r1"];
        prints(stage, cloud, &first, &["version 1 migrates"]).await;
        let lately = ["--migration", "--since", "10m"];
        prints(stage, cloud, &lately, &[]).await;
    }
}

async fn of_a_failure(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.behave(|started| match started.purpose {
        Purpose::Serve => Behaviour::usual(started.purpose),
        Purpose::Finish => Behaviour {
            lines: vec!["version 1 migrates".to_owned()],
            exit: Some(runner::Exit::with(1)),
            ..Behaviour::usual(started.purpose)
        },
    });
    for cloud in ["aws", "gcp"] {
        run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        prints(stage, cloud, &["--migration"], &["version 1 migrates"]).await;
    }
}

async fn on_app_runner(stage: &Stage) {
    talk(stage);
    app_runner::want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(Duration::from_secs(300)).await;
    app_runner::want(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(FORGOTTEN).await;
    let since = ["--since", "1d"];
    for (release, line) in [("r1", "version 1 serves"), ("r2", "version 2 serves")] {
        let words = [&["--release", release][..], &since].concat();
        prints(stage, "aws", &words, &[line]).await;
    }
    prints(stage, "aws", &["--migration"], &["version 2 migrates"]).await;
}

async fn of_nothing(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.want_no_migration();
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        let release = ["logs", "--release", "r7"];
        let said = run(stage, &release, cloud, Exit::Input).await;
        says(&said, &["no release of `idp`", "is called `r7`"]);
        let said = run(stage, &["logs", "--migration"], cloud, Exit::Input).await;
        let runs = [
            "no migration of `idp` is known to have run",
            "`deployer runs",
        ];
        says(&said, &runs);
        assert!(!said.contains("deployer releases"), "{said}");
    }
}
