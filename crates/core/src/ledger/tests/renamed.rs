//! A ledger is asked by today's keys and says origins, whatever the manifest calls things by then.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::pins::SecretVersion;
use crate::redeploy::Redeploy;
use crate::renames::{Keyed, Renames};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, origin)| ((*key).to_owned(), (*origin).to_owned()))
        .collect()
}

/// The same ledger for a manifest that calls `idp` and its database's URL so.
fn called(ledger: &Ledger, service: &str, secret: &str) -> Ledger {
    let services = pairs(&[(service, "idp")]);
    let secrets = pairs(&[(secret, "main-url")]);
    ledger.clone().renamed(Renames::new(services, secrets))
}

/// A release of a service that uses a secret in each way there is, by these keys.
fn release(number: u64, service: &str, secret: &str) -> Release {
    let mut release: Release = serde_json::from_str(OLD_RELEASE).unwrap();
    release.number = number;
    release.service = service.to_owned();
    release.secrets = pins(secret);
    release.verified = Some(true);
    let mut spec = serde_json::to_value(&release.spec).unwrap();
    spec["key"] = service.into();
    spec["secrets"] = serde_json::json!({"URL": {"secret": secret, "inject": "value"}});
    spec["migrate"] = serde_json::json!({
        "job": "app-idp-migrate", "entrypoint": [], "command": ["migrate"],
        "timeout": {"secs": 60, "nanos": 0}, "database": secret,
    });
    spec["verify"] = serde_json::json!({
        "metrics": null, "jwks": null, "checks": [],
        "token": {"path": "/token", "client_id": secret, "client_secret": secret, "scope": null},
    });
    release.spec = serde_json::from_value(spec).unwrap();
    release
}

fn pins(secret: &str) -> BTreeMap<String, SecretVersion> {
    let version = SecretVersion {
        secret: "app-main-url".into(),
        version: "1".into(),
    };
    BTreeMap::from([(secret.to_owned(), version)])
}

fn hold(secret: &str) -> Hold {
    Hold {
        rejected: 2,
        content_id: "c0ffee".into(),
        overrides: None,
        secrets: pins(secret),
        serving: 3,
        since: Timestamp::UNIX_EPOCH,
        by: "deploy@runner-3".into(),
        unfinished: None,
    }
}

async fn text_below(ledger: &Ledger, folder: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for name in ledger.below(folder).await.unwrap() {
        let bytes = ledger.read_bytes(&name).await.unwrap().unwrap();
        texts.insert(name, String::from_utf8(bytes.to_vec()).unwrap());
    }
    texts
}

