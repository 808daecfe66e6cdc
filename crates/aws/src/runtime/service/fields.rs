//! A described service in the terms in which a plan compares it, and a call that puts it back;
//! performs no IO.

use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::{
    AssignPublicIp, DeploymentCircuitBreaker, DeploymentConfiguration, LaunchType, LoadBalancer,
    PropagateTags, Service as SdkService,
};
use deployer_core::fields::{FieldChange, Fields};

use crate::runtime::rollout;
use crate::tags::{self, Tags};

pub(crate) fn tags_of(service: &SdkService) -> Tags {
    tags::from_pairs(service.tags().iter().map(|tag| (tag.key(), tag.value())))
}

/// The circuit breaker, without which a roll-out that fails never ends; the rest as it is there, or
/// else as ECS has it by default.
pub(in crate::runtime) fn deployment_configuration(
    there: Option<&DeploymentConfiguration>,
    least: Option<u32>,
    most: Option<u32>,
) -> DeploymentConfiguration {
    let mut configuration = match there {
        Some(there) => there.clone(),
        None => DeploymentConfiguration::builder()
            .minimum_healthy_percent(100)
            .maximum_percent(200)
            .build(),
    };
    let percent = |percent: u32| i32::try_from(percent).unwrap_or(i32::MAX);
    if let Some(least) = least {
        configuration.minimum_healthy_percent = Some(percent(least));
    }
    if let Some(most) = most {
        configuration.maximum_percent = Some(percent(most));
    }
    let breaker = configuration.deployment_circuit_breaker;
    configuration.deployment_circuit_breaker = Some(match breaker {
        Some(mut breaker) => {
            (breaker.enable, breaker.rollback) = (true, true);
            breaker
        }
        None => DeploymentCircuitBreaker::builder()
            .enable(true)
            .rollback(true)
            .build(),
    });
    configuration
}

pub(in crate::runtime) fn sorted(words: &[String]) -> String {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.sort_unstable();
    words.join(", ")
}

pub(in crate::runtime) fn balancer_text(group: &str, container: &str, port: i32) -> String {
    format!("{group} -> {container}:{port}")
}

pub(in crate::runtime) fn text_of_balancer(balancer: &LoadBalancer) -> String {
    balancer_text(
        balancer.target_group_arn().unwrap_or_default(),
        balancer.container_name().unwrap_or_default(),
        balancer.container_port().unwrap_or_default(),
    )
}

/// Whether its tasks run on Fargate. An answer that says nothing of that - a stand-in's - is taken
/// for it.
pub(in crate::runtime) fn runs_on_fargate(service: &SdkService) -> bool {
    let mut providers = service.capacity_provider_strategy().iter();
    if service.capacity_provider_strategy().is_empty() {
        return service
            .launch_type()
            .is_none_or(|kind| *kind == LaunchType::Fargate);
    }
    providers.all(|provider| provider.capacity_provider().starts_with("FARGATE"))
}

/// Settings of the tasks with which UpdateService begins no deployment: what runs has them only
/// from a new one on.
pub(in crate::runtime) const UNDEPLOYED: [&str; 2] = ["execute_command", "propagate_tags"];

/// The fields of a service that a plan compares.
pub(crate) fn fields_of(service: &SdkService) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("task_definition", service.task_definition());
    fields.set("desired_count", service.desired_count());
    let network = service.network_configuration();
    if let Some(vpc) = network.and_then(|network| network.awsvpc_configuration()) {
        fields.set("network.subnets", sorted(vpc.subnets()));
        fields.set("network.security_groups", sorted(vpc.security_groups()));
        let public = vpc.assign_public_ip() == Some(&AssignPublicIp::Enabled);
        fields.set("network.assign_public_ip", public);
    }
    let balancers = service.load_balancers().iter().map(text_of_balancer);
    let balancers: Vec<String> = balancers.collect();
    if !balancers.is_empty() {
        fields.set("load_balancer", sorted(&balancers));
    }
    let grace = service.health_check_grace_period_seconds();
    fields.set("health_check_grace_period", grace.unwrap_or(0));
    // ECS always answers it; an answer without it says nothing about it.
    match service.deployment_configuration() {
        Some(deployment) => describe_deployment(&mut fields, deployment),
        None => {
            let usual = deployment_configuration(None, None, None);
            describe_deployment(&mut fields, &usual);
        }
    }
    fields.set("execute_command", service.enable_execute_command());
    let propagated = service
        .propagate_tags()
        .map_or("NONE", PropagateTags::as_str);
    fields.set("propagate_tags", propagated);
    tags::describe(&mut fields, &tags_of(service));
    fields
}

