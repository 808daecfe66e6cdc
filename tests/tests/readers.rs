//! What `status` says of databases, caches and names, against what the vendors' clients, `psql` and
//! `redis-cli` see.

use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

const TEST: &str = "the_vendors_clients_and_the_servers_agree_with_status";

/// What the sandbox's zone leads to.
const ADDRESS: &str = "203.0.113.7";

#[test]
fn the_vendors_clients_and_the_servers_agree_with_status() {
    let Some(prepared) = Prepared::find(TEST) else {
        return;
    };
    let sandbox = Sandbox::start(&prepared);
    for kind in ["postgres", "redis"] {
        let backing = sandbox.status()["backing"][kind].to_string();
        if backing.contains("none") {
            skip(TEST, &backing);
            return;
        }
    }
    let mut project = Project::new(&prepared, Arc::new(sandbox));
    let name = format!("{}.example.com", project.manifest.app);
    let zone = asked(&project, "zone.py", &["example-com", "example.com."]);
    assert_eq!(zone["visibility"], "public");
    project.change(|manifest| {
        manifest.managed = Some("storage = \"20GiB\"".to_owned());
        manifest.gcp = Some(format!(
            "[targets.gcp.services.idp.dns]\nname = \"{name}\"\nzone = \"example-com\"\naddress = \"{ADDRESS}\"\n"
        ));
    });
    nothing_is_there_before_it_is_made(&project);
    project
        .deployer
        // The name leads nowhere that could be asked.
        .run(&["apply", "--yes", "--no-verify"])
        .exits(exit::SUCCESS);
    let status = status_names_them_without_a_secret(&project, &name);
    the_vendors_clients_agree(&project, &status);
    a_status_that_is_not_true_is_found(&project, &status);
    the_servers_take_the_urls_in_the_secrets(&project, &status);
    project.assert_no_secret_escaped(&[]);
}

fn asked(project: &Project, script: &str, arguments: &[&str]) -> Value {
    let exports: Vec<_> = project.sandbox.exports.clone().into_iter().collect();
    python::run(&project.prepared, script, arguments, &exports)
}

/// Every database and cache of a status, by cloud and kind.
fn stores(status: &Value) -> Vec<(String, &'static str, Value)> {
    let entries = status.as_array().expect("a list of entries").iter();
    entries
        .filter_map(|entry| {
            let kinds = ["database", "cache"];
            let kind = kinds.into_iter().find(|kind| entry[kind].is_string())?;
            let cloud = entry["cloud"].as_str().expect("an entry names its cloud");
            Some((cloud.to_owned(), kind, entry["status"].clone()))
        })
        .collect()
}

fn nothing_is_there_before_it_is_made(project: &Project) {
    let status = project.deployer.run(&["status", "--json"]);
    let status = status.exits(exit::SUCCESS).json();
    let stores = stores(&status);
    assert_eq!(stores.len(), 4, "{status:#}");
    for (cloud, kind, status) in stores {
        assert_eq!(status, json!(null), "{kind} on {cloud}");
    }
}

fn status_names_them_without_a_secret(project: &Project, name: &str) -> Value {
    let status = project
        .deployer
        .run(&["status", "--json"])
        .exits(exit::SUCCESS)
        .json();
    for (cloud, kind, status) in stores(&status) {
        assert_eq!(status["state"], "ready", "{kind} on {cloud}: {status}");
        for fact in ["said", "version", "class", "endpoint"] {
            assert!(status[fact].is_string(), "{fact} of {kind} on {cloud}");
        }
    }
    let record = &project.status()["gcp"]["record"];
    assert_eq!(
        *record,
        json!({
            "name": name, "zone": "example-com",
            "status": {"type": "A", "leads_to": [ADDRESS], "ttl": 300},
        })
    );
    let people = project.deployer.run(&["status"]).exits(exit::SUCCESS);
    people.says("main      database ").says("sessions  cache ");
    people.says(&format!("{name} A {ADDRESS}"));
    status
}

fn compare(project: &Project, status: &Value) -> Value {
    let file = project.file("status.json");
    std::fs::write(&file, status.to_string()).expect("the status can be written");
    asked(project, "stores.py", &[&file.display().to_string()])
}

fn the_vendors_clients_agree(project: &Project, status: &Value) {
    let report = compare(project, status);
    for reader in report["absent"].as_array().into_iter().flatten() {
        skip(TEST, &format!("{reader} is not installed"));
    }
    assert_eq!(report["differences"], json!([]), "{report:#}");
    assert!(report["compared"].as_u64() > Some(20), "{report:#}");
}

fn a_status_that_is_not_true_is_found(project: &Project, status: &Value) {
    let mut untrue = status.clone();
    for entry in untrue.as_array_mut().expect("a list of entries") {
        if entry["status"].is_object() {
            entry["status"]["endpoint"] = json!("10.9.8.7:5432");
            entry["status"]["version"] = json!("9.6");
        }
        if entry["record"].is_object() {
            entry["record"]["status"]["leads_to"] = json!(["203.0.113.8"]);
        }
    }
    let report = compare(project, &untrue);
    let found = |kind: &str, fact: &str| {
        let differences = report["differences"].as_array().into_iter().flatten();
        differences
            .filter(|it| it["kind"] == kind && it["fact"] == fact)
            .count()
    };
    for kind in ["database", "cache"] {
        assert!(found(kind, "endpoint") >= 2, "{report:#}");
        assert!(found(kind, "version") >= 2, "{report:#}");
    }
    assert!(found("name", "leads_to") >= 1, "{report:#}");
}

/// `psql` and `redis-cli` with the URLs that the secrets hold, over TLS that they verify.
fn the_servers_take_the_urls_in_the_secrets(project: &Project, status: &Value) {
    let backing = &project.sandbox.status()["backing"];
    let authority = |name: &str| backing[name].as_str().expect("it has a file").to_owned();
    let (vendor, public) = (authority("ca"), authority("public_ca"));
    let app = &project.manifest.app;
    let seen = asked(project, "connect.py", &[app, "test", &vendor, &public]);
    for (cloud, kind, status) in stores(status) {
        assert_eq!(seen[&cloud][kind], status["endpoint"], "{kind} on {cloud}");
    }
    for cloud in ["aws", "gcp"] {
        let seen = &seen[cloud];
        let says = |what: &str, words: &str| {
            let said = seen[what].to_string();
            assert!(said.contains(words), "{what} on {cloud}: {said}");
        };
        assert_eq!(seen["migrations"], json!(["1.0.0"]), "{cloud}");
        assert_eq!(seen["encrypted"], json!(["t"]), "{cloud}");
        says("without_tls", "no encryption");
        says("wrong_password", "password authentication failed");
        says("wrong_authority", "certificate verify failed");
        assert_eq!(seen["ping"], "PONG", "{cloud}");
        says("ping_without_token", "NOAUTH");
        assert_ne!(seen["ping_without_tls"], "PONG", "{cloud}");
    }
}
