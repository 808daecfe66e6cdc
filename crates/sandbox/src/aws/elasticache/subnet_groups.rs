//! Subnet groups.

use serde_json::{Value, json};

use super::rules::blank;
use super::{ElastiCache, State, invalid_value};
use crate::aws::error::AwsError;
use crate::aws::json::{need, texts};
use crate::aws::query_rules::named;
use crate::aws::shelf::{Going, Kind, Site, Taken, all, given, subnets, whole};

const NAME: &str = "CacheSubnetGroupName";
const DESCRIPTION: &str = "CacheSubnetGroupDescription";

pub(super) const SUBNET_GROUP: Kind<State> = Kind {
    noun: ("CacheSubnetGroup", "CacheSubnetGroups"),
    answers: ("CacheSubnetGroup", "CacheSubnetGroups"),
    arn: ("subnetgroup:", "ARN"),
    on: (|it| &it.subnet_groups, |it| &mut it.subnet_groups),
    named: |_, _, input| check_name(&need(input, NAME).to_lowercase()),
    asked: |_, _, input| Ok(named(input, NAME)),
    made: |_, site, name, input| {
        let ids = texts(input, "SubnetIds");
        if ids.is_empty() {
            return Err(blank("SubnetIds"));
        }
        subnets::check(&ids)?;
        Ok(members(site, name, &ids, need(input, DESCRIPTION)))
    },
    changes: &[("ModifyCacheSubnetGroup", |state, site, name, input| {
        let mut changed = given(input, &[DESCRIPTION]);
        let ids = texts(input, "SubnetIds");
        if !ids.is_empty() {
            subnets::check(&ids)?;
            let new = placed(&ids, site);
            let group = &state.subnet_groups[name].value;
            let zones = state.zones_in(name, &site.host.region);
            subnets::replaced(group, &new, &zones).map_err(unfit)?;
            changed["Subnets"] = new["Subnets"].clone();
        }
        Ok(changed)
    })],
    free: |state, _, name, _| match state.groups.values().any(|it| it.subnet_group == name) {
        false => Ok(()),
        true => Err(AwsError::new(
            "CacheSubnetGroupInUse",
            format!("Cache subnet group {name} is currently in use by a cache cluster."),
        )),
    },
    going: Going::FORGOTTEN,
    taken: Taken::Refused(|_, name| {
        AwsError::new(
            "CacheSubnetGroupAlreadyExists",
            format!("Cache subnet group {name} already exists."),
        )
    }),
    absent: |_, name| not_found(name),
    shown: whole,
    fits: all,
    service: &super::SERVICE,
};

impl ElastiCache {
    /// The group that a replication group without one gets.
    pub(super) fn add_default_subnet_group(&self, state: &mut State) {
        if !state.subnet_groups.contains_key("default") {
            let site = self.site();
            let ids = ["subnet-0a".into()];
            let members = members(&site, "default", &ids, "Default CacheSubnetGroup");
            SUBNET_GROUP.put(state, "default", members);
        }
    }
}

impl State {
    /// The zones that the nodes of a group's caches stand in.
    fn zones_in(&self, name: &str, region: &str) -> Vec<String> {
        let groups = self.groups.values().filter(|it| it.subnet_group == name);
        groups
            .flat_map(|it| (0..it.members().len()).map(|index| it.zone(index, region)))
            .collect()
    }
}

fn placed(ids: &[String], site: &Site) -> Value {
    let more = json!({ "SupportedNetworkTypes": ["ipv4"] });
    subnets::placed(ids, &site.host.region, &more)
}

fn members(site: &Site, name: &str, ids: &[String], description: &str) -> Value {
    let mut members = placed(ids, site);
    members[NAME] = json!(name);
    members["ARN"] = json!(site.arn(&format!("subnetgroup:{name}")));
    members[DESCRIPTION] = json!(description);
    members["SupportedNetworkTypes"] = json!(["ipv4"]);
    members
}

/// A group keeps its VPC and the subnets that nodes stand in (`InvalidSubnet`, `SubnetInUse` of
/// ModifyCacheSubnetGroup, API reference).
fn unfit(why: subnets::Unfit) -> AwsError {
    match why {
        subnets::Unfit::OtherVpc => AwsError::new(
            "InvalidSubnet",
            "The new subnets are not in the same VPC as the existing subnet group.",
        ),
        subnets::Unfit::InUse(id) => AwsError::new(
            "SubnetInUse",
            format!("Subnet {id} is in use by a cache cluster."),
        ),
    }
}

fn check_name(name: &str) -> Result<String, AwsError> {
    let letters = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || it == '-');
    match letters && !name.is_empty() && name.len() <= 255 && name != "default" {
        true => Ok(name.to_owned()),
        false => Err(invalid_value(
            "The parameter CacheSubnetGroupName must have 1 to 255 alphanumeric characters or hyphens, and must not be \
             default.",
        )),
    }
}

/// With the status 400, unlike most of its kind.
pub(super) fn not_found(name: &str) -> AwsError {
    AwsError::new(
        "CacheSubnetGroupNotFoundFault",
        format!("CacheSubnetGroup {name} does not exist."),
    )
}
