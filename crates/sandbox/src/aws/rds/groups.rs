//! Subnet groups. Subnets are taken at their word: nothing of the sandbox has a network. One whose
//! id begins with `subnet-0f` stands in another VPC than the rest.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Rds, State, Tagged, invalid_value, page, tags_of};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text, texts};
use crate::aws::query_rules::{one_vpc, vpc_of};

impl Rds {
    pub(super) fn create_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "DBSubnetGroupName").to_lowercase();
        check_name(&name)?;
        let tags = tags_of(input)?;
        let subnets = self.subnets(input)?;
        let mut state = self.lock();
        if state.subnet_groups.contains_key(&name) {
            return Err(AwsError::new(
                "DBSubnetGroupAlreadyExists",
                format!("The DB subnet group '{name}' already exists."),
            ));
        }
        let value = self.new_group(&name, need(input, "DBSubnetGroupDescription"), subnets);
        state.subnet_groups.insert(
            name,
            Tagged {
                value: value.clone(),
                tags,
            },
        );
        Ok(json!({ "DBSubnetGroup": value }))
    }

    pub(super) fn describe_subnet_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let groups: Vec<Value> = match text(input, "DBSubnetGroupName").map(str::to_lowercase) {
            None => state
                .subnet_groups
                .values()
                .map(|it| it.value.clone())
                .collect(),
            Some(name) => {
                let found = state
                    .subnet_groups
                    .get(&name)
                    .ok_or_else(|| not_found(&name))?;
                vec![found.value.clone()]
            }
        };
        page(input, "DBSubnetGroups", groups)
    }

    pub(super) fn modify_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "DBSubnetGroupName").to_lowercase();
        let subnets = self.subnets(input)?;
        let mut state = self.lock();
        let used = state.subnets_in_use(&name);
        let group = state
            .subnet_groups
            .get_mut(&name)
            .ok_or_else(|| not_found(&name))?;
        check_subnets(&group.value, &subnets, &used)?;
        group.value["Subnets"] = json!(subnets);
        if let Some(description) = text(input, "DBSubnetGroupDescription") {
            group.value["DBSubnetGroupDescription"] = json!(description);
        }
        Ok(json!({ "DBSubnetGroup": group.value }))
    }

    pub(super) fn delete_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "DBSubnetGroupName").to_lowercase();
        let mut state = self.lock();
        if !state.subnet_groups.contains_key(&name) {
            return Err(not_found(&name));
        }
        let user = state.instances.values().find(|it| it.subnet_group == name);
        if let Some(instance) = user {
            return Err(AwsError::new(
                "InvalidDBSubnetGroupStateFault",
                format!(
                    "Cannot delete the subnet group '{name}' because at least one database instance: {} is still using it.",
                    instance.id()
                ),
            ));
        }
        state.subnet_groups.remove(&name);
        Ok(json!({}))
    }

    /// The group that an instance without one gets.
    pub(super) fn add_default_subnet_group(&self, state: &mut State) {
        state
            .subnet_groups
            .entry("default".into())
            .or_insert_with(|| Tagged {
                value: self.new_group(
                    "default",
                    "default",
                    self.in_zones(&["subnet-0a".into(), "subnet-0b".into()]),
                ),
                tags: Vec::new(),
            });
    }

    fn new_group(&self, name: &str, description: &str, subnets: Vec<Value>) -> Value {
        json!({
            "DBSubnetGroupName": name,
            "DBSubnetGroupDescription": description,
            "DBSubnetGroupArn": self.arn("subgrp", name),
            "VpcId": vpc_of(&subnets, "SubnetIdentifier"),
            "SubnetGroupStatus": "Complete",
            "SupportedNetworkTypes": ["IPV4"],
            "Subnets": subnets,
        })
    }

    /// Two subnets at least: the vendor wants two zones.
    fn subnets(&self, input: &Value) -> Result<Vec<Value>, AwsError> {
        let mut ids = texts(input, "SubnetIds");
        ids.sort();
        ids.dedup();
        if let Some(wrong) = ids.iter().find(|id| !id.starts_with("subnet-")) {
            let message = format!("The subnet ID '{wrong}' does not exist");
            return Err(AwsError::new("InvalidSubnet", message));
        }
        if ids.len() < 2 {
            return Err(AwsError::new(
                "DBSubnetGroupDoesNotCoverEnoughAZs",
                "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: 1. Add \
                 subnets to cover at least 2 AZs.",
            ));
        }
        one_vpc(&ids)?;
        Ok(self.in_zones(&ids))
    }

    fn in_zones(&self, ids: &[String]) -> Vec<Value> {
        let region = &self.inner.host.region;
        let zones = ["a", "b", "c"].iter().cycle();
        let placed = ids.iter().zip(zones).map(|(id, zone)| {
            json!({
                "SubnetIdentifier": id,
                "SubnetAvailabilityZone": {"Name": format!("{region}{zone}")},
                "SubnetOutpost": {},
                "SubnetStatus": "Active",
            })
        });
        placed.collect()
    }
}

impl State {
    /// The subnets of a group that instances stand in: those of their zones.
    fn subnets_in_use(&self, name: &str) -> Vec<String> {
        let Some(group) = self.subnet_groups.get(name) else {
            return Vec::new();
        };
        let instances = self.instances.values();
        let instances = instances.filter(|it| it.subnet_group == name);
        let zones: Vec<&str> = instances
            .flat_map(|it| {
                ["AvailabilityZone", "SecondaryAvailabilityZone"].map(|zone| text(&it.value, zone))
            })
            .flatten()
            .collect();
        let subnets = list(&group.value, "Subnets").iter();
        let used =
            subnets.filter(|it| zones.contains(&need(&it["SubnetAvailabilityZone"], "Name")));
        used.map(|it| need(it, "SubnetIdentifier").to_owned())
            .collect()
    }
}

/// A group keeps its VPC (hashicorp/terraform-provider-aws#27459) and the subnets that instances
/// stand in (`SubnetAlreadyInUse` of ModifyDBSubnetGroup, API reference).
fn check_subnets(group: &Value, subnets: &[Value], used: &[String]) -> Result<(), AwsError> {
    if need(group, "VpcId") != vpc_of(subnets, "SubnetIdentifier") {
        return Err(AwsError::new(
            "InvalidParameterValue",
            "The new Subnets are not in the same Vpc as the existing subnet group",
        ));
    }
    let stays = |id: &str| subnets.iter().any(|it| need(it, "SubnetIdentifier") == id);
    match used.iter().find(|id| !stays(id)) {
        None => Ok(()),
        Some(id) => Err(AwsError::new(
            "SubnetAlreadyInUse",
            format!("Some of the subnets to be deleted are currently in use: {id}"),
        )),
    }
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let letters = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || "._- ".contains(it));
    match letters && !name.is_empty() && name.len() <= 255 && name != "default" {
        true => Ok(()),
        false => Err(invalid_value(
            "The parameter DBSubnetGroupName is not a valid identifier. Identifiers must contain only letters, numbers, \
             periods, underscores, spaces, or hyphens, and must not be default.",
        )),
    }
}

pub(super) fn not_found(name: &str) -> AwsError {
    let message = format!("DB subnet group '{name}' does not exist.");
    AwsError::new("DBSubnetGroupNotFoundFault", message).with_status(StatusCode::NOT_FOUND)
}
