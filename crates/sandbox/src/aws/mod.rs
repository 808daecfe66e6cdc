//! AWS: JSON and query protocols, signed requests, one folder or file per service.

// long: the list of services with how each is called

mod apprunner;
mod autoscaling;
pub mod credentials;
mod ecr;
mod ecs;
mod elasticache;
mod error;
mod faults;
mod forward;
mod gateway;
mod json;
mod logs;
mod pages;
mod parameter;
mod policy;
mod query;
mod query_rules;
mod rds;
mod rest_xml;
mod route53;
mod schema;
mod secrets;
mod shelf;
mod sigv4;
mod sts;
mod tagging;
mod tags;

use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;

use crate::Host;
use crate::call::{ApiCall, Cloud};
use crate::interceptor::{Asked, identity};
use crate::registry;
use crate::verdict::Fault;
use error::{AwsError, Wire};
use policy::Policy;
use schema::{Rule, Violation};

/// Larger than any request that the services or moto take in one piece.
const BODY_LIMIT: usize = 512 << 20;
/// As `ssmmessages.REGION.amazonaws.com` has it.
const SESSIONS: &str = "/v1/data-channel/{id}";

/// The sandboxed AWS account. Cheap to clone.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    policy: Arc<Mutex<Option<Policy>>>,
    /// For moto; made when it is first asked.
    http: LazyLock<reqwest::Client>,
    ecr: ecr::Ecr,
    apprunner: apprunner::AppRunner,
    autoscaling: autoscaling::AutoScaling,
    ecs: ecs::Ecs,
    elasticache: elasticache::ElastiCache,
    gateway: gateway::Gateway,
    logs: logs::Logs,
    rds: rds::Rds,
    route53: route53::Route53,
    secrets: secrets::Secrets,
}

impl Inner {
    /// Everything of every service here that has tags.
    fn tagged(&self) -> Vec<tagging::Tagged> {
        let mut all = self.ecs.tagged();
        all.extend(self.ecr.tagged());
        all.extend(self.logs.tagged());
        all.extend(self.secrets.tagged());
        all.extend(self.rds.tagged());
        all.extend(self.elasticache.tagged());
        all.extend(self.autoscaling.tagged());
        all.extend(self.apprunner.tagged());
        all
    }
}

impl Aws {
    /// An empty account: one user, one ECS cluster `default`.
    pub fn new(host: Host) -> Self {
        let policy = Arc::new(Mutex::new(None));
        let logs = logs::Logs::new(&host);
        let secrets = secrets::Secrets::new(&host);
        let ecr = ecr::Ecr::new(&host, policy.clone());
        let elasticache = elasticache::ElastiCache::new(&host);
        let rds = rds::Rds::new(&host);
        let route53 = route53::Route53::new(&host);
        let gateway = gateway::Gateway::new(&host, policy.clone());
        let ecs = ecs::Ecs::new(&host, logs.clone(), secrets.clone(), gateway.clone());
        let autoscaling = autoscaling::AutoScaling::new(&host, ecs.clone());
        let apprunner =
            apprunner::AppRunner::new(&host, logs.clone(), secrets.clone(), route53.clone());
        Self {
            inner: Arc::new(Inner {
                apprunner,
                autoscaling,
                host,
                policy,
                http: LazyLock::new(forward::client),
                ecr,
                ecs,
                elasticache,
                gateway,
                logs,
                rds,
                route53,
                secrets,
            }),
        }
    }

    /// Everything on the AWS port: the services' APIs, and ECR's registry under `/v2/`.
    pub fn router(&self) -> Router {
        let gate = Arc::new(self.inner.ecr.gate());
        let sessions = Router::new()
            .route(SESSIONS, get(gateway::data_channel))
            .with_state(self.inner.gateway.clone());
        Router::new()
            // As truststore.pki.rds.amazonaws.com has it: the authorities of a region's databases,
            // for everybody.
            .route("/{region}/{bundle}", get(truststore))
            .fallback(answer)
            .with_state(self.clone())
            .merge(sessions)
            .merge(crate::registry::routes(self.inner.host.store.clone(), gate))
            .layer(from_fn_with_state(self.clone(), signed_first))
    }

