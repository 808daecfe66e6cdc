//! A task that waits for its program to be run in it by ECS Exec, and ends with the program's code.
//!
//! The task's own command, the *waiter*, does nothing but wait. What is run in it by ECS Exec, the
//! *runner*, makes a folder, which only the first of several can, and then runs the program apart
//! from its session: who loses the session, or is killed, or is idle for 20 minutes, takes nothing
//! from it. Every later runner only shows what the program printed. The program's code goes into a
//! file, and the waiter ends with it, once who looks on has seen the last of it: so the task's exit
//! code is the program's, and whoever looks at the task knows how it ended. A waiter that is to
//! stop, or that nobody comes to, makes the folder itself: then nobody can begin any more, and it
//! ends with a code that says that nothing ran.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ecs::types::Task;
use deployer_core::capability::SecretVersion;
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::Value;
use deployer_core::jobs::{End, State};
use deployer_core::node::Watch;
use deployer_core::redaction::Redaction;
use deployer_core::spec::MigrateSpec;
use deployer_session::{Closed, Output, Session};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Names, exec, sessions, stream_of, tasks};
use crate::client::Clients;
use crate::log_streams::{self, Streams};
use crate::secret_store;

/// What a waiter ends with when nothing ran. A program that ends with it is told as ending with the
/// next one.
const NOTHING_RAN: i32 = 209;

/// How often in a row a session is opened again that ended before the program did and showed no
/// line more.
const AGAIN: u32 = 5;
/// The pause before that, and how often the window gets another size: "The ECS Exec session has an
/// idle timeout time of 20 minutes" (Amazon ECS Developer Guide, "Monitor Amazon ECS containers
/// with ECS Exec"). That a size counts as use of the session is ours: the vendor says of nothing
/// what does. A session that ends all the same is opened again.
const PAUSE: Duration = Duration::from_secs(5);
const ALIVE: Duration = Duration::from_secs(5 * 60);
/// What a window has that nobody looks at: no program breaks its lines for it. It has a row more
/// every other time, so that each size is news.
const COLUMNS: u32 = 500;
const ROWS: [u32; 2] = [50, 51];

/// Of the waiter: `LIMIT` is in seconds. A `sleep` of its own process is waited for, so that a
/// signal is heard at once.
///
/// It makes the folder before any runner comes, so that it can write there when it is not root, as
/// runners are. Where it cannot make the claim and never saw one, nobody can: nothing ran.
///
/// The agents that carry what a runner shows are processes of this container and end with it. So
/// once there is a code it lingers while a runner shows the rest, `SHOWS` seconds at most, and then
/// as long as an agent needs for what it was given last.
///
/// Who is to stop tells the program so (the runner's side signals it, which may be another user's)
/// and gives it `GRACE` seconds. Whatever code it then ends with: it was stopped.
const WAITER: &str = r#"d=/tmp/deployer-migration
n=0 lost=0 seen=; mkdir -p $d 2>/dev/null
nap() { sleep 1 & wait $!; }
shows() { for f in $d/by.*; do [ -d "/proc/${f##*.}" ] && return; done; return 1; }
linger() { t=0; while [ $t -lt $1 ] && shows; do nap; t=$((t + 1)); done
  [ -d $d/shown ] && { nap; nap; nap; }; }
over() { [ -s $d/code ] && read -r c <$d/code || return
  trap 'exit $c' TERM; cat $d/output; linger SHOWS; exit "$c"; }
end() { over
  [ -z "$seen" ] && { mkdir $d/claim 2>/dev/null || ! [ -d $d/claim ]; } && exit 209
  trap '' TERM; t=0
  mkdir $d/stop 2>/dev/null || kill -TERM "$(cat $d/program 2>/dev/null)" 2>/dev/null
  while [ $t -lt GRACE ] && [ $1 != 137 ] && [ -d $d/claim ] && ! [ -s $d/code ]; do nap; t=$((t + 1)); done
  cat $d/output 2>/dev/null; echo "deployer: $2" >&2; linger 3; exit "$1"; }
trap 'end 143 "the migration was stopped"' TERM
while :; do
  over
  if [ -d $d/claim ]; then
    seen=1
    p=$(cat $d/pid 2>/dev/null)
    if [ -n "$p" ] && [ -d /proc/$p ]; then lost=0; else lost=$((lost + 1)); fi
    [ $lost -gt 20 ] && end 137 "the migration was cut off"
  fi
  n=$((n + 1)); [ $n -gt LIMIT ] && end 124 "the migration's time is over"
  nap
done"#;

/// How long a runner may show what is left, in seconds. Ours: an agent sends about 1,024 bytes in a
/// millisecond (`writePump` of its `shell.go` sleeps between two pieces).
const SHOWS: u32 = 60;
/// How long a program that is told to stop may take, in seconds: less than the 30 of ECS's
/// `stopTimeout`, with what the waiter itself does after it.
const GRACE: u32 = 20;

