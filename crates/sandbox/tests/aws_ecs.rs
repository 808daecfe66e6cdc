//! ECS: deployments that settle, fail and roll back with real processes behind them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::{Account, REGISTRY};
use serde_json::{Value, json};

/// A repository with the guest program, a log group, a secret and a task definition.
struct App {
    account: Account,
}

impl App {
    async fn new() -> Self {
        let account = Account::open().await;
        account
            .ok("ecr:CreateRepository", json!({"repositoryName": "app"}))
            .await;
        account.push("app", "v1", &["listen", "0.0.0.0"]).await;
        account
            .ok("logs:CreateLogGroup", json!({"logGroupName": "/ecs/app"}))
            .await;
        let secret = json!({
            "Name": "app-secret", "SecretString": "{\"NAME\":\"from the secret\"}",
            "ClientRequestToken": "0".repeat(32),
        });
        account.ok("secretsmanager:CreateSecret", secret).await;
        Self { account }
    }

    /// Registers a revision of the usual container with these members changed. Returns its ARN.
    async fn define(&self, changes: Value) -> String {
        let described = self
            .account
            .ok(
                "secretsmanager:DescribeSecret",
                json!({"SecretId": "app-secret"}),
            )
            .await;
        let mut container = json!({
            "name": "app",
            "image": format!("{REGISTRY}/app:v1"),
            "portMappings": [{"containerPort": 8080}],
            "secrets": [{"name": "NAME", "valueFrom": format!("{}:NAME::", described["ARN"].as_str().unwrap())}],
            "healthCheck": {"command": ["CMD", "guest", "get", "127.0.0.1:8080"], "interval": 5},
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/app", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "app",
            }},
        });
        container
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let input = json!({
            "family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": "256", "memory": "512", "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
            "containerDefinitions": [container],
        });
        let registered = self.account.ok("ecs:RegisterTaskDefinition", input).await;
        registered["taskDefinition"]["taskDefinitionArn"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn create(&self, definition: &str, desired: u32) -> Value {
        self.account
            .ok("ecs:CreateService", service(definition, desired))
            .await
    }

    /// Waits until the service has one deployment that ended, and returns the service.
    async fn settled(&self) -> Value {
        let done = |answer: &Value| {
            let deployments = answer["services"][0]["deployments"].as_array().unwrap();
            deployments.len() == 1 && deployments[0]["rolloutState"] != "IN_PROGRESS"
        };
        let answer = self
            .account
            .until("ecs:DescribeServices", json!({"services": ["web"]}), done)
            .await;
        answer["services"][0].clone()
    }

    async fn update(&self, definition: &str) {
        self.account
            .ok(
                "ecs:UpdateService",
                json!({"service": "web", "taskDefinition": definition}),
            )
            .await;
    }

    /// Runs a task of its own to its end.
    async fn run(&self, definition: &str, overrides: Value) -> Value {
        let input = json!({
            "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": network(),
            "overrides": overrides,
        });
        let run = self.account.ok("ecs:RunTask", input).await;
        let tasks = json!({"tasks": [run["tasks"][0]["taskArn"]]});
        let stopped = |answer: &Value| answer["tasks"][0]["lastStatus"] == "STOPPED";
        self.account
            .until("ecs:DescribeTasks", tasks, stopped)
            .await["tasks"][0]
            .clone()
    }

    /// Waits until a task of the service is on its way out, and returns it.
    async fn first_stopped(&self) -> Value {
        let some = |answer: &Value| !answer["taskArns"].as_array().unwrap().is_empty();
        let stopped = json!({"desiredStatus": "STOPPED", "serviceName": "web"});
        let tasks = self.account.until("ecs:ListTasks", stopped, some).await;
        let wanted = json!({"tasks": [tasks["taskArns"][0]]});
        self.account.ok("ecs:DescribeTasks", wanted).await["tasks"][0].clone()
    }

    async fn last_rollout(&self) -> Value {
        let listed = self
            .account
            .ok("ecs:ListServiceDeployments", json!({"service": "web"}))
            .await;
        let arn = listed["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        let wanted = json!({"serviceDeploymentArns": [arn]});
        self.account
            .ok("ecs:DescribeServiceDeployments", wanted)
            .await["serviceDeployments"][0]
            .clone()
    }

    async fn served(&self) -> String {
        let status = self.account.sandbox.status();
        let url = status["aws"]["status"]["services"][0]["url"]
            .as_str()
            .unwrap();
        self.account
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}})
}

