//! `apply --detach`: the roll-out was begun, and how it went is told later.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use serde_json::{Value, json};

use crate::events::{about, document, texts};
use crate::in_process::stage::Stage;
use crate::{APPLY, SECOND, assert_serves, first_serves, run, says, unhealthy};

crate::tests! {
    a_roll_out_that_was_not_waited_for_is_told_by_status => goes_well,
    a_roll_out_that_a_second_apply_waits_for_keeps_its_number => waited_for,
    a_roll_out_that_was_not_waited_for_and_failed_is_no_success => fails_later,
}

/// Longer than anything here rolls out, or fails to.
const SETTLED: Duration = Duration::from_secs(3600);

const CLOUDS: [(&str, &str); 2] = [
    ("aws", "aws/us-east-1/ecs.service/swept-test-idp"),
    ("gcp", "gcp/us-central1/run.service/swept-test-idp"),
];

async fn goes_well(stage: &Stage) {
    // On ECS a container that is not healthy by then is replaced, and counts as a failure.
    let patient = "[services.idp.health]\nstart_period = \"5m\"\n";
    stage.file("deployer.test.toml", patient);
    first_serves(stage).await;
    // Migrations are waited for, also by whoever does not wait for the roll-out.
    stage.behave(|started| match started.purpose {
        Purpose::Serve => Behaviour {
            takes: Duration::from_secs(200),
            ..Behaviour::usual(Purpose::Serve)
        },
        Purpose::Finish => Behaviour::usual(Purpose::Finish),
    });
    begin(stage).await;
    // Asked again, nothing is to be done, and it still goes on.
    let again = [APPLY, &["--detach", "--detailed-exitcode"]].concat();
    let said = run(stage, &again, "all", Exit::Detached).await;
    says(&said, &["idp r2 is rolling out on aws and gcp"]);
    for (cloud, _) in CLOUDS {
        let status = document(stage, &["status"], cloud, Exit::Success).await;
        assert_eq!(state(&status), "in_progress", "{status:#}");
        assert_eq!(status[0]["release"]["number"], 2, "{status:#}");
        assert_eq!(status[0]["release"]["detached"], true, "{status:#}");
        assert_serves(stage, cloud, 1).await;
        let said = run(stage, &["status", "idp"], cloud, Exit::Success).await;
        says(&said, &["in progress: "]);
        let said = run(stage, &["releases"], cloud, Exit::Success).await;
        says(&said, &["not seen serving"]);
    }
    stage.time.pass(SETTLED).await;
    for (cloud, _) in CLOUDS {
        let status = document(stage, &["status"], cloud, Exit::Success).await;
        assert_eq!(state(&status), "ready", "{status:#}");
        assert_serves(stage, cloud, 2).await;
    }
    // The next apply has seen it, and makes nothing new.
    stage.calls.arm(None);
    let said = run(stage, &again, "all", Exit::Success).await;
    says(&said, &["idp r2 serves on aws and gcp"]);
    run(stage, APPLY, "all", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    for (cloud, _) in CLOUDS {
        let releases = document(stage, &["releases"], cloud, Exit::Success).await;
        let newest = &releases[0]["releases"][0];
        assert_eq!(newest["detached"], false, "{releases:#}");
        assert_eq!(newest["number"], 2, "{releases:#}");
        let said = run(stage, &["releases"], cloud, Exit::Success).await;
        says(&said, &["serves"]);
        assert!(!said.lines().nth(2).expect("a release").contains("not seen"));
        // What serves is what the release names.
        let status = document(stage, &["status"], cloud, Exit::Success).await;
        assert_eq!(
            status[0]["serving"]["traffic"][0][0], status[0]["release"]["revision"],
            "{status:#}"
        );
    }
}

/// The second apply waits for what the first one began, and that is the same release.
async fn waited_for(stage: &Stage) {
    first_serves(stage).await;
    begin(stage).await;
    let said = run(stage, APPLY, "all", Exit::Success).await;
    says(&said, &["idp r2 serves on aws and gcp"]);
    for (cloud, _) in CLOUDS {
        assert_serves(stage, cloud, 2).await;
        let releases = document(stage, &["releases"], cloud, Exit::Success).await;
        let releases = releases[0]["releases"].as_array().expect("releases");
        assert_eq!(releases.len(), 2, "{releases:#?}");
        assert_eq!(releases[0]["detached"], false, "{releases:#?}");
        let said = run(stage, &["status"], cloud, Exit::Success).await;
        says(&said, &["r2"]);
    }
    // Once it is waited for, nothing is left to say of it.
    let said = run(stage, APPLY, "all", Exit::Success).await;
    says(&said, &["nothing to do; idp stays r2 on aws and gcp"]);
}

async fn fails_later(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    begin(stage).await;
    stage.time.pass(SETTLED).await;
    for (cloud, _) in CLOUDS {
        let said = run(stage, &["status", "idp"], cloud, Exit::Untrue).await;
        assert!(
            said.contains("DIFFERS") || said.contains("failed: "),
            "{said}"
        );
        assert_serves(stage, cloud, 1).await;
        let said = run(stage, &["releases"], cloud, Exit::Success).await;
        says(&said, &["not seen serving"]);
        let plan = ["plan", "--detailed-exitcode"];
        run(stage, &plan, cloud, Exit::Changes).await;
    }
    for (cloud, exit) in [("aws", Exit::RolledBack), ("gcp", Exit::DeploymentFailed)] {
        run(stage, APPLY, cloud, exit).await;
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, _) in CLOUDS {
        assert_serves(stage, cloud, 2).await;
        run(stage, &["status"], cloud, Exit::Success).await;
    }
}

/// Begins the second version's roll-out on both clouds and leaves.
async fn begin(stage: &Stage) {
    stage.want(&SECOND);
    let words = [APPLY, &["--detach", "--detailed-exitcode", "--json"]].concat();
    let said = run(stage, &words, "all", Exit::Detached).await;
    for (cloud, address) in CLOUDS {
        let verdict = about(&said, "verdict", cloud);
        assert_eq!(verdict["outcome"], "detached", "{verdict:#}");
        assert_eq!(verdict["detached"], json!([address]), "{verdict:#}");
        assert!(!texts(&verdict["done"]).contains(&address), "{verdict:#}");
        assert_eq!(verdict["failed"], json!([]), "{verdict:#}");
        let release = about(&said, "release", cloud);
        assert_eq!(release["release"]["detached"], true, "{release:#}");
    }
}

fn state(status: &Value) -> &str {
    let state = &status[0]["serving"]["state"];
    state["state"].as_str().expect("a state")
}
