//! Puts back what a failed run changed: one target's nodes, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Means, NodeWatch, Verdict, token};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::journal;
use crate::node::{Node, Token, Undone, Watch};
use crate::report::Event;
use crate::wait::{self, Look, Pace};

/// How long what was made only just now may look absent, or as if it were not ours.
const LAG: Duration = Duration::from_secs(60);

/// Undoes every node that started. One that cannot be put back does not keep the older ones from
/// it, unless it needs them: whatever still serves goes on with all that it was given. Each such
/// one needs attention.
pub(super) async fn newest_first(
    nodes: Vec<Arc<dyn Node>>,
    graph: &Graph,
    made: &BTreeSet<&Address>,
    verdict: &mut Verdict,
    means: &Means<'_>,
) {
    let mut needed = Needed::default();
    for node in nodes.iter().rev() {
        let address = node.address();
        if node.holds_data() {
            needed.by_data(graph, address);
        }
        // What holds data itself says so.
        let user = needed.user_of(address, made.contains(address));
        if let Some(user) = user.filter(|_| !node.holds_data()) {
            let why = format!("{user} stays and needs it");
            let stays = Some(why.as_str());
            means.reporter.event(&Event::Undone { address, stays });
            verdict.stays.push((address.clone(), why));
            continue;
        }
        means.reporter.event(&Event::Undoing { address });
        let undone = undo(node.as_ref(), means).await;
        // What stays and harms nobody needs nothing either.
        if matches!(undone, Err(_) | Ok(Undone::Lost(_) | Undone::Unseen(_))) {
            needed.by_what_failed(graph, address);
        }
        match undone {
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
            Ok(Undone::Lost(what) | Undone::Unseen(what) | Undone::Spoilt(what)) => {
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

/// What must not be taken away, by address, with the name of what needs it.
#[derive(Default)]
struct Needed {
    /// By what holds data and stays for that: what was made for it stays too; what was changed goes
    /// back to what it was.
    by_data: BTreeMap<Address, String>,
    /// By what was not put back: it may serve, with everything as this run left it.
    by_what_failed: BTreeMap<Address, String>,
}

impl Needed {
    fn by_data(&mut self, graph: &Graph, user: &Address) {
        self.by_data.extend(needs_of(graph, user));
    }

    fn by_what_failed(&mut self, graph: &Graph, user: &Address) {
        self.by_what_failed.extend(needs_of(graph, user));
    }

    fn user_of(&self, address: &Address, is_made: bool) -> Option<&String> {
        let stays = self.by_what_failed.get(address);
        stays.or_else(|| self.by_data.get(address).filter(|_| is_made))
    }
}

fn needs_of(graph: &Graph, user: &Address) -> impl Iterator<Item = (Address, String)> {
    let needs = graph.resources_needed_by(user).into_iter();
    needs.map(|need| (need, user.name.clone()))
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
    let undoing = journal::Event::Undoing {
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
                Undone::PutBack => journal::Event::Undone {
                    address: of,
                    stays: None,
                },
                Undone::Stays(why) => journal::Event::Undone {
                    address: of,
                    stays: Some(why.clone()),
                },
                Undone::Lost(why) | Undone::Unseen(why) | Undone::Spoilt(why) => {
                    journal::Event::NotUndone {
                        address: of,
                        why: why.clone(),
                    }
                }
            };
            journal.write(entry).await?;
            Ok(undone)
        }
        Err(error) => {
            if error.kind() != ErrorKind::Ledger {
                let why = error.chain().join(": ");
                let address = address.clone();
                journal
                    .write(journal::Event::NotUndone { address, why })
                    .await?;
            }
            Err(error)
        }
    }
}

/// [`Node::undo`]; what this run made is looked for until the cloud shows it, or has had the time
/// to.
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