    /// From now on the user may do no more than an identity-based policy document says; `None`:
    /// everything again.
    pub(crate) fn restrict(&self, document: Option<&[u8]>) -> Result<(), String> {
        let read = |document| {
            let document = serde_json::from_slice(document).map_err(|error| error.to_string())?;
            Policy::read(&document)
        };
        let policy = document.map(read).transpose()?;
        let held = self.inner.policy.lock();
        *held.expect("no panic while the policy is held") = policy;
        Ok(())
    }

    /// The services with their addresses and tasks, and which repositories, secrets and log groups
    /// there are.
    pub fn status(&self) -> Value {
        serde_json::json!({
            "services": self.inner.ecs.status(),
            "repositories": self.inner.ecr.names(),
            "secrets": self.inner.secrets.names(),
            "log_groups": self.inner.logs.names(),
            "databases": self.inner.rds.status(),
            "caches": self.inner.elasticache.status(),
            "scaling": self.inner.autoscaling.status(),
            "apprunner": self.inner.apprunner.status(),
            "dns": self.inner.route53.status(),
        })
    }

    /// Everything that the account holds, by service and kind.
    pub(crate) fn dump(&self) -> Value {
        // A service that is added here does not compile until it says what it holds.
        let Inner {
            host: _,
            policy: _,
            http: _,
            // Holds the sessions of processes.
            gateway: _,
            apprunner,
            autoscaling,
            ecr,
            ecs,
            elasticache,
            logs,
            rds,
            route53,
            secrets,
        } = &*self.inner;
        serde_json::json!({
            "apprunner": apprunner.dump(),
            "autoscaling": autoscaling.dump(),
            "ecr": ecr.dump(),
            "ecs": ecs.dump(),
            "elasticache": elasticache.dump(),
            "logs": { "groups": logs.dump() },
            "rds": rds.dump(),
            "route53": { "zones": route53.dump() },
            "secretsmanager": { "secrets": secrets.dump() },
        })
    }

    /// Rotates a secret as its owner does: an older version loses its labels, and goes. Whether
    /// there is such a secret.
    pub fn rotate_secret(&self, name: &str, value: &str) -> bool {
        self.inner.secrets.rotate(name, value)
    }

    /// Carries out a lifecycle policy that deletes the images of a repository that have no tag.
    pub fn expire_untagged(&self, repository: &str) {
        self.inner.ecr.expire_untagged(repository);
    }

    /// Whether Fargate has room for tasks that are run on their own.
    pub fn have_capacity(&self, has: bool) {
        self.inner.ecs.have_capacity(has);
    }

    /// Whether ECS's tasks without a public address reach anything outside.
    pub fn have_way_out(&self, has: bool) {
        self.inner.ecs.have_way_out(has);
    }

    /// Whether the agents of containers that start from now on reach the Message Gateway.
    pub fn connect_agents(&self, connect: bool) {
        self.inner.ecs.connect_agents(connect);
    }

    /// Has the sessions of a cluster encrypted with a KMS key.
    pub fn encrypt_sessions(&self, cluster: &str, key: &str) {
        self.inner.ecs.encrypt_sessions(cluster, key);
    }

    /// Whether messages of ECS Exec's sessions that begin from now on are lost, doubled and
    /// reordered at times.
    pub fn disturb_sessions(&self, disturbs: bool) {
        self.inner.ecs.disturb_sessions(disturbs);
    }

    async fn api(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let authorization = match sigv4::Authorization::read(&parts.headers) {
            Ok(authorization) => authorization,
            Err(error) => return error.respond(wire("", &parts.headers)),
        };
        let service = authorization.service.clone();
        let wire = wire(&service, &parts.headers);
        let signed = sigv4::Signed {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            body: &body,
        };
        if let Err(error) = sigv4::verify(&signed, &authorization, &self.inner.host) {
            return error.respond(wire);
        }
        let call = faults::call(
            &service,
            operation(&parts, &body).as_deref(),
            &parts.method,
            &parts.uri,
        );
        let asked = Asked {
            request: identity((parts.method.as_str(), parts.uri.to_string(), &body)),
            unborn: self.unborn(&call, &body),
            lags: true,
        };
        let host = &self.inner.host;
        let (account, named) = (host.account.clone(), call.clone());
        let refuse = move |fault: &Fault| faults::refuse(fault, &account, &named, wire);
        let aws = self.clone();
        let effect = async move { aws.carry_out(authorization, parts, body, wire).await };
        host.interceptor.carry(call, asked, refuse, effect).await
    }

