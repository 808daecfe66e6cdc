//! What ECS refuses for a while, what it refuses because something is there, and what this program
//! refuses itself; performs no IO.

use std::time::Duration;

use aws_sdk_ecs::types::{DeploymentStrategy, SchedulingStrategy, Service as SdkService};
use deployer_core::error::Error;

use super::service_fields::runs_on_fargate;

/// How long what passes by itself is tried again: roles and load balancers that were made a moment
/// ago.
pub(super) const SETTLING: Duration = Duration::from_secs(2 * 60);
/// What ECS says then. The Terraform provider waits for the same words
/// (`internal/service/ecs/service.go` and `cluster.go` of hashicorp/terraform-provider-aws;
/// aws/containers-roadmap#2614).
pub(super) const PASSING: [&str; 3] = [
    "Unable to assume the service linked role",
    "verify that the ECS service role being passed has the proper permissions",
    "does not have an associated load balancer",
];
/// What ECS answers, without an error, where Fargate has no room (ECS Developer Guide, "API failure
/// reasons").
pub(super) const NO_ROOM: &str = "Capacity is unavailable at this time";
/// What ECS says when a service of that name is there that another call made
/// (hashicorp/terraform-provider-aws#14489).
pub(super) const IS_THERE: &str = "was not idempotent";

/// What a task says that never reached the registry or the secrets ("CannotPullContainer task
/// errors in Amazon ECS" and "Troubleshooting Amazon ECS ResourceInitializationError errors",
/// Amazon ECS Developer Guide).
const NEVER_STARTED: [&str; 2] = ["CannotPullContainerError", "ResourceInitializationError"];
/// Of these, what is said where no answer came.
const NO_ANSWER: [&str; 4] = [
    "i/o timeout",
    "context deadline exceeded",
    "connection issue",
    "Client.Timeout exceeded",
];

/// What helps against a one-off that never started for want of a way out of its subnets. On App
/// Runner the service starts there all the same: its image is not pulled through the connector.
pub(super) fn no_way_out(told: &[String], beside_app_runner: bool) -> Option<&'static str> {
    let says = |words: &[&str]| {
        words
            .iter()
            .any(|it| told.iter().any(|line| line.contains(it)))
    };
    let is_cut_off = says(&NEVER_STARTED) && says(&NO_ANSWER);
    is_cut_off.then_some(match beside_app_runner {
        true => {
            "the task pulls the image and reads the secrets from inside `subnets` (App Runner pulls from outside \
             them): give the subnets a NAT gateway or VPC endpoints (ecr.api, ecr.dkr, s3, secretsmanager, logs), or, \
             where they are public, write `assign_public_ip = true` in `[targets.aws]`"
        }
        false => {
            "give `subnets` a NAT gateway or VPC endpoints (ecr.api, ecr.dkr, s3, secretsmanager, logs), or, where \
             they are public, write `assign_public_ip = true` in `[targets.aws]`"
        }
    })
}

/// Whether ECS refuses something for what passes by itself.
pub(super) fn passes(error: &Error) -> bool {
    let said = error.chain().join(": ");
    PASSING.iter().any(|passing| said.contains(passing))
}

/// How one try to create a service ended.
pub(super) enum Tried {
    /// It is made.
    Made(Option<Box<SdkService>>),
    /// The name is taken for a while; says by what.
    Later(String),
    /// Refused for what passes by itself.
    Passing(Error),
    /// There is one that another call made.
    There(Error),
}

