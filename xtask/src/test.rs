//! Every test, with everything that the tests need prepared first.

use std::fs;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

use crate::postgres::Postgres;
use crate::run::{self, Outcome, Steps};
use crate::{images, node, packages, venv, workspace};

/// What was prepared; dropping it stops the database.
#[derive(Default)]
struct Prepared {
    postgres: Option<Postgres>,
    venv: Option<PathBuf>,
    node: Option<PathBuf>,
    binary: Option<PathBuf>,
}

/// `cargo xtask test [FILTER...]`: prepares, tests, says what was skipped.
pub fn test(arguments: &[&str]) -> Result<()> {
    let mut steps = Steps::default();
    run_steps(&mut steps, arguments);
    steps.finish()
}

/// The steps of `cargo xtask test`, for other commands that test too.
pub fn run_steps(steps: &mut Steps, arguments: &[&str]) {
    let mut prepared = Prepared::default();
    // They are mostly waited for; meanwhile the images are built.
    let (python, node) = (thread::spawn(venv::prepare), thread::spawn(node::prepare));
    steps.step("images", || images::build().map(|_| Outcome::Passed));
    steps.step("postgres", || {
        prepared.postgres = Some(Postgres::start()?);
        Ok(Outcome::Passed)
    });
    // Without it the tests of managed caches say themselves that they are skipped.
    steps.step("redis", || match packages::redis() {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    });
    // Tests that cannot start it fail: of private registries, nothing else shows what is true.
    steps.step("docker-registry", || {
        packages::docker_registry()?;
        Ok(Outcome::Passed)
    });
    steps.step("python clients", || {
        prepared.venv = Some(ended(python)?);
        Ok(Outcome::Passed)
    });
    // Without them the test that wants them says itself that it is skipped.
    steps.step("node clients", || match ended(node) {
        Ok(folder) => {
            prepared.node = Some(folder);
            Ok(Outcome::Passed)
        }
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    });
    steps.step("build", || {
        prepared.binary = Some(workspace::build_everything()?);
        Ok(Outcome::Passed)
    });
    let skipped = workspace::generated("tests-skipped.txt");
    steps.step("cargo test", || {
        // A file of the last run would name what this one did not skip.
        fs::write(&skipped, "").context("cannot prepare the list of skipped tests")?;
        let mut command = workspace::cargo();
        command
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(arguments);
        command.env("DEPLOYER_TEST_SKIPPED", &skipped);
        command.env("DEPLOYER_TEST_IMAGES", images::directory());
        if let Some(postgres) = &prepared.postgres {
            command.env("DEPLOYER_TEST_POSTGRES_URL", postgres.url("postgres"));
        }
        if let Some(venv) = &prepared.venv {
            command.env("DEPLOYER_TEST_VENV", venv);
        }
        if let Some(node) = &prepared.node {
            command.env("DEPLOYER_TEST_NODE", node);
        }
        if let Some(binary) = &prepared.binary {
            command.env("DEPLOYER_TEST_BIN", binary);
        }
        run::run(&mut command)?;
        Ok(Outcome::Passed)
    });
    // Tests print inside the harness, which hides what passing tests say: they write it here too.
    for line in fs::read_to_string(&skipped).unwrap_or_default().lines() {
        steps.step(&format!("skipped test {line}"), || {
            Ok(Outcome::Skipped("see its own words above".to_owned()))
        });
    }
}

/// What a thread came to.
fn ended<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("it panicked"))?
}
