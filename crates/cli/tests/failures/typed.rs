//! What people type: environments that are known, a lock that is waited for, several services, and
//! what `--json` promises.

use deployer::Exit;
use serde_json::Value;

use crate::events::{document, named};
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, first_serves, json_lines, run, says, unhealthy};

crate::tests! {
    an_environment_that_nothing_knows_is_refused_until_it_is_said_to_be_new => unknown,
    an_environment_that_the_manifest_names_needs_no_overlay_and_no_word => own,
    a_lock_that_another_run_holds_is_waited_for => waited,
    a_lock_is_not_waited_for_longer_than_was_said => not_longer,
    the_code_of_several_services_is_applied_and_of_no_other => several,
    what_code_alone_made_is_marked_as_everything_else_is => marked,
    the_runs_are_told_with_who_and_how_they_ended => runs,
    environments_are_listed_with_their_last_runs => environments,
    every_environment_of_the_manifest_is_checked_without_a_call => checked,
    secrets_are_listed_with_the_services_that_use_them => used_by,
    only_lines_that_hold_a_text_are_printed_of_several_services => searched,
    every_event_says_its_format_time_environment_and_run_and_the_last_is_the_result => stamped,
    every_document_is_what_its_page_says => documented,
}

async fn unknown(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.production.toml", "");
    stage.calls.arm(None);
    for command in [&["plan"][..], APPLY, &["status"]] {
        let words = [command, &["-e", "productoin"]].concat();
        let said = run(stage, &words, "all", Exit::Input).await;
        says(
            &said,
            &[
                "there is no environment `productoin`; did you mean `production`?",
                "known: test (deployer.toml), production (deployer.production.toml)",
            ],
        );
        // Whoever reads wants one that is there.
        let offers = said.contains("--env productoin --new-environment");
        assert_eq!(offers, command != ["status"], "{said}");
    }
    let said = run(stage, &["status", "-e", "prod"], "all", Exit::Input).await;
    says(&said, &["`prod`; did you mean `production`?"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let words = [APPLY, &["-e", "review-7", "--new-environment"]].concat();
    run(stage, &words, "all", Exit::Success).await;
    // Its ledger knows it from now on.
    let said = run(stage, &["status", "-e", "review-7"], "all", Exit::Success).await;
    says(&said, &["swept · review-7", "idp      r1 image-1"]);
}

async fn own(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.production.toml", "");
    let said = run(stage, &["plan"], "all", Exit::Success).await;
    assert!(
        !said.contains("overlay") && !said.contains("no file tells"),
        "{said}"
    );
    run(stage, &["plan", "-e", "production"], "all", Exit::Success).await;
}

async fn waited(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let patient = [APPLY, &["--wait-lock", "30m"]].concat();
    let (first, second) = tokio::join!(
        run(stage, APPLY, "all", Exit::Success),
        run(stage, &patient, "all", Exit::Success),
    );
    says(&second, &["locked by", "waiting for it", "No changes"]);
    assert!(!first.contains("waiting for it"), "{first}");
}

async fn not_longer(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let patient = [APPLY, &["--wait-lock", "6s"]].concat();
    let began = stage.time.now();
    let refused = async {
        let said = run(stage, &patient, "all", Exit::Locked).await;
        (said, stage.time.now().duration_since(began))
    };
    let (_, (said, took)) = tokio::join!(run(stage, APPLY, "all", Exit::Success), refused);
    says(&said, &["locked by", "waiting for it, 6.0s at most"]);
    assert!((5..60).contains(&took.as_secs()), "{took}");
}

async fn several(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 2,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&Wanted {
        more_services: 2,
        ..SECOND
    });
    let words = [APPLY, &["--only", "idp", "--only", "s1"]].concat();
    let said = run(stage, &words, "all", Exit::Success).await;
    says(&said, &["swept · test: idp, s1: r2 serves on aws and gcp"]);
    assert!(!said.contains("`s2`"), "{said}");
    let plan = run(stage, &["plan"], "all", Exit::Success).await;
    says(&plan, &["swept-test-s2"]);
    let said = run(
        stage,
        &["plan", "--only", "idp", "--only", "nobody"],
        "all",
        Exit::Input,
    )
    .await;
    says(&said, &["there is no service `nobody`"]);
}

/// Of every kind that a code deployment touches: the next plan wants nothing.
async fn marked(stage: &Stage) {
    stage.file("deployer.test.toml", "[tags]\nteam = \"one\"\n");
    first_serves(stage).await;
    stage.want(&SECOND);
    let only = [APPLY, &["--only", "idp"]].concat();
    run(stage, &only, "all", Exit::Success).await;
    let plan = ["plan", "--detailed-exitcode"];
    run(stage, &plan, "all", Exit::Success).await;
}

async fn runs(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::RolledBack).await;
    let said = run(stage, &["runs"], "all", Exit::Success).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(
        lines[1].contains("failed") && lines[4].contains("succeeded"),
        "{said}"
    );
    let list = document(stage, &["runs", "--lines", "1"], "aws", Exit::Success).await;
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 1);
    assert_eq!(
        (&list[0]["number"], &list[0]["command"]),
        (&2.into(), &"apply".into())
    );
    let failed = list[0]["failed"][0]["address"]
        .as_str()
        .expect("an address");
    assert!(failed.contains("ecs.service"), "{failed}");
    let said = run(stage, &["runs", "--lines", "1"], "aws", Exit::Success).await;
    says(
        &said,
        &["older ones are not among these: deployer runs --lines 5"],
    );
    let said = run(stage, &["runs", "--lines", "2"], "aws", Exit::Success).await;
    assert!(!said.contains("older ones"), "{said}");
    let said = run(stage, &["runs", "show", "2"], "aws", Exit::Success).await;
    says(
        &said,
        &["run 2, apply by", "service FAILED: ", "ended: failed"],
    );
    let said = run(stage, &["runs", "show", "9"], "all", Exit::Input).await;
    says(&said, &["there is no run 9"]);
}