fn service(definition: &str, desired: u32) -> Value {
    json!({
        "serviceName": "web", "taskDefinition": definition, "desiredCount": desired, "launchType": "FARGATE",
        "networkConfiguration": network(), "clientToken": "token",
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
    })
}

#[tokio::test]
async fn a_service_settles_serves_and_rolls_to_the_next_definition() {
    let app = App::new().await;
    let first = app.define(json!({})).await;
    let created = app.create(&first, 2).await;
    assert_eq!(
        created["service"]["deployments"][0]["rolloutState"],
        "IN_PROGRESS"
    );
    let settled = app.settled().await;
    assert_eq!(
        (
            &settled["runningCount"],
            &settled["deployments"][0]["rolloutState"]
        ),
        (&json!(2), &json!("COMPLETED"))
    );
    assert_eq!(app.served().await, "from the secret");
    let variable = json!([{"name": "NAME", "value": "second"}]);
    let second = app
        .define(json!({"secrets": [], "environment": variable}))
        .await;
    app.update(&second).await;
    let settled = app.settled().await;
    assert_eq!(settled["taskDefinition"], second);
    assert_eq!(app.served().await, "second");
    let rollout = app.last_rollout().await;
    assert_eq!(rollout["status"], "SUCCESSFUL");
    let revision = json!({"serviceRevisionArns": [rollout["targetServiceRevision"]["arn"]]});
    let revision = app
        .account
        .ok("ecs:DescribeServiceRevisions", revision)
        .await;
    assert_eq!(revision["serviceRevisions"][0]["taskDefinition"], second);
    let image = &revision["serviceRevisions"][0]["containerImages"][0];
    assert!(
        image["imageDigest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    app.account.close().await;
}

#[tokio::test]
async fn a_deployment_whose_tasks_exit_is_rolled_back_and_the_old_one_serves_on() {
    let app = App::new().await;
    let good = app.define(json!({})).await;
    app.create(&good, 1).await;
    app.settled().await;
    let bad = app.define(json!({"command": ["exit", "3"]})).await;
    app.update(&bad).await;
    let rolled_back = |answer: &Value| answer["services"][0]["taskDefinition"] == good;
    app.account
        .until(
            "ecs:DescribeServices",
            json!({"services": ["web"]}),
            rolled_back,
        )
        .await;
    let settled = app.settled().await;
    assert_eq!(settled["deployments"][0]["rolloutState"], "COMPLETED");
    let rollout = app.last_rollout().await;
    assert_eq!(rollout["status"], "ROLLBACK_SUCCESSFUL");
    assert_eq!(rollout["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    let events = settled["events"].to_string();
    assert!(
        events.contains("deployment failed: tasks failed to start."),
        "{events}"
    );
    assert_eq!(app.served().await, "from the secret");
    app.account.close().await;
}

#[tokio::test]
async fn a_first_deployment_that_fails_has_nothing_to_go_back_to_and_stays_failed() {
    let app = App::new().await;
    let bad = app
        .define(json!({"image": format!("{REGISTRY}/app:absent")}))
        .await;
    app.create(&bad, 1).await;
    let settled = app.settled().await;
    assert_eq!(settled["deployments"][0]["rolloutState"], "FAILED");
    assert_eq!(settled["deployments"][0]["failedTasks"], 3);
    assert_eq!(settled["runningCount"], 0);
    assert_eq!(app.last_rollout().await["status"], "STOPPED");
    app.account.close().await;
}

#[tokio::test]
async fn an_unhealthy_task_is_stopped_in_the_schedulers_words() {
    let app = App::new().await;
    // The process listens elsewhere than its mapping says.
    let port = json!([{"name": "PORT", "value": "9"}]);
    let check =
        json!({"command": ["CMD", "guest", "get", "127.0.0.1:8080"], "interval": 5, "retries": 1});
    let deaf = app
        .define(json!({"environment": port, "healthCheck": check}))
        .await;
    app.create(&deaf, 1).await;
    let task = app.first_stopped().await;
    assert_eq!(task["stoppedReason"], "Task failed container health checks");
    assert_eq!(task["healthStatus"], "UNHEALTHY");
    app.account.close().await;
}

#[tokio::test]
async fn a_check_that_the_image_has_no_program_for_is_a_failed_one() {
    let shell = json!(["CMD-SHELL", "wget -qO- http://localhost:8080/ || exit 1"]);
    for command in [json!(["CMD", "curl", "http://localhost:8080/"]), shell] {
        let app = App::new().await;
        let check = json!({"command": command, "interval": 5, "retries": 1});
        let definition = app.define(json!({"healthCheck": check})).await;
        app.create(&definition, 1).await;
        let task = app.first_stopped().await;
        assert_eq!(task["stoppedReason"], "Task failed container health checks");
        app.account.close().await;
    }
}

#[tokio::test]
async fn a_task_of_its_own_tells_its_exit_code_and_leaves_its_log() {
    let app = App::new().await;
    let definition = app.define(json!({})).await;
    let command = json!({"containerOverrides": [{"name": "app", "command": ["exit", "3"]}]});
    let task = app.run(&definition, command).await;
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["stoppedReason"], "Essential container in task exited");
    assert_eq!(task["containers"][0]["exitCode"], 3);
    let id = task["taskArn"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let stream = json!({"logGroupName": "/ecs/app", "logStreamName": format!("app/app/{id}")});
    let log = app
        .account
        .ok("logs:GetLogEvents", stream)
        .await
        .to_string();
    assert!(
        log.contains("to stdout") && log.contains("to stderr"),
        "{log}"
    );
    app.account.close().await;
}

#[tokio::test]
async fn a_task_without_its_secret_log_group_or_image_says_which() {
    let app = App::new().await;
    let check = async |changes: Value, says: &[&str]| {
        let definition = app.define(changes).await;
        let task = app.run(&definition, json!({})).await;
        let reason = task["stoppedReason"].as_str().unwrap();
        assert_eq!(task["stopCode"], "TaskFailedToStart", "{reason}");
        assert!(says.iter().all(|part| reason.contains(part)), "{reason}");
    };
    let secret = |from: &str| json!({"secrets": [{"name": "A", "valueFrom": from}]});
    let start = "ResourceInitializationError: unable to pull secrets or registry auth";
    check(secret("absent"), &[start, "ResourceNotFoundException"]).await;
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app-secret:OTHER::";
    check(secret(arn), &[start, "did not contain json key OTHER"]).await;
    let options = json!({"awslogs-group": "/no", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "a"});
    let logs = json!({"logConfiguration": {"logDriver": "awslogs", "options": options}});
    check(
        logs,
        &["failed to validate logger args", "log group does not exist"],
    )
    .await;
    let image = json!({"image": format!("{REGISTRY}/app:absent")});
    check(
        image,
        &["CannotPullContainerError", "app:absent: not found"],
    )
    .await;
    check(
        json!({"entryPoint": ["/no/such"]}),
        &["CannotStartContainerError", "executable file not found"],
    )
    .await;
    app.account.close().await;
}

#[tokio::test]
async fn a_run_with_the_same_token_starts_nothing_twice() {
    let app = App::new().await;
    let definition = app.define(json!({})).await;
    let mut input = json!({
        "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": network(),
        "clientToken": "once",
    });
    let first = app.account.ok("ecs:RunTask", input.clone()).await;
    let second = app.account.ok("ecs:RunTask", input.clone()).await;
    assert_eq!(first["tasks"][0]["taskArn"], second["tasks"][0]["taskArn"]);
    input["startedBy"] = json!("someone else");
    app.account
        .refused("ecs:RunTask", input, "ConflictException", "clientToken")
        .await;
    app.account.close().await;
}

#[tokio::test]
async fn a_service_is_made_once_drained_when_deleted_and_can_be_made_again() {
    let app = App::new().await;
    let definition = app.define(json!({})).await;
    let first = app.create(&definition, 1).await;
    assert_eq!(
        app.create(&definition, 1).await["service"]["createdAt"],
        first["service"]["createdAt"]
    );
    let conflict = "Creation of service was not idempotent.";
    app.account
        .refused(
            "ecs:CreateService",
            service(&definition, 2),
            "InvalidParameterException",
            conflict,
        )
        .await;
    app.settled().await;
    let delete = json!({"service": "web"});
    app.account
        .refused(
            "ecs:DeleteService",
            delete,
            "InvalidParameterException",
            "scaled above 0",
        )
        .await;
    let deleted = app
        .account
        .ok(
            "ecs:DeleteService",
            json!({"service": "web", "force": true}),
        )
        .await;
    assert_eq!(deleted["service"]["status"], "DRAINING");
    let draining = "Unable to Start a service that is still Draining.";
    app.account
        .refused(
            "ecs:CreateService",
            service(&definition, 1),
            "InvalidParameterException",
            draining,
        )
        .await;
    let gone = |answer: &Value| answer["services"][0]["status"] == "INACTIVE";
    app.account
        .until("ecs:DescribeServices", json!({"services": ["web"]}), gone)
        .await;
    assert_eq!(
        app.account.ok("ecs:ListServices", json!({})).await["serviceArns"],
        json!([])
    );
    app.create(&definition, 0).await;
    assert_eq!(app.settled().await["status"], "ACTIVE");
    app.account.close().await;
}

#[tokio::test]
async fn the_desired_count_changes_without_a_deployment_and_force_makes_one() {
    let app = App::new().await;
    let definition = app.define(json!({})).await;
    app.create(&definition, 1).await;
    let before = app.settled().await["deployments"][0]["id"].clone();
    let scaled = app
        .account
        .ok(
            "ecs:UpdateService",
            json!({"service": "web", "desiredCount": 2}),
        )
        .await;
    assert_eq!(scaled["service"]["deployments"][0]["id"], before);
    let two = |answer: &Value| answer["services"][0]["runningCount"] == 2;
    app.account
        .until("ecs:DescribeServices", json!({"services": ["web"]}), two)
        .await;
    let forced = json!({"service": "web", "forceNewDeployment": true});
    let forced = app.account.ok("ecs:UpdateService", forced).await;
    assert_ne!(forced["service"]["deployments"][0]["id"], before);
    let rollout = app.last_rollout().await["serviceDeploymentArn"].clone();
    app.account
        .ok(
            "ecs:StopServiceDeployment",
            json!({"serviceDeploymentArn": rollout}),
        )
        .await;
    assert_eq!(app.settled().await["deployments"][0]["id"], before);
    app.account.close().await;
}

#[tokio::test]
async fn a_service_for_container_instances_waits_for_some() {
    let app = App::new().await;
    let definition = app.define(json!({})).await;
    let mut input = service(&definition, 1);
    input.as_object_mut().unwrap().remove("launchType");
    app.account.ok("ecs:CreateService", input).await;
    let told = |answer: &Value| {
        let events = answer["services"][0]["events"].to_string();
        events.contains("No Container Instances were found")
    };
    let described = json!({"services": ["web"]});
    let answer = app
        .account
        .until("ecs:DescribeServices", described, told)
        .await;
    assert_eq!(answer["services"][0]["launchType"], "EC2");
    assert_eq!(answer["services"][0]["pendingCount"], 0);
    app.account.close().await;
}

#[tokio::test]
async fn what_is_absent_is_a_failure_or_an_error_as_with_the_vendor() {
    let app = App::new().await;
    let described = app
        .account
        .ok("ecs:DescribeServices", json!({"services": ["nope"]}))
        .await;
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    let elsewhere = json!({"cluster": "nope", "services": ["a"]});
    app.account
        .refused(
            "ecs:DescribeServices",
            elsewhere,
            "ClusterNotFoundException",
            "Cluster not found.",
        )
        .await;
    let update = json!({"service": "nope"});
    app.account
        .refused(
            "ecs:UpdateService",
            update,
            "ServiceNotFoundException",
            "Service not found.",
        )
        .await;
    let unknown = json!({"taskDefinition": "nope"});
    app.account
        .refused(
            "ecs:DescribeTaskDefinition",
            unknown,
            "ClientException",
            "Unable to describe",
        )
        .await;
    let definition = app.define(json!({})).await;
    app.account
        .ok(
            "ecs:DeregisterTaskDefinition",
            json!({"taskDefinition": definition}),
        )
        .await;
    let inactive = service(&definition, 1);
    app.account
        .refused("ecs:CreateService", inactive, "ClientException", "inactive")
        .await;
    app.account.close().await;
}