/// What a service is that this program cannot roll out truly: told while planning, not by ECS in
/// the middle, and never by making the service anew.
///
/// With CODE_DEPLOY and EXTERNAL, UpdateService refuses a task definition ("Unable to update task
/// definition on services with a CODE_DEPLOY deployment controller"), and no deployment is
/// described. Other strategies keep two revisions for a bake time and ask hooks. An EC2 service
/// becomes a Fargate one only by its capacity provider strategy.
pub(super) fn beyond_us(service: &SdkService) -> Option<Error> {
    let name = service.service_name().unwrap_or_default();
    let controller = service
        .deployment_controller()
        .map_or("ECS", |controller| controller.r#type().as_str());
    let strategy = service
        .deployment_configuration()
        .and_then(|deployment| deployment.strategy())
        .map_or("ROLLING", DeploymentStrategy::as_str);
    let scheduling = service
        .scheduling_strategy()
        .map_or("REPLICA", SchedulingStrategy::as_str);
    let says = match (controller, strategy, scheduling) {
        ("ECS", "ROLLING", "REPLICA") => match (runs_on_fargate(service), old_platform(service)) {
            (true, None) => return None,
            (true, Some(version)) => return Some(too_old(name, version)),
            (false, _) => "does not run on Fargate".to_owned(),
        },
        ("ECS", "ROLLING", scheduling) => format!("has the scheduling strategy {scheduling}"),
        ("ECS", strategy, _) => format!("has the deployment strategy {strategy}"),
        (controller, ..) => format!("is deployed by the controller {controller}"),
    };
    let message = format!("service `{name}` {says}, which this program cannot roll out");
    Some(Error::input(message).hint(
        "change that service to rolling deployments by ECS on Fargate (`aws ecs update-service`), or give ours another `name` in \
         `[targets.aws.services.NAME]`: it is made beside that one",
    ))
}

/// From this platform version on a task takes one version of a secret, or one member of it: "For
/// tasks that are hosted on Fargate ... you must use platform version 1.4.0 or later" (ECS
/// Developer Guide, "Pass Secrets Manager secrets through environment variables").
const PINS_FROM: [u32; 3] = [1, 4, 0];

/// The platform version that a service is held at, where its tasks cannot take what this program
/// pins.
fn old_platform(service: &SdkService) -> Option<&str> {
    let version = service.platform_version()?;
    let parts = version.split('.').map(str::parse);
    let parts: Vec<u32> = parts.collect::<Result<_, _>>().ok()?;
    (parts < PINS_FROM.to_vec()).then_some(version)
}

fn too_old(name: &str, version: &str) -> Error {
    let message = format!(
        "service `{name}` is held at Fargate's platform version {version}, whose tasks take no version of a secret"
    );
    Error::input(message).hint(format!(
        "let it go: `aws ecs update-service --service {name} --platform-version LATEST`"
    ))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::builders::ServiceBuilder;
    use aws_sdk_ecs::types::{
        DeploymentConfiguration, DeploymentController, DeploymentControllerType, LaunchType,
    };

    use super::*;

    #[track_caller]
    fn check(service: ServiceBuilder, says: Option<&str>) {
        let error = beyond_us(&service.service_name("web").build());
        match (error, says) {
            (None, None) => {}
            (Some(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
            (error, says) => panic!("{error:?} is not {says:?}"),
        }
    }

    #[test]
    fn only_what_ecs_rolls_out_itself_on_fargate_is_taken() {
        let fargate = || SdkService::builder().launch_type(LaunchType::Fargate);
        check(fargate(), None);
        check(SdkService::builder(), None);
        let ec2 = SdkService::builder().launch_type(LaunchType::Ec2);
        check(ec2, Some("does not run on Fargate"));
        check(fargate().platform_version("LATEST"), None);
        check(fargate().platform_version("1.4.0"), None);
        let old = fargate().platform_version("1.3.0");
        check(old, Some("platform version 1.3.0"));
        let daemon = fargate().scheduling_strategy(SchedulingStrategy::Daemon);
        check(daemon, Some("scheduling strategy DAEMON"));
        let code_deploy = DeploymentController::builder()
            .r#type(DeploymentControllerType::CodeDeploy)
            .build()
            .unwrap();
        let controlled = fargate().deployment_controller(code_deploy);
        check(controlled, Some("controller CODE_DEPLOY"));
        let canary = DeploymentConfiguration::builder()
            .strategy(DeploymentStrategy::Canary)
            .build();
        check(
            fargate().deployment_configuration(canary),
            Some("strategy CANARY"),
        );
    }
}
