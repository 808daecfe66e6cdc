//! Faults and rates of a sandbox, as a person puts them in force: by flag, by command, and out of
//! force again.

use std::path::PathBuf;
use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::manifest::PROJECT;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::Sandbox;
use serde_json::json;
use tempfile::TempDir;

/// Far more calls than the rate takes at once.
const MANY: usize = 500;

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

fn denied(call: &str) -> String {
    format!("# What a role forgot.\n[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\n")
}

#[test]
fn a_faults_file_disturbs_until_it_is_cleared_and_a_wrong_one_is_refused() {
    let name = "a_faults_file_disturbs_until_it_is_cleared_and_a_wrong_one_is_refused";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let on_aws = file(&folder, "aws.toml", &denied("ecr:DescribeRepositories"));
    let call = "artifactregistry.projects.locations.repositories.get";
    let on_gcp = file(&folder, "gcp.toml", &denied(call));
    let sandbox = Sandbox::start_with(&prepared, &["--faults", &on_aws]);
    let project = Project::new(&prepared, Arc::new(sandbox));
    let plan = || project.deployer.run(&["plan", "--details"]);
    let sandbox = &project.sandbox;

    // By the flag: one cloud is disturbed, the other one is planned.
    let disturbed = plan().exits(exit::DENIED);
    disturbed
        .says("is not authorized to perform: ecr:DescribeRepositories")
        .says("+ artifactregistry.repository")
        .does_not_say("+ ecr.repository");
    assert!(sandbox.disturbed() > 0);
    let status = sandbox.run(&["status"]).exits(exit::SUCCESS);
    status.says("fault denied for ecr:DescribeRepositories: fired ");

    // By the command, in place of what was in force.
    let replaced = sandbox.run(&["faults", &on_gcp]).exits(exit::SUCCESS);
    assert_eq!(replaced.stdout, "one fault is in force\n");
    let disturbed = plan().exits(exit::DENIED);
    disturbed
        .says("+ ecr.repository")
        .says("PERMISSION_DENIED")
        .does_not_say("+ artifactregistry.repository");

    // A wrong one changes nothing.
    let wrong = format!("{}times = 0\n", denied("ecr:DescribeRepositories"));
    let wrong = file(&folder, "wrong.toml", &wrong);
    let refused = sandbox.run(&["faults", &wrong]).exits(exit::INPUT);
    refused
        .says("cannot use the faults file")
        .says(&format!("{wrong}, line 5: fault.times: is 0"))
        .says("hint: at least 1, or leave it out");
    plan().exits(exit::DENIED).says("PERMISSION_DENIED");
    let absent = sandbox.run(&["faults", "nowhere.toml"]).exits(exit::INPUT);
    absent
        .says("cannot read the faults file `nowhere.toml`")
        .says("hint: name a TOML file that this user can read");
    sandbox.run(&["faults"]).exits(exit::INPUT);

    let cleared = sandbox.run(&["faults", "--clear"]).exits(exit::SUCCESS);
    assert_eq!(cleared.stdout, "no fault is in force\n");
    plan()
        .exits(exit::SUCCESS)
        .says("+ ecr.repository")
        .says("+ artifactregistry.repository");
    let late = sandbox.run(&["up", "--faults", &on_aws]);
    late.exits(exit::INPUT)
        .says("a sandbox runs already, without this faults file")
        .says("hint: put it in force with `deployer sandbox faults FILE`");
    plan().exits(exit::SUCCESS);
}

#[test]
fn a_sandbox_does_not_start_with_a_wrong_faults_file() {
    let Some(prepared) = Prepared::find("a_sandbox_does_not_start_with_a_wrong_faults_file") else {
        return;
    };
    let home = tempfile::tempdir().expect("a folder can be made");
    let wrong = file(&home, "wrong.toml", &denied("ecs:UpdateServices"));
    let variable = (
        "DEPLOYER_SANDBOX_HOME".to_owned(),
        home.path().display().to_string(),
    );
    let deployer =
        deployer_tests::deployer::Deployer::new(&prepared.binary, home.path(), [variable].into());
    let up = ["sandbox", "up", "--aws-port", "0", "--gcp-port", "0"];
    for more in [
        &["--faults", &wrong][..],
        &["--foreground", "--faults", &wrong],
    ] {
        let refused = deployer.run(&[&up, more].concat()).exits(exit::INPUT);
        refused
            .says(&format!(
                "{wrong}, line 3: fault.call: no call matches `ecs:UpdateServices`"
            ))
            .says("hint: perhaps `ecs:UpdateService`?");
    }
    let status = deployer.run(&["sandbox", "status"]).exits(exit::FAILURE);
    status.says("no sandbox runs");
}

#[test]
fn rates_are_enforced_only_where_that_was_asked_for() {
    let Some(prepared) = Prepared::find("rates_are_enforced_only_where_that_was_asked_for") else {
        return;
    };
    let strict = Sandbox::start_with(&prepared, &["--rates"]);
    let lenient = Sandbox::start(&prepared);
    assert_eq!(strict.status()["rates"]["rejected"], json!({}));
    assert_eq!(lenient.status()["rates"], json!(null));

    assert_eq!(first_refusal(&lenient), None);
    let first = first_refusal(&strict).expect("it refuses what comes too fast");
    // Sixty a minute, which may come at once.
    assert!(first >= 60, "the first {first} passed");
    let status = strict.run(&["status"]).exits(exit::SUCCESS);
    status
        .says("API rates are enforced: 1 calls were refused")
        .says("  logging.entries.list: 1");
}

/// Lists log entries again and again: how many calls passed before one was refused for its rate.
fn first_refusal(sandbox: &Sandbox) -> Option<usize> {
    let url = format!("{}/v2/entries:list", sandbox.gcp_url());
    let token = &sandbox.exports["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"];
    let token = std::fs::read_to_string(token).expect("the sandbox has a token for gcloud");
    let body = json!({ "resourceNames": [format!("projects/{PROJECT}")] }).to_string();
    (0..MANY).find(|_| {
        let asked = ureq::post(&url)
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("content-type", "application/json")
            .send(&body);
        match asked {
            Ok(_) => false,
            Err(ureq::Error::StatusCode(429)) => true,
            Err(error) => panic!("{url}: {error}"),
        }
    })
}
