//! A managed database and a managed cache on both clouds, through the binary: made, used, changed,
//! kept from harm, deleted.

use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::idp::is_signed_by;
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::recorder::Side;
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

const NAME: &str = "databases_and_caches_live_their_lives_on_both_clouds";

#[test]
fn databases_and_caches_live_their_lives_on_both_clouds() {
    let Some(prepared) = Prepared::find(NAME) else {
        return;
    };
    let sandbox = Sandbox::start(&prepared);
    for kind in ["postgres", "redis"] {
        let backing = sandbox.status()["backing"][kind].to_string();
        if backing.contains("none") {
            skip(NAME, &backing);
            return;
        }
    }
    let mut project = Project::new(&prepared, Arc::new(sandbox));
    project.change(|manifest| manifest.managed = Some("storage = \"20GiB\"".to_owned()));
    let story = &mut project;
    the_first_apply_makes_both_and_the_app_uses_them(story);
    a_second_plan_is_empty(story);
    the_vendors_clients_see_what_was_asked_for(story, 20);
    a_larger_disk_is_an_update(story);
    a_smaller_disk_is_refused_in_words(story);
    a_new_password_reaches_database_and_app(story);
    a_destroy_needs_a_word_for_each_database(story);
    story.assert_no_secret_escaped(&[]);
    python::assert_valid(&prepared, &project.aws, Side::Aws);
    python::assert_valid(&prepared, &project.gcp, Side::Gcp);
}

fn the_first_apply_makes_both_and_the_app_uses_them(story: &mut Project) {
    let plan = story.deployer.run(&["plan", "--details"]);
    let plan = plan.exits(exit::SUCCESS);
    plan.says("rds.instance").says("sql.instance");
    plan.says("elasticache.replication_group")
        .says("redis.instance");
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    the_app_works(story);
}

/// A token needs the database.
fn the_app_works(story: &Project) {
    let (aws, gcp) = (story.on_aws(), story.on_gcp());
    assert!(is_signed_by(&aws.token(&story.client_secret), &gcp.keys()));
    assert!(is_signed_by(&gcp.token(&story.client_secret), &aws.keys()));
    for service in [aws, gcp] {
        let health = service.health();
        assert_eq!(health["database"], "ok", "{health}");
        assert_eq!(health["redis"], "ok", "{health}");
    }
}

fn a_second_plan_is_empty(story: &Project) {
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    let plan = story.deployer.run(&["plan", "--json"]).json();
    assert_eq!(plan["empty"], true, "{plan:#}");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
}

fn the_vendors_clients_see_what_was_asked_for(story: &Project, disk: u32) {
    let exports: Vec<_> = story.sandbox.exports.clone().into_iter().collect();
    let name = format!("{}-test", story.manifest.app);
    let seen = python::run(&story.prepared, "managed.py", &[&name], &exports);
    let [rds, cache] = [&seen["rds"], &seen["elasticache"]];
    // A disk that grew is optimised for hours, and the instance serves meanwhile.
    let serves = ["available", "storage-optimization"];
    assert!(
        serves.iter().any(|status| rds["status"] == *status),
        "{rds}"
    );
    assert_eq!(rds["disk"], disk);
    assert_eq!(
        [&rds["encrypted"], &rds["public"]],
        [&json!(true), &json!(false)]
    );
    assert_eq!(rds["force_ssl"], "1");
    assert_eq!(
        [&cache["tls"], &cache["auth"]],
        [&json!(true), &json!(true)]
    );
    let [sql, redis] = [&seen["sql"], &seen["redis"]];
    assert_eq!(sql["state"], "RUNNABLE");
    assert_eq!(sql["disk"], disk.to_string());
    assert_eq!(sql["ssl"], "ENCRYPTED_ONLY");
    assert_eq!(
        [&redis["tls"], &redis["auth"]],
        [&json!("SERVER_AUTHENTICATION"), &json!(true)]
    );
}

fn a_larger_disk_is_an_update(story: &mut Project) {
    story.change(|manifest| manifest.managed = Some("storage = \"30GiB\"".to_owned()));
    let plan = story.deployer.run(&["plan", "--json"]).json();
    assert_eq!(
        plan["counts"],
        json!({"create": 0, "update": 2, "replace": 0, "delete": 0, "release": 0}),
        "{plan:#}"
    );
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    a_second_plan_is_empty(story);
    the_vendors_clients_see_what_was_asked_for(story, 30);
}

fn a_smaller_disk_is_refused_in_words(story: &mut Project) {
    story.change(|manifest| manifest.managed = Some("storage = \"20GiB\"".to_owned()));
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    let refused = story.deployer.run(&["apply", "--yes", "--cloud", "aws"]);
    refused.exits(exit::INPUT).says("no disk shrinks");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    story.change(|manifest| manifest.managed = Some("storage = \"30GiB\"".to_owned()));
}

fn a_new_password_reaches_database_and_app(story: &mut Project) {
    story
        .deployer
        .run_with_input(
            &["secrets", "set", "main-password", "--cloud", "all"],
            "0123456789abcdef0123456789abcdef",
        )
        .exits(exit::SUCCESS);
    story.deployer.run(&["apply", "--yes"]).exits(exit::SUCCESS);
    the_app_works(story);
    a_second_plan_is_empty(story);
}

fn databases(story: &Project) -> [String; 2] {
    let name = format!("{}-test-main", story.manifest.app);
    [
        format!("aws/us-east-1/rds.instance/{name}"),
        format!("gcp/us-central1/sql.instance/{name}"),
    ]
}

fn a_destroy_needs_a_word_for_each_database(story: &mut Project) {
    let (aws, gcp) = (story.aws.mark(), story.gcp.mark());
    let [on_aws, on_gcp] = databases(story);
    let word = "--allow-data-loss";
    story
        .deployer
        .run(&["destroy", "--yes", "--details", word, &on_aws])
        .exits(exit::INPUT)
        .says(&format!("--allow-data-loss {on_gcp}"))
        .says("this would lose the data of 12 things");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    story
        .deployer
        .run(&["destroy", "--yes", word, "all"])
        .exits(exit::SUCCESS);
    let status: Value = story.sandbox.status();
    for left in [
        &status["aws"]["status"]["databases"],
        &status["gcp"]["status"]["sql"],
    ] {
        assert_eq!(*left, json!([]));
    }
}
