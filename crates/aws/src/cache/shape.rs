//! A replication group as ElastiCache describes it: its fields, whether it is usable, and what a
//! change costs; pure.

use aws_sdk_elasticache::types::{
    AutomaticFailoverStatus, CacheCluster, MultiAzStatus, ReplicationGroup,
    ReplicationGroupPendingModifiedValues, TransitEncryptionMode,
};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Effect;
use deployer_core::ours::Stranger;
use deployer_core::wait::Readiness;
use secrecy::SecretString;

use crate::tags::{self, Ownership, Tags};

/// The tag that says which version of the token's secret was set; ElastiCache tells no more about a
/// token.
pub(super) const TOKEN_TAG: &str = "deployer:token";

/// The tag of a group that is given AUTH by this program: between the two steps it takes every
/// client, with a token or without.
pub(super) const AUTH_TAG: &str = "deployer:auth";

/// The fields that only the member clusters tell.
const TOLD_BY_MEMBERS: [&str; 3] = ["version", "security_groups", "subnet_group"];

/// A replication group as ElastiCache has it.
#[derive(Clone, Debug)]
pub(crate) struct GroupActual {
    pub(super) arn: String,
    pub(super) status: String,
    pub(super) endpoint: Option<(String, i32)>,
    pub(super) nodes: usize,
    /// The version of the secret whose value is the token.
    pub(super) token_version: Option<String>,
    /// That value, when it was asked for and is still there.
    pub(super) token: Option<SecretString>,
    /// With the tag of the token; `None` where they are not told, as while the group changes.
    pub(super) tags: Option<Tags>,
    pub(super) description: String,
    /// Whether it lets clients in by user groups (RBAC) and not by a token.
    pub(super) has_users: bool,
    /// Whether it has several shards, or may have.
    pub(super) has_shards: bool,
    /// The Global Datastore that it is a member of, if any.
    pub(super) part_of: Option<String>,
    /// Whether AUTH has begun to be switched on, and clients without a token are taken still.
    pub(super) auth_begun: bool,
    /// What waits for the maintenance window, by field: only members tell.
    pub(super) waits: Vec<(&'static str, String)>,
    /// When that is.
    pub(super) window: String,
    /// With its patch version: `7.0.7`. Only members tell.
    pub(super) full_version: Option<String>,
    /// Whether a member was described: an emulator may have none.
    has_member: bool,
    pending: Vec<&'static str>,
    fields: Fields,
}

impl GroupActual {
    /// What ElastiCache described; the token is not known.
    pub(super) fn of(
        group: &ReplicationGroup,
        member: Option<&CacheCluster>,
        tags: Option<Tags>,
    ) -> Self {
        let primary = group.node_groups().first();
        let endpoint = primary.and_then(|node_group| node_group.primary_endpoint());
        let mut fields = described(group);
        if let Some(member) = member {
            describe_member(&mut fields, member);
        }
        Self {
            arn: group.arn().unwrap_or_default().to_owned(),
            status: group.status().unwrap_or_default().to_owned(),
            endpoint: endpoint
                .and_then(|endpoint| Some((endpoint.address()?.to_owned(), endpoint.port()?))),
            nodes: group.member_clusters().len(),
            token_version: tags.as_ref().and_then(|tags| tags.get(TOKEN_TAG)).cloned(),
            token: None,
            has_users: !group.user_group_ids().is_empty(),
            has_shards: group.cluster_enabled().unwrap_or_default(),
            part_of: group
                .global_replication_group_info()
                .and_then(|info| info.global_replication_group_id())
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            auth_begun: tags
                .as_ref()
                .is_some_and(|tags| tags.contains_key(AUTH_TAG)),
            waits: member.map(waits).unwrap_or_default(),
            window: member
                .and_then(|member| member.preferred_maintenance_window())
                .unwrap_or_default()
                .to_owned(),
            tags,
            description: group.description().unwrap_or_default().to_owned(),
            full_version: member
                .and_then(|member| member.engine_version())
                .map(str::to_owned),
            has_member: member.is_some(),
            pending: group
                .pending_modified_values()
                .map(pending)
                .unwrap_or_default(),
            fields,
        }
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = self.fields.clone();
        if let Some(version) = &self.token_version {
            let gone = if self.token.is_some() { "" } else { " (gone)" };
            fields.set("token", format!("{}{gone}", tags::version_text(version)));
        }
        if self.auth_begun {
            fields.set("auth", "begun");
        }
        let mut tags = self.tags.clone().unwrap_or_default();
        tags.remove(TOKEN_TAG);
        tags.remove(AUTH_TAG);
        tags::describe(&mut fields, &tags);
        fields
    }

