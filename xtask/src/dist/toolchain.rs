//! Builds the program for a target, or says what this machine lacks for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{run, workspace};

/// The target that the compiler itself runs on.
pub(super) fn host() -> Result<String> {
    let said = run::output(Command::new("rustc").arg("-vV"))?;
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc does not say its host")?.to_owned())
}

/// `x86_64` of `x86_64-unknown-linux-musl`.
pub(super) fn processor(target: &str) -> &str {
    target.split('-').next().unwrap_or(target)
}

/// Builds the program.
///
/// Errors: everything that is missing, each with the command that mends it.
pub(super) fn build(target: &str, host: &str, profile: &str, version: &str) -> Result<PathBuf> {
    let missing = missing(target, host);
    if !missing.is_empty() {
        let missing = missing.join("\n  ");
        bail!("cannot build for {target}:\n  {missing}");
    }
    if profile == "dev" && target == host {
        // What `cargo xtask test` has built is used again.
        return workspace::build_everything();
    }
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--profile", profile]);
    build.args(["--package", "deployer", "--target", target]);
    workspace::build_program(build.env("DEPLOYER_VERSION", version), "deployer")
}

fn missing(target: &str, host: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut rustc = Command::new("rustc");
    let asked = run::output(rustc.args(["--print", "target-libdir", "--target", target]));
    let is_there = asked.is_ok_and(|folder| Path::new(folder.trim()).is_dir());
    if !is_there {
        missing.push(format!("the standard library: rustup target add {target}"));
    }
    let named = std::env::var_os(variable(target)).is_some();
    let compilers = compilers(target, host);
    if !named && !compilers.is_empty() && !compilers.iter().any(|it| run::exists(it)) {
        missing.push(lacks_compiler(target, host));
    }
    missing
}

/// `aws-lc` is C; `cc` looks for these names, or for what a variable says. Empty where any compiler
/// of this machine does.
fn compilers(target: &str, host: &str) -> Vec<String> {
    if !target.ends_with("-musl") {
        return Vec::new();
    }
    let processor = processor(target);
    let mut names = vec![format!("{processor}-linux-musl-gcc")];
    // The wrapper compiles for the processor that it is on.
    if processor == self::processor(host) {
        names.push("musl-gcc".to_owned());
    }
    names
}

fn variable(target: &str) -> String {
    format!("CC_{}", target.replace('-', "_"))
}

fn lacks_compiler(target: &str, host: &str) -> String {
    let variable = variable(target);
    match processor(target) == processor(host) {
        true => {
            format!("a C compiler for musl: apt-get install musl-tools, or name one in {variable}")
        }
        false => {
            let linker = format!(
                "CARGO_TARGET_{}_LINKER",
                target.replace('-', "_").to_uppercase()
            );
            format!(
                "a C compiler for musl on {}: name one in {variable} and {linker}, or build on such a machine",
                processor(target)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "x86_64-unknown-linux-gnu";

    #[test]
    fn the_wrapper_of_musl_compiles_for_its_own_processor_alone() {
        let here = compilers("x86_64-unknown-linux-musl", HOST);
        assert_eq!(here, ["x86_64-linux-musl-gcc", "musl-gcc"]);
        let there = compilers("aarch64-unknown-linux-musl", HOST);
        assert_eq!(there, ["aarch64-linux-musl-gcc"]);
        assert!(compilers(HOST, HOST).is_empty());
    }

    #[test]
    fn what_is_missing_is_said_with_what_mends_it() {
        let lacks = lacks_compiler("x86_64-unknown-linux-musl", HOST);
        assert!(lacks.contains("musl-tools"), "{lacks}");
        let lacks = lacks_compiler("aarch64-unknown-linux-musl", HOST);
        for words in [
            "CC_aarch64_unknown_linux_musl",
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER",
        ] {
            assert!(lacks.contains(words), "{lacks}");
        }
        let missing = missing("no-such-target", HOST);
        assert_eq!(
            missing,
            ["the standard library: rustup target add no-such-target"]
        );
    }
}
