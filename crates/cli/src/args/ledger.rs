//! What the ledgers keep: the lock, the runs, the environments.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;

use crate::complete;

#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// At most so many of each target, newest first
    #[arg(short = 'n', long, default_value_t = 20)]
    pub lines: usize,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show one run: what it did to each thing, when, and why it failed
    Show {
        /// Its number
        #[arg(add = ArgValueCandidates::new(complete::runs))]
        number: u64,
    },
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run, by its number on any target; by default the last that failed
    #[arg(long, value_name = "NUMBER", add = ArgValueCandidates::new(complete::reported))]
    pub run: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Show for each target who holds the lock, since when and until when
    Show,
    /// Take the lock from whoever holds it
    #[command(after_help = "\
Seldom needed: a run that ends gives its lock back; one that was killed on this machine is taken over at once, and on
another machine 90 s after its last renewal. A run that still lives stops at its next renewal, at most 15 s later, and
ends with exit code 8; one that was paused makes no call when it wakes.")]
    Release {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments that a file or a ledger knows, with their targets and their last runs
    List,
}
