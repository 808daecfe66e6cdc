//! The same redeploy by `deployer` and by hand, in turns, on one sandbox that is much faster than a
//! cloud: what is left is mostly what each of them spends itself.
//!
//! By hand is as the runbooks have it. On AWS: describe and register the task definition, update
//! the service, wait until it is stable. On Google: `gcloud run services update`, which waits by
//! itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::clouds::{Clouds, manifest};
use super::{median, process};
use crate::postgres::Postgres;
use crate::{images, run};

const ROUNDS: usize = 3;
/// As fast as a real container can follow.
const SPEED: &str = "50";
/// Of what the runbook's clients spend themselves, ours is to spend at most this.
const OWN: f64 = 0.1;
/// What the app wants beside its database.
const KEYS: &str = ", JWT_PRIVATE_KEY = { secret = \"jwt-private\" }, JWT_PUBLIC_KEY = { secret = \"jwt-public\" }";
const KEY_PAIR: &str = r#"
[keys.jwt]
algorithm = "rsa:2048"
private = "jwt-private"
public = "jwt-public"
"#;
const SERVICE: &str = "bench-run-s1";
const VERSIONS: [&str; 2] = ["2.0.0", "1.0.0"];
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

/// A cloud, as `--cloud` and as people call it, and the client that a runbook uses.
const CLOUDS: [(&str, &str, &str); 2] = [("aws", "AWS", "aws"), ("gcp", "Google", "gcloud")];

/// What redeploys cost, one after the other.
#[derive(Default)]
struct Costs {
    /// From the start of the first program to the end of the last.
    seconds: Vec<f64>,
    /// The programs' processor time.
    own_seconds: Vec<f64>,
    calls: Vec<f64>,
    /// The last one's calls, by name.
    named: BTreeMap<String, u64>,
}

pub fn measure(binary: &Path) -> Result<Value> {
    let postgres = Postgres::start()?;
    let url = postgres.url("postgres");
    let more = format!(", DATABASE_URL = \"{url}\"{KEYS}");
    let clouds = Clouds::start(binary, "runbook", &["--speed", SPEED])?;
    let want = |version: &str| {
        let image = images::directory().join(format!("idp-{version}"));
        clouds.want(&format!("{}{KEY_PAIR}", manifest(1, &image, &more)))
    };
    let apply = ["apply", "--yes", "--no-verify"];
    let mut pushed = Vec::new();
    for version in VERSIONS {
        want(version)?;
        process::measure_well(&mut clouds.deployer(&apply))?;
        pushed.push(images_that_serve(&clouds)?);
    }
    let mut costs: BTreeMap<&str, (Costs, Costs)> = BTreeMap::new();
    for round in 0..ROUNDS {
        // From the version that serves to the other one, and back by hand.
        let (there, back) = (round % 2, (round + 1) % 2);
        want(VERSIONS[there])?;
        for (cloud, _, client) in CLOUDS {
            let (ours, theirs) = costs.entry(cloud).or_default();
            ours.add(&clouds, || {
                let only = ["--only", "s1", "--cloud", cloud];
                let arguments = [&apply[..], &only[..]].concat();
                let done = process::measure_well(&mut clouds.deployer(&arguments))?;
                Ok((done.seconds, done.own_seconds))
            })?;
            if run::exists(client) {
                let image = &pushed[back][cloud];
                theirs.add(&clouds, || match cloud {
                    "aws" => by_hand_on_aws(&clouds, image),
                    _ => by_hand_on_google(&clouds, image),
                })?;
            }
        }
        // The next round begins with what the manifest says.
        process::measure_well(&mut clouds.deployer(&apply))?;
    }
    let report = costs.into_iter().map(|(cloud, (ours, theirs))| {
        let (ours, theirs) = (ours.report(), theirs.report());
        let ratio = |name: &str| (name.to_owned(), json!(of(&ours, name) / of(&theirs, name)));
        let ratios = ["seconds", "own_seconds", "calls"].map(ratio);
        let ratios: serde_json::Map<_, _> = ratios.into_iter().collect();
        let report = json!({ "deployer": ours, "by_hand": theirs, "ratio": ratios });
        (cloud.to_owned(), report)
    });
    Ok(Value::Object(report.collect()))
}

impl Costs {
    /// Measures a redeploy, which returns its seconds and its own.
    fn add(
        &mut self,
        clouds: &Clouds,
        redeploy: impl FnOnce() -> Result<(f64, f64)>,
    ) -> Result<()> {
        let before = clouds.calls()?;
        let (seconds, own_seconds) = redeploy()?;
        let mut calls = clouds.calls()?;
        for (name, count) in before {
            calls.entry(name).and_modify(|all| *all -= count);
        }
        calls.retain(|_, count| *count > 0);
        self.seconds.push(seconds);
        self.own_seconds.push(own_seconds);
        self.calls.push(calls.values().sum::<u64>() as f64);
        self.named = calls;
        Ok(())
    }

