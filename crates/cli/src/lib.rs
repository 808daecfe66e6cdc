//! `deployer`: reads arguments and the manifest, runs one command, turns errors into words and exit
//! codes.
//!
//! The program is [`main`]. [`run`] is one command in surroundings of the caller's choice: another
//! clock, another store for the ledger, output that is kept. Programs that try a whole command very
//! often use it, in one process.

#[macro_use]
mod output;

mod acceptance;
mod activate;
mod activation;
mod again;
mod appearance;
mod applied;
mod args;
mod calls;
mod capture;
mod choosing;
mod clock;
mod command;
mod complete;
mod destroyed;
mod document;
mod duration;
mod environment;
mod examination;
mod exit;
mod facts;
mod failure;
mod gate;
mod generate;
mod held;
mod image;
mod inventory;
mod kept;
mod known;
mod ledger_store;
mod left;
mod logins;
mod lost;
mod machine;
mod mask;
mod named;
mod numbers;
mod outcome;
mod pins;
mod plan_file;
mod recall;
mod record;
mod redeploys;
mod renamed;
mod run;
mod scene;
mod secret;
mod session;
mod stopped;
mod system;
mod tail;
mod terminal;
mod typed;
mod unwritten;
mod usual;
mod verbs;
mod verification;
mod view;
mod whereabouts;
mod work;

use std::io::IsTerminal;

use clap::Parser;
use deployer_core::capability::Switching;
use deployer_core::error::{Error, Result};
use deployer_manifest::Loaded;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use args::{Cli, Command, EnvCommand, Global};
use session::Session;

pub use capture::{Output, captured};
pub use exit::Exit;
pub use system::{Stop, StopWords, Surroundings};

/// The program: the arguments and surroundings of this process.
pub fn main() -> std::process::ExitCode {
    // A shell that asks for completions gets them, and nothing else.
    clap_complete::CompleteEnv::with_factory(command::completions::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> = std::env::args_os()
                .skip(1)
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            return unparsed(&error, &words).into();
        }
    };
    // Where the environment has to be another one, the program starts again in the folder it is in:
    // then the folder is changed.
    let started = environment::put_right().and_then(|()| enter(&cli.global));
    if let Err(error) = started {
        view::error::print(&error, cli.global.json);
        return Exit::from(error.kind()).into();
    }
    log_to_stderr(&cli.global);
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

/// One command: `arguments` as typed after the program's name. Environment variables are this
/// process's own.
pub async fn run(arguments: &[&str], surroundings: Surroundings) -> Exit {
    match Cli::try_parse_from(std::iter::once(&"deployer").chain(arguments)) {
        Ok(cli) => command(cli, surroundings).await,
        Err(error) => unparsed(&error, arguments),
    }
}

/// Goes to the folder of `-C`: what is typed after it is meant from there.
fn enter(global: &Global) -> Result<()> {
    let Some(folder) = &global.directory else {
        return Ok(());
    };
    std::env::set_current_dir(folder).map_err(|error| {
        Error::input(format!("cannot go to the folder `{}`", folder.display())).because(error)
    })
}

fn unparsed(error: &clap::Error, arguments: &[&str]) -> Exit {
    let as_json = arguments.contains(&"--json");
    if let Some((message, hint)) = verbs::explain(error, arguments) {
        let error = Error::input(message);
        let error = match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        view::error::print(&error, as_json);
        return Exit::Input;
    }
    if as_json && error.use_stderr() {
        let words = error.render().to_string();
        view::error::print(
            &Error::input(words.trim_start_matches("error: ").trim()),
            true,
        );
        return Exit::Input;
    }
    // A closed pipe takes nothing more; the exit code still tells.
    error.print().unwrap_or_default();
    match error.use_stderr() {
        true => Exit::Input,
        false => Exit::Success,
    }
}

/// What `-v` shows: one line for each call, and what goes with it.
const CALLS: &str = "warn,deployer=debug,deployer_core=debug,deployer_aws=debug,deployer_gcp=debug,deployer_oci=debug,google_cloud_gax_internal=info";

fn log_to_stderr(global: &Global) {
    let colour = appearance::colour_of(global, std::io::stderr().is_terminal());
    let asked = EnvFilter::try_from_env("DEPLOYER_LOG").ok();
    // Who filters wants to know where a line comes from; who only looks wants the time and the
    // call.
    let short = global.verbose && asked.is_none();
    let default = if global.verbose { CALLS } else { "error" };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    let lines = match short {
        true => lines
            .with_timer(WallClock)
            .with_target(false)
            .with_level(false)
            .boxed(),
        false => lines.boxed(),
    };
    let say = |line: &str| sayln!("{} {line}", jiff::Zoned::now().strftime("%H:%M:%S"));
    tracing_subscriber::registry()
        .with(asked.unwrap_or_else(|| EnvFilter::new(default)))
        .with(filter_fn(calls::is_harmless))
        .with(lines)
        .with(calls::Calls { say })
        .init();
}

/// The time of day in front of a line.
struct WallClock;

impl tracing_subscriber::fmt::time::FormatTime for WallClock {
    fn format_time(
        &self,
        line: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        write!(line, "{}", jiff::Zoned::now().strftime("%H:%M:%S"))
    }
}

async fn command(cli: Cli, surroundings: Surroundings) -> Exit {
    let Cli { global, command } = cli;
    let clock = std::sync::Arc::clone(&surroundings.clock);
    let lines = global.json && command.is_long_work();
    let all = async {
        // In a box: what is around it would make a type that is too deep for the compiler.
        let exit = Box::pin(one(&global, &command, surroundings)).await;
        if lines {
            view::json_line(&document::result(exit));
        }
        exit
    };
    again::here(&global, document::within(clock, lines, all)).await
}

