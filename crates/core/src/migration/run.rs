//! Runs a migration from wherever its record stands: finds, starts, follows and stops its one
//! execution.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use jiff::Timestamp;

use super::{Migration, PUT_RIGHT};
use crate::capability::MigrationStanding;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::{self, End, Execution, Jobs, Nth, Started, State, Within};
use crate::node::{Token, Watch};

/// How long one that is to stop may take: ECS and Cloud Run kill what does not end by itself within
/// minutes.
const STOPPING: Duration = Duration::from_secs(5 * 60);
/// How long the last lines of one that is over may still be on their way to us.
const LAST_LINES: Duration = Duration::from_secs(10);
/// How long a start for which there is no room is tried again, and the pause before the first time.
const ROOM: Duration = Duration::from_secs(2 * 60);
const NO_ROOM: Duration = Duration::from_secs(5);
/// The longest pause after that.
const MOST: Duration = Duration::from_secs(20);
/// What stands in the ledger for an execution that there never was, the start having come to
/// nothing, before its ticket: that is used up, and each one that comes after it is another.
const NONE: &str = "none";
/// The same of the key's first start, which was refused: its ticket is as good as new, and only
/// with that one is what it makes found again without a ledger.
const REFUSED: &str = "refused";

/// One run of a migration.
pub(super) struct Run<'a, J> {
    pub(super) migration: &'a Migration<J>,
    pub(super) key: &'a str,
    pub(super) token: &'a Token,
    pub(super) watch: &'a dyn Watch,
}