    /// What the call would be told by a service that does not know yet what it has just made.
    fn unborn(&self, call: &ApiCall, body: &Bytes) -> Option<Response> {
        match call.name.as_str() {
            "ecs:DescribeTasks" => {
                let input = read_json(body).ok()?;
                let unborn = self.inner.ecs.tasks_unborn(&input)?;
                Some(json_response(&unborn, "1.1"))
            }
            "ecs:ListTasks" => {
                let input = read_json(body).ok()?;
                let unlisted = self.inner.ecs.tasks_unlisted(&input)?;
                Some(json_response(&unlisted, "1.1"))
            }
            // Secrets Manager is eventually consistent: a version may be unknown for a moment after
            // it was put (<https://github.com/hashicorp/terraform-provider-aws/issues/18406>).
            "secretsmanager:GetSecretValue" => {
                let input = read_json(body).ok()?;
                let error = self.inner.secrets.version_unborn(&input)?;
                Some(error.respond(Wire::JsonCapital))
            }
            _ => None,
        }
    }

    /// Answers a request of a known caller.
    async fn carry_out(
        &self,
        authorization: sigv4::Authorization,
        parts: Parts,
        body: Bytes,
        wire: Wire,
    ) -> Response {
        if let Err(error) = self.check_bucket_owner(&authorization, &parts) {
            return error.respond(wire);
        }
        let owned = match self.owned(&authorization, &parts, &body).await {
            Ok(owned) => owned,
            Err(error) => return error.respond(wire),
        };
        match (owned, &self.inner.host.moto) {
            (Some(response), _) => response,
            (None, None) => forward::absent(&authorization.service, wire),
            (None, Some(moto)) => {
                let http = &self.inner.http;
                forward::forward(
                    http,
                    moto,
                    parts.method,
                    &parts.uri,
                    &parts.headers,
                    body,
                    wire,
                )
                .await
            }
        }
    }

    /// Every bucket here is this account's: "If the bucket is owned by a different account, the
    /// request fails with the HTTP status code 403 Forbidden (access denied)"
    /// (`x-amz-expected-bucket-owner`, S3 API reference).
    fn check_bucket_owner(
        &self,
        authorization: &sigv4::Authorization,
        parts: &Parts,
    ) -> Result<(), AwsError> {
        let expected = parts.headers.get("x-amz-expected-bucket-owner");
        let is_ours = expected.is_none_or(|it| it.as_bytes() == self.inner.host.account.as_bytes());
        match authorization.service == "s3" && !is_ours {
            false => Ok(()),
            true => {
                Err(AwsError::new("AccessDenied", "Access Denied")
                    .with_status(StatusCode::FORBIDDEN))
            }
        }
    }

