//! The main story on both clouds, through the binary: every step a user takes, in the order of a
//! first week.

use deployer_tests::deployer::{Finished, Running, exit};
use deployer_tests::idp::is_signed_by;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::recorder::Side;
use deployer_tests::report::Report;
use deployer_tests::sandbox::Sandbox;
use deployer_tests::wait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_service_lives_its_life_on_both_clouds() {
    let Some(prepared) = Prepared::find("a_service_lives_its_life_on_both_clouds") else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| manifest.extra_secrets = vec!["retired".to_owned()]);
    let story = &mut project;
    a_plan_shows_creates_and_writes_nothing(story);
    the_first_apply_serves_and_migrates_once(story);
    a_second_plan_and_apply_find_nothing_to_do(story);
    a_token_of_one_cloud_verifies_with_the_keys_of_the_other(story);
    a_new_version_serves_after_its_migration(story);
    a_release_that_serves_but_breaks_its_promise_is_told_as_that(story);
    a_broken_version_is_refused_and_the_one_before_goes_on_serving(story);
    a_rollback_serves_the_release_named_and_holds_the_other(story);
    releasing_the_hold_serves_the_newer_release_again(story);
    a_changed_secret_rolls_out(story);
    a_secret_removed_from_the_manifest_is_deleted(story);
    releases_and_logs_tell_what_happened(story);
    destroy_leaves_nothing_and_apply_works_again_at_once(story);
    no_secret_was_said_or_written(story);
    python::assert_valid(&prepared, &project.aws, Side::Aws);
    python::assert_valid(&prepared, &project.gcp, Side::Gcp);
}

fn a_plan_shows_creates_and_writes_nothing(story: &mut Project) {
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    let plan = story
        .deployer
        .run(&["plan", "--detailed-exitcode"])
        .exits(exit::CHANGES);
    plan.says("SANDBOX").says("+ ");
    let document = story
        .deployer
        .run(&["plan", "--json"])
        .exits(exit::SUCCESS)
        .json();
    assert_eq!(document["empty"], false);
    assert!(
        document["counts"]["create"].as_u64() > Some(8),
        "{}",
        document["counts"]
    );
    assert_eq!(document["counts"]["delete"], 0);
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
}

fn the_first_apply_serves_and_migrates_once(story: &mut Project) {
    let refused = story.deployer.run(&["apply"]).exits(exit::INPUT);
    refused.says("--yes");
    assert!(
        story
            .aws_database
            .query("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
            .is_empty()
    );
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    assert_serves(story, "1.0.0");
    assert_eq!(migrations(story), [vec!["1.0.0"], vec!["1.0.0"]]);
    story.deployer.run(&["status"]).exits(exit::SUCCESS);
}

fn a_second_plan_and_apply_find_nothing_to_do(story: &mut Project) {
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    story
        .deployer
        .run(&["plan", "--detailed-exitcode"])
        .exits(exit::SUCCESS);
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    assert_eq!(migrations(story), [vec!["1.0.0"], vec!["1.0.0"]]);
}

/// The clouds call it ready; what it answers is not what the manifest says that it must.
fn a_release_that_serves_but_breaks_its_promise_is_told_as_that(story: &mut Project) {
    story.change(|manifest| manifest.promise = Some("never said".to_owned()));
    let broken = story.deployer.run(&["apply", "--yes"]);
    broken
        .exits(exit::UNVERIFIED)
        .says("never said")
        .says("/health");
    story.change(|manifest| manifest.promise = None);
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
}

fn a_token_of_one_cloud_verifies_with_the_keys_of_the_other(story: &mut Project) {
    let (aws, gcp) = (story.on_aws(), story.on_gcp());
    assert!(is_signed_by(&aws.token(&story.client_secret), &gcp.keys()));
    assert!(is_signed_by(&gcp.token(&story.client_secret), &aws.keys()));
}

fn the_new_versions_lines_arrive(follower: Running) {
    wait::until(
        "a line of each new container",
        Duration::from_secs(60),
        || {
            let lines = follower.stdout();
            let clouds = ["aws", "gcp"].map(|cloud| {
                let of_the_new_one = |line: &&str| {
                    line.contains(&format!("\"cloud\":\"{cloud}\"")) && line.contains("2.0.0")
                };
                lines.lines().any(|line| of_the_new_one(&line))
            });
            (clouds == [true, true]).then_some(())
        },
    );
    follower.signal("INT");
    let lines = follower.finish().exits(exit::INTERRUPTED).json_lines();
    let mut once = std::collections::HashSet::new();
    for line in &lines {
        assert!(once.insert(line.to_string()), "printed twice: {line}");
    }
}

fn a_new_version_serves_after_its_migration(story: &mut Project) {
    story.use_version("2.0.0");
    let follower = story.deployer.start(&["logs", "--follow", "--json"], "");
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    let applied = story
        .deployer
        .run(&["apply", "--yes", "--json"])
        .exits(exit::SUCCESS);
    assert!(!applied.json_lines().is_empty());
    assert_serves(story, "2.0.0");
    the_new_versions_lines_arrive(follower);
    assert_eq!(
        migrations(story),
        [vec!["1.0.0", "2.0.0"], vec!["1.0.0", "2.0.0"]]
    );
    // The least that the clouds allow for a code-only redeployment.
    let mut api_writes = aws.writes();
    api_writes.retain(|name| name.starts_with("ecs:"));
    assert_eq!(
        api_writes,
        [
            "ecs:RegisterTaskDefinition",
            "ecs:RunTask",
            "ecs:UpdateService"
        ]
    );
    let mut api_writes = gcp.writes();
    api_writes.retain(|name| name.contains("/v2/projects/"));
    assert_eq!(
        api_writes.len(),
        3,
        "job update, run, service update: {api_writes:?}"
    );
}

fn a_broken_version_is_refused_and_the_one_before_goes_on_serving(story: &mut Project) {
    let serves = ["aws", "gcp"].map(|cloud| latest_revision(story, cloud));
    story.use_version("3.0.0");
    let refused = story
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::ROLLED_BACK);
    the_report_tells_why_and_what_to_do(story, &refused, serves);
    assert_serves(story, "2.0.0");
    let releases = releases(story, "aws");
    assert!(
        releases.iter().all(|release| release["tag"] != "3.0.0"),
        "a release that never served"
    );
    story.use_version("2.0.0");
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    assert_serves(story, "2.0.0");
}

