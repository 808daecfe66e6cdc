//! App Runner: services that deploy, fail, roll back, pause and go, with real processes behind.

// long: one service, from its first deployment to its end

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::{Account, REGISTRY};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/app";

/// A repository with the guest program and a JSON secret.
struct App {
    account: Account,
    secret: String,
}

impl App {
    async fn new() -> Self {
        let account = Account::open().await;
        let repository = json!({"repositoryName": "app"});
        account.ok("ecr:CreateRepository", repository).await;
        account.push("app", "v1", &["listen", "0.0.0.0"]).await;
        account.push("app", "broken", &["exit", "3"]).await;
        account.push("app", "deaf", &["sleep"]).await;
        let secret = json!({
            "Name": "app-secret", "SecretString": "{\"NAME\":\"from the secret\"}",
            "ClientRequestToken": "0".repeat(32),
        });
        let made = account.ok("secretsmanager:CreateSecret", secret).await;
        Self {
            account,
            secret: made["ARN"].as_str().unwrap().to_owned(),
        }
    }

    fn source(&self, tag: &str) -> Value {
        json!({
            "AuthenticationConfiguration": {"AccessRoleArn": ROLE},
            "AutoDeploymentsEnabled": false,
            "ImageRepository": {
                "ImageIdentifier": format!("{REGISTRY}/app:{tag}"),
                "ImageRepositoryType": "ECR",
                "ImageConfiguration": {
                    "RuntimeEnvironmentSecrets": {"NAME": format!("{}:NAME::", self.secret)},
                },
            },
        })
    }

