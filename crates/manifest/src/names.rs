//! Names what the clouds hold, inside each service's rule of length and characters.

use std::sync::LazyLock;

use regex_lite::Regex;
use sha2::{Digest, Sha256};

/// What a service accepts as a name.
#[derive(Debug)]
pub struct Rule {
    /// What is named: "an ECS service".
    pub what: &'static str,
    /// At most so many characters.
    pub longest: usize,
    /// The rule, for people.
    pub says: &'static str,
    case: Case,
    pattern: LazyLock<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Any,
    Lower,
}

macro_rules! rule {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $case:ident, $pattern:literal, $says:literal) => {
        $(#[$doc])*
        pub static $name: Rule = Rule {
            what: $what,
            longest: $longest,
            says: $says,
            case: Case::$case,
            pattern: LazyLock::new(|| Regex::new($pattern).expect("the pattern is a constant")),
        };
    };
}

rule!(
    /// `CreateService`, `RegisterTaskDefinition`: service, family and container names.
    ECS, "an ECS service, family or container", 255, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 255 characters"
);
rule!(
    /// `CreateRepository` of ECR.
    ECR_REPOSITORY, "an ECR repository", 256, Lower,
    "^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
    "lower-case letters and digits, with `.`, `_`, `-` and `/` between them, 2 to 256 characters"
);
rule!(
    /// `CreateSecret` of Secrets Manager.
    AWS_SECRET, "a secret in Secrets Manager", 512, Any,
    "^[A-Za-z0-9/_+=.@-]+$",
    "letters, digits and `/_+=.@-`, at most 512 characters"
);
rule!(
    /// What `GetSecretValue` takes: a name or an ARN, in full or without its last six characters; also the names that AWS gives,
    /// such as `rds!db-...`.
    AWS_SECRET_READ, "a secret in Secrets Manager", 2048, Any,
    "^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@!-]+$",
    "its name (letters, digits and `/_+=.@!-`) or its ARN: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
);
rule!(
    /// What Secret Manager reads, in this project or another.
    GCP_SECRET_READ, "a secret in Secret Manager", 300, Any,
    "^(projects/[a-z0-9.:-]+/secrets/)?[A-Za-z0-9_-]+$",
    "its name (letters, digits, `-` and `_`) or projects/PROJECT/secrets/NAME"
);
rule!(
    /// `CreateLogGroup`.
    LOG_GROUP, "a log group", 512, Any,
    "^[A-Za-z0-9/_.#-]+$",
    "letters, digits and `/_.#-`, at most 512 characters"
);
rule!(
    /// `CreateService` of Cloud Run.
    RUN_SERVICE, "a Cloud Run service", 49, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 49 characters"
);
rule!(
    /// `CreateJob` of Cloud Run.
    RUN_JOB, "a Cloud Run job", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
rule!(
    /// `CreateSecret` of Secret Manager.
    GCP_SECRET, "a secret in Secret Manager", 255, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 255 characters"
);
rule!(
    /// `CreateRepository` of Artifact Registry.
    ARTIFACT_REPOSITORY, "an Artifact Registry repository", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
rule!(
    /// `CreateDBInstance`.
    RDS_INSTANCE, "an RDS instance", 63, Lower,
    "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    "lower-case letters, digits and single `-`, a letter first, no `-` last, at most 63 characters"
);
rule!(
    /// `CreateReplicationGroup` of ElastiCache.
    REPLICATION_GROUP, "an ElastiCache replication group", 40, Lower,
    "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    "lower-case letters, digits and single `-`, a letter first, no `-` last, at most 40 characters"
);
rule!(
    /// `instances.insert` of Cloud SQL: at most 98 characters with the project's id and a colon, which takes 31.
    CLOUD_SQL, "a Cloud SQL instance", 67, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 67 characters"
);
rule!(
    /// `CreateInstance` of Memorystore for Redis.
    MEMORYSTORE, "a Memorystore instance", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);
rule!(
    /// A database inside an instance, as both clouds and an unquoted SQL name take it.
    POSTGRES_DATABASE, "a database", 63, Lower,
    "^[a-z][a-z0-9_]*$",
    "lower-case letters, digits and `_`, a letter first, at most 63 characters"
);
rule!(
    /// The user of a database: RDS takes 16 characters.
    POSTGRES_USER, "a user of a database", 16, Lower,
    "^[a-z][a-z0-9_]*$",
    "lower-case letters, digits and `_`, a letter first, at most 16 characters"
);
rule!(
    /// The app: part of nearly every other name.
    APP, "an app", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);
rule!(
    /// The environment: part of nearly every other name; with the app it fits a Google label.
    ENVIRONMENT, "an environment", 20, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 20 characters"
);
rule!(
    /// A service's key.
    SERVICE_KEY, "a service", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
rule!(
    /// The key of a database or a cache.
    DATA_KEY, "a database or a cache", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);
rule!(
    /// The key of a secret or a key pair.
    SECRET_KEY, "a secret", 100, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 100 characters"
);

impl Rule {
    /// Whether `name` may be used as it is.
    pub fn accepts(&self, name: &str) -> bool {
        name.len() <= self.longest && self.pattern.is_match(name)
    }

    /// `name` itself when it fits; else its beginning and eight digits that only it has.
    pub fn fit(&self, name: &str) -> String {
        let name = match self.case {
            Case::Any => name.to_owned(),
            Case::Lower => name.to_lowercase(),
        };
        if name.len() <= self.longest {
            return name;
        }
        let digest = hex::encode(Sha256::digest(name.as_bytes()));
        let mark = digest.get(..8).unwrap_or(&digest);
        let mut room = self.longest - mark.len() - 1;
        while !name.is_char_boundary(room) {
            room -= 1;
        }
        let head = name
            .get(..room)
            .unwrap_or_default()
            .trim_end_matches(['-', '_', '/', '.']);
        format!("{head}-{mark}")
    }
}

/// `APP-ENV`, the beginning of most names.
pub fn prefix(app: &str, environment: &str) -> String {
    format!("{app}-{environment}")
}

/// `APP-ENV` for the service that is called like the app, else `APP-ENV-SERVICE`; before any rule.
///
/// A second service never renames the first.
pub fn service(app: &str, environment: &str, key: &str) -> String {
    if key == app {
        prefix(app, environment)
    } else {
        format!("{app}-{environment}-{key}")
    }
}

/// The instance of a database or a cache: as [`service`], with single hyphens, which RDS and ElastiCache want.
pub fn instance(rule: &Rule, app: &str, environment: &str, key: &str) -> String {
    let mut name = service(app, environment, key);
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    rule.fit(&name)
}

/// Words that PostgreSQL keeps, or a cloud keeps in it: neither a database nor a user may be called so unquoted.
/// Source: "SQL Key Words" of PostgreSQL 17 (reserved), and what RDS and Cloud SQL make themselves.
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

/// Whether PostgreSQL or a cloud keeps the word for itself; so it does with everything that begins with `pg_`.
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

/// The log group of a service on AWS.
pub fn log_group(app: &str, environment: &str, key: &str) -> String {
    LOG_GROUP.fit(&format!("/{app}/{environment}/{key}"))
}

/// A text in letters, digits, `-` and `_`, and still told apart from others.
pub fn plain(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.chars().all(allowed) {
        return text.to_owned();
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    let kept: String = text.chars().filter(|c| allowed(*c)).collect();
    format!("{kept}-{}", digest.get(..8).unwrap_or(&digest))
}

/// A secret's name on AWS.
pub fn aws_secret(app: &str, environment: &str, key: &str) -> String {
    AWS_SECRET.fit(&format!("/{app}/{environment}/{key}"))
}

/// A secret's name on Google Cloud.
pub fn gcp_secret(app: &str, environment: &str, key: &str) -> String {
    GCP_SECRET.fit(&format!("{app}-{environment}-{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_service_does_not_rename_the_first() {
        assert_eq!(service("idp", "staging", "idp"), "idp-staging");
        assert_eq!(service("idp", "staging", "web"), "idp-staging-web");
    }

    #[test]
    fn a_name_that_is_too_long_keeps_its_beginning_and_stays_unique() {
        let long = |end: &str| RUN_SERVICE.fit(&format!("{}-{end}", "identity-provider".repeat(4)));
        let (a, b) = (long("a"), long("b"));
        assert_eq!(a.len(), 49);
        assert!(RUN_SERVICE.accepts(&a), "{a}");
        assert!(a.starts_with("identity-provider"));
        assert_ne!(a, b);
        assert_eq!(a, long("a"));
    }

    #[test]
    fn a_truncated_name_never_ends_in_two_separators() {
        let name = RUN_SERVICE.fit(&format!("{}-{}", "a".repeat(39), "b".repeat(20)));
        assert!(!name.contains("--"), "{name}");
    }

    #[test]
    fn an_instance_has_single_hyphens_and_fits() {
        let name = instance(&RDS_INSTANCE, "my--app", "staging", "main");
        assert_eq!(name, "my-app-staging-main");
        assert_eq!(
            instance(&RDS_INSTANCE, "idp", "staging", "idp"),
            "idp-staging"
        );
        let long = instance(&REPLICATION_GROUP, &"a".repeat(40), "production", "cache");
        assert_eq!(long.len(), 40);
        assert!(REPLICATION_GROUP.accepts(&long), "{long}");
    }

    #[test]
    fn an_app_names_its_database_and_user_whatever_it_is_called() {
        assert_eq!(in_postgres(&POSTGRES_DATABASE, "my-app"), "my_app");
        assert_eq!(in_postgres(&POSTGRES_DATABASE, "user"), "user_app");
        let user = in_postgres(&POSTGRES_USER, "the-identity-provider");
        assert!(POSTGRES_USER.accepts(&user), "{user}");
        assert!(!RDS_INSTANCE.accepts("a--b") && !RDS_INSTANCE.accepts("a-"));
    }

    #[test]
    fn each_service_refuses_what_it_does_not_take() {
        assert!(RUN_SERVICE.accepts("idp-staging"));
        assert!(!RUN_SERVICE.accepts("Idp"));
        assert!(!RUN_SERVICE.accepts("idp-"));
        assert!(!RUN_SERVICE.accepts("1idp"));
        assert!(!RUN_SERVICE.accepts(&"a".repeat(50)));
        assert!(AWS_SECRET.accepts("spryte/mongodb-uri"));
        assert!(!GCP_SECRET.accepts("spryte/mongodb-uri"));
        assert!(ECS.accepts("Spryte_Backend-1"));
        assert!(ECR_REPOSITORY.accepts("sentryagent/agentidp"));
        assert!(!ECR_REPOSITORY.accepts("Spryte"));
    }

    #[test]
    fn names_that_others_gave_are_read_and_never_made() {
        let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1a2b-AbCdEf";
        for name in ["rds!db-0b7e7b8f-1c9b", arn] {
            assert!(AWS_SECRET_READ.accepts(name), "{name}");
            assert!(!AWS_SECRET.accepts(name), "{name}");
        }
        let full = "projects/other-project/secrets/db_url";
        assert!(GCP_SECRET_READ.accepts(full) && !GCP_SECRET.accepts(full));
        assert!(!AWS_SECRET_READ.accepts("arn:aws:s3:::x") && !GCP_SECRET_READ.accepts("a/b"));
    }

    #[test]
    fn a_member_with_odd_characters_still_names_a_secret_of_its_own() {
        assert_eq!(plain("password"), "password");
        assert!(plain("pass word").starts_with("password-"));
        assert_ne!(plain("pass word"), plain("pass.word"));
    }
}