/// Each cloud in its own words: the one put back what served before, the other one never stopped to
/// serve it.
fn the_report_tells_why_and_what_to_do(story: &Project, refused: &Finished, serves: [String; 2]) {
    let name = story.manifest.service_name();
    let [before, on_gcp] = serves;
    let (_, revision) = before.rsplit_once('/').expect("it is an ARN");
    let unhealthy = r#""route":"/health","status":500"#;
    let put_back = "failed and put back";
    // Both clouds failed: one command is for both.
    let next = [
        "deployer logs idp --since 10m",
        "deployer apply    # once the cause is mended",
    ];
    // It looks while ECS rolls back, or after: the words of the roll-out differ.
    Report::of(refused, "aws", "idp")
        .fails(
            put_back,
            &format!("{put_back}: {revision} is to serve now, not {name}:"),
        )
        .knows(
            "task stopped: Task failed container health checks, `idp` exited with 0",
            "at ",
        )
        .knows("check: ", "every 5s")
        .knows("│ ", unhealthy)
        .serves(revision)
        .ends(&next);
    Report::of(refused, "gcp", "idp")
        .fails("failed", "REVISION_FAILED: ")
        .fails("failed", "container failed to start and listen on the port")
        .knows("│ ", unhealthy)
        .knows("│ ", "STARTUP HTTP probe failed for container on port 3000")
        .serves(&on_gcp)
        .ends(&next);
}

#[track_caller]
fn latest_revision(story: &Project, cloud: &str) -> String {
    let releases = releases(story, cloud);
    let newest = releases
        .iter()
        .max_by_key(|release| release["number"].as_u64());
    let revision = newest.and_then(|release| release["revision"].as_str());
    revision.expect("a release has a revision").to_owned()
}

fn a_rollback_serves_the_release_named_and_holds_the_other(story: &mut Project) {
    story
        .deployer
        .run(&["rollback", "--cloud", "gcp", "--to", "r1", "--yes"])
        .exits(exit::SUCCESS);
    assert_eq!(story.on_gcp().version(), "1.0.0");
    assert_eq!(story.on_aws().version(), "2.0.0");
    story
        .deployer
        .run(&["rollback", "--cloud", "aws", "--to", "r1", "--yes"])
        .exits(exit::SUCCESS);
    assert_serves(story, "1.0.0");
    assert_eq!(
        migrations(story)[0]
            .iter()
            .filter(|version| *version == "1.0.0")
            .count(),
        1
    );
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    story
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::HELD)
        .says("hold");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    assert_serves(story, "1.0.0");
}

