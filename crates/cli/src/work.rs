//! Prepares what plan, apply and migrate carry out: images, secrets, holds, the graph of every target, the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{LocalImage, MigrationRecord, Revision, SecretContent};
use deployer_core::compose::{self, Declared, Given, Part};
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::ledger::{Hold, Inventory, LedgerMigrations};
use deployer_core::ours::{Ours, Past};
use deployer_core::plan::{self, Orphan, Prepared, Subject};
use deployer_core::spec::EnvironmentSpec;
use futures::{TryStreamExt, stream};

use crate::failure::Attempt;
use crate::image;
use crate::secret;
use crate::session::{Place, Session, key_bits};

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
    pub held: Vec<HeldService>,
}

impl Work {
    /// Whether an apply would do anything.
    pub fn has_changes(&self) -> bool {
        !self.prepared.plan.is_empty() || self.unfinished().next().is_some()
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
    let held = holds(session, &content_ids, wish).await?;
    check_releases(session).await?;
    let (contents, mut notes) = contents(session, &wish.part).await?;
    notes.extend(held.iter().map(note_of));
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
        let given = given(place, wish, images, &contents, &held);
        let first = graph.len();
        declared.push(compose::declare(
            &mut graph,
            place.cloud.as_ref(),
            &env,
            &given,
        ));
        if wish.part == Part::All {
            orphans.extend(orphans_of(place, known, &graph, &given).await?);
        }
        tracing::debug!(cloud = %place.name(), nodes = graph.len() - first, "declared");
    }
    let left = known.into_iter().flat_map(|known| known.left).collect();
    let subject = subject(session, notes, left);
    let prepared = plan::prepare(subject, graph, orphans).await;
    Ok(Work {
        prepared,
        declared,
        images,
        content_ids,
        held,
    })
}

/// A plan that deletes everything in the inventories.
pub async fn prepare_destroy(session: &Session) -> Result<Prepared> {
    let mut orphans = Vec::new();
    check_releases(session).await?;
    for place in &session.places {
        let mut known = known(place).await?;
        LedgerMigrations::new(place.ledger.clone())
            .standings()
            .await?;
        let (nothing, none) = (Graph::new(), BTreeSet::new());
        orphans.extend(known.undesired(place, &nothing, &none).await?);
    }
    let subject = subject(session, Vec::new(), BTreeMap::new());
    Ok(plan::prepare(subject, Graph::new(), orphans).await)
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

async fn contents(
    session: &Session,
    part: &Part,
) -> Result<(
    BTreeMap<CloudName, BTreeMap<String, SecretContent>>,
    Vec<String>,
)> {
    if *part != Part::All {
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
    fn views(places: &[Place]) -> Vec<secret::Place<'_>> {
        places
            .iter()
            .map(|place| secret::Place {
                cloud: place.cloud.as_ref(),
                env: &place.env,
            })
            .collect()
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
    content_ids: &BTreeMap<String, String>,
    wish: &Wish,
) -> Result<Vec<HeldService>> {
    let mut held = Vec::new();
    if wish.release_hold {
        return Ok(held);
    }
    for place in &session.places {
        for (service, content_id) in content_ids {
            if let Some(hold) = place.ledger.hold(service).await?
                && hold.content_id == *content_id
            {
                held.push(HeldService {
                    cloud: place.name(),
                    service: service.clone(),
                    hold,
                });
            }
        }
    }
    Ok(held)
}

/// How many services' releases are read at the same time.
const AT_ONCE: usize = 16;

/// What a run writes over or after is readable: a damaged ledger is found before anything is changed.
///
/// Errors: the ledger's, when a hold or the latest release of a service cannot be read.
async fn check_releases(session: &Session) -> Result<()> {
    let services = session.places.iter().flat_map(|place| {
        let keys = place.env.services.keys();
        keys.map(move |key| (&place.ledger, key))
    });
    stream::iter(services.map(Ok))
        .try_for_each_concurrent(AT_ONCE, |(ledger, key)| async move {
            tokio::try_join!(ledger.hold(key), ledger.latest_release(key)).map(drop)
        })
        .await
}

fn note_of(held: &HeldService) -> String {
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
    format!(
        "{cloud}: `{service}` is on hold: {} rolled back from r{} to r{} at {:.0}, and the manifest still says \
         r{}; change the image or the configuration, or pass --release-hold",
        hold.by, hold.rejected, hold.serving, hold.since, hold.rejected
    )
}

fn given(
    place: &Place,
    wish: &Wish,
    images: BTreeMap<String, LocalImage>,
    contents: &BTreeMap<CloudName, BTreeMap<String, SecretContent>>,
    held: &[HeldService],
) -> Given {
    Given {
        images,
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

/// What the inventory has and nobody wants any more. What belongs to a held service is spared.
async fn orphans_of(
    place: &Place,
    known: &mut Known,
    graph: &Graph,
    given: &Given,
) -> Result<Vec<Orphan>> {
    let mut everything = Graph::new();
    let unheld = Given {
        held: BTreeSet::new(),
        ..given.clone()
    };
    compose::declare(&mut everything, place.cloud.as_ref(), &place.env, &unheld);
    let spared: BTreeSet<Address> = everything
        .iter()
        .map(|(_, entry)| entry.node.address().clone())
        .collect();
    known.undesired(place, graph, &spared).await
}
