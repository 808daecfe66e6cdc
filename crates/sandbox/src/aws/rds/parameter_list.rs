//! The PostgreSQL parameters that the sandbox knows, of the several hundred of RDS.

use crate::aws::parameter::Parameter;

/// What RDS sets for instances of this major; `None` leaves it to the engine.
pub fn default(parameter: &Parameter, major: u32) -> Option<&'static str> {
    match (parameter.name, major) {
        // RDS forces TLS from PostgreSQL 15 on.
        ("rds.force_ssl", 15..) => Some("1"),
        ("password_encryption", 14..) => Some("scram-sha-256"),
        _ => parameter.default,
    }
}

/// The parameter of that name.
pub fn find(name: &str) -> Option<&'static Parameter> {
    ALL.iter().find(|parameter| parameter.name == name)
}

const fn parameter(
    name: &'static str,
    kind: &'static str,
    allowed: &'static str,
    default: Option<&'static str>,
    description: &'static str,
) -> Parameter {
    Parameter {
        name,
        kind,
        allowed,
        dynamic: true,
        modifiable: true,
        reaches_server: true,
        description,
        default,
    }
}

/// It takes effect at a restart.
const fn fixed(parameter: Parameter) -> Parameter {
    Parameter {
        dynamic: false,
        ..parameter
    }
}

/// RDS's own, or more than this machine should be asked for: described, not passed on.
const fn described(parameter: Parameter) -> Parameter {
    Parameter {
        reaches_server: false,
        ..parameter
    }
}

/// Customers may look at it only.
const fn shown(parameter: Parameter) -> Parameter {
    Parameter {
        modifiable: false,
        ..described(parameter)
    }
}

const SWITCH: &str = "0,1";
const MILLISECONDS: &str = "0-2147483647";

