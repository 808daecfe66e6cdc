//! Services, revisions and migration jobs on Cloud Run.

// long: the contract of a runtime, answered in one go

mod account;
mod autopsy;
pub(crate) mod conditions;
pub(crate) mod container;
pub(crate) mod counts;
pub(crate) mod creation;
mod instead;
pub(crate) mod invoker;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod migration;
pub(crate) mod one_off;
pub(crate) mod operate;
pub(crate) mod patience;
pub(crate) mod probes;
pub(crate) mod quantity;
pub(crate) mod rollout;
pub(crate) mod service;
pub(crate) mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::one_off::{OneOffs, Order};
use deployer_core::capability::{
    Activation, Autopsy, Entrance, ImageRef, LetIn, Revision, RevisionInfo, Runtime, Scope,
    SecretVersion, ServiceInputs, ServiceOutputs, Services, Serving, ServingState,
};
use deployer_core::error::{Error, Result};
use deployer_core::gate::HoldsBack;
use deployer_core::graph::{Graph, Inputs, Output, Value};
use deployer_core::kind::Site;
use deployer_core::migration::{self as step, Identity, Migrated};
use deployer_core::names::LEDGER_LABEL;
use deployer_core::node::{Token, Watch};
use deployer_core::ours;
use deployer_core::spec::{Architecture, EnvironmentSpec, Inject, MigrateSpec, ServiceSpec};
use deployer_core::wait::Readiness;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_run_v2::model::{self, IngressTraffic};
use secrecy::{ExposeSecret, SecretString};

use crate::Gcp;
use crate::composition::Composition;
use crate::error::{self, Found};
use crate::ground::ServiceAccount;
use crate::identity_token;
use crate::labels::{self, tags};
use crate::paths::short;
use crate::project::Project;
use crate::secret_access::{self, Access, Whose};
use crate::secret_store::{held_in, moment};
use container::{Variables, Way};
use job::{Born, DatabasePin};
use patience::Patience;

impl Runtime for Composition<'_> {
    fn service(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
    ) -> ServiceOutputs {
        let env = self.env;
        let granted = match scope {
            Scope::Whole => self.access(graph, service, inputs),
            Scope::CodeOnly => Vec::new(),
        };
        let migrated = service.migrate.as_ref().map(|migrate| {
            let ready = self.job(graph, service, migrate, inputs, (scope, &granted));
            self.migration(graph, service, migrate, inputs, &ready)
        });
        let (migrated, migration) = migrated.unzip();
        let address = self.address(service::KIND, &service.name);
        let (revision, url) = (Output::of(&address), Output::of(&address));
        let ownership = labels::ownership(env, service.adopt, &graph.past(&address));
        let owner = ownership.clone();
        graph.resource(|taken| service::RunService {
            calls: service::Calls::new(&self.project, &service.name),
            address: address.clone(),
            shape: shape::Shape::new(
                service,
                self.project.service_section(&service.key),
                (self.account(service, taken), self.way(taken)),
                &self.project.names,
                ownership,
            ),
            ledger: env.ledger.clone(),
            image: taken.pass(&inputs.image),
            variables: self.variables(service, inputs, scope, taken),
            scope,
            _migrated: migrated.as_ref().map(|done| taken.take(done)),
            patience: Patience::new(!granted.is_empty(), &self.project.unseen),
            _granted: granted.iter().map(|done| taken.take(done)).collect(),
            revision: revision.clone(),
            url: url.clone(),
            redeploy: inputs.redeploy.clone(),
            there: Mutex::default(),
            serves: Mutex::default(),
            ours: Mutex::default(),
            gate: inputs.gate.clone(),
            held: Mutex::default(),
        });
        if scope == Scope::Whole {
            let asked = self.project.service_section(&service.key).public;
            let wish = (invoker::Wish::of(asked, service.adopt), service.adopt);
            let at = self.address(invoker::KIND, &service.name);
            let known = graph.past(&at).known;
            graph.resource(|taken| {
                let service = taken.take(&revision);
                invoker::Invoker::new(&self.project, at, wish, owner, known, service)
            });
        }
        ServiceOutputs {
            revision,
            url,
            service: address,
            migration,
        }
    }

    fn holds_back(&self, service: &ServiceSpec) -> HoldsBack {
        service::holds_back(&service.name)
    }
}

