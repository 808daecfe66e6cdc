//! Debian packages that the demo and the tests use: installed where that is possible, else named.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::postgres::is_root;
use crate::run;

/// Makes sure that there is a `redis-server`, the program behind the sandbox's managed caches.
///
/// Errors: what to install, when it is absent and cannot be installed from here.
pub fn redis() -> Result<()> {
    program("redis-server", "redis-server")
}

/// Makes sure that there is a `docker-registry`, the reference implementation that images are
/// copied into and read from.
///
/// Errors: what to install, when it is absent and cannot be installed from here.
pub fn docker_registry() -> Result<()> {
    program("docker-registry", "docker-registry")
}

fn program(name: &str, package: &str) -> Result<()> {
    if run::exists(name) {
        return Ok(());
    }
    let missing = format!("`{name}` is missing; install it: apt-get install {package}");
    if !run::exists("apt-get") || !is_root() {
        bail!(missing);
    }
    eprintln!("installing the Debian package {package}");
    // A fresh machine may have no package lists yet.
    let installed = run::output(&mut install(package)).or_else(|_| {
        let mut update = Command::new("apt-get");
        run::output(update.arg("update").stdin(Stdio::null()))?;
        run::output(&mut install(package))
    });
    match installed {
        Ok(_) if run::exists(name) => Ok(()),
        Ok(_) => bail!(missing),
        Err(error) => Err(error.context(missing)),
    }
}

fn install(package: &str) -> Command {
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Debian starts no service of a package that is installed in single-user mode: only its
        // program is wanted.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null());
    install
}
