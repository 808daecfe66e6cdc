//! What changes what is there without a new plan of the whole: `migrate`, `run`, `exec`,
//! `rollback`, `destroy`, `forget`.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::global::LockArgs;
use crate::{complete, duration};

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Run it again although it failed for this release
    #[arg(long)]
    pub retry: bool,
    /// Run it again although it succeeded: its database was restored, in place, to what it was
    /// before
    #[arg(long, conflicts_with = "retry")]
    pub again: bool,
    /// Show every node that changes, field by field
    #[arg(long)]
    pub details: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub lock: LockArgs,
}

/// What `run` takes over, and what it ends with.
pub(super) const RUN_HELP: &str = "\
The command stands in the place of the service's own; the image's entry point stays, as with `docker run`.

Its output goes to standard output, everything else to standard error. Its exit code is that of deployer; \
124 says that its time was over, 125 that deployer itself failed, 130 that Ctrl-C stopped it \
(twice: left it alone at once).";

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: String,
    /// Leave once it is started; print its name, and how to look at it and to stop it
    #[arg(long)]
    pub detach: bool,
    /// Stop it after so long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
    /// The release whose image, variables and secrets it takes, as `rollback --to` names one; by
    /// default what serves
    #[arg(long, value_name = "REV", add = ArgValueCandidates::new(complete::releases))]
    pub release: Option<String>,
    /// Print lines as they are; otherwise the values of the environment's secrets are hidden
    #[arg(long)]
    pub unmasked: bool,
    #[command(flatten)]
    pub lock: LockArgs,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What `exec` does, and what it ends with.
pub(super) const EXEC_HELP: &str = "\
The command runs by ECS Exec: as root, in a terminal, with standard output and standard error as one. Its exit code is that
of deployer; 125 says that deployer itself failed, or that the session was lost. Keys go to the command, Ctrl-C too. Where
standard input is no terminal, the command has none: what is piped in is not passed on.

At a terminal everything is shown as it is, the values of secrets too. Elsewhere, in a pipe or in CI, they are hidden.

ECS keeps what a session shows where its cluster says so, by default in the service's log group, in streams that begin with
`ecs-execute-command-`. `deployer logs` leaves them out.";

#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: String,
    /// The task, by its id or how that begins; by default the newest that serves
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
    /// Print lines as they are where there is no terminal; otherwise the values of the
    /// environment's secrets are hidden there
    #[arg(long)]
    pub unmasked: bool,
    /// The command and its arguments, after `--`; by default a shell, `/bin/sh`
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The service, when there are several
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
    /// `r3`, a content id, the cloud's own revision or an image tag; default: the release before
    /// the one that serves
    #[arg(long, value_name = "REV", add = ArgValueCandidates::new(complete::releases))]
    pub to: Option<String>,
    /// Do not verify what serves then
    #[arg(long)]
    pub no_verify: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub lock: LockArgs,
}

#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Show every node, field by field
    #[arg(long)]
    pub details: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Allow these nodes to lose their data (addresses as the plan prints them), or `all` of this
    /// environment
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::losable_or_all))]
    pub allow_data_loss: Vec<String>,
    #[command(flatten)]
    pub lock: LockArgs,
}

#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The thing, by its address as plans print it: cloud/region/kind/name
    #[arg(add = ArgValueCandidates::new(complete::addresses))]
    pub address: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub lock: LockArgs,
}
