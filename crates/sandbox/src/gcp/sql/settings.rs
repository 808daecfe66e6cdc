//! The settings of an instance: completed with Cloud SQL's defaults, and refused where it refuses
//! them.

use serde_json::{Value, json};

use super::{flags, invalid};
use crate::gcp::error::Outcome;
use crate::gcp::names::check_labels;
use crate::gcp::schema::Object;

/// The PostgreSQL versions that new instances can have, oldest first.
const VERSIONS: [&str; 5] = [
    "POSTGRES_14",
    "POSTGRES_15",
    "POSTGRES_16",
    "POSTGRES_17",
    "POSTGRES_18",
];

/// PostgreSQL's limit on names.
pub(super) const LONGEST_NAME: usize = 63;

/// The sizes of Enterprise Plus machines, in CPUs.
const PERFORMANCE_CPUS: [u32; 10] = [2, 4, 8, 16, 32, 48, 64, 80, 96, 128];

/// The tiers of PostgreSQL that share a core.
const SHARED_CORE: [&str; 2] = ["db-f1-micro", "db-g1-small"];

/// An opaque fingerprint, never the same twice.
pub(super) fn etag() -> String {
    hex::encode(&uuid::Uuid::new_v4().as_bytes()[..])
}

/// The major version that `databaseVersion` names.
pub(super) fn major(version: &str) -> Outcome<u32> {
    if VERSIONS.contains(&version)
        && let Some(Ok(major)) = version.strip_prefix("POSTGRES_").map(str::parse)
    {
        return Ok(major);
    }
    if version.starts_with("POSTGRES_") {
        return Err(invalid(format!(
            "Database version {version} is not supported for new instances"
        )));
    }
    Err(super::unimplemented(
        "databases other than PostgreSQL (an unspecified version means MySQL)",
    ))
}

/// Fills what is left open. `version` is the major version: it decides the default edition.
pub(super) fn complete(settings: &mut Object, version: u32) {
    settings.insert("kind".into(), "sql#settings".into());
    // Since PostgreSQL 16 an instance without a word on it is Enterprise Plus.
    let edition = if version >= 16 {
        "ENTERPRISE_PLUS"
    } else {
        "ENTERPRISE"
    };
    for (name, value) in [
        ("activationPolicy", json!("ALWAYS")),
        ("availabilityType", json!("ZONAL")),
        ("connectorEnforcement", json!("NOT_REQUIRED")),
        ("dataDiskSizeGb", json!("10")),
        ("dataDiskType", json!("PD_SSD")),
        ("deletionProtectionEnabled", json!(false)),
        ("edition", json!(edition)),
        ("pricingPlan", json!("PER_USE")),
        ("replicationType", json!("SYNCHRONOUS")),
        ("storageAutoResize", json!(true)),
        ("storageAutoResizeLimit", json!("0")),
    ] {
        settings.entry(name).or_insert(value);
    }
    let days = if is_plus(settings) { 14 } else { 7 };
    fill(
        settings,
        "backupConfiguration",
        &[
            ("kind", json!("sql#backupConfiguration")),
            ("enabled", json!(false)),
            ("startTime", json!("02:00")),
            ("transactionLogRetentionDays", json!(days)),
            (
                "backupRetentionSettings",
                json!({ "retentionUnit": "COUNT", "retainedBackups": days + 1 }),
            ),
        ],
    );
    fill_archive(settings);
    let ssl_required = settings
        .get("ipConfiguration")
        .and_then(|ip| ip.get("requireSsl"))
        == Some(&json!(true));
    let mode = if ssl_required {
        "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    } else {
        "ALLOW_UNENCRYPTED_AND_ENCRYPTED"
    };
    fill(
        settings,
        "ipConfiguration",
        &[
            ("ipv4Enabled", json!(true)),
            ("sslMode", json!(mode)),
            ("requireSsl", json!(false)),
            ("serverCaMode", json!("GOOGLE_MANAGED_INTERNAL_CA")),
        ],
    );
    fill(
        settings,
        "locationPreference",
        &[("kind", json!("sql#locationPreference"))],
    );
}

/// What Cloud SQL says of point-in-time recovery where it is made: its logs are in Cloud Storage.
///
/// Source: `transactionalLogStorageState`, `replicationLogArchivingEnabled` and `backupTier` in the
/// discovery document.
fn fill_archive(settings: &mut Object) {
    let Some(backups) = settings["backupConfiguration"].as_object_mut() else {
        return;
    };
    let archives = backups.get("pointInTimeRecoveryEnabled") == Some(&json!(true));
    backups.insert("replicationLogArchivingEnabled".into(), archives.into());
    backups.entry("backupTier").or_insert(json!("STANDARD"));
    match archives {
        true => backups.insert(
            "transactionalLogStorageState".into(),
            "CLOUD_STORAGE".into(),
        ),
        false => backups.remove("transactionalLogStorageState"),
    };
}

