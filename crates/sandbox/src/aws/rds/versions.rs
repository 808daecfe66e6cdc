//! The PostgreSQL versions that RDS offers, and which may follow which.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::super::error::AwsError;
use super::super::json::text;
use super::{invalid_combination, page};

/// The newest minor of each major when this was written; newer ones are not refused up to a
/// distance.
const NEWEST: [(u32, u32); 8] = [
    (12, 22),
    (13, 23),
    (14, 22),
    (15, 17),
    (16, 13),
    (17, 9),
    (18, 3),
    (19, 1),
];
const AHEAD: u32 = 8;
/// How many releases the default minor is behind the newest: RDS offers a new one for weeks before
/// it becomes the default. On 2026-04-08 a bare 17 meant 17.6, and 17.9 was there
/// (terraform-aws-modules/terraform-aws-rds#627).
const BEHIND: u32 = 3;
const DEFAULT: Version = Version {
    major: 17,
    minor: 6,
};

/// `MAJOR.MINOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 16 of 16.4.
    pub major: u32,
    /// 4 of 16.4.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// What is asked for; a major alone means its default minor (API reference, `EngineVersion` of
    /// ModifyDBInstance), nothing the default of all.
    pub fn choose(asked: Option<&str>) -> Result<Self, AwsError> {
        let Some(asked) = asked else {
            return Ok(DEFAULT);
        };
        let absent = || invalid_combination(format!("Cannot find version {asked} for postgres"));
        let (major, minor) = match asked.split_once('.') {
            None => (asked, None),
            Some((major, minor)) => (major, Some(minor)),
        };
        let newest = NEWEST.iter().find(|(known, _)| known.to_string() == major);
        let (major, newest) = newest.ok_or_else(absent)?;
        let minor = match minor {
            None => default_minor(*newest),
            Some(minor) => minor
                .parse()
                .ok()
                .filter(|it: &u32| it.to_string() == minor)
                .ok_or_else(absent)?,
        };
        match (1..=newest + AHEAD).contains(&minor) {
            true => Ok(Self {
                major: *major,
                minor,
            }),
            false => Err(absent()),
        }
    }

    /// Whether its standard support has ended: of 13 on 2026-02-28 (user guide, "Release calendars
    /// for Amazon RDS for PostgreSQL").
    pub fn is_past_standard_support(self) -> bool {
        self.major <= 13
    }

    /// The family of its parameter groups.
    pub fn family(self) -> String {
        format!("postgres{}", self.major)
    }

    /// The parameter group of an instance that names none.
    pub fn default_group(self) -> String {
        format!("default.{}", self.family())
    }

    /// Which of the community's quarterly releases it was part of. One release brings a minor of
    /// each major that lives: 18.1, 17.7, 16.11, 15.15, 14.20 and 13.23 came on one day.
    fn release(self) -> i64 {
        let first = match self.major {
            ..=12 => -22,
            13 => -22,
            14 => -19,
            15 => -14,
            16 => -10,
            17 => -6,
            18 => 0,
            _ => 5,
        };
        first + i64::from(self.minor)
    }

    /// Whether RDS lists `next` as a target: a newer minor, or a newer major whose minor is no
    /// older than this one. From 16.13 it is 17.9, not 17.6
    /// (terraform-aws-modules/terraform-aws-rds#627).
    fn may_become(self, next: Self) -> bool {
        match next.major.cmp(&self.major) {
            Ordering::Less => false,
            Ordering::Equal => next.minor > self.minor,
            Ordering::Greater => next.release() >= self.release(),
        }
    }

    /// Whether an instance of this version may become `next`.
    pub fn check_upgrade(self, next: Self, major_allowed: bool) -> Result<(), AwsError> {
        if next == self {
            return Ok(());
        }
        if next.major > self.major && !major_allowed {
            return Err(invalid_combination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            ));
        }
        match self.may_become(next) {
            true => Ok(()),
            false => Err(invalid_combination(format!(
                "Cannot upgrade postgres from {self} to {next}"
            ))),
        }
    }

    /// As DescribeDBEngineVersions tells it, with what it may become.
    fn described(self) -> Value {
        let targets = offered().filter(|next| self.may_become(*next));
        let targets = targets.map(|next| {
            json!({
                "Engine": "postgres",
                "EngineVersion": next.to_string(),
                "Description": format!("PostgreSQL {next}-R1"),
                "AutoUpgrade": false,
                "IsMajorVersionUpgrade": next.major > self.major,
            })
        });
        json!({
            "Engine": "postgres",
            "MajorEngineVersion": self.major.to_string(),
            "EngineVersion": self.to_string(),
            "DBParameterGroupFamily": self.family(),
            "DBEngineDescription": "PostgreSQL",
            "DBEngineVersionDescription": format!("PostgreSQL {self}-R1"),
            "ValidUpgradeTarget": targets.collect::<Vec<_>>(),
            "SupportsReadReplica": true,
            "Status": "available",
        })
    }
}

