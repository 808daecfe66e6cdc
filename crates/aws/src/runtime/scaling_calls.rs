//! Reads how a service scales, and takes that away.

use std::time::Duration;

use aws_sdk_applicationautoscaling::types::{
    MetricType, ScalableDimension, ScalableTarget, ScalingPolicy, ServiceNamespace,
};
use deployer_core::error::{Error, Result};
use deployer_core::fields::Fields;
use deployer_core::kind::{read_or_sort, seen, until_taken};
use deployer_core::node::Reading;

use crate::client::Clients;
use crate::error::{Told, code, denied, failure};
use crate::ground::ClusterName;
use crate::tagging::TagApi;
use crate::tags::{self, TagChanges, Tags};

/// The names of our policies, unique to their target; others on it are somebody else's.
pub(super) const CPU: &str = "deployer-cpu";
/// See [`CPU`].
pub(super) const REQUESTS: &str = "deployer-requests";

/// How long a service or a target that was made a moment ago may not be known yet, nor the role
/// that the first registration of an account makes: "there might be a brief delay until the
/// operation achieves eventual consistency" (RegisterScalableTarget). The Terraform provider waits
/// for two minutes (`internal/service/appautoscaling/policy.go` of
/// hashicorp/terraform-provider-aws).
pub(super) const LAG: Duration = Duration::from_secs(2 * 60);

/// What passes by itself: the role may not look at CloudWatch's alarms yet ("token included in the
/// request is invalid", "is not authorized to perform"), CloudWatch is asked too fast ("Rate
/// exceeded"), or another change of the target is not done.
pub(super) fn passes(error: &Error) -> bool {
    says(error, "FailedResourceAccessException") || says(error, "ConcurrentUpdateException")
}

pub(super) fn says(error: &Error, words: &str) -> bool {
    error.chain().iter().any(|line| line.contains(words))
}

/// A scalable target as it is registered.
#[derive(Clone, Debug)]
pub(crate) struct ScalingActual {
    pub(super) target: ScalableTarget,
    pub(super) policies: Vec<ScalingPolicy>,
    pub(super) tags: Tags,
}

/// What the field is called that says what of others hangs on a target.
const OF_OTHERS: &str = "of_others";

/// What people should know of the end of a service's scaling that these are the fields of.
pub(crate) fn note_of_end(fields: &Fields) -> Option<String> {
    let others = fields.get(OF_OTHERS)?;
    Some(format!(
        "stays registered, without our policies and our mark: others put on it {others}, which would go with it"
    ))
}

impl ScalingActual {
    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("min", self.target.min_capacity());
        fields.set("max", self.target.max_capacity());
        for (field, name) in [("cpu", CPU), ("requests", REQUESTS)] {
            let mut policies = self.policies.iter();
            let policy = policies.find(|policy| policy.policy_name() == name);
            fields.set_some(field, policy.map(described));
        }
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

/// What a policy follows.
fn described(policy: &ScalingPolicy) -> String {
    let Some(tracking) = policy.target_tracking_scaling_policy_configuration() else {
        return policy.policy_type().as_str().to_owned();
    };
    let metric = tracking.predefined_metric_specification();
    let Some(metric) = metric else {
        return format!("a metric of its own at {}", tracking.target_value());
    };
    let kind = metric.predefined_metric_type();
    let mut text = followed(kind, tracking.target_value(), metric.resource_label());
    if tracking.disable_scale_in() == Some(true) {
        text.push_str(", never in");
    }
    text
}

pub(super) fn followed(metric: &MetricType, at: f64, label: Option<&str>) -> String {
    match (metric, label) {
        (MetricType::EcsServiceAverageCpuUtilization, _) => format!("{at} %"),
        (MetricType::AlbRequestCountPerTarget, Some(label)) => {
            format!("{at} a minute, of {label}")
        }
        (metric, _) => format!("{} at {at}", metric.as_str()),
    }
}

/// `service/CLUSTER/SERVICE`, of a service that is there already.
pub(super) fn resource_id(clients: &Clients, service: &str) -> String {
    resource_id_in(&clients.cluster, service)
}

/// The same, of one that may be still to make.
pub(super) fn resource_id_in(cluster: &ClusterName, service: &str) -> String {
    format!("service/{}/{service}", cluster.plain())
}

/// Reads the scalable target of a service.
pub(crate) async fn read_target(
    clients: &Clients,
    service: &str,
) -> Result<Reading<ScalingActual>> {
    let action = || format!("read how service `{service}` scales");
    let id = resource_id(clients, service);
    let answer = clients
        .scaling
        .describe_scalable_targets()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_ids(&id)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .send()
        .await;
    let targets = match answer {
        Ok(answer) => answer.scalable_targets.unwrap_or_default(),
        Err(error) => return reading_of(&error, &action()),
    };
    let Some(target) = targets.into_iter().next() else {
        return Ok(Reading::Absent);
    };
    let tags = match target.scalable_target_arn() {
        Some(arn) => match TagApi::Scaling.read(clients, arn).await {
            Ok(tags) => tags,
            Err(refusal) => {
                let what = format!("how service `{service}` scales");
                return read_or_sort(refusal, &["ResourceNotFoundException"], &what);
            }
        },
        None => Tags::new(),
    };
    let read = || policies(clients, &id, action());
    match until_taken(clients.clock(), LAG, passes, &action(), read).await? {
        Reading::Present(policies) => Ok(Reading::Present(ScalingActual {
            target,
            policies,
            tags,
        })),
        other => Ok(other.map(|_| ScalingActual {
            target,
            policies: Vec::new(),
            tags,
        })),
    }
}

/// The policies of a target, with their alarms, which are read with the role of Application Auto
/// Scaling.
async fn policies(
    clients: &Clients,
    id: &str,
    action: String,
) -> Result<Reading<Vec<ScalingPolicy>>> {
    let mut pages = clients
        .scaling
        .describe_scaling_policies()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(id)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .into_paginator()
        .send();
    let mut policies = Vec::new();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => policies.extend(page.scaling_policies.unwrap_or_default()),
            Err(error) => return reading_of(&error, &action),
        }
    }
    Ok(Reading::Present(policies))
}

