//! App Runner's connectors and scalings: another one takes the place of each, none is changed. And
//! what runs once beside a service: on Fargate.

use std::time::Duration;

use aws_sdk_ecs::types::TaskDefinitionStatus;
use deployer::Exit;
use deployer_sandbox::runner::Purpose;

use crate::app_runner::{PLAN, parts, there, want, want_plain};
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::run::{SAID, SEED, seed, started};
use crate::{APPLY, DESTROY, SECOND, assert_serves, run, says, unhealthy};

crate::tests! {
    another_scale_or_network_is_another_configuration_and_the_old_one_goes => moved,
    a_revision_that_another_hand_makes_of_a_scaling_is_no_other_scaling => revised,
    an_undo_takes_new_generations_away_and_keeps_the_old_ones => undone,
    services_of_one_environment_share_a_connector_and_scale_apart => shared,
    killed_at_any_write_of_its_ledger_the_next_apply_ends_in_the_same_place => killed,
    a_command_beside_app_runner_is_a_task_with_what_serves => command,
    a_command_of_a_release_of_app_runner_has_what_was_recorded => of_release,
    a_command_beside_app_runner_has_the_versions_that_its_service_started_with => pinned,
    what_a_command_beside_app_runner_left_stays_and_goes_with_its_service => left,
    a_command_beside_app_runner_that_cannot_be_says_what_is_missing => cannot,
}

