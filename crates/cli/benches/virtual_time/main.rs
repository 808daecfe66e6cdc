//! What can be measured without a machine's noise: calls, the critical path and the time until a
//! roll-out is known, with the whole program and both clouds in one process and in virtual time.
//! Every call takes 80 ms, RDS 12 minutes, ElastiCache 6, Cloud SQL 8, Memorystore 5; in a first
//! apply an ECS roll-out takes 90 s, one of Cloud Run 12 s.
//!
//! Prints a table, and writes it as JSON to the file that `DEPLOYER_BENCH_REPORT` names.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that panics has failed"
)]

#[path = "../../tests/in_process/mod.rs"]
mod in_process;

mod chain;
mod lag;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use in_process::environment;
use in_process::stage::{Ended, PROJECT, Stage, Wanted};
use in_process::time::VirtualTime;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What a call takes from here to the cloud and back.
const CALL: Duration = Duration::from_millis(80);
const APPLY: &[&str] = &["apply", "--yes", "--no-verify", "--json"];
/// Until a container is healthy, so that a roll-out takes 90 s on ECS and 12 s on Cloud Run.
const ECS_TAKES: Duration = Duration::from_secs(64);
const RUN_TAKES: Duration = Duration::from_secs(4);
/// What every command asks first, whatever the manifest says: who is asking, and where.
const FIRST_CALLS: [&str; 5] = [
    "sts:GetCallerIdentity",
    "cloudresourcemanager.projects.get",
    "serviceusage.services.batchGet",
    "oauth2.token",
    "registry GET token",
];
/// Calls without which the first read of a node does not tell everything: what the clouds keep
/// apart.
const SECOND_CALLS: [&str; 11] = [
    "ecr:ListTagsForResource",
    "logs:ListTagsForResource",
    "rds:ListTagsForResource",
    "elasticache:ListTagsForResource",
    "rds:DescribeDBParameters",
    "elasticache:DescribeCacheClusters",
    "redis.projects.locations.instances.getAuthString",
    "run.projects.locations.services.getIamPolicy",
    "secretmanager.projects.secrets.versions.access",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
];
/// How many roll-outs the lag of one run is measured at, of which the first does not count; and
/// that of many at once.
const ROLL_OUTS: u32 = 12;
const ROLL_OUTS_AT_ONCE: u32 = 6;
/// How many runs go on at once.
const RUNS: usize = 10;
/// One run by itself, and many at once.
const LAGS: [&str; 2] = ["lag", "lag_at_once"];

fn main() -> ExitCode {
    if environment::credentials().is_none() {
        return environment::of_its_own();
    }
    let report = json!({
        "first_apply": measure(first_apply),
        "no_op_plan": measure(no_op_plan),
        "redeploy": measure(redeploy),
        "lag": measure(async |stage| lag::measure(stage, 1, ROLL_OUTS).await),
        "lag_at_once": measure(async |stage| lag::measure(stage, RUNS, ROLL_OUTS_AT_ONCE).await),
    });
    println!("{}", table(&report));
    if let Some(file) = std::env::var_os("DEPLOYER_BENCH_REPORT") {
        let text = serde_json::to_vec_pretty(&report).expect("JSON");
        std::fs::write(file, text).expect("the report can be written");
    }
    match judge(&report) {
        broken if broken.is_empty() => ExitCode::SUCCESS,
        broken => {
            println!("not as promised:\n  {}", broken.join("\n  "));
            ExitCode::FAILURE
        }
    }
}

/// On a stage of its own.
fn measure(work: impl AsyncFnOnce(&Stage) -> Value) -> Value {
    let time = VirtualTime::patient();
    time.run(async {
        let stage = Stage::set(&time).await;
        let result = work(&stage).await;
        stage.clear().await;
        result
    })
}

/// Runs a command on both clouds with calls that take their time; gives its lines, and how long it
/// took.
async fn timed(stage: &Stage, words: &[&str]) -> (Vec<Value>, Duration) {
    stage.calls.arm(None);
    stage.calls.each_takes(CALL);
    let began = stage.time.now();
    let (ended, text) = stage.run(words, "all").await;
    let took = stage.time.now().duration_since(began);
    stage.calls.each_takes(Duration::ZERO);
    assert!(
        matches!(ended, Ended::Exit(Exit::Success)),
        "{ended:?}: {text}"
    );
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    (lines.collect(), took.try_into().expect("time goes on"))
}