fn default_minor(newest: u32) -> u32 {
    newest.saturating_sub(BEHIND).max(1)
}

/// Every version that is listed; older minors of each major too, as far as the default.
fn offered() -> impl Iterator<Item = Version> {
    NEWEST.iter().flat_map(|(major, newest)| {
        let minors = default_minor(*newest)..=*newest;
        minors.map(|minor| Version {
            major: *major,
            minor,
        })
    })
}

/// DescribeDBEngineVersions: all that are offered, or those of one version or one major, also an
/// older one that runs still.
pub fn described(input: &Value) -> Result<Value, AwsError> {
    if text(input, "Engine").is_some_and(|engine| engine != "postgres") {
        return page(input, "DBEngineVersions", Vec::new());
    }
    let asked = text(input, "EngineVersion");
    let exact = asked.filter(|asked| asked.contains('.'));
    let found: Vec<Value> = match exact {
        Some(exact) => Version::choose(Some(exact))
            .ok()
            .map(Version::described)
            .into_iter()
            .collect(),
        None => offered()
            .filter(|it| asked.is_none_or(|major| major == it.major.to_string()))
            .map(Version::described)
            .collect(),
    };
    page(input, "DBEngineVersions", found)
}

/// The families that parameter groups can be of.
pub fn families() -> impl Iterator<Item = String> {
    NEWEST.iter().map(|(major, _)| format!("postgres{major}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_chosen_as_asked_and_only_go_up() {
        let choose = |text| Version::choose(Some(text));
        assert_eq!(choose("16").unwrap().to_string(), "16.10");
        assert_eq!(choose("16.4").unwrap().to_string(), "16.4");
        for wrong in ["16.99", "9.6.1", "99", "16.", "16.04", "x"] {
            choose(wrong).unwrap_err();
        }
        let (old, new) = (choose("15.4").unwrap(), choose("16.4").unwrap());
        new.check_upgrade(old, true).unwrap_err();
        old.check_upgrade(new, false).unwrap_err();
        old.check_upgrade(new, true).unwrap();
        new.check_upgrade(choose("16.5").unwrap(), false).unwrap();
    }

    #[test]
    fn a_new_major_must_be_as_new_as_the_minor_that_runs() {
        let choose = |text| Version::choose(Some(text)).unwrap();
        let refused = choose("16.13").check_upgrade(choose("17"), true);
        let said = refused.unwrap_err().message;
        assert_eq!(said, "Cannot upgrade postgres from 16.13 to 17.6");
        choose("16.13").check_upgrade(choose("17.9"), true).unwrap();
        choose("16.10").check_upgrade(choose("17"), true).unwrap();
        let listed = choose("16.13").described();
        let targets = listed["ValidUpgradeTarget"].as_array().unwrap();
        let targets: Vec<_> = targets.iter().map(|it| &it["EngineVersion"]).collect();
        assert_eq!(targets, ["17.9", "18.3", "19.1"]);
    }
}
