//! What the fake clouds are to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::capability::{Destination, ImageContent, LocalImage, Rerun, SecretContent};
use deployer_core::compose::{Given, Part};
use deployer_core::error::{Error, Result};
use deployer_core::ledger::{Ledger, LedgerMigrations};
use deployer_core::node::Watch;
use deployer_core::spec::{
    CacheSpec, DatabaseSpec, EnvironmentSpec, Generate, HealthSpec, LeadsTo, MebiBytes, MigrateBy,
    MigrateSpec, MilliCpu, OnRollback, RecordSpec, Replicas, SecretSource, SecretSpec, SecretUse,
    ServiceSpec, SslMode,
};
use uuid::Uuid;

/// What a test asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub digest: &'static str,
    pub greeting: &'static str,
    /// Values by name; the first one names the database.
    pub secrets: BTreeMap<&'static str, &'static str>,
    pub replicas: u32,
    pub rerun: Rerun,
    /// The class of the database `main`, when there is one.
    pub database: Option<&'static str>,
    /// Whether there is a cache `sessions`.
    pub cache: bool,
    /// Where the service's name leads, when it has one.
    pub record: Option<&'static str>,
}

impl Wanted {
    /// Version 1 with a database and a signing key.
    pub fn first() -> Self {
        Self {
            digest: "sha256:one",
            greeting: "hello",
            secrets: BTreeMap::from([
                ("database-url", "postgres://one"),
                ("signing-key", "key one"),
            ]),
            replicas: 2,
            rerun: Rerun::No,
            database: None,
            cache: false,
            record: None,
        }
    }

    /// Version 1 with a managed database and a cache, whose passwords are made.
    pub fn with_data() -> Self {
        Self {
            secrets: BTreeMap::from([("signing-key", "key one")]),
            database: Some("small"),
            cache: true,
            ..Self::first()
        }
    }

    /// The secrets of databases and caches, with where each comes from.
    fn made(&self) -> Vec<(&'static str, SecretSource)> {
        let generated = || SecretSource::Generate(Generate::Hex(24));
        let mut made = Vec::new();
        if self.database.is_some() {
            made.push(("main-password", generated()));
            made.push(("main-url", SecretSource::DatabaseUrl("main".into())));
        }
        if self.cache {
            made.push(("sessions-token", generated()));
            made.push(("sessions-url", SecretSource::CacheUrl("sessions".into())));
        }
        made
    }

    fn databases(&self) -> BTreeMap<String, DatabaseSpec> {
        let database = self.database.map(|class| DatabaseSpec {
            key: "main".into(),
            name: "main".into(),
            version: 16,
            class: class.into(),
            storage_gib: 20,
            high_availability: false,
            backup_days: 7,
            deletion_protection: true,
            database: "app".into(),
            user: "app".into(),
            password: "main-password".into(),
            url: "main-url".into(),
            host: None,
            sslmode: SslMode::Require,
            authority: None,
            adopt: false,
            unsaid: BTreeSet::new(),
        });
        database
            .into_iter()
            .map(|one| ("main".into(), one))
            .collect()
    }

    fn caches(&self) -> BTreeMap<String, CacheSpec> {
        let cache = self.cache.then(|| CacheSpec {
            key: "sessions".into(),
            name: "sessions".into(),
            version: "7.0".into(),
            class: "small".into(),
            memory_gib: 1,
            high_availability: false,
            token: Some("sessions-token".into()),
            url: "sessions-url".into(),
            authority: None,
            adopt: false,
            unsaid: BTreeSet::new(),
        });
        cache
            .into_iter()
            .map(|one| ("sessions".into(), one))
            .collect()
    }

    pub fn with_digest(digest: &'static str) -> Self {
        Self {
            digest,
            ..Self::first()
        }
    }

