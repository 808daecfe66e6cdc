//! Records releases: what a service serves from the moment it does, when that is not what the last
//! release says.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Revision, SecretVersion};
use deployer_core::compose::{DeclaredService, Part};
use deployer_core::engine::{Arrivals, Verdict};
use deployer_core::error::Result;
use deployer_core::history::{Current, History, Standing, same_revision};
use deployer_core::ledger::{Content, Release, RunHeader};
use deployer_core::node::{Action, Waiting};
use deployer_core::redeploy::Redeploy;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_manifest::Manifest;
use serde::Serialize;

use crate::pins;
use crate::run::Journals;
use crate::session::{Place, Session};
use crate::system;
use crate::unwritten::Unwritten;
use crate::work::Work;

/// A release that this run recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    pub cloud: CloudName,
    pub release: Release,
}

/// Records each service's release the moment its own node is there, whatever becomes of everything
/// else.
pub struct Recorder<'a> {
    session: &'a Session,
    work: &'a Work,
    journals: &'a Journals,
    recorded: Mutex<Vec<Recorded>>,
}

#[async_trait]
impl Arrivals for Recorder<'_> {
    async fn arrived(&self, address: &Address, waiting: Waiting) -> Result<()> {
        let places = self.session.places.iter();
        let mut places = places.filter(|place| place.name() == address.cloud);
        let (Some(place), Some((key, service))) = (places.next(), self.service_at(address)) else {
            return Ok(());
        };
        let detached = waiting == Waiting::Detached;
        self.record(place, key, service, detached).await
    }
}

impl<'a> Recorder<'a> {
    pub fn new(session: &'a Session, work: &'a Work, journals: &'a Journals) -> Self {
        Self {
            session,
            work,
            journals,
            recorded: Mutex::default(),
        }
    }

    /// The service that serves once this node is ready.
    fn service_at(&self, address: &Address) -> Option<(&'a str, &'a DeclaredService)> {
        let declared = self.work.declared.iter();
        let mut services = declared
            .filter(|it| it.cloud == address.cloud)
            .flat_map(|it| &it.services);
        let found = services.find(|(_, service)| service.outputs.service == *address);
        found.map(|(key, service)| (key.as_str(), service))
    }

    async fn record(
        &self,
        place: &Place,
        key: &str,
        service: &DeclaredService,
        detached: bool,
    ) -> Result<()> {
        let cloud = place.name();
        let Some(release) = release(self.work, place, key, service) else {
            return Ok(());
        };
        let release = Release {
            detached,
            at: self.session.clock.now(),
            run: self.journals.name(cloud),
            ..pins::pinning(place, release).await
        };
        let redeploys = self.work.redeploys.get(&cloud);
        let redeploy = redeploys.and_then(|it| it.get(key));
        let node = &service.outputs.service;
        let mut changes = self.work.prepared.plan.of(cloud);
        let rolled_out = changes.any(|it| it.address == *node && it.action != Action::NoOp);
        let means = (self.session, self.work);
        let how = How {
            redeploy,
            rolled_out,
        };
        if let Some(release) = record(means, place, release, how).await? {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.push(Recorded { cloud, release });
        }
        Ok(())
    }

