//! The longest chain of a plan's graph, by what the clouds themselves take for each node.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::CALL;

/// The chain that nothing could make shorter but the clouds themselves.
pub struct Chain {
    pub seconds: f64,
    pub addresses: Vec<String>,
}

/// How many nodes the plan has.
pub fn nodes(lines: &[Value]) -> usize {
    changes(lines).len()
}

fn changes(lines: &[Value]) -> Vec<Value> {
    let plan = lines.iter().find(|line| line["event"] == "plan");
    let changes = plan.and_then(|line| line["plan"]["changes"].as_array());
    changes.cloned().expect("the first line is the plan")
}

/// What each node took, as the program tells it.
pub fn took(lines: &[Value]) -> BTreeMap<&str, f64> {
    let done = lines.iter().filter(|line| line["event"] == "done");
    done.filter_map(|line| Some((line["address"].as_str()?, line["seconds"].as_f64()?)))
        .collect()
}

/// What the clouds take for a node of this kind, in seconds, however it is asked for. Everything
/// else takes one call.
///
/// RDS takes 12 minutes until an instance is `available`, of which the last two are its first
/// backup: it serves meanwhile. Of a migration on ECS counts what a task takes before its container
/// starts.
fn least(kind: &str) -> f64 {
    match kind {
        "rds.instance" => 10.0 * 60.0,
        "elasticache.replication_group" => 6.0 * 60.0,
        "sql.instance" => 8.0 * 60.0,
        "redis.instance" => 5.0 * 60.0,
        "ecs.service" => 90.0,
        "ecs.migration" => 8.0 + 12.0,
        "run.service" => 12.0,
        "run.job" => 2.0,
        "run.migration" => 10.0,
        "sql.database" | "sql.user" => 3.0,
        _ => CALL.as_secs_f64(),
    }
}

/// The longest chain among the nodes of one cloud. Changes stand in an order of dependencies, so
/// one pass finds every chain.
pub fn longest(lines: &[Value], cloud: &str) -> Chain {
    let mut chains: BTreeMap<String, (f64, Vec<String>)> = BTreeMap::new();
    for change in changes(lines) {
        let address = change["address"].as_str().expect("an address").to_owned();
        let mut parts = address.split('/');
        if parts.next() != Some(cloud) {
            continue;
        }
        let kind = parts.nth(1).unwrap_or_default();
        let needs = change["needs"].as_array().cloned().unwrap_or_default();
        let before = needs
            .iter()
            .filter_map(|need| chains.get(need.as_str()?))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .cloned();
        let (seconds, mut addresses) = before.unwrap_or_default();
        addresses.push(address.clone());
        let seconds = seconds + least(kind);
        chains.insert(address, (seconds, addresses));
    }
    let longest = chains
        .into_values()
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let (seconds, addresses) = longest.expect("a plan has nodes");
    Chain { seconds, addresses }
}
