//! App Runner as the vendor's own clients see it: its SDK and its command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::config::{BehaviorVersion, Region};
use aws_sdk_apprunner::types::{
    AuthenticationConfiguration, ImageRepository, ImageRepositoryType, OperationStatus,
    OperationType, Service, ServiceStatus, SourceConfiguration,
};
use aws_support::{Account, REGISTRY};
use serde_json::{Value, json};

async fn account() -> Account {
    let account = Account::open().await;
    let repository = json!({"repositoryName": "app"});
    account.ok("ecr:CreateRepository", repository).await;
    account.push("app", "v1", &["listen", "0.0.0.0"]).await;
    account
}

fn client(account: &Account) -> Client {
    let key = &account.caller;
    let config = aws_sdk_apprunner::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&account.sandbox.aws_url)
        .credentials_provider(Credentials::new(&key.key, &key.secret, None, None, "test"))
        .build();
    Client::from_conf(config)
}

fn source(tag: &str) -> SourceConfiguration {
    let role = "arn:aws:iam::123456789012:role/app";
    let image = ImageRepository::builder()
        .image_identifier(format!("{REGISTRY}/app:{tag}"))
        .image_repository_type(ImageRepositoryType::Ecr);
    let access = AuthenticationConfiguration::builder().access_role_arn(role);
    SourceConfiguration::builder()
        .image_repository(image.build().unwrap())
        .authentication_configuration(access.build())
        .build()
}

async fn settled(client: &Client, arn: &str) -> Service {
    loop {
        let described = client.describe_service().service_arn(arn).send().await;
        let service = described.unwrap().service.unwrap();
        if service.status != ServiceStatus::OperationInProgress {
            return service;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_sdk_reads_services_operations_and_refusals() {
    let account = account().await;
    let client = client(&account);
    let create = client.create_service().service_name("web-app");
    let made = create
        .source_configuration(source("v1"))
        .send()
        .await
        .unwrap();
    let arn = made.service().unwrap().service_arn.clone();
    let update = client.update_service().service_arn(&arn).send().await;
    let busy = update.unwrap_err().into_service_error();
    assert!(busy.is_invalid_state_exception(), "{busy:?}");
    assert_eq!(
        busy.meta().message(),
        Some("Service cannot be updated in the current state: OPERATION_IN_PROGRESS.")
    );
    let service = settled(&client, &arn).await;
    assert_eq!(service.status, ServiceStatus::Running);
    let summary = service.auto_scaling_configuration_summary.unwrap();
    // Not what the model's enum has.
    assert_eq!(summary.status.unwrap().as_str(), "active");
    let update = client.update_service().service_arn(&arn);
    let update = update.source_configuration(source("absent"));
    let operation = update.send().await.unwrap().operation_id;
    settled(&client, &arn).await;
    let mut pages = client
        .list_operations()
        .service_arn(&arn)
        .max_results(1)
        .into_paginator()
        .send();
    let mut operations = Vec::new();
    while let Some(page) = pages.next().await {
        operations.extend(page.unwrap().operation_summary_list.unwrap());
    }
    let (kinds, states): (Vec<_>, Vec<_>) = operations
        .iter()
        .map(|it| (it.r#type.clone().unwrap(), it.status.clone().unwrap()))
        .unzip();
    assert_eq!(
        kinds,
        [OperationType::UpdateService, OperationType::CreateService]
    );
    assert_eq!(
        states,
        [OperationStatus::Failed, OperationStatus::Succeeded]
    );
    assert_eq!(operations[0].id.as_deref(), Some(operation.as_str()));
    assert!(operations[0].ended_at >= operations[0].started_at);
    let unknown = client
        .describe_service()
        .service_arn(format!("{arn}x"))
        .send()
        .await;
    let unknown = unknown.unwrap_err().into_service_error();
    assert!(unknown.is_resource_not_found_exception(), "{unknown:?}");
    account.close().await;
}

#[tokio::test]
async fn the_command_line_reads_a_service() {
    if std::process::Command::new("aws")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: aws is not installed");
        return;
    }
    let account = account().await;
    let client = client(&account);
    let create = client.create_service().service_name("web-app");
    let made = create
        .source_configuration(source("v1"))
        .send()
        .await
        .unwrap();
    let arn = made.service().unwrap().service_arn.clone();
    settled(&client, &arn).await;
    let aws = async |arguments: &[&str]| {
        let ran = tokio::process::Command::new("aws")
            .args(["apprunner", "--output", "json"])
            .args([
                "--region",
                "us-east-1",
                "--endpoint-url",
                &account.sandbox.aws_url,
            ])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", &account.caller.key)
            .env("AWS_SECRET_ACCESS_KEY", &account.caller.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        (serde_json::from_slice::<Value>(&ran.stdout).ok(), said)
    };
    let (described, said) = aws(&["describe-service", "--service-arn", &arn]).await;
    let service = &described.expect(&said)["Service"];
    assert_eq!(service["ServiceName"], "web-app");
    assert_eq!(service["Status"], "RUNNING");
    let (listed, said) = aws(&["list-services"]).await;
    assert_eq!(
        listed.expect(&said)["ServiceSummaryList"][0]["ServiceArn"],
        arn.as_str()
    );
    let resume = ["resume-service", "--service-arn", &arn];
    let (_, said) = aws(&resume).await;
    let refused = "(InvalidStateException) when calling the ResumeService operation: Service cannot be resumed";
    assert!(said.contains(refused), "{said}");
    account.close().await;
}
