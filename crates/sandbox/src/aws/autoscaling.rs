//! Application Auto Scaling, for ECS services: scalable targets, target-tracking policies, tags.
//! Nothing here measures load: the count of a service is only put within its range, where the
//! vendor does that at once.
//!
//! After the API reference of Application Auto Scaling (botocore's model text of
//! RegisterScalableTarget, PutScalingPolicy, DeregisterScalableTarget, TagResource) and its user
//! guide, "Service-linked roles for Application Auto Scaling".

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::ecs::Ecs;
use super::error::{AwsError, unsupported};
use super::json::{need, number, text, texts};
use super::pages::Pages;
use super::shelf::{self, Asked, Going, Kind, Service, Shelf, Site, Taken, given, unused, whole};
use super::tagging::Tagged;
use super::tags::Tags;
use crate::Host;

const DIMENSION: &str = "ecs:service:DesiredCount";
/// How long the role of an account is not known to everything that is to trust it, once it is made:
/// IAM is consistent within seconds.
const ROLE_SPREADS: Duration = Duration::from_secs(5);

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
    targets: Shelf,
    /// By resource id and name.
    policies: Shelf,
    /// By resource id and name.
    scheduled: Shelf,
    /// Since when the account has the service-linked role: the first registration makes it.
    has_role: Option<Timestamp>,
}

const SERVICE: Service = Service {
    pages: |input, member, all| {
        let pages = Pages {
            members: ("MaxResults", "NextToken"),
            size: 50,
            wrong: || AwsError::new("InvalidNextTokenException", "The next token is not valid."),
        };
        pages.of(input, member, all)
    },
    tags: Tags {
        service: "application-autoscaling",
        members: ("ResourceARN", "TagKeys"),
        is_map: true,
        too_many: || {
            let message = "A scalable target can have at most 50 tags.";
            AwsError::new("TooManyTagsException", message)
        },
        ..Tags::LISTED
    },
};

/// The simple kinds.
const KINDS: [Kind<State>; 3] = [TARGET, POLICY, SCHEDULED];

const TARGET: Kind<State> = Kind {
    noun: ("ScalableTarget", "ScalableTargets"),
    answers: ("ScalableTarget", "ScalableTargets"),
    arn: ("scalable-target/", "ScalableTargetARN"),
    on: (|it| &it.targets, |it| &mut it.targets),
    named: |_, _, input| resource(input).map(str::to_owned),
    asked: |_, _, input| match text(input, "ResourceId") {
        None => Ok(Vec::new()),
        Some(_) => Ok(vec![resource(input)?.to_owned()]),
    },
    made: made_target,
    changes: &[],
    free: unused,
    going: Going::FORGOTTEN,
    taken: Taken::Replaced,
    absent: |_, id| no_target(id),
    shown: whole,
    fits: |_, it, input| is_ecs(input) && among(input, "ResourceIds", &it.value, "ResourceId"),
    service: &SERVICE,
};

const POLICY: Kind<State> = Kind {
    noun: ("ScalingPolicy", "ScalingPolicies"),
    answers: ("ScalingPolicy", "ScalingPolicies"),
    arn: ("", "PolicyARN"),
    on: (|it| &it.policies, |it| &mut it.policies),
    named: |_, _, input| {
        Ok(format!(
            "{} {}",
            resource(input)?,
            need(input, "PolicyName")
        ))
    },
    asked: |_, _, input| match text(input, "PolicyName") {
        None => Ok(Vec::new()),
        Some(name) => Ok(vec![format!("{} {name}", resource(input)?)]),
    },
    made: made_policy,
    changes: &[],
    free: unused,
    going: Going::FORGOTTEN,
    taken: Taken::Replaced,
    absent: |_, key| {
        let (id, name) = key.split_once(' ').unwrap_or_default();
        AwsError::new(
            "ObjectNotFoundException",
            format!(
                "No scaling policy found for service namespace: ecs, resource ID: {id}, scalable dimension: {DIMENSION}, \
                 policy name: {name}"
            ),
        )
    },
    shown: whole,
    fits: |_, it, input| {
        of_target(input, &it.value) && among(input, "PolicyNames", &it.value, "PolicyName")
    },
    service: &SERVICE,
};

