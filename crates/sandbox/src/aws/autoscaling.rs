//! Application Auto Scaling, for ECS services: scalable targets, target-tracking policies, tags.
//! Nothing here measures load: the count of a service is only put within its range, where the
//! vendor does that at once.
//!
//! After the API reference of Application Auto Scaling (botocore's model text of
//! RegisterScalableTarget, PutScalingPolicy, DeregisterScalableTarget, TagResource) and its user
//! guide, "Service-linked roles for Application Auto Scaling".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ecs::Ecs;
use super::error::AwsError;
use super::json::{need, number, page, seconds, text, texts};
use super::tagging::Tagged;
use crate::Host;

const DIMENSION: &str = "ecs:service:DesiredCount";
/// How long the role of an account is not known to everything that is to trust it, once it is made:
/// IAM is consistent within seconds.
const ROLE_SPREADS: Duration = Duration::from_secs(5);
/// How many tags a target may have.
const MOST_TAGS: usize = 50;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct AutoScaling {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    ecs: Ecs,
    state: Mutex<State>,
}

#[derive(Default, Serialize)]
struct State {
    /// By resource id.
    targets: BTreeMap<String, Target>,
    /// Since when the account has the service-linked role: the first registration makes it.
    has_role: Option<Timestamp>,
}

#[derive(Serialize)]
struct Target {
    arn: String,
    least: i64,
    most: i64,
    suspended: Value,
    made: Value,
    tags: BTreeMap<String, String>,
    /// As described, by name.
    policies: BTreeMap<String, Value>,
    /// As described, by name: "Deregistering a scalable target deletes the scaling policies and the
    /// scheduled actions that are associated with it" (DeregisterScalableTarget).
    scheduled: BTreeMap<String, Value>,
}

