//! What the last applies left in the target, field by field: it tells another hand's changes from the manifest's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::fields::Fields;
use crate::ledger::Ledger;

const NAME: &str = "left.json";

#[derive(Default, Serialize, Deserialize)]
struct Left {
    /// By address.
    nodes: BTreeMap<Address, Fields>,
}

impl Ledger {
    /// What the last applies left, where that is known. Holds no secret: secrets stand in it as version names.
    pub async fn left(&self) -> Result<BTreeMap<Address, Fields>> {
        Ok(self.read::<Left>(NAME).await?.unwrap_or_default().nodes)
    }

    /// Replaces it. Only the holder of the lock may.
    pub async fn write_left(&self, nodes: BTreeMap<Address, Fields>) -> Result<()> {
        self.write(NAME, &Left { nodes }).await
    }
}
