//! Clients of others that run on Node.js, at pinned versions, in a folder of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::workspace;

/// The clients, and what uses them.
const FILES: [&str; 2] = ["package.json", "session.js"];

/// The folder with the clients; they are installed when they are absent or others are wanted.
pub fn prepare() -> Result<PathBuf> {
    for program in ["node", "npm"] {
        if !run::exists(program) {
            bail!("`{program}` is missing: install the Debian packages `nodejs` and `npm`");
        }
    }
    let folder = workspace::generated("node");
    fs::create_dir_all(&folder)?;
    let sources = workspace::root().join("tests/conformance/node");
    let mut changed = !folder.join("node_modules").exists();
    for name in FILES {
        let wanted = fs::read(sources.join(name)).with_context(|| format!("cannot read {name}"))?;
        let there = folder.join(name);
        changed |= name == FILES[0] && fs::read(&there).ok().as_ref() != Some(&wanted);
        fs::write(there, wanted)?;
    }
    if changed {
        let mut install = Command::new("npm");
        install
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder);
        if let Err(error) = run::output(&mut install) {
            // Else what is half there would be taken for whole.
            let _ = fs::remove_dir_all(folder.join("node_modules"));
            return Err(error).context("npm cannot install the clients");
        }
    }
    Ok(folder)
}
