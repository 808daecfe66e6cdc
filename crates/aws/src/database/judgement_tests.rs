//! What is compared, refused and said of an instance, on descriptions such as RDS gives them.

use std::sync::{Arc, Mutex};

use crate::spec::Maintenance;
use aws_sdk_rds::types::{DbInstance, PendingModifiedValues};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::spec::EnvironmentSpec;

use super::super::instance::{INSTANCE, Instance};
use super::super::shape::InstanceActual;
use super::super::spec;
use crate::client::of_nobody;
use crate::ground::SecurityGroups;

async fn wanted() -> Instance {
    let target = Target {
        cloud: CloudName::Aws,
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        sandbox: true,
    };
    let env = EnvironmentSpec {
        app: "idp".into(),
        environment: "staging".into(),
        tags: Default::default(),
        secrets: Default::default(),
        databases: Default::default(),
        caches: Default::default(),
        services: Default::default(),
        ledger: None,
    };
    let address = Address::new(&target, INSTANCE, "idp-staging-main");
    Instance {
        clients: Arc::new(of_nobody().await),
        url: Output::of(&address),
        host: Output::of(&address),
        authority: Output::of(&address),
        birth: Output::of(&address),
        given: Mutex::new(None),
        ownership: crate::tags::ownership(&env, false, &deployer_core::ours::Past::default()),
        spec: spec(),
        security_groups: Value::Given(SecurityGroups(Vec::new())),
        subnet_group: Value::Given("subnets".into()),
        parameter_group: Value::Given("idp-staging-main-postgres16".into()),
        lifecycle: None,
        is_to_be_there: false,
        password: Value::Given(deployer_core::capability::SecretVersion {
            secret: "s".into(),
            version: "v1".into(),
        }),
        secret: "s".into(),
        maintenance: Maintenance::Now,
        bundle: None,
        left: Mutex::new(None),
        looked_up: Default::default(),
        address,
    }
}

/// An instance as this program makes them, with `change` made to its description.
fn there(
    change: impl FnOnce(
        aws_sdk_rds::types::builders::DbInstanceBuilder,
    ) -> aws_sdk_rds::types::builders::DbInstanceBuilder,
) -> InstanceActual {
    let groups = aws_sdk_rds::types::DbParameterGroupStatus::builder()
        .db_parameter_group_name("idp-staging-main-postgres16")
        .parameter_apply_status("in-sync");
    let subnets = aws_sdk_rds::types::DbSubnetGroup::builder().db_subnet_group_name("subnets");
    let tag = |key: &str, value: &str| {
        aws_sdk_rds::types::Tag::builder()
            .key(key)
            .value(value)
            .build()
    };
    let usual = DbInstance::builder()
        .db_instance_status("available")
        .engine("postgres")
        .engine_version("16.10")
        .db_instance_class("db.t4g.medium")
        .allocated_storage(20)
        .storage_type("gp3")
        .storage_encrypted(true)
        .publicly_accessible(false)
        .multi_az(false)
        .backup_retention_period(7)
        .deletion_protection(true)
        .preferred_maintenance_window("sun:09:15-sun:09:45")
        .db_subnet_group(subnets.build())
        .db_parameter_groups(groups.build())
        .master_username("idp")
        .db_name("idp")
        .tag_list(tag("deployer", "idp/staging"))
        .tag_list(tag("deployer:password", "v1"));
    let mut actual = InstanceActual::of(&change(usual).build());
    actual.password = Some("hunter2".into());
    actual
}

fn changes(wanted: &Instance, actual: &InstanceActual) -> Vec<FieldChange> {
    wanted.told(actual).changes_to(&wanted.wished())
}

fn changed(wanted: &Instance, actual: &InstanceActual) -> Vec<String> {
    let changes = changes(wanted, actual);
    changes.into_iter().map(|change| change.field).collect()
}

fn left(wanted: &Instance, field: &str, value: &str) {
    let mut fields = Fields::new();
    fields.set(field, value);
    *wanted.left.lock().unwrap() = Some(fields);
}

fn refused(wanted: &Instance, actual: &InstanceActual) -> String {
    let error = wanted.refusal(actual).expect("it is refused");
    format!("{error}: {}", error.hint_text().unwrap_or_default())
}

