//! What looks and changes nothing: `status`, `releases`, `verify`, `logs`.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::{complete, duration};

#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Only this service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReleasesArgs {
    /// Only this service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
    /// Everything of this release: its number, content id, revision or tag
    #[arg(value_name = "REV", requires = "service", add = ArgValueCandidates::new(complete::releases))]
    pub release: Option<String>,
    /// Only what differs between this release and REV
    #[arg(long, value_name = "REV", requires = "release", add = ArgValueCandidates::new(complete::releases))]
    pub diff: Option<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
    /// Give up each request after this: `30s`, `2m`
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Give a service so long to become healthy before its checks are made
    #[arg(long, default_value = "0s", value_parser = duration::parse)]
    pub patience: Duration,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Only these services
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub services: Vec<String>,
    /// Go on printing as lines come
    #[arg(short = 'F', long)]
    pub follow: bool,
    /// Only what this release prints, as `rollback --to` names one
    #[arg(long, value_name = "REV", add = ArgValueCandidates::new(complete::releases))]
    pub release: Option<String>,
    /// Only what the last migration printed, that of `--release` if given
    #[arg(long)]
    pub migration: bool,
    /// How far back: `30s`, `10m`, `2h`, `1d`; default: `10m`, and all of a migration
    #[arg(long, value_parser = duration::parse)]
    pub since: Option<Duration>,
    /// At most so many lines of the past, of each service on each cloud
    #[arg(long, visible_alias = "tail", default_value_t = 200)]
    pub lines: usize,
    /// Only lines that hold this, letter by letter
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Print lines as they are; otherwise the values of the environment's secrets are hidden
    #[arg(long)]
    pub unmasked: bool,
}
