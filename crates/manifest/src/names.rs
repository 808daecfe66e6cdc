//! What the manifest itself accepts as a name; the rules of what the clouds hold are theirs.

use deployer_core::name_rule;
pub use deployer_core::names::{Rule, instance, plain, prefix, service};

use crate::source::KeyPath;

/// One name that a target holds, for the checks.
pub(crate) struct Named {
    pub(crate) rule: &'static Rule,
    /// Names of one space may not be equal.
    pub(crate) space: &'static str,
    pub(crate) name: String,
    /// Where the manifest says the name, or the thing that is named.
    pub(crate) path: KeyPath,
}

/// A name as the DNS compares it: lower case, without the last dot.
pub(crate) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

name_rule!(
    /// A database inside an instance, as both clouds and an unquoted SQL name take it.
    POSTGRES_DATABASE, "a database", 63, Lower,
    "^[a-z][a-z0-9_]*$",
    "lower-case letters, digits and `_`, a letter first, at most 63 characters"
);
name_rule!(
    /// The user of a database: RDS takes 16 characters.
    POSTGRES_USER, "a user of a database", 16, Lower,
    "^[a-z][a-z0-9_]*$",
    "lower-case letters, digits and `_`, a letter first, at most 16 characters"
);
name_rule!(
    /// The app: part of nearly every other name.
    APP, "an app", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);
name_rule!(
    /// The environment: part of nearly every other name; with the app it fits a Google label.
    ENVIRONMENT, "an environment", 20, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 20 characters"
);
name_rule!(
    /// A service's key.
    SERVICE_KEY, "a service", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
name_rule!(
    /// The key of a database or a cache.
    DATA_KEY, "a database or a cache", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);
name_rule!(
    /// The key of a secret or a key pair.
    SECRET_KEY, "a secret", 100, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 100 characters"
);

/// Words that PostgreSQL keeps, or a cloud keeps in it: neither a database nor a user may be called
/// so unquoted. Source: "SQL Key Words" of PostgreSQL 17 (reserved), and what RDS and Cloud SQL
/// make themselves.
const RESERVED: &[&str] = &[
    "admin",
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "cloudsqladmin",
    "cloudsqlsuperuser",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "postgres",
    "primary",
    "public",
    "rdsadmin",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "template0",
    "template1",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Whether PostgreSQL or a cloud keeps the word for itself; so it does with everything that begins
/// with `pg_`.
pub fn is_reserved_in_postgres(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("pg_")
}

/// The app's name as the name of a database or a user: `my-app` is `my_app`, `user` is `user_app`.
pub fn in_postgres(rule: &Rule, app: &str) -> String {
    let name = rule.fit(&app.replace('-', "_")).replace('-', "_");
    if is_reserved_in_postgres(&name) {
        rule.fit(&format!("{name}_app")).replace('-', "_")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_names_its_database_and_user_whatever_it_is_called() {
        assert_eq!(in_postgres(&POSTGRES_DATABASE, "my-app"), "my_app");
        assert_eq!(in_postgres(&POSTGRES_DATABASE, "user"), "user_app");
        let user = in_postgres(&POSTGRES_USER, "the-identity-provider");
        assert!(POSTGRES_USER.accepts(&user), "{user}");
    }
}
