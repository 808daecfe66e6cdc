//! Prepares what plan, apply and migrate carry out: images, secrets, holds, the graph of every
//! target, the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{
    Birth, LocalImage, MigrationRecord, Rerun, SecretContent, Unlisted,
};
use deployer_core::compose::{self, Declared, Given, Part};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::ledger::{Content, Inventory, LedgerMigrations};
use deployer_core::node::Action;
use deployer_core::ours::Ours;
use deployer_core::plan::{self, Orphan, Prepared, Subject};
use deployer_core::spec::{EnvironmentSpec, SecretSource, ServiceSpec};
use secrecy::SecretString;

use crate::again::Again;
use crate::facts::ImageName;
use crate::failure::{Attempt, Tried};
use crate::gate::Gates;
use crate::held::{self, Contents, HeldService, Overrides};
use crate::image;
use crate::inventory;
use crate::kept;
use crate::lost;
use crate::numbers::{Numbers, Planned};
use crate::plan_file::Sources;
use crate::redeploys::{self, Asked, Redeploys};
use crate::renamed;
use crate::run::Aim;
use crate::secret;
use crate::session::{Locks, Place, Session, key_bits};
use crate::stopped;
use crate::system::Stop;

/// What is asked for beside the manifest.
#[derive(Clone)]
pub struct Wish {
    pub part: Part,
    pub release_hold: bool,
    pub rerun: Rerun,
    /// New roll-outs of what serves.
    pub redeploy: Asked,
    /// Who asks candidates before they get traffic. `None` where none are held back: nobody waits
    /// for a roll-out, or its verification is not wanted.
    pub gates: Option<Gates>,
}

/// A plan with everything that carrying it out and recording it needs.
pub struct Work {
    pub prepared: Prepared,
    /// Which part of the environment was declared.
    pub part: Part,
    pub declared: Vec<Declared>,
    pub images: BTreeMap<String, image::Found>,
    pub content_ids: BTreeMap<String, String>,
    /// What of it is a target's own, by target and service.
    pub overrides: Overrides,
    pub held: Vec<HeldService>,
    /// The new roll-outs of what serves, whether or not they are still to be made.
    pub redeploys: Redeploys,
    /// Which numbers its releases have.
    pub numbers: Numbers,
    /// What this machine gives the secrets to hold, by `cloud/secret`. In memory only.
    given: BTreeMap<String, SecretString>,
}

impl Work {
    /// What a run that carries it out is to make serve on a target.
    pub fn aim(&self, cloud: CloudName) -> Aim {
        Aim {
            contents: self.contents(cloud),
            redeploys: self.redeploys.get(&cloud).cloned().unwrap_or_default(),
            plan: None,
        }
    }

    /// What is to serve on a target, by the services' names; what is held is not.
    pub fn contents(&self, cloud: CloudName) -> BTreeMap<String, Content> {
        let declared = self.declared.iter().filter(|it| it.cloud == cloud);
        let services = declared.flat_map(|it| it.services.keys());
        let contents = services.filter_map(|key| {
            let image = self.images.get(key)?;
            let content = Content {
                digest: image.digest.clone(),
                tag: image.tag.clone(),
                content_id: self.content_ids.get(key)?.clone(),
                overrides: self.overrides.get(&(cloud, key.clone())).cloned(),
            };
            Some((key.clone(), content))
        });
        contents.collect()
    }

    /// Whether a service is not there yet. What its earlier releases were made of, before a
    /// `destroy`, is gone: none of them can serve again.
    pub fn creates(&self, cloud: CloudName, service: &str) -> bool {
        let mut declared = self.declared.iter().filter(|it| it.cloud == cloud);
        let service = declared.find_map(|it| it.services.get(service));
        let mut changes = self.prepared.plan.of(cloud);
        service.is_some_and(|service| {
            changes.any(|it| it.address == service.outputs.service && it.action == Action::Create)
        })
    }

