//! `deployer sandbox`: both clouds on loopback; started in the background, found again through a
//! file.

mod sample;
mod tour;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{self, Look, Pace};
use deployer_sandbox::env::{Running, exports};
use deployer_sandbox::faults::{FaultsError, FaultsFile};
use deployer_sandbox::{Moto, Options, Rates};
use serde_json::{Value, json};

use crate::args::{Global, SandboxCommand, SandboxFaultsArgs, SandboxUpArgs};
use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::system::{Stop, StopWords};
use crate::view;

/// Names another folder for the sandbox's state, so that several can run side by side.
const HOME_VARIABLE: &str = "DEPLOYER_SANDBOX_HOME";

/// Starts, stops, shows or exports.
pub async fn run(global: &Global, command: &SandboxCommand) -> Result<Exit> {
    // In a container there is no HOME.
    if let SandboxCommand::Sample(args) = command {
        return match (args.serve, args.check) {
            (true, _) => sample::serve().await,
            (_, true) => sample::check().await,
            (false, false) => sample::write(global, args),
        };
    }
    if let SandboxCommand::Try(args) = command {
        return tour::run(global, args).await;
    }
    let home = home()?;
    match command {
        SandboxCommand::Up(args) if args.foreground => serve(&home, args).await,
        SandboxCommand::Up(args) => {
            // A mistake is told here, not in the log of the process that is started.
            let faults = faults_of(args)?;
            if faults.is_some() && running(&home).is_some() {
                return Err(
                    Error::input("a sandbox runs already, without this faults file")
                        .hint("put it in force with `deployer sandbox faults FILE`"),
                );
            }
            up(global, &home).await
        }
        SandboxCommand::Down => down(global, &home).await,
        SandboxCommand::Status => status(global, &home).await,
        SandboxCommand::Env => env(global, &home),
        SandboxCommand::Faults(args) => faults(global, &home, args).await,
        SandboxCommand::Sample(_) | SandboxCommand::Try(_) => Ok(Exit::Success),
    }
}

fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os(HOME_VARIABLE) {
        return Ok(PathBuf::from(home));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let user = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = state.or(user).ok_or_else(|| {
        Error::input("there is no HOME for the sandbox's state")
            .hint(format!("set {HOME_VARIABLE}"))
    })?;
    Ok(state.join("deployer/sandbox"))
}

/// The sandbox that runs, for who makes a first manifest.
pub fn in_use() -> Option<Running> {
    running(&home().ok()?)
}

/// The sandbox that runs. `None` when none does (a note that a killed one left counts as none).
fn running(home: &Path) -> Option<Running> {
    let running = Running::read(home)?;
    is_alive(running.pid).then_some(running)
}

fn is_alive(process: u32) -> bool {
    // A zombie has ended: only its parent has not asked yet.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

fn required(home: &Path) -> Result<Running> {
    running(home).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "no sandbox runs").hint("start one: `deployer sandbox up`")
    })
}

async fn serve(home: &Path, args: &SandboxUpArgs) -> Result<Exit> {
    let options = Options {
        aws_port: args.aws_port,
        gcp_port: args.gcp_port,
        speed: args.speed,
        account: args.account.clone(),
        region: args.region.clone(),
        project: args.project.clone(),
        location: args.location.clone(),
        moto: if args.no_moto { Moto::Off } else { Moto::Auto },
        faults: faults_of(args)?,
        rates: if args.rates {
            Rates::Enforced
        } else {
            Rates::Ignored
        },
        ..Options::new(home)
    };
    let stop = Stop::on_signals(StopWords::OF_RUNS)
        .map_err(|error| Error::internal("cannot listen to signals").because(error))?;
    let sandbox = deployer_sandbox::serve(options).await.map_err(|error| {
        Error::new(ErrorKind::Failed, "cannot start the sandbox").because(error)
    })?;
    noteln!(
        "sandbox: AWS at {}, Google Cloud at {}; Ctrl-C stops it",
        sandbox.aws_url,
        sandbox.gcp_url
    );
    tokio::select! {
        () = sandbox.stop_requested() => {}
        () = stop.requested_at_last() => {}
    }
    sandbox.shutdown().await;
    Ok(Exit::Success)
}

fn faults_of(args: &SandboxUpArgs) -> Result<Option<FaultsFile>> {
    let read = args.faults.as_deref().map(FaultsFile::read).transpose();
    read.map_err(unusable)
}

fn unusable(error: FaultsError) -> Error {
    let hint = error.remedy().to_owned();
    Error::input("cannot use the faults file")
        .because(error)
        .hint(hint)
}

/// Replaces the rules of the sandbox that runs, or takes them all away.
async fn faults(global: &Global, home: &Path, args: &SandboxFaultsArgs) -> Result<Exit> {
    let running = required(home)?;
    let url = format!("{}/_sandbox/faults", running.aws_url);
    let request = match &args.file {
        None => client()?.delete(url),
        Some(file) => {
            FaultsFile::read(file).map_err(unusable)?;
            let text = std::fs::read_to_string(file).map_err(|error| {
                Error::input(format!("cannot read `{}`", file.display())).because(error)
            })?;
            client()?.post(url).body(text)
        }
    };
    let request = request.bearer_auth(&running.control_token);
    let answer = request.send().await.map_err(silent)?;
    let refused = !answer.status().is_success();
    let told: Value = answer.json().await.map_err(silent)?;
    if refused {
        // An older sandbox may know fewer kinds.
        let why = told["error"].as_str().unwrap_or_default().to_owned();
        return Err(Error::input("the sandbox that runs refuses the faults file").because(why));
    }
    if global.json {
        view::json(&told);
    } else {
        let count = told["rules"].as_array().map_or(0, Vec::len);
        match count {
            0 => outln!("no fault is in force"),
            1 => outln!("one fault is in force"),
            _ => outln!("{count} faults are in force"),
        }
    }
    Ok(Exit::Success)
}

