//! What the manifest says of a cache, against what Memorystore makes of it.

use std::collections::BTreeSet;

use deployer_core::fields::FieldChange;
use deployer_core::graph::Value;
use deployer_core::node::Effect;
use deployer_core::spec::CacheSpec;
use deployer_core::wait::Readiness;
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::{ConnectMode, State};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{Actual, judge};
use super::shape::{Shape, describe, effect, masks};
use crate::ground::NetworkName;
use crate::paths::test_names;

fn network(project: &str, name: &str) -> Option<Value<NetworkName>> {
    let full = format!("projects/{project}/global/networks/{name}");
    Some(Value::Given(NetworkName(full)))
}

fn shape() -> Shape {
    Shape {
        spec: CacheSpec {
            key: "sessions".into(),
            name: "idp-staging".into(),
            version: "7.0".into(),
            class: String::new(),
            memory_gib: 2,
            high_availability: true,
            token: None,
            url: "sessions-url".into(),
            authority: Some("sessions-ca".into()),
            adopt: false,
            unsaid: BTreeSet::new(),
        },
        network: network("demo-project", "main"),
        has_own_network: false,
        ownership: crate::labels::tests::ownership("idp_staging"),
        names: test_names(),
    }
}

fn made() -> model::Instance {
    shape()
        .compose(model::Instance::new())
        .set_state(State::Ready)
        .set_host("10.0.0.5")
        .set_port(6378)
        .set_current_location_id("europe-west1-b")
        .set_authorized_network(
            "https://www.googleapis.com/compute/v1/projects/demo-project/global/networks/main",
        )
}

fn actual(instance: model::Instance) -> Actual {
    Actual {
        instance,
        token: Some(SecretString::from("11111111-2222".to_owned())),
        operation: None,
    }
}

fn changes(to: &Shape) -> Vec<FieldChange> {
    changes_of(&made(), to)
}

fn changes_of(there: &model::Instance, to: &Shape) -> Vec<FieldChange> {
    let wanted = to.compose(there.clone());
    describe(there, &to.names).changes_to(&describe(&wanted, &to.names))
}

#[test]
fn what_google_fills_in_is_no_difference() {
    assert_eq!(changes(&shape()), []);
}

#[test]
fn memory_and_newer_versions_are_changed_in_place_and_everything_else_is_another_cache() {
    let mut wanted = shape();
    wanted.spec.memory_gib = 4;
    wanted.spec.version = "7.2".into();
    let found = changes(&wanted);
    assert_eq!(found.len(), 2);
    let interrupts = |change| effect(change) == Effect::Interrupts;
    assert!(found.iter().all(interrupts));
    assert_eq!(masks(&found), ["memory_size_gb"]);

    for spoil in [
        (|shape: &mut Shape| shape.spec.high_availability = false) as fn(&mut Shape),
        |shape| shape.network = network("demo-project", "other"),
    ] {
        let mut wanted = shape();
        spoil(&mut wanted);
        let found = changes(&wanted);
        assert_eq!(found.len(), 1);
        assert_eq!(effect(&found[0]), Effect::LosesData, "{found:?}");
    }
}

#[test]
fn a_network_of_another_project_is_reached_by_private_services_and_only_a_new_cache_says_so() {
    let mut wanted = shape();
    let connects = |shape: &Shape| shape.compose(model::Instance::new()).connect_mode;
    assert_eq!(connects(&wanted), ConnectMode::Unspecified);
    wanted.network = network("host-project", "shared");
    assert_eq!(connects(&wanted), ConnectMode::PrivateServiceAccess);
    let there = wanted.compose(model::Instance::new());
    let there = there.set_connect_mode(ConnectMode::DirectPeering);
    let kept = wanted.compose(there).connect_mode;
    assert_eq!(kept, ConnectMode::DirectPeering);
}

#[test]
fn a_cache_that_is_newer_than_asked_for_stays() {
    let newer = made().set_redis_version("REDIS_7_2");
    assert_eq!(changes_of(&newer, &shape()), []);
    assert_eq!(shape().compose(newer).redis_version, "REDIS_7_2");
}

#[test]
fn an_adopted_cache_keeps_what_the_manifest_does_not_say() {
    let theirs = made()
        .set_redis_version("REDIS_6_X")
        .set_tier(model::instance::Tier::Basic)
        .set_memory_size_gb(5)
        .set_authorized_network("projects/demo-project/global/networks/theirs");
    let mut adopting = shape();
    adopting.spec.adopt = true;
    adopting.spec.unsaid = ["version", "class", "high_availability"]
        .map(str::to_owned)
        .into();
    assert_eq!(changes_of(&theirs, &adopting), []);
    adopting.spec.unsaid.remove("class");
    let found = changes_of(&theirs, &adopting);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field, "memory");
}

#[test]
fn the_url_exists_once_google_made_address_and_token() {
    let whole = actual(made());
    assert_eq!(
        whole.url().unwrap().expose_secret(),
        "rediss://:11111111-2222@10.0.0.5:6378"
    );
    assert!(!format!("{whole:?}").contains("11111111"));
    assert!(actual(made().set_host("")).url().is_none());
    let without = Actual {
        token: None,
        ..whole
    };
    assert!(without.url().is_none());
}

#[test]
fn every_certificate_of_the_authority_is_delivered() {
    let certificate = |text: &str| model::TlsCertificate::new().set_cert(text);
    let instance = made().set_server_ca_certs([certificate("ONE\n"), certificate("TWO")]);
    let authority = actual(instance).authority().unwrap();
    assert_eq!(authority.expose_secret(), "ONE\nTWO\n");
    assert!(actual(made()).authority().is_none());
}

#[test]
fn an_instance_is_ready_when_google_says_so_and_it_has_an_address() {
    assert_eq!(judge(&actual(made()).instance), Readiness::Ready);
    let making = made().set_state(State::Creating).set_host("");
    assert_eq!(
        judge(&actual(making).instance),
        Readiness::Pending("it is CREATING".into())
    );
}
