//! `application-autoscaling.target`: who changes a service's count of tasks within its range.
//!
//! ECS scales nothing by itself: Application Auto Scaling does, for a scalable target that is
//! registered, by the policies that are put on it. The policies are fields here: they carry no
//! tags, and go with their target. Their alarms are AWS's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::spec::AwsScaling;
use async_trait::async_trait;
use aws_sdk_applicationautoscaling::operation::put_scaling_policy::builders::PutScalingPolicyFluentBuilder;
use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalingPolicy,
    ServiceNamespace, TargetTrackingScalingPolicyConfiguration,
};
use deployer_core::address::Address;
use deployer_core::capability::Revision;
use deployer_core::error::Error;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::kind::{until_seen, until_taken};
use deployer_core::node::{Resource, Undone, Watch};
use deployer_core::spec::Replicas;

use super::scaling_calls::{
    CPU, LAG, REQUESTS, ScalingActual, end_scaling, followed, label_of, note_of_end, passes,
    read_ending, read_target, remove_policy, resource_id_in, retag, says,
};
use crate::access::{given, service_linked_role};
use crate::error::{Told, incomplete};
use crate::ground::{ClusterName, TargetGroup};
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of a scalable target's node.
pub(crate) const SCALABLE_TARGET: &str = Scaling::KIND;

/// A range in which a service is to scale, and what the count follows.
pub(crate) struct Scaling {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// The ECS service's name.
    pub(super) service: String,
    pub(super) cluster: Value<ClusterName>,
    pub(super) replicas: Replicas,
    pub(super) goals: AwsScaling,
    pub(super) target_group: Option<Value<TargetGroup>>,
    /// The service is there.
    pub(super) made: Value<Revision>,
    /// Which load balancer's requests count, as read: `app/NAME/ID/targetgroup/NAME/ID`.
    pub(super) label: Mutex<Option<String>>,
}

impl Scaling {
    fn id(&self) -> Result<String> {
        Ok(resource_id_in(&self.cluster.settled()?, &self.service))
    }

