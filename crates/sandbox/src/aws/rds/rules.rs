//! What RDS refuses: names, passwords, classes, storage, windows.

use super::super::error::AwsError;
use super::{invalid_combination, invalid_value};

const FAMILIES: [&str; 32] = [
    "t3", "t4g", "m5", "m5d", "m6g", "m6gd", "m6i", "m6id", "m6idn", "m6in", "m7g", "m7i", "m8g",
    "r5", "r5b", "r5d", "r6g", "r6gd", "r6i", "r6id", "r6idn", "r6in", "r7g", "r7i", "r8g", "x2g",
    "x2idn", "x2iedn", "z1d", "c6gd", "m8gd", "r8gd",
];
const SIZES: [&str; 14] = [
    "micro", "small", "medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge",
    "16xlarge", "24xlarge", "32xlarge", "48xlarge", "6xlarge",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u32 = 24 * 60;

/// Begins with a letter; letters, digits, single hyphens; no hyphen at the end.
pub fn check_identifier(parameter: &str, id: &str, longest: usize) -> Result<(), AwsError> {
    let begins = id.starts_with(|it: char| it.is_ascii_alphabetic());
    let letters = id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
    if begins && letters && !id.ends_with('-') && !id.contains("--") && id.len() <= longest {
        return Ok(());
    }
    Err(invalid_value(format!(
        "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain only \
         ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

/// 8 to 128 printable ASCII characters, none of `/ @ "` and the blank. Never quoted in the refusal.
pub fn check_password(password: &str) -> Result<(), AwsError> {
    let start = "The parameter MasterUserPassword is not a valid password";
    if password.len() < 8 {
        return Err(invalid_value(format!(
            "{start} because it is shorter than 8 characters."
        )));
    }
    if password.len() > 128 {
        return Err(invalid_value(format!(
            "{start} because it is longer than 128 characters."
        )));
    }
    if password
        .chars()
        .all(|it| it.is_ascii_graphic() && !"/@\"".contains(it))
    {
        return Ok(());
    }
    Err(invalid_value(format!(
        "{start}. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
    )))
}

/// 1 to 63 letters, digits and underscores, beginning with a letter, and not the engine's own word.
pub fn check_master_user(name: &str) -> Result<(), AwsError> {
    let letters = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || it == '_');
    if !(letters && name.starts_with(|it: char| it.is_ascii_alphabetic()) && name.len() <= 63) {
        return Err(invalid_value(
            "The parameter MasterUsername must begin with a letter and contain only alphanumeric characters and underscores.",
        ));
    }
    const RESERVED: [&str; 9] = [
        "admin",
        "rdsadmin",
        "rds_superuser",
        "rds_password",
        "rdsrepladmin",
        "user",
        "all",
        "public",
        "table",
    ];
    let lower = name.to_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("pg_") {
        return Err(invalid_value(format!(
            "MasterUsername {name} cannot be used as it is a reserved word used by the engine"
        )));
    }
    Ok(())
}

/// 1 to 63 letters, digits and underscores, beginning with a letter or an underscore.
pub fn check_database(name: &str) -> Result<(), AwsError> {
    let letters = name
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || it == '_');
    let begins = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    if !letters || !begins || name.len() > 63 {
        return Err(invalid_value(
            "DBName must begin with a letter and contain only alphanumeric characters.",
        ));
    }
    const RESERVED: [&str; 6] = ["db", "rdsadmin", "template0", "template1", "user", "table"];
    match RESERVED.contains(&name.to_lowercase().as_str()) {
        true => Err(invalid_value(format!(
            "DBName {name} cannot be used. It is a reserved word for this engine."
        ))),
        false => Ok(()),
    }
}

/// `db.FAMILY.SIZE`.
pub fn check_class(class: &str) -> Result<(), AwsError> {
    let parts: Vec<&str> = class.split('.').collect();
    match parts[..] {
        ["db", family, size] if FAMILIES.contains(&family) && SIZES.contains(&size) => Ok(()),
        _ => Err(invalid_value(format!("Invalid DB Instance class: {class}"))),
    }
}

/// From so many GiB on gp3 of PostgreSQL is striped, and its operations per second can be chosen:
/// 12,000 to 64,000 (user guide, "Amazon RDS DB instance storage").
pub const FAST_FROM: i64 = 400;

/// Gibibytes by storage type, and who may ask for operations per second.
pub fn check_storage(kind: &str, size: i64, iops: Option<i64>) -> Result<(), AwsError> {
    let sizes = match kind {
        "gp2" | "gp3" => 20..=65536,
        "io1" | "io2" => 100..=65536,
        "standard" => 5..=3072,
        _ => return Err(invalid_value(format!("Invalid storage type: {kind}"))),
    };
    if !sizes.contains(&size) {
        return Err(invalid_value(format!(
            "Invalid storage size for engine name postgres and storage type {kind}: {size}"
        )));
    }
    match (kind, iops) {
        ("io1" | "io2", None) => Err(invalid_combination(format!(
            "Iops must be specified for storage type {kind}."
        ))),
        ("gp3", Some(_)) if size < FAST_FROM => Err(invalid_combination(
            "You can't specify IOPS or storage throughput for engine postgres and a storage size less than 400.",
        )),
        ("gp3", Some(iops)) if !(12_000..=64_000).contains(&iops) => Err(invalid_combination(
            format!("Invalid iops value for engine name postgres and storage type gp3: {iops}"),
        )),
        ("gp2" | "standard", Some(_)) => Err(invalid_combination(format!(
            "You can't specify IOPS for storage type {kind}."
        ))),
        _ => Ok(()),
    }
}

/// The most that storage may grow to by itself: more than there is.
pub fn check_max_storage(kind: &str, size: i64, most: i64) -> Result<(), AwsError> {
    // The vendor asks for a tenth more at least.
    match most * 10 >= size * 11 && most <= 65536 {
        true => Ok(()),
        false => Err(invalid_combination(format!(
            "Invalid max storage size for engine name postgres and storage type {kind}: {most}"
        ))),
    }
}

/// Days that backups are kept.
pub fn check_retention(days: i64) -> Result<(), AwsError> {
    match (0..=35).contains(&days) {
        true => Ok(()),
        false => Err(invalid_value(format!(
            "Invalid backup retention period: {days}. Retention period must be between 0 and 35."
        ))),
    }
}

/// The ports that RDS takes.
pub fn check_port(port: i64) -> Result<(), AwsError> {
    match (1150..=65535).contains(&port) {
        true => Ok(()),
        false => Err(invalid_value(format!(
            "Invalid endpoint port {port}, valid range is 1150-65535."
        ))),
    }
}

/// `sg-...` each.
pub fn check_security_groups(groups: &[String]) -> Result<(), AwsError> {
    match groups.iter().find(|group| !group.starts_with("sg-")) {
        None => Ok(()),
        Some(group) => Err(invalid_value(format!(
            "Invalid security group , groupId= {group}, groupName=."
        ))),
    }
}

/// `hh24:mi-hh24:mi` and `ddd:hh24:mi-ddd:hh24:mi`, half an hour at least, apart from each other.
pub fn check_windows(backup: &str, maintenance: &str) -> Result<(), AwsError> {
    let backup_minutes = day_window(backup).ok_or_else(|| {
        invalid_value(format!(
            "The parameter PreferredBackupWindow is not valid: {backup}. Must be in the format hh24:mi-hh24:mi."
        ))
    })?;
    let (start, length) = week_window(maintenance).ok_or_else(|| {
        invalid_value(format!(
            "Invalid maintenance window format: {maintenance}. Must be in the format ddd:hh24:mi-ddd:hh24:mi."
        ))
    })?;
    if length < 30 || backup_minutes.1 < 30 {
        return Err(invalid_value(
            "The backup and the maintenance window must be at least 30 minutes.",
        ));
    }
    let within = |minute: u32| (minute + DAY - backup_minutes.0) % DAY < backup_minutes.1;
    let overlap = (0..length).any(|minute| within((start + minute) % DAY));
    match overlap {
        true => Err(invalid_combination(
            "The backup window and maintenance window must not overlap.",
        )),
        false => Ok(()),
    }
}

/// The minute of the day it begins at, and its length.
fn day_window(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    Some((from, (to + DAY - from) % DAY))
}

/// The minute of the week it begins at, and its length.
fn week_window(text: &str) -> Option<(u32, u32)> {
    let at = |text: &str| {
        let (day, time) = text.split_once(':')?;
        let day = DAYS.iter().position(|it| it.eq_ignore_ascii_case(day))?;
        Some(u32::try_from(day).ok()? * DAY + minute(time)?)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (at(from)?, at(to)?);
    let week = 7 * DAY;
    Some((from, (to + week - from) % week)).filter(|(_, length)| *length <= DAY)
}

fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2)
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_what_is_wrong_with_it_and_never_quoted() {
        check_password("abcdefgh!#$%").unwrap();
        for (password, says) in [
            ("brief", "shorter"),
            ("has space in it", "besides"),
            ("has/slash", "besides"),
            ("has@at---", "besides"),
            ("has\"quote", "besides"),
            ("umlaut-ä-umlaut", "besides"),
            (&"x".repeat(129), "longer"),
        ] {
            let refused = check_password(password).unwrap_err();
            assert!(refused.message.contains(says), "{refused:?}");
            assert!(!refused.message.contains(password));
        }
    }

    #[test]
    fn names_and_classes_and_sizes_are_the_vendors() {
        for id in ["a", "app-prod-1", "A1"] {
            check_identifier("x", id, 63).unwrap();
        }
        for id in ["", "1a", "a-", "a--b", "a_b", &"a".repeat(64)] {
            check_identifier("x", id, 63).unwrap_err();
        }
        check_class("db.t4g.micro").unwrap();
        check_class("db.r8g.48xlarge").unwrap();
        for class in ["t4g.micro", "db.t4g", "db.x9.large", "db.t4g.huge"] {
            check_class(class).unwrap_err();
        }
        check_storage("gp3", 20, None).unwrap();
        check_storage("gp3", 19, None).unwrap_err();
        check_storage("gp3", 20, Some(3000)).unwrap_err();
        check_storage("gp3", 400, Some(3000)).unwrap_err();
        check_storage("gp3", 400, Some(12_000)).unwrap();
        check_storage("io1", 100, None).unwrap_err();
        check_storage("io1", 100, Some(1000)).unwrap();
        check_max_storage("gp3", 20, 21).unwrap_err();
        check_max_storage("gp3", 20, 22).unwrap();
    }

    #[test]
    fn windows_are_half_an_hour_and_do_not_overlap() {
        check_windows("03:00-03:30", "sun:04:00-sun:04:30").unwrap();
        check_windows("23:45-00:15", "sun:00:15-sun:00:45").unwrap();
        for (backup, maintenance) in [
            ("3:00-03:30", "sun:04:00-sun:04:30"),
            ("03:00-03:30", "04:00-04:30"),
            ("03:00-03:10", "sun:04:00-sun:04:30"),
            ("03:00-04:01", "sun:04:00-sun:04:30"),
            ("23:45-00:16", "sun:00:15-sun:00:45"),
        ] {
            check_windows(backup, maintenance).unwrap_err();
        }
    }
}
