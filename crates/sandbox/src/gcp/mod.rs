//! Google Cloud: REST/JSON, bearer tokens, one folder or file per service.
//!
//! Methods, messages and enum values come from Google's discovery documents (`schemas/gcp`);
//! behaviour is ours. Known liberties: the caller may do everything in the one project, and
//! elsewhere with zones and secrets alone; a service's account reads the secrets that a policy
//! without conditions lets it read, a while after that was set; one instance runs per serving
//! revision, whatever the scaling says, and stops a minute after its traffic went; one that ends is
//! started again, but liveness probes are only checked for form; whoever bears an identity token
//! for a private service may call it; sidecars and volumes are kept and do nothing; gRPC probes are
//! answered `UNIMPLEMENTED`, as are the writes of Cloud Run's v1, but for a service's replacement.
//! Instances of Cloud SQL and Memorystore run the versions that this machine has, whatever theirs
//! are called; networks are only checked for form; a standby, a backup or a bigger machine is a
//! word in an answer; no request can take a label away by a `null`.

mod artifacts;
mod auth;
mod certificate;
mod dns;
mod error;
mod faults;
mod iam;
mod logging;
mod names;
mod operations;
mod projects;
mod redis;
mod run;
mod schema;
mod secrets;
mod shelf;
mod sql;
mod storage;
mod wire;

pub use projects::CONSTRAINTS;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::{Value, json};

use crate::Host;
use crate::call::Cloud;
use crate::registry;
use error::{ApiError, Code, Outcome};
use operations::Operations;
use shelf::Shelf;
use wire::Call;

/// Google Cloud's side of the sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Gcp {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    started: String,
    auth: auth::Auth,
    operations: Operations,
    services: projects::Services,
    project_policy: projects::ProjectPolicy,
    folder: projects::Folder,
    organization: projects::Organization,
    secrets: Shelf<secrets::Versions>,
    artifacts: Shelf<artifacts::Images>,
    logs: logging::Logs,
    run: run::Run,
    dns: dns::Dns,
    redis: Shelf<redis::Server>,
    sql: sql::Sql,
    storage: storage::Storage,
}

impl Gcp {
    /// An empty project.
    pub fn new(host: Host) -> Self {
        let auth = auth::Auth::new(
            host.service_account.clone(),
            host.static_token.clone(),
            host.base.clone(),
            host.clock.clone(),
        );
        Self {
            inner: Arc::new(Inner {
                started: host.clock.now().to_string(),
                auth,
                operations: Operations::default(),
                services: projects::Services::default(),
                project_policy: projects::ProjectPolicy::owned_by(&host.service_account.email),
                folder: projects::Folder::default(),
                organization: projects::Organization::default(),
                secrets: Shelf::default(),
                artifacts: Shelf::default(),
                logs: logging::Logs::default(),
                run: run::Run::default(),
                dns: dns::Dns::start(),
                redis: Shelf::default(),
                sql: sql::Sql::default(),
                storage: storage::Storage::default(),
                host,
            }),
        }
    }

    /// Everything on the Google port: the APIs, the token endpoint and the container registry.
    pub fn router(&self) -> axum::Router {
        let gate = Arc::new(artifacts::RegistryGate::new(self.clone()));
        crate::registry::routes(self.inner.host.store.clone(), gate)
            .layer(middleware::from_fn_with_state(self.clone(), front_door))
    }

    /// For `sandbox status`: services with their addresses, revisions and traffic; running
    /// executions.
    pub fn status(&self) -> Value {
        json!({
            "project": self.inner.host.project,
            "projectNumber": names::project_number(&self.inner.host.project),
            "location": self.inner.host.location,
            "services": self.run_status(),
            "sql": self.sql_status(),
            "sql_last_backups": self.last_sql_backups(),
            "redis": self.redis_status(),
            "dns": self.dns_status(),
            "buckets": self.storage_status(),
        })
    }

    /// Everything that the project holds, by API and kind.
    pub(crate) fn dump(&self) -> Value {
        // An API that is added here does not compile until it says what it holds.
        let Inner {
            host: _,
            started: _,
            // Holds the tokens of callers.
            auth: _,
            operations,
            services,
            project_policy,
            folder,
            organization,
            secrets,
            artifacts,
            logs,
            run,
            dns,
            redis,
            sql,
            storage,
        } = &*self.inner;
        json!({
            "operations": operations.dump(),
            "project": {
                "services": { "enabled": services.dump() },
                "policies": { "project": project_policy.dump(), "folder": folder.dump() },
                "organization": { "constraints": organization.dump() },
            },
            "secretmanager": { "secrets": secrets.dump() },
            "artifactregistry": { "repositories": artifacts.dump() },
            "logging": { "entries": logs.dump() },
            "run": run.dump(),
            "dns": { "zones": dns.dump() },
            "redis": { "instances": redis.dump() },
            "sqladmin": sql.dump(),
            "storage": { "buckets": storage.dump() },
        })
    }

