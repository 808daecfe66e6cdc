//! ECR: repositories and their settings over the registry's store.

mod gate;
mod images;
mod repositories;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use serde_json::{Value, json};

use super::error::AwsError;
use super::json::{need, text};
use super::policy::Policy;
use super::tagging::Tagged;
use crate::Host;
use crate::clock::Clock;
use crate::registry::Store;
pub use gate::EcrGate;

/// How long an authorisation token is good for.
const TOKEN_HOURS: i64 = 12;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Ecr {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    store: Store,
    account: String,
    region: String,
    base: String,
    policy: Arc<Mutex<Option<Policy>>>,
    state: Mutex<State>,
}

#[derive(Default, Serialize)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// Passwords given out, and when each expires.
    #[serde(skip)]
    tokens: BTreeMap<String, jiff::Timestamp>,
}

#[derive(Serialize)]
struct Repository {
    created: jiff::Timestamp,
    mutability: String,
    exclusions: Option<Value>,
    scan_on_push: bool,
    encryption: Value,
    tags: Vec<Value>,
}

/// The repository as stored, and the tag or digest, that the name of an ECR image of this account
/// and region means.
pub fn stored_image(host: &Host, image: &str) -> Option<(String, String)> {
    let (account, region) = (&host.account, &host.region);
    let registry = format!("{account}.dkr.ecr.{region}.amazonaws.com/");
    let rest = image.strip_prefix(&registry)?;
    let (repository, reference) = match rest.split_once('@') {
        // `repo:tag@digest` is the digest's image.
        Some((name, digest)) => (name.split(':').next().unwrap_or(name), digest),
        None => rest.split_once(':').unwrap_or((rest, "latest")),
    };
    let stored = format!("aws/{account}/{region}/{repository}");
    Some((stored, reference.to_owned()))
}

impl Ecr {
    /// No repositories yet.
    pub fn new(host: &Host, policy: Arc<Mutex<Option<Policy>>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock: host.clock.clone(),
                store: host.store.clone(),
                account: host.account.clone(),
                region: host.region.clone(),
                base: host.base.clone(),
                policy,
                state: Mutex::default(),
            }),
        }
    }

    /// The names of all repositories.
    pub fn names(&self) -> Vec<String> {
        self.lock().repositories.keys().cloned().collect()
    }

    /// Every repository with its tags.
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let all = state.repositories.iter();
        all.map(|(name, it)| Tagged::new(self.arn(name), &it.tags, ("Key", "Value")))
            .collect()
    }

    /// Guards the registry's routes for this account.
    pub fn gate(&self) -> EcrGate {
        EcrGate::new(self.clone())
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        self.check_registry(input)?;
        match operation {
            "BatchCheckLayerAvailability" => self.check_layers(input),
            "BatchDeleteImage" => self.delete_images(input),
            "BatchGetImage" => self.get_images(input),
            "CreateRepository" => self.create(input),
            "DeleteRepository" => self.delete(input),
            "DescribeImages" => self.describe_images(input),
            "DescribeRepositories" => self.describe(input),
            "GetAuthorizationToken" => Ok(self.token()),
            "GetDownloadUrlForLayer" => self.download_url(input),
            "ListImages" => self.list_images(input),
            "ListTagsForResource" => self.list_tags(input),
            "PutImageTagMutability" => self.put_mutability(input),
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            other => Err(AwsError::new("UnknownOperationException", other)),
        }
    }

    fn check_registry(&self, input: &Value) -> Result<(), AwsError> {
        match text(input, "registryId") {
            Some(id) if id != self.inner.account => Err(AwsError::denied(
                &self.inner.account,
                "ecr",
                &format!("registry {id}"),
            )),
            _ => Ok(()),
        }
    }

    fn token(&self) -> Value {
        use base64::Engine as _;
        let password = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let now = self.inner.clock.now();
        let expires = now
            .checked_add(jiff::SignedDuration::from_hours(TOKEN_HOURS))
            .unwrap_or(now);
        let mut state = self.lock();
        state.tokens.retain(|_, until| *until > now);
        let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{password}"));
        state.tokens.insert(password, expires);
        json!({"authorizationData": [{
            "authorizationToken": token,
            "expiresAt": super::json::seconds(expires),
            "proxyEndpoint": self.inner.base,
        }]})
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .expect("no panic while the repositories are held")
    }

    /// What the registry stores a repository under.
    fn stored(&self, name: &str) -> String {
        format!("aws/{}/{}/{name}", self.inner.account, self.inner.region)
    }

    fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:ecr:{}:{}:repository/{name}",
            self.inner.region, self.inner.account
        )
    }

    fn not_found(&self, name: &str) -> AwsError {
        AwsError::new(
            "RepositoryNotFoundException",
            format!(
                "The repository with name '{name}' does not exist in the registry with id '{}'",
                self.inner.account
            ),
        )
    }

    /// Runs `act` on the repository that `repositoryName` names.
    fn with<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&str, &mut Repository) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        let name = need(input, "repositoryName");
        let mut state = self.lock();
        let repository = state
            .repositories
            .get_mut(name)
            .ok_or_else(|| self.not_found(name))?;
        act(name, repository)
    }
}
