//! Time as the sandboxed clouds see it: the machine's with shorter waits, or whatever an embedding
//! program says it is.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

/// A source of time that replaces the machine's: virtual time, for instance.
///
/// Everything that the clouds do by themselves waits through it: pending states, names that are
/// blocked, tokens that end. Real processes and network connections do not.
pub trait Time: Send + Sync {
    /// What time it is. Never goes back.
    fn now(&self) -> Timestamp;

    /// Ends when `duration` has passed since the call, not since the first poll. Whoever waits may
    /// stop waiting: the future is dropped then.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The clouds' clock. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// The machine's time; the clouds' waits are divided by this.
    Scaled(f64),
    Given(Arc<dyn Time>),
}

impl Clock {
    /// The machine's time, with waits scaled: at speed 60, a minute of the cloud takes a second.
    /// `speed` is clamped to at least 0.001; 1.0 is real time.
    pub fn new(speed: f64) -> Self {
        Self {
            source: Source::Scaled(speed.max(0.001)),
        }
    }

    /// Somebody else's time, unscaled.
    pub fn given(time: Arc<dyn Time>) -> Self {
        Self {
            source: Source::Given(time),
        }
    }

    /// Waits for `duration` of the cloud's time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_unscaled(self.in_cloud_time(duration)).await;
    }

    /// The same, but on the machine's clock not less than `least`: a real process takes its time
    /// whatever the speed.
    pub async fn sleep_at_least(&self, duration: Duration, least: Duration) {
        self.sleep_unscaled(self.in_cloud_time(duration).max(least))
            .await;
    }

    /// Waits for as long as a client would that counts `duration` itself.
    pub async fn sleep_unscaled(&self, duration: Duration) {
        match &self.source {
            Source::Scaled(_) => tokio::time::sleep(duration).await,
            Source::Given(time) => time.sleep(duration).await,
        }
    }

    /// How long `duration` of the cloud's time lasts, as [`Clock::now`] and
    /// [`Clock::sleep_unscaled`] count.
    pub fn in_cloud_time(&self, duration: Duration) -> Duration {
        match &self.source {
            Source::Scaled(speed) => duration.div_f64(*speed),
            Source::Given(_) => duration,
        }
    }

    /// When `duration` of the cloud's time will have passed.
    pub fn after(&self, duration: Duration) -> Timestamp {
        let later = self.now().checked_add(self.in_cloud_time(duration));
        later.unwrap_or(Timestamp::MAX)
    }

    /// How much time has passed since `moment`, as [`Clock::now`] counts.
    pub fn since(&self, moment: Timestamp) -> Duration {
        // A wall clock may be set back.
        Duration::try_from(self.now().duration_since(moment)).unwrap_or_default()
    }

    /// How many seconds of cloud time pass in a second. `None` when the time is given.
    pub fn speed(&self) -> Option<f64> {
        match &self.source {
            Source::Scaled(speed) => Some(*speed),
            Source::Given(_) => None,
        }
    }

    /// What time it is. On the machine's clock, timestamps in answers are real: only waits are
    /// scaled.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::Scaled(_) => Timestamp::now(),
            Source::Given(time) => time.now(),
        }
    }

    /// What a client's clock is judged by that says it is `claimed`. Beside given time, one may
    /// still go by the machine's: both are right, so it is the nearer of the two.
    pub fn judging(&self, claimed: Timestamp) -> Timestamp {
        let own = self.now();
        let machine = Timestamp::now();
        let off = |time: Timestamp| time.duration_since(claimed).abs();
        match &self.source {
            Source::Given(_) if off(machine) < off(own) => machine,
            Source::Given(_) | Source::Scaled(_) => own,
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Scaled(speed) => write!(out, "Clock(speed {speed})"),
            Source::Given(_) => write!(out, "Clock(given)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    /// Stands still at the epoch.
    struct Still;

    impl Time for Still {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn given_time_is_not_scaled_and_asks_the_machine_for_nothing() {
        let clock = Clock::given(Arc::new(Still));
        let began = std::time::Instant::now();
        clock.sleep(WEEK).await;
        clock.sleep_at_least(WEEK, WEEK).await;
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(clock.after(WEEK), Timestamp::UNIX_EPOCH + WEEK);
        assert_eq!(clock.since(Timestamp::UNIX_EPOCH), Duration::ZERO);
    }

    #[test]
    fn a_client_may_go_by_given_time_or_by_the_machines() {
        let clock = Clock::given(Arc::new(Still));
        let machine = Timestamp::now();
        assert!(clock.judging(machine) >= machine);
        let given = Timestamp::UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!(clock.judging(given), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_faster_clock_has_shorter_waits() {
        assert_eq!(
            Clock::new(60.0).in_cloud_time(Duration::from_secs(60)),
            Duration::from_secs(1)
        );
    }
}
