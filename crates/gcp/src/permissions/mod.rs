//! What the caller must be allowed on Google Cloud: one row for each kind and step, with the
//! predefined roles that suffice, and the custom roles that are made of the rows.
//!
//! Sources: the pages "IAM permissions" and "roles and permissions" of each service
//! (<https://cloud.google.com/iam/docs/roles-permissions>), as of August 2026.

mod calls;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write;

use deployer_core::permissions::Feature;

pub use crate::access::{Access, On};
pub use calls::permissions_of;
pub use table::{NEEDS, ONLY};

/// What one kind or step needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The kind as addresses have it; of what has no address, a name.
    pub kind: &'static str,
    /// What it is, for people.
    pub noun: &'static str,
    /// What it takes.
    pub access: Access,
}

impl Need {
    /// The permissions that reading and changing take.
    pub fn permissions(&self) -> impl Iterator<Item = &'static str> {
        self.access.read.iter().chain(self.access.change).copied()
    }
}

/// A role that holds whatever another one holds.
const MORE: [(&str, &str); 1] = [("roles/run.admin", "roles/run.developer")];

/// The predefined roles that these features need, each once, on what they are granted.
pub fn roles(features: &[Feature]) -> BTreeSet<(On, &'static str)> {
    let needs = NEEDS
        .iter()
        .filter(|need| features.contains(&need.access.feature));
    let roles = needs.flat_map(|need| need.access.roles.iter().map(|role| (need.access.on, *role)));
    let mut roles: BTreeSet<_> = roles.collect();
    for (more, less) in MORE {
        if roles.contains(&(On::Project, more)) {
            roles.remove(&(On::Project, less));
        }
    }
    roles
}

/// The permissions that these features need on the project itself: those on an account, a bucket
/// and another project are granted there.
pub fn permissions(features: &[Feature]) -> BTreeSet<&'static str> {
    let needs = NEEDS
        .iter()
        .filter(|need| features.contains(&need.access.feature) && need.access.on == On::Project);
    needs.flat_map(Need::permissions).collect()
}

/// A custom role as `gcloud iam roles create --file` takes it.
pub fn custom_role(title: &str, permissions: &BTreeSet<&str>) -> String {
    let mut text = format!("title: {title}\nstage: GA\nincludedPermissions:\n");
    for permission in permissions {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "- {permission}");
    }
    text
}

#[cfg(test)]
mod tests;
