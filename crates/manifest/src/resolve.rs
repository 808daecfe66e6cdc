//! Makes the specification of one target: names made, overrides taken, templates filled in.

mod asked;
mod clouds;
mod data;

pub(crate) use asked::canonical;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};
use deployer_core::names::own_tags;
use deployer_core::spec::{
    APP_RUNNER_PATIENCE, Architecture, EnvironmentSpec, HealthSpec, KeyHalf, MebiBytes, Member,
    MigrateBy, MigrateSpec, MilliCpu, OnRollback, Replicas, SecretSource, SecretSpec, SecretUse,
    ServiceSpec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::interpolate::{Scope, interpolate};
use crate::model::{EnvValue, From, Manifest, MigrateMode, PATIENCE_KEY, SERVICE_KEYS, Service};
use crate::names;
use crate::section::{AwsRuntime, SecretOverride};
use crate::source::KeyPath;
use crate::units::{Cpu, HELP, Memory, Scale};

/// What goes wrong while a specification is made, at a key.
pub(crate) struct Fault {
    pub(crate) path: KeyPath,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// What differs for one service on one target, whichever cloud it is.
#[derive(Default)]
struct Overrides {
    architecture: Option<Architecture>,
    cpu: Option<Value>,
    memory: Option<Value>,
    replicas: Option<Value>,
    env: BTreeMap<String, String>,
    url: Option<String>,
    adopt: bool,
}

/// Makes specifications; gathers faults instead of stopping at the first.
pub(crate) struct Resolver<'a> {
    manifest: &'a Manifest,
    environment: &'a str,
    cloud: CloudName,
    scope: Scope,
    pub(crate) faults: Vec<Fault>,
}

impl Manifest {
    /// What `cloud` is to hold for `environment`.
    ///
    /// # Errors
    ///
    /// `Input` when the manifest has no such target or a value cannot be resolved for it; never for
    /// the targets of a manifest that [`crate::load`] accepted, in its environment.
    pub fn environment_spec(&self, cloud: CloudName, environment: &str) -> Result<EnvironmentSpec> {
        let mut resolver = Resolver::new(self, cloud, environment)
            .ok_or_else(|| Error::input(format!("the manifest has no target `{cloud}`")))?;
        let spec = resolver.resolve();
        match resolver.faults.first() {
            None => Ok(spec),
            Some(fault) => {
                Err(Error::input(format!("{} (`{}`)", fault.message, fault.path)).hint(&fault.help))
            }
        }
    }
}

impl<'a> Resolver<'a> {
    /// `None` when the manifest has no such target.
    pub(crate) fn new(
        manifest: &'a Manifest,
        cloud: CloudName,
        environment: &'a str,
    ) -> Option<Self> {
        let (region, account) = match cloud {
            CloudName::Aws => manifest
                .targets
                .aws
                .as_ref()
                .map(|aws| (&aws.region, &aws.account)),
            CloudName::Gcp => manifest
                .targets
                .gcp
                .as_ref()
                .map(|gcp| (&gcp.region, &gcp.project)),
        }?;
        Some(Self {
            manifest,
            environment,
            cloud,
            scope: Scope::new(&manifest.app, environment, cloud, region, account),
            faults: vec![],
        })
    }

    pub(crate) fn resolve(&mut self) -> EnvironmentSpec {
        let manifest = self.manifest;
        let mut tags = BTreeMap::new();
        for (key, value) in &manifest.tags {
            let value = self.fill(value, &self.scope.clone(), || KeyPath::new(["tags", key]));
            tags.insert(key.clone(), value);
        }
        let secrets = self.secrets();
        let services = manifest
            .services
            .iter()
            .map(|(key, service)| (key.clone(), self.service(key, service)))
            .collect();
        EnvironmentSpec {
            app: manifest.app.clone(),
            environment: self.environment.to_owned(),
            tags: own_tags(&manifest.app, self.environment, &tags),
            secrets,
            databases: self.databases(),
            caches: self.caches(),
            services,
            ledger: None,
        }
    }

    fn fill(&mut self, text: &str, scope: &Scope, path: impl FnOnce() -> KeyPath) -> String {
        interpolate(text, scope).unwrap_or_else(|bad| {
            self.faults.push(Fault {
                path: path(),
                message: bad.message,
                help: bad.help,
            });
            text.to_owned()
        })
    }

    fn target_path<const N: usize>(&self, below: [&str; N]) -> KeyPath {
        let head = ["targets", self.cloud.as_str()];
        KeyPath::new(head.into_iter().chain(below))
    }

    fn secret_overrides(&self) -> &'a BTreeMap<String, SecretOverride> {
        static NONE: BTreeMap<String, SecretOverride> = BTreeMap::new();
        let targets = &self.manifest.targets;
        let secrets = match self.cloud {
            CloudName::Aws => targets.aws.as_ref().map(|aws| &aws.secrets),
            CloudName::Gcp => targets.gcp.as_ref().map(|gcp| &gcp.secrets),
        };
        secrets.unwrap_or(&NONE)
    }

    fn secrets(&mut self) -> BTreeMap<String, SecretSpec> {
        let manifest = self.manifest;
        let made: BTreeMap<_, _> = self
            .data_secrets()
            .into_iter()
            .map(|spec| (spec.key.clone(), spec))
            .collect();
        let of_data = manifest.data_secrets();
        let mut specs = made;
        for (key, secret) in &manifest.secrets {
            // A table of such a secret adds to what is made; it declares no secret of its own.
            if of_data.iter().any(|(made, _)| made == key) {
                continue;
            }
            let source = match secret.from.clone() {
                From::Cloud => SecretSource::Cloud,
                From::Env(name) => SecretSource::Env(name),
                From::File(path) => SecretSource::File(path),
                From::Generate(what) => SecretSource::Generate(what),
            };
            let named = (secret.name.as_deref(), secret.key.as_deref());
            let on_rollback = secret.on_rollback.unwrap_or_default();
            specs.insert(key.clone(), self.secret(key, named, source, on_rollback));
        }
        for (pair, keys) in &manifest.keys {
            for (key, half) in [
                (&keys.private, KeyHalf::Private),
                (&keys.public, KeyHalf::Public),
            ] {
                let source = SecretSource::Key {
                    pair: pair.clone(),
                    half,
                };
                // The other half may be with someone else already: an old key would not fit it.
                let spec = self.secret(key, (None, None), source, OnRollback::Follow);
                specs.entry(key.clone()).or_insert(spec);
            }
        }
        specs
    }

    fn secret(
        &mut self,
        key: &str,
        (name, member): (Option<&str>, Option<&str>),
        source: SecretSource,
        on_rollback: OnRollback,
    ) -> SecretSpec {
        let overrides = self
            .secret_overrides()
            .get(key)
            .cloned()
            .unwrap_or_default();
        let source = match overrides.from {
            None => source,
            Some(from) => {
                let path = self.target_path(["secrets", key, "from"]);
                match self.read::<From>(&from, path) {
                    None => source,
                    Some(From::Cloud) => SecretSource::Cloud,
                    Some(From::Env(name)) => SecretSource::Env(name),
                    Some(From::File(path)) => SecretSource::File(path),
                    Some(From::Generate(what)) => SecretSource::Generate(what),
                }
            }
        };
        let name = match (overrides.name, name) {
            (Some(name), _) => name,
            (None, Some(name)) => {
                let scope = self.scope.clone();
                self.fill(name, &scope, || KeyPath::new(["secrets", key, "name"]))
            }
            (None, None) => {
                let (app, environment) = (&self.manifest.app, self.environment);
                match self.cloud {
                    CloudName::Aws => deployer_aws::names::secret(app, environment, key),
                    CloudName::Gcp => deployer_gcp::names::secret(app, environment, key),
                }
            }
        };
        SecretSpec {
            key: key.to_owned(),
            name,
            on_rollback,
            adopt: overrides.adopt,
            member: member.and_then(|member| self.member(key, member, &source)),
            source,
        }
    }

    /// What is taken of a secret that holds more.
    fn member(&mut self, key: &str, member: &str, source: &SecretSource) -> Option<Member> {
        if *source != SecretSource::Cloud {
            self.faults.push(Fault {
                path: KeyPath::new(["secrets", key, "key"]),
                message: format!("`{member}` can be taken only of a secret that the cloud holds"),
                help: "remove `key`, or write `from = \"cloud\"`".to_owned(),
            });
            return None;
        }
        let (app, environment) = (&self.manifest.app, self.environment);
        Some(Member {
            key: member.to_owned(),
            held_in: deployer_gcp::names::secret(
                app,
                environment,
                &format!("{key}-{}", names::plain(member)),
            ),
        })
    }

    fn overrides(&self, key: &str) -> Overrides {
        let targets = &self.manifest.targets;
        match self.cloud {
            CloudName::Aws => targets
                .aws
                .as_ref()
                .and_then(|aws| aws.services.get(key))
                .map(|aws| Overrides {
                    architecture: aws.architecture,
                    cpu: aws.cpu.clone(),
                    memory: aws.memory.clone(),
                    replicas: aws.replicas.clone(),
                    env: aws.env.clone(),
                    url: aws.url.clone(),
                    adopt: aws.adopt,
                }),
            CloudName::Gcp => targets
                .gcp
                .as_ref()
                .and_then(|gcp| gcp.services.get(key))
                .map(|gcp| Overrides {
                    architecture: gcp.architecture,
                    cpu: gcp.cpu.clone(),
                    memory: gcp.memory.clone(),
                    replicas: gcp.replicas.clone(),
                    env: gcp.env.clone(),
                    url: gcp.url.clone(),
                    adopt: gcp.adopt,
                }),
        }
        .unwrap_or_default()
    }

    fn service(&mut self, key: &str, service: &Service) -> ServiceSpec {
        let record = self.record(key);
        let mut overrides = self.overrides(key);
        // Who gives the service a name means people to come by it.
        if let (None, Some(record)) = (&overrides.url, &record) {
            overrides.url = Some(format!("https://{}", record.name));
        }
        let domains = self.domains(key);
        if let (None, Some(domain)) = (&overrides.url, domains.first()) {
            overrides.url = Some(format!("https://{domain}"));
        }
        let scope = self.scope.with_url(overrides.url.as_deref());
        let (name, repository, job) = match self.cloud {
            CloudName::Aws => {
                let names = self.manifest.aws_names(key, self.environment);
                let job = format!("{}-migrate", names.service);
                (names.service, names.repository, job)
            }
            CloudName::Gcp => {
                let names = self.manifest.gcp_names(key, self.environment);
                (
                    names.service,
                    format!("{}/{}", names.repository, names.image),
                    names.job,
                )
            }
        };
        let unsaid = match overrides.adopt {
            true => unsaid(service, &overrides),
            false => BTreeSet::new(),
        };
        let (env, secrets) = self.variables(key, service, overrides.env, &scope);
        let (cpu, memory, replicas) = self.size(
            key,
            service,
            overrides.cpu,
            overrides.memory,
            overrides.replicas,
        );
        let at = |field: &'static str| {
            move |index: usize| KeyPath::new(["services", key, field, &index.to_string()])
        };
        ServiceSpec {
            key: key.to_owned(),
            name,
            repository,
            image: {
                let path = || KeyPath::new(["services", key, "image"]);
                self.fill(&service.image, &scope, path)
            },
            architecture: overrides.architecture.or(service.architecture),
            port: service.port,
            health: HealthSpec {
                path: service.health.path.clone(),
                command: service.health.command.clone(),
                interval: service.health.interval,
                timeout: service.health.timeout,
                retries: service.health.retries,
                start_period: service.health.start_period,
            },
            cpu,
            memory,
            replicas,
            entrypoint: self.fill_all(&service.entrypoint, &scope, at("entrypoint")),
            command: self.fill_all(&service.command, &scope, at("command")),
            env,
            secrets,
            migrate: self.migration(key, service, &scope, job),
            url: overrides.url,
            adopt: overrides.adopt,
            record,
            domains,
            verify: self.verify(key, service, &scope),
            patience: self.patience(key, service),
            unsaid,
        }
    }

    fn patience(&self, key: &str, service: &Service) -> Duration {
        let on_app_runner =
            self.cloud == CloudName::Aws && self.manifest.aws_runtime(key) == AwsRuntime::AppRunner;
        match on_app_runner && !service.said.contains(PATIENCE_KEY) {
            true => APP_RUNNER_PATIENCE,
            false => service.patience,
        }
    }

    fn fill_all(
        &mut self,
        texts: &[String],
        scope: &Scope,
        path: impl Fn(usize) -> KeyPath,
    ) -> Vec<String> {
        let texts = texts.iter().enumerate();
        texts
            .map(|(index, text)| self.fill(text, scope, || path(index)))
            .collect()
    }

    fn variables(
        &mut self,
        key: &str,
        service: &Service,
        overrides: BTreeMap<String, String>,
        scope: &Scope,
    ) -> (BTreeMap<String, String>, BTreeMap<String, SecretUse>) {
        let mut env = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (variable, value) in &service.env {
            if overrides.contains_key(variable) {
                continue;
            }
            match value {
                EnvValue::Plain(text) => {
                    let path = || KeyPath::new(["services", key, "env", variable]);
                    env.insert(variable.clone(), self.fill(text, scope, path));
                }
                EnvValue::Secret(secret) if self.is_needless(&secret.secret) => {}
                EnvValue::Secret(secret) => {
                    self.refuse_token(key, variable, &secret.secret);
                    secrets.insert(variable.clone(), self.manifest.secret_use(secret));
                }
            }
        }
        for (variable, text) in overrides {
            let path = self.target_path(["services", key, "env", &variable]);
            let value = self.fill(&text, scope, || path);
            env.insert(variable, value);
        }
        (env, secrets)
    }

    fn refuse_token(&mut self, key: &str, variable: &str, secret: &str) {
        let Some(cache) = self.token_made_by_cloud(secret) else {
            return;
        };
        let message =
            format!("on Google Cloud there is no secret `{secret}`: Memorystore makes the token");
        let url = self.manifest.caches.get(cache);
        let url = url.map(|of| of.url_secret(cache)).unwrap_or_default();
        let help = format!("use `{url}`, which holds the token on both clouds");
        self.faults.push(Fault {
            path: KeyPath::new(["services", key, "env", variable, "secret"]),
            message,
            help,
        });
    }

    fn size(
        &mut self,
        key: &str,
        service: &Service,
        cpu: Option<Value>,
        memory: Option<Value>,
        replicas: Option<Value>,
    ) -> (MilliCpu, MebiBytes, Replicas) {
        let cpu = cpu.and_then(|cpu| {
            let path = self.target_path(["services", key, "cpu"]);
            self.read::<Cpu>(&cpu, path)
        });
        let memory = memory.and_then(|memory| {
            let path = self.target_path(["services", key, "memory"]);
            self.read::<Memory>(&memory, path)
        });
        let replicas = replicas.and_then(|replicas| {
            let path = self.target_path(["services", key, "replicas"]);
            self.read::<Scale>(&replicas, path)
        });
        (
            cpu.unwrap_or(service.cpu).0,
            memory.unwrap_or(service.memory).0,
            replicas.unwrap_or(service.replicas).0,
        )
    }

    fn read<T: DeserializeOwned>(&mut self, value: &Value, path: KeyPath) -> Option<T> {
        T::deserialize(value)
            .map_err(|e| {
                let text = e.to_string();
                let (message, help) = text.split_once(HELP).unwrap_or((&text, ""));
                let typed = message.strip_prefix("invalid type: ");
                let typed = typed.and_then(|typed| typed.split_once(", expected "));
                self.faults.push(Fault {
                    path,
                    message: match typed {
                        Some((found, wanted)) => format!("expected {wanted}, found {found}"),
                        None => message.to_owned(),
                    },
                    help: help.to_owned(),
                });
            })
            .ok()
    }

    fn migration(
        &mut self,
        key: &str,
        service: &Service,
        scope: &Scope,
        job: String,
    ) -> Option<MigrateSpec> {
        let migrate = service.migrate.as_ref()?;
        match migrate.mode {
            MigrateMode::OnStart | MigrateMode::None => return None,
            MigrateMode::Job | MigrateMode::Exec => {}
        }
        let at = |field: &'static str| {
            move |index: usize| {
                KeyPath::new(["services", key, "migrate", field, &index.to_string()])
            }
        };
        let usual = || match service.env.get("DATABASE_URL") {
            Some(EnvValue::Secret(secret)) => Some(secret.secret.clone()),
            Some(EnvValue::Plain(_)) | None => None,
        };
        Some(MigrateSpec {
            job,
            entrypoint: self.fill_all(&migrate.entrypoint, scope, at("entrypoint")),
            command: self.fill_all(&migrate.command, scope, at("command")),
            timeout: migrate.timeout,
            database: migrate.database.clone().or_else(usual),
            by: match migrate.mode {
                MigrateMode::Exec => MigrateBy::Exec,
                MigrateMode::Job | MigrateMode::OnStart | MigrateMode::None => MigrateBy::Job,
            },
        })
    }
}

