//! The lock: a lease made of numbered objects, by create-if-absent only.
//!
//! The highest number holds. A holder renews by creating the next number itself; whoever creates a number that
//! exists already has lost. `LocalFileSystem` has no conditional update, and this needs none.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;

/// How long a lease lasts without being renewed.
pub const LEASE: Duration = Duration::from_secs(90);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// User name.
    pub user: String,
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub process: u32,
    /// Which run, or which command.
    pub run: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, unless renewed.
    pub until: Timestamp,
    /// Whether it was given back.
    #[serde(default)]
    pub released: bool,
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

/// A lock that is held.
#[derive(Clone, Debug)]
pub struct Lease {
    number: u64,
    holder: Holder,
}

impl Lease {
    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

fn name(number: u64) -> String {
    format!("lock/{number:08}.json")
}

impl Ledger {
    /// Takes the lock. `is_dead` is asked whether an unexpired holder's process is known to be gone.
    ///
    /// Errors: locked, naming the holder and since when.
    pub async fn lock(&self, me: Holder, is_dead: impl Fn(&Holder) -> bool) -> Result<Lease> {
        let (last, current) = self.lock_state().await?;
        if let Some(holder) = current
            && holder.until > self.clock.now()
            && !is_dead(&holder)
        {
            return Err(self.held(&holder));
        }
        self.take(last + 1, me).await
    }

    /// Who holds the lock now. `None` when nobody does.
    pub async fn lock_holder(&self) -> Result<Option<Holder>> {
        let (_, current) = self.lock_state().await?;
        Ok(current.filter(|holder| holder.until > self.clock.now()))
    }

    /// Lengthens the lease.
    ///
    /// Errors: locked, when somebody took it over meanwhile.
    pub async fn renew(&self, lease: &Lease) -> Result<Lease> {
        let renewed = self.take(lease.number + 1, lease.holder.clone()).await?;
        self.remove(&name(lease.number)).await?;
        Ok(renewed)
    }

    /// Gives the lock back.
    pub async fn unlock(&self, lease: Lease) -> Result<()> {
        let holder = Holder {
            released: true,
            until: self.clock.now(),
            ..lease.holder
        };
        // Nobody else creates this number while the lease lasts; if somebody did, it is theirs.
        if self.create(&name(lease.number + 1), &holder).await? {
            self.remove(&name(lease.number)).await?;
        }
        Ok(())
    }

    async fn take(&self, number: u64, me: Holder) -> Result<Lease> {
        let now = self.clock.now();
        let until = now.checked_add(LEASE).unwrap_or(now);
        let holder = Holder {
            until,
            released: false,
            ..me
        };
        if self.create(&name(number), &holder).await? {
            return Ok(Lease { number, holder });
        }
        match self.read::<Holder>(&name(number)).await? {
            Some(other) => Err(self.held(&other)),
            None => Err(Error::new(
                ErrorKind::Locked,
                "somebody else took the lock just now",
            )),
        }
    }

    async fn lock_state(&self) -> Result<(u64, Option<Holder>)> {
        let names = self.list("lock").await?;
        let Some(last) = names.last() else {
            return Ok((0, None));
        };
        let number = last.trim_end_matches(".json").parse().map_err(|_| {
            Error::new(
                ErrorKind::Ledger,
                format!("`{last}` in the ledger's lock folder is not ours"),
            )
        })?;
        let holder: Option<Holder> = self.read(&format!("lock/{last}")).await?;
        Ok((number, holder.filter(|holder| !holder.released)))
    }

    fn held(&self, holder: &Holder) -> Error {
        Error::new(
            ErrorKind::Locked,
            format!("{} is locked by {holder}", self.target),
        )
        .hint(format!(
            "wait until that run ends; a dead holder's lease ends by itself at {:.0}",
            holder.until
        ))
    }
}
