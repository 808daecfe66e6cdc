//! The command line: what can be asked for, and the help that teaches it.

// long: every command and every argument, as they are typed

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use deployer_core::address::CloudName;
use deployer_core::engine::OnFailure;

use crate::complete;

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

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The manifest; default: `deployer.toml`, here or in a folder above, up to the repository's
    /// root
    #[arg(
        short = 'f',
        long,
        global = true,
        value_name = "FILE",
        env = "DEPLOYER_MANIFEST"
    )]
    #[arg(hide_env_values = true, value_hint = clap::ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// Work as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    #[arg(overrides_with = "directory", value_hint = clap::ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// The environment: overlays `deployer.ENV.toml` next to the manifest
    #[arg(short, long, global = true, value_name = "ENV", env = "DEPLOYER_ENV")]
    #[arg(hide_env_values = true, add = ArgValueCandidates::new(complete::environments))]
    pub env: Option<String>,
    /// The environment is a new one: else one that no file and no ledger knows is refused
    #[arg(long, global = true)]
    pub new_environment: bool,
    /// Which cloud; default: every target of the manifest
    #[arg(long, global = true, value_enum, default_value_t = Which::All)]
    pub cloud: Which,
    /// Set a manifest value, after every file and variable: `services.web.port=8080`
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The ledgers were moved, as a whole, to where the manifest says they are now: services note
    /// it from now on
    #[arg(long, global = true)]
    pub ledger_moved: bool,
    /// Answer as JSON (one document; JSON lines for long work)
    #[arg(long, global = true)]
    pub json: bool,
    /// How a run is shown: `bar` on a terminal, `plain` lines elsewhere, in CI and where TERM=dumb
    #[arg(long, global = true, value_enum, value_name = "HOW", default_value_t = ProgressArg::Auto)]
    pub progress: ProgressArg,
    /// Whether to colour; `auto` follows the terminal, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
    /// Print what was asked for, and errors: no progress, no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what is being called (to standard error); `DEPLOYER_LOG` filters it
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl Global {
    /// The manifest as named, or by its usual name.
    pub fn manifest(&self) -> &Path {
        self.manifest.as_deref().unwrap_or(Path::new(MANIFEST))
    }
}

/// What a manifest is called where nobody names another.
pub const MANIFEST: &str = "deployer.toml";

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    #[default]
    Auto,
    Bar,
    Plain,
    None,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    #[default]
    Auto,
    Always,
    Never,
}

/// Of every command that takes the lock.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LockArgs {
    /// Wait so long for a lock that another run holds; by default not at all
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    pub wait_lock: Option<std::time::Duration>,
}

/// One cloud or all that the manifest targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    Aws,
    Gcp,
    All,
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

    /// How long it waits for a lock that another run holds.
    pub fn wait_lock(&self) -> std::time::Duration {
        let lock = match self {
            Self::Apply(args) => args.lock,
            Self::Migrate(args) => args.lock,
            Self::Run(args) => args.lock,
            Self::Rollback(args) => args.lock,
            Self::Destroy(args) => args.lock,
            Self::Forget(args) => args.lock,
            Self::Secrets(SecretsCommand::Set { lock, .. }) => *lock,
            Self::Init(_)
            | Self::Check
            | Self::Plan(_)
            | Self::Show(_)
            | Self::Releases(_)
            | Self::Runs(_)
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
            | Self::Man(_) => LockArgs::default(),
        };
        lock.wait_lock.unwrap_or_default()
    }

    /// Whether its JSON is a stream of lines that ends with its result, and not one document.
    pub fn is_long_work(&self) -> bool {
        match self {
            Self::Apply(_)
            | Self::Migrate(_)
            | Self::Run(_)
            | Self::Rollback(_)
            | Self::Destroy(_)
            | Self::Forget(_)
            | Self::Secrets(SecretsCommand::Set { .. })
            | Self::Lock(LockCommand::Release { .. }) => true,
            Self::Init(_)
            | Self::Check
            | Self::Plan(_)
            | Self::Show(_)
            | Self::Releases(_)
            | Self::Runs(_)
            | Self::Status(_)
            | Self::Verify(_)
            | Self::Logs(_)
            | Self::Exec(_)
            | Self::Secrets(SecretsCommand::List)
            | Self::Lock(LockCommand::Show)
            | Self::Env(_)
            | Self::Config(_)
            | Self::Sandbox(_)
            | Self::Schema(_)
            | Self::Permissions
            | Self::Completions { .. }
            | Self::Man(_) => false,
        }
    }
}