/// None is ever deleted but with its target.
const SCHEDULED: Kind<State> = Kind {
    noun: ("ScheduledAction", "ScheduledActions"),
    answers: ("ScheduledAction", "ScheduledActions"),
    arn: ("", "ScheduledActionARN"),
    on: (|it| &it.scheduled, |it| &mut it.scheduled),
    named: |_, _, input| {
        Ok(format!(
            "{} {}",
            resource(input)?,
            need(input, "ScheduledActionName")
        ))
    },
    asked: |_, _, _| Ok(Vec::new()),
    made: |state, site, _, input| {
        let (id, name) = (resource(input)?, need(input, "ScheduledActionName"));
        let schedule = text(input, "Schedule");
        schedule.ok_or_else(|| invalid("Schedule must be specified."))?;
        state.targets.get(id).ok_or_else(|| no_target(id))?;
        let mut made = owned(
            site,
            id,
            &["ScheduledActionName", "Schedule", "ScalableTargetAction"],
            input,
        );
        made["ScheduledActionARN"] = json!(within(
            site,
            "scheduledAction",
            id,
            ("scheduledActionName", name)
        ));
        Ok(made)
    },
    changes: &[],
    free: unused,
    going: Going::FORGOTTEN,
    taken: Taken::Replaced,
    absent: |_, id| no_target(id),
    shown: whole,
    fits: |_, it, input| {
        let names = (input, "ScheduledActionNames");
        of_target(input, &it.value) && among(names.0, names.1, &it.value, "ScheduledActionName")
    },
    service: &SERVICE,
};

fn made_target(state: &State, site: &Site, id: &str, input: &Value) -> Result<Value, AwsError> {
    let known = state.targets.get(id).map(|it| &it.value);
    let bound = |name: &str| number(input, name).or(known.and_then(|it| number(it, name)));
    let (Some(least), Some(most)) = (bound("MinCapacity"), bound("MaxCapacity")) else {
        return Err(invalid(
            "Both MinCapacity and MaxCapacity must be specified when registering a scalable target.",
        ));
    };
    if least < 0 || most < least {
        return Err(invalid(
            "Maximum capacity cannot be less than minimum capacity, which cannot be negative.",
        ));
    }
    if known.is_some() && !SERVICE.tags.given(input)?.is_empty() {
        // "To tag an existing scalable target, use the TagResource operation."
        return Err(invalid(
            "Tags can only be specified when a scalable target is created.",
        ));
    }
    let mut made = known.cloned().unwrap_or_else(|| {
        let mut made = owned(site, id, &[], input);
        made["ScalableTargetARN"] = json!(site.arn(&format!(
            "scalable-target/0ec5{}",
            super::json::random_hex(32)
        )));
        made["RoleARN"] = json!(format!(
            "arn:aws:iam::{}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
             AWSServiceRoleForApplicationAutoScaling_ECSService",
            site.host.account
        ));
        made["SuspendedState"] = json!({
            "DynamicScalingInSuspended": false,
            "DynamicScalingOutSuspended": false,
            "ScheduledScalingSuspended": false,
        });
        made
    });
    (made["MinCapacity"], made["MaxCapacity"]) = (json!(least), json!(most));
    if let Some(suspended) = input.get("SuspendedState").filter(|it| it.is_object()) {
        made["SuspendedState"] = suspended.clone();
    }
    Ok(made)
}

fn made_policy(state: &State, site: &Site, key: &str, input: &Value) -> Result<Value, AwsError> {
    let (id, name) = (resource(input)?, need(input, "PolicyName"));
    let clock = &site.host.clock;
    let spreads = clock.in_cloud_time(ROLE_SPREADS);
    if state
        .has_role
        .is_some_and(|made| clock.since(made) < spreads)
    {
        return Err(no_access());
    }
    state.targets.get(id).ok_or_else(|| no_target(id))?;
    let had = state.policies.get(key).map(|it| &it.value);
    let kind = text(input, "PolicyType").or(had.and_then(|had| text(had, "PolicyType")));
    if kind != Some("TargetTrackingScaling") {
        return Err(unsupported("scaling policies besides target tracking"));
    }
    const TRACKING: &str = "TargetTrackingScalingPolicyConfiguration";
    let tracking = input.get(TRACKING).filter(|it| it.is_object());
    check_tracking(tracking.ok_or_else(|| invalid(format!("{TRACKING} must be specified.")))?)?;
    let alarms = ["AlarmHigh", "AlarmLow"].map(|side| {
        let alarm = format!("TargetTracking-{id}-{side}-{}", uuid::Uuid::new_v4());
        let (region, account) = (&site.host.region, &site.host.account);
        let arn = format!("arn:aws:cloudwatch:{region}:{account}:alarm:{alarm}");
        json!({"AlarmName": alarm, "AlarmARN": arn})
    });
    let mut made = owned(site, id, &["PolicyName", TRACKING], input);
    made["PolicyType"] = json!("TargetTrackingScaling");
    made["Alarms"] = json!(alarms);
    made["PolicyARN"] = match had {
        Some(had) => had["PolicyARN"].clone(),
        None => json!(within(site, "scalingPolicy", id, ("policyName", name))),
    };
    Ok(made)
}