    /// Answers an operation of an owned service; `None` for what belongs to moto.
    async fn owned(
        &self,
        authorization: &sigv4::Authorization,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Option<Response>, AwsError> {
        let service = authorization.service.as_str();
        let target = target(parts);
        let Some(model) = schema::model(service) else {
            self.authorize(&match operation(parts, body) {
                Some(operation) => format!("{service}:{operation}"),
                None => policy::rest_action(service, &parts.method, &parts.uri),
            })?;
            return Ok(None);
        };
        self.check_region(authorization)?;
        let (operation, input) = match target {
            _ if model.is_rest_xml() => {
                let operation = rest_xml::operation(model, &parts.method, parts.uri.path());
                let operation = operation.ok_or_else(|| {
                    unknown_operation(&format!("{service}:{} {}", parts.method, parts.uri.path()))
                })?;
                let input = rest_xml::read(model, operation, &parts.uri, body)?;
                (operation.to_owned(), input)
            }
            _ if model.is_query() => {
                let operation = query::action(body);
                let input = query::read(model, &operation, body);
                (operation, input)
            }
            Some(target) => (
                operation_of(target, &model.metadata.target_prefix)?,
                read_json(body)?,
            ),
            None => return Err(unknown_operation("")),
        };
        if !model.has(&operation) {
            // moto has the rest of the services that talk in forms.
            if model.is_query() {
                self.authorize(&format!("{service}:{operation}"))?;
                return Ok(None);
            }
            return Err(unknown_operation(&format!("{service}:{operation}")));
        }
        for action in self.actions(service, &operation, &input) {
            self.authorize(&action)?;
        }
        let violations = model.check_input(&operation, &input);
        if !violations.is_empty() {
            return Err(refusal(service, &violations));
        }
        let result = self.call(service, &operation, &input).await?;
        let wrong = model.check_output(&operation, &result);
        if let Some(wrong) = wrong.first() {
            // An answer that the vendor's own model forbids would teach clients something false.
            return Err(AwsError::new(
                "InternalFailure",
                format!("{operation}: {}", wrong.message),
            )
            .with_status(StatusCode::INTERNAL_SERVER_ERROR));
        }
        Ok(Some(if model.is_query() {
            query::respond(model, &operation, &result)
        } else if model.is_rest_xml() {
            rest_xml::respond(model, &operation, &result)
        } else {
            json_response(&result, &model.metadata.json_version)
        }))
    }

    async fn call(&self, service: &str, operation: &str, input: &Value) -> Result<Value, AwsError> {
        let inner = &self.inner;
        match service {
            "apprunner" => inner.apprunner.call(operation, input).await,
            "ecs" => inner.ecs.call(operation, input).await,
            "ecr" => inner.ecr.call(operation, input),
            "logs" => inner.logs.call(operation, input),
            "secretsmanager" => inner.secrets.call(operation, input),
            "rds" => inner.rds.call(operation, input),
            "route53" => inner.route53.call(operation, input),
            "elasticache" => inner.elasticache.call(operation, input),
            "application-autoscaling" => inner.autoscaling.call(operation, input),
            "tagging" => tagging::get_resources(inner.tagged(), input),
            _ => sts::call(&inner.host.account, operation, input),
        }
    }

    fn check_region(&self, authorization: &sigv4::Authorization) -> Result<(), AwsError> {
        let region = &authorization.region;
        // The global endpoints are signed for us-east-1.
        let global =
            matches!(authorization.service.as_str(), "sts" | "route53") && region == "us-east-1";
        if *region == self.inner.host.region || global {
            return Ok(());
        }
        Err(AwsError::new(
            "InvalidSignatureException",
            format!("Credential should be scoped to a valid region, not '{region}'."),
        ))
    }

    /// The IAM actions that an operation needs: its own, and those of what it does besides.
    fn actions(&self, service: &str, operation: &str, input: &Value) -> Vec<String> {
        let mut actions = vec![policy::action(service, operation)];
        let tagged = ["tags", "Tags"].iter().any(|name| match input.get(*name) {
            Some(Value::Array(tags)) => !tags.is_empty(),
            Some(Value::Object(tags)) => !tags.is_empty(),
            _ => false,
        });
        let tagging = match service {
            "rds" | "elasticache" => "AddTagsToResource",
            _ => "TagResource",
        };
        if tagged && !operation.starts_with("Tag") && operation != tagging {
            actions.push(format!("{service}:{tagging}"));
        }
        let besides = policy::besides(service, operation, input).iter();
        actions.extend(besides.map(|action| (*action).to_owned()));
        // "You must have permission to create a service-linked role": it is made when the first
        // target is registered.
        if service == "application-autoscaling" && self.inner.autoscaling.makes_role(operation) {
            actions.push("iam:CreateServiceLinkedRole".to_owned());
        }
        let apprunner = &self.inner.apprunner;
        if service == "apprunner" && apprunner.makes_role(operation) {
            actions.push("iam:CreateServiceLinkedRole".to_owned());
        }
        let passes_role = match service {
            "ecs" => self.inner.ecs.passes_role(operation, input),
            "apprunner" => apprunner.passes_role(operation, input),
            _ => false,
        };
        if passes_role {
            actions.push("iam:PassRole".to_owned());
        }
        actions
    }

    fn authorize(&self, action: &str) -> Result<(), AwsError> {
        let policy = self
            .inner
            .policy
            .lock()
            .expect("no panic while the policy is held");
        match policy.as_ref() {
            // GetCallerIdentity cannot be denied.
            Some(policy) if action != "sts:GetCallerIdentity" && !policy.allows(action) => {
                Err(AwsError::denied(&self.inner.host.account, action, "*"))
            }
            _ => Ok(()),
        }
    }
}

/// Signed requests are API calls whatever their path; services of moto's have paths under `/v2/`
/// too.
async fn signed_first(State(aws): State<Aws>, request: Request, next: Next) -> Response {
    let signed = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256"));
    // Of a session the request for the websocket alone is signed.
    let session = request
        .uri()
        .path()
        .starts_with(&SESSIONS[..SESSIONS.len() - 4]);
    if signed && !session {
        return aws.api(request).await;
    }
    let call = registry::call(Cloud::Aws, request.method().as_str(), request.uri().path());
    let Some(call) = call else {
        return next.run(request).await;
    };
    let interceptor = &aws.inner.host.interceptor;
    let effect = next.run(request);
    interceptor.carry(call, 0, registry::refuse, effect).await
}

/// `REGION-bundle.pem`; anything else there is a request that nobody signed.
async fn truststore(
    State(aws): State<Aws>,
    Path((region, bundle)): Path<(String, String)>,
    request: Request,
) -> Response {
    let host = &aws.inner.host;
    if region != host.region || bundle != format!("{region}-bundle.pem") {
        return aws.api(request).await;
    }
    host.backing.authority().pem().into_response()
}

async fn answer(State(aws): State<Aws>, request: Request) -> Response {
    aws.api(request).await
}

/// The `X-Amz-Target` header.
fn target(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()
}

/// The operation that a request names. `None` when its protocol tells it by method and path.
fn operation(parts: &Parts, body: &[u8]) -> Option<String> {
    let named = target(parts).and_then(|target| target.rsplit('.').next());
    let operation = named.map_or_else(|| query::action(body), str::to_owned);
    Some(operation).filter(|operation| !operation.is_empty())
}

/// Every operation that the sandbox has itself, `service:Operation`, and the services of which it
/// has all that are ever answered: calls of others may go to moto.
pub(crate) fn known_operations() -> (Vec<String>, Vec<&'static str>) {
    let names = schema::models().flat_map(|(service, model)| {
        model
            .operations()
            .map(move |operation| format!("{service}:{operation}"))
    });
    let whole = schema::models().filter(|(_, model)| !model.is_query());
    (names.collect(), whole.map(|(service, _)| service).collect())
}

fn wire(service: &str, headers: &HeaderMap) -> Wire {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    match service {
        "apprunner" => Wire::Json10,
        "secretsmanager" => Wire::JsonCapital,
        _ if headers.contains_key("x-amz-target") => Wire::Json,
        "s3" => Wire::S3,
        "ec2" => Wire::Ec2,
        "route53" => Wire::Query("https://route53.amazonaws.com/doc/2013-04-01/"),
        _ if content_type.starts_with(b"application/x-www-form-urlencoded") => {
            let model = schema::model(service).or(schema::model("sts"));
            Wire::Query(model.map_or("", |model| &model.metadata.xml_namespace))
        }
        _ => Wire::Rest,
    }
}

fn operation_of(target: &str, prefix: &str) -> Result<String, AwsError> {
    target
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('.'))
        .map(str::to_owned)
        .ok_or_else(|| unknown_operation(target))
}

