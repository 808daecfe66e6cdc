//! The vendors' Python clients, at pinned versions, in an environment of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::workspace;

const REQUIREMENTS: &str = "tests/conformance/requirements.txt";

/// `cargo xtask venv`: prepares the environment and prints its path.
pub fn command() -> Result<()> {
    println!("{}", prepare()?.display());
    Ok(())
}

/// The environment's directory; made when it is absent or its requirements changed.
pub fn prepare() -> Result<PathBuf> {
    let file = workspace::root().join(REQUIREMENTS);
    let wanted =
        fs::read_to_string(&file).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let venv = workspace::generated("venv");
    let installed = venv.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(venv);
    }
    eprintln!("preparing the Python clients in {}", venv.display());
    if !run::exists("python3") {
        bail!("`python3` is missing: install the Debian packages `python3` and `python3-venv`");
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run::output(&mut create).context(
        "cannot make a virtual environment: is the Debian package `python3-venv` there?",
    )?;
    let mut install = Command::new(venv.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&file);
    run::run(&mut install).with_context(|| format!("cannot install {REQUIREMENTS}"))?;
    // Last, so that an interrupted installation is made again.
    fs::write(installed, wanted).context("cannot note what was installed")?;
    Ok(venv)
}