fn fill(settings: &mut Object, name: &str, defaults: &[(&str, Value)]) {
    let inner = settings.entry(name).or_insert(json!({}));
    if let Some(inner) = inner.as_object_mut() {
        for (name, value) in defaults {
            inner.entry(*name).or_insert(value.clone());
        }
    }
}

/// Refuses what Cloud SQL refuses of complete settings.
pub(super) fn check(settings: &Object, region: &str) -> Outcome<()> {
    check_tier(settings)?;
    check_disk(settings)?;
    check_backups(settings)?;
    check_network(settings)?;
    check_labels("settings.user_labels", settings.get("userLabels"))?;
    for zone in ["zone", "secondaryZone"] {
        let zone = word(settings, &["locationPreference", zone]);
        if !zone.is_empty() && zone != "no_secondary_zone" && !zone.starts_with(region) {
            return Err(invalid(format!("Zone {zone} is not in region {region}")));
        }
    }
    if let Some(window) = settings.get("maintenanceWindow") {
        let within = |name: &str, least: i64, most: i64| {
            (least..=most).contains(&window[name].as_i64().unwrap_or(0))
        };
        if !within("day", 0, 7) || !within("hour", 0, 23) {
            return Err(invalid(
                "Maintenance window day must be between 1 and 7 and its hour between 0 and 23",
            ));
        }
    }
    if word(settings, &["activationPolicy"]) == "ON_DEMAND" {
        return Err(invalid(
            "Activation policy ON_DEMAND is not supported for this instance",
        ));
    }
    for other in [
        "passwordValidationPolicy",
        "readPoolAutoScaleConfig",
        "connectionPoolConfig",
    ] {
        if settings.contains_key(other) {
            return Err(super::unimplemented(other));
        }
    }
    flags::check(settings)
}

fn check_tier(settings: &Object) -> Outcome<()> {
    let tier = word(settings, &["tier"]);
    if tier.is_empty() {
        return Err(invalid("Missing required field: settings.tier"));
    }
    let wrong = || Err(invalid(format!("Invalid Tier ({tier})")));
    if let Some(cpus) = tier.strip_prefix("db-perf-optimized-N-") {
        if !cpus
            .parse()
            .is_ok_and(|cpus| PERFORMANCE_CPUS.contains(&cpus))
        {
            return wrong();
        }
        if !is_plus(settings) {
            return Err(invalid(format!(
                "Invalid Tier ({tier}) for (ENTERPRISE) Edition. Use a predefined Tier like db-custom-*-* instead"
            )));
        }
        return Ok(());
    }
    if !SHARED_CORE.contains(&tier) {
        let Some((cpus, megabytes)) = custom_tier(tier) else {
            return wrong();
        };
        check_custom_tier(tier, cpus, megabytes)?;
    }
    if is_plus(settings) {
        return Err(invalid(format!(
            "Invalid Tier ({tier}) for (ENTERPRISE_PLUS) Edition. Use a predefined Tier like db-perf-optimized-N-* instead. Learn more at https://cloud.google.com/sql/docs/postgres/create-instance#machine-types"
        )));
    }
    if word(settings, &["edition"]) == "DEVELOPER" {
        return Err(super::unimplemented("the edition DEVELOPER"));
    }
    Ok(())
}

