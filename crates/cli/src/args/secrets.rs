//! Secrets, whose values never pass through arguments.

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;

use super::global::LockArgs;
use crate::complete;

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List the secrets with their versions and who uses them; never a value
    List,
    /// Set a secret's value: one hidden line on a terminal, else standard input or a file; services
    /// take it at the next apply
    Set {
        /// The secret, by the manifest's name
        #[arg(add = ArgValueCandidates::new(complete::secrets))]
        name: String,
        /// Read the value from a file instead of standard input (one trailing newline is dropped)
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        lock: LockArgs,
    },
}
