//! Reads what this release is: `release.json` beside the migrations.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// One release of the service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What `/health` and `/` report.
    pub version: String,
    /// The fault planted in this release, for tests of bad releases.
    pub fault: Option<Fault>,
}

/// How a bad release misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// `/health` answers 500; everything else works.
    Health,
    /// The process ends right after its configuration was accepted.
    Crash,
}

/// The release directory is incomplete.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The file is absent or unreadable.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not a release description.
    #[error("{path} is no release description: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl Release {
    /// Reads `release.json` in `root`.
    pub fn read(root: &Path) -> Result<Self, ReleaseError> {
        let path = root.join("release.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| ReleaseError::Malformed { path, source }),
            Err(source) => Err(ReleaseError::Unreadable { path, source }),
        }
    }
}
