//! What the manifest says of an instance, against what Cloud SQL makes of it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::fields::FieldChange;
use deployer_core::graph::Value;
use deployer_core::node::Effect;
use deployer_core::spec::{DatabaseSpec, SslMode};
use google_cloud_sql_v1::model::dns_name_mapping::{ConnectionType, DnsScope};
use google_cloud_sql_v1::model::ip_configuration::{CaMode, SslMode as Enforced};
use google_cloud_sql_v1::model::settings::Edition;
use google_cloud_sql_v1::model::{
    DatabaseInstance, DnsNameMapping, IpMapping, Settings, SqlAvailabilityType, SqlDataDiskType,
    SqlDatabaseVersion, SqlIpAddressType,
};

use super::shape::{PASSWORD_LABEL, Shape, door, effect, host};
use crate::ground::NetworkName;
use crate::paths::test_names;

fn network(name: &str) -> Option<Value<NetworkName>> {
    let full = format!("projects/demo-project/global/networks/{name}");
    Some(Value::Given(NetworkName(full)))
}

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
            host: None,
            sslmode: SslMode::Require,
            authority: None,
            adopt: false,
            unsaid: BTreeSet::new(),
        },
        network: network("main"),
        has_own_network: false,
        flags: BTreeMap::new(),
        maintenance: None,
        ownership: crate::labels::tests::ownership("idp_staging"),
        names: test_names(),
    }
}

/// What Cloud SQL answers once it made the instance: with defaults of its own, and what the user's
/// node noted.
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
    changes_of(&made(), wanted)
}

fn changes_of(there: &DatabaseInstance, wanted: &Shape) -> Vec<FieldChange> {
    let desired = wanted.describe(&wanted.compose(there.clone()));
    wanted.describe(there).changes_to(&desired)
}

fn with_settings(spoil: impl FnOnce(&mut Settings)) -> DatabaseInstance {
    let mut there = made();
    spoil(there.settings.as_mut().unwrap());
    there
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
        |shape| shape.spec.storage_gib = 100,
        &["storage"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.backup_days = 30,
        &["backups"],
        Effect::InPlace,
    );
    check(
        |shape| shape.spec.deletion_protection = false,
        &["deletion protection"],
        Effect::InPlace,
    );
}

#[test]
fn what_restarts_the_server_is_shown_as_that() {
    check(
        |shape| shape.spec.version = 17,
        &["version"],
        Effect::Interrupts,
    );
    check(
        |shape| shape.spec.class = "db-custom-4-15360".into(),
        &["tier"],
        Effect::Interrupts,
    );
    check(
        |shape| shape.spec.high_availability = false,
        &["availability"],
        Effect::Interrupts,
    );
}

#[test]
fn another_place_and_another_network_lose_the_data() {
    check(
        |shape| shape.names.region = "europe-west4".into(),
        &["region"],
        Effect::LosesData,
    );
    check(
        |shape| shape.network = network("other"),
        &["network"],
        Effect::LosesData,
    );
}

#[test]
fn what_is_there_beyond_what_is_asked_for_is_no_difference() {
    for there in [
        made().set_database_version(SqlDatabaseVersion::Postgres18),
        with_settings(|settings| settings.data_disk_size_gb = Some(50)),
        with_settings(|settings| {
            let backups = settings.backup_configuration.as_mut().unwrap();
            let retention = backups.backup_retention_settings.as_mut().unwrap();
            retention.retained_backups = Some(90);
        }),
    ] {
        assert_eq!(changes_of(&there, &shape()), []);
        // Nothing of it goes when something else changes.
        let mut wanted = shape();
        wanted.spec.class = "db-custom-4-15360".into();
        let written = wanted.compose(there.clone());
        assert_eq!(written.database_version, there.database_version);
        let (written, there) = (written.settings.unwrap(), there.settings.unwrap());
        assert_eq!(written.data_disk_size_gb, there.data_disk_size_gb);
        assert_eq!(written.backup_configuration, there.backup_configuration);
    }
}

