//! App Runner's connectors and scalings: another one takes the place of each, none is changed.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::Purpose;

use crate::app_runner::{PLAN, parts, want, want_plain};
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, run, says};

crate::tests! {
    another_scale_or_network_is_another_configuration_and_the_old_one_goes => moved,
    services_of_one_environment_share_a_connector_and_scale_apart => shared,
    killed_at_any_write_of_its_ledger_the_next_apply_ends_in_the_same_place => killed,
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
    let fewer = [APPLY, &["--allow-data-loss", images]].concat();
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
