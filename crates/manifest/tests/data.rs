//! Loads manifests with databases, caches, names and verification, right and wrong ones.

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use deployer_core::address::CloudName;
use deployer_core::spec::{EnvironmentSpec, Generate, LeadsTo, OnRollback, SecretSource};
use deployer_manifest::{Colour, Inputs, Loaded, Problems, load};
use tempfile::TempDir;

const GOOD: &str = r#"app = "agentidp"

[services.idp]
image = "registry.example.com/idp:1.0.0"
port = 3000
health = { path = "/health", command = ["CMD", "/app/idp", "healthcheck"] }

[services.idp.env]
DATABASE_URL = { secret = "main-url" }
REDIS_URL = { secret = "sessions-url" }
REDIS_CA = { secret = "sessions-ca" }

[services.idp.migrate]
command = ["migrate"]

[databases.main]
cpu = 2
memory = "8GiB"
storage = "50GiB"
high_availability = true

[caches.sessions]
memory = "2GiB"
high_availability = true

[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "main"
subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
execution_role = "ecsTaskExecutionRole"

[targets.gcp]
project = "acme-identity"
region = "us-central1"
network = "default"
subnetwork = "default"
"#;

fn try_load(text: &str, set: &[&str]) -> Result<Loaded, Problems> {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    load(&Inputs {
        manifest,
        set: set.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Inputs::default()
    })
}

fn loaded(text: &str, set: &[&str]) -> Loaded {
    try_load(text, set).unwrap_or_else(|problems| panic!("{}", problems.render(80, Colour::Off)))
}

fn spec(text: &str, set: &[&str], cloud: CloudName) -> EnvironmentSpec {
    loaded(text, set).environment_spec(cloud).unwrap()
}

/// `path: message [help]` of every fault, in the order of the file.
fn found(text: &str, set: &[&str]) -> Vec<String> {
    let Err(problems) = try_load(text, set) else {
        return vec![];
    };
    let line = |problem: &deployer_manifest::Problem| {
        let help = problem.help.as_deref().unwrap_or_default();
        format!("{}: {} [{help}]", problem.path, problem.message)
    };
    problems.iter().map(line).collect()
}

fn with(more: &str) -> String {
    format!("{GOOD}\n{more}")
}

#[test]
fn a_database_is_one_size_under_each_clouds_own_name() {
    let aws = spec(GOOD, &[], CloudName::Aws);
    let main = &aws.databases["main"];
    assert_eq!(main.class, "db.m7g.large");
    assert_eq!(main.name, "agentidp-staging-main");
    assert_eq!((main.version, main.storage_gib), (16, 50));
    assert_eq!((main.backup_days, main.deletion_protection), (7, true));
    assert_eq!(
        (main.database.as_str(), main.user.as_str()),
        ("agentidp", "agentidp")
    );
    let gcp = spec(GOOD, &[], CloudName::Gcp);
    assert_eq!(gcp.databases["main"].class, "db-custom-2-8192");
    let own = ["targets.gcp.databases.main.tier=\"db-custom-4-16384\""];
    assert_eq!(
        spec(GOOD, &own, CloudName::Gcp).databases["main"].class,
        "db-custom-4-16384"
    );
}

#[test]
fn a_cache_has_a_token_where_the_cloud_makes_none_and_an_authority_where_none_is_public() {
    let aws = spec(GOOD, &[], CloudName::Aws);
    let cache = &aws.caches["sessions"];
    assert_eq!(
        (cache.class.as_str(), cache.memory_gib),
        ("cache.t4g.medium", 3)
    );
    assert_eq!(cache.token.as_deref(), Some("sessions-token"));
    assert_eq!(cache.authority, None);
    assert!(!aws.services["idp"].secrets.contains_key("REDIS_CA"));
    assert!(!aws.secrets.contains_key("sessions-ca"));
    let gcp = spec(GOOD, &[], CloudName::Gcp);
    let cache = &gcp.caches["sessions"];
    assert_eq!((cache.class.as_str(), cache.memory_gib), ("", 2));
    assert_eq!(cache.token, None);
    assert_eq!(cache.authority.as_deref(), Some("sessions-ca"));
    assert_eq!(
        gcp.services["idp"].secrets["REDIS_CA"].secret,
        "sessions-ca"
    );
    assert!(!gcp.secrets.contains_key("sessions-token"));
}

#[test]
fn the_secrets_of_data_are_made_and_follow() {
    let aws = spec(GOOD, &[], CloudName::Aws);
    let sources = [
        ("main-password", SecretSource::Generate(Generate::Hex(24))),
        ("main-url", SecretSource::DatabaseUrl("main".to_owned())),
        ("sessions-token", SecretSource::Generate(Generate::Hex(24))),
        (
            "sessions-url",
            SecretSource::CacheUrl("sessions".to_owned()),
        ),
    ];
    for (key, source) in sources {
        assert_eq!(aws.secrets[key].source, source, "{key}");
        assert_eq!(aws.secrets[key].on_rollback, OnRollback::Follow, "{key}");
    }
    let gcp = spec(GOOD, &[], CloudName::Gcp);
    let authority = SecretSource::CacheAuthority("sessions".to_owned());
    assert_eq!(gcp.secrets["sessions-ca"].source, authority);
    let migrate = aws.services["idp"].migrate.as_ref().unwrap();
    assert_eq!(migrate.database.as_deref(), Some("main-url"));
}

#[test]
fn a_host_alone_is_a_secret_where_it_is_asked_for() {
    let without = spec(GOOD, &[], CloudName::Aws);
    let host = SecretSource::DatabaseHost("main".to_owned());
    assert!(!without.secrets.values().any(|it| it.source == host));
    for cloud in CloudName::ALL {
        let asked = spec(GOOD, &["databases.main.host=db-host"], cloud);
        assert_eq!(asked.secrets["db-host"].source, host, "{cloud}");
        assert_eq!(asked.databases["main"].host.as_deref(), Some("db-host"));
    }
}

#[test]
fn a_secrets_table_may_rename_what_is_made_but_not_say_where_it_comes_from() {
    let text = with("[secrets.main-url]\nname = \"team-${env}-database-url\"\n");
    let url = &spec(&text, &[], CloudName::Aws).secrets["main-url"];
    assert_eq!(url.name, "team-staging-database-url");
    assert_eq!(url.on_rollback, OnRollback::Follow);
    assert_eq!(url.source, SecretSource::DatabaseUrl("main".to_owned()));
    let said = found(
        &text,
        &[
            "secrets.main-url.from={ env = \"URL\" }",
            "targets.aws.secrets.sessions-url.from=cloud",
        ],
    );
    insta::assert_debug_snapshot!(said);
}

#[test]
fn sizes_versions_and_periods_that_a_cloud_does_not_offer_are_found_together() {
    insta::assert_debug_snapshot!(found(
        GOOD,
        &[
            "databases.main.cpu=3",
            "databases.main.version=9",
            "databases.main.storage=\"12GiB\"",
            "databases.main.backup_days=0",
            "databases.main.user=\"user\"",
            "databases.main.database=\"My-DB\"",
            "caches.sessions.version=7.1",
            "caches.sessions.memory=\"1536MiB\"",
            "targets.aws.databases.main.name=\"a--b\"",
            "targets.aws.caches.spare.class=\"cache.t4g.small\"",
            "targets.gcp.databases.main.network=\"https://n\"",
        ]
    ));
}

#[test]
fn what_the_manifest_is_silent_about_is_known_of_an_adopted_service_only() {
    let unsaid = |set: &[&str], cloud| {
        let spec = spec(GOOD, set, cloud);
        spec.services["idp"]
            .unsaid
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let adopt = "targets.aws.services.idp.adopt=true";
    assert_eq!(unsaid(&[], CloudName::Aws), "");
    assert_eq!(
        unsaid(&[adopt], CloudName::Aws),
        "command cpu entrypoint health.start_period memory replicas"
    );
    assert_eq!(unsaid(&[adopt], CloudName::Gcp), "");
    let said = [
        adopt,
        "services.idp.cpu=1",
        "services.idp.memory=\"2GiB\"",
        "services.idp.health.start_period=\"2m\"",
        "targets.aws.services.idp.replicas=3",
    ];
    assert_eq!(unsaid(&said, CloudName::Aws), "command entrypoint");
}

#[test]
fn data_needs_two_zones_on_aws_and_a_network_on_google() {
    let text = GOOD
        .replace("network = \"default\"\nsubnetwork = \"default\"\n", "")
        .replace(", \"subnet-0123456789abcdef1\"", "");
    insta::assert_debug_snapshot!(found(&text, &[]));
}

#[test]
fn a_secret_holds_one_thing() {
    let pair = with("[keys.jwt]\nprivate = \"main-url\"\npublic = \"jwt-public\"\n");
    let said = found(&pair, &["caches.sessions.url=main-password"]);
    insta::assert_debug_snapshot!(said);
}

#[test]
fn a_token_that_google_makes_cannot_be_used_there() {
    let said = found(
        GOOD,
        &["services.idp.env.TOKEN={ secret = \"sessions-token\" }"],
    );
    assert_eq!(
        said,
        [
            "services.idp.env.TOKEN.secret: on Google Cloud there is no secret `sessions-token`: Memorystore makes the token [use `sessions-url`, which holds the token on both clouds]"
        ]
    );
}

#[test]
fn a_database_that_nobody_uses_is_a_warning() {
    let text = GOOD.replace("DATABASE_URL = { secret = \"main-url\" }\n", "");
    let warnings = loaded(&text, &[]).warnings;
    let said: Vec<_> = warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(said, ["no service uses the database `main`"]);
}

const NAMES: &str = r#"
[targets.aws.services.idp.dns]
name = "IdP.example.com."
zone = "example.com"
load_balancer = "main"

[targets.gcp.services.idp.dns]
name = "idp-gcp.example.com"
zone = "example-com"
address = "203.0.113.10"
"#;

#[test]
fn a_name_becomes_a_record_and_the_services_address() {
    let text = with(NAMES);
    let aws = &spec(&text, &[], CloudName::Aws).services["idp"];
    let record = aws.record.as_ref().unwrap();
    assert_eq!(
        (record.name.as_str(), record.zone.as_str()),
        ("idp.example.com", "example.com")
    );
    assert_eq!(record.leads_to, LeadsTo::LoadBalancer("main".to_owned()));
    assert_eq!(aws.url.as_deref(), Some("https://idp.example.com"));
    let gcp = &spec(&text, &[], CloudName::Gcp).services["idp"];
    let address = "203.0.113.10".parse().unwrap();
    assert_eq!(
        gcp.record.as_ref().unwrap().leads_to,
        LeadsTo::Address(address)
    );
    let own = ["targets.gcp.services.idp.url=\"https://x.example.com\""];
    let gcp = &spec(&text, &own, CloudName::Gcp).services["idp"];
    assert_eq!(gcp.url.as_deref(), Some("https://x.example.com"));
    let greeting = ["services.idp.env.ISSUER=${service.url}"];
    let aws = spec(&text, &greeting, CloudName::Aws);
    assert_eq!(aws.services["idp"].env["ISSUER"], "https://idp.example.com");
}

#[test]
fn a_name_that_could_not_work_says_why() {
    let text = with(NAMES);
    let cases: [&[&str]; 6] = [
        &["targets.gcp.services.idp.dns.address=\"idp-abc-uc.a.run.app\""],
        &["targets.aws.services.idp.dns.load_balancer=\"idp-abc-uc.a.run.app\""],
        &["targets.aws.services.idp.dns.load_balancer=\"x.execute-api.us-east-1.amazonaws.com\""],
        &["targets.aws.services.idp.dns.name=\"idp.us-east-1.elb.amazonaws.com\""],
        &[
            "targets.aws.services.idp.dns.zone=\"example.org\"",
            "targets.gcp.services.idp.dns.name=\"https://idp.example.com\"",
            "targets.gcp.services.idp.dns.servers=[\"ns1\"]",
        ],
        &["targets.gcp.services.idp.dns.name=\"idp.example.com\""],
    ];
    let said: Vec<_> = cases.iter().map(|set| found(&text, set)).collect();
    insta::assert_debug_snapshot!(said);
    for fine in [
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/main/50dc6c495c0c9188",
        "main-1234.us-east-1.elb.amazonaws.com",
        "net-1234.elb.us-east-1.amazonaws.com",
    ] {
        let set = format!("targets.aws.services.idp.dns.load_balancer=\"{fine}\"");
        assert_eq!(found(&text, &[&set]), Vec::<String>::new());
    }
}

const VERIFY: &str = r#"
[secrets.client-id]
[secrets.client-secret]

[services.idp.verify]
metrics = "/metrics"
jwks = "/.well-known/jwks.json"
token = { path = "/api/v1/token", client_id = "client-id", client_secret = "client-secret", scope = "read" }

[[services.idp.verify.checks]]
name = "status"
path = "/health"
headers = { X-Env = "${env}" }
expect_headers = { content-type = "^application/json" }
json = { "$.status" = "ok" }
within = "500ms"

[[services.idp.verify.checks]]
path = "/robots.txt"
status = 404
body = "not (here|found)"
"#;

#[test]
fn checks_are_resolved_with_their_defaults() {
    let spec = spec(&with(VERIFY), &[], CloudName::Gcp);
    let verify = &spec.services["idp"].verify;
    assert_eq!(verify.metrics.as_deref(), Some("/metrics"));
    assert_eq!(verify.token.as_ref().unwrap().client_id, "client-id");
    let [status, robots] = &verify.checks[..] else {
        panic!("{:?}", verify.checks);
    };
    assert_eq!(status.headers["X-Env"], "staging");
    assert_eq!(status.within.unwrap().as_millis(), 500);
    assert_eq!(status.json["$.status"], "ok");
    assert_eq!(
        (robots.name.as_str(), robots.status),
        ("GET /robots.txt", 404)
    );
}

#[test]
fn what_is_asked_of_a_service_is_not_what_it_is() {
    let id = |text: &str| loaded(text, &[]).manifest.content_id("idp", "sha256:aa");
    assert_eq!(id(GOOD), id(&with(VERIFY)));
}

#[test]
fn a_manifest_with_all_of_it_survives_being_kept_in_a_release() {
    let mut manifest = loaded(&with(&format!("{VERIFY}{NAMES}")), &[]).manifest;
    let kept = serde_json::to_string(&manifest).unwrap();
    let read: deployer_manifest::Manifest = serde_json::from_str(&kept).unwrap();
    // Which keys somebody wrote is known of files alone: a release keeps values.
    for database in manifest.databases.values_mut() {
        assert!(!std::mem::take(&mut database.said).is_empty());
    }
    for cache in manifest.caches.values_mut() {
        assert!(!std::mem::take(&mut cache.said).is_empty());
    }
    for service in manifest.services.values_mut() {
        assert!(!std::mem::take(&mut service.said).is_empty());
    }
    assert_eq!(read, manifest);
}

#[test]
fn patterns_and_places_that_cannot_be_read_are_shown() {
    let text = with(VERIFY)
        .replace("not (here|found)", "not (here")
        .replace("\"$.status\"", "\"status\"")
        .replace("\"^application/json\"", "\"[\"")
        .replace("\"/metrics\"", "\"metrics\"")
        .replace("client_id = \"client-id\"", "client_id = \"clientid\"");
    insta::assert_debug_snapshot!(found(&text, &[]));
}

#[test]
fn a_bound_needs_its_unit() {
    for wrong in ["\"0s\"", "\"soon\"", "500"] {
        let said = found(&with(VERIFY).replace("\"500ms\"", wrong), &[]);
        let at = "services.idp.verify.checks.0.within: ";
        assert!(said[0].starts_with(at), "{said:?}");
    }
}

#[test]
fn a_cache_that_is_made_takes_no_clients_without_tls() {
    let preferred = "targets.aws.caches.sessions.tls=\"preferred\"";
    let said = try_load(GOOD, &[preferred]).unwrap_err();
    let said = said.render(200, Colour::Off);
    assert!(
        said.contains("a cache that is made takes clients with TLS and a token only"),
        "{said}"
    );
    let adopted = "targets.aws.caches.sessions.adopt=true";
    try_load(GOOD, &[preferred, adopted]).unwrap();
    try_load(GOOD, &["targets.aws.caches.sessions.tls=\"required\""]).unwrap();
}

#[test]
fn what_is_adopted_needs_no_second_zone_of_ours() {
    let one = "targets.aws.subnets=[\"subnet-0123456789abcdef0\"]";
    try_load(GOOD, &[one]).unwrap_err();
    let adopted = [
        one,
        "targets.aws.databases.main.adopt=true",
        "targets.aws.caches.sessions.adopt=true",
    ];
    try_load(GOOD, &adopted).unwrap();
}

#[test]
fn the_owner_of_the_ledgers_bucket_is_an_account() {
    let said = try_load(GOOD, &["targets.aws.ledger_owner=\"acme\""]).unwrap_err();
    let said = said.render(200, Colour::Off);
    assert!(said.contains("an account has 12 digits"), "{said}");
}
