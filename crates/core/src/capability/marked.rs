//! What carries an owner's mark, by the cloud's own lists.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::error::Error;

/// What of a target carries an owner's mark, as far as it could be listed.
#[derive(Debug, Default)]
pub struct Marked {
    /// What a list names. A list lags: what was deleted may stand in it and what was made a moment
    /// ago may not, so each is read before anything is made of it.
    pub found: BTreeSet<Address>,
    /// What could not be listed.
    pub unlisted: Vec<Unlisted>,
}

/// Something that may carry the mark and is not known.
#[derive(Debug)]
pub struct Unlisted {
    /// What it would be: `Cloud Run services`.
    pub what: String,
    /// Why it was not listed.
    pub error: Error,
}

impl Marked {
    /// Adds what another list said.
    pub fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
        self.unlisted.extend(other.unlisted);
    }

    /// Nothing but what could not be listed.
    pub fn unlisted(what: impl Into<String>, error: Error) -> Self {
        let what = what.into();
        Self {
            found: BTreeSet::new(),
            unlisted: vec![Unlisted { what, error }],
        }
    }
}

impl std::fmt::Display for Unlisted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.error.chain().join(": "))
    }
}
