//! Time and randomness as they are handed in, so that tests can own both.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// The only source of time in this crate.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock, for records and people.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment: nobody sets it, and it passes while the process is stopped or
    /// the machine sleeps. By default the wall clock's.
    fn elapsed(&self) -> Duration {
        let now = self.now().duration_since(Timestamp::UNIX_EPOCH);
        now.try_into().unwrap_or_default()
    }

    /// Returns once `duration` has passed. Called by [`crate::wait`], [`crate::rate`] and for the
    /// lock only.
    async fn pause(&self, duration: Duration);
}
