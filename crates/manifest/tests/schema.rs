//! Holds manifests against the schema: right ones fit, and what the reader refuses the schema
//! refuses, too.

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use deployer_manifest::{Describes, schema};
use serde_json::{Value, json};

/// What the schema says of a manifest; nothing when it fits.
fn said(describes: Describes, manifest: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema(describes)).unwrap();
    let errors = validator.iter_errors(manifest);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    let value: toml::Value = toml::from_str(&text).unwrap();
    serde_json::to_value(value).unwrap()
}

/// Every manifest and overlay below `config/`.
fn ready_files() -> Vec<PathBuf> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut files = vec![];
    for directory in std::fs::read_dir(config).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
    assert!(files.len() >= 5, "{files:?}");
    files
}

#[test]
fn the_schema_is_a_schema() {
    for describes in [Describes::File, Describes::Merged] {
        let schema = schema(describes);
        jsonschema::meta::validate(&schema).unwrap();
        let draft = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(schema["$schema"], draft);
    }
}

#[test]
fn every_ready_manifest_and_overlay_fits() {
    for file in ready_files() {
        assert_eq!(
            said(Describes::File, &read(&file)),
            Vec::<String>::new(),
            "{}",
            file.display()
        );
    }
}

#[test]
fn every_form_of_a_value_fits() {
    let manifest = json!({
        "app": "idp",
        "services": { "idp": {
            "image": "oci:images/idp", "port": 3000, "cpu": "500m", "memory": 1024, "replicas": { "min": 1 },
            "health": "/health",
            "env": { "A": 1, "B": true, "C": "x", "D": { "secret": "s", "inject": "reference" } },
            "migrate": { "mode": "on-start", "timeout": 60 },
            "verify": {
                "metrics": "/metrics", "jwks": "/jwks", "token": { "path": "/t", "client_id": "a", "client_secret": "b" },
                "checks": [{ "path": "/", "method": "HEAD", "within": "1s 500ms", "json": { "$.a": [1, null] } }],
            },
        } },
        "databases": { "main": { "engine": "postgres", "version": 16, "cpu": 2, "memory": "8GiB", "storage": "20GiB" } },
        "caches": { "sessions": { "engine": "redis", "version": 7.0, "memory": "1GiB", "high_availability": true } },
        "secrets": { "s": { "from": { "generate": "hex:32" }, "on_rollback": "follow" }, "t": { "from": "cloud" } },
        "keys": { "jwt": { "algorithm": "rsa:4096", "private": "a", "public": "b" } },
        "tags": { "team": "x", "cost": 7 },
        "targets": { "gcp": { "project": "p", "region": "r", "services": { "idp": {
            "cpu": 0.5, "replicas": 3, "dns": { "name": "a.b", "zone": "b", "address": "203.0.113.10", "provider": "route53" },
        } } } },
    });
    assert_eq!(said(Describes::Merged, &manifest), Vec::<String>::new());
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let base = json!({
        "app": "idp",
        "services": { "idp": { "image": "x", "port": 3000 } },
        "secrets": { "s": {} },
        "databases": { "main": {} },
        "targets": { "aws": {} },
    });
    let wrong: [(&str, Value); 14] = [
        ("/services/idp/prot", json!(3000)),
        ("/services/idp/port", json!("3000")),
        ("/services/idp/port", json!(70000)),
        ("/services/idp/cpu", json!("lots")),
        ("/services/idp/memory", json!("512MB")),
        ("/services/idp/health", json!({ "retrys": 3 })),
        ("/services/idp/env", json!({ "A": { "secrt": "x" } })),
        ("/services/idp/migrate", json!({ "mode": "exce" })),
        (
            "/services/idp/verify",
            json!({ "checks": [{ "pth": "/" }] }),
        ),
        ("/secrets/s/from", json!("hunter2")),
        ("/secrets/s/from", json!({ "env": "A", "file": "b" })),
        ("/databases/main/engine", json!("oracle")),
        ("/targets/aws/acount", json!("123456789012")),
        ("/servises", json!({})),
    ];
    assert_eq!(said(Describes::File, &base), Vec::<String>::new());
    for (place, value) in wrong {
        let mut manifest = base.clone();
        let (table, key) = place.rsplit_once('/').unwrap();
        let table = manifest.pointer_mut(table).unwrap();
        table.as_object_mut().unwrap().insert(key.to_owned(), value);
        assert!(!said(Describes::File, &manifest).is_empty(), "{place}");
    }
}

#[test]
fn only_a_merged_manifest_must_be_whole() {
    let overlay = json!({ "services": { "idp": { "replicas": 4 } } });
    assert_eq!(said(Describes::File, &overlay), Vec::<String>::new());
    let lacks = said(Describes::Merged, &overlay);
    assert!(
        lacks.iter().any(|line| line.contains("\"app\"")),
        "{lacks:?}"
    );
    assert!(
        lacks.iter().any(|line| line.contains("\"image\"")),
        "{lacks:?}"
    );
}

#[test]
fn every_key_is_explained() {
    fn walk(at: &str, schema: &Value, silent: &mut Vec<String>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (key, property) in properties {
            if property.get("description").is_none() {
                silent.push(format!("{at}.{key}"));
            }
        }
    }
    let schema = schema(Describes::File);
    let mut silent = vec![];
    walk("", &schema, &mut silent);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        walk(name, definition, &mut silent);
    }
    assert_eq!(silent, Vec::<String>::new());
}