    fn label(&self) -> Option<String> {
        self.label
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Finds out whose requests count: those of the target group's load balancer.
    async fn read_label(&self) -> Result<Option<String>> {
        let group = self.target_group.as_ref().and_then(Value::known);
        let Some(TargetGroup(group)) = group.filter(|_| self.goals.requests > 0) else {
            return Ok(None);
        };
        let described = self
            .clients
            .balancers
            .describe_target_groups()
            .target_group_arns(&group)
            .send()
            .await
            .told(|| format!("find the load balancer of target group `{group}`"))?;
        let groups = described.target_groups().iter();
        let mut balancers = groups.flat_map(|group| group.load_balancer_arns());
        Ok(balancers.find_map(|balancer| label_of(balancer, &group)))
    }

    fn policy(
        &self,
        name: &str,
        metric: MetricType,
        at: u32,
        label: Option<String>,
    ) -> Result<PutScalingPolicyFluentBuilder> {
        let metric = PredefinedMetricSpecification::builder()
            .predefined_metric_type(metric)
            .set_resource_label(label)
            .build()
            .map_err(incomplete)?;
        let tracking = TargetTrackingScalingPolicyConfiguration::builder()
            .target_value(f64::from(at))
            .predefined_metric_specification(metric)
            .build()
            .map_err(incomplete)?;
        Ok(self
            .clients
            .scaling
            .put_scaling_policy()
            .policy_name(name)
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(self.id()?)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .policy_type(PolicyType::TargetTrackingScaling)
            .target_tracking_scaling_policy_configuration(tracking))
    }

    /// Puts a policy; a target that was registered a moment ago may not be known yet, nor the role
    /// that AWS made for it.
    async fn put(&self, name: &str, call: PutScalingPolicyFluentBuilder) -> Result<()> {
        let action = format!("put policy `{name}` of service `{}`", self.service);
        let passing = |error: &Error| passes(error) || says(error, "ObjectNotFoundException");
        until_taken(self.clients.clock(), LAG, passing, &action, || async {
            let put = call.clone().send().await;
            put.map(drop).told(|| action.clone())
        })
        .await
    }

    fn range(&self) -> (i32, i32) {
        let bound = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        (bound(self.replicas.min), bound(self.replicas.max))
    }

    /// Puts a policy of ours as it was read.
    async fn put_again(&self, policy: &ScalingPolicy) -> Result<()> {
        let call = self
            .clients
            .scaling
            .put_scaling_policy()
            .policy_name(policy.policy_name())
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(self.id()?)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .policy_type(policy.policy_type().clone())
            .set_target_tracking_scaling_policy_configuration(
                policy
                    .target_tracking_scaling_policy_configuration()
                    .cloned(),
            );
        self.put(policy.policy_name(), call).await
    }

    async fn put_cpu(&self) -> Result<()> {
        let metric = MetricType::EcsServiceAverageCpuUtilization;
        self.put(CPU, self.policy(CPU, metric, self.goals.cpu, None)?)
            .await
    }

    async fn put_requests(&self) -> Result<()> {
        let Some(label) = self.label() else {
            return self.remove_requests().await;
        };
        let metric = MetricType::AlbRequestCountPerTarget;
        let call = self.policy(REQUESTS, metric, self.goals.requests, Some(label))?;
        self.put(REQUESTS, call).await
    }

    async fn remove_requests(&self) -> Result<()> {
        remove_policy(&self.clients, &self.service, REQUESTS).await
    }

    /// Registers the range. A service that was made a moment ago may not be known yet.
    async fn register(&self, (min, max): (i32, i32), tags: Option<&Tags>) -> Result<()> {
        let tags: Option<HashMap<String, String>> =
            tags.map(|tags| tags.clone().into_iter().collect());
        let action = format!("register the scaling of service `{}`", self.service);
        let passing = |error: &Error| {
            let unknown = says(error, "ECS service doesn't exist");
            passes(error) || unknown || says(error, "Unable to assume IAM role")
        };
        until_taken(self.clients.clock(), LAG, passing, &action, || async {
            let registered = self
                .clients
                .scaling
                .register_scalable_target()
                .service_namespace(ServiceNamespace::Ecs)
                .resource_id(self.id()?)
                .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
                .min_capacity(min)
                .max_capacity(max)
                .set_tags(tags.clone())
                .send()
                .await;
            registered.map(drop).told(|| action.clone())
        })
        .await
    }

    async fn retag(&self, actual: &ScalingActual) -> Result<()> {
        let changes = self.ownership.changes(&actual.tags);
        retag(&self.clients, actual, &self.service, changes).await
    }

    /// What is registered now that it was just changed.
    async fn registered(&self) -> Result<ScalingActual> {
        let what = format!("the scaling of service `{}`", self.service);
        let read = || read_target(&self.clients, &self.service);
        until_seen(self.clients.clock(), &what, read).await
    }
}

/// With what of others would go with it.
impl Kind for Scaling {
    type Site = Clients;
    type Is = (ScalingActual, Fields);
    const KIND: &'static str = "application-autoscaling.target";
    const NOUN: &'static str = "scaling of service";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        // It names an id that no other call takes.
        arn: None,
        access: Access {
            feature: Feature::Scaling,
            read: &[
                grant(
                    &[
                        "application-autoscaling:DescribeScalableTargets",
                        "application-autoscaling:DescribeScalingPolicies",
                        "application-autoscaling:DescribeScheduledActions",
                        "elasticloadbalancing:DescribeTargetGroups",
                    ],
                    ANYTHING,
                ),
                grant(
                    &["application-autoscaling:ListTagsForResource"],
                    SCALABLE_TARGETS,
                ),
            ],
            change: &[
                given(
                    &[
                        "application-autoscaling:DeleteScalingPolicy",
                        "application-autoscaling:DeregisterScalableTarget",
                        "application-autoscaling:PutScalingPolicy",
                        "application-autoscaling:RegisterScalableTarget",
                    ],
                    SCALABLE_TARGETS,
                    OF_ECS,
                ),
                grant(
                    &[
                        "application-autoscaling:TagResource",
                        "application-autoscaling:UntagResource",
                    ],
                    SCALABLE_TARGETS,
                ),
                // The caller needs what scaling does: "IAM permissions required for Amazon ECS
                // service auto scaling" (ECS Developer Guide). ecs:DescribeServices and
                // ecs:UpdateService are the service's own.
                grant(
                    &["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"],
                    ALARMS,
                ),
                grant(&["cloudwatch:DescribeAlarms"], ANYTHING),
                service_linked_role!(
                    "ecs.application-autoscaling.amazonaws.com",
                    "AWSServiceRoleForApplicationAutoScaling_ECSService"
                ),
            ],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &[];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((_, fields): &Self::Is, to: &mut Description) {
        to.extend(fields);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self::Is>>, Refusal> {
        let reading = read_ending(at, at.name()).await?;
        Ok(reading.map(|is| There {
            id: is
                .0
                .target
                .scalable_target_arn()
                .unwrap_or_default()
                .to_owned(),
            tags: is.0.tags.clone(),
            is,
        }))
    }

    async fn remove(
        at: &At<Clients>,
        _there: &There<Self::Is>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(end_scaling(at, at.name()).await?)
    }

    fn farewell(_at: &At<Clients>, there: &There<Self::Is>) -> Vec<String> {
        note_of_end(&there.is.1).into_iter().collect()
    }
}

impl Tagged for Scaling {
    async fn mark(
        at: &At<Clients>,
        there: &There<Self::Is>,
        by: TagChanges,
    ) -> Result<(), Refusal> {
        TagApi::Scaling.write(at, &there.id, by).await
    }
}

#[async_trait]
impl Resource for Scaling {
    type Actual = ScalingActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let label = self.read_label().await?;
        *self.label.lock().unwrap_or_else(PoisonError::into_inner) = label;
        let reading = read_target(&self.clients, &self.service).await?;
        if let Reading::Present(actual) = &reading
            && let Some(how) = self.ownership.foreign(&actual.tags)
        {
            return Ok(Reading::Foreign(how));
        }
        Ok(reading)
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set("min", self.replicas.min);
        fields.set("max", self.replicas.max);
        let cpu = MetricType::EcsServiceAverageCpuUtilization;
        fields.set("cpu", followed(&cpu, f64::from(self.goals.cpu), None));
        if let Some(label) = self.label() {
            let metric = MetricType::AlbRequestCountPerTarget;
            let at = f64::from(self.goals.requests);
            fields.set("requests", followed(&metric, at, Some(&label)));
        }
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn publish(&self, _actual: &Self::Actual) {}

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.made.settled()?;
        self.register(self.range(), Some(&self.ownership.tags))
            .await?;
        self.put_cpu().await?;
        if self.label().is_some() {
            self.put_requests().await?;
        }
        self.registered().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.made.settled()?;
        let changed = |names: &[&str]| {
            let mut fields = changes.iter();
            fields.any(|change| names.contains(&change.field.as_str()))
        };
        if changes.iter().any(tags::is_tag) {
            self.retag(actual).await?;
        }
        if changed(&["min", "max"]) {
            self.register(self.range(), None).await?;
        }
        if changed(&["cpu"]) {
            self.put_cpu().await?;
        }
        if changed(&["requests"]) {
            self.put_requests().await?;
        }
        self.registered().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("how the count of its tasks changes is not as before")
    }

    async fn restore(
        &self,
        before: &Self::Actual,
        _now: &Self::Actual,
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Undone> {
        let (min, max) = (before.target.min_capacity(), before.target.max_capacity());
        self.register((min, max), None).await?;
        let ours = before.policies.iter();
        let ours: Vec<_> = ours
            .filter(|policy| [CPU, REQUESTS].contains(&policy.policy_name()))
            .collect();
        for policy in &ours {
            self.put_again(policy).await?;
        }
        if ours.iter().all(|policy| policy.policy_name() != REQUESTS) {
            self.remove_requests().await?;
        }
        Ok(Undone::PutBack)
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        end_scaling(&self.clients, &self.service).await
    }
}
