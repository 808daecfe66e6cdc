//! The commands, and what their failures mean to whoever started the process.

use std::process::ExitCode;

use thiserror::Error;

use crate::healthcheck;
use crate::migrations::{self, MigrationError};
use crate::release::{Release, ReleaseError};
use crate::serve::{self, ServeError};
use crate::settings::{MigrateSettings, Problems, ServeSettings};

/// What the process was asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve HTTP until told to stop.
    Serve,
    /// Bring the database to this release's schema, once.
    Migrate,
    /// Ask the server of this container whether it is healthy, and end with 0 or 1.
    Healthcheck,
    /// End at once with this exit code: a job that fails.
    Fail(u8),
    /// Never end: a job that runs into its time-out.
    Hang,
}

/// Why a command ended; each kind has its own exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// The arguments make no command. Exit code 64.
    #[error("{0}; expected `serve`, `migrate`, `healthcheck`, `fail --code N` or `hang`")]
    Usage(String),
    /// The environment is incomplete or wrong. Exit code 78.
    #[error("{0}")]
    Configuration(#[from] Problems),
    /// The release directory is unreadable. Exit code 78.
    #[error("{0}")]
    Release(#[from] ReleaseError),
    /// The migration failed or was refused. Exit code 65 or 69.
    #[error("{0}")]
    Migration(#[from] MigrationError),
    /// The server could not run. Exit code 70.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// The operating system refused what every command needs. Exit code 71.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Failure {
    /// The exit code, after `sysexits.h`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 64,
            Self::Migration(MigrationError::Database { .. }) => 69,
            Self::Migration(_) => 65,
            Self::Serve(_) => 70,
            Self::Runtime(_) => 71,
            Self::Configuration(_) | Self::Release(_) => 78,
        })
    }
}

impl Command {
    /// Reads the arguments, program name excluded; none means `serve`.
    pub fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] | ["serve"] => Ok(Self::Serve),
            ["migrate"] => Ok(Self::Migrate),
            ["healthcheck"] => Ok(Self::Healthcheck),
            ["hang"] => Ok(Self::Hang),
            ["fail"] => Ok(Self::Fail(1)),
            ["fail", "--code", code] => match code.parse() {
                Ok(code) => Ok(Self::Fail(code)),
                Err(_) => Err(Failure::Usage(format!(
                    "`{code}` is no exit code (0 to 255)"
                ))),
            },
            other => Err(Failure::Usage(format!(
                "unknown command `{}`",
                other.join(" ")
            ))),
        }
    }
}

/// Carries out `command`; returns when it is done.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    match command {
        Command::Serve => {
            let settings = ServeSettings::read(&environment)?;
            let release = Release::read(&settings.root)?;
            tokio::runtime::Runtime::new()?.block_on(serve::serve(settings, release))?;
        }
        Command::Migrate => {
            let settings = MigrateSettings::read(&environment)?;
            let release = Release::read(&settings.root)?;
            tokio::runtime::Runtime::new()?.block_on(migrations::migrate(&settings, &release))?;
        }
        Command::Healthcheck => return Ok(ExitCode::from(healthcheck::run(&environment))),
        Command::Fail(code) => {
            tracing::error!(code, "failing as asked");
            return Ok(ExitCode::from(code));
        }
        Command::Hang => {
            tracing::info!("hanging as asked");
            loop {
                std::thread::park();
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(Command::parse(&words).unwrap(), expected);
    }

    #[test]
    fn commands_are_read_from_the_arguments() {
        check("", Command::Serve);
        check("serve", Command::Serve);
        check("migrate", Command::Migrate);
        check("healthcheck", Command::Healthcheck);
        check("fail --code 3", Command::Fail(3));
        check("hang", Command::Hang);
    }

    #[test]
    fn a_wrong_command_is_refused() {
        for line in ["serve now", "fail --code 256", "fail --code x", "start"] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert!(
                matches!(Command::parse(&words), Err(Failure::Usage(_))),
                "{line}"
            );
        }
    }
}
