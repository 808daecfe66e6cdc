//! On Cloud Run a new revision is asked at an address of its own before it gets any traffic: what
//! it fails there, nobody else meets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use deployer::{Exit, Stop};
use reqwest::Method;
use serde_json::{Value, json};

use crate::events::{about, document};
use crate::in_process::calls::Fault;
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, LOCATION, PROJECT, Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, SECOND, assert_serves, run, says};

crate::tests! {
    a_candidate_that_fails_its_checks_gets_no_traffic => fails,
    a_candidate_that_passes_costs_one_update_more_and_no_checks_cost_none => counted,
    a_candidate_that_fails_is_undone_by_the_same_words => undone,
    going_back_to_what_serves_past_a_candidate_that_failed_makes_no_revision => gone_back,
    a_service_that_a_rollback_pinned_is_left_there_where_the_manifest_follows => followed,
    a_rollback_asks_no_candidate_and_leaves_no_tag => rolled_back,
    a_gated_roll_out_that_is_killed_anywhere_ends_in_the_same_place => killed,
    a_gated_roll_out_survives_every_lost_reply => replies_lost,
    traffic_that_another_hand_moves_during_the_gate_stays_there => moved_meanwhile,
    a_deployment_of_another_hand_during_the_gate_gets_no_traffic_from_us => deployed_over,
    a_run_that_is_stopped_during_the_gate_moves_no_traffic => stopped,
    a_candidate_that_turns_callers_away_is_asked_once_it_serves => turned_away,
    what_nobody_reaches_from_outside_is_not_held_back => inside,
    whoever_does_not_wait_holds_nothing_back => detached,
    a_candidate_of_a_service_that_is_opened_only_afterwards_is_asked_with_a_token => opened_later,
}

const VERIFIED: &[&str] = &["apply", "--yes"];
const UNDO: &[&str] = &["apply", "--yes", "--on-failure", "undo"];
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const TAG: &str = "dpl-gate";
/// The migration is of the image that is asked for.
const JOB: &str = "run.projects.locations.jobs.patch";
const GET_REVISION: &str = "run.projects.locations.services.revisions.get";
const PATCH: &str = "run.projects.locations.services.patch";

/// What the manifest asks of the service, and what answers at its name and in the place of the
/// second version's containers.
struct Apps {
    public: Web,
    _first: Web,
    second: Web,
    /// With what the second version greets.
    status: Arc<AtomicU16>,
}

impl Apps {
    /// The first version serves, and the second one is wanted.
    async fn set(stage: &Stage) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        let apps = Self {
            public: Web::serve(well).await,
            _first: Web::serve(well).await,
            second: Web::serve(move |path| match (path, answer.load(Ordering::SeqCst)) {
                ("/greeting", status @ 500..) => (status, "go away"),
                (_, status @ 300..500) => (status, "not by this name"),
                (path, _) => well(path),
            })
            .await,
            status,
        };
        let digest = stage.digest(2);
        let (first, second) = (apps._first.answers(), apps.second.answers());
        stage.behave(move |started| match started.digest == digest {
            true => second(started),
            false => first(started),
        });
        apps.want_checks(stage);
        stage.want(&Wanted::FIRST);
        run(stage, VERIFIED, "gcp", Exit::Success).await;
        stage.want(&SECOND);
        apps
    }

    fn want_checks(&self, stage: &Stage) {
        let host = self.public.host();
        let overlay = format!(
            "[[services.idp.verify.checks]]\nname = \"greeting\"\npath = \"/greeting\"\nbody = \"good evening\"\n\n\
             [targets.gcp.services.idp]\nurl = \"http://{host}\"\n"
        );
        stage.file("deployer.test.toml", &overlay);
    }

    fn second_greets_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn well(path: &str) -> (u16, &'static str) {
    match path {
        "/health" => (200, "{}"),
        "/greeting" => (200, "good evening"),
        _ => (404, ""),
    }
}

fn path() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/swept-test-idp")
}

async fn read(stage: &Stage) -> Value {
    stage.google(Method::GET, &path(), None).await
}

async fn traffic(stage: &Stage) -> Vec<Value> {
    let traffic = read(stage).await["traffic"].clone();
    traffic.as_array().expect("targets").clone()
}

/// Whether a revision has the candidate's address.
async fn is_tagged(stage: &Stage) -> bool {
    traffic(stage)
        .await
        .iter()
        .any(|target| target["tag"] == TAG)
}

