//! `deployer sandbox`: both clouds on loopback; started in the background, found again through a file.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{self, Look, Pace};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{Global, SandboxCommand, SandboxUpArgs};
use crate::exit::Exit;
use crate::system::SystemClock;
use crate::view;

/// Names another folder for the sandbox's state, so that several can run side by side.
const HOME_VARIABLE: &str = "DEPLOYER_SANDBOX_HOME";

/// What `up` leaves for the other commands.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    process: u32,
    aws_url: String,
    gcp_url: String,
    exports: Vec<(String, String)>,
}

/// Starts, stops, shows or exports.
pub async fn run(global: &Global, command: &SandboxCommand) -> Result<Exit> {
    let home = home()?;
    match command {
        SandboxCommand::Up(args) if args.foreground => serve(&home, args).await,
        SandboxCommand::Up(args) => up(global, &home, args).await,
        SandboxCommand::Down => down(global, &home).await,
        SandboxCommand::Status => status(global, &home).await,
        SandboxCommand::Env => env(global, &home),
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

fn file(home: &Path) -> PathBuf {
    home.join("running.json")
}

/// The sandbox that runs. `None` when none does (a file that a killed one left counts as none).
fn running(home: &Path) -> Result<Option<Running>> {
    let text = match std::fs::read_to_string(file(home)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(
                Error::input(format!("cannot read {}", file(home).display())).because(error),
            );
        }
    };
    let running: Running = serde_json::from_str(&text).map_err(|error| {
        Error::input(format!("{} is damaged", file(home).display()))
            .because(error)
            .hint("delete it when no sandbox runs")
    })?;
    let alive = Path::new(&format!("/proc/{}", running.process)).exists();
    Ok(alive.then_some(running))
}

fn required(home: &Path) -> Result<Running> {
    running(home)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "no sandbox runs").hint("start one: `deployer sandbox up`")
    })
}

async fn serve(home: &Path, args: &SandboxUpArgs) -> Result<Exit> {
    let broken = |error: std::io::Error| {
        Error::new(ErrorKind::Failed, format!("cannot use {}", home.display())).because(error)
    };
    std::fs::create_dir_all(home).map_err(broken)?;
    let options = deployer_sandbox::Options {
        aws_port: args.aws_port,
        gcp_port: args.gcp_port,
        speed: args.speed,
        state_dir: home.to_owned(),
        account: args.account.clone(),
        region: args.region.clone(),
        project: args.project.clone(),
        location: args.location.clone(),
        moto: if args.no_moto {
            deployer_sandbox::Moto::Off
        } else {
            deployer_sandbox::Moto::Auto
        },
    };
    let sandbox = deployer_sandbox::serve(options).await.map_err(|error| {
        Error::new(ErrorKind::Failed, "cannot start the sandbox").because(error)
    })?;
    let note = Running {
        process: std::process::id(),
        aws_url: sandbox.aws_url().to_owned(),
        gcp_url: sandbox.gcp_url().to_owned(),
        exports: sandbox.exports(),
    };
    let text = serde_json::to_string_pretty(&note)
        .map_err(|error| Error::internal("the sandbox's note has no JSON form").because(error))?;
    // Written whole under another name, so that nobody reads half of it.
    let partial = home.join("running.json.partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, file(home)))
        .map_err(broken)?;
    eprintln!(
        "sandbox: AWS at {}, Google Cloud at {}; Ctrl-C stops it",
        note.aws_url, note.gcp_url
    );
    sandbox.until_stopped().await;
    std::fs::remove_file(file(home)).map_err(broken)?;
    Ok(Exit::Success)
}

async fn up(global: &Global, home: &Path, args: &SandboxUpArgs) -> Result<Exit> {
    if let Some(running) = running(home)? {
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
        .arg("--foreground")
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
            Ok(found?.map_or_else(
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
            &json!({"aws_url": running.aws_url, "gcp_url": running.gcp_url, "process": running.process}),
        );
        return;
    }
    println!(
        "the sandbox {what}: AWS at {}, Google Cloud at {}",
        running.aws_url, running.gcp_url
    );
    println!("  eval \"$(deployer sandbox env)\"   points deployer, aws, gcloud and SDKs at it");
}

async fn down(global: &Global, home: &Path) -> Result<Exit> {
    let Some(running) = running(home)? else {
        if !global.json {
            println!("no sandbox runs");
        }
        return Ok(Exit::Success);
    };
    deployer_sandbox::control::shutdown(&running.aws_url)
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the sandbox does not answer").because(error)
        })?;
    let process = format!("/proc/{}", running.process);
    let pace = Pace::until(Duration::from_secs(60));
    wait::poll(
        &SystemClock as &dyn Clock,
        pace,
        "the end of the sandbox",
        || {
            let gone = !Path::new(&process).exists();
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
        println!("the sandbox is down");
    }
    Ok(Exit::Success)
}

async fn status(global: &Global, home: &Path) -> Result<Exit> {
    let running = required(home)?;
    let status = deployer_sandbox::control::status(&running.aws_url)
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the sandbox does not answer").because(error)
        })?;
    if global.json {
        view::json(&status);
    } else {
        print!("{}", deployer_sandbox::control::describe(&status));
    }
    Ok(Exit::Success)
}

fn env(global: &Global, home: &Path) -> Result<Exit> {
    let running = required(home)?;
    if global.json {
        view::json(
            &running
                .exports
                .iter()
                .cloned()
                .collect::<std::collections::BTreeMap<_, _>>(),
        );
        return Ok(Exit::Success);
    }
    for (name, value) in running.exports {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(Exit::Success)
}
