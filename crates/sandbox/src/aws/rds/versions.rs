//! The PostgreSQL versions that RDS offers, and which may follow which.

use super::super::error::AwsError;
use super::invalid_combination;

/// The newest minor of each major when this was written; newer ones are not refused up to a distance.
const NEWEST: [(u32, u32); 7] = [
    (12, 22),
    (13, 23),
    (14, 20),
    (15, 15),
    (16, 11),
    (17, 7),
    (18, 1),
];
const AHEAD: u32 = 8;
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
    /// What is asked for; a major alone means its newest minor, nothing the default.
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
            None => *newest,
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

    /// The family of its parameter groups.
    pub fn family(self) -> String {
        format!("postgres{}", self.major)
    }

    /// The parameter group of an instance that names none.
    pub fn default_group(self) -> String {
        format!("default.{}", self.family())
    }

    /// Whether an instance of this version may become `next`.
    pub fn check_upgrade(self, next: Self, major_allowed: bool) -> Result<(), AwsError> {
        if next < self {
            return Err(invalid_combination(format!(
                "Cannot upgrade postgres from {self} to {next}"
            )));
        }
        if next.major > self.major && !major_allowed {
            return Err(invalid_combination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            ));
        }
        Ok(())
    }
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
        assert_eq!(choose("16").unwrap().to_string(), "16.11");
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
}