#[async_trait]
impl Services for Gcp {
    /// The container contract: "Cloud Run specifically supports the Linux x86_64 ABI format"
    /// (<https://docs.cloud.google.com/run/docs/container-contract#languages>).
    fn runs(&self, _service: &ServiceSpec, architecture: Architecture) -> Result<()> {
        match architecture {
            Architecture::X86 => Ok(()),
            Architecture::Arm => Err(Error::input(
                "Cloud Run runs no arm64 containers, only linux/amd64",
            )
            .hint(
                "build the image for it as well (`docker build --platform linux/amd64`, or `docker buildx build --platform \
                 linux/amd64,linux/arm64`); with both, \
                 `[targets.gcp.services.NAME] architecture = \"x86_64\"` leaves arm64 to the other target",
            )),
        }
    }

    async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>> {
        let calls = service::Calls::new(&self.project, &service.name);
        let there = match calls.find().await? {
            Found::Here(there) => there,
            Found::Absent => return Ok(None),
            Found::Denied(_) => calls.get().await?,
        };
        let shares = rollout::shares(&there);
        let mut images = BTreeMap::new();
        for (name, _) in &shares {
            let path = format!("{}/revisions/{name}", calls.path());
            let revisions = self.project.clients.revisions.reading().await;
            let revision = revisions
                .get_revision()
                .set_name(path)
                .send()
                .await
                .map_err(|error| error::failed(error, &format!("cannot read revision `{name}`")))?;
            images.insert(name.clone(), image_of(&revision));
        }
        let given = (!there.uri.is_empty()).then(|| there.uri.clone());
        Ok(Some(Serving {
            service: service.name.clone(),
            wanted: wanted(&there),
            state: serving_state(&there),
            traffic: shares
                .into_iter()
                .map(|(name, percent)| (Revision(name), percent.unsigned_abs()))
                .collect(),
            images,
            instances: None,
            url: service.url.clone().or(given),
            put_back: None,
        }))
    }

    async fn newest_rollout(&self, service: &ServiceSpec) -> Result<Option<String>> {
        let calls = service::Calls::new(&self.project, &service.name);
        let there = calls.find().await?.seen(&calls.cannot("read"))?;
        let newest = there.as_ref().map(|it| it.latest_created_revision.as_str());
        Ok(newest.and_then(shape::revision_name).map(str::to_owned))
    }

    async fn revisions(&self, service: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
        let calls = service::Calls::new(&self.project, &service.name);
        let action = calls.cannot("list the revisions of");
        let mut items = self
            .project
            .clients
            .revisions
            .reading()
            .await
            .list_revisions()
            .set_parent(calls.path())
            .by_item();
        let mut revisions = Vec::new();
        while let Some(item) = items.next().await {
            match item {
                Ok(revision) if revision.delete_time.is_some() => {}
                Ok(revision) if conditions::never_ready(&revision) => {}
                Ok(revision) => revisions.push(info(&revision)),
                Err(error) if error::is_absent(&error) => return Ok(Vec::new()),
                Err(error) => return Err(error::failed(error, &action)),
            }
        }
        revisions.sort_by(|a, b| (b.created, &b.revision.0).cmp(&(a.created, &a.revision.0)));
        Ok(revisions)
    }

    async fn pinned(
        &self,
        service: &str,
        revision: &Revision,
    ) -> Result<BTreeMap<String, SecretVersion>> {
        // Whoever deploys may name a revision: `SERVICE-green`.
        let service = self.project.names.service(service);
        let path = format!("{service}/revisions/{}", short(&revision.0));
        let revisions = self.project.clients.revisions.reading().await;
        let there = revisions
            .get_revision()
            .set_name(path)
            .send()
            .await
            .map_err(|error| {
                error::failed(error, &format!("cannot read revision `{}`", revision.0))
            })?;
        Ok(container::main_container(&there.containers)
            .map(|main| container::pinned(&self.project.names, main))
            .unwrap_or_default())
    }

