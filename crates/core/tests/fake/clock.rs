//! Virtual time: tokio's paused clock, which jumps to the next timer when nothing else can run.

use std::time::Duration;

use deployer_core::clock::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// Starts at the epoch when it is made.
#[derive(Debug)]
pub struct VirtualClock(Instant);

impl VirtualClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How much virtual time has passed.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[async_trait::async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH.checked_add(self.elapsed()).unwrap()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
