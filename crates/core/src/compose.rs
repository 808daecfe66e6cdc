//! Makes the graph of one target from its specification: one composition serves every cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{Address, CloudName};
use crate::capability::{
    Birth, Cloud, Dns, ImageRef, LocalImage, MigrationRecord, Provider, Rerun, Scope,
    SecretContent, SecretVersion, ServiceInputs, ServiceOutputs,
};
use crate::error::Result;
use crate::gate::{Checks, HoldsBack};
use crate::graph::{Graph, Output, Value};
use crate::ledger::{Inventory, Release, Stays, staying};
use crate::node::Node;
use crate::plan::Orphan;
use crate::redeploy::Redeploy;
use crate::spec::{EnvironmentSpec, SecretSource, ServiceSpec};
use secrecy::SecretString;

/// What was found out before composing.
#[derive(Clone, Debug)]
pub struct Given {
    /// The image of each service, by the manifest's names. A service without one is not declared.
    pub images: BTreeMap<String, LocalImage>,
    /// What each secret is to hold.
    pub contents: BTreeMap<String, SecretContent>,
    /// Which databases the manifest's own are now, by the manifest's names of the secrets with
    /// their URLs: where their nodes are not declared.
    pub births: BTreeMap<String, Birth>,
    /// What the ledger knows of migrations.
    pub migrations: Arc<dyn MigrationRecord>,
    /// Which migrations that ended are run again.
    pub rerun: Rerun,
    /// Which part of the environment is declared.
    pub part: Part,
    /// The services of which a new roll-out is asked for.
    pub redeploys: BTreeMap<String, Redeploy>,
    /// Services that are on hold after a rollback: not declared, not deleted.
    pub held: BTreeSet<String>,
    /// Makes a service's record, by the manifest's names, where not the target's own cloud does.
    pub dns: BTreeMap<String, Arc<dyn Dns>>,
    /// Asks the candidates of a service, by the manifest's names, where its roll-out has a gate.
    pub gates: BTreeMap<String, Arc<dyn Checks>>,
    /// The releases of the services whose code alone is declared, oldest first, by the manifest's
    /// names, where the cloud keeps no revisions: what serves may be known by them alone.
    pub releases: BTreeMap<String, Vec<Release>>,
}

/// Which part of an environment is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it; what is not declared is deleted.
    All,
    /// The code of these services; nothing is deleted.
    CodeOf(BTreeSet<String>),
}

/// What was declared for one service.
#[derive(Clone, Debug)]
pub struct DeclaredService {
    /// The image in the target's registry.
    pub image: Output<ImageRef>,
    /// Revision and address.
    pub outputs: ServiceOutputs,
    /// The secrets that it pins, by the manifest's names.
    pub secrets: BTreeMap<String, Output<SecretVersion>>,
    /// Its name in the DNS.
    pub record: Option<Address>,
    /// Everything that was declared for it alone.
    pub nodes: BTreeSet<Address>,
}

/// What was declared for one target.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The cloud.
    pub cloud: CloudName,
    /// The services, by the manifest's names.
    pub services: BTreeMap<String, DeclaredService>,
}

/// Declares what one target is to hold.
pub fn declare(
    graph: &mut Graph,
    cloud: &dyn Cloud,
    env: &EnvironmentSpec,
    given: &Given,
) -> Declared {
    let provider = &*cloud.provider(env);
    let (secrets, births) = match given.part {
        Part::All => declare_secrets(graph, provider, env, given),
        Part::CodeOf(_) => {
            graph.narrow();
            let asked = given.births.iter();
            let births = asked.map(|(key, birth)| (key.clone(), Value::Given(birth.clone())));
            (BTreeMap::new(), births.collect())
        }
    };
    let services = env
        .services
        .iter()
        .filter(|(key, _)| !given.held.contains(*key) && given.part.has(key))
        .filter_map(|(key, service)| {
            let image = given.images.get(key)?;
            let declared = declare_service(
                graph,
                (provider, cloud.dns()),
                service,
                image,
                (&secrets, &births),
                given,
            );
            Some((key.clone(), declared))
        })
        .collect();
    Declared {
        cloud: cloud.target().cloud,
        services,
    }
}

impl Part {
    /// Whether the part has this service.
    pub fn has(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::CodeOf(some) => some.contains(service),
        }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::All => Scope::Whole,
            Self::CodeOf(_) => Scope::CodeOnly,
        }
    }
}

type Secrets = BTreeMap<String, Output<SecretVersion>>;
/// By the manifest's names of the secrets with their URLs.
type Births = BTreeMap<String, Value<Birth>>;

/// Declares the secrets, and between those that are given and those that are made from databases
/// and caches, these.
fn declare_secrets(
    graph: &mut Graph,
    provider: &dyn Provider,
    env: &EnvironmentSpec,
    given: &Given,
) -> (Secrets, Births) {
    let mut secrets = Secrets::new();
    let mut whole = BTreeSet::new();
    for (key, secret) in &env.secrets {
        if !is_derived(&secret.source) {
            let content = given.contents.get(key).cloned();
            let content = content.unwrap_or(SecretContent::Keep);
            let output = match &secret.member {
                None => provider.secret(graph, secret, content),
                Some(member) => {
                    // Many members may be of one secret, which is there once.
                    if whole.insert(&secret.name) {
                        provider.secret(graph, secret, content);
                    }
                    provider.member(graph, secret, member)
                }
            };
            secrets.insert(key.clone(), output);
        }
    }
    let (derived, births) = declare_data(graph, provider, env, &secrets);
    for (key, value) in derived {
        let Some(secret) = env.secrets.get(&key) else {
            continue;
        };
        let content = SecretContent::From(Value::From(value));
        let output = provider.secret(graph, secret, content);
        secrets.insert(key, output);
    }
    (secrets, births)
}

