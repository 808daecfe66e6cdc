//! Domains that App Runner answers for: one apply from nothing to a served name, and what may be in
//! its way.

use std::time::Duration;

use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use deployer::Exit;

use crate::app_runner;
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, run, says};

crate::tests! {
    a_domain_with_its_www_is_served_after_one_apply_from_nothing => life,
    a_domain_leaves_with_its_records_and_nothing_else_does => removed,
    a_domain_whose_www_is_added_later_gets_all_of_its_records => www_later,
    a_domain_that_another_service_has_is_told => taken,
    a_domain_moves_to_another_service_in_two_applies_as_the_plan_says => moved,
    a_zone_that_is_not_there_or_there_twice_is_told => no_zone,
    a_validation_that_stays_pending_tells_what_is_not_seen => never_seen,
    a_domain_without_a_certificate_is_told_and_made_anew => no_certificate,
    a_record_of_another_hand_stays_unless_it_is_adopted => foreign,
    a_record_that_another_hand_changed_is_drift => drift,
    a_run_that_is_killed_at_any_moment_is_ended_by_the_next => killed,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const OVERLAY: &str = "deployer.test.toml";
const SERVICE: &str = "swept-test-idp";
const BOTH: &str = "domains = [\"example.com\", \"www.example.com\"]";

/// The manifest with these lines in the service's table.
fn want(stage: &Stage, lines: &str) {
    app_runner::want(stage, &Wanted::FIRST);
    stage.want_no_migration();
    let table = format!("[targets.aws.services.idp]\n{lines}\n");
    stage.file(OVERLAY, &table);
}

/// One domain, in an overlay.
pub const ONE: &str = "[targets.aws.services.idp]\ndomains = [\"example.com\"]\n";

/// Has the service answer for one domain of a zone that is there.
pub async fn want_one(stage: &Stage) {
    zone(stage, "example.com", stage.environment()).await;
    stage.file(&format!("deployer.{}.toml", stage.environment()), ONE);
}

async fn dns(stage: &Stage) -> aws_sdk_route53::Client {
    aws_sdk_route53::Client::new(&stage.aws().await)
}

/// Makes a zone. Returns its id.
pub async fn zone(stage: &Stage, name: &str, reference: &str) -> String {
    let call = dns(stage).await.create_hosted_zone();
    let made = call.name(name).caller_reference(reference).send().await;
    let id = made.expect("a zone").hosted_zone.expect("a zone").id;
    id.trim_start_matches("/hostedzone/").to_owned()
}

/// The records of a zone that it does not have from the start: name, type, where they lead.
pub async fn records(stage: &Stage, zone: &str) -> Vec<(String, String, String)> {
    let call = dns(stage).await.list_resource_record_sets();
    let listed = call.hosted_zone_id(zone).send().await.expect("records");
    let sets = listed.resource_record_sets.into_iter();
    let own = sets.filter(|set| !matches!(set.r#type(), RrType::Ns | RrType::Soa));
    own.map(|set| {
        let alias = set.alias_target().map(|it| it.dns_name().to_owned());
        let value = set
            .resource_records()
            .first()
            .map(|it| it.value().to_owned());
        let leads_to = alias.or(value).unwrap_or_default();
        (set.name, set.r#type.as_str().to_owned(), leads_to)
    })
    .collect()
}

/// Changes one record by another hand.
pub async fn by_hand(stage: &Stage, zone: &str, (name, kind, value): (&str, RrType, &str)) {
    let record = ResourceRecord::builder()
        .value(value)
        .build()
        .expect("a value");
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(kind)
        .ttl(60)
        .resource_records(record)
        .build()
        .expect("a record");
    let change = Change::builder()
        .action(ChangeAction::Upsert)
        .resource_record_set(set);
    let batch = ChangeBatch::builder().changes(change.build().expect("a change"));
    let call = dns(stage).await.change_resource_record_sets();
    let call = call.hosted_zone_id(zone);
    let batch = batch.build().expect("a batch");
    call.change_batch(batch)
        .send()
        .await
        .expect("it is changed");
}

async fn arn(stage: &Stage, name: &str) -> Option<String> {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let listed = client.list_services().send().await.expect("services");
    let mut listed = listed.service_summary_list.into_iter();
    listed
        .find(|it| it.service_name() == Some(name))?
        .service_arn
}

/// The domains of the service with their status.
async fn domains(stage: &Stage) -> Vec<(String, bool, String)> {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let Some(arn) = arn(stage, SERVICE).await else {
        return Vec::new();
    };
    let told = client
        .describe_custom_domains()
        .service_arn(arn)
        .send()
        .await;
    let told = told.expect("domains").custom_domains;
    told.into_iter()
        .map(|it| {
            let status = it.status.as_str().to_owned();
            (it.domain_name, it.enable_www_subdomain, status)
        })
        .collect()
}

fn served() -> Vec<(String, bool, String)> {
    vec![("example.com".to_owned(), true, "active".to_owned())]
}

/// Every name and type of what is in the zone, beside what it has from the start.
async fn assert_recorded(stage: &Stage, zone: &str) {
    let all = records(stage, zone).await;
    let of = |kind: &str| -> Vec<(String, String)> {
        let own = all.iter().filter(|(_, it, _)| it == kind);
        own.map(|(name, _, to)| (name.clone(), to.clone()))
            .collect()
    };
    let aliases = of("A");
    let names: Vec<&str> = aliases.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["example.com.", "www.example.com."], "{all:?}");
    let lead_in = |to: &String| to.ends_with(".us-east-1.awsapprunner.com.");
    assert!(aliases.iter().all(|(_, to)| lead_in(to)), "{all:?}");
    let proofs = of("CNAME");
    assert_eq!(proofs.len(), 3, "{all:?}");
    let proves = |to: &String| to.ends_with(".acm-validations.aws.");
    assert!(proofs.iter().all(|(_, to)| proves(to)), "{all:?}");
}

async fn assert_settled(stage: &Stage) {
    let said = run(stage, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

async fn life(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    want(stage, BOTH);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(
        &said,
        &[
            "app_runner.custom_domain",
            "route53.validation",
            "example.com",
        ],
    );
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    // People come by the first of them.
    says(&said, &["https://example.com"]);
    assert_eq!(domains(stage).await, served());
    assert_recorded(stage, &zone).await;
    assert_settled(stage).await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(records(stage, &zone).await, []);
    assert_eq!(domains(stage).await, []);
}

async fn removed(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    by_hand(stage, &zone, ("example.com", RrType::Txt, "\"theirs\"")).await;
    want(stage, BOTH);
    run(stage, APPLY, "aws", Exit::Success).await;
    // Without its `www` it is another association.
    want(stage, "domains = [\"example.com\"]");
    run(stage, APPLY, "aws", Exit::Success).await;
    let one = vec![("example.com".to_owned(), false, "active".to_owned())];
    assert_eq!(domains(stage).await, one);
    assert_settled(stage).await;
    want(stage, "");
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let left = records(stage, &zone).await;
    let theirs = ("example.com.", "TXT", "\"theirs\"");
    let left: Vec<_> = left
        .iter()
        .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
        .collect();
    assert_eq!(left, [theirs]);
    assert_eq!(domains(stage).await, []);
    // What leads there goes before what it leads to.
    let writes = stage.calls.writes();
    let last = writes.last().map(String::as_str);
    assert_eq!(
        last,
        Some("apprunner:DisassociateCustomDomain"),
        "{writes:?}"
    );
    assert_settled(stage).await;
}

/// Associated anew it is active at once, before App Runner tells all of its records.
async fn www_later(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    want(stage, "domains = [\"example.com\"]");
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(records(stage, &zone).await.len(), 3);
    want(stage, BOTH);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["app_runner.custom_domain", "www"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
    assert_recorded(stage, &zone).await;
    assert_settled(stage).await;
}

async fn taken(stage: &Stage) {
    zone(stage, "example.com", "one").await;
    let other = stage.beside("other");
    app_runner::want(&other, &Wanted::FIRST);
    other.want_no_migration();
    let table = format!("[targets.aws.services.idp]\n{BOTH}\n");
    other.file("deployer.other.toml", &table);
    run(&other, APPLY, "aws", Exit::Success).await;
    want(stage, BOTH);
    // A name of another owner in the zone is found before anything is made.
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &["example.com", "is not ours"]);
    want(stage, &format!("{BOTH}\nadopt_records = true"));
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(
        &said,
        &[
            "`example.com` is associated with another App Runner service",
            "is already associated with",
            "disassociate-custom-domain",
        ],
    );
    run(&other, DESTROY, "aws", Exit::Success).await;
    other.clear().await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
}

/// Within one environment, where both services are ours.
async fn moved(stage: &Stage) {
    zone(stage, "example.com", "one").await;
    let two = Wanted {
        more_services: 1,
        ..Wanted::FIRST
    };
    let want_at = |service: Option<&str>| {
        app_runner::want(stage, &two);
        stage.want_no_migration();
        stage.edit(|manifest| {
            let own = "health = { path = \"/\", command = [\"CMD\", \"/app\"] }";
            manifest.replace(own, "health = \"/\"")
        });
        let table = service.map(|it| format!("[targets.aws.services.{it}]\n{BOTH}\n"));
        stage.file(OVERLAY, &table.unwrap_or_default());
    };
    want_at(Some("idp"));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
    want_at(Some("s1"));
    stage.calls.arm(None);
    for words in [PLAN, APPLY] {
        let said = run(stage, words, "aws", Exit::Input).await;
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        says(
            &words,
            &[
                "`example.com` is still associated with service `swept-test-idp`",
                "in two applies",
            ],
        );
    }
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    want_at(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    want_at(Some("s1"));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, []);
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn no_zone(stage: &Stage) {
    want(stage, BOTH);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(
        &said,
        &[
            "there is no public hosted zone that `example.com` is in",
            "create-hosted-zone",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    zone(stage, "example.com", "one").await;
    let second = zone(stage, "example.com", "two").await;
    let said = run(stage, APPLY, "aws", Exit::Input).await;
    says(
        &said,
        &[
            "there are several public hosted zones `example.com`",
            &second,
        ],
    );
    let named = format!("{BOTH}\nzone = \"example.org\"");
    want(stage, &named);
    let said = run(stage, PLAN, "aws", Exit::Input).await;
    says(&said, &["`example.com` is not in the zone `example.org`"]);
}

/// The records are in a zone that nobody asks.
async fn never_seen(stage: &Stage) {
    let first = zone(stage, "example.com", "delegated").await;
    let second = zone(stage, "example.com", "stray").await;
    want(stage, &format!("{BOTH}\nzone = \"{second}\""));
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(
        &said,
        &[
            "App Runner does not see",
            "must be delegated to the zone that has it",
            "no longer waited for after 1h15m",
        ],
    );
    // Nothing leads there before it is served.
    let led = records(stage, &second).await;
    assert!(led.iter().all(|(_, kind, _)| kind == "CNAME"), "{led:?}");
    // What waits is not forgotten: the next run waits for the same, and the right zone mends it.
    want(stage, &format!("{BOTH}\nzone = \"{first}\""));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
    assert_recorded(stage, &first).await;
    assert_settled(stage).await;
}

async fn no_certificate(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    let closed = "0 issue \"letsencrypt.org\"";
    by_hand(stage, &zone, ("example.com", RrType::Caa, closed)).await;
    stage.time.pass(Duration::from_secs(60)).await;
    want(stage, BOTH);
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(
        &said,
        &["got no certificate for `example.com`", "CAA records"],
    );
    let open = "0 issue \"amazon.com\"";
    by_hand(stage, &zone, ("example.com", RrType::Caa, open)).await;
    stage.time.pass(Duration::from_secs(60)).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
    assert_settled(stage).await;
}

async fn foreign(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    let old = ("www.example.com", RrType::Cname, "old.example.net");
    by_hand(stage, &zone, old).await;
    want(stage, BOTH);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(
        &said,
        &["www.example.com", "old.example.net", "is not ours"],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    want(stage, &format!("{BOTH}\nadopt_records = true"));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_recorded(stage, &zone).await;
    assert_settled(stage).await;
}

async fn drift(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    want(stage, BOTH);
    run(stage, APPLY, "aws", Exit::Success).await;
    // Somebody takes a proof away.
    let all = records(stage, &zone).await;
    let (name, _, value) = all
        .iter()
        .find(|(_, kind, _)| kind == "CNAME")
        .expect("a proof");
    let record = ResourceRecord::builder()
        .value(value)
        .build()
        .expect("a value");
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::Cname)
        .ttl(300)
        .resource_records(record)
        .build()
        .expect("a record");
    let change = Change::builder()
        .action(ChangeAction::Delete)
        .resource_record_set(set);
    let batch = ChangeBatch::builder().changes(change.build().expect("a change"));
    let call = dns(stage).await.change_resource_record_sets();
    let call = call
        .hosted_zone_id(&zone)
        .change_batch(batch.build().expect("a batch"));
    call.send().await.expect("it is deleted");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["records"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_recorded(stage, &zone).await;
    // Somebody takes the domain off.
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let arn = arn(stage, SERVICE).await.expect("a service");
    let call = client.disassociate_custom_domain().service_arn(arn);
    call.domain_name("example.com")
        .send()
        .await
        .expect("it is off");
    stage.time.pass(Duration::from_secs(60)).await;
    run(stage, PLAN, "aws", Exit::Changes).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(domains(stage).await, served());
    assert_recorded(stage, &zone).await;
    assert_settled(stage).await;
}

async fn killed(stage: &Stage) {
    let zone = zone(stage, "example.com", "one").await;
    want(stage, "");
    run(stage, APPLY, "aws", Exit::Success).await;
    want(stage, BOTH);
    let (mut kills, mut between) = (0, false);
    loop {
        stage.calls.arm(None);
        stage.ledger.arm(Some(Crash::Before(kills / 2 + 1)));
        match stage.run(APPLY, "aws").await {
            (Ended::Killed, _) => {
                kills += 1;
                let is_associated = !domains(stage).await.is_empty();
                between |= is_associated && records(stage, &zone).await.is_empty();
                // Longer than the lease of who was killed.
                stage.time.pass(Duration::from_secs(120)).await;
            }
            (Ended::Exit(exit), said) => {
                assert_eq!(exit, Exit::Success, "{said}");
                break;
            }
        }
    }
    assert!(between, "once between the association and its records");
    stage.ledger.arm(None);
    assert_eq!(domains(stage).await, served());
    assert_recorded(stage, &zone).await;
    assert_settled(stage).await;
    want(stage, "");
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(records(stage, &zone).await, []);
}
