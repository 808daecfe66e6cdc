//! What a run could not write down, by target.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};

use crate::exit::Exit;
use crate::view;

/// What could not be written down, by target: the first error of each. Whatever else can be written
/// is written all the same.
#[derive(Default)]
pub struct Unwritten(BTreeMap<CloudName, Error>);

impl Unwritten {
    /// Keeps the error, and gives what there is without one.
    pub fn keep<T>(&mut self, cloud: CloudName, written: Result<T>) -> Option<T> {
        written
            .map_err(|error| self.0.entry(cloud).or_insert(error))
            .ok()
    }

    /// Takes over what another part of the run could not write.
    pub fn extend(&mut self, other: Self) {
        for (cloud, error) in other.0 {
            self.0.entry(cloud).or_insert(error);
        }
    }

    /// The targets whose ledgers do not say what was done.
    pub fn clouds(&self) -> BTreeSet<CloudName> {
        self.0.keys().copied().collect()
    }

    /// Says for each target what could not be written; returns the worst exit code.
    pub fn report(&self, as_json: bool) -> Exit {
        for (cloud, error) in &self.0 {
            if !as_json {
                sayln!("\n{cloud}: what was done could not be written down:");
            }
            view::error::print(error, as_json);
        }
        let codes = self.0.values().map(|error| Exit::from(error.kind()));
        codes.max().unwrap_or(Exit::Success)
    }
}