    fn service(&self, tag: &str) -> Value {
        json!({
            "ServiceName": "web-app", "SourceConfiguration": self.source(tag),
            "InstanceConfiguration": {"InstanceRoleArn": ROLE},
            "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": "/", "Interval": 1, "UnhealthyThreshold": 3},
        })
    }

    /// Creates the usual service and waits until its first operation ended. Returns its ARN.
    async fn create(&self, tag: &str) -> String {
        let made = self
            .account
            .ok("apprunner:CreateService", self.service(tag))
            .await;
        assert_eq!(made["Service"]["Status"], "OPERATION_IN_PROGRESS");
        let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
        self.settled(&arn).await;
        arn
    }

    async fn act(&self, operation: &str, arn: &str) -> Value {
        let action = format!("apprunner:{operation}");
        self.account.ok(&action, json!({"ServiceArn": arn})).await
    }

    /// Waits until nothing is under way, and returns the service.
    async fn settled(&self, arn: &str) -> Value {
        let input = json!({"ServiceArn": arn});
        let idle = |answer: &Value| answer["Service"]["Status"] != "OPERATION_IN_PROGRESS";
        let answer = self
            .account
            .until("apprunner:DescribeService", input, idle)
            .await;
        answer["Service"].clone()
    }

    async fn update(&self, arn: &str, tag: &str) -> Value {
        let input = json!({"ServiceArn": arn, "SourceConfiguration": self.source(tag)});
        let updated = self.account.ok("apprunner:UpdateService", input).await;
        assert!(updated["OperationId"].is_string());
        self.settled(arn).await
    }

    /// Type and status of each operation, the last first.
    async fn operations(&self, arn: &str) -> Vec<String> {
        let listed = self.act("ListOperations", arn).await;
        let listed = listed["OperationSummaryList"].as_array().unwrap().clone();
        let word = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
        let shown = listed.iter();
        shown
            .map(|it| format!("{} {}", word(it, "Type"), word(it, "Status")))
            .collect()
    }

    async fn served(&self, service: &Value) -> String {
        let url = format!("http://{}/", service["ServiceUrl"].as_str().unwrap());
        let answer = self.account.http.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Everything in a log group of the service.
    async fn logs(&self, service: &Value, which: &str) -> String {
        let id = service["ServiceId"].as_str().unwrap();
        let group = format!("/aws/apprunner/web-app/{id}/{which}");
        let events = json!({"logGroupName": group});
        let events = self.account.ok("logs:FilterLogEvents", events).await;
        let events = events["events"].as_array().unwrap().clone();
        let lines = events.iter().map(|it| it["message"].as_str().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[tokio::test]
async fn a_service_runs_with_its_secret_and_tells_what_it_did() {
    let app = App::new().await;
    let arn = app.create("v1").await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "RUNNING");
    assert_eq!(app.served(&service).await, "from the secret");
    assert_eq!(app.operations(&arn).await, ["CREATE_SERVICE SUCCEEDED"]);
    let source = &service["SourceConfiguration"]["ImageRepository"];
    assert_eq!(source["ImageConfiguration"]["Port"], "8080");
    assert_eq!(service["InstanceConfiguration"]["Cpu"], "1024");
    assert_eq!(service["InstanceConfiguration"]["Memory"], "2048");
    let network = &service["NetworkConfiguration"];
    assert_eq!(network["EgressConfiguration"]["EgressType"], "DEFAULT");
    let scaling = &service["AutoScalingConfigurationSummary"];
    assert_eq!(
        scaling["AutoScalingConfigurationName"],
        "DefaultConfiguration"
    );
    let events = app.logs(&service, "service").await;
    assert!(
        events.contains("[AppRunner] Service creation completed successfully."),
        "{events}"
    );
    assert!(events.contains(
        "[AppRunner] Performing health check on protocol `HTTP` [Path: '/'], [Port: '8080']."
    ));
    assert_eq!(app.logs(&service, "application").await, "listening");
    app.account.close().await;
}

#[tokio::test]
async fn an_update_that_does_not_become_healthy_is_rolled_back_and_what_ran_runs_on() {
    let app = App::new().await;
    let arn = app.create("v1").await;
    let service = app.update(&arn, "broken").await;
    assert_eq!(service["Status"], "RUNNING");
    assert_eq!(
        app.operations(&arn).await[0],
        "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
    );
    let image = &service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
    assert_eq!(*image, json!(format!("{REGISTRY}/app:v1")));
    assert_eq!(app.served(&service).await, "from the secret");
    let events = app.logs(&service, "service").await;
    assert!(events.contains("Container exit code: 3"), "{events}");
    assert!(
        app.logs(&service, "application")
            .await
            .contains("to stderr")
    );
    // One that is there but does not answer, neither by HTTP nor by TCP.
    app.update(&arn, "deaf").await;
    let tcp = json!({
        "ServiceArn": arn, "SourceConfiguration": app.source("deaf"),
        "HealthCheckConfiguration": {"Protocol": "TCP"},
    });
    app.account.ok("apprunner:UpdateService", tcp).await;
    let service = app.settled(&arn).await;
    assert_eq!(
        app.operations(&arn).await[..2],
        ["UPDATE_SERVICE ROLLBACK_SUCCEEDED"; 2]
    );
    assert_eq!(service["HealthCheckConfiguration"]["Protocol"], "HTTP");
    let events = app.logs(&service, "service").await;
    assert!(
        events.contains("failed. Failure reason : Health check failed."),
        "{events}"
    );
    assert!(
        events.contains("Health check failed on protocol `TCP` [Port: '8080']."),
        "{events}"
    );
    assert_eq!(app.served(&service).await, "from the secret");
    app.account.close().await;
}

#[tokio::test]
async fn a_tcp_check_passes_where_somebody_listens() {
    let app = App::new().await;
    let mut input = app.service("v1");
    input["HealthCheckConfiguration"] = json!({"Protocol": "TCP", "Interval": 1});
    let made = app.account.ok("apprunner:CreateService", input).await;
    let service = app
        .settled(made["Service"]["ServiceArn"].as_str().unwrap())
        .await;
    assert_eq!(service["Status"], "RUNNING");
    app.account.close().await;
}

#[tokio::test]
async fn what_failed_to_be_created_is_made_to_run_by_an_update() {
    let app = App::new().await;
    let arn = app.create("no-such-tag").await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "CREATE_FAILED");
    assert_eq!(app.operations(&arn).await, ["CREATE_SERVICE FAILED"]);
    let events = app.logs(&service, "service").await;
    assert!(
        events.contains("Failure reason : Failed to copy the image from ECR"),
        "{events}"
    );
    let start = json!({"ServiceArn": arn});
    let not_running = "because it isn't in RUNNING state";
    app.account
        .refused(
            "apprunner:StartDeployment",
            start,
            "InvalidRequestException",
            not_running,
        )
        .await;
    let taken = "Service with the provided name already exists: web-app.";
    app.account
        .refused(
            "apprunner:CreateService",
            app.service("v1"),
            "InvalidRequestException",
            taken,
        )
        .await;
    assert_eq!(app.update(&arn, "v1").await["Status"], "RUNNING");
    app.account.close().await;
}

#[tokio::test]
async fn a_secret_without_a_value_fails_the_deployment_and_a_new_value_takes_one() {
    let app = App::new().await;
    let arn = app.create("v1").await;
    let value = json!({
        "SecretId": app.secret, "SecretString": "{\"NAME\":\"changed\"}",
        "ClientRequestToken": "1".repeat(32),
    });
    app.account.ok("secretsmanager:PutSecretValue", value).await;
    let service = app.settled(&arn).await;
    assert_eq!(app.served(&service).await, "from the secret");
    app.act("StartDeployment", &arn).await;
    let service = app.settled(&arn).await;
    assert_eq!(app.served(&service).await, "changed");
    let other = json!({
        "SecretId": app.secret, "SecretString": "{\"OTHER\":\"x\"}",
        "ClientRequestToken": "2".repeat(32),
    });
    app.account.ok("secretsmanager:PutSecretValue", other).await;
    app.act("StartDeployment", &arn).await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "RUNNING");
    assert_eq!(app.operations(&arn).await[0], "START_DEPLOYMENT FAILED");
    assert_eq!(app.served(&service).await, "changed");
    let events = app.logs(&service, "service").await;
    assert!(events.contains("did not contain json key NAME"), "{events}");
    assert!(!events.contains("changed"), "{events}");
    app.account.close().await;
}

