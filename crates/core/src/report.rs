//! What happens during a run, as it happens; the command line decides how it looks.

use std::time::Duration;

use crate::address::Address;
use crate::error::Error;
use crate::node::Action;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A node began.
    Started {
        /// The node.
        address: &'a Address,
        /// What is being done.
        action: Action,
    },
    /// A node says what it does or waits for.
    Note {
        /// The node.
        address: &'a Address,
        /// The line.
        line: &'a str,
    },
    /// A node is done and ready.
    Done {
        /// The node.
        address: &'a Address,
        /// What was done.
        action: Action,
        /// How long it took.
        took: Duration,
    },
    /// A node was left before it was ready, as asked for.
    Detached {
        /// The node.
        address: &'a Address,
    },
    /// A delete was left to the next run: what it would delete may still be used by a node that was
    /// left before it was ready.
    PutOff {
        /// The node.
        address: &'a Address,
    },
    /// A node failed.
    Failed {
        /// The node.
        address: &'a Address,
        /// Why.
        error: &'a Error,
        /// After how long.
        took: Duration,
    },
    /// What was there before a node is being put back.
    Undoing {
        /// The node.
        address: &'a Address,
    },
    /// It was put back, or stays.
    Undone {
        /// The node.
        address: &'a Address,
        /// Why it stays. `None` when it was put back.
        stays: Option<&'a str>,
    },
    /// It could not be put back: a person has to look.
    NotUndone {
        /// The node.
        address: &'a Address,
        /// Why.
        error: &'a Error,
    },
    /// A node was not started because another one of its target failed, or somebody interrupted.
    Held {
        /// The node.
        address: &'a Address,
    },
}

/// Takes events. Called from several tasks at once.
pub trait Reporter: Send + Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: &Event<'_>);
}
