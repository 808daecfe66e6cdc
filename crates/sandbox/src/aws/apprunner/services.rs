//! Services: what is asked of them and what they answer. What then happens is in `operations` and
//! `deploy`.

use serde_json::{Value, json};

use super::state::{Config, Kind, Service, State};
use super::{AppRunner, PAGES, invalid, not_found, rules, scaling, too_many};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, random_hex, seconds};

/// AWS General Reference, "AWS App Runner endpoints and quotas", from memory.
const MOST: usize = 30;

impl AppRunner {
    pub(super) async fn create_service(&self, input: &Value) -> Result<Value, AwsError> {
        let front = self.inner.host.runner.front().await.map_err(|error| {
            let message = format!("the sandbox cannot bind an address for the service: {error}");
            AwsError::new("InternalServiceErrorException", message)
        })?;
        let mut state = self.lock();
        let config = match self.check_new(&state, input) {
            Ok(config) => config,
            Err(error) => {
                front.close();
                return Err(error);
            }
        };
        let (name, id, now) = (need(input, "ServiceName"), random_hex(32), self.now());
        let arn = self.arn(&format!("service/{name}/{id}"));
        let domain = format!(
            "{}.{}.awsapprunner.com",
            random_hex(10),
            self.inner.host.region
        );
        state.services.push(Service {
            id,
            name: name.to_owned(),
            arn: arn.clone(),
            domain,
            status: "OPERATION_IN_PROGRESS",
            created: now,
            updated: now,
            deleted: None,
            config,
            served: None,
            instances: Vec::new(),
            operations: Vec::new(),
            tags: list(input, "Tags").to_vec(),
            front,
        });
        state.has_role = true;
        self.open_logs(&state, &arn);
        self.watch_image(&arn);
        self.begin(&mut state, &arn, Kind::Create)
    }

    fn check_new(&self, state: &State, input: &Value) -> Result<Config, AwsError> {
        let name = need(input, "ServiceName");
        let mut alive = state.services.iter().filter(|it| it.deleted.is_none());
        // "It must be unique across all the running App Runner services in your Amazon Web Services
        // account in the Amazon Web Services Region" (CreateService). The words: what the API
        // answers, as many report them.
        if alive.any(|it| it.name == name) {
            return Err(invalid(format!(
                "Service with the provided name already exists: {name}."
            )));
        }
        // A failed one "still counts towards your service quota" (`Service.Status`).
        let count = state.services.iter().filter(|it| it.deleted.is_none());
        if count.count() >= MOST {
            return Err(too_many("services"));
        }
        rules::created(state, &self.inner.host.account, input)
    }

    /// "It can describe a service in any state, including deleted services" (API Reference,
    /// "Service").
    pub(super) fn describe_service(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let arn = need(input, "ServiceArn");
        let service = state.service(arn).ok_or_else(|| not_found(arn))?;
        Ok(json!({ "Service": shown(&state, service) }))
    }

    pub(super) fn list_services(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let alive = state.services.iter().filter(|it| it.deleted.is_none());
        let all = alive.map(|it| {
            json!({
                "ServiceName": it.name,
                "ServiceId": it.id,
                "ServiceArn": it.arn,
                "ServiceUrl": url(it),
                "CreatedAt": seconds(it.created),
                "UpdatedAt": seconds(it.updated),
                "Status": it.status,
            })
        });
        PAGES.of(input, "ServiceSummaryList", all.collect())
    }

    /// Of a service that runs, or that failed to be created: since June 2023 that is how it is made
    /// to run after all (`Service.Status`; roadmap#61). Not of a paused one (Developer Guide,
    /// "When your service is paused"). Each change starts an operation, also one that changes
    /// nothing: ours.
    pub(super) fn update_service(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let arn = need(input, "ServiceArn");
        let service = alive(&state, arn)?;
        if !matches!(service.status, "RUNNING" | "CREATE_FAILED") {
            return Err(in_state("updated", service.status));
        }
        let account = &self.inner.host.account;
        let config = rules::changed(&state, account, &service.config, input)?;
        let service = state.service_mut(arn).ok_or_else(|| not_found(arn))?;
        service.config = config;
        self.begin(&mut state, arn, Kind::Update)
    }

    pub(super) fn delete_service(&self, input: &Value) -> Result<Value, AwsError> {
        let may = ["RUNNING", "PAUSED", "CREATE_FAILED", "DELETE_FAILED"];
        self.begin_from(input, &may, ("deleted", Kind::Delete))
    }

    pub(super) fn pause_service(&self, input: &Value) -> Result<Value, AwsError> {
        self.begin_from(input, &["RUNNING"], ("paused", Kind::Pause))
    }

    pub(super) fn resume_service(&self, input: &Value) -> Result<Value, AwsError> {
        self.begin_from(input, &["PAUSED"], ("resumed", Kind::Resume))
    }

    /// Its model names no InvalidStateException for this. The words: what the API answers, as many
    /// report them.
    pub(super) fn start_deployment(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let arn = need(input, "ServiceArn");
        if alive(&state, arn)?.status != "RUNNING" {
            return Err(invalid(
                "Can't start a deployment on the specified service, because it isn't in RUNNING state.",
            ));
        }
        let begun = self.begin(&mut state, arn, Kind::Deploy)?;
        Ok(json!({ "OperationId": begun["OperationId"] }))
    }

    fn begin_from(
        &self,
        input: &Value,
        may: &[&str],
        (done, kind): (&str, Kind),
    ) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let arn = need(input, "ServiceArn");
        let status = alive(&state, arn)?.status;
        match may.contains(&status) {
            true => self.begin(&mut state, arn, kind),
            false => Err(in_state(done, status)),
        }
    }

    /// "The resulting list of OperationSummary objects is sorted in reverse chronological order"
    /// (ListOperations).
    pub(super) fn list_operations(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let arn = need(input, "ServiceArn");
        let service = state.service(arn).ok_or_else(|| not_found(arn))?;
        let operations = service.operations.iter().rev();
        let all = operations.map(|it| it.shown(arn)).collect();
        PAGES.of(input, "OperationSummaryList", all)
    }
}

pub(super) fn alive<'a>(state: &'a State, arn: &str) -> Result<&'a Service, AwsError> {
    let service = state.service(arn).filter(|it| it.deleted.is_none());
    service.ok_or_else(|| not_found(arn))
}

/// The words of an update: hashicorp/waypoint, `builtin/aws/apprunner`. Of the others: ours, alike.
pub(super) fn in_state(done: &str, status: &str) -> AwsError {
    let message = format!("Service cannot be {done} in the current state: {status}.");
    AwsError::new("InvalidStateException", message)
}

/// Host and port, without a scheme, as the vendor's is a host without one. That it is an address of
/// this machine and speaks HTTP is ours.
pub fn url(service: &Service) -> String {
    service.front.address().to_string()
}

/// As DescribeService shows it.
pub fn shown(state: &State, service: &Service) -> Value {
    let mut out = json!({
        "ServiceName": service.name,
        "ServiceId": service.id,
        "ServiceArn": service.arn,
        "ServiceUrl": url(service),
        "CreatedAt": seconds(service.created),
        "UpdatedAt": seconds(service.updated),
        "Status": service.status,
    });
    for (name, value) in &service.config.members {
        out[name] = value.clone();
    }
    if let Some(deleted) = service.deleted {
        out["DeletedAt"] = seconds(deleted);
    }
    if let Some(found) = state.scaling.get(&service.config.scaling) {
        out["AutoScalingConfigurationSummary"] = scaling::summary(state, &found.value);
    }
    out
}
