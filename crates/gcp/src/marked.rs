//! Finds what carries an owner's label, by the lists of each API: there is no list of everything
//! that is as new as these.
//!
//! Cloud Asset Inventory would be one, and is another API to switch on, with roles of its own. The
//! lists of Cloud Run, Memorystore and Artifact Registry take no filter by labels, those of Secret
//! Manager and Cloud SQL do; labels are compared here in any case. What carries no label is within
//! something that does, and goes with it: who may call a service, the databases and users of an
//! instance, who may read a secret.

use deployer_core::address::Address;
use deployer_core::capability::Marked;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::names::{OWNER_TAG, owner_label};
use deployer_core::ours::Owner;

use crate::error::{self, CloudError};
use crate::hints;
use crate::kinds;
use crate::labels::Labelled;
use crate::paths::short;
use crate::project::Project;
use crate::site::Unnamed;

/// Everything of the region, and every secret of the project, that carries the label of `owner`:
/// of each kind of the table what its list tells.
pub(crate) async fn find(project: &Project, owner: &Owner) -> Marked {
    let label = owner_label(&owner.app, &owner.environment);
    let label = label.as_str();
    let lists = kinds::ALL.iter().filter_map(|it| match it.facts.unnamed {
        Unnamed::Listed { what, list } => Some(async move {
            let read = list(project, label).await;
            sorted(project, label, (it.kind, what), read)
        }),
        Unnamed::With(what) => {
            tracing::trace!(kind = it.kind, with = what, "no list tells of it");
            None
        }
    });
    let mut marked = Marked::default();
    for part in futures::future::join_all(lists).await {
        marked.extend(part);
    }
    marked
}

/// What of a list carries the label.
fn sorted(project: &Project, label: &str, (kind, what): (&str, &str), read: Labelled) -> Marked {
    let mut marked = Marked::default();
    for (name, labels) in read.named {
        if labels.get(OWNER_TAG).is_some_and(|it| it == label) {
            let address = Address::new(&project.target, kind, short(&name));
            marked.found.insert(address);
        }
    }
    if let Some(error) = read.ended {
        marked.extend(unlisted(project, what, error));
    }
    if let Some(warning) = read.missing {
        let error = Error::new(ErrorKind::Unavailable, warning);
        marked.extend(Marked::unlisted(what, error));
    }
    marked
}

/// What a list that failed leaves unknown: nothing, where the API is off in the project and so has
/// nothing. Off in another one, which the calls count against, it says nothing of this one.
fn unlisted(project: &Project, what: &str, error: CloudError) -> Marked {
    let off_in = error::off_in(&error).map(str::to_owned);
    if off_in.as_ref().is_some_and(|it| project.names.is_ours(it)) {
        return Marked::default();
    }
    // The note of what could not be listed has an error's words and not its hint.
    let action = match off_in {
        Some(_) => {
            let count_here = hints::count_here(&project.names.project);
            format!("cannot list {what}, since {count_here}")
        }
        None => format!("cannot list {what}"),
    };
    let failed = error::failed(error, &action);
    Marked::unlisted(what, failed)
}
