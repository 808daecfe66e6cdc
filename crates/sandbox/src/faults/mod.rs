//! Faults files, which say what goes wrong on purpose. They name calls of both clouds; what the
//! clouds themselves need to know of faults is in `verdict`.

mod file;
mod known_calls;

pub use crate::verdict::{End, Fault, FaultKind, Observer, Verdict};
pub use file::{FaultsError, FaultsFile};
