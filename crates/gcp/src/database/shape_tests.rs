//! What the manifest says of an instance, against what Cloud SQL makes of it.

use std::collections::BTreeMap;

use deployer_core::fields::FieldChange;
use deployer_core::node::Effect;
use deployer_core::spec::DatabaseSpec;
use google_cloud_sql_v1::model::{
    DatabaseInstance, IpMapping, SqlDatabaseVersion, SqlIpAddressType,
};

use super::shape::{PASSWORD_LABEL, Shape, describe, effect, host};
use crate::project::test_names;

fn shape() -> Shape {
    Shape {
        spec: DatabaseSpec {
            key: "main".into(),
            name: "idp-staging".into(),
            version: 16,
            class: "db-custom-2-7680".into(),
            storage_gib: 20,
            high_availability: true,
            backup_days: 14,
            deletion_protection: true,
            database: "idp".into(),
            user: "idp".into(),
            password: "main-password".into(),
            url: "main-url".into(),
            adopt: false,
        },
        network: Some("projects/demo-project/global/networks/main".into()),
        labels: BTreeMap::from([("deployer".to_owned(), "idp_staging".to_owned())]).into(),
        names: test_names(),
    }
}

/// What Cloud SQL answers once it made the instance: with defaults of its own, and what the user's node noted.
fn made() -> DatabaseInstance {
    let instance = shape().compose(DatabaseInstance::new());
    let mut settings = instance.settings.clone().unwrap();
    settings
        .user_labels
        .insert(PASSWORD_LABEL.to_owned(), "1".to_owned());
    settings
        .user_labels
        .insert("goog-managed-by".to_owned(), "x".to_owned());
    settings.settings_version = Some(3);
    settings.kind = "sql#settings".to_owned();
    let address = settings.ip_configuration.as_mut().unwrap();
    address.private_network =
        "https://www.googleapis.com/compute/v1/projects/demo-project/global/networks/main"
            .to_owned();
    instance.set_settings(settings)
}

fn changes(wanted: &Shape) -> Vec<FieldChange> {
    let desired = describe(&wanted.compose(DatabaseInstance::new()), &wanted.names);
    describe(&made(), &wanted.names).changes_to(&desired)
}

fn check(spoil: impl Fn(&mut Shape), fields: &[&str], cost: Effect) {
    let mut wanted = shape();
    spoil(&mut wanted);
    let found = changes(&wanted);
    let names: Vec<&str> = found.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(names, fields);
    assert_eq!(found.iter().map(effect).max(), Some(cost), "{found:?}");
}

#[test]
fn what_cloud_sql_and_the_user_add_is_no_difference() {
    assert_eq!(changes(&shape()), []);
}

#[test]
fn a_larger_and_safer_instance_is_a_change_in_place() {
    check(
        |shape| shape.spec.version = 17,
        &["version"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.class = "db-custom-4-15360".into(),
        &["tier"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.storage_gib = 100,
        &["storage"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.high_availability = false,
        &["availability"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.backup_days = 3,
        &["backups", "point-in-time recovery"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.deletion_protection = false,
        &["deletion protection"],
        Effect::InPlace,
    );
}

#[test]
fn an_older_version_a_smaller_disk_and_another_place_lose_the_data() {
    check(
        |shape| shape.spec.version = 15,
        &["version"],
        Effect::LosesData,
    );
    check(
        |shape| shape.spec.version = 9,
        &["version"],
        Effect::LosesData,
    );
    check(
        |shape| shape.spec.storage_gib = 10,
        &["storage"],
        Effect::LosesData,
    );
    check(
        |shape| shape.names.region = "europe-west4".into(),
        &["region"],
        Effect::LosesData,
    );
    check(
        |shape| shape.network = Some("projects/demo-project/global/networks/other".into()),
        &["network"],
        Effect::LosesData,
    );
}

#[test]
fn another_engine_is_never_upgraded_in_place() {
    let there = made().set_database_version(SqlDatabaseVersion::Mysql80);
    let names = test_names();
    let desired = describe(&shape().compose(DatabaseInstance::new()), &names);
    let found = describe(&there, &names).changes_to(&desired);
    assert_eq!(effect(&found[0]), Effect::LosesData);
}

#[test]
fn what_another_hand_changes_is_seen() {
    let seen = |spoil: fn(&mut google_cloud_sql_v1::model::Settings)| {
        let mut there = made();
        spoil(there.settings.as_mut().unwrap());
        let names = test_names();
        let desired = describe(&shape().compose(DatabaseInstance::new()), &names);
        let found = describe(&there, &names).changes_to(&desired);
        found
            .into_iter()
            .map(|change| change.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        seen(|settings| settings.storage_auto_resize = Some(true)),
        ["storage grows by itself"]
    );
    assert_eq!(
        seen(|settings| settings.deletion_protection_enabled = None),
        ["deletion protection"]
    );
    assert_eq!(
        seen(|settings| settings.user_labels.clear()),
        ["tags.deployer"]
    );
    assert_eq!(
        seen(|settings| {
            let address = settings.ip_configuration.as_mut().unwrap();
            address.ipv4_enabled = Some(true);
        }),
        ["public address"]
    );
}

#[test]
fn a_change_keeps_what_the_manifest_is_silent_about() {
    let written = shape().compose(made()).settings.unwrap();
    assert_eq!(written.settings_version, Some(3));
    assert_eq!(written.user_labels[PASSWORD_LABEL], "1");
    assert_eq!(written.user_labels["goog-managed-by"], "x");
}

#[test]
fn without_backups_there_is_no_point_in_time_recovery() {
    let mut wanted = shape();
    wanted.spec.backup_days = 0;
    let settings = wanted.compose(made()).settings.unwrap();
    let backups = settings.backup_configuration.unwrap();
    assert_eq!(backups.enabled, Some(false));
    assert_eq!(backups.point_in_time_recovery_enabled, Some(false));
}

#[test]
fn an_instance_on_a_network_is_reached_by_its_private_address_alone() {
    let address = |sort, text: &str| IpMapping::new().set_type(sort).set_ip_address(text);
    let both = [
        address(SqlIpAddressType::Primary, "203.0.113.9"),
        address(SqlIpAddressType::Private, "10.1.2.3"),
    ];
    let instance = made().set_ip_addresses(both.clone());
    assert_eq!(host(&instance).as_deref(), Some("10.1.2.3"));
    assert_eq!(host(&made()), None);

    let mut public = shape();
    public.network = None;
    let instance = public
        .compose(DatabaseInstance::new())
        .set_ip_addresses(both);
    assert_eq!(host(&instance).as_deref(), Some("203.0.113.9"));
}
