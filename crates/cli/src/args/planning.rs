//! What is planned and how it is shown: `plan`, `show`, `apply`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use deployer_core::engine::OnFailure;

use super::global::LockArgs;
use crate::complete;

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Show what the plan says of this service, database or cache alone; everything is planned all
    /// the same
    #[arg(value_name = "SERVICE", conflicts_with_all = ["details", "format"])]
    #[arg(add = ArgValueCandidates::new(complete::things))]
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

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    /// For the comment of a pull request
    Markdown,
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
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::losable))]
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

/// Which part is planned.
#[derive(Clone, Debug, Default, Args)]
pub struct ScopeArgs {
    /// Only the code of this service: image, new revision, roll-out; needs the fewest permissions.
    /// May be given several times
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub only: Vec<String>,
    /// Roll out anew what serves of this service, also where nothing differs: the same image and
    /// configuration, with what secrets hold now where they are not pinned. May be given several
    /// times
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub redeploy: Vec<String>,
    /// Apply a release again although it was rolled back from
    #[arg(long)]
    pub release_hold: bool,
    /// Show every node, field by field, with every default
    #[arg(long)]
    pub details: bool,
}
