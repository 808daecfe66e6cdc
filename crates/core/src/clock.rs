//! Time and randomness as they are handed in, so that tests can own both.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// The only source of time in this crate.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock, for records and people.
    fn now(&self) -> Timestamp;

    /// Returns once `duration` has passed. Called by [`crate::wait`] only.
    async fn pause(&self, duration: Duration);
}