    /// After a run: records the services that it left as they are, and those that an undo put back;
    /// lifts the holds on what is not held any more. Each target for itself.
    pub async fn conclude(
        self,
        verdicts: &BTreeMap<CloudName, Verdict>,
        unwritten: &mut Unwritten,
    ) -> Vec<Recorded> {
        for place in &self.session.places {
            let cloud = place.name();
            if let Some(verdict) = verdicts.get(&cloud)
                && !self.work.prepared.is_blocked(cloud)
            {
                let written = self.conclude_on(place, verdict).await;
                unwritten.keep(cloud, written);
            }
        }
        self.recorded
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn conclude_on(&self, place: &Place, verdict: &Verdict) -> Result<()> {
        let cloud = place.name();
        let declared = self.work.declared.iter().filter(|it| it.cloud == cloud);
        for (key, service) in declared.flat_map(|it| &it.services) {
            let node = &service.outputs.service;
            if verdict.undone.contains(node) {
                self.put_back(place, key).await?;
                continue;
            }
            let failed = verdict.failed.iter().any(|failed| failed.address == *node);
            let attention = verdict.attention.iter().any(|(address, _)| address == node);
            if failed || attention || verdict.held.contains(node) {
                continue;
            }
            if !verdict.done.contains(node) && !verdict.detached.contains(node) {
                let change = self
                    .work
                    .prepared
                    .plan
                    .of(cloud)
                    .find(|it| it.address == *node);
                let Some(change) = change.filter(|it| it.action == Action::NoOp) else {
                    continue;
                };
                let unseen = change.settling.is_some();
                self.record(place, key, service, unseen).await?;
            }
            if !self.work.is_held(cloud, key) {
                place.ledger.lift_holds(key).await?;
            }
        }
        Ok(())
    }

    /// Where this run recorded a release that an undo took back: records what serves again.
    async fn put_back(&self, place: &Place, key: &str) -> Result<()> {
        let run = self.journals.name(place.name());
        let last = place.ledger.latest_release(key).await?;
        if last.is_none_or(|last| last.run != run) {
            return Ok(());
        }
        if let Some(release) = serves_again(self.session, place, key, &run).await? {
            place.ledger.record_release(&release).await?;
        }
        Ok(())
    }
}

/// What serves as a release, where an earlier one does again and the ledger does not say so. `None`
/// where it is right, or nothing is known.
async fn serves_again(
    session: &Session,
    place: &Place,
    key: &str,
    run: &str,
) -> Result<Option<Release>> {
    let Some(spec) = place.env.services.get(key) else {
        return Ok(None);
    };
    let serving = place.serving(spec).await?;
    let releases = place.ledger.releases(key).await?;
    let follows = pins::follows(place);
    let history = History::new(&releases, &follows);
    Ok(match history.standing(&Current::of(serving.as_ref())) {
        Standing::Earlier(earlier) => Some(again(session, &history, earlier, run)),
        Standing::Last(_) | Standing::Nothing | Standing::Unrecorded(_) | Standing::Several(_) => {
            None
        }
    })
}

/// An earlier release that serves again without a rollback, as a release of its own.
pub fn again(session: &Session, history: &History<'_>, earlier: &Release, run: &str) -> Release {
    Release {
        number: history.next_number(),
        at: session.clock.now(),
        by: system::who(),
        run: run.to_owned(),
        rollback_to: Some(history.origin(earlier).number),
        rejects: None,
        put_back: true,
        redeployed: false,
        kept: Vec::new(),
        detached: false,
        ..earlier.clone()
    }
}

/// A revision that serves and that no release has, as a release: as far as the cloud and the last
/// apply of its image tell, which may be of another manifest than today's; where none says of which
/// it was, the last apply. Its number is set when it is recorded.
pub async fn unrecorded(
    session: &Session,
    place: &Place,
    key: &str,
    revision: &Revision,
    image: Option<&deployer_core::capability::ImageRef>,
) -> Result<Option<Release>> {
    let Some(image) = image else {
        return Ok(None);
    };
    let digest = image.0.rsplit('@').next().unwrap_or_default();
    let (last, of_image) = place.ledger.applies_of(key, digest).await?;
    let content = of_image.as_ref().and_then(|it| it.contents.get(key));
    let then = of_image.as_ref().or(last.as_ref());
    let then = then.and_then(|it| asked_for(it, place, &session.loaded.environment));
    let (manifest, env) = match &then {
        Some((manifest, env)) => (manifest, env),
        None => (&session.loaded.manifest, &place.env),
    };
    let Some((key_then, spec)) = spec_then(place, (manifest, env), key) else {
        return Ok(None);
    };
    let pinned = place.cloud.services().pinned(&spec.name, revision).await?;
    let used = spec.secrets.iter();
    let secrets = used
        .filter_map(|(variable, used)| Some((used.secret.clone(), pinned.get(variable)?.clone())));
    let content = match content {
        Some(content) => content.clone(),
        None => Content {
            digest: digest.to_owned(),
            tag: None,
            content_id: match manifest.content_id(key_then, digest) {
                Some(content_id) => content_id,
                None => return Ok(None),
            },
            overrides: manifest.overrides_id(place.name(), key_then),
        },
    };
    Ok(Some(Release {
        number: 0,
        service: key.to_owned(),
        content_id: content.content_id,
        overrides: content.overrides,
        image: image.clone(),
        tag: content.tag,
        revision: revision.clone(),
        secrets: secrets.collect(),
        migration: None,
        spec,
        at: session.clock.now(),
        by: system::who(),
        run: String::new(),
        rollback_to: None,
        rejects: None,
        put_back: false,
        redeployed: false,
        kept: Vec::new(),
        detached: false,
        verified: None,
    }))
}

/// What an apply was asked for, with what that is on this target. `None` where this version cannot
/// read it any more.
pub fn asked_for(
    header: &RunHeader,
    place: &Place,
    environment: &str,
) -> Option<(Manifest, EnvironmentSpec)> {
    let manifest = serde_json::from_value::<Manifest>(header.manifest.clone()).ok()?;
    let env = manifest.environment_spec(place.name(), environment).ok()?;
    Some((manifest, env))
}

/// What a manifest of then says of the service that has this key today, which it may have called
/// otherwise: its key then, and its specification in the words of today. `None` where it has none.
pub fn spec_then<'a>(
    place: &Place,
    (manifest, env): (&'a Manifest, &EnvironmentSpec),
    key: &str,
) -> Option<(&'a str, ServiceSpec)> {
    let renames = place.ledger.renames();
    let key_then = manifest.service_was(renames.service(key))?;
    let spec = env.services.get(key_then)?.clone();
    let spec = renames.exchanged(manifest.renames().exchanged(spec));
    Some((key_then, spec))
}

/// What is serving as a release; its number is set when it is recorded. `None` while an output is
/// unknown.
fn release(work: &Work, place: &Place, key: &str, service: &DeclaredService) -> Option<Release> {
    let spec = place.env.services.get(key)?;
    let secrets: BTreeMap<String, SecretVersion> = service
        .secrets
        .iter()
        .filter_map(|(name, version)| Some((name.clone(), version.known()?)))
        .collect();
    let migration = service.outputs.migration.as_ref();
    Some(Release {
        number: 0,
        service: key.to_owned(),
        content_id: work.content_ids.get(key)?.clone(),
        overrides: work.overrides.get(&(place.name(), key.to_owned())).cloned(),
        image: service.image.known()?,
        tag: work.images.get(key).and_then(|image| image.tag.clone()),
        revision: service.outputs.revision.known()?,
        secrets,
        migration: migration.and_then(|key| key.known()),
        spec: spec.clone(),
        at: jiff::Timestamp::UNIX_EPOCH,
        by: system::who(),
        run: String::new(),
        rollback_to: None,
        rejects: None,
        put_back: false,
        redeployed: false,
        kept: Vec::new(),
        detached: false,
        verified: None,
    })
}

/// What a run does to a service whose release it is.
struct How<'a> {
    /// The new roll-out of it that a person asked for.
    redeploy: Option<&'a Redeploy>,
    /// Whether this run changes it: else an earlier one's roll-out is waited for, if any is.
    rolled_out: bool,
}

