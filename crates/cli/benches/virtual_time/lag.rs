//! How long after a roll-out is complete the program knows it, and how often it asks meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::Behaviour;
use futures::future::join_all;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{Ended, LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, CALL};

/// The look at a service, and how many of them a second the cloud allows: ECS's bucket for reading
/// a cluster's resources refills at 20 a second, Cloud Run's quota for reads is 3,000 a minute in a
/// region.
const LOOKS: [(&str, &str, f64); 2] = [
    ("aws", "ecs:DescribeServices", 20.0),
    ("gcp", "run.projects.locations.services.get", 50.0),
];

/// From the first to the last entry about nodes of one cloud.
pub fn executing(entries: &[Value], cloud: &str) -> f64 {
    let of_cloud = |entry: &&Value| {
        let address = entry["event"]["address"].as_str().unwrap_or_default();
        address.split('/').next() == Some(cloud)
    };
    let moments = entries
        .iter()
        .filter(of_cloud)
        .filter_map(|entry| entry["at"].as_str()?.parse::<Timestamp>().ok());
    let moments: Vec<Timestamp> = moments.collect();
    match (moments.iter().min(), moments.iter().max()) {
        (Some(first), Some(last)) => last.duration_since(*first).as_secs_f64(),
        _ => 0.0,
    }
}

/// Rolls out again and again, one image after the other: as many runs at once, each in an
/// environment of its own.
pub async fn measure(stage: &Stage, runs: usize, roll_outs: u32) -> Value {
    let others: Vec<Stage> = (1..runs)
        .map(|number| stage.beside(&format!("test{number}")))
        .collect();
    let stages: Vec<&Stage> = std::iter::once(stage).chain(&others).collect();
    let mut lags: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut busiest: BTreeMap<&str, f64> = BTreeMap::new();
    for number in 0..roll_outs {
        // Another length each time and for each service, so that looks and ends do not keep step.
        let base = 5_000 + 370 * u64::from(number);
        stage.behave(move |started| {
            let name: u64 = started.repository.bytes().map(u64::from).sum();
            let usual = Behaviour::usual(started.purpose);
            let takes = Duration::from_millis(base + name * 137 % 2_000);
            Behaviour {
                takes: usual.takes.max(takes),
                ..usual
            }
        });
        roll_out(&stages, number).await;
        if number == 0 {
            continue;
        }
        let arrivals = stage.calls.arrivals();
        for stage in &stages {
            let ready = [
                ("aws", ready_on_aws(stage).await),
                ("gcp", ready_on_gcp(stage).await),
            ];
            for (cloud, ready) in ready {
                let known = known(stage, cloud).await;
                lags.entry(cloud)
                    .or_default()
                    .push(known.duration_since(ready).as_secs_f64());
            }
        }
        for (cloud, look, _) in LOOKS {
            let moments = arrivals.iter().filter(|(name, _)| name == look);
            let moments: Vec<Timestamp> = moments.map(|(_, at)| *at).collect();
            let most = busiest.entry(cloud).or_default();
            *most = most.max(a_second_at_most(&moments));
        }
    }
    let mut report = json!({ "runs": runs, "refused": stage.refused().await });
    for (cloud, _, allowed) in LOOKS {
        let mut lags = lags.remove(cloud).expect("it was measured");
        lags.sort_by(f64::total_cmp);
        report[cloud] = json!({
            "roll_outs": lags.len(),
            "median_seconds": lags[lags.len() / 2],
            "longest_seconds": lags.last(),
            "looks_per_second": busiest.get(cloud),
            "allowed_per_second": allowed,
        });
    }
    report
}

/// Every stage rolls out the other version; all begin at the same moment.
async fn roll_out(stages: &[&Stage], number: u32) {
    let calls = &stages[0].calls;
    calls.arm(None);
    // A little more each time: ECS looks at a service at a fixed pace from its update on, and so
    // does whoever waits for it.
    calls.each_takes(CALL + Duration::from_millis(3) * number);
    let version = 1 + number % 2;
    let runs = stages.iter().map(|stage| {
        stage.want(&Wanted {
            version,
            ..Wanted::FIRST
        });
        stage.run(APPLY, "all")
    });
    for (ended, text) in join_all(runs).await {
        assert!(
            matches!(ended, Ended::Exit(Exit::Success)),
            "{ended:?}: {text}"
        );
    }
    calls.each_takes(Duration::ZERO);
}

/// Over the busiest ten seconds: the clouds let bursts pass.
fn a_second_at_most(moments: &[Timestamp]) -> f64 {
    let window = jiff::SignedDuration::from_secs(10);
    let within = |start: &Timestamp| {
        let inside = |at: &&Timestamp| **at >= *start && at.duration_since(*start) < window;
        moments.iter().filter(inside).count() as f64 / 10.0
    };
    moments.iter().map(within).fold(0.0, f64::max)
}

/// When the journal says that the service is ready, in the last run.
async fn known(stage: &Stage, cloud: &str) -> Timestamp {
    let kind = match cloud {
        "aws" => "ecs.service",
        _ => "run.service",
    };
    let entries = stage.ledger.entries().await;
    let mut ready = entries.iter().filter(|entry| {
        entry["event"]["is"] == "ready" && entry["event"]["address"].to_string().contains(kind)
    });
    let last = ready.next_back().and_then(|entry| entry["at"].as_str());
    last.and_then(|at| at.parse().ok())
        .expect("it became ready")
}

async fn ready_on_aws(stage: &Stage) -> Timestamp {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs
        .describe_services()
        .services(stage.service())
        .send()
        .await;
    let seen = seen.expect("a service");
    let updated = seen.services()[0].deployments()[0]
        .updated_at()
        .expect("a time");
    Timestamp::from_nanosecond(updated.as_nanos()).expect("a time")
}

async fn ready_on_gcp(stage: &Stage) -> Timestamp {
    let service = stage.service();
    let path = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{service}");
    let service = stage.google(Method::GET, &path, None).await;
    let at = &service["terminalCondition"]["lastTransitionTime"];
    at.as_str().and_then(|at| at.parse().ok()).expect("a time")
}