impl AutoScaling {
    /// Every scalable target with its tags.
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let all = state.targets.values().map(|it| Tagged {
            arn: it.arn.clone(),
            tags: it.tags.clone().into_iter().collect(),
        });
        all.collect()
    }

    /// Nothing is registered.
    pub fn new(host: &Host, ecs: Ecs) -> Self {
        Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                ecs,
                state: Mutex::default(),
            }),
        }
    }

    /// Whether a call makes the service-linked role, which takes a permission of its own.
    pub fn makes_role(&self, operation: &str) -> bool {
        operation == "RegisterScalableTarget" && self.lock().has_role.is_none()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "DeleteScalingPolicy" => self.delete_policy(input),
            "DeregisterScalableTarget" => self.deregister(input),
            "DescribeScalableTargets" => self.describe_targets(input),
            "DescribeScalingPolicies" => self.describe_policies(input),
            "DescribeScheduledActions" => self.describe_scheduled(input),
            "ListTagsForResource" => self.list_tags(input),
            "PutScheduledAction" => self.put_scheduled(input),
            "PutScalingPolicy" => self.put_policy(input),
            "RegisterScalableTarget" => self.register(input),
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            other => Err(AwsError::new("UnknownOperationException", other)),
        }
    }

    fn register(&self, input: &Value) -> Result<Value, AwsError> {
        let id = resource(input)?;
        let (cluster, service) = service_of(id)?;
        let count = self.inner.ecs.desired_count(cluster, service);
        let count = count.ok_or_else(|| invalid(format!("ECS service doesn't exist: {id}")))?;
        let mut state = self.lock();
        let known = state.targets.get(id);
        let bound = |name: &str, had: Option<i64>| number(input, name).or(had);
        let least = bound("MinCapacity", known.map(|it| it.least));
        let most = bound("MaxCapacity", known.map(|it| it.most));
        let (Some(least), Some(most)) = (least, most) else {
            return Err(invalid(
                "Both MinCapacity and MaxCapacity must be specified when registering a scalable target.",
            ));
        };
        if least < 0 || most < least {
            return Err(invalid(
                "Maximum capacity cannot be less than minimum capacity, which cannot be negative.",
            ));
        }
        let tags = tags_of(input);
        if known.is_some() && !tags.is_empty() {
            // "To tag an existing scalable target, use the TagResource operation."
            return Err(invalid(
                "Tags can only be specified when a scalable target is created.",
            ));
        }
        let (now, account, region) = (
            seconds(self.inner.host.clock.now()),
            &self.inner.host.account,
            &self.inner.host.region,
        );
        let target = state
            .targets
            .entry(id.to_owned())
            .or_insert_with(|| Target {
                arn: format!(
                    "arn:aws:application-autoscaling:{region}:{account}:scalable-target/0ec5{}",
                    super::json::random_hex(32)
                ),
                least,
                most,
                suspended: json!({
                    "DynamicScalingInSuspended": false,
                    "DynamicScalingOutSuspended": false,
                    "ScheduledScalingSuspended": false,
                }),
                made: now,
                tags,
                policies: BTreeMap::new(),
                scheduled: BTreeMap::new(),
            });
        (target.least, target.most) = (least, most);
        if let Some(suspended) = input.get("SuspendedState").filter(|it| it.is_object()) {
            target.suspended = suspended.clone();
        }
        let arn = target.arn.clone();
        state.has_role.get_or_insert(self.inner.host.clock.now());
        drop(state);
        let inside = i64::try_from(count).unwrap_or(i64::MAX).clamp(least, most);
        let inside = usize::try_from(inside).unwrap_or_default();
        if inside != count {
            self.inner.ecs.scale(cluster, service, inside);
        }
        Ok(json!({"ScalableTargetARN": arn}))
    }

    fn deregister(&self, input: &Value) -> Result<Value, AwsError> {
        let id = resource(input)?;
        match self.lock().targets.remove(id) {
            Some(_) => Ok(json!({})),
            None => Err(no_target(id)),
        }
    }

    fn describe_targets(&self, input: &Value) -> Result<Value, AwsError> {
        let wanted = texts(input, "ResourceIds");
        let role = format!(
            "arn:aws:iam::{}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
             AWSServiceRoleForApplicationAutoScaling_ECSService",
            self.inner.host.account
        );
        let state = self.lock();
        let found = state
            .targets
            .iter()
            .filter(|(id, _)| wanted.is_empty() || wanted.contains(id))
            .filter(|_| is_ecs(input))
            .map(|(id, target)| {
                json!({
                    "ServiceNamespace": "ecs",
                    "ResourceId": id,
                    "ScalableDimension": DIMENSION,
                    "MinCapacity": target.least,
                    "MaxCapacity": target.most,
                    "RoleARN": role,
                    "CreationTime": target.made,
                    "SuspendedState": target.suspended,
                    "ScalableTargetARN": target.arn,
                })
            });
        paged(input, "ScalableTargets", found.collect())
    }

    fn put_policy(&self, input: &Value) -> Result<Value, AwsError> {
        let id = resource(input)?;
        let name = need(input, "PolicyName");
        let region = self.inner.host.region.clone();
        let (account, now) = (
            self.inner.host.account.clone(),
            seconds(self.inner.host.clock.now()),
        );
        let clock = &self.inner.host.clock;
        let spreads = clock.in_cloud_time(ROLE_SPREADS);
        let mut state = self.lock();
        let young = |made: Timestamp| clock.since(made) < spreads;
        if state.has_role.is_some_and(young) {
            return Err(no_access());
        }
        let target = state.targets.get_mut(id).ok_or_else(|| no_target(id))?;
        let had = target.policies.get(name);
        let kind = text(input, "PolicyType").or(had.and_then(|had| text(had, "PolicyType")));
        if kind != Some("TargetTrackingScaling") {
            return Err(super::ecs::unsupported(
                "scaling policies besides target tracking",
            ));
        }
        let tracking = input
            .get("TargetTrackingScalingPolicyConfiguration")
            .filter(|it| it.is_object())
            .ok_or_else(|| {
                invalid("TargetTrackingScalingPolicyConfiguration must be specified.")
            })?;
        check_tracking(tracking)?;
        let arn = had
            .and_then(|had| text(had, "PolicyARN"))
            .map_or_else(
                || {
                    format!(
                        "arn:aws:autoscaling:{region}:{account}:scalingPolicy:{}:resource/ecs/{id}:policyName/{name}",
                        uuid::Uuid::new_v4()
                    )
                },
                str::to_owned,
            );
        let alarms: Vec<Value> = ["AlarmHigh", "AlarmLow"]
            .into_iter()
            .map(|side| {
                let alarm = format!("TargetTracking-{id}-{side}-{}", uuid::Uuid::new_v4());
                let arn = format!("arn:aws:cloudwatch:{region}:{account}:alarm:{alarm}");
                json!({"AlarmName": alarm, "AlarmARN": arn})
            })
            .collect();
        let policy = json!({
            "PolicyARN": arn,
            "PolicyName": name,
            "ServiceNamespace": "ecs",
            "ResourceId": id,
            "ScalableDimension": DIMENSION,
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": tracking,
            "Alarms": alarms,
            "CreationTime": now,
        });
        target.policies.insert(name.to_owned(), policy);
        Ok(json!({"PolicyARN": arn, "Alarms": alarms}))
    }

    fn delete_policy(&self, input: &Value) -> Result<Value, AwsError> {
        let (id, name) = (resource(input)?, need(input, "PolicyName"));
        let mut state = self.lock();
        let target = state.targets.get_mut(id);
        let removed = target.and_then(|target| target.policies.remove(name));
        match removed {
            Some(_) => Ok(json!({})),
            None => Err(AwsError::new(
                "ObjectNotFoundException",
                format!(
                    "No scaling policy found for service namespace: ecs, resource ID: {id}, scalable dimension: \
                     {DIMENSION}, policy name: {name}"
                ),
            )),
        }
    }

    fn describe_policies(&self, input: &Value) -> Result<Value, AwsError> {
        let names = texts(input, "PolicyNames");
        let of = text(input, "ResourceId");
        let state = self.lock();
        let found = state
            .targets
            .iter()
            .filter(|(id, _)| of.is_none_or(|of| of == id.as_str()))
            .filter(|_| is_ecs(input))
            .flat_map(|(_, target)| &target.policies)
            .filter(|(name, _)| names.is_empty() || names.contains(name))
            .map(|(_, policy)| policy.clone());
        paged(input, "ScalingPolicies", found.collect())
    }

    fn put_scheduled(&self, input: &Value) -> Result<Value, AwsError> {
        let id = resource(input)?;
        let name = need(input, "ScheduledActionName");
        let schedule =
            text(input, "Schedule").ok_or_else(|| invalid("Schedule must be specified."))?;
        let (account, region) = (&self.inner.host.account, &self.inner.host.region);
        let mut action = json!({
            "ScheduledActionName": name,
            "ScheduledActionARN": format!(
                "arn:aws:autoscaling:{region}:{account}:scheduledAction:{}:resource/ecs/{id}:scheduledActionName/{name}",
                uuid::Uuid::new_v4()
            ),
            "ServiceNamespace": "ecs",
            "ResourceId": id,
            "ScalableDimension": DIMENSION,
            "Schedule": schedule,
            "CreationTime": seconds(self.inner.host.clock.now()),
        });
        if let Some(goal) = input.get("ScalableTargetAction") {
            action["ScalableTargetAction"] = goal.clone();
        }
        let mut state = self.lock();
        let target = state.targets.get_mut(id).ok_or_else(|| no_target(id))?;
        target.scheduled.insert(name.to_owned(), action);
        Ok(json!({}))
    }

    fn describe_scheduled(&self, input: &Value) -> Result<Value, AwsError> {
        let names = texts(input, "ScheduledActionNames");
        let of = text(input, "ResourceId");
        let state = self.lock();
        let found = state
            .targets
            .iter()
            .filter(|(id, _)| of.is_none_or(|of| of == id.as_str()))
            .filter(|_| is_ecs(input))
            .flat_map(|(_, target)| &target.scheduled)
            .filter(|(name, _)| names.is_empty() || names.contains(name))
            .map(|(_, action)| action.clone());
        paged(input, "ScheduledActions", found.collect())
    }

    fn list_tags(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_tags(input, |tags| Ok(json!({"Tags": tags})))
    }

    fn tag(&self, input: &Value) -> Result<Value, AwsError> {
        let added = tags_of(input);
        self.with_tags(input, |tags| {
            let mut all = tags.clone();
            all.extend(added);
            if all.len() > MOST_TAGS {
                return Err(AwsError::new(
                    "TooManyTagsException",
                    format!("A scalable target can have at most {MOST_TAGS} tags."),
                ));
            }
            *tags = all;
            Ok(json!({}))
        })
    }

    fn untag(&self, input: &Value) -> Result<Value, AwsError> {
        let keys = texts(input, "TagKeys");
        self.with_tags(input, |tags| {
            tags.retain(|key, _| !keys.contains(key));
            Ok(json!({}))
        })
    }

    fn with_tags(
        &self,
        input: &Value,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<Value, AwsError>,
    ) -> Result<Value, AwsError> {
        let arn = need(input, "ResourceARN");
        let mut state = self.lock();
        let mut targets = state.targets.values_mut();
        match targets.find(|target| target.arn == arn) {
            Some(target) => change(&mut target.tags),
            None => Err(AwsError::new(
                "ResourceNotFoundException",
                format!("The resource {arn} does not exist."),
            )),
        }
    }

    /// Every target with its range, policies and tags, for `sandbox status`.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let targets = state.targets.iter().map(|(id, target)| {
            json!({
                "resource": id, "min": target.least, "max": target.most,
                "policies": target.policies.keys().collect::<Vec<_>>(), "tags": target.tags,
            })
        });
        targets.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .expect("no panic while the state is held")
    }
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message)
}

