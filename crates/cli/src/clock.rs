//! The machine's clock.

use std::time::Duration;

use async_trait::async_trait;
use deployer_core::clock::Clock;
use jiff::Timestamp;

/// The real clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        // Boot time goes on while the machine sleeps; other systems have a monotonic clock that
        // does.
        #[cfg(target_os = "linux")]
        let id = nix::time::ClockId::CLOCK_BOOTTIME;
        #[cfg(not(target_os = "linux"))]
        let id = nix::time::ClockId::CLOCK_MONOTONIC;
        let time = id.now().expect("every system of today has this clock");
        time.into()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