    /// Scaling is part of the template.
    fn revisions_have_sizes(&self) -> bool {
        true
    }

    async fn activate(
        &self,
        activation: &Activation,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Revision> {
        let calls = service::Calls::new(&self.project, &activation.service);
        operate::carry_out(&calls, activation, 0, token, watch).await
    }

    async fn noted_ledger(&self, owner: &ours::Owner, service: &str) -> Result<Option<String>> {
        let calls = service::Calls::new(&self.project, service);
        let found = calls.find().await?.seen(&calls.cannot("read"))?;
        let found = found.filter(|found| Project::ownership_of(owner).is_on(&tags(&found.labels)));
        Ok(found.and_then(|found| found.labels.get(LEDGER_LABEL).cloned()))
    }

    async fn must_be_of(&self, owner: &ours::Owner, service: &str) -> Result<()> {
        let calls = service::Calls::new(&self.project, service);
        let found = calls.find().await?.seen(&calls.cannot("read"))?;
        let ours = Project::ownership_of(owner);
        let stranger = found.and_then(|found| ours.foreign(&tags(&found.labels)));
        match stranger {
            Some(stranger) => Err(stranger.refusal(format!("service `{service}`"))),
            None => Ok(()),
        }
    }

    async fn entrance(&self, service: &ServiceSpec, by: LetIn) -> Result<Entrance> {
        let section = self.project.service_section(&service.key);
        let calls = service::Calls::new(&self.project, &service.name);
        let Found::Here(there) = calls.find().await? else {
            return Ok(Entrance::Open);
        };
        let leads_in = service.url.is_some() || service.record.is_some();
        if let (Some(why), false) = (closed_to_the_internet(&there), leads_in) {
            return Ok(Entrance::Inside(why));
        }
        // "The IAP check happens first and accepts or blocks requests. Then the Cloud Run IAM check
        // accepts or blocks": it asks for a person, whom nobody here is
        // (<https://docs.cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run>).
        if there.iap_enabled {
            return Ok(Entrance::Locked(
                "Identity-Aware Proxy asks who calls, before Cloud Run does".to_owned(),
            ));
        }
        let wish = invoker::Wish::of(section.public, service.adopt);
        let is_wished = by == LetIn::Manifest && wish == invoker::Wish::Everyone;
        if there.invoker_iam_disabled || is_wished {
            return Ok(Entrance::Open);
        }
        let invokers = invoker::Calls::new(&self.project, &service.name);
        if let Found::Here(true) = invokers.find().await? {
            return Ok(Entrance::Open);
        }
        // Whatever name leads to a service, its tokens are for the one that Cloud Run gave it.
        Ok(
            match identity_token::of(&self.project.http, &self.project.source, &there.uri).await {
                // Left alone by the app, whose own `Authorization` this is not.
                Ok(token) => Entrance::With {
                    header: "x-serverless-authorization",
                    value: SecretString::from(format!("Bearer {}", token.expose_secret())),
                },
                Err(why) => Entrance::Locked(format!(
                    "only invited callers may call it, and there is no identity token here: {why}"
                )),
            },
        )
    }

    async fn one_offs(
        &self,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        order: Order,
    ) -> Result<Box<dyn OneOffs>> {
        let executions = one_off::of(&self.project, env, service, order).await?;
        Ok(Box::new(executions))
    }

    fn holder_of_one_offs(&self, service: &ServiceSpec) -> Option<Address> {
        let name = one_off::job_of(&service.name);
        Some(Address::new(&self.project.target, job::KIND, name))
    }

    fn takes_no_commands(&self, _service: &ServiceSpec) -> Option<&'static str> {
        // No method of the Admin API runs anything in an instance (Cloud Run Admin API v2,
        // "REST Resource: projects.locations.services").
        Some("Cloud Run opens no session in a container that serves")
    }

    async fn autopsy(&self, service: &ServiceSpec) -> Autopsy {
        autopsy::of(&self.project, service).await
    }
}

