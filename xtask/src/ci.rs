//! Everything that must pass before a change is taken.

use anyhow::Result;

use crate::run::{self, Outcome, Steps};
use crate::{demo, deny, test, workflows, workspace};

/// `cargo xtask ci`: runs every step, whatever the ones before it say, and fails if any did.
pub fn ci() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("fmt", || cargo(&["fmt", "--all", "--check"], &[]));
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    steps.step("clippy", || cargo(&clippy, &[]));
    // No examples are there: asking for them brings the tests' dependencies, without which cargo
    // chooses other features and checks every SDK once more.
    let rustdoc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--lib",
        "--bin=xtask",
        "--bin=idp",
        "--examples",
    ];
    steps.step("rustdoc", || {
        cargo(&rustdoc, &[("RUSTDOCFLAGS", "-D warnings")])
    });
    test::run_steps(&mut steps, &[]);
    // The README's first command: what it claims is checked nowhere else.
    steps.step("demo", || demo::command().map(|()| Outcome::Passed));
    steps.step("workflows", workflows::check);
    steps.step("deny", deny::check);
    steps.step("advisories", deny::advisories);
    steps.finish()
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Outcome> {
    let mut command = workspace::cargo();
    run::run(command.args(arguments).envs(environment.iter().copied()))?;
    Ok(Outcome::Passed)
}
