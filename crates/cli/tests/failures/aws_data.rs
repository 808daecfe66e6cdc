//! Databases and caches of AWS live on beside the program: AWS upgrades and grows them, operators
//! put changes off, others made them. Nothing of it is undone, replaced or set off by the way.

use std::time::Duration;

use aws_sdk_rds::types::{ApplyMethod, DbInstance, Parameter};
use deployer::Exit;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, run, says};

crate::tests! {
    groups_of_data_that_are_known_late_are_waited_for => known_late,
    a_protected_database_that_is_busy_is_deleted_in_the_end => protected_and_busy,
    a_database_is_not_moved_within_its_vpc => in_other_subnets,
    a_second_plan_with_a_database_of_any_version_is_empty => second_plan,
    what_aws_upgrades_or_grows_by_itself_is_neither_replaced_nor_shown => upgraded_by_aws,
    a_major_upgrade_that_is_killed_anywhere_ends_on_its_own_parameter_group_alone => major_upgrade_killed,
    a_major_upgrade_goes_to_a_version_that_rds_lets_it_become_and_nothing_goes_back => major_upgrade,
    disks_grow_as_rds_lets_them_and_none_shrinks => disks,
    what_another_hand_put_off_until_the_window_is_never_made_by_the_way => put_off_by_others,
    replicas_that_somebody_added_stay => more_replicas,
    a_version_past_its_standard_support_is_refused_where_no_support_is_paid_for => past_support,
    a_database_is_verified_by_the_authority_that_is_handed_out => authorities,
    what_aws_refuses_until_it_is_ready_is_tried_again => first_use,
}

pub const DATABASE: &str = "swept-test-main";
pub const CACHE: &str = "swept-test-sessions";
pub const WITH_DATA: Wanted = Wanted {
    data: true,
    ..Wanted::FIRST
};
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
pub const OVERLAY: &str = "deployer.test.toml";
/// Longer than anything here takes.
pub const SETTLED: Duration = Duration::from_secs(3600);

pub async fn rds(stage: &Stage) -> aws_sdk_rds::Client {
    aws_sdk_rds::Client::new(&stage.aws().await)
}

pub async fn elasticache(stage: &Stage) -> aws_sdk_elasticache::Client {
    aws_sdk_elasticache::Client::new(&stage.aws().await)
}

pub async fn instance(stage: &Stage) -> DbInstance {
    let seen = rds(stage).await.describe_db_instances();
    let seen = seen.db_instance_identifier(DATABASE).send().await;
    seen.expect("it is there").db_instances()[0].clone()
}

pub async fn cache(stage: &Stage) -> aws_sdk_elasticache::types::ReplicationGroup {
    let seen = elasticache(stage).await.describe_replication_groups();
    let seen = seen.replication_group_id(CACHE).send().await;
    seen.expect("it is there").replication_groups()[0].clone()
}

pub async fn secret(stage: &Stage, key: &str) -> String {
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let read = secrets.get_secret_value();
    let read = read.secret_id(format!("/swept/test/{key}")).send().await;
    let read = read.expect("it is there").secret_string;
    read.expect("text")
}

/// The plan is empty and nothing is written.
pub async fn nothing_to_do(stage: &Stage, after: &str) -> String {
    stage.calls.arm(None);
    let said = run(stage, PLAN, "aws", Exit::Success).await;
    assert!(said.contains("No changes"), "after {after}:\n{said}");
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new(), "after {after}");
    said
}

async fn first(stage: &Stage, overlay: &str) {
    stage.want(&WITH_DATA);
    stage.file(OVERLAY, overlay);
    applied(stage).await;
}

/// Applies and lets RDS make its backup or settle its disk: it takes no other change meanwhile.
async fn applied(stage: &Stage) {
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(SETTLED).await;
}

/// From PostgreSQL 15 on RDS tells `rds.force_ssl = 1` as its own default, although it was set.
async fn second_plan(stage: &Stage) {
    first(stage, "[databases.main]\nversion = 18\n").await;
    nothing_to_do(stage, "the first apply with PostgreSQL 18").await;
    assert_eq!(instance(stage).await.engine_version(), Some("18.1"));
    // What somebody sets otherwise is put back.
    let parameter = Parameter::builder()
        .parameter_name("rds.force_ssl")
        .parameter_value("0")
        .apply_method(ApplyMethod::Immediate)
        .build();
    let set = rds(stage).await.modify_db_parameter_group();
    let set = set
        .db_parameter_group_name(format!("{DATABASE}-postgres18"))
        .parameters(parameter);
    set.send().await.expect("the group is there");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["rds.force_ssl: 0 -> 1"]);
}

async fn modified(
    stage: &Stage,
    change: impl FnOnce(
        aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder,
    ) -> aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder,
) {
    let call = rds(stage).await.modify_db_instance();
    let call = change(call.db_instance_identifier(DATABASE));
    call.send().await.expect("RDS takes it");
    stage.time.pass(SETTLED).await;
}

