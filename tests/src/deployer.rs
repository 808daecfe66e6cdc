//! Runs the binary as a person or a pipeline does, and keeps everything that it says.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::wait;

/// No command of a test takes longer; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(90);

/// Nothing that a command says on its way takes longer to be said.
const SOON: Duration = Duration::from_secs(60);

/// How the program is to end; `docs/exit-codes.md` lists them.
pub mod exit {
    /// Everything asked for was done.
    pub const SUCCESS: i32 = 0;
    /// It failed for a reason that has no code of its own.
    pub const FAILURE: i32 = 1;
    /// There are changes.
    pub const CHANGES: i32 = 2;
    /// A deployment failed; what served before still serves.
    pub const DEPLOYMENT_FAILED: i32 = 3;
    /// What serves does not do what it should.
    pub const UNVERIFIED: i32 = 4;
    /// A service was left alone because it is on hold.
    pub const HELD: i32 = 6;
    /// A deployment failed and was put back.
    pub const ROLLED_BACK: i32 = 7;
    /// Another run holds the lock.
    pub const LOCKED: i32 = 8;
    /// Something could not be put back: a person has to look.
    pub const NEEDS_ATTENTION: i32 = 9;
    /// Credentials are absent, refused, or may not do this.
    pub const DENIED: i32 = 10;
    /// The manifest, an argument or a file is wrong.
    pub const INPUT: i32 = 64;
    /// A person stopped it: what shells tell of SIGINT too.
    pub const INTERRUPTED: i32 = 130;
    /// `kill -9` ended it.
    pub const KILLED: i32 = 137;
}

/// The binary in one working directory with one environment.
#[derive(Clone)]
pub struct Deployer {
    binary: PathBuf,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    said: Arc<Mutex<String>>,
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The arguments.
    pub arguments: String,
    /// The exit code, as shells tell it: 128 and the number of the signal that ended it, where one
    /// did.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command that runs.
pub struct Running {
    arguments: String,
    process: Child,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
    said: Arc<Mutex<String>>,
}

impl Deployer {
    /// The binary, to be run in `folder`. It gets these variables and only the PATH from ours.
    pub fn new(binary: &Path, folder: &Path, environment: BTreeMap<String, String>) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            environment,
            said: Arc::default(),
        }
    }

    /// The same with another value of a variable.
    #[must_use]
    pub fn with(&self, name: &str, value: impl Into<String>) -> Self {
        let mut changed = self.clone();
        changed.environment.insert(name.to_owned(), value.into());
        changed
    }

    /// Runs to the end, without a terminal and without input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments, "").finish()
    }

    /// Runs to the end with this on standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        self.start(arguments, input).finish()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(&self, arguments: &[&str], input: &str) -> Running {
        let file = || NamedTempFile::new().expect("a temporary file can be made");
        // Files, not pipes: nobody has to read while it runs.
        let (stdout, stderr, mut stdin) = (file(), file(), file());
        stdin
            .write_all(input.as_bytes())
            .expect("a temporary file can be written");
        let open = |file: &NamedTempFile| file.reopen().expect("a temporary file can be opened");
        let path = std::env::var_os("PATH");
        let process = Command::new(&self.binary)
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", path.as_deref().unwrap_or(OsStr::new("")))
            .env("HOME", &self.folder)
            .envs(&self.environment)
            .stdin(Stdio::from(File::open(stdin.path()).expect("it was made")))
            .stdout(open(&stdout))
            .stderr(open(&stderr))
            .spawn()
            .expect("the binary can be started");
        Running {
            arguments: arguments.join(" "),
            process,
            stdout,
            stderr,
            said: Arc::clone(&self.said),
        }
    }

    /// A shell's line that runs it in its folder with its variables and nothing else of ours, on a
    /// terminal.
    pub(crate) fn on_a_terminal(&self, line: &str) -> pty_process::blocking::Command {
        let path = std::env::var_os("PATH");
        pty_process::blocking::Command::new("/bin/sh")
            .args(["-c", line])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", path.as_deref().unwrap_or(OsStr::new("")))
            .env("HOME", &self.folder)
            .env("TERM", "xterm")
            .env("DEPLOYER", &self.binary)
            .envs(&self.environment)
    }

    /// Everything that every command said so far.
    pub fn everything_said(&self) -> String {
        lock(&self.said).clone()
    }
}

impl Running {
    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read(self.stdout.path())
    }

    /// Sends it a signal, by name: `INT`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .expect("`kill` can be run");
        assert!(sent.success(), "SIG{name}");
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(self.stderr.path())
    }

    /// Returns once its standard error has these words.
    #[track_caller]
    pub fn until_it_says(&self, words: &str) {
        wait::until(&format!("`{words}`"), SOON, || {
            self.stderr().contains(words).then_some(())
        });
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process
            .try_wait()
            .expect("a child can be asked")
            .is_some()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().expect("a child can be killed");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the end; kills it and panics when there is none in time.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let what = format!("the end of `deployer {}`", self.arguments);
        let deadline = std::time::Instant::now() + DEADLINE;
        let status = wait::until(&what, DEADLINE * 2, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            if ended.is_none() && std::time::Instant::now() > deadline {
                self.process.kill().expect("a child can be killed");
                let _ = self.process.wait();
                panic!("{what} did not come; it said:\n{}", self.stderr());
            }
            ended
        });
        let finished = Finished {
            arguments: self.arguments.clone(),
            code: status
                .code()
                .or_else(|| Some(128 + status.signal()?))
                .expect("what ended has a code or a signal"),
            stdout: read(self.stdout.path()),
            stderr: read(self.stderr.path()),
        };
        let mut said = lock(&self.said);
        said.push_str(&finished.stdout);
        said.push_str(&finished.stderr);
        drop(said);
        finished
    }
}

impl Finished {
    /// The same; panics with everything that was said when it ended otherwise.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("no JSON: {error}: {line}\n{self}"))
        };
        self.stdout.lines().map(line).collect()
    }

    /// Both streams.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Panics unless some stream has these words.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(
            self.said().contains(words),
            "it does not say `{words}`: {self}"
        );
        self
    }

    /// Panics if some stream has these words.
    #[track_caller]
    pub fn does_not_say(&self, words: &str) -> &Self {
        assert!(!self.said().contains(words), "it says `{words}`: {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`deployer {}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.arguments, self.code, self.stdout, self.stderr
        )
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn lock(said: &Mutex<String>) -> MutexGuard<'_, String> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
