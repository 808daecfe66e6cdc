//! Cloud Run: services and revisions, jobs and executions, which really run.

mod conditions;
mod execution;
mod image;
mod instance;
mod job;
mod knative;
mod overrides;
mod resources;
mod revision;
mod rollout;
mod scaling;
mod service;
mod task;
mod template;
mod traffic;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::names::check_location;
use super::operations::any;
use super::schema::{Object, text};
use super::shelf::{Key, Kind, Shelf, Thing, all, located};
use super::wire::Call;
use crate::runner::Front;
use instance::Instance;

/// Everything of Cloud Run.
#[derive(Default)]
pub struct Run {
    services: Shelf<Served>,
    jobs: Shelf<Runs>,
    /// Until when the names of what was deleted stay taken, by their kinds.
    lingering: Mutex<BTreeMap<(&'static str, Key), jiff::Timestamp>>,
}

type Service = Thing<Served>;
type Job = Thing<Runs>;

/// How long a name stays taken once its delete is done: "Cloud Run APIs may return a 409 on create
/// to indicate that a resource has been deleted in the foreground (eg GET and LIST) but not the
/// backing apiserver" (`IsCloudRunCreationConflict` in terraform-provider-google's
/// error_retry_predicates.go; its #7854).
const LINGERS: std::time::Duration = std::time::Duration::from_secs(6);

/// What is kept of a service beside its message.
#[derive(Serialize)]
struct Served {
    revisions: BTreeMap<String, Revision>,
    /// How many revisions there ever were.
    revision_count: u32,
    /// The service's address.
    #[serde(skip)]
    front: Front,
    /// An address for each tag of the traffic.
    #[serde(skip)]
    tags: BTreeMap<String, Front>,
    /// The id of the operation that its last change began.
    operation: String,
}

#[derive(Serialize)]
struct Revision {
    /// The message `Revision`.
    message: Object,
    /// The image by the digest that its tag had when the revision was made. Only v1 answers it: the
    /// v2 message of Google's own client has no such field.
    image: Option<String>,
    readiness: Readiness,
    #[serde(skip)]
    instance: Option<Instance>,
}

#[derive(Serialize)]
enum Readiness {
    Pending,
    Ready,
    Failed(ApiError),
}

/// What is kept of a job beside its message.
#[derive(Default, Serialize)]
struct Runs {
    executions: BTreeMap<String, Execution>,
}

const SERVICES: Kind<Served> = Kind {
    methods: "run.projects.locations.services.",
    id: 2,
    on: |gcp| &gcp.inner.run.services,
    home: located,
    makes: None,
    changes: None,
    ends: None,
    absent: |_, (_, id)| absent("Service", id),
    fits: all,
    page: 100,
};

const JOBS: Kind<Runs> = Kind {
    methods: "run.projects.locations.jobs.",
    id: 2,
    on: |gcp| &gcp.inner.run.jobs,
    home: located,
    makes: None,
    changes: None,
    ends: None,
    absent: |_, (_, id)| absent("Job", id),
    fits: all,
    page: 100,
};

#[derive(Serialize)]
struct Execution {
    /// The message `Execution`.
    message: Object,
    /// The messages `Task`, by index.
    tasks: Vec<Object>,
    /// Turns true when the execution is to stop.
    #[serde(skip)]
    cancelled: tokio::sync::watch::Sender<bool>,
}

const SERVICE: &str = "google.cloud.run.v2.Service";
const REVISION: &str = "google.cloud.run.v2.Revision";
const JOB: &str = "google.cloud.run.v2.Job";
const EXECUTION: &str = "google.cloud.run.v2.Execution";

impl Run {
    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        json!({ "services": self.services.dump(), "jobs": self.jobs.dump() })
    }