async fn cache_becomes(stage: &Stage, engine: &str, version: &str) {
    let call = elasticache(stage).await.modify_replication_group();
    let call = call
        .replication_group_id(CACHE)
        .engine(engine)
        .engine_version(version)
        .apply_immediately(true);
    call.send().await.expect("ElastiCache takes it");
    stage.time.pass(SETTLED).await;
}

async fn upgraded_by_aws(stage: &Stage) {
    first(stage, "").await;
    nothing_to_do(stage, "the first apply").await;
    modified(stage, |it| {
        it.engine_version("16.13").apply_immediately(true)
    })
    .await;
    nothing_to_do(stage, "a new minor version").await;
    modified(stage, |it| it.allocated_storage(31).apply_immediately(true)).await;
    nothing_to_do(stage, "a disk that grew").await;
    modified(stage, |it| it.backup_retention_period(21)).await;
    nothing_to_do(stage, "backups that are kept longer").await;
    modified(stage, |it| {
        it.auto_minor_version_upgrade(false)
            .copy_tags_to_snapshot(false)
    })
    .await;
    nothing_to_do(stage, "settings that the manifest does not have").await;
    cache_becomes(stage, "redis", "7.1").await;
    nothing_to_do(stage, "a cache's own upgrade").await;
    cache_becomes(stage, "valkey", "8.0").await;
    nothing_to_do(stage, "an upgrade to Valkey").await;
}

async fn parameter_groups(stage: &Stage) -> Vec<String> {
    let seen = rds(stage).await.describe_db_parameter_groups();
    let seen = seen.send().await.expect("groups");
    let names = seen.db_parameter_groups().iter();
    let names = names.filter_map(|it| it.db_parameter_group_name());
    let ours = names.filter(|it| it.starts_with(DATABASE));
    ours.map(str::to_owned).collect()
}

/// The new group, the instance that moves to it, the old group's delete: at each write of the
/// ledger the process ends.
async fn major_upgrade_killed(stage: &Stage) {
    let begun = async |stage: &Stage| {
        first(stage, "").await;
        modified(stage, |it| {
            it.engine_version("16.13").apply_immediately(true)
        })
        .await;
        stage.file(OVERLAY, "[databases.main]\nversion = 17\n");
    };
    begun(stage).await;
    stage.ledger.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let writes = stage.ledger.writes();
    assert!(writes > 10, "{writes}");
    for nth in (1..=writes).step_by(2) {
        let crash = match nth % 4 {
            1 => Crash::Before(nth),
            _ => Crash::After(nth),
        };
        let stage = Stage::set(&stage.time).await;
        begun(&stage).await;
        stage.ledger.arm(Some(crash));
        let (ended, said) = stage.run(APPLY, "aws").await;
        stage.ledger.arm(None);
        assert!(
            matches!(ended, Ended::Killed),
            "{crash:?}: {ended:?}\n{said}"
        );
        let there = parameter_groups(&stage).await;
        let used = instance(&stage).await;
        let used = used.db_parameter_groups()[0].db_parameter_group_name();
        let used = used.unwrap_or_default().to_owned();
        assert!(there.contains(&used), "{crash:?}: {used} of {there:?}");
        // A killed process gives no lock back: the next one waits until the lease has ended.
        stage.time.pass(Duration::from_secs(300)).await;
        run(&stage, APPLY, "aws", Exit::Success).await;
        let there = parameter_groups(&stage).await;
        assert_eq!(there, ["swept-test-main-postgres17"], "{crash:?}");
        run(&stage, PLAN, "aws", Exit::Success).await;
        stage.clear().await;
    }
}

