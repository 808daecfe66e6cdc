//! Redis on Memorystore: an instance whose token and authority Google makes, and the URL that they make together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Cache, CacheOutputs, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::{Effect, Reading, Ready, Resource, Token, Watch};
use deployer_core::spec::{CacheSpec, EnvironmentSpec};
use deployer_core::wait::{Pace, Readiness};
use google_cloud_longrunning::model::{Operation, operation};
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::{State, Tier, TransitEncryptionMode};
use google_cloud_wkt::FieldMask;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{self, Found};
use crate::labels::{self, Owner};
use crate::operation as operations;
use crate::project::{Names, Project};

/// The kind in addresses.
pub(crate) const KIND: &str = "redis.instance";

/// Making or scaling an instance takes some five to ten minutes; Google names no bound.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The port of encrypted connections, until the instance names it.
const TLS_PORT: i32 = 6378;

/// Memorystore for Redis behind [`Cache`].
pub(crate) struct Memorystore {
    pub(crate) project: Arc<Project>,
}

impl Cache for Memorystore {
    fn cache(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        cache: &CacheSpec,
        _token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs {
        let section = &self.project.section;
        let own = section.caches.get(&cache.key);
        let network = own.and_then(|own| own.network.as_ref());
        let names = self.project.names.clone();
        let labels = labels::of(env);
        let address = Address::new(&self.project.target, KIND, &cache.name);
        let url = Output::of(&address);
        let authority = Output::of(&address);
        graph.resource(|_| Instance {
            calls: Calls::new(&self.project, &cache.name),
            address,
            owner: Owner::wanted(&labels, cache.adopt),
            shape: Shape {
                spec: cache.clone(),
                network: network
                    .or(section.network.as_ref())
                    .map(|network| names.network(network)),
                labels,
                names,
            },
            url: url.clone(),
            authority: authority.clone(),
        });
        CacheOutputs {
            url,
            authority: Some(authority),
        }
    }
}

/// What the manifest says of one instance.
struct Shape {
    spec: CacheSpec,
    /// In full; the project's default network when `None`.
    network: Option<String>,
    labels: BTreeMap<String, String>,
    names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent about stays.
    ///
    /// How the network is reached is left to Google: its default needs nothing set up there.
    fn compose(&self, base: model::Instance) -> model::Instance {
        let tier = if self.spec.high_availability {
            Tier::StandardHa
        } else {
            Tier::Basic
        };
        let labels = labels::merged(&self.labels, &base.labels);
        let network = self.network.clone();
        let network = network.unwrap_or_else(|| self.names.network("default"));
        base.set_name(self.names.cache(&self.spec.name))
            .set_redis_version(googles_version(&self.spec.version))
            .set_tier(tier)
            // Sizes beyond an i32 are refused with the manifest.
            .set_memory_size_gb(i32::try_from(self.spec.memory_gib).unwrap_or(i32::MAX))
            .set_auth_enabled(true)
            .set_transit_encryption_mode(TransitEncryptionMode::ServerAuthentication)
            .set_authorized_network(network)
            .set_labels(labels)
    }
}

/// `REDIS_7_0` of `7.0`; Google numbers the sixth version no further.
fn googles_version(version: &str) -> String {
    match version.split_once('.') {
        Some(("6", _)) => "REDIS_6_X".to_owned(),
        _ => format!("REDIS_{}", version.replace('.', "_")),
    }
}

/// An instance field by field.
fn describe(instance: &model::Instance, names: &Names) -> Fields {
    let mut fields = Fields::new();
    let version = &instance.redis_version;
    let version = version.strip_prefix("REDIS_").unwrap_or(version);
    fields.set("version", version.replace('_', ".").to_lowercase());
    fields.set("tier", word(instance.tier.name()));
    fields.set("memory", format!("{} GiB", instance.memory_size_gb));
    fields.set("token", if instance.auth_enabled { "yes" } else { "no" });
    fields.set("tls", word(instance.transit_encryption_mode.name()));
    fields.set("network", names.network(&instance.authorized_network));
    labels::describe(&mut fields, &instance.labels);
    fields
}

fn word(name: Option<&str>) -> String {
    name.unwrap_or("unknown").replace('_', " ").to_lowercase()
}

/// What a change costs. A cache holds nothing of record: what cannot be changed is made anew.
fn effect(change: &FieldChange) -> Effect {
    let version = |value: &Option<FieldValue>| match value {
        Some(FieldValue::Known(text)) => {
            let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
            Some((parts.next(), parts.next()))
        }
        Some(FieldValue::AfterApply { .. }) | None => None,
    };
    match change.field.as_str() {
        "version" if version(&change.new) < version(&change.old) => Effect::Replace,
        "tier" | "tls" | "network" => Effect::Replace,
        _ => Effect::InPlace,
    }
}

/// The calls that concern one instance.
struct Calls {
    project: Arc<Project>,
    name: String,
}

impl Calls {
    fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    fn path(&self) -> String {
        self.project.names.cache(&self.name)
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} cache `{}`", self.name)
    }