    /// What numbers are counted by.
    pub fn planned(&self) -> Planned<'_> {
        Planned {
            declared: &self.declared,
            plan: &self.prepared.plan,
            content_ids: &self.content_ids,
        }
    }

    /// Whether an apply would do anything.
    pub fn has_changes(&self) -> bool {
        !self.prepared.plan.is_empty() || self.unfinished().next().is_some()
    }

    /// What it was made from beside the clouds.
    pub fn sources(&self) -> Sources {
        let images = self.images.iter();
        Sources {
            images: images
                .map(|(key, image)| (key.clone(), image.digest.clone()))
                .collect(),
            values: self.given.clone(),
        }
    }

    /// Whether a service is left alone on a target.
    pub fn is_held(&self, cloud: CloudName, service: &str) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.cloud == cloud && held.service == service)
    }

    /// For the report of a run that carries it out.
    pub fn attempt(&self, session: &Session, again: &Again) -> Attempt<'_> {
        let declared = self.declared.iter();
        let services = declared.flat_map(|target| {
            let services = target.services.iter();
            services.map(|(key, service)| {
                let tried = Tried {
                    nodes: service.nodes.clone(),
                    release: None,
                    again: again.clone(),
                    version: self.version(session, target.cloud, key),
                };
                ((target.cloud, key.as_str()), tried)
            })
        });
        services.collect()
    }

    /// What is to serve of one service on one target.
    fn version(
        &self,
        session: &Session,
        cloud: CloudName,
        key: &str,
    ) -> Option<(ServiceSpec, ImageName)> {
        let mut places = session.places.iter();
        let place = places.find(|place| place.name() == cloud)?;
        let image = self.images.get(key)?;
        let image = ImageName {
            tag: image.tag.clone(),
            digest: image.digest.clone(),
        };
        Some((place.env.services.get(key)?.clone(), image))
    }

    /// The services whose rollback was killed: the next apply finishes it.
    pub fn unfinished(&self) -> impl Iterator<Item = &HeldService> {
        let held = self.held.iter();
        held.filter(|held| held.hold.unfinished.is_some())
    }
}

/// Takes the locks that carrying out `wish` needs: beside those of the targets that are worked on,
/// where a key pair is to be made, those of every target that shares it.
///
/// Errors: those of [`Session::lock`] and of looking for the pairs.
pub async fn lock(session: &mut Session, command: &str, wish: &Wish, stop: &Stop) -> Result<Locks> {
    let shared = session.loaded.manifest.targets().len() > 1;
    let keys = !session.loaded.manifest.keys.is_empty() && wish.part == Part::All;
    let bits = key_bits(&session.loaded);
    // What cannot be read is told while planning.
    let whole = !(shared && keys)
        || secret::has_every_pair(&views(&session.places), &bits)
            .await
            .unwrap_or(false);
    if whole {
        return session.lock(command, stop).await;
    }
    // Whoever cannot be asked keeps a pair from being made: that is told while planning.
    let (others, _) = session.others().await;
    session.lock_with(command, stop, &others).await
}

