//! What is called otherwise in the manifest, and says what it was, stays what it is: in the clouds,
//! in the ledger, and for who goes on after a run that was cut off.

use std::time::Duration;

use deployer::Exit;
use serde_json::Value;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, clouds, picture, run, says, world};

crate::tests! {
    a_renaming_that_says_what_things_were_changes_nothing => pure,
    the_history_of_a_service_goes_on_under_its_new_name_and_the_next => history,
    an_apply_that_was_killed_goes_on_under_another_name => killed,
    a_plan_file_is_applied_under_another_name => planned,
    a_plan_warns_where_nothing_was_called_so => doubted,
}

/// What the manifest calls its things.
struct Names {
    service: &'static str,
    database: &'static str,
    cache: &'static str,
    secret: &'static str,
    given: &'static str,
}

const FIRST: Names = Names {
    service: "idp",
    database: "main",
    cache: "sessions",
    secret: "cookie-key",
    given: "mail-password",
};
const SECOND: Names = Names {
    service: "web",
    database: "store",
    cache: "tokens",
    secret: "jar-key",
    given: "post-password",
};
/// In another order than the first ones.
const THIRD: Names = Names {
    service: "a-site",
    database: "vault",
    cache: "a-cache",
    secret: "z-key",
    given: "a-password",
};
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];
const CLOUDS: [&str; 2] = ["aws", "gcp"];

/// Wants a version of a service with a database, a cache and secrets that are called so.
fn want(stage: &Stage, version: u32, names: &Names) {
    stage.want(&Wanted {
        version,
        data: true,
        more_services: 1,
        ..Wanted::FIRST
    });
    stage.edit(|text| {
        // The database's URL is called after it, as those of most are.
        let text = text.replace("url = \"database-url\"\n", "");
        let text = text.replace("\"database-url\"", "\"main-url\"");
        let tables = [
            ("services", FIRST.service, names.service),
            ("databases", FIRST.database, names.database),
            ("caches", FIRST.cache, names.cache),
            ("secrets", FIRST.secret, names.secret),
            ("secrets", FIRST.given, names.given),
        ];
        let renamed = tables.iter().filter(|(_, was, now)| was != now);
        let text = renamed.fold(text, |text, (table, was, now)| {
            let head = format!("[{table}.{was}]\n");
            assert!(text.contains(&head), "{head} in {text}");
            let text = text.replace(&head, &format!("[{table}.{now}]\nwas = \"{was}\"\n"));
            let text = text.replace(&format!("[{table}.{was}."), &format!("[{table}.{now}."));
            text.replace(
                &format!("secret = \"{was}\""),
                &format!("secret = \"{now}\""),
            )
        });
        text.replace("\"main-url\"", &format!("\"{}-url\"", names.database))
    });
}

async fn applied(stage: &Stage, version: u32, names: &Names) {
    want(stage, version, names);
    run(stage, APPLY, "all", Exit::Success).await;
    // A backup of RDS takes its time.
    stage.time.pass(Duration::from_secs(3600)).await;
}

/// Neither plan nor apply finds anything to do.
async fn nothing_to_do(stage: &Stage, exit: Exit) -> String {
    stage.calls.arm(None);
    let said = run(stage, PLAN, "all", exit).await;
    run(stage, APPLY, "all", exit).await;
    assert_eq!(stage.calls.writes(), [] as [&str; 0], "{said}");
    said
}

/// The numbers of a service's releases on a cloud, and the one that serves.
async fn released(stage: &Stage, cloud: &str, service: &str) -> (Vec<u64>, Option<u64>) {
    let said = run(
        stage,
        &["releases", service, "--json"],
        cloud,
        Exit::Success,
    )
    .await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let it = &document[0];
    assert_eq!(it["service"], service, "{said}");
    let releases = it["releases"].as_array().expect("releases").iter();
    // The newest stands first.
    let numbers = releases.rev().filter_map(|it| it["number"].as_u64());
    (numbers.collect(), it["serves"].as_u64())
}

/// A destroy left nothing of ours, whatever it was called, but the last copies of the database.
async fn assert_nothing_left(stage: &Stage) {
    let left = picture::take(stage).await;
    let left = picture::things(&left).into_iter();
    let whose = ["aws ", "gcp ", "ours "];
    let copies = ["aws rds snapshots ", "gcp sqladmin last_backups "];
    let is_there = |it: &&str| {
        let begins = |of: &[&str]| of.iter().any(|head| it.starts_with(head));
        begins(&whose) && !begins(&copies)
    };
    let left: Vec<&str> = left.filter(is_there).collect();
    assert_eq!(left, [] as [&str; 0]);
}

