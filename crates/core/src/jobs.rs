//! One-off executions of a program, as a runtime starts, finds, shows and stops them; no policy.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::fields::Fields;
use crate::node::{Token, Watch};
use crate::wait::{Look, Pace, poll, poll_at};

/// How long a cloud's answers may lag behind what it started, or may not know what they told of
/// before.
pub const LAG: Duration = Duration::from_secs(60);
/// How long at least is looked for what another machine's clock noted.
const CLOCKS: Duration = Duration::from_secs(20);
/// What was noted so long ago is shown, whatever the clocks say.
const LONG_PAST: Duration = Duration::from_secs(60 * 60);
/// So long at least is watched what was begun before, whatever the clocks say.
const LEAST: Duration = Duration::from_secs(60);

/// How an execution ended, by the cloud's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its program ended by itself, with 0.
    Succeeded,
    /// It failed, or was stopped, and something of it ran or may have; the cloud's words.
    Failed(String),
    /// The cloud says that nothing of it ran; its words.
    NeverRan(String),
}

/// How an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to run, runs, or is about to end; says what it waits for.
    Running(String),
    /// It is over.
    Over(End),
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The cloud's own name of it, by which it can be looked at: an ARN, a path.
    pub id: String,
    /// When it was made, by the cloud's clock.
    pub made: Option<Timestamp>,
    /// How it stands.
    pub state: State,
}

/// Which one of a key's executions a start is meant to make: each of these has a ticket of its own.
#[derive(Clone, Copy, Debug)]
pub enum Nth<'a> {
    /// The only one.
    First,
    /// Another one in the place of this one, of which nothing ran, or of a start by this name that
    /// came to nothing.
    After(&'a str),
    /// One more, as a person asked for: one in each run.
    Again(&'a Token),
}

/// What the cloud answered to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// This one was made now, or by an earlier start with the same ticket.
    As(Execution),
    /// One was made, and which one is not said.
    Unnamed,
    /// There is no room for it now: nothing was made, and nothing will be with this ticket; the
    /// cloud's words.
    Nothing(String),
}

/// What a search for the executions of a key found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Newest first.
    pub executions: Vec<Execution>,
    /// The cloud counts one more than it shows.
    pub hidden: bool,
}

impl Trail {
    /// The newest one of which something ran or may have. One of which nothing ran counts as none.
    pub fn begun(&self) -> Option<&Execution> {
        let ran = |it: &&Execution| !matches!(it.state, State::Over(End::NeverRan(_)));
        self.executions.iter().find(ran)
    }
}

/// The one-off executions of one program on one runtime: a migration, and whatever else runs once.
///
/// A *key* says what an execution is for, and each one carries it where the cloud shows it. A
/// *ticket* is noted durably before the call that starts an execution: by it, one whose reply was
/// lost is found, or started again as the same one.
///
/// Guarantees asked of implementations: nothing waits here but for what passes by itself while a
/// start is refused; an answer that lags is given as it is, the caller has the patience; what a
/// cloud does not know is `None`, and never an error.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// The clock by which executions are waited for.
    fn clock(&self) -> &dyn Clock;

    /// Adds what an execution is made of beyond its program and image, for the plan. Pure.
    fn describe(&self, _fields: &mut Fields) {}

    /// Looks, while planning, for what makes it certain that an execution could not be run.
    ///
    /// Errors: that, in words.
    async fn possible(&self) -> Result<()> {
        Ok(())
    }

    /// What people call an execution: "task `0a1b`".
    fn name(&self, id: &str) -> String;

    /// The command by which a person stops one.
    fn stop_command(&self, id: &str) -> String;

    /// How long one may take from its start, with all that the cloud itself needs before, between
    /// and after its tries.
    fn longest(&self) -> Duration;

    /// How long after its start one whose id was lost is certain to be shown, or its ticket known.
    /// `None` where that never ends.
    fn memory(&self) -> Option<Duration> {
        None
    }

    /// Whether a start with a ticket that was used before makes no second execution and answers
    /// with the first.
    fn repeats(&self) -> bool;

    /// The ticket for a start that is to come; see [`Jobs`]. Starts nothing.
    async fn ticket(&self, key: &str, nth: Nth<'_>) -> Result<String>;

    /// Starts one execution for this key and waits for nothing but its acceptance.
    ///
    /// Errors: denied or rejected, when nothing was started; with any other it may have been.
    async fn start(&self, key: &str, ticket: &str) -> Result<Started>;

    /// Looks once for the executions of this key: those that were made after the ticket was, where
    /// there is one.
    async fn find(&self, key: &str, ticket: Option<&str>) -> Result<Trail>;

    /// Looks once at an execution. `None` when the cloud does not know it: not yet, or not any
    /// more.
    async fn look(&self, id: &str) -> Result<Option<Execution>>;

    /// Does for an execution that runs what it needs of us, and notes what it prints, until it
    /// needs no more; where it needs nothing, at once. A run that comes later does it anew, and so
    /// do two at a time: that must start nothing twice.
    ///
    /// Errors: it cannot be done, and this call has begun nothing of the program, for certain: an
    /// execution that is new is then stopped, and an earlier one is waited for. What had begun, or
    /// may have, goes on by itself, and is no error.
    async fn attend(&self, _id: &str, _watch: &dyn Watch) -> Result<()> {
        Ok(())
    }

    /// Notes what an execution printed that succeeded, as far as [`Jobs::attend`] was to note it
    /// and did not come to; best effort.
    async fn rest(&self, _id: &str, _watch: &dyn Watch) {}

    /// Whether the program of an execution may have begun that only [`Jobs::attend`] begins; asked
    /// right after the answer to its start, which an earlier one may have made. Where that cannot
    /// be seen, it may. `false` where executions need nothing of us.
    async fn may_have_begun(&self, _id: &str) -> bool {
        false
    }

    /// Whether a ticket is for a program that the manifest has for another service. Pure.
    fn is_of_another_service(&self, ticket: &str) -> bool;

    /// An execution that runs now for another key: one of these, or one that the cloud lists of
    /// this program. Those of programs that the manifest has for other services do not count.
    async fn beside(&self, key: &str, others: &[String]) -> Result<Option<String>>;

    /// Asks the cloud to stop one; does not wait for its end. One that has ended is no error.
    async fn stop(&self, id: &str, why: &str) -> Result<()>;

    /// The cloud's words for a failure with whatever more it says of it; best effort beyond `why`.
    /// No line of the program's own: this is noted in ledgers.
    async fn reasons(&self, _id: &str, why: String) -> String {
        why
    }

    /// What the program printed last, oldest first; best effort. It may hold anything.
    async fn last_lines(&self, id: &str) -> Vec<String>;

    /// What helps against a failure that is told like this, where that is special to this cloud.
    /// Pure.
    fn hint(&self, _told: &[String]) -> Option<&'static str> {
        None
    }
}