impl Composition<'_> {
    fn address(&self, kind: &str, name: &str) -> Address {
        Address::new(&self.project.target, kind, name)
    }

    fn account(&self, service: &ServiceSpec, taken: &mut Inputs) -> Option<Value<ServiceAccount>> {
        let account = self.ground.account_of(&service.key);
        account.map(|account| taken.pass(account))
    }

    fn way(&self, taken: &mut Inputs) -> Way {
        let through = self.ground.network.taken(taken);
        Way::new(&self.project.names, through, self.project.section.egress)
    }

    /// Declares the access of the service's account to each secret that the service uses. Where the
    /// manifest names none, that is what each service and job which takes the secret runs as
    /// already.
    fn access(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
    ) -> Vec<Output<()>> {
        let named = self.ground.account_of(&service.key);
        let used: BTreeSet<&String> = service.secrets.values().map(|used| &used.secret).collect();
        let used = used.into_iter().filter_map(|key| {
            let made = inputs.secrets.get(key)?;
            self.env.secrets.get(key).map(|secret| (secret, made))
        });
        used.map(|(secret, made)| {
            let name = held_in(secret);
            let whose = match named {
                Some(account) => Whose::named(account),
                None => Whose::Of(self.users_of(&secret.key)),
            };
            let address = secret_access::address(&self.project, name, &whose);
            // Another service may use it too.
            if graph.find(&address).is_none() {
                let anothers = secret.may_be_anothers() && secret.member.is_none();
                graph.resource(|taken| {
                    let takes = (named.map(|it| taken.pass(it)), taken.pass(made));
                    Access::new(&self.project, name, whose, anothers, takes)
                });
            }
            Output::of(&address)
        })
        .collect()
    }

    fn variables(
        &self,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
        taken: &mut Inputs,
    ) -> Variables {
        let names = &self.project.names;
        match scope {
            Scope::Whole => Variables::from_nodes(names, self.env, service, &inputs.secrets, taken),
            Scope::CodeOnly => Variables::as_they_run(names, self.env, service),
        }
    }

    fn job(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        migrate: &MigrateSpec,
        inputs: &ServiceInputs,
        (scope, granted): (Scope, &[Output<()>]),
    ) -> Output<Identity> {
        let address = self.address(job::KIND, &migrate.job);
        let ready = Output::of(&address);
        let ownership = labels::ownership(self.env, service.adopt, &graph.past(&address));
        graph.resource(|taken| job::RunJob {
            calls: job::Calls::new(&self.project, &migrate.job),
            address,
            shape: job::Shape {
                spec: service.clone(),
                migrate: migrate.clone(),
                account: self.account(service, taken),
                way: self.way(taken),
                retries: self.project.service_section(&service.key).migrate_retries,
                ownership,
                names: self.project.names.clone(),
            },
            image: taken.pass(&inputs.image),
            variables: self.variables(service, inputs, scope, taken),
            database: database_pin(service, migrate, inputs, scope, taken),
            born: born(self.env, migrate, inputs, taken),
            scope,
            patience: Patience::new(!granted.is_empty(), &self.project.unseen),
            _granted: granted.iter().map(|done| taken.take(done)).collect(),
            ready: ready.clone(),
            there: Mutex::default(),
        });
        ready
    }

    fn migration(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        migrate: &MigrateSpec,
        inputs: &ServiceInputs,
        ready: &Output<Identity>,
    ) -> (Output<Migrated>, Output<String>) {
        let address = self.address(migration::KIND, &migrate.job);
        let direct = self.ground.network.is_direct();
        let others = self
            .env
            .services
            .values()
            .filter(|it| it.key != service.key);
        let others = others.filter_map(|it| Some(it.migrate.as_ref()?.job.clone()));
        let named = (service.name.as_str(), migrate);
        step::declare(graph, address, named, inputs, |taken| {
            let executions = jobs::Executions {
                project: Arc::clone(&self.project),
                job: job::Calls::new(&self.project, &migrate.job),
                timeout: migrate.timeout,
                retries: self.project.service_section(&service.key).migrate_retries,
                program: jobs::Program::OfJob,
                others: others.collect(),
                direct,
            };
            let database = migration::Database {
                pinned: taken.take(ready),
                named: migrate.database.is_some(),
            };
            (executions, Box::new(database))
        })
    }
}

