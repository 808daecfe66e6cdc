//! The lock through the binary, with the ledger in a bucket: of S3 on moto, of Cloud Storage on the
//! sandbox.

use std::time::Duration;

use deployer_tests::deployer::{Deployer, Running, exit};
use deployer_tests::emulator::{Emulated, Emulator};
use deployer_tests::manifest::PROJECT;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::recorder::Recorder;
use deployer_tests::sandbox::Sandbox;
use deployer_tests::wait;
use serde_json::{Value, json};

/// Nothing that a test waits for takes longer.
const SOON: Duration = Duration::from_secs(60);

/// A process that was stopped for longer than this knows that it was.
const A_NAP: Duration = Duration::from_secs(7);

/// Two people with one project whose ledger is in a bucket.
struct Pair<'a> {
    deployer: &'a Deployer,
    /// Sees every call, the ledger's too.
    recorder: &'a Recorder,
    /// The arguments of an apply that ends well.
    apply: &'a [&'a str],
}

impl Pair<'_> {
    /// An apply that has the lock, stopped before it did anything with it.
    fn stopped_holder(&self) -> Running {
        let mark = self.recorder.mark();
        let running = self.deployer.start(self.apply, "");
        wait::until("the lock", SOON, || {
            let calls = mark.calls();
            let mut since = calls.iter().skip_while(|call| !is_of_the_lock(call));
            // What comes next; until then it may still tidy up after it took the lock.
            let next = since.find(|call| !is_of_the_lock(call) && !is_of_many(call));
            next.map(|_| ())
        });
        running.signal("STOP");
        running
    }

    fn standing(&self) -> Value {
        let shown = self.deployer.run(&["lock", "show", "--json"]);
        shown.exits(exit::SUCCESS).json()[0].clone()
    }

    fn a_second_apply_is_told_who_holds_the_lock(&self, holder: &Running) {
        let second = self.deployer.run(self.apply).exits(exit::LOCKED);
        let process = format!("(process {})", holder.id());
        second
            .says("is locked by")
            .says(&process)
            .says("apply since");
        let standing = self.standing();
        assert_eq!(standing["state"], "held", "{standing:#}");
        assert_eq!(standing["holder"]["process"], holder.id(), "{standing:#}");
        assert_eq!(standing["holder"]["command"], "apply");
        self.deployer
            .run(&["lock", "show"])
            .says(&holder.id().to_string());
        self.deployer.run(&["status"]).says("locked by");
    }

    fn a_holder_that_sleeps_through_a_release_writes_nothing_more(&self) {
        let holder = self.stopped_holder();
        self.a_second_apply_is_told_who_holds_the_lock(&holder);
        let refused = self.deployer.run(&["lock", "release"]).exits(exit::INPUT);
        refused.says("held by").says("--yes");
        let released = self.deployer.run(&["lock", "release", "--yes"]);
        let process = format!("(process {})", holder.id());
        released
            .exits(exit::SUCCESS)
            .says("took the lock from")
            .says(&process);
        assert_eq!(self.standing()["state"], "free");
        std::thread::sleep(A_NAP);
        let mark = self.recorder.mark();
        holder.signal("CONT");
        let ended = holder.finish().exits(exit::LOCKED);
        ended.says("was taken away").says("released it by hand");
        let mut writes = mark.writes();
        // It tries to renew: that is how it finds out.
        writes.retain(|call| !is_of_the_lock(call));
        assert_eq!(writes, Vec::<String>::new());
    }

    fn a_holder_that_was_killed_is_taken_over_once_it_would_have_renewed(&self) {
        let mut holder = self.stopped_holder();
        holder.signal("KILL");
        wait::until("its end", SOON, || holder.has_ended().then_some(()));
        assert_eq!(self.standing()["state"], "held");
        let next = self.deployer.run(self.apply).exits(exit::SUCCESS);
        next.says("took over the lock of")
            .says("its process is gone");
        assert_eq!(self.standing()["state"], "free");
        let nothing = self.deployer.run(&["lock", "release", "--yes"]);
        nothing.exits(exit::SUCCESS).says("nobody holds the lock");
    }
}

/// The clock tells a contender how old the lock is.
fn is_of_the_lock(call: &str) -> bool {
    ["/lock/", "%2Flock%2F", "clock.json"]
        .iter()
        .any(|part| call.contains(part))
}

