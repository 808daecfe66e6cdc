//! Waits for something to become true: fast first, backing off, with a deadline; nothing else
//! sleeps.

use std::future::Future;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How often to look and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause.
    pub first: Duration,
    /// The longest pause; each is half as long again as the one before it.
    pub longest: Duration,
    /// When to give up, counted from the start.
    pub deadline: Duration,
}

impl Pace {
    /// Looks after 200 ms first and every 5 s at last.
    pub const fn until(deadline: Duration) -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            deadline,
        }
    }

    /// Looks every 0.7 s at last: for what people wait for, where the API is made to be asked so
    /// often (ECS lets one cluster's services be described 20 times a second, Cloud Run 50), also
    /// by ten runs at once.
    pub const fn closely(deadline: Duration) -> Self {
        Self {
            longest: Duration::from_millis(700),
            ..Self::until(deadline)
        }
    }

    fn next(&self, pause: Duration) -> Duration {
        (pause + pause / 2).min(self.longest)
    }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is what was asked for.
    Ready,
    /// Not yet; says what it waits for.
    Pending(String),
    /// It never will be; says why, in the cloud's words where it has any.
    Failed(String),
    /// The cloud itself put back what served before; says why.
    RolledBack(String),
    /// Somebody else's change took its place; says what is there now.
    Replaced(String),
}

impl Readiness {
    /// What it waits for. `None` when it waits for nothing any more.
    pub fn pending(self) -> Option<String> {
        match self {
            Self::Pending(why) => Some(why),
            Self::Ready | Self::Failed(_) | Self::RolledBack(_) | Self::Replaced(_) => None,
        }
    }

    /// What keeps it from being ready. `None` when it is.
    pub fn why(self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Pending(why)
            | Self::Failed(why)
            | Self::RolledBack(why)
            | Self::Replaced(why) => Some(why),
        }
    }

    /// Why it will never be ready, and what kind of error that is. `None` when it is, or may still
    /// be.
    pub fn failure(&self) -> Option<(ErrorKind, &str)> {
        match self {
            Self::Ready | Self::Pending(_) => None,
            Self::Failed(why) => Some((ErrorKind::Failed, why)),
            Self::RolledBack(why) => Some((ErrorKind::RolledBack, why)),
            Self::Replaced(why) => Some((ErrorKind::Untrue, why)),
        }
    }

    /// The same, with other words for why it will never be ready.
    #[must_use]
    pub fn with_words(self, words: String) -> Self {
        match self {
            Self::Ready | Self::Pending(_) => self,
            Self::Failed(_) => Self::Failed(words),
            Self::RolledBack(_) => Self::RolledBack(words),
            Self::Replaced(_) => Self::Replaced(words),
        }
    }
}

/// Calls `look` until it returns something, pausing in between. A cloud that does not answer for a
/// while ([`ErrorKind::Unavailable`]) goes on with what was asked of it: so does the wait.
///
/// Errors: whatever else `look` fails with; at the deadline [`ErrorKind::TimedOut`] with the last
/// reason, or the last look's own failure, which tells nothing of what was waited for.
pub async fn poll<T, F, Fut>(clock: &dyn Clock, pace: Pace, what: &str, look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Look<T>>>,
{
    poll_at(clock, || pace, what, look).await
}

/// [`poll`], at a pace that what was seen meanwhile may change.
///
/// Errors: as [`poll`].
pub async fn poll_at<T, P, F, Fut>(clock: &dyn Clock, pace: P, what: &str, mut look: F) -> Result<T>
where
    P: Fn() -> Pace,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Look<T>>>,
{
    // Not by the wall clock: somebody may set that, which neither ends a wait nor prolongs it.
    let started = clock.elapsed();
    let mut pause = pace().first;
    loop {
        let last = match look().await {
            Ok(Look::Found(value)) => return Ok(value),
            Ok(Look::NotYet(why)) => Ok(why),
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(error) => return Err(error),
        };
        let pace = pace();
        if clock.elapsed().saturating_sub(started) >= pace.deadline {
            return Err(match last {
                Ok(waiting_for) => timed_out(what, pace.deadline, &waiting_for),
                Err(error) => error,
            });
        }
        clock.pause(pause).await;
        pause = pace.next(pause);
    }
}

/// One look of [`poll`].
#[derive(Clone, Debug)]
pub enum Look<T> {
    /// Done.
    Found(T),
    /// Look again; says what it waits for.
    NotYet(String),
}

fn timed_out(what: &str, deadline: Duration, waiting_for: &str) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!(
            "{what} was not ready after {} s: {waiting_for}",
            deadline.as_secs()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::*;

    struct Virtual(Mutex<Timestamp>);

    #[async_trait::async_trait]
    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }

        async fn pause(&self, duration: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = now.checked_add(duration).unwrap();
        }
    }

    #[tokio::test]
    async fn a_cloud_that_does_not_answer_for_a_while_is_asked_again_until_the_deadline() {
        let unavailable = || Error::new(ErrorKind::Unavailable, "cannot read `x`: 502");
        let clock = Virtual(Mutex::new(Timestamp::UNIX_EPOCH));
        let looks = Mutex::new(0);
        let pace = Pace::until(Duration::from_secs(60));
        let found = poll(&clock, pace, "`x`", || async {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            match *looks {
                1..4 => Err(unavailable()),
                _ => Ok(Look::Found(())),
            }
        });
        assert!(found.await.is_ok());
        let never = poll::<(), _, _>(&clock, pace, "`x`", || async { Err(unavailable()) });
        assert_eq!(never.await.unwrap_err().kind(), ErrorKind::Unavailable);
        let denied = || async { Err(Error::new(ErrorKind::Denied, "cannot read `x`")) };
        let denied = poll::<(), _, _>(&clock, pace, "`x`", denied).await;
        assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn polling_backs_off_and_gives_up_at_its_deadline_with_the_last_reason() {
        let clock = Virtual(Mutex::new(Timestamp::UNIX_EPOCH));
        let looks = Mutex::new(0);
        let error = poll::<(), _, _>(
            &clock,
            Pace::until(Duration::from_secs(60)),
            "service `x`",
            || async {
                *looks.lock().unwrap() += 1;
                Ok(Look::NotYet("1 of 2 tasks run".into()))
            },
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("1 of 2 tasks run"));
        assert!((15..30).contains(&*looks.lock().unwrap()));
    }
    /// A clock that a person sets an hour ahead during the first pause.
    struct Set(Mutex<(Timestamp, Duration)>);

    #[async_trait::async_trait]
    impl Clock for Set {
        fn now(&self) -> Timestamp {
            self.0.lock().unwrap().0
        }

        fn elapsed(&self) -> Duration {
            self.0.lock().unwrap().1
        }

        async fn pause(&self, duration: Duration) {
            let mut both = self.0.lock().unwrap();
            both.0 += Duration::from_secs(3600);
            both.1 += duration;
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_ends_no_wait() {
        let clock = Set(Mutex::new((Timestamp::UNIX_EPOCH, Duration::ZERO)));
        let looks = Mutex::new(0);
        let pace = Pace::until(Duration::from_secs(1800));
        let found = poll(&clock, pace, "service `x`", || async {
            *looks.lock().unwrap() += 1;
            Ok(match *looks.lock().unwrap() {
                4.. => Look::Found(()),
                _ => Look::NotYet("1 of 2 tasks run".into()),
            })
        });
        found.await.unwrap();
    }
}