impl Which {
    /// Whether a cloud is asked for.
    pub fn has(self, cloud: CloudName) -> bool {
        match self {
            Self::All => true,
            Self::Aws => cloud == CloudName::Aws,
            Self::Gcp => cloud == CloudName::Gcp,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a first manifest, from a Dockerfile when there is one; never overwrites
    Init(Box<crate::command::init::InitArgs>),
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
    /// List the releases of each service, newest first
    Releases(ServiceArgs),
    /// List the runs: who tried what, how long, and how it ended
    Runs(RunsArgs),
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

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of all layers together, with what is required; by default of one file, which may be an
    /// overlay
    #[arg(long)]
    pub merged: bool,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The directory to write them to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    /// For the comment of a pull request
    Markdown,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The plan
    pub plan: PathBuf,
    /// Show every node, field by field, with every default
    #[arg(long)]
    pub details: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Show what the plan says of this service, database or cache alone; everything is planned all
    /// the same
    #[arg(value_name = "SERVICE", conflicts_with_all = ["details", "format"])]
    pub name: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write the plan to a file that `apply FILE` takes
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 2 when there are changes, 6 when there are none and a service is on hold, 0
    /// otherwise
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Which part is planned.
#[derive(Clone, Debug, Default, Args)]
pub struct ScopeArgs {
    /// Only the code of this service: image, new revision, roll-out; needs the fewest permissions.
    /// May be given several times
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub only: Vec<String>,
    /// Apply a release again although it was rolled back from
    #[arg(long)]
    pub release_hold: bool,
    /// Show every node, field by field, with every default
    #[arg(long)]
    pub details: bool,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A plan that `plan --out` wrote; refused when the clouds changed since
    pub plan: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave once the roll-out has begun; `status` tells how it went
    #[arg(long)]
    pub detach: bool,
    /// With `--detach`: exit with 11 when a roll-out was left to the cloud, 0 when there was none
    #[arg(long, requires = "detach")]
    pub detailed_exitcode: bool,
    /// Do not ask the services whether they are what they should be
    #[arg(long)]
    pub no_verify: bool,
    /// Allow these nodes to lose their data (addresses as the plan prints them)
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub allow_data_loss: Vec<String>,
    /// What becomes of a target where something failed: `keep` what was done (the next apply goes
    /// on), or `undo` it, newest first; what holds data always stays
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnFailureArg::Keep)]
    pub on_failure: OnFailureArg,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub lock: LockArgs,
}

/// `--on-failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFailureArg {
    Keep,
    Undo,
}

impl From<OnFailureArg> for OnFailure {
    fn from(wanted: OnFailureArg) -> Self {
        match wanted {
            OnFailureArg::Keep => Self::Keep,
            OnFailureArg::Undo => Self::Undo,
        }
    }
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Run it again although it failed for this release
    #[arg(long)]
    pub retry: bool,
    /// Run it again although it succeeded: its database was restored, in place, to what it was
    /// before
    #[arg(long, conflicts_with = "retry")]
    pub again: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub lock: LockArgs,
}

#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Only this service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
}

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
        number: u64,
    },
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments that a file or a ledger knows, with their targets and their last runs
    List,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
    /// Give up each request after this: `30s`, `2m`
    #[arg(long, default_value = "60s", value_parser = crate::duration::parse)]
    pub timeout: std::time::Duration,
    /// Give a service so long to become healthy before its checks are made
    #[arg(long, default_value = "0s", value_parser = crate::duration::parse)]
    pub patience: std::time::Duration,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Only these services
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub services: Vec<String>,
    /// Go on printing as lines come
    #[arg(short = 'F', long)]
    pub follow: bool,
    /// How far back: `30s`, `10m`, `2h`, `1d`
    #[arg(long, default_value = "10m", value_parser = crate::duration::parse)]
    pub since: std::time::Duration,
    /// At most so many lines of the past
    #[arg(long, default_value_t = 200)]
    pub lines: usize,
    /// Only lines that hold this, letter by letter
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Print lines as they are; otherwise the values of the environment's secrets are hidden
    #[arg(long)]
    pub unmasked: bool,
}

/// What `run` takes over, and what it ends with.
const RUN_HELP: &str = "\
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
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::duration::parse)]
    pub timeout: std::time::Duration,
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
const EXEC_HELP: &str = "\
The command runs by ECS Exec: as root, in a terminal, with standard output and standard error as one. Its exit code is that
of deployer; 125 says that deployer itself failed, or that the session was lost. Keys go to the command, Ctrl-C too. Where
standard input is no terminal, the command has none: what is piped in is not passed on.

