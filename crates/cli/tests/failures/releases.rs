//! What the releases say is what serves, and a rollback goes to what served before, once.

// long: one story of a service from release to release

use std::path::{Path, PathBuf};
use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Started};
use reqwest::Method;
use serde_json::Value;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, PROJECT, Stage, Wanted};
use crate::{
    APPLY, DESTROY, SECOND, assert_serves, clouds, ecs, first_serves, picture, run, says, unhealthy,
};

crate::tests! {
    a_second_rollback_leaves_the_hold_of_the_first_in_force => holds_are_a_set,
    a_release_is_recorded_when_it_serves_whatever_becomes_of_the_one_beside_it => beside_a_failure,
    a_release_is_recorded_when_it_serves_although_a_delete_is_refused => beside_a_refused_delete,
    a_rollback_after_a_killed_apply_goes_to_what_served_before_it => killed_before_the_record,
    a_rollback_that_is_typed_again_after_a_kill_goes_back_once => typed_again,
    a_release_that_was_rejected_is_not_where_a_rollback_goes => rejected,
    another_label_is_no_other_release_to_go_back_to => only_another_label,
    a_tag_that_meant_two_images_is_asked_about_and_what_serves_already_is_told => named,
    a_word_that_means_two_contents_makes_neither_serve => two_contents,
    a_content_with_a_targets_own_part_has_an_id_of_its_own_and_is_found_by_it => own_content,
    what_mends_a_rejected_release_lifts_its_hold => mended,
    a_rollback_that_one_cloud_refused_is_finished_there_by_the_same_words => refused_on_one,
    a_rollback_says_what_it_does_not_restore_and_only_that => not_restored,
    a_rollback_looks_at_the_secrets_first => pins_are_looked_at,
    a_secret_that_the_release_before_pins_stays_until_a_rollback_goes_elsewhere => pinned_before,
    what_another_hand_changed_goes_back_to_the_release_that_it_changed => by_another_hand,
    what_an_undo_put_back_is_what_the_releases_say => after_an_undo,
    a_rollback_that_names_no_release_goes_one_back => one_back,
    a_release_from_before_a_destroy_is_refused_before_anything_is_done => gone_revision,
}

const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];
const THIRD: Wanted = Wanted {
    version: 3,
    ..Wanted::FIRST
};
const FOURTH: Wanted = Wanted {
    version: 4,
    ..Wanted::FIRST
};

/// The first two versions serve one after another; the images of two more are there.
async fn two_served(stage: &Stage) {
    first_serves(stage).await;
    for version in 3..=4 {
        stage.write_image(version, "amd64");
    }
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
}

/// The number of the release that `releases` says serves a service on a cloud.
async fn said_to_serve(stage: &Stage, cloud: &str, service: &str) -> Option<u64> {
    let said = run(stage, &["releases", "--json"], cloud, Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let of_it = document.as_array().expect("an array").iter();
    let mut of_it = of_it.filter(|it| it["service"] == service);
    of_it.next().expect("it is listed")["serves"].as_u64()
}

/// A second rollback leaves the hold of the first in force.
async fn holds_are_a_set(stage: &Stage) {
    two_served(stage).await;
    stage.want(&THIRD);
    // On the second cloud the third version has the number of its last release on the first one.
    for (cloud, twice) in [("aws", "r5 serves ("), ("gcp", "r9 serves (")] {
        stage.want(&THIRD);
        run(stage, APPLY, cloud, Exit::Success).await;
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 2).await;
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
        for rejected in [THIRD, SECOND] {
            stage.want(&rejected);
            for words in [APPLY, &["plan"]] {
                let exit = match words.first() {
                    Some(&"plan") => Exit::Success,
                    _ => Exit::Held,
                };
                let said = run(stage, words, cloud, exit).await;
                says(&said, &["`idp` is on hold and left as it is", twice]);
                assert!(!said.contains("nothing of this environment"), "{said}");
            }
            // As people see it, and as a job is told before an apply would be.
            let asked = ["plan", "--detailed-exitcode"];
            run(stage, &asked, cloud, Exit::Held).await;
            let (_, said) = stage.run(&["plan"], cloud).await;
            says(&said, &["ON HOLD on ", "nothing to do, 1 service on hold"]);
            assert!(!said.contains("nothing of this environment"), "{said}");
            assert_serves(stage, cloud, 1).await;
        }
        // Another content is no held one, and lifts them all.
        stage.want(&FOURTH);
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 4).await;
        stage.want(&THIRD);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
}