async fn environments(stage: &Stage) {
    first_serves(stage).await;
    stage.file("deployer.production.toml", "");
    let words = [APPLY, &["-e", "review-7", "--new-environment"]].concat();
    run(stage, &words, "aws", Exit::Success).await;
    let list = document(stage, &["env", "list"], "aws", Exit::Success).await;
    let rows: Vec<(&str, bool, &Value)> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            let name = row["environment"].as_str().expect("a name");
            (name, row["file"].is_string(), &row["last_run"]["outcome"])
        })
        .collect();
    let succeeded = Value::from("succeeded");
    assert_eq!(
        rows,
        [
            ("production", true, &Value::Null),
            ("review-7", false, &succeeded),
            ("test", true, &succeeded),
        ]
    );
    let words = [DESTROY, &["-e", "review-7"]].concat();
    run(stage, &words, "aws", Exit::Success).await;
    let list = document(stage, &["env", "list"], "aws", Exit::Success).await;
    for row in list.as_array().expect("a list") {
        let is_gone = row["environment"] == "review-7";
        assert_eq!(row["destroyed"].is_string(), is_gone, "{row:#}");
    }
    let said = run(stage, &["env", "list"], "aws", Exit::Success).await;
    let mut rows = said.lines().filter(|row| row.contains("destroyed at "));
    let row = rows.next().expect("a row");
    assert!(
        row.starts_with("review-7 ") && rows.next().is_none(),
        "{said}"
    );
}

async fn checked(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.production.toml", "[services.idp]\nprot = 1\n");
    stage.calls.arm(None);
    let manifest = format!("{}/deployer.toml", stage.folder());
    let check = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        let manifest = manifest.clone();
        async move {
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words.extend(["-f", &manifest]);
            stage.run_as_typed(&words).await
        }
    };
    let (ended, said) = check(&["check"]).await;
    assert!(format!("{ended:?}").contains("Input"), "{ended:?}");
    says(
        &said,
        &["test (", "): ok", "production (", "): 1 fault", "prot"],
    );
    let (_, said) = check(&["check", "--json"]).await;
    let told: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&told["ok"], &told["format"]), (&false.into(), &1.into()));
    assert_eq!(told["environments"][1]["environment"], "production");
    assert_eq!(
        told["environments"][1]["problems"][0]["path"],
        "services.idp.prot"
    );
    let (ended, _) = check(&["check", "-e", "test"]).await;
    assert!(format!("{ended:?}").contains("Success"), "{ended:?}");
    assert_eq!(stage.calls.names(), Vec::<String>::new());
}

async fn used_by(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let list = document(stage, &["secrets", "list"], "aws", Exit::Success).await;
    let list = list.as_array().expect("a list");
    let mail = list.iter().find(|it| it["secret"] == "mail-password");
    assert_eq!(mail.expect("it is listed")["used_by"][0], "idp");
}