#[tokio::test]
async fn a_service_that_is_busy_or_paused_takes_no_change() {
    let app = App::new().await;
    let made = app
        .account
        .ok("apprunner:CreateService", app.service("v1"))
        .await;
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    let update = json!({"ServiceArn": arn});
    let busy = "Service cannot be updated in the current state: OPERATION_IN_PROGRESS.";
    app.account
        .refused(
            "apprunner:UpdateService",
            update.clone(),
            "InvalidStateException",
            busy,
        )
        .await;
    app.account
        .refused(
            "apprunner:DeleteService",
            update.clone(),
            "InvalidStateException",
            "OPERATION_IN_PROGRESS",
        )
        .await;
    app.settled(&arn).await;
    app.act("PauseService", &arn).await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "PAUSED");
    assert_eq!(app.served(&service).await, "service unavailable\n");
    app.account
        .refused(
            "apprunner:UpdateService",
            update.clone(),
            "InvalidStateException",
            "PAUSED",
        )
        .await;
    // What is pushed meanwhile is not what it goes on with.
    app.account.push("app", "v1", &["exit", "4"]).await;
    app.act("ResumeService", &arn).await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "RUNNING");
    assert_eq!(app.served(&service).await, "from the secret");
    app.act("DeleteService", &arn).await;
    let service = app.settled(&arn).await;
    assert_eq!(service["Status"], "DELETED");
    assert!(service["DeletedAt"].is_number());
    let listed = app.account.ok("apprunner:ListServices", json!({})).await;
    assert_eq!(listed["ServiceSummaryList"], json!([]));
    app.account
        .refused(
            "apprunner:UpdateService",
            update,
            "ResourceNotFoundException",
            "not found",
        )
        .await;
    app.create("v1").await;
    app.account.close().await;
}