#[tokio::test]
async fn releases_and_holds_are_one_services_under_whichever_name() {
    let (plain, _) = ledger();
    plain
        .record_release(&release(1, "idp", "main-url"))
        .await
        .unwrap();
    let (web, site) = (
        called(&plain, "web", "store-url"),
        called(&plain, "site", "vault-url"),
    );
    let detached = |release: Release| Release {
        detached: true,
        ..release
    };
    let second = detached(release(2, "web", "store-url"));
    web.record_release(&second).await.unwrap();
    let latest = plain.latest_release("idp").await.unwrap().unwrap();
    assert!(latest.detached && plain.releases("idp").await.unwrap()[1].detached);
    web.note_seen(&second).await.unwrap();
    web.note_verified(&second, true).await.unwrap();
    web.set_hold("web", &hold("store-url")).await.unwrap();
    for (ledger, service, secret) in [
        (&plain, "idp", "main-url"),
        (&web, "web", "store-url"),
        (&site, "site", "vault-url"),
    ] {
        let all = [release(1, service, secret), release(2, service, secret)];
        assert_eq!(ledger.releases(service).await.unwrap(), all);
        let latest = ledger.latest_release(service).await.unwrap();
        assert_eq!(latest.as_ref(), all.last());
        assert_eq!(ledger.holds(service).await.unwrap(), [hold(secret)]);
        assert_eq!(ledger.recorded_revisions().await.unwrap().len(), 2);
    }
    // By today's keys alone.
    assert!(web.releases("idp").await.unwrap().is_empty());
    assert!(web.holds("idp").await.unwrap().is_empty());
    // What is written has no other names than those of before.
    for folder in ["releases", "verified", "seen", "holds"] {
        for (name, text) in text_below(&plain, folder).await {
            assert!(name.starts_with(&format!("{folder}/idp")), "{name}");
            assert!(
                !text.contains("store-url") && !text.contains("web"),
                "{text}"
            );
        }
    }
    let second = detached(release(2, "site", "vault-url"));
    let taken = site.record_release(&second).await;
    assert!(taken.is_ok(), "the same again is no other one");
    site.lift_hold("site", 2).await.unwrap();
    assert!(plain.holds("idp").await.unwrap().is_empty());
    web.set_hold("web", &hold("store-url")).await.unwrap();
    site.lift_holds("site").await.unwrap();
    assert!(web.holds("web").await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_renaming_what_is_written_is_as_it_was() {
    let ((plain, _), (other, _)) = (ledger(), ledger());
    let other = other.renamed(Renames::new(pairs(&[("idp", "idp")]), []));
    for ledger in [&plain, &other] {
        ledger
            .record_release(&release(1, "idp", "main-url"))
            .await
            .unwrap();
        ledger.set_hold("idp", &hold("main-url")).await.unwrap();
    }
    for folder in ["releases", "holds"] {
        let all = text_below(&plain, folder).await;
        assert_eq!(all.len(), 1);
        assert_eq!(all, text_below(&other, folder).await);
    }
}

#[tokio::test]
async fn the_headers_of_runs_name_services_by_todays_keys() {
    let (plain, _) = ledger();
    let header = |service: &str| {
        let content = Content {
            digest: "sha256:00".into(),
            tag: None,
            content_id: "c0ffee".into(),
            overrides: None,
        };
        let redeploy = Redeploy {
            after: "ecs-svc/1".into(),
            release: 1,
        };
        RunHeader {
            number: 1,
            command: "apply".into(),
            by: "deploy@runner-3".into(),
            at: Timestamp::UNIX_EPOCH,
            manifest: Value::from("as it was then"),
            contents: BTreeMap::from([(service.to_owned(), content)]),
            redeploys: BTreeMap::from([(service.to_owned(), redeploy)]),
            plan: None,
            typed: None,
        }
    };
    let web = called(&plain, "web", "store-url");
    web.begin_run(header("web")).await.unwrap();
    let site = called(&plain, "site", "vault-url");
    for (ledger, service) in [(&plain, "idp"), (&web, "web"), (&site, "site")] {
        let expected = header(service);
        let last = ledger.last_run().await.unwrap().unwrap();
        assert_eq!(last.header, expected);
        assert_eq!(ledger.recent_runs(1).await.unwrap()[0], expected);
        let of = ledger.applies_of(service, "sha256:00").await.unwrap();
        assert_eq!(of.1, Some(expected.clone()));
        let due = ledger.unfinished_redeploys().await.unwrap();
        assert_eq!(due, expected.redeploys);
    }
}

/// A report of one service.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Found(String);

impl Keyed for Found {
    fn exchange(&mut self, renames: &Renames) {
        renames.exchange_service(&mut self.0);
    }
}

#[tokio::test]
async fn a_report_is_of_the_service_as_it_is_called_today() {
    let (plain, _) = ledger();
    let web = called(&plain, "web", "store-url");
    let header = RunHeader {
        number: 0,
        command: "apply".into(),
        by: "deploy@runner-3".into(),
        at: Timestamp::UNIX_EPOCH,
        manifest: Value::Null,
        contents: BTreeMap::new(),
        redeploys: BTreeMap::new(),
        plan: None,
        typed: None,
    };
    let run = web.begin_run(header).await.unwrap();
    run.keep_report(&vec![Found("web".into())]).await.unwrap();
    for (ledger, service) in [
        (&plain, "idp"),
        (&web, "web"),
        (&called(&plain, "site", "x"), "site"),
    ] {
        let found: Option<Vec<Found>> = ledger.report(1).await.unwrap();
        assert_eq!(found, Some(vec![Found(service.into())]));
    }
}
