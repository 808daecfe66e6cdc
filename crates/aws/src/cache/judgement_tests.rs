//! What is compared, refused and said of a replication group, on descriptions such as ElastiCache
//! gives them.

use std::sync::{Arc, Mutex};

use crate::spec::CacheTls;
use aws_sdk_elasticache::types::builders::{CacheClusterBuilder, ReplicationGroupBuilder};
use aws_sdk_elasticache::types::{
    AutomaticFailoverStatus, CacheCluster, GlobalReplicationGroupInfo, MultiAzStatus,
    PendingModifiedValues, ReplicationGroup as Described, TransitEncryptionMode,
};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::SecretVersion;
use deployer_core::fields::Fields;
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Effect, Resource};
use deployer_core::spec::{CacheSpec, EnvironmentSpec};

use super::super::replication_group::{REPLICATION_GROUP, ReplicationGroup};
use super::super::shape::GroupActual;
use crate::client::of_nobody;
use crate::ground::SecurityGroups;
use crate::tags::Tags;

async fn wanted() -> ReplicationGroup {
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
    let address = Address::new(&target, REPLICATION_GROUP, "idp-staging-sessions");
    ReplicationGroup {
        clients: Arc::new(of_nobody().await),
        url: Output::of(&address),
        ownership: crate::tags::ownership(&env, false, &deployer_core::ours::Past::default()),
        spec: CacheSpec {
            key: "sessions".into(),
            name: "idp-staging-sessions".into(),
            version: "7.0".into(),
            class: "cache.t4g.small".into(),
            memory_gib: 1,
            high_availability: false,
            token: Some("sessions-token".into()),
            url: "sessions-url".into(),
            authority: None,
            adopt: false,
            unsaid: Default::default(),
        },
        security_groups: Value::Given(SecurityGroups(Vec::new())),
        subnet_group: Value::Given("subnets".into()),
        is_to_be_there: false,
        tls: CacheTls::Required,
        token: Value::Given(SecretVersion {
            secret: "s".into(),
            version: "v1".into(),
        }),
        secret: "s".into(),
        left: Mutex::new(None),
        address,
    }
}