async fn moved(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let (connectors, scalings) = parts(stage).await;
    assert_eq!((connectors.len(), scalings.len()), (1, 1));
    let more = Wanted {
        replicas: 2,
        ..Wanted::FIRST
    };
    want_plain(stage, &more);
    stage.edit(|manifest| {
        manifest.replace(
            "\"subnet-0a1b2c3d4e5f60002\"",
            "\"subnet-0a1b2c3d4e5f60009\"",
        )
    });
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["egress", "scaling"]);
    let (connector, scaling) = (&connectors[0], &scalings[0]);
    let lines = [
        "-/+ app_runner.scaling swept-test-",
        "-/+ app_runner.vpc_connector swept-test-",
        "made first; the old one goes when nothing uses it",
        &format!("takes the place of {scaling}"),
        &format!("takes the place of {connector}"),
        "max: 1 -> 2",
        "2 to replace",
    ];
    says(&said, &lines);
    assert!(
        !said.contains("to create") && !said.contains("to delete"),
        "{said}"
    );
    let json = run(stage, &["plan", "--json"], "aws", Exit::Success).await;
    says(&json, &["\"action\": \"replace\"", "\"replaces\": ["]);
    run(stage, APPLY, "aws", Exit::Success).await;
    let (now, scales) = parts(stage).await;
    assert_eq!((now.len(), scales.len()), (1, 1), "{now:?} {scales:?}");
    assert!(now != connectors && scales != scalings);
    run(stage, PLAN, "aws", Exit::Success).await;
    // No connector: what the app sends goes to the internet.
    stage.edit(|manifest| {
        let lines = manifest.lines().filter(|it| !it.starts_with("subnets"));
        lines.collect::<Vec<_>>().join("\n")
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    assert!(parts(stage).await.0.is_empty());
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// Another hand makes a revision under the name of ours, and has the service use it: it is moved
/// back, and nothing is made for that.
async fn revised(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let (_, scalings) = parts(stage).await;
    let client = crate::app_runner::client(stage).await;
    let another = client.create_auto_scaling_configuration();
    let another = another
        .auto_scaling_configuration_name(&scalings[0])
        .max_size(7)
        .send()
        .await
        .expect("another revision");
    run(stage, PLAN, "aws", Exit::Success).await;
    let another = another.auto_scaling_configuration.expect("it is described");
    let service = there(stage).await;
    client
        .update_service()
        .service_arn(service.service_arn())
        .set_auto_scaling_configuration_arn(another.auto_scaling_configuration_arn)
        .send()
        .await
        .expect("it is taken");
    stage.time.pass(Duration::from_secs(600)).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["scaling", "(revision 2)"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    let now = there(stage).await;
    let scaling = now.auto_scaling_configuration_summary().expect("one");
    assert_eq!(scaling.auto_scaling_configuration_revision(), 1);
    run(stage, PLAN, "aws", Exit::Success).await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert!(parts(stage).await.1.is_empty());
}

/// Of image, scale and network nothing serves: the new generations go, and the old ones serve on.
async fn undone(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let before = parts(stage).await;
    want_plain(
        stage,
        &Wanted {
            replicas: 2,
            ..SECOND
        },
    );
    stage.edit(|manifest| manifest.replace("e5f60002", "e5f60009"));
    stage.behave(unhealthy);
    let undo = [APPLY, &["--on-failure", "undo"]].concat();
    let (_, said) = stage.run(&undo, "aws").await;
    assert_eq!(parts(stage).await, before, "{said}");
    assert_serves(stage, "aws", 1).await;
}

async fn shared(stage: &Stage) {
    let two = Wanted {
        more_services: 1,
        ..Wanted::FIRST
    };
    let want_two = |stage: &Stage| {
        want_plain(stage, &two);
        stage.edit(|manifest| {
            let own = "health = { path = \"/\", command = [\"CMD\", \"/app\"] }";
            manifest.replace(own, "health = \"/\"")
        });
    };
    want_two(stage);
    run(stage, APPLY, "aws", Exit::Success).await;
    let (connectors, scalings) = parts(stage).await;
    assert_eq!((connectors.len(), scalings.len()), (1, 2));
    run(stage, PLAN, "aws", Exit::Success).await;
    // One of them goes; what the other one needs stays.
    want_plain(stage, &Wanted::FIRST);
    let images = "aws/us-east-1/ecr.repository/swept-test-s1";
    let lines = "aws/us-east-1/logs.group//ecs/swept-test-s1";
    let gone = ["--allow-data-loss", images, "--allow-data-loss", lines];
    let fewer = [APPLY, &gone].concat();
    run(stage, &fewer, "aws", Exit::Success).await;
    let (now, scalings) = parts(stage).await;
    assert_eq!((now, scalings.len()), (connectors, 1));
    assert_serves(stage, "aws", 1).await;
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// Image, scale and network change in one run, which is killed at each write.
async fn killed(stage: &Stage) {
    let second = Wanted {
        replicas: 2,
        ..SECOND
    };
    let want_second = |stage: &Stage| {
        want(stage, &second);
        stage.edit(|manifest| manifest.replace("e5f60002", "e5f60009"));
    };
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    want_second(stage);
    stage.ledger.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let (writes, undisturbed) = (stage.ledger.writes(), parts(stage).await);
    assert!(writes > 10, "{writes}");
    for nth in 1..=writes {
        // Before one, after the next: what is between two writes is tried from both sides.
        let crash = match nth % 2 {
            0 => Crash::Before(nth),
            _ => Crash::After(nth),
        };
        let stage = Stage::set(&stage.time).await;
        want(&stage, &Wanted::FIRST);
        run(&stage, APPLY, "aws", Exit::Success).await;
        want_second(&stage);
        stage.ledger.arm(Some(crash));
        let (ended, said) = stage.run(APPLY, "aws").await;
        stage.ledger.arm(None);
        assert!(
            matches!(ended, Ended::Killed),
            "{crash:?}: {ended:?}\n{said}"
        );
        // A killed process gives no lock back: the next one waits until the lease has ended.
        stage.time.pass(Duration::from_secs(300)).await;
        run(&stage, APPLY, "aws", Exit::Success).await;
        assert_serves(&stage, "aws", 2).await;
        run(&stage, PLAN, "aws", Exit::Success).await;
        assert_eq!(parts(&stage).await, undisturbed, "{crash:?}");
        let jobs = stage.containers.started();
        let jobs = jobs.iter().filter(|it| it.purpose == Purpose::Finish);
        assert_eq!(jobs.count(), 2, "{crash:?}");
        stage.clear().await;
    }
}

/// The active task definitions of the family of one-offs.
async fn definitions(stage: &Stage) -> usize {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let list = ecs.list_task_definitions();
    let list = list.status(TaskDefinitionStatus::Active);
    let listed = list.send().await.expect("definitions");
    let arns = listed.task_definition_arns().iter();
    arns.filter(|arn| arn.contains("swept-test-idp-run:"))
        .count()
}

async fn command(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    seed(
        stage,
        3,
        Duration::from_secs(30),
        &["seeding", "no such table", "logged in with mail one"],
    );
    // The manifest has moved on, and was not applied.
    want_plain(stage, &SECOND);
    let said = run(stage, &SEED, "aws", Exit::Program(3)).await;
    let printed: Vec<&str> = said.lines().filter(|it| SAID.contains(it)).collect();
    assert_eq!(printed, SAID, "{said}");
    says(
        &said,
        &["idp r1", "exit code 3", "logged in with [redacted]"],
    );
    let all = started(stage);
    let [one] = all.as_slice() else {
        panic!("it ran once: {all:#?}")
    };
    assert_eq!(one.digest, stage.digest(1), "what serves");
    assert_eq!(one.command, ["/app", "seed", "--all"]);
    assert_eq!(one.env["MAIL_PASSWORD"], "mail one");
    assert_eq!(one.env["GREETING"], "hello");
    assert_eq!(one.env["PORT"], "3000");
    assert!(!one.env.contains_key("DEPLOYER_SECRETS"), "{:?}", one.env);
    assert_eq!(one.purpose, Purpose::Finish);
    assert_serves(stage, "aws", 1).await;
    // What is there already is used again, and left.
    seed(stage, 0, Duration::from_secs(300), &["seeding"]);
    stage.calls.arm(None);
    let detached = ["run", "idp", "--detach", "--", "seed"];
    let said = run(stage, &detached, "aws", Exit::Success).await;
    says(&said, &["aws ecs stop-task", "nothing stops it"]);
    assert_eq!(stage.calls.writes(), ["ecs:RunTask"]);
    assert_eq!(definitions(stage).await, 1);
}

async fn of_release(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let more = Wanted {
        greeting: "good morning",
        ..SECOND
    };
    want_plain(stage, &more);
    run(stage, APPLY, "aws", Exit::Success).await;
    seed(stage, 0, Duration::from_secs(20), &[]);
    let cases = [
        (&[][..], 2, "good morning"),
        (&["--release", "r1"], 1, "hello"),
        (&[], 2, "good morning"),
    ];
    for (options, version, greeting) in cases {
        let words = [&["run", "idp"], options, &["--", "seed"]].concat();
        run(stage, &words, "aws", Exit::Success).await;
        let all = started(stage);
        let last = all.last().expect("it ran");
        assert_eq!(last.digest, stage.digest(version), "{options:?}");
        assert_eq!(last.env["GREETING"], greeting, "{options:?}");
    }
    // At once: each has its own definition.
    let before = started(stage).len();
    let earlier = ["run", "idp", "--release", "r1", "--", "seed", "one"];
    let now = ["run", "idp", "--", "seed", "two"];
    tokio::join!(
        run(stage, &earlier, "aws", Exit::Success),
        run(stage, &now, "aws", Exit::Success)
    );
    let all = started(stage).split_off(before);
    assert_eq!(all.len(), 2, "{all:#?}");
    for one in all {
        let version = if one.command[2] == "one" { 1 } else { 2 };
        assert_eq!(one.digest, stage.digest(version), "{one:#?}");
    }
}

/// A secret has a new value, and nothing was deployed with it.
async fn pinned(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let put = secrets.put_secret_value();
    let put = put.secret_id("/swept/test/mail-password");
    let put = put.secret_string("mail two").send();
    put.await.expect("another value");
    let lines = &["logged in with mail one"];
    seed(stage, 0, Duration::from_secs(20), lines);
    let said = run(stage, &SEED, "aws", Exit::Success).await;
    says(&said, &["logged in with [redacted]"]);
    let all = started(stage);
    assert_eq!(all[0].env["MAIL_PASSWORD"], "mail one");
}

async fn left(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    seed(stage, 0, Duration::from_secs(20), &[]);
    let before = started(stage).len();
    let fault = "[[fault]]\ncall = \"ecs:RunTask\"\nwhat = \"reset_after\"\nnth = 1\n";
    stage.disturb(fault).await;
    run(stage, &SEED, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 1);
    assert_eq!(started(stage).len(), before + 1, "once");
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new(), "an empty plan");
    assert_eq!(definitions(stage).await, 1);
    let said = run(stage, DESTROY, "aws", Exit::Success).await;
    says(&said, &["ecs.task-definition swept-test-idp-run"]);
    assert_eq!(definitions(stage).await, 0);
}

async fn cannot(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let said = run(stage, &["exec", "idp", "--", "true"], "aws", Exit::NotRun).await;
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &words,
        &["take no commands", "`deployer run idp ", " -- true` "],
    );
    let without = |key: &str| {
        want_plain(stage, &Wanted::FIRST);
        stage.edit(|manifest| {
            let lines = manifest.lines().filter(|it| !it.starts_with(key));
            lines.collect::<Vec<_>>().join("\n")
        });
    };
    without("execution_role");
    let said = run(stage, &SEED, "aws", Exit::NotRun).await;
    says(&said, &["lacks `execution_role`"]);
    // It has the network of its connector still; without one there is none.
    without("subnets");
    seed(stage, 0, Duration::from_secs(20), &[]);
    run(stage, &SEED, "aws", Exit::Success).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    let said = run(stage, &SEED, "aws", Exit::NotRun).await;
    says(&said, &["lacks `subnets`"]);
    assert_eq!(started(stage).len(), 1);
}
