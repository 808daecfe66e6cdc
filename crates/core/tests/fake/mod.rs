//! A cloud in memory: it keeps its own rules, logs every call and fails when told to.

pub mod bench;
pub mod clock;
pub mod data;
mod leftover;
pub mod route;
mod runtime;
mod storage;
pub mod tuning;
pub mod wanted;
pub mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::{Address, Target};
use deployer_core::capability::one_off::{OneOffs, Order};
use deployer_core::capability::{
    Activation, Birth, Cache, CacheOutputs, Caches, Caller, Cloud, Database, DatabaseOutputs,
    Databases, Dns, ImageRef, LinesOf, LocalImage, LogLine, Logs, Marked, Provider, RecordStatus,
    Registry, Revision, RevisionInfo, Runtime, Scope, SecretContent, SecretStatus, SecretStore,
    SecretVersion, Secrets, ServiceInputs, ServiceOutputs, Services, Serving, StoreStatus, Zones,
};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_core::gate::HoldsBack;
use deployer_core::graph::Listed;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{Declared, Wish};
use deployer_core::migration::{self, Migrated};
use deployer_core::node::{Node, ResourceNode, Token, Watch};
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::{
    CacheSpec, DatabaseSpec, EnvironmentSpec, LeadsTo, Member, RecordSpec, SecretSpec, ServiceSpec,
};
use jiff::Timestamp;
use secrecy::SecretString;

use route::Route;
use tuning::{FakeSite, Tuning};
use wanted::Wanted;
use world::Api;

/// One target of the fake.
pub struct FakeCloud {
    pub target: Target,
    pub api: Api,
    pub clock: Arc<dyn Clock>,
    /// When a service's roll-out is given up.
    pub deadline: Duration,
    /// How services are tuned, as a test says.
    pub tuning: Mutex<Option<Tuning>>,
}

impl FakeCloud {
    fn site(&self) -> Arc<FakeSite> {
        Arc::new(FakeSite {
            target: self.target.clone(),
            api: self.api.clone(),
            clock: Arc::clone(&self.clock),
        })
    }

    pub fn address(&self, kind: &str, name: &str) -> Address {
        Address::new(&self.target, kind, name)
    }
}

/// What no test here needs.
fn not_operated<T>() -> Result<T> {
    Err(Error::internal("the fake declares and does not operate"))
}

#[async_trait]
impl Cloud for FakeCloud {
    fn target(&self) -> &Target {
        &self.target
    }

    async fn caller(&self) -> Result<Caller> {
        Ok(Caller {
            account: self.target.account.clone(),
            principal: "tester".into(),
        })
    }

    fn provider<'a>(&'a self, _: &'a EnvironmentSpec) -> Box<dyn Provider + 'a> {
        Box::new(self)
    }

    fn dns(&self) -> &dyn Dns {
        self
    }

    fn secrets(&self) -> &dyn Secrets {
        self
    }

    fn services(&self) -> &dyn Services {
        self
    }

    fn databases(&self) -> &dyn Databases {
        self
    }

    fn caches(&self) -> &dyn Caches {
        self
    }

    fn zones(&self) -> &dyn Zones {
        self
    }

    fn logs(&self) -> &dyn Logs {
        self
    }

    fn existing(&self, address: &Address, owner: &Owner, past: &Past) -> Result<Arc<dyn Node>> {
        if tuning::tier(&address.kind).is_some() {
            return tuning::leftover(&self.site(), address, owner, past);
        }
        let leftover = leftover::Leftover {
            api: self.api.clone(),
            address: address.clone(),
            past: past.clone(),
        };
        Ok(ResourceNode::erase(leftover))
    }

    async fn find_marked(&self, _: &Owner) -> Marked {
        let error = Error::internal("the fake declares and does not operate");
        Marked::unlisted("everything", error)
    }

    fn may_need(&self, _: &str, _: &str) -> bool {
        false
    }
}

impl Registry for &FakeCloud {
    fn image(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        image: &LocalImage,
        _scope: Scope,
    ) -> Output<ImageRef> {
        let address = self.address("fake.repository", &service.repository);
        let base = Output::of(&address);
        let published = base.clone();
        graph.resource(|_| storage::Repository {
            api: self.api.clone(),
            address,
            base: published,
        });
        let address = self.address("fake.image", &service.repository);
        let output = Output::of(&address);
        graph.step(|inputs| storage::ImageCopy {
            api: self.api.clone(),
            address,
            digest: image.digest.clone(),
            base: inputs.take(&base),
            image: output.clone(),
        });
        output
    }
}