/// Why nobody reaches a service over the internet. `None` when people do.
fn closed_to_the_internet(service: &model::Service) -> Option<String> {
    let way = "name what leads in with `url` to have it asked";
    match service.ingress {
        IngressTraffic::InternalOnly => Some(format!(
            "its ingress is `internal`: it cannot be asked from here; {way}"
        )),
        IngressTraffic::InternalLoadBalancer => Some(format!(
            "its ingress is `internal-and-load-balancer`: it cannot be asked at its own address; {way}"
        )),
        _ if service.default_uri_disabled => {
            Some(format!("its own address is switched off; {way}"))
        }
        _ => None,
    }
}

/// Where the migration's database version comes from.
fn database_pin(
    service: &ServiceSpec,
    migrate: &MigrateSpec,
    inputs: &ServiceInputs,
    scope: Scope,
    taken: &mut Inputs,
) -> DatabasePin {
    let Some(key) = &migrate.database else {
        return DatabasePin::None;
    };
    match scope {
        Scope::Whole => inputs.secrets.get(key).map_or(DatabasePin::None, |value| {
            DatabasePin::Node(taken.pass(value))
        }),
        Scope::CodeOnly => service
            .secrets
            .iter()
            .find(|(_, used)| used.secret == *key && used.inject == Inject::Value)
            .map_or(DatabasePin::None, |(name, _)| {
                DatabasePin::Variable(name.clone())
            }),
    }
}

/// Which database the migration's secret names: one of the manifest's own, or one that a person
/// gave.
fn born(
    env: &EnvironmentSpec,
    migrate: &MigrateSpec,
    inputs: &ServiceInputs,
    taken: &mut Inputs,
) -> Born {
    let key = migrate.database.as_ref();
    match key.and_then(|key| inputs.births.get(key)) {
        Some(birth) => Born::Ours(taken.pass(birth)),
        None => Born::Given {
            secret: key
                .and_then(|key| env.secrets.get(key))
                .map(|secret| secret.name.clone()),
            seen: Mutex::default(),
        },
    }
}

fn image_of(revision: &model::Revision) -> ImageRef {
    let main = container::main_container(&revision.containers);
    ImageRef(main.map(|main| main.image.clone()).unwrap_or_default())
}

fn info(revision: &model::Revision) -> RevisionInfo {
    RevisionInfo {
        revision: Revision(short(&revision.name).to_owned()),
        image: image_of(revision),
        created: moment(revision.create_time.as_ref()),
    }
}

/// The revision that the traffic asks for. `None` for a split, or before there is one.
fn wanted(service: &model::Service) -> Option<Revision> {
    let asked: Vec<_> = service
        .traffic
        .iter()
        .filter(|target| target.percent > 0)
        .collect();
    let name = match asked.as_slice() {
        [] => &service.latest_created_revision,
        [one] if one.revision.is_empty() => &service.latest_created_revision,
        [one] => &one.revision,
        _ => return None,
    };
    shape::revision_name(name).map(|name| Revision(name.to_owned()))
}

fn serving_state(service: &model::Service) -> ServingState {
    let state = match wanted(service) {
        Some(revision) => rollout::of_revision(service, &revision.0),
        None => Readiness::Failed(format!(
            "traffic is split: {}",
            rollout::show_asked(&service.traffic)
        )),
    };
    state.into()
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::TrafficTarget;

    use super::*;

    #[test]
    fn what_is_wanted_is_the_newest_revision_unless_traffic_names_another() {
        let service =
            model::Service::new().set_latest_created_revision("a/revisions/idp-00002-abc");
        assert_eq!(wanted(&service), Some(Revision("idp-00002-abc".into())));
        let to = |name: &str, percent| TrafficTarget::new().set_revision(name).set_percent(percent);
        let pinned = service.clone().set_traffic([to("idp-00001-xyz", 100)]);
        assert_eq!(wanted(&pinned), Some(Revision("idp-00001-xyz".into())));
        let split = service.set_traffic([to("idp-00001-xyz", 50), to("idp-00002-abc", 50)]);
        assert_eq!(wanted(&split), None);
        assert!(
            matches!(serving_state(&split), ServingState::Failed(why) if why.contains("split"))
        );
    }
}