impl<J: Jobs> Run<'_, J> {
    /// Brings it to its end, from what the record says.
    pub(super) async fn from(&self, standing: MigrationStanding) -> Result<()> {
        let rerun = self.migration.rerun;
        match standing {
            MigrationStanding::Succeeded { .. } if rerun.succeeded() => self.again().await,
            MigrationStanding::Succeeded { .. } => {
                self.watch.note("it ran before");
                Ok(())
            }
            MigrationStanding::Failed { .. } if rerun.failed() => self.again().await,
            MigrationStanding::Failed { at, why } => {
                let message = format!("{} failed at {at:.0}", self.migration.what());
                Err(self.failed(message, why, Vec::new()))
            }
            MigrationStanding::NotStarted { execution, .. } => {
                let started = self.begin(in_place_of(&execution)).await?;
                self.follow_new(&started).await
            }
            MigrationStanding::Started {
                execution: Some(id),
                ..
            } => self.follow_earlier(&id).await,
            MigrationStanding::Started {
                execution: None,
                at,
                before,
            } => self.lost(at, before.as_deref()).await,
            MigrationStanding::Never => self.unrecorded().await,
        }
    }

    fn jobs(&self) -> &J {
        &self.migration.jobs
    }

    /// One more, as a person asked for.
    async fn again(&self) -> Result<()> {
        let started = self.begin(Nth::Again(self.token)).await?;
        self.follow_new(&started).await
    }

    /// The record knows nothing: it has not run, or the ledger was lost. What carries the key on
    /// the cloud tells: what runs is waited for, what succeeded is done, what failed wants a
    /// person's word as ever, and what never ran counts as none.
    ///
    /// A start with the key's first ticket is that look, where the cloud answers it with what an
    /// earlier one made: one call less than a search, on the way that every new release takes.
    async fn unrecorded(&self) -> Result<()> {
        let found = match self.jobs().repeats() {
            true => Some(self.begin(Nth::First).await?),
            false => {
                let trail = self.jobs().find(self.key, None).await?;
                trail.begun().cloned()
            }
        };
        let Some(found) = found else {
            let started = self.begin(Nth::First).await?;
            return self.follow_new(&started).await;
        };
        match &found.state {
            State::Over(End::Failed(_)) if self.migration.rerun.failed() => self.again().await,
            State::Over(End::NeverRan(_)) => {
                let started = self.begin(Nth::After(&found.id)).await?;
                self.follow_new(&started).await
            }
            // The start may have been answered with what an earlier one made.
            State::Running(_)
                if self.jobs().repeats() && !self.jobs().may_have_begun(&found.id).await =>
            {
                self.follow_new(&found).await
            }
            State::Running(_) | State::Over(End::Succeeded | End::Failed(_)) => {
                self.follow_earlier(&found.id).await
            }
        }
    }

    /// A start was noted and its reply was lost, or the run was killed before it was noted.
    ///
    /// While the cloud knows the ticket, the same start is asked for again: it makes no second
    /// execution, however much lists lag, and it cannot be mistaken for an earlier one that a
    /// person had run again. Elsewhere it is looked for, with the patience of what lags. Where
    /// neither can tell any more, or the cloud counts one more than it shows, it may have run: then
    /// a person has to look, as with one that failed.
    async fn lost(&self, at: Option<Timestamp>, ticket: Option<&str>) -> Result<()> {
        let jobs = self.jobs();
        let age = at.map_or(Duration::ZERO, |at| jobs::age(jobs.clock(), at));
        let remembered = jobs.memory().is_none_or(|memory| age < memory);
        if let (true, true, Some(ticket)) = (remembered, jobs.repeats(), ticket) {
            self.refuse_beside_another().await?;
            let started = self.send(ticket).await?;
            return self.follow_earlier(&started.id).await;
        }
        let what = self.migration.what();
        let trail = jobs::found(jobs, self.key, ticket, at, &what).await?;
        match trail.begun() {
            Some(found) => self.follow_earlier(&found.id).await,
            None if remembered && !trail.hidden => {
                let never_ran = trail.executions.first();
                let nth = never_ran.map_or(Nth::First, |it| Nth::After(&it.id));
                let started = self.begin(nth).await?;
                self.follow_new(&started).await
            }
            None if self.migration.rerun.failed() => self.again().await,
            None => Err(self.unknown()),
        }
    }

    /// Notes that it starts, with the ticket, and starts it; where there is no room, again for a
    /// while. What the cloud refuses has not started, and the record says so.
    async fn begin(&self, nth: Nth<'_>) -> Result<Execution> {
        self.refuse_beside_another().await?;
        let (clock, mut pause) = (self.jobs().clock(), NO_ROOM);
        let until = clock.elapsed() + ROOM;
        let mut before: Option<String> = None;
        loop {
            let nth = before.as_deref().map_or(nth, Nth::After);
            let ticket = self.jobs().ticket(self.key, nth).await?;
            let why = match self.begin_with(&ticket, nth).await? {
                Sent::As(execution) => return Ok(execution),
                Sent::Nothing(why) => why,
            };
            if clock.elapsed() + pause > until {
                return Err(self.no_room(&why));
            }
            self.watch.note(&format!("nothing was started: {why}"));
            clock.pause(pause).await;
            pause = (pause * 2).min(MOST);
            // A ticket that came to nothing is answered with that each time.
            before = Some(none(&ticket));
        }
    }

    async fn begin_with(&self, ticket: &str, nth: Nth<'_>) -> Result<Sent> {
        let record = &self.migration.record;
        let what = self.migration.address.to_string();
        record
            .started(self.key, &what, Some(ticket.to_owned()))
            .await?;
        match self.send_once(ticket).await {
            // Of a new ticket only: a start that is asked for again may have landed the first time.
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Rejected) => {
                let why = error.chain().join(": ");
                let refused = match nth {
                    Nth::First => REFUSED.to_owned(),
                    Nth::After(_) | Nth::Again(_) => none(ticket),
                };
                record.not_started(self.key, &refused, why).await?;
                Err(error)
            }
            sent => sent,
        }
    }

    /// A start that may have been asked for before.
    async fn send(&self, ticket: &str) -> Result<Execution> {
        match self.send_once(ticket).await? {
            Sent::As(execution) => Ok(execution),
            Sent::Nothing(why) => Err(self.no_room(&why)),
        }
    }

    /// The start itself; of one whose name the cloud does not say, the search for it. That it came
    /// to nothing is noted.
    async fn send_once(&self, ticket: &str) -> Result<Sent> {
        let (jobs, what) = (self.jobs(), self.migration.what());
        match jobs.start(self.key, ticket).await? {
            Started::As(execution) => Ok(Sent::As(execution)),
            Started::Unnamed => {
                let trail = jobs::found(jobs, self.key, Some(ticket), None, &what).await;
                // It was started, whatever keeps it from being found.
                let trail = trail.map_err(|error| self.unknown().because(error))?;
                let found = trail.begun().cloned().map(Sent::As);
                found.ok_or_else(|| self.unknown())
            }
            Started::Nothing(why) => {
                let record = &self.migration.record;
                let none = none(ticket);
                record.not_started(self.key, &none, why.clone()).await?;
                Ok(Sent::Nothing(why))
            }
        }
    }

    fn no_room(&self, why: &str) -> Error {
        let message = format!("{} could not be started: {why}", self.migration.what());
        Error::new(ErrorKind::Unavailable, message).hint(
            "nothing of it ran: `deployer apply` starts it again; subnets in more zones give it more room",
        )
    }

    /// Fails while another migration of this service runs: two at once may undo each other's work.
    /// One whose reply was lost is looked for first. It is a conflict on either cloud: nothing of
    /// ours has failed, and its end is waited for.
    async fn refuse_beside_another(&self) -> Result<()> {
        let jobs = self.jobs();
        let standings = self.migration.record.standings().await?;
        let mut others = Vec::new();
        for (key, standing) in standings.into_iter().filter(|(key, _)| key != self.key) {
            match standing {
                MigrationStanding::Started {
                    execution: Some(id),
                    ..
                } => others.push(id),
                MigrationStanding::Started {
                    execution: None,
                    at,
                    before,
                } => {
                    let ticket = before.as_deref();
                    if ticket.is_some_and(|it| jobs.is_of_another_service(it)) {
                        continue;
                    }
                    let trail = jobs::found(jobs, &key, ticket, at, "another migration").await?;
                    let found = trail.begun();
                    if let Some(it) = found.filter(|it| matches!(it.state, State::Running(_))) {
                        return Err(self.another_runs(&it.id));
                    }
                }
                MigrationStanding::Never
                | MigrationStanding::Succeeded { .. }
                | MigrationStanding::Failed { .. }
                | MigrationStanding::NotStarted { .. } => {}
            }
        }
        match jobs.beside(self.key, &others).await? {
            None => Ok(()),
            Some(id) => Err(self.another_runs(&id)),
        }
    }

    fn another_runs(&self, id: &str) -> Error {
        let message = format!(
            "another migration is still running, as {}: no other one is started for `{}`",
            self.jobs().name(id),
            self.migration.service
        );
        Error::new(ErrorKind::Conflict, message).hint(self.wait_or_stop(id))
    }

    /// Waits for one that was started just now.
    async fn follow_new(&self, started: &Execution) -> Result<()> {
        let longest = self.jobs().longest();
        let within = Within::FromNow(longest);
        self.follow(&started.id, within, Unattended::Stopped).await
    }

    /// Waits for one that was started before: its time counts from its own start. Its program may
    /// run since then, so it is not stopped because we can do nothing for it.
    async fn follow_earlier(&self, id: &str) -> Result<()> {
        let name = self.jobs().name(id);
        self.watch.note(&format!("{name} was started before"));
        let longest = self.jobs().longest();
        let within = Within::FromItsStart(longest);
        self.follow(id, within, Unattended::Awaited).await
    }

    /// Notes where it runs and waits for its end.
    async fn follow(&self, id: &str, within: Within, unattended: Unattended) -> Result<()> {
        self.migration.record.running(self.key, id).await?;
        let what = self.migration.what();
        let said = Said::new(self.jobs().clock(), self.watch);
        let waiting = pin!(jobs::ended(self.jobs(), id, within, &what, &said));
        let says = Says(&said);
        let attending = self.jobs().attend(id, &says);
        let (ended, unattended) = match (select(attending, waiting).await, unattended) {
            (Either::Left((Ok(()), waiting)), _) => (waiting.await, None),
            (Either::Left((Err(error), _)), Unattended::Stopped) => {
                return self.stop_unattended(id, error).await;
            }
            (Either::Left((Err(error), waiting)), Unattended::Awaited) => {
                let why = error.chain().join(": ");
                self.watch
                    .note(&format!("its end is waited for all the same: {why}"));
                (waiting.await, Some(error))
            }
            (Either::Right((ended, attending)), _) => {
                let late = self.jobs().clock().pause(LAST_LINES);
                select(attending, late).await;
                (ended, None)
            }
        };
        let succeeded = matches!(ended, Ok(Some(End::Succeeded)));
        let done = match ended {
            Ok(end) => self.over(id, end).await,
            Err(error) if error.kind() == ErrorKind::TimedOut => self.out_of_time(id).await,
            Err(error) => Err(error),
        };
        if succeeded {
            self.jobs().rest(id, self.watch).await;
        }
        match unattended {
            Some(unattended) => done.map_err(|error| with(error, &unattended)),
            None => done,
        }
    }

    /// Stops one that was started just now and for which we could not do what it needs. Where
    /// nothing of it ran, the next run starts another. However it ended, people hear why it was
    /// stopped.
    async fn stop_unattended(&self, id: &str, error: Error) -> Result<()> {
        let what = self.migration.what();
        let stopped = async {
            let why = "deployer: the migration could not be begun in it";
            self.jobs().stop(id, why).await?;
            let within = Within::FromNow(STOPPING);
            jobs::ended(self.jobs(), id, within, &what, self.watch).await
        };
        match stopped.await {
            Ok(Some(End::NeverRan(_))) => {
                let record = &self.migration.record;
                let why = error.chain().join(": ");
                record.not_started(self.key, id, why).await?;
                Err(error)
            }
            Ok(end) => {
                let over = self.over(id, end).await;
                over.map_err(|ended| with(ended, &error))
            }
            Err(_) => Err(error),
        }
    }

    /// Stops one whose time is over. It has failed only once it is known to have ended, and it may
    /// have ended well meanwhile; one that may still write to the database stays `started`, and the
    /// next run looks at it first.
    async fn out_of_time(&self, id: &str) -> Result<()> {
        let what = self.migration.what();
        let stopped = async {
            let why = "deployer: the migration's time is over";
            self.jobs().stop(id, why).await?;
            let within = Within::FromNow(STOPPING);
            jobs::ended(self.jobs(), id, within, &what, self.watch).await
        };
        match stopped.await {
            Ok(Some(End::Failed(_))) => {
                let late = format!(
                    "{what} had not ended after {} s, and was stopped",
                    self.jobs().longest().as_secs()
                );
                let record = &self.migration.record;
                record.ended(self.key, Err(late.clone())).await?;
                Err(Error::new(ErrorKind::Failed, late).hint(
                    "look into its log and the database, give it more time (`migrate.timeout`), then run `deployer migrate --retry`",
                ))
            }
            Ok(end) => self.over(id, end).await,
            Err(error) => {
                let message = format!(
                    "{what} is still running, as {}, though its time is over: no other one is started",
                    self.jobs().name(id)
                );
                Err(Error::new(ErrorKind::TimedOut, message)
                    .because(error)
                    .hint(self.wait_or_stop(id)))
            }
        }
    }

    /// Notes how it ended. Of one that the cloud has forgotten a person has to judge; of one that
    /// never ran the next run makes another.
    async fn over(&self, id: &str, end: Option<End>) -> Result<()> {
        let (record, what) = (&self.migration.record, self.migration.what());
        match end {
            Some(End::Succeeded) => record.ended(self.key, Ok(())).await,
            Some(End::NeverRan(why)) => {
                record.not_started(self.key, id, why.clone()).await?;
                let message = format!("{what} could not be started");
                let cause = self.jobs().hint(std::slice::from_ref(&why));
                let cause = cause.unwrap_or("nothing of it ran");
                let hint =
                    format!("{cause}: once the cause is mended, `deployer apply` starts it again");
                Err(Error::new(ErrorKind::Failed, message)
                    .because(why)
                    .hint(hint))
            }
            Some(End::Failed(why)) => {
                let why = self.jobs().reasons(id, why).await;
                record.ended(self.key, Err(why.clone())).await?;
                let output = self.jobs().last_lines(id).await;
                Err(self.failed(format!("{what} failed"), why, output))
            }
            None => {
                let name = self.jobs().name(id);
                let forgotten =
                    format!("the cloud has forgotten {name} of {what}: how it ended is not known");
                record.ended(self.key, Err(forgotten.clone())).await?;
                Err(Error::new(ErrorKind::Failed, forgotten).hint(
                    "look into its log and the database, then run `deployer migrate --retry`",
                ))
            }
        }
    }

    fn failed(&self, message: String, why: String, output: Vec<String>) -> Error {
        let told: Vec<String> = std::iter::once(&why).chain(&output).cloned().collect();
        let hint = self.jobs().hint(&told).unwrap_or(PUT_RIGHT);
        Error::new(ErrorKind::Failed, message)
            .because(why)
            .with_output(output)
            .hint(hint)
    }

    /// It may have run, and the cloud does not show it.
    fn unknown(&self) -> Error {
        let message = format!(
            "{} was begun, and the cloud does not show it: how it ended is not known",
            self.migration.what()
        );
        Error::new(ErrorKind::Failed, message).hint(
            "look into its log and the database; `deployer migrate --retry` then runs it once more",
        )
    }

    fn wait_or_stop(&self, id: &str) -> String {
        let command = self.jobs().stop_command(id);
        format!("wait for its end, or stop it: `{command}`")
    }
}

