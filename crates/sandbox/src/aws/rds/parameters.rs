//! Parameter groups: what is set, when it takes effect, which instances it reaches.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::parameter_list;
use super::rules::check_identifier;
use super::versions::{Version, families};
use super::{Rds, State, invalid_combination, invalid_value, page};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text};
use crate::aws::parameter::Parameter;
use crate::aws::query_rules::named;
use crate::aws::shelf::{Going, Kind, Site, Taken, Thing, all, whole};

/// How many parameters one request may change.
const MOST: usize = 20;

const NAME: &str = "DBParameterGroupName";
/// The member of a group that names its family.
const FAMILY: &str = "DBParameterGroupFamily";

pub(super) const PARAMETER_GROUP: Kind<State> = Kind {
    noun: ("DBParameterGroup", "DBParameterGroups"),
    answers: ("DBParameterGroup", "DBParameterGroups"),
    arn: ("pg:", "DBParameterGroupArn"),
    on: (|it| &it.parameter_groups, |it| &mut it.parameter_groups),
    named: |_, _, input| {
        let name = need(input, NAME).to_lowercase();
        check_identifier(NAME, &name, 255).map(|()| name)
    },
    asked: |_, _, input| Ok(named(input, NAME)),
    made: |_, site, name, input| {
        let family = need(input, FAMILY);
        match families().any(|known| known == family) {
            true => Ok(members(site, name, family, need(input, "Description"))),
            false => Err(invalid_value(format!(
                "ParameterGroupFamily {family} is not a valid parameter group family"
            ))),
        }
    },
    changes: &[],
    free: |state, _, name, _| {
        check_own(name)?;
        let mut instances = state.instances.values();
        match instances.any(|it| it.parameter_group == name) {
            false => Ok(()),
            true => Err(AwsError::new(
                "InvalidDBParameterGroupState",
                format!(
                    "One or more database instances are still members of this parameter group {name}, so the group cannot be deleted"
                ),
            )),
        }
    },
    going: Going::FORGOTTEN,
    taken: Taken::Refused(|_, name| {
        AwsError::new(
            "DBParameterGroupAlreadyExists",
            format!("Parameter group {name} already exists"),
        )
    }),
    absent: |_, name| not_found(name),
    shown: whole,
    fits: all,
    service: &super::SERVICE,
};

fn members(site: &Site, name: &str, family: &str, description: &str) -> Value {
    json!({
        NAME: name, "DBParameterGroupArn": site.arn(&format!("pg:{name}")),
        FAMILY: family, "Description": description,
    })
}

fn major(group: &Thing) -> u32 {
    let family = need(&group.value, FAMILY);
    family
        .trim_start_matches("postgres")
        .parse()
        .unwrap_or_default()
}

/// The value that was set, and how it is applied.
fn set<'a>(group: &'a Thing, parameter: &str) -> Option<(&'a str, &'a str)> {
    let set = group.kept.get(parameter)?;
    Some((need(set, "ParameterValue"), need(set, "ApplyMethod")))
}

fn value_of<'a>(group: &'a Thing, parameter: &'a Parameter) -> Option<&'a str> {
    let set = set(group, parameter.name).map(|(value, _)| value);
    set.or_else(|| parameter_list::default(parameter, major(group)))
}

/// Whether TLS is forced, and what of the rest the real server takes.
pub(super) fn effective(group: &Thing) -> (bool, BTreeMap<String, String>) {
    let force = parameter_list::find("rds.force_ssl").and_then(|it| value_of(group, it));
    let passed = group.kept.keys().filter(|name| {
        parameter_list::find(name).is_some_and(|parameter| parameter.reaches_server)
    });
    let passed = passed.filter_map(|name| Some((name.clone(), set(group, name)?.0.to_owned())));
    (force == Some("1"), passed.collect())
}

impl Rds {
    /// `default.postgresN` of each family.
    pub(super) fn add_default_groups(&self) {
        let mut state = self.lock();
        for family in families() {
            let name = format!("default.{family}");
            let description = format!("Default parameter group for {family}");
            let members = members(&self.site(), &name, &family, &description);
            PARAMETER_GROUP.put(&mut state, &name, members);
        }
    }

    pub(super) fn describe_parameters(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, NAME).to_lowercase();
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
            let name = need(change, "ParameterName").to_owned();
            group.kept.insert(name, change.clone());
        }
        let changed = changes
            .iter()
            .map(|change| need(change, "ApplyMethod") == "immediate");
        let changed: Vec<bool> = changed.collect();
        self.spread(state, &name, &changed);
        Ok(json!({ NAME: name }))
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
}

/// The group that a request names, unless it is one of the vendor's.
fn own_group<'a>(state: &'a mut State, input: &Value) -> Result<(String, &'a mut Thing), AwsError> {
    let name = need(input, NAME).to_lowercase();
    let group = state.parameter_groups.get_mut(&name);
    let group = group.ok_or_else(|| not_found(&name))?;
    check_own(&name)?;
    Ok((name, group))
}

fn check_own(name: &str) -> Result<(), AwsError> {
    match name.starts_with("default.") {
        true => Err(invalid_value(format!(
            "The parameter DBParameterGroupName is not valid: {name} cannot be modified or deleted."
        ))),
        false => Ok(()),
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

fn describe(group: &Thing, parameter: &Parameter) -> Value {
    let set = set(group, parameter.name);
    // What was set to the family's default is not the user's: "coincides with the default value. In
    // that case, the Source will be set to system or engine-default" (terraform-provider-aws,
    // internal/service/rds/parameter_group.go, #593).
    let source = match (set, parameter_list::default(parameter, major(group))) {
        (Some((value, _)), Some(default)) if value == default => "system",
        (Some(_), _) => "user",
        (None, Some(_)) => "system",
        (None, None) => "engine-default",
    };
    json!({
        "ParameterName": parameter.name,
        "ParameterValue": value_of(group, parameter),
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
    let (has, wants) = (need(&group.value, FAMILY), version.family());
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
