//! ECS behind load balancers of moto: target groups say how tasks are checked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::{Account, REGISTRY};
use deployer_sandbox::Moto;
use serde_json::{Value, json};

/// What stands between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no `{start}` in {text}"))
        .1;
    rest.split_once(end).unwrap().0
}

/// An account with the guest program in a repository. `None`, and said, when there is no moto.
async fn account() -> Option<Account> {
    let account = Account::open_with(Moto::Auto).await;
    if account.sandbox.status()["moto"].is_null() {
        println!("skipped, moto_server is not installed");
        account.close().await;
        return None;
    }
    account
        .ok("ecr:CreateRepository", json!({"repositoryName": "app"}))
        .await;
    account.push("app", "v1", &["listen", "0.0.0.0"]).await;
    Some(account)
}

/// A query-protocol call that moto answers.
async fn query(account: &Account, service: &str, version: &str, form: &str) -> String {
    let headers = [(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    let body = format!("Version={version}&{form}");
    let (status, answer) = account.send(&account.caller, service, &headers, body).await;
    assert_eq!(status, 200, "{form}: {answer}");
    answer
}

async fn ec2(account: &Account, form: &str) -> String {
    query(account, "ec2", "2016-11-15", form).await
}

async fn elb(account: &Account, form: &str) -> String {
    query(account, "elasticloadbalancing", "2015-12-01", form).await
}

/// Makes a target group of a kind. Returns its ARN.
async fn target_group(account: &Account, name: &str, kind: &str) -> String {
    let vpcs = ec2(account, "Action=DescribeVpcs").await;
    let vpc = between(&vpcs, "<vpcId>", "<");
    let form = format!(
        "Action=CreateTargetGroup&Name={name}&Protocol=HTTP&Port=80&VpcId={vpc}&TargetType={kind}\
         &HealthCheckPath=%2Fhealth%3Fdeep%3D1%26a%3Db&HealthCheckIntervalSeconds=5&HealthCheckTimeoutSeconds=2"
    );
    let made = elb(account, &form).await;
    between(&made, "<TargetGroupArn>", "<").to_owned()
}

/// Puts a load balancer in front of a target group.
async fn balance(account: &Account, name: &str, group: &str) {
    let subnets = ec2(account, "Action=DescribeSubnets").await;
    let mut subnets = subnets
        .split("<subnetId>")
        .skip(1)
        .map(|it| it.split('<').next().unwrap());
    let (a, b) = (subnets.next().unwrap(), subnets.next().unwrap());
    let form =
        format!("Action=CreateLoadBalancer&Name={name}&Subnets.member.1={a}&Subnets.member.2={b}");
    let made = elb(account, &form).await;
    let balancer = between(&made, "<LoadBalancerArn>", "<");
    let form = format!(
        "Action=CreateListener&LoadBalancerArn={balancer}&Protocol=HTTP&Port=80\
         &DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={group}"
    );
    elb(account, &form).await;
}

/// Registers a definition whose server answers with a status. Returns its ARN.
async fn define(account: &Account, status: &str) -> String {
    let container = json!({
        "name": "app", "image": format!("{REGISTRY}/app:v1"), "portMappings": [{"containerPort": 8080}],
        "environment": [{"name": "NAME", "value": status}, {"name": "STATUS", "value": status}],
    });
    let input = json!({
        "family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution", "containerDefinitions": [container],
    });
    let registered = account.ok("ecs:RegisterTaskDefinition", input).await;
    registered["taskDefinition"]["taskDefinitionArn"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn service(definition: &str, group: &str) -> Value {
    let vpc = json!({"subnets": ["subnet-1"], "securityGroups": ["sg-1"]});
    json!({
        "serviceName": "web", "taskDefinition": definition, "desiredCount": 1, "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": vpc},
        "loadBalancers": [{"targetGroupArn": group, "containerName": "app", "containerPort": 8080}],
        "healthCheckGracePeriodSeconds": 60,
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
    })
}

#[tokio::test]
async fn a_version_that_its_load_balancer_finds_unhealthy_is_rolled_back() {
    let Some(account) = account().await else {
        return;
    };
    let group = target_group(&account, "web", "ip").await;
    balance(&account, "front", &group).await;
    let good = define(&account, "200 OK").await;
    account
        .ok("ecs:CreateService", service(&good, &group))
        .await;
    let described = json!({"services": ["web"]});
    let settled = |answer: &Value| {
        let deployments = answer["services"][0]["deployments"].as_array().unwrap();
        deployments.len() == 1 && deployments[0]["rolloutState"] == "COMPLETED"
    };
    account
        .until("ecs:DescribeServices", described.clone(), settled)
        .await;
    let bad = define(&account, "500 Internal Server Error").await;
    account
        .ok(
            "ecs:UpdateService",
            json!({"service": "web", "taskDefinition": bad}),
        )
        .await;
    let rolled_back =
        |answer: &Value| settled(answer) && answer["services"][0]["taskDefinition"] == good;
    let answer = account
        .until("ecs:DescribeServices", described, rolled_back)
        .await;
    let events = answer["services"][0]["events"].to_string();
    let why = format!(
        "(service web) (port 8080) is unhealthy in (target-group {group}) due to (reason Health checks failed with \
         these codes: [500])."
    );
    assert!(events.contains(&why), "{events}");
    let stopped = json!({"desiredStatus": "STOPPED", "serviceName": "web"});
    let tasks = account.ok("ecs:ListTasks", stopped).await["taskArns"].clone();
    let tasks = account
        .ok("ecs:DescribeTasks", json!({"tasks": tasks}))
        .await["tasks"]
        .clone();
    let reason = format!("Task failed ELB health checks in (target-group {group})");
    let failed = tasks
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| task["stoppedReason"] == reason.as_str());
    assert!(failed.count() >= 3, "{tasks}");
    let status = account.sandbox.status();
    let url = status["aws"]["status"]["services"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let served = account.http.get(url).send().await.unwrap();
    assert_eq!(served.text().await.unwrap(), "200 OK");
    account.close().await;
}

#[tokio::test]
async fn a_target_group_that_cannot_send_requests_to_tasks_is_refused() {
    let Some(account) = account().await else {
        return;
    };
    let definition = define(&account, "200 OK").await;
    let refused = async |group: &str, says: &str| {
        let input = service(&definition, group);
        account
            .refused(
                "ecs:CreateService",
                input,
                "InvalidParameterException",
                says,
            )
            .await;
    };
    let absent =
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/no/0123456789abcdef";
    refused(absent, "does not exist").await;
    let alone = target_group(&account, "alone", "ip").await;
    refused(&alone, "does not have an associated load balancer.").await;
    let instances = target_group(&account, "instances", "instance").await;
    balance(&account, "front", &instances).await;
    refused(&instances, "incompatible with the awsvpc network mode").await;
    account.close().await;
}
