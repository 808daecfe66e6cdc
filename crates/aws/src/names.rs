//! What each service of AWS accepts as a name, and the names that are made.

use deployer_core::name_rule;
use deployer_core::names::{Rule, prefix};
use sha2::{Digest, Sha256};

name_rule!(
    /// `CreateService`, `RegisterTaskDefinition`: service, family and container names.
    ECS, "an ECS service, family or container", 255, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 255 characters"
);
name_rule!(
    /// `CreateCluster`.
    CLUSTER, "an ECS cluster", 255, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 255 characters"
);
name_rule!(
    /// `CreateService` of App Runner.
    APP_RUNNER_SERVICE, "an App Runner service", 40, Any,
    "^[A-Za-z0-9][A-Za-z0-9_-]{3,39}$",
    "letters, digits, `-` and `_`, a letter or digit first, 4 to 40 characters"
);
name_rule!(
    /// `CreateVpcConnector` of App Runner.
    CONNECTOR, "a VPC connector", 40, Any,
    "^[A-Za-z0-9][A-Za-z0-9_-]{3,39}$",
    "letters, digits, `-` and `_`, a letter or digit first, 4 to 40 characters"
);
name_rule!(
    /// `CreateAutoScalingConfiguration` of App Runner.
    SCALING_CONFIGURATION, "an autoscaling configuration", 32, Any,
    "^[A-Za-z0-9][A-Za-z0-9_-]{3,31}$",
    "letters, digits, `-` and `_`, a letter or digit first, 4 to 32 characters"
);
name_rule!(
    /// `CreateRepository` of ECR.
    ECR_REPOSITORY, "an ECR repository", 256, Lower,
    "^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
    "lower-case letters and digits, with `.`, `_`, `-` and `/` between them, 2 to 256 characters"
);
name_rule!(
    /// `CreateSecret` of Secrets Manager.
    SECRET, "a secret in Secrets Manager", 512, Any,
    "^[A-Za-z0-9/_+=.@-]+$",
    "letters, digits and `/_+=.@-`, at most 512 characters"
);
name_rule!(
    /// What `GetSecretValue` takes: a name or an ARN, in full or without its last six characters;
    /// also the names that AWS gives, such as `rds!db-...`.
    SECRET_READ, "a secret in Secrets Manager", 2048, Any,
    "^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@!-]+$",
    "its name (letters, digits and `/_+=.@!-`) or its ARN: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
);
name_rule!(
    /// `CreateLogGroup`.
    LOG_GROUP, "a log group", 512, Any,
    "^[A-Za-z0-9/_.#-]+$",
    "letters, digits and `/_.#-`, at most 512 characters"
);
name_rule!(
    /// `CreateDBInstance`.
    RDS_INSTANCE, "an RDS instance", 63, Lower,
    "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    "lower-case letters, digits and single `-`, a letter first, no `-` last, at most 63 characters"
);
name_rule!(
    /// `CreateReplicationGroup` of ElastiCache.
    REPLICATION_GROUP, "an ElastiCache replication group", 40, Lower,
    "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    "lower-case letters, digits and single `-`, a letter first, no `-` last, at most 40 characters"
);

/// The variable in which an App Runner service notes the versions of its secrets.
pub const SECRETS_NOTE: &str = "DEPLOYER_SECRETS";

/// The log group of a service: where ECS's own console puts one.
pub fn log_group(service: &str) -> String {
    LOG_GROUP.fit(&format!("/ecs/{service}"))
}

/// A secret's name.
pub fn secret(app: &str, environment: &str, key: &str) -> String {
    SECRET.fit(&format!("/{app}/{environment}/{key}"))
}

/// The cluster of an environment's one-off tasks, where nobody named one.
pub fn cluster(app: &str, environment: &str) -> String {
    CLUSTER.fit(&prefix(app, environment))
}

/// The name of a thing that cannot be changed: `base` and eight digits of that and of what it is,
/// so that another content is another thing, both may be there at once, and two bases that are cut
/// to the same beginning are told apart.
pub fn of_content(rule: &Rule, base: &str, content: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&base).chain(content) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hex::encode(hash.finalize());
    let mark = digest.get(..MARK).unwrap_or(&digest);
    let room = rule.longest - mark.len() - 1;
    let short = match base.get(..room) {
        Some(head) if base.len() > room => head.trim_end_matches(['-', '_']),
        Some(_) | None => base,
    };
    format!("{short}-{mark}")
}

/// How many digits of a content stand in a name.
const MARK: usize = 8;

#[cfg(test)]
mod tests {
    use deployer_core::names::instance;

    use super::*;

    #[test]
    fn each_service_refuses_what_it_does_not_take() {
        assert!(SECRET.accepts("spryte/mongodb-uri"));
        assert!(ECS.accepts("Spryte_Backend-1"));
        assert!(ECR_REPOSITORY.accepts("sentryagent/agentidp"));
        assert!(!ECR_REPOSITORY.accepts("Spryte"));
        assert!(!RDS_INSTANCE.accepts("a--b") && !RDS_INSTANCE.accepts("a-"));
    }

    #[test]
    fn another_content_is_another_name_and_each_fits() {
        let named = |base: &str, size: &str| of_content(&SCALING_CONFIGURATION, base, &[size, "1"]);
        assert_eq!(named("idp-staging", "1"), named("idp-staging", "1"));
        assert_ne!(named("idp-staging", "1"), named("idp-staging", "2"));
        let long = named(&"a-b_".repeat(20), "1");
        assert!(SCALING_CONFIGURATION.accepts(&long), "{long}");
        let other = named(&format!("{}x", "a-b_".repeat(20)), "1");
        assert_ne!(long, other, "two that are cut to the same beginning");
        // The parts are told apart.
        let parts = |one: [&str; 2]| of_content(&CONNECTOR, "idp", &one);
        assert_ne!(parts(["ab", "c"]), parts(["a", "bc"]));
        assert!(!APP_RUNNER_SERVICE.accepts("idp") && !CONNECTOR.accepts("-idp"));
    }

    #[test]
    fn an_instance_has_single_hyphens_and_fits() {
        let name = instance(&RDS_INSTANCE, "my--app", "staging", "main");
        assert_eq!(name, "my-app-staging-main");
        let name = instance(&RDS_INSTANCE, "idp", "staging", "idp");
        assert_eq!(name, "idp-staging");
        let long = instance(&REPLICATION_GROUP, &"a".repeat(40), "production", "cache");
        assert_eq!(long.len(), 40);
        assert!(REPLICATION_GROUP.accepts(&long), "{long}");
    }

    #[test]
    fn names_that_others_gave_are_read_and_never_made() {
        let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1a2b-AbCdEf";
        for name in ["rds!db-0b7e7b8f-1c9b", arn] {
            assert!(SECRET_READ.accepts(name), "{name}");
            assert!(!SECRET.accepts(name), "{name}");
        }
        assert!(!SECRET_READ.accepts("arn:aws:s3:::x"));
    }
}
