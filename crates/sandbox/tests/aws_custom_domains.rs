//! Custom domains of App Runner: certificates that are proven by records in Route 53.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use aws_support::{Account, REGISTRY};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/app";

/// A service that runs, and a zone.
struct App {
    account: Account,
    dns: Client,
    zone: String,
    arn: String,
}

impl App {
    async fn new() -> Self {
        let account = Account::open().await;
        let repository = json!({"repositoryName": "app"});
        account.ok("ecr:CreateRepository", repository).await;
        account.push("app", "v1", &["listen", "0.0.0.0"]).await;
        let caller = &account.caller;
        let keys = Credentials::new(&caller.key, &caller.secret, None, None, "test");
        let config = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&account.sandbox.aws_url)
            .region(Region::new(caller.region.clone()))
            .credentials_provider(keys);
        let dns = Client::from_conf(config.build());
        let zone = dns
            .create_hosted_zone()
            .name("example.com")
            .caller_reference("one");
        let zone = zone.send().await.unwrap().hosted_zone.unwrap().id;
        let arn = service(&account, "web-app").await;
        Self {
            account,
            dns,
            zone,
            arn,
        }
    }

    async fn associate(&self, domain: &str, www: bool) -> Value {
        let input = json!({
            "ServiceArn": self.arn, "DomainName": domain, "EnableWWWSubdomain": www,
        });
        self.account
            .ok("apprunner:AssociateCustomDomain", input)
            .await
    }

    async fn refused(&self, operation: &str, input: Value) -> String {
        let action = format!("apprunner:{operation}");
        let caller = &self.account.caller;
        let (status, answer) = self.account.call_as(caller, &action, input).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["__type"], "InvalidRequestException", "{answer}");
        let said = answer["message"].as_str().or(answer["Message"].as_str());
        said.unwrap().to_owned()
    }

    /// Waits until the domain has this status, and returns it.
    async fn until(&self, domain: &str, status: &str) -> Value {
        let input = json!({ "ServiceArn": self.arn });
        let of = |answer: &Value| -> Option<Value> {
            let all = answer["CustomDomains"].as_array().unwrap().iter();
            let mut own = all.filter(|it| it["DomainName"] == domain);
            own.next().cloned()
        };
        let has = |answer: &Value| of(answer).is_some_and(|it| it["Status"] == status);
        let answer = self
            .account
            .until("apprunner:DescribeCustomDomains", input, has)
            .await;
        of(&answer).unwrap()
    }

    /// Writes the records that a domain asks for.
    async fn prove(&self, domain: &Value, but: usize) {
        let records = domain["CertificateValidationRecords"].as_array().unwrap();
        let mut batch = ChangeBatch::builder();
        for record in records.iter().skip(but) {
            let value = ResourceRecord::builder().value(record["Value"].as_str().unwrap());
            let set = ResourceRecordSet::builder()
                .name(record["Name"].as_str().unwrap())
                .r#type(RrType::Cname)
                .ttl(60)
                .resource_records(value.build().unwrap())
                .build()
                .unwrap();
            let change = Change::builder()
                .action(ChangeAction::Upsert)
                .resource_record_set(set);
            batch = batch.changes(change.build().unwrap());
        }
        let change = self
            .dns
            .change_resource_record_sets()
            .hosted_zone_id(&self.zone)
            .change_batch(batch.build().unwrap());
        change.send().await.unwrap();
    }
}

async fn service(account: &Account, name: &str) -> String {
    let input = json!({
        "ServiceName": name,
        "SourceConfiguration": {
            "AuthenticationConfiguration": {"AccessRoleArn": ROLE},
            "AutoDeploymentsEnabled": false,
            "ImageRepository": {
                "ImageIdentifier": format!("{REGISTRY}/app:v1"), "ImageRepositoryType": "ECR",
            },
        },
    });
    let made = account.ok("apprunner:CreateService", input).await;
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    let idle = |answer: &Value| answer["Service"]["Status"] == "RUNNING";
    let asked = json!({ "ServiceArn": arn });
    account
        .until("apprunner:DescribeService", asked, idle)
        .await;
    arn
}