async fn one(global: &Global, command: &Command, surroundings: Surroundings) -> Exit {
    if command.reads_the_manifest()
        && !global.json
        && let Some(absent) = session::no_manifest(global)
    {
        view::error::print(&absent, false);
        return ended(command, Exit::Input);
    }
    let result = match command {
        Command::Init(args) => command::init::run(global, args, surroundings.clock).await,
        Command::Schema(args) => Ok(command::schema::run(args)),
        Command::Permissions => Ok(command::permissions::run(global)),
        Command::Man(args) => command::man::run(args),
        Command::Show(args) => command::show::run(global, args),
        Command::Sandbox(command) => command::sandbox::run(global, command).await,
        Command::Completions { shell } => command::completions::run(*shell),
        Command::Check => command::check::run(global),
        Command::Env(EnvCommand::List) => command::env::list(global, surroundings).await,
        Command::Logs(_) if verbs::means_follow(global) => Err(verbs::follow(global.manifest())),
        command => match session::load(global, command) {
            Ok(loaded) => on_manifest(global, loaded, command, surroundings).await,
            Err(problems) => {
                print_problems(global, &problems);
                Ok(Exit::Input)
            }
        },
    };
    let exit = result.unwrap_or_else(|error| {
        view::error::print(&error, global.json);
        Exit::from(error.kind())
    });
    ended(command, exit)
}

/// The exit code of a command; those that run another's have codes of their own.
fn ended(command: &Command, exit: Exit) -> Exit {
    match command {
        Command::Run(_) | Command::Exec(_) => exit.of_run(),
        _ => exit,
    }
}

async fn on_manifest(
    global: &Global,
    loaded: Loaded,
    command: &Command,
    surroundings: Surroundings,
) -> Result<Exit> {
    document::note_environment(&loaded.environment);
    print_warnings(global, &loaded, command);
    if let Command::Config(command) = command {
        known::note(global, &loaded);
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
    let doubtful = !global.new_environment && !loaded.is_known();
    if doubtful && switching == Switching::Allowed {
        // Nothing is switched on for a slip.
        let (loaded, around) = (loaded.clone(), surroundings.clone());
        let mut looked = Session::open(loaded, global.cloud, Switching::Never, around).await?;
        if looked.places.is_empty() {
            looked.tell_failed(global);
            return Ok(looked.failure());
        }
        known::require(global, &looked, command.name()).await?;
    }
    let session = Session::open(loaded, global.cloud, switching, surroundings).await?;
    let mut session = session.waiting(command.wait_lock());
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
    known::require(global, &session, command.name()).await?;
    match command {
        Command::Plan(args) => command::plan::run(global, session, args).await,
        Command::Apply(args) => command::apply::run(global, session, args).await,
        Command::Migrate(args) => command::migrate::run(global, session, args).await,
        Command::Releases(args) => command::releases::run(global, session, args).await,
        Command::Runs(args) => command::runs::run(global, session, args).await,
        Command::Report(args) => command::report::run(global, session, args).await,
        Command::Status(args) => command::status::run(global, session, args).await,
        Command::Verify(args) => command::verify::run(global, session, args).await,
        Command::Logs(args) => command::logs::run(global, session, args).await,
        Command::Run(args) => command::run::run(global, session, args).await,
        Command::Exec(args) => command::exec::run(global, session, args).await,
        Command::Rollback(args) => command::rollback::run(global, session, args).await,
        Command::Lock(command) => command::lock::run(global, session, command).await,
        Command::Secrets(command) => command::secrets::run(global, session, command).await,
        Command::Destroy(args) => command::destroy::run(global, session, args).await,
        Command::Forget(args) => command::forget::run(global, session, args).await,
        Command::Config(_)
        | Command::Check
        | Command::Env(_)
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
        false => noteln!("{cloud}: switched on {}", apis.join(", ")),
    }
}

fn needs_images(command: &Command) -> bool {
    matches!(
        command,
        Command::Plan(_) | Command::Apply(_) | Command::Migrate(_)
    )
}

pub(crate) fn print_problems(global: &Global, problems: &deployer_manifest::Problems) {
    if global.json {
        view::json(&serde_json::json!({ "problems": problems.iter().collect::<Vec<_>>() }));
        return;
    }
    view::github::problems(problems.iter());
    say!("{}", problems.render(width(), colour()));
}

/// Problems for this terminal.
pub(crate) fn rendered(problems: &[deployer_manifest::Problem]) -> String {
    deployer_manifest::render(problems, width(), colour())
}

/// What is doubtful is told where something is made of it; a fault that was let pass, everywhere.
fn print_warnings(global: &Global, loaded: &Loaded, command: &Command) {
    let mut told = loaded.passed.clone();
    if command.makes_of_the_manifest() {
        told.extend(loaded.warnings.iter().cloned());
    }
    if !global.json && !global.quiet && !told.is_empty() {
        say!("{}", rendered(&told));
    }
}

/// How wide errors of the manifest are: as COLUMNS says, else as the terminal is, else 80.
fn width() -> usize {
    // A terminal that does not say how wide it is.
    const WIDEST: usize = 500;
    let said = std::env::var("COLUMNS").ok();
    let said = said.and_then(|columns| columns.parse().ok());
    let here = std::io::stderr().is_terminal();
    said.unwrap_or_else(|| match here {
        true => view::error_width().min(WIDEST),
        false => 80,
    })
}

fn colour() -> deployer_manifest::Colour {
    match view::colour(std::io::stderr().is_terminal()) {
        _ if appearance::is_ascii() => deployer_manifest::Colour::Ascii,
        true => deployer_manifest::Colour::On,
        false => deployer_manifest::Colour::Off,
    }
}
