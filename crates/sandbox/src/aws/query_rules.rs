//! What the services of the query protocol have in common: tags, pages, faults.

use serde_json::{Value, json};

use super::error::AwsError;
use super::json::{need, number, text};

/// Refuses the tags of a request that the vendor refuses.
pub fn check_tags(tags: &[Value]) -> Result<(), AwsError> {
    for tag in tags {
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
    match tags.len() > 50 {
        true => Err(invalid_value(TOO_MANY_TAGS)),
        false => Ok(()),
    }
}

/// A resource with more than fifty.
pub const TOO_MANY_TAGS: &str = "A resource can have at most 50 tags.";

/// The name that a request gives in a member, as it is kept; none: all.
pub fn named(input: &Value, member: &str) -> Vec<String> {
    let name = text(input, member).map(str::to_lowercase);
    name.into_iter().collect()
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