    /// Medians; null where nothing was measured.
    fn report(self) -> Value {
        json!({
            "seconds": median(self.seconds),
            "own_seconds": median(self.own_seconds),
            "calls": median(self.calls),
            "calls_of_the_last": self.named,
        })
    }
}

fn of(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(f64::NAN)
}

/// The image that serves on each cloud, as that cloud has it.
fn images_that_serve(clouds: &Clouds) -> Result<BTreeMap<String, String>> {
    let status = process::measure_well(&mut clouds.deployer(&["status", "--json"]))?;
    let status: Vec<Value> = serde_json::from_slice(&status.output.stdout)?;
    let services = status.iter().filter(|entry| entry["service"].is_string());
    let images = services.map(|entry| {
        let serving = &entry["serving"];
        let image = serving["wanted"].as_str().map(|it| &serving["images"][it]);
        let image = image.and_then(Value::as_str);
        let cloud = entry["cloud"].as_str().context("a status has a cloud")?;
        let image = image.with_context(|| format!("nothing serves on {cloud}"))?;
        Ok((cloud.to_owned(), image.to_owned()))
    });
    images.collect()
}

fn by_hand_on_google(clouds: &Clouds, image: &str) -> Result<(f64, f64)> {
    let mut update = clouds.program(Path::new("gcloud"));
    update.args(["run", "services", "update", SERVICE, "--image", image]);
    let done = process::measure_well(&mut update)?;
    Ok((done.seconds, done.own_seconds))
}

fn by_hand_on_aws(clouds: &Clouds, image: &str) -> Result<(f64, f64)> {
    let (mut seconds, mut own_seconds) = (0.0, 0.0);
    let mut aws = |arguments: &[&str]| -> Result<Value> {
        let mut command = clouds.program(Path::new("aws"));
        command.args(["ecs"]).args(arguments);
        let done = process::measure_well(command.args(["--output", "json"]))?;
        seconds += done.seconds;
        own_seconds += done.own_seconds;
        Ok(serde_json::from_slice(&done.output.stdout).unwrap_or(Value::Null))
    };
    let seen = aws(&["describe-task-definition", "--task-definition", SERVICE])?;
    let described = seen["taskDefinition"].as_object();
    let described = described.context("the service has a task definition")?;
    let mut again: Value = REGISTERED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), described.get(*name)?.clone())))
        .collect();
    again["containerDefinitions"][0]["image"] = json!(image);
    let input = again.to_string();
    let made = aws(&["register-task-definition", "--cli-input-json", &input])?;
    let arn = made["taskDefinition"]["taskDefinitionArn"].as_str();
    let arn = arn.context("a registered task definition has an ARN")?;
    aws(&[
        "update-service",
        "--service",
        SERVICE,
        "--task-definition",
        arn,
    ])?;
    aws(&["wait", "services-stable", "--services", SERVICE])?;
    Ok((seconds, own_seconds))
}

/// The promises that are not kept, each in a sentence.
pub fn broken(report: &Value) -> Vec<String> {
    let clouds = CLOUDS.iter().filter_map(|(cloud, called, client)| {
        let ratio = of(&report[*cloud]["ratio"], "own_seconds");
        // Without the client there is nothing to compare with, and the table says so.
        (ratio > OWN).then(|| {
            format!(
                "a redeploy on {called} spends {ratio:.3} of the processor time that one with `{client}` spends: \
                 at most {OWN} is promised"
            )
        })
    });
    clouds.collect()
}

pub fn table(report: &Value) -> String {
    let mut text = format!(
        "the same redeploy by deployer and by hand, medians of {ROUNDS} in turns\n  \
         cloud                    deployer   by hand     ratio"
    );
    for (cloud, called, client) in CLOUDS {
        let report = &report[cloud];
        if report["by_hand"]["seconds"].is_null() {
            text.push_str(&format!("\n  {called}: `{client}` is not installed"));
        }
        for (what, name, digits) in [
            ("seconds", "seconds", 2),
            ("own seconds", "own_seconds", 3),
            ("calls", "calls", 0),
        ] {
            text.push_str(&format!(
                "\n  {called:<7} {what:<12} {:>12.digits$} {:>9.digits$} {:>9.3}",
                of(&report["deployer"], name),
                of(&report["by_hand"], name),
                of(&report["ratio"], name),
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_tenth_on_any_cloud_breaks_the_promise() {
        let report = |aws: Option<f64>, gcp: f64| json!({ "aws": { "ratio": { "own_seconds": aws } }, "gcp": { "ratio": { "own_seconds": gcp } } });
        assert_eq!(broken(&report(Some(0.1), 0.04)), Vec::<String>::new());
        assert_eq!(broken(&report(None, 0.04)), Vec::<String>::new());
        let both = broken(&report(Some(0.11), 0.5));
        assert_eq!(both.len(), 2);
        assert!(both[0].contains("AWS spends 0.110 of"), "{both:?}");
        assert!(both[1].contains("Google spends 0.500 of"), "{both:?}");
    }
}
