//! An undo says what is so: nothing is called put back, harmless or absent that is not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};

use crate::ecs::OVERLAY;
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, picture, run, says, unhealthy};

crate::tests! {
    an_undo_does_not_call_a_cache_that_was_made_anew_as_before => cache_made_anew,
    an_undo_does_not_call_a_cache_that_is_gone_deleted_as_asked => cache_gone,
    an_undo_tells_a_password_that_it_cannot_put_back => password_stays,
    a_password_that_was_changed_before_a_version_died_needs_attention => password_changed,
    an_undo_believes_no_single_look_that_says_absent => not_seen_yet,
    an_undo_that_ecs_takes_back_is_none => taken_back,
}

const UNDO: [&str; 5] = ["apply", "--yes", "--no-verify", "--on-failure", "undo"];
const DATA: Wanted = Wanted {
    data: true,
    ..Wanted::FIRST
};

/// The same with the word that the cache may be lost.
fn undo_losing() -> Vec<&'static str> {
    let cache = "gcp/us-central1/redis.instance/swept-test-sessions";
    [&UNDO[..], &["--allow-data-loss", cache]].concat()
}

fn manifest(stage: &Stage) -> PathBuf {
    Path::new(&stage.file("beside", "")).with_file_name("deployer.toml")
}

/// A cache that keeps its name and is another one: what makes it so.
fn with_a_replica(stage: &Stage) {
    let path = manifest(stage);
    let text = std::fs::read_to_string(&path).expect("a manifest");
    let cache = "[caches.sessions]\n";
    let text = text.replace(cache, &format!("{cache}high_availability = true\n"));
    std::fs::write(path, text).expect("it can be written");
}

/// The cache is made anew with another AUTH string; the version that serves has the old one.
async fn cache_made_anew(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    with_a_replica(stage);
    stage.behave(unhealthy);
    let said = run(stage, &undo_losing(), "gcp", Exit::NeedsAttention).await;
    says(
        &said,
        &["redis.instance", "is not as before: it was made anew"],
    );
    assert!(!said.contains("harms nothing"), "{said}");
}

/// The cache is deleted and cannot be made again.
async fn cache_gone(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    with_a_replica(stage);
    stage
        .calls
        .deny("redis.projects.locations.instances.create");
    let said = run(stage, &undo_losing(), "gcp", Exit::NeedsAttention).await;
    stage.calls.arm(None);
    says(
        &said,
        &[
            "redis.instance",
            "is not as before: it was deleted to be made anew",
        ],
    );
    assert!(!said.contains("as the manifest says"), "{said}");
    run(stage, APPLY, "gcp", Exit::Success).await;
}

/// The version that serves logs in with the password of before.
async fn password_stays(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "all", Exit::Success).await;
    let value = stage.file("value", "a-password-of-another-kind-1");
    let set = ["secrets", "set", "main-password", "--file", &value];
    run(stage, &set, "all", Exit::Success).await;
    stage.want(&Wanted {
        data: true,
        ..SECOND
    });
    stage.behave(unhealthy);
    for (cloud, node) in [("aws", "rds.instance"), ("gcp", "sql.user")] {
        let said = run(stage, &UNDO, cloud, Exit::NeedsAttention).await;
        says(&said, &[node, "is not as before: its password"]);
        assert_serves(stage, cloud, 1).await;
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
}

/// Nothing is undone, and what serves cannot log in any more: that is not the cloud's own way back.
async fn password_changed(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "all", Exit::Success).await;
    let value = stage.file("value", "a-password-of-another-kind-1");
    let set = ["secrets", "set", "main-password", "--file", &value];
    run(stage, &set, "all", Exit::Success).await;
    stage.want(&Wanted {
        data: true,
        ..SECOND
    });
    stage.behave(unhealthy);
    for (cloud, node) in [("aws", "rds.instance"), ("gcp", "sql.user")] {
        let said = run(stage, APPLY, cloud, Exit::NeedsAttention).await;
        says(&said, &[node, "is not as before: its password"]);
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
}

/// Reads that lag for as long as the undo looks: what was made is not called absent, and is still
/// known as ours.
async fn not_seen_yet(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let mut rules = "[[fault]]\ncall = \"ecs:CreateService\"\nwhat = \"denied\"\n".to_owned();
    for call in [
        "secretsmanager:DescribeSecret",
        "secretsmanager:ListSecrets",
        "secretsmanager:BatchGetSecretValue",
        "logs:DescribeLogGroups",
        "ecr:DescribeRepositories",
    ] {
        rules.push_str(&format!(
            "\n[[fault]]\ncall = \"{call}\"\nwhat = \"stale\"\n"
        ));
    }
    stage.disturb(&rules).await;
    let said = run(stage, &UNDO, "aws", Exit::NeedsAttention).await;
    stage.disturb("").await;
    let picture = picture::take(stage).await;
    let kinds = ["secretsmanager secrets", "ecr repositories", "logs groups"];
    let there = |kind: &&str| picture.contains(&format!("aws {kind} "));
    assert!(kinds.iter().any(there), "{picture}\n{said}");
    for kind in ["secretsmanager.secret", "logs.log_group", "ecr.repository"] {
        let known = picture
            .lines()
            .any(|line| line.starts_with("ours ") && line.contains(kind));
        let as_before = said
            .lines()
            .any(|line| line.contains("as before:") && line.contains(kind));
        assert!(known || !as_before, "{kind}: {picture}\n{said}");
    }
    // The next run sees them, and a destroy deletes them.
    run(stage, DESTROY, "aws", Exit::Success).await;
    let picture = picture::take(stage).await;
    let things = picture::things(&picture).into_iter();
    let left = things.filter(|it| it.starts_with("aws ") && !it.starts_with("aws ecs families "));
    assert_eq!(left.collect::<Vec<_>>(), [] as [&str; 0], "{picture}");
}

/// The network is changed, and cannot be changed back: what is deployed for that dies, and ECS goes
/// back to the new network with the same task definition.
async fn taken_back(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let scales = "[services.idp]\nreplicas = { min = 1, max = 4 }\n";
    stage.file(
        OVERLAY,
        &format!("[targets.aws]\nassign_public_ip = true\n\n{scales}"),
    );
    let served = AtomicUsize::new(0);
    stage.behave(move |started| {
        let serves = started.purpose == Purpose::Serve;
        match serves && served.fetch_add(1, Ordering::SeqCst) > 0 {
            true => unhealthy(started),
            false => Behaviour::usual(started.purpose),
        }
    });
    let register = "application-autoscaling:RegisterScalableTarget";
    stage.calls.deny(register);
    let said = run(stage, &UNDO, "aws", Exit::NeedsAttention).await;
    stage.calls.arm(None);
    says(&said, &["ecs.service", "rolling back to deployment"]);
    assert!(!said.contains("as before: aws/us-east-1/ecs.service"));
}