    pub(super) fn environment(&self) -> EnvironmentSpec {
        let given = self.secrets.keys().map(|key| (*key, SecretSource::Cloud));
        let secrets = given.chain(self.made()).map(|(key, source)| {
            let secret = SecretSpec {
                key: key.into(),
                name: key.into(),
                source,
                on_rollback: OnRollback::Restore,
                adopt: false,
                member: None,
            };
            (key.to_owned(), secret)
        });
        EnvironmentSpec {
            app: "app".into(),
            environment: "staging".into(),
            tags: BTreeMap::new(),
            secrets: secrets.collect(),
            databases: self.databases(),
            caches: self.caches(),
            services: BTreeMap::from([("idp".into(), self.service())]),
            ledger: None,
        }
    }

    fn service(&self) -> ServiceSpec {
        let made = self.made().into_iter().map(|(key, _)| key);
        let urls = made.filter(|key| key.ends_with("-url"));
        let used = self.secrets.keys().copied().chain(urls).map(|key| {
            let variable = key.to_uppercase().replace('-', "_");
            (
                variable,
                SecretUse {
                    secret: key.into(),
                    inject: Default::default(),
                    member: None,
                },
            )
        });
        ServiceSpec {
            key: "idp".into(),
            name: "idp".into(),
            repository: "idp-images".into(),
            image: "image.tar".into(),
            port: 8080,
            health: HealthSpec {
                path: "/health".into(),
                command: Vec::new(),
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(2),
                retries: 3,
                start_period: Duration::ZERO,
            },
            cpu: MilliCpu(256),
            memory: MebiBytes(512),
            replicas: Replicas {
                min: self.replicas,
                max: self.replicas,
            },
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::from([("GREETING".into(), self.greeting.into())]),
            secrets: used.collect(),
            migrate: Some(MigrateSpec {
                job: "idp-migrate".into(),
                entrypoint: Vec::new(),
                command: vec!["migrate".into()],
                timeout: Duration::from_secs(600),
                by: MigrateBy::Job,
                database: match self.database {
                    Some(_) => Some("main-url".into()),
                    None => {
                        let key = "database-url";
                        self.secrets.contains_key(key).then(|| key.into())
                    }
                },
            }),
            url: None,
            architecture: None,
            adopt: false,
            record: self.record.map(|address| RecordSpec {
                name: "idp.example.com".into(),
                zone: "example.com".into(),
                leads_to: LeadsTo::LoadBalancer(address.into()),
                servers: Vec::new(),
                adopt: false,
            }),
            domains: Vec::new(),
            verify: Default::default(),
            patience: deployer_core::spec::PATIENCE,
            unsaid: BTreeSet::new(),
        }
    }

    pub(super) fn given(&self, ledger: &Ledger) -> Given {
        let image = LocalImage {
            source: Arc::new(NoContent),
            digest: self.digest.into(),
            platform_digest: self.digest.into(),
            tag: None,
            origin: None,
        };
        let contents = self.secrets.iter();
        let contents = contents.map(|(key, value)| (*key, SecretContent::Exactly((*value).into())));
        // Another one each time, as the command line does: what is there stays.
        let generated = self.made().into_iter().filter_map(|(key, source)| {
            let fresh = format!("made-{}", Uuid::new_v4().simple());
            matches!(source, SecretSource::Generate(_))
                .then(|| (key, SecretContent::AtFirst(fresh.into())))
        });
        Given {
            births: BTreeMap::new(),
            images: BTreeMap::from([("idp".into(), image)]),
            contents: contents
                .chain(generated)
                .map(|(key, content)| (key.into(), content))
                .collect(),
            migrations: Arc::new(LedgerMigrations::new(ledger.clone())),
            rerun: self.rerun,
            part: Part::All,
            redeploys: BTreeMap::new(),
            held: BTreeSet::new(),
            dns: BTreeMap::new(),
            gates: BTreeMap::new(),
            releases: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
struct NoContent;

#[async_trait]
impl ImageContent for NoContent {
    async fn copy_to(&self, _: &Destination, _: Option<&str>, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("the fake registry copies by itself"))
    }

    async fn tag(&self, _: &Destination, _: &str) -> Result<()> {
        Err(Error::internal("the fake registry tags by itself"))
    }

    async fn is_at(&self, _: &Destination) -> Result<bool> {
        Err(Error::internal("the fake registry looks by itself"))
    }
}