/// A database, a cache and a service on each cloud, from nothing.
async fn first_apply(stage: &Stage) -> Value {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    stage.behave(|started| {
        let usual = Behaviour::usual(started.purpose);
        let takes = match (started.purpose, started.repository.contains(PROJECT)) {
            (Purpose::Finish, _) => usual.takes,
            (Purpose::Serve, true) => RUN_TAKES,
            (Purpose::Serve, false) => ECS_TAKES,
        };
        Behaviour { takes, ..usual }
    });
    let began = Instant::now();
    let (lines, took) = timed(stage, APPLY).await;
    let machine = began.elapsed();
    let entries = stage.ledger.entries().await;
    let mut report = json!({
        "nodes": chain::nodes(&lines),
        "calls": by_phase(stage, took).await,
        "seconds": took.as_secs_f64(),
        "machine_seconds": machine.as_secs_f64(),
        "seconds_by_node": chain::took(&lines),
    });
    for cloud in ["aws", "gcp"] {
        let longest = chain::longest(&lines, cloud);
        let executing = lag::executing(&entries, cloud);
        report[cloud] = json!({
            "longest_chain_seconds": longest.seconds,
            "longest_chain": longest.addresses,
            "executing_seconds": executing,
            "ratio": executing / longest.seconds,
        });
    }
    report
}

/// A plan that finds nothing to do.
async fn no_op_plan(stage: &Stage) -> Value {
    let wanted = Wanted {
        data: true,
        ..Wanted::FIRST
    };
    stage.want(&wanted);
    timed(stage, APPLY).await;
    let (_, took) = timed(stage, &["plan", "--detailed-exitcode"]).await;
    let names = stage.calls.names();
    let (lines, _) = timed(stage, APPLY).await;
    let of = |kinds: &[&str]| {
        let named = names.iter().filter(|name| kinds.contains(&name.as_str()));
        named.count()
    };
    let (first, second) = (of(&FIRST_CALLS), of(&SECOND_CALLS));
    json!({
        "nodes": chain::nodes(&lines),
        "all": names.len(),
        "first": first,
        "second": second,
        "reads": names.len() - first - second,
        "calls": counted(&names),
        "seconds": took.as_secs_f64(),
    })
}

/// Only the image is new.
async fn redeploy(stage: &Stage) -> Value {
    stage.want(&Wanted::FIRST);
    timed(stage, APPLY).await;
    stage.want(&Wanted {
        version: 2,
        ..Wanted::FIRST
    });
    let (_, took) = timed(stage, APPLY).await;
    let writes = stage.calls.writes();
    let api = writes.iter().filter(|name| !is_registry(name));
    json!({
        "calls": by_phase(stage, took).await,
        "writes": counted(&writes),
        "api_writes": api.count(),
        "seconds": took.as_secs_f64(),
    })
}

/// What copies an image or gets a token for it changes no service.
fn is_registry(name: &str) -> bool {
    name.starts_with("registry ") || name.ends_with("token")
}

/// The calls of the command that ended just now and took so long, by name: before its run began,
/// and from then on.
async fn by_phase(stage: &Stage, took: Duration) -> Value {
    let since = stage.time.now() - took;
    let entries = stage.ledger.entries().await;
    let written = entries
        .iter()
        .filter_map(|it| it["at"].as_str()?.parse().ok());
    let began: Option<Timestamp> = written.filter(|at| *at > since).min();
    let began = began.unwrap_or(Timestamp::MAX);
    let (before, after): (Vec<_>, Vec<_>) = stage
        .calls
        .arrivals()
        .into_iter()
        .partition(|(_, at)| *at < began);
    let names = |calls: Vec<(String, Timestamp)>| -> Vec<String> {
        calls.into_iter().map(|(name, _)| name).collect()
    };
    let (observe, execute) = (names(before), names(after));
    json!({
        "observe": { "all": observe.len(), "by_name": counted(&observe) },
        "execute": { "all": execute.len(), "by_name": counted(&execute) },
    })
}

fn counted(names: &[String]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for name in names {
        *counted.entry(name.as_str()).or_default() += 1;
    }
    counted
}