async fn searched(stage: &Stage) {
    stage.behave(|started| deployer_sandbox::runner::Behaviour {
        lines: vec!["one timeout".to_owned(), "two".to_owned()],
        ..deployer_sandbox::runner::Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted {
        more_services: 2,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    let words = ["logs", "idp", "s1", "--since", "1h", "--grep", "timeout"];
    let said = run(stage, &words, "all", Exit::Success).await;
    for words in [
        "aws idp one timeout",
        "gcp idp one timeout",
        "aws s1 one timeout",
    ] {
        says(&said, &[words]);
    }
    assert!(!said.contains(" s2 ") && !said.contains(" two"), "{said}");
}

async fn stamped(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let words = [APPLY, &["--json"]].concat();
    let said = run(stage, &words, "all", Exit::Success).await;
    let lines = json_lines(&said);
    assert_eq!(
        lines.len(),
        said.lines().count(),
        "every line is an event:\n{said}"
    );
    for line in &lines {
        assert!(line["event"].is_string(), "{line}");
        assert_eq!(
            (&line["format"], &line["environment"]),
            (&1.into(), &"test".into())
        );
        let at = line["at"].as_str().expect("a time");
        at.parse::<jiff::Timestamp>().expect("a time");
    }
    for done in named(&said, "done") {
        assert_eq!(done["run"], 1, "{done}");
    }
    let last = lines.last().expect("a line");
    assert_eq!(
        (&last["event"], &last["outcome"]),
        (&"result".into(), &"succeeded".into())
    );
    assert_eq!(
        (&last["exit_code"], &last["runs"]["gcp"]),
        (&0.into(), &1.into())
    );
    assert!(
        last["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 1.0),
        "{last}"
    );
    assert_eq!(named(&said, "result").len(), 1);
    stage.behave(unhealthy);
    stage.want(&SECOND);
    let said = run(stage, &words, "aws", Exit::RolledBack).await;
    let result = named(&said, "result").remove(0);
    assert_eq!(
        (&result["outcome"], &result["exit_code"]),
        (&"put_back".into(), &7.into())
    );
    // What is refused before a run begins has its result too.
    let refused = ["apply", "--yes", "--json", "--only", "nobody"];
    let said = run(stage, &refused, "aws", Exit::Input).await;
    assert_eq!(named(&said, "result").remove(0)["exit_code"], 64);
}

/// The schemas of `docs/json.md`, by their names.
fn schemas() -> Value {
    serde_json::from_str(include_str!("../../../../docs/json.schema.json")).expect("JSON")
}

pub fn assert_fits(name: &str, document: &Value) {
    let mut schema = schemas();
    assert!(
        schema["$defs"][name].is_object(),
        "there is no schema `{name}`"
    );
    schema["$ref"] = format!("#/$defs/{name}").into();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let wrong: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    let wrong = wrong.iter().take(5).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "`{name}`: {wrong:?}");
}

async fn documented(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for (name, words) in [
        ("plan", &["plan"][..]),
        ("status", &["status"]),
        ("releases", &["releases"]),
        ("runs", &["runs"]),
        ("secrets", &["secrets", "list"]),
        ("environments", &["env", "list"]),
        ("lock", &["lock", "show"]),
        ("config", &["config", "show"]),
        ("permissions", &["permissions"]),
    ] {
        let told = document(stage, words, "all", Exit::Success).await;
        assert_fits(name, &told);
    }
    let words = [APPLY, &["--json"]].concat();
    let mut events = json_lines(&run(stage, &words, "all", Exit::Success).await);
    stage.behave(unhealthy);
    stage.want(&SECOND);
    let failing = [APPLY, &["--json", "--on-failure", "undo"]].concat();
    let (_, said) = stage.run(&failing, "all").await;
    events.extend(json_lines(&said));
    for (name, words) in [
        ("status", &["status"][..]),
        ("releases", &["releases"]),
        ("runs", &["runs"]),
        ("runs_show", &["runs", "show", "2"]),
        ("verify", &["verify"]),
    ] {
        let (_, said) = stage.run(&[words, &["--json"]].concat(), "all").await;
        assert_fits(name, &serde_json::from_str(&said).expect("JSON"));
    }
    let plan = format!("{}/staging.plan", stage.folder());
    run(stage, &["plan", "--out", &plan], "all", Exit::Success).await;
    let shown = document(stage, &["show", &plan], "all", Exit::Success).await;
    assert_fits("show", &shown);
    // The program prints what the sandbox answers, with the format.
    let mut status = stage.sandbox.status();
    status["format"] = 1.into();
    assert_fits("sandbox_status", &status);
    let origins = document(stage, &["config", "show", "--origin"], "all", Exit::Success).await;
    assert_fits("config_origins", &origins);
    let logs = ["logs", "idp", "--since", "1h", "--json"];
    let lines = json_lines(&run(stage, &logs, "all", Exit::Success).await);
    assert!(!lines.is_empty(), "the app printed something");
    lines.iter().for_each(|it| assert_fits("log_line", it));
    let faulty = ["plan", "--set", "services.idp.prot=1", "--json"];
    let (_, said) = stage.run(&faulty, "all").await;
    assert_fits("problems", &serde_json::from_str(&said).expect("JSON"));
    for event in &events {
        let name = event["event"].as_str().expect("an event");
        assert_fits(&format!("event_{name}"), event);
    }
    for name in [
        "plan", "started", "done", "failed", "verdict", "failure", "release", "result",
    ] {
        let seen = events.iter().any(|event| event["event"] == name);
        assert!(seen, "no `{name}` was told");
    }
}
