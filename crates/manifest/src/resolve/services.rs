//! Resolves services for one target.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::spec::{
    HealthSpec, MebiBytes, MigrateBy, MigrateSpec, MilliCpu, Replicas, SecretUse, ServiceSpec,
};
use serde_json::Value;

use super::{Fault, Resolver};
use crate::interpolate::Scope;
use crate::model::{EnvValue, MigrateMode, PATIENCE_KEY, SERVICE_KEYS, Service};
use crate::section::OwnService;
use crate::source::KeyPath;
use crate::units::{Cpu, Memory, Scale};

impl Resolver<'_> {
    pub(super) fn service(&mut self, key: &str, service: &Service) -> ServiceSpec {
        let section = self.section;
        let record = section.record(key);
        let mut overrides = section.service(key);
        // Who gives the service a name means people to come by it.
        if let (None, Some(record)) = (&overrides.url, &record) {
            overrides.url = Some(format!("https://{}", record.name));
        }
        let domains = section.domains(key);
        if let (None, Some(domain)) = (&overrides.url, domains.first()) {
            overrides.url = Some(format!("https://{domain}"));
        }
        let scope = self.scope.with_url(overrides.url.as_deref());
        let called = self.manifest.called(key);
        let names = section.service_names(&self.manifest.app, self.environment, called);
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
            name: names.service,
            repository: names.repository,
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
            migrate: self.migration(key, service, &scope, names.job),
            url: overrides.url,
            adopt: overrides.adopt,
            record,
            domains,
            verify: self.verify(key, service, &scope),
            patience: match section.runtime(key).patience {
                Some(longer) if !service.said.contains(PATIENCE_KEY) => longer,
                Some(_) | None => service.patience,
            },
            unsaid,
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
        let catalogue = self.section.catalogue();
        let message = format!(
            "on {} there is no secret `{secret}`: {} makes the token",
            catalogue.title, catalogue.cache.product
        );
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
fn unsaid(service: &Service, overrides: &OwnService) -> BTreeSet<String> {
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