fn s1_never_healthy(started: &Started) -> Behaviour {
    match started.env.contains_key("GREETING") {
        true => Behaviour::usual(started.purpose),
        false => unhealthy(started),
    }
}

/// A service that rolled out well is released, whatever became of the one beside it.
async fn beside_a_failure(stage: &Stage) {
    let both = |version: u32| Wanted {
        version,
        more_services: 1,
        ..Wanted::FIRST
    };
    stage.write_image(3, "amd64");
    for version in 1..=2 {
        stage.want(&both(version));
        run(stage, APPLY, "all", Exit::Success).await;
    }
    stage.behave(s1_never_healthy);
    // The second cloud counts on after what the first one has by then.
    for (cloud, third) in [("aws", 3), ("gcp", 5)] {
        stage.want(&both(3));
        let (ended, said) = stage.run(APPLY, cloud).await;
        let failed = [Exit::DeploymentFailed, Exit::RolledBack];
        assert!(
            matches!(ended, Ended::Exit(exit) if failed.contains(&exit)),
            "{said}"
        );
        assert_eq!(said_to_serve(stage, cloud, "idp").await, Some(third));
        assert_eq!(said_to_serve(stage, cloud, "s1").await, Some(2));
        let back = [BACK, &["idp"]].concat();
        run(stage, &back, cloud, Exit::Success).await;
        clouds::assert_serves(stage, cloud, "idp", 2).await;
        // That one service went back mends nothing of the other.
        let said = run(stage, &["status"], cloud, Exit::Untrue).await;
        says(&said, &["NEWER FAILED"]);
        // The bad one is on hold, and the good one is not.
        stage.behave(|started| Behaviour::usual(started.purpose));
        run(stage, APPLY, cloud, Exit::Held).await;
        clouds::assert_serves(stage, cloud, "idp", 2).await;
        clouds::assert_serves(stage, cloud, "s1", 3).await;
        stage.behave(s1_never_healthy);
    }
}

/// A delete that is refused afterwards keeps no release from being recorded.
async fn beside_a_refused_delete(stage: &Stage) {
    for version in 3..=4 {
        stage.write_image(version, "amd64");
    }
    let old = |version: u32| Wanted {
        version,
        old_secret: true,
        ..Wanted::FIRST
    };
    for version in 1..=2 {
        stage.want(&old(version));
        run(stage, APPLY, "aws", Exit::Success).await;
    }
    // While a rollback goes to a release that pins it, the secret stays.
    stage.want(&THIRD);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.want(&FOURTH);
    stage.calls.deny("secretsmanager:DeleteSecret");
    run(stage, APPLY, "aws", Exit::Denied).await;
    stage.calls.arm(None);
    assert_eq!(said_to_serve(stage, "aws", "idp").await, Some(4));
    run(stage, BACK, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 3).await;
}

