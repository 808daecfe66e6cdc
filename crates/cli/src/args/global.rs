//! What every command takes, and what those share that take the lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use deployer_core::address::CloudName;

use crate::complete;
use crate::whereabouts::MANIFEST;

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

/// One cloud or all that the manifest targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    Aws,
    Gcp,
    All,
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

impl From<CloudName> for Which {
    fn from(cloud: CloudName) -> Self {
        match cloud {
            CloudName::Aws => Self::Aws,
            CloudName::Gcp => Self::Gcp,
        }
    }
}

/// Of every command that takes the lock.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LockArgs {
    /// Wait so long for a lock that another run holds; by default not at all
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    pub wait_lock: Option<Duration>,
}