/// Reads everything and plans. Writes nothing.
pub async fn prepare(session: &Session, wish: &Wish) -> Result<Work> {
    if let Part::CodeOf(services) = &wish.part {
        for service in services {
            session.services(Some(service))?;
        }
    }
    let (images, untagged) = open_images(session, &wish.part).await?;
    let content_ids: BTreeMap<String, String> = images
        .iter()
        .filter_map(|(key, image)| {
            let content_id = session.loaded.manifest.content_id(key, &image.digest)?;
            Some((key.clone(), content_id))
        })
        .collect();
    let overrides = overrides(session, &content_ids);
    let (contents, mut notes) = contents(session, wish).await?;
    let held = match wish.release_hold {
        true => Vec::new(),
        false => held::find(session, (&content_ids, &overrides), &contents).await?,
    };
    for held in &held {
        notes.push(held::note(session, held).await);
    }
    let manifest = &session.loaded.manifest;
    notes.extend(renamed::notes(manifest));
    notes.extend(untagged);
    let redeploys = redeploys::find(session, &wish.redeploy, &wish.part, &held).await?;
    let mut known = Vec::new();
    for place in &session.places {
        let of_place = inventory::known(place).await?;
        notes.extend(
            renamed::doubts(
                manifest,
                (&place.env, &place.ledger),
                place.name(),
                &of_place.inventory,
            )
            .await,
        );
        known.push(of_place);
    }
    let mut ours = Ours::default();
    for known in &known {
        ours.learn(&known.inventory, &known.left);
    }
    let mut graph = Graph::knowing(ours);
    let mut orphans = Vec::new();
    let mut lost: BTreeMap<CloudName, Vec<Unlisted>> = BTreeMap::new();
    let (mut declared, mut listed) = (Vec::new(), BTreeSet::new());
    for (place, known) in session.places.iter().zip(&mut known) {
        let (env, images) = on_place(place, &images)?;
        let mut given = given(place, wish, images, &contents, &held);
        given.redeploys = redeploys.get(&place.name()).cloned().unwrap_or_default();
        if let Some(gates) = &wish.gates {
            given.gates = gates.of_place(place, &session.clock);
        }
        if let Part::CodeOf(services) = &wish.part {
            for service in services {
                given.births.extend(births(place, service).await?);
                if let Some(spec) = env.services.get(service)
                    && !place.cloud.services().revisions_pin_secrets(&spec.name)
                {
                    let releases = place.ledger.releases(service).await?;
                    given.releases.insert(service.clone(), releases);
                }
            }
        }
        let first = graph.len();
        let of_place = compose::declare(&mut graph, place.cloud.as_ref(), &env, &given);
        let addresses = graph.iter().skip(first).map(|it| it.1.node.address());
        let adopted = addresses.filter(|it| lost::is_adopted(&env, &of_place, it));
        let adopted: Vec<Address> = adopted.cloned().collect();
        graph.adopt(adopted);
        declared.push(of_place);
        if wish.part == Part::All {
            let mut pinned = kept::pinned_meanwhile(place, &held).await?;
            let rollbacks =
                kept::by_rollbacks(place, &known.inventory, &graph, (&content_ids, &overrides));
            for kept in rollbacks.await? {
                notes.push(kept::note(place.name(), &kept));
                pinned.extend(kept.secrets);
            }
            let undesired = inventory::orphans_of(place, known, &graph, &given, &pinned).await?;
            if !known.inventory.whole {
                let none = Inventory::default();
                let mut found = lost::find_marked(place, &graph, &undesired, &none).await?;
                let kept = kept::for_one_offs(place);
                let stays = |orphan: &Orphan| !kept.contains(orphan.node.address());
                found.orphans.retain(stays);
                if found.unlisted.is_empty() {
                    listed.insert(place.name());
                }
                match lost::note_found(place, &found.orphans) {
                    Some(note) => {
                        notes.push(note);
                        lost.insert(place.name(), found.unlisted);
                    }
                    None => notes.extend(lost::note_unlisted(place.name(), &found.unlisted)),
                }
                orphans.extend(found.orphans);
            }
            orphans.extend(undesired);
        }
        tracing::debug!(cloud = %place.name(), nodes = graph.len() - first, "declared");
    }
    let lefts = known
        .iter_mut()
        .map(|known| std::mem::take(&mut known.left));
    let left = lefts.flatten().collect();
    let subject = subject(session, notes, left);
    let mut prepared = plan::prepare(subject, graph, orphans).await;
    prepared.listed = listed;
    for (place, known) in session.places.iter().zip(&known) {
        let unlisted = match lost.remove(&place.name()) {
            Some(unlisted) => unlisted,
            None if lost::serves_unknown(place, &known.inventory, &prepared, &declared) => {
                Vec::new()
            }
            None => continue,
        };
        let note = lost::note_lost(place, &known.inventory, &unlisted);
        prepared.plan.notes.push(note);
    }
    Ok(Work {
        prepared,
        part: wish.part.clone(),
        declared,
        images,
        content_ids,
        overrides,
        held,
        redeploys,
        numbers: Numbers::default(),
        given: given_here(session, &contents),
    })
}

