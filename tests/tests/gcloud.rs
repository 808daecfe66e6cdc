//! What Google's own client changes on the sandbox: it succeeds, and both versions of Cloud Run's
//! API agree on what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::manifest::{LOCATION, PROJECT};
use deployer_tests::prepared::{Prepared, on_path, skip};
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::recorder::{Recorder, Side};
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

#[test]
fn gcloud_updates_a_service_and_what_it_was_not_asked_to_change_stays() {
    let name = "gcloud_updates_a_service_and_what_it_was_not_asked_to_change_stays";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    if on_path("gcloud").is_none() {
        skip(name, "gcloud is not installed");
        return;
    }
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| manifest.aws = None);
    let gcloud = Gcloud::beside(&project);
    let apply = ["apply", "--yes"];
    project.deployer.run(&apply).exits(exit::SUCCESS);
    let first = image(&gcloud.service());
    project.use_version("2.0.0");
    project.deployer.run(&apply).exits(exit::SUCCESS);
    let before = gcloud.service();
    assert_ne!(first, image(&before));

    gcloud.update(&["--update-env-vars", "GREETING=by hand"]);
    let mut wanted = steady(&before);
    *variable(&mut wanted, "GREETING") = json!({ "name": "GREETING", "value": "by hand" });
    assert_eq!(steady(&gcloud.service()), wanted);
    assert_eq!(project.on_gcp().about()["greeting"], "by hand");
    gcloud.describes_what_v2_says();

    gcloud.update(&["--image", &first]);
    wanted["template"]["containers"][0]["image"] = json!(first);
    assert_eq!(steady(&gcloud.service()), wanted);
    assert_eq!(project.on_gcp().version(), "1.0.0");
    gcloud.describes_what_v2_says();

    let absent = format!("{LOCATION}-docker.pkg.dev/{PROJECT}/absent/app:1");
    let refused = gcloud.run("update", &["--image", &absent]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("is not ready and cannot serve"), "{said}");
    assert_eq!(project.on_gcp().version(), "1.0.0");

    let mut replaced = gcloud.recorder.mark_all().writes();
    replaced.retain(|write| write.starts_with("PUT /apis/serving.knative.dev/v1/"));
    assert_eq!(replaced.len(), 3, "{replaced:?}");
    python::assert_responses_valid(&prepared, &gcloud.recorder, Side::Gcp);
}

/// Google's own client, recorded, and a service that it changes.
struct Gcloud {
    service: String,
    environment: BTreeMap<String, String>,
    sandbox: Arc<Sandbox>,
    recorder: Recorder,
}

impl Gcloud {
    fn beside(project: &Project) -> Self {
        let sandbox = Arc::clone(&project.sandbox);
        let recorder = Recorder::start(Side::Gcp, sandbox.gcp_url());
        let port = recorder.url().rsplit(':').next().expect("a port");
        let mut environment = sandbox.exports.clone();
        // It takes the sandbox as a proxy.
        environment.insert("CLOUDSDK_PROXY_PORT".to_owned(), port.to_owned());
        Self {
            service: project.manifest.service_name(),
            environment,
            sandbox,
            recorder,
        }
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("gcloud");
        command.args(["run", "services", verb, &self.service]);
        command.args(arguments).envs(&self.environment);
        command.output().expect("gcloud can be started")
    }

    #[track_caller]
    fn update(&self, arguments: &[&str]) {
        let done = self.run("update", arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("has been deployed and is serving"), "{said}");
    }

    /// The service as v2 tells it.
    fn service(&self) -> Value {
        let token = &self.environment["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"];
        let token = std::fs::read_to_string(token).expect("there is a token");
        let name = format!(
            "projects/{PROJECT}/locations/{LOCATION}/services/{}",
            self.service
        );
        let mut answer = ureq::get(format!("{}/v2/{name}", self.sandbox.gcp_url()))
            .header("authorization", &format!("Bearer {}", token.trim()))
            .call()
            .expect("the service is there");
        let text = answer.body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    /// `gcloud run services describe` and v2 say the same.
    #[track_caller]
    fn describes_what_v2_says(&self) {
        let v2 = self.service();
        let done = self.run("describe", &["--format=json"]);
        let v1: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        let last = |name: &Value| {
            let name = name.as_str().expect("a name");
            name.rsplit('/').next().map(str::to_owned)
        };
        let status = &v1["status"];
        let ready = last(&v2["latestReadyRevision"]);
        assert_eq!(ready, last(&v2["latestCreatedRevision"]));
        assert_eq!(ready, last(&status["latestReadyRevisionName"]));
        assert_eq!(ready, last(&status["latestCreatedRevisionName"]));
        assert_eq!(ready, last(&status["traffic"][0]["revisionName"]));
        assert_eq!(status["traffic"][0]["percent"], 100);
        assert_eq!(status["conditions"][0]["type"], "Ready");
        assert_eq!(status["conditions"][0]["status"], "True");
        let spec = &v1["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["image"], image(&v2));
        let of_v1 = spec["containers"][0]["env"].as_array();
        let of_v1 = of_v1.into_iter().flatten().map(|variable| {
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let (secret, version) = (&secret["name"], &secret["key"]);
            json!([variable["name"], variable["value"], secret, version]).to_string()
        });
        let of_v2 = v2["template"]["containers"][0]["env"].as_array();
        let of_v2 = of_v2.into_iter().flatten().map(|variable| {
            let secret = &variable["valueSource"]["secretKeyRef"];
            let (secret, version) = (&secret["secret"], &secret["version"]);
            json!([variable["name"], variable["value"], secret, version]).to_string()
        });
        let (of_v1, of_v2): (BTreeSet<_>, BTreeSet<_>) = (of_v1.collect(), of_v2.collect());
        assert_eq!(of_v1, of_v2);
        assert!(
            of_v1.iter().any(|it| it.contains("database-url")),
            "{of_v1:?}"
        );
    }
}

fn image(service: &Value) -> String {
    let image = service["template"]["containers"][0]["image"].as_str();
    image.expect("an image has a name").to_owned()
}

fn variable<'a>(service: &'a mut Value, name: &str) -> &'a mut Value {
    let all = service["template"]["containers"][0]["env"].as_array_mut();
    let mut all = all.into_iter().flatten();
    all.find(|it| it["name"] == name).expect("it is set")
}

/// A service without what each change of it sets anew: times and versions, and what `gcloud` writes
/// of itself.
fn steady(service: &Value) -> Value {
    let mut service = service.clone();
    let without = |message: &mut Value, names: &[&str]| {
        for name in names {
            message.as_object_mut().expect("a message").remove(*name);
        }
    };
    without(
        &mut service,
        &[
            "client",
            "clientVersion",
            "conditions",
            "etag",
            "generation",
            "lastModifier",
            "latestCreatedRevision",
            "latestReadyRevision",
            "observedGeneration",
            "terminalCondition",
            "updateTime",
        ],
    );
    let template = &mut service["template"];
    without(template, &["client", "clientVersion", "revision"]);
    without(&mut template["labels"], &["client.knative.dev/nonce"]);
    service
}
