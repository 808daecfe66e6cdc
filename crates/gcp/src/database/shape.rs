//! The Cloud SQL instance that the manifest describes, and an instance described field by field;
//! pure.
//!
//! [`describe`] reads both what is there and what [`Shape::compose`] makes, so that noise is equal
//! on both sides.

use std::collections::{BTreeMap, HashMap};

use crate::spec::MaintenanceWindow;
use deployer_core::error::Error;
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::kind::Ownership;
use deployer_core::node::Effect;
use deployer_core::spec::{DatabaseSpec, SslMode};
use google_cloud_sql_v1::model::backup_retention_settings::RetentionUnit;
use google_cloud_sql_v1::model::dns_name_mapping::{ConnectionType, DnsScope};
use google_cloud_sql_v1::model::ip_configuration::{CaMode, SslMode as Enforced};
use google_cloud_sql_v1::model::settings::{Edition, SqlActivationPolicy};
use google_cloud_sql_v1::model::{
    BackupConfiguration, BackupRetentionSettings, DatabaseInstance, IpConfiguration, Settings,
    SqlAvailabilityType, SqlDataDiskType, SqlDatabaseVersion, SqlIpAddressType,
};

use super::extras;
use crate::ground::NetworkName;
use crate::labels;
use crate::paths::Names;

/// The label that says which version of the password the user has. The user's node owns it: the
/// instance's writes it into a new instance, and leaves it alone from then on.
pub(super) const PASSWORD_LABEL: &str = "deployer-password";

/// Cloud SQL keeps the logs of point-in-time recovery a week at most, and never longer than the
/// backups.
const LONGEST_LOGS: u16 = 7;

/// The field that says for how many days the logs of point-in-time recovery are kept.
pub(super) const LOGS: &str = "point-in-time recovery";

/// What the manifest says of one instance.
pub(super) struct Shape {
    pub(super) spec: DatabaseSpec,
    /// `None` when it is reached by a public address.
    pub(super) network: Option<Value<NetworkName>>,
    /// Whether the manifest names the network for this very instance. The target's one is the
    /// services' way in, and says nothing of an instance that was somebody's.
    pub(super) has_own_network: bool,
    /// Flags of the server that are wanted.
    pub(super) flags: BTreeMap<String, String>,
    pub(super) maintenance: Option<MaintenanceWindow>,
    pub(super) ownership: Ownership,
    pub(super) names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent
    /// about stays, and so does what is there beyond what it asks for: a disk that grew, a newer
    /// version, backups that are kept longer.
    pub(super) fn compose(&self, base: DatabaseInstance) -> DatabaseInstance {
        let settings = match base.settings.clone() {
            Some(there) => self.settings(there, self.spec.adopt),
            None => self.settings(Settings::new(), false),
        };
        let version = match version_number(&base) {
            Some(there) if there >= self.spec.version || self.is_silent("version") => {
                base.database_version.clone()
            }
            Some(_) | None => {
                let version = format!("POSTGRES_{}", self.spec.version);
                SqlDatabaseVersion::from(version.as_str())
            }
        };
        base.set_name(&self.spec.name)
            .set_region(&self.names.region)
            .set_database_version(version)
            .set_settings(settings)
    }

    /// An instance field by field, where more than the manifest asks for is what it asks for.
    pub(super) fn describe(&self, instance: &DatabaseInstance) -> Fields {
        let mut fields = describe(instance, &self.names);
        if let Some(settings) = &instance.settings {
            extras::describe(&mut fields, settings, &self.flags, self.maintenance);
        }
        if self.has_newer(instance) {
            fields.set("version", self.spec.version);
        }
        if self.has_larger(instance) {
            fields.set("storage", gib(i64::from(self.spec.storage_gib)));
        }
        fields
    }

    fn has_newer(&self, instance: &DatabaseInstance) -> bool {
        !self.is_silent("version")
            && version_number(instance).is_some_and(|there| there > self.spec.version)
    }

    fn has_larger(&self, instance: &DatabaseInstance) -> bool {
        !self.is_silent("storage") && size(instance) > i64::from(self.spec.storage_gib)
    }

    /// What is there beyond what the manifest asks for, for people.
    pub(super) fn beyond(&self, instance: &DatabaseInstance) -> Vec<String> {
        let mut notes = Vec::new();
        if self.has_newer(instance) {
            let (there, wanted) = (version(instance), self.spec.version);
            notes.push(format!(
                "it runs PostgreSQL {there}, newer than the {wanted} of the manifest, and stays"
            ));
        }
        if self.has_larger(instance) {
            let (there, wanted) = (gib(size(instance)), self.spec.storage_gib);
            notes.push(format!(
                "its disk has {there}, more than the {wanted} GiB of the manifest, and stays"
            ));
        }
        notes
    }

