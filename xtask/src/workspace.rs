//! Where things are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The directory of the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask is a directory of the workspace")
}

/// A path under the workspace's own `target`, whatever `CARGO_TARGET_DIR` says: manifests and
/// people refer to what xtask makes by a path that does not depend on the environment.
pub fn generated(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// The cargo that runs xtask, started in the workspace.
///
/// It does not see what that one tells xtask of its own package: build scripts of dependencies that
/// look at these variables would run anew, and half of the dependencies with them, whenever
/// somebody builds without xtask in between.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| is_of_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// Whether cargo sets this variable for the package that it runs.
fn is_of_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Runs a `cargo build` whose progress a person sees, and returns where the program `name` is that
/// it made.
pub fn build_program(build: &mut Command, name: &str) -> Result<PathBuf> {
    let output = build
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the program does not build");
    }
    let executable = |message: &[u8]| {
        let message: Value = serde_json::from_slice(message).ok()?;
        let target = &message["target"];
        if target["name"] != name
            || target["kind"][0] != "bin"
            || message["profile"]["test"] == true
        {
            return None;
        }
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    let messages = output.stdout.split(|byte| *byte == b'\n');
    messages
        .filter_map(executable)
        .next_back()
        .with_context(|| format!("cargo made no program `{name}`"))
}

/// Builds the product, everything else and every test, with the features that `cargo test
/// --workspace` takes, so that no dependency is built twice; returns the product's path.
pub fn build_everything() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--workspace", "--all-targets"]);
    build_program(&mut build, "deployer")
}