#[tokio::test]
async fn an_image_that_is_pushed_is_deployed_by_itself_where_the_service_says_so() {
    let app = App::new().await;
    let mut input = app.service("v1");
    input["SourceConfiguration"]["AutoDeploymentsEnabled"] = json!(true);
    let made = app.account.ok("apprunner:CreateService", input).await;
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    app.settled(&arn).await;
    app.account.push("app", "v1", &["exit", "4"]).await;
    let two = |answer: &Value| answer["OperationSummaryList"].as_array().unwrap().len() == 2;
    let listing = json!({"ServiceArn": arn});
    app.account
        .until("apprunner:ListOperations", listing, two)
        .await;
    app.settled(&arn).await;
    let rolled = "START_DEPLOYMENT ROLLBACK_SUCCEEDED";
    assert_eq!(app.operations(&arn).await[0], rolled);
    app.account.close().await;
}

#[tokio::test]
async fn an_auto_scaling_configuration_has_revisions_and_decides_how_many_instances_run() {
    let app = App::new().await;
    let create = json!({"AutoScalingConfigurationName": "wide", "MinSize": 2, "MaxSize": 3});
    let action = "apprunner:CreateAutoScalingConfiguration";
    let first = app.account.ok(action, create.clone()).await["AutoScalingConfiguration"].clone();
    // In lower case, whatever the model says.
    assert_eq!(first["Status"], "active");
    assert_eq!(
        (&first["Latest"], &first["IsDefault"]),
        (&json!(true), &json!(false))
    );
    let second = app.account.ok(action, create).await["AutoScalingConfiguration"].clone();
    assert_eq!(second["AutoScalingConfigurationRevision"], 2);
    let wrong = json!({"AutoScalingConfigurationName": "wide", "MinSize": 3, "MaxSize": 2});
    app.account
        .refused(action, wrong, "InvalidRequestException", "MinSize")
        .await;
    let mut input = app.service("v1");
    input["AutoScalingConfigurationArn"] =
        json!("arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/wide");
    let made = app.account.ok("apprunner:CreateService", input).await;
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    let service = app.settled(&arn).await;
    let summary = &service["AutoScalingConfigurationSummary"];
    assert_eq!(summary["AutoScalingConfigurationRevision"], 2);
    assert_eq!(summary["HasAssociatedService"], true);
    let status = app.account.sandbox.status();
    let instances = &status["aws"]["status"]["apprunner"][0]["instances"];
    assert_eq!(instances.as_array().unwrap().len(), 2);
    let of = |it: &Value| json!({"AutoScalingConfigurationArn": it["AutoScalingConfigurationArn"]});
    let delete = "apprunner:DeleteAutoScalingConfiguration";
    let used = "It's used by one or more services.";
    app.account
        .refused(delete, of(&second), "InvalidRequestException", used)
        .await;
    app.account.ok(delete, of(&first)).await;
    let again = "The auto scaling configuration you specified has been deleted";
    app.account
        .refused(delete, of(&first), "InvalidRequestException", again)
        .await;
    let default = "apprunner:UpdateDefaultAutoScalingConfiguration";
    app.account.ok(default, of(&second)).await;
    let listed = app
        .account
        .ok("apprunner:ListAutoScalingConfigurations", json!({}))
        .await;
    let listed = listed["AutoScalingConfigurationSummaryList"]
        .as_array()
        .unwrap()
        .clone();
    let defaults = listed.iter().filter(|it| it["IsDefault"] == true);
    assert_eq!((listed.len(), defaults.count()), (2, 1));
    app.account.close().await;
}

