//! The machine's side of what core is handed: time, interruption, who we are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use deployer_core::clock::Clock;
use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, Result};
use object_store::ObjectStore;

use crate::clock::SystemClock;

/// What a command finds around itself.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who may ask the command to stop. `None`: SIGINT, SIGTERM and SIGHUP, from the first command
    /// that can be stopped on.
    pub stop: Option<Stop>,
    /// Where the ledgers of every target are. `None`: where the manifest says.
    pub ledger: Option<Arc<dyn ObjectStore>>,
    /// Whether a person said that the ledgers were moved to where they are.
    pub ledger_moved: bool,
}

impl Surroundings {
    /// The machine's clock, its signals, the manifest's ledgers.
    pub fn of_this_process() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            stop: None,
            ledger: None,
            ledger_moved: false,
        }
    }

    /// What asks a command to stop.
    ///
    /// Errors: internal, when this process may not listen to signals.
    pub(crate) fn stop(&self, words: StopWords) -> Result<Stop> {
        match &self.stop {
            Some(stop) => Ok(stop.clone()),
            None => Stop::on_signals(words)
                .map_err(|error| Error::internal("cannot listen to signals").because(error)),
        }
    }
}

/// Whether SIGHUP is ignored, as under `nohup`: then whoever started the program wants it to
/// outlive the terminal. `false` where that cannot be told.
fn hangup_is_ignored() -> bool {
    // The first signal's bit (proc(5), `SigIgn`).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// What is said to who asks a command to stop; nothing where it is empty.
#[derive(Clone, Copy, Debug)]
pub struct StopWords {
    /// The first time.
    pub first: &'static str,
    /// The second time, when it leaves.
    pub second: &'static str,
}

impl StopWords {
    /// Of a run that goes on where it stopped.
    pub const OF_RUNS: Self = Self {
        first: "stopping: nothing new starts, what is in flight is awaited (again to leave now)",
        second: "leaving now; run the same command again to go on",
    };
}

/// Set by SIGINT, SIGTERM and the end of the terminal. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicU8>, Arc<tokio::sync::Notify>);

impl Stop {
    /// Listens for signals from now on. The first asks the run to stop; the second leaves at once:
    /// every entry of the journal is durable already.
    pub fn on_signals(words: StopWords) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = Self::default();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = match hangup_is_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        let flag = stop.clone();
        tokio::spawn(async move {
            loop {
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up => {}
                }
                let before = flag.0.fetch_add(1, Ordering::SeqCst);
                flag.1.notify_one();
                if before > 0 {
                    if !words.second.is_empty() {
                        sayln!("\n{}", words.second);
                    }
                    std::process::exit(130);
                }
                flag.1.notify_one();
                if !words.first.is_empty() {
                    crate::view::progress::say_stopping(words.first);
                }
            }
        });
        Ok(stop)
    }

    /// Asks to stop, as a first signal does.
    pub fn request(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.notify_one();
    }

    /// Returns once somebody asked to stop.
    pub async fn requested_at_last(&self) {
        while !self.requested() {
            self.1.notified().await;
        }
        // One is woken at a time: others may wait for the same.
        self.1.notify_one();
    }
}

impl Interrupt for Stop {
    fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

/// `user@host`.
pub fn who() -> String {
    format!("{}@{}", user(), host())
}

/// Who started the pipeline, by the variables of GitHub, GitLab, Azure, Jenkins' build user plugin
/// and `CircleCI`; else the user.
const ACTORS: [&str; 7] = [
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILD_REQUESTEDFOR",
    "BUILD_USER_ID",
    "CIRCLE_USERNAME",
    "USER",
    "LOGNAME",
];

/// The user, or who started the pipeline; where no variable says it, whom the system knows by this
/// process' id.
pub fn user() -> String {
    let mut named = ACTORS.iter();
    let named = named.find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    named.unwrap_or_else(|| {
        let id = nix::unistd::Uid::current();
        let known = nix::unistd::User::from_uid(id).ok().flatten();
        known.map_or_else(|| format!("uid-{id}"), |user| user.name)
    })
}

/// The host's name.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_terminal_asks_to_stop_unless_it_is_ignored() {
        let stop = Stop::on_signals(StopWords::OF_RUNS).expect("signals can be listened to");
        let me = std::process::id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &me])
            .status();
        assert!(sent.expect("kill can be started").success());
        let patience = std::time::Duration::from_secs(10);
        let heard = tokio::time::timeout(patience, stop.requested_at_last()).await;
        assert_eq!(heard.is_ok(), !hangup_is_ignored());
    }
}