/// What is said where the service-linked role may not do yet what a policy needs: alarms in
/// CloudWatch. The Terraform provider waits for these words
/// (`internal/service/appautoscaling/policy.go`).
pub fn no_access() -> AwsError {
    AwsError::new(
        "FailedResourceAccessException",
        "Unable to retrieve alarms for scaling policy: The security token included in the request is invalid.",
    )
}

fn no_target(id: &str) -> AwsError {
    AwsError::new(
        "ObjectNotFoundException",
        format!(
            "No scalable target found for service namespace: ecs, resource ID: {id}, scalable dimension: {DIMENSION}"
        ),
    )
}

fn is_ecs(input: &Value) -> bool {
    let dimension = text(input, "ScalableDimension");
    need(input, "ServiceNamespace") == "ecs" && dimension.is_none_or(|it| it == DIMENSION)
}

/// The resource of a request; the sandbox scales nothing but ECS services.
fn resource(input: &Value) -> Result<&str, AwsError> {
    match is_ecs(input) {
        true => Ok(need(input, "ResourceId")),
        false => Err(super::ecs::unsupported(
            "scaling of anything but ecs:service:DesiredCount",
        )),
    }
}

/// The cluster and the service of `service/CLUSTER/SERVICE`.
fn service_of(id: &str) -> Result<(&str, &str), AwsError> {
    let parts: Vec<&str> = id.split('/').collect();
    match parts.as_slice() {
        ["service", cluster, service] => Ok((cluster, service)),
        _ => Err(invalid(format!(
            "Unsupported service namespace, resource type or scalable dimension: {id}"
        ))),
    }
}