/// What everything of a target says, with these members of a request.
fn owned(site: &Site, id: &str, members: &[&str], input: &Value) -> Value {
    let mut made = given(input, members);
    made["ServiceNamespace"] = json!("ecs");
    made["ResourceId"] = json!(id);
    made["ScalableDimension"] = json!(DIMENSION);
    made["CreationTime"] = site.now();
    made
}

/// The ARN of something of a target.
fn within(site: &Site, kind: &str, id: &str, (member, name): (&str, &str)) -> String {
    let (region, account) = (&site.host.region, &site.host.account);
    let unique = uuid::Uuid::new_v4();
    format!(
        "arn:aws:autoscaling:{region}:{account}:{kind}:{unique}:resource/ecs/{id}:{member}/{name}"
    )
}

/// Whether a request that lists these names wants the one that a thing has, or lists none.
fn among(input: &Value, list: &str, value: &Value, member: &str) -> bool {
    let names = texts(input, list);
    names.is_empty() || names.iter().any(|it| it == need(value, member))
}

/// Whether a request wants what is of a thing's target.
fn of_target(input: &Value, value: &Value) -> bool {
    let of = text(input, "ResourceId");
    is_ecs(input) && of.is_none_or(|of| of == need(value, "ResourceId"))
}

impl AutoScaling {
    /// Every scalable target with its tags.
    pub fn tagged(&self) -> Vec<Tagged> {
        TARGET.tagged(&self.lock())
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
            "DeregisterScalableTarget" => self.deregister(input),
            "RegisterScalableTarget" => self.register(input),
            other => self.shelved(&mut self.lock(), other, input),
        }
    }

    fn shelved(
        &self,
        state: &mut State,
        operation: &str,
        input: &Value,
    ) -> Result<Value, AwsError> {
        let site = &Site::of(&self.inner.host, "application-autoscaling");
        let asked = Asked {
            site,
            operation,
            input,
        };
        SERVICE.answer(&KINDS, state, &asked, |state, arn| {
            let found = shelf::tags_at(&KINDS, state, site, arn).and_then(Result::ok);
            found.ok_or_else(|| {
                let message = format!("The resource {arn} does not exist.");
                AwsError::new("ResourceNotFoundException", message)
            })
        })
    }

    /// Puts the count of the service within the range, too.
    fn register(&self, input: &Value) -> Result<Value, AwsError> {
        let id = resource(input)?;
        let (cluster, service) = service_of(id)?;
        let count = self.inner.ecs.desired_count(cluster, service);
        let count = count.ok_or_else(|| invalid(format!("ECS service doesn't exist: {id}")))?;
        let mut state = self.lock();
        let answer = self.shelved(&mut state, "RegisterScalableTarget", input)?;
        state.has_role.get_or_insert(self.inner.host.clock.now());
        let bound = |name| number(&state.targets[id].value, name).unwrap_or_default();
        let (least, most) = (bound("MinCapacity"), bound("MaxCapacity"));
        drop(state);
        let inside = i64::try_from(count).unwrap_or(i64::MAX).clamp(least, most);
        let inside = usize::try_from(inside).unwrap_or_default();
        if inside != count {
            self.inner.ecs.scale(cluster, service, inside);
        }
        Ok(answer)
    }

    /// "Deregistering a scalable target deletes the scaling policies and the scheduled actions that
    /// are associated with it" (DeregisterScalableTarget).
    fn deregister(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let answer = self.shelved(&mut state, "DeregisterScalableTarget", input)?;
        let stays =
            |_: &String, it: &mut shelf::Thing| it.value["ResourceId"] != input["ResourceId"];
        state.policies.retain(stays);
        state.scheduled.retain(stays);
        Ok(answer)
    }

    /// Every target with its range, policies and tags, for `sandbox status`.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let targets = state.targets.iter().map(|(id, target)| {
            let policies = state.policies.values().map(|it| &it.value);
            let policies = policies.filter(|it| need(it, "ResourceId") == id);
            json!({
                "resource": id, "min": target.value["MinCapacity"], "max": target.value["MaxCapacity"],
                "policies": policies.map(|it| &it["PolicyName"]).collect::<Vec<_>>(),
                "tags": SERVICE.tags.told(&target.tags),
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
        false => Err(unsupported(
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