    async fn find(&self) -> Result<Found<model::Instance>> {
        let outcome = self
            .project
            .clients
            .redis
            .get_instance()
            .set_name(self.path())
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    /// The instance with its token, as far as it is made.
    async fn with_token(&self, instance: model::Instance) -> Result<Actual> {
        let token = if instance.auth_enabled && is_usable(&instance.state) {
            let answer = self
                .project
                .clients
                .redis
                .get_instance_auth_string()
                .set_name(self.path())
                .send()
                .await
                .map_err(|error| error::failed(error, &self.cannot("read the token of")))?;
            Some(SecretString::from(answer.auth_string))
        } else {
            None
        };
        Ok(Actual {
            instance,
            token,
            operation: None,
        })
    }

    async fn settle(&self, started: Operation, action: &str) -> Result<()> {
        let redis = &self.project.clients.redis;
        operations::settle(&self.project, started, DEADLINE, action, |name| {
            redis.get_operation().set_name(name).send()
        })
        .await
    }

    async fn delete(&self) -> Result<()> {
        let action = self.cannot("delete");
        let outcome = self
            .project
            .clients
            .redis
            .delete_instance()
            .set_name(self.path())
            .send()
            .await;
        match error::optional(outcome, &action)? {
            Some(operation) => self.settle(operation, &action).await,
            None => Ok(()),
        }
    }
}

/// Whether an instance in this state serves.
fn is_usable(state: &State) -> bool {
    matches!(
        state,
        State::Ready | State::Updating | State::Maintenance | State::FailingOver
    )
}

/// An instance as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    instance: model::Instance,
    token: Option<SecretString>,
    /// The operation that this run started on it.
    operation: Option<String>,
}

impl Actual {
    /// `rediss://:TOKEN@HOST:PORT`. `None` until it has all of it.
    fn url(&self) -> Option<SecretString> {
        let host = Some(&self.instance.host).filter(|host| !host.is_empty())?;
        let port = match self.instance.port {
            0 => TLS_PORT,
            port => port,
        };
        // Google's token is a UUID: there is nothing to encode.
        let token = self.token.as_ref()?.expose_secret();
        Some(SecretString::from(format!(
            "rediss://:{token}@{host}:{port}"
        )))
    }

    /// Every certificate that the server's may be signed by, one after the other. `None` until there is one.
    fn authority(&self) -> Option<SecretString> {
        let certificates = &self.instance.server_ca_certs;
        let lines: Vec<String> = certificates
            .iter()
            .map(|certificate| format!("{}\n", certificate.cert.trim()))
            .collect();
        (!lines.is_empty()).then(|| SecretString::from(lines.concat()))
    }
}

/// One cache of the manifest.
struct Instance {
    calls: Calls,
    address: Address,
    owner: Owner,
    shape: Shape,
    url: Output<SecretString>,
    authority: Output<SecretString>,
}

impl Instance {
    async fn change(&self, instance: model::Instance, mask: Vec<&str>) -> Result<Operation> {
        self.calls
            .project
            .clients
            .redis
            .update_instance()
            .set_instance(instance)
            .set_update_mask(FieldMask::default().set_paths(mask))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("change")))
    }

    async fn upgrade(&self) -> Result<Operation> {
        self.calls
            .project
            .clients
            .redis
            .upgrade_instance()
            .set_name(self.calls.path())
            .set_redis_version(googles_version(&self.shape.spec.version))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("upgrade")))
    }

    /// Where the operation that this run started stands. `None` when it is done or there is none.
    async fn standing(&self, actual: &Actual) -> Result<Option<Readiness>> {
        let Some(name) = &actual.operation else {
            return Ok(None);
        };
        let operation = self
            .calls
            .project
            .clients
            .redis
            .get_operation()
            .set_name(name)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.calls.cannot("see an operation on")))?;
        Ok(match operation.result {
            Some(operation::Result::Error(status)) => Some(Readiness::Failed(status.message)),
            _ if operation.done => None,
            _ => Some(Readiness::Pending("the operation is under way".to_owned())),
        })
    }
}

/// The parts of an instance that changes in place ask for, by the names that Google gives them.
fn masks(changes: &[FieldChange]) -> Vec<&'static str> {
    let mut masks: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change.field.as_str() {
            "memory" => Some("memory_size_gb"),
            "token" => Some("auth_enabled"),
            field if field.starts_with("tags.") => Some("labels"),
            _ => None,
        })
        .collect();
    masks.sort_unstable();
    masks.dedup();
    masks
}

