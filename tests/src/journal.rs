//! The runs of a project as its ledger has them: read as the files that they are, also while a run
//! writes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::project::Project;

/// One run on one target.
#[derive(Clone, Debug)]
pub struct Run {
    /// `aws` or `gcp`.
    pub cloud: String,
    /// Its number on that target.
    pub number: u64,
    /// The command.
    pub command: String,
    /// Who: user and host.
    pub by: String,
    /// When it began, by the clock of the file system.
    pub began: SystemTime,
    /// When it wrote last, by the same clock.
    pub wrote_last: SystemTime,
    /// The sequence number of each entry, in the order of their files.
    pub sequence: Vec<u64>,
    /// What each entry says.
    pub events: Vec<Value>,
}

impl Run {
    /// Reads the run with this header. `None` while the header is being written.
    pub fn read(header: &Path) -> Option<Self> {
        let headers = header.parent()?;
        let target = headers.parent()?;
        let text = document(header)?;
        let folder = target.join("runs").join(header.file_stem()?);
        let files = files(&folder);
        // One that is being written is not durable yet.
        let entries: Vec<Value> = files.iter().filter_map(|file| document(file)).collect();
        let last = files.last().map_or(header, PathBuf::as_path);
        Some(Self {
            cloud: file_name(target).split('-').next()?.to_owned(),
            number: text["number"].as_u64()?,
            command: text["command"].as_str()?.to_owned(),
            by: text["by"].as_str()?.to_owned(),
            began: written(header)?,
            wrote_last: written(last)?,
            sequence: entries
                .iter()
                .filter_map(|it| it["entry"]["sequence"].as_u64())
                .collect(),
            events: entries
                .iter()
                .map(|it| it["entry"]["event"].clone())
                .collect(),
        })
    }

    /// How it ended. `None` when it did not come to its end.
    pub fn outcome(&self) -> Option<&str> {
        self.of("ended").find_map(|event| event["outcome"].as_str())
    }

    /// The nodes that are ready.
    pub fn ready(&self) -> BTreeSet<String> {
        self.of("ready").map(address).collect()
    }

    /// What was begun and is not known to have ended, in the order of beginning: `create ADDRESS`.
    pub fn in_doubt(&self) -> Vec<String> {
        let settled: BTreeSet<String> = ["ready", "failed"]
            .into_iter()
            .flat_map(|phase| self.of(phase))
            .map(address)
            .collect();
        self.of("started")
            .filter(|event| !settled.contains(&address(event)))
            .map(|event| {
                let address = address(event);
                let is_step = |kind: &str| address.contains(&format!("{kind}/"));
                let verb = match event["action"].as_str().unwrap_or_default() {
                    "no_op" if is_step("/verify") => "verify",
                    "no_op" => "wait for",
                    "create" | "update" | "replace" if is_step(".migration") => "migrate",
                    "create" | "update" | "replace" if is_step(".image") => "copy",
                    "create" | "update" | "replace" if is_step("/rollback") => "put back",
                    action => action,
                };
                // A name that begins with a slash stands apart.
                format!("{verb} {}", address.replacen("//", " /", 1))
            })
            .collect()
    }

    /// The entries of one phase: `started`, `landed`, `ready`, `failed`, `ended`.
    fn of<'a>(&'a self, phase: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["is"] == phase)
    }
}

impl Project {
    /// The folder of every target in the ledger.
    pub fn ledgers(&self) -> Vec<PathBuf> {
        let app = self
            .file(".deployer/ledger")
            .join(&self.manifest.app)
            .join("test");
        let found = std::fs::read_dir(app).into_iter().flatten().flatten();
        let mut targets: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
        targets.sort();
        targets
    }

    /// The header of every run on every target: one file each, written before anything else of the
    /// run.
    pub fn run_headers(&self) -> BTreeSet<PathBuf> {
        let targets = self.ledgers().into_iter();
        targets
            .flat_map(|target| files(&target.join("run-headers")))
            .collect()
    }

    /// Every run, by cloud and number.
    pub fn runs(&self) -> Vec<Run> {
        let headers = self.run_headers();
        headers
            .iter()
            .filter_map(|header| Run::read(header))
            .collect()
    }

    /// The last run on a cloud.
    #[track_caller]
    pub fn last_run(&self, cloud: &str) -> Run {
        let mut runs = self.runs().into_iter().rev();
        runs.find(|run| run.cloud == cloud)
            .unwrap_or_else(|| panic!("there was no run on {cloud}"))
    }
}

/// The node that an event is about.
fn address(event: &Value) -> String {
    event["address"].as_str().unwrap_or_default().to_owned()
}

/// The objects of a folder, by name; what a store still writes has another ending.
fn files(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = found
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

fn document(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn written(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
