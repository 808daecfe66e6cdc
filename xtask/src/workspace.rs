//! Where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

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
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}
