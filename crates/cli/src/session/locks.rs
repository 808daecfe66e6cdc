//! The locks of a command's targets: taken, waited for, renewed and given back.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::{Keeper, Lease, Ledger};
use tokio::task::JoinHandle;

use super::{Place, Session};
use crate::exit::Exit;
use crate::machine;
use crate::system::Stop;

/// Between two looks at a lock that is waited for.
const LOOK: Duration = Duration::from_secs(5);

impl Session {
    /// Takes the lock of every target and keeps renewing it: from now on nothing is called or
    /// written but under it. A target whose ledger does not answer is left out: it stands in
    /// `failed`.
    ///
    /// Errors: locked, naming the holder: whoever holds one works on the environment; interrupted,
    /// when `stop` is asked for while this waits; ledger, when none answers.
    pub async fn lock(&mut self, command: &str, stop: &Stop) -> Result<Locks> {
        self.lock_with(command, stop, &[]).await
    }

    /// The same with the locks of other targets beside, in the order of all: what is made for every
    /// target is made under each lock.
    pub async fn lock_with(
        &mut self,
        command: &str,
        stop: &Stop,
        others: &[Place],
    ) -> Result<Locks> {
        let mut locks = Locks::default();
        let mut failed = Vec::new();
        let mut ledgers: Vec<(CloudName, &Ledger)> = self
            .places
            .iter()
            .chain(others)
            .map(|place| (place.name(), &place.ledger))
            .collect();
        ledgers.sort_by_key(|(cloud, _)| *cloud);
        let began = self.clock.elapsed();
        for (cloud, ledger) in ledgers {
            let taken = tokio::select! {
                taken = self.take_lock(ledger, command, began) => taken,
                () = stop.requested_at_last() => Err(Error::new(
                    ErrorKind::Interrupted,
                    "stopped before the lock was held; nothing was changed",
                )),
            };
            let here = self.places.iter().any(|place| place.name() == cloud);
            match taken {
                Ok(lease) => locks.keep(ledger, lease),
                Err(error) if error.kind() == ErrorKind::Ledger && here => {
                    failed.push((cloud, error));
                }
                Err(error) => {
                    locks.release().await?;
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.leave(failed) {
            locks.release().await?;
            return Err(error);
        }
        Ok(locks)
    }

    /// Takes one lock; as long as another run holds it, until the time is over, it is looked at
    /// again. Targets share the time.
    async fn take_lock(&self, ledger: &Ledger, command: &str, began: Duration) -> Result<Lease> {
        let mut told = false;
        loop {
            let holder = machine::holder(command, self.clock.now());
            let taken = ledger.lock(holder, &machine::Here).await;
            let Err(error) = taken else { return taken };
            let waited = self.clock.elapsed().saturating_sub(began);
            let left = self.wait_lock.saturating_sub(waited);
            if error.kind() != ErrorKind::Locked || left.is_zero() {
                return Err(error);
            }
            if !told {
                let left = crate::duration::show(left);
                noteln!(
                    "{}: {error}; waiting for it, {left} at most",
                    ledger.target().cloud
                );
                told = true;
            }
            self.clock.pause(LOOK.min(left)).await;
        }
    }
}

/// Locks that are held and renewed until they are given back.
#[derive(Default)]
pub struct Locks(Vec<(Arc<Keeper>, JoinHandle<()>)>);

impl Locks {
    fn keep(&mut self, ledger: &Ledger, lease: Lease) {
        let keeper = ledger.keep(lease);
        let kept = Arc::clone(&keeper);
        let renewals = tokio::spawn(async move {
            // The run finds out by itself, before its next call.
            if let Some(loss) = kept.keep().await {
                tracing::warn!(%loss, "a lock is lost");
            }
        });
        self.0.push((keeper, renewals));
    }

    /// Gives every lock back that is still ours.
    pub async fn release(mut self) -> Result<()> {
        let mut first = Ok(());
        for (keeper, renewals) in std::mem::take(&mut self.0) {
            let given_back = keeper.give_back().await;
            renewals.abort();
            first = first.and(given_back);
        }
        first
    }

    /// Gives every lock back after a command; the command's own error comes first.
    pub async fn finish(self, result: Result<Exit>) -> Result<Exit> {
        let released = self.release().await;
        let exit = result?;
        released?;
        Ok(exit)
    }
}

impl Drop for Locks {
    /// Nobody renews a lock that was not given back: it ends by itself.
    fn drop(&mut self) {
        for (_, renewals) in &self.0 {
            renewals.abort();
        }
    }
}
