//! The longest chain of a plan's graph, by what each node took.

use std::collections::BTreeMap;

use serde_json::Value;

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

/// Changes stand in an order of dependencies, so one pass finds every chain.
pub fn longest(lines: &[Value]) -> Chain {
    let done = lines.iter().filter(|line| line["event"] == "done");
    let took: BTreeMap<String, f64> = done
        .filter_map(|line| Some((line["address"].to_string(), line["seconds"].as_f64()?)))
        .collect();
    let mut chains: BTreeMap<String, (f64, Vec<String>)> = BTreeMap::new();
    for change in changes(lines) {
        let address = change["address"].to_string();
        let needs = change["needs"].as_array().cloned().unwrap_or_default();
        let before = needs
            .iter()
            .filter_map(|need| chains.get(&need.to_string()))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .cloned();
        let (seconds, mut addresses) = before.unwrap_or_default();
        addresses.push(address.clone());
        let own = took.get(&address).copied().unwrap_or_default();
        chains.insert(address, (seconds + own, addresses));
    }
    let longest = chains
        .into_values()
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let (seconds, addresses) = longest.expect("a plan has nodes");
    Chain { seconds, addresses }
}
