//! Which of a plan's fields are causes, and what the clouds' kinds are called; pure.

use deployer_core::address::{Address, CloudName};
use deployer_core::fields::{FieldChange, FieldValue};
use deployer_core::kind::{Meaning, Role, Telling};
use deployer_core::migration::NOT_AGAIN;
use deployer_core::node::Action;
use deployer_core::plan::{Change, Plan};
use deployer_manifest::catalogue;

use crate::facts::{Fact, How};

/// What a kind calls itself, which is what every message about it says too.
pub fn word(address: &Address) -> &str {
    noun(&address.kind).unwrap_or(&address.kind)
}

/// What a kind calls itself. `None` for one that this version does not know.
fn noun(kind: &str) -> Option<&'static str> {
    // A name of one cloud's target may be in the other's DNS.
    let mut clouds = CloudName::ALL.into_iter();
    clouds.find_map(|cloud| (catalogue(cloud).kinds.noun)(kind))
}

/// Whether it is a migration that failed and that an apply does not run again.
pub fn is_refused(change: &Change) -> bool {
    change.action != Action::NoOp
        && is_migration(&change.address)
        && change.reason.contains(NOT_AGAIN)
}

/// What is left of a thing that is deleted, as a phrase. `None` where nothing is.
pub fn leaves(address: &Address) -> Option<String> {
    let words = catalogue(address.cloud).kinds.leaves(&address.kind)?;
    Some(words.replace("NAME", &address.name))
}

/// The same once it was deleted with this token, by the whole name of what is left.
pub fn left(address: &Address, token: &str) -> Option<String> {
    (catalogue(address.cloud).kinds.left)(&address.kind, &address.name, token)
}

/// Of which part of the manifest a node is, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Service,
    Database,
    Cache,
    Secret,
    /// What several services share.
    Shared,
}

/// What the kind of a node says to who reads a plan. `None` for one that this version does not
/// know, and for the program's own steps.
fn told(address: &Address) -> Option<&'static Telling> {
    // A record on Route 53 may be of a target of Google's.
    let mut clouds = CloudName::ALL.into_iter();
    clouds.find_map(|cloud| catalogue(cloud).kinds.told(&address.kind))
}

/// What changes of a node's fields mean.
pub fn means(address: &Address) -> Meaning {
    told(address).map_or(Meaning::PLAIN, |it| it.means)
}

/// What a node is to who reads a plan, as its kind says. What this version does not know, and the
/// program's own steps, stand beside their service.
pub fn role(address: &Address) -> Role {
    told(address).map_or(Role::BesideService, |it| it.role)
}

/// What the group of a shared node is called.
pub fn shared(address: &Address) -> &'static str {
    match role(address) {
        Role::Registry => "registry",
        _ => "shared",
    }
}

/// The family of a node.
pub fn family(address: &Address) -> Family {
    match role(address) {
        Role::Service | Role::Revision | Role::BesideService | Role::Image | Role::Migration => {
            Family::Service
        }
        Role::Database | Role::BesideDatabase => Family::Database,
        Role::Cache | Role::BesideCache => Family::Cache,
        Role::Secret => Family::Secret,
        Role::Registry | Role::Shared => Family::Shared,
    }
}

/// Whether a node is what the service itself is: what serves.
pub fn is_service(address: &Address) -> bool {
    role(address) == Role::Service
}

/// Whether a node copies a service's image.
pub fn is_image(address: &Address) -> bool {
    role(address) == Role::Image
}

/// Whether a node migrates a service's database.
pub fn is_migration(address: &Address) -> bool {
    role(address) == Role::Migration
}

/// Whether a node is the database or cache itself.
pub fn is_store(address: &Address) -> bool {
    role(address).is_store()
}

/// What a plan takes that cannot be had back, the worst first: databases, caches, secrets, then
/// everything else.
pub fn losses(plan: &Plan) -> Vec<&Change> {
    let weight = |change: &&Change| match role(&change.address) {
        Role::Database => 0,
        Role::Cache => 1,
        Role::Secret => 2,
        _ => 3,
    };
    let mut all: Vec<&Change> = plan.losses().collect();
    all.sort_by_key(weight);
    all
}

/// Whether it counts how long a node takes: of everything else a few seconds are known.
pub fn counts_in_time(address: &Address) -> bool {
    is_service(address) || is_store(address) || is_migration(address)
}

/// Whether this change of a service's node makes another revision serve, or one again.
pub fn rolls_out(change: &Change) -> bool {
    if !is_service(&change.address) {
        return false;
    }
    match change.action {
        Action::Create | Action::Replace => true,
        Action::Update => {
            let rolls_out = means(&change.address).rolls_out;
            change.changes.iter().any(|it| rolls_out(&it.field))
        }
        Action::NoOp | Action::Delete | Action::Release => false,
    }
}

/// Whether a field only follows from a cause that stands elsewhere.
pub fn is_a_consequence(address: &Address, field: &str) -> bool {
    role(address).is_step() || (means(address).follows)(field)
}

/// Whether a field is of what a release says: the release that serves is the better witness of it.
pub fn is_of_a_release(address: &Address, field: &str) -> bool {
    let beginnings = ["env.", "secret.", "secrets.", "secret_versions.", "health."];
    let whole = [
        "image",
        "cpu",
        "memory",
        "port",
        "command",
        "entrypoint",
        "entry point",
        "program",
        "traffic",
    ];
    let is_made_of_it = match role(address) {
        Role::Revision => true,
        Role::Service => (means(address).rolls_out)(field),
        _ => false,
    };
    is_made_of_it && (whole.contains(&field) || beginnings.iter().any(|it| field.starts_with(it)))
}

/// Whether a field is how many instances there are: `replicas`, in the manifest's words.
pub fn is_a_count(address: &Address, field: &str) -> bool {
    means(address).counts.contains(&field)
}

/// A field of a change in the words of the manifest. `None` for what only follows.
pub fn fact(address: &Address, change: &FieldChange) -> Option<Fact> {
    let field = change.field.as_str();
    if is_a_consequence(address, field) {
        return None;
    }
    // The variable itself says that it comes, or goes.
    let comes_or_goes = change.old.is_none() || change.new.is_none();
    if field.starts_with("secret_versions.") && comes_or_goes {
        return None;
    }
    let secret = ["secrets.", "secret.", "secret_versions."]
        .iter()
        .find_map(|it| field.strip_prefix(it));
    if let Some(variable) = secret {
        let how = match (&change.old, &change.new) {
            (Some(_), Some(_)) => "new value",
            (None, _) => "from a secret",
            (_, None) => "unset",
        };
        return Some(Fact {
            what: variable.to_owned(),
            how: How::Words(how.to_owned()),
        });
    }
    let what = match field.strip_prefix("env.") {
        Some(variable) => variable.to_owned(),
        None if means(address).counts == [field] => "replicas".to_owned(),
        None if is_service(address) || is_store(address) => field.to_owned(),
        None if told(address).is_some_and(|it| it.recorded) => field.to_owned(),
        None => format!("{} {field}", word(address)),
    };
    Some(Fact {
        what,
        how: How::Values(text(change.old.as_ref()), text(change.new.as_ref())),
    })
}

fn text(value: Option<&FieldValue>) -> Option<String> {
    match value? {
        FieldValue::Known(text) => Some(text.clone()),
        later @ FieldValue::AfterApply { .. } => Some(later.to_string()),
    }
}
