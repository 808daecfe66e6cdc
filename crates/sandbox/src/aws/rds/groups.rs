//! Subnet groups.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Rds, State, invalid_value};
use crate::aws::error::AwsError;
use crate::aws::json::{need, text, texts};
use crate::aws::query_rules::named;
use crate::aws::shelf::{Going, Kind, Site, Taken, all, given, subnets, whole};

const NAME: &str = "DBSubnetGroupName";
const DESCRIPTION: &str = "DBSubnetGroupDescription";

pub(super) const SUBNET_GROUP: Kind<State> = Kind {
    noun: ("DBSubnetGroup", "DBSubnetGroups"),
    answers: ("DBSubnetGroup", "DBSubnetGroups"),
    arn: ("subgrp:", "DBSubnetGroupArn"),
    on: (|it| &it.subnet_groups, |it| &mut it.subnet_groups),
    named: |_, _, input| check_name(&need(input, NAME).to_lowercase()),
    asked: |_, _, input| Ok(named(input, NAME)),
    made: |_, site, name, input| {
        Ok(members(
            site,
            name,
            &wanted(input)?,
            need(input, DESCRIPTION),
        ))
    },
    changes: &[("ModifyDBSubnetGroup", |state, site, name, input| {
        let mut changed = given(input, &[DESCRIPTION]);
        let new = placed(&wanted(input)?, site);
        let group = &state.subnet_groups[name].value;
        subnets::replaced(group, &new, &state.zones_in(name)).map_err(unfit)?;
        changed["Subnets"] = new["Subnets"].clone();
        Ok(changed)
    })],
    free: |state, _, name, _| {
        let user = state.instances.values().find(|it| it.subnet_group == name);
        match user {
            None => Ok(()),
            Some(instance) => Err(AwsError::new(
                "InvalidDBSubnetGroupStateFault",
                format!(
                    "Cannot delete the subnet group '{name}' because at least one database instance: {} is still using it.",
                    instance.id()
                ),
            )),
        }
    },
    going: Going::FORGOTTEN,
    taken: Taken::Refused(|_, name| {
        AwsError::new(
            "DBSubnetGroupAlreadyExists",
            format!("The DB subnet group '{name}' already exists."),
        )
    }),
    absent: |_, name| not_found(name),
    shown: whole,
    fits: all,
    service: &super::SERVICE,
};

impl Rds {
    /// The group that an instance without one gets.
    pub(super) fn add_default_subnet_group(&self, state: &mut State) {
        if !state.subnet_groups.contains_key("default") {
            let site = self.site();
            let ids = ["subnet-0a".into(), "subnet-0b".into()];
            let members = members(&site, "default", &ids, "default");
            SUBNET_GROUP.put(state, "default", members);
        }
    }
}

impl State {
    /// The zones that the instances of a group stand in.
    fn zones_in(&self, name: &str) -> Vec<String> {
        let instances = self.instances.values();
        let instances = instances.filter(|it| it.subnet_group == name);
        let zones = instances.flat_map(|it| {
            ["AvailabilityZone", "SecondaryAvailabilityZone"].map(|zone| text(&it.value, zone))
        });
        zones.flatten().map(str::to_owned).collect()
    }
}

/// Two subnets at least: the vendor wants two zones.
fn wanted(input: &Value) -> Result<Vec<String>, AwsError> {
    let mut ids = texts(input, "SubnetIds");
    ids.sort();
    ids.dedup();
    subnets::check(&ids)?;
    match ids.len() < 2 {
        false => Ok(ids),
        true => Err(AwsError::new(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: 1. Add \
             subnets to cover at least 2 AZs.",
        )),
    }
}

fn placed(ids: &[String], site: &Site) -> Value {
    let more = json!({ "SubnetOutpost": {}, "SubnetStatus": "Active" });
    subnets::placed(ids, &site.host.region, &more)
}

fn members(site: &Site, name: &str, ids: &[String], description: &str) -> Value {
    let mut members = placed(ids, site);
    members[NAME] = json!(name);
    members["DBSubnetGroupArn"] = json!(site.arn(&format!("subgrp:{name}")));
    members[DESCRIPTION] = json!(description);
    members["SubnetGroupStatus"] = json!("Complete");
    members["SupportedNetworkTypes"] = json!(["IPV4"]);
    members
}

/// A group keeps its VPC (hashicorp/terraform-provider-aws#27459) and the subnets that instances
/// stand in (`SubnetAlreadyInUse` of ModifyDBSubnetGroup, API reference).
fn unfit(why: subnets::Unfit) -> AwsError {
    match why {
        subnets::Unfit::OtherVpc => {
            invalid_value("The new Subnets are not in the same Vpc as the existing subnet group")
        }
        subnets::Unfit::InUse(id) => AwsError::new(
            "SubnetAlreadyInUse",
            format!("Some of the subnets to be deleted are currently in use: {id}"),
        ),
    }
}

fn check_name(name: &str) -> Result<String, AwsError> {
    let letters = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || "._- ".contains(it));
    match letters && !name.is_empty() && name.len() <= 255 && name != "default" {
        true => Ok(name.to_owned()),
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