/// A group as this program makes them, with changes made to its description and its member's.
fn there(
    group: impl FnOnce(ReplicationGroupBuilder) -> ReplicationGroupBuilder,
    member: impl FnOnce(CacheClusterBuilder) -> CacheClusterBuilder,
) -> GroupActual {
    let usual = Described::builder()
        .status("available")
        .engine("redis")
        .cache_node_type("cache.t4g.small")
        .member_clusters("idp-staging-sessions-001")
        .automatic_failover(AutomaticFailoverStatus::Disabled)
        .multi_az(MultiAzStatus::Disabled)
        .transit_encryption_enabled(true)
        .transit_encryption_mode(TransitEncryptionMode::Required)
        .at_rest_encryption_enabled(true)
        .auth_token_enabled(true);
    let of_member = CacheCluster::builder()
        .engine("redis")
        .engine_version("7.0.7")
        .cache_subnet_group_name("subnets")
        .preferred_maintenance_window("sun:05:00-sun:06:00");
    let tags: Tags = [("deployer", "idp/staging"), ("deployer:token", "v1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let mut actual = GroupActual::of(
        &group(usual).build(),
        Some(&member(of_member).build()),
        Some(tags),
    );
    actual.token = Some("hunter2".into());
    actual
}

fn changed(wanted: &ReplicationGroup, actual: &GroupActual) -> Vec<String> {
    let changes = wanted.told(actual).changes_to(&wanted.wished());
    changes.into_iter().map(|change| change.field).collect()
}

fn refused(wanted: &ReplicationGroup, actual: &GroupActual) -> String {
    let error = wanted.refusal(actual).expect("it is refused");
    format!("{error}: {}", error.hint_text().unwrap_or_default())
}

#[tokio::test]
async fn what_aws_upgrades_by_itself_and_valkey_are_no_difference() {
    let wanted = wanted().await;
    for upgraded in [
        there(|it| it, |it| it),
        there(|it| it, |it| it.engine_version("7.1.0")),
        there(
            |it| it.engine("valkey"),
            |it| it.engine("valkey").engine_version("7.2.6"),
        ),
        there(
            |it| it.engine("valkey"),
            |it| it.engine("valkey").engine_version("8.1.0"),
        ),
        there(|it| it.auto_minor_version_upgrade(false), |it| it),
    ] {
        assert_eq!(changed(&wanted, &upgraded), Vec::<String>::new());
        assert!(wanted.refusal(&upgraded).is_none());
        assert_eq!(wanted.remarks(&upgraded), Vec::<String>::new());
    }
    assert_eq!(
        changed(&wanted, &there(|it| it, |it| it.engine_version("6.2.6"))),
        ["version"]
    );
}

#[tokio::test]
async fn a_version_that_the_manifest_takes_back_is_refused_in_words() {
    let wanted = wanted().await;
    let mut left = Fields::new();
    left.set("version", "7.1");
    *wanted.left.lock().unwrap() = Some(left);
    let said = refused(&wanted, &there(|it| it, |it| it.engine_version("7.1.0")));
    assert_eq!(
        said,
        "cache `idp-staging-sessions` has version 7.1, and none goes back to 7.0: write `version = \"7.1\"` or later"
    );
}

#[tokio::test]
async fn tls_and_auth_are_switched_on_where_the_engine_can() {
    let wanted = wanted().await;
    let bare = |it: ReplicationGroupBuilder| {
        it.transit_encryption_enabled(false)
            .set_transit_encryption_mode(None)
            .auth_token_enabled(false)
    };
    let plain = there(bare, |it| it);
    assert_eq!(changed(&wanted, &plain), ["auth", "transit_encryption"]);
    assert!(wanted.refusal(&plain).is_none());
    let old = there(bare, |it| it.engine_version("6.2.6"));
    assert!(
        refused(&wanted, &old).contains("version 6.2.6, and TLS is switched on from 7.0.5 on only")
    );
    let early = there(bare, |it| it.engine_version("7.0.4"));
    assert!(refused(&wanted, &early).contains("version 7.0.4"));
}

#[tokio::test]
async fn a_group_of_somebody_goes_on_taking_clients_without_tls_and_token() {
    let mut wanted = wanted().await;
    (wanted.spec.adopt, wanted.tls) = (true, CacheTls::Preferred);
    let plain = there(
        |it| {
            it.transit_encryption_enabled(false)
                .set_transit_encryption_mode(None)
                .auth_token_enabled(false)
        },
        |it| it,
    );
    let changes = wanted.told(&plain).changes_to(&wanted.wished());
    let news = changes.iter().map(|change| change.new.as_ref());
    let news: Vec<String> = news.flatten().map(ToString::to_string).collect();
    assert_eq!(news, ["begun", "preferred"]);
    for change in &changes {
        assert_eq!(wanted.cost(change, &plain), Effect::InPlace, "{change:?}");
    }
    assert!(wanted.remarks(&plain)[0].contains("`tls = \"required\"`"));
    // What asks for more is left so.
    assert_eq!(
        changed(&wanted, &there(|it| it, |it| it)),
        Vec::<String>::new()
    );
    assert_eq!(
        wanted.remarks(&there(|it| it, |it| it)),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn more_replicas_than_asked_for_stay() {
    let mut wanted = wanted().await;
    wanted.spec.high_availability = true;
    let three = there(
        |it| {
            it.member_clusters("idp-staging-sessions-002")
                .member_clusters("idp-staging-sessions-003")
                .automatic_failover(AutomaticFailoverStatus::Enabled)
                .multi_az(MultiAzStatus::Enabled)
        },
        |it| it,
    );
    assert_eq!(changed(&wanted, &three), Vec::<String>::new());
    wanted.spec.high_availability = false;
    assert_eq!(
        changed(&wanted, &three),
        ["automatic_failover", "multi_az", "nodes"]
    );
}

#[tokio::test]
async fn a_new_token_leaves_the_one_before_valid_and_says_so() {
    let mut wanted = wanted().await;
    wanted.token = Value::Given(SecretVersion {
        secret: "s".into(),
        version: "v2".into(),
    });
    let said = wanted.remarks(&there(|it| it, |it| it));
    assert!(said[0].contains("the one before stays valid"), "{said:?}");
}

#[tokio::test]
async fn a_group_that_lets_clients_in_otherwise_is_refused_by_name() {
    let wanted = wanted().await;
    let users = there(
        |it| it.user_group_ids("team").auth_token_enabled(false),
        |it| it,
    );
    assert!(refused(&wanted, &users).contains("user groups (RBAC)"));
    let shards = there(|it| it.cluster_enabled(true), |it| it);
    assert!(refused(&wanted, &shards).contains("a cluster of shards"));
    let info = GlobalReplicationGroupInfo::builder()
        .global_replication_group_id("ldgnf-sessions")
        .global_replication_group_member_role("SECONDARY");
    let global = there(|it| it.global_replication_group_info(info.build()), |it| it);
    assert!(refused(&wanted, &global).contains("Global Datastore `ldgnf-sessions`"));
}

#[tokio::test]
async fn an_adopted_group_keeps_what_the_manifest_does_not_say() {
    let mut wanted = wanted().await;
    wanted.spec.adopt = true;
    wanted.spec.unsaid = ["version", "class", "high_availability"]
        .map(str::to_owned)
        .into();
    let found = there(
        |it| {
            it.cache_node_type("cache.r7g.large")
                .member_clusters("idp-staging-sessions-002")
                .automatic_failover(AutomaticFailoverStatus::Enabled)
                .multi_az(MultiAzStatus::Enabled)
                .at_rest_encryption_enabled(false)
        },
        |it| it.engine_version("6.2.6").cache_subnet_group_name("theirs"),
    );
    assert_eq!(changed(&wanted, &found), Vec::<String>::new());
    wanted.spec.unsaid.remove("class");
    assert_eq!(changed(&wanted, &found), ["class"]);
}

#[tokio::test]
async fn what_another_hand_has_put_off_is_never_made_by_the_way() {
    let mut wanted = wanted().await;
    let values = PendingModifiedValues::builder().cache_node_type("cache.r7g.large");
    let waits = there(|it| it, |it| it.pending_modified_values(values.build()));
    assert!(wanted.refusal(&waits).is_none());
    assert_eq!(
        wanted.remarks(&waits),
        ["waits for its maintenance window (sun:05:00-sun:06:00): class -> cache.r7g.large"]
    );
    wanted.spec.version = "7.1".into();
    assert!(refused(&wanted, &waits).contains("class -> cache.r7g.large"));
    wanted.spec.version = "7.0".into();
    wanted.spec.class = "cache.r7g.large".into();
    assert!(wanted.refusal(&waits).is_none());
}
