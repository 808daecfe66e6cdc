//! What a failed run did is put back where that is asked for, and who is told where it cannot be.

use std::collections::BTreeSet;

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Started};
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{Stage, Wanted};
use crate::{
    APPLY, SECOND, assert_serves, clouds, first_serves, json_lines, picture, run, says, unhealthy,
};

crate::tests! {
    undo_leaves_what_the_cloud_put_back_itself => by_the_cloud,
    undo_puts_back_a_service_that_was_rolled_out_well_before_another_one_failed => rolled_out,
    undo_of_a_first_apply_leaves_nothing => first_apply,
    undo_of_a_first_apply_leaves_what_holds_data_and_what_that_needs => first_apply_with_data,
    an_undo_that_fails_needs_attention_whatever_the_other_cloud_comes_to => needs_attention,
    an_undo_that_fails_needs_attention_in_json_and_in_the_journal => needs_attention_in_json,
    a_delete_that_is_refused_takes_back_no_release => after_a_refused_delete,
    a_migration_that_failed_half_way_is_not_called_put_back => half_migrated,
}

/// The service's node on each cloud.
const IDP: [(&str, &str); 2] = [
    ("aws", "aws/us-east-1/ecs.service/swept-test-idp"),
    ("gcp", "gcp/us-central1/run.service/swept-test-idp"),
];
/// The node of the service beside it.
const S1: [(&str, &str); 2] = [
    ("aws", "aws/us-east-1/ecs.service/swept-test-s1"),
    ("gcp", "gcp/us-central1/run.service/swept-test-s1"),
];
const UNDO: [&str; 5] = ["apply", "--yes", "--no-verify", "--on-failure", "undo"];
const BOTH: Wanted = Wanted {
    more_services: 1,
    ..Wanted::FIRST
};

/// Both services in another version, the one also of another size and closed.
fn next(version: u32) -> Wanted {
    Wanted {
        version,
        replicas: 2,
        internal: true,
        ..BOTH
    }
}

/// Nothing is wrong with `idp`; `s1` has no variables, and is never healthy.
fn s1_never_healthy(started: &Started) -> Behaviour {
    match started.env.contains_key("GREETING") {
        true => Behaviour::usual(started.purpose),
        false => unhealthy(started),
    }
}

/// What the cloud put back by itself counts as put back.
async fn by_the_cloud(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.want(&SECOND);
    for (cloud, idp) in IDP {
        let said = run(stage, &UNDO, cloud, Exit::RolledBack).await;
        says(&said, &[&format!("{cloud}: as before: {idp}"), "stays:"]);
        assert_serves(stage, cloud, 1).await;
    }
}

/// A service that was rolled out well is put back because another one failed.
async fn rolled_out(stage: &Stage) {
    stage.want(&BOTH);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.behave(s1_never_healthy);
    stage.want(&next(2));
    for (cloud, idp) in IDP {
        let (said, ()) = tokio::join!(
            run(stage, &UNDO, cloud, Exit::RolledBack),
            clouds::until_serves(stage, cloud, "idp", 2),
        );
        says(&said, &[&format!("{cloud}: as before: {idp}")]);
        for service in ["idp", "s1"] {
            clouds::assert_serves(stage, cloud, service, 1).await;
        }
        run(stage, &["status"], cloud, Exit::Success).await;
    }
    assert_eq!(
        size_and_ingress(stage).await,
        (1, json!("INGRESS_TRAFFIC_ALL"))
    );
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, _) in IDP {
        for service in ["idp", "s1"] {
            clouds::assert_serves(stage, cloud, service, 2).await;
        }
    }
    let internal = json!("INGRESS_TRAFFIC_INTERNAL_ONLY");
    assert_eq!(size_and_ingress(stage).await, (2, internal));
}

/// How many tasks ECS is to run, and whom Cloud Run lets in.
async fn size_and_ingress(stage: &Stage) -> (i32, Value) {
    let service = clouds::ecs_service(stage, "idp").await;
    let path = clouds::path_of("idp");
    let there = stage.google(Method::GET, &path, None).await;
    (service.desired_count(), there["ingress"].clone())
}

