//! The lock: a lease made of numbered objects, by create-if-absent only.
//!
//! The highest number holds. A holder renews by creating the next number; whoever finds it taken
//! has lost, and so has whoever finds a higher one right after: the lower numbers are cleaned up,
//! so a holder that slept may well create one of them again. `LocalFileSystem` has no conditional
//! update, and this needs none.
//!
//! # What is guaranteed
//!
//! No two holders start calls at the same time. A holder starts none unless its last renewal began
//! less than [`LEASE`] less [`MARGIN`] ago by a clock that nobody sets
//! ([`elapsed`](crate::clock::Clock::elapsed)), so what it starts has ended, by its time-out,
//! before anybody may take over. Nobody takes over before the *store* has kept the highest number
//! for longer than [`LEASE`] by the store's own clock: what the writer's or the reader's clock says
//! is for people. Where that cannot be trusted - the store says that the lock was written in the
//! future, or a process of this machine lives and yet its lease ran out - a contender watches for
//! as long as a lease lasts, by its own clock, whether the number changes: a wrong clock costs that
//! wait, and never more. A store whose clock leaps ahead while another machine holds is the one
//! thing this trusts not to happen.
//!
//! A lock that was given back is taken at once. One whose holder is known to be gone is taken when
//! the store has kept it for longer than a holder takes to renew ([`RENEWAL`] and some seconds, 20
//! in all): machines restored from one snapshot take each other's processes for their own, and a
//! living holder shows itself by then; on a sandbox, which is this machine's own, it is taken at
//! once. What the dead one had sent is not waited for: it lands or not within that time or is found
//! out as everything in doubt is. After a release by hand the next one waits until the former
//! holder starts nothing more, whether it heard of it or not: 30 s from the release ([`LEASE`] less
//! [`MARGIN`], and some seconds), unless it is known to be gone.

mod keeper;
mod standing;

pub use keeper::{Keeper, Permit};
pub use standing::Standing;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::ledger::objects::encode;
use crate::wait::{self, Look, Pace};

/// How long a lease lasts without being renewed.
pub const LEASE: Duration = Duration::from_secs(90);

/// What must be left of a lease for a call to be started: longer than any call lasts (60 s).
pub const MARGIN: Duration = Duration::from_secs(65);

/// How old a lease gets before it is renewed; leaves a renewal 10 s before calls must wait for it.
pub const RENEWAL: Duration = Duration::from_secs(15);

/// S3 and Google Cloud Storage tell times in whole seconds.
const GRACE: Duration = Duration::from_secs(5);

/// How old the lock of a holder that seems to be gone must be: one that lives has renewed it by
/// then.
const SILENT: Duration = RENEWAL.saturating_add(GRACE);

/// How long after a release by hand the former holder may still start something, at most.
const HEARD: Duration = LEASE.saturating_sub(MARGIN).saturating_add(GRACE);

/// Older objects that stay, so that no listing that overlaps a renewal sees none.
const KEPT: u64 = 2;

/// The version of the lock's format: deployers of every version stand before the same lock.
const FORMAT: u32 = 1;

/// How often what the store did not answer is tried: who holds a lease has no long time, and renews
/// once more after this.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// User name.
    pub user: String,
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub process: u32,
    /// Which command.
    pub run: String,
    /// Since when, by the holder's clock.
    pub since: Timestamp,
    /// Until when unless renewed, by the holder's clock.
    pub until: Timestamp,
    /// Whether it was given back.
    #[serde(default)]
    pub released: bool,
    /// Who took it away with `lock release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Never the same twice: tells a holder its own objects, also after a lost reply.
    #[serde(default)]
    pub claim: Uuid,
    /// Tells this process from others of the same number, as far as its machine can.
    #[serde(default)]
    pub origin: Origin,
}

/// What tells a process from every other one that has its number or its host's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The machine since it started, and the process's own world on it. Empty where it has no name.
    pub machine: String,
    /// When the process started, in the machine's ticks.
    pub started: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}@{} (process {}), {} since {:.0}",
            self.user, self.host, self.process, self.run, self.since
        )
    }
}

/// What a contender knows of a holder without asking the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was a process of this machine and is no more.
    Gone,
    /// It is a process of this machine; it may be stopped.
    Alive,
    /// It is on another machine.
    Nothing,
}