/// How long an execution is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Within {
    /// From now on: it was started just now, or asked to stop.
    FromNow(Duration),
    /// From its start in an earlier run: that is told by two clocks, the cloud's and this
    /// machine's, which may be minutes apart. Watched for a minute at least.
    FromItsStart(Duration),
}

/// Waits until an execution is over. `None` when the cloud does not know it for longer than its
/// answers lag: how it ended is not known.
///
/// Errors: timed out, when it is not over within that time; those of a look.
pub async fn ended<J: Jobs + ?Sized>(
    jobs: &J,
    id: &str,
    within: Within,
    what: &str,
    watch: &dyn Watch,
) -> Result<Option<End>> {
    let clock = jobs.clock();
    let left = Mutex::new(None);
    let pace = || {
        let left = *left.lock().unwrap_or_else(PoisonError::into_inner);
        Pace::closely(left.unwrap_or(match within {
            Within::FromNow(time) | Within::FromItsStart(time) => time,
        }))
    };
    let known = Mutex::new(clock.elapsed());
    poll_at(clock, pace, what, || async {
        let found = jobs.look(id).await?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(execution) = found else {
            let lags = clock.elapsed().saturating_sub(*known) < LAG;
            return Ok(match lags {
                true => Look::NotYet(format!("the cloud does not know {}", jobs.name(id))),
                false => Look::Found(None),
            });
        };
        *known = clock.elapsed();
        if let Within::FromItsStart(time) = within {
            let spent = execution.made.map_or(Duration::ZERO, |at| age(clock, at));
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.get_or_insert(time.saturating_sub(spent).max(LEAST));
        }
        Ok(match execution.state {
            State::Over(end) => Look::Found(Some(end)),
            State::Running(why) => {
                watch.note(&format!("{}: {why}", jobs.name(id)));
                Look::NotYet(why)
            }
        })
    })
    .await
}

/// Looks for what was started for a key, with a ticket that was noted at that moment, as long as
/// the cloud's answers may lag behind it.
///
/// Errors: those of a look.
pub async fn found<J: Jobs + ?Sized>(
    jobs: &J,
    key: &str,
    ticket: Option<&str>,
    at: Option<Timestamp>,
    what: &str,
) -> Result<Trail> {
    let clock = jobs.clock();
    let age = at.map_or(Duration::ZERO, |at| age(clock, at));
    // The note is by another machine's clock, which may be wrong by minutes, not by hours.
    let left = match age < LONG_PAST {
        true => LAG.saturating_sub(age).max(CLOCKS),
        false => Duration::ZERO,
    };
    let seen = Mutex::new(Trail::default());
    let looked = poll(clock, Pace::until(left), what, || async {
        let trail = jobs.find(key, ticket).await?;
        let found = trail.begun().is_some();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = trail;
        Ok(match found {
            true => Look::Found(()),
            false => Look::NotYet("the cloud does not know it".to_owned()),
        })
    });
    match looked.await {
        Err(error) if error.kind() != ErrorKind::TimedOut => Err(error),
        Ok(()) | Err(_) => Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// How long ago that was; nothing, where the clocks say that it is to come.
pub(crate) fn age(clock: &dyn Clock, at: Timestamp) -> Duration {
    let age = clock.now().duration_since(at).try_into();
    age.unwrap_or_default()
}
