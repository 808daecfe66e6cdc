//! `deployer`: reads arguments and the manifest, runs one command, turns errors into words and exit codes.

#[macro_use]
mod output;

mod acceptance;
mod args;
mod command;
mod duration;
mod exit;
mod generate;
mod image;
mod ledger_store;
mod machine;
mod plan_file;
mod record;
mod run;
mod secret;
mod session;
mod system;
mod verification;
mod view;
mod work;

use std::io::IsTerminal;

use clap::{CommandFactory, Parser};
use deployer_core::error::Result;
use deployer_manifest::Loaded;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command, Global};
use exit::Exit;
use session::Session;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Input
            } else {
                Exit::Success
            };
            // A closed pipe takes nothing more; the exit code still tells.
            error.print().unwrap_or_default();
            return exit.into();
        }
    };
    log_to_stderr(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            sayln!("error: cannot start: {error}");
            return Exit::Failure.into();
        }
    };
    runtime.block_on(run(cli)).into()
}

fn log_to_stderr(verbose: bool) {
    let default = if verbose {
        "warn,deployer=debug,deployer_core=debug,deployer_aws=debug,deployer_gcp=debug,deployer_oci=debug"
    } else {
        "error"
    };
    let filter =
        EnvFilter::try_from_env("DEPLOYER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(view::colour(std::io::stderr().is_terminal()))
        .init();
}

async fn run(cli: Cli) -> Exit {
    let Cli { global, command } = cli;
    let result = match &command {
        Command::Init(args) => command::init::run(&global, args),
        Command::Schema(args) => Ok(command::schema::run(args)),
        Command::Man(args) => command::man::run(args),
        Command::Sandbox(command) => command::sandbox::run(&global, command).await,
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "deployer",
                &mut std::io::stdout(),
            );
            Ok(Exit::Success)
        }
        command => match session::load(&global) {
            Ok(loaded) => on_manifest(&global, loaded, command).await,
            Err(problems) => {
                print_problems(&global, &problems);
                Ok(Exit::Input)
            }
        },
    };
    result.unwrap_or_else(|error| {
        view::error::print(&error, global.json);
        Exit::from(error.kind())
    })
}

async fn on_manifest(global: &Global, loaded: Loaded, command: &Command) -> Result<Exit> {
    print_warnings(global, &loaded);
    if let Command::Config(command) = command {
        return Ok(command::config::run(global, &loaded, command));
    }
    if needs_images(command)
        && let Err(problems) = loaded.check_images()
    {
        print_problems(global, &problems);
        return Ok(Exit::Input);
    }
    let session = Session::open(loaded, global.cloud).await?;
    // Said at once and whatever follows: the clouds fail independently.
    for (_, error) in &session.failed {
        view::error::print(error, global.json);
    }
    if session.places.is_empty() {
        return Ok(session.failure());
    }
    match command {
        Command::Plan(args) => command::plan::run(global, session, args).await,
        Command::Apply(args) => command::apply::run(global, session, args).await,
        Command::Migrate(args) => command::migrate::run(global, session, args).await,
        Command::Releases(args) => command::releases::run(global, session, args).await,
        Command::Status(args) => command::status::run(global, session, args).await,
        Command::Verify(args) => command::verify::run(global, session, args).await,
        Command::Logs(args) => command::logs::run(global, session, args).await,
        Command::Rollback(args) => command::rollback::run(global, session, args).await,
        Command::Lock(command) => command::lock::run(global, session, command).await,
        Command::Secrets(command) => command::secrets::run(global, session, command).await,
        Command::Destroy(args) => command::destroy::run(global, session, args).await,
        Command::Config(_)
        | Command::Init(_)
        | Command::Schema(_)
        | Command::Man(_)
        | Command::Sandbox(_)
        | Command::Completions { .. } => Ok(Exit::Success),
    }
}

fn needs_images(command: &Command) -> bool {
    matches!(
        command,
        Command::Plan(_) | Command::Apply(_) | Command::Migrate(_)
    )
}

fn print_problems(global: &Global, problems: &deployer_manifest::Problems) {
    if global.json {
        view::json(&serde_json::json!({ "problems": problems.iter().collect::<Vec<_>>() }));
        return;
    }
    say!("{}", problems.render(width(), colour()));
}

fn print_warnings(global: &Global, loaded: &Loaded) {
    if !global.json && !loaded.warnings.is_empty() {
        say!(
            "{}",
            deployer_manifest::render(&loaded.warnings, width(), colour())
        );
    }
}

fn width() -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(80)
}

fn colour() -> deployer_manifest::Colour {
    match view::colour(std::io::stderr().is_terminal()) {
        true => deployer_manifest::Colour::On,
        false => deployer_manifest::Colour::Off,
    }
}