fn custom_tier(tier: &str) -> Option<(u32, u32)> {
    let (cpus, megabytes) = tier.strip_prefix("db-custom-")?.split_once('-')?;
    let number = |text: &str| {
        let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    Some((number(cpus)?, number(megabytes)?))
}

/// One CPU or an even number up to 96; 0.9 to 6.5 GB for each, in steps of 256 MB, and 3.75 GB at
/// least.
fn check_custom_tier(tier: &str, cpus: u32, megabytes: u32) -> Outcome<()> {
    if cpus > 96 || (cpus != 1 && !cpus.is_multiple_of(2)) {
        return Err(invalid(format!(
            "Tier ({tier}): the number of CPUs must be 1 or an even number up to 96"
        )));
    }
    if !megabytes.is_multiple_of(256) || megabytes < 3840 {
        return Err(invalid(format!(
            "Tier ({tier}): memory must be a multiple of 256 MB and at least 3840 MB"
        )));
    }
    // 0.9 GB is 921.6 MB and 6.5 GB is 6656 MB.
    if megabytes * 10 < cpus * 9216 || megabytes > cpus * 6656 {
        return Err(invalid(format!(
            "Tier ({tier}): memory must be between 0.9 GB and 6.5 GB for each CPU"
        )));
    }
    Ok(())
}

fn check_disk(settings: &Object) -> Outcome<()> {
    let size = gigabytes(settings, "dataDiskSizeGb");
    if !(10..=65_536).contains(&size) {
        return Err(invalid(
            "The data disk size must be between 10 and 65536 GB",
        ));
    }
    let limit = gigabytes(settings, "storageAutoResizeLimit");
    if limit != 0 && limit < size {
        return Err(invalid(
            "The storage auto-resize limit must not be below the data disk size",
        ));
    }
    Ok(())
}

fn check_backups(settings: &Object) -> Outcome<()> {
    let backups = &settings["backupConfiguration"];
    let enabled = backups["enabled"] == true;
    let recoverable = backups["pointInTimeRecoveryEnabled"] == true;
    if recoverable && !enabled {
        return Err(invalid(
            "Point-in-time recovery requires that automated backups are enabled",
        ));
    }
    if word(settings, &["availabilityType"]) == "REGIONAL" && !(enabled && recoverable) {
        return Err(invalid(
            "Regional availability requires that automated backups and point-in-time recovery are enabled",
        ));
    }
    if backups["binaryLogEnabled"] == true {
        return Err(invalid(
            "Binary log can only be enabled for MySQL instances",
        ));
    }
    let start = backups["startTime"].as_str().unwrap_or_default();
    let hours = start.split_once(':').and_then(|(hour, minute)| {
        let two = hour.len() == 2 && minute.len() == 2;
        let fits = hour.parse::<u32>().ok()? < 24 && minute.parse::<u32>().ok()? < 60;
        Some(two && fits)
    });
    if hours != Some(true) {
        return Err(invalid(format!(
            "Backup start time {start} must be of the form HH:MM"
        )));
    }
    let most = if is_plus(settings) { 35 } else { 7 };
    let days = backups["transactionLogRetentionDays"].as_i64();
    if days.is_some_and(|days| !(1..=most).contains(&days)) {
        return Err(invalid(format!(
            "The number of transaction log retention days must be between 1 and {most}"
        )));
    }
    let kept = backups["backupRetentionSettings"]["retainedBackups"].as_i64();
    if kept.is_some_and(|kept| !(1..=365).contains(&kept)) {
        return Err(invalid(
            "The number of retained backups must be between 1 and 365",
        ));
    }
    Ok(())
}

fn check_network(settings: &Object) -> Outcome<()> {
    let network = &settings["ipConfiguration"];
    if network["pscConfig"]["pscEnabled"] == true {
        return Err(super::unimplemented("Private Service Connect"));
    }
    let private = network["privateNetwork"].as_str().unwrap_or_default();
    if network["ipv4Enabled"] != true && private.is_empty() {
        return Err(invalid(
            "At least one of Public IP or Private IP or PSC connectivity must be enabled",
        ));
    }
    if !private.is_empty() && !is_network(private) {
        return Err(invalid(format!(
            "Incorrect format for network: {private}. It must be projects/PROJECT/global/networks/NETWORK"
        )));
    }
    let mode = network["sslMode"].as_str().unwrap_or_default();
    let certificates = mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED";
    if (network["requireSsl"] == true) != certificates {
        return Err(invalid(format!(
            "requireSsl does not agree with the SSL mode {mode}"
        )));
    }
    if certificates {
        return Err(super::unimplemented("client certificates"));
    }
    let entries = network["authorizedNetworks"].as_array();
    for entry in entries.into_iter().flatten() {
        let value = entry["value"].as_str().unwrap_or_default();
        if !is_cidr(value) {
            return Err(invalid(format!(
                "CIDR \"{value}\" is not valid IPv4 CIDR notation"
            )));
        }
    }
    Ok(())
}

/// A network's resource name or link.
fn is_network(text: &str) -> bool {
    let path = text
        .strip_prefix("https://www.googleapis.com/compute/v1/")
        .or_else(|| text.strip_prefix("https://compute.googleapis.com/compute/v1/"))
        .unwrap_or(text)
        .trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["projects", project, "global", "networks", name] if !project.is_empty() && !name.is_empty())
}

