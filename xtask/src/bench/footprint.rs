//! The release binary by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{median, process};

/// How often it is started.
const STARTS: usize = 21;

pub fn measure(binary: &Path) -> Result<Value> {
    let (mut seconds, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = process::measure_well(Command::new(binary).arg("--version"))?;
        seconds.push(start.seconds);
        peaks.push(start.peak_mib);
    }
    Ok(json!({
        "binary_mib": fs::metadata(binary)?.len() as f64 / f64::from(1 << 20),
        "version_milliseconds": median(seconds) * 1000.0,
        "version_peak_mib": peaks.into_iter().fold(0.0, f64::max),
    }))
}

pub fn table(report: &Value) -> String {
    let number = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "footprint\n  binary                       {:>9.1} MiB\n  --version, median            {:>9.1} ms\n  \
         --version, peak memory       {:>9.1} MiB",
        number("binary_mib"),
        number("version_milliseconds"),
        number("version_peak_mib")
    )
}
