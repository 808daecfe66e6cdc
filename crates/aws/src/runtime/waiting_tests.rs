//! The scripts of a waiting task, run by the shell of this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output as Printed, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_ecs::types::{Container, TaskStopCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::*;

/// A waiter and its runners as processes of this machine, in a folder of their own.
struct Waiting {
    folder: TempDir,
    waiter: Child,
}

impl Waiting {
    fn start(limit: u64) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), limit)
    }

    fn start_in(folder: TempDir, limit: u64) -> Self {
        let spec = MigrateSpec {
            job: String::new(),
            entrypoint: Vec::new(),
            command: vec!["migrate".to_owned()],
            timeout: Duration::from_secs(limit),
            database: None,
            by: deployer_core::spec::MigrateBy::Exec,
        };
        let waits = waiter(&spec);
        let script = there(&waits.entrypoint[2], folder.path());
        let waiter = Command::new(&waits.entrypoint[0])
            .args([&waits.entrypoint[1], &script, &waits.command[0]])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { folder, waiter }
    }

    fn run(&self, program: &[&str]) -> Child {
        let program = program.iter().map(|word| (*word).to_owned());
        let awaited = Awaited::new(program.collect(), Secrets::Unread);
        let words = awaited.words("mark");
        let words = words.iter().map(|word| there(word, self.folder.path()));
        let words: Vec<String> = words.collect();
        Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("it").join(name)
    }

    /// How the waiter ends, and what it prints.
    fn end(self) -> (Option<i32>, String, String) {
        let printed = self.waiter.wait_with_output().unwrap();
        (
            printed.status.code(),
            text(&printed.stdout),
            text(&printed.stderr),
        )
    }
}

