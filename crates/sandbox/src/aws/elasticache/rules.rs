//! What ElastiCache refuses: names, AUTH strings, node types, versions.

use axum::http::StatusCode;
use serde_json::Value;

use super::{invalid_combination, invalid_value};
use crate::aws::error::AwsError;
use crate::aws::json::text;

/// Engine, `MAJOR.MINOR` as asked for, the version as members say it, the family of its parameters.
const VERSIONS: [(&str, &str, &str, &str); 9] = [
    ("redis", "5.0.6", "5.0.6", "redis5.0"),
    ("redis", "6.0", "6.0.5", "redis6.x"),
    ("redis", "6.2", "6.2.6", "redis6.x"),
    ("redis", "7.0", "7.0.7", "redis7"),
    ("redis", "7.1", "7.1.0", "redis7"),
    ("valkey", "7.2", "7.2.6", "valkey7"),
    ("valkey", "8.0", "8.0.1", "valkey8"),
    ("valkey", "8.1", "8.1.0", "valkey8"),
    ("valkey", "8.2", "8.2.0", "valkey8"),
];
const FAMILIES: [&str; 15] = [
    "t2", "t3", "t4g", "m4", "m5", "m6g", "m7g", "r4", "r5", "r6g", "r6gd", "r7g", "c7gn", "m6gd",
    "r8g",
];
const SIZES: [&str; 12] = [
    "micro", "small", "medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "10xlarge",
    "12xlarge", "16xlarge", "24xlarge",
];
/// What an AUTH string may hold besides letters and digits.
const TOKEN_SIGNS: &str = "!&#$^<>-";

/// A version that ElastiCache offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// As members say it: `7.1.0`.
    pub full: &'static str,
    /// The family of its parameter groups.
    pub family: &'static str,
}

impl Version {
    /// What is asked for; nothing means the newest that has no surprises.
    pub fn choose(engine: &str, asked: Option<&str>) -> Result<Self, AwsError> {
        let asked = match (engine, asked) {
            ("redis", None) => "7.1",
            ("valkey", None) => "8.1",
            ("redis", Some("6.x")) => "6.2",
            ("redis" | "valkey", Some(asked)) => asked,
            (other, _) => {
                let message =
                    format!("The parameter Engine is not valid for replication groups: {other}");
                return Err(invalid_value(message));
            }
        };
        let found = VERSIONS
            .iter()
            .find(|(of, name, full, _)| *of == engine && (*name == asked || *full == asked));
        match found {
            Some((_, _, full, family)) => Ok(Self { full, family }),
            None => Err(invalid_combination(format!(
                "Cannot find version {asked} for {engine}"
            ))),
        }
    }

    /// Whether a group of the version `old` may become this one.
    pub fn check_upgrade(self, old: &str) -> Result<(), AwsError> {
        let numbers = |text: &str| {
            text.split('.')
                .map(|it| it.parse().unwrap_or(0))
                .collect::<Vec<u32>>()
        };
        match numbers(self.full) < numbers(old) {
            true => Err(invalid_combination(format!(
                "Cannot upgrade from {old} to {}: downgrades are not supported.",
                self.full
            ))),
            false => Ok(()),
        }
    }

    /// The parameter group of a replication group: the vendor's own. Others cannot be made here.
    ///
    /// Errors: another one is asked for.
    pub fn parameter_group(self, input: &Value) -> Result<String, AwsError> {
        let own = format!("default.{}", self.family);
        let asked = text(input, "CacheParameterGroupName").map(str::to_lowercase);
        let families = VERSIONS.map(|(_, _, _, family)| family);
        let Some(asked) = asked.filter(|asked| *asked != own) else {
            return Ok(own);
        };
        let other = asked.strip_prefix("default.").unwrap_or_default();
        Err(match families.contains(&other) {
            true => invalid_combination(format!(
                "Expected a parameter group of family {} but found one of family {other}",
                self.family
            )),
            false => AwsError::new(
                "CacheParameterGroupNotFound",
                format!("CacheParameterGroup not found: {asked}"),
            )
            .with_status(StatusCode::NOT_FOUND),
        })
    }
}

