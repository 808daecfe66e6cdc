//! `cargo xtask picture`: draws docs/terminal.svg from a real plan and apply of a new version, on
//! both clouds of the sandbox.

mod transcript;

use std::fs;
use std::path::PathBuf;

use anstyle_svg::Term;
use anyhow::{Context, Result};

use crate::demo::stage::Stage;
use crate::demo::terminal::Say;
use crate::{images, packages, workspace};

const PICTURE: &str = "docs/terminal.svg";

/// The terminal's width; longer lines are broken as a terminal breaks them.
const COLUMNS: u16 = 96;

/// Runs and draws. Nothing that was started is left.
pub fn command() -> Result<()> {
    let binary = binary()?;
    let stage = Stage::set(&binary)?;
    stage
        .deployer(&["apply", "--yes"], Say::results())?
        .exits(0)?;
    stage.use_version("2.0.0")?;
    let plan = stage.watched(&["plan"], COLUMNS)?;
    plan.exits(0)?;
    let apply = stage.watched(&["apply", "--yes"], COLUMNS)?;
    apply.exits(0)?;
    stage.find_secrets()?;
    let told = [
        ("deployer plan", plan.stdout.as_str()),
        ("deployer apply --yes", apply.stdout.as_str()),
    ];
    let text = transcript::join(&told, COLUMNS);
    let picture = Term::new().render_svg(&text);
    fs::write(workspace::root().join(PICTURE), picture)
        .with_context(|| format!("cannot write {PICTURE}"))?;
    eprintln!("{PICTURE} is drawn");
    stage.clear()
}

/// The program that the tests are given, when there is one; else both it and the images are built.
fn binary() -> Result<PathBuf> {
    packages::redis()?;
    if let Some(built) = std::env::var_os("DEPLOYER_TEST_BIN") {
        return Ok(built.into());
    }
    images::build()?;
    workspace::build_everything()
}
