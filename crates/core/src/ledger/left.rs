//! What the last applies left in the target, field by field: it tells another hand's changes from
//! the manifest's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::fields::Fields;
use crate::ledger::Ledger;

const SUBJECT: &str = "left";

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Left {
    /// By address.
    nodes: BTreeMap<Address, Fields>,
}

impl Ledger {
    /// What the last applies left, where that is known. Holds no secret: secrets stand in it as
    /// version names.
    pub async fn left(&self) -> Result<BTreeMap<Address, Fields>> {
        let older = self.older_left().await?;
        let said = self.said::<Left>(SUBJECT).await?;
        Ok(said.or(older).unwrap_or_default().nodes)
    }

    /// Says all of it anew. Only the holder of the lock may.
    pub async fn write_left(&self, nodes: BTreeMap<Address, Fields>) -> Result<()> {
        self.say(SUBJECT, Some(&Left { nodes })).await
    }

    /// Says what an older format says, where nothing is said yet.
    pub(super) async fn carry_left(&self) -> Result<()> {
        let older = self.older_left().await?;
        match older {
            Some(older) if self.subjects(SUBJECT).await?.is_empty() => {
                self.say(SUBJECT, Some(&older)).await
            }
            Some(_) | None => Ok(()),
        }
    }
}
