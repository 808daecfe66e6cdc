//! Records releases: what a target serves after a run, when it is not what the last release says.

use std::collections::BTreeMap;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{SecretVersion, migration_key};
use deployer_core::compose::DeclaredService;
use deployer_core::engine::Verdict;
use deployer_core::error::Result;
use deployer_core::ledger::{LedgerMigrations, Release};
use deployer_core::node::Action;
use deployer_core::plan::Change;
use serde::Serialize;

use crate::run::Journals;
use crate::session::{Place, Session};
use crate::system;
use crate::work::Work;

/// A release that this run recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    pub cloud: CloudName,
    pub release: Release,
}

/// Records a release for every declared service of every target that ended well.
///
/// A service of a target where anything failed gets none: what serves there is what served before.
pub async fn releases(
    session: &Session,
    work: &Work,
    verdicts: &BTreeMap<CloudName, Verdict>,
    journals: &Journals,
) -> Result<Vec<Recorded>> {
    let mut recorded = Vec::new();
    for place in &session.places {
        let cloud = place.name();
        let ended_well = verdicts.get(&cloud).is_some_and(Verdict::succeeded);
        if !ended_well || work.prepared.is_blocked(cloud) {
            continue;
        }
        let Some(declared) = work
            .declared
            .iter()
            .find(|declared| declared.cloud == cloud)
        else {
            continue;
        };
        for (key, service) in &declared.services {
            let detached = verdicts
                .get(&cloud)
                .is_some_and(|v| v.detached.contains(&service.outputs.service));
            let settles = work.prepared.plan.changes.iter().any(|change| {
                change.address == service.outputs.service && change.settling.is_some()
            });
            let unseen = settles
                && !verdicts
                    .get(&cloud)
                    .is_some_and(|v| v.done.contains(&service.outputs.service));
            let Some(release) = release(work, place, key, service, &journals.name(cloud)) else {
                continue;
            };
            let release = Release {
                detached: detached || unseen,
                at: session.clock.now(),
                ..release
            };
            if let Some(release) = record(place, release).await? {
                recorded.push(Recorded { cloud, release });
            }
            lift_hold(place, key, work).await?;
        }
    }
    Ok(recorded)
}

/// Notes that the databases are gone which were named by a secret that this run made and took back, where the versions of the
/// next secret of that name may be called what these were called.
pub async fn databases_undone(
    session: &Session,
    work: &Work,
    verdicts: &BTreeMap<CloudName, Verdict>,
) -> Result<()> {
    let changes = &work.prepared.plan.changes;
    for place in &session.places {
        let verdict = verdicts.get(&place.name());
        let Some(verdict) = verdict.filter(|_| place.cloud.secrets().counts_anew()) else {
            continue;
        };
        let gone = |address: &Address| {
            let made =
                |change: &Change| change.address == *address && change.action == Action::Create;
            verdict.undone.contains(address) && changes.iter().any(made)
        };
        let declared = work.declared.iter().filter(|it| it.cloud == place.name());
        for (key, service) in declared.flat_map(|declared| &declared.services) {
            let spec = place.env.services.get(key);
            let Some(migrate) = spec.and_then(|spec| spec.migrate.as_ref()) else {
                continue;
            };
            let database = migrate.database.as_ref();
            let Some(secret) = database.and_then(|name| service.secrets.get(name)) else {
                continue;
            };
            if let (true, Some(image)) = (gone(secret.address()), service.image.known()) {
                let key = migration_key(migrate, &image, secret.known().as_ref());
                let migrations = LedgerMigrations::new(place.ledger.clone());
                migrations.gone(&key).await?;
            }
        }
    }
    Ok(())
}

/// What is serving as a release; its number is set when it is recorded. `None` while an output is unknown.
fn release(
    work: &Work,
    place: &Place,
    key: &str,
    service: &DeclaredService,
    run: &str,
) -> Option<Release> {
    let spec = place.env.services.get(key)?;
    let image = service.image.known()?;
    let secrets: BTreeMap<String, SecretVersion> = service
        .secrets
        .iter()
        .filter_map(|(name, version)| Some((name.clone(), version.known()?)))
        .collect();
    let migration = spec.migrate.as_ref().map(|migrate| {
        let database = migrate.database.as_ref().and_then(|name| secrets.get(name));
        migration_key(migrate, &image, database)
    });
    Some(Release {
        number: 0,
        service: key.to_owned(),
        content_id: work.content_ids.get(key)?.clone(),
        image,
        tag: work.images.get(key).and_then(|image| image.tag.clone()),
        revision: service.outputs.revision.known()?,
        secrets,
        migration,
        spec: spec.clone(),
        at: jiff::Timestamp::UNIX_EPOCH,
        by: system::who(),
        run: run.to_owned(),
        rollback_to: None,
        detached: false,
        verified: None,
    })
}

/// Records a release under the next number, unless the last one says the same.
async fn record(place: &Place, release: Release) -> Result<Option<Release>> {
    let last = place.ledger.latest_release(&release.service).await?;
    let number = match last {
        Some(last) if says_the_same(&last, &release) => return Ok(None),
        Some(last) => last.number + 1,
        None => 1,
    };
    let release = Release { number, ..release };
    place.ledger.record_release(&release).await?;
    Ok(Some(release))
}

fn says_the_same(last: &Release, now: &Release) -> bool {
    last.revision == now.revision
        && last.content_id == now.content_id
        && last.image == now.image
        // `apply --only` does not see the secrets: what it pins stands in the revision.
        && (now.secrets.is_empty() || last.secrets == now.secrets)
        && (last.detached == now.detached || now.detached)
}

async fn lift_hold(place: &Place, service: &str, work: &Work) -> Result<()> {
    let held = work
        .held
        .iter()
        .any(|held| held.cloud == place.name() && held.service == service);
    if !held && place.ledger.hold(service).await?.is_some() {
        place.ledger.lift_hold(service).await?;
    }
    Ok(())
}
