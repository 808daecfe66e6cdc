//! The ready manifests of two teams on App Runner live in the sandbox, staging and production, from
//! nothing to nothing: applied, verified, migrated, rolled back, destroyed.

use std::path::Path;
use std::time::Duration;

use aws_sdk_apprunner::types::Service;
use aws_sdk_route53::types::RrType;
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};

use crate::in_process::stage::{REGION, Stage};
use crate::web::Web;
use crate::{DESTROY, run, says};
use crate::{domains, lost};

crate::tests! {
    kaizencoach_lives_on_one_secret_with_eight_members => kaizencoach_in_staging,
    kaizencoach_lives_in_production_with_two_instances => kaizencoach_in_production,
    kaizencoach_takes_over_the_service_and_the_names_that_production_has => kaizencoach_adopted,
    the_combine_lives_on_secrets_by_their_arns_and_a_private_database => the_combine_in_staging,
    the_combine_lives_in_production_with_a_protected_database => the_combine_in_production,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const APPLY: &[&str] = &["apply", "--yes"];
const BACK: &[&str] = &["rollback", "--yes"];

/// A ready manifest with one of its overlays.
#[derive(Clone, Copy)]
struct Ready {
    app: &'static str,
    environment: &'static str,
    account: &'static str,
    region: &'static str,
    /// The service, by the manifest's name.
    key: &'static str,
    /// The name in the zone; with its `www.` it leads to the service.
    name: &'static str,
}

impl Ready {
    /// Writes it for the sandbox's account and region, with an image that is here. Simulated
    /// containers listen nowhere: people reach the service where `web` is.
    fn want(self, stage: &Stage, version: u32, web: &Web) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../config")
            .join(self.app);
        let overlay = format!("deployer.{}.toml", self.environment);
        for file in ["deployer.toml", &overlay] {
            let text = std::fs::read_to_string(config.join(file)).expect("a ready manifest");
            let lines = text.lines().map(|line| {
                let key = line.split(" = ").next().unwrap_or_default();
                match key {
                    "image" => format!("image = \"oci:image-{version}\""),
                    "environment" => format!("environment = \"{}\"", self.environment),
                    "zone" => format!("{line}\nurl = \"http://{}\"", web.host()),
                    _ => line.to_owned(),
                }
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            let here = format!(
                "account = \"123456789012\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n",
                stage.sandbox.aws_url
            );
            let (account, region) = (self.account, self.region);
            let there = format!("account = \"{account}\"\nregion = \"{region}\"\n");
            stage.file(file, &text.replace(&there, &here));
        }
    }

    /// The name and its `www.` lead to the service, and three records prove whose they are.
    async fn assert_led(self, stage: &Stage, zone: &str) {
        let all = domains::records(stage, zone).await;
        let of = |kind: &str| -> Vec<&str> {
            let own = all.iter().filter(|(_, it, _)| it == kind);
            own.map(|(name, _, _)| name.as_str()).collect()
        };
        let name = self.name;
        assert_eq!(of("A"), [format!("{name}."), format!("www.{name}.")]);
        assert_eq!(of("CNAME").len(), 3, "{all:?}");
    }

    /// Applies a second version, finds it verified, and goes back to the first one.
    async fn update_and_roll_back(self, stage: &Stage, web: &Web) {
        self.want(stage, 2, web);
        run(stage, APPLY, "aws", Exit::Success).await;
        assert_eq!(last_that_serves(stage).digest, stage.digest(2));
        let said = run(stage, &["status"], "aws", Exit::Success).await;
        says(&said, &["verified"]);
        let said = run(stage, BACK, "aws", Exit::Success).await;
        says(&said, &["again"]);
        assert_eq!(last_that_serves(stage).digest, stage.digest(1));
    }

    /// Deletes everything; of the zone nothing but the zone is left.
    async fn destroy(self, stage: &Stage, zone: &str) {
        run(stage, DESTROY, "aws", Exit::Success).await;
        assert_eq!(domains::records(stage, zone).await, []);
        assert!(service(stage).await.is_none());
    }
}

/// The app behind its address, which answers at this path.
async fn web(health: &'static str) -> Web {
    Web::serve(move |path| match path == health {
        true => (200, "{}"),
        false => (404, ""),
    })
    .await
}

/// The one service that there is.
async fn service(stage: &Stage) -> Option<Service> {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let listed = client.list_services().send().await.expect("services");
    let arn = listed.service_summary_list().first()?.service_arn()?;
    let described = client.describe_service().service_arn(arn).send().await;
    described.expect("it is there").service
}

/// What its scaling says: instances at least and at most, requests at once.
async fn scaling(stage: &Stage, service: &Service) -> (i32, i32, i32) {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let summary = service.auto_scaling_configuration_summary();
    let arn = summary.and_then(|it| it.auto_scaling_configuration_arn());
    let call = client.describe_auto_scaling_configuration();
    let call = call.auto_scaling_configuration_arn(arn.expect("an ARN"));
    let answer = call.send().await.expect("a configuration");
    let told = answer.auto_scaling_configuration.expect("a configuration");
    let number = |it: Option<i32>| it.expect("a number");
    (
        number(told.min_size()),
        number(told.max_size()),
        number(told.max_concurrency()),
    )
}

fn serving(stage: &Stage) -> Vec<Started> {
    let started = stage.containers.started().into_iter();
    started.filter(|it| it.purpose == Purpose::Serve).collect()
}

fn last_that_serves(stage: &Stage) -> Started {
    serving(stage).pop().expect("something serves")
}

fn assert_has(started: &Started, variables: &[(&str, &str)]) {
    for (name, value) in variables {
        let has = started.env.get(*name).map(String::as_str);
        assert_eq!(has, Some(*value), "{name}");
    }
}

/// The members of the one secret.
const MEMBERS: [(&str, &str); 8] = [
    ("STRAVA_CLIENT_ID", "188207"),
    ("STRAVA_CLIENT_SECRET", "a1b2c3d4"),
    ("STRAVA_VERIFY_TOKEN", "cb4fda9a"),
    ("FLASK_SECRET_KEY", "8f7d6e5c"),
    (
        "GARMIN_ENCRYPTION_KEY",
        "XyZ9AbC8dEf7GhI6JkL5MnO4PqR3StU2VwX1YzA0BcD=",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS_JSON",
        "{\"type\":\"service_account\"}",
    ),
    ("GCP_PROJECT_ID", "kaizencoach-staging"),
    ("GCP_LOCATION", "europe-west1"),
];

/// The one secret, as people write it by hand.
fn document(location: &str) -> String {
    let members = MEMBERS.iter().map(|(member, value)| {
        let value = match *member {
            "GCP_LOCATION" => location,
            _ => value,
        };
        ((*member).to_owned(), serde_json::Value::from(value))
    });
    serde_json::Value::Object(members.collect()).to_string()
}

const COACH: Ready = Ready {
    app: "kaizencoach",
    environment: "staging",
    account: "321490400104",
    region: "eu-west-1",
    key: "app",
    name: "staging.kaizencoach.training",
};

async fn kaizencoach_in_staging(stage: &Stage) {
    let own = [
        ("ENVIRONMENT", "staging"),
        ("DATA_BUCKET", "staging-kaizencoach-data"),
        ("USERS_TABLE", "staging-kaizencoach-users"),
        (
            "REDIRECT_URI",
            "https://staging.kaizencoach.training/callback",
        ),
    ];
    let secret = "staging-kaizencoach-app-secrets";
    let (there, scaling) = kaizencoach(stage, COACH, secret, &own).await;
    assert_eq!(there.service_name(), "staging-kaizencoach-service");
    assert_eq!(scaling, (1, 1, 100));
}

async fn kaizencoach_in_production(stage: &Stage) {
    let ready = Ready {
        environment: "production",
        name: "kaizencoach.training",
        ..COACH
    };
    let own = [
        ("ENVIRONMENT", "prod"),
        ("DATA_BUCKET", "prod-kaizencoach-data"),
        ("USERS_TABLE", "prod-kaizencoach-users"),
        ("REDIRECT_URI", "https://www.kaizencoach.training/callback"),
    ];
    let secret = "my-personal-coach-app-secrets";
    let (there, scaling) = kaizencoach(stage, ready, secret, &own).await;
    assert_eq!(there.service_name(), "prod-kaizencoach-service");
    assert_eq!(scaling, (2, 4, 100));
    let role = there.instance_configuration();
    let role = role.and_then(|it| it.instance_role_arn());
    let role = role.expect("a role");
    assert!(role.ends_with("role/prod-my-personal-coach-apprunner-role"));
}

/// Another hand made the service and the records of its names: no mark is on it, and no ledger
/// knows of either.
async fn kaizencoach_adopted(stage: &Stage) {
    let ready = Ready {
        environment: "production",
        name: "kaizencoach.training",
        ..COACH
    };
    let web = web("/").await;
    ready.want(stage, 1, &web);
    let zone = domains::zone(stage, ready.name, "one").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let create = secrets
        .create_secret()
        .name("my-personal-coach-app-secrets");
    let create = create.secret_string(document("europe-west1")).send();
    create.await.expect("it is made");
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = service(stage).await.expect("a service");
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let keys = ["deployer", "deployer:ledger"].map(str::to_owned).to_vec();
    let untag = client.untag_resource().resource_arn(there.service_arn());
    let untag = untag.set_tag_keys(Some(keys)).send().await;
    untag.expect("the mark is off");
    lost::lose(stage).await;
    for name in [ready.name.to_owned(), format!("www.{}", ready.name)] {
        let elsewhere = (name.as_str(), RrType::A, "192.0.2.1");
        domains::by_hand(stage, &zone, elsewhere).await;
    }

    // What is not said to be taken over is nobody's to change.
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config/kaizencoach/deployer.production.toml");
    let overlay = std::fs::read_to_string(overlay).expect("a ready manifest");
    assert!(overlay.contains("\nadopt = true\nadopt_records = true\n"));
    let file = "deployer.production.toml";
    let path = format!("{}/{file}", stage.folder());
    let taking = std::fs::read_to_string(path).expect("an overlay");
    stage.file(
        file,
        &taking.replace("adopt = true\nadopt_records = true\n", ""),
    );
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &["adopt = true"]);

    ready.want(stage, 1, &web);
    run(stage, APPLY, "aws", Exit::Success).await;
    let now = service(stage).await.expect("a service");
    assert_eq!(now.service_arn(), there.service_arn());
    ready.assert_led(stage, &zone).await;
    run(stage, PLAN, "aws", Exit::Success).await;
    // It is somebody's: it stays.
    run(stage, DESTROY, "aws", Exit::Success).await;
    let left = service(stage).await.expect("a service");
    assert_eq!(left.service_arn(), there.service_arn());
}

/// The whole life; the service and its scaling as they were in it.
async fn kaizencoach(
    stage: &Stage,
    ready: Ready,
    secret: &str,
    own: &[(&str, &str)],
) -> (Service, (i32, i32, i32)) {
    let web = web("/").await;
    ready.want(stage, 1, &web);
    let zone = domains::zone(stage, "kaizencoach.training", "one").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    // Before anything is made: no service ever started with an empty secret.
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &[secret]);
    assert!(stage.containers.started().is_empty());
    let create = secrets.create_secret().name(secret);
    let create = create.secret_string(document("europe-west1")).send();
    create.await.expect("it is made");

    stage.behave(|started| Behaviour {
        lines: vec!["--- Webhook event received: {} ---".to_owned()],
        ..Behaviour::usual(started.purpose)
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    assert!(web.asked().iter().any(|path| path == "/"));
    let there = service(stage).await.expect("a service");
    let scaling = scaling(stage, &there).await;
    assert_eq!(serving(stage).len(), usize::try_from(scaling.0).unwrap());
    let started = last_that_serves(stage);
    assert_has(&started, &MEMBERS);
    assert_has(&started, own);
    assert_has(
        &started,
        &[
            ("AWS_REGION", REGION),
            ("FLASK_ENV", "production"),
            ("APP_DEBUG_MODE", "False"),
        ],
    );
    ready.assert_led(stage, &zone).await;
    let logs = ["logs", ready.key, "--since", "1h"];
    says(
        &run(stage, &logs, "aws", Exit::Success).await,
        &["Webhook event received"],
    );
    run(stage, PLAN, "aws", Exit::Success).await;

    // Another value of one member deploys.
    let put = secrets.put_secret_value().secret_id(secret);
    let put = put.secret_string(document("europe-west4")).send();
    put.await.expect("it is set");
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(last_that_serves(stage).env["GCP_LOCATION"], "europe-west4");

    ready.update_and_roll_back(stage, &web).await;
    // Nothing pins a secret: an instance reads what is current.
    assert_eq!(last_that_serves(stage).env["GCP_LOCATION"], "europe-west4");
    ready.destroy(stage, &zone).await;
    let kept = secrets.describe_secret().secret_id(secret).send().await;
    assert!(kept.expect("it is somebody's").deleted_date().is_none());
    (there, scaling)
}

const COMBINE: Ready = Ready {
    app: "the-combine",
    environment: "staging",
    account: "123456789012",
    region: "us-east-1",
    key: "web",
    name: "staging.thecombine.ui",
};

async fn the_combine_in_staging(stage: &Stage) {
    let (protected, scaling) = the_combine(stage, COMBINE).await;
    assert!(!protected);
    assert_eq!(scaling, (1, 2, 100));
}

async fn the_combine_in_production(stage: &Stage) {
    let ready = Ready {
        environment: "production",
        name: "thecombine.ui",
        ..COMBINE
    };
    let (protected, scaling) = the_combine(stage, ready).await;
    assert!(protected);
    assert_eq!(scaling, (1, 2, 80));
}

/// The whole life; whether its database was protected, and the scaling.
async fn the_combine(stage: &Stage, ready: Ready) -> (bool, (i32, i32, i32)) {
    let web = web("/health").await;
    ready.want(stage, 1, &web);
    let zone = domains::zone(stage, "thecombine.ui", "one").await;
    let key = stage.file("key", "sk-ant-1");
    let set = ["secrets", "set", "anthropic-api-key", "--file", &key];
    run(stage, &set, "aws", Exit::Success).await;
    // The app waits for its database, migrates and seeds before it listens.
    stage.containers_take(Duration::from_secs(45));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert!(web.asked().iter().any(|path| path == "/health"));
    let started = stage.containers.started();
    // The app migrates itself when it starts: no task runs.
    assert!(started.iter().all(|it| it.purpose == Purpose::Serve));
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let described = rds.describe_db_instances().send().await;
    let described = described.expect("databases");
    let [database] = described.db_instances() else {
        panic!("one database: {described:?}");
    };
    let host = database.endpoint().and_then(|it| it.address());
    let serves = last_that_serves(stage);
    assert_has(
        &serves,
        &[
            ("ENVIRONMENT", ready.environment),
            ("AWS_REGION", REGION),
            ("DB_HOST", host.expect("it is there")),
            ("DB_PORT", "5432"),
            ("DB_NAME", "thecombine"),
            ("DB_USERNAME", "thecombine"),
        ],
    );
    for variable in [
        "DATABASE_URL_ARN",
        "DB_PASSWORD_ARN",
        "ANTHROPIC_API_KEY_ARN",
        "SECRET_KEY_ARN",
    ] {
        let arn = &serves.env[variable];
        assert!(
            arn.starts_with("arn:aws:secretsmanager:"),
            "{variable}: {arn}"
        );
    }
    assert!(!serves.env.values().any(|it| it.contains("sk-ant")));
    ready.assert_led(stage, &zone).await;
    run(stage, PLAN, "aws", Exit::Success).await;

    // Whoever fetches a secret does so when it starts: a new value deploys.
    let before = serving(stage).len();
    let key = stage.file("key", "sk-ant-2");
    let set = ["secrets", "set", "anthropic-api-key", "--file", &key];
    run(stage, &set, "aws", Exit::Success).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert!(serving(stage).len() > before, "nothing was deployed");

    ready.update_and_roll_back(stage, &web).await;
    let there = service(stage).await.expect("a service");
    let scaling = scaling(stage, &there).await;
    ready.destroy(stage, &zone).await;
    let protected = database.deletion_protection().unwrap_or_default();
    (protected, scaling)
}