/// Killed at any write of an apply: whatever serves then, a rollback goes to what served before
/// that.
async fn killed_before_the_record(stage: &Stage) {
    first_serves(stage).await;
    let mut versions = 3..;
    for cloud in ["aws", "gcp"] {
        stage.want(&SECOND);
        stage.ledger.arm(None);
        run(stage, APPLY, cloud, Exit::Success).await;
        let writes = stage.ledger.writes();
        for nth in [writes - 4, writes - 2, writes - 1, writes] {
            let version = versions.next().expect("there are more numbers");
            stage.write_image(version, "amd64");
            stage.want(&Wanted {
                version,
                ..Wanted::FIRST
            });
            stage.ledger.arm(Some(Crash::Before(nth)));
            let (ended, said) = stage.run(APPLY, cloud).await;
            assert!(matches!(ended, Ended::Killed), "{said}");
            stage.ledger.arm(None);
            stage.time.pass(Duration::from_secs(300)).await;
            assert_serves(stage, cloud, version).await;
            let said = run(stage, BACK, cloud, Exit::Success).await;
            says(&said, &["is on hold"]);
            assert_serves(stage, cloud, 2).await;
            run(stage, APPLY, cloud, Exit::Held).await;
            assert_serves(stage, cloud, 2).await;
            stage.want(&SECOND);
            run(stage, APPLY, cloud, Exit::Success).await;
        }
    }
}

/// Typed again after a kill at any of its writes, a rollback goes back once.
async fn typed_again(stage: &Stage) {
    two_served(stage).await;
    stage.want(&THIRD);
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        stage.ledger.arm(None);
        run(stage, BACK, cloud, Exit::Success).await;
        let writes = stage.ledger.writes();
        assert!(writes > 8, "{writes}");
        // Both clouds go through the same writes.
        let step = if cloud == "aws" { 1 } else { 3 };
        for nth in (1..=writes).step_by(step) {
            for crash in [Crash::Before(nth), Crash::After(nth)] {
                let forward = [APPLY, &["--release-hold"]].concat();
                run(stage, &forward, cloud, Exit::Success).await;
                assert_serves(stage, cloud, 3).await;
                stage.ledger.arm(Some(crash));
                let (ended, said) = stage.run(BACK, cloud).await;
                stage.ledger.arm(None);
                assert!(matches!(ended, Ended::Killed), "{said}");
                stage.time.pass(Duration::from_secs(300)).await;
                // Whoever was told that it serves does not type it again.
                if !said.contains("is on hold") {
                    run(stage, BACK, cloud, Exit::Success).await;
                }
                assert_serves(stage, cloud, 2).await;
            }
        }
    }
}

/// A release that a person rejected is not where the next rollback goes.
async fn rejected(stage: &Stage) {
    two_served(stage).await;
    for cloud in ["aws", "gcp"] {
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
        stage.want(&THIRD);
        run(stage, APPLY, cloud, Exit::Success).await;
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
        stage.want(&SECOND);
    }
}

fn manifest(stage: &Stage) -> PathBuf {
    Path::new(&stage.file("beside", "")).with_file_name("deployer.toml")
}

fn replace(stage: &Stage, old: &str, new: &str) {
    let path = manifest(stage);
    let text = std::fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(old), "{text}");
    std::fs::write(path, text.replace(old, new)).expect("it can be written");
}

/// A label of its own makes a revision on Google, and no other content.
async fn only_another_label(stage: &Stage) {
    first_serves(stage).await;
    for (cloud, commit) in [
        ("aws", "one"),
        ("gcp", "one"),
        ("aws", "two"),
        ("gcp", "two"),
    ] {
        stage.want(&SECOND);
        let app = "app = \"swept\"\n";
        replace(
            stage,
            app,
            &format!("{app}tags = {{ commit = \"{commit}\" }}\n"),
        );
        run(stage, APPLY, cloud, Exit::Success).await;
    }
    for cloud in ["aws", "gcp"] {
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
    }
}