/// Each thing that the clouds hold and the ledger calls ours, but for what is deleted and only kept
/// for a while.
async fn left(stage: &Stage) -> Vec<String> {
    let picture = picture::take(stage).await;
    let things = picture::things(&picture).into_iter().filter(|thing| {
        let whose = ["aws ", "gcp ", "ours "];
        whose.iter().any(|whose| thing.starts_with(whose))
    });
    things.map(str::to_owned).collect()
}

/// The addresses that the report says stay on a cloud, with why.
fn stays<'a>(said: &'a str, cloud: &str) -> BTreeSet<(&'a str, &'a str)> {
    let here = format!("{cloud}: ");
    let lines = said.lines().filter_map(|line| line.strip_prefix(&here));
    lines.filter_map(|it| it.split_once(" stays: ")).collect()
}

const COPIED: &str = "one image more in the registry is in nobody's way";
const MIGRATED: &str = "the database stays migrated";

/// Nothing that a first apply made is left, in the clouds and in the ledger. The secret that names
/// the database is made anew by the next apply, which so migrates another database.
async fn first_apply(stage: &Stage) {
    stage.behave(unhealthy);
    stage.want(&Wanted::FIRST);
    let said = run(stage, &UNDO, "all", Exit::RolledBack).await;
    let kept = |cloud: &str, image: &'static str, migration: &'static str| {
        assert_eq!(
            stays(&said, cloud),
            BTreeSet::from([(image, COPIED), (migration, MIGRATED)]),
            "{said}"
        );
    };
    kept(
        "aws",
        "aws/us-east-1/ecr.image/swept-test-idp",
        "aws/us-east-1/ecs.migration/swept-test-idp",
    );
    kept(
        "gcp",
        "gcp/us-central1/artifactregistry.image/swept-test/idp",
        "gcp/us-central1/run.migration/swept-test-idp-migrate",
    );
    assert_eq!(left(stage).await, Vec::<String>::new(), "{said}");
    stage.behave(|started| Behaviour::usual(started.purpose));
    let before = stage.containers.started().len();
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, _) in IDP {
        clouds::assert_serves(stage, cloud, "idp", 1).await;
    }
    let started = stage.containers.started();
    let databases = |purpose: Purpose, among: &[Started]| -> BTreeSet<String> {
        let among = among.iter().filter(|it| it.purpose == purpose);
        among.map(|it| it.env["DATABASE_URL"].clone()).collect()
    };
    let (serving, migrated) = (
        databases(Purpose::Serve, &started[before..]),
        databases(Purpose::Finish, &started),
    );
    assert_eq!(serving.len(), 2, "one on each cloud");
    assert!(serving.is_subset(&migrated), "what serves was migrated");
}

/// What holds data stays, with what it needs, and is what the next apply goes on with.
async fn first_apply_with_data(stage: &Stage) {
    stage.behave(unhealthy);
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    let said = run(stage, &UNDO, "all", Exit::RolledBack).await;
    let (data, needed) = ("it holds data", "swept-test-main stays and needs it");
    let expected = [
        ("aws/us-east-1/ecr.image/swept-test-idp", COPIED),
        ("aws/us-east-1/ecs.migration/swept-test-idp", MIGRATED),
        ("aws/us-east-1/rds.instance/swept-test-main", data),
        (
            "aws/us-east-1/rds.parameter_group/swept-test-main-postgres16",
            needed,
        ),
        ("aws/us-east-1/rds.subnet_group/swept-test-main", needed),
        (
            "aws/us-east-1/secretsmanager.secret//swept/test/main-password",
            needed,
        ),
    ];
    assert_eq!(stays(&said, "aws"), BTreeSet::from(expected), "{said}");
    let expected = [
        (
            "gcp/us-central1/artifactregistry.image/swept-test/idp",
            COPIED,
        ),
        (
            "gcp/us-central1/run.migration/swept-test-idp-migrate",
            MIGRATED,
        ),
        ("gcp/us-central1/sql.user/swept-test-main/swept", data),
        ("gcp/us-central1/sql.database/swept-test-main/swept", data),
        ("gcp/us-central1/sql.instance/swept-test-main", data),
        (
            "gcp/us-central1/secretmanager.secret/swept-test-main-password",
            needed,
        ),
    ];
    assert_eq!(stays(&said, "gcp"), BTreeSet::from(expected), "{said}");
    assert_eq!(left(stage).await, LEFT_WITH_DATA, "{said}");
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, _) in IDP {
        clouds::assert_serves(stage, cloud, "idp", 1).await;
    }
}

