//! A sandbox that runs nothing: in virtual time, with containers that behave as the test says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws_support;
mod gcp_cloud;
mod jump;
mod support;

use std::time::{Duration, Instant};

use aws_support::{Account, REGISTRY};
use deployer_sandbox::runner::{Behaviour, Exit, Purpose, Simulated};
use deployer_sandbox::{Options, Time, serve};
use gcp_cloud::Cloud;
use jump::Jumping;
use serde_json::{Value, json};

/// Nothing is wrong but with a container that is told `NAME=broken`, or whose command ends in
/// `fail`.
fn scripted() -> Simulated {
    Simulated::new(|started| {
        let usual = Behaviour::usual(started.purpose);
        let broken = started.env.get("NAME").is_some_and(|name| name == "broken");
        match started.command.last().map(String::as_str) {
            Some("fail") => Behaviour {
                exit: Some(Exit::with(3)),
                lines: vec!["it went wrong".to_owned()],
                ..usual
            },
            _ if broken => Behaviour {
                healthy: false,
                ..usual
            },
            _ => usual,
        }
    })
}

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}})
}

/// An account with a definition `app` whose container has a health check.
async fn account(options: Options) -> Account {
    let account = Account::of(options).await;
    account
        .ok("ecr:CreateRepository", json!({"repositoryName": "app"}))
        .await;
    account.push("app", "v1", &["listen", "0.0.0.0"]).await;
    let definition = json!({
        "family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
        "cpu": "256", "memory": "512", "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "containerDefinitions": [{
            "name": "app", "image": format!("{REGISTRY}/app:v1"),
            "portMappings": [{"containerPort": 8080}],
            "environment": [{"name": "NAME", "value": "fine"}],
            "healthCheck": {"command": ["CMD", "/no/such/program"]},
        }],
    });
    account.ok("ecs:RegisterTaskDefinition", definition).await;
    account
}

#[tokio::test]
async fn a_service_settles_and_a_task_fails_as_scripted_in_hours_that_take_no_time() {
    let (time, containers) = (Jumping::start(), scripted());
    let options = Options::simulated(containers.clone(), time.clock()).unwrap();
    let account = account(options).await;
    let (began, real) = (time.now(), Instant::now());
    let service = json!({
        "serviceName": "app", "taskDefinition": "app", "desiredCount": 2, "launchType": "FARGATE",
        "networkConfiguration": network(),
    });
    account.ok("ecs:CreateService", service).await;
    let described = account
        .until("ecs:DescribeServices", json!({"services": ["app"]}), |it| {
            it["services"][0]["deployments"][0]["rolloutState"] == "COMPLETED"
        })
        .await;
    assert_eq!(described["services"][0]["runningCount"], 2);
    let run = json!({
        "taskDefinition": "app", "launchType": "FARGATE", "networkConfiguration": network(),
        "overrides": {"containerOverrides": [{"name": "app", "command": ["fail"]}]},
    });
    let run = account.ok("ecs:RunTask", run).await;
    let task = json!({"tasks": [run["tasks"][0]["taskArn"]]});
    let ended = account
        .until("ecs:DescribeTasks", task, |it| {
            it["tasks"][0]["lastStatus"] == "STOPPED"
        })
        .await;
    assert_eq!(ended["tasks"][0]["containers"][0]["exitCode"], 3);

    let database = [
        ("DBInstanceIdentifier", "db"),
        ("DBInstanceClass", "db.t4g.micro"),
        ("Engine", "postgres"),
        ("AllocatedStorage", "20"),
        ("MasterUsername", "app"),
        ("MasterUserPassword", "not-a-secret"),
    ];
    account.form_ok("rds:CreateDBInstance", &database).await;
    let available = ("DBInstanceStatus", "available");
    let named = [("DBInstanceIdentifier", "db")];
    account
        .form_until("rds:DescribeDBInstances", &named, available)
        .await;
    let passed = time.now().duration_since(began);
    assert!(passed.as_mins() >= 6, "a database takes minutes: {passed}");
    assert!(real.elapsed() < Duration::from_secs(60));

    let started = containers.started();
    let of = |purpose| started.iter().filter(move |it| it.purpose == purpose);
    assert_eq!(of(Purpose::Serve).count(), 2);
    let once: Vec<_> = of(Purpose::Finish).collect();
    assert_eq!(once.len(), 1);
    assert_eq!(once[0].command, ["/bin/guest", "fail"]);
    assert_eq!(once[0].env["NAME"], "fine");
    assert!(once[0].digest.starts_with("sha256:"));
    account.close().await;
}

