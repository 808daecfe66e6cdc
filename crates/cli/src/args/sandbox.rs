//! Both clouds on this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// See it at work in under a minute: a service on both clouds, a new version, a broken
    /// one, and back; in a folder and a sandbox of its own, which go at the end
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
pub struct SandboxFaultsArgs {
    /// The faults file (TOML)
    #[arg(required_unless_present = "clear", conflicts_with = "clear")]
    pub file: Option<PathBuf>,
    /// Let every call pass again
    #[arg(long)]
    pub clear: bool,
}

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