fn is_cidr(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    address.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
}

/// Refuses what cannot be taken back: a smaller or another disk, a left network.
pub(super) fn check_change(old: &Object, new: &Object) -> Outcome<()> {
    if gigabytes(new, "dataDiskSizeGb") < gigabytes(old, "dataDiskSizeGb") {
        return Err(invalid(
            "The data disk size of an instance cannot be decreased",
        ));
    }
    if old.get("dataDiskType") != new.get("dataDiskType") {
        return Err(invalid(
            "The data disk type of an instance cannot be changed",
        ));
    }
    let network = |settings: &Object| {
        let network = word(settings, &["ipConfiguration", "privateNetwork"]);
        network.rsplit('/').next().unwrap_or_default().to_owned()
    };
    if !network(old).is_empty() && network(new) != network(old) {
        return Err(invalid(
            "The private network of an instance cannot be changed or removed",
        ));
    }
    Ok(())
}

/// Whether a change of settings restarts the server.
pub(super) fn restarts(old: &Object, new: &Object) -> bool {
    ["tier", "edition", "availabilityType", "activationPolicy"]
        .iter()
        .any(|name| old.get(*name) != new.get(*name))
        || flags::restart(old, new)
}

/// Whether connections without TLS are refused.
pub(super) fn forces_tls(settings: &Object) -> bool {
    word(settings, &["ipConfiguration", "sslMode"]) == "ENCRYPTED_ONLY"
}

/// Whether the instance is to run.
pub(super) fn is_active(settings: &Object) -> bool {
    word(settings, &["activationPolicy"]) != "NEVER"
}

fn is_plus(settings: &Object) -> bool {
    word(settings, &["edition"]) == "ENTERPRISE_PLUS"
}

fn gigabytes(settings: &Object, name: &str) -> i64 {
    let text = settings.get(name).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The text at a path; empty when there is none.
pub(super) fn word<'a>(object: &'a Object, path: &[&str]) -> &'a str {
    let Some((first, rest)) = path.split_first() else {
        return "";
    };
    let mut value = object.get(*first);
    for name in rest {
        value = value.and_then(|value| value.get(*name));
    }
    value.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(given: Value, version: u32) -> Option<String> {
        let mut settings = given.as_object().cloned().unwrap_or_default();
        complete(&mut settings, version);
        check(&settings, "us-central1").err().map(|e| e.message)
    }

    #[test]
    fn custom_tiers_keep_to_the_machine_rules() {
        for good in [
            "db-custom-1-3840",
            "db-custom-2-7680",
            "db-custom-4-26624",
            "db-f1-micro",
        ] {
            assert_eq!(refused(json!({ "tier": good }), 15), None, "{good}");
        }
        for bad in [
            "db-custom-3-11520",
            "db-custom-1-3841",
            "db-custom-1-1024",
            "db-custom-1-7168",
            "db-custom-8-3840",
            "db-custom-98-102400",
            "db-custom-0-3840",
            "db-n1-standard-1",
            "",
        ] {
            assert!(refused(json!({ "tier": bad }), 15).is_some(), "{bad}");
        }
    }

    #[test]
    fn newer_versions_are_enterprise_plus_unless_told_otherwise() {
        let refusal = refused(json!({ "tier": "db-f1-micro" }), 16).unwrap();
        assert!(refusal.contains("for (ENTERPRISE_PLUS) Edition"));
        let told = json!({ "tier": "db-f1-micro", "edition": "ENTERPRISE" });
        assert_eq!(refused(told, 16), None);
        assert_eq!(
            refused(json!({ "tier": "db-perf-optimized-N-2" }), 16),
            None
        );
        assert!(refused(json!({ "tier": "db-perf-optimized-N-2" }), 15).is_some());
    }

    #[test]
    fn recovery_and_high_availability_need_backups() {
        let with = |extra: Value| {
            let mut all = json!({ "tier": "db-f1-micro" });
            for (name, value) in extra.as_object().unwrap() {
                all[name] = value.clone();
            }
            refused(all, 15)
        };
        let backups = |enabled: bool, recovery: bool| json!({ "enabled": enabled, "pointInTimeRecoveryEnabled": recovery });
        assert!(with(json!({ "backupConfiguration": backups(false, true) })).is_some());
        assert!(with(json!({ "availabilityType": "REGIONAL" })).is_some());
        let both =
            json!({ "availabilityType": "REGIONAL", "backupConfiguration": backups(true, true) });
        assert_eq!(with(both), None);
    }
}