    /// How we know that it is not ours; where its tags are not told now, by its description.
    pub(crate) fn foreign_to(&self, ownership: &Ownership) -> Option<Stranger> {
        match &self.tags {
            Some(tags) => ownership.foreign(tags),
            None => tags::foreign_by(ownership, &self.description),
        }
    }

    /// Whether ElastiCache tells its tags now.
    pub(crate) fn tells_tags(&self) -> bool {
        self.tags.is_some()
    }

    /// Whether it talks to clients without TLS only.
    pub(super) fn has_no_tls(&self) -> bool {
        self.fields.get("transit_encryption") == Some(&FieldValue::Known("off".into()))
    }

    /// Whether it asks no client for a token.
    pub(super) fn has_no_auth(&self) -> bool {
        self.fields.get("auth") == Some(&FieldValue::Known("false".into()))
    }

    /// Whether the field is one that nobody told.
    pub(super) fn is_untold(&self, field: &str) -> bool {
        let by_tags = field == "token" || field.starts_with("tags.");
        (!self.has_member && TOLD_BY_MEMBERS.contains(&field)) || (self.tags.is_none() && by_tags)
    }

    /// Whether ElastiCache takes changes now.
    pub(super) fn takes_changes(&self) -> bool {
        self.status == "available" && self.pending.is_empty()
    }

    /// Whether clients can use it as it was asked for.
    pub(super) fn readiness(&self) -> Readiness {
        match (readiness(&self.status, &self.pending), &self.endpoint) {
            (Readiness::Ready, None) => Readiness::Pending("it has no address yet".into()),
            (state, _) => state,
        }
    }
}

fn described(group: &ReplicationGroup) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("class", group.cache_node_type());
    fields.set("nodes", group.member_clusters().len());
    let failover = matches!(
        group.automatic_failover(),
        Some(AutomaticFailoverStatus::Enabled | AutomaticFailoverStatus::Enabling)
    );
    fields.set("automatic_failover", failover);
    let multi_az = group.multi_az() == Some(&MultiAzStatus::Enabled);
    fields.set("multi_az", multi_az);
    fields.set("transit_encryption", transit(group));
    let at_rest = group.at_rest_encryption_enabled().unwrap_or_default();
    fields.set("at_rest_encryption", at_rest);
    fields.set("auth", group.auth_token_enabled().unwrap_or_default());
    if group.status() == Some("create-failed") {
        fields.set("state", "create-failed");
    }
    fields
}

fn transit(group: &ReplicationGroup) -> &str {
    match group.transit_encryption_mode() {
        _ if !group.transit_encryption_enabled().unwrap_or_default() => "off",
        Some(TransitEncryptionMode::Preferred) => "preferred",
        _ => "required",
    }
}

/// What a member has been told to become, and has not become yet.
fn waits(member: &CacheCluster) -> Vec<(&'static str, String)> {
    let Some(values) = member.pending_modified_values() else {
        return Vec::new();
    };
    let nodes = values.num_cache_nodes().map(|nodes| nodes.to_string());
    [
        ("class", values.cache_node_type().map(str::to_owned)),
        ("version", values.engine_version().map(str::to_owned)),
        ("nodes", nodes),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((field, value?)))
    .collect()
}

fn describe_member(fields: &mut Fields, member: &CacheCluster) {
    fields.set_some("version", member.engine_version().map(major_and_minor));
    let mut groups: Vec<&str> = member
        .security_groups()
        .iter()
        .filter(|group| group.status() != Some("removing"))
        .filter_map(|group| group.security_group_id())
        .collect();
    groups.sort_unstable();
    fields.set("security_groups", groups.join(", "));
    fields.set_some("subnet_group", member.cache_subnet_group_name());
}

/// Patch versions come and go by themselves: `7.0.7` is 7.0.
fn major_and_minor(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn pending(values: &ReplicationGroupPendingModifiedValues) -> Vec<&'static str> {
    [
        ("token", values.auth_token_status().is_some()),
        (
            "automatic_failover",
            values.automatic_failover_status().is_some(),
        ),
        (
            "transit_encryption",
            values.transit_encryption_mode().is_some()
                || values.transit_encryption_enabled().is_some(),
        ),
    ]
    .into_iter()
    .filter_map(|(field, is_pending)| is_pending.then_some(field))
    .collect()
}

fn readiness(status: &str, pending: &[&str]) -> Readiness {
    match status {
        "available" | "snapshotting" if pending.is_empty() => Readiness::Ready,
        "available" | "snapshotting" => {
            Readiness::Pending(format!("ElastiCache still applies {}", pending.join(", ")))
        }
        "deleting" => Readiness::Failed("it is being deleted".into()),
        "create-failed" => Readiness::Failed("ElastiCache says `create-failed`".into()),
        _ => Readiness::Pending(format!("ElastiCache says `{status}`")),
    }
}