    fn lingering(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Key), jiff::Timestamp>> {
        let lingering = self.lingering.lock();
        lingering.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gcp {
    fn with_service<T>(
        &self,
        key: &Key,
        act: impl FnOnce(&mut Service) -> Outcome<T>,
    ) -> Outcome<T> {
        SERVICES.at(self, key, act)
    }

    /// Keeps the name of what was deleted for a while.
    fn linger(&self, kind: &'static str, key: &Key) {
        let until = self.host().clock.after(LINGERS);
        let mut lingering = self.inner.run.lingering();
        lingering.insert((kind, key.clone()), until);
    }

    /// Refuses a name that something deleted still has.
    fn check_lingering(&self, kind: &'static str, key: &Key) -> Outcome<()> {
        let now = self.host().clock.now();
        match self.inner.run.lingering().get(&(kind, key.clone())) {
            Some(until) if now < *until => Err(ApiError::new(
                super::error::Code::AlreadyExists,
                format!("Resource '{}' already exists.", key.1),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn with_job<T>(&self, key: &Key, act: impl FnOnce(&mut Job) -> Outcome<T>) -> Outcome<T> {
        JOBS.at(self, key, act)
    }

    /// Methods of Cloud Run v2, apart from operations.
    pub(super) async fn run_v2(&self, call: Call) -> Outcome {
        self.check_project(call.var(0))?;
        let listing = call.method.id.ends_with(".list");
        if !(listing && call.var(1) == "-") {
            check_location(call.var(1))?;
        }
        let key = (call.var(1).to_owned(), call.var(2).to_owned());
        let method = call
            .method
            .id
            .strip_prefix("run.projects.locations.")
            .unwrap_or_default();
        let shares = method == "services.setIamPolicy";
        if shares {
            self.check_sharing(&call.body["policy"])?;
        }
        let answered = SERVICES.call(self, &call);
        if let Some(answer) = answered.or_else(|| JOBS.call(self, &call)) {
            if shares && answer.is_ok() {
                self.assign_backends(&key).await;
            }
            return answer;
        }
        match method {
            "services.create" => self.create_service(&call).await,
            "services.patch" => self.patch_service(&call, &key).await,
            "services.delete" => self.delete_service(&call, &key),
            "services.revisions.list" => self.list_revisions(&call, &key),
            "services.revisions.get" => self.get_revision(&key, call.var(3)),
            "services.revisions.delete" => self.delete_revision(&call, &key),
            "jobs.create" => self.create_job(&call),
            "jobs.patch" => self.patch_job(&call, &key),
            "jobs.delete" => self.delete_job(&call, &key),
            "jobs.run" => self.run_job(&call, &key),
            _ => self.executions(&call, &key, method),
        }
    }

    /// An operation that is done when it is answered: `validateOnly`, or a change that changes
    /// nothing.
    fn done_operation(&self, location: &str, kind: &str, message: &Object) -> Outcome {
        let value = any(kind, &Value::Object(message.clone()));
        let operation = self
            .operations()
            .start(&self.parent_at(location), value.clone());
        let name = operation["name"].as_str().unwrap_or_default();
        self.operations().finish(name, value.clone(), Ok(value));
        self.operations().get(name)
    }

    /// The services, for `sandbox status`.
    pub(super) fn run_status(&self) -> Value {
        let all = self.inner.run.services.lock();
        let services = all.iter().map(|((location, id), service)| {
            let revisions = service.kept.revisions.iter().map(|(name, revision)| {
                json!({
                    "name": name,
                    "ready": matches!(revision.readiness, Readiness::Ready),
                    "running": revision.instance.is_some(),
                })
            });
            json!({
                "name": id,
                "location": location,
                "url": service.message.get("uri"),
                "traffic": service.message.get("trafficStatuses"),
                "revisions": revisions.collect::<Vec<_>>(),
            })
        });
        services.collect()
    }
}

/// Google's sentence about a resource that is not there.
fn absent(kind: &str, id: &str) -> ApiError {
    ApiError::not_found(format!(
        "Resource '{id}' of kind '{}' does not exist.",
        kind.to_uppercase()
    ))
}

/// The last part of a resource's name.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// A 64-bit field of a message, which JSON spells as a string.
fn number(message: &Object, name: &str) -> i64 {
    text(message, name).parse().unwrap_or(0)
}

/// Refuses a change when the caller saw another version.
fn check_etag(id: &str, current: &Object, given: &str) -> Outcome<()> {
    let etag = text(current, "etag");
    if given.is_empty() || given == etag {
        return Ok(());
    }
    let bare = |etag: &str| etag.trim_matches('"').to_owned();
    Err(ApiError::new(
        super::error::Code::Aborted,
        format!(
            "Conflict for resource '{id}': version '{}' was specified but current version is '{}'.",
            bare(given),
            bare(etag)
        ),
    ))
}