/// What the project promises.
fn judge(report: &Value) -> Vec<String> {
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(Value::as_f64)
            .expect("a number")
    };
    let mut broken = Vec::new();
    let mut promise = |kept: bool, words: String| {
        if !kept {
            broken.push(words);
        }
    };
    for cloud in ["aws", "gcp"] {
        let ratio = number(&format!("/first_apply/{cloud}/ratio"));
        promise(
            ratio <= 1.05,
            format!("{cloud}: a first apply takes {ratio:.3} of its longest chain"),
        );
    }
    let of_plan = |name: &str| number(&format!("/no_op_plan/{name}"));
    let (nodes, reads, second) = (of_plan("nodes"), of_plan("reads"), of_plan("second"));
    promise(
        reads <= nodes,
        format!("a plan of {nodes} nodes makes {reads} reads of them"),
    );
    promise(
        // Passwords and the addresses made of them are read by their version, one by one.
        second <= nodes * 0.55,
        format!("a plan of {nodes} nodes asks {second} times for more of one"),
    );
    let writes = number("/redeploy/api_writes");
    promise(
        writes <= 6.0,
        format!("a redeploy makes {writes} writes, the clouds need 6"),
    );
    for lag in LAGS {
        let runs = number(&format!("/{lag}/runs"));
        for cloud in ["aws", "gcp"] {
            let median = number(&format!("/{lag}/{cloud}/median_seconds"));
            promise(
                median <= 1.0,
                format!(
                    "{cloud}, {runs} at once: a roll-out is known {median:.2} s after it is ready"
                ),
            );
            let looks = number(&format!("/{lag}/{cloud}/looks_per_second"));
            let allowed = number(&format!("/{lag}/{cloud}/allowed_per_second"));
            promise(
                looks <= allowed,
                format!("{cloud}, {runs} at once: {looks:.0} looks a second"),
            );
        }
        let refused = &report[lag]["refused"];
        promise(
            *refused == json!({}),
            format!("{runs} runs at once: refused for their rate: {refused}"),
        );
    }
    broken
}

fn table(report: &Value) -> String {
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    let mut lines = vec![
        "first apply, both clouds, database and cache (virtual time)".to_owned(),
        format!(
            "  nodes                        {:>9}",
            number("/first_apply/nodes")
        ),
        format!(
            "  whole command                {:>9.1} s",
            number("/first_apply/seconds")
        ),
        format!(
            "  the machine's own time       {:>9.1} s",
            number("/first_apply/machine_seconds")
        ),
    ];
    for cloud in ["aws", "gcp"] {
        let of_cloud = |name: &str| number(&format!("/first_apply/{cloud}/{name}"));
        lines.push(format!(
            "  {cloud}: executing               {:>9.1} s",
            of_cloud("executing_seconds")
        ));
        lines.push(format!(
            "  {cloud}: the graph's longest chain {:>7.1} s   ratio {:.3}",
            of_cloud("longest_chain_seconds"),
            of_cloud("ratio")
        ));
    }
    for what in ["first_apply", "redeploy"] {
        for phase in ["observe", "execute"] {
            lines.push(format!(
                "  calls of {what}, {phase:<8}  {:>6}",
                number(&format!("/{what}/calls/{phase}/all"))
            ));
        }
    }
    lines.extend([
        "plan with nothing to do".to_owned(),
        format!(
            "  nodes                        {:>9}",
            number("/no_op_plan/nodes")
        ),
        format!(
            "  calls                        {:>9}   {} to begin with, {} for nodes, {} for more of some",
            number("/no_op_plan/all"),
            number("/no_op_plan/first"),
            number("/no_op_plan/reads"),
            number("/no_op_plan/second")
        ),
        format!(
            "  time                         {:>9.2} s",
            number("/no_op_plan/seconds")
        ),
        "new image, both clouds".to_owned(),
        format!(
            "  writes without the registry  {:>9}",
            number("/redeploy/api_writes")
        ),
        format!(
            "  time                         {:>9.1} s",
            number("/redeploy/seconds")
        ),
    ]);
    for (lag, cloud) in LAGS
        .iter()
        .flat_map(|lag| ["aws", "gcp"].map(|it| (lag, it)))
    {
        let runs = number(&format!("/{lag}/runs"));
        lines.push(format!("ready -> known, {cloud}, {runs} at once"));
        lines.push(format!(
            "  median, longest              {:>9.2} s {:.2} s",
            number(&format!("/{lag}/{cloud}/median_seconds")),
            number(&format!("/{lag}/{cloud}/longest_seconds"))
        ));
        lines.push(format!(
            "  looks a second               {:>9.1}   allowed {}",
            number(&format!("/{lag}/{cloud}/looks_per_second")),
            number(&format!("/{lag}/{cloud}/allowed_per_second"))
        ));
    }
    lines.join("\n")
}
