//! The vendors' Python clients, at pinned versions, in an environment of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::workspace;

const REQUIREMENTS: &str = "tests/conformance/requirements.txt";

const WORKFLOWS: &str = "tests/conformance/workflows.txt";

const MINISTACK: &str = "tests/conformance/ministack.txt";

/// `cargo xtask venv`: prepares the environment and prints its path.
pub fn command() -> Result<()> {
    println!("{}", prepare()?.display());
    Ok(())
}

/// The environment's directory; made when it is absent or its requirements changed.
///
/// In its folder `ministack` is another one with that emulator, unless it cannot be installed: the
/// tests that want it say then that they are skipped.
pub fn prepare() -> Result<PathBuf> {
    let venv = workspace::generated("venv");
    install(&venv, REQUIREMENTS)?;
    if let Err(error) = install(&venv.join("ministack"), MINISTACK) {
        eprintln!("without ministack: {error:#}");
    }
    Ok(venv)
}

/// The directory of the programs that check workflows, made when it is absent or they changed.
pub fn of_workflows() -> Result<PathBuf> {
    let venv = workspace::generated("venv-workflows");
    install(&venv, WORKFLOWS)?;
    Ok(venv)
}

fn install(venv: &Path, requirements: &str) -> Result<()> {
    let file = workspace::root().join(requirements);
    let wanted =
        fs::read_to_string(&file).with_context(|| format!("cannot read {requirements}"))?;
    let installed = venv.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("installing {requirements} in {}", venv.display());
    if !run::exists("python3") {
        bail!("`python3` is missing: install the Debian packages `python3` and `python3-venv`");
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(venv);
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
    run::run(&mut install).with_context(|| format!("cannot install {requirements}"))?;
    // Last, so that an interrupted installation is made again.
    fs::write(installed, wanted).context("cannot note what was installed")
}