fn reading_of<A, E>(
    error: &aws_sdk_applicationautoscaling::error::SdkError<E>,
    action: &str,
) -> Result<Reading<A>>
where
    E: aws_sdk_applicationautoscaling::error::ProvideErrorMetadata
        + std::error::Error
        + Send
        + Sync
        + 'static,
{
    match denied(error) {
        Some(words) => Ok(Reading::Denied(words)),
        None => Err(failure(error, action)),
    }
}

/// Changes the tags of a service's scalable target; writes nothing where there is nothing to
/// change.
pub(super) async fn retag(
    clients: &Clients,
    actual: &ScalingActual,
    service: &str,
    changes: TagChanges,
) -> Result<()> {
    let arn = actual.target.scalable_target_arn().unwrap_or_default();
    let written = TagApi::Scaling.write(clients, arn, changes).await;
    written.told(|| format!("tag the scaling of service `{service}`"))
}

/// The policies and the scheduled actions that others put on a service's target, by name.
async fn of_others(
    clients: &Clients,
    service: &str,
    actual: &ScalingActual,
) -> Result<Vec<String>> {
    let mut pages = clients
        .scaling
        .describe_scheduled_actions()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(resource_id(clients, service))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .into_paginator()
        .items()
        .send();
    let policies = actual.policies.iter().map(ScalingPolicy::policy_name);
    let mut others: Vec<String> = policies
        .filter(|name| ![CPU, REQUESTS].contains(name))
        .map(|name| format!("policy `{name}`"))
        .collect();
    while let Some(action) = pages.next().await {
        let action = action.told(|| format!("read the schedule of service `{service}`"))?;
        let name = action.scheduled_action_name();
        others.push(format!("scheduled action `{name}`"));
    }
    Ok(others)
}

/// Reads the scaling of a service that is to end, as fields, with what of others would go with it.
pub(crate) async fn read_ending(
    clients: &Clients,
    service: &str,
) -> Result<Reading<(ScalingActual, Fields)>> {
    let actual = match read_target(clients, service).await? {
        Reading::Present(actual) => actual,
        other => return Ok(other.map(|actual| (actual, Fields::new()))),
    };
    let mut fields = actual.fields();
    let others = of_others(clients, service, &actual).await?;
    if !others.is_empty() {
        fields.set(OF_OTHERS, others.join(", "));
    }
    Ok(Reading::Present((actual, fields)))
}

