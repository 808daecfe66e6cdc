//! Route 53 by the vendor's own client, and the name server that answers for its zones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord,
    ResourceRecordSet, RrType,
};
use aws_support::Account;
use deployer_sandbox::{Moto, Options};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

/// The zone that App Runner's names in us-east-1 are in.
const APP_RUNNER: &str = "Z01915732ZBZKC8D32TPT";

fn client(account: &Account) -> Client {
    let caller = &account.caller;
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&account.sandbox.aws_url)
        .region(Region::new(caller.region.clone()))
        .credentials_provider(Credentials::new(
            &caller.key,
            &caller.secret,
            None,
            None,
            "test",
        ));
    Client::from_conf(config.build())
}

/// Makes a public zone. Returns its id.
async fn zone(client: &Client, name: &str, reference: &str) -> String {
    let made = client
        .create_hosted_zone()
        .name(name)
        .caller_reference(reference)
        .send()
        .await
        .unwrap();
    assert!(made.location().contains("/hostedzone/Z"));
    assert_eq!(made.delegation_set().unwrap().name_servers().len(), 4);
    let id = made.hosted_zone().unwrap().id();
    id.strip_prefix("/hostedzone/").unwrap().to_owned()
}

fn set(name: &str, kind: RrType, values: &[&str]) -> ResourceRecordSet {
    let records = values.iter().map(|value| {
        let record = ResourceRecord::builder().value(*value);
        record.build().unwrap()
    });
    ResourceRecordSet::builder()
        .name(name)
        .r#type(kind)
        .ttl(60)
        .set_resource_records(Some(records.collect()))
        .build()
        .unwrap()
}

fn alias(name: &str, zone: &str, target: &str) -> ResourceRecordSet {
    let alias = AliasTarget::builder()
        .hosted_zone_id(zone)
        .dns_name(target)
        .evaluate_target_health(false)
        .build()
        .unwrap();
    ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::A)
        .alias_target(alias)
        .build()
        .unwrap()
}

/// Makes the changes in one batch: the change's id, or code and words of the refusal.
async fn change(
    client: &Client,
    zone: &str,
    changes: Vec<(ChangeAction, ResourceRecordSet)>,
) -> Result<String, (String, String)> {
    let mut batch = ChangeBatch::builder();
    for (action, set) in changes {
        let change = Change::builder().action(action).resource_record_set(set);
        batch = batch.changes(change.build().unwrap());
    }
    let answer = client
        .change_resource_record_sets()
        .hosted_zone_id(zone)
        .change_batch(batch.build().unwrap())
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(answer.change_info().unwrap().id().to_owned()),
        Err(error) => Err((
            error.code().unwrap().to_owned(),
            error.message().unwrap().to_owned(),
        )),
    }
}

/// The words of a refused batch.
async fn refused(
    client: &Client,
    zone: &str,
    changes: Vec<(ChangeAction, ResourceRecordSet)>,
) -> String {
    let (code, message) = change(client, zone, changes).await.unwrap_err();
    assert_eq!(code, "InvalidChangeBatch");
    message
}

