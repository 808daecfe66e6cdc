//! ECR: repositories and their settings over the registry's store.

mod gate;
mod images;
mod repositories;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use serde_json::{Value, json};

use super::error::AwsError;
use super::json::text;
use super::pages::Pages;
use super::policy::Policy;
use super::shelf::{self, Asked, Service, Shelf, Site};
use super::tagging::Tagged;
use super::tags::Tags;
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
    host: Host,
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
    repositories: Shelf,
    /// Passwords given out, and when each expires.
    #[serde(skip)]
    tokens: BTreeMap<String, jiff::Timestamp>,
}

const PAGES: Pages = Pages {
    members: ("maxResults", "nextToken"),
    size: 100,
    wrong: || invalid("nextToken", "Invalid token"),
};

const SERVICE: Service = Service {
    pages: |input, member, all| PAGES.of(input, member, all),
    tags: Tags {
        service: "ecr",
        members: ("resourceArn", "tagKeys"),
        list: ("tags", "tags"),
        check: repositories::check_tags,
        too_many: repositories::too_many_tags,
        ..Tags::LISTED
    },
};

/// The refusal of a parameter.
fn invalid(parameter: &str, why: &str) -> AwsError {
    let message =
        format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{why}'");
    AwsError::new("InvalidParameterException", message)
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
                host: host.clone(),
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
        repositories::REPOSITORY.tagged(&self.lock())
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
            "BatchDeleteImage" => self.delete_images(input),
            "BatchGetImage" => self.get_images(input),
            "DescribeImages" => self.describe_images(input),
            "GetAuthorizationToken" => Ok(self.token()),
            "GetDownloadUrlForLayer" => self.download_url(input),
            "ListImages" => self.list_images(input),
            operation => {
                let site = &Site::of(&self.inner.host, "ecr");
                let asked = Asked {
                    site,
                    operation,
                    input,
                };
                let kinds = [repositories::REPOSITORY];
                SERVICE.answer(&kinds, &mut self.lock(), &asked, |state, arn| {
                    let wrong = || invalid("resourceArn", &format!("Invalid ARN: {arn}"));
                    shelf::tags_at(&kinds, state, site, arn).ok_or_else(wrong)?
                })
            }
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

    fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:ecr:{}:{}:repository/{name}",
            self.inner.region, self.inner.account
        )
    }

    fn not_found(&self, name: &str) -> AwsError {
        repositories::not_found(&self.inner.account, name)
    }
}
