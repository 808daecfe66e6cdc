//! Bounds how many token requests are answered in a window: by one process, or by all together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::RedisError;
use thiserror::Error;

use crate::cache::Cache;

/// A fixed window over all callers: the caller's name is unproven when the limit must act, so one
/// window per name would let anyone grow the table at will.
pub enum RateLimit {
    /// Counts what this process admits.
    Process(Window),
    /// Counts in Redis what every process on it admits.
    Shared(SharedWindow),
}

/// Why a request is not admitted.
#[derive(Debug, Error)]
pub enum Refused {
    /// The window is full.
    #[error("the window is full for another {0:?}")]
    Full(Duration),
    /// Nobody knows how full the window is.
    #[error("cannot count the request: {0}")]
    Uncounted(#[from] RedisError),
}

impl RateLimit {
    /// Admits one request now, or says why not.
    pub async fn admit(&self) -> Result<(), Refused> {
        match self {
            Self::Process(window) => window.admit(Instant::now()).map_err(Refused::Full),
            Self::Shared(window) => {
                // A clock before 1970 counts in the first window, as good as any.
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
                window.admit(since_1970.unwrap_or_default()).await
            }
        }
    }
}

/// The window of one process, which begins with the first request after the last one ended.
#[derive(Debug)]
pub struct Window {
    length: Duration,
    most: u32,
    current: Mutex<Option<Count>>,
}

#[derive(Debug)]
struct Count {
    started: Instant,
    admitted: u32,
}

impl Window {
    /// Admits `most` requests in each window of this `length`.
    pub fn new(length: Duration, most: u32) -> Self {
        Self {
            length,
            most,
            current: Mutex::new(None),
        }
    }

    /// Admits one request at `now`, or says how long to wait.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match current.take() {
            Some(count) if now.duration_since(count.started) < self.length => count,
            _ => Count {
                started: now,
                admitted: 0,
            },
        };
        let count = current.insert(count);
        if count.admitted < self.most {
            count.admitted += 1;
            Ok(())
        } else {
            Err(self
                .length
                .saturating_sub(now.duration_since(count.started)))
        }
    }
}

/// The windows that follow each other since 1970, so that all processes mean the same one.
pub struct SharedWindow {
    cache: Arc<Cache>,
    milliseconds: u64,
    most: u32,
}

impl SharedWindow {
    /// Admits `most` requests in each window of this `length`, which is at least a millisecond.
    pub fn new(cache: Arc<Cache>, length: Duration, most: u32) -> Self {
        let milliseconds = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self {
            cache,
            milliseconds: milliseconds.max(1),
            most,
        }
    }

    async fn admit(&self, since_1970: Duration) -> Result<(), Refused> {
        let (number, left) = place(since_1970, self.milliseconds);
        let key = format!("idp:token-requests:{number}");
        let length = Duration::from_millis(self.milliseconds);
        let count = self.cache.count(&key, length).await?;
        match count <= u64::from(self.most) {
            true => Ok(()),
            false => Err(Refused::Full(left)),
        }
    }
}

/// The number of the window at this time, and how long it lasts from then.
fn place(since_1970: Duration, milliseconds: u64) -> (u64, Duration) {
    let now = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let left = milliseconds - now % milliseconds;
    (now / milliseconds, Duration::from_millis(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_refuses_until_the_next_one() {
        let start = Instant::now();
        let window = Window::new(Duration::from_secs(60), 2);
        assert_eq!(window.admit(start), Ok(()));
        assert_eq!(window.admit(start), Ok(()));
        let later = start + Duration::from_secs(45);
        assert_eq!(window.admit(later), Err(Duration::from_secs(15)));
        assert_eq!(window.admit(start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn shared_windows_follow_each_other_without_a_gap() {
        let check = |now, expected: (u64, u64)| {
            let (number, left) = place(Duration::from_millis(now), 60_000);
            assert_eq!(
                (number, left),
                (expected.0, Duration::from_millis(expected.1))
            );
        };
        check(0, (0, 60_000));
        check(59_999, (0, 1));
        check(60_000, (1, 60_000));
        check(185_000, (3, 55_000));
    }
}
