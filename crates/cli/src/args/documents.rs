//! What is printed for other programs and for people: the manifest's schema, the merged manifest,
//! the manual pages.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the merged manifest
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}
