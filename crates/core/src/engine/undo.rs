//! Puts back what a failed run changed: one target's nodes, newest first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Means, NodeWatch, Verdict, token};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::journal::Event as Entry;
use crate::node::{Node, Token, Undone, Watch};
use crate::report::Event;
use crate::wait::{self, Look, Pace};

/// How long what was made only just now may look absent, or as if it were not ours.
const LAG: Duration = Duration::from_secs(60);

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
            Ok(Undone::Lost(what) | Undone::Unseen(what)) => {
                let error = Error::new(
                    ErrorKind::Untrue,
                    format!("{address} is not as before: {what}"),
                );
                let error = &error;
                means.reporter.event(&Event::NotUndone { address, error });
                let error = Error::new(ErrorKind::Untrue, error.to_string());
                verdict.attention.push((address.clone(), error));
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
    match seen(node, &token, &watch, means).await {
        Ok(undone) => {
            // What was made by this run is gone; what was there before is still ours.
            if undone == Undone::PutBack && !is_there(node)? {
                journal.forget(address).await?;
            }
            if let Undone::Unseen(_) = undone {
                journal.unseen(address).await?;
            }
            let of = address.clone();
            let entry = match &undone {
                Undone::PutBack => Entry::Undone {
                    address: of,
                    stays: None,
                },
                Undone::Stays(why) => Entry::Undone {
                    address: of,
                    stays: Some(why.clone()),
                },
                Undone::Lost(why) | Undone::Unseen(why) => Entry::NotUndone {
                    address: of,
                    why: why.clone(),
                },
            };
            journal.write(entry).await?;
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

/// [`Node::undo`]; what this run made is looked for until the cloud shows it, or has had the time to.
async fn seen(
    node: &dyn Node,
    token: &Token,
    watch: &dyn Watch,
    means: &Means<'_>,
) -> Result<Undone> {
    let what = node.address().to_string();
    let looked = wait::poll(means.clock, Pace::until(LAG), &what, || {
        let undone = node.undo(token, watch);
        async {
            Ok(match undone.await? {
                Undone::Unseen(why) => Look::NotYet(why),
                undone => Look::Found(undone),
            })
        }
    });
    match looked.await {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(Undone::Unseen(format!(
            "this run made it, and the cloud does not show it as ours; the next run looks again ({error})"
        ))),
        looked => looked,
    }
}

fn is_there(node: &dyn Node) -> Result<bool> {
    Ok(node.leftover()? == crate::node::Leftover::There)
}
