//! The Resource Groups Tagging API: which resources of the region carry which tags.
//!
//! It answers from an index of its own: "resources that are currently tagged or ever had a tag"
//! (API Reference, "GetResources"). A service that was deleted, a revision that was deregistered
//! and a secret within its recovery window stand in it with their tags, as they do for hours
//! (boto/boto3#3341, aws/aws-sdk#676, hashicorp/waypoint#1974); how the index lags otherwise is
//! what `stale` faults are for.

use serde_json::{Value, json};

use super::error::AwsError;
use super::json::{list, need, number, page, text, texts};

/// The most that one page holds, and what it holds unless it is asked for less.
const LARGEST_PAGE: i64 = 100;

/// A resource with its tags, as its own service keeps them.
pub struct Tagged {
    pub arn: String,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}

impl Tagged {
    /// From tags that are objects with these two members.
    pub fn new(arn: impl Into<String>, tags: &[Value], (key, value): (&str, &str)) -> Self {
        let pairs = tags.iter();
        let pairs = pairs.map(|tag| (need(tag, key).to_owned(), need(tag, value).to_owned()));
        Self {
            arn: arn.into(),
            tags: pairs.collect(),
        }
    }

    /// `service` or `service:type`, as they stand in the ARN.
    fn is_of(&self, wanted: &str) -> bool {
        let mut parts = self.arn.splitn(6, ':').skip(2);
        let service = parts.next().unwrap_or_default();
        let resource = parts.nth(2).unwrap_or_default();
        let sort = resource.split([':', '/']).next().unwrap_or_default();
        match wanted.split_once(':') {
            Some((of, kind)) => of == service && kind == sort,
            None => wanted == service,
        }
    }

    /// "If you specify a filter that contains more than one value for a key, the response returns
    /// resources that match any of the specified values"; without one, any value fits.
    fn has(&self, filter: &Value) -> bool {
        let (key, values) = (need(filter, "Key"), texts(filter, "Values"));
        let mut tags = self.tags.iter();
        tags.any(|(of, value)| of == key && (values.is_empty() || values.contains(value)))
    }

    fn shown(&self) -> Value {
        let tags = self.tags.iter();
        let tags: Vec<Value> = tags
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
        json!({ "ResourceARN": self.arn, "Tags": tags })
    }
}

/// Answers GetResources. "GetResources does not return untagged resources."
pub fn get_resources(all: Vec<Tagged>, input: &Value) -> Result<Value, AwsError> {
    let (filters, types) = (
        list(input, "TagFilters"),
        texts(input, "ResourceTypeFilters"),
    );
    let arns = texts(input, "ResourceARNList");
    let narrowed = !filters.is_empty() || !types.is_empty();
    if !arns.is_empty() && narrowed {
        return Err(invalid(
            "ResourceARNList cannot be combined with other filters.",
        ));
    }
    let size = number(input, "ResourcesPerPage").unwrap_or(LARGEST_PAGE);
    if !(1..=LARGEST_PAGE).contains(&size) {
        return Err(invalid(
            "ResourcesPerPage must be between 1 and 100, inclusive.",
        ));
    }
    let mut found: Vec<Tagged> = all
        .into_iter()
        .filter(|it| !it.tags.is_empty())
        .filter(|it| filters.iter().all(|filter| it.has(filter)))
        .filter(|it| types.is_empty() || types.iter().any(|wanted| it.is_of(wanted)))
        .filter(|it| arns.is_empty() || arns.contains(&it.arn))
        .collect();
    found.sort_by(|one, other| one.arn.cmp(&other.arn));
    let token = text(input, "PaginationToken").filter(|it| !it.is_empty());
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let (shown, next) =
        page(found, token, size).map_err(|()| invalid("Invalid PaginationToken."))?;
    let shown: Vec<Value> = shown.iter().map(Tagged::shown).collect();
    // The last page has an empty token, not none: "PaginationToken": "".
    Ok(json!({ "ResourceTagMappingList": shown, "PaginationToken": next.unwrap_or_default() }))
}

fn invalid(message: &str) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}
