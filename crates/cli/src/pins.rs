//! Which versions of its secrets a release pins, and which a rollback leaves as they are.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::capability::SecretVersion;
use deployer_core::ledger::Release;
use deployer_core::spec::OnRollback;

use crate::session::Place;

/// The same with what its revision pins, by the manifest's names: a release of `apply --only` does
/// not see them.
pub fn with_pins(release: Release, pinned: &BTreeMap<String, SecretVersion>) -> Release {
    let mut secrets = release.secrets.clone();
    for (variable, used) in &release.spec.secrets {
        if let Some(version) = pinned.get(variable) {
            secrets
                .entry(used.secret.clone())
                .or_insert_with(|| version.clone());
        }
    }
    Release { secrets, ..release }
}

/// Whether a release says which versions of its secrets it pins.
pub fn has_pins(release: &Release) -> bool {
    !release.secrets.is_empty() || release.spec.secrets.is_empty()
}

/// The same with what its revision pins, where it does not say so and the cloud still tells.
pub async fn pinning(place: &Place, release: Release) -> Release {
    if has_pins(&release) {
        return release;
    }
    let runtime = place.cloud.services();
    match runtime.pinned(&release.spec.name, &release.revision).await {
        Ok(pinned) => with_pins(release, &pinned),
        Err(_) => release,
    }
}

/// Says of a secret, by the manifest's name, whether a rollback leaves it at its current version.
/// One that the manifest no longer has is restored.
pub fn follows(place: &Place) -> impl Fn(&str) -> bool + use<> {
    let follow: BTreeSet<String> = place
        .env
        .secrets
        .iter()
        .filter(|(_, secret)| secret.on_rollback == OnRollback::Follow)
        .map(|(key, _)| key.clone())
        .collect();
    move |key| follow.contains(key)
}