async fn up(global: &Global, home: &Path) -> Result<Exit> {
    if let Some(running) = running(home) {
        say(global, &running, "runs already");
        return Ok(Exit::Success);
    }
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Failed, "cannot start the sandbox").because(error)
    };
    std::fs::create_dir_all(home).map_err(failed)?;
    let log_path = home.join("sandbox.log");
    let log = std::fs::File::create(&log_path).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        // This process is in the folder that `-C` names already.
        .args(["--foreground", "--directory", "."])
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let pace = Pace {
        first: Duration::from_millis(50),
        longest: Duration::from_millis(250),
        deadline: Duration::from_secs(60),
    };
    let started = wait::poll(&SystemClock as &dyn Clock, pace, "the sandbox", || {
        let ended = child.try_wait().ok().flatten();
        let found = running(home);
        let log_path = log_path.clone();
        async move {
            if let Some(status) = ended {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Failed,
                    format!("the sandbox ended with {status}"),
                )
                .because(log.trim().to_owned()));
            }
            Ok(found.map_or_else(
                || Look::NotYet("it has not answered yet".into()),
                Look::Found,
            ))
        }
    })
    .await?;
    say(global, &started, "is up");
    Ok(Exit::Success)
}

fn say(global: &Global, running: &Running, what: &str) {
    if global.json {
        view::json(
            &json!({"aws_url": running.aws_url, "gcp_url": running.gcp_url, "process": running.pid}),
        );
        return;
    }
    outln!(
        "the sandbox {what}: AWS at {}, Google Cloud at {}",
        running.aws_url,
        running.gcp_url
    );
    outln!("  eval \"$(deployer sandbox env)\"   points deployer, aws, gcloud and SDKs at it");
}

async fn down(global: &Global, home: &Path) -> Result<Exit> {
    let Some(running) = running(home) else {
        if !global.json {
            outln!("no sandbox runs");
        }
        return Ok(Exit::Success);
    };
    let url = format!("{}/_sandbox/shutdown", running.aws_url);
    let stop = client()?.post(url).bearer_auth(&running.control_token);
    stop.send().await.map_err(silent)?;
    let pace = Pace::until(Duration::from_secs(60));
    wait::poll(
        &SystemClock as &dyn Clock,
        pace,
        "the end of the sandbox",
        || {
            let gone = !is_alive(running.pid);
            async move {
                Ok(if gone {
                    Look::Found(())
                } else {
                    Look::NotYet("it still stops containers".into())
                })
            }
        },
    )
    .await?;
    if !global.json {
        outln!("the sandbox is down");
    }
    Ok(Exit::Success)
}

async fn status(global: &Global, home: &Path) -> Result<Exit> {
    let running = required(home)?;
    let url = format!("{}/_sandbox/status", running.aws_url);
    let ask = client()?.get(url).bearer_auth(&running.control_token);
    let answer = ask.send().await.map_err(silent)?;
    let status: Value = answer.json().await.map_err(silent)?;
    if global.json {
        view::json(&status);
    } else {
        out!("{}", describe(&status));
    }
    Ok(Exit::Success)
}

fn client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build();
    client.map_err(|error| Error::internal("cannot make an HTTP client").because(error))
}

fn silent(error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the sandbox does not answer").because(error)
}

/// The sandbox at a glance: clouds, services with their addresses, containers.
fn describe(status: &Value) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let mut lines = vec![format!(
        "speed {}, containers kept apart by {}{}",
        status["speed"],
        text(&status["isolation"]["kind"]),
        status["isolation"]["why"]
            .as_str()
            .map_or_else(String::new, |why| format!(" ({why})"))
    )];
    lines.push(match status["moto"].as_str() {
        Some(moto) => format!("moto at {moto} answers for other AWS services"),
        None => "moto is not installed: other AWS services are refused".into(),
    });
    for (of, kind) in [("databases", "postgres"), ("caches", "redis")] {
        lines.push(format!(
            "{of} are backed by {}",
            text(&status["backing"][kind])
        ));
    }
    for (cloud, owner) in [("aws", "account"), ("gcp", "project")] {
        let side = &status[cloud];
        lines.push(format!(
            "{cloud} {} at {}",
            text(&side[owner]),
            text(&side["url"])
        ));
        for service in side["status"]["services"].as_array().into_iter().flatten() {
            lines.push(format!(
                "  {} at {}",
                text(&service["name"]),
                text(&service["url"])
            ));
        }
    }
    for rule in status["faults"]["rules"].as_array().into_iter().flatten() {
        lines.push(format!(
            "fault {} for {}: fired {} times in {} calls",
            text(&rule["what"]),
            text(&rule["call"]),
            rule["fired"],
            rule["seen"]
        ));
    }
    if let Some(rejected) = status["rates"]["rejected"].as_object() {
        let total: u64 = rejected.values().filter_map(Value::as_u64).sum();
        lines.push(format!(
            "API rates are enforced: {total} calls were refused"
        ));
        for (call, count) in rejected {
            lines.push(format!("  {call}: {count}"));
        }
    }
    for container in status["containers"].as_array().into_iter().flatten() {
        lines.push(format!(
            "container {} (process {})",
            text(&container["name"]),
            container["pid"]
        ));
    }
    lines.join("\n") + "\n"
}

fn env(global: &Global, home: &Path) -> Result<Exit> {
    let running = required(home)?;
    if global.json {
        view::json_as_it_is(&BTreeMap::from_iter(exports(&running)));
        return Ok(Exit::Success);
    }
    for (name, value) in exports(&running) {
        outln!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(Exit::Success)
}