/// Nothing in a ledger is called so.
async fn assert_ledger_lacks(stage: &Stage, names: &Names) {
    for path in stage.ledger.standing().await {
        let lacks = |folder: &str| {
            let part = format!("/{folder}/{}", names.service);
            assert!(!path.as_ref().contains(&part), "{path}");
        };
        ["releases", "verified", "seen", "holds"]
            .iter()
            .for_each(|it| lacks(it));
    }
}

async fn pure(stage: &Stage) {
    applied(stage, 1, &FIRST).await;
    nothing_to_do(stage, Exit::Success).await;
    let before = world::of(stage).await;
    for names in [&SECOND, &THIRD, &SECOND] {
        want(stage, 1, names);
        let said = nothing_to_do(stage, Exit::Success).await;
        let note = |what: &str, now: &str, was: &str| {
            format!("{what} `{now}` was `{was}`: its names in the clouds keep `{was}`")
        };
        let service = note("service", names.service, "idp");
        says(&said, &["No changes", &service]);
        assert_eq!(said.matches(&service).count(), 1, "{said}");
        says(
            &said,
            &[
                &note("database", names.database, "main"),
                &note("cache", names.cache, "sessions"),
                &note("secret", names.secret, "cookie-key"),
            ],
        );
        world::assert_same(&before, &world::of(stage).await);
        for cloud in CLOUDS {
            let (numbers, serves) = released(stage, cloud, names.service).await;
            assert_eq!((numbers, serves), (vec![1], Some(1)), "{cloud}");
        }
        let json = run(stage, &["plan", "--json"], "all", Exit::Success).await;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let notes = json["plan"]["notes"].as_array().expect("notes");
        assert!(notes.contains(&service.into()), "{notes:?}");
        assert_ledger_lacks(stage, names).await;
    }
    // People type what they read.
    for words in [
        &["status", "web"][..],
        &["logs", "web"],
        &["releases", "web", "r1"],
        &["plan", "store"],
    ] {
        let (ended, said) = stage.run(words, "all").await;
        assert!(
            matches!(ended, Ended::Exit(Exit::Success)),
            "{words:?}: {said}"
        );
    }
    let ran = ["run", "web", "--", "report"];
    for cloud in CLOUDS {
        run(stage, &ran, cloud, Exit::Success).await;
    }
    for words in [
        &["rollback", "idp", "--yes"][..],
        &["logs", "idp"],
        &["releases", "idp"],
        &["apply", "--yes", "--only", "idp"],
        &["run", "idp", "--", "true"],
    ] {
        let (_, said) = stage.run(words, "aws").await;
        says(
            &said,
            &["there is no service `idp`", "`idp` is called `web` now"],
        );
    }
    let (_, said) = stage.run(&["plan", "main"], "all").await;
    says(&said, &["`main` is called `store` now"]);
    let (_, said) = stage.run(&["secrets", "set", "cookie-key"], "aws").await;
    says(&said, &["`cookie-key` is called `jar-key` now"]);
    let said = run(stage, &["secrets", "list"], "aws", Exit::Success).await;
    says(
        &said,
        &["jar-key", "/swept/test/cookie-key", "store-password"],
    );
    run(stage, DESTROY, "all", Exit::Success).await;
    assert_nothing_left(stage).await;
}

