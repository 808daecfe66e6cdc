//! What each service of AWS accepts as a name, and the names that are made.

use deployer_core::name_rule;
use deployer_core::names::prefix;

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
    /// `CreateDBParameterGroup`.
    PARAMETER_GROUP, "a database parameter group", 255, Any,
    "^[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*$",
    "letters, digits and single `-`, a letter first, no `-` last, at most 255 characters"
);
name_rule!(
    /// `CreateReplicationGroup` of ElastiCache.
    REPLICATION_GROUP, "an ElastiCache replication group", 40, Lower,
    "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
    "lower-case letters, digits and single `-`, a letter first, no `-` last, at most 40 characters"
);

/// The variable in which an App Runner service notes the versions of its secrets.
pub const SECRETS_NOTE: &str = "DEPLOYER_SECRETS";

/// The folder of services' log groups: where ECS's own console puts one.
pub(crate) const LOG_FOLDER: &str = "/ecs/";

/// The log group of a service.
pub fn log_group(service: &str) -> String {
    LOG_GROUP.fit(&format!("{LOG_FOLDER}{service}"))
}

/// A secret's name.
pub fn secret(app: &str, environment: &str, key: &str) -> String {
    SECRET.fit(&format!("/{app}/{environment}/{key}"))
}

/// The cluster of an environment's one-off tasks, where nobody named one.
pub fn cluster(app: &str, environment: &str) -> String {
    CLUSTER.fit(&prefix(app, environment))
}

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
