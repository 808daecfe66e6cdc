//! One command's view of the world: the manifest, the targets asked for, their callers and ledgers.

mod locks;
mod place;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deployer_core::address::{CloudName, Target};
use deployer_core::capability::{Caller, Switching};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::Ledger;
use deployer_core::usual::Usual;
use deployer_manifest::Loaded;
use tokio::sync::OnceCell;

pub use self::locks::Locks;
pub use self::place::Place;
use crate::args::{Command, Global, Which};
use crate::exit::Exit;
use crate::logins::Logins;
use crate::system::{Stop, StopWords, Surroundings};
use crate::view;
use crate::whereabouts::{self, MANIFEST};

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
    /// How long things usually take, once that was asked for.
    pub usual: OnceCell<Usual>,
}

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
        let aws = place::aws_credentials(&loaded);
        let opened = clouds
            .iter()
            .map(|cloud| place::open(&loaded, *cloud, switching, &surroundings, &aws));
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
            let opened = place::open(&self.loaded, cloud, never, &self.surroundings, &self.aws);
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
        let mut ledgers = Vec::new();
        for cloud in self.loaded.manifest.targets() {
            if here(&cloud) {
                continue;
            }
            let around = &self.surroundings;
            let opened = place::open_ledger(&self.loaded, cloud, around, &self.aws).await;
            ledgers.extend(opened.ok().map(|ledger| (cloud, ledger)));
        }
        ledgers
    }

    /// Opens the targets that are worked on anew: what was opened before makes no call any more
    /// once its lock was given back.
    ///
    /// Errors: those of opening one.
    pub async fn reopen(&mut self) -> Result<()> {
        let never = Switching::Never;
        let names = self.places.iter().map(Place::name);
        let opened =
            names.map(|name| place::open(&self.loaded, name, never, &self.surroundings, &self.aws));
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
            Some(name) => {
                let error = Error::input(format!("there is no service `{name}`"));
                Err(
                    error.hint(match self.loaded.manifest.called_now("service", name) {
                        Some(now) => now.hint(),
                        None => format!("the manifest has: {}", known.join(", ")),
                    }),
                )
            }
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
pub fn load(global: &Global, command: &Command) -> Result<Loaded, deployer_manifest::Problems> {
    let inputs = inputs(global, manifest(global), global.env.clone());
    match command.reads_or_mends() {
        true => deployer_manifest::load_to_read(&inputs),
        false => deployer_manifest::load(&inputs),
    }
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

/// What is said where nobody named a manifest and there is none.
pub fn no_manifest(global: &Global) -> Option<Error> {
    if global.manifest.is_some() || whereabouts::usual().exists() {
        return None;
    }
    let searched = whereabouts::searched();
    let error = Error::input(format!("there is no `{MANIFEST}` {searched}"));
    Some(error.hint("`deployer init` makes a first one; another is named with `--manifest FILE`"))
}

/// The same of this manifest and environment.
pub fn load_of(
    global: &Global,
    manifest: PathBuf,
    environment: Option<String>,
) -> Result<Loaded, deployer_manifest::Problems> {
    deployer_manifest::load(&inputs(global, manifest, environment))
}

fn inputs(
    global: &Global,
    manifest: PathBuf,
    environment: Option<String>,
) -> deployer_manifest::Inputs {
    deployer_manifest::Inputs {
        manifest,
        environment,
        vars: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        set: global.set.clone(),
    }
}

/// What every header names.
pub fn header(target: &Target, caller: &Caller) -> String {
    format!("{target} as {}", caller.principal)
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
