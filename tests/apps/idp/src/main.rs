//! A small identity provider: what `deployer` deploys in its tests and its demo.
//!
//! One binary, several releases: the version, the planted fault and the migrations are read from
//! the directory `IDP_ROOT` (in an image: `/app`).

mod cache;
mod clients;
mod commands;
mod database;
mod healthcheck;
mod keys;
mod logging;
mod metrics;
mod migrations;
mod rate_limit;
mod release;
mod routes;
mod serve;
mod settings;
mod tls;
mod tokens;

use std::process::ExitCode;

use commands::Command;

fn main() -> ExitCode {
    logging::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = Command::parse(&arguments).and_then(commands::run);
    match result {
        Ok(code) => code,
        Err(failure) => {
            tracing::error!(error = %failure, "stopped");
            failure.exit_code()
        }
    }
}