#[async_trait]
impl Resource for Instance {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let instance = match self.calls.find().await? {
            Found::Absent => return Ok(Reading::Absent),
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Here(instance) => instance,
        };
        if let Some(why) = self.owner.objection(&instance.labels) {
            return Ok(Reading::Foreign(why));
        }
        if instance.state == State::Deleting {
            return Ok(Reading::Tombstoned("it is being deleted".to_owned()));
        }
        match self.calls.with_token(instance).await {
            Ok(actual) => Ok(Reading::Present(actual)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok(Reading::Denied(error.chain().join(": ")))
            }
            Err(error) => Err(error),
        }
    }

    fn desired(&self) -> Fields {
        describe(
            &self.shape.compose(model::Instance::new()),
            &self.shape.names,
        )
    }

    fn observed(&self, actual: &Actual) -> Fields {
        describe(&actual.instance, &self.shape.names)
    }

    fn effect_of_change(&self, change: &FieldChange) -> Effect {
        effect(change)
    }

    fn publish(&self, actual: &Actual) {
        match actual.url() {
            Some(url) => self.url.publish(url),
            None => self.url.withdraw(),
        }
        match actual.authority() {
            Some(authority) => self.authority.publish(authority),
            None => self.authority.withdraw(),
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        let anew = changes
            .iter()
            .any(|change| effect(change) != Effect::InPlace);
        if anew || changes.iter().any(|change| change.field == "token") {
            self.url.withdraw();
        }
        if anew {
            self.authority.withdraw();
        }
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Actual> {
        let instance = self.shape.compose(model::Instance::new());
        let outcome = self
            .calls
            .project
            .clients
            .redis
            .create_instance()
            .set_parent(self.calls.project.names.location())
            .set_instance_id(&self.calls.name)
            .set_instance(instance.clone())
            .send()
            .await;
        match outcome {
            Ok(operation) => Ok(Actual {
                instance,
                token: None,
                operation: Some(operation.name),
            }),
            Err(error) if error::exists_already(&error) => match self.read().await? {
                // Our own create, whose reply was lost.
                Reading::Present(actual) => Ok(actual),
                Reading::Absent
                | Reading::Tombstoned(_)
                | Reading::Denied(_)
                | Reading::Foreign(_) => Err(error::failed(error, &self.calls.cannot("create"))),
            },
            Err(error) => Err(error::failed(error, &self.calls.cannot("create"))),
        }
    }

    async fn update(
        &self,
        actual: &Actual,
        changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        let masks = masks(changes);
        let mut operation = None;
        if !masks.is_empty() {
            let wanted = self.shape.compose(actual.instance.clone());
            operation = Some(self.change(wanted, masks).await?);
        }
        if changes.iter().any(|change| change.field == "version") {
            if let Some(operation) = operation.take() {
                watch.note("it is changed first, then upgraded");
                self.calls
                    .settle(operation, &self.calls.cannot("change"))
                    .await?;
            }
            operation = Some(self.upgrade().await?);
        }
        Ok(Actual {
            operation: operation.map(|operation| operation.name),
            ..actual.clone()
        })
    }

    async fn delete(&self, _actual: &Actual, _token: &Token) -> Result<()> {
        self.calls.delete().await
    }

    async fn readiness(&self, actual: &Actual) -> Result<Ready<Actual>> {
        if let Some(state) = self.standing(actual).await? {
            return Ok(Ready {
                state,
                actual: actual.clone(),
            });
        }
        Ok(match self.calls.find().await? {
            Found::Here(instance) => {
                let actual = self.calls.with_token(instance).await?;
                Ready {
                    state: judge(&actual),
                    actual,
                }
            }
            Found::Absent => Ready {
                state: Readiness::Failed("it is not there any more".to_owned()),
                actual: actual.clone(),
            },
            Found::Denied(why) => {
                return Err(Error::new(ErrorKind::Denied, self.calls.cannot("see")).because(why));
            }
        })
    }

    fn unsettled(&self, actual: &Actual) -> Option<String> {
        match judge(actual) {
            Readiness::Ready => None,
            Readiness::Pending(why) | Readiness::Failed(why) => Some(why),
        }
    }

    fn pace(&self) -> Pace {
        Pace::until(DEADLINE)
    }
}

/// What its state says of an instance.
fn judge(actual: &Actual) -> Readiness {
    let instance = &actual.instance;
    if !instance.suspension_reasons.is_empty() {
        let reasons = &instance.suspension_reasons;
        let reasons: Vec<&str> = reasons.iter().filter_map(|reason| reason.name()).collect();
        return Readiness::Failed(format!("it is suspended: {}", reasons.join(", ")));
    }
    if instance.state != State::Ready {
        let state = instance
            .state
            .name()
            .unwrap_or("in a state unknown to this version");
        let words = format!("it is {state} {}", instance.status_message);
        return Readiness::Pending(words.trim().to_owned());
    }
    if instance.host.is_empty() {
        return Readiness::Pending("it has no address yet".to_owned());
    }
    Readiness::Ready
}

/// A cache that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
}