#[tokio::test]
async fn what_aws_changes_by_itself_is_no_difference() {
    let wanted = wanted().await;
    assert_eq!(changed(&wanted, &there(|it| it)), Vec::<String>::new());
    for grown in [
        there(|it| it.engine_version("16.14")),
        there(|it| it.engine_version("17.2")),
        there(|it| it.allocated_storage(35)),
        there(|it| it.backup_retention_period(35)),
        there(|it| it.storage_type("io2").iops(3000)),
        there(|it| it.auto_minor_version_upgrade(false)),
        there(|it| it.copy_tags_to_snapshot(false)),
    ] {
        assert_eq!(changed(&wanted, &grown), Vec::<String>::new());
        assert!(wanted.refusal(&grown).is_none());
        assert_eq!(wanted.remarks(&grown), Vec::<String>::new());
    }
    // A later major version has a parameter group of its own.
    let group = aws_sdk_rds::types::DbParameterGroupStatus::builder()
        .db_parameter_group_name("default.postgres17")
        .build();
    let upgraded = there(|it| {
        it.engine_version("17.2")
            .set_db_parameter_groups(Some(vec![group]))
    });
    assert_eq!(changed(&wanted, &upgraded), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_manifest_takes_back_is_refused_in_words_where_it_cannot_be_had() {
    let mut wanted = wanted().await;
    left(&wanted, "storage", "30 GiB");
    let said = refused(&wanted, &there(|it| it.allocated_storage(30)));
    assert_eq!(
        said,
        "the disk of database `idp-staging-main` has 30 GiB, and no disk shrinks: write `storage = \"30GiB\"` or more"
    );
    // It grew since: nobody asked for that.
    assert!(
        wanted
            .refusal(&there(|it| it.allocated_storage(40)))
            .is_none()
    );
    wanted.spec.version = 15;
    left(&wanted, "version", "16");
    let said = refused(&wanted, &there(|it| it));
    assert!(
        said.contains("is PostgreSQL 16.10 and cannot become 15"),
        "{said}"
    );
    assert!(said.ends_with("write `version = 16`"), "{said}");
    wanted.spec.version = 16;
    left(&wanted, "backup_days", "14");
    let kept = there(|it| it.backup_retention_period(14));
    assert_eq!(changed(&wanted, &kept), ["backup_days"]);
}

#[tokio::test]
async fn a_major_upgrade_goes_to_the_newest_version_that_rds_lets_it_become() {
    let mut wanted = wanted().await;
    wanted.spec.version = 17;
    let mut actual = there(|it| it.engine_version("16.13"));
    assert!(wanted.is_older(&actual));
    actual.upgrades = ["16.14", "17.9", "17.10", "18.3"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(wanted.target(&actual), Some("17.10"));
    assert!(wanted.refusal(&actual).is_none());
    actual.upgrades = vec!["16.14".into(), "18.3".into()];
    let said = refused(&wanted, &actual);
    assert_eq!(
        said,
        "RDS offers no way from PostgreSQL 16.13 to 17 for database `idp-staging-main`: it offers 18"
    );
}

#[tokio::test]
async fn what_another_hand_has_put_off_is_never_made_by_the_way() {
    let mut wanted = wanted().await;
    let values = PendingModifiedValues::builder().db_instance_class("db.m7g.large");
    let waits = there(|it| it.pending_modified_values(values.build()));
    // Nothing is asked for: it is only said.
    assert!(wanted.refusal(&waits).is_none());
    assert_eq!(
        wanted.remarks(&waits),
        ["waits for its maintenance window (sun:09:15-sun:09:45): class -> db.m7g.large"]
    );
    // What takes effect in any case is no harm.
    wanted.spec.deletion_protection = false;
    assert!(wanted.refusal(&waits).is_none());
    assert!(!wanted.is_to_be_at_once(&changes(&wanted, &waits)));
    wanted.spec.storage_gib = 30;
    assert!(wanted.is_to_be_at_once(&changes(&wanted, &waits)));
    let said = refused(&wanted, &waits);
    assert!(
        said.contains("changing storage of database `idp-staging-main` now"),
        "{said}"
    );
    assert!(said.contains("class -> db.m7g.large"), "{said}");
    wanted.maintenance = Maintenance::Window;
    assert!(wanted.refusal(&waits).is_none());
    assert!(!wanted.is_to_be_at_once(&changes(&wanted, &waits)));
    // The same change asked for by the manifest is ours.
    wanted.maintenance = Maintenance::Now;
    wanted.spec.storage_gib = 20;
    wanted.spec.class = "db.m7g.large".into();
    assert!(wanted.refusal(&waits).is_none());
}

#[tokio::test]
async fn what_waits_for_the_window_is_not_asked_for_again() {
    let mut wanted = wanted().await;
    wanted.maintenance = Maintenance::Window;
    wanted.spec.class = "db.m7g.large".into();
    wanted.spec.version = 17;
    wanted.parameter_group = Value::Given("idp-staging-main-postgres17".into());
    let values = PendingModifiedValues::builder()
        .db_instance_class("db.m7g.large")
        .engine_version("17.9");
    let waits = there(|it| it.pending_modified_values(values.build()));
    assert_eq!(changed(&wanted, &waits), Vec::<String>::new());
    let said = wanted.remarks(&waits).join("\n");
    assert!(
        said.contains("class -> db.m7g.large, version -> 17.9"),
        "{said}"
    );
    wanted.maintenance = Maintenance::Now;
    assert_eq!(
        changed(&wanted, &waits),
        ["class", "parameter_group", "version"]
    );
}

#[tokio::test]
async fn an_adopted_instance_keeps_what_the_manifest_does_not_say() {
    let mut wanted = wanted().await;
    wanted.spec.adopt = true;
    wanted.spec.unsaid = [
        "version",
        "class",
        "storage",
        "high_availability",
        "backup_days",
        "deletion_protection",
        "user",
        "database",
    ]
    .map(str::to_owned)
    .into();
    let found = there(|it| {
        it.engine_version("14.9")
            .db_instance_class("db.r6g.xlarge")
            .allocated_storage(500)
            .multi_az(true)
            .backup_retention_period(0)
            .deletion_protection(false)
            .storage_encrypted(false)
            .publicly_accessible(true)
            .master_username("postgres")
            .set_db_name(None)
    });
    assert_eq!(changed(&wanted, &found), Vec::<String>::new());
    assert!(wanted.refusal(&found).is_none());
    let place = wanted.place_in(&found);
    assert_eq!(
        (place.user.as_str(), place.database.as_str()),
        ("postgres", "postgres")
    );
    // What it says is compared, and a master user that it is not is refused.
    wanted.spec.unsaid.remove("deletion_protection");
    assert_eq!(changed(&wanted, &found), ["deletion_protection"]);
    wanted.spec.unsaid.remove("database");
    assert_eq!(wanted.place_in(&found).database, "idp");
    wanted.spec.unsaid.remove("user");
    assert!(refused(&wanted, &found).ends_with("write `user = \"postgres\"`"));
}

#[tokio::test]
async fn another_engine_or_a_password_that_rds_keeps_is_refused_by_name() {
    let wanted = wanted().await;
    let said = refused(
        &wanted,
        &there(|it| it.engine("mysql").engine_version("8.0.40")),
    );
    assert!(
        said.starts_with("database `idp-staging-main` is `mysql`"),
        "{said}"
    );
    let secret = aws_sdk_rds::types::MasterUserSecret::builder().build();
    let said = refused(&wanted, &there(|it| it.master_user_secret(secret)));
    assert!(said.contains("in a secret of its own"), "{said}");
}

#[tokio::test]
async fn what_is_a_part_of_something_else_is_refused_by_name() {
    let wanted = wanted().await;
    let replica = there(|it| it.read_replica_source_db_instance_identifier("main"));
    let error = wanted.refusal(&replica).expect("it is refused");
    assert!(
        error.to_string().contains("is a read replica of `main`"),
        "{error}"
    );
    let neither = there(|it| {
        it.read_replica_source_db_instance_identifier("")
            .db_cluster_identifier("")
    });
    assert!(wanted.refusal(&neither).is_none());
    let member = there(|it| it.db_cluster_identifier("idp"));
    let error = wanted.refusal(&member).expect("it is refused");
    assert!(
        error
            .to_string()
            .contains("is a member of the cluster `idp`"),
        "{error}"
    );
}

#[tokio::test]
async fn an_instance_is_moved_to_another_vpc_and_within_one_it_stays() {
    let wanted = wanted().await;
    let placed = |name: &str, vpc: &str| {
        let group = aws_sdk_rds::types::DbSubnetGroup::builder();
        group.db_subnet_group_name(name).vpc_id(vpc).build()
    };
    let mut other = there(|it| it.db_subnet_group(placed("theirs", "vpc-1")));
    let changed = |actual: &InstanceActual| {
        let changes = wanted.told(actual).changes_to(&wanted.wished());
        changes.iter().any(|change| change.field == "subnet_group")
    };
    assert_eq!(
        wanted.other_subnet_group(&other).as_deref(),
        Some("subnets")
    );
    other.wanted_vpc = Some("vpc-2".into());
    assert!(changed(&other));
    other.wanted_vpc = Some("vpc-1".into());
    assert!(!changed(&other));
    assert!(wanted.remarks(&other)[0].contains("not moved to `subnets`"));
}