fn releasing_the_hold_serves_the_newer_release_again(story: &mut Project) {
    story
        .deployer
        .run(&["apply", "--yes", "--release-hold"])
        .exits(exit::SUCCESS);
    assert_serves(story, "2.0.0");
    let migrated = migrations(story);
    assert_eq!(
        migrated[0]
            .iter()
            .filter(|version| *version == "2.0.0")
            .count(),
        1,
        "{migrated:?}"
    );
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
}

fn a_changed_secret_rolls_out(story: &mut Project) {
    let before = revisions(story);
    let changed = format!("changed-{}", story.client_secret);
    story.deployer = story.deployer.with("IDP_CLIENT_SECRET", &changed);
    let plan = story
        .deployer
        .run(&["plan", "--detailed-exitcode"])
        .exits(exit::CHANGES);
    plan.does_not_say(&changed);
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    let after = revisions(story);
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before != after),
        "{before:?} {after:?}"
    );
    assert_serves(story, "2.0.0");
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
}

fn a_secret_removed_from_the_manifest_is_deleted(story: &mut Project) {
    // While a rollback goes to a release that pins it, it stays.
    story.change(|manifest| manifest.extra_secrets.clear());
    let plan = story.deployer.run(&["plan", "--json"]).json();
    assert_eq!(plan["counts"]["delete"], 0, "{}", plan["counts"]);
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
    story.change(|manifest| manifest.greeting = "good night".to_owned());
    let plan = story
        .deployer
        .run(&["plan", "--json"])
        .exits(exit::SUCCESS)
        .json();
    // The secret on each cloud, and on Google the access to it.
    assert_eq!(plan["counts"]["delete"], 3, "{}", plan["counts"]);
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    let listed = story
        .deployer
        .run(&["secrets", "list"])
        .exits(exit::SUCCESS);
    listed.does_not_say("retired").says("client-secret");
    let about = story.on_aws().about();
    assert!(
        !about["environment"].to_string().contains("RETIRED"),
        "{about}"
    );
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
}

fn releases_and_logs_tell_what_happened(story: &mut Project) {
    for cloud in ["aws", "gcp"] {
        let releases = releases(story, cloud);
        let numbers: Vec<u64> = releases
            .iter()
            .filter_map(|it| it["number"].as_u64())
            .collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(
            sorted.len(),
            numbers.len(),
            "numbers are unique: {numbers:?}"
        );
        assert!(
            releases.iter().any(|release| release["rollback_to"] == 1),
            "the rollback is a release"
        );
    }
    story
        .deployer
        .run(&["releases"])
        .exits(exit::SUCCESS)
        .says("r1")
        .says("2.0.0");
    for cloud in ["aws", "gcp"] {
        let logs = story
            .deployer
            .run(&["logs", "--cloud", cloud, "--since", "1d"])
            .exits(exit::SUCCESS);
        logs.says("answered");
    }
}

fn destroy_leaves_nothing_and_apply_works_again_at_once(story: &mut Project) {
    story
        .deployer
        .run(&["destroy", "--allow-data-loss", "all"])
        .exits(exit::INPUT)
        .says("--yes");
    assert_serves(story, "2.0.0");
    story
        .deployer
        .run(&["destroy", "--yes", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
    assert_eq!(
        python::leftovers(&story.prepared, &story.sandbox, &story.manifest.app),
        Vec::<String>::new()
    );
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    story
        .deployer
        .run(&["destroy", "--yes", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    assert_serves(story, "2.0.0");
    assert_eq!(
        story.deployer.run(&["plan", "--json"]).json()["empty"],
        true
    );
}

fn no_secret_was_said_or_written(story: &mut Project) {
    story
        .deployer
        .run(&["plan", "--out", "plan.json"])
        .exits(exit::SUCCESS);
    story.assert_no_secret_escaped(&[&format!("changed-{}", story.client_secret)]);
}

#[track_caller]
fn assert_serves(story: &Project, version: &str) {
    assert_eq!(story.on_aws().version(), version, "on AWS");
    assert_eq!(story.on_gcp().version(), version, "on Google Cloud");
}

#[track_caller]
fn migrations(story: &Project) -> [Vec<String>; 2] {
    [
        story.aws_database.migrations_run(),
        story.gcp_database.migrations_run(),
    ]
}

#[track_caller]
fn releases(story: &Project, cloud: &str) -> Vec<Value> {
    let answer = story
        .deployer
        .run(&["releases", "--json", "--cloud", cloud])
        .exits(exit::SUCCESS);
    let releases = answer.json()[0]["releases"].as_array().cloned();
    releases.expect("there is a list of releases")
}

#[track_caller]
fn revisions(story: &Project) -> Vec<Value> {
    let status = story.status();
    status
        .values()
        .map(|entry| entry["serving"]["wanted"].clone())
        .collect()
}