fn is_derived(source: &SecretSource) -> bool {
    match source {
        SecretSource::DatabaseUrl(_)
        | SecretSource::DatabaseHost(_)
        | SecretSource::DatabaseAuthority(_)
        | SecretSource::CacheUrl(_)
        | SecretSource::CacheAuthority(_) => true,
        SecretSource::Cloud
        | SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Generate(_)
        | SecretSource::Key { .. } => false,
    }
}

/// Declares databases and caches; gives what their secrets are to hold, by the manifest's names.
fn declare_data(
    graph: &mut Graph,
    provider: &dyn Provider,
    env: &EnvironmentSpec,
    secrets: &Secrets,
) -> (Vec<(String, Output<SecretString>)>, Births) {
    let version = |key: &String| {
        let output = secrets.get(key).cloned();
        Value::From(output.expect("the manifest declares the secrets of its databases and caches"))
    };
    let mut derived = Vec::new();
    let mut births = Births::new();
    for database in env.databases.values() {
        let password = version(&database.password);
        let outputs = provider.database(graph, database, &password);
        derived.push((database.url.clone(), outputs.url));
        births.insert(database.url.clone(), Value::From(outputs.birth));
        if let Some(key) = &database.host {
            derived.push((key.clone(), outputs.host));
        }
        if let (Some(key), Some(authority)) = (&database.authority, outputs.authority) {
            derived.push((key.clone(), authority));
        }
    }
    for cache in env.caches.values() {
        let token = cache.token.as_ref().map(version);
        let outputs = provider.cache(graph, cache, token.as_ref());
        derived.push((cache.url.clone(), outputs.url));
        if let (Some(key), Some(authority)) = (&cache.authority, outputs.authority) {
            derived.push((key.clone(), authority));
        }
    }
    (derived, births)
}

fn declare_service(
    graph: &mut Graph,
    (provider, dns): (&dyn Provider, &dyn Dns),
    service: &ServiceSpec,
    image: &LocalImage,
    (secrets, births): (&Secrets, &Births),
    given: &Given,
) -> DeclaredService {
    let scope = given.part.scope();
    let first = graph.len();
    let image = provider.image(graph, service, image, scope);
    let secrets: BTreeMap<String, Output<SecretVersion>> = secrets_of(service)
        .filter_map(|key| secrets.get_key_value(key))
        .map(|(key, output)| (key.clone(), output.clone()))
        .collect();
    let inputs = ServiceInputs {
        image: Value::From(image.clone()),
        secrets: secrets
            .iter()
            .map(|(key, output)| (key.clone(), Value::From(output.clone())))
            .collect(),
        births: births.clone(),
        migrated: Arc::clone(&given.migrations),
        rerun: given.rerun,
        redeploy: given.redeploys.get(&service.key).cloned(),
        gate: match provider.holds_back(service) {
            HoldsBack::Candidates => given.gates.get(&service.key).cloned(),
            HoldsBack::Nothing(_) => None,
        },
        releases: given
            .releases
            .get(&service.key)
            .cloned()
            .unwrap_or_default(),
    };
    let outputs = provider.service(graph, service, &inputs, scope);
    let record = match (&service.record, scope) {
        (Some(record), Scope::Whole) => {
            let elsewhere = given.dns.get(&service.key).map(Arc::as_ref);
            Some(elsewhere.unwrap_or(dns).record(graph, record))
        }
        (None, _) | (_, Scope::CodeOnly) => None,
    };
    DeclaredService {
        image,
        outputs,
        secrets,
        record,
        nodes: graph
            .iter()
            .skip(first)
            .map(|(_, entry)| entry.node.address().clone())
            .collect(),
    }
}

/// The secrets that a service's variables and migration use, by the manifest's names.
pub fn secrets_of(service: &ServiceSpec) -> impl Iterator<Item = &str> {
    let database = service
        .migrate
        .as_ref()
        .and_then(|migrate| migrate.database.as_deref());
    service
        .secrets
        .values()
        .map(|variable| variable.secret.as_str())
        .chain(database)
}

/// What the inventory has and the graph has not, but for what is spared: to be deleted, or released
/// where it was there before us or where such a thing needs it. The nodes are made by `existing`.
///
/// Errors: those of `existing`.
pub fn undesired(
    inventory: &Inventory,
    graph: &Graph,
    spared: &BTreeSet<Address>,
    existing: impl Fn(&Address) -> Result<Arc<dyn Node>>,
) -> Result<Vec<Orphan>> {
    let gone = |address: &Address| graph.find(address).is_none() && !spared.contains(address);
    let staying = staying(inventory, gone);
    let items = inventory.items.iter();
    items
        .filter(|(address, _)| gone(address))
        .map(|(address, item)| {
            Ok(Orphan {
                node: existing(address)?,
                needs: item.needs.clone(),
                used_by: inventory.users_of(address).cloned().collect(),
                released: staying.get(address).map(|why| why_released(address, why)),
            })
        })
        .collect()
}

/// Says of what was there before us that it is released.
pub fn was_there(address: &Address) -> String {
    format!("{} was there before deployer: {RELEASED}", address.name)
}

const RELEASED: &str = "our mark is taken off and it stays";

fn why_released(address: &Address, why: &Stays<'_>) -> String {
    match why {
        Stays::WasThere => was_there(address),
        Stays::NeededBy(user) => {
            format!(
                "{} was there before deployer and needs it: {RELEASED}",
                user.name
            )
        }
    }
}
