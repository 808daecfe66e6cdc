//! The command line: what can be asked for, and the help that teaches it. Each family of commands
//! has its arguments in a file of its own.

mod documents;
mod global;
mod init;
mod ledger;
mod operating;
mod planning;
mod reading;
mod sandbox;
mod secrets;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub use documents::{ConfigCommand, ManArgs, SchemaArgs};
pub use global::{ColorArg, Global, LockArgs, ProgressArg, Which};
pub use init::{AwsRuntimeArg, InitArgs};
pub use ledger::{EnvCommand, LockCommand, ReportArgs, RunsArgs, RunsCommand};
pub use operating::{DestroyArgs, ExecArgs, ForgetArgs, MigrateArgs, RollbackArgs, RunArgs};
use operating::{EXEC_HELP, RUN_HELP};
pub use planning::{ApplyArgs, Format, PlanArgs, ScopeArgs, ShowArgs};
pub use reading::{LogsArgs, ReleasesArgs, ServiceArgs, VerifyArgs};
pub use sandbox::{
    SandboxCommand, SandboxFaultsArgs, SandboxSampleArgs, SandboxTryArgs, SandboxUpArgs,
};
pub use secrets::SecretsCommand;

/// The version; of a release, with the commit that it was built from.
const VERSION: &str = match option_env!("DEPLOYER_VERSION") {
    Some(described) => described,
    None => env!("CARGO_PKG_VERSION"),
};

/// Puts a containerised web service on AWS and Google Cloud from one manifest, and keeps it there.
#[derive(Debug, Parser)]
#[command(
    name = "deployer",
    version = VERSION,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Start here:
  deployer init                      a first deployer.toml
  deployer plan                      what would change, on both clouds
  deployer apply                     make it so, migrate, wait until it serves
  deployer verify                    ask what serves whether it is what it should be
  deployer rollback --to r3          make an earlier release serve again
  eval \"$(deployer sandbox env)\"     try all of it on this machine, after `deployer sandbox up`")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a first manifest, from a Dockerfile when there is one; never overwrites
    Init(Box<InitArgs>),
    /// Check the manifest for every environment that it has, on this machine alone
    Check,
    /// Show what would change; writes nothing
    Plan(PlanArgs),
    /// Show a plan that `plan --out` wrote; asks no cloud
    Show(ShowArgs),
    /// Make the clouds what the manifest says: copy images, migrate, roll out, wait, record a
    /// release
    Apply(ApplyArgs),
    /// Run the manifest's migration as a one-off job, without moving traffic
    Migrate(MigrateArgs),
    /// List the releases of each service, newest first; or show one, and what it changed
    Releases(ReleasesArgs),
    /// List the runs: who tried what, how long, and how it ended
    Runs(RunsArgs),
    /// Show everything that was found out when a run failed: the clouds' words, events, instances,
    /// logs
    Report(ReportArgs),
    /// Show what serves, in the clouds' own words
    Status(ServiceArgs),
    /// Ask the services themselves: health, metrics, keys, a token round trip, TLS, and the
    /// manifest's own checks
    Verify(VerifyArgs),
    /// Print what the containers print
    Logs(LogsArgs),
    /// Run a command once, with the image, variables and secrets of what serves
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Run a command, or a shell, in a task that serves (ECS alone)
    #[command(after_help = EXEC_HELP)]
    Exec(ExecArgs),
    /// Make an earlier release serve again; `apply` then holds the rejected one back
    Rollback(RollbackArgs),
    /// List and set secrets; values never pass through arguments
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Show who holds the lock, or take it from a run that will not give it back
    #[command(subcommand)]
    Lock(LockCommand),
    /// Delete everything that deployer made in this environment, and release what it adopted
    Destroy(DestroyArgs),
    /// Take our mark off one thing and leave it: nothing of it is changed or deleted any more
    Forget(ForgetArgs),
    /// The environments of the manifest
    #[command(subcommand)]
    Env(EnvCommand),
    /// Show the merged manifest
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Both clouds on this machine, to try things on
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Print the JSON Schema of the manifest, with which editors complete and check it
    Schema(SchemaArgs),
    /// Print what the credentials must be allowed: policies for AWS, roles for Google Cloud
    Permissions,
    /// Print a completion script for a shell; it asks this program for services, environments,
    /// releases and secrets
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages
    Man(ManArgs),
}