/// In a folder of the test's own, where the script has the container's.
fn there(script: &str, folder: &Path) -> String {
    let folder = folder.join("it");
    script.replace("/tmp/deployer-migration", folder.to_str().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(child: Child) -> String {
    let printed: Printed = child.wait_with_output().unwrap();
    text(&printed.stdout)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn the_tasks_code_and_output_are_the_programs() {
    for (program, code) in [("true", 0), ("exit 3", 3), ("exit 209", 210)] {
        let task = Waiting::start(60);
        let program = format!("echo 'one'; echo two >&2; printf three; {program}");
        let shown = said(task.run(&["/bin/sh", "-c", &program]));
        assert_eq!(shown, "mark\none\ntwo\nthreemark over\n");
        let (ended, printed, _) = task.end();
        assert_eq!((ended, printed.as_str()), (Some(code), "one\ntwo\nthree"));
    }
}

#[test]
fn a_program_that_is_not_there_has_begun_and_failed() {
    let task = Waiting::start(60);
    let shown = said(task.run(&["/no/such/program"]));
    assert!(shown.contains("/no/such/program"), "{shown}");
    assert_eq!(task.end().0, Some(127));
}

#[test]
fn it_runs_once_however_many_come_and_goes_on_when_they_are_gone() {
    let task = Waiting::start(60);
    let count = task.folder.path().join("count");
    let program = format!(
        "echo ran >>{}; echo begun; sleep 3; echo done",
        count.display()
    );
    let program = ["/bin/sh", "-c", program.as_str()];
    let mut runners: Vec<Child> = (0..3).map(|_| task.run(&program)).collect();
    until("it begins", || count.exists());
    // As an agent ends a session: the command alone is killed, and its terminal hangs up.
    for runner in &mut runners {
        signal(runner, Signal::SIGKILL);
        runner.wait().unwrap();
    }
    let shown = said(task.run(&program));
    assert_eq!(shown, "mark\nbegun\ndone\nmark over\n");
    let (code, printed, _) = task.end();
    assert_eq!((code, printed.as_str()), (Some(0), "begun\ndone\n"));
}

#[test]
fn it_ran_once() {
    let task = Waiting::start(60);
    let count = task.folder.path().join("count");
    let program = format!("echo ran >>{}", count.display());
    let program = ["/bin/sh", "-c", program.as_str()];
    let runners: Vec<Child> = (0..5).map(|_| task.run(&program)).collect();
    for runner in runners {
        assert_eq!(said(runner), "mark\nmark over\n");
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "ran\n");
    assert_eq!(task.end().0, Some(0));
}

#[test]
fn a_waiter_that_is_to_stop_says_that_nothing_ran_and_lets_nothing_begin() {
    let task = Waiting::start(60);
    std::thread::sleep(Duration::from_millis(300));
    signal(&task.waiter, Signal::SIGTERM);
    until("nobody can begin", || task.path("claim").exists());
    let late = task.folder.path().join("late");
    let program = format!("echo ran >{}", late.display());
    let mut runner = task.run(&["/bin/sh", "-c", &program]);
    std::thread::sleep(Duration::from_millis(500));
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(!late.exists());
    assert_eq!(task.end().0, Some(NOTHING_RAN));
}

#[test]
fn a_waiter_that_nobody_comes_to_ends_by_itself() {
    let task = Waiting::start(1);
    assert_eq!(task.end().0, Some(NOTHING_RAN));
}

/// A file stands where the folder is to be: nobody can make it.
#[test]
fn where_nothing_can_be_written_nothing_ran_and_nothing_begins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("it"), "").unwrap();
    let task = Waiting::start_in(folder, 1);
    let late = task.folder.path().join("late");
    let program = format!("echo ran >{}", late.display());
    let said = said(task.run(&["/bin/sh", "-c", &program]));
    assert!(said.starts_with(UNWRITABLE), "{said}");
    assert!(!late.exists());
    assert_eq!(task.end().0, Some(NOTHING_RAN));
}

#[test]
fn a_program_that_clears_the_folder_away_is_not_taken_for_one_that_never_ran() {
    let task = Waiting::start(3);
    let clear = format!("rm -rf {}; sleep 30", task.path("").display());
    let mut runner = task.run(&["/bin/sh", "-c", &format!("sleep 2; {clear}")]);
    until("it begins", || task.path("pid").exists());
    until("it clears", || !task.path("pid").exists());
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert_eq!(task.end().0, Some(124));
}

#[test]
fn nothing_was_begun_only_where_a_session_came_to_its_end_without_the_mark() {
    struct Silent;
    impl Watch for Silent {
        fn note(&self, _: &str) {}
    }
    let noted = Mutex::default();
    let shown = || Shown::new(None, &Silent, &noted);
    let ended = Closed::Remote(None);
    let mut it = shown();
    assert!(it.judge("task", &ended, AGAIN - 1).is_ok());
    it.take(b"deployer: cannot write /tmp/deployer-migration\r\n");
    let error = it.judge("task", &ended, AGAIN).unwrap_err();
    assert!(error.hint_text().unwrap().contains("`/tmp`"), "{error:?}");
    // The mark may have been on its way.
    let mut it = shown();
    let lost = Closed::Lost("reset".to_owned());
    assert!(it.judge("task", &lost, 1).is_ok());
    assert!(it.judge("task", &ended, AGAIN).is_ok());
}

#[test]
fn a_waiter_that_is_to_stop_while_the_program_runs_says_so() {
    let task = Waiting::start(60);
    let mut runner = task.run(&["/bin/sh", "-c", "echo begun; sleep 30"]);
    until("it begins", || {
        let printed = std::fs::read_to_string(task.path("output"));
        printed.is_ok_and(|printed| printed == "begun\n")
    });
    signal(&task.waiter, Signal::SIGTERM);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let (code, printed, why) = task.end();
    assert_eq!((code, printed.as_str()), (Some(143), "begun\n"));
    assert!(why.contains("was stopped"), "{why}");
}

/// An agent takes 1,024 bytes in a millisecond, and is killed with the waiter.
#[test]
fn a_waiter_lingers_until_the_last_of_much_was_shown() {
    const LINES: usize = 40_000;
    let mut task = Waiting::start(60);
    let program = format!("seq -f 'line %.0f of many that come at once' {LINES}");
    let mut runner = task.run(&["/bin/sh", "-c", &program]);
    let mut screen = runner.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
        loop {
            let count = std::io::Read::read(&mut screen, &mut piece).unwrap();
            if count == 0 {
                return text(&seen);
            }
            seen.extend_from_slice(&piece[..count]);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut output = task.waiter.stdout.take().unwrap();
    let logged = std::thread::spawn(move || {
        let mut logged = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut logged).unwrap();
        text(&logged)
    });
    let code = task.waiter.wait().unwrap().code();
    runner.kill().unwrap();
    runner.wait().unwrap();
    let seen = reading.join().unwrap();
    assert_eq!(code, Some(0));
    let logged = logged.join().unwrap();
    assert_eq!(logged.lines().count(), LINES);
    assert_eq!(seen, format!("mark\n{logged}mark over\n"));
}

/// Nobody reads: the runner waits for a terminal that is full, and the waiter for nothing but it.
#[test]
fn a_waiter_goes_when_nobody_shows_anything_any_more() {
    let task = Waiting::start(60);
    let mut runner = task.run(&["/bin/sh", "-c", "seq 100000"]);
    until("it ends", || task.path("code").exists());
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    runner.kill().unwrap();
    runner.wait().unwrap();
    // What it prints is more than a pipe takes.
    let (code, printed, _) = task.end();
    assert_eq!((code, printed.lines().count()), (Some(0), 100_000));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn who_is_stopped_is_told_and_may_put_things_right_but_has_not_succeeded() {
    for (program, how) in [
        ("trap 'echo cleared; exit 0' TERM", "cleared\n"),
        ("trap 'exit 3' TERM", ""),
    ] {
        for (limit, code) in [(60, 143), (3, 124)] {
            let task = Waiting::start(limit);
            let program = format!("{program}; echo begun; while :; do sleep 0.1; done");
            let runner = task.run(&["/bin/sh", "-c", &program]);
            until("it begins", || {
                let printed = std::fs::read_to_string(task.path("output"));
                printed.is_ok_and(|printed| printed == "begun\n")
            });
            if limit == 60 {
                signal(&task.waiter, Signal::SIGTERM);
            }
            assert_eq!(said(runner), format!("mark\nbegun\n{how}mark over\n"));
            let (ended, printed, _) = task.end();
            let all = format!("begun\n{how}");
            assert_eq!((ended, printed), (Some(code), all), "{program}");
        }
    }
}

#[test]
fn what_is_shown_is_masked_and_given_once() {
    struct Noted(Mutex<Vec<String>>);
    impl Watch for Noted {
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }
    let noted = Noted(Mutex::default());
    let mask = Redaction::of([secrecy::SecretString::from("hunter2hunter2")]);
    let seen = Mutex::default();
    let mut shown = Shown::new(Some(mask), &noted, &seen);
    let mark = shown.mark.clone();
    shown.take(format!("banner\r\n{mark}\r\nwith hunter2hunter2\r\nhal").as_bytes());
    assert!(shown.begun && !shown.over);
    // The session was lost in the middle of a line; the next one gives all of it.
    shown.begin();
    shown.take(format!("{mark}\r\nwith hunter2hunter2\r\nhalf\r\nlast{mark} over\r\n").as_bytes());
    assert!(shown.over);
    let lines = noted.0.lock().unwrap().clone();
    assert_eq!(lines, ["| with [redacted]", "| half", "| last"]);
}

#[test]
fn a_waiting_tasks_code_is_its_programs_and_one_says_that_nothing_ran() {
    let of = |code: i32, stop: TaskStopCode| {
        let container = Container::builder().name("idp").exit_code(code).build();
        let task = Task::builder()
            .containers(container)
            .stop_code(stop)
            .build();
        let failed = State::Over(End::Failed(format!("exit code {code}")));
        state(&task, "idp", failed)
    };
    let by_itself = || TaskStopCode::EssentialContainerExited;
    assert_eq!(of(0, by_itself()), State::Over(End::Succeeded));
    // It had written its code by the time that the waiter was to stop.
    let stopped = of(0, TaskStopCode::UserInitiated);
    assert_eq!(stopped, State::Over(End::Succeeded));
    assert!(matches!(of(3, by_itself()), State::Over(End::Failed(_))));
    for stop in [by_itself(), TaskStopCode::UserInitiated] {
        let state = of(NOTHING_RAN, stop);
        assert!(matches!(state, State::Over(End::NeverRan(_))), "{state:?}");
    }
    let killed = of(143, TaskStopCode::UserInitiated);
    assert!(matches!(killed, State::Over(End::Failed(_))));
    let running = State::Running("RUNNING".to_owned());
    let task = Task::builder().build();
    assert_eq!(state(&task, "idp", running.clone()), running);
    let why = "CannotStartContainerError: exec: \"/bin/sh\": no such file or directory";
    let never = State::Over(End::NeverRan(why.to_owned()));
    let State::Over(End::NeverRan(why)) = state(&task, "idp", never) else {
        panic!("it never ran");
    };
    assert!(why.contains("mode = \"job\""), "{why}");
}