#[tokio::test]
async fn a_revision_is_ready_or_fails_and_a_job_ends_as_scripted() {
    let (time, containers) = (Jumping::start(), scripted());
    let options = Options::simulated(containers.clone(), time.clock()).unwrap();
    let cloud = Cloud::of(options).await.with_image().await;
    let made = cloud
        .run("POST", "services?serviceId=web", gcp_cloud::service("fine"))
        .await;
    assert!(made["error"].is_null(), "{made}");
    let uri = made["response"]["uri"].as_str().unwrap();
    assert!(
        cloud.client.get(uri).send().await.is_err(),
        "nobody is there"
    );
    let broken = cloud
        .run("PATCH", "services/web", gcp_cloud::service("broken"))
        .await;
    let said = broken["error"]["message"].as_str().unwrap();
    assert!(said.contains("failed to start and listen"), "{said}");

    let container = json!({ "image": gcp_cloud::image("v1"), "args": ["fail"] });
    let job = json!({ "template": { "template": { "containers": [container], "maxRetries": 0 } } });
    cloud.run("POST", "jobs?jobId=migrate", job).await;
    let ran = cloud.run("POST", "jobs/migrate:run", json!({})).await;
    assert!(ran["error"].is_object(), "{ran}");
    let last = containers.started().pop().unwrap();
    assert_eq!(
        (last.purpose, last.command.last().unwrap().as_str()),
        (Purpose::Finish, "fail")
    );
}

#[tokio::test]
async fn sandboxes_come_and_go_and_leave_nothing() {
    let time = Jumping::start();
    for _ in 0..20 {
        let options = Options::simulated(Simulated::default(), time.clock()).unwrap();
        let folder = options.state_dir.clone();
        let sandbox = serve(options).await.unwrap();
        assert!(folder.exists());
        let address = sandbox.aws_url.replace("http://", "");
        drop(sandbox);
        assert!(!folder.exists());
        let mut tries = 0;
        // Its port closes as soon as the runtime comes round to it.
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tries += 1;
            assert!(tries < 1000, "the port is still open");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_app_runner_service_deploys_and_rolls_back_in_minutes_that_take_no_time() {
    let time = Jumping::start();
    let options = Options::simulated(scripted(), time.clock()).unwrap();
    let account = account(options).await;
    let source = |name: &str| {
        json!({
            "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/app"},
            "AutoDeploymentsEnabled": false,
            "ImageRepository": {
                "ImageIdentifier": format!("{REGISTRY}/app:v1"), "ImageRepositoryType": "ECR",
                "ImageConfiguration": {"RuntimeEnvironmentVariables": {"NAME": name}},
            },
        })
    };
    let (began, real) = (time.now(), Instant::now());
    let create = json!({"ServiceName": "web-app", "SourceConfiguration": source("fine")});
    let made = account.ok("apprunner:CreateService", create).await;
    let arn = made["Service"]["ServiceArn"].clone();
    let running = |it: &Value| it["Service"]["Status"] == "RUNNING";
    let of = json!({"ServiceArn": arn});
    account
        .until("apprunner:DescribeService", of.clone(), running)
        .await;
    let update = json!({"ServiceArn": arn, "SourceConfiguration": source("broken")});
    account.ok("apprunner:UpdateService", update).await;
    account
        .until("apprunner:DescribeService", of.clone(), running)
        .await;
    let listed = account.ok("apprunner:ListOperations", of).await;
    let last = &listed["OperationSummaryList"][0];
    assert_eq!(last["Status"], "ROLLBACK_SUCCEEDED");
    let took = time.now().duration_since(began).as_secs();
    assert!((6 * 60..3600).contains(&took), "{took}");
    assert!(real.elapsed() < Duration::from_secs(30));
    account.close().await;
}
