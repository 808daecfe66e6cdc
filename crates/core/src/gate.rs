//! The gate of a roll-out: a candidate is asked what the manifest asks of its service, before it
//! gets any traffic. Core knows no HTTP: whoever asks hands it [`Checks`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// The kind of a gate in addresses, as of every other verification.
pub const GATE: &str = "verify";
/// The kind of the step that gives a candidate the traffic, in addresses.
pub const TRAFFIC: &str = "traffic";

/// Whether a runtime can hold a new revision back from the traffic until it has passed its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldsBack {
    /// A candidate has an address of its own, and no traffic.
    Candidates,
    /// A new revision serves the moment that it is ready, and its verification follows the traffic;
    /// says why.
    Nothing(&'static str),
}

/// A revision that is ready and gets no traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The cloud's own word for it.
    pub revision: String,
    /// Where it alone answers: `https://HOST`.
    pub url: String,
}

/// What came of asking a candidate, where that holds nobody up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It does what it should; says what was asked: `5 checks passed`.
    Passed(String),
    /// It could not be asked at its own address, through no fault of its own; says why. The checks
    /// follow the traffic.
    NotAsked(String),
}

/// Asks candidates of one service.
#[async_trait]
pub trait Checks: Send + Sync + fmt::Debug {
    /// Asks a candidate everything that the manifest asks for and that an address of its own can
    /// answer. Changes nothing, and may be asked again.
    ///
    /// Errors: unverified, when it does not do what it should; interrupted, when a person stopped
    /// the run meanwhile.
    async fn ask(&self, candidate: &Candidate) -> Result<Passage>;
}

/// What a node holds back, and who asks it.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What is held back.
    pub candidate: Candidate,
    /// Who asks it.
    pub checks: Arc<dyn Checks>,
}