#[tokio::test]
async fn a_connector_is_one_of_its_name_and_stays_while_it_is_used() {
    let app = App::new().await;
    let create = json!({
        "VpcConnectorName": "private", "Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"],
        "Tags": [{"Key": "deployer", "Value": "app/test"}],
    });
    let action = "apprunner:CreateVpcConnector";
    let made = app.account.ok(action, create.clone()).await["VpcConnector"].clone();
    assert_eq!(
        (&made["Status"], &made["VpcConnectorRevision"]),
        (&json!("ACTIVE"), &json!(1))
    );
    app.account
        .refused(action, create, "InvalidRequestException", "already exists")
        .await;
    let arn = made["VpcConnectorArn"].clone();
    let mut input = app.service("v1");
    input["NetworkConfiguration"] =
        json!({"EgressConfiguration": {"EgressType": "VPC", "VpcConnectorArn": arn}});
    input["Tags"] = json!([{"Key": "deployer", "Value": "app/test"}]);
    let service = app.account.ok("apprunner:CreateService", input).await["Service"].clone();
    let network = &service["NetworkConfiguration"];
    assert_eq!(
        network["IngressConfiguration"]["IsPubliclyAccessible"],
        true
    );
    let tagged = json!({"TagFilters": [{"Key": "deployer"}], "ResourceTypeFilters": ["apprunner"]});
    let found = app.account.ok("tagging:GetResources", tagged).await;
    let found = found["ResourceTagMappingList"].as_array().unwrap().clone();
    let arns: Vec<&Value> = found.iter().map(|it| &it["ResourceARN"]).collect();
    assert_eq!(arns, [&service["ServiceArn"], &arn]);
    let of = json!({"VpcConnectorArn": arn});
    let used = "Provided VPC connector arn is being used by other services. ARN: ";
    let delete = "apprunner:DeleteVpcConnector";
    app.account
        .refused(delete, of.clone(), "InvalidRequestException", used)
        .await;
    let service = service["ServiceArn"].as_str().unwrap();
    app.settled(service).await;
    app.act("DeleteService", service).await;
    app.settled(service).await;
    let deleted = app.account.ok(delete, of.clone()).await;
    assert_eq!(deleted["VpcConnector"]["Status"], "INACTIVE");
    let shown = app.account.ok("apprunner:DescribeVpcConnector", of).await;
    assert_eq!(shown["VpcConnector"]["Status"], "INACTIVE");
    let listed = app
        .account
        .ok("apprunner:ListVpcConnectors", json!({}))
        .await;
    assert_eq!(listed["VpcConnectors"], json!([]));
    app.account.close().await;
}

