//! What databases and caches have in common: how they stand, and which passwords they take.

use serde::Serialize;

use super::ServingState;

/// A database or cache as the cloud has it, in the cloud's own words. Never a password or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Whether it can be used, in the words that services have too.
    #[serde(flatten)]
    pub state: ServingState,
    /// The cloud's own word for its state: `available`, `RUNNABLE`.
    pub said: String,
    /// The engine's version, as fully as the cloud tells it: `16.4`, `7.0`.
    pub version: Option<String>,
    /// The cloud's name of its size: `db.t4g.medium`, `STANDARD_HA`.
    pub class: Option<String>,
    /// Disk, in GiB.
    pub storage_gib: Option<u32>,
    /// Memory, in GiB, where the class does not say it.
    pub memory_gib: Option<u32>,
    /// `HOST:PORT`, once it has one.
    pub endpoint: Option<String>,
}

/// What a cloud takes as a password or a token.
#[derive(Debug)]
pub struct PasswordRule {
    /// The least number of characters.
    pub shortest: usize,
    /// The greatest number of characters.
    pub longest: usize,
    /// Whether it takes this character.
    pub takes: fn(char) -> bool,
    /// The rule, for people: whose it is, and what it takes.
    pub says: &'static str,
}

impl PasswordRule {
    /// Whether the cloud takes it.
    pub fn accepts(&self, password: &str) -> bool {
        let length = password.chars().count();
        (self.shortest..=self.longest).contains(&length) && password.chars().all(self.takes)
    }
}