/// The databases, and what nobody would get at them or make them again without.
const LEFT_WITH_DATA: [&str; 14] = [
    "aws rds instances swept-test-main",
    "aws rds parameter_groups swept-test-main-postgres16",
    "aws rds subnet_groups swept-test-main",
    "aws secretsmanager secrets /swept/test/main-password",
    "gcp secretmanager secrets swept-test-main-password",
    "gcp sqladmin instances swept-test-main",
    "ours aws/us-east-1/rds.instance/swept-test-main",
    "ours aws/us-east-1/rds.parameter_group/swept-test-main-postgres16",
    "ours aws/us-east-1/rds.subnet_group/swept-test-main",
    "ours aws/us-east-1/secretsmanager.secret//swept/test/main-password",
    "ours gcp/us-central1/secretmanager.secret/swept-test-main-password",
    "ours gcp/us-central1/sql.database/swept-test-main/swept",
    "ours gcp/us-central1/sql.instance/swept-test-main",
    "ours gcp/us-central1/sql.user/swept-test-main/swept",
];

/// The calls of a cloud that make a service serve are denied from the third: both services were
/// rolled out by then.
async fn may_not_put_back(stage: &Stage, cloud: &str) {
    let call = match cloud {
        "aws" => "ecs:UpdateService",
        _ => "run.projects.locations.services.patch",
    };
    let rule = format!("[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\nnth = 3\ntimes = 9\n");
    stage.disturb(&rule).await;
}

/// From now on nothing is wrong; brings both clouds to where they should be.
async fn mend(stage: &Stage, version: u32) {
    stage.disturb("").await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
    for (cloud, _) in IDP {
        clouds::assert_serves(stage, cloud, "idp", version).await;
    }
    stage.behave(s1_never_healthy);
}

/// What each cloud says to who may not.
fn words_of(cloud: &str) -> &'static str {
    match cloud {
        "aws" => "is not authorized to perform: ecs:UpdateService",
        _ => "Permission 'run.services.update' denied",
    }
}

/// An undo that fails on one cloud is the worst that can be said, whatever the other one comes to.
async fn needs_attention(stage: &Stage) {
    stage.want(&BOTH);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.behave(s1_never_healthy);
    for (version, (cloud, idp)) in (2..).zip(IDP) {
        if version > 2 {
            stage.write_image(version, "amd64");
        }
        stage.want(&next(version));
        may_not_put_back(stage, cloud).await;
        let said = run(stage, &UNDO, "all", Exit::NeedsAttention).await;
        let (other, put_back) = IDP.into_iter().find(|it| it.0 != cloud).expect("another");
        let heading = format!("{cloud}: needs attention, not as before:");
        says(
            &said,
            &[
                &heading,
                &format!("{other}: as before: {put_back}"),
                "`deployer status --manifest ",
            ],
        );
        assert!(!said.contains(&format!("{other}: needs")), "{said}");
        let (_, attention) = said.split_once(&heading).expect("it is said");
        says(attention, &[idp, "error: not allowed: ", words_of(cloud)]);
        clouds::assert_serves(stage, cloud, "idp", version).await;
        clouds::assert_serves(stage, other, "idp", version - 1).await;
        // What could not be put back serves, and is on record as serving; that the other service's
        // attempt failed is told as well.
        run(stage, &["status"], cloud, Exit::Untrue).await;
        run(stage, &["status"], other, Exit::Success).await;
        mend(stage, version).await;
    }
}