/// A tag that meant two images, and a release that serves already.
async fn named(stage: &Stage) {
    first_serves(stage).await;
    let first = stage.digest(1);
    // Another image under the first one's tag.
    let from = Path::new(&stage.file("beside", "")).with_file_name("image-2");
    copy(&from, &from.with_file_name("image-1"));
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, third) in [("aws", "r3"), ("gcp", "r5")] {
        let to = |word: &'static str| [BACK, &["--to", word]].concat();
        let said = run(stage, &to("image-1"), cloud, Exit::Input).await;
        says(
            &said,
            &["means several releases", "r1", "r2", "--to r2 or --to r1"],
        );
        stage.calls.arm(None);
        let said = run(stage, &to("r2"), cloud, Exit::Success).await;
        says(&said, &["r2 serves already"]);
        assert_eq!(stage.calls.writes(), [] as [&str; 0]);
        assert!(!stage.has_hold().await, "{said}");
        run(stage, &to("r1"), cloud, Exit::Success).await;
        let (_, said) = stage.run(&["status", "--json"], cloud).await;
        says(&said, &[&first]);
        // The third makes the first serve again: that is what `r1` means too.
        let said = run(stage, &to("r1"), cloud, Exit::Success).await;
        says(&said, &[&format!("r1 serves already, as {third}")]);
        let forward = [APPLY, &["--release-hold"]].concat();
        run(stage, &forward, cloud, Exit::Success).await;
        stage.ledger.arm(None);
        let holds = stage.has_hold().await;
        assert!(!holds, "{cloud}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let into = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &into),
            false => {
                std::fs::copy(entry.path(), into).expect("a copy");
            }
        }
    }
}