async fn in_sync(client: &Client, change: &str) {
    for _ in 0..400 {
        let answer = client.get_change().id(change).send().await.unwrap();
        if *answer.change_info().unwrap().status() == ChangeStatus::Insync {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the change stays pending");
}

/// What the name server answers.
async fn answers(account: &Account, name: &str, kind: RecordType) -> Vec<String> {
    let status = account.sandbox.status();
    let server = status["aws"]["status"]["dns"]["name_server"].as_str();
    let server = server.unwrap_or_else(|| panic!("{status:#}")).to_owned();
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let question = question.to_vec().unwrap();
    socket.send_to(&question, server).await.unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await.unwrap();
    let message = Message::from_vec(&buffer[..length]).unwrap();
    let answers = message.answers.iter();
    answers.map(|it| it.data.to_string()).collect()
}

async fn names(client: &Client, zone: &str) -> Vec<(String, String)> {
    let listed = client.list_resource_record_sets().hosted_zone_id(zone);
    let listed = listed.send().await.unwrap();
    let sets = listed.resource_record_sets().iter();
    sets.map(|set| (set.name().to_owned(), set.r#type().as_str().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_batch_is_made_as_a_whole_and_served_once_it_is_in_sync() {
    // Slow enough that something can be seen before it is served.
    let folder = tempfile::tempdir().unwrap();
    let account = Account::of(Options {
        speed: 15.0,
        moto: Moto::Off,
        ..Options::new(folder.path().join("state"))
    })
    .await;
    let client = client(&account);
    let id = zone(&client, "Example.com", "one").await;
    let made = change(
        &client,
        &id,
        vec![
            (
                ChangeAction::Create,
                set("www.example.com", RrType::Cname, &["example.com"]),
            ),
            (
                ChangeAction::Create,
                set("*.wild.example.com.", RrType::Txt, &["\"a & b\""]),
            ),
            (
                ChangeAction::Upsert,
                alias("example.com", APP_RUNNER, "abc.us-east-1.awsapprunner.com"),
            ),
        ],
    )
    .await
    .unwrap();
    let info = client.get_change().id(&made).send().await.unwrap();
    assert_eq!(*info.change_info().unwrap().status(), ChangeStatus::Pending);
    assert_eq!(
        answers(&account, "www.example.com.", RecordType::CNAME).await,
        [""; 0]
    );
    in_sync(&client, &made).await;
    assert_eq!(
        answers(&account, "www.example.com.", RecordType::A).await,
        ["example.com.", "127.0.0.1"]
    );
    assert_eq!(
        answers(&account, "x.wild.example.com.", RecordType::TXT).await,
        ["a & b"]
    );
    assert_eq!(
        names(&client, &id).await,
        [
            ("example.com.", "A"),
            ("example.com.", "NS"),
            ("example.com.", "SOA"),
            ("\\052.wild.example.com.", "TXT"),
            ("www.example.com.", "CNAME"),
        ]
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    );
    account.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_in_the_vendors_words_and_changes_nothing() {
    let account = Account::open().await;
    let client = client(&account);
    let id = zone(&client, "example.com", "one").await;
    let a = |value: &str| set("a.example.com", RrType::A, &[value]);
    change(&client, &id, vec![(ChangeAction::Create, a("192.0.2.1"))])
        .await
        .unwrap();
    let before = names(&client, &id).await;
    let record = "resource record set [name='a.example.com.', type='A']";
    let cname = |name: &str| set(name, RrType::Cname, &["b.example.net"]);
    let cases = [
        (
            vec![(ChangeAction::Create, a("192.0.2.2"))],
            format!("[Tried to create {record} but it already exists]"),
        ),
        (
            vec![(ChangeAction::Delete, a("192.0.2.2"))],
            format!("[Tried to delete {record} but the values provided do not match the current values]"),
        ),
        (
            vec![
                (ChangeAction::Delete, a("192.0.2.1")),
                (ChangeAction::Delete, a("192.0.2.1")),
            ],
            format!("[Tried to delete {record} but it was not found]"),
        ),
        (
            vec![(ChangeAction::Upsert, cname("example.com"))],
            "[RRSet of type CNAME with DNS name example.com. is not permitted at apex in zone example.com.]".to_owned(),
        ),
        (
            vec![
                (ChangeAction::Create, set("b.example.com", RrType::A, &["192.0.2.9"])),
                (ChangeAction::Create, cname("a.example.com")),
            ],
            "[RRSet of type CNAME with DNS name a.example.com. is not permitted as it conflicts with other records with the same DNS name in zone example.com.]".to_owned(),
        ),
        (
            vec![(ChangeAction::Create, a("192.0.2.256"))],
            format!(
                "[Tried to create {record} but it already exists, Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address) encountered with '192.0.2.256'']"
            ),
        ),
        (
            vec![(ChangeAction::Create, cname("a.example.org"))],
            "[RRSet with DNS name a.example.org. is not permitted in zone example.com.]".to_owned(),
        ),
        (
            vec![(
                ChangeAction::Create,
                alias("www.example.com", APP_RUNNER, "abc.eu-west-1.awsapprunner.com"),
            )],
            format!(
                "[Tried to create an alias that targets abc.eu-west-1.awsapprunner.com., type A in zone {APP_RUNNER}, but the alias target name does not lie within the target zone, Tried to create an alias that targets abc.eu-west-1.awsapprunner.com., type A in zone {APP_RUNNER}, but that target was not found]"
            ),
        ),
    ];
    for (changes, words) in cases {
        assert_eq!(refused(&client, &id, changes).await, words);
    }
    assert_eq!(names(&client, &id).await, before);
    // In one batch the CNAME may take the other record's place, when that goes first.
    let turned = vec![
        (ChangeAction::Delete, a("192.0.2.1")),
        (ChangeAction::Create, cname("a.example.com")),
    ];
    change(&client, &id, turned).await.unwrap();
    account.close().await;
}

#[tokio::test]
async fn zones_are_listed_by_name_and_deleted_when_nothing_else_is_in_them() {
    let account = Account::open().await;
    let client = client(&account);
    let first = zone(&client, "example.com", "one").await;
    let second = zone(&client, "example.com", "two").await;
    zone(&client, "b.example.com", "three").await;
    zone(&client, "example.org", "four").await;
    let again = client
        .create_hosted_zone()
        .name("example.net")
        .caller_reference("one");
    let again = again.send().await.unwrap_err();
    assert_eq!(again.code(), Some("HostedZoneAlreadyExists"));

    let listed = client.list_hosted_zones_by_name().dns_name("example.com");
    let listed = listed.send().await.unwrap();
    let mut ids = vec![
        format!("/hostedzone/{first}"),
        format!("/hostedzone/{second}"),
    ];
    ids.sort();
    let zones = listed.hosted_zones();
    assert_eq!(zones[..2].iter().map(|it| it.id()).collect::<Vec<_>>(), ids);
    assert_eq!(zones[2].name(), "b.example.com.");
    assert_eq!(zones[3].name(), "example.org.");

    let mut found = Vec::new();
    let mut marker = None;
    loop {
        let page = client.list_hosted_zones().max_items(3).set_marker(marker);
        let page = page.send().await.unwrap();
        found.extend(page.hosted_zones().iter().map(|it| it.id().to_owned()));
        marker = page.next_marker().map(str::to_owned);
        if !page.is_truncated() {
            break;
        }
    }
    assert_eq!(found.len(), 4);

    let a = || set("a.example.com", RrType::A, &["192.0.2.1"]);
    change(&client, &first, vec![(ChangeAction::Create, a())])
        .await
        .unwrap();
    let full = client.delete_hosted_zone().id(&first).send().await;
    assert_eq!(full.unwrap_err().code(), Some("HostedZoneNotEmpty"));
    change(&client, &first, vec![(ChangeAction::Delete, a())])
        .await
        .unwrap();
    client.delete_hosted_zone().id(&first).send().await.unwrap();
    let gone = client.get_hosted_zone().id(&first).send().await;
    assert_eq!(gone.unwrap_err().code(), Some("NoSuchHostedZone"));
    account.close().await;
}

#[tokio::test]
async fn a_record_of_a_private_zone_or_of_a_second_one_of_the_name_is_told_to_nobody() {
    let account = Account::open().await;
    let client = client(&account);
    zone(&client, "example.com", "delegated").await;
    let second = zone(&client, "example.com", "stray").await;
    let a = set("a.example.com", RrType::A, &["192.0.2.1"]);
    let made = change(&client, &second, vec![(ChangeAction::Create, a)]).await;
    in_sync(&client, &made.unwrap()).await;
    assert_eq!(
        answers(&account, "a.example.com.", RecordType::A).await,
        [""; 0]
    );
    account.close().await;
}