/// The same for programs, and in the journal.
async fn needs_attention_in_json(stage: &Stage) {
    stage.want(&BOTH);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.behave(s1_never_healthy);
    stage.want(&next(2));
    let expected = [vec![IDP[0].1], vec![IDP[1].1, S1[1].1]];
    for ((cloud, _), expected) in IDP.into_iter().zip(expected) {
        may_not_put_back(stage, cloud).await;
        let undo = [&UNDO[..], &["--json"]].concat();
        let said = run(stage, &undo, cloud, Exit::NeedsAttention).await;
        let lines = json_lines(&said);
        let verdict = lines.iter().find(|line| line["event"] == "verdict");
        let verdict = verdict.expect("a verdict");
        assert_eq!(verdict["outcome"], "needs attention", "{verdict:#}");
        let attention = verdict["attention"].as_array().expect("an array");
        let addresses: BTreeSet<&str> = attention
            .iter()
            .map(|it| it["address"].as_str().expect("an address"))
            .collect();
        assert_eq!(addresses, expected.iter().copied().collect(), "{verdict:#}");
        for it in attention {
            assert_eq!(it["error"]["kind"], "denied", "{it:#}");
            assert_eq!(it["error"]["exit_code"], Exit::Denied.code());
            says(&it["error"].to_string(), &[words_of(cloud)]);
        }
        let entries = stage.ledger.entries().await;
        let events = || entries.iter().map(|entry| &entry["event"]);
        let last = events().rfind(|event| event["address"] == expected[0]);
        assert_eq!(last.expect("an entry")["is"], "not_undone");
        let ended = json!({ "is": "ended", "outcome": "needs attention" });
        assert!(events().any(|event| *event == ended), "{entries:#?}");
    }
}

/// Deletes begin when everything else is there: that one of them fails is no reason to go back to
/// what used what is gone.
async fn after_a_refused_delete(stage: &Stage) {
    stage.want(&BOTH);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&SECOND);
    for (cloud, call) in [
        ("aws", "ecs:DeleteService"),
        ("gcp", "run.projects.locations.services.delete"),
    ] {
        stage.calls.deny(call);
        let (_, said) = stage.run(&UNDO, cloud).await;
        let named = said.split_whitespace();
        let named = named.zip(said.split_whitespace().skip(1));
        let named = named.filter(|(word, _)| *word == "--allow-data-loss");
        let mut words = UNDO.to_vec();
        words.extend(named.flat_map(|(word, address)| [word, address]));
        let said = run(stage, &words, cloud, Exit::Denied).await;
        assert!(!said.contains("as before"), "{said}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
        run(stage, &["status", "idp"], cloud, Exit::Success).await;
        stage.calls.arm(None);
    }
}

fn migration_fails(started: &Started) -> Behaviour {
    Behaviour {
        exit: (started.purpose == Purpose::Finish).then_some(runner::Exit::with(3)),
        ..Behaviour::usual(started.purpose)
    }
}

/// Everything else is as before, and the database may not be. One that never began has changed
/// nothing.
async fn half_migrated(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(migration_fails);
    stage.want(&Wanted {
        mail_password: "mail two",
        ..SECOND
    });
    for (cloud, call) in [
        ("aws", "ecs:RunTask"),
        ("gcp", "run.projects.locations.jobs.run"),
    ] {
        stage.calls.deny(call);
        let said = run(stage, &UNDO, cloud, Exit::Denied).await;
        assert!(!said.contains("needs attention"), "{said}");
        stage.calls.arm(None);
        let said = run(stage, &UNDO, cloud, Exit::NeedsAttention).await;
        says(&said, &["may have changed the database in part"]);
        clouds::assert_serves(stage, cloud, "idp", 1).await;
        // It was not run again, and changed nothing this time.
        let said = run(stage, &UNDO, cloud, Exit::DeploymentFailed).await;
        says(&said, &["migrate --retry"]);
    }
}
