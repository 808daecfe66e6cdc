//! Services: created, updated, deleted; each change that matters begins a deployment.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::clusters::{check_cluster, check_name};
use super::exec::check_role_of_service;
use super::names::{Names, long_number, short_id};
use super::service_rules::{check_config, check_controller, check_grace, defaults, settle};
use super::service_view::service_view;
use super::state::{Deployment, Revision, Rollout, RolloutState, Service, State};
use super::target_group::{Target, check_targets};
use super::{Ecs, client, invalid};
use crate::aws::error::{AwsError, unsupported};
use crate::aws::json::{copy, flag, list, need, number, seconds, text};
use crate::runner::Front;

/// Members that a change of makes a new deployment.
const DEPLOYED: [&str; 8] = [
    "networkConfiguration",
    "platformVersion",
    "capacityProviderStrategy",
    "launchType",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
];
/// Members that are echoed and change nothing that runs.
const ECHOED: [&str; 10] = [
    "availabilityZoneRebalancing",
    "deploymentConfiguration",
    "deploymentController",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "placementConstraints",
    "placementStrategy",
    "propagateTags",
    "schedulingStrategy",
];

impl Ecs {
    pub(super) async fn create_service(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let name = need(input, "serviceName");
        check_name(name, "Service")?;
        if let Some(existing) = self.existing(&cluster, name, input)? {
            return Ok(existing);
        }
        let targets = self.targets(list(input, "loadBalancers")).await?;
        let front = self.inner.host.runner.front().await.map_err(|error| {
            AwsError::new(
                "ServerException",
                format!("the sandbox cannot bind a load balancer: {error}"),
            )
        })?;
        let mut state = self.lock();
        let made = self.make_service(&mut state, input, (&cluster, name), front.clone(), targets);
        let service = match made {
            Ok(service) => service,
            Err(error) => {
                front.close();
                return Err(error);
            }
        };
        let (arn, wake) = (service.arn.clone(), service.wake.clone());
        state.services.retain(|old| old.arn != arn);
        state.services.push(service);
        let service = state.service(&cluster, name).ok_or_else(not_found)?;
        let answer = json!({"service": service_view(&state, service, true)});
        drop(state);
        self.clone().keep(arn, wake);
        Ok(answer)
    }

    /// The answer to a create that was made before, if it was this very one.
    fn existing(
        &self,
        cluster: &str,
        name: &str,
        input: &Value,
    ) -> Result<Option<Value>, AwsError> {
        let state = self.lock();
        check_cluster(&state, cluster)?;
        match state.service(cluster, name) {
            Some(service) if service.status == "DRAINING" => {
                Err(invalid("Unable to Start a service that is still Draining."))
            }
            Some(service) if service.status == "ACTIVE" => {
                let token = text(input, "clientToken");
                match token.is_some() && service.request == *input {
                    true => Ok(Some(
                        json!({"service": service_view(&state, service, true)}),
                    )),
                    false => Err(invalid("Creation of service was not idempotent.")),
                }
            }
            _ => Ok(None),
        }
    }

    fn make_service(
        &self,
        state: &mut State,
        input: &Value,
        (cluster, name): (&str, &str),
        front: Front,
        targets: Vec<Target>,
    ) -> Result<Service, AwsError> {
        check_cluster(state, cluster)?;
        if state
            .service(cluster, name)
            .is_some_and(|service| service.status != "INACTIVE")
        {
            return Err(invalid("Creation of service was not idempotent."));
        }
        let definition = text(input, "taskDefinition")
            .ok_or_else(|| client("TaskDefinition can not be blank."))?;
        let definition = find_definition(state, definition)?;
        let mut config = defaults();
        copy(input, &DEPLOYED, &mut config);
        copy(input, &ECHOED, &mut config);
        if !config.contains_key("capacityProviderStrategy") {
            config.entry("launchType").or_insert(json!("EC2"));
        }
        settle(&mut config);
        check_grace(None, input, &config)?;
        let desired = number(input, "desiredCount");
        let desired = match (text(input, "schedulingStrategy"), desired) {
            (Some("DAEMON"), _) => return Err(unsupported("the DAEMON scheduling strategy")),
            (_, None) => {
                return Err(invalid(
                    "desiredCount must be set for the REPLICA scheduling strategy.",
                ));
            }
            (_, Some(count)) => {
                usize::try_from(count).map_err(|_| invalid("desiredCount must not be negative."))?
            }
        };
        check_config(state, &config, &definition)?;
        let all = Value::Object(config.clone());
        check_role_of_service(state, &all, &definition, "created")?;
        check_targets(&targets, &config)?;
        let mut service = Service {
            arn: self.inner.names.arn(&format!("service/{cluster}/{name}")),
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            status: "ACTIVE",
            config,
            desired,
            created: self.now(),
            events: VecDeque::new(),
            tags: list(input, "tags").to_vec(),
            deployments: Vec::new(),
            revisions: Vec::new(),
            rollouts: Vec::new(),
            request: input.clone(),
            front: Some(front),
            wake: Arc::new(Notify::new()),
            start_after: None,
            failures_in_a_row: 0,
            steady: false,
        };
        self.begin_deployment(state, &mut service, definition, targets);
        Ok(service)
    }