impl SecretStore for &FakeCloud {
    fn secret(
        &self,
        graph: &mut Graph,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion> {
        let address = self.address("fake.secret", &secret.name);
        let version = Output::of(&address);
        graph.resource(|inputs| storage::SecretNode {
            api: self.api.clone(),
            address,
            content: match content {
                SecretContent::From(value) => SecretContent::From(inputs.pass(&value)),
                given => given,
            },
            held: Mutex::default(),
            version: version.clone(),
        });
        version
    }

    /// Services of this cloud take whole secrets, and so do its tests.
    fn member(
        &self,
        _graph: &mut Graph,
        secret: &SecretSpec,
        member: &Member,
    ) -> Output<SecretVersion> {
        let name = format!("{}/{}", secret.name, member.key);
        Output::of(&self.address("fake.member", &name))
    }
}

#[async_trait]
impl Secrets for FakeCloud {
    async fn status(&self, _name: &str) -> Result<Option<SecretStatus>> {
        not_operated()
    }

    async fn value(&self, _name: &str) -> Result<Option<SecretString>> {
        not_operated()
    }

    async fn value_of(&self, _version: &SecretVersion) -> Result<Option<SecretString>> {
        not_operated()
    }

    fn is_of(&self, version: &SecretVersion, address: &Address) -> bool {
        address.kind == "fake.secret" && version.secret == address.name
    }

    async fn unusable(&self, _version: &SecretVersion) -> Result<Option<String>> {
        not_operated()
    }

    async fn put_version(
        &self,
        _env: &EnvironmentSpec,
        _secret: &SecretSpec,
        _value: &SecretString,
        _token: &Token,
    ) -> Result<SecretVersion> {
        not_operated()
    }
}

impl std::fmt::Debug for FakeCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeCloud({})", self.target.cloud)
    }
}

impl FakeCloud {
    fn instance(
        &self,
        graph: &mut Graph,
        kind: data::Kind,
        name: &str,
        class: &str,
        password: &Value<SecretVersion>,
    ) -> (Output<SecretString>, Output<Birth>) {
        let address = self.address(kind.word(), name);
        let (url, birth) = (Output::of(&address), Output::of(&address));
        graph.resource(|inputs| data::InstanceNode {
            api: self.api.clone(),
            address,
            kind,
            class: class.to_owned(),
            password: inputs.pass(password),
            url: url.clone(),
            birth: birth.clone(),
        });
        (url, birth)
    }
}

impl Database for &FakeCloud {
    fn database(
        &self,
        graph: &mut Graph,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs {
        let (name, class) = (&database.name, &database.class);
        let (url, birth) = self.instance(graph, data::Kind::Database, name, class, password);
        DatabaseOutputs {
            // Nobody here wants it alone.
            host: url.clone(),
            url,
            birth,
            authority: None,
        }
    }
}

#[async_trait]
impl Databases for FakeCloud {
    async fn birth(&self, _: &DatabaseSpec) -> Result<Option<Birth>> {
        not_operated()
    }

    async fn status(&self, _: &DatabaseSpec) -> Result<Option<StoreStatus>> {
        not_operated()
    }
}

impl Cache for &FakeCloud {
    fn cache(
        &self,
        graph: &mut Graph,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs {
        let token = token.expect("the fake makes no tokens");
        let (url, _) = self.instance(graph, data::Kind::Cache, &cache.name, &cache.class, token);
        CacheOutputs {
            url,
            authority: None,
        }
    }
}

#[async_trait]
impl Caches for FakeCloud {
    async fn status(&self, _: &CacheSpec) -> Result<Option<StoreStatus>> {
        not_operated()
    }
}

impl Dns for FakeCloud {
    fn record(&self, graph: &mut Graph, record: &RecordSpec) -> Address {
        let address = self.address("fake.record", &record.name);
        let past = graph.past(&address);
        graph.resource(|_| data::RecordNode {
            api: self.api.clone(),
            address: address.clone(),
            leads_to: match &record.leads_to {
                LeadsTo::LoadBalancer(name) => name.clone(),
                LeadsTo::Address(address) => address.to_string(),
            },
            past,
        });
        address
    }
}

#[async_trait]
impl Zones for FakeCloud {
    async fn status(&self, _: &RecordSpec) -> Result<Option<RecordStatus>> {
        not_operated()
    }
}

impl Runtime for &FakeCloud {
    fn service(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        given: &ServiceInputs,
        _scope: Scope,
    ) -> ServiceOutputs {
        let address = self.address("fake.log-group", &service.name);
        let logs = Output::of(&address);
        graph.resource(|_| storage::LogGroup {
            api: self.api.clone(),
            address,
            ready: logs.clone(),
        });

        let address = self.address("fake.definition", &service.name);
        let revision = Output::of(&address);
        graph.resource(|inputs| {
            inputs.take(&logs);
            let used = service.secrets.iter();
            runtime::DefinitionNode {
                api: self.api.clone(),
                address,
                image: inputs.pass(&given.image),
                variables: service.env.clone(),
                secrets: used
                    .map(|(name, one)| (name.clone(), inputs.pass(&given.secrets[&one.secret])))
                    .collect(),
                revision: revision.clone(),
            }
        });
        let migrated = service
            .migrate
            .as_ref()
            .map(|_| self.migration(graph, service, given, &revision));
        let tuning = self.tuning(graph);
        self.service_node(
            graph,
            service,
            (&revision, tuning.as_ref()),
            migrated.as_ref(),
        )
    }

