//! One command's view of the world: the manifest, the targets asked for, their callers and ledgers.

// long: opening the targets, each of which may fail for itself, and what is asked of all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deployer_aws::{Aws, Route53};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::{Caller, Cloud, Context, Dns, Serving, Switching, Zones};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::history;
use deployer_core::ledger::{Keeper, Lease, Ledger, Permit};
use deployer_core::node::Node;
use deployer_core::ours::{Owner, Past};
use deployer_core::plan::Plan;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_core::usual::Usual;
use deployer_gcp::Gcp;
use deployer_manifest::Loaded;
use deployer_manifest::section::{DnsProvider, GcpSection};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::args::{Global, Which};
use crate::exit::Exit;
use crate::ledger_store;
use crate::logins::Logins;
use crate::machine;
use crate::system::{Stop, StopWords, Surroundings};
use crate::usual;
use crate::view;
use crate::whereabouts::{self, MANIFEST};

/// Every single call to a cloud ends after this; shorter than what a lease keeps in hand
/// ([`deployer_core::ledger`]).
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A target that answered.
pub struct Place {
    pub cloud: Arc<dyn Cloud>,
    pub caller: Caller,
    pub env: EnvironmentSpec,
    /// What was off in the account and is on now.
    pub switched_on: Vec<String>,
    pub ledger: Ledger,
    /// Where the names of services on Google are, when not in Cloud DNS.
    route53: Option<Route53>,
    /// The services whose names are there, by the manifest's names.
    named_in_route53: Vec<String>,
}

impl Place {
    /// The cloud's name.
    pub fn name(&self) -> CloudName {
        self.cloud.target().cloud
    }

    /// Whose things this environment's are.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.env.app, &self.env.environment)
    }

    /// What serves, in the cloud's words; where those leave it open, what its last release made
    /// serve. `None` when there is no such service.
    ///
    /// Errors: the cloud's; the ledger's, where it is needed.
    pub async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>> {
        match self.cloud.services().serving(service).await? {
            Some(serving) if serving.put_back.is_some() => {
                let releases = self.ledger.releases(&service.key).await?;
                Ok(Some(history::settled(serving, &releases)))
            }
            serving => Ok(serving),
        }
    }

    /// A node for something in the inventory that is no longer desired.
    ///
    /// Errors: input, when the kind is unknown to this version.
    pub fn existing(&self, address: &Address, past: &Past) -> Result<Arc<dyn Node>> {
        match &self.route53 {
            Some(route53) if address.kind.starts_with("route53.") => {
                route53.existing(address, &self.owner(), past)
            }
            _ => self.cloud.existing(address, &self.owner(), past),
        }
    }

    /// What makes the records that the target's own cloud does not make, by service.
    pub fn dns_elsewhere(&self) -> BTreeMap<String, Arc<dyn Dns>> {
        let Some(route53) = &self.route53 else {
            return BTreeMap::new();
        };
        let services = self.named_in_route53.iter();
        services
            .map(|service| (service.clone(), Arc::new(route53.clone()) as Arc<dyn Dns>))
            .collect()
    }

    /// What knows the zone of a service's name.
    pub fn zones_of(&self, service: &str) -> &dyn Zones {
        match &self.route53 {
            Some(route53) if self.named_in_route53.iter().any(|it| it == service) => route53,
            _ => self.cloud.zones(),
        }
    }
}

/// The manifest and the targets asked for.
pub struct Session {
    pub loaded: Loaded,
    pub clock: Arc<dyn Clock>,
    surroundings: Surroundings,
    /// The targets that answered and are the manifest's.
    pub places: Vec<Place>,
    /// The targets asked for that cannot be worked on.
    pub failed: Vec<(CloudName, Error)>,
    /// How many of these people were told of.
    told: usize,
    /// Of the manifest's AWS target, and for whatever else asks AWS.
    aws: deployer_aws::Credentials,
    /// How long a lock is waited for that another run holds.
    wait_lock: Duration,
    /// How long things usually take, once that is asked for.
    usual: OnceCell<Usual>,
}

/// Between two looks at a lock that is waited for.
const LOOK: Duration = Duration::from_secs(5);