    /// Makes a new PRIMARY deployment of `definition` with the service's present configuration.
    fn begin_deployment(
        &self,
        state: &State,
        service: &mut Service,
        definition: String,
        targets: Vec<Target>,
    ) {
        let now = self.now();
        for rollout in service.rollouts.iter_mut().filter(|rollout| rollout.open()) {
            rollout.status = "STOPPED";
            rollout.reason = Some(
                "Service deployment was stopped because a newer service deployment began.".into(),
            );
            (rollout.stopped, rollout.finished, rollout.updated) = (Some(now), Some(now), now);
        }
        let path = format!("{}/{}", service.cluster, service.name);
        let revision = self
            .inner
            .names
            .arn(&format!("service-revision/{path}/{}", long_number()));
        let id = format!("ecs-svc/{}", long_number());
        let sources = service
            .deployments
            .first()
            .map(|first| first.revision.clone());
        service
            .revisions
            .push(self.revision(state, service, &revision, &definition));
        service.rollouts.insert(
            0,
            Rollout {
                arn: self
                    .inner
                    .names
                    .arn(&format!("service-deployment/{path}/{}", short_id())),
                deployment: id.clone(),
                target: revision.clone(),
                sources: sources.into_iter().collect(),
                status: "IN_PROGRESS",
                reason: None,
                config: service
                    .config
                    .get("deploymentConfiguration")
                    .cloned()
                    .unwrap_or_default(),
                created: now,
                finished: None,
                stopped: None,
                updated: now,
                rollback: None,
                breaker: if service.breaker().is_some() {
                    "MONITORING"
                } else {
                    "DISABLED"
                },
                failures: 0,
                threshold: service.threshold(),
            },
        );
        let mut config = Map::new();
        let all = Value::Object(service.config.clone());
        copy(
            &all,
            &[
                "networkConfiguration",
                "platformVersion",
                "capacityProviderStrategy",
                "launchType",
                "platformFamily",
            ],
            &mut config,
        );
        service.deployments.insert(
            0,
            Deployment {
                reason: format!("ECS deployment {id} in progress."),
                id,
                revision,
                definition,
                config,
                created: now,
                updated: now,
                state: RolloutState::InProgress,
                failed: 0,
                targets,
                completed_once: false,
            },
        );
        service.start_after = None;
        service.failures_in_a_row = 0;
    }

    fn revision(&self, state: &State, service: &Service, arn: &str, definition: &str) -> Revision {
        let mut value = Map::new();
        copy(
            &Value::Object(service.config.clone()),
            &DEPLOYED,
            &mut value,
        );
        let containers = state
            .definition(definition)
            .map(|found| list(&found.value, "containerDefinitions").to_vec());
        let images: Vec<Value> = containers
            .unwrap_or_default()
            .iter()
            .map(|container| {
                let image = need(container, "image");
                let mut out = json!({"containerName": need(container, "name"), "image": image});
                if let Some(digest) = self.digest_of(image) {
                    out["imageDigest"] = json!(digest);
                }
                out
            })
            .collect();
        value.insert("serviceRevisionArn".into(), json!(arn));
        value.insert("serviceArn".into(), json!(service.arn));
        value.insert(
            "clusterArn".into(),
            json!(
                self.inner
                    .names
                    .arn(&format!("cluster/{}", service.cluster))
            ),
        );
        value.insert("taskDefinition".into(), json!(definition));
        value.insert("containerImages".into(), json!(images));
        value.insert("guardDutyEnabled".into(), json!(false));
        value.insert("createdAt".into(), seconds(self.now()));
        Revision {
            arn: arn.to_owned(),
            value: Value::Object(value),
        }
    }

    /// The load balancers that a service has after an update.
    fn balancers_after(&self, cluster: &str, input: &Value) -> Vec<Value> {
        let given = input.get("loadBalancers").and_then(Value::as_array);
        let present = || {
            let state = self.lock();
            let service = state.service(cluster, need(input, "service"))?;
            service.config.get("loadBalancers")?.as_array().cloned()
        };
        given.cloned().or_else(present).unwrap_or_default()
    }