/// S3 takes the names of what is to be deleted in the body.
fn is_of_many(call: &str) -> bool {
    call.starts_with("POST ")
}

fn request(method: &str, url: &str, token: &str, body: &str) {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body.to_owned())
        .expect("it is a request");
    ureq::run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
}

#[test]
fn a_ledger_in_cloud_storage_keeps_two_runs_apart() {
    let Some(prepared) = Prepared::find("a_ledger_in_cloud_storage_keeps_two_runs_apart") else {
        return;
    };
    let sandbox = std::sync::Arc::new(Sandbox::start(&prepared));
    let mut project = Project::new(&prepared, sandbox);
    let bucket = format!("{}-ledger", project.manifest.app);
    project.change(|manifest| {
        manifest.aws = None;
        manifest.gcp = Some(format!("ledger = \"gs://{bucket}/deployer\""));
    });
    let apply = ["apply", "--yes"];
    let absent = project.deployer.run(&apply).exits(exit::FAILURE);
    absent
        .says("the bucket for the ledger of gcp ")
        .says(&format!("gcloud storage buckets create gs://{bucket}"));

    let url = format!(
        "{}/storage/v1/b?project={PROJECT}",
        project.sandbox.gcp_url()
    );
    let token = &project.sandbox.exports["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"];
    let token = std::fs::read_to_string(token).expect("the sandbox has a token for gcloud");
    request(
        "POST",
        &url,
        token.trim(),
        &json!({ "name": bucket }).to_string(),
    );
    let pair = Pair {
        deployer: &project.deployer,
        recorder: &project.gcp,
        apply: &apply,
    };
    assert_eq!(pair.standing()["state"], "free");
    pair.a_holder_that_sleeps_through_a_release_writes_nothing_more();
    pair.a_holder_that_was_killed_is_taken_over_once_it_would_have_renewed();
    assert_eq!(project.on_gcp().version(), "1.0.0");

    // A store that loses replies, is busy and is down for moments: nothing is taken for another's,
    // nothing is lost.
    project.sandbox.disturb(&[
        ("storage.objects.insert", "every = 3", "reset_after"),
        ("storage.objects.insert", "every = 5", "throttled"),
        ("storage.objects.insert", "every = 7", "unavailable"),
        ("storage.objects.get", "every = 4", "reset_before"),
        ("storage.objects.list", "every = 4", "internal"),
    ]);
    project.change(|manifest| manifest.greeting = "good evening".into());
    project.deployer.run(&apply).exits(exit::SUCCESS);
    let fired = project.sandbox.disturbed();
    project.sandbox.disturb(&[]);
    assert!(fired >= 10, "{fired} faults");
    assert_eq!(project.on_gcp().about()["greeting"], "good evening");
    let plan = project.deployer.run(&["plan", "--detailed-exitcode"]);
    plan.exits(exit::SUCCESS);
}

#[test]
fn a_ledger_in_s3_keeps_two_runs_apart() {
    let Some(prepared) = Prepared::find("a_ledger_in_s3_keeps_two_runs_apart") else {
        return;
    };
    let mut project = Emulated::new(&prepared, Emulator::moto(&prepared));
    project.change(|manifest| {
        let aws = manifest.aws.get_or_insert_default();
        aws.push_str("\nledger = \"s3://idp-ledger/deployer\"");
    });
    let apply = ["apply", "--yes", "--detach"];
    let absent = project.deployer.run(&apply).exits(exit::FAILURE);
    absent
        .says("the bucket for the ledger of aws ")
        .says("aws s3api create-bucket --bucket idp-ledger --region us-east-1");

    // moto looks at no signature here.
    let bucket = format!("{}/idp-ledger", project.recorder.url());
    ureq::put(&bucket).send("").expect("moto makes buckets");
    let pair = Pair {
        deployer: &project.deployer,
        recorder: &project.recorder,
        apply: &apply,
    };
    assert_eq!(pair.standing()["state"], "free");
    pair.a_holder_that_sleeps_through_a_release_writes_nothing_more();
    pair.a_holder_that_was_killed_is_taken_over_once_it_would_have_renewed();
    let plan = project.plan();
    assert_eq!(plan["empty"], true, "{plan:#}");
}
