//! Time as the sandboxed clouds see it: pending states last a vendor's time divided by the speed.

use std::time::Duration;

/// Scales waits. At speed 60, a minute of the cloud takes a second.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    speed: f64,
}

impl Clock {
    /// `speed` is clamped to at least 0.001; 1.0 is real time.
    pub fn new(speed: f64) -> Self {
        Self {
            speed: speed.max(0.001),
        }
    }

    /// Waits for `duration` of the cloud's time.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.in_cloud_time(duration)).await;
    }

    /// How long `duration` of the cloud's time lasts here.
    pub fn in_cloud_time(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speed)
    }

    /// How many seconds of cloud time pass in a second.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The wall clock; timestamps in answers are real, only waits are scaled.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}
