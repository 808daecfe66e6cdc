//! Bounds how many token requests one process answers in a window.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A fixed window over all callers: the caller's name is unproven when the limit must act, so one
/// window per name would let anyone grow the table at will.
#[derive(Debug)]
pub struct RateLimit {
    window: Duration,
    most: u32,
    current: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    admitted: u32,
}

impl RateLimit {
    /// Admits `most` requests in each `window`.
    pub fn new(window: Duration, most: u32) -> Self {
        Self {
            window,
            most,
            current: Mutex::new(None),
        }
    }

    /// Admits one request at `now`, or says how long to wait.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match current.take() {
            Some(window) if now.duration_since(window.started) < self.window => window,
            _ => Window {
                started: now,
                admitted: 0,
            },
        };
        let window = current.insert(window);
        if window.admitted < self.most {
            window.admitted += 1;
            Ok(())
        } else {
            Err(self
                .window
                .saturating_sub(now.duration_since(window.started)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_refuses_until_the_next_one() {
        let start = Instant::now();
        let limit = RateLimit::new(Duration::from_secs(60), 2);
        assert_eq!(limit.admit(start), Ok(()));
        assert_eq!(limit.admit(start), Ok(()));
        let later = start + Duration::from_secs(45);
        assert_eq!(limit.admit(later), Err(Duration::from_secs(15)));
        assert_eq!(limit.admit(start + Duration::from_secs(60)), Ok(()));
    }
}
