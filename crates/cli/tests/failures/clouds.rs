//! What the clouds say themselves, past the program.

use std::time::Duration;

use aws_sdk_apprunner::types::{Service as AppRunnerService, ServiceStatus};
use aws_sdk_ecs::types::{DeploymentRolloutState, Service};
use reqwest::Method;
use serde_json::Value;

use crate::in_process::stage::{LOCATION, PROJECT, Stage};

/// What a service is called on both clouds, by the manifest's name.
pub fn name_of(service: &str) -> String {
    format!("swept-test-{service}")
}

/// Where the Cloud Run service is.
pub fn path_of(service: &str) -> String {
    let name = name_of(service);
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{name}")
}

/// Fails unless this version's image, and no other, serves.
pub async fn assert_serves(stage: &Stage, cloud: &str, service: &str, version: u32) {
    let image = serving(stage, cloud, service).await.unwrap_or_default();
    let digest = stage.digest(version);
    assert!(
        image.ends_with(&digest),
        "{cloud} serves `{image}` as {service}, not version {version} ({digest})"
    );
}

/// Ends once this version's image, and no other, serves.
pub async fn until_serves(stage: &Stage, cloud: &str, service: &str, version: u32) {
    let digest = stage.digest(version);
    for _ in 0..1200 {
        let image = serving(stage, cloud, service).await.unwrap_or_default();
        if image.ends_with(&digest) {
            return;
        }
        stage.time.pass(Duration::from_secs(1)).await;
    }
    panic!("version {version} of {service} never came to serve on {cloud}");
}

/// The image of the only revision that takes requests. `None` while there is none, or more than
/// one.
pub async fn serving(stage: &Stage, cloud: &str, service: &str) -> Option<String> {
    match cloud {
        "aws" => match app_runner_service(stage, service).await {
            Some(there) => on_app_runner(&there),
            None => on_ecs(stage, service).await,
        },
        _ => on_cloud_run(stage, service).await,
    }
}

/// As long as the sandbox describes what it put back after a failure.
fn on_app_runner(service: &AppRunnerService) -> Option<String> {
    if service.status() != &ServiceStatus::Running {
        return None;
    }
    let source = service.source_configuration()?;
    let image = source.image_repository()?.image_identifier();
    Some(image.to_owned())
}

async fn app_runner_service(stage: &Stage, service: &str) -> Option<AppRunnerService> {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let listed = client.list_services().send().await.expect("an answer");
    let mut listed = listed.service_summary_list().iter();
    let name = name_of(service);
    let arn = listed.find(|it| it.service_name() == Some(&name))?;
    let seen = client.describe_service().service_arn(arn.service_arn()?);
    seen.send().await.expect("an answer").service
}

async fn on_ecs(stage: &Stage, service: &str) -> Option<String> {
    let service = described(stage, service).await?;
    let [only] = service.deployments() else {
        return None;
    };
    let whole = only.running_count() == service.desired_count() && only.running_count() > 0;
    if only.rollout_state() != Some(&DeploymentRolloutState::Completed) || !whole {
        return None;
    }
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let definition = ecs
        .describe_task_definition()
        .task_definition(only.task_definition()?);
    let definition = definition.send().await.expect("an answer").task_definition;
    let image = definition?.container_definitions().first()?.image.clone();
    Some(image.expect("a container has an image"))
}

/// The ECS service.
pub async fn ecs_service(stage: &Stage, service: &str) -> Service {
    described(stage, service).await.expect("it is there")
}

async fn described(stage: &Stage, service: &str) -> Option<Service> {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let described = ecs.describe_services().services(name_of(service));
    let described = described.send().await.expect("an answer");
    described.services().first().cloned()
}

async fn on_cloud_run(stage: &Stage, service: &str) -> Option<String> {
    let path = path_of(service);
    let url = format!("{}{path}", stage.sandbox.gcp_url);
    let asked = stage.http.get(url).bearer_auth(&stage.token).send().await;
    let service: Value = asked.expect("an answer").json().await.expect("JSON");
    let shares = service["trafficStatuses"].as_array()?.iter();
    let shares: Vec<&Value> = shares
        .filter(|share| share["percent"].as_i64().is_some_and(|it| it > 0))
        .collect();
    let [only] = shares.as_slice() else {
        return None;
    };
    let revision = only["revision"].as_str().filter(|name| !name.is_empty());
    let revision = revision.or_else(|| service["latestReadyRevision"].as_str())?;
    let revision = revision.rsplit('/').next().expect("a name");
    let revision = format!("{path}/revisions/{revision}");
    let revision = stage.google(Method::GET, &revision, None).await;
    revision["containers"][0]["image"]
        .as_str()
        .map(str::to_owned)
}
