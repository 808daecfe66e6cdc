//! Parameter groups, and the parameters that the sandbox knows of those that ElastiCache has.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::rules::{Version, check_identifier, families};
use super::{ElastiCache, State, invalid_combination, invalid_value, page, tags_of};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text};
use crate::aws::parameter::Parameter;

/// A parameter group.
#[derive(Serialize)]
pub(super) struct ParameterGroup {
    value: Value,
    /// Its tags.
    pub(super) tags: Vec<Value>,
    set: BTreeMap<String, String>,
}

impl ParameterGroup {
    /// What of it the real server takes.
    pub(super) fn effective(&self) -> BTreeMap<String, String> {
        let reaches = |name: &str| find(name).is_some_and(|it| it.reaches_server);
        let passed = self.set.iter().filter(|(name, _)| reaches(name));
        passed
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

impl ElastiCache {
    /// `default.redis7` and the others.
    pub(super) fn add_default_groups(&self) {
        let mut state = self.lock();
        for family in families() {
            let name = format!("default.{family}");
            let description = format!("Default parameter group for {family}");
            let group = self.new_parameter_group(&name, family, &description, Vec::new());
            state.parameter_groups.insert(name, group);
        }
    }

    pub(super) fn create_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "CacheParameterGroupName").to_lowercase();
        check_identifier("CacheParameterGroupName", &name, 255)?;
        let family = need(input, "CacheParameterGroupFamily");
        if !families().contains(&family) {
            return Err(invalid_value(format!(
                "CacheParameterGroupFamily {family} is not a valid parameter group family."
            )));
        }
        let tags = tags_of(input)?;
        let mut state = self.lock();
        if state.parameter_groups.contains_key(&name) {
            return Err(AwsError::new(
                "CacheParameterGroupAlreadyExists",
                format!("Parameter group {name} already exists"),
            ));
        }
        let group = self.new_parameter_group(&name, family, need(input, "Description"), tags);
        let value = group.value.clone();
        state.parameter_groups.insert(name, group);
        Ok(json!({ "CacheParameterGroup": value }))
    }

    pub(super) fn describe_parameter_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let groups = match text(input, "CacheParameterGroupName").map(str::to_lowercase) {
            None => state
                .parameter_groups
                .values()
                .map(|it| it.value.clone())
                .collect(),
            Some(name) => {
                let found = state
                    .parameter_groups
                    .get(&name)
                    .ok_or_else(|| not_found(&name))?;
                vec![found.value.clone()]
            }
        };
        page(input, "CacheParameterGroups", groups)
    }

    pub(super) fn describe_parameters(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "CacheParameterGroupName").to_lowercase();
        let state = self.lock();
        let group = state
            .parameter_groups
            .get(&name)
            .ok_or_else(|| not_found(&name))?;
        let source = text(input, "Source");
        let all = ALL.iter().map(|parameter| describe(group, parameter));
        let fits = |it: &Value| source.is_none_or(|source| source == need(it, "Source"));
        page(input, "Parameters", all.filter(fits).collect())
    }

    pub(super) fn modify_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let changes = list(input, "ParameterNameValues");
        if changes.is_empty() || changes.len() > 20 {
            return Err(invalid_value("A request must change 1 to 20 parameters."));
        }
        for change in changes {
            check_change(change)?;
        }
        let mut state = self.lock();
        let (name, group) = own_group(&mut state, input)?;
        for change in changes {
            let (parameter, value) = (
                need(change, "ParameterName"),
                need(change, "ParameterValue"),
            );
            group.set.insert(parameter.to_owned(), value.to_owned());
        }
        let reached = state
            .groups
            .values()
            .filter(|it| it.parameter_group == name);
        let reached: Vec<_> = reached.map(|it| (it.id().to_owned(), it.unique)).collect();
        drop(state);
        for (id, unique) in reached {
            self.apply_parameters(id, unique);
        }
        Ok(json!({ "CacheParameterGroupName": name }))
    }

    pub(super) fn delete_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (name, _) = own_group(&mut state, input)?;
        if state.groups.values().any(|it| it.parameter_group == name) {
            return Err(AwsError::new(
                "InvalidCacheParameterGroupState",
                "One or more cache clusters are still members of this parameter group, so the group cannot be deleted.",
            ));
        }
        state.parameter_groups.remove(&name);
        Ok(json!({}))
    }

    fn new_parameter_group(
        &self,
        name: &str,
        family: &str,
        description: &str,
        tags: Vec<Value>,
    ) -> ParameterGroup {
        ParameterGroup {
            value: json!({
                "CacheParameterGroupName": name,
                "CacheParameterGroupFamily": family,
                "Description": description,
                "IsGlobal": false,
                "ARN": self.arn("parametergroup", name),
            }),
            tags,
            set: BTreeMap::new(),
        }
    }
}

/// The group that a request names, unless it is one of the vendor's.
fn own_group<'a>(
    state: &'a mut State,
    input: &Value,
) -> Result<(String, &'a mut ParameterGroup), AwsError> {
    let name = need(input, "CacheParameterGroupName").to_lowercase();
    let group = state
        .parameter_groups
        .get_mut(&name)
        .ok_or_else(|| not_found(&name))?;
    match name.starts_with("default.") {
        true => Err(invalid_value(format!(
            "Default parameter group {name} cannot be modified or deleted."
        ))),
        false => Ok((name, group)),
    }
}