impl Session {
    /// Opens every target asked for, at once; each checks its account before any other call.
    ///
    /// Errors: input, when the manifest has none of the targets asked for. A target that cannot be
    /// opened stands in `failed`: the clouds fail independently.
    pub async fn open(
        loaded: Loaded,
        which: Which,
        switching: Switching,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let clock = Arc::clone(&surroundings.clock);
        let clouds: Vec<CloudName> = loaded
            .manifest
            .targets()
            .into_iter()
            .filter(|cloud| which.has(*cloud))
            .collect();
        if clouds.is_empty() {
            return Err(Error::input("the manifest has no such target")
                .hint("add `[targets.aws]` or `[targets.gcp]`, or change --cloud"));
        }
        let aws = aws_credentials(&loaded);
        let opened = clouds
            .iter()
            .map(|cloud| open_place(&loaded, *cloud, switching, &surroundings, &aws));
        let opened = futures::future::join_all(opened).await;
        let mut places = Vec::new();
        let mut failed = Vec::new();
        for (cloud, result) in clouds.into_iter().zip(opened) {
            match result {
                Ok(place) => places.push(place),
                Err(error) => failed.push((cloud, error)),
            }
        }
        Ok(Self {
            loaded,
            clock,
            surroundings,
            places,
            failed,
            told: 0,
            aws,
            wait_lock: Duration::ZERO,
            usual: OnceCell::new(),
        })
    }

    /// The same that waits so long for a lock that another run holds.
    #[must_use]
    pub fn waiting(self, wait_lock: Duration) -> Self {
        Self { wait_lock, ..self }
    }

    /// What opens the registries that images are read from.
    pub fn logins(&self) -> Logins {
        let google = self.loaded.manifest.targets.gcp.as_ref();
        let project = google.map_or_else(String::new, |section| section.project.clone());
        Logins::new(self.aws.clone(), project)
    }

    /// The targets of the manifest that were not asked for: opened where they can be.
    pub async fn others(&self) -> (Vec<Place>, Vec<(CloudName, Error)>) {
        let mut places = Vec::new();
        let mut failed = Vec::new();
        let here = |cloud: &CloudName| {
            self.places.iter().any(|place| place.name() == *cloud)
                || self.failed.iter().any(|(name, _)| name == cloud)
        };
        for cloud in self.loaded.manifest.targets() {
            if here(&cloud) {
                continue;
            }
            let never = Switching::Never;
            let opened = open_place(&self.loaded, cloud, never, &self.surroundings, &self.aws);
            match opened.await {
                Ok(place) => places.push(place),
                Err(error) => failed.push((cloud, error)),
            }
        }
        (places, failed)
    }

    /// The ledgers of the manifest's targets that are not worked on, to be read only. No cloud is
    /// called; one whose ledger cannot be opened is left out.
    pub async fn other_ledgers(&self) -> Vec<(CloudName, Ledger)> {
        let here = |cloud: &CloudName| self.places.iter().any(|place| place.name() == *cloud);
        let context = Context {
            clock: Arc::clone(&self.clock),
            call_timeout: CALL_TIMEOUT,
            permit: Permit::default(),
        };
        let mut ledgers = Vec::new();
        for cloud in self.loaded.manifest.targets() {
            if here(&cloud) {
                continue;
            }
            let Ok(opened) = open_cloud(&self.loaded, cloud, &context, &self.aws).await else {
                continue;
            };
            let target = opened.target();
            let around = &self.surroundings;
            if let Ok(ledger) = ledger_store::open(&self.loaded, target, around, &self.aws).await {
                ledgers.push((cloud, ledger));
            }
        }
        ledgers
    }

    /// How long what this plan does usually takes, as the last runs tell. The ledgers are asked
    /// once; of one that does not answer nothing is known.
    pub async fn usual(&self, plan: &Plan) -> &Usual {
        self.usual.get_or_init(|| usual::learn(self, plan)).await
    }

    /// Opens the targets that are worked on anew: what was opened before makes no call any more
    /// once its lock was given back.
    ///
    /// Errors: those of opening one.
    pub async fn reopen(&mut self) -> Result<()> {
        let never = Switching::Never;
        let names = self.places.iter().map(Place::name);
        let opened =
            names.map(|name| open_place(&self.loaded, name, never, &self.surroundings, &self.aws));
        self.places = futures::future::try_join_all(opened).await?;
        Ok(())
    }

    /// What asks this command to stop.
    ///
    /// Errors: internal, when this process may not listen to signals.
    pub fn stop(&self) -> Result<Stop> {
        self.stop_saying(StopWords::OF_RUNS)
    }