async fn history(stage: &Stage) {
    applied(stage, 1, &FIRST).await;
    applied(stage, 2, &SECOND).await;
    for cloud in CLOUDS {
        let (numbers, serves) = released(stage, cloud, "web").await;
        assert_eq!((numbers, serves), (vec![1, 2], Some(2)), "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
    let said = run(
        stage,
        &[BACK, &["web", "--to", "r1"]].concat(),
        "all",
        Exit::Success,
    )
    .await;
    says(&said, &["web"]);
    assert!(!said.contains("`idp`"), "{said}");
    for cloud in CLOUDS {
        let (numbers, serves) = released(stage, cloud, "web").await;
        assert_eq!((numbers, serves), (vec![1, 2, 3], Some(3)), "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 1).await;
    }
    // What was rejected is on hold, whatever it is called.
    for names in [&SECOND, &THIRD, &FIRST] {
        want(stage, 2, names);
        let said = nothing_to_do(stage, Exit::Held).await;
        let held = format!("`{}` is on hold and left as it is", names.service);
        says(&said, &[&held]);
        let said = run(stage, &["status", names.service], "all", Exit::Success).await;
        says(&said, &[names.service, "r3"]);
    }
    want(stage, 2, &THIRD);
    let release = [APPLY, &["--release-hold"]].concat();
    run(stage, &release, "all", Exit::Success).await;
    for cloud in CLOUDS {
        let (numbers, serves) = released(stage, cloud, "a-site").await;
        assert_eq!((numbers, serves), (vec![1, 2, 3, 4], Some(4)), "{cloud}");
        clouds::assert_serves(stage, cloud, "idp", 2).await;
    }
    assert_ledger_lacks(stage, &SECOND).await;
    assert_ledger_lacks(stage, &THIRD).await;
    run(stage, DESTROY, "all", Exit::Success).await;
    assert_nothing_left(stage).await;
}

async fn killed(stage: &Stage) {
    applied(stage, 1, &FIRST).await;
    want(stage, 2, &FIRST);
    stage.ledger.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let writes = stage.ledger.writes();
    let mut next = 2;
    for (place, names) in [(1, &SECOND), (2, &THIRD), (3, &SECOND)] {
        next += 1;
        stage.write_image(next, "amd64");
        // Under the name of before, and killed.
        let before = [&FIRST, &SECOND, &THIRD][place - 1];
        want(stage, next, before);
        stage.ledger.arm(Some(Crash::Before(writes * place / 4)));
        let (ended, said) = stage.run(APPLY, "aws").await;
        assert!(matches!(ended, Ended::Killed), "{said}");
        stage.ledger.arm(None);
        stage.time.pass(Duration::from_secs(300)).await;
        want(stage, next, names);
        run(stage, APPLY, "aws", Exit::Success).await;
        clouds::assert_serves(stage, "aws", "idp", next).await;
        let (numbers, serves) = released(stage, "aws", names.service).await;
        let all: Vec<u64> = (1..=u64::from(next)).collect();
        assert_eq!((numbers, serves), (all, Some(u64::from(next))));
        stage.calls.arm(None);
        run(stage, PLAN, "aws", Exit::Success).await;
        run(stage, APPLY, "aws", Exit::Success).await;
        assert_eq!(stage.calls.writes(), [] as [&str; 0]);
    }
}

async fn planned(stage: &Stage) {
    applied(stage, 1, &FIRST).await;
    let file = stage.file("p.json", "");
    let apply = ["apply", &file, "--yes", "--no-verify"];
    for (version, before, after) in [(2, &FIRST, &SECOND), (3, &SECOND, &THIRD)] {
        stage.write_image(version, "amd64");
        want(stage, version, before);
        run(stage, &["plan", "--out", &file], "all", Exit::Success).await;
        want(stage, version, after);
        run(stage, &apply, "all", Exit::Success).await;
        for cloud in CLOUDS {
            clouds::assert_serves(stage, cloud, "idp", version).await;
        }
    }
    // What is stale is told in today's words.
    want(stage, 1, &SECOND);
    run(stage, &["plan", "--out", &file], "all", Exit::Success).await;
    want(stage, 2, &THIRD);
    let said = run(stage, &apply, "all", Exit::Failure).await;
    says(&said, &["the plan is stale", "the image of `a-site`"]);
}

/// Somebody writes `was` for what was never called so, or forgets which key was the first.
async fn doubted(stage: &Stage) {
    want(stage, 1, &FIRST);
    stage.edit(|text| text.replace("services.idp", "services.web"));
    run(stage, APPLY, "all", Exit::Success).await;
    let plain = run(stage, &["plan"], "all", Exit::Success).await;
    assert!(!plain.contains("remove `was"), "{plain}");
    stage.edit(|text| text.replace("[services.web]\n", "[services.web]\nwas = \"idp\"\n"));
    let said = run(stage, &["plan"], "all", Exit::Success).await;
    for cloud in CLOUDS {
        let doubt = format!(
            "{cloud}: service `web` was made as `swept-test-web`, and nothing is there that was `idp`: remove `was = \"idp\"`"
        );
        says(&said, &[&doubt]);
    }
    // A second renaming whose `was` is the second key.
    let again = stage.beside("again");
    applied(&again, 1, &FIRST).await;
    want(&again, 1, &SECOND);
    run(&again, APPLY, "all", Exit::Success).await;
    want(&again, 1, &THIRD);
    again.edit(|text| text.replace("was = \"idp\"", "was = \"web\""));
    let said = run(&again, &["plan"], "all", Exit::Success).await;
    for cloud in CLOUDS {
        let doubt =
            format!("{cloud}: service `web` was `idp` itself: write `was = \"idp\"` in `a-site`");
        says(&said, &[&doubt]);
    }
}