fn check_change(change: &Value) -> Result<(), AwsError> {
    let name = need(change, "ParameterName");
    let absent = || {
        invalid_value(format!(
            "The parameter {name} does not exist for this parameter group family."
        ))
    };
    let parameter = find(name).ok_or_else(absent)?;
    if !parameter.modifiable {
        return Err(invalid_value(format!(
            "The parameter {name} cannot be modified."
        )));
    }
    let value =
        text(change, "ParameterValue").ok_or_else(|| super::create::blank("ParameterValue"))?;
    match parameter.allows(value) {
        true => Ok(()),
        false => Err(invalid_value(format!(
            "The parameter value {value} of {name} is not valid: allowed are {}",
            parameter.allowed
        ))),
    }
}

fn describe(group: &ParameterGroup, parameter: &Parameter) -> Value {
    let set = group.set.get(parameter.name);
    json!({
        "ParameterName": parameter.name,
        "ParameterValue": set.map(String::as_str).or(parameter.default),
        "Description": parameter.description,
        "Source": if set.is_some() { "user" } else { "system" },
        "DataType": parameter.kind,
        "AllowedValues": parameter.allowed,
        "IsModifiable": parameter.modifiable,
        "ChangeType": if parameter.dynamic { "immediate" } else { "requires-reboot" },
    })
}

/// Whether a replication group of this version may have this parameter group.
pub(super) fn check_family(state: &State, name: &str, version: Version) -> Result<(), AwsError> {
    let group = state
        .parameter_groups
        .get(name)
        .ok_or_else(|| not_found(name))?;
    let (has, wants) = (
        need(&group.value, "CacheParameterGroupFamily"),
        version.family,
    );
    match has == wants {
        true => Ok(()),
        false => Err(invalid_combination(format!(
            "Expected a parameter group of family {wants} but found one of family {has}"
        ))),
    }
}

pub(super) fn not_found(name: &str) -> AwsError {
    let message = format!("CacheParameterGroup not found: {name}");
    AwsError::new("CacheParameterGroupNotFound", message).with_status(StatusCode::NOT_FOUND)
}

fn find(name: &str) -> Option<&'static Parameter> {
    ALL.iter().find(|parameter| parameter.name == name)
}

const fn parameter(
    name: &'static str,
    kind: &'static str,
    allowed: &'static str,
    default: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter {
        name,
        kind,
        allowed,
        dynamic: true,
        modifiable: true,
        reaches_server: true,
        description,
        default: Some(default),
    }
}

/// Described, not passed on: the server has it otherwise, or not at all.
const fn described(parameter: Parameter) -> Parameter {
    Parameter {
        reaches_server: false,
        ..parameter
    }
}

const BYTES: &str = "0-9223372036854775807";

/// In the order of their names.
const ALL: &[Parameter] = &[
    parameter(
        "activedefrag",
        "string",
        "yes,no",
        "no",
        "Enabled active memory defragmentation",
    ),
    described(parameter(
        "appendonly",
        "string",
        "yes,no",
        "no",
        "Enables the append only file.",
    )),
    described(parameter(
        "cluster-enabled",
        "string",
        "no",
        "no",
        "Enable cluster mode.",
    )),
    parameter(
        "hash-max-listpack-entries",
        "integer",
        BYTES,
        "512",
        "Hashes of fewer entries are stored compactly.",
    ),
    parameter(
        "lazyfree-lazy-eviction",
        "string",
        "yes,no",
        "no",
        "Perform an asynchronous delete on evictions",
    ),
    parameter(
        "lazyfree-lazy-expire",
        "string",
        "yes,no",
        "no",
        "Perform an asynchronous delete on expired keys",
    ),
    parameter(
        "maxmemory-policy",
        "string",
        "volatile-lru,allkeys-lru,volatile-lfu,allkeys-lfu,volatile-random,allkeys-random,volatile-ttl,noeviction",
        "volatile-lru",
        "Max memory policy.",
    ),
    parameter(
        "maxmemory-samples",
        "integer",
        "1-9223372036854775807",
        "3",
        "Max memory samples.",
    ),
    parameter(
        "notify-keyspace-events",
        "string",
        "",
        "",
        "The keyspace events for Redis to notify Pub/Sub clients about.",
    ),
    described(parameter(
        "reserved-memory-percent",
        "integer",
        "0-100",
        "25",
        "The percent of memory reserved for non-cache memory usage.",
    )),
    parameter(
        "slowlog-log-slower-than",
        "integer",
        "-1-9223372036854775807",
        "10000",
        "The maximum execution time, in microseconds, to exceed in order for the command to get logged.",
    ),
    parameter(
        "slowlog-max-len",
        "integer",
        BYTES,
        "128",
        "The length of the slow log.",
    ),
    parameter(
        "tcp-keepalive",
        "integer",
        "0-2147483647",
        "300",
        "If non-zero, send ACKs every given number of seconds.",
    ),
    parameter(
        "timeout",
        "integer",
        "0,20-2147483647",
        "0",
        "Close connection if client is idle for a given number of seconds, or never if 0.",
    ),
];
