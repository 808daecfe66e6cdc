//! How the lock stands, for people: reads only, decides nothing.

use serde::Serialize;

use jiff::Timestamp;

use super::{Holder, LEASE};
use crate::error::Result;
use crate::ledger::Ledger;

/// How the lock stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// Nobody holds it.
    Free,
    /// Somebody holds it, or held it and ended without giving it back.
    Held {
        /// Who.
        holder: Box<Holder>,
        /// When it was renewed last, by the store's clock.
        renewed: Timestamp,
        /// Until when it lasts unless renewed, by the store's clock. Past: the next run takes it
        /// over.
        until: Timestamp,
    },
}

impl Ledger {
    /// How the lock stands. Writes nothing.
    pub async fn lock_standing(&self) -> Result<Standing> {
        let top = self.top().await?;
        Ok(match top.filter(|top| !top.holder.released) {
            None => Standing::Free,
            Some(top) => Standing::Held {
                holder: Box::new(top.holder),
                renewed: top.written,
                until: top.written.checked_add(LEASE).unwrap_or(top.written),
            },
        })
    }
}
