//! Prepares what plan, apply and migrate carry out: images, secrets, holds, the graph of every target, the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{
    Birth, LocalImage, MigrationRecord, Revision, SecretContent, SecretVersion,
};
use deployer_core::compose::{self, Declared, Given, Part};
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::history::{Current, History, Standing};
use deployer_core::ledger::{Hold, Inventory, Item, LedgerMigrations};
use deployer_core::node::{Action, Leftover, Sort};
use deployer_core::ours::{Ours, Past};
use deployer_core::plan::{self, Orphan, Prepared, Subject};
use deployer_core::spec::EnvironmentSpec;
use secrecy::{ExposeSecret, SecretString};

use crate::command::releases::short;
use crate::failure::Attempt;
use crate::image;
use crate::record;
use crate::secret;
use crate::session::{Locks, Place, Session, key_bits};
use crate::system::Stop;

/// What of a service's content is a target's own, by target and service.
type Overrides = BTreeMap<(CloudName, String), String>;

/// What is asked for beside the manifest.
#[derive(Clone, Debug)]
pub struct Wish {
    pub part: Part,
    pub release_hold: bool,
    pub retry_migration: bool,
}

/// A service that is left alone.
#[derive(Clone, Debug)]
pub struct HeldService {
    pub cloud: CloudName,
    pub service: String,
    pub hold: Hold,
}

/// A plan with everything that carrying it out and recording it needs.
pub struct Work {
    pub prepared: Prepared,
    pub declared: Vec<Declared>,
    pub images: BTreeMap<String, image::Found>,
    pub content_ids: BTreeMap<String, String>,
    /// What of it is a target's own, by target and service.
    pub overrides: BTreeMap<(CloudName, String), String>,
    pub held: Vec<HeldService>,
}

impl Work {
    /// Whether an apply would do anything.
    pub fn has_changes(&self) -> bool {
        !self.prepared.plan.is_empty() || self.unfinished().next().is_some()
    }

    /// Whether a service is left alone on a target.
    pub fn is_held(&self, cloud: CloudName, service: &str) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.cloud == cloud && held.service == service)
    }

    /// For the report of a run that carries it out.
    pub fn attempt<'a>(&'a self, again: &'a str) -> Attempt<'a> {
        let declared = self.declared.iter();
        let services = declared.flat_map(|target| {
            let services = target.services.iter();
            services.map(|(key, service)| ((target.cloud, key.as_str()), service.nodes.clone()))
        });
        Attempt {
            again,
            nodes: services.collect(),
        }
    }

    /// The services whose rollback was killed: the next apply finishes it.
    pub fn unfinished(&self) -> impl Iterator<Item = &HeldService> {
        let held = self.held.iter();
        held.filter(|held| held.hold.unfinished.is_some())
    }
}

/// Takes the locks that carrying out `wish` needs: beside those of the targets that are worked on, where a key pair is to be made, those
/// of every target that shares it.
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
    if let Part::CodeOf(service) = &wish.part {
        session.services(Some(service))?;
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
    let held = holds(session, (&content_ids, &overrides), &contents, wish).await?;
    for held in &held {
        notes.push(note_of(session, held).await);
    }
    notes.extend(untagged);
    let mut known = Vec::new();
    for place in &session.places {
        known.push(self::known(place).await?);
    }
    let mut ours = Ours::default();
    for known in &known {
        ours.learn(&known.inventory, &known.left);
    }
    let mut graph = Graph::knowing(ours);
    let mut orphans = Vec::new();
    let mut declared = Vec::new();
    for (place, known) in session.places.iter().zip(&mut known) {
        let (env, images) = on_place(place, &images)?;
        let mut given = given(place, wish, images, &contents, &held);
        if wish.part != Part::All {
            given.births = births(place).await?;
        }
        let first = graph.len();
        declared.push(compose::declare(
            &mut graph,
            place.cloud.as_ref(),
            &env,
            &given,
        ));
        if wish.part == Part::All {
            let pinned = pinned_meanwhile(place, &held).await?;
            orphans.extend(orphans_of(place, known, &graph, &given, &pinned).await?);
        }
        tracing::debug!(cloud = %place.name(), nodes = graph.len() - first, "declared");
    }
    let left = known.into_iter().flat_map(|known| known.left).collect();
    let subject = subject(session, notes, left);
    let mut prepared = plan::prepare(subject, graph, orphans).await;
    for place in &session.places {
        if serves_unknown(place, &prepared, &declared).await? {
            prepared.plan.notes.push(lost_ledger(place));
        }
    }
    Ok(Work {
        prepared,
        declared,
        images,
        content_ids,
        overrides,
        held,
    })
}

