//! `deployer`: reads arguments and the manifest, runs one command, turns errors into words and exit codes.
//!
//! The program is [`main`]. [`run`] is one command in surroundings of the caller's choice: another clock, another store for
//! the ledger, output that is kept. Programs that try a whole command very often use it, in one process.

#[macro_use]
mod output;

mod acceptance;
mod activation;
mod again;
mod args;
mod choosing;
mod command;
mod duration;
mod environment;
mod exit;
mod facts;
mod failure;
mod generate;
mod held;
mod image;
mod kept;
mod ledger_store;
mod left;
mod logins;
mod lost;
mod machine;
mod mask;
mod plan_file;
mod record;
mod run;
mod scene;
mod secret;
mod session;
mod stopped;
mod system;
mod typed;
mod verification;
mod view;
mod work;

use std::io::IsTerminal;

use clap::{CommandFactory, Parser};
use deployer_core::capability::Switching;
use deployer_core::error::Result;
use deployer_manifest::Loaded;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command, Global};
use session::Session;

pub use exit::Exit;
pub use output::{Output, captured};
pub use system::{Stop, Surroundings};

/// The program: the arguments and surroundings of this process.
pub fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error).into(),
    };
    if let Err(error) = environment::put_right() {
        view::error::print(&error, cli.global.json);
        return Exit::from(error.kind()).into();
    }
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
    runtime
        .block_on(command(cli, Surroundings::of_this_process()))
        .into()
}

/// One command: `arguments` as typed after the program's name. Environment variables are this process's own.
pub async fn run(arguments: &[&str], surroundings: Surroundings) -> Exit {
    match Cli::try_parse_from(std::iter::once(&"deployer").chain(arguments)) {
        Ok(cli) => command(cli, surroundings).await,
        Err(error) => unparsed(&error),
    }
}

fn unparsed(error: &clap::Error) -> Exit {
    // A closed pipe takes nothing more; the exit code still tells.
    error.print().unwrap_or_default();
    match error.use_stderr() {
        true => Exit::Input,
        false => Exit::Success,
    }
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

async fn command(cli: Cli, surroundings: Surroundings) -> Exit {
    let Cli { global, command } = cli;
    again::here(&global, one(&global, &command, surroundings)).await
}

async fn one(global: &Global, command: &Command, surroundings: Surroundings) -> Exit {
    let result = match command {
        Command::Init(args) => command::init::run(global, args),
        Command::Schema(args) => Ok(command::schema::run(args)),
        Command::Permissions => Ok(command::permissions::run(global)),
        Command::Man(args) => command::man::run(args),
        Command::Show(args) => command::show::run(global, args),
        Command::Sandbox(command) => command::sandbox::run(global, command).await,
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "deployer",
                &mut std::io::stdout(),
            );
            Ok(Exit::Success)
        }
        command => match session::load(global) {
            Ok(loaded) => on_manifest(global, loaded, command, surroundings).await,
            Err(problems) => {
                print_problems(global, &problems);
                Ok(Exit::Input)
            }
        },
    };
    result.unwrap_or_else(|error| {
        view::error::print(&error, global.json);
        Exit::from(error.kind())
    })
}

async fn on_manifest(
    global: &Global,
    loaded: Loaded,
    command: &Command,
    surroundings: Surroundings,
) -> Result<Exit> {
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
    let switching = match command {
        Command::Apply(_) => Switching::Allowed,
        _ => Switching::Never,
    };
    let surroundings = Surroundings {
        ledger_moved: global.ledger_moved,
        ..surroundings
    };
    let mut session = Session::open(loaded, global.cloud, switching, surroundings).await?;
    // Said at once and whatever follows: the clouds fail independently.
    session.tell_failed(global);
    for place in session
        .places
        .iter()
        .filter(|place| !place.switched_on.is_empty())
    {
        say_switched_on(global, place);
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
        Command::Forget(args) => command::forget::run(global, session, args).await,
        Command::Config(_)
        | Command::Init(_)
        | Command::Schema(_)
        | Command::Permissions
        | Command::Show(_)
        | Command::Man(_)
        | Command::Sandbox(_)
        | Command::Completions { .. } => Ok(Exit::Success),
    }
}

fn say_switched_on(global: &Global, place: &session::Place) {
    let (cloud, apis) = (place.name(), &place.switched_on);
    match global.json {
        true => view::json_line(&serde_json::json!({
            "event": "switched_on", "cloud": cloud, "apis": apis,
        })),
        false => sayln!("{cloud}: switched on {}", apis.join(", ")),
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
