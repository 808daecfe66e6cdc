//! Counts the calls to the clouds and disturbs one of them.

use std::sync::{Arc, Mutex, PoisonError};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and changes nothing.
    BeforeEffect,
    /// It is carried out, and the connection ends before the answer.
    ReplyLost,
    /// It is refused as too much, and so is the next try.
    ThrottledTwice,
}

/// The calls. Cheap to clone.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: Vec<String>,
    writes: Vec<String>,
    fault: Option<(usize, Fault)>,
}

impl Calls {
    /// Forgets the calls so far and disturbs the nth from here.
    pub fn arm(&self, fault: Option<(usize, Fault)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State {
            fault,
            ..State::default()
        };
    }

    pub fn names(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .clone()
    }

    pub fn writes(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .writes
            .clone()
    }
}