/// The contender's own view of holders, and its way to say why it waits.
pub trait Witness: Send + Sync {
    /// What is known of a holder.
    fn known(&self, holder: &Holder) -> Known;

    /// Says something to the person who waits.
    fn note(&self, line: &str);
}

/// A lock that is held.
#[derive(Clone, Debug)]
pub struct Lease {
    number: u64,
    holder: Holder,
    began: Duration,
}

impl Lease {
    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether it is certain to last for `margin` from `now` on, which is the holder's own
    /// [`elapsed`](crate::clock::Clock::elapsed).
    pub fn valid_for(&self, margin: Duration, now: Duration) -> bool {
        now.saturating_sub(self.began) + margin < LEASE
    }
}

/// The highest object.
#[derive(Clone, Debug)]
struct Top {
    number: u64,
    /// When it was written, by the store's clock.
    written: Timestamp,
    holder: Holder,
}

fn name(number: u64) -> String {
    format!("lock/{number:08}.json")
}

impl Ledger {
    /// Takes the lock. Waits only where its former holder may still start something, and where no
    /// clock can be trusted; says so.
    ///
    /// Errors: locked, naming the holder and since when.
    pub async fn lock(&self, me: Holder, witness: &dyn Witness) -> Result<Lease> {
        for _ in 0..TRIES {
            let top = self.top().await?;
            if let Some(top) = &top
                && !self.outlast(top, witness).await?
            {
                continue;
            }
            let last = top.map_or(0, |top| top.number);
            let taken = self.take(last + 1, me).await;
            return taken.map_err(|refusal| match refusal {
                Refusal::Held(holder) if holder.released => {
                    Error::new(ErrorKind::Locked, self.loss(&holder))
                }
                Refusal::Held(holder) => self.held(&holder),
                Refusal::Ours => Error::internal("a new claim found itself in the ledger"),
                Refusal::Failed(error) => error,
            });
        }
        Err(self.changes_hands())
    }

    /// Returns once this lock may be taken over; or `false` when it was given back meanwhile, which
    /// is to be looked at anew.
    ///
    /// Errors: locked, when it may not.
    async fn outlast(&self, top: &Top, witness: &dyn Witness) -> Result<bool> {
        let holder = &top.holder;
        let known = witness.known(holder);
        match (&holder.released_by, holder.released) {
            (None, true) => return Ok(true),
            (Some(_), true) if known == Known::Gone => return Ok(true),
            (Some(by), true) => {
                let why =
                    format!("{by} took the lock from {holder}, which may not have heard of it");
                return self.grow_old(top, HEARD, &why, witness).await;
            }
            (_, false) => {}
        }
        if known == Known::Gone {
            let why = format!("the process of {holder} seems to be gone");
            let gone = self.grow_old(top, self.silence(), &why, witness).await?;
            if gone {
                witness.note(&format!(
                    "{}: took over the lock of {holder}: its process is gone",
                    self.target.cloud
                ));
            }
            return Ok(gone);
        }
        let age = self.store_now().await?.duration_since(top.written);
        let in_the_future = age < -signed(GRACE);
        let ran_out = age > signed(LEASE + GRACE);
        match (known, in_the_future || ran_out) {
            (_, false) => Err(self.held(holder)),
            (Known::Nothing, true) if ran_out => {
                witness.note(&format!(
                    "{}: took over the lock of {holder}: its lease ran out {} s ago",
                    self.target.cloud,
                    (age - signed(LEASE)).as_secs()
                ));
                Ok(true)
            }
            (Known::Nothing | Known::Alive | Known::Gone, true) => {
                let lasts = LEASE + GRACE;
                witness.note(&format!(
                    "the times of the lock of {holder} make no sense; waiting {} s to see whether it is renewed",
                    lasts.as_secs()
                ));
                self.watch(top, lasts).await
            }
        }
    }

    /// How old the lock of a holder that seems to be gone must be. What works on a sandbox is on
    /// this machine with it: there this machine's word is enough.
    fn silence(&self) -> Duration {
        match self.target().sandbox {
            true => Duration::ZERO,
            false => SILENT,
        }
    }