At a terminal everything is shown as it is, the values of secrets too. Elsewhere, in a pipe or in CI, they are hidden.";

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

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List the secrets with their versions and who uses them; never a value
    List,
    /// Set a secret's value from standard input or a file; services take it at the next apply
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
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
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

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the merged manifest
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Start both clouds on loopback, in the background
    Up(SandboxUpArgs),
    /// Stop them, with every container they run
    Down,
    /// Show what runs and at which addresses
    Status,
    /// Print the exports that point deployer, aws, gcloud and SDKs at the sandbox
    Env,
    /// Write a sample image: this program as a small web service, to try things with
    #[command(after_help = SAMPLE_HELP)]
    Sample(SandboxSampleArgs),
    /// See it at work in half a minute: a service on both clouds, a new version, a broken one, and
    /// back; in a folder and a sandbox of its own, which go at the end
    Try(SandboxTryArgs),
    /// Have calls go wrong from now on, as a file says, instead of what was said before
    #[command(after_help = FAULTS_HELP)]
    Faults(SandboxFaultsArgs),
}

/// How the image is named in a manifest.
const SAMPLE_HELP: &str = "\
In the manifest:

  image = \"oci:sample\"
  port = 8080
  health = { path = \"/health\", command = [\"CMD\", \"/deployer\", \"sandbox\", \"sample\", \"--check\"] }";

#[derive(Debug, Args)]
pub struct SandboxSampleArgs {
    /// The folder to write it to, as an OCI layout
    #[arg(default_value = "sample", value_hint = clap::ValueHint::DirPath)]
    pub folder: PathBuf,
    /// What it says of itself, and its tag
    #[arg(long, value_name = "VERSION", default_value = "1.0")]
    pub tag: String,
    /// One that ends at once, as a bad configuration makes it
    #[arg(long)]
    pub broken: bool,
    /// Be that service
    #[arg(long, hide = true)]
    pub serve: bool,
    /// Ask that service in the same container, as a health check
    #[arg(long, hide = true)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct SandboxTryArgs {
    /// Leave it running, with its files in this new folder
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SandboxFaultsArgs {
    /// The faults file (TOML)
    #[arg(required_unless_present = "clear", conflicts_with = "clear")]
    pub file: Option<PathBuf>,
    /// Let every call pass again
    #[arg(long)]
    pub clear: bool,
}

/// What a faults file looks like.
const FAULTS_HELP: &str = "\
A faults file:

  seed = 7                           # for probability; the same seed, the same faults
  [[fault]]
  call = \"ecs:UpdateService\"         # or run.projects.locations.services.patch,
                                     # registry PUT manifest; `*` and `?` match
  what = \"throttled\"                 # unavailable, internal, denied, quota, stale,
                                     # reset_before, reset_after, delay
  nth = 2                            # or every = N, probability = 0.1; default: all
  times = 1                          # at most so often (with nth: in a row, default 1)
  retry_after = \"2s\"                 # with throttled and unavailable
  # delay = \"3s\"                     # with delay, in the clouds' time
  # cloud = \"gcp\"                    # only there (aws, gcp)";

#[derive(Debug, Args)]
pub struct SandboxUpArgs {
    /// The port of the AWS APIs; 0 takes a free one
    #[arg(long, default_value_t = 4566)]
    pub aws_port: u16,
    /// The port of the Google APIs; 0 takes a free one
    #[arg(long, default_value_t = 4567)]
    pub gcp_port: u16,
    /// How many seconds of a cloud's waiting pass in one
    #[arg(long, default_value_t = 20.0)]
    pub speed: f64,
    /// Stay in the foreground
    #[arg(long)]
    pub foreground: bool,
    /// Do not start moto for the AWS services that the sandbox does not have
    #[arg(long)]
    pub no_moto: bool,
    /// Have calls go wrong as this file says; `deployer sandbox faults --help` shows one
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Refuse calls beyond the clouds' documented rates
    #[arg(long)]
    pub rates: bool,
    /// The AWS account id
    #[arg(long, default_value = "123456789012")]
    pub account: String,
    /// The AWS region
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The Google Cloud project
    #[arg(long, default_value = "sandbox-project")]
    pub project: String,
    /// The Google Cloud region
    #[arg(long, default_value = "us-central1")]
    pub location: String,
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