/// The second version serves everything as the newest one, nothing of a gate is left, and nothing
/// is to be done.
async fn all_is_well(stage: &Stage) {
    assert_serves(stage, "gcp", 2).await;
    let [target] = &traffic(stage).await[..] else {
        panic!("{:#}", read(stage).await["traffic"])
    };
    assert_eq!(target["type"], "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST");
    stage.calls.arm(None);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

async fn fails(stage: &Stage) {
    let apps = Apps::set(stage).await;
    apps.second_greets_with(503);
    let asked = apps.public.asked().len();
    let said = run(stage, VERIFIED, "gcp", Exit::VerificationFailed).await;
    says(
        &said,
        &[
            "failed: 1 check passed, 1 failed",
            "greeting",
            "503",
            "no traffic",
            "r1",
        ],
    );
    // Who comes by the service's name met nothing of it.
    assert_eq!(apps.public.asked().len(), asked);
    assert_serves(stage, "gcp", 1).await;
    assert!(
        !is_tagged(stage).await,
        "{:#}",
        read(stage).await["traffic"]
    );
    let status = document(stage, &["status"], "gcp", Exit::Untrue).await;
    assert_eq!(status[0]["release"]["number"], 1, "{status:#}");
    assert_eq!(status[0]["release"]["verified"], true, "{status:#}");
    assert_eq!(status[0]["failed_since"]["run"], 2, "{status:#}");
    // It is said again, as long as it is so: the same revision is asked again, and none is made.
    let newest = read(stage).await["latestCreatedRevision"].clone();
    let said = run(stage, &["plan"], "gcp", Exit::Success).await;
    says(&said, &["traffic"]);
    let words = [VERIFIED, &["--json"]].concat();
    let said = run(stage, &words, "gcp", Exit::VerificationFailed).await;
    let gate = about(&said, "gate", "gcp");
    assert_eq!(gate["overall"], "failed", "{gate:#}");
    let verdict = about(&said, "verdict", "gcp");
    assert_eq!(verdict["outcome"], "verification failed", "{verdict:#}");
    assert_serves(stage, "gcp", 1).await;
    apps.second_greets_with(200);
    let said = run(stage, VERIFIED, "gcp", Exit::Success).await;
    says(
        &said,
        &["was verified before it got the traffic: 2 checks passed"],
    );
    assert_eq!(read(stage).await["latestCreatedRevision"], newest);
    all_is_well(stage).await;
}

async fn counted(stage: &Stage) {
    let apps = Apps::set(stage).await;
    stage.calls.arm(None);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    let patches = |calls: Vec<String>| calls.iter().filter(|it| *it == PATCH).count();
    assert_eq!(patches(stage.calls.names()), 2);
    assert!(apps.second.asked().contains(&"/greeting".to_owned()));
    all_is_well(stage).await;
    // Asked for nothing but its health, or by whoever does not want it asked, it is no candidate.
    let url = format!(
        "[targets.gcp.services.idp]\nurl = \"http://{}\"\n",
        apps.public.host()
    );
    for (overlay, words) in [(Some(&url), VERIFIED), (None, APPLY)] {
        match overlay {
            Some(overlay) => {
                stage.file("deployer.test.toml", overlay);
            }
            None => apps.want_checks(stage),
        }
        let greeting = if overlay.is_some() { "one" } else { "two" };
        stage.want(&Wanted { greeting, ..SECOND });
        stage.calls.arm(None);
        run(stage, words, "gcp", Exit::Success).await;
        assert_eq!(patches(stage.calls.names()), 1, "{greeting}");
    }
}

async fn undone(stage: &Stage) {
    let apps = Apps::set(stage).await;
    apps.second_greets_with(503);
    let said = run(stage, UNDO, "gcp", Exit::VerificationFailed).await;
    says(
        &said,
        &["as before: gcp/us-central1/run.service/swept-test-idp"],
    );
    assert_serves(stage, "gcp", 1).await;
    assert!(!is_tagged(stage).await);
    apps.second_greets_with(200);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    all_is_well(stage).await;
}

/// The traffic leads to what serves already: nothing is made, moved or asked. What comes next is a
/// candidate as ever.
async fn gone_back(stage: &Stage) {
    let apps = Apps::set(stage).await;
    let idle = |stage: &Stage| {
        let names = stage.calls.names();
        names.iter().filter(|it| *it == GET_REVISION).count()
    };
    stage.want(&Wanted::FIRST);
    stage.calls.arm(None);
    run(stage, PLAN, "gcp", Exit::Success).await;
    assert_eq!(idle(stage), 0, "what serves is the newest revision");
    stage.want(&SECOND);
    apps.second_greets_with(503);
    run(stage, VERIFIED, "gcp", Exit::VerificationFailed).await;
    let newest = read(stage).await["latestCreatedRevision"].clone();
    stage.want(&Wanted::FIRST);
    for left_to_do in [&[JOB][..], &[]] {
        stage.calls.arm(None);
        run(stage, VERIFIED, "gcp", Exit::Success).await;
        assert_eq!(stage.calls.writes(), left_to_do);
        run(stage, PLAN, "gcp", Exit::Success).await;
    }
    assert_serves(stage, "gcp", 1).await;
    assert_eq!(read(stage).await["latestCreatedRevision"], newest);
    let status = document(stage, &["status"], "gcp", Exit::Success).await;
    assert_eq!(status[0]["release"]["number"], 1, "{status:#}");
    // The next candidate is asked beside it as ever.
    let greeting = "a third one";
    let (mut third, asked) = (SECOND, apps.second.asked().len());
    third.greeting = greeting;
    stage.want(&third);
    run(stage, VERIFIED, "gcp", Exit::VerificationFailed).await;
    assert!(apps.second.asked().len() > asked);
    assert_serves(stage, "gcp", 1).await;
    // The candidate that is asked for is asked again, though what serves is there.
    let newest = read(stage).await["latestCreatedRevision"].clone();
    apps.second_greets_with(200);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["latestCreatedRevision"], newest);
    all_is_well(stage).await;
}