/// Begins with a letter; letters, digits, single hyphens; no hyphen at the end.
pub fn check_identifier(parameter: &str, id: &str, longest: usize) -> Result<(), AwsError> {
    let begins = id.starts_with(|it: char| it.is_ascii_alphabetic());
    let letters = id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
    if begins && letters && !id.ends_with('-') && !id.contains("--") && id.len() <= longest {
        return Ok(());
    }
    Err(invalid_value(format!(
        "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain only \
         ASCII letters, digits, and hyphens; must not end with a hyphen or contain two consecutive hyphens; and must have \
         at most {longest} characters."
    )))
}

/// 16 to 128 letters, digits and ``! & # $ ^ < > -``. Never quoted in the refusal.
pub fn check_token(token: &str) -> Result<(), AwsError> {
    let letters = token
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || TOKEN_SIGNS.contains(it));
    match letters && (16..=128).contains(&token.len()) {
        true => Ok(()),
        false => Err(invalid_value(
            "Invalid AuthToken provided. It must have 16 to 128 characters: letters, digits, and the special characters !, \
             &, #, $, ^, <, >, and -.",
        )),
    }
}

/// `cache.FAMILY.SIZE`.
pub fn check_node_type(class: &str) -> Result<(), AwsError> {
    let parts: Vec<&str> = class.split('.').collect();
    match parts[..] {
        ["cache", family, size] if FAMILIES.contains(&family) && SIZES.contains(&size) => Ok(()),
        _ => Err(invalid_value(format!("Invalid cache node type: {class}"))),
    }
}

/// Failover needs a node to fail over to, and several zones need failover.
pub fn check_availability(nodes: i64, failover: bool, multi_az: bool) -> Result<(), AwsError> {
    if !(1..=6).contains(&nodes) {
        return Err(invalid_value(
            "The number of cache clusters in a replication group must be between 1 and 6.",
        ));
    }
    if failover && nodes < 2 {
        return Err(invalid_combination(
            "When using automatic failover, there must be at least 2 cache clusters in the replication group.",
        ));
    }
    match multi_az && !failover {
        true => Err(invalid_combination(
            "Must enable automatic failover to use Multi-AZ with a replication group.",
        )),
        false => Ok(()),
    }
}

/// Days that snapshots are kept.
pub fn check_retention(days: i64) -> Result<(), AwsError> {
    match (0..=35).contains(&days) {
        true => Ok(()),
        false => Err(invalid_value(format!(
            "Invalid SnapshotRetentionLimit: {days}. It must be between 0 and 35."
        ))),
    }
}

/// `sg-...` each.
pub fn check_security_groups(groups: &[String]) -> Result<(), AwsError> {
    match groups.iter().find(|group| !group.starts_with("sg-")) {
        None => Ok(()),
        Some(group) => Err(invalid_value(format!(
            "Some security group Ids are not valid: [{group}]"
        ))),
    }
}

pub(super) fn blank(name: &str) -> AwsError {
    invalid_value(format!(
        "The parameter {name} must be provided and must not be blank."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_auth_string_is_16_to_128_of_the_vendors_characters_and_never_quoted() {
        check_token("abcDEF0123456789!&#$^<>-").unwrap();
        for token in [
            "short",
            &"x".repeat(129),
            "with/slash-and-more",
            "with@at-and-some-more",
            "with blank 0123456789",
        ] {
            let refused = check_token(token).unwrap_err();
            assert!(!refused.message.contains(token), "{refused:?}");
        }
    }

    #[test]
    fn versions_are_chosen_by_engine_and_only_go_up() {
        assert_eq!(Version::choose("redis", None).unwrap().full, "7.1.0");
        assert_eq!(
            Version::choose("redis", Some("6.x")).unwrap().family,
            "redis6.x"
        );
        assert_eq!(
            Version::choose("valkey", Some("8.0")).unwrap().family,
            "valkey8"
        );
        Version::choose("redis", Some("8.0")).unwrap_err();
        Version::choose("memcached", None).unwrap_err();
        Version::choose("redis", Some("6.2"))
            .unwrap()
            .check_upgrade("7.1.0")
            .unwrap_err();
        Version::choose("redis", Some("7.1"))
            .unwrap()
            .check_upgrade("7.0.7")
            .unwrap();
    }

    #[test]
    fn failover_needs_a_second_node_and_zones_need_failover() {
        check_availability(1, false, false).unwrap();
        check_availability(2, true, true).unwrap();
        check_availability(1, true, false).unwrap_err();
        check_availability(2, false, true).unwrap_err();
        check_availability(7, false, false).unwrap_err();
    }
}
