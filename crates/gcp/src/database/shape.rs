//! The Cloud SQL instance that the manifest describes, and an instance described field by field; pure.
//!
//! [`describe`] reads both what is there and what [`Shape::compose`] makes, so that noise is equal on both sides.

use std::collections::HashMap;

use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Effect;
use deployer_core::spec::DatabaseSpec;
use google_cloud_sql_v1::model::backup_retention_settings::RetentionUnit;
use google_cloud_sql_v1::model::ip_configuration::SslMode;
use google_cloud_sql_v1::model::settings::{Edition, SqlActivationPolicy};
use google_cloud_sql_v1::model::{
    BackupConfiguration, BackupRetentionSettings, DatabaseInstance, IpConfiguration, Settings,
    SqlAvailabilityType, SqlDataDiskType, SqlDatabaseVersion, SqlIpAddressType,
};

use crate::labels::{self, Labels};
use crate::project::Names;

/// The label that says which version of the password the user has. The user's node owns it: the instance's writes it into
/// a new instance, and leaves it alone from then on.
pub(super) const PASSWORD_LABEL: &str = "deployer-password";

/// Cloud SQL keeps the logs of point-in-time recovery a week at most, and never longer than the backups.
const LONGEST_LOGS: u16 = 7;

/// What the manifest says of one instance.
pub(super) struct Shape {
    pub(super) spec: DatabaseSpec,
    /// In full; `None` when it is reached by a public address.
    pub(super) network: Option<String>,
    pub(super) labels: Labels,
    pub(super) names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent about stays.
    pub(super) fn compose(&self, base: DatabaseInstance) -> DatabaseInstance {
        let there = base.settings.clone().unwrap_or_default();
        let version = format!("POSTGRES_{}", self.spec.version);
        base.set_name(&self.spec.name)
            .set_region(&self.names.region)
            .set_database_version(SqlDatabaseVersion::from(version.as_str()))
            .set_settings(self.settings(there))
    }

    fn settings(&self, there: Settings) -> Settings {
        let availability = if self.spec.high_availability {
            SqlAvailabilityType::Regional
        } else {
            SqlAvailabilityType::Zonal
        };
        let labels = self.merged_labels(&there.user_labels);
        let address = self.address(there.ip_configuration.clone().unwrap_or_default());
        let backups = self.backups(there.backup_configuration.clone().unwrap_or_default());
        there
            .set_tier(&self.spec.class)
            // The newer versions of PostgreSQL are Enterprise Plus unless told otherwise, and that takes other tiers.
            .set_edition(Edition::Enterprise)
            .set_availability_type(availability)
            .set_data_disk_type(SqlDataDiskType::PdSsd)
            .set_data_disk_size_gb(i64::from(self.spec.storage_gib))
            // A disk that grows by itself never shrinks again, and would differ from the manifest for ever: the manifest
            // alone says how large it is.
            .set_storage_auto_resize(false)
            .set_activation_policy(SqlActivationPolicy::Always)
            .set_ip_configuration(address)
            .set_backup_configuration(backups)
            .set_deletion_protection_enabled(self.spec.deletion_protection)
            .set_user_labels(labels)
    }

    fn merged_labels(&self, there: &HashMap<String, String>) -> HashMap<String, String> {
        let mut merged = labels::merged(&self.labels, there);
        if let Some(version) = there.get(PASSWORD_LABEL) {
            merged.insert(PASSWORD_LABEL.to_owned(), version.clone());
        }
        merged
    }

    fn address(&self, there: IpConfiguration) -> IpConfiguration {
        let there = there
            .set_ssl_mode(SslMode::EncryptedOnly)
            .set_ipv4_enabled(self.network.is_none());
        match &self.network {
            Some(network) => there.set_private_network(network),
            None => there,
        }
    }

    fn backups(&self, there: BackupConfiguration) -> BackupConfiguration {
        let days = self.spec.backup_days;
        let there = there
            .set_enabled(days > 0)
            .set_point_in_time_recovery_enabled(days > 0);
        if days == 0 {
            return there;
        }
        let retention = BackupRetentionSettings::new()
            .set_retention_unit(RetentionUnit::Count)
            .set_retained_backups(i32::from(days));
        there
            .set_backup_retention_settings(retention)
            .set_transaction_log_retention_days(i32::from(days.min(LONGEST_LOGS)))
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
    let size = settings.data_disk_size_gb.unwrap_or_default();
    fields.set("storage", format!("{size} GiB"));
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
    let kept = backups
        .backup_retention_settings
        .and_then(|settings| settings.retained_backups);
    fields.set("backups", format!("{} days", kept.unwrap_or_default()));
    let logs = match backups.point_in_time_recovery_enabled {
        Some(true) => backups.transaction_log_retention_days.unwrap_or_default(),
        Some(false) | None => 0,
    };
    fields.set("point-in-time recovery", format!("{logs} days"));
}

/// `16` of `POSTGRES_16`; another engine's own name as it is.
pub(super) fn version(instance: &DatabaseInstance) -> String {
    let name = instance.database_version.name().unwrap_or("unknown");
    name.strip_prefix("POSTGRES_").unwrap_or(name).to_owned()
}

fn word(name: Option<&str>) -> String {
    name.unwrap_or("unknown").replace('_', " ").to_lowercase()
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// What a change costs: versions go up, disks grow, a network can be added; the other way round the instance is made anew.
pub(super) fn effect(change: &FieldChange) -> Effect {
    let numbers = (
        leading_number(change.old.as_ref()),
        leading_number(change.new.as_ref()),
    );
    match (change.field.as_str(), numbers) {
        ("version" | "storage", (Some(old), Some(new))) if new >= old => Effect::InPlace,
        ("version" | "storage" | "region" | "disk type", _) => Effect::LosesData,
        ("network", _) if change.old.is_some() => Effect::LosesData,
        _ => Effect::InPlace,
    }
}

fn leading_number(value: Option<&FieldValue>) -> Option<u64> {
    match value? {
        FieldValue::Known(text) => text.split(' ').next()?.parse().ok(),
        FieldValue::AfterApply { .. } => None,
    }
}

/// Where the instance is reached; its private address when it has a network. `None` until it has one.
pub(super) fn host(instance: &DatabaseInstance) -> Option<String> {
    let is_private = instance
        .settings
        .as_ref()
        .and_then(|settings| settings.ip_configuration.as_ref())
        .is_some_and(|address| !address.private_network.is_empty());
    let wanted = if is_private {
        SqlIpAddressType::Private
    } else {
        SqlIpAddressType::Primary
    };
    instance
        .ip_addresses
        .iter()
        .find(|address| address.r#type == wanted && !address.ip_address.is_empty())
        .map(|address| address.ip_address.clone())
}
