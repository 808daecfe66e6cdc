//! The subnets of subnet groups. They are taken at their word: nothing of the sandbox has a
//! network. One whose id begins with `subnet-0f` stands in another VPC than the rest.

use serde_json::{Value, json};

use crate::aws::error::AwsError;
use crate::aws::json::{list, need};

/// The VPC of every subnet but those whose id begins with [`ELSEWHERE`].
const VPC: &str = "vpc-0a5b0c00000000000";
const OTHER_VPC: &str = "vpc-0f5b0c00000000000";
const ELSEWHERE: &str = "subnet-0f";

/// Why a group does not take other subnets.
pub enum Unfit {
    /// They are of another VPC, which a group keeps.
    OtherVpc,
    /// Something stands in this one, which they lack.
    InUse(String),
}

/// Refuses what is no subnet, and subnets of several VPCs.
pub fn check(ids: &[String]) -> Result<(), AwsError> {
    if let Some(wrong) = ids.iter().find(|id| !id.starts_with("subnet-")) {
        let message = format!("The subnet ID '{wrong}' does not exist");
        return Err(AwsError::new("InvalidSubnet", message));
    }
    let other = ids.iter().find(|id| vpc(id) != vpc(&ids[0]));
    match other {
        None => Ok(()),
        Some(id) => Err(AwsError::new(
            "InvalidSubnet",
            format!("Subnets {} and {id} are not in the same VPC.", ids[0]),
        )),
    }
}

/// The members `VpcId` and `Subnets` of a group: a zone to each subnet, and `more` beside it.
pub fn placed(ids: &[String], region: &str, more: &Value) -> Value {
    let zones = ["a", "b", "c"].iter().cycle();
    let subnets = ids.iter().zip(zones).map(|(id, zone)| {
        let mut subnet = more.clone();
        subnet["SubnetIdentifier"] = json!(id);
        subnet["SubnetAvailabilityZone"] = json!({ "Name": format!("{region}{zone}") });
        subnet
    });
    let subnets: Vec<Value> = subnets.collect();
    json!({ "VpcId": vpc(ids.first().map_or("", String::as_str)), "Subnets": subnets })
}

/// Whether a group may have the subnets of `new` instead, with what stands in these zones.
pub fn replaced(group: &Value, new: &Value, zones: &[String]) -> Result<(), Unfit> {
    if group["VpcId"] != new["VpcId"] {
        return Err(Unfit::OtherVpc);
    }
    let stays = |subnet: &Value| {
        let mut subnets = list(new, "Subnets").iter();
        subnets.any(|it| it["SubnetIdentifier"] == subnet["SubnetIdentifier"])
    };
    let in_use = |subnet: &&Value| {
        let zone = need(&subnet["SubnetAvailabilityZone"], "Name");
        zones.iter().any(|it| it == zone)
    };
    let used = list(group, "Subnets").iter().filter(in_use);
    match used.into_iter().find(|it| !stays(it)) {
        None => Ok(()),
        Some(it) => Err(Unfit::InUse(need(it, "SubnetIdentifier").to_owned())),
    }
}

fn vpc(subnet: &str) -> &'static str {
    match subnet.starts_with(ELSEWHERE) {
        true => OTHER_VPC,
        false => VPC,
    }
}
