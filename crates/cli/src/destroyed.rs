//! Whether an environment was destroyed on a target, by what its ledger says.

use deployer_core::error::Result;
use deployer_core::ledger::{Item, Ledger, RunRecord};
use jiff::Timestamp;

/// When it was: by its last run, which left nothing of ours. `None` where it was not.
///
/// Errors: ledger.
pub async fn at(ledger: &Ledger, last: &RunRecord) -> Result<Option<Timestamp>> {
    if last.header.command != "destroy" || last.outcome() != Some("succeeded") {
        return Ok(None);
    }
    let inventory = ledger.inventory().await?;
    let is_gone = |item: &Item| item.gone_since.is_some();
    let at = last.entries.last().map_or(last.header.at, |entry| entry.at);
    Ok(inventory.items.values().all(is_gone).then_some(at))
}