fn describe_deployment(fields: &mut Fields, deployment: &DeploymentConfiguration) {
    let breaker = deployment.deployment_circuit_breaker();
    let on = breaker.is_some_and(DeploymentCircuitBreaker::enable);
    fields.set("deployment.circuit_breaker", on);
    let rollback = breaker.is_some_and(DeploymentCircuitBreaker::rollback);
    fields.set("deployment.rollback", rollback);
    // What ECS takes for a rolling service when neither is given.
    let least = deployment.minimum_healthy_percent().unwrap_or(100);
    fields.set("deployment.minimum_healthy_percent", least);
    let most = deployment.maximum_percent().unwrap_or(200);
    fields.set("deployment.maximum_percent", most);
}

/// The fields that say what runs, not how.
const RUNS: [&str; 2] = ["task_definition", "rollout"];

/// Whether one of the changes is to the service around what runs in it; tags have calls of their
/// own.
pub(in crate::runtime) fn is_around(change: &FieldChange) -> bool {
    !tags::is_tag(change) && !RUNS.contains(&change.field.as_str())
}

/// What [`as_before`] puts back, by what the fields begin with.
const PUT_BACK: [&str; 7] = [
    "desired_count",
    "network.",
    "load_balancer",
    "health_check_grace_period",
    "deployment.",
    "execute_command",
    "propagate_tags",
];

/// The fields around what runs that ECS changes for good: only another service has them as before.
pub(in crate::runtime) fn for_good(changes: &[FieldChange]) -> Vec<&str> {
    let around = changes.iter().filter(|change| is_around(change));
    let fields = around.map(|change| change.field.as_str());
    fields
        .filter(|field| !PUT_BACK.iter().any(|begins| field.starts_with(begins)))
        .collect()
}

/// The calls that make everything that changed as it was before, in their order; `none` changes
/// nothing yet, and `call` makes serve what served. A grace period needs a load balancer that is
/// there already, and goes before the last one does.
pub(in crate::runtime) fn as_before(
    none: &UpdateServiceFluentBuilder,
    mut call: UpdateServiceFluentBuilder,
    (before, now): (&SdkService, &SdkService),
    changes: &[FieldChange],
) -> Vec<UpdateServiceFluentBuilder> {
    let mut calls = Vec::new();
    let has = |service: &SdkService| !service.load_balancers().is_empty();
    let grace = |service: &SdkService| service.health_check_grace_period_seconds().unwrap_or(0);
    let of_grace = |seconds: i32| none.clone().health_check_grace_period_seconds(seconds);
    let changed = |prefix: &str| {
        let mut fields = changes.iter().map(|change| &change.field);
        fields.any(|field| field.starts_with(prefix))
    };
    if changed("desired_count") {
        call = call.desired_count(before.desired_count());
    }
    if changed("network.") {
        call = call.set_network_configuration(before.network_configuration.clone());
    }
    if changed("load_balancer") {
        call = call.set_load_balancers(Some(before.load_balancers().to_vec()));
    }
    match (has(before), has(now)) {
        (false, true) if grace(now) > 0 => calls.push(of_grace(0)),
        (true, true) if changed("health_check_grace_period") => {
            call = call.health_check_grace_period_seconds(grace(before));
        }
        _ => {}
    }
    if changed("deployment.") {
        call = call.set_deployment_configuration(before.deployment_configuration.clone());
    }
    if changed("execute_command") {
        call = call.enable_execute_command(before.enable_execute_command());
    }
    if changed("propagate_tags") {
        call = call.set_propagate_tags(before.propagate_tags.clone());
    }
    calls.push(call);
    if has(before) && !has(now) && grace(before) > 0 {
        calls.push(of_grace(grace(before)));
    }
    calls
}

/// Whether a roll-out failed: a field of its own, so that a plan after a failure is not empty.
pub(in crate::runtime) fn describe_rollout(fields: &mut Fields, service: &SdkService) {
    match rollout::failed(service) {
        Some(why) => fields.set("rollout", format!("failed: {why}")),
        None => fields.set("rollout", "sound"),
    }
}
