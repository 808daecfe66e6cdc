//! Parameter groups: what is set, when it takes effect, which instances it reaches.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::parameter_list;
use super::rules::check_identifier;
use super::versions::{Version, families};
use super::{Rds, State, invalid_combination, invalid_value, page, tags_of};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text};
use crate::aws::parameter::Parameter;

/// How many parameters one request may change.
const MOST: usize = 20;

/// A parameter group.
#[derive(Serialize)]
pub(super) struct Group {
    value: Value,
    /// Its tags.
    pub(super) tags: Vec<Value>,
    /// What was set, with how it is applied.
    set: BTreeMap<String, (String, String)>,
}

impl Group {
    fn major(&self) -> u32 {
        let family = need(&self.value, "DBParameterGroupFamily");
        family
            .trim_start_matches("postgres")
            .parse()
            .unwrap_or_default()
    }

    fn value_of(&self, parameter: &Parameter) -> Option<String> {
        let set = self.set.get(parameter.name).map(|(value, _)| value.clone());
        set.or_else(|| parameter_list::default(parameter, self.major()).map(str::to_owned))
    }

    /// Whether TLS is forced, and what of the rest the real server takes.
    pub(super) fn effective(&self) -> (bool, BTreeMap<String, String>) {
        let force = parameter_list::find("rds.force_ssl").and_then(|it| self.value_of(it));
        let passed = self.set.iter().filter(|(name, _)| {
            parameter_list::find(name).is_some_and(|parameter| parameter.reaches_server)
        });
        let passed = passed.map(|(name, (value, _))| (name.clone(), value.clone()));
        (force.as_deref() == Some("1"), passed.collect())
    }
}

impl Rds {
    /// `default.postgresN` of each family.
    pub(super) fn add_default_groups(&self) {
        let mut state = self.lock();
        for family in families() {
            let name = format!("default.{family}");
            let description = format!("Default parameter group for {family}");
            let group = self.new_parameter_group(&name, &family, &description, Vec::new());
            state.parameter_groups.insert(name, group);
        }
    }

    pub(super) fn create_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "DBParameterGroupName").to_lowercase();
        check_identifier("DBParameterGroupName", &name, 255)?;
        let family = need(input, "DBParameterGroupFamily");
        if !families().any(|known| known == family) {
            return Err(invalid_value(format!(
                "ParameterGroupFamily {family} is not a valid parameter group family"
            )));
        }
        let tags = tags_of(input)?;
        let mut state = self.lock();
        if state.parameter_groups.contains_key(&name) {
            return Err(AwsError::new(
                "DBParameterGroupAlreadyExists",
                format!("Parameter group {name} already exists"),
            ));
        }
        let group = self.new_parameter_group(&name, family, need(input, "Description"), tags);
        let value = group.value.clone();
        state.parameter_groups.insert(name, group);
        Ok(json!({ "DBParameterGroup": value }))
    }

    pub(super) fn describe_parameter_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let groups = match text(input, "DBParameterGroupName").map(str::to_lowercase) {
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
        page(input, "DBParameterGroups", groups)
    }

    pub(super) fn describe_parameters(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "DBParameterGroupName").to_lowercase();
        let state = self.lock();
        let group = state
            .parameter_groups
            .get(&name)
            .ok_or_else(|| not_found(&name))?;
        let source = text(input, "Source");
        let all = parameter_list::ALL
            .iter()
            .map(|parameter| describe(group, parameter));
        let fits = |it: &Value| source.is_none_or(|source| source == need(it, "Source"));
        // A family has several hundred parameters, which come a hundred to a page; there are fewer
        // here, and pages all the same.
        let mut asked = input.clone();
        if asked.get("MaxRecords").is_none() {
            asked["MaxRecords"] = json!(20);
        }
        page(&asked, "Parameters", all.filter(fits).collect())
    }

    pub(super) fn modify_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let changes = list(input, "Parameters");
        if changes.is_empty() || changes.len() > MOST {
            return Err(invalid_value(format!(
                "A request must change 1 to {MOST} parameters."
            )));
        }
        for change in changes {
            check_change(change)?;
        }
        let mut state = self.lock();
        let (name, group) = own_group(&mut state, input)?;
        for change in changes {
            let set = (
                need(change, "ParameterValue").to_owned(),
                need(change, "ApplyMethod").to_owned(),
            );
            group
                .set
                .insert(need(change, "ParameterName").to_owned(), set);
        }
        let changed = changes
            .iter()
            .map(|change| need(change, "ApplyMethod") == "immediate");
        let changed: Vec<bool> = changed.collect();
        self.spread(state, &name, &changed);
        Ok(json!({ "DBParameterGroupName": name }))
    }

    pub(super) fn reset_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (name, group) = own_group(&mut state, input)?;
        let named = list(input, "Parameters");
        // Everything is the default when nothing is said.
        let all = input
            .get("ResetAllParameters")
            .is_none_or(|it| *it == json!(true));
        let gone: Vec<String> = match all && named.is_empty() {
            true => group.set.keys().cloned().collect(),
            false => named
                .iter()
                .map(|it| need(it, "ParameterName").to_owned())
                .collect(),
        };
        let mut changed = Vec::new();
        for parameter in gone {
            let known = parameter_list::find(&parameter).ok_or_else(|| unknown(&parameter))?;
            if group.set.remove(&parameter).is_some() {
                changed.push(known.dynamic);
            }
        }
        self.spread(state, &name, &changed);
        Ok(json!({ "DBParameterGroupName": name }))
    }

    pub(super) fn delete_parameter_group(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (name, _) = own_group(&mut state, input)?;
        if state
            .instances
            .values()
            .any(|it| it.parameter_group == name)
        {
            return Err(AwsError::new(
                "InvalidDBParameterGroupState",
                format!(
                    "One or more database instances are still members of this parameter group {name}, so the group cannot be deleted"
                ),
            ));
        }
        state.parameter_groups.remove(&name);
        Ok(json!({}))
    }

    /// Has the instances of a group follow it: `changed` says of each parameter whether it takes
    /// effect at once.
    fn spread(&self, mut state: std::sync::MutexGuard<'_, State>, group: &str, changed: &[bool]) {
        let mut reached = Vec::new();
        for instance in state
            .instances
            .values_mut()
            .filter(|it| it.parameter_group == group)
        {
            if changed.contains(&false) {
                instance.parameter_status = "pending-reboot";
            } else if instance.parameter_status == "in-sync" && !changed.is_empty() {
                instance.parameter_status = "applying";
            }
            reached.push((
                instance.id().to_owned(),
                need(&instance.value, "DbiResourceId").to_owned(),
            ));
        }
        drop(state);
        for (id, resource) in reached {
            self.apply_parameters(id, resource);
        }
    }

    fn new_parameter_group(
        &self,
        name: &str,
        family: &str,
        description: &str,
        tags: Vec<Value>,
    ) -> Group {
        Group {
            value: json!({
                "DBParameterGroupName": name,
                "DBParameterGroupFamily": family,
                "Description": description,
                "DBParameterGroupArn": self.arn("pg", name),
            }),
            tags,
            set: BTreeMap::new(),
        }
    }
}