/// Of the runner: `$1` is the word before its own lines and after them, the rest is the program. A
/// program that has begun hears nothing of its session's end.
const RUNNER: &str = r#"d=/tmp/deployer-migration; w=$1; shift; umask 022; mkdir -p $d 2>/dev/null
if mkdir $d/claim 2>/dev/null; then
  : >$d/output
  (trap '' HUP INT QUIT
    "$@" & p=$!; echo $p >$d/program
    (until [ -d $d/stop ]; do sleep 1; done; kill -TERM $p) & k=$!
    wait $p 2>/dev/null; c=$?; kill $k 2>/dev/null
    [ $c = 209 ] && c=210; echo $c >$d/code) >>$d/output 2>&1 </dev/null &
  echo $! >$d/pid
elif ! [ -d $d/claim ]; then
  echo "deployer: cannot write $d"; exit 1
fi
echo >$d/by.$$
echo "$w"
while ! [ -f $d/output ] && ! [ -f $d/code ]; do sleep 1; done
exec 3<$d/output
while :; do
  [ -s $d/code ] && o=1 || o=
  cat <&3
  [ -n "$o" ] && break
  sleep 1
done
echo "$w over"; mkdir $d/shown 2>/dev/null; rm -f $d/by.$$"#;

/// A program that is run in a waiting task.
#[derive(Clone)]
pub(super) struct Awaited {
    /// Its words.
    program: Vec<String>,
    /// What it may print and nobody is to see.
    secrets: Secrets,
    seen: Arc<Mutex<Seen>>,
}

/// What of a program's lines was shown while it ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// How many that are not empty: of those that are the log driver tells nothing
    /// (`processEvent` of Docker's `awslogs`).
    filled: usize,
    /// Whether that is all.
    whole: bool,
}

/// The secrets that a program has.
#[derive(Clone)]
pub(super) enum Secrets {
    /// In these versions.
    Pinned(BTreeMap<String, Value<SecretVersion>>),
    /// A code deployment reads none: nothing of what its program prints is shown.
    Unread,
}

/// How many lines of a log are read for what was not shown, and how many are shown where it has
/// more.
const LOGGED: usize = 20_000;
const TAIL: usize = 1_000;

/// The program of the task that waits for this one.
pub(super) fn waiter(migrate: &MigrateSpec) -> MigrateSpec {
    let limit = migrate.timeout.as_secs().to_string();
    let script = WAITER
        .replace("LIMIT", &limit)
        .replace("SHOWS", &SHOWS.to_string())
        .replace("GRACE", &GRACE.to_string());
    MigrateSpec {
        entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
        command: vec!["deployer-migration".to_owned()],
        ..migrate.clone()
    }
}

/// Whether ECS's words are those for an image without the shell that a waiter is.
fn lacks_shell(words: &str) -> bool {
    words.contains("/bin/sh")
}

/// What helps then.
const NO_SHELL: &str =
    "the image has no `/bin/sh`, which `mode = \"exec\"` needs: use `mode = \"job\"`";

/// What helps where a session cannot be read.
pub(super) const INSTEAD: &str = "use `mode = \"job\"`";

/// What a runner says that can make no folder, and what helps then.
const UNWRITABLE: &str = "deployer: cannot write ";
const NO_FOLDER: &str =
    "`mode = \"exec\"` needs a `/tmp` that can be written: use `mode = \"job\"`";

/// How a task that waits for its program stands, from how any task would: the waiter ends with the
/// program's own code, and with one of its own when nothing ran, whatever stopped it.
pub(super) fn state(task: &Task, container: &str, state: State) -> State {
    let mut containers = task.containers().iter();
    let ours = containers.find(|found| found.name() == Some(container));
    let code = ours.and_then(|found| found.exit_code());
    match (state, code) {
        (State::Over(_), Some(0)) => State::Over(End::Succeeded),
        (State::Over(_), Some(NOTHING_RAN)) => {
            let why = task.stopped_reason().unwrap_or_default();
            State::Over(End::NeverRan(format!("nobody began it: {why}")))
        }
        (State::Over(End::NeverRan(why)), _) if lacks_shell(&why) => {
            State::Over(End::NeverRan(format!("{why}; {NO_SHELL}")))
        }
        (state, _) => state,
    }
}

impl Awaited {
    /// These words, with these secrets.
    pub(super) fn new(program: Vec<String>, secrets: Secrets) -> Self {
        Self {
            program,
            secrets,
            seen: Arc::default(),
        }
    }

    fn words(&self, mark: &str) -> Vec<String> {
        let own = ["/bin/sh", "-c", RUNNER, "deployer", mark];
        let own = own.iter().map(|word| (*word).to_owned());
        own.chain(self.program.iter().cloned()).collect()
    }