impl Leftover {
    /// The instance at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address) -> Self {
        Self {
            calls: Calls::new(project, &address.name),
            address: address.clone(),
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = model::Instance;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<model::Instance>> {
        Ok(match self.calls.find().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(instance) => match Owner::AnyOfOurs.objection(&instance.labels) {
                Some(why) => Reading::Foreign(why),
                None => Reading::Present(instance),
            },
        })
    }

    fn observed(&self, actual: &model::Instance) -> Fields {
        describe(actual, &self.calls.project.names)
    }

    async fn delete(&self, _actual: &model::Instance) -> Result<()> {
        self.calls.delete().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::test_names;

    fn shape() -> Shape {
        Shape {
            spec: CacheSpec {
                key: "sessions".into(),
                name: "idp-staging".into(),
                version: "7.0".into(),
                class: String::new(),
                memory_gib: 2,
                high_availability: true,
                token: None,
                url: "sessions-url".into(),
                authority: Some("sessions-ca".into()),
                adopt: false,
            },
            network: Some("projects/demo-project/global/networks/main".into()),
            labels: BTreeMap::from([("deployer".to_owned(), "idp_staging".to_owned())]),
            names: test_names(),
        }
    }

    fn made() -> model::Instance {
        shape()
            .compose(model::Instance::new())
            .set_state(State::Ready)
            .set_host("10.0.0.5")
            .set_port(6378)
            .set_current_location_id("europe-west1-b")
            .set_authorized_network(
                "https://www.googleapis.com/compute/v1/projects/demo-project/global/networks/main",
            )
    }

    fn actual(instance: model::Instance) -> Actual {
        Actual {
            instance,
            token: Some(SecretString::from("11111111-2222".to_owned())),
            operation: None,
        }
    }

    fn changes(to: &Shape) -> Vec<FieldChange> {
        let wanted = to.compose(model::Instance::new());
        describe(&made(), &to.names).changes_to(&describe(&wanted, &to.names))
    }

    #[test]
    fn what_google_fills_in_is_no_difference() {
        assert_eq!(changes(&shape()), []);
    }

    #[test]
    fn memory_and_newer_versions_are_changed_in_place_and_everything_else_is_made_anew() {
        let mut wanted = shape();
        wanted.spec.memory_gib = 4;
        wanted.spec.version = "7.2".into();
        let found = changes(&wanted);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|change| effect(change) == Effect::InPlace));
        assert_eq!(masks(&found), ["memory_size_gb"]);

        for spoil in [
            (|shape: &mut Shape| shape.spec.version = "6.2".into()) as fn(&mut Shape),
            |shape| shape.spec.high_availability = false,
            |shape| shape.network = Some("projects/demo-project/global/networks/other".into()),
        ] {
            let mut wanted = shape();
            spoil(&mut wanted);
            let found = changes(&wanted);
            assert_eq!(found.len(), 1);
            assert_eq!(effect(&found[0]), Effect::Replace, "{found:?}");
        }
    }

    #[test]
    fn the_url_exists_once_google_made_address_and_token() {
        let whole = actual(made());
        assert_eq!(
            whole.url().unwrap().expose_secret(),
            "rediss://:11111111-2222@10.0.0.5:6378"
        );
        assert!(!format!("{whole:?}").contains("11111111"));
        assert!(actual(made().set_host("")).url().is_none());
        let without = Actual {
            token: None,
            ..whole
        };
        assert!(without.url().is_none());
    }

    #[test]
    fn every_certificate_of_the_authority_is_delivered() {
        let certificate = |text: &str| model::TlsCertificate::new().set_cert(text);
        let instance = made().set_server_ca_certs([certificate("ONE\n"), certificate("TWO")]);
        let authority = actual(instance).authority().unwrap();
        assert_eq!(authority.expose_secret(), "ONE\nTWO\n");
        assert!(actual(made()).authority().is_none());
    }

    #[test]
    fn an_instance_is_ready_when_google_says_so_and_it_has_an_address() {
        assert_eq!(judge(&actual(made())), Readiness::Ready);
        let making = made().set_state(State::Creating).set_host("");
        assert_eq!(
            judge(&actual(making)),
            Readiness::Pending("it is CREATING".into())
        );
    }
}
