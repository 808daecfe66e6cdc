//! What a first manifest is made of.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::global::Which;

/// What is known already; on a terminal the rest is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// The app's name; default: the directory's
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// A cloud to deploy to; may be given twice; default: both
    // The same name and type as the global argument, which it stands in for here.
    #[arg(long, value_enum, value_name = "CLOUD")]
    pub cloud: Vec<Which>,
    /// The image: `oci:DIRECTORY`, `docker-archive:FILE` or a registry reference
    #[arg(long)]
    pub image: Option<String>,
    /// The container's port; default: what the Dockerfile exposes
    #[arg(long)]
    pub port: Option<u16>,
    /// The path that answers 200 when the app is healthy
    #[arg(long, value_name = "PATH")]
    pub health: Option<String>,
    /// The Dockerfile; default: the one beside the manifest, when there is one
    #[arg(long, value_name = "FILE")]
    pub dockerfile: Option<PathBuf>,
    /// With a managed PostgreSQL
    #[arg(long)]
    pub database: bool,
    /// With a managed Redis
    #[arg(long)]
    pub cache: bool,
    /// The AWS account
    #[arg(long)]
    pub account: Option<String>,
    /// The AWS region
    #[arg(
        long,
        value_name = "REGION",
        env = "AWS_REGION",
        hide_env_values = true
    )]
    pub aws_region: Option<String>,
    /// What runs the service on AWS; default: `ecs`
    #[arg(long, value_enum, value_name = "RUNTIME")]
    pub runtime: Option<AwsRuntimeArg>,
    /// The ECS cluster
    #[arg(long)]
    pub cluster: Option<String>,
    /// A subnet of the tasks; may be given several times
    #[arg(long, value_name = "ID")]
    pub subnet: Vec<String>,
    /// A security group of the tasks; may be given several times
    #[arg(long, value_name = "ID")]
    pub security_group: Vec<String>,
    /// The role that pulls the image and reads the secrets
    #[arg(long, value_name = "ROLE")]
    pub execution_role: Option<String>,
    /// The app's own role
    #[arg(long, value_name = "ROLE")]
    pub task_role: Option<String>,
    /// The role with which App Runner pulls the image
    #[arg(long, value_name = "ROLE")]
    pub access_role: Option<String>,
    /// The Google Cloud project
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", hide_env_values = true)]
    pub project: Option<String>,
    /// The Google Cloud region
    #[arg(long, value_name = "REGION")]
    pub gcp_region: Option<String>,
    /// The service account that runs the app
    #[arg(long, value_name = "EMAIL")]
    pub service_account: Option<String>,
    /// The network that the app reaches (direct egress)
    #[arg(long)]
    pub network: Option<String>,
    /// Its subnetwork
    #[arg(long)]
    pub subnetwork: Option<String>,
    /// Everyone may call the service on Google Cloud; by default only who has `roles/run.invoker`
    #[arg(long)]
    pub public: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Do not ask the clouds what is there
    #[arg(long)]
    pub offline: bool,
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AwsRuntimeArg {
    /// ECS on Fargate
    Ecs,
    /// App Runner, which takes no new customers
    AppRunner,
}