/// One word that means two contents makes neither serve.
async fn two_contents(stage: &Stage) {
    first_serves(stage).await;
    stage.write_image(3, "amd64");
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.want(&THIRD);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.calls.arm(None);
    let said = run(stage, BACK, "all", Exit::Input).await;
    says(
        &said,
        &[
            "is not the same on every target",
            "--cloud aws or --cloud gcp",
        ],
    );
    assert_eq!(stage.calls.writes(), [] as [&str; 0]);
    run(stage, BACK, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    run(stage, BACK, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
}

/// The ids of the contents of a cloud's releases, oldest first.
async fn contents(stage: &Stage, cloud: &str) -> Vec<String> {
    let said = run(stage, &["releases", "--json"], cloud, Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let releases = document[0]["releases"].as_array().expect("an array");
    let ids = releases.iter().rev().map(|it| it["content_id"].as_str());
    ids.map(|id| id.expect("an id").to_owned()).collect()
}

/// The id of a content covers what is a target's own. On the other target it means what both have.
async fn own_content(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&Wanted {
        internal: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let (aws, gcp) = (contents(stage, "aws").await, contents(stage, "gcp").await);
    assert_eq!((aws.len(), gcp.len()), (2, 3));
    assert_eq!((&aws[0], &aws[1]), (&gcp[0], &gcp[2]));
    assert_ne!(gcp[0], gcp[1]);
    run(
        stage,
        &[BACK, &["--to", &gcp[1]]].concat(),
        "all",
        Exit::Success,
    )
    .await;
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 1).await;
    }
    let (aws_now, gcp_now) = (contents(stage, "aws").await, contents(stage, "gcp").await);
    assert_eq!(aws_now.last(), Some(&aws[0]));
    assert_eq!(gcp_now.last(), Some(&gcp[1]));
}

/// What mends a rejected release is another content, also where it is a secret or the target's own
/// section.
async fn mended(stage: &Stage) {
    two_served(stage).await;
    for cloud in ["aws", "gcp"] {
        run(stage, BACK, cloud, Exit::Success).await;
        run(stage, APPLY, cloud, Exit::Held).await;
        stage.want(&Wanted {
            mail_password: "mail mended",
            ..SECOND
        });
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 2).await;
        stage.want(&SECOND);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
    run(stage, BACK, "gcp", Exit::Success).await;
    run(stage, BACK, "gcp", Exit::Success).await;
    stage.want(&Wanted {
        internal: true,
        ..SECOND
    });
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
}

/// A release whose secret is gone is refused before anything is changed.
async fn pins_are_looked_at(stage: &Stage) {
    stage.want(&Wanted {
        old_secret: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    delete_old(stage).await;
    for cloud in ["aws", "gcp"] {
        stage.calls.arm(None);
        let said = run(stage, BACK, cloud, Exit::Failure).await;
        says(
            &said,
            &["r1 of `idp` cannot serve again", "`OLD`", "secret `old`"],
        );
        assert_eq!(stage.calls.writes(), [] as [&str; 0], "{said}");
        assert!(!stage.has_hold().await, "{said}");
        assert_serves(stage, cloud, 2).await;
    }
}

/// The cloud on which it went stays where it is, and goes no step further.
async fn refused_on_one(stage: &Stage) {
    two_served(stage).await;
    stage.want(&THIRD);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.calls.deny("run.projects.locations.services.patch");
    run(stage, BACK, "all", Exit::Denied).await;
    stage.calls.arm(None);
    assert_serves(stage, "aws", 2).await;
    assert_serves(stage, "gcp", 3).await;
    run(stage, BACK, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 2).await;
    }
    // That was one rollback: the next one is another.
    run(stage, BACK, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 1).await;
    }
}

/// ECS keeps its count of tasks beside the definition; a revision of Cloud Run has its size with
/// it. What the target's own section says of ingress stays on both.
async fn not_restored(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&Wanted {
        replicas: 2,
        internal: true,
        ..SECOND
    });
    run(stage, APPLY, "all", Exit::Success).await;
    let size = "its size stays as it is: r1 ran 1 to 1 instances";
    let one_line = |said: &str| said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = one_line(&run(stage, BACK, "aws", Exit::Success).await);
    says(&said, &[size]);
    let service = clouds::ecs_service(stage, "idp").await;
    assert_eq!(service.desired_count(), 2);
    let said = one_line(&run(stage, BACK, "gcp", Exit::Success).await);
    assert!(!said.contains(size), "{said}");
    let ingress = "network, ingress and load balancer stays as it is: r1 had it otherwise";
    says(&said, &[ingress]);
    let there = stage
        .google(Method::GET, &clouds::path_of("idp"), None)
        .await;
    assert_eq!(there["ingress"], "INGRESS_TRAFFIC_INTERNAL_ONLY");
    for (cloud, kept) in [("aws", size), ("gcp", ingress)] {
        let said = run(stage, &["releases", "--json"], cloud, Exit::Success).await;
        says(&said, &[kept]);
        run(stage, APPLY, cloud, Exit::Held).await;
    }
}

/// Another hand deletes the secret that the second version does not want any more.
async fn delete_old(stage: &Stage) {
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let gone = aws.delete_secret().secret_id("/swept/test/old");
    let gone = gone.force_delete_without_recovery(true).send().await;
    gone.expect("it is there");
    let path = format!("/v1/projects/{PROJECT}/secrets/swept-test-old");
    stage.google(Method::DELETE, &path, None).await;
}

/// What a plain rollback makes serve has its secrets, and the second plan is empty; another release
/// later they go.
async fn pinned_before(stage: &Stage) {
    for version in 3..=4 {
        stage.write_image(version, "amd64");
    }
    let plan = ["plan", "--detailed-exitcode"];
    stage.want(&Wanted {
        old_secret: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&SECOND);
    let said = run(stage, APPLY, "all", Exit::Success).await;
    says(
        &said,
        &["stays, although the manifest has it no more: r1 of `idp` pins it"],
    );
    run(stage, &plan, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
    }
    for version in [THIRD, FOURTH] {
        stage.want(&version);
        run(stage, APPLY, "all", Exit::Success).await;
        run(stage, &plan, "all", Exit::Success).await;
    }
    let picture = picture::take(stage).await;
    let things = picture::things(&picture).into_iter();
    let secrets = things.filter(|thing| thing.contains("secrets "));
    let old = |name: &&str| name.ends_with("test-old") || name.ends_with("test/old");
    let left: Vec<&str> = secrets.filter(old).collect();
    assert_eq!(left, [] as [&str; 0], "{picture}");
}

/// An environment variable that was changed by hand is no release: what is gone back to is what it
/// was changed from, and is on no hold.
async fn by_another_hand(stage: &Stage) {
    two_served(stage).await;
    let mut there = ecs::definition(stage, ecs::NAME).await;
    let containers = there.container_definitions.as_mut().expect("containers");
    let greeting = aws_sdk_ecs::types::KeyValuePair::builder();
    let greeting = greeting.name("GREETING").value("by hand").build();
    let variables = containers[0].environment.get_or_insert_default();
    variables.retain(|it| it.name() != Some("GREETING"));
    variables.push(greeting);
    ecs::register_and_deploy(stage, &there).await;
    let path = clouds::path_of("idp");
    let mut service = stage.google(Method::GET, &path, None).await;
    let variables = &mut service["template"]["containers"][0]["env"];
    for variable in variables.as_array_mut().expect("variables") {
        if variable["name"] == "GREETING" {
            variable["value"] = "by hand".into();
        }
    }
    stage.google(Method::PATCH, &path, Some(service)).await;
    stage.time.pass(Duration::from_secs(300)).await;
    for cloud in ["aws", "gcp"] {
        let said = run(stage, BACK, cloud, Exit::Success).await;
        assert!(!said.contains("is on hold"), "{said}");
        assert_serves(stage, cloud, 2).await;
        run(stage, APPLY, cloud, Exit::Success).await;
        let plan = ["plan", "--detailed-exitcode"];
        run(stage, &plan, cloud, Exit::Success).await;
        run(stage, BACK, cloud, Exit::Success).await;
        assert_serves(stage, cloud, 1).await;
    }
}

/// What an undo put back is what `releases` says serves, and the next rollback goes from there.
async fn after_an_undo(stage: &Stage) {
    let both = |version: u32| Wanted {
        version,
        more_services: 1,
        ..Wanted::FIRST
    };
    stage.write_image(3, "amd64");
    for version in 1..=2 {
        stage.want(&both(version));
        run(stage, APPLY, "all", Exit::Success).await;
    }
    stage.behave(s1_never_healthy);
    stage.want(&both(3));
    for (cloud, again) in [("aws", 4), ("gcp", 7)] {
        let undo = [APPLY, &["--on-failure", "undo"]].concat();
        let (said, ()) = tokio::join!(
            run(stage, &undo, cloud, Exit::RolledBack),
            clouds::until_serves(stage, cloud, "idp", 3),
        );
        clouds::assert_serves(stage, cloud, "idp", 2).await;
        let serves = said_to_serve(stage, cloud, "idp").await;
        assert_eq!(serves, Some(again), "{said}");
        run(stage, &["status", "idp"], cloud, Exit::Success).await;
        let back = [BACK, &["idp"]].concat();
        run(stage, &back, cloud, Exit::Success).await;
        clouds::assert_serves(stage, cloud, "idp", 1).await;
    }
}

async fn one_back(stage: &Stage) {
    first_serves(stage).await;
    let back = ["rollback", "--yes", "--no-verify"];
    let said = run(stage, &back, "all", Exit::Input).await;
    says(&said, &["nothing to go back to on", "deployer releases"]);
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let said = run(stage, &back, "all", Exit::Success).await;
    says(&said, &["r2", "→ r1", "is on hold"]);
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 1).await;
    }
}

async fn gone_revision(stage: &Stage) {
    first_serves(stage).await;
    run(stage, DESTROY, "all", Exit::Success).await;
    stage.want(&SECOND);
    let said = run(stage, APPLY, "all", Exit::Success).await;
    assert!(!said.contains("  back: deployer"), "{said}");
    for cloud in ["aws", "gcp"] {
        stage.calls.arm(None);
        let back = ["rollback", "--yes", "--no-verify", "--to", "r1"];
        let said = run(stage, &back, cloud, Exit::Failure).await;
        says(
            &said,
            &["r1 of `idp` cannot serve again", "that makes a new release"],
        );
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
        assert!(!stage.has_hold().await, "{said}");
    }
}
