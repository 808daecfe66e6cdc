//! What a sandbox is like: ports, names, time, and whether anything real runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::clock::Clock;
use crate::env::AccessKey;
use crate::faults::{FaultsFile, Observer};
use crate::runner::{Containers, Simulated};
use crate::service_account::AccountKey;

/// Whether AWS calls that the sandbox does not own go to moto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moto {
    /// When it is installed.
    Auto,
    /// Never; such calls are refused.
    Off,
}

/// Whether the vendors' documented API rates hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// Every call is let through.
    Ignored,
    /// Calls beyond a rate are refused as throttled, and counted.
    Enforced,
}

/// What becomes of the state directory when the sandbox ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDir {
    /// It stays, for the next sandbox.
    Kept,
    /// It is removed.
    Removed,
}

/// How the names of temporary state directories begin; the process follows.
const TEMPORARY: &str = "deployer-simulated-";

/// What a sandbox is like.
#[derive(Clone)]
pub struct Options {
    /// The AWS side's port on 127.0.0.1; 0 takes any free one.
    pub aws_port: u16,
    /// The Google side's port on 127.0.0.1; 0 takes any free one.
    pub gcp_port: u16,
    /// Seconds of cloud time per second, on the machine's clock.
    pub speed: f64,
    /// The clouds' time instead of the machine's; `speed` then means nothing.
    pub clock: Option<Clock>,
    /// Where its files lie; made when absent. Two sandboxes cannot share one.
    pub state_dir: PathBuf,
    /// What becomes of `state_dir`.
    pub state_dir_ends: StateDir,
    /// The AWS account id, 12 digits.
    pub account: String,
    /// The AWS region.
    pub region: String,
    /// The Google project.
    pub project: String,
    /// The Google location.
    pub location: String,
    /// Whether to start moto.
    pub moto: Moto,
    /// Whether containers run.
    pub containers: Containers,
    /// The key pair of the AWS user. `None` makes one.
    pub access_key: Option<AccessKey>,
    /// The service account's key. `None` makes one, which takes a while.
    pub account_key: Option<AccountKey>,
    /// What goes wrong on purpose. `None`: nothing, until `POST /_sandbox/faults`.
    pub faults: Option<FaultsFile>,
    /// Whether calls may come too fast.
    pub rates: Rates,
    /// How long Google's access policies take to get about, in cloud time. Google: "typically 2
    /// minutes, potentially 7 minutes or longer"
    /// (<https://cloud.google.com/iam/docs/access-change-propagation>).
    pub iam_delay: Duration,
    /// Who is told of each API call and decides what becomes of it, before faults and rates are
    /// asked.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Options {
    /// Any ports, a minute of cloud time per second, moto when installed.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            aws_port: 0,
            gcp_port: 0,
            speed: 60.0,
            clock: None,
            state_dir: state_dir.into(),
            state_dir_ends: StateDir::Kept,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            project: "sandbox-project".into(),
            location: "us-central1".into(),
            moto: Moto::Auto,
            containers: Containers::Real,
            access_key: None,
            account_key: None,
            faults: None,
            rates: Rates::Ignored,
            iam_delay: Duration::from_secs(7),
            observer: None,
        }
    }

    /// One of many in a process: nothing real runs, it starts within milliseconds (the process's
    /// first makes a key) and leaves nothing behind.
    pub fn simulated(containers: Simulated, clock: Clock) -> std::io::Result<Self> {
        static ONCE: Once = Once::new();
        ONCE.call_once(clear_leftovers);
        let (process, unique) = (std::process::id(), uuid::Uuid::new_v4().simple());
        let state_dir = std::env::temp_dir().join(format!("{TEMPORARY}{process}-{unique}"));
        Ok(Self {
            clock: Some(clock),
            state_dir_ends: StateDir::Removed,
            moto: Moto::Off,
            containers: Containers::Simulated(containers),
            access_key: Some(AccessKey::simulated()),
            account_key: Some(AccountKey::shared()?),
            ..Self::new(state_dir)
        })
    }
}

/// Removes the temporary state directories of processes that were killed.
fn clear_leftovers() {
    let entries = std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(TEMPORARY);
        let owner = rest.and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            // What cannot be removed harms nobody.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_processes_that_are_gone_are_removed() {
        let folder = |process: u32| {
            let unique = uuid::Uuid::new_v4().simple();
            let folder = std::env::temp_dir().join(format!("{TEMPORARY}{process}-{unique}"));
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        // Linux gives no process a number above 4,194,304.
        let (gone, own) = (folder(4_194_305), folder(std::process::id()));
        clear_leftovers();
        assert!(!gone.exists());
        assert!(own.exists());
        std::fs::remove_dir(own).unwrap();
    }
}
