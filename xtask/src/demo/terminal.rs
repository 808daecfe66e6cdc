//! Runs `deployer` as a person at a terminal does: shows what it says, keeps it, can end it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The clouds stop their containers first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which lines of a command are shown; all are kept.
#[derive(Clone, Copy)]
pub struct Say {
    stdout: fn(&str) -> bool,
    stderr: fn(&str) -> bool,
}

impl Say {
    /// All of it.
    pub fn everything() -> Self {
        Self {
            stdout: |_| true,
            stderr: |_| true,
        }
    }

    /// None of it.
    pub fn nothing() -> Self {
        Self {
            stdout: |_| false,
            stderr: |_| false,
        }
    }

    /// Of a plan the nodes, without their fields.
    pub fn headlines() -> Self {
        Self {
            stdout: is_headline,
            stderr: is_result,
        }
    }

    /// How each node ended, and what serves; not the plan.
    pub fn results() -> Self {
        Self {
            stdout: |_| false,
            stderr: is_result,
        }
    }

    /// The plan with its fields, then how each node ended.
    pub fn changes_and_results() -> Self {
        Self {
            stdout: |_| true,
            stderr: is_result,
        }
    }
}

fn is_headline(line: &str) -> bool {
    !line.starts_with("          ")
}

/// Progress lines start with the time and the cloud: of those only the last one counts.
fn is_result(line: &str) -> bool {
    let mut words = line.split(' ');
    let time = words
        .next()
        .is_some_and(|word| word.matches(':').count() == 2);
    let progress = time
        && words
            .next()
            .is_some_and(|word| ["aws", "gcp"].contains(&word));
    let ended = [
        "created in",
        "updated in",
        "deleted in",
        "replaced in",
        "FAILED",
    ];
    !progress || ended.iter().any(|word| line.contains(word))
}

/// How a command ended and what it said.
pub struct Finished {
    arguments: String,
    status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    stderr: String,
}

impl Finished {
    /// Fails unless the command ended with this code.
    pub fn exits(&self, code: i32) -> Result<()> {
        let tail: Vec<&str> = self.stderr.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        ensure!(
            self.status.code() == Some(code),
            "`deployer {}` was to end with exit code {code}, but: {}\n{}",
            self.arguments,
            self.status,
            tail.join("\n")
        );
        Ok(())
    }

    /// Fails unless either stream has these words.
    pub fn says(&self, words: &str) -> Result<()> {
        ensure!(
            self.stdout.contains(words) || self.stderr.contains(words),
            "`deployer {}` does not say `{words}`",
            self.arguments
        );
        Ok(())
    }
}

/// `deployer` in one folder with one environment, and the sandbox that it serves.
#[derive(Clone)]
pub struct Terminal {
    binary: PathBuf,
    folder: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    running: Arc<Mutex<Option<Child>>>,
    sandbox: Arc<Mutex<Option<Child>>>,
    said: Arc<Mutex<String>>,
}