/// In the order of their names.
pub const ALL: &[Parameter] = &[
    parameter(
        "application_name",
        "string",
        "",
        None,
        "Sets the application name to be reported in statistics and logs.",
    ),
    parameter(
        "autovacuum",
        "boolean",
        SWITCH,
        Some("1"),
        "Starts the autovacuum subprocess.",
    ),
    fixed(parameter(
        "autovacuum_max_workers",
        "integer",
        "1-8388607",
        None,
        "Sets the maximum number of simultaneously running autovacuum worker processes.",
    )),
    parameter(
        "client_min_messages",
        "string",
        "debug5,debug4,debug3,debug2,debug1,log,notice,warning,error",
        None,
        "Sets the message levels that are sent to the client.",
    ),
    parameter(
        "deadlock_timeout",
        "integer",
        "1-2147483647",
        None,
        "(ms) Sets the time to wait on a lock before checking for deadlock.",
    ),
    parameter(
        "default_statistics_target",
        "integer",
        "1-10000",
        None,
        "Sets the default statistics target.",
    ),
    described(parameter(
        "effective_cache_size",
        "integer",
        "1-2147483647",
        Some("{DBInstanceClassMemory/16384}"),
        "(8kB) Sets the planner's assumption about the size of the disk cache.",
    )),
    shown(fixed(parameter(
        "fsync",
        "boolean",
        SWITCH,
        Some("1"),
        "Forces synchronization of updates to disk.",
    ))),
    parameter(
        "idle_in_transaction_session_timeout",
        "integer",
        MILLISECONDS,
        Some("86400000"),
        "(ms) Sets the maximum allowed duration of any idling transaction.",
    ),
    parameter(
        "lock_timeout",
        "integer",
        MILLISECONDS,
        None,
        "(ms) Sets the maximum allowed duration of any wait for a lock.",
    ),
    parameter(
        "log_connections",
        "boolean",
        SWITCH,
        None,
        "Logs each successful connection.",
    ),
    parameter(
        "log_disconnections",
        "boolean",
        SWITCH,
        None,
        "Logs end of a session, including duration.",
    ),
    parameter(
        "log_duration",
        "boolean",
        SWITCH,
        None,
        "Logs the duration of each completed SQL statement.",
    ),
    parameter(
        "log_lock_waits",
        "boolean",
        SWITCH,
        None,
        "Logs long lock waits.",
    ),
    parameter(
        "log_min_duration_statement",
        "integer",
        "-1-2147483647",
        None,
        "(ms) Sets the minimum execution time above which statements will be logged.",
    ),
    parameter(
        "log_min_messages",
        "string",
        "debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic",
        None,
        "Sets the message levels that are logged.",
    ),
    described(parameter(
        "log_statement",
        "string",
        "none,ddl,mod,all",
        None,
        "Sets the type of statements logged.",
    )),
    parameter(
        "log_temp_files",
        "integer",
        "-1-2147483647",
        None,
        "(kB) Logs the use of temporary files larger than this number of kilobytes.",
    ),
    parameter(
        "maintenance_work_mem",
        "integer",
        "1024-2147483647",
        None,
        "(kB) Sets the maximum memory to be used for maintenance operations.",
    ),
    fixed(parameter(
        "max_connections",
        "integer",
        "6-8388607",
        Some("LEAST({DBInstanceClassMemory/9531392},5000)"),
        "Sets the maximum number of concurrent connections.",
    )),
    described(fixed(parameter(
        "max_locks_per_transaction",
        "integer",
        "10-2147483647",
        None,
        "Sets the maximum number of locks per transaction.",
    ))),
    described(fixed(parameter(
        "max_replication_slots",
        "integer",
        "5-8388607",
        Some("20"),
        "Sets the maximum number of replication slots that the server can support.",
    ))),
    described(fixed(parameter(
        "max_wal_senders",
        "integer",
        "5-8388607",
        Some("35"),
        "Sets the maximum number of simultaneously running WAL sender processes.",
    ))),
    described(fixed(parameter(
        "max_worker_processes",
        "integer",
        "0-262143",
        None,
        "Sets the maximum number of concurrent worker processes.",
    ))),
    parameter(
        "password_encryption",
        "string",
        "md5,scram-sha-256",
        Some("md5"),
        "Chooses the algorithm for encrypting passwords.",
    ),
    described(parameter(
        "pg_stat_statements.track",
        "string",
        "none,top,all",
        None,
        "Selects which statements are tracked by pg_stat_statements.",
    )),
    parameter(
        "random_page_cost",
        "float",
        "",
        None,
        "Sets the planner's estimate of the cost of a nonsequentially fetched disk page.",
    ),
    described(parameter(
        "rds.force_autovacuum_logging_level",
        "string",
        "disabled,debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic",
        Some("warning"),
        "See log messages related to autovacuum operations.",
    )),
    described(parameter(
        "rds.force_ssl",
        "boolean",
        SWITCH,
        Some("0"),
        "Force SSL connections.",
    )),
    described(parameter(
        "rds.log_retention_period",
        "integer",
        "1440-10080",
        Some("4320"),
        "Amazon RDS will delete PostgreSQL log that are older than N minutes.",
    )),
    described(fixed(parameter(
        "rds.logical_replication",
        "boolean",
        SWITCH,
        Some("0"),
        "Enables logical decoding.",
    ))),
    parameter(
        "search_path",
        "string",
        "",
        None,
        "Sets the schema search order for names that are not schema-qualified.",
    ),
    described(fixed(parameter(
        "shared_buffers",
        "integer",
        "16-1073741823",
        Some("{DBInstanceClassMemory/32768}"),
        "(8kB) Sets the number of shared memory buffers used by the server.",
    ))),
    described(fixed(parameter(
        "shared_preload_libraries",
        "list",
        "auto_explain,orafce,pgaudit,pg_bigm,pg_cron,pg_hint_plan,pg_prewarm,pg_similarity,pg_stat_statements,pg_tle,pg_transport,plprofiler,plrust",
        Some("pg_stat_statements"),
        "Lists shared libraries to preload into server.",
    ))),
    shown(parameter(
        "ssl",
        "boolean",
        SWITCH,
        Some("1"),
        "Enables SSL connections.",
    )),
    parameter(
        "ssl_max_protocol_version",
        "string",
        "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3",
        None,
        "Sets the maximum SSL/TLS protocol version to use.",
    ),
    parameter(
        "ssl_min_protocol_version",
        "string",
        "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3",
        Some("TLSv1.2"),
        "Sets the minimum SSL/TLS protocol version to use.",
    ),
    parameter(
        "statement_timeout",
        "integer",
        MILLISECONDS,
        None,
        "(ms) Sets the maximum allowed duration of any statement.",
    ),
    parameter(
        "tcp_keepalives_idle",
        "integer",
        "0-2147483647",
        Some("300"),
        "(s) Time between issuing TCP keepalives.",
    ),
    parameter(
        "timezone",
        "string",
        "",
        Some("UTC"),
        "Sets the time zone for displaying and interpreting time stamps.",
    ),
    described(fixed(parameter(
        "track_activity_query_size",
        "integer",
        "100-1048576",
        Some("4096"),
        "Sets the size reserved for pg_stat_activity.current_query, in bytes.",
    ))),
    parameter(
        "track_io_timing",
        "boolean",
        SWITCH,
        Some("1"),
        "Collects timing statistics on database IO activity.",
    ),
    parameter(
        "work_mem",
        "integer",
        "64-2147483647",
        None,
        "(kB) Sets the maximum memory to be used for query workspaces.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ranges_words_or_formulas() {
        let allows = |name: &str, value: &str| find(name).unwrap().allows(value);
        assert!(allows("log_min_duration_statement", "-1"));
        assert!(!allows("log_min_duration_statement", "-2"));
        assert!(allows("max_connections", "{DBInstanceClassMemory/9531392}"));
        assert!(!allows("max_connections", "5"));
        assert!(!allows("rds.force_ssl", "true"));
        assert!(allows(
            "shared_preload_libraries",
            "pg_stat_statements,pg_cron"
        ));
        assert!(!allows("shared_preload_libraries", "evil"));
        assert!(allows("timezone", "Europe/Berlin"));
        assert!(ALL.is_sorted_by_key(|it| it.name));
    }
}
