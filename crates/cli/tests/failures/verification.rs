//! A release that serves and does not do what it should: told check by check, on each cloud by
//! itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deployer::Exit;
use serde_json::{Value, json};

use crate::events::{about, document, named};
use crate::in_process::stage::{Stage, Wanted};
use crate::web::Web;
use crate::{SECOND, assert_serves, run, says};

crate::tests! {
    a_check_that_fails_is_told_by_name_on_its_own_cloud => checks_fail,
}

const VERIFIED: &[&str] = &["apply", "--yes"];

/// Simulated containers listen nowhere: these stand where people reach the service on each cloud.
async fn checks_fail(stage: &Stage) {
    let broken = [false, true].map(|broken| Arc::new(AtomicBool::new(broken)));
    let [aws, gcp] = [app(&broken[0]).await, app(&broken[1]).await];
    let overlay = format!(
        "[[services.idp.verify.checks]]\nname = \"greeting\"\npath = \"/greeting\"\nbody = \"good evening\"\n\n\
         [targets.aws.services.idp]\nurl = \"http://{}\"\n\n[targets.gcp.services.idp]\nurl = \"http://{}\"\n",
        aws.host(),
        gcp.host()
    );
    stage.file("deployer.test.toml", &overlay);
    // Only at the service's name something is not as it should be: what a candidate shows gets no
    // traffic.
    let never = Arc::new(AtomicBool::new(false));
    let candidate = app(&never).await;
    stage.behave(candidate.answers());
    let break_on = |cloud: &str| {
        broken[0].store(cloud == "aws", Ordering::SeqCst);
        broken[1].store(cloud == "gcp", Ordering::SeqCst);
    };
    break_on("neither");
    stage.want(&Wanted::FIRST);
    let said = run(stage, &as_json(VERIFIED), "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        passed(&said, cloud, 1);
    }
    for (version, bad, good) in [(2, "gcp", "aws"), (3, "aws", "gcp")] {
        break_on(bad);
        stage.write_image(version, "amd64");
        stage.want(&Wanted { version, ..SECOND });
        let said = run(stage, &as_json(VERIFIED), "all", Exit::VerificationFailed).await;
        passed(&said, good, version);
        let manifest = format!("{}/deployer.toml", stage.folder());
        failed(&said, bad, version, &manifest);
        for cloud in [bad, good] {
            // It is what was asked for, and it serves.
            assert_serves(stage, cloud, version).await;
        }
        told_later(stage, bad, good, version).await;
        // The verification alone is made again: nothing else is left to do.
        stage.calls.arm(None);
        let said = run(stage, VERIFIED, "all", Exit::VerificationFailed).await;
        says(
            &said,
            &[&format!("{bad}: verification of `idp` r{version} failed")],
        );
        assert!(!said.contains(&format!("{good}: verification")), "{said}");
        break_on("neither");
        let said = run(stage, &as_json(VERIFIED), "all", Exit::Success).await;
        passed(&said, bad, version);
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
        for cloud in [bad, good] {
            assert_eq!(verified(stage, cloud).await, json!(true), "{cloud}");
        }
    }
    let asked = aws.asked();
    assert!(asked.iter().any(|path| path == "/greeting"), "{asked:?}");
}

/// Answers what the checks ask for, unless it is broken: then its greeting is another one.
async fn app(broken: &Arc<AtomicBool>) -> Web {
    let broken = Arc::clone(broken);
    Web::serve(move |path| match (path, broken.load(Ordering::SeqCst)) {
        ("/health", _) => (200, "{}"),
        ("/greeting", false) => (200, "good evening"),
        ("/greeting", true) => (503, "go away"),
        _ => (404, ""),
    })
    .await
}

fn as_json<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--json"]].concat()
}

/// What a check of one verification came to.
fn finding<'a>(verification: &'a Value, check: &str) -> &'a Value {
    let findings = verification["findings"].as_array().expect("a list");
    let mut fitting = findings.iter().filter(|it| it["check"] == check);
    fitting
        .next()
        .unwrap_or_else(|| panic!("no `{check}` in {verification:#}"))
}

fn passed(said: &str, cloud: &str, release: u32) {
    let verification = about(said, "verification", cloud);
    assert_eq!(verification["overall"], "passed", "{verification:#}");
    assert_eq!(verification["release"], release, "{verification:#}");
    for check in ["cloud", "health", "greeting"] {
        let finding = finding(&verification, check);
        assert_eq!(finding["outcome"], "passed", "{finding:#}");
    }
    // The verdict is of the events that follow a run that had something to do.
    for verdict in named(said, "verdict") {
        if verdict["cloud"] == cloud {
            assert_eq!(verdict["outcome"], "succeeded", "{verdict:#}");
        }
    }
}

fn failed(said: &str, cloud: &str, release: u32, manifest: &str) {
    let verdict = about(said, "verdict", cloud);
    assert_eq!(verdict["outcome"], "verification failed", "{verdict:#}");
    assert_eq!(verdict["failed"], json!([]), "{verdict:#}");
    let verification = about(said, "verification", cloud);
    assert_eq!(verification["overall"], "failed", "{verification:#}");
    assert_eq!(verification["release"], release, "{verification:#}");
    let greeting = finding(&verification, "greeting");
    assert_eq!(greeting["outcome"], "failed", "{greeting:#}");
    assert_eq!(
        greeting["expected"], "200 at GET /greeting, body ~ good evening",
        "{greeting:#}"
    );
    let got = greeting["got"].as_str().expect("words");
    says(got, &["503", "no match"]);
    for check in ["cloud", "health"] {
        let finding = finding(&verification, check);
        assert_eq!(finding["outcome"], "passed", "{finding:#}");
    }
    let back = format!(
        "deployer rollback idp --to r{} --manifest {manifest} --cloud {cloud}",
        release - 1
    );
    assert_eq!(verification["next"], back, "{verification:#}");
    assert_eq!(
        verification["serving"]["traffic"][0][1], 100,
        "{verification:#}"
    );
}

/// Whether the last release on a cloud was verified, by `releases` and by `status`, which must not
/// differ.
async fn verified(stage: &Stage, cloud: &str) -> Value {
    let releases = document(stage, &["releases"], cloud, Exit::Success).await;
    let status = document(stage, &["status"], cloud, Exit::Success).await;
    let by_releases = &releases[0]["releases"][0]["verified"];
    assert_eq!(*by_releases, status[0]["release"]["verified"], "{cloud}");
    by_releases.clone()
}

async fn told_later(stage: &Stage, bad: &str, good: &str, version: u32) {
    assert_eq!(verified(stage, bad).await, json!(false), "{bad}");
    assert_eq!(verified(stage, good).await, json!(true), "{good}");
    let said = run(stage, &["status", "idp"], bad, Exit::Success).await;
    says(
        &said,
        &[&format!("r{version} content"), "VERIFICATION FAILED"],
    );
    let said = run(stage, &["status", "idp"], good, Exit::Success).await;
    says(&said, &[", verified"]);
    let said = run(stage, &["releases"], "all", Exit::Success).await;
    let marked = said
        .lines()
        .filter(|line| line.contains("failed its verification"));
    let marked: Vec<&str> = marked.collect();
    assert_eq!(marked.len(), 1, "{said}");
    says(marked[0], &[bad, &format!("r{version}")]);
}
