//! `/_sandbox/...` on both ports: what runs, what goes wrong on purpose, and the word to stop. No
//! vendor path begins so.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::aws::Aws;
use crate::backing::Backing;
use crate::env::Running;
use crate::faults::FaultsFile;
use crate::gcp::Gcp;
use crate::host::{AllowedLocations, FailedDeletes, FailedUpdates, IamDelay};
use crate::interceptor::Interceptor;
use crate::registry::Store;
use crate::runner::{Isolation, Runner};
use crate::verdict::Rules;
use crate::walls;

/// What the control endpoints know.
pub(crate) struct Control {
    pub(crate) running: Running,
    pub(crate) speed: Option<f64>,
    pub(crate) runner: Runner,
    pub(crate) backing: Backing,
    pub(crate) moto: Option<String>,
    pub(crate) interceptor: Interceptor,
    pub(crate) iam_delay: IamDelay,
    pub(crate) locations: AllowedLocations,
    pub(crate) failed_updates: FailedUpdates,
    pub(crate) failed_deletes: FailedDeletes,
    pub(crate) aws: Aws,
    pub(crate) gcp: Gcp,
    pub(crate) store: Store,
    pub(crate) stop: watch::Sender<bool>,
}

impl Control {
    /// The whole sandbox at a glance.
    pub(crate) fn status(&self) -> Value {
        let isolation = match self.runner.isolation() {
            Isolation::Namespaces => json!({ "kind": "namespaces" }),
            Isolation::Simulated => json!({ "kind": "simulated" }),
            Isolation::Shared { why } => json!({ "kind": "shared", "why": why }),
        };
        let containers = self.runner.running().into_iter();
        let containers = containers
            .map(|(name, pid, address)| json!({ "name": name, "pid": pid, "address": address }));
        json!({
            "pid": self.running.pid,
            "speed": self.speed,
            "isolation": isolation,
            "moto": self.moto,
            "backing": self.backing.status(),
            "faults": self.interceptor.faults_status(),
            "rates": self.interceptor.rates_status(),
            "calls": self.interceptor.calls_status(),
            "aws": {
                "url": self.running.aws_url,
                "account": self.running.account,
                "region": self.running.region,
                "status": self.aws.status(),
            },
            "gcp": {
                "url": self.running.gcp_url,
                "project": self.running.project,
                "location": self.running.location,
                "status": self.gcp.status(),
            },
            "containers": containers.collect::<Vec<_>>(),
        })
    }
}

impl Control {
    /// Everything that both clouds hold, as data: by cloud, service and kind, with the values of
    /// secrets. Objects are sorted by their keys.
    pub(crate) fn dump(&self) -> Value {
        let mut dump = json!({
            "aws": self.aws.dump(),
            "gcp": self.gcp.dump(),
            "registry": { "images": { "manifests": self.store.dump() } },
        });
        dump.sort_all_objects();
        dump
    }
}

/// Puts the control endpoints in front of a cloud's own routes.
pub(crate) fn with_control(control: Arc<Control>, cloud: Router) -> Router {
    let token: Arc<str> = control.running.control_token.as_str().into();
    let control_alone = Router::new()
        .route("/_sandbox/status", get(status))
        .route("/_sandbox/dump", get(dump))
        .route("/_sandbox/shutdown", post(shutdown))
        .route("/_sandbox/faults", post(set_faults).delete(clear_faults))
        .route("/_sandbox/organization", post(set_organization))
        .route("/_sandbox/billing", post(set_billing))
        .route("/_sandbox/folder", post(set_folder))
        .route(
            "/_sandbox/aws/policy",
            post(set_policy).delete(clear_policy),
        )
        .route_layer(from_fn_with_state(token, walls::token))
        .with_state(control);
    Router::new()
        .merge(control_alone)
        .fallback_service(cloud)
        .layer(from_fn(walls::guard))
}

async fn status(State(control): State<Arc<Control>>) -> Json<Value> {
    Json(control.status())
}

async fn dump(State(control): State<Arc<Control>>) -> Json<Value> {
    Json(control.dump())
}

/// Replaces the rules by those of the body, a faults file; a bad one changes nothing.
async fn set_faults(State(control): State<Arc<Control>>, body: String) -> Response {
    match FaultsFile::parse("the request's body", &body) {
        Ok(file) => {
            control.interceptor.replace_rules(file.rules());
            Json(control.interceptor.faults_status()).into_response()
        }
        Err(error) => {
            let told = json!({ "error": error.to_string(), "hint": error.remedy() });
            (StatusCode::BAD_REQUEST, Json(told)).into_response()
        }
    }
}

/// Puts the constraints of Google's organization policies in force that the body names, a list, and
/// no others.
async fn set_organization(
    State(control): State<Arc<Control>>,
    Json(constraints): Json<Vec<String>>,
) -> Response {
    match control.gcp.constrain(constraints) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(unknown) => {
            let told = json!({
                "error": format!("`{unknown}` is no constraint that the sandbox enforces"),
                "hint": format!("it knows {}", crate::gcp::CONSTRAINTS.join(", ")),
            });
            (StatusCode::BAD_REQUEST, Json(told)).into_response()
        }
    }
}

/// Whether Google's project has a billing account.
async fn set_billing(State(control): State<Arc<Control>>, Json(linked): Json<bool>) -> StatusCode {
    control.gcp.set_billing(linked);
    StatusCode::NO_CONTENT
}

/// Puts Google's project into a folder whose policy gives a role to a member.
async fn set_folder(
    State(control): State<Arc<Control>>,
    Json((role, member)): Json<(String, String)>,
) -> StatusCode {
    control.gcp.set_folder(&role, &member);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(control): State<Arc<Control>>) -> Json<Value> {
    control.interceptor.replace_rules(Rules::default());
    Json(control.interceptor.faults_status())
}

/// Holds the AWS user to the policy document of the body; a bad one changes nothing.
async fn set_policy(State(control): State<Arc<Control>>, body: Bytes) -> Response {
    match control.aws.restrict(Some(&body)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn clear_policy(State(control): State<Arc<Control>>) -> Response {
    match control.aws.restrict(None) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn shutdown(State(control): State<Arc<Control>>) -> StatusCode {
    control.stop.send_replace(true);
    StatusCode::ACCEPTED
}
