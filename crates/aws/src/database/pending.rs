//! What RDS has accepted and not carried out yet, in our fields' names; pure.

use std::collections::BTreeMap;

use aws_sdk_rds::types::PendingModifiedValues;

/// The changes that wait, by field, each with the value that it will have.
///
/// A modification that is to be made at once makes all of them at once, whoever asked for them:
/// "Specifies whether the modifications in this request and any pending modifications are
/// asynchronously applied as soon as possible" (API reference, `ApplyImmediately` of
/// ModifyDBInstance). So none may be left out here, whether we have a word for it or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    values: BTreeMap<&'static str, String>,
    password: bool,
}

impl Pending {
    /// What RDS told.
    pub(super) fn of(told: &PendingModifiedValues) -> Self {
        let text = |value: Option<&str>| value.map(str::to_owned);
        let number = |value: Option<i32>| value.map(|value| value.to_string());
        let some = |there: bool| there.then(|| "another value".to_owned());
        let all = [
            ("class", text(told.db_instance_class())),
            ("storage", told.allocated_storage().map(storage_text)),
            ("storage_type", text(told.storage_type())),
            ("version", text(told.engine_version())),
            ("backup_days", number(told.backup_retention_period())),
            ("multi_az", told.multi_az().map(|on| on.to_string())),
            ("subnet_group", text(told.db_subnet_group_name())),
            ("iops", number(told.iops())),
            ("storage_throughput", number(told.storage_throughput())),
            ("port", number(told.port())),
            ("license", text(told.license_model())),
            ("identifier", text(told.db_instance_identifier())),
            ("ca_certificate", text(told.ca_certificate_identifier())),
            ("engine", text(told.engine())),
            (
                "iam_authentication",
                told.iam_database_authentication_enabled()
                    .map(|on| on.to_string()),
            ),
            (
                "dedicated_log_volume",
                told.dedicated_log_volume().map(|on| on.to_string()),
            ),
            (
                "log_exports",
                some(told.pending_cloudwatch_logs_exports().is_some()),
            ),
            (
                "processor_features",
                some(!told.processor_features().is_empty()),
            ),
        ];
        let values = all.into_iter();
        Self {
            values: values
                .filter_map(|(field, value)| Some((field, value?)))
                .collect(),
            password: told.master_user_password().is_some(),
        }
    }

    /// Whether a password is being set: that never waits for a window.
    pub(super) fn has_password(&self) -> bool {
        self.password
    }

    /// What a field will be. `None` when nothing waits.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.values.get(field).map(String::as_str)
    }

    /// All that waits, with its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(field, value)| (*field, value.as_str()))
    }
}

/// A disk's size, as a field.
pub(super) fn storage_text(gib: i32) -> String {
    format!("{gib} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_waits_is_told_and_a_password_only_as_being_set() {
        let told = PendingModifiedValues::builder()
            .allocated_storage(110)
            .engine_version("17.9")
            .iops(12_000)
            .master_user_password("****")
            .build();
        let pending = Pending::of(&told);
        assert!(pending.has_password());
        let all: Vec<_> = pending.iter().collect();
        assert_eq!(
            all,
            [
                ("iops", "12000"),
                ("storage", "110 GiB"),
                ("version", "17.9")
            ]
        );
        assert_eq!(
            Pending::of(&PendingModifiedValues::builder().build()),
            Pending::default()
        );
    }
}