    fn holds_back(&self, _service: &ServiceSpec) -> HoldsBack {
        HoldsBack::Candidates
    }
}

#[async_trait]
impl Services for FakeCloud {
    async fn serving(&self, _service: &ServiceSpec) -> Result<Option<Serving>> {
        not_operated()
    }

    async fn newest_rollout(&self, _service: &ServiceSpec) -> Result<Option<String>> {
        not_operated()
    }

    async fn revisions(&self, _service: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
        not_operated()
    }

    async fn pinned(
        &self,
        _service: &str,
        _revision: &Revision,
    ) -> Result<BTreeMap<String, SecretVersion>> {
        not_operated()
    }

    async fn activate(&self, _: &Activation, _: &Token, _: &dyn Watch) -> Result<Revision> {
        not_operated()
    }

    async fn noted_ledger(&self, _: &Owner, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn must_be_of(&self, _: &Owner, _: &str) -> Result<()> {
        not_operated()
    }

    async fn one_offs(
        &self,
        _: &EnvironmentSpec,
        _: &ServiceSpec,
        _: Order,
    ) -> Result<Box<dyn OneOffs>> {
        not_operated()
    }

    async fn autopsy(&self, _service: &ServiceSpec) -> deployer_core::capability::Autopsy {
        Default::default()
    }
}

impl FakeCloud {
    fn migration(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        given: &ServiceInputs,
        revision: &Output<Revision>,
    ) -> Output<Migrated> {
        let address = self.address("fake.migration", &service.name);
        let spec = service.migrate.as_ref().expect("the caller looked");
        let database = spec.database.as_ref().map(|key| &given.secrets[key]);
        let birth = spec.database.as_ref().and_then(|key| given.births.get(key));
        let named = (service.name.as_str(), spec);
        let (migrated, _) = migration::declare(graph, address, named, given, |inputs| {
            let executions = runtime::Executions {
                api: self.api.clone(),
                clock: Arc::clone(&self.clock),
                name: service.name.clone(),
                timeout: spec.timeout,
                revision: inputs.take(revision),
            };
            let database = runtime::DatabaseOf {
                version: database.map(|version| inputs.pass(version)),
                birth: birth.map(|birth| inputs.pass(birth)),
            };
            (executions, Box::new(database))
        });
        migrated
    }

    /// The tuning of the environment's only service.
    fn tuning(&self, graph: &mut Graph) -> Option<Output<String>> {
        let wish = self.tuning.lock().unwrap().clone()?;
        Some(self.tune(graph, "idp", wish))
    }

    /// Declares a tuning.
    pub fn tune(&self, graph: &mut Graph, base: &str, wish: Tuning) -> Output<String> {
        self.declare(graph, base, wish)
    }

    /// Declares what no kind may be.
    pub fn declare_unnamed(&self, graph: &mut Graph) {
        self.declare(graph, "idp", tuning::Unnamed);
    }

    /// Declares a route, taken over with `adopt` where it is somebody's.
    pub fn route(&self, graph: &mut Graph, wish: Route, adopt: bool) {
        self.declared(graph, "west", wish, adopt);
    }

    fn declare<K: Wish<Site = FakeSite> + Listed>(
        &self,
        graph: &mut Graph,
        name: &str,
        wish: K,
    ) -> Output<K::Output> {
        self.declared(graph, name, wish, false)
    }

    fn declared<K: Wish<Site = FakeSite> + Listed>(
        &self,
        graph: &mut Graph,
        name: &str,
        wish: K,
        adopt: bool,
    ) -> Output<K::Output> {
        let env = Wanted::first().environment();
        let declared = Declared {
            site: &self.site(),
            name,
            env: &env,
            adopt,
        };
        graph.declare(declared, |_| wish)
    }

    fn service_node(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        (revision, tuning): (&Output<Revision>, Option<&Output<String>>),
        migrated: Option<&Output<Migrated>>,
    ) -> ServiceOutputs {
        let address = self.address("fake.service", &service.name);
        let outputs = ServiceOutputs {
            revision: Output::of(&address),
            url: Output::of(&address),
            service: address.clone(),
            migration: None,
        };
        graph.resource(|inputs| runtime::ServiceNode {
            api: self.api.clone(),
            address,
            replicas: service.replicas.min,
            revision: inputs.take(revision),
            tuning: tuning.map(|it| inputs.take(it)),
            migrated: migrated.map(|done| inputs.take(done)),
            deadline: self.deadline,
            serves: outputs.revision.clone(),
            url: outputs.url.clone(),
        });
        outputs
    }
}

#[async_trait]
impl Logs for FakeCloud {
    async fn lines(
        &self,
        _: &ServiceSpec,
        _: LinesOf<'_>,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<LogLine>> {
        not_operated()
    }
}
