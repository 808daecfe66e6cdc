//! Puts back what a failed run changed: one target's nodes, newest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Means, NodeWatch, Verdict, token};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::journal::Event as Entry;
use crate::node::{Node, Undone};
use crate::report::Event;

/// Undoes every node that started. One that cannot be put back does not keep the older ones from it; each such one
/// needs attention.
pub(super) async fn newest_first(
    nodes: Vec<Arc<dyn Node>>,
    graph: &Graph,
    verdict: &mut Verdict,
    means: &Means<'_>,
) {
    // What stays because it holds data, by what it needs.
    let mut needed: BTreeMap<Address, String> = BTreeMap::new();
    for node in nodes.iter().rev() {
        let address = node.address();
        if node.holds_data() {
            let needs = graph.resources_needed_by(address);
            needed.extend(needs.into_iter().map(|need| (need, address.name.clone())));
        }
        // What holds data itself says so.
        if let Some(user) = needed.get(address).filter(|_| !node.holds_data()) {
            let why = format!("{user} stays and needs it");
            let stays = Some(why.as_str());
            means.reporter.event(&Event::Undone { address, stays });
            verdict.stays.push((address.clone(), why));
            continue;
        }
        means.reporter.event(&Event::Undoing { address });
        match undo(node.as_ref(), means).await {
            Ok(Undone::PutBack) => {
                let stays = None;
                means.reporter.event(&Event::Undone { address, stays });
                verdict.done.retain(|done| done != address);
                verdict.undone.push(address.clone());
            }
            Ok(Undone::Stays(why)) => {
                let stays = Some(why.as_str());
                means.reporter.event(&Event::Undone { address, stays });
                verdict.stays.push((address.clone(), why));
            }
            Err(error) => {
                let event = Event::NotUndone {
                    address,
                    error: &error,
                };
                means.reporter.event(&event);
                verdict.attention.push((address.clone(), error));
            }
        }
    }
}

async fn undo(node: &dyn Node, means: &Means<'_>) -> Result<Undone> {
    let address = node.address();
    let journal = means.journals.get(&address.cloud).ok_or_else(|| {
        Error::internal(format!(
            "{address} was changed but its target has no journal"
        ))
    })?;
    let watch = NodeWatch {
        address,
        reporter: means.reporter,
    };
    // Another call than the one that made it: never its token.
    let token = token(means.seed, address, "undo");
    let undoing = Entry::Undoing {
        address: address.clone(),
        token: token.0.clone(),
    };
    journal.write(undoing).await?;
    match node.undo(&token, &watch).await {
        Ok(undone) => {
            // What was made by this run is gone; what was there before is still ours.
            if undone == Undone::PutBack && !is_there(node)? {
                journal.forget(address).await?;
            }
            let stays = match &undone {
                Undone::PutBack => None,
                Undone::Stays(why) => Some(why.clone()),
            };
            let address = address.clone();
            journal.write(Entry::Undone { address, stays }).await?;
            Ok(undone)
        }
        Err(error) => {
            if error.kind() != ErrorKind::Ledger {
                let why = error.chain().join(": ");
                let address = address.clone();
                journal.write(Entry::NotUndone { address, why }).await?;
            }
            Err(error)
        }
    }
}

fn is_there(node: &dyn Node) -> Result<bool> {
    Ok(node.leftover()? == crate::node::Leftover::There)
}
