//! Keeps a lease renewed and answers whether a call may still be started under it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{LEASE, Lease, MARGIN, RENEWAL, Refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;

/// How often the keeper looks at its clock.
const BEAT: Duration = Duration::from_secs(1);

/// Beats that are this far apart mean that the process or its machine slept.
const SLEPT: Duration = Duration::from_secs(5);

/// How long calls wait for a store that does not answer before the run gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Keeps one lease until it is given back or lost.
pub struct Keeper {
    ledger: Ledger,
    state: Mutex<State>,
    /// Held while the lease is being renewed or given back.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    lease: Lease,
    /// When the process was last seen awake.
    beat: Duration,
    /// How often it was found to have slept.
    sleeps: u64,
    /// `sleeps` as it was when the last renewal began.
    confirmed: u64,
    end: Option<End>,
}

/// Why a lease is no more. An error is made of it each time somebody asks.
#[derive(Clone)]
enum End {
    GivenBack,
    Lost { what: String },
}

/// How a try to renew ended.
enum Renewal {
    /// Renewed, lost or given back: the state says which.
    Settled,
    /// The store did not answer.
    NotYet(Error),
}

enum Standing {
    Certain,
    Doubtful,
    Ended(End),
}

impl State {
    /// Notes that the process is awake now.
    fn awake(&mut self, now: Duration) {
        if now.saturating_sub(self.beat) > SLEPT {
            self.sleeps += 1;
        }
        self.beat = now;
    }
}

impl Keeper {
    pub(super) fn new(ledger: Ledger, lease: Lease) -> Self {
        // Whoever slept since the lease was taken knows as little as one who sleeps later.
        let beat = lease.began;
        Self {
            ledger,
            state: Mutex::new(State {
                lease,
                beat,
                sleeps: 0,
                confirmed: 0,
                end: None,
            }),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Renews until the lease is lost or given back. Returns the loss; `None` when it was given
    /// back. To be run beside the work.
    pub async fn keep(&self) -> Option<Error> {
        // Apart from each other, so that a slow store is not taken for sleep.
        tokio::select! {
            () = self.beat() => None,
            loss = self.renewals() => loss,
        }
    }

    async fn beat(&self) {
        loop {
            self.ledger.clock.pause(BEAT).await;
            let now = self.ledger.clock.elapsed();
            self.state().awake(now);
        }
    }

    async fn renewals(&self) -> Option<Error> {
        loop {
            self.ledger.clock.pause(BEAT).await;
            let due = match self.standing() {
                Standing::Ended(End::GivenBack) => return None,
                Standing::Ended(end) => return Some(end.error()),
                Standing::Doubtful => true,
                Standing::Certain => {
                    let now = self.ledger.clock.elapsed();
                    !self.state().lease.valid_for(LEASE - RENEWAL, now)
                }
            };
            if due && let Renewal::NotYet(error) = self.renew().await {
                // A store that does not answer for a moment is not a lost lock; whoever wants to
                // call waits meanwhile.
                tracing::warn!(%error, "cannot renew the lock yet");
            }
        }
    }

    /// Returns once it is certain that a call that is started now ends while the lease lasts. Waits
    /// while that is in doubt: when the process slept, or a renewal is overdue. Asks the store only
    /// then.
    ///
    /// Errors: locked, when the lease was lost; ledger, when the store did not answer for five
    /// minutes.
    pub(super) async fn permit(&self) -> Result<()> {
        let began = self.ledger.clock.elapsed();
        loop {
            match self.standing() {
                Standing::Certain => return Ok(()),
                Standing::Ended(end) => return Err(end.error()),
                Standing::Doubtful => {}
            }
            let Renewal::NotYet(error) = self.renew().await else {
                continue;
            };
            if self.ledger.clock.elapsed().saturating_sub(began) > PATIENCE {
                return Err(Error::new(
                    ErrorKind::Ledger,
                    format!("cannot renew the lock of {}", self.ledger.target),
                )
                .because(error)
                .hint("nothing more was started; run the same command again once the ledger can be written"));
            }
            self.ledger.clock.pause(BEAT).await;
        }
    }

    /// Gives the lock back. Does nothing when it was lost.
    pub async fn give_back(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let lease = {
            let mut state = self.state();
            if state.end.is_some() {
                return Ok(());
            }
            state.end = Some(End::GivenBack);
            state.lease.clone()
        };
        self.ledger.unlock(&lease).await
    }

    /// Renews once, unless somebody else did while this waited for its turn.
    async fn renew(&self) -> Renewal {
        let before = self.state().lease.number;
        let _turn = self.turn.lock().await;
        let (lease, sleeps) = {
            let state = self.state();
            if state.end.is_some() || state.lease.number != before {
                return Renewal::Settled;
            }
            (state.lease.clone(), state.sleeps)
        };
        let renewed = self.ledger.renew(&lease).await;
        let now = self.ledger.clock.elapsed();
        let mut state = self.state();
        state.awake(now);
        match renewed {
            Ok(lease) => {
                state.lease = lease;
                // What happened during a sleep in between is not known: then this proves nothing.
                state.confirmed = sleeps;
            }
            Err(Refusal::Held(holder)) => {
                state.end = Some(End::Lost {
                    what: self.ledger.loss(&holder),
                });
            }
            Err(Refusal::Ours) => {}
            Err(Refusal::Failed(error)) => return Renewal::NotYet(error),
        }
        Renewal::Settled
    }

    fn standing(&self) -> Standing {
        let now = self.ledger.clock.elapsed();
        let mut state = self.state();
        state.awake(now);
        match &state.end {
            Some(end) => Standing::Ended(end.clone()),
            None if state.confirmed == state.sleeps && state.lease.valid_for(MARGIN, now) => {
                Standing::Certain
            }
            None => Standing::Doubtful,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    fn error(&self) -> Error {
        match self {
            Self::GivenBack => Error::internal("a call was to be made after the lock was given back"),
            Self::Lost { what } => Error::new(ErrorKind::Locked, what).hint(
                "this run starts nothing more; what was in flight may have landed: `deployer lock show` \
                 says who holds the lock, and the same command goes on later",
            ),
        }
    }
}

/// Whether a run may change its target: asked before each call and each write. Clones are one;
/// until a lease is kept, everything is permitted, as for commands that take no lock.
#[derive(Clone, Default)]
pub struct Permit(Arc<Mutex<Option<Arc<Keeper>>>>);

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

impl Permit {
    /// Returns once a call that is started now is certain to end while the lease lasts.
    ///
    /// Errors: locked, when the lease was lost; ledger, when that cannot be found out.
    pub async fn ask(&self) -> Result<()> {
        let keeper = self.keeper().clone();
        match keeper {
            Some(keeper) => keeper.permit().await,
            None => Ok(()),
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Arc<Keeper>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// From now on this ledger, its clones and everything that shares its permit write and call
    /// only under this lease. [`Keeper::keep`] is to be run beside.
    pub fn keep(&self, lease: Lease) -> Arc<Keeper> {
        // Without the permit that holds the keeper itself: the lock's own writes ask for none.
        let ledger = self.clone().with_permit(Permit::default());
        let keeper = Arc::new(Keeper::new(ledger, lease));
        *self.permit.keeper() = Some(Arc::clone(&keeper));
        keeper
    }

    /// The permit that its writes ask for.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The same ledger with a permit that others have too.
    #[must_use]
    pub fn with_permit(self, permit: Permit) -> Self {
        Self { permit, ..self }
    }
}
