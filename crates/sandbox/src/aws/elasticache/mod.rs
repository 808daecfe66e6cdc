//! ElastiCache: replication groups of one shard, each backed by a real server; subnet groups, tags.

mod create;
mod delete;
mod life;
mod modify;
mod rules;
mod subnet_groups;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::json::need;
use super::query_rules::{TOO_MANY_TAGS, check_tags, invalid_combination, invalid_value, page};
use super::shelf::{self, Asked, Found, Kind, Service, Shelf, Site, Thing};
use super::tagging;
use super::tags::Tags;
use crate::Host;
use crate::backing::Redis;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct ElastiCache {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    state: Mutex<State>,
}

#[derive(Default, Serialize)]
struct State {
    groups: BTreeMap<String, Group>,
    subnet_groups: Shelf,
    snapshots: Shelf,
}

const SERVICE: Service = Service {
    pages: page,
    tags: Tags {
        service: "elasticache",
        members: ("ResourceName", "TagKeys"),
        list: ("Tags", "TagList"),
        check: check_tags,
        too_many: || AwsError::new("TagQuotaPerResourceExceeded", TOO_MANY_TAGS),
        missing: Some(|key| {
            let error = AwsError::new("TagNotFound", format!("{key} tag not found."));
            error.with_status(StatusCode::NOT_FOUND)
        }),
        ..Tags::LISTED
    },
};

/// The simple kinds.
const KINDS: [Kind<State>; 1] = [subnet_groups::SUBNET_GROUP];

/// A replication group.
#[derive(Serialize)]
struct Group {
    /// As described, without what its members and its server say.
    value: Value,
    tags: Vec<Value>,
    /// Tells it from another of its name.
    unique: uuid::Uuid,
    nodes: i64,
    /// The version as members say it: `7.1.0`.
    version: String,
    port: i64,
    maintenance_window: String,
    subnet_group: String,
    parameter_group: String,
    security_groups: Vec<String>,
    /// What waits for the maintenance window.
    pending: Map<String, Value>,
    /// What is being carried out.
    applying: Map<String, Value>,
    /// Never answered. None means that every client is taken.
    tokens: Vec<String>,
    /// Whether the last change of them was a rotation.
    rotated: bool,
    /// Whether clients must give one of them.
    token_required: bool,
    new_tokens: Option<NewTokens>,
    #[serde(skip)]
    cache: Cache,
}

/// A change of AUTH strings on its way.
#[derive(Clone, Serialize)]
struct NewTokens {
    /// As described: `SETTING` or `ROTATING`.
    status: &'static str,
    tokens: Vec<String>,
    /// Whether clients must give one of them afterwards.
    required: bool,
}

/// What stands behind a replication group.
enum Cache {
    Starting,
    Running(Redis),
    /// An API object only, because of this.
    Absent(String),
}

