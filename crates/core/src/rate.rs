//! Lets calls out no faster than an API takes them, so that it never has to refuse one.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::clock::Clock;

/// A rate that an API documents: a bucket of calls that fills again steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many calls it takes at once; at least one.
    pub burst: u32,
    /// How long it takes until one more may come.
    pub every: Duration,
}

impl Rate {
    /// So many at once, and so many more each second.
    ///
    /// Panics: when `per_second` is 0.
    pub const fn per_second(burst: u32, per_second: u32) -> Self {
        let every = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self { burst, every }
    }

    /// So many a minute, which may come at once.
    ///
    /// Panics: when `count` is 0.
    pub const fn per_minute(count: u32) -> Self {
        let every = Duration::from_nanos(60_000_000_000 / count as u64);
        Self {
            burst: count,
            every,
        }
    }

    /// What one run takes of it: four fifths of the bucket and nine tenths of the rate. The rest is
    /// for what the same account does meanwhile, and for calls that arrive closer together than
    /// they were sent.
    fn share(self) -> Quota {
        let burst = NonZeroU32::new(self.burst * 4 / 5).unwrap_or(NonZeroU32::MIN);
        let every = self.every * 10 / 9;
        let quota = Quota::with_period(every.max(Duration::from_nanos(1)));
        quota.expect("more than no time").allow_burst(burst)
    }
}

/// What a `Retry-After` asks for: whole seconds, or until a date. How far off that is, the `Date`
/// of the same answer tells, so that no clock of this machine has a part in it. (RFC 9110, 10.2.3.)
///
/// `None` for anything else, and for a date without a `Date`.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(value)?;
    let wait = until.duration_since(http_date(date?)?);
    // A date that has passed asks for nothing.
    Some(wait.try_into().unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp())
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Elapsed, NoOpMiddleware<Duration>>;

/// The turns at one API, first come, first served.
pub struct Turns {
    clock: Arc<dyn Clock>,
    bucket: Mutex<Bucket>,
}

impl Turns {
    /// A full bucket.
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let elapsed = Elapsed(Arc::clone(&clock));
        Self {
            clock,
            bucket: Mutex::new(RateLimiter::direct_with_clock(rate.share(), elapsed)),
        }
    }

    /// Returns when one more call may be made.
    pub async fn next(&self) {
        // Held while it waits: who comes later waits behind it.
        let bucket = self.bucket.lock().await;
        while let Err(early) = bucket.check() {
            let now = clock::Clock::now(bucket.clock());
            self.clock.pause(early.wait_time_from(now)).await;
        }
    }
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

/// Our clock as the limiter reads it.
#[derive(Clone)]
struct Elapsed(Arc<dyn Clock>);

impl clock::Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures::future::join_all;

    use super::*;

    #[test]
    fn time_is_asked_for_in_seconds_or_by_a_date() {
        let asked = |value| retry_after(value, Some("Wed, 21 Oct 2026 07:28:00 GMT"));
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(asked(" 12 "), seconds(12));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:30 GMT"), seconds(30));
        assert_eq!(asked("Wed, 21 Oct 2026 07:27:00 GMT"), seconds(0));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:30 GMT", None), None);
    }

    /// Time that passes only while somebody waits.
    #[derive(Default)]
    struct Waited(Mutex<Duration>);

    #[async_trait]
    impl Clock for Waited {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + *self.0.lock().unwrap()
        }

        async fn pause(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    async fn seconds_for(calls: usize, rate: Rate) -> f64 {
        let clock = Arc::new(Waited::default());
        let turns = Turns::new(rate, Arc::clone(&clock) as Arc<dyn Clock>);
        join_all((0..calls).map(|_| turns.next())).await;
        clock.elapsed().as_secs_f64()
    }

    #[tokio::test]
    async fn what_the_bucket_holds_goes_at_once_and_the_rest_at_the_rate() {
        let rate = Rate::per_second(100, 20);
        assert_eq!(seconds_for(80, rate).await, 0.0);
        let waited = seconds_for(80 + 180, rate).await;
        assert!((waited - 10.0).abs() < 0.01, "{waited} s");
    }

    #[tokio::test]
    async fn one_run_stays_within_what_the_api_takes() {
        for rate in [
            Rate::per_second(100, 20),
            Rate::per_second(1, 1),
            Rate::per_minute(600),
        ] {
            let calls = rate.burst * 3;
            let waited = seconds_for(calls as usize, rate).await;
            let taken = f64::from(rate.burst) + waited / rate.every.as_secs_f64();
            assert!(f64::from(calls) <= taken, "{rate:?}: {calls} in {waited} s");
        }
    }

    #[tokio::test]
    async fn turns_come_in_the_order_of_asking() {
        let clock = Arc::new(Waited::default());
        let turns = Turns::new(Rate::per_second(1, 10), clock as Arc<dyn Clock>);
        let order = Mutex::new(Vec::new());
        join_all((0..5).map(|number| {
            let (turns, order) = (&turns, &order);
            async move {
                turns.next().await;
                order.lock().unwrap().push(number);
            }
        }))
        .await;
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }
}