/// The manifest goes back to what a rollback made serve: that is so already.
async fn followed(stage: &Stage) {
    let _apps = Apps::set(stage).await;
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    run(stage, &["rollback", "--yes"], "gcp", Exit::Success).await;
    let newest = read(stage).await["latestCreatedRevision"].clone();
    stage.want(&Wanted::FIRST);
    stage.calls.arm(None);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), [JOB]);
    run(stage, PLAN, "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["latestCreatedRevision"], newest);
    assert_serves(stage, "gcp", 1).await;
    // The next version serves as the newest one again.
    stage.want(&SECOND);
    let again = [VERIFIED, &["--release-hold"]].concat();
    run(stage, &again, "gcp", Exit::Success).await;
    all_is_well(stage).await;
}

async fn rolled_back(stage: &Stage) {
    let apps = Apps::set(stage).await;
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    let asked = apps.second.asked().len();
    run(stage, &["rollback", "--yes"], "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    assert!(!is_tagged(stage).await);
    assert_eq!(apps.second.asked().len(), asked);
    // Pinned by the rollback, the traffic stays there while the next candidate is asked.
    apps.second_greets_with(503);
    let again = [VERIFIED, &["--release-hold"]].concat();
    run(stage, &again, "gcp", Exit::VerificationFailed).await;
    assert_serves(stage, "gcp", 1).await;
    apps.second_greets_with(200);
    run(stage, &again, "gcp", Exit::Success).await;
    all_is_well(stage).await;
}

/// A killed process gives no lock back.
const LEASE_ENDS: Duration = Duration::from_secs(300);

async fn killed(stage: &Stage) {
    let apps = Apps::set(stage).await;
    let greet = |number: usize| -> String {
        let greeting: &'static str = Box::leak(format!("greeting {number}").into_boxed_str());
        stage.want(&Wanted { greeting, ..SECOND });
        greeting.to_owned()
    };
    greet(0);
    stage.ledger.arm(None);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    let writes = stage.ledger.writes();
    assert!(writes > 10, "{writes}");
    for nth in 1..=writes {
        for (half, crash) in [Crash::Before(nth), Crash::After(nth)]
            .into_iter()
            .enumerate()
        {
            let greeting = greet(2 * nth + half);
            let asked = apps.second.asked().len();
            stage.ledger.arm(Some(crash));
            let (ended, said) = stage.run(VERIFIED, "gcp").await;
            stage.ledger.arm(None);
            match ended {
                Ended::Killed => stage.time.pass(LEASE_ENDS).await,
                Ended::Exit(Exit::Success) => {}
                Ended::Exit(exit) => panic!("{crash:?}: it ended with {exit:?}:\n{said}"),
            }
            let serves = serves_greeting(stage, &greeting).await;
            let was_asked = apps.second.asked().len() > asked;
            assert!(was_asked || !serves, "{crash:?}: it serves unasked");
            run(stage, VERIFIED, "gcp", Exit::Success).await;
            assert!(serves_greeting(stage, &greeting).await, "{crash:?}");
            all_is_well(stage).await;
        }
    }
}

/// Whether all traffic goes to the newest revision, and that greets so.
async fn serves_greeting(stage: &Stage, greeting: &str) -> bool {
    let service = read(stage).await;
    let targets = service["traffic"].as_array().expect("targets");
    let is_all = |target: &Value| {
        target["percent"] == 100 && target["type"] == "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    };
    let env = service["template"]["containers"][0]["env"].as_array();
    let greets = |variable: &Value| variable["value"] == greeting;
    targets.iter().any(is_all) && env.expect("variables").iter().any(greets)
}

async fn replies_lost(stage: &Stage) {
    let apps = Apps::set(stage).await;
    stage.calls.arm(None);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    let calls = stage.calls.names();
    let patches = calls.iter().enumerate().filter(|(_, name)| *name == PATCH);
    let patches: Vec<usize> = patches.map(|(nth, _)| nth + 1).collect();
    assert_eq!(patches.len(), 2, "{calls:?}");
    for (fault, greetings) in [
        (Fault::ReplyLost, ["one", "two"]),
        (Fault::ThrottledTwice, ["three", "four"]),
        (Fault::BeforeEffect, ["five", "six"]),
    ] {
        for (nth, greeting) in patches.iter().zip(greetings) {
            stage.want(&Wanted { greeting, ..SECOND });
            stage.calls.arm(Some((*nth, fault)));
            let (ended, said) = stage.run(VERIFIED, "gcp").await;
            let disturbed = stage.calls.names();
            stage.calls.arm(None);
            assert!(disturbed.contains(&PATCH.to_owned()));
            match (fault, &ended) {
                (_, Ended::Exit(Exit::Success)) => {}
                (Fault::BeforeEffect, Ended::Exit(_)) => says(&said, &["error"]),
                _ => panic!("{fault:?} of call {nth} ended with {ended:?}:\n{said}"),
            }
            run(stage, VERIFIED, "gcp", Exit::Success).await;
            all_is_well(stage).await;
        }
    }
    drop(apps);
}

/// Runs the apply of the second version, and beside it `hand` once the candidate is being asked.
async fn during_the_gate(
    stage: &Stage,
    apps: &Apps,
    exit: Exit,
    hand: impl Future<Output = ()>,
) -> String {
    // Whoever is not let in is asked again for a while.
    apps.second_greets_with(403);
    stage.calls.arm(None);
    let other = async {
        while !is_tagged(stage).await {
            stage.time.pass(Duration::from_millis(100)).await;
        }
        hand.await;
        apps.second_greets_with(200);
    };
    let (said, ()) = tokio::join!(run(stage, VERIFIED, "gcp", exit), other);
    said
}

async fn moved_meanwhile(stage: &Stage) {
    let apps = Apps::set(stage).await;
    let first = read(stage).await["latestReadyRevision"].clone();
    let first = first.as_str().and_then(|it| it.rsplit('/').next());
    let first = first.expect("a revision").to_owned();
    let hand = async {
        let pinned = |percent: u32, tag: &str| json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": percent, "tag": tag });
        let change = json!({ "traffic": [pinned(90, "theirs"), pinned(10, "ours")] });
        let path = format!("{}?updateMask=traffic", path());
        stage.google(Method::PATCH, &path, Some(change)).await;
    };
    let said = during_the_gate(stage, &apps, Exit::Untrue, hand).await;
    says(&said, &["somebody else moved the traffic"]);
    assert_serves(stage, "gcp", 1).await;
    let tags: Vec<Value> = traffic(stage)
        .await
        .iter()
        .map(|it| it["tag"].clone())
        .collect();
    assert_eq!(tags, ["theirs", "ours"]);
}

async fn deployed_over(stage: &Stage) {
    let apps = Apps::set(stage).await;
    let service = read(stage).await;
    let hand = async {
        let mut template = service["template"].clone();
        template["labels"]["by"] = json!("another-hand");
        let path = format!("{}?updateMask=template", path());
        let template = json!({ "template": template });
        stage.google(Method::PATCH, &path, Some(template)).await;
    };
    let said = during_the_gate(stage, &apps, Exit::Untrue, hand).await;
    says(&said, &["somebody else"]);
    assert_serves(stage, "gcp", 1).await;
    assert!(!is_tagged(stage).await);
}

async fn stopped(stage: &Stage) {
    let apps = Apps::set(stage).await;
    // Whoever is not let in is asked again for a while.
    apps.second_greets_with(403);
    let stop = Stop::default();
    let manifest = format!("{}/deployer.toml", stage.folder());
    let words = ["apply", "--yes", "--cloud", "gcp", "--manifest", &manifest];
    let ledger = Some(Arc::new(stage.ledger.clone()) as _);
    let asked = apps.second.asked().len();
    let person = async {
        while apps.second.asked().len() == asked {
            stage.time.pass(Duration::from_millis(100)).await;
        }
        stop.request();
    };
    let running = stage.run_stopped(stop.clone(), ledger, &words);
    let ((ended, said), ()) = tokio::join!(running, person);
    assert!(
        matches!(ended, Ended::Exit(Exit::Interrupted)),
        "{ended:?}:\n{said}"
    );
    assert_serves(stage, "gcp", 1).await;
    assert!(!is_tagged(stage).await);
    apps.second_greets_with(200);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    all_is_well(stage).await;
}

/// A host that the app does not know, a redirect to the one that it does.
async fn turned_away(stage: &Stage) {
    let apps = Apps::set(stage).await;
    for (status, greeting) in [(400, "one"), (308, "two"), (403, "three")] {
        apps.second_greets_with(status);
        stage.want(&Wanted { greeting, ..SECOND });
        let said = run(stage, VERIFIED, "gcp", Exit::Success).await;
        says(&said, &["got the traffic unasked", &status.to_string()]);
        assert_serves(stage, "gcp", 2).await;
        assert!(!is_tagged(stage).await);
    }
}

async fn inside(stage: &Stage) {
    let apps = Apps::set(stage).await;
    apps.second_greets_with(503);
    stage.calls.arm(None);
    stage.file(
        "deployer.test.toml",
        "[[services.idp.verify.checks]]\nname = \"greeting\"\npath = \"/greeting\"\n\n\
         [targets.gcp.services.idp]\ningress = \"internal\"\n",
    );
    let said = run(stage, VERIFIED, "gcp", Exit::Success).await;
    says(&said, &["its ingress is `internal`"]);
    assert_serves(stage, "gcp", 2).await;
    let names = stage.calls.names();
    assert_eq!(names.iter().filter(|it| *it == PATCH).count(), 1);
    assert!(apps.second.asked().is_empty());
}

async fn detached(stage: &Stage) {
    let apps = Apps::set(stage).await;
    stage.calls.arm(None);
    let words = [VERIFIED, &["--detach"]].concat();
    run(stage, &words, "gcp", Exit::Success).await;
    let names = stage.calls.names();
    assert_eq!(names.iter().filter(|it| *it == PATCH).count(), 1);
    stage.time.pass(Duration::from_secs(600)).await;
    assert_serves(stage, "gcp", 2).await;
    assert!(apps.second.asked().is_empty());
}

/// The manifest opens it in the same run: that comes when the candidate serves.
async fn opened_later(stage: &Stage) {
    let apps = Apps::set(stage).await;
    let overlay = Path::new(&stage.file("beside", "")).with_file_name("deployer.test.toml");
    let open = std::fs::read_to_string(&overlay).expect("an overlay");
    let section = "[targets.gcp.services.idp]\n";
    let closed = open.replace(section, &format!("{section}public = false\n"));
    stage.file("deployer.test.toml", &closed);
    stage.want(&Wanted::FIRST);
    run(stage, VERIFIED, "gcp", Exit::Success).await;
    stage.file("deployer.test.toml", &open);
    stage.want(&SECOND);
    let said = run(stage, VERIFIED, "gcp", Exit::Success).await;
    says(&said, &["was verified before it got the traffic"]);
    let passes = apps.second.headers("x-serverless-authorization");
    assert!(!passes.is_empty(), "{said}");
    all_is_well(stage).await;
}
