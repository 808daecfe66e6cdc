//! Plans of one to a thousand services, at the rates that the clouds' APIs allow.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::clouds::{Clouds, manifest};
use super::process;
use crate::images;

const SERVICES: [usize; 4] = [1, 10, 100, 1000];

pub fn measure(binary: &Path) -> Result<Value> {
    let image = images::directory().join("idp-1.0.0");
    let mut rows = Vec::new();
    for services in SERVICES {
        // Buckets that are full, each time.
        let clouds = Clouds::start(binary, "scale", &["--rates"])?;
        clouds.want(&manifest(services, &image, ""))?;
        let plan = process::measure(&mut clouds.deployer(&["plan", "--json"]))?;
        let document: Value = serde_json::from_slice(&plan.output.stdout)?;
        let nodes = document["plan"]["changes"].as_array().map(Vec::len);
        let status = clouds.status()?;
        rows.push(json!({
            "services": services,
            "nodes": nodes.context("a plan has changes")?,
            "seconds": plan.seconds,
            "peak_mib": plan.peak_mib,
            // Nodes that could not be read at the rates that the clouds allow.
            "unread": document["errors"].as_array().map(Vec::len),
            "calls": status["rates"]["admitted"],
            "rejections": rejections(&status["rates"]),
        }));
    }
    Ok(json!(rows))
}

/// How many calls were refused for their rate, of every API together.
fn rejections(rates: &Value) -> u64 {
    let counted = rates["rejected"].as_object().into_iter().flatten();
    counted.filter_map(|(_, count)| count.as_u64()).sum()
}

/// What is promised and not so: nothing refused, nothing unread, and a service among many costs no
/// more than one alone.
pub fn broken(report: &Value) -> Vec<String> {
    let rows: Vec<&Value> = report.as_array().into_iter().flatten().collect();
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    let per_service = |row: &Value, name: &str| number(row, name) / number(row, "services");
    let mut broken = Vec::new();
    for row in &rows {
        let services = number(row, "services");
        for name in ["rejections", "unread"] {
            if number(row, name) != 0.0 {
                broken.push(format!("{services} services: {} {name}", number(row, name)));
            }
        }
        for name in ["calls", "seconds", "peak_mib"] {
            // What one alone costs is mostly what a command costs anyway.
            if per_service(row, name) > per_service(rows[0], name) {
                broken.push(format!("{services} services: more than linear in {name}"));
            }
        }
    }
    broken
}

pub fn table(report: &Value) -> String {
    let mut text = "plan of N services on both clouds, rates enforced\n  services    nodes   seconds   per node   memory   calls   a service   refused    unread".to_owned();
    for row in report.as_array().into_iter().flatten() {
        let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
        text.push_str(&format!(
            "\n  {:>8} {:>8} {:>9.2} {:>7.1} ms {:>5.0} MiB {:>7} {:>11.1} {:>9} {:>9}",
            number("services"),
            number("nodes"),
            number("seconds"),
            number("seconds") / number("nodes") * 1000.0,
            number("peak_mib"),
            number("calls"),
            number("calls") / number("services"),
            number("rejections"),
            number("unread")
        ));
    }
    text
}
