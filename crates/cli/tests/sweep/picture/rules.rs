//! What of the sandbox's dump makes no difference: what is over, and what differs from run to run.
//!
//! The rules say what is left out. Whatever they do not name is compared, so that a new kind, or a
//! new member of one, is in the picture as soon as the sandbox has it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

/// What happened, as against what is there: a place in the dump (`*` is any key).
const HISTORY: [&str; 23] = [
    "aws/apprunner/services/*/operations",
    "aws/ecs/runs",
    "aws/ecs/services/*/deployments/*/failed",
    "aws/ecs/services/*/deployments/*/reason",
    "aws/ecs/services/*/events",
    "aws/ecs/services/*/failures_in_a_row",
    // As it was first asked for, with its token.
    "aws/ecs/services/*/request",
    "aws/ecs/services/*/revisions",
    "aws/ecs/services/*/rollouts",
    "aws/logs/groups/*/kept",
    // What its versions are known by.
    "aws/secretsmanager/secrets/*/versions/*/stages",
    "gcp/dns/zones/*/changes",
    "gcp/logging",
    "gcp/operations",
    // Counted by the job.
    "gcp/run/jobs/*/executions",
    "gcp/run/jobs/*/message/latestCreatedExecution",
    "gcp/run/jobs/*/message/conditions",
    "gcp/run/services/*/message/conditions",
    "gcp/run/services/*/operation",
    // As the names of its revisions tell; of those that failed there may be more.
    "gcp/run/services/*/revision_count",
    "gcp/run/services/*/revisions/*/message/conditions",
    "gcp/sqladmin/operations",
    "gcp/storage/generation",
];

/// Members that count changes or name one, whatever has them.
const CHANGES: [&str; 7] = [
    "etag",
    "generation",
    "history",
    "metageneration",
    "observedGeneration",
    "observed_generation",
    "uid",
];

/// Members whose text is a secret's: of what is made, only the length is the same in every run.
const SECRETS: [&str; 7] = [
    "/auth",
    "/data",
    "/new_password",
    "/password",
    "/payload/value",
    "/tokens",
    "/rootPassword",
];

/// Moments as numbers, in seconds and in milliseconds: 2023 to 2033.
const SECONDS: Range<f64> = 1.7e9..2.0e9;
const MILLISECONDS: Range<f64> = 1.7e12..2.0e12;

/// What is another one in each run, by its form, and what stands for it.
static IDS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        // A task's container has more of them behind its own.
        (r"\b[0-9a-f]{32}(-[0-9a-f]{10})?\b", "HEX"),
        (r"\b[0-9a-fA-F]{40}\b", "HEX"),
        // App Runner chooses where its services are reached.
        (
            r"\b[0-9a-f]{10}(\.[a-z0-9-]+\.awsapprunner\.com)\b",
            "HEX$1",
        ),
        // Named by all that it says, ids of secrets' versions among it.
        (r"\b(app-runner/[^/]+)-[0-9a-f]{12}\b", "$1"),
        // A last snapshot is named after the run that takes it.
        (r"-final-[0-9a-f]{8}\b", "-final-RUN"),
        // The place of the ledger, which is a folder of the stage's own.
        (r"^[0-9a-f]{16}$", "LEDGER"),
        (r"\b(service-revision/[^/]+/[^/]+)/[0-9]+", "$1/N"),
        (r"\b10\.0(\.[0-9]{1,3}){2}\b", "10.0.IP"),
        (r"\bdb-[0-9A-Z]{26}\b", "db-ID"),
        (r"\b127(\.[0-9]{1,3}){3}:[0-9]+", "127.IP:PORT"),
        (r"localhost:[0-9]+", "localhost:PORT"),
        ("ecs-svc/[0-9]+", "ecs-svc/N"),
        ("eni-[0-9a-f]+", "eni-ID"),
        // The end of a secret's ARN.
        (r"(:secret:[^\s:]+)-[A-Za-z0-9]{6}\b", "$1"),
        // Cloud Run ends the names of revisions with letters of its own choice.
        ("-([0-9]{5})-[0-9a-z]{3}\\b", "-$1"),
        ("(?s)-----BEGIN .*-----\n?", "PEM"),
    ];
    let compiled = patterns.iter().map(|(pattern, stands)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        (pattern, *stands)
    });
    compiled.collect()
});

static MOMENT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$").expect("a pattern"));

/// Whether what stands at this place makes no difference.
pub fn is_history(place: &str) -> bool {
    let last = place.rsplit('/').next().unwrap_or_default();
    CHANGES.contains(&last) || HISTORY.iter().any(|history| matches(history, place))
}

fn matches(pattern: &str, place: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), place.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == "*" || one == other => {}
            _ => return false,
        }
    }
}

/// Whether a thing is gone, and its cloud only goes on to tell so.
pub fn is_over(thing: &Value) -> bool {
    let status = ["status", "last_status"].map(|member| thing[member].as_str());
    let definition = thing["value"]["status"].as_str();
    let over = |status: &Option<&str>| matches!(status, Some("INACTIVE" | "STOPPED" | "DELETED"));
    status.iter().chain([&definition]).any(over)
}

/// What ids mean that things pin: a version of a secret is known by its stages.
pub struct Pins(BTreeMap<String, String>);

impl Pins {
    /// Reads the versions of AWS's secrets; Google counts its own.
    pub fn of(dump: &Value) -> Self {
        let secrets = dump["aws"]["secretsmanager"]["secrets"].as_object();
        let versions = secrets.into_iter().flatten().flat_map(|(_, secret)| {
            let versions = secret["versions"].as_array().into_iter().flatten();
            versions.map(|version| {
                let id = version["id"].as_str().unwrap_or_default();
                (id.to_owned(), stages(version))
            })
        });
        Self(versions.collect())
    }

    /// A text with what it pins by name.
    fn told(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, stages) in &self.0 {
            if text.contains(id) {
                text = text.replace(id, stages);
            }
        }
        text
    }
}

/// The stages that the cloud gives itself; ours name versions, which differ.
pub fn stages(version: &Value) -> String {
    let stages = version["stages"].as_array().into_iter().flatten();
    let own = stages.filter_map(Value::as_str);
    let own: Vec<_> = own.filter(|stage| stage.starts_with("AWS")).collect();
    own.join("+")
}

/// A key or a name without what differs.
pub fn named(text: &str, pins: &Pins) -> String {
    alike(&pins.told(text))
}

/// A text without ids.
pub fn alike(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, stands) in IDS.iter() {
        text = pattern.replace_all(&text, *stands).into_owned();
    }
    text
}

/// A value without what differs; `None` for a moment, and for what is not set.
pub fn shown(place: &str, value: &Value, pins: &Pins) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() || MOMENT.is_match(text) => None,
        Value::String(text) if SECRETS.iter().any(|it| place.ends_with(it)) => Some(secret(text)),
        Value::String(text) => Some(named(text, pins)),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let is_moment = SECONDS.contains(&number) || MILLISECONDS.contains(&number);
            (!is_moment).then(|| value.to_string())
        }
        Value::Bool(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => Some(named(&value.to_string(), pins)),
    }
}

/// A value that is given; of one that is made, how long it is.
fn secret(text: &str) -> String {
    match text.starts_with("mail ") {
        true => text.to_owned(),
        false => format!("{} characters", text.len()),
    }
}
