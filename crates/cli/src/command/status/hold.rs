//! What `status` says of a service whose release is on hold.

use deployer_core::ledger::{Hold, Release};
use jiff::Timestamp;

use crate::duration;
use crate::view::foreign;

/// A hold in words.
pub(super) fn held(hold: &Hold, releases: &[Release], now: Timestamp) -> String {
    let (by, from) = (foreign::one_line(&hold.by), hold.rejected);
    let ago = duration::since(hold.since, now);
    match hold.unfinished {
        None => {
            // The release of a rollback has a number of its own.
            let mut made = releases.iter().filter(|it| it.number == hold.serving);
            let to = match made.next().and_then(|it| it.rollback_to) {
                Some(to) if to != hold.serving => format!("r{to} (as r{})", hold.serving),
                _ => format!("r{}", hold.serving),
            };
            format!(
                "r{from} is on hold, and apply rolls out only what is not r{from}: {by} went back to {to}, {ago} ago"
            )
        }
        Some(to) => format!(
            "{by} was rolling back from r{from} to r{to}, {ago} ago, and did not come to the end"
        ),
    }
}