#[tokio::test]
async fn what_does_not_make_sense_is_refused() {
    let app = App::new().await;
    let cases: [(&str, Value, &str); 7] = [
        (
            "/InstanceConfiguration",
            json!({"InstanceRoleArn": ROLE, "Cpu": "256", "Memory": "2048"}),
            "isn't supported",
        ),
        (
            "/InstanceConfiguration",
            json!({}),
            "Instance Role have to be provided",
        ),
        (
            "/SourceConfiguration/AuthenticationConfiguration",
            json!({}),
            "AccessRoleArn is required",
        ),
        (
            "/SourceConfiguration/ImageRepository/ImageConfiguration/Port",
            json!("web"),
            "Port",
        ),
        (
            "/SourceConfiguration/ImageRepository/ImageConfiguration/RuntimeEnvironmentVariables",
            json!({"AWSAPPRUNNER_X": "1"}),
            "AWSAPPRUNNER_X is reserved",
        ),
        (
            "/NetworkConfiguration",
            json!({"EgressConfiguration": {"EgressType": "VPC"}}),
            "VPC connector",
        ),
        (
            "/AutoScalingConfigurationArn",
            json!("arn:aws:ecs:us-east-1:123456789012:cluster/x"),
            "isn't valid. ARN:",
        ),
    ];
    for (at, value, says) in cases {
        let mut input = app.service("v1");
        let (parent, name) = at.rsplit_once('/').unwrap();
        input.pointer_mut(parent).unwrap()[name] = value;
        app.account
            .refused(
                "apprunner:CreateService",
                input,
                "InvalidRequestException",
                says,
            )
            .await;
    }
    // Written as people write it, and kept as the vendor does.
    let mut input = app.service("v1");
    input["InstanceConfiguration"] =
        json!({"InstanceRoleArn": ROLE, "Cpu": "0.25 vCPU", "Memory": "0.5 GB"});
    let made = app.account.ok("apprunner:CreateService", input).await;
    let instance = &made["Service"]["InstanceConfiguration"];
    assert_eq!(
        (&instance["Cpu"], &instance["Memory"]),
        (&json!("256"), &json!("512"))
    );
    let short = json!({"ServiceName": "abc", "SourceConfiguration": {}});
    app.account
        .refused(
            "apprunner:CreateService",
            short,
            "ValidationException",
            "serviceName",
        )
        .await;
    let tag = json!({
        "ResourceArn": made["Service"]["ServiceArn"], "Tags": [{"Key": "aws:x", "Value": ""}],
    });
    app.account
        .refused("apprunner:TagResource", tag, "ValidationException", "key")
        .await;
    let mut parameter = app.service("v1");
    parameter["ServiceName"] = json!("other");
    let image = &mut parameter["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
    image["RuntimeEnvironmentSecrets"] = json!({"NAME": "parameter-name"});
    app.account
        .refused(
            "apprunner:CreateService",
            parameter,
            "UnsupportedFeatureException",
            "Systems Manager",
        )
        .await;
    let unknown = json!({"ServiceArn": "arn:aws:apprunner:us-east-1:123456789012:service/x/y"});
    app.account
        .refused(
            "apprunner:DescribeService",
            unknown,
            "ResourceNotFoundException",
            "not found",
        )
        .await;
    app.account.close().await;
}

#[tokio::test]
async fn an_instance_that_ends_is_replaced() {
    let app = App::new().await;
    let arn = app.create("v1").await;
    let service = app.settled(&arn).await;
    let instances = || {
        let status = app.account.sandbox.status();
        status["aws"]["status"]["apprunner"][0]["instances"].clone()
    };
    let (before, status) = (instances(), app.account.sandbox.status());
    let pid = status["containers"][0]["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let began = std::time::Instant::now();
    while instances() == before || instances() == json!([]) {
        assert!(began.elapsed().as_secs() < 30, "{}", instances());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(app.served(&service).await, "from the secret");
    assert_eq!(app.operations(&arn).await, ["CREATE_SERVICE SUCCEEDED"]);
    app.account.close().await;
}

#[tokio::test]
async fn requests_are_answered_throughout_an_update() {
    let app = App::new().await;
    let arn = app.create("v1").await;
    let service = app.settled(&arn).await;
    let mut source = app.source("v1");
    let image = &mut source["ImageRepository"]["ImageConfiguration"];
    *image = json!({"RuntimeEnvironmentVariables": {"NAME": "second"}});
    let update = json!({"ServiceArn": arn, "SourceConfiguration": source});
    app.account.ok("apprunner:UpdateService", update).await;
    // A connection of its own for each: one that is kept stays with its instance until that ends.
    let http = reqwest::Client::builder();
    let http = http.no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let url = format!("http://{}/", service["ServiceUrl"].as_str().unwrap());
    let mut answers = Vec::new();
    while answers.last().is_none_or(|it| it != "second") {
        let answer = http.get(&url).send().await.unwrap();
        answers.push(answer.text().await.unwrap());
        assert!(answers.len() < 100_000, "{:?}", answers.last());
    }
    answers.dedup();
    assert_eq!(answers, ["from the secret", "second"]);
    // What the request does not name any more is gone.
    let service = app.settled(&arn).await;
    let image = &service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
    assert_eq!(image["RuntimeEnvironmentSecrets"], Value::Null);
    app.account.close().await;
}