/// What the manifest is silent about, of what an adopted service has already.
fn unsaid(service: &Service, overrides: &Overrides) -> BTreeSet<String> {
    let here = |key: &str| match key {
        "cpu" => overrides.cpu.is_some(),
        "memory" => overrides.memory.is_some(),
        "replicas" => overrides.replicas.is_some(),
        _ => false,
    };
    let silent = SERVICE_KEYS.into_iter();
    let silent = silent.filter(|key| !(here(key) || service.said.contains(*key)));
    silent.map(str::to_owned).collect()
}

/// Fills in the templates of a cloud's own section, except in variables (which may name the
/// service's address, known only later), secret sources, and what templates are made of.
pub(crate) fn fill_section<T>(section: &mut T, scope: &Scope, at: &KeyPath) -> Vec<Fault>
where
    T: serde::Serialize + DeserializeOwned,
{
    let mut faults = vec![];
    let Ok(mut value) = serde_json::to_value(&*section) else {
        return faults;
    };
    let verbatim = BTreeSet::from(["account", "region", "project", "env", "from"]);
    fill_value(&mut value, scope, at, &verbatim, &mut faults);
    if let Ok(filled) = T::deserialize(value) {
        *section = filled;
    }
    faults
}

fn fill_value(
    value: &mut Value,
    scope: &Scope,
    at: &KeyPath,
    verbatim: &BTreeSet<&str>,
    faults: &mut Vec<Fault>,
) {
    match value {
        Value::String(text) => match interpolate(text, scope) {
            Ok(filled) => *text = filled,
            Err(bad) => faults.push(Fault {
                path: at.clone(),
                message: bad.message,
                help: bad.help,
            }),
        },
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                fill_value(value, scope, &at.join(index.to_string()), verbatim, faults);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                if !verbatim.contains(key.as_str()) {
                    fill_value(value, scope, &at.join(key), verbatim, faults);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