impl Command {
    /// Its words, as they are typed after the program's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Check => "check",
            Self::Plan(_) => "plan",
            Self::Show(_) => "show",
            Self::Apply(_) => "apply",
            Self::Migrate(_) => "migrate",
            Self::Releases(_) => "releases",
            Self::Runs(_) => "runs",
            Self::Report(_) => "report",
            Self::Status(_) => "status",
            Self::Verify(_) => "verify",
            Self::Logs(_) => "logs",
            Self::Run(_) => "run",
            Self::Exec(_) => "exec",
            Self::Rollback(_) => "rollback",
            Self::Secrets(SecretsCommand::List) => "secrets list",
            Self::Secrets(SecretsCommand::Set { .. }) => "secrets set",
            Self::Lock(LockCommand::Show) => "lock show",
            Self::Lock(LockCommand::Release { .. }) => "lock release",
            Self::Destroy(_) => "destroy",
            Self::Forget(_) => "forget",
            Self::Env(_) => "env list",
            Self::Config(_) => "config show",
            Self::Sandbox(_) => "sandbox",
            Self::Schema(_) => "schema",
            Self::Permissions => "permissions",
            Self::Completions { .. } => "completions",
            Self::Man(_) => "man",
        }
    }

    /// Whether it does nothing without a manifest.
    pub fn reads_the_manifest(&self) -> bool {
        !matches!(
            self,
            Self::Init(_)
                | Self::Show(_)
                | Self::Schema(_)
                | Self::Permissions
                | Self::Sandbox(_)
                | Self::Completions { .. }
                | Self::Man(_)
        )
    }

    /// Whether it makes nothing of what the manifest says of a service: it looks at what is there,
    /// or makes what was there before.
    pub fn reads_or_mends(&self) -> bool {
        matches!(
            self,
            Self::Secrets(_)
                | Self::Status(_)
                | Self::Logs(_)
                | Self::Lock(_)
                | Self::Runs(_)
                | Self::Report(_)
                | Self::Releases(_)
                | Self::Rollback(_)
        )
    }

    /// Whether what the manifest says of services is what it makes, or shows: what is doubtful
    /// there is told then, and nowhere else again.
    pub fn makes_of_the_manifest(&self) -> bool {
        match self {
            Self::Check | Self::Plan(_) | Self::Apply(_) | Self::Migrate(_) | Self::Config(_) => {
                true
            }
            Self::Init(_)
            | Self::Show(_)
            | Self::Releases(_)
            | Self::Runs(_)
            | Self::Report(_)
            | Self::Status(_)
            | Self::Verify(_)
            | Self::Logs(_)
            | Self::Run(_)
            | Self::Exec(_)
            | Self::Rollback(_)
            | Self::Secrets(_)
            | Self::Lock(_)
            | Self::Destroy(_)
            | Self::Forget(_)
            | Self::Env(_)
            | Self::Sandbox(_)
            | Self::Schema(_)
            | Self::Permissions
            | Self::Completions { .. }
            | Self::Man(_) => false,
        }
    }

    /// How long it waits for a lock that another run holds.
    pub fn wait_lock(&self) -> Duration {
        let lock = self.lock().unwrap_or_default();
        lock.wait_lock.unwrap_or_default()
    }

    /// Whether its JSON is a stream of lines that ends with its result, and not one document.
    pub fn is_long_work(&self) -> bool {
        self.lock().is_some() || matches!(self, Self::Lock(LockCommand::Release { .. }))
    }

    /// How it takes the lock; `None` of one that does not.
    fn lock(&self) -> Option<LockArgs> {
        match self {
            Self::Apply(args) => Some(args.lock),
            Self::Migrate(args) => Some(args.lock),
            Self::Run(args) => Some(args.lock),
            Self::Rollback(args) => Some(args.lock),
            Self::Destroy(args) => Some(args.lock),
            Self::Forget(args) => Some(args.lock),
            Self::Secrets(SecretsCommand::Set { lock, .. }) => Some(*lock),
            Self::Init(_)
            | Self::Check
            | Self::Plan(_)
            | Self::Show(_)
            | Self::Releases(_)
            | Self::Runs(_)
            | Self::Report(_)
            | Self::Status(_)
            | Self::Verify(_)
            | Self::Logs(_)
            | Self::Exec(_)
            | Self::Secrets(SecretsCommand::List)
            | Self::Lock(_)
            | Self::Env(_)
            | Self::Config(_)
            | Self::Sandbox(_)
            | Self::Schema(_)
            | Self::Permissions
            | Self::Completions { .. }
            | Self::Man(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_of_every_command_stand_apart_from_a_commands_own() {
        let mut command = Cli::command();
        command.build();
        let apply = command.find_subcommand_mut("apply").expect("a command");
        let help = apply.render_long_help().to_string();
        let (own, global) = help.split_once("Global options:").expect("a heading");
        assert!(
            own.contains("--wait-lock") && !own.contains("--ledger-moved"),
            "{help}"
        );
        assert!(
            global.contains("--new-environment") && !global.contains("--detach"),
            "{help}"
        );
    }
}
