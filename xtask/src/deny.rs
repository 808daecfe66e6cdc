//! Licences, sources and advisories of everything that is built in.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::run::{self, Outcome};
use crate::workspace;

/// Checks bans, licences and sources.
pub fn check() -> Result<Outcome> {
    let mut command = cargo_deny()?;
    run::run(command.args(["check", "bans", "licenses", "sources"]))?;
    Ok(Outcome::Passed)
}

/// Checks advisories, where their database can be fetched.
pub fn advisories() -> Result<Outcome> {
    let fetched = run::output(cargo_deny()?.args(["fetch", "db"]));
    if let Err(error) = fetched {
        eprintln!("{error:#}");
        return Ok(Outcome::Skipped(
            "the advisory database cannot be fetched".to_owned(),
        ));
    }
    run::run(cargo_deny()?.args(["--offline", "check", "advisories"]))?;
    Ok(Outcome::Passed)
}

/// The installed cargo-deny, or one installed under `target/tools`.
fn cargo_deny() -> Result<Command> {
    let own = workspace::generated("tools");
    let program = own.join("bin/cargo-deny");
    let mut command = if run::exists("cargo-deny") {
        Command::new("cargo-deny")
    } else {
        if !program.exists() {
            eprintln!("installing cargo-deny in {}", own.display());
            let mut install = workspace::cargo();
            // Unoptimised: it runs for seconds and would compile for minutes more.
            install.args([
                "install",
                "--locked",
                "--debug",
                "--quiet",
                "cargo-deny",
                "--root",
            ]);
            install.arg(&own).stdin(Stdio::null());
            run::run(&mut install).context("cannot install cargo-deny")?;
        }
        Command::new(program)
    };
    command.current_dir(workspace::root());
    Ok(command)
}
