//! `deployer sandbox try`: a service on both clouds, a new version, one that does not start, and
//! the way back, each by the very command that a person types.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_sandbox::env::{Running, exports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::{Child, Command};

use super::HOME_VARIABLE;
use crate::args::{Global, SandboxTryArgs};
use crate::duration;
use crate::exit::Exit;
use crate::system::{Stop, StopWords};
use crate::view;

/// What is said to who stops it.
const WORDS: StopWords = StopWords {
    first: "stopping: the command that runs ends first, then the sandbox goes down (again to leave now)",
    second: "leaving now; the sandbox may still run",
};
/// How the service's containers are asked whether they are well.
const HEALTH: &str = r#"path = "/health""#;
/// What `init` cannot know: the program in the image that asks.
const CHECK: &str = r#"command = ["CMD", "/deployer", "sandbox", "sample", "--check"]"#;
/// Where the sandbox keeps its state, in the folder.
const STATE: &str = ".sandbox";
/// Both clouds, without what only other services need.
const UP: &[&str] = &[
    "sandbox",
    "up",
    "--aws-port",
    "0",
    "--gcp-port",
    "0",
    "--no-moto",
];

/// What a person types, why, and how it ends.
struct Step {
    /// Said before it. Empty: it belongs to the one before.
    title: &'static str,
    command: &'static [&'static str],
    ends: Exit,
}

const fn step(title: &'static str, command: &'static [&'static str]) -> Step {
    Step {
        title,
        command,
        ends: Exit::Success,
    }
}

/// Everything after the sandbox is up and the manifest is there.
const STEPS: &[Step] = &[
    step("What an apply would do; nothing is written", &["plan"]),
    step("Version 1.0, on both clouds at once", &["apply", "--yes"]),
    step(
        "A new version",
        &["sandbox", "sample", "sample", "--tag", "1.1"],
    ),
    step("", &["apply", "--yes"]),
    step(
        "A version that does not start",
        &["sandbox", "sample", "sample", "--tag", "1.2", "--broken"],
    ),
    Step {
        title: "",
        command: &["apply", "--yes"],
        ends: Exit::RolledBack,
    },
    Step {
        title: "What serves, by the clouds' own account",
        command: &["status"],
        ends: Exit::Untrue,
    },
    step(
        "Back to the first version",
        &["rollback", "--to", "r1", "--yes"],
    ),
    step("", &["releases"]),
];

/// Shows deployer at work on both clouds of a sandbox of its own, and takes all of it away again,
/// unless it is to stay.
pub async fn run(global: &Global, args: &SandboxTryArgs) -> Result<Exit> {
    let begun = Instant::now();
    let stop = Stop::on_signals(WORDS)
        .map_err(|error| Error::internal("cannot listen to signals").because(error))?;
    let place = Place::new(args)?;
    let tour = Tour {
        program: std::env::current_exe().map_err(failed)?,
        folder: place.path().to_path_buf(),
        quiet: global.json,
        stop,
    };
    let walked = tour.walk().await;
    let stays = args.keep.is_some() && walked.is_ok();
    if !stays {
        tour.end().await;
    }
    walked?;
    let took = begun.elapsed();
    if global.json {
        view::json(&json!({
            "seconds": took.as_secs_f64(),
            "folder": args.keep,
        }));
        return Ok(Exit::Success);
    }
    outln!("\nall of that took {}", duration::show(took));
    match &args.keep {
        Some(folder) => {
            let folder = folder.display();
            outln!("to go on:  cd {folder} && export {HOME_VARIABLE}=\"$PWD/{STATE}\"");
            outln!("           eval \"$(deployer sandbox env)\" && deployer status");
            outln!("the end:   deployer sandbox down && rm -r {folder}");
        }
        None => {
            outln!("the sandbox is down and its folder is gone; `--keep FOLDER` leaves both");
            outln!("next:      deployer init    (in your project's folder)");
        }
    }
    Ok(Exit::Success)
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Failed, "cannot try deployer in the sandbox").because(error)
}

/// Where it happens.
enum Place {
    /// It goes at the end.
    Passing(tempfile::TempDir),
    /// It stays.
    Kept(PathBuf),
}