fn unknown_operation(what: &str) -> AwsError {
    AwsError::new(
        "UnknownOperationException",
        format!("the sandbox does not have the operation `{what}`"),
    )
}

fn read_json(body: &[u8]) -> Result<Value, AwsError> {
    let wrong = || AwsError::new("SerializationException", "the body is not a JSON object");
    if body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(wrong())
    }
}

/// What a service says to a request that breaks its model.
fn refusal(service: &str, violations: &[Violation]) -> AwsError {
    if service == "route53" {
        let all = violations
            .iter()
            .map(|violation| violation.message.as_str());
        return AwsError::new("InvalidInput", all.collect::<Vec<_>>().join("; "));
    }
    let unreadable = |violation: &&Violation| matches!(violation.rule, Rule::Type | Rule::Unknown);
    if let Some(violation) = violations.iter().find(unreadable) {
        return AwsError::new("SerializationException", violation.message.clone());
    }
    let code = match service {
        "ecs" | "ecr" | "logs" | "tagging" => "InvalidParameterException",
        _ => "ValidationException",
    };
    let count = violations.len();
    let all: Vec<&str> = violations
        .iter()
        .map(|violation| violation.message.as_str())
        .collect();
    let plural = if count == 1 { "error" } else { "errors" };
    AwsError::new(
        code,
        format!("{count} validation {plural} detected: {}", all.join("; ")),
    )
}

fn json_response(result: &Value, version: &str) -> Response {
    let mut response = Response::new(result.to_string().into());
    let headers = response.headers_mut();
    let content_type = match version {
        "1.0" => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
