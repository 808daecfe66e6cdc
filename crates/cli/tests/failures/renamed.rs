//! Whatever is renamed in one environment stays one environment's affair.

use std::path::{Path, PathBuf};

use deployer::Exit;

use crate::in_process::stage::{Stage, Wanted};
use crate::world::{self, Thing};
use crate::{APPLY, first_serves, run, says};

crate::tests! {
    a_service_that_is_renamed_touches_nothing_of_the_environment_beside => service,
    an_app_that_is_renamed_is_another_owner => app,
}

fn manifest(stage: &Stage) -> PathBuf {
    Path::new(&stage.file("beside", "")).with_file_name("deployer.toml")
}

fn rename(stage: &Stage, old: &str, new: &str) {
    let path = manifest(stage);
    let text = std::fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(old), "{text}");
    std::fs::write(path, text.replace(old, new)).expect("it can be written");
}

/// A service gets another name: its things of before go, each that loses data by a word, and those
/// of the environment beside stay.
async fn service(stage: &Stage) {
    first_serves(stage).await;
    let prod = stage.beside("prod");
    first_serves(&prod).await;
    let theirs = of_prod(stage).await;
    assert!(theirs.len() > 10, "{theirs:#?}");
    rename(stage, "services.idp", "services.web");
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(
        &said,
        &[
            "would lose the data of",
            "aws/us-east-1/ecr.repository/swept-test-idp",
            "aws/us-east-1/logs.group//ecs/swept-test-idp",
        ],
    );
    assert!(!said.contains("swept-prod"), "{said}");
    let losing = [
        APPLY,
        &[
            "--allow-data-loss",
            "aws/us-east-1/ecr.repository/swept-test-idp",
            "--allow-data-loss",
            "aws/us-east-1/logs.group//ecs/swept-test-idp",
        ],
    ]
    .concat();
    run(stage, &losing, "all", Exit::Success).await;
    assert_eq!(of_prod(stage).await, theirs);
    let all = world::of(stage).await;
    let names = all.iter().map(|thing| thing.name.as_str());
    let left: Vec<_> = names
        .filter(|name| name.contains("swept-test-idp"))
        .collect();
    assert_eq!(left, [] as [&str; 0]);
    for environment in [stage, &prod] {
        let plan = ["plan", "--detailed-exitcode"];
        run(environment, &plan, "all", Exit::Success).await;
    }
}

/// An app gets another name: it is another owner, and everything of before stays as it is.
async fn app(stage: &Stage) {
    first_serves(stage).await;
    let before = world::of(stage).await;
    stage.want(&Wanted::FIRST);
    rename(stage, "app = \"swept\"", "app = \"brushed\"");
    run(stage, APPLY, "all", Exit::Success).await;
    let after = world::of(stage).await;
    world::assert_same(&before, &after);
    assert!(after.len() > before.len());
}

async fn of_prod(stage: &Stage) -> Vec<Thing> {
    let all = world::of(stage).await;
    let theirs = all.into_iter();
    theirs.filter(|thing| thing.name.contains("prod")).collect()
}