impl Place {
    fn new(args: &SandboxTryArgs) -> Result<Self> {
        let Some(folder) = &args.keep else {
            let folder = tempfile::Builder::new().prefix("deployer-try-").tempdir();
            return folder.map(Self::Passing).map_err(failed);
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut inside = std::fs::read_dir(folder).map_err(failed)?;
        if inside.next().is_some() {
            let message = format!("`{}` is not empty", folder.display());
            return Err(Error::input(message).hint("name a folder that is not there yet"));
        }
        folder.canonicalize().map(Self::Kept).map_err(failed)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// Types commands into a folder.
struct Tour {
    program: PathBuf,
    folder: PathBuf,
    quiet: bool,
    stop: Stop,
}

impl Tour {
    async fn walk(&self) -> Result<()> {
        let up = step("Two clouds on this machine", UP);
        self.take(&up).await?;
        self.take(&step(
            "An image: this program itself",
            &["sandbox", "sample", "sample"],
        ))
        .await?;
        let init = &[
            "init",
            "--app",
            "shop",
            "--image",
            "oci:sample",
            "--port",
            "8080",
            "--health",
            "/health",
            "--yes",
        ];
        self.take(&step("A manifest", init)).await?;
        self.complete()?;
        for step in STEPS {
            self.take(step).await?;
        }
        Ok(())
    }

    /// Adds what a person adds by hand.
    fn complete(&self) -> Result<()> {
        let path = self.folder.join("deployer.toml");
        let manifest = std::fs::read_to_string(&path).map_err(failed)?;
        let complete = manifest.replacen(HEALTH, &format!("{HEALTH}\n{CHECK}"), 1);
        if complete == manifest {
            return Err(Error::internal(
                "the manifest that `init` writes has no health check",
            ));
        }
        std::fs::write(&path, complete).map_err(failed)?;
        self.say(&format!("  added to [services.shop.health]:  {CHECK}"));
        Ok(())
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            outln!("{line}");
        }
    }

    /// Runs a command as it stands.
    ///
    /// Errors: failed, when it ends otherwise than it should; interrupted.
    async fn take(&self, step: &Step) -> Result<()> {
        if self.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "stopped"));
        }
        if !step.title.is_empty() {
            self.say(&format!("\n== {}", step.title));
        }
        let words = step.command.join(" ");
        self.say(&format!("$ deployer {words}"));
        let mut child = self.command(step.command).spawn().map_err(failed)?;
        let status = self.end_of(&mut child).await?;
        if self.stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "stopped"));
        }
        let wanted = step.ends.code();
        if status.code() != Some(i32::from(wanted)) {
            let message = format!("`deployer {words}` ended with {status}, not with {wanted}");
            return Err(Error::new(ErrorKind::Failed, message));
        }
        if step.ends != Exit::Success {
            self.say(&format!("(exit code {wanted})"));
        }
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let home = self.folder.join(STATE);
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.folder);
        // What points this shell somewhere else does not count here.
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy().starts_with("DEPLOYER_");
            if ours {
                command.env_remove(name);
            }
        }
        command.env(HOME_VARIABLE, &home);
        if let Some(running) = Running::read(&home) {
            command.envs(exports(&running));
        }
        // Ctrl-C is passed on once: the terminal would tell each process by itself.
        command.process_group(0).stdin(Stdio::null());
        if self.quiet {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command
    }

    async fn end_of(&self, child: &mut Child) -> Result<std::process::ExitStatus> {
        tokio::select! {
            ended = child.wait() => return ended.map_err(failed),
            () = self.stop.requested_at_last() => {}
        }
        let process = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(process) = process {
            // It may have ended meanwhile.
            let _ended = kill(Pid::from_raw(process), Signal::SIGINT);
        }
        child.wait().await.map_err(failed)
    }

    /// Takes the sandbox down; says so where that fails.
    async fn end(&self) {
        let mut down = self.command(&["sandbox", "down"]);
        down.stdout(Stdio::null());
        let ended = tokio::time::timeout(Duration::from_secs(60), down.status()).await;
        let is_down = ended.is_ok_and(|it| it.is_ok_and(|status| status.success()));
        if !is_down {
            sayln!(
                "the sandbox may still run: {HOME_VARIABLE}={} deployer sandbox down",
                self.folder.join(STATE).display()
            );
        }
    }
}
