//! Bears with an access to a secret that was granted and that Cloud Run does not know of yet; pure
//! but for what it remembers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::project::Unseen;

/// How long a grant may take to get about. Google: "it typically takes 2 minutes for a change to
/// take effect, potentially 7 minutes or longer"
/// (<https://cloud.google.com/iam/docs/access-change-propagation>).
const GETS_ABOUT: Duration = Duration::from_secs(12 * 60);
/// How long an access is waited for of which nobody here sees whether it was granted, or that it
/// ever will be: what Google calls typical, and what a person bears to hear of a refusal.
const UNSEEN: Duration = Duration::from_secs(2 * 60);
/// The pause before Cloud Run is made to look again for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest one: each is half as long again as the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(45);

/// What is waited for.
const WAITING: &str =
    "Cloud Run does not know yet that the account may read its secrets, which takes minutes";

/// The same of an access that cannot be seen.
const WAITING_UNSEEN: &str = "Cloud Run refuses the account a secret of which it cannot be seen whether it may read it: what was granted just now would be \
     known in two minutes";

/// Whether this is Cloud Run's refusal of a secret that an account may not read.
fn is_refusal(words: &str) -> bool {
    words.contains("Permission denied on secret")
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing helps: it is one.
    Over,
    /// Wait a little longer; says for what.
    Wait(&'static str),
    /// Make Cloud Run look again; says for what.
    Again(&'static str),
}

/// The patience with one job or service.
pub(crate) struct Patience {
    /// Whether an access was granted that may still get about.
    granted: bool,
    unseen: Arc<Unseen>,
    seen: Mutex<Option<Seen>>,
}

/// Times since the start of the program.
#[derive(Clone, Copy)]
struct Seen {
    first: Duration,
    again: Duration,
    pause: Duration,
    /// How long it is waited for in all.
    longest: Duration,
}

impl Patience {
    /// With what takes secrets whose access a run sees to: `granted`, or none of it.
    pub(crate) fn new(granted: bool, unseen: &Arc<Unseen>) -> Self {
        Self {
            granted,
            unseen: Arc::clone(unseen),
            seen: Mutex::default(),
        }
    }

    /// How much longer than usual it may take: longer only once a grant was found to be unknown
    /// yet.
    pub(crate) fn longest(&self) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some(seen) => seen.longest,
            None => Duration::ZERO,
        }
    }

    /// Judges a failure by its words, `now` after the start of the program.
    pub(crate) fn turn(&self, now: Duration, words: &str) -> Turn {
        if !self.granted || !is_refusal(words) {
            return Turn::Over;
        }
        let (longest, what) = match self.unseen.are_named(words) {
            true => (UNSEEN, WAITING_UNSEEN),
            false => (GETS_ABOUT, WAITING),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.get_or_insert(Seen {
            first: now,
            again: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            longest,
        });
        // Another secret than before may be refused by now.
        known.longest = longest;
        let known = *known;
        if now.saturating_sub(known.first) >= longest {
            return Turn::Over;
        }
        if now < known.again {
            return Turn::Wait(what);
        }
        let pause = (known.pause + known.pause / 2).min(LONGEST_PAUSE);
        *seen = Some(Seen {
            again: now + pause,
            pause,
            ..known
        });
        Turn::Again(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "SECRETS_ACCESS_CHECK_FAILED: spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: \
         Permission denied on secret: projects/1/secrets/x/versions/1 for Revision service account a@b";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_grant_is_waited_for_and_looked_at_again_for_longer_than_google_says() {
        let patience = Patience::new(true, &Arc::default());
        assert_eq!(patience.longest(), Duration::ZERO, "nothing was refused");
        assert_eq!(patience.turn(at(100), REFUSED), Turn::Wait(WAITING));
        assert_eq!(patience.longest(), GETS_ABOUT);
        assert_eq!(patience.turn(at(104), REFUSED), Turn::Wait(WAITING));
        assert_eq!(patience.turn(at(105), REFUSED), Turn::Again(WAITING));
        assert_eq!(patience.turn(at(106), REFUSED), Turn::Wait(WAITING));
        assert_eq!(
            patience.turn(at(100 + 8 * 60), REFUSED),
            Turn::Again(WAITING)
        );
        assert_eq!(patience.turn(at(100 + 12 * 60), REFUSED), Turn::Over);
    }

    #[test]
    fn another_failure_or_nothing_granted_is_no_reason_to_wait() {
        let unhealthy = "HEALTH_CHECK_CONTAINER_ERROR: it failed to start";
        let with = |granted| Patience::new(granted, &Arc::default());
        assert_eq!(with(true).turn(at(1), unhealthy), Turn::Over);
        assert_eq!(with(false).turn(at(1), REFUSED), Turn::Over);
    }

    #[test]
    fn an_access_that_nobody_sees_is_waited_for_no_longer_than_a_person_bears() {
        let unseen: Arc<Unseen> = Arc::default();
        unseen.note("x", true);
        let patience = Patience::new(true, &unseen);
        assert_eq!(patience.turn(at(100), REFUSED), Turn::Wait(WAITING_UNSEEN));
        assert_eq!(patience.longest(), UNSEEN);
        assert_eq!(patience.turn(at(100 + 2 * 60), REFUSED), Turn::Over);
        unseen.note("x", false);
        assert_eq!(
            patience.turn(at(100 + 2 * 60), REFUSED),
            Turn::Again(WAITING)
        );
    }
}
