//! The same redeploy by `deployer` and by hand, in turns, on one sandbox that is much faster than a cloud: what is left is mostly
//! what each of them spends itself.
//!
//! By hand on AWS: describe and register the task definition, update the service, wait until it is stable. On Google the sandbox
//! takes no `gcloud run services update`, which speaks v1; what `gcloud` spends on one look at the service stands for it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::clouds::{Clouds, manifest};
use super::{median, process};
use crate::postgres::Postgres;
use crate::{images, run};

const ROUNDS: usize = 3;
/// As fast as a real container can follow.
const SPEED: &str = "50";
/// What the app wants beside its database.
const KEYS: &str = ", JWT_PRIVATE_KEY = { secret = \"jwt-private\" }, JWT_PUBLIC_KEY = { secret = \"jwt-public\" }";
const KEY_PAIR: &str = r#"
[keys.jwt]
algorithm = "rsa:2048"
private = "jwt-private"
public = "jwt-public"
"#;
const SERVICE: &str = "bench-run-s1";
/// What of a described task definition may be registered again.
const REGISTERED: [&str; 9] = [
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "containerDefinitions",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "runtimePlatform",
];

pub fn measure(binary: &Path) -> Result<Value> {
    let postgres = Postgres::start()?;
    let url = postgres.url("postgres");
    let more = format!(", DATABASE_URL = \"{url}\"{KEYS}");
    let clouds = Clouds::start(binary, "runbook", &["--speed", SPEED])?;
    let image = |version: &str| images::directory().join(format!("idp-{version}"));
    let want = |version: &str| {
        let manifest = manifest(1, &image(version), &more);
        clouds.want(&format!("{manifest}{KEY_PAIR}"))
    };
    let apply = ["apply", "--yes", "--no-verify"];
    for version in ["2.0.0", "1.0.0"] {
        want(version)?;
        process::measure_well(&mut clouds.deployer(&apply))?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut ours_google, mut look_google) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let version = ["2.0.0", "1.0.0"][round % 2];
        want(version)?;
        let only = |cloud| {
            [
                "apply",
                "--yes",
                "--no-verify",
                "--only",
                "s1",
                "--cloud",
                cloud,
            ]
        };
        ours.push(process::measure_well(&mut clouds.deployer(&only("aws")))?.seconds);
        ours_google.push(process::measure_well(&mut clouds.deployer(&only("gcp")))?.seconds);
        if run::exists("aws") {
            theirs.push(by_hand(&clouds)?);
            // The next round begins with what the manifest says.
            process::measure_well(&mut clouds.deployer(&apply))?;
        }
        if run::exists("gcloud") {
            let mut look = clouds.program(&PathBuf::from("gcloud"));
            look.args(["run", "services", "describe", SERVICE, "--format=json"]);
            look_google.push(process::measure_well(&mut look)?.seconds);
        }
    }
    Ok(json!({
        "aws": { "deployer_seconds": median(ours), "by_hand_seconds": median(theirs) },
        "gcp": { "deployer_seconds": median(ours_google), "one_look_by_gcloud_seconds": median(look_google) },
    }))
}

/// What the runbooks do; seconds.
fn by_hand(clouds: &Clouds) -> Result<f64> {
    let aws = |arguments: &[&str]| {
        let mut command = clouds.program(&PathBuf::from("aws"));
        command.args(arguments).args(["--output", "json"]);
        command
    };
    let mut seconds = 0.0;
    let mut timed = |arguments: &[&str]| -> Result<Value> {
        let done = process::measure_well(&mut aws(arguments))?;
        seconds += done.seconds;
        Ok(serde_json::from_slice(&done.output.stdout).unwrap_or(Value::Null))
    };
    let seen = timed(&[
        "ecs",
        "describe-task-definition",
        "--task-definition",
        SERVICE,
    ])?;
    let described = seen["taskDefinition"].as_object();
    let described = described.context("the service has a task definition")?;
    let mut again: Value = REGISTERED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), described.get(*name)?.clone())))
        .collect();
    // Another revision is wanted; which image it has makes no difference to what it costs.
    again["containerDefinitions"][0]["environment"][0]["value"] = json!("by hand");
    let input = again.to_string();
    let made = timed(&[
        "ecs",
        "register-task-definition",
        "--cli-input-json",
        &input,
    ])?;
    let arn = made["taskDefinition"]["taskDefinitionArn"].as_str();
    let arn = arn.context("a registered task definition has an ARN")?;
    timed(&[
        "ecs",
        "update-service",
        "--service",
        SERVICE,
        "--task-definition",
        arn,
    ])?;
    timed(&["ecs", "wait", "services-stable", "--services", SERVICE])?;
    ensure!(seconds > 0.0, "nothing was measured");
    Ok(seconds)
}

pub fn table(report: &Value) -> String {
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    let (ours, theirs) = (
        number("/aws/deployer_seconds"),
        number("/aws/by_hand_seconds"),
    );
    let (google, look) = (
        number("/gcp/deployer_seconds"),
        number("/gcp/one_look_by_gcloud_seconds"),
    );
    format!(
        "the same redeploy, medians of {ROUNDS} in turns\n  \
         AWS: deployer                {ours:>9.2} s\n  \
         AWS: by hand with aws        {theirs:>9.2} s   ratio {:.2}\n  \
         Google: deployer             {google:>9.2} s\n  \
         Google: one look by gcloud   {look:>9.2} s   ratio {:.2}",
        ours / theirs,
        google / look
    )
}