/// Either metric, and the label of a load balancer's.
fn check_tracking(tracking: &Value) -> Result<(), AwsError> {
    let given = |name: &str| tracking.get(name).filter(|it| it.is_object());
    let metric = match (
        given("PredefinedMetricSpecification"),
        given("CustomizedMetricSpecification"),
    ) {
        (Some(metric), None) => metric,
        (None, Some(_)) => return Ok(()),
        _ => {
            return Err(invalid(
                "Either PredefinedMetricSpecification or CustomizedMetricSpecification must be specified.",
            ));
        }
    };
    let label = text(metric, "ResourceLabel");
    let of_balancer = need(metric, "PredefinedMetricType") == "ALBRequestCountPerTarget";
    let shaped = label.is_some_and(|label| {
        let parts: Vec<&str> = label.split('/').collect();
        matches!(parts.as_slice(), ["app", _, _, "targetgroup", _, _])
    });
    match (of_balancer, label) {
        (true, _) if !shaped => Err(invalid(
            "ResourceLabel must have the format app/<load-balancer-name>/<load-balancer-id>/targetgroup/\
             <target-group-name>/<target-group-id>.",
        )),
        (false, Some(_)) => Err(invalid(
            "ResourceLabel can only be specified for ALBRequestCountPerTarget.",
        )),
        _ => Ok(()),
    }
}

fn tags_of(input: &Value) -> BTreeMap<String, String> {
    let tags = input.get("Tags").and_then(Value::as_object);
    let tags = tags.into_iter().flat_map(Map::iter);
    tags.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn paged(input: &Value, member: &str, found: Vec<Value>) -> Result<Value, AwsError> {
    let size = number(input, "MaxResults").and_then(|size| usize::try_from(size).ok());
    let (found, next) = page(found, text(input, "NextToken"), size.unwrap_or(50))
        .map_err(|()| AwsError::new("InvalidNextTokenException", "The next token is not valid."))?;
    let mut out = json!({member: found});
    if let Some(next) = next {
        out["NextToken"] = json!(next);
    }
    Ok(out)
}