    /// Why the manifest cannot be followed: it asks for less than it did, and neither a disk nor a
    /// version goes back. What grew by itself (`left` is what the manifest asked for at the last
    /// apply) is no such wish.
    pub(super) fn objection(&self, instance: &DatabaseInstance, left: &Fields) -> Option<Error> {
        let name = &self.spec.name;
        let asked_before =
            |field, wanted| leading_number(left.get(field)?).filter(|it| *it > wanted);
        if self.has_larger(instance)
            && let Some(before) = asked_before("storage", u64::from(self.spec.storage_gib))
        {
            let there = gib(size(instance));
            let what = format!("the disk of database `{name}` has {there}, and no disk shrinks");
            let hint = format!("write `storage = \"{before}GiB\"` or more");
            return Some(Error::input(what).hint(hint));
        }
        if self.has_newer(instance)
            && let Some(before) = asked_before("version", u64::from(self.spec.version))
        {
            let wanted = self.spec.version;
            let is = version(instance);
            let what = format!("database `{name}` is PostgreSQL {is} and cannot become {wanted}");
            let hint = format!("write `version = {before}`, or make another database");
            return Some(Error::input(what).hint(hint));
        }
        None
    }

    /// Whether the instance was somebody's and the manifest does not say this of it.
    fn is_silent(&self, key: &str) -> bool {
        self.spec.adopt && self.spec.unsaid.contains(key)
    }

    /// `adopted`: it was somebody's, and what no key of the manifest is for stays, too.
    fn settings(&self, there: Settings, adopted: bool) -> Settings {
        let silent = |key| adopted && self.is_silent(key);
        let labels = self.merged_labels(&there.user_labels);
        let address = there.ip_configuration.clone().unwrap_or_default();
        let mut settings = there
            .set_activation_policy(SqlActivationPolicy::Always)
            .set_ip_configuration(self.address(address, adopted))
            .set_user_labels(labels);
        if !silent("class") && settings.tier != self.spec.class {
            settings.edition = edition(&self.spec.class);
            settings.tier.clone_from(&self.spec.class);
        }
        if !silent("high_availability") {
            settings.availability_type = match self.spec.high_availability {
                true => SqlAvailabilityType::Regional,
                false => SqlAvailabilityType::Zonal,
            };
        }
        if settings.data_disk_type == SqlDataDiskType::default() {
            settings.data_disk_type = SqlDataDiskType::PdSsd;
        }
        if !silent("storage") {
            let wanted = i64::from(self.spec.storage_gib);
            let size = settings.data_disk_size_gb.unwrap_or(wanted).max(wanted);
            settings.data_disk_size_gb = Some(size);
        }
        if !adopted {
            // A full disk stops the database; growing by itself is Google's default and advice.
            settings.storage_auto_resize = Some(true);
        }
        if !silent("backup_days") {
            let backups = settings.backup_configuration.take().unwrap_or_default();
            settings.backup_configuration = Some(self.backups(backups));
        }
        if settings.edition == Edition::Enterprise
            && let Some(backups) = &mut settings.backup_configuration
            && let Some(days) = &mut backups.transaction_log_retention_days
        {
            *days = (*days).min(i32::from(LONGEST_LOGS));
        }
        if !silent("deletion_protection") {
            settings.deletion_protection_enabled = Some(self.spec.deletion_protection);
        }
        extras::compose(settings, &self.flags, self.maintenance)
    }

    fn merged_labels(&self, there: &HashMap<String, String>) -> HashMap<String, String> {
        let mut merged = labels::merged(&self.ownership, there);
        if let Some(version) = there.get(PASSWORD_LABEL) {
            merged.insert(PASSWORD_LABEL.to_owned(), version.clone());
        }
        merged
    }

    fn address(&self, there: IpConfiguration, adopted: bool) -> IpConfiguration {
        let there = match adopted {
            true => there,
            false => there
                .set_ssl_mode(Enforced::EncryptedOnly)
                .set_ipv4_enabled(self.network.is_none()),
        };
        match self.network.as_ref().and_then(Value::known) {
            Some(NetworkName(network)) if self.has_own_network || !adopted => {
                there.set_private_network(self.names.network(&network))
            }
            Some(_) | None => there,
        }
    }

