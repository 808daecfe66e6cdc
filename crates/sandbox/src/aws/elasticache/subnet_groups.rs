//! Subnet groups. Subnets are taken at their word: nothing of the sandbox has a network. One whose
//! id begins with `subnet-0f` stands in another VPC than the rest.

use serde_json::{Value, json};

use super::{ElastiCache, State, Tagged, invalid_value, page, tags_of};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text, texts};
use crate::aws::query_rules::{one_vpc, vpc_of};

impl ElastiCache {
    pub(super) fn create_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "CacheSubnetGroupName").to_lowercase();
        let letters = name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || it == '-');
        if !letters || name.is_empty() || name.len() > 255 || name == "default" {
            return Err(invalid_value(
                "The parameter CacheSubnetGroupName must have 1 to 255 alphanumeric characters or hyphens, and must not be \
                 default.",
            ));
        }
        let tags = tags_of(input)?;
        let subnets = self.subnets(&texts(input, "SubnetIds"))?;
        let mut state = self.lock();
        if state.subnet_groups.contains_key(&name) {
            return Err(AwsError::new(
                "CacheSubnetGroupAlreadyExists",
                format!("Cache subnet group {name} already exists."),
            ));
        }
        let value =
            self.new_subnet_group(&name, need(input, "CacheSubnetGroupDescription"), subnets);
        state.subnet_groups.insert(
            name,
            Tagged {
                value: value.clone(),
                tags,
            },
        );
        Ok(json!({ "CacheSubnetGroup": value }))
    }

    pub(super) fn describe_subnet_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let groups = match text(input, "CacheSubnetGroupName").map(str::to_lowercase) {
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
        page(input, "CacheSubnetGroups", groups)
    }

    pub(super) fn modify_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "CacheSubnetGroupName").to_lowercase();
        let ids = texts(input, "SubnetIds");
        let subnets = match ids.is_empty() {
            true => None,
            false => Some(self.subnets(&ids)?),
        };
        let mut state = self.lock();
        let used = state.subnets_in_use(&name, &self.inner.host.region);
        let group = state
            .subnet_groups
            .get_mut(&name)
            .ok_or_else(|| not_found(&name))?;
        if let Some(subnets) = subnets {
            check_subnets(&group.value, &subnets, &used)?;
            group.value["Subnets"] = json!(subnets);
        }
        if let Some(description) = text(input, "CacheSubnetGroupDescription") {
            group.value["CacheSubnetGroupDescription"] = json!(description);
        }
        Ok(json!({ "CacheSubnetGroup": group.value }))
    }

    pub(super) fn delete_subnet_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "CacheSubnetGroupName").to_lowercase();
        let mut state = self.lock();
        if !state.subnet_groups.contains_key(&name) {
            return Err(not_found(&name));
        }
        if state.groups.values().any(|it| it.subnet_group == name) {
            return Err(AwsError::new(
                "CacheSubnetGroupInUse",
                format!("Cache subnet group {name} is currently in use by a cache cluster."),
            ));
        }
        state.subnet_groups.remove(&name);
        Ok(json!({}))
    }

    /// The group that a replication group without one gets.
    pub(super) fn add_default_subnet_group(&self, state: &mut State) {
        state
            .subnet_groups
            .entry("default".into())
            .or_insert_with(|| Tagged {
                value: self.new_subnet_group(
                    "default",
                    "Default CacheSubnetGroup",
                    self.in_zones(&["subnet-0a".into()]),
                ),
                tags: Vec::new(),
            });
    }

    fn new_subnet_group(&self, name: &str, description: &str, subnets: Vec<Value>) -> Value {
        json!({
            "CacheSubnetGroupName": name,
            "CacheSubnetGroupDescription": description,
            "VpcId": vpc_of(&subnets, "SubnetIdentifier"),
            "Subnets": subnets,
            "ARN": self.arn("subnetgroup", name),
            "SupportedNetworkTypes": ["ipv4"],
        })
    }

    fn subnets(&self, ids: &[String]) -> Result<Vec<Value>, AwsError> {
        let wrong = ids.iter().find(|id| !id.starts_with("subnet-"));
        match (wrong, ids) {
            (Some(wrong), _) => {
                let message = format!("The subnet ID '{wrong}' does not exist");
                Err(AwsError::new("InvalidSubnet", message))
            }
            (None, []) => Err(super::create::blank("SubnetIds")),
            (None, ids) => {
                one_vpc(ids)?;
                Ok(self.in_zones(ids))
            }
        }
    }

    fn in_zones(&self, ids: &[String]) -> Vec<Value> {
        let region = &self.inner.host.region;
        let zones = ["a", "b", "c"].iter().cycle();
        let placed = ids.iter().zip(zones).map(|(id, zone)| {
            json!({
                "SubnetIdentifier": id,
                "SubnetAvailabilityZone": {"Name": format!("{region}{zone}")},
                "SupportedNetworkTypes": ["ipv4"],
            })
        });
        placed.collect()
    }
}

impl State {
    /// The subnets of a group that nodes stand in: those of their zones.
    fn subnets_in_use(&self, name: &str, region: &str) -> Vec<String> {
        let Some(group) = self.subnet_groups.get(name) else {
            return Vec::new();
        };
        let groups = self.groups.values().filter(|it| it.subnet_group == name);
        let zones: Vec<String> = groups
            .flat_map(|it| (0..it.members().len()).map(|index| it.zone(index, region)))
            .collect();
        let in_use = |zone: &str| zones.iter().any(|it| it == zone);
        let subnets = list(&group.value, "Subnets").iter();
        let used = subnets.filter(|it| in_use(need(&it["SubnetAvailabilityZone"], "Name")));
        used.map(|it| need(it, "SubnetIdentifier").to_owned())
            .collect()
    }
}

/// A group keeps its VPC and the subnets that nodes stand in (`InvalidSubnet`, `SubnetInUse` of
/// ModifyCacheSubnetGroup, API reference).
fn check_subnets(group: &Value, subnets: &[Value], used: &[String]) -> Result<(), AwsError> {
    if need(group, "VpcId") != vpc_of(subnets, "SubnetIdentifier") {
        return Err(AwsError::new(
            "InvalidSubnet",
            "The new subnets are not in the same VPC as the existing subnet group.",
        ));
    }
    let stays = |id: &str| subnets.iter().any(|it| need(it, "SubnetIdentifier") == id);
    match used.iter().find(|id| !stays(id)) {
        None => Ok(()),
        Some(id) => Err(AwsError::new(
            "SubnetInUse",
            format!("Subnet {id} is in use by a cache cluster."),
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