    fn host(&self) -> &Host {
        &self.inner.host
    }

    fn auth(&self) -> &auth::Auth {
        &self.inner.auth
    }

    fn operations(&self) -> &Operations {
        &self.inner.operations
    }

    fn services(&self) -> &projects::Services {
        &self.inner.services
    }

    fn organization(&self) -> &projects::Organization {
        &self.inner.organization
    }

    fn started(&self) -> &str {
        &self.inner.started
    }

    fn now(&self) -> String {
        timestamp(self.inner.host.clock.now())
    }

    /// `projects/P/locations/L`.
    fn parent_at(&self, location: &str) -> String {
        format!("projects/{}/locations/{location}", self.host().project)
    }

    fn check_project(&self, given: &str) -> Outcome<()> {
        names::check_project(&self.inner.host.project, given)
    }

    async fn dispatch(&self, call: Call) -> Outcome {
        self.check_enabled(&call.api.api, call.consumer.as_deref())?;
        match call.api.api.as_str() {
            "run.v2" if call.method.id.contains(".operations.") => self.operation(&call).await,
            "run.v2" => self.run_v2(call).await,
            "run.v1" if call.method.id.contains(".operations.") => {
                self.run_v1_operation(&call).await
            }
            "run.v1" => self.run_v1(&call),
            "secretmanager.v1" => self.secret_manager(&call),
            "artifactregistry.v1" if call.method.id.contains(".operations.") => {
                self.operation(&call).await
            }
            "artifactregistry.v1" => self.artifact_registry(&call),
            "logging.v2" => self.logging(&call),
            "serviceusage.v1" => self.service_usage(&call).await,
            "dns.v1" => self.cloud_dns(&call),
            "storage.v1" => self.cloud_storage(&call),
            "redis.v1" if call.method.id.contains(".operations.") => self.operation(&call).await,
            "redis.v1" => self.memorystore(&call),
            "sqladmin.v1" | "sqladmin.v1beta4" => {
                // A caller that hangs up must not leave its instance busy for good.
                let gcp = self.clone();
                let answered = self
                    .host()
                    .background
                    .spawn(async move { gcp.cloud_sql(call).await });
                match answered.await {
                    Ok(Some(outcome)) => outcome,
                    Ok(None) => Err(ApiError::new(Code::Internal, "the sandbox has ended")),
                    Err(error) => Err(ApiError::new(Code::Internal, error.to_string())),
                }
            }
            "cloudresourcemanager.v1" | "cloudresourcemanager.v3" => self.resource_manager(&call),
            other => Err(ApiError::unimplemented(other)),
        }
    }

    /// Operations below a project and location, of whichever API.
    async fn operation(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let parent = self.parent_at(call.var(1));
        let name = format!("{parent}/operations/{}", call.var(2));
        match call.method.id.rsplit('.').next().unwrap_or_default() {
            "get" => self.inner.operations.get(&name),
            "wait" => {
                let asked = call
                    .body
                    .get("timeout")
                    .and_then(Value::as_str)
                    .and_then(seconds);
                self.inner
                    .operations
                    .wait(
                        &name,
                        &self.inner.host.clock,
                        asked.unwrap_or(Duration::from_secs(120)),
                    )
                    .await
            }
            "list" => call.listed(self.inner.operations.list(&parent), 100),
            "delete" => self.inner.operations.delete(&name),
            // Google tries its best; nothing here can be cancelled.
            "cancel" => self.inner.operations.get(&name).map(|_| json!({})),
            _ => Err(ApiError::unimplemented(&call.method.id)),
        }
    }
}

/// The registry's routes and the APIs share one port: a path tells them apart.
async fn front_door(State(gcp): State<Gcp>, request: Request, next: Next) -> Response {
    if wire::is_api_path(request.uri().path()) {
        return wire::answer(&gcp, request).await;
    }
    let (method, path) = (request.method().as_str(), request.uri().path());
    let Some(call) = registry::call(Cloud::Google, method, path) else {
        return next.run(request).await;
    };
    let interceptor = &gcp.host().interceptor;
    let effect = next.run(request);
    interceptor.carry(call, 0, registry::refuse, effect).await
}

/// The ids of every method that the sandbox knows.
pub(crate) fn known_methods() -> impl Iterator<Item = String> {
    schema::method_ids().map(str::to_owned)
}

/// A timestamp as Google spells it, to the microsecond.
fn timestamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A `Duration` in protobuf's JSON: `3.5s`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