    /// Returns once the store has kept this lock for so long. Where its time makes no sense, that
    /// is waited for from now on.
    async fn grow_old(
        &self,
        top: &Top,
        lasts: Duration,
        why: &str,
        witness: &dyn Witness,
    ) -> Result<bool> {
        let age = self.store_now().await?.duration_since(top.written);
        let age = Duration::try_from(age).unwrap_or_default();
        let rest = lasts.saturating_sub(age);
        if rest.is_zero() {
            return Ok(true);
        }
        let seconds = rest.as_secs() + u64::from(rest.subsec_nanos() > 0);
        witness.note(&format!("{why}; waiting {seconds} s to be sure"));
        self.watch(top, rest).await
    }

    /// Watches for so long by our own clock whether the lock changes. `false` when it was given
    /// back.
    ///
    /// Errors: locked, when it is renewed, or somebody else takes it.
    async fn watch(&self, top: &Top, lasts: Duration) -> Result<bool> {
        let began = self.clock.elapsed();
        let pace = Pace {
            first: GRACE.min(lasts),
            longest: GRACE,
            deadline: (lasts + GRACE) * 2,
        };
        wait::poll(self.clock.as_ref(), pace, "the lock", || async {
            match self.top().await? {
                Some(now) if now.number == top.number => {}
                Some(now) if now.holder.released => return Ok(Look::Found(false)),
                Some(now) => return Err(self.held(&now.holder)),
                None => return Ok(Look::Found(false)),
            }
            Ok(match self.clock.elapsed().saturating_sub(began) >= lasts {
                true => Look::Found(true),
                false => Look::NotYet(format!("held by {}", top.holder)),
            })
        })
        .await
    }

    /// Lengthens the lease.
    async fn renew(&self, lease: &Lease) -> Result<Lease, Refusal> {
        let mut number = lease.number + 1;
        loop {
            match self.take(number, lease.holder.clone()).await {
                // An earlier renewal landed and its answer did not: how old it is nobody knows, so
                // the next one counts.
                Err(Refusal::Ours) => number += 1,
                result => return result,
            }
        }
    }

    /// Gives the lock back. What is not ours any more stays as it is.
    async fn unlock(&self, lease: &Lease) -> Result<()> {
        let released = Holder {
            released: true,
            until: self.clock.now(),
            ..lease.holder.clone()
        };
        let mut number = lease.number + 1;
        loop {
            match self.claim(number, &released).await? {
                Claimed::Now | Claimed::Before(true) => break,
                // A renewal of ours that landed late.
                Claimed::Before(false) => number += 1,
                Claimed::ByAnother(_) => return Ok(()),
            }
        }
        let numbers = self.numbers().await?;
        self.clean_up(&numbers, number).await;
        Ok(())
    }

    /// Takes the lock away from whoever holds it; `by` says who does that. Its former holder
    /// notices when it renews, or before its next call when it slept. Returns the former holder;
    /// `None` when nobody held it.
    ///
    /// Errors: conflict, when the lock changes hands all the time.
    pub async fn break_lock(&self, by: Holder) -> Result<Option<Holder>> {
        for _ in 0..TRIES {
            let Some(top) = self.top().await?.filter(|top| !top.holder.released) else {
                return Ok(None);
            };
            let broken = Holder {
                released: true,
                released_by: Some(format!("{}@{}", by.user, by.host)),
                claim: by.claim,
                until: self.clock.now(),
                ..top.holder.clone()
            };
            match self.claim(top.number + 1, &broken).await? {
                Claimed::Now | Claimed::Before(_) => return Ok(Some(top.holder)),
                // It was renewed just now.
                Claimed::ByAnother(_) => {}
            }
        }
        Err(self.changes_hands())
    }

    fn changes_hands(&self) -> Error {
        let message = format!("the lock of {} changed hands meanwhile", self.target);
        Error::new(ErrorKind::Conflict, message).hint("try again")
    }

    /// Creates a number and makes sure that it is the highest.
    async fn take(&self, number: u64, me: Holder) -> Result<Lease, Refusal> {
        let began = self.clock.elapsed();
        let now = self.clock.now();
        let holder = Holder {
            until: now.checked_add(LEASE).unwrap_or(now),
            released: false,
            ..me
        };
        match self.claim(number, &holder).await? {
            Claimed::Now => {}
            Claimed::Before(_) => return Err(Refusal::Ours),
            Claimed::ByAnother(other) => return Err(Refusal::Held(other)),
        }
        let numbers = self.numbers().await?;
        if numbers.iter().any(|(other, _)| *other > number) {
            self.drop_number(number).await;
            let top = self.top().await?.ok_or_else(|| self.vanished())?;
            return Err(Refusal::Held(Box::new(top.holder)));
        }
        self.clean_up(&numbers, number).await;
        Ok(Lease {
            number,
            holder,
            began,
        })
    }