/// What a change of a group costs: what cannot be changed is made anew, and what it held is lost.
pub(super) fn effect(change: &FieldChange) -> Effect {
    let was = |word: &str| change.old == Some(FieldValue::Known(word.into()));
    let becomes = |word: &str| change.new == Some(FieldValue::Known(word.into()));
    match change.field.as_str() {
        // It was never made.
        "state" => Effect::Replace,
        "at_rest_encryption" => Effect::LosesData,
        // A single node is made anew, with replicas there is a fail-over (user guide, "Upgrading
        // engine versions", "Scaling"); clients without TLS or token are cut off at the end.
        "transit_encryption" if becomes("preferred") => Effect::InPlace,
        "auth" if becomes("begun") => Effect::InPlace,
        "class" | "version" | "transit_encryption" => Effect::Interrupts,
        "auth" if was("false") || was("begun") => Effect::Interrupts,
        _ => Effect::InPlace,
    }
}

/// Whether a change is put off until the maintenance window unless ElastiCache is told to make it
/// at once.
pub(super) fn may_wait(change: &FieldChange) -> bool {
    // The token and TLS must be changed at once; the number of nodes has calls of its own.
    matches!(
        change.field.as_str(),
        "class"
            | "version"
            | "automatic_failover"
            | "multi_az"
            | "transit_encryption"
            | "auth"
            | "token"
            | "nodes"
    )
}

/// Major and minor of a version.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    let parts = version.split('.').take(2);
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// What a group waits for whose fields are not yet as they were asked for.
pub(super) fn still_applies(fields: &[String]) -> String {
    format!("ElastiCache still applies {}", fields.join(", "))
}

/// The changes that one call makes together.
pub(super) fn together(changes: &[FieldChange]) -> Vec<FieldChange> {
    let apart = |change: &FieldChange| {
        tags::is_tag(change) || matches!(change.field.as_str(), "nodes" | "token" | "auth")
    };
    changes
        .iter()
        .filter(|change| !apart(change))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(field: &str, old: &str, new: &str) -> FieldChange {
        FieldChange {
            field: field.into(),
            old: Some(FieldValue::Known(old.into())),
            new: Some(FieldValue::Known(new.into())),
        }
    }

    #[test]
    fn what_cannot_be_changed_in_place_loses_data_and_the_rest_is_changed() {
        let check = |field, old, new, expected| {
            let change = change(field, old, new);
            assert_eq!(effect(&change), expected, "{change:?}");
        };
        check("version", "6.2", "7.0", Effect::Interrupts);
        check(
            "class",
            "cache.r7g.large",
            "cache.t4g.small",
            Effect::Interrupts,
        );
        check("nodes", "2", "1", Effect::InPlace);
        check("transit_encryption", "off", "required", Effect::Interrupts);
        check(
            "transit_encryption",
            "preferred",
            "required",
            Effect::Interrupts,
        );
        check("at_rest_encryption", "false", "true", Effect::LosesData);
        check("auth", "false", "true", Effect::Interrupts);
        // Clients without are taken still.
        check("transit_encryption", "off", "preferred", Effect::InPlace);
        check("auth", "false", "begun", Effect::InPlace);
        check("state", "create-failed", "", Effect::Replace);
        check("token", "version a", "version b", Effect::InPlace);
    }

    #[test]
    fn patch_versions_are_noise() {
        assert_eq!(major_and_minor("7.0.7"), "7.0");
        assert_eq!(major_and_minor("7.1"), "7.1");
    }

    #[test]
    fn it_is_ready_when_it_is_available_and_no_token_is_being_set() {
        assert_eq!(readiness("available", &[]), Readiness::Ready);
        assert!(matches!(
            readiness("available", &["token"]),
            Readiness::Pending(_)
        ));
        assert!(matches!(readiness("modifying", &[]), Readiness::Pending(_)));
        assert!(matches!(
            readiness("create-failed", &[]),
            Readiness::Failed(_)
        ));
    }

    #[test]
    fn what_members_or_tags_tell_is_untold_without_them() {
        let group = ReplicationGroup::builder().build();
        let alone = GroupActual::of(&group, None, Some(Tags::new()));
        assert!(alone.is_untold("version"));
        assert!(!alone.is_untold("class"));
        assert!(!alone.is_untold("token"));
        let member = CacheCluster::builder().engine_version("7.0.7").build();
        let with = GroupActual::of(&group, Some(&member), None);
        assert!(!with.is_untold("version"));
        assert!(with.is_untold("token"));
        assert!(with.is_untold("tags.deployer"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let group = ReplicationGroup::builder().build();
        let mut actual = GroupActual::of(&group, None, Some(Tags::new()));
        actual.token = Some("hunter2".into());
        assert!(!format!("{actual:?}").contains("hunter2"));
    }
}
