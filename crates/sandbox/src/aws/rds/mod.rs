//! RDS for PostgreSQL: instances that take their time, each backed by a real server; groups,
//! snapshots, tags.

mod create;
mod delete;
mod groups;
mod life;
mod modify;
mod parameter_list;
mod parameters;
mod rules;
mod snapshots;
mod versions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::json::{list, need, number, text, texts};
use super::query_rules::{TOO_MANY_TAGS, check_tags, invalid_combination, invalid_value, page};
use super::shelf::{self, Asked, Found, Kind, Service, Shelf, Site, Thing};
use super::tagging;
use super::tags::Tags;
use crate::Host;
use crate::backing::Postgres;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Rds {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    state: Mutex<State>,
}

#[derive(Default, Serialize)]
struct State {
    instances: BTreeMap<String, Instance>,
    subnet_groups: Shelf,
    parameter_groups: Shelf,
    snapshots: Shelf,
}

const SERVICE: Service = Service {
    pages: page,
    tags: Tags {
        service: "rds",
        members: ("ResourceName", "TagKeys"),
        list: ("Tags", "TagList"),
        check: check_tags,
        too_many: || invalid_value(TOO_MANY_TAGS),
        ..Tags::LISTED
    },
};

/// The simple kinds.
const KINDS: [Kind<State>; 2] = [groups::SUBNET_GROUP, parameters::PARAMETER_GROUP];

#[derive(Serialize)]
struct Instance {
    /// As described, without tags, groups, endpoint and pending values.
    value: Value,
    tags: Vec<Value>,
    subnet_group: String,
    parameter_group: String,
    parameter_status: &'static str,
    /// The group of another family that comes with an upgrade that waits.
    group_of_upgrade: Option<String>,
    /// What waits for the maintenance window.
    pending: Map<String, Value>,
    /// What is being carried out.
    applying: Map<String, Value>,
    /// Never answered.
    password: String,
    new_password: Option<String>,
    #[serde(skip)]
    database: Database,
}

/// What stands behind an instance.
enum Database {
    Starting,
    Running(Postgres),
    /// An API object only, because of this.
    Absent(String),
}