    /// The same, where other words are said to who asks.
    pub fn stop_saying(&self, words: StopWords) -> Result<Stop> {
        self.surroundings.stop(words)
    }

    /// The exit code of the worst target that cannot be worked on.
    pub fn failure(&self) -> Exit {
        let codes = self
            .failed
            .iter()
            .map(|(_, error)| Exit::from(error.kind()));
        codes.max().unwrap_or(Exit::Success)
    }

    /// The services asked for: one by name, or all.
    ///
    /// Errors: input, naming the services that there are.
    pub fn services(&self, only: Option<&str>) -> Result<Vec<String>> {
        let known: Vec<String> = self.loaded.manifest.services.keys().cloned().collect();
        match only {
            None => Ok(known),
            Some(name) if known.iter().any(|service| service == name) => Ok(vec![name.to_owned()]),
            Some(name) => Err(Error::input(format!("there is no service `{name}`"))
                .hint(format!("the manifest has: {}", known.join(", ")))),
        }
    }

    /// Takes the lock of every target and keeps renewing it: from now on nothing is called or
    /// written but under it. A target whose ledger does not answer is left out: it stands in
    /// `failed`.
    ///
    /// Errors: locked, naming the holder: whoever holds one works on the environment; interrupted,
    /// when `stop` is asked for while this waits; ledger, when none answers.
    pub async fn lock(&mut self, command: &str, stop: &Stop) -> Result<Locks> {
        self.lock_with(command, stop, &[]).await
    }

