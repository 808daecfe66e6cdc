//! Loads the manifests that this repository holds ready under `config`, each in every environment.

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use deployer_core::address::CloudName;
use deployer_core::spec::{Inject, SecretSource};
use deployer_manifest::{Called, Inputs, load};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(name)
        .join("deployer.toml")
}

#[test]
fn the_ready_manifests_load_with_no_word_but_what_is_true_of_them() {
    for (name, environment, expected) in [
        ("agentidp", "staging", vec![]),
        ("agentidp", "production", vec![]),
        (
            "spryte",
            "production",
            vec!["on AWS nothing checks whether `frontend` is healthy"],
        ),
        ("kaizencoach", "staging", vec![]),
        ("kaizencoach", "production", vec![]),
        ("the-combine", "staging", vec![]),
        ("the-combine", "production", vec![]),
    ] {
        let inputs = Inputs {
            manifest: config(name),
            environment: Some(environment.to_owned()),
            ..Inputs::default()
        };
        let loaded = load(&inputs).unwrap_or_else(|problems| {
            panic!(
                "{name}: {}",
                problems.render(80, deployer_manifest::Colour::Off)
            )
        });
        let warnings: Vec<_> = loaded
            .warnings
            .iter()
            .map(|warning| warning.message.as_str())
            .collect();
        assert_eq!(warnings, expected, "{name}");
        for cloud in loaded.manifest.targets() {
            loaded.environment_spec(cloud).unwrap();
        }
    }
}

#[test]
fn spryte_keeps_the_names_that_it_has() {
    let inputs = Inputs {
        manifest: config("spryte"),
        ..Inputs::default()
    };
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.manifest.targets(), [CloudName::Aws]);
    let aws = loaded.manifest.targets.aws.as_ref().unwrap();
    let called = Called {
        key: "backend",
        origin: "backend",
    };
    let names = aws.names(&loaded.manifest.app, "production", called);
    assert_eq!(names.service, "spryte-backend-service");
    assert_eq!(names.family, "spryte-backend");
    let spec = loaded.environment_spec(CloudName::Aws).unwrap();
    assert_eq!(spec.secrets["mongodb-uri"].name, "spryte/mongodb-uri");
    assert!(spec.services["frontend"].adopt);
}

/// The variables of two runbooks for App Runner: the members of one JSON secret, and secrets by
/// their ARNs.
#[test]
fn kaizencoach_and_the_combine_have_every_variable_of_their_runbooks() {
    let members = "STRAVA_CLIENT_ID STRAVA_CLIENT_SECRET STRAVA_VERIFY_TOKEN FLASK_SECRET_KEY \
                   GARMIN_ENCRYPTION_KEY GOOGLE_APPLICATION_CREDENTIALS_JSON GCP_PROJECT_ID GCP_LOCATION";
    for (environment, secret, redirect) in [
        (
            "staging",
            "staging-kaizencoach-app-secrets",
            "https://staging.kaizencoach.training/callback",
        ),
        (
            "production",
            "my-personal-coach-app-secrets",
            "https://www.kaizencoach.training/callback",
        ),
    ] {
        let inputs = Inputs {
            manifest: config("kaizencoach"),
            environment: Some(environment.to_owned()),
            ..Inputs::default()
        };
        let loaded = load(&inputs).unwrap();
        assert_eq!(loaded.manifest.targets(), [CloudName::Aws]);
        let spec = loaded.environment_spec(CloudName::Aws).unwrap();
        let service = &spec.services["app"];
        for member in members.split_whitespace() {
            let used = &service.secrets[member];
            assert_eq!(used.member.as_deref(), Some(member));
            assert_eq!(spec.secrets[&used.secret].name, secret);
        }
        assert_eq!(service.env["REDIRECT_URI"], redirect);
        assert_eq!(service.port, 8080);
        for given in ["DATA_BUCKET", "USERS_TABLE", "ENVIRONMENT", "FLASK_ENV"] {
            assert!(!service.env[given].is_empty());
        }
        let aws = loaded.manifest.aws_spec(environment, Path::new("."));
        let aws = aws.unwrap();
        assert!(aws.on_app_runner(&service.name).is_some());
        // Nothing runs on ECS, and no connector is asked for.
        assert!(!aws.runs_tasks() && aws.subnets.is_empty());
    }
    let inputs = Inputs {
        manifest: config("the-combine"),
        environment: Some("production".to_owned()),
        ..Inputs::default()
    };
    let loaded = load(&inputs).unwrap();
    let spec = loaded.environment_spec(CloudName::Aws).unwrap();
    let service = &spec.services["web"];
    let fetched = "DATABASE_URL_ARN DB_PASSWORD_ARN ANTHROPIC_API_KEY_ARN SECRET_KEY_ARN";
    for variable in fetched.split_whitespace() {
        assert_eq!(service.secrets[variable].inject, Inject::Reference);
    }
    let host = &spec.secrets[&service.secrets["DB_HOST"].secret].source;
    assert_eq!(*host, SecretSource::DatabaseHost("main".to_owned()));
    assert!(service.migrate.is_none(), "the app migrates when it starts");
    assert_eq!(service.env["DB_NAME"], service.env["DB_USERNAME"]);
    assert_eq!(service.domains, ["thecombine.ui", "www.thecombine.ui"]);
}

/// The variables of the identity provider's runbook, section 6, and on which condition each is set.
#[test]
fn agentidp_has_every_variable_of_its_runbook_with_its_condition() {
    let always = "DATABASE_URL REDIS_URL JWT_PRIVATE_KEY JWT_PUBLIC_KEY NODE_ENV CORS_ORIGIN POLICY_DIR \
                  VAULT_ADDR VAULT_MOUNT VAULT_KV_MOUNT BILLING_ENABLED ANALYTICS_ENABLED TIER_ENFORCEMENT \
                  COMPLIANCE_ENABLED REDIS_RATE_LIMIT_ENABLED RATE_LIMIT_WINDOW_MS RATE_LIMIT_MAX_REQUESTS \
                  DB_POOL_MAX DB_POOL_MIN DB_POOL_IDLE_TIMEOUT_MS DB_POOL_CONNECTION_TIMEOUT_MS KAFKA_BROKERS \
                  ENFORCE_TLS OPA_URL";
    let with_billing = "STRIPE_SECRET_KEY STRIPE_WEBHOOK_SECRET STRIPE_PRICE_ID";
    for environment in ["staging", "production"] {
        let inputs = Inputs {
            manifest: config("agentidp"),
            environment: Some(environment.to_owned()),
            ..Inputs::default()
        };
        let loaded = load(&inputs).unwrap();
        for cloud in CloudName::ALL {
            let spec = loaded.environment_spec(cloud).unwrap();
            let service = &spec.services["agentidp"];
            let set =
                |name: &str| service.env.contains_key(name) || service.secrets.contains_key(name);
            for name in always.split_whitespace() {
                assert!(set(name), "{environment} {cloud} lacks {name}");
            }
            let billing = service.env["BILLING_ENABLED"] == "true";
            for name in with_billing.split_whitespace() {
                assert_eq!(set(name), billing, "{environment} {cloud} {name}");
            }
            assert_eq!(set("VAULT_TOKEN"), !service.env["VAULT_ADDR"].is_empty());
            assert_eq!(set("REDIS_CA_CERT"), cloud == CloudName::Gcp);
            assert_eq!(service.port, 3000);
            assert!(service.record.is_some() && service.verify.token.is_some());
        }
    }
}