#[test]
fn a_disk_that_grew_by_itself_is_told_and_one_that_is_to_shrink_is_refused() {
    let grown = with_settings(|settings| settings.data_disk_size_gb = Some(50));
    let asked = shape().describe(&shape().compose(grown.clone()));
    assert_eq!(shape().beyond(&grown).len(), 1);
    assert!(shape().objection(&grown, &asked).is_none());

    let mut smaller = shape();
    smaller.spec.storage_gib = 10;
    let error = smaller.objection(&made(), &asked).unwrap();
    assert_eq!(
        error.to_string(),
        "the disk of database `idp-staging` has 20 GiB, and no disk shrinks"
    );
    assert!(error.hint_text().unwrap().contains("storage = \"20GiB\""));

    let mut older = shape();
    older.spec.version = 15;
    let error = older.objection(&made(), &asked).unwrap();
    assert!(
        error
            .to_string()
            .contains("is PostgreSQL 16 and cannot become 15")
    );
}

#[test]
fn another_engine_is_never_upgraded_in_place() {
    let there = made().set_database_version(SqlDatabaseVersion::Mysql80);
    let found = changes_of(&there, &shape());
    assert_eq!(effect(&found[0]), Effect::LosesData);
}

#[test]
fn what_another_hand_changes_is_seen() {
    let seen = |spoil: fn(&mut Settings)| {
        let found = changes_of(&with_settings(spoil), &shape());
        found
            .into_iter()
            .map(|change| change.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        seen(|settings| settings.storage_auto_resize = Some(false)),
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

/// Somebody's instance, larger and otherwise set up than the defaults of a manifest that only
/// adopts it.
fn somebodys() -> DatabaseInstance {
    let mut there = with_settings(|settings| {
        settings.tier = "db-perf-optimized-N-4".into();
        settings.edition = Edition::EnterprisePlus;
        settings.availability_type = SqlAvailabilityType::Regional;
        settings.data_disk_type = SqlDataDiskType::PdHdd;
        settings.data_disk_size_gb = Some(10);
        settings.storage_auto_resize = Some(false);
        settings.deletion_protection_enabled = Some(false);
        settings.backup_configuration = None;
        let address = settings.ip_configuration.as_mut().unwrap();
        address.ipv4_enabled = Some(true);
        address.ssl_mode = Enforced::AllowUnencryptedAndEncrypted;
    });
    there.database_version = SqlDatabaseVersion::Postgres14;
    there
}

fn adopting(said: &[&str]) -> Shape {
    let keys = ["version", "class", "storage", "high_availability"];
    let keys = keys
        .into_iter()
        .chain(["backup_days", "deletion_protection"]);
    let mut shape = shape();
    shape.spec.adopt = true;
    shape.spec.unsaid = keys
        .filter(|key| !said.contains(key))
        .map(str::to_owned)
        .collect();
    shape
}

#[test]
fn an_adopted_instance_keeps_what_the_manifest_does_not_say() {
    assert_eq!(changes_of(&somebodys(), &adopting(&[])), []);
    let there = somebodys().settings.unwrap();
    let written = adopting(&[]).compose(somebodys()).settings.unwrap();
    assert_eq!(written, there);

    let names = |said: &[&str]| -> Vec<String> {
        let found = changes_of(&somebodys(), &adopting(said));
        found.into_iter().map(|change| change.field).collect()
    };
    assert_eq!(names(&["storage"]), ["storage"]);
    assert_eq!(names(&["version"]), ["version"]);
    assert_eq!(names(&["class"]), ["edition", "tier"]);
    assert_eq!(names(&["deletion_protection"]), ["deletion protection"]);
}

#[test]
fn the_server_is_verified_by_its_own_authority_and_by_its_name_where_instances_share_one() {
    let address = IpMapping::new()
        .set_type(SqlIpAddressType::Private)
        .set_ip_address("10.1.2.3");
    let instance = made().set_ip_addresses([address]);
    let at = |host: &str, mode| Some((host.to_owned(), mode));
    assert_eq!(door(&instance, SslMode::Require), at("10.1.2.3", "require"));
    assert_eq!(
        door(&instance, SslMode::VerifyFull),
        at("10.1.2.3", "verify-ca")
    );
    let mut shared = instance;
    let settings = shared.settings.as_mut().unwrap();
    let address = settings.ip_configuration.as_mut().unwrap();
    address.server_ca_mode = Some(CaMode::GoogleManagedCasCa);
    let name = DnsNameMapping::new()
        .set_name("a1b2.c3d4.europe-west1.sql-psa.goog.")
        .set_connection_type(ConnectionType::PrivateServicesAccess)
        .set_dns_scope(DnsScope::Instance);
    let shared = shared.set_dns_names([name]);
    assert_eq!(
        door(&shared, SslMode::VerifyFull),
        at("a1b2.c3d4.europe-west1.sql-psa.goog", "verify-full")
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