    /// Has the program run in a task that waits, unless it was begun there before, and notes its
    /// lines until it is over.
    ///
    /// Errors: those of [`exec::begin`] and of a look at the task, and rejected, when nothing could
    /// be begun. Once a command was taken and its session was not followed to an orderly end there
    /// is none: the program may have begun, and the task itself tells how it ends.
    pub(super) async fn attend(
        &self,
        clients: &Clients,
        (task, container): (&str, &str),
        watch: &dyn Watch,
    ) -> Result<()> {
        let mut shown = Shown::new(self.mask(clients).await, watch, &self.seen);
        let mut tries = 0;
        loop {
            match self.runs(clients, task, watch).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if shown.begun => {
                    shown.note_unseen(&told(&error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            shown.begin();
            tries += 1;
            let (words, before) = (self.words(&shown.mark), shown.lines);
            let why = match exec::begin(clients, (task, container), &words).await {
                Ok(begun) => match begun.open(clients).await {
                    Ok(session) => {
                        let closed = show(clients.clock(), session, &mut shown).await;
                        if shown.over {
                            return Ok(());
                        }
                        if let (false, Closed::Encrypted(_)) = (shown.begun, &closed) {
                            let how = closed.to_string();
                            return Err(sessions::encrypted(clients, &how, INSTEAD));
                        }
                        shown.judge(task, &closed, tries)?
                    }
                    // The runner does not wait for who looks at it.
                    Err(error) => {
                        shown.begun = true;
                        told(&error)
                    }
                },
                // Its answer may be what was lost.
                Err(error) if shown.begun || error.kind() == ErrorKind::Unavailable => {
                    shown.begun = true;
                    told(&error)
                }
                Err(error) => return Err(error),
            };
            if shown.lines > before {
                tries = 0;
            }
            if tries >= AGAIN {
                shown.note_unseen(&why);
                return Ok(());
            }
            clients.clock().pause(PAUSE).await;
        }
    }

    /// Notes from the log of a task what it printed since then and was not shown while it ran; best
    /// effort.
    pub(super) async fn rest(
        &self,
        clients: &Clients,
        (names, task): (&Names, &str),
        since: Timestamp,
        watch: &dyn Watch,
    ) {
        let filled = match &*self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            Seen { whole: true, .. } => return,
            Seen { filled, .. } => *filled,
        };
        let Some(mask) = self.mask(clients).await else {
            return;
        };
        let stream = Streams::Named(vec![stream_of(names, task)]);
        let read = log_streams::read(clients, &names.log_group, stream, since, LOGGED);
        let lines = read.await.unwrap_or_default();
        let filled = match lines.len() < LOGGED {
            true => filled,
            false => {
                watch.note(&format!("these are the last {TAIL} lines of its log:"));
                LOGGED - TAIL
            }
        };
        let lines = lines.iter().filter(|line| !line.text.is_empty());
        for line in lines.skip(filled) {
            watch.note(&format!("| {}", mask.hide(&line.text)));
        }
    }

    /// Waits until a task runs; whether it does. One that has stopped tells by itself how it ended.
    /// While ECS cannot be asked it waits too: who waits for the task's end ends this as well.
    async fn runs(&self, clients: &Clients, task: &str, watch: &dyn Watch) -> Result<bool> {
        loop {
            let found = match exec::task(clients, task).await {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    clients.clock().pause(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !is_about_to_run(found.as_ref()) {
                let status = found.as_ref().and_then(|task| task.last_status());
                return Ok(status == Some("RUNNING"));
            }
            watch.note(&format!(
                "task `{}` is about to start",
                tasks::task_id(task)
            ));
            clients.clock().pause(Duration::from_secs(1)).await;
        }
    }

    /// What hides the secrets that the program has. `None` where one of them cannot be read: then
    /// nothing of what it prints is shown.
    async fn mask(&self, clients: &Clients) -> Option<Redaction> {
        let Secrets::Pinned(pinned) = &self.secrets else {
            return None;
        };
        let mut values = Vec::new();
        for pinned in pinned.values() {
            let pinned = pinned.known()?;
            let value = secret_store::value_of(clients, &pinned.secret, &pinned.version).await;
            values.extend(value.ok()?);
        }
        Some(Redaction::of(values))
    }
}

/// Whether a task is to run and does not yet. One that is not known is about to be.
pub(super) fn is_about_to_run(task: Option<&Task>) -> bool {
    let status = task.and_then(|task| task.last_status());
    matches!(
        status,
        None | Some("PROVISIONING" | "PENDING" | "ACTIVATING")
    )
}

/// An error in one line, with what helps.
fn told(error: &Error) -> String {
    let hint = error.hint_text().map(|hint| format!(" ({hint})"));
    format!("{}{}", error.chain().join(": "), hint.unwrap_or_default())
}

fn never_begun(task: &str, why: &str) -> Error {
    let name = tasks::task_id(task);
    let message = format!("the migration could not be begun in task `{name}`");
    let hint = match lacks_shell(why) {
        true => NO_SHELL,
        false if why.contains(UNWRITABLE) => NO_FOLDER,
        // Its agent took the command, and began a session: what keeps an agent from its service is
        // not it.
        false => exec::OF_SESSIONS,
    };
    Error::new(ErrorKind::Rejected, message)
        .because(why.trim().to_owned())
        .hint(hint)
}

/// What is shown of a program, line by line.
struct Shown<'a> {
    mask: Option<Redaction>,
    watch: &'a dyn Watch,
    /// The word before the program's own lines.
    mark: String,
    /// Whether that was seen, in any session, or may have been missed: the program runs, or ran, or
    /// nobody can say that it does not.
    begun: bool,
    /// What the runner said instead of it.
    refusal: Option<String>,
    /// The same in this session.
    own: bool,
    /// Whether it has ended, and all of it was shown.
    over: bool,
    /// How many lines were shown, and how many of them this session has given once more.
    lines: usize,
    again: usize,
    part: Vec<u8>,
    seen: &'a Mutex<Seen>,
}

impl<'a> Shown<'a> {
    fn new(mask: Option<Redaction>, watch: &'a dyn Watch, seen: &'a Mutex<Seen>) -> Self {
        Self {
            mask,
            watch,
            seen,
            mark: format!("deployer-{}", Uuid::new_v4().simple()),
            begun: false,
            refusal: None,
            own: false,
            over: false,
            lines: 0,
            again: 0,
            part: Vec::new(),
        }
    }

    /// A session begins, which gives everything from the first line on.
    fn begin(&mut self) {
        (self.own, self.again) = (false, 0);
        self.part.clear();
    }

    /// What a session's end says, before which the program's was not seen; in words.
    ///
    /// Errors: rejected, when nothing was begun, for certain, and it is of no use to try again.
    fn judge(&mut self, task: &str, closed: &Closed, tries: u32) -> Result<String> {
        match closed {
            _ if self.begun => {}
            // Its program was never run.
            Closed::Encrypted(_) => {}
            // All that came before the end was seen, and the mark was not in it.
            Closed::Remote(why) if tries >= AGAIN => {
                let why = self.refusal.as_ref().or(why.as_ref());
                let why = why.map_or_else(|| closed.to_string(), String::clone);
                return Err(never_begun(task, &why));
            }
            Closed::Remote(_) => {}
            Closed::Local | Closed::Lost(_) => self.begun = true,
        }
        Ok(closed.to_string())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_unseen(&self, why: &str) {
        self.watch.note(&format!(
            "what it prints cannot be followed: {why}; it goes on, and that is in its log once it is over"
        ));
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.part);
                    self.line(&String::from_utf8_lossy(&line));
                }
                byte => self.part.push(*byte),
            }
        }
    }

