//! What only Cloud SQL has for a database: flags of the server, and the hour in which it may be
//! maintained; pure.
//!
//! Only what the manifest names is compared and written; flags and a window that another hand set
//! stay.

use std::collections::BTreeMap;

use crate::spec::{MaintenanceWindow, Weekday};
use deployer_core::fields::Fields;
use deployer_core::node::Effect;
use google_cloud_sql_v1::model::{self, DatabaseFlags, Settings};

/// The prefix of a flag's field.
const FLAG: &str = "flag.";

/// What PostgreSQL takes at its start only, of what Cloud SQL lets be set; so do all of Cloud SQL's
/// own (`cloudsql.`). Source: `requiresRestart` in the answer of `flags.list`.
const AT_START: [&str; 13] = [
    "autovacuum_freeze_max_age",
    "autovacuum_max_workers",
    "autovacuum_multixact_freeze_max_age",
    "huge_pages",
    "max_connections",
    "max_locks_per_transaction",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "shared_buffers",
    "track_activity_query_size",
];

/// `there` with the flags and the window that are wanted.
pub(super) fn compose(
    there: Settings,
    flags: &BTreeMap<String, String>,
    window: Option<MaintenanceWindow>,
) -> Settings {
    let mut settings = there;
    for (name, value) in flags {
        let value = spelt(value);
        let mut known = settings.database_flags.iter_mut();
        match known.find(|flag| flag.name == *name) {
            Some(flag) => flag.value = value.to_owned(),
            None => settings
                .database_flags
                .push(DatabaseFlags::new().set_name(name).set_value(value)),
        }
    }
    if let Some(window) = window {
        let there = settings.maintenance_window.take().unwrap_or_default();
        let there = there
            .set_day(number(window.day))
            .set_hour(i32::from(window.hour));
        settings.maintenance_window = Some(there);
    }
    settings
}

/// Adds the flags and the window, as far as the manifest names them.
pub(super) fn describe(
    fields: &mut Fields,
    settings: &Settings,
    flags: &BTreeMap<String, String>,
    window: Option<MaintenanceWindow>,
) {
    for flag in &settings.database_flags {
        if flags.contains_key(&flag.name) {
            fields.set(format!("{FLAG}{}", flag.name), &flag.value);
        }
    }
    if window.is_some() {
        fields.set("maintenance", said(settings.maintenance_window.as_ref()));
    }
}

/// What a change of these fields costs. `None` for a field of another sort.
pub(super) fn effect(field: &str) -> Option<Effect> {
    let flag = field.strip_prefix(FLAG)?;
    let restarts = flag.starts_with("cloudsql.") || AT_START.contains(&flag);
    Some(match restarts {
        true => Effect::Interrupts,
        false => Effect::InPlace,
    })
}

/// As Cloud SQL writes a value: a flag is `on`, where a manifest may say `true`.
fn spelt(value: &str) -> &str {
    match value {
        "true" => "on",
        "false" => "off",
        other => other,
    }
}

/// Monday is the first.
fn number(day: Weekday) -> i32 {
    match day {
        Weekday::Monday => 1,
        Weekday::Tuesday => 2,
        Weekday::Wednesday => 3,
        Weekday::Thursday => 4,
        Weekday::Friday => 5,
        Weekday::Saturday => 6,
        Weekday::Sunday => 7,
    }
}

fn said(window: Option<&model::MaintenanceWindow>) -> String {
    let days = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let day = window.and_then(|window| window.day).unwrap_or_default();
    let day = usize::try_from(day - 1).ok().and_then(|day| days.get(day));
    let hour = window.and_then(|window| window.hour).unwrap_or_default();
    day.map_or_else(
        || "at any time".to_owned(),
        |day| format!("{day} {hour:02}:00 UTC"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(settings: &Settings, flags: &BTreeMap<String, String>) -> Vec<String> {
        let window = MaintenanceWindow {
            day: Weekday::Sunday,
            hour: 3,
        };
        let mut fields = Fields::new();
        describe(&mut fields, settings, flags, Some(window));
        let wanted = compose(settings.clone(), flags, Some(window));
        let mut desired = Fields::new();
        describe(&mut desired, &wanted, flags, Some(window));
        let changes = fields.changes_to(&desired).into_iter();
        changes
            .map(|change| {
                let new = change.new.map(|value| value.to_string());
                format!("{} {}", change.field, new.unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn flags_and_window_are_compared_as_far_as_the_manifest_names_them() {
        let flag = |name: &str, value: &str| DatabaseFlags::new().set_name(name).set_value(value);
        let theirs = flag("log_temp_files", "0");
        let there = Settings::new().set_database_flags([theirs.clone(), flag("work_mem", "4096")]);
        let flags = [("work_mem", "8192"), ("log_connections", "true")];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = BTreeMap::from(flags);
        assert_eq!(
            described(&there, &flags),
            [
                "flag.log_connections on",
                "flag.work_mem 8192",
                "maintenance Sunday 03:00 UTC"
            ]
        );
        let window = MaintenanceWindow {
            day: Weekday::Sunday,
            hour: 3,
        };
        let made = compose(there, &flags, Some(window));
        assert!(made.database_flags.contains(&theirs));
        assert_eq!(described(&made, &flags), Vec::<String>::new());
    }

    #[test]
    fn a_flag_that_takes_a_start_interrupts() {
        assert_eq!(effect("flag.max_connections"), Some(Effect::Interrupts));
        assert_eq!(
            effect("flag.cloudsql.iam_authentication"),
            Some(Effect::Interrupts)
        );
        assert_eq!(effect("flag.work_mem"), Some(Effect::InPlace));
        assert_eq!(effect("tier"), None);
    }
}
