//! `cargo xtask sweep`: every point of the sweep, where `cargo xtask test` tries a sample.

use anyhow::Result;

use crate::{run, workspace};

/// Tries every point; a filter such as `Rollback:aws` narrows it down.
pub fn command(filter: Option<&str>) -> Result<()> {
    let mut command = workspace::cargo();
    // With the features that the other tests build with: the sample is of the same program.
    command.args(["test", "--workspace", "--release", "--test", "sweep"]);
    command.env("DEPLOYER_SWEEP", "all");
    command.envs(filter.map(|filter| ("DEPLOYER_SWEEP_ONLY", filter)));
    run::run(&mut command)
}