impl Terminal {
    /// The binary, to be run in `folder` with these variables only.
    pub fn new(binary: &Path, folder: &Path, environment: BTreeMap<OsString, OsString>) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            environment,
            running: Arc::default(),
            sandbox: Arc::default(),
            said: Arc::default(),
        }
    }

    /// The same in another folder: what either says and runs is one.
    pub fn in_folder(&self, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            ..self.clone()
        }
    }

    /// Sets a variable for the commands that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    /// Runs a command to its end; the result says how it ended.
    pub fn run(&self, arguments: &[&str], input: &str, say: Say) -> Result<Finished> {
        self.follow(self.command(arguments), arguments, input, say)
    }

    /// Runs a command on a terminal of its own (`script`, of util-linux), which gives it colour and
    /// live lines. All that the terminal was sent is the result's standard output.
    pub fn watched(&self, arguments: &[&str], columns: u16) -> Result<Finished> {
        let program = self.binary.to_string_lossy();
        // None of the words has a character that a shell takes for more than itself.
        let words = arguments.join(" ");
        let line = format!("stty cols {columns} rows 60; exec '{program}' {words}");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.current_dir(&self.folder);
        command.env_clear().envs(&self.environment);
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh");
        self.follow(command, arguments, "", Say::nothing())
    }

    fn follow(
        &self,
        mut command: Command,
        arguments: &[&str],
        input: &str,
        say: Say,
    ) -> Result<Finished> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = streams else {
            bail!("a piped command has no pipes");
        };
        *lock(&self.running) = Some(child);
        stdin
            .write_all(input.as_bytes())
            .context("deployer does not read its input")?;
        drop(stdin);
        let (stdout, stderr) = std::thread::scope(|scope| {
            let stdout = scope.spawn(|| listen(stdout, say.stdout));
            let stderr = listen(stderr, say.stderr);
            (stdout.join(), stderr)
        });
        let stdout = stdout.ok().context("a listener ended early")?;
        // An interruption has taken and ended it.
        let mut child = lock(&self.running).take().context("interrupted")?;
        let status = child.wait()?;
        lock(&self.said).push_str(&format!("{stdout}{stderr}"));
        Ok(Finished {
            arguments: arguments.join(" "),
            status,
            stdout,
            stderr,
        })
    }

    /// Everything that every command said so far.
    pub fn everything_said(&self) -> String {
        lock(&self.said).clone()
    }

    /// Starts the clouds on free ports; they write to `log`.
    pub fn start_sandbox(&self, log: &Path, speed: &str) -> Result<()> {
        let log = File::create(log).context("cannot make the sandbox's log")?;
        let mut up = self.command(&["sandbox", "up", "--foreground", "--no-moto"]);
        up.args(["--aws-port", "0", "--gcp-port", "0", "--speed", speed]);
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *lock(&self.sandbox) = Some(up.spawn().context("cannot start the sandbox")?);
        Ok(())
    }

    /// How the clouds ended; `None` while they run.
    pub fn sandbox_ended(&self) -> Result<Option<ExitStatus>> {
        let mut sandbox = lock(&self.sandbox);
        let sandbox = sandbox.as_mut().context("no sandbox was started")?;
        Ok(sandbox.try_wait()?)
    }

    /// Stops the clouds with their containers; fails when they do not end by themselves.
    pub fn stop_sandbox(&self) -> Result<()> {
        let Some(mut sandbox) = lock(&self.sandbox).take() else {
            return Ok(());
        };
        let down = self
            .command(&["sandbox", "down"])
            .stdout(Stdio::null())
            .status();
        let asked = Instant::now();
        let mut stopped = false;
        while down.as_ref().is_ok_and(ExitStatus::success) && asked.elapsed() < PATIENCE {
            stopped = sandbox.try_wait()?.is_some();
            if stopped {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if !stopped {
            sandbox.kill().context("cannot kill the sandbox")?;
            sandbox.wait()?;
        }
        ensure!(stopped, "the sandbox did not end by itself; it was killed");
        Ok(())
    }

    /// Ends whatever runs.
    pub fn end(&self) {
        if let Some(mut child) = lock(&self.running).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = self.stop_sandbox() {
            eprintln!("{error:#}");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.folder);
        command.env_clear().envs(&self.environment);
        command
    }
}

/// Reads a stream to its end and shows the chosen lines on the way.
fn listen(stream: impl Read, shown: fn(&str) -> bool) -> String {
    let mut all = String::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if shown(&line) {
            eprintln!("    {line}");
        }
        all.push_str(&line);
        all.push('\n');
    }
    all
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_progress_only_the_ends_are_results() {
        assert!(!is_result(
            "20:01:58 aws  a     service: 1 of 2 tasks run (0.5s)"
        ));
        assert!(is_result("20:01:58 aws  a     service created in 1.0s"));
        assert!(is_result("20:01:58 gcp  a     service FAILED after 9.0s"));
        assert!(is_result("demo · sandbox: a r1 serves on aws"));
    }

    #[test]
    fn another_exit_code_is_an_error_that_quotes_the_end_of_what_was_said() {
        let folder = std::env::temp_dir();
        let terminal = Terminal::new(Path::new("/bin/sh"), &folder, BTreeMap::new());
        let done = terminal
            .run(&["-c", "echo oh no >&2; exit 3"], "", Say::nothing())
            .unwrap();
        done.exits(3).unwrap();
        let said = done.exits(0).unwrap_err().to_string();
        assert!(
            said.contains("oh no") && said.contains("exit code 0"),
            "{said}"
        );
    }
}