#[tokio::test]
async fn a_domain_is_served_once_every_record_is_seen_and_only_then() {
    let app = App::new().await;
    let begun = app.associate("Example.com", true).await;
    assert_eq!(begun["CustomDomain"]["Status"], "creating");
    assert!(
        begun["CustomDomain"]
            .get("CertificateValidationRecords")
            .is_none()
    );
    let target = begun["DNSTarget"].as_str().unwrap();
    assert!(target.ends_with(".us-east-1.awsapprunner.com"), "{target}");

    let pending = app
        .until("example.com", "pending_certificate_dns_validation")
        .await;
    assert_eq!(
        pending["CertificateValidationRecords"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    app.prove(&pending, 1).await;
    // Ten minutes of the cloud's time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let still = app
        .until("example.com", "pending_certificate_dns_validation")
        .await;
    let statuses = still["CertificateValidationRecords"]
        .as_array()
        .unwrap()
        .iter();
    let statuses: Vec<&str> = statuses.map(|it| it["Status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["PENDING_VALIDATION", "SUCCESS", "SUCCESS"]);
    app.prove(&still, 0).await;
    app.until("example.com", "active").await;

    let gone = json!({ "ServiceArn": app.arn, "DomainName": "example.com" });
    let going = app
        .account
        .ok("apprunner:DisassociateCustomDomain", gone.clone())
        .await;
    // Not yet: it says that it is deleted a moment later.
    assert_eq!(going["CustomDomain"]["Status"], "active");
    let none = |answer: &Value| answer["CustomDomains"] == json!([]);
    let asked = json!({ "ServiceArn": app.arn });
    app.account
        .until("apprunner:DescribeCustomDomains", asked, none)
        .await;
    let again = app.refused("DisassociateCustomDomain", gone).await;
    assert_eq!(
        again,
        "No custom domain example.com found for the provided service"
    );
    app.account.close().await;
}

#[tokio::test]
async fn a_name_is_of_one_service_and_a_service_has_five_domains() {
    let app = App::new().await;
    let other = service(&app.account, "other-app").await;
    app.associate("example.com", true).await;
    for (arn, name) in [(&other, "www.example.com"), (&app.arn, "example.com")] {
        let input = json!({ "ServiceArn": arn, "DomainName": name, "EnableWWWSubdomain": false });
        let words = app.refused("AssociateCustomDomain", input).await;
        assert!(
            words.starts_with(&format!("{name} is already associated with")),
            "{words}"
        );
    }
    for number in 1..5 {
        app.associate(&format!("a{number}.example.com"), false)
            .await;
    }
    let sixth = json!({ "ServiceArn": app.arn, "DomainName": "a6.example.com" });
    app.refused("AssociateCustomDomain", sixth).await;
    let wild = json!({ "ServiceArn": other, "DomainName": "*.example.com" });
    app.refused("AssociateCustomDomain", wild).await;
    app.account.close().await;
}

#[tokio::test]
async fn no_certificate_is_issued_against_a_caa_record() {
    let app = App::new().await;
    let caa = ResourceRecord::builder().value("0 issue \"letsencrypt.org\"");
    let set = ResourceRecordSet::builder()
        .name("closed.example.com")
        .r#type(RrType::Caa)
        .ttl(60)
        .resource_records(caa.build().unwrap())
        .build()
        .unwrap();
    let change = Change::builder()
        .action(ChangeAction::Create)
        .resource_record_set(set);
    let batch = ChangeBatch::builder().changes(change.build().unwrap());
    let change = app
        .dns
        .change_resource_record_sets()
        .hosted_zone_id(&app.zone);
    let change = change
        .change_batch(batch.build().unwrap())
        .send()
        .await
        .unwrap();
    let id = change.change_info.unwrap().id;
    loop {
        let info = app.dns.get_change().id(&id).send().await.unwrap();
        if info.change_info.unwrap().status.as_str() == "INSYNC" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.associate("a.closed.example.com", false).await;
    app.until("a.closed.example.com", "create_failed").await;
    app.account.close().await;
}