    fn line(&mut self, line: &str) {
        let line = line.trim_end_matches('\r');
        if !self.own {
            self.own = line == self.mark;
            self.begun |= self.own;
            if line.starts_with(UNWRITABLE) {
                self.refusal = Some(line.to_owned());
            }
            return;
        }
        // It may follow a last line that has no end.
        let line = match line.strip_suffix(&format!("{} over", self.mark)) {
            Some(rest) => {
                self.over = true;
                self.seen().whole = true;
                rest
            }
            None => line,
        };
        if self.over && line.is_empty() {
            return;
        }
        self.again += 1;
        if self.again <= self.lines {
            return;
        }
        self.lines += 1;
        self.seen().filled += usize::from(!line.is_empty());
        match &self.mask {
            Some(mask) => self.watch.note(&format!("| {}", mask.hide(line))),
            None if self.lines == 1 => self.watch.note(
                "what it prints is not shown: a secret that would have to be hidden in it cannot be read",
            ),
            None => {}
        }
    }
}

/// Shows a session to its end. While nothing is typed, the window gets another size again and
/// again, which keeps it from being idle.
async fn show(clock: &dyn Clock, mut session: Session, shown: &mut Shown<'_>) -> Closed {
    let input = session.input();
    let alive = async {
        for rows in ROWS.into_iter().cycle() {
            // Over: then there is nothing to be kept.
            if input.resize(COLUMNS, rows).await.is_err() {
                break;
            }
            clock.pause(ALIVE).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        while let Some(output) = session.next().await {
            match output {
                Output::Stdout(bytes) | Output::Stderr(bytes) => shown.take(&bytes),
                Output::Exit(_) | Output::Notice(_) => {}
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = alive => {}
    }
    session.closed().await
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