async fn major_upgrade(stage: &Stage) {
    first(stage, "").await;
    modified(stage, |it| {
        it.engine_version("16.13").apply_immediately(true)
    })
    .await;
    stage.file(OVERLAY, "[databases.main]\nversion = 17\n");
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    let replaced = [
        "-/+ rds.parameter_group swept-test-main-postgres17",
        "made first; the old one goes when nothing uses it",
        "takes the place of swept-test-main-postgres16",
        "family: postgres16 -> postgres17",
    ];
    says(&said, &["version: 16 -> 17", "INTERRUPTS"]);
    says(&said, &replaced);
    assert!(
        !said.contains("rds.force_ssl"),
        "only what differs:\n{said}"
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = instance(stage).await;
    assert_eq!(there.engine_version(), Some("17.9"));
    let group = &there.db_parameter_groups()[0];
    assert_eq!(
        group.db_parameter_group_name(),
        Some("swept-test-main-postgres17")
    );
    assert_eq!(group.parameter_apply_status(), Some("in-sync"));
    let tags: Vec<_> = there
        .tag_list()
        .iter()
        .filter_map(|tag| tag.key())
        .collect();
    assert!(!tags.contains(&"deployer:reboot"), "{tags:?}");
    nothing_to_do(stage, "a major upgrade").await;
    // Nothing goes back.
    stage.file(OVERLAY, "[databases.main]\nversion = 16\n");
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Input).await;
    says(
        &said,
        &["is PostgreSQL 17.9 and cannot become 16", "version = 17"],
    );
    assert!(!said.contains("--allow-data-loss"), "{said}");
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

async fn disks(stage: &Stage) {
    first(stage, "[databases.main]\nstorage = \"100GiB\"\n").await;
    // RDS makes it a tenth more at least.
    stage.file(OVERLAY, "[databases.main]\nstorage = \"105GiB\"\n");
    applied(stage).await;
    assert_eq!(instance(stage).await.allocated_storage(), Some(110));
    nothing_to_do(stage, "a disk that RDS made larger than asked for").await;
    // From 400 GiB on its speed must be named.
    for (size, gib) in [("400GiB", 400), ("500GiB", 500)] {
        stage.file(
            OVERLAY,
            &format!("[databases.main]\nstorage = \"{size}\"\n"),
        );
        applied(stage).await;
        let there = instance(stage).await;
        assert_eq!(
            (there.allocated_storage(), there.iops()),
            (Some(gib), Some(12_000))
        );
        nothing_to_do(stage, "a larger disk").await;
    }
    stage.file(OVERLAY, "[databases.main]\nstorage = \"200GiB\"\n");
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Input).await;
    says(
        &said,
        &["has 500 GiB, and no disk shrinks", "storage = \"500GiB\""],
    );
    assert!(!said.contains("--allow-data-loss"), "{said}");
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// Somebody queued a larger class for Sunday.
async fn put_off_by_others(stage: &Stage) {
    first(stage, "").await;
    modified(stage, |it| {
        it.db_instance_class("db.m7g.large")
            .apply_immediately(false)
    })
    .await;
    let said = nothing_to_do(stage, "a change that waits for the window").await;
    says(
        &said,
        &["waits for its maintenance window", "class -> db.m7g.large"],
    );
    // Of what takes effect in any case, nothing sets it off.
    stage.file(OVERLAY, "[databases.main]\nbackup_days = 14\n");
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(SETTLED).await;
    let there = instance(stage).await;
    assert_eq!(there.backup_retention_period(), Some(14));
    assert_eq!(there.db_instance_class(), Some("db.t4g.medium"));
    // What would is refused.
    let larger = "[databases.main]\nbackup_days = 14\nstorage = \"30GiB\"\n";
    stage.file(OVERLAY, larger);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(
        &said,
        &["class -> db.m7g.large", "maintenance = \"window\""],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let window = "[targets.aws.databases.main]\nmaintenance = \"window\"\n";
    stage.file(OVERLAY, &format!("{larger}{window}"));
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &["takes effect in its maintenance window"]);
    stage.time.pass(SETTLED).await;
    let there = instance(stage).await;
    assert_eq!(there.allocated_storage(), Some(20));
    assert_eq!(there.db_instance_class(), Some("db.t4g.medium"));
    let said = nothing_to_do(stage, "changes that wait for the window").await;
    says(&said, &["storage -> 30 GiB"]);
    // A static parameter that another hand changed waits for a reboot of theirs.
    let parameter = Parameter::builder()
        .parameter_name("max_connections")
        .parameter_value("200")
        .apply_method(ApplyMethod::PendingReboot)
        .build();
    let set = rds(stage).await.modify_db_parameter_group();
    let set = set
        .db_parameter_group_name(format!("{DATABASE}-postgres16"))
        .parameters(parameter);
    set.send().await.expect("the group is there");
    stage.time.pass(SETTLED).await;
    let said = nothing_to_do(stage, "a parameter that waits for a reboot").await;
    says(&said, &["aws rds reboot-db-instance"]);
}

/// `high_availability` promises a replica; it does not say that there is no other.
async fn more_replicas(stage: &Stage) {
    first(stage, "[caches.sessions]\nhigh_availability = true\n").await;
    let more = elasticache(stage).await.increase_replica_count();
    let more = more.replication_group_id(CACHE).new_replica_count(3);
    let more = more.apply_immediately(true).send().await;
    more.expect("ElastiCache takes it");
    stage.time.pass(SETTLED).await;
    nothing_to_do(stage, "two more replicas").await;
    assert_eq!(cache(stage).await.member_clusters().len(), 4);
}

/// Who pays for no extended support gets no version that needs it.
async fn past_support(stage: &Stage) {
    stage.want(&WITH_DATA);
    let no_support = "[targets.aws.databases.main]\nextended_support = false\n";
    stage.file(
        OVERLAY,
        &format!("[databases.main]\nversion = 13\n{no_support}"),
    );
    let (_, said) = stage.run(APPLY, "aws").await;
    says(&said, &["past its RDS end of standard support date"]);
    stage.file(OVERLAY, no_support);
    run(stage, APPLY, "aws", Exit::Success).await;
    let support = instance(stage).await.engine_lifecycle_support;
    assert_eq!(
        support.as_deref(),
        Some("open-source-rds-extended-support-disabled")
    );
    // It is asked for once: an instance that is there stays as it is.
    stage.file(OVERLAY, "");
    nothing_to_do(stage, "the key is taken out").await;
}

async fn authorities(stage: &Stage) {
    let environment = "[services.idp.env]\nDATABASE_CA = { secret = \"main-ca\" }\n";
    let verify = format!("{environment}[databases.main]\nsslmode = \"verify-full\"\n");
    first(stage, &verify).await;
    let url = secret(stage, "database-url").await;
    assert!(url.ends_with("?sslmode=verify-full"), "the app verifies");
    let bundle = secret(stage, "main-ca").await;
    assert!(
        bundle.starts_with("-----BEGIN CERTIFICATE-----"),
        "{bundle}"
    );
    nothing_to_do(stage, "an apply with the authority").await;
    // A file of one's own wins.
    let own = "-----BEGIN CERTIFICATE-----\nb3du\n-----END CERTIFICATE-----\n";
    stage.file("own.pem", own);
    let file = "[targets.aws.databases.main]\nauthority_file = \"own.pem\"\n";
    stage.file(OVERLAY, &format!("{verify}{file}"));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(secret(stage, "main-ca").await, own);
    let absent = "[targets.aws.databases.main]\nauthority_file = \"absent.pem\"\n";
    stage.file(OVERLAY, &format!("{verify}{absent}"));
    let (_, said) = stage.run(&["plan"], "aws").await;
    says(&said, &["absent.pem", "authority_file"]);
}

/// The role that RDS and ElastiCache work with is made when they are first used, and a secret is
/// not known everywhere at once.
async fn first_use(stage: &Stage) {
    stage.want(&WITH_DATA);
    for call in ["rds:CreateDBInstance", "elasticache:CreateReplicationGroup"] {
        let rule =
            format!("[[fault]]\ncall = \"{call}\"\nwhat = \"settling\"\nnth = 1\ntimes = 3\n");
        let stale = "[[fault]]\ncall = \"secretsmanager:GetSecretValue\"\nwhat = \"stale\"\nnth = 1\ntimes = 2\n";
        stage.disturb(&format!("{rule}{stale}")).await;
        run(stage, APPLY, "aws", Exit::Success).await;
        assert_eq!(stage.fired().await, 3, "{call}");
        stage.disturb("").await;
        run(stage, DESTROY, "aws", Exit::Success).await;
    }
}

fn rules(calls: &[&str], what: &str) -> String {
    let rule = |call: &&str| {
        format!("[[fault]]\ncall = \"{call}\"\nwhat = \"{what}\"\nnth = 1\ntimes = 2\n")
    };
    calls.iter().map(rule).collect()
}

/// What was created a moment ago is not known everywhere.
async fn known_late(stage: &Stage) {
    stage.want(&WITH_DATA);
    let calls = [
        "rds:DescribeDBSubnetGroups",
        "rds:DescribeDBParameterGroups",
        "elasticache:DescribeCacheSubnetGroups",
    ];
    stage.disturb(&rules(&calls, "stale")).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired_all().await, [2, 2, 2]);
}

/// A protected database that is busy is waited for, and so is the end of its protection.
async fn protected_and_busy(stage: &Stage) {
    first(stage, "[databases.main]\ndeletion_protection = true\n").await;
    let calls = ["rds:ModifyDBInstance", "rds:DeleteDBInstance"];
    stage.disturb(&rules(&calls, "settling")).await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(stage.fired_all().await, [2, 2]);
}

/// An instance of ours in other subnets of the same VPC stays there: RDS moves it to another VPC
/// only.
async fn in_other_subnets(stage: &Stage) {
    first(stage, "").await;
    let group = rds(stage).await.create_db_subnet_group();
    let group = group
        .db_subnet_group_name("theirs")
        .db_subnet_group_description("theirs")
        .subnet_ids("subnet-0a1b2c3d4e5f60001")
        .subnet_ids("subnet-0a1b2c3d4e5f60002");
    group.send().await.expect("it is made");
    let moved = rds(stage).await.modify_db_instance();
    let moved = moved
        .db_instance_identifier(DATABASE)
        .db_subnet_group_name("theirs")
        .send()
        .await;
    let refused = moved.expect_err("it is refused").into_service_error();
    assert_eq!(refused.meta().code(), Some("InvalidVPCNetworkStateFault"));
}