/// What variables and files of this machine give the secrets to hold, by `cloud/secret`: neither
/// what is made anew on every run, nor what the cloud keeps.
fn given_here(session: &Session, contents: &Contents) -> BTreeMap<String, SecretString> {
    let mut given = BTreeMap::new();
    for place in &session.places {
        let cloud = place.name();
        for (key, content) in contents.get(&cloud).into_iter().flatten() {
            let source = place.env.secrets.get(key).map(|secret| &secret.source);
            let here = matches!(source, Some(SecretSource::Env(_) | SecretSource::File(_)));
            if let (SecretContent::Exactly(value), true) = (content, here) {
                given.insert(format!("{cloud}/{key}"), value.clone());
            }
        }
    }
    given
}

/// Which databases those of a service are now: a code deployment does not declare them.
///
/// Errors: not found, of one that is not there: what it would be migrated as is not known.
async fn births(place: &Place, service: &str) -> Result<BTreeMap<String, Birth>> {
    let service = place.env.services.get(service);
    let used: BTreeSet<&str> = service.into_iter().flat_map(compose::secrets_of).collect();
    let databases = place.env.databases.iter();
    let databases = databases.filter(|(_, database)| used.contains(database.url.as_str()));
    let births = databases.map(|(key, database)| async move {
        let birth = place.cloud.databases().birth(database).await?;
        let birth = birth.ok_or_else(|| {
            let message = format!("database `{key}` is not there on {}", place.name());
            Error::new(ErrorKind::NotFound, message).hint("`deployer apply` makes it")
        })?;
        Ok::<_, Error>((database.url.clone(), birth))
    });
    let births = futures::future::try_join_all(births).await?;
    Ok(births.into_iter().collect())
}

fn overrides(session: &Session, content_ids: &BTreeMap<String, String>) -> Overrides {
    let services = session.places.iter().flat_map(|place| {
        let keys = content_ids.keys();
        keys.map(|key| (place.name(), key.clone()))
    });
    let manifest = &session.loaded.manifest;
    services
        .filter_map(|(cloud, key)| {
            let id = manifest.overrides_id(cloud, &key)?;
            Some(((cloud, key), id))
        })
        .collect()
}

/// A plan that deletes everything in the inventories and everything that carries our mark; where a
/// target's ledger was lost, what the manifest names there too. Returns the targets without a whole
/// inventory of which not all could be listed.
pub async fn prepare_destroy(session: &Session) -> Result<(Prepared, BTreeSet<CloudName>)> {
    let (mut orphans, mut notes) = (Vec::new(), Vec::new());
    let (mut listed, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for place in &session.places {
        let mut known = inventory::known(place).await?;
        LedgerMigrations::new(place.ledger.clone())
            .standings()
            .await?;
        let (nothing, none) = (Graph::new(), BTreeSet::new());
        let (named, whole) = (lost::named(place), known.inventory.whole);
        let mut all = known.undesired(place, &nothing, &none).await?;
        let of_inventory = all.len();
        if !whole {
            let (there, stays) = lost::find_named(place, &named, &known.inventory).await?;
            notes.extend(stays);
            all.extend(there);
        }
        let found = lost::find_marked(place, &nothing, &all, &named).await?;
        notes.extend(lost::note_found(place, &found.orphans));
        all.extend(found.orphans);
        let (inventory, unlisted) = (&known.inventory, &found.unlisted);
        match !whole && all.len() > of_inventory {
            true => notes.push(lost::note_lost(place, inventory, unlisted)),
            false => notes.extend(lost::note_unlisted(place.name(), unlisted)),
        }
        if !whole {
            match unlisted.is_empty() {
                true => listed.insert(place.name()),
                false => unknown.insert(place.name()),
            };
        }
        orphans.extend(all);
    }
    let subject = subject(session, notes, BTreeMap::new());
    let mut prepared = plan::prepare(subject, Graph::new(), orphans).await;
    prepared.listed = listed;
    let changes = prepared.plan.changes.iter_mut();
    for change in changes.filter(|it| it.action == Action::Delete) {
        change.reason = "destroy was asked for".to_owned();
    }
    Ok((prepared, unknown))
}

/// What a plan of this session is of.
pub fn subject(session: &Session, notes: Vec<String>, left: BTreeMap<Address, Fields>) -> Subject {
    let places = session.places.iter();
    Subject {
        app: session.loaded.manifest.app.clone(),
        environment: session.loaded.environment.clone(),
        targets: places.map(|place| place.cloud.target().clone()).collect(),
        notes,
        left,
    }
}

fn views(places: &[Place]) -> Vec<secret::TargetSecrets<'_>> {
    places
        .iter()
        .map(|place| secret::TargetSecrets {
            cloud: place.cloud.as_ref(),
            env: &place.env,
        })
        .collect()
}