/// Records a release under the number that it has on every target, unless the last one says the
/// same; that it was rolled out anew is recorded once. The one of a run that did not wait for it is
/// the same once it serves, and only that is noted.
async fn record(
    (session, work): (&Session, &Work),
    place: &Place,
    release: Release,
    how: How<'_>,
) -> Result<Option<Release>> {
    let last = place.ledger.latest_release(&release.service).await?;
    let redeploy = how.redeploy;
    let unrecorded = |last: &Release| redeploy.is_some_and(|it| last.number <= it.release);
    let redeployed = match &last {
        Some(last) if unrecorded(last) => serves_the_same(last, &release),
        Some(last) if !is_another(last, &release, &work.part) => {
            let arrives = last.detached && !release.detached;
            match (arrives, how.rolled_out) {
                (false, _) => return Ok(None),
                (true, false) => {
                    place.ledger.note_seen(last).await?;
                    let detached = false;
                    return Ok(Some(Release {
                        detached,
                        ..last.clone()
                    }));
                }
                (true, true) => false,
            }
        }
        Some(_) | None => false,
    };
    let subject = (place.name(), release.service.as_str());
    let own = last.map(|last| last.number);
    let number = work
        .numbers
        .next(session, &work.planned(), subject, own)
        .await;
    let release = Release {
        number,
        redeployed,
        ..release
    };
    place.ledger.record_release(&release).await?;
    Ok(Some(release))
}

/// Whether what serves is another release than the last one. A run of code alone makes nothing of
/// what else the manifest says: there it is only where another revision serves.
fn is_another(last: &Release, now: &Release, part: &Part) -> bool {
    let same = match part {
        Part::All => serves_the_same(last, now),
        Part::CodeOf(_) => last.image == now.image,
    };
    !same || !same_revision(&last.revision, &now.revision)
}

/// Whether two releases are of one content, whatever their revisions are called.
fn serves_the_same(last: &Release, now: &Release) -> bool {
    last.content_id == now.content_id
        // Releases of before say nothing of it.
        && (last.overrides.is_none() || last.overrides == now.overrides)
        && last.image == now.image
        // What a release pins stands in its revision: one of before may not say it.
        && (now.secrets.is_empty() || last.secrets.is_empty() || last.secrets == now.secrets)
}