/// What a start came to.
enum Sent {
    As(Execution),
    /// There is no room; the cloud's words.
    Nothing(String),
}

/// See [`NONE`].
fn none(ticket: &str) -> String {
    format!("{NONE}: {ticket}")
}

/// What becomes of an execution for which we could not do what it needs.
#[derive(Clone, Copy)]
enum Unattended {
    /// It was started just now: it is stopped.
    Stopped,
    /// An earlier run may have done it, and the program runs.
    Awaited,
}

/// How an execution ended, with why we could not do what it needs.
fn with(ended: Error, unattended: &Error) -> Error {
    let causes = ended.chain().into_iter().skip(1);
    let causes: Vec<String> = causes.chain(unattended.chain()).collect();
    let hints = [unattended.hint_text(), ended.hint_text()];
    let hints: Vec<&str> = hints.into_iter().flatten().collect();
    Error::new(ended.kind(), ended.to_string())
        .because(causes.join(": "))
        .with_output(ended.output().to_vec())
        .hint(hints.join("; "))
}

/// What is started after this one, of which nothing ran.
fn in_place_of(execution: &str) -> Nth<'_> {
    match execution {
        REFUSED => Nth::First,
        execution => Nth::After(execution),
    }
}

/// How long what the cloud says of an execution is left out after a line of the program's own.
const QUIET: Duration = Duration::from_secs(10);

/// What is said of an execution: its own lines, and between them what the cloud says.
struct Said<'a> {
    clock: &'a dyn Clock,
    watch: &'a dyn Watch,
    /// When its last line came.
    last: Mutex<Option<Duration>>,
}

impl<'a> Said<'a> {
    fn new(clock: &'a dyn Clock, watch: &'a dyn Watch) -> Self {
        Self {
            clock,
            watch,
            last: Mutex::default(),
        }
    }
}

/// For what the cloud says.
impl Watch for Said<'_> {
    fn note(&self, line: &str) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |last| self.clock.elapsed().saturating_sub(last) >= QUIET;
        if last.is_none_or(quiet) {
            self.watch.note(line);
        }
    }
}

/// For what it says itself.
struct Says<'a>(&'a Said<'a>);

impl Watch for Says<'_> {
    fn note(&self, line: &str) {
        let now = self.0.clock.elapsed();
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.0.watch.note(line);
    }
}