    /// The same with the locks of other targets beside, in the order of all: what is made for every
    /// target is made under each lock.
    pub async fn lock_with(
        &mut self,
        command: &str,
        stop: &Stop,
        others: &[Place],
    ) -> Result<Locks> {
        let mut locks = Locks::default();
        let mut failed = Vec::new();
        let mut ledgers: Vec<(CloudName, &Ledger)> = self
            .places
            .iter()
            .chain(others)
            .map(|place| (place.name(), &place.ledger))
            .collect();
        ledgers.sort_by_key(|(cloud, _)| *cloud);
        let began = self.clock.elapsed();
        for (cloud, ledger) in ledgers {
            let taken = tokio::select! {
                taken = self.take_lock(ledger, command, began) => taken,
                () = stop.requested_at_last() => Err(Error::new(
                    ErrorKind::Interrupted,
                    "stopped while waiting for the lock; nothing was changed",
                )),
            };
            let here = self.places.iter().any(|place| place.name() == cloud);
            match taken {
                Ok(lease) => locks.keep(ledger, lease),
                Err(error) if error.kind() == ErrorKind::Ledger && here => {
                    failed.push((cloud, error));
                }
                Err(error) => {
                    locks.release().await?;
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.leave(failed) {
            locks.release().await?;
            return Err(error);
        }
        Ok(locks)
    }

    /// Takes one lock; as long as another run holds it, until the time is over, it is looked at
    /// again. Targets share the time.
    async fn take_lock(&self, ledger: &Ledger, command: &str, began: Duration) -> Result<Lease> {
        let mut told = false;
        loop {
            let holder = machine::holder(command, self.clock.now());
            let taken = ledger.lock(holder, &machine::Here).await;
            let Err(error) = taken else { return taken };
            let waited = self.clock.elapsed().saturating_sub(began);
            let left = self.wait_lock.saturating_sub(waited);
            if error.kind() != ErrorKind::Locked || left.is_zero() {
                return Err(error);
            }
            if !told {
                let left = crate::duration::show(left);
                sayln!(
                    "{}: {error}; waiting for it, {left} at most",
                    ledger.target().cloud
                );
                told = true;
            }
            self.clock.pause(LOOK.min(left)).await;
        }
    }

    /// Leaves out the targets whose ledgers cannot be read: what a run writes over or after must be
    /// readable, and a damaged one is found before anything is changed. The others go their own
    /// way.
    ///
    /// Errors: the first one's, when there is no other target.
    pub async fn leave_unreadable(&mut self, global: &Global) -> Result<()> {
        let reads = self.places.iter().map(|place| async move {
            let read = place.ledger.check(place.env.services.keys()).await;
            read.err().map(|error| (place.name(), error))
        });
        let failed = futures::future::join_all(reads).await;
        self.leave(failed.into_iter().flatten().collect())?;
        self.tell_failed(global);
        Ok(())
    }

    /// Leaves the targets alone of which nobody can tell what serves; the others go their own way.
    ///
    /// Errors: the first one's, when there is no other target.
    pub async fn leave_unanswering(&mut self, global: &Global, service: &str) -> Result<()> {
        if self.places.len() < 2 {
            return Ok(());
        }
        let reads = self.places.iter().map(|place| async move {
            let spec = place.env.services.get(service)?;
            let read = place.serving(spec).await;
            read.err().map(|error| (place.name(), error))
        });
        let failed = futures::future::join_all(reads).await;
        self.leave(failed.into_iter().flatten().collect())?;
        self.tell_failed(global);
        Ok(())
    }

    /// Leaves the targets alone whose services are in another ledger: what that one says of them is
    /// not known here.
    ///
    /// Errors: the first one's, when there is no other target.
    pub async fn leave_other_ledgers(&mut self, global: &Global) -> Result<()> {
        let reads = self.places.iter().map(|place| async move {
            let note = place.env.ledger.as_ref()?;
            let runtime = place.cloud.services();
            for service in place.env.services.values() {
                // What cannot be read is told by whatever reads it next.
                let Ok(noted) = runtime.noted_ledger(&place.owner(), &service.name).await else {
                    continue;
                };
                if let Err(error) = note.check(noted.as_deref(), &service.name) {
                    return Some((place.name(), error));
                }
            }
            None
        });
        let failed = futures::future::join_all(reads).await;
        self.leave(failed.into_iter().flatten().collect())?;
        self.tell_failed(global);
        Ok(())
    }

    fn leave(&mut self, failed: Vec<(CloudName, Error)>) -> Result<()> {
        let gone = |place: &Place| failed.iter().any(|(cloud, _)| *cloud == place.name());
        if !failed.is_empty() && self.places.iter().all(gone) {
            let mut failed = failed.into_iter();
            let (_, first) = failed.next().expect("one failed");
            return Err(first);
        }
        self.places.retain(|place| !gone(place));
        self.failed.extend(failed);
        Ok(())
    }

    /// Says which targets are not worked on, and why; each once.
    pub fn tell_failed(&mut self, global: &Global) {
        for (_, error) in self.failed.iter().skip(self.told) {
            view::error::print(error, global.json);
        }
        self.told = self.failed.len();
    }
}

/// The environment's first settings, from flags and variables.
pub fn load(global: &Global) -> Result<Loaded, deployer_manifest::Problems> {
    load_of(global, manifest(global), global.env.clone())
}

/// The path of the manifest, which is said where it is not plain: it was found in a folder above.
pub fn manifest(global: &Global) -> PathBuf {
    if let Some(named) = &global.manifest {
        return named.clone();
    }
    let found = whereabouts::usual();
    if found != Path::new(MANIFEST) && !global.json && !global.quiet {
        sayln!("manifest: {}", found.display());
    }
    found
}

/// The same of this manifest and environment.
pub fn load_of(
    global: &Global,
    manifest: PathBuf,
    environment: Option<String>,
) -> Result<Loaded, deployer_manifest::Problems> {
    deployer_manifest::load(&deployer_manifest::Inputs {
        manifest,
        environment,
        vars: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        set: global.set.clone(),
    })
}

/// One cache for every call to AWS, the ledger's included.
fn aws_credentials(loaded: &Loaded) -> deployer_aws::Credentials {
    let section = loaded.manifest.targets.aws.as_ref();
    deployer_aws::Credentials::new(section.map_or("us-east-1", |section| section.region.as_str()))
}

async fn open_place(
    loaded: &Loaded,
    name: CloudName,
    switching: Switching,
    around: &Surroundings,
    aws: &deployer_aws::Credentials,
) -> Result<Place> {
    let clock = &around.clock;
    let permit = Permit::default();
    let context = Context {
        clock: Arc::clone(clock),
        call_timeout: CALL_TIMEOUT,
        permit: permit.clone(),
    };
    let targets = &loaded.manifest.targets;
    let cloud = open_cloud(loaded, name, &context, aws).await?;
    let caller = cloud.caller().await?;
    let mut env = loaded
        .manifest
        .environment_spec(name, &loaded.environment)?;
    let switched_on = cloud.prepare(&env, switching).await?;
    let ledger = ledger_store::open(loaded, cloud.target(), around, aws).await?;
    let ledger = ledger.with_permit(permit);
    let address = ledger_store::absolute(&ledger.address(), &loaded.base_dir);
    env.ledger = Some(ledger.note(&address, around.ledger_moved));
    let named_in_route53 = match (name, &targets.gcp) {
        (CloudName::Gcp, Some(section)) => named_in_route53(section),
        (CloudName::Gcp, None) | (CloudName::Aws, _) => Vec::new(),
    };
    let route53 = match name {
        // Also without a name there now: the inventory may have one of before.
        CloudName::Gcp => Some(open_route53(loaded, cloud.target().clone(), context, aws).await?),
        CloudName::Aws => None,
    };
    Ok(Place {
        cloud,
        caller,
        env,
        switched_on,
        ledger,
        route53,
        named_in_route53,
    })
}

/// Finds credentials and makes the clients; the cloud is not called.
async fn open_cloud(
    loaded: &Loaded,
    name: CloudName,
    context: &Context,
    aws: &deployer_aws::Credentials,
) -> Result<Arc<dyn Cloud>> {
    Ok(match name {
        CloudName::Aws => {
            let spec = loaded
                .manifest
                .aws_spec(&loaded.environment, &loaded.base_dir);
            let spec = spec.ok_or_else(|| no_section(name))?;
            Arc::new(Aws::open(&spec, context.clone(), aws).await?)
        }
        CloudName::Gcp => {
            let spec = loaded.manifest.gcp_spec();
            let spec = spec.ok_or_else(|| no_section(name))?;
            let endpoint = std::env::var("DEPLOYER_GCP_ENDPOINT")
                .ok()
                .filter(|url| !url.is_empty());
            Arc::new(Gcp::open(&spec, endpoint, context.clone()).await?)
        }
    })
}

fn named_in_route53(section: &GcpSection) -> Vec<String> {
    let services = section.services.iter();
    services
        .filter(|(_, service)| {
            let provider = service.dns.as_ref().map(|dns| dns.provider);
            provider == Some(DnsProvider::Route53)
        })
        .map(|(key, _)| key.clone())
        .collect()
}

/// Route 53 for names of another cloud's target; with the settings of the manifest's AWS target,
/// when there is one.
async fn open_route53(
    loaded: &Loaded,
    target: Target,
    context: Context,
    aws: &deployer_aws::Credentials,
) -> Result<Route53> {
    let section = loaded.manifest.targets.aws.as_ref();
    let endpoint = section.and_then(|section| section.endpoint.as_deref());
    // Route 53 is global; the SDK wants a region to sign for.
    let region = section.map_or("us-east-1", |section| section.region.as_str());
    Route53::open(endpoint, region, target, context, aws).await
}

fn no_section(cloud: CloudName) -> Error {
    Error::input(format!("the manifest has no `[targets.{cloud}]`"))
}

/// What every header names.
pub fn header(target: &Target, caller: &Caller) -> String {
    format!("{target} as {}", caller.principal)
}

/// Locks that are held and renewed until they are given back.
#[derive(Default)]
pub struct Locks(Vec<(Arc<Keeper>, JoinHandle<()>)>);

impl Locks {
    fn keep(&mut self, ledger: &Ledger, lease: Lease) {
        let keeper = ledger.keep(lease);
        let kept = Arc::clone(&keeper);
        let renewals = tokio::spawn(async move {
            // The run finds out by itself, before its next call.
            if let Some(loss) = kept.keep().await {
                tracing::warn!(%loss, "a lock is lost");
            }
        });
        self.0.push((keeper, renewals));
    }

    /// Gives every lock back that is still ours.
    pub async fn release(mut self) -> Result<()> {
        let mut first = Ok(());
        for (keeper, renewals) in std::mem::take(&mut self.0) {
            let given_back = keeper.give_back().await;
            renewals.abort();
            first = first.and(given_back);
        }
        first
    }

    /// Gives every lock back after a command; the command's own error comes first.
    pub async fn finish(self, result: Result<Exit>) -> Result<Exit> {
        let released = self.release().await;
        let exit = result?;
        released?;
        Ok(exit)
    }
}

impl Drop for Locks {
    /// Nobody renews a lock that was not given back: it ends by itself.
    fn drop(&mut self) {
        for (_, renewals) in &self.0 {
            renewals.abort();
        }
    }
}

/// The sizes of the manifest's key pairs.
pub fn key_bits(loaded: &Loaded) -> BTreeMap<String, u16> {
    loaded
        .manifest
        .keys
        .iter()
        .map(|(name, pair)| (name.clone(), pair.algorithm.bits()))
        .collect()
}