/// Whether a service of ours is there although the ledger has no run of this environment. One that is adopted is no such.
async fn serves_unknown(place: &Place, prepared: &Prepared, declared: &[Declared]) -> Result<bool> {
    let cloud = place.name();
    let declared = declared.iter().filter(|it| it.cloud == cloud);
    let there = |address: &Address| {
        let change = prepared.plan.of(cloud).find(|it| it.address == *address);
        change.is_some_and(|it| it.action != Action::Create)
    };
    let adopts = |key: &str| place.env.services.get(key).is_some_and(|it| it.adopt);
    let mut services = declared.flat_map(|it| &it.services);
    let found = services.any(|(key, it)| !adopts(key) && there(&it.outputs.service));
    Ok(found && place.ledger.is_new().await?)
}

/// Which databases the manifest's own are now: a code deployment does not declare them.
async fn births(place: &Place) -> Result<BTreeMap<String, Birth>> {
    let databases = place.env.databases.values().map(|database| async move {
        let birth = place.cloud.databases().birth(database).await?;
        Ok::<_, deployer_core::error::Error>(birth.map(|birth| (database.url.clone(), birth)))
    });
    let births = futures::future::try_join_all(databases).await?;
    Ok(births.into_iter().flatten().collect())
}

fn overrides(
    session: &Session,
    content_ids: &BTreeMap<String, String>,
) -> BTreeMap<(CloudName, String), String> {
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

/// A plan that deletes everything in the inventories; where a target's ledger is new, what the manifest names there and is ours.
/// Returns the targets of the second sort too.
pub async fn prepare_destroy(session: &Session) -> Result<(Prepared, BTreeSet<CloudName>)> {
    let (mut orphans, mut notes, mut new) = (Vec::new(), Vec::new(), BTreeSet::new());
    for place in &session.places {
        let mut known = known(place).await?;
        LedgerMigrations::new(place.ledger.clone())
            .standings()
            .await?;
        let (nothing, none) = (Graph::new(), BTreeSet::new());
        let all = known.undesired(place, &nothing, &none).await?;
        if !(all.is_empty() && place.ledger.is_new().await?) {
            orphans.extend(all);
            continue;
        }
        let found = found_by_name(place).await?;
        if !found.is_empty() {
            notes.push(lost_ledger(place));
            new.insert(place.name());
        }
        orphans.extend(found);
    }
    let subject = subject(session, notes, BTreeMap::new());
    let prepared = plan::prepare(subject, Graph::new(), orphans).await;
    Ok((prepared, new))
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

/// What the ledger of one target knows of what is ours.
pub struct Known {
    pub inventory: Inventory,
    pub left: BTreeMap<Address, Fields>,
    /// The revisions that releases were, once they were asked for: one may carry no mark.
    revisions: Vec<Fields>,
}

/// Reads what the ledger of one target knows of what is ours.
///
/// Errors: the ledger's.
pub async fn known(place: &Place) -> Result<Known> {
    let (inventory, left) = tokio::try_join!(place.ledger.inventory(), place.ledger.left())?;
    Ok(Known {
        inventory,
        left,
        revisions: Vec::new(),
    })
}

impl Known {
    /// What is known of one address.
    pub fn past(&self, address: &Address) -> Past {
        let mut past = Past::of(address, &self.inventory, &self.left);
        past.wrote.extend(self.revisions.iter().cloned());
        past
    }

    /// What the inventory has and the graph has not, but for what is spared.
    async fn undesired(
        &mut self,
        place: &Place,
        graph: &Graph,
        spared: &BTreeSet<Address>,
    ) -> Result<Vec<Orphan>> {
        let mut gone = self.inventory.items.keys();
        if gone.any(|it| it.kind == REVISIONS && graph.find(it).is_none()) {
            let revisions = place.ledger.recorded_revisions().await?;
            self.revisions = revisions.into_iter().map(fields_of).collect();
        }
        compose::undesired(&self.inventory, graph, spared, |address| {
            place.existing(address, &self.past(address))
        })
    }
}

/// The kind of which a code-only deployment makes revisions that carry no mark, as it may not set one.
const REVISIONS: &str = "ecs.task-definition";

fn fields_of(revision: Revision) -> Fields {
    let mut fields = Fields::new();
    fields.set("revision", revision.0);
    fields
}

/// What is said of a target whose ledger knows of no run although something of the environment is there.
pub fn lost_ledger(place: &Place) -> String {
    format!(
        "{}: the ledger has no run of this environment, and things of it are there: it was lost, or another one was written to. What the \
         manifest names and carries our mark is known by its name; what it no longer names is not found: look for the mark `{}/{}`",
        place.name(),
        place.env.app,
        place.env.environment
    )
}

/// What the manifest names on a target and is there as ours, without any ledger.
pub async fn found_by_name(place: &Place) -> Result<Vec<Orphan>> {
    let mut graph = Graph::new();
    let keys = place.env.services.keys();
    let given = Given {
        images: keys.map(|key| (key.clone(), image::none())).collect(),
        contents: BTreeMap::new(),
        births: BTreeMap::new(),
        migrations: Arc::new(LedgerMigrations::new(place.ledger.clone())),
        retry_migration: false,
        part: Part::All,
        held: BTreeSet::new(),
        dns: place.dns_elsewhere(),
    };
    compose::declare(&mut graph, place.cloud.as_ref(), &place.env, &given);
    let mut inventory = Inventory::default();
    for (_, entry) in graph.iter() {
        if entry.node.sort() != Sort::Resource {
            continue;
        }
        let address = entry.node.address().clone();
        let needs = graph.resources_needed_by(&address).into_iter().collect();
        let item = Item {
            needs,
            since: jiff::Timestamp::UNIX_EPOCH,
            ..Item::default()
        };
        inventory.items.insert(address, item);
    }
    let (nothing, none) = (Graph::new(), BTreeSet::new());
    let all = compose::undesired(&inventory, &nothing, &none, |it| {
        place.existing(it, &Past::default())
    })?;
    let read = futures::future::join_all(all.into_iter().map(|orphan| async move {
        orphan.node.observe().await?;
        Ok((orphan.node.leftover()? == Leftover::There).then_some(orphan))
    }));
    let found: Result<Vec<Option<Orphan>>> = read.await.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

fn views(places: &[Place]) -> Vec<secret::Place<'_>> {
    places
        .iter()
        .map(|place| secret::Place {
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
        let (architecture, image) = found.on(service, place.cloud.runtime())?;
        service.architecture = Some(architecture);
        local.insert(key.clone(), image);
    }
    Ok((env, local))
}

async fn open_images(session: &Session, part: &Part) -> Result<image::Images> {
    let Some(place) = session.places.first() else {
        return Ok(image::Images::default());
    };
    let services = place
        .env
        .services
        .iter()
        .filter(|(key, _)| part.has(key))
        .map(|(k, s)| (k.clone(), s.clone()));
    image::open_all(
        &services.collect(),
        &session.loaded.base_dir,
        &session.clock,
        &session.logins(),
    )
    .await
}

type Contents = BTreeMap<CloudName, BTreeMap<String, SecretContent>>;

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
        unreachable.push((*cloud, deployer_core::error::Error::new(error.kind(), why)));
    }
    let base = &session.loaded.base_dir;
    let bits = key_bits(&session.loaded);
    secret::contents(
        &views(&session.places),
        &views(&others),
        &unreachable,
        base,
        &bits,
    )
    .await
}

async fn holds(
    session: &Session,
    (content_ids, overrides): (&BTreeMap<String, String>, &Overrides),
    contents: &Contents,
    wish: &Wish,
) -> Result<Vec<HeldService>> {
    let mut held = Vec::new();
    if wish.release_hold {
        return Ok(held);
    }
    for place in &session.places {
        let cloud = place.name();
        for (service, content_id) in content_ids {
            let own = overrides.get(&(cloud, service.clone()));
            let all = place.ledger.holds(service).await?;
            if all.is_empty() {
                continue;
            }
            let releases = place.ledger.releases(service).await?;
            let follows = record::follows(place);
            let history = History::new(&releases, &follows);
            for hold in all.into_iter().filter(|hold| history.stands(hold)) {
                let same = hold.content_id == *content_id
                    && (hold.overrides.is_none() || hold.overrides.as_ref() == own);
                if same
                    && pins_the_same(place, &hold, contents.get(&cloud)).await?
                    && holds_back(place, service, &hold).await?
                {
                    let service = service.clone();
                    held.push(HeldService {
                        cloud,
                        service,
                        hold,
                    });
                    break;
                }
            }
        }
    }
    Ok(held)
}

/// Whether anything serves instead: where a destroy took it away, there is nothing that a hold keeps serving.
async fn holds_back(place: &Place, service: &str, hold: &Hold) -> Result<bool> {
    match place.env.services.get(service) {
        Some(spec) if hold.unfinished.is_none() => {
            Ok(place.cloud.runtime().serving(spec).await?.is_some())
        }
        Some(_) | None => Ok(true),
    }
}

/// Whether an apply would pin the secrets that the rejected release pins: one with another value may be what mends it.
async fn pins_the_same(
    place: &Place,
    hold: &Hold,
    contents: Option<&BTreeMap<String, SecretContent>>,
) -> Result<bool> {
    let store = place.cloud.secrets();
    for (key, rejected) in &hold.secrets {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        let status = store.status(&secret.name).await?;
        if status.and_then(|status| status.version).as_ref() != Some(rejected) {
            return Ok(false);
        }
        if let Some(SecretContent::Exactly(wanted)) = contents.and_then(|all| all.get(key)) {
            let held = store.value(&secret.name).await?;
            let same = |held: &SecretString| held.expose_secret() == wanted.expose_secret();
            if !held.as_ref().is_some_and(same) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Says what is held, and what serves meanwhile.
async fn note_of(session: &Session, held: &HeldService) -> String {
    let HeldService {
        cloud,
        service,
        hold,
    } = held;
    if let Some(to) = hold.unfinished {
        return format!(
            "{cloud}: {} was rolling `{service}` back from r{} to r{to} at {:.0} and did not come to the end; apply \
             finishes it, or pass --release-hold",
            hold.by, hold.rejected, hold.since
        );
    }
    let serves = serves_meanwhile(session, held).await;
    format!(
        "{cloud}: `{service}` is on hold and left as it is: {} rolled back from r{} to r{} at {:.0}, and the manifest still says \
         r{}; {serves}; change the image or the configuration, or pass --release-hold",
        hold.by, hold.rejected, hold.serving, hold.since, hold.rejected
    )
}

async fn serves_meanwhile(session: &Session, held: &HeldService) -> String {
    let places = session.places.iter();
    let mut places = places.filter(|place| place.name() == held.cloud);
    let unknown = || "what serves cannot be told".to_owned();
    let Some(place) = places.next() else {
        return unknown();
    };
    let Some(spec) = place.env.services.get(&held.service) else {
        return unknown();
    };
    let asked = tokio::join!(
        place.cloud.runtime().serving(spec),
        place.ledger.releases(&held.service)
    );
    let (Ok(serving), Ok(releases)) = asked else {
        return unknown();
    };
    let follows = record::follows(place);
    let history = History::new(&releases, &follows);
    match history.standing(&Current::of(serving.as_ref())) {
        Standing::Last(release) | Standing::Earlier(release) => {
            format!(
                "r{} serves ({})",
                release.number,
                short(&release.revision.0)
            )
        }
        Standing::Unrecorded(revision) => format!("{} serves", short(&revision.0)),
        Standing::Several(_) => "several revisions serve".to_owned(),
        Standing::Nothing => "nothing serves".to_owned(),
    }
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
        retry_migration: wish.retry_migration,
        part: wish.part.clone(),
        held: held
            .iter()
            .filter(|held| held.cloud == place.name())
            .map(|held| held.service.clone())
            .collect(),
        dns: place.dns_elsewhere(),
    }
}

/// The secret versions that the revisions pin which serve instead of what is held: the manifest may not name their secrets any more.
async fn pinned_meanwhile(place: &Place, held: &[HeldService]) -> Result<Vec<SecretVersion>> {
    let mut pinned = Vec::new();
    for held in held.iter().filter(|held| held.cloud == place.name()) {
        let Some(spec) = place.env.services.get(&held.service) else {
            continue;
        };
        let runtime = place.cloud.runtime();
        let Some(serving) = runtime.serving(spec).await? else {
            continue;
        };
        let traffic = serving.traffic.iter().map(|(revision, _)| revision);
        let revisions: BTreeSet<&str> = traffic
            .chain(&serving.wanted)
            .map(|revision| revision.0.as_str())
            .collect();
        for revision in revisions {
            let of_it = runtime.pinned(&Revision(revision.to_owned())).await?;
            pinned.extend(of_it.into_values());
        }
    }
    Ok(pinned)
}

/// What the inventory has and nobody wants any more. What belongs to a held service is spared, and so is what serves in its place runs on.
async fn orphans_of(
    place: &Place,
    known: &mut Known,
    graph: &Graph,
    given: &Given,
    pinned: &[SecretVersion],
) -> Result<Vec<Orphan>> {
    let mut everything = Graph::new();
    let unheld = Given {
        held: BTreeSet::new(),
        ..given.clone()
    };
    compose::declare(&mut everything, place.cloud.as_ref(), &place.env, &unheld);
    let mut spared: BTreeSet<Address> = everything
        .iter()
        .map(|(_, entry)| entry.node.address().clone())
        .collect();
    let store = place.cloud.secrets();
    let is_pinned = |address: &&Address| {
        let mut pinned = pinned.iter();
        pinned.any(|version| store.is_of(version, address))
    };
    let secrets: Vec<&Address> = known.inventory.items.keys().filter(is_pinned).collect();
    for secret in secrets {
        // And who may read it.
        spared.extend(known.inventory.users_of(secret).cloned());
        spared.insert(secret.clone());
    }
    known.undesired(place, graph, &spared).await
}