    fn backups(&self, there: BackupConfiguration) -> BackupConfiguration {
        let days = self.spec.backup_days;
        if days == 0 {
            return there
                .set_enabled(false)
                .set_point_in_time_recovery_enabled(false);
        }
        // What stands there of backups that are not made is Cloud SQL's default, and nobody's wish.
        let (kept, logs) = kept(&there);
        let kept = kept.max(i32::from(days));
        let logs = logs.max(i32::from(days.min(LONGEST_LOGS)));
        let retention = BackupRetentionSettings::new()
            .set_retention_unit(RetentionUnit::Count)
            .set_retained_backups(kept);
        there
            .set_enabled(true)
            .set_point_in_time_recovery_enabled(true)
            .set_backup_retention_settings(retention)
            .set_transaction_log_retention_days(logs)
    }
}

/// How many backups are kept, and for how many days the logs of point-in-time recovery; 0 where
/// none are made.
fn kept(backups: &BackupConfiguration) -> (i32, i32) {
    if backups.enabled != Some(true) {
        return (0, 0);
    }
    let retention = backups.backup_retention_settings.as_ref();
    let kept = retention.and_then(|settings| settings.retained_backups);
    let logs = match backups.point_in_time_recovery_enabled {
        Some(true) => backups.transaction_log_retention_days.unwrap_or_default(),
        Some(false) | None => 0,
    };
    (kept.unwrap_or_default(), logs)
}

/// The edition that has a tier. The newer versions of PostgreSQL are Enterprise Plus unless told
/// otherwise, and that takes tiers of its own.
fn edition(tier: &str) -> Edition {
    let enterprise = ["db-custom-", "db-f1-", "db-g1-"];
    match enterprise.iter().any(|known| tier.starts_with(known)) {
        true => Edition::Enterprise,
        false => Edition::EnterprisePlus,
    }
}

/// An instance field by field.
pub(super) fn describe(instance: &DatabaseInstance, names: &Names) -> Fields {
    let mut fields = Fields::new();
    fields.set("version", version(instance));
    fields.set("region", &instance.region);
    let settings = instance.settings.clone().unwrap_or_default();
    fields.set("tier", &settings.tier);
    fields.set("edition", word(settings.edition.name()));
    let availability = settings.availability_type.name();
    fields.set("availability", word(availability));
    let disk = settings.data_disk_type.name();
    fields.set(
        "disk type",
        disk.unwrap_or("?").replace('_', "-").to_lowercase(),
    );
    fields.set("storage", gib(size(instance)));
    let grows = settings.storage_auto_resize.unwrap_or_default();
    fields.set("storage grows by itself", yes(grows));
    fields.set("runs", word(settings.activation_policy.name()));
    let protected = settings.deletion_protection_enabled.unwrap_or_default();
    fields.set("deletion protection", yes(protected));
    describe_address(&mut fields, settings.ip_configuration.as_ref(), names);
    describe_backups(&mut fields, settings.backup_configuration.as_ref());
    let mut labels = settings.user_labels;
    labels.remove(PASSWORD_LABEL);
    labels::describe(&mut fields, &labels);
    fields
}

/// The same with a note of which version of the password its user is to have.
pub(super) fn with_password_label(instance: DatabaseInstance, version: &str) -> DatabaseInstance {
    let mut settings = instance.settings.clone().unwrap_or_default();
    settings
        .user_labels
        .insert(PASSWORD_LABEL.to_owned(), version.to_owned());
    instance.set_settings(settings)
}

fn describe_address(fields: &mut Fields, address: Option<&IpConfiguration>, names: &Names) {
    let address = address.cloned().unwrap_or_default();
    let public = address.ipv4_enabled.unwrap_or_default();
    fields.set("public address", yes(public));
    if !address.private_network.is_empty() {
        fields.set("network", names.network(&address.private_network));
    }
    fields.set("tls", word(address.ssl_mode.name()));
}

fn describe_backups(fields: &mut Fields, backups: Option<&BackupConfiguration>) {
    let backups = backups.cloned().unwrap_or_default();
    if !backups.enabled.unwrap_or_default() {
        fields.set("backups", "none");
        return;
    }
    let (kept, logs) = kept(&backups);
    fields.set("backups", format!("{kept} days"));
    fields.set(LOGS, format!("{logs} days"));
}

/// `16` of `POSTGRES_16`; another engine's own name as it is.
pub(super) fn version(instance: &DatabaseInstance) -> String {
    let name = instance.database_version.name().unwrap_or("unknown");
    name.strip_prefix("POSTGRES_").unwrap_or(name).to_owned()
}