/// The group that a request names, unless it is one of the vendor's.
fn own_group<'a>(state: &'a mut State, input: &Value) -> Result<(String, &'a mut Group), AwsError> {
    let name = need(input, "DBParameterGroupName").to_lowercase();
    let group = state
        .parameter_groups
        .get_mut(&name)
        .ok_or_else(|| not_found(&name))?;
    match name.starts_with("default.") {
        true => Err(invalid_value(format!(
            "The parameter DBParameterGroupName is not valid: {name} cannot be modified or deleted."
        ))),
        false => Ok((name, group)),
    }
}

fn check_change(change: &Value) -> Result<(), AwsError> {
    let name = need(change, "ParameterName");
    let parameter = parameter_list::find(name).ok_or_else(|| unknown(name))?;
    if !parameter.modifiable {
        return Err(invalid_value(format!(
            "The parameter {name} cannot be modified."
        )));
    }
    let Some(value) = text(change, "ParameterValue") else {
        return Err(invalid_value(format!(
            "The parameter ParameterValue must be provided for {name}."
        )));
    };
    match text(change, "ApplyMethod") {
        None => {
            return Err(invalid_value(format!(
                "The parameter ApplyMethod must be provided for {name}."
            )));
        }
        Some("immediate") if !parameter.dynamic => {
            return Err(invalid_combination(
                "cannot use immediate apply method for static parameter",
            ));
        }
        Some(_) => {}
    }
    match parameter.allows(value) {
        true => Ok(()),
        false => Err(invalid_value(format!(
            "Invalid parameter value: {value} for: {name} allowed values are: {}",
            parameter.allowed
        ))),
    }
}

fn describe(group: &Group, parameter: &Parameter) -> Value {
    let set = group.set.get(parameter.name);
    // What was set to the family's default is not the user's: "coincides with the default value. In
    // that case, the Source will be set to system or engine-default" (terraform-provider-aws,
    // internal/service/rds/parameter_group.go, #593).
    let source = match (set, parameter_list::default(parameter, group.major())) {
        (Some((value, _)), Some(default)) if value == default => "system",
        (Some(_), _) => "user",
        (None, Some(_)) => "system",
        (None, None) => "engine-default",
    };
    json!({
        "ParameterName": parameter.name,
        "ParameterValue": group.value_of(parameter),
        "Description": parameter.description,
        "Source": source,
        "ApplyType": if parameter.dynamic { "dynamic" } else { "static" },
        "DataType": parameter.kind,
        "AllowedValues": parameter.allowed,
        "IsModifiable": parameter.modifiable,
        "ApplyMethod": set.map_or("pending-reboot", |(_, method)| method),
    })
}

/// Whether an instance of this version may have this group.
pub(super) fn check_family(state: &State, name: &str, version: Version) -> Result<(), AwsError> {
    let group = state
        .parameter_groups
        .get(name)
        .ok_or_else(|| not_found(name))?;
    let (has, wants) = (
        need(&group.value, "DBParameterGroupFamily"),
        version.family(),
    );
    match has == wants {
        true => Ok(()),
        false => Err(invalid_combination(format!(
            "The parameter group {name} with DBParameterGroupFamily {has} can't be used for this instance. Please use a \
             Parameter Group with DBParameterGroupFamily {wants}"
        ))),
    }
}

fn unknown(name: &str) -> AwsError {
    invalid_value(format!("Could not find parameter with name: {name}"))
}

pub(super) fn not_found(name: &str) -> AwsError {
    let message = format!("DBParameterGroup not found: {name}");
    AwsError::new("DBParameterGroupNotFound", message).with_status(StatusCode::NOT_FOUND)
}
