//! What the services of the query protocol have in common: tags, pages, faults.

use serde::Serialize;
use serde_json::{Value, json};

use super::error::AwsError;
use super::json::{list, need, number, text};

/// How many tags a resource may have.
pub const MAX_TAGS: usize = 50;

/// Something with tags, as the service describes it otherwise.
#[derive(Serialize)]
pub struct Tagged {
    /// As described, without tags.
    pub value: Value,
    /// Its tags.
    pub tags: Vec<Value>,
}

/// The tags of a request, refused where the vendor refuses them.
pub fn tags_of(input: &Value) -> Result<Vec<Value>, AwsError> {
    let tags = list(input, "Tags").to_vec();
    for tag in &tags {
        let key = need(tag, "Key");
        if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
            return Err(invalid_value(format!("The tag key '{key}' is not valid.")));
        }
        if need(tag, "Value").chars().count() > 256 {
            return Err(invalid_value(format!(
                "The value of the tag '{key}' is too long."
            )));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(invalid_value(format!(
            "A resource can have at most {MAX_TAGS} tags."
        )));
    }
    Ok(tags)
}

/// One page of `all` under `name`, by `MaxRecords` and `Marker`.
pub fn page(input: &Value, name: &str, all: Vec<Value>) -> Result<Value, AwsError> {
    let count = number(input, "MaxRecords").unwrap_or(100);
    if !(20..=100).contains(&count) {
        let message = format!("Invalid value {count} for MaxRecords. Must be between 20 and 100");
        return Err(invalid_value(message));
    }
    let start = match text(input, "Marker") {
        None => 0,
        Some(marker) => {
            let wrong = |_| invalid_value("The parameter Marker is not valid.");
            marker.parse::<usize>().map_err(wrong)?
        }
    };
    let count = usize::try_from(count).unwrap_or(100);
    let mut answer = json!({});
    if start + count < all.len() {
        answer["Marker"] = json!((start + count).to_string());
    }
    answer[name] = all.into_iter().skip(start).take(count).collect();
    Ok(answer)
}

/// A value that the service does not take.
pub fn invalid_value(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterValue", message)
}

/// Values that do not go together, or not with what there is.
pub fn invalid_combination(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterCombination", message)
}

/// The VPC of every subnet but those whose id begins with [`ELSEWHERE`].
const VPC: &str = "vpc-0a5b0c00000000000";
const OTHER_VPC: &str = "vpc-0f5b0c00000000000";
const ELSEWHERE: &str = "subnet-0f";

fn vpc(subnet: &str) -> &'static str {
    match subnet.starts_with(ELSEWHERE) {
        true => OTHER_VPC,
        false => VPC,
    }
}

/// The VPC of a group's subnets, each of which names its id so.
pub fn vpc_of(subnets: &[Value], id: &str) -> &'static str {
    vpc(subnets.first().map_or("", |it| need(it, id)))
}

/// The subnets of a group are of one VPC.
pub fn one_vpc(ids: &[String]) -> Result<(), AwsError> {
    let other = ids.iter().find(|id| vpc(id) != vpc(&ids[0]));
    match other {
        None => Ok(()),
        Some(id) => Err(AwsError::new(
            "InvalidSubnet",
            format!("Subnets {} and {id} are not in the same VPC.", ids[0]),
        )),
    }
}