    pub(super) async fn update_service(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let names = [&DEPLOYED[..], &["taskDefinition", "forceNewDeployment"]].concat();
        let targets = match names.iter().any(|name| input.get(*name).is_some()) {
            true => self.targets(&self.balancers_after(&cluster, input)).await?,
            false => Vec::new(),
        };
        let mut state = self.lock();
        check_cluster(&state, &cluster)?;
        let service = state
            .service(&cluster, need(input, "service"))
            .ok_or_else(not_found)?;
        if service.status != "ACTIVE" {
            return Err(AwsError::new(
                "ServiceNotActiveException",
                "Service was not ACTIVE.",
            ));
        }
        let arn = service.arn.clone();
        let current = service
            .deployments
            .first()
            .map(|first| first.definition.clone())
            .unwrap_or_default();
        let definition = match text(input, "taskDefinition") {
            Some(id) => find_definition(&state, id)?,
            None => current.clone(),
        };
        let mut config = service.config.clone();
        check_controller(&config, input)?;
        // What a deployment configuration does not say stays as it was (aws/copilot-cli#4565, of
        // its alarms).
        let before = config.get("deploymentConfiguration").cloned();
        copy(input, &DEPLOYED, &mut config);
        copy(input, &ECHOED, &mut config);
        if let (Some(Value::Object(mut before)), Some(Value::Object(now))) =
            (before, config.get("deploymentConfiguration").cloned())
        {
            before.extend(now.into_iter().filter(|(_, value)| !value.is_null()));
            config.insert("deploymentConfiguration".into(), Value::Object(before));
        }
        settle(&mut config);
        check_grace(Some(&service.config), input, &config)?;
        check_config(&state, &config, &definition)?;
        let all = Value::Object(config.clone());
        check_role_of_service(&state, &all, &definition, "updated")?;
        check_targets(&targets, &config)?;
        let desired = match number(input, "desiredCount") {
            None => service.desired,
            Some(count) => {
                usize::try_from(count).map_err(|_| invalid("desiredCount must not be negative."))?
            }
        };
        let changed = DEPLOYED
            .iter()
            .any(|name| service.config.get(*name) != config.get(*name));
        let deploys = changed || definition != current || flag(input, "forceNewDeployment");
        let position = state
            .services
            .iter()
            .position(|service| service.arn == arn)
            .ok_or_else(not_found)?;
        let mut service = state.services.remove(position);
        service.config = config;
        service.desired = desired;
        if deploys {
            self.begin_deployment(&state, &mut service, definition, targets);
        }
        service.wake.notify_one();
        state.services.insert(position, service);
        let service = state.service(&cluster, &arn).ok_or_else(not_found)?;
        Ok(json!({"service": service_view(&state, service, false)}))
    }

    /// The count of a service that is active, for who scales it. `None` when there is no such
    /// service.
    pub fn desired_count(&self, cluster: &str, name: &str) -> Option<usize> {
        let state = self.lock();
        let service = state.service(cluster, name)?;
        (service.status == "ACTIVE").then_some(service.desired)
    }

    /// Sets the count of a service, as UpdateService does.
    pub fn scale(&self, cluster: &str, name: &str, count: usize) {
        let mut state = self.lock();
        if let Some(service) = state.service_mut(cluster, name) {
            service.desired = count;
            service.wake.notify_one();
        }
    }

    pub(super) fn delete_service(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let mut state = self.lock();
        check_cluster(&state, &cluster)?;
        let service = state
            .service_mut(&cluster, need(input, "service"))
            .ok_or_else(not_found)?;
        if service.status == "INACTIVE" {
            return Err(AwsError::new(
                "ServiceNotActiveException",
                "Service was not ACTIVE.",
            ));
        }
        if service.desired > 0 && !flag(input, "force") {
            return Err(invalid(
                "The service cannot be stopped while it is scaled above 0.",
            ));
        }
        service.status = "DRAINING";
        service.desired = 0;
        service.wake.notify_one();
        let arn = service.arn.clone();
        let service = state.service(&cluster, &arn).ok_or_else(not_found)?;
        Ok(json!({"service": service_view(&state, service, true)}))
    }
}

pub(super) fn not_found() -> AwsError {
    AwsError::new("ServiceNotFoundException", "Service not found.")
}

fn find_definition(state: &State, id: &str) -> Result<String, AwsError> {
    let found = state
        .definition(id)
        .ok_or_else(|| client("TaskDefinition not found."))?;
    match found.active() {
        true => Ok(found.arn.clone()),
        false => Err(client("TaskDefinition is inactive")),
    }
}
