//! Which service configurations ECS takes, and what it fills in.

use serde_json::{Map, Value, json};

use super::invalid;
use super::state::State;
use crate::aws::error::{AwsError, unsupported};
use crate::aws::json::{list, need, number, text};

/// What a service has when the request does not say.
pub fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": false,
        "enableExecuteCommand": false,
        "placementConstraints": [],
        "placementStrategy": [],
        "propagateTags": "NONE",
        "schedulingStrategy": "REPLICA",
        "loadBalancers": [],
        "serviceRegistries": [],
    });
    defaults.as_object().cloned().unwrap_or_default()
}

/// Fills in what the vendor fills in.
pub fn settle(config: &mut Map<String, Value>) {
    let mut deployment = json!({
        "deploymentCircuitBreaker": {"enable": false, "rollback": false},
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
    });
    let given = config
        .get("deploymentConfiguration")
        .and_then(Value::as_object)
        .cloned();
    if let Some(all) = deployment.as_object_mut() {
        all.extend(
            given
                .unwrap_or_default()
                .into_iter()
                .filter(|(_, value)| !value.is_null()),
        );
    }
    config.insert("deploymentConfiguration".into(), deployment);
    if let Some(network) = config
        .get_mut("networkConfiguration")
        .and_then(|n| n.get_mut("awsvpcConfiguration"))
        && text(network, "assignPublicIp").is_none()
    {
        network["assignPublicIp"] = json!("DISABLED");
    }
    // "When health_check_grace_period_seconds is not specified, ECS API appears to set it to 0 if a
    // service is configured to use a load balancer" (eagletmt/hako#70).
    let balancers = config.get("loadBalancers").and_then(Value::as_array);
    if balancers.is_some_and(|list| !list.is_empty()) {
        config
            .entry("healthCheckGracePeriodSeconds")
            .or_insert(json!(0));
    }
    let fargate = config.get("launchType") == Some(&json!("FARGATE"));
    if fargate || config.contains_key("capacityProviderStrategy") {
        config.entry("platformVersion").or_insert(json!("LATEST"));
        config.insert("platformFamily".into(), json!("Linux"));
    }
}

/// Refuses a change that only CodeDeploy may make: "Unable to update task definition on services
/// with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new deployment."
/// (aws/aws-cdk#1559, hashicorp/terraform-provider-aws#6802).
pub fn check_controller(config: &Map<String, Value>, input: &Value) -> Result<(), AwsError> {
    let controller = config.get("deploymentController");
    let controller = controller.and_then(|controller| text(controller, "type"));
    let refused = [
        ("taskDefinition", "task definition"),
        ("loadBalancers", "load balancers"),
        ("networkConfiguration", "network configuration"),
        ("platformVersion", "platform version"),
    ];
    let asked = refused
        .iter()
        .find(|(member, _)| input.get(*member).is_some());
    match (controller, asked) {
        (Some("CODE_DEPLOY"), Some((_, what))) => Err(invalid(format!(
            "Unable to update {what} on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new \
             deployment."
        ))),
        _ => Ok(()),
    }
}

/// Refuses a grace period of a service without a load balancer: before the call as well as after
/// it, so that both cannot come in one call
/// (aws-cloudformation/cloudformation-coverage-roadmap#1313, aws/copilot-cli#4011), and what has a
/// period keeps its last one (hashicorp/terraform-provider-aws#31104, where even another change of
/// such a service is refused).
pub fn check_grace(
    before: Option<&Map<String, Value>>,
    input: &Value,
    config: &Map<String, Value>,
) -> Result<(), AwsError> {
    let balanced = |config: &Map<String, Value>| {
        let balancers = config.get("loadBalancers").and_then(Value::as_array);
        balancers.is_some_and(|list| !list.is_empty())
    };
    let period = |value: Option<i64>| value.is_some_and(|seconds| seconds > 0);
    let asked = input.get("healthCheckGracePeriodSeconds").is_some();
    let had = before.is_none_or(balanced);
    let has = period(
        config
            .get("healthCheckGracePeriodSeconds")
            .and_then(Value::as_i64),
    );
    match (asked && !had) || (has && !balanced(config)) {
        true => Err(invalid(
            "Health check grace period is only valid for services configured to use load balancers",
        )),
        false => Ok(()),
    }
}

/// Checks a service's whole configuration against its task definition and what the sandbox can do.
pub fn check_config(
    state: &State,
    config: &Map<String, Value>,
    definition: &str,
) -> Result<(), AwsError> {
    let definition = state
        .definition(definition)
        .map(|found| found.value.clone())
        .unwrap_or_default();
    let get = |name: &str| config.get(name).cloned().unwrap_or_default();
    let deployment = get("deploymentConfiguration");
    // Their tasks are started as those of a rolling service are; what differs is who may change
    // them.
    if get("deploymentController")["type"] == "EXTERNAL" {
        return Err(unsupported("services of an EXTERNAL deployment controller"));
    }
    let (least, most) = (
        number(&deployment, "minimumHealthyPercent"),
        number(&deployment, "maximumPercent"),
    );
    if let (Some(least), Some(most)) = (least, most)
        && (least < 0 || most < least || most < 100 && least > 0 || most == 100 && least == 100)
    {
        return Err(invalid(
            "The minimumHealthyPercent and maximumPercent of the deployment configuration leave no room for a deployment.",
        ));
    }
    if get("launchType") == "FARGATE"
        && !list(&definition, "compatibilities")
            .iter()
            .any(|one| one == "FARGATE")
    {
        return Err(invalid(
            "Task definition does not support launch_type FARGATE.",
        ));
    }
    check_network(&definition, &get("networkConfiguration"))?;
    for balancer in get("loadBalancers").as_array().into_iter().flatten() {
        let (name, port) = (
            need(balancer, "containerName"),
            number(balancer, "containerPort"),
        );
        let container = list(&definition, "containerDefinitions")
            .iter()
            .find(|one| need(one, "name") == name);
        let container = container.ok_or_else(|| {
            invalid(format!(
                "The container {name} does not exist in the task definition."
            ))
        })?;
        if !list(container, "portMappings")
            .iter()
            .any(|one| number(one, "containerPort") == port)
        {
            return Err(invalid(format!(
                "The container {name} did not have a container port {} defined.",
                port.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Refuses tasks whose network mode and network configuration do not go together.
pub fn check_network(definition: &Value, network: &Value) -> Result<(), AwsError> {
    let awsvpc = text(definition, "networkMode") == Some("awsvpc");
    match network.get("awsvpcConfiguration") {
        None if awsvpc => Err(invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )),
        Some(_) if !awsvpc => Err(invalid(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        )),
        Some(vpc) if list(vpc, "subnets").is_empty() => Err(invalid("subnets can not be empty.")),
        Some(vpc) => {
            let wrong = |member: &str, prefix: &str, what: &str| {
                let ids = list(vpc, member).iter().filter_map(Value::as_str);
                match ids.into_iter().find(|id| !id.starts_with(prefix)) {
                    Some(id) => Err(invalid(format!(
                        "Error retrieving {what} information for [{id}]: the {what} ID '{id}' does not exist"
                    ))),
                    None => Ok(()),
                }
            };
            wrong("subnets", "subnet-", "subnet")?;
            wrong("securityGroups", "sg-", "security group")
        }
        None => Ok(()),
    }
}
