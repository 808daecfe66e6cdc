//! What people do that has always gone well, and is to go on so.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};

use crate::events::named;
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, run, says};

crate::tests! {
    variables_are_named_as_frameworks_name_them => frameworks,
    a_variable_that_is_not_set_and_one_that_is_empty_are_told_apart => absent_or_empty,
    a_rollback_goes_past_a_bad_image_that_was_applied_twice => twice_bad,
    a_retry_that_is_typed_beside_a_stop_that_lasts_starts_nothing => retry_beside_a_stop,
    a_release_says_by_whom_it_was_made => made_by,
}

const OVERLAY: &str = "deployer.test.toml";
const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];

/// Spring's, .NET's and npm's names (Broadsea#25).
async fn frameworks(stage: &Stage) {
    stage.file(
        OVERLAY,
        "[services.idp.env]\n\"spring.datasource.url\" = \"jdbc:x\"\n\"Logging:LogLevel:Default\" = \"Warning\"\n\
         \"npm-config-cache\" = \"/tmp\"\n",
    );
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        let said = run(
            stage,
            &["plan", "--detailed-exitcode"],
            cloud,
            Exit::Success,
        )
        .await;
        says(
            &said,
            &["No changes: what is there is what the manifest says."],
        );
    }
}

async fn absent_or_empty(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    let from = |name: &str| format!("[secrets.mail-password]\nfrom = {{ env = \"{name}\" }}\n");
    stage.file(OVERLAY, &from("A_VARIABLE_THAT_IS_NOT_SET"));
    let said = run(stage, &["plan"], "all", Exit::Success).await;
    says(
        &said,
        &[
            "`A_VARIABLE_THAT_IS_NOT_SET` is not set here, so secret `mail-password` is kept as it is",
        ],
    );
    stage.file(OVERLAY, &from("DEPLOYER_SWEEP_EMPTY"));
    let said = run(stage, &["plan"], "all", Exit::Input).await;
    says(
        &said,
        &[
            "the value of secret `mail-password` (variable DEPLOYER_SWEEP_EMPTY) is empty",
            "give `DEPLOYER_SWEEP_EMPTY` a value, or unset it",
        ],
    );
}

/// Another label makes no other content: what was applied twice is gone back from once.
async fn twice_bad(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    for commit in ["one", "two"] {
        stage.file(OVERLAY, &format!("[tags]\ncommit = \"{commit}\"\n"));
        stage.want(&SECOND);
        run(stage, APPLY, "all", Exit::Success).await;
    }
    for cloud in ["aws", "gcp"] {
        let said = run(stage, BACK, cloud, Exit::Success).await;
        says(&said, &["r1 again"]);
        assert_serves(stage, cloud, 1).await;
    }
}

/// A migration that cannot be stopped runs on; a retry starts no second one beside it.
async fn retry_beside_a_stop(stage: &Stage) {
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(7200),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted::FIRST);
    stage.calls.deny("ecs:StopTask");
    run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    let began = stage.containers.started().len();
    let retry = ["migrate", "--retry", "--yes"];
    let (ended, said) = stage.run(&retry, "aws").await;
    let now = stage.containers.started().len();
    assert_eq!(now, began, "{ended:?}: {said}");
}

async fn made_by(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let words = [APPLY, &["--json"]].concat();
    let said = run(stage, &words, "all", Exit::Success).await;
    let releases = named(&said, "release");
    assert_eq!(releases.len(), 2, "{said}");
    for release in releases {
        let by = release["release"]["by"].as_str().expect("somebody");
        assert!(!by.is_empty(), "{release:#}");
        assert!(
            release["tag"].is_null() || release["tag"].is_string(),
            "{release:#}"
        );
    }
}