/// What one target is to hold, with what its services run on, and their images as it takes them.
///
/// Errors: input, when it cannot run one of them.
fn on_place(
    place: &Place,
    images: &BTreeMap<String, image::Found>,
) -> Result<(EnvironmentSpec, BTreeMap<String, LocalImage>)> {
    let mut env = place.env.clone();
    let mut local = BTreeMap::new();
    for (key, found) in images {
        let Some(service) = env.services.get_mut(key) else {
            continue;
        };
        let (architecture, image) = found.on(service, place.cloud.services())?;
        service.architecture = Some(architecture);
        local.insert(key.clone(), image);
    }
    Ok((env, local))
}

async fn open_images(session: &Session, part: &Part) -> Result<image::Images> {
    let Some(place) = session.places.first() else {
        return Ok(image::Images::default());
    };
    let services = place.env.services.iter();
    let services = services.filter(|(key, _)| part.has(key));
    let services = services.map(|(key, service)| (key.clone(), service.clone()));
    image::open_all(
        &services.collect(),
        &session.loaded.base_dir,
        &session.clock,
        &session.logins(),
    )
    .await
}

async fn contents(session: &Session, wish: &Wish) -> Result<(Contents, Vec<String>)> {
    if wish.part != Part::All {
        return Ok((BTreeMap::new(), Vec::new()));
    }
    let (others, mut unreachable) = match session.loaded.manifest.keys.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => session.others().await,
    };
    for (cloud, error) in &session.failed {
        let why = error.chain().join(": ");
        unreachable.push((*cloud, Error::new(error.kind(), why)));
    }
    secret::contents(
        &views(&session.places),
        &views(&others),
        &unreachable,
        &session.loaded.base_dir,
        &key_bits(&session.loaded),
        || stopped::await_sent(session, ".secret"),
    )
    .await
}

fn given(
    place: &Place,
    wish: &Wish,
    images: BTreeMap<String, LocalImage>,
    contents: &Contents,
    held: &[HeldService],
) -> Given {
    Given {
        images,
        births: BTreeMap::new(),
        contents: contents.get(&place.name()).cloned().unwrap_or_default(),
        migrations: Arc::new(LedgerMigrations::new(place.ledger.clone())),
        rerun: wish.rerun,
        part: wish.part.clone(),
        redeploys: BTreeMap::new(),
        held: held
            .iter()
            .filter(|held| held.cloud == place.name())
            .map(|held| held.service.clone())
            .collect(),
        dns: place.dns_elsewhere(),
        gates: BTreeMap::new(),
        releases: BTreeMap::new(),
    }
}