impl Rds {
    /// No instances yet; the vendor's default parameter groups are there.
    pub fn new(host: &Host) -> Self {
        let rds = Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                state: Mutex::default(),
            }),
        };
        rds.add_default_groups();
        rds
    }

    /// Every instance with its state, its address and what stands behind it.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let instances = state.instances.values().map(|instance| {
            let backing = match &instance.database {
                Database::Starting => "starting".to_owned(),
                Database::Running(postgres) => {
                    format!("PostgreSQL {} at {}", postgres.major(), postgres.endpoint())
                }
                Database::Absent(why) => format!("none: {why}"),
            };
            json!({
                "id": instance.id(), "status": instance.status(), "backing": backing,
                "endpoint": instance.value.get("Endpoint"),
            })
        });
        instances.collect()
    }

    /// Everything with its tags.
    pub fn tagged(&self) -> Vec<tagging::Tagged> {
        let state = self.lock();
        let of = |kind, name: &str, tags| SERVICE.tags.tagged(&self.arn(kind, name), tags);
        let instances = state.instances.iter();
        let instances = instances.map(|(name, it)| of("db", name, &it.tags));
        let snapshots = state.snapshots.iter();
        let snapshots = snapshots.map(|(name, it)| of("snapshot", name, &it.tags));
        let kinds = KINDS.iter().flat_map(|kind| kind.tagged(&state));
        instances.chain(snapshots).chain(kinds).collect()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateDBInstance" => self.create_instance(input),
            "DeleteDBInstance" => self.delete_instance(input),
            "DescribeDBEngineVersions" => versions::described(input),
            "DescribeDBInstances" => self.describe_instances(input),
            "DescribeDBParameters" => self.describe_parameters(input),
            "DescribeDBSnapshots" => self.describe_snapshots(input),
            "ModifyDBInstance" => self.modify_instance(input),
            "ModifyDBParameterGroup" => self.modify_parameter_group(input),
            "RebootDBInstance" => self.reboot_instance(input),
            "StartDBInstance" => self.start_instance(input),
            "StopDBInstance" => self.stop_instance(input),
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

    fn describe_instances(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let named = text(input, "DBInstanceIdentifier").map(str::to_lowercase);
        let arn_start = self.arn("db", "");
        let named = named.map(|id| id.strip_prefix(&arn_start).unwrap_or(&id).to_owned());
        if let Some(id) = &named
            && !state.instances.contains_key(id)
        {
            return Err(instance_not_found(id));
        }
        let filters = list(input, "Filters");
        let fits = |instance: &&Instance| {
            filters.iter().all(|filter| {
                let value = match need(filter, "Name") {
                    "db-instance-id" => instance.id(),
                    "dbi-resource-id" => need(&instance.value, "DbiResourceId"),
                    "engine" => need(&instance.value, "Engine"),
                    _ => "",
                };
                texts(filter, "Values").iter().any(|wanted| wanted == value)
            })
        };
        const FILTERS: [&str; 5] = [
            "db-instance-id",
            "dbi-resource-id",
            "engine",
            "db-cluster-id",
            "domain",
        ];
        if let Some(filter) = filters
            .iter()
            .find(|it| !FILTERS.contains(&need(it, "Name")))
        {
            let name = need(filter, "Name");
            return Err(invalid_value(format!("Unrecognized filter name: {name}")));
        }
        let found = state
            .instances
            .values()
            .filter(|it| named.as_deref().is_none_or(|id| id == it.id()));
        let shown = found
            .filter(fits)
            .map(|instance| self.view(&state, instance));
        page(input, "DBInstances", shown.collect())
    }

    /// An instance as the service describes it.
    fn view(&self, state: &State, instance: &Instance) -> Value {
        let mut value = instance.value.clone();
        let group = state.subnet_groups.get(&instance.subnet_group);
        if let Some(mut group) = group.map(|group| group.value.clone()) {
            if let Some(members) = group.as_object_mut() {
                // The vendor leaves these to DescribeDBSubnetGroups.
                members.remove("DBSubnetGroupArn");
                members.remove("SupportedNetworkTypes");
            }
            value["DBSubnetGroup"] = group;
        }
        value["DBParameterGroups"] = json!([{
            "DBParameterGroupName": instance.parameter_group,
            "ParameterApplyStatus": instance.parameter_status,
        }]);
        let mut pending = instance.pending.clone();
        pending.extend(instance.applying.clone());
        if instance.new_password.is_some() {
            pending.insert("MasterUserPassword".into(), json!("****"));
        }
        value["PendingModifiedValues"] = Value::Object(pending);
        value["TagList"] = json!(instance.tags);
        if instance.status() == "available" && number(&value, "BackupRetentionPeriod") > Some(0) {
            value["LatestRestorableTime"] = super::json::seconds(self.inner.host.clock.now());
        }
        value
    }

    /// The tags of what an ARN names.
    fn tags_at<'a>(&self, state: &'a mut State, arn: &str) -> Found<'a> {
        let site = self.site();
        let named = site.resource(arn).and_then(|it| it.split_once(':'));
        let invalid = || invalid_value(format!("Invalid resource name: {arn}"));
        let (kind, name) = named.ok_or_else(invalid)?;
        match kind {
            "db" => {
                let found = state.instances.get_mut(name).map(|it| &mut it.tags);
                found.ok_or_else(|| instance_not_found(name))
            }
            "snapshot" => {
                let found = state.snapshots.get_mut(name).map(|it| &mut it.tags);
                found.ok_or_else(|| snapshots::not_found(name))
            }
            _ => shelf::tags_at(&KINDS, state, &site, arn).unwrap_or_else(|| Err(invalid())),
        }
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        let host = &self.inner.host;
        format!("arn:aws:rds:{}:{}:{kind}:{name}", host.region, host.account)
    }

    fn site(&self) -> Site {
        Site::of(&self.inner.host, "rds")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.expect("no panic while the databases are held")
    }
}

impl Instance {
    fn id(&self) -> &str {
        need(&self.value, "DBInstanceIdentifier")
    }

    fn status(&self) -> &str {
        need(&self.value, "DBInstanceStatus")
    }

    fn set_status(&mut self, status: &str) {
        self.value["DBInstanceStatus"] = json!(status);
    }

    fn need_available(&self) -> Result<(), AwsError> {
        match self.status() {
            "available" => Ok(()),
            _ => Err(AwsError::new(
                "InvalidDBInstanceState",
                "Database instance is not in available state.",
            )),
        }
    }

    fn flag(&self, name: &str) -> bool {
        super::json::flag(&self.value, name)
    }

    fn number(&self, name: &str) -> i64 {
        number(&self.value, name).unwrap_or_default()
    }
}

fn instance_not_found(id: &str) -> AwsError {
    let message = format!("DBInstance {id} not found.");
    AwsError::new("DBInstanceNotFound", message).with_status(StatusCode::NOT_FOUND)
}
