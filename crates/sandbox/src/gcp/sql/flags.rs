//! Database flags: those of Cloud SQL's that the sandbox takes, and what they mean to the server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::invalid;
use crate::gcp::error::Outcome;
use crate::gcp::schema::Object;

/// What a flag takes.
#[derive(Clone, Copy)]
enum Takes {
    /// `on` or `off`.
    Boolean,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// One of these; anything when there are none.
    Text(&'static [&'static str]),
}

struct Flag {
    name: &'static str,
    takes: Takes,
    restarts: bool,
}

const fn flag(name: &'static str, takes: Takes, restarts: bool) -> Flag {
    Flag {
        name,
        takes,
        restarts,
    }
}

const LEVELS: &[&str] = &[
    "debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error", "log",
    "fatal", "panic",
];

/// Google has several times as many.
const FLAGS: [Flag; 27] = [
    flag("autovacuum", Takes::Boolean, false),
    flag("autovacuum_max_workers", Takes::Integer(1, 262_143), true),
    flag("cloudsql.enable_pgaudit", Takes::Boolean, true),
    flag("cloudsql.iam_authentication", Takes::Boolean, false),
    flag("cloudsql.logical_decoding", Takes::Boolean, true),
    flag(
        "deadlock_timeout",
        Takes::Integer(1, i32::MAX as i64),
        false,
    ),
    flag(
        "default_transaction_isolation",
        Takes::Text(&[
            "serializable",
            "repeatable read",
            "read committed",
            "read uncommitted",
        ]),
        false,
    ),
    flag(
        "idle_in_transaction_session_timeout",
        Takes::Integer(0, i32::MAX as i64),
        false,
    ),
    flag("lock_timeout", Takes::Integer(0, i32::MAX as i64), false),
    flag("log_checkpoints", Takes::Boolean, false),
    flag("log_connections", Takes::Boolean, false),
    flag("log_disconnections", Takes::Boolean, false),
    flag("log_duration", Takes::Boolean, false),
    flag("log_hostname", Takes::Boolean, false),
    flag("log_lock_waits", Takes::Boolean, false),
    flag(
        "log_min_duration_statement",
        Takes::Integer(-1, i32::MAX as i64),
        false,
    ),
    flag("log_min_error_statement", Takes::Text(LEVELS), false),
    flag("log_min_messages", Takes::Text(LEVELS), false),
    flag(
        "log_statement",
        Takes::Text(&["none", "ddl", "mod", "all"]),
        false,
    ),
    flag("log_temp_files", Takes::Integer(-1, i32::MAX as i64), false),
    flag(
        "maintenance_work_mem",
        Takes::Integer(1024, i32::MAX as i64),
        false,
    ),
    flag("max_connections", Takes::Integer(14, 262_143), true),
    flag(
        "max_locks_per_transaction",
        Takes::Integer(10, 2_147_483),
        true,
    ),
    flag("pgaudit.log", Takes::Text(&[]), false),
    flag(
        "statement_timeout",
        Takes::Integer(0, i32::MAX as i64),
        false,
    ),
    flag(
        "temp_file_limit",
        Takes::Integer(1_048_576, i32::MAX as i64),
        false,
    ),
    flag("work_mem", Takes::Integer(64, i32::MAX as i64), false),
];

fn given(settings: &Object) -> impl Iterator<Item = (&str, &str)> {
    let flags = settings.get("databaseFlags").and_then(Value::as_array);
    flags.into_iter().flatten().map(|flag| {
        let text = |name: &str| flag[name].as_str().unwrap_or_default();
        (text("name"), text("value"))
    })
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Refuses flags that Cloud SQL does not have, and values that they do not take.
pub(super) fn check(settings: &Object) -> Outcome<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in given(settings) {
        let known = find(name).ok_or_else(|| {
            invalid(format!(
                "Invalid flag for instance: {name} is not supported"
            ))
        })?;
        let fits = match known.takes {
            Takes::Boolean => matches!(value, "on" | "off"),
            Takes::Integer(least, most) => value
                .parse()
                .is_ok_and(|value| (least..=most).contains(&value)),
            Takes::Text([]) => true,
            Takes::Text(values) => values.contains(&value),
        };
        if !fits {
            return Err(invalid(format!(
                "Invalid value for flag {name}: \"{value}\""
            )));
        }
        if !seen.insert(name) {
            return Err(invalid(format!("Flag {name} is given twice")));
        }
    }
    Ok(())
}

/// Whether the change of flags waits for a restart, which Cloud SQL then makes.
pub(super) fn restart(old: &Object, new: &Object) -> bool {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (given(old).collect(), given(new).collect());
    let changed = FLAGS
        .iter()
        .filter(|it| old.get(it.name) != new.get(it.name));
    changed.into_iter().any(|flag| flag.restarts)
}

/// The flags as the server's own settings; those of Google's extensions mean nothing to it.
pub(super) fn server_settings(settings: &Object) -> BTreeMap<String, String> {
    let own = given(settings).filter(|(name, _)| !name.contains('.'));
    own.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