    /// Creates one number; a write whose answer was lost is tried again and recognised.
    async fn claim(&self, number: u64, holder: &Holder) -> Result<Claimed> {
        let bytes = encode(FORMAT, holder)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.put_new(&name(number), bytes.clone()).await {
                Ok(true) => return Ok(Claimed::Now),
                Ok(false) => break,
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => self.clock.pause(BETWEEN_TRIES).await,
            }
        }
        Ok(match self.read::<Holder>(&name(number)).await? {
            // The very words of this call: its answer was lost, to us or to the store's client.
            Some(found) if found == *holder => Claimed::Now,
            Some(found) if found.claim == holder.claim => Claimed::Before(found.released),
            Some(found) => Claimed::ByAnother(Box::new(found)),
            None => return Err(self.vanished()),
        })
    }

    /// Removes what nobody needs any more. What cannot be removed now is removed by a later
    /// renewal.
    async fn clean_up(&self, numbers: &[(u64, Timestamp)], highest: u64) {
        for (old, _) in numbers {
            if *old + KEPT < highest {
                self.drop_number(*old).await;
            }
        }
    }

    /// A number below the highest means nothing: it may stay.
    async fn drop_number(&self, number: u64) {
        if let Err(error) = self.erase_object(&name(number)).await {
            tracing::debug!(%error, "an old lock object stays for now");
        }
    }

    /// The objects there are, in order, with the time of the store at which each was written.
    async fn numbers(&self) -> Result<Vec<(u64, Timestamp)>> {
        let found = self.list_objects("lock").await?;
        let mut numbers = Vec::new();
        for (file, written) in found {
            let number = file.trim_end_matches(".json").parse().map_err(|_| {
                Error::new(
                    ErrorKind::Ledger,
                    format!("`{file}` in the ledger's lock folder is not ours"),
                )
            })?;
            numbers.push((number, written));
        }
        numbers.sort();
        Ok(numbers)
    }

    /// The highest object. `None` before the first lock.
    async fn top(&self) -> Result<Option<Top>> {
        for _ in 0..TRIES {
            let Some((number, written)) = self.numbers().await?.last().copied() else {
                return Ok(None);
            };
            // It is cleaned up only when there are higher ones: then the next listing has those.
            if let Some(holder) = self.read(&name(number)).await? {
                return Ok(Some(Top {
                    number,
                    written,
                    holder,
                }));
            }
        }
        Err(self.vanished())
    }

    /// What the store's clock says: the time that it gives to what is written now.
    async fn store_now(&self) -> Result<Timestamp> {
        self.touch("clock.json").await
    }

    fn vanished(&self) -> Error {
        Error::new(
            ErrorKind::Ledger,
            format!(
                "the lock objects of {} vanish while they are read",
                self.target
            ),
        )
        .hint("try again; if it stays, something else deletes objects of the ledger")
    }

    /// Says to whom a lock was lost.
    fn loss(&self, to: &Holder) -> String {
        let target = &self.target;
        match (&to.released_by, to.released) {
            (Some(by), _) => {
                format!("the lock of {target} was taken away: {by} released it by hand")
            }
            (None, false) => format!("the lock of {target} was lost to {to}"),
            (None, true) => {
                format!("the lock of {target} was lost to {to}; that has ended since")
            }
        }
    }

    fn held(&self, holder: &Holder) -> Error {
        let error = Error::new(
            ErrorKind::Locked,
            format!("{} is locked by {holder}", self.target),
        );
        error.hint(format!(
            "wait until that ends (`--wait-lock 10m` does it); the lease of a dead holder runs out {} s after its last renewal, \
             `deployer lock release` takes the lock from a living one",
            LEASE.as_secs()
        ))
    }
}

/// Why a number could not be taken.
enum Refusal {
    /// Somebody else has it or a higher one.
    Held(Box<Holder>),
    /// It is ours since some earlier call.
    Ours,
    /// The store did not do as asked.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Whose a number is after it was tried to be created.
enum Claimed {
    /// Ours, by this call.
    Now,
    /// Ours, by an earlier call; whether that gave it back.
    Before(bool),
    /// Somebody else's.
    ByAnother(Box<Holder>),
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
