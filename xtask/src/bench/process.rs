//! A program that ran: how long, and how much memory it had at most.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// How often a program's memory is looked at.
const LOOK: Duration = Duration::from_micros(500);

/// What a run cost.
pub struct Measured {
    pub seconds: f64,
    /// The processor time of the program and of those that it waited for.
    pub own_seconds: f64,
    /// The largest resident set that was seen, in MiB: the system counts it, a look in the last
    /// half millisecond is missed.
    pub peak_mib: f64,
    pub output: Output,
}

/// Runs a program to its end. One at a time: processor time is counted for all that have ended.
pub fn measure(command: &mut Command) -> Result<Measured> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (began, before) = (Instant::now(), children_seconds()?);
    let child = command.spawn();
    let child = child.with_context(|| format!("cannot start `{name}`"))?;
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut peak: f64 = 0.0;
        while let Some(seen) = fs::read_to_string(&status).ok().and_then(high_water) {
            peak = peak.max(seen);
            std::thread::sleep(LOOK);
        }
        peak
    });
    let output = child.wait_with_output()?;
    let seconds = began.elapsed().as_secs_f64();
    let own_seconds = children_seconds()? - before;
    let peak_mib = watcher.join().expect("looking at a file does not panic");
    Ok(Measured {
        seconds,
        own_seconds,
        peak_mib,
        output,
    })
}

/// The processor time of every program that was waited for so far.
fn children_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The same; an error with what it said unless it succeeds.
pub fn measure_well(command: &mut Command) -> Result<Measured> {
    let measured = measure(command)?;
    ensure!(
        measured.output.status.success(),
        "{command:?} ended with {}: {}{}",
        measured.output.status,
        String::from_utf8_lossy(&measured.output.stderr).trim(),
        String::from_utf8_lossy(&measured.output.stdout).trim()
    );
    Ok(measured)
}

/// `VmHWM`; a process that has ended has none.
fn high_water(status: String) -> Option<f64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
