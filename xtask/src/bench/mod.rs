//! `cargo xtask bench`: what the program costs, as ratios within one run. A table, and
//! `target/bench/report.json`.
//!
//! Calls, the critical path and the lag are measured in virtual time
//! (`crates/cli/benches/virtual_time`); the rest with the release binary against a sandbox of its
//! own. Machines are noisy: compare within one run.

mod clouds;
mod footprint;
mod process;
mod runbook;
mod scale;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{images, run, workspace};

/// Measures everything and shows it.
pub fn command() -> Result<()> {
    let folder = workspace::generated("bench");
    fs::create_dir_all(&folder).context("cannot make target/bench")?;
    let (virtual_time, kept) = virtual_time(&folder);
    let binary = binary()?;
    let report = json!({
        "virtual_time": virtual_time,
        "footprint": footprint::measure(&binary)?,
        "scale": scale::measure(&binary)?,
        "runbook": runbook::measure(&binary)?,
    });
    let file = folder.join("report.json");
    fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    println!("{}", footprint::table(&report["footprint"]));
    println!("{}", scale::table(&report["scale"]));
    println!("{}", runbook::table(&report["runbook"]));
    println!("all of it: {}", file.display());
    let mut broken = scale::broken(&report["scale"]);
    broken.extend(runbook::broken(&report["runbook"]));
    broken.extend(kept.err().map(|error| format!("{error:#}")));
    judge(&broken)
}

/// Measures and judges the part beside the runbook alone.
pub fn runbook() -> Result<()> {
    let folder = workspace::generated("bench");
    fs::create_dir_all(&folder).context("cannot make target/bench")?;
    let report = runbook::measure(&binary()?)?;
    let file = folder.join("runbook.json");
    fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    println!("{}", runbook::table(&report));
    println!("all of it: {}", file.display());
    judge(&runbook::broken(&report))
}

/// An error that tells every promise that was not kept.
fn judge(broken: &[String]) -> Result<()> {
    ensure!(
        broken.is_empty(),
        "what is promised is not so:\n  {}",
        broken.join("\n  ")
    );
    Ok(())
}

/// The release binary, and the images that it deploys. With `DEPLOYER_TEST_BIN` neither is built.
fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("DEPLOYER_TEST_BIN") {
        return Ok(binary.into());
    }
    images::build()?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--package", "deployer"]);
    workspace::build_program(&mut build, "deployer")
}

/// The report of the part in virtual time, and whether it kept its promises.
fn virtual_time(folder: &Path) -> (Value, Result<()>) {
    let file: PathBuf = folder.join("virtual_time.json");
    let mut command = workspace::cargo();
    // With the features that the tests build with: nothing is built twice.
    command.args(["test", "--workspace", "--bench", "virtual_time"]);
    command.env("DEPLOYER_BENCH_REPORT", &file);
    let kept = run::run(&mut command);
    let report = fs::read(&file).ok();
    let report = report.and_then(|text| serde_json::from_slice(&text).ok());
    (report.unwrap_or(Value::Null), kept)
}

/// The one in the middle, of an odd number best.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