/// Ends our scaling of a service: takes its target away, or, where others put something on that,
/// our policies and our mark only: "Deregistering a scalable target deletes the scaling policies
/// and the scheduled actions that are associated with it" (DeregisterScalableTarget). Succeeds when
/// it is gone already.
pub(crate) async fn end_scaling(clients: &Clients, service: &str) -> Result<()> {
    let what = format!("the scaling of service `{service}`");
    let Some(actual) = seen(read_target(clients, service).await?, &what)? else {
        return Ok(());
    };
    if of_others(clients, service, &actual).await?.is_empty() {
        return deregister(clients, service).await;
    }
    let policies = actual.policies.iter().map(ScalingPolicy::policy_name);
    for name in policies.filter(|name| [CPU, REQUESTS].contains(name)) {
        remove_policy(clients, service, name).await?;
    }
    let changes = tags::MARKING.unmark(&actual.tags);
    retag(clients, &actual, service, changes).await
}

/// Deletes a policy of ours. Succeeds when it is gone already.
pub(super) async fn remove_policy(clients: &Clients, service: &str, name: &str) -> Result<()> {
    let action = format!("delete policy `{name}` of service `{service}`");
    until_taken(clients.clock(), LAG, passes, &action, || async {
        let removed = clients
            .scaling
            .delete_scaling_policy()
            .policy_name(name)
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(resource_id(clients, service))
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .send()
            .await;
        match removed {
            Err(error) if code(&error) == Some("ObjectNotFoundException") => Ok(()),
            other => other.map(drop).told(|| action.clone()),
        }
    })
    .await
}

/// Takes a service's scaling away, with everything on it. Succeeds when it is gone already.
async fn deregister(clients: &Clients, service: &str) -> Result<()> {
    let answer = clients
        .scaling
        .deregister_scalable_target()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(resource_id(clients, service))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .send()
        .await;
    match answer {
        Err(error) if code(&error) == Some("ObjectNotFoundException") => Ok(()),
        other => other
            .map(drop)
            .told(|| format!("end the scaling of service `{service}`")),
    }
}

/// The last parts of the ARNs of a load balancer and of a target group of its, by which their
/// requests are known.
pub(super) fn label_of(balancer: &str, group: &str) -> Option<String> {
    let balancer = balancer.split_once(":loadbalancer/")?.1;
    let group = group.split_once(":targetgroup/")?.1;
    // Only an application load balancer counts requests.
    let counts = balancer.starts_with("app/");
    counts.then(|| format!("{balancer}/targetgroup/{group}"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_applicationautoscaling::types::{
        PolicyType, PredefinedMetricSpecification, TargetTrackingScalingPolicyConfiguration,
    };

    use super::*;

    const GROUP: &str = "arn:aws:elasticloadbalancing:r:1:targetgroup/web/943f017f100becff";

    #[test]
    fn requests_are_counted_of_an_application_load_balancer_only() {
        let balancer = |rest: &str| format!("arn:aws:elasticloadbalancing:r:1:loadbalancer/{rest}");
        assert_eq!(
            label_of(&balancer("app/alb/778d41231b141a0f"), GROUP).as_deref(),
            Some("app/alb/778d41231b141a0f/targetgroup/web/943f017f100becff")
        );
        assert_eq!(label_of(&balancer("net/nlb/778d41231b141a0f"), GROUP), None);
    }

    #[test]
    fn a_policy_says_what_it_follows() {
        let policy = |metric: MetricType, label: Option<&str>| {
            let metric = PredefinedMetricSpecification::builder()
                .predefined_metric_type(metric)
                .set_resource_label(label.map(str::to_owned))
                .build()
                .unwrap();
            let tracking = TargetTrackingScalingPolicyConfiguration::builder()
                .target_value(60.0)
                .predefined_metric_specification(metric)
                .build()
                .unwrap();
            let policy = ScalingPolicy::builder()
                .policy_arn("arn")
                .policy_name(CPU)
                .service_namespace(ServiceNamespace::Ecs)
                .resource_id("service/default/web")
                .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
                .policy_type(PolicyType::TargetTrackingScaling)
                .creation_time(aws_sdk_applicationautoscaling::primitives::DateTime::from_secs(1))
                .target_tracking_scaling_policy_configuration(tracking)
                .build()
                .unwrap();
            described(&policy)
        };
        let cpu = MetricType::EcsServiceAverageCpuUtilization;
        assert_eq!(policy(cpu, None), "60 %");
        let requests = MetricType::AlbRequestCountPerTarget;
        assert_eq!(policy(requests, Some("app/a/1")), "60 a minute, of app/a/1");
        let memory = MetricType::EcsServiceAverageMemoryUtilization;
        assert_eq!(
            policy(memory, None),
            "ECSServiceAverageMemoryUtilization at 60"
        );
    }
}