fn size(instance: &DatabaseInstance) -> i64 {
    let settings = instance.settings.as_ref();
    let size = settings.and_then(|settings| settings.data_disk_size_gb);
    size.unwrap_or_default()
}

fn gib(size: i64) -> String {
    format!("{size} GiB")
}

fn leading_number(value: &FieldValue) -> Option<u64> {
    match value {
        FieldValue::Known(text) => text.split(' ').next()?.parse().ok(),
        FieldValue::AfterApply { .. } => None,
    }
}

/// `16` of `POSTGRES_16`, 9 of `POSTGRES_9_6`. `None` for another engine, and for no instance at
/// all.
fn version_number(instance: &DatabaseInstance) -> Option<u16> {
    let name = instance.database_version.name()?;
    let number = name.strip_prefix("POSTGRES_")?.split('_').next()?;
    number.parse().ok()
}

fn word(name: Option<&str>) -> String {
    name.unwrap_or("unknown").replace('_', " ").to_lowercase()
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// What a change costs: versions go up, disks grow, a network can be added, some of it by a
/// restart; another engine, place or network is another instance.
pub(super) fn effect(change: &FieldChange) -> Effect {
    match change.field.as_str() {
        "version" if is_of_postgres(change.old.as_ref()) => Effect::Interrupts,
        "version" | "region" => Effect::LosesData,
        "network" if change.old.is_some() => Effect::LosesData,
        // Each restarts the server. Source: cloud.google.com/sql/docs/postgres/instance-settings,
        // "impact of changing".
        "network" | "tier" | "edition" | "availability" | "runs" => Effect::Interrupts,
        field => extras::effect(field).unwrap_or(Effect::InPlace),
    }
}

/// [`version`] leaves another engine's name as it is.
fn is_of_postgres(version: Option<&FieldValue>) -> bool {
    match version {
        Some(FieldValue::Known(text)) => text.starts_with(|first: char| first.is_ascii_digit()),
        Some(FieldValue::AfterApply { .. }) | None => false,
    }
}

/// Where the instance is reached; its private address when it has a network. `None` until it has
/// one.
pub(super) fn host(instance: &DatabaseInstance) -> Option<String> {
    let wanted = match is_private(instance) {
        true => SqlIpAddressType::Private,
        false => SqlIpAddressType::Primary,
    };
    instance
        .ip_addresses
        .iter()
        .find(|address| address.r#type == wanted && !address.ip_address.is_empty())
        .map(|address| address.ip_address.clone())
}

/// Where a client reaches the instance, and how far it verifies whom it talks to, in PostgreSQL's
/// word. `None` until there is an address.
///
/// An authority of the instance's own, which is the default, signs no other certificate: to verify
/// it is to verify the server, and the certificate names no host (`verify-ca`). An authority that
/// instances share leaves the host's name to tell them apart. Source:
/// cloud.google.com/sql/docs/postgres/authorize-ssl, "Certificate authority (CA) hierarchies".
pub(super) fn door(
    instance: &DatabaseInstance,
    sslmode: SslMode,
) -> Option<(String, &'static str)> {
    let host = host(instance)?;
    match sslmode {
        SslMode::Require => Some((host, "require")),
        SslMode::VerifyFull if has_own_authority(instance) => Some((host, "verify-ca")),
        SslMode::VerifyFull => Some((name(instance).unwrap_or(host), "verify-full")),
    }
}

fn has_own_authority(instance: &DatabaseInstance) -> bool {
    let settings = instance.settings.as_ref();
    let address = settings.and_then(|settings| settings.ip_configuration.as_ref());
    match address.and_then(|address| address.server_ca_mode.as_ref()) {
        None | Some(CaMode::Unspecified | CaMode::GoogleManagedInternalCa) => true,
        Some(_) => false,
    }
}

/// The instance's own name in the DNS, for the address that it is reached by. `None` when it has
/// none.
fn name(instance: &DatabaseInstance) -> Option<String> {
    let wanted = match is_private(instance) {
        true => ConnectionType::PrivateServicesAccess,
        false => ConnectionType::Public,
    };
    let mut names = instance.dns_names.iter();
    let own =
        names.find(|own| own.connection_type == wanted && own.dns_scope == DnsScope::Instance);
    own.map(|own| own.name.trim_end_matches('.').to_owned())
}

fn is_private(instance: &DatabaseInstance) -> bool {
    let settings = instance.settings.as_ref();
    let address = settings.and_then(|settings| settings.ip_configuration.as_ref());
    address.is_some_and(|address| !address.private_network.is_empty())
}