impl ElastiCache {
    /// No caches yet.
    pub fn new(host: &Host) -> Self {
        Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                state: Mutex::default(),
            }),
        }
    }

    /// Every replication group with its state, its address and what stands behind it.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let groups = state.groups.values().map(|group| {
            let (backing, endpoint) = match &group.cache {
                Cache::Starting => ("starting".to_owned(), None),
                Cache::Running(redis) => {
                    let at = redis.endpoint();
                    (format!("Redis at {at}"), Some(at))
                }
                Cache::Absent(why) => (format!("none: {why}"), None),
            };
            json!({
                "id": group.id(), "status": group.status(), "backing": backing, "endpoint": endpoint,
                "names": group.names(), "token_required": group.token_required,
            })
        });
        groups.collect()
    }

    /// Everything with its tags; the members of a group have those of the group.
    pub fn tagged(&self) -> Vec<tagging::Tagged> {
        let state = self.lock();
        let of = |kind, name: &str, tags| SERVICE.tags.tagged(&self.arn(kind, name), tags);
        let mut all = Vec::new();
        for (name, group) in &state.groups {
            all.push(of("replicationgroup", name, &group.tags));
            let members = group.members();
            all.extend(members.iter().map(|it| of("cluster", it, &group.tags)));
        }
        let snapshots = state.snapshots.iter();
        all.extend(snapshots.map(|(name, it)| of("snapshot", name, &it.tags)));
        all.extend(KINDS.iter().flat_map(|kind| kind.tagged(&state)));
        all
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateReplicationGroup" => self.create_group(input),
            "DecreaseReplicaCount" => self.change_replicas(input, operation),
            "DeleteReplicationGroup" => self.delete_group(input),
            "DescribeCacheClusters" => self.describe_clusters(input),
            "DescribeReplicationGroups" => self.describe_groups(input),
            "IncreaseReplicaCount" => self.change_replicas(input, operation),
            "ModifyReplicationGroup" => self.modify_group(input),
            operation => {
                let site = &self.site();
                let asked = Asked {
                    site,
                    operation,
                    input,
                };
                SERVICE.answer(&KINDS, &mut self.lock(), &asked, |state, arn| {
                    self.tags_at(state, arn)
                })
            }
        }
    }

    /// The tags of what an ARN names.
    fn tags_at<'a>(&self, state: &'a mut State, arn: &str) -> Found<'a> {
        let site = self.site();
        let wrong = || AwsError::new("InvalidARN", format!("The ARN {arn} is not valid."));
        let named = site.resource(arn).and_then(|it| it.split_once(':'));
        let (kind, name) = named.ok_or_else(wrong)?;
        match kind {
            "replicationgroup" => {
                let group = state.groups.get_mut(name);
                let group = group.ok_or_else(|| group_not_found(name))?;
                if group.status() != "available" {
                    return Err(AwsError::new(
                        "InvalidReplicationGroupState",
                        "Cluster not in available state to perform tagging operations.",
                    ));
                }
                Ok(&mut group.tags)
            }
            "snapshot" => {
                let found = state.snapshots.get_mut(name).map(|it| &mut it.tags);
                found.ok_or_else(|| delete::snapshot_not_found(name))
            }
            "cluster" => {
                // Members have the tags of their group.
                let mut groups = state.groups.values_mut();
                let group = groups.find(|it| it.members().iter().any(|id| id == name));
                let tags = group.map(|it| &mut it.tags);
                tags.ok_or_else(|| view::cluster_not_found(name))
            }
            _ => shelf::tags_at(&KINDS, state, &site, arn).unwrap_or_else(|| Err(wrong())),
        }
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        let host = &self.inner.host;
        format!(
            "arn:aws:elasticache:{}:{}:{kind}:{name}",
            host.region, host.account
        )
    }

    fn site(&self) -> Site {
        Site::of(&self.inner.host, "elasticache")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.expect("no panic while the caches are held")
    }
}

impl State {
    /// The group that `ReplicationGroupId` names, with its name as kept.
    fn named(&mut self, input: &Value) -> Result<(String, &mut Group), AwsError> {
        let id = need(input, "ReplicationGroupId").to_lowercase();
        match self.groups.get_mut(&id) {
            Some(group) => Ok((id, group)),
            None => Err(group_not_found(&id)),
        }
    }
}

impl Group {
    fn id(&self) -> &str {
        need(&self.value, "ReplicationGroupId")
    }

    fn status(&self) -> &str {
        need(&self.value, "Status")
    }

    fn set_status(&mut self, status: &str) {
        self.value["Status"] = json!(status);
    }

    fn flag(&self, name: &str) -> bool {
        super::json::flag(&self.value, name)
    }

    /// The names of its nodes.
    fn members(&self) -> Vec<String> {
        (1..=self.nodes)
            .map(|number| format!("{}-{number:03}", self.id()))
            .collect()
    }
}

fn group_not_found(id: &str) -> AwsError {
    let message = format!("ReplicationGroup {id} not found.");
    AwsError::new("ReplicationGroupNotFoundFault", message).with_status(StatusCode::NOT_FOUND)
}
