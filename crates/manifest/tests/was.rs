//! Things that are called otherwise than they were first applied under: their names in the clouds,
//! the ids of their contents, and which origins are refused.

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use deployer_core::address::CloudName;
use deployer_core::spec::EnvironmentSpec;
use deployer_manifest::{Inputs, Loaded, Problems, load};
use tempfile::TempDir;

const BEFORE: &str = r#"app = "shop"

[services.api]
image = "registry.example.com/api:1.0.0"
port = 3000
health = { path = "/health", command = ["CMD", "/app/api", "healthcheck"] }

[services.api.env]
DATABASE_URL = { secret = "main-url" }
REDIS_URL = { secret = "sessions-url" }
MAIL = { secret = "mail" }
PART = { secret = "part" }

[services.api.migrate]
command = ["migrate"]

[services.api.verify.token]
path = "/token"
client_id = "mail"
client_secret = "mail"

[databases.main]
sslmode = "verify-full"

[caches.sessions]

[secrets.mail]
from = { generate = "hex:32" }

[secrets.part]
key = "user"

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

/// The same with other keys, each of which says what it was.
fn after() -> String {
    let renamed = [
        ("[services.api]\n", "[services.web]\nwas = \"api\"\n"),
        ("services.api", "services.web"),
        ("[databases.main]\n", "[databases.store]\nwas = \"main\"\n"),
        ("main-url", "store-url"),
        (
            "[caches.sessions]\n",
            "[caches.tokens]\nwas = \"sessions\"\n",
        ),
        ("sessions-url", "tokens-url"),
        ("[secrets.mail]\n", "[secrets.post]\nwas = \"mail\"\n"),
        ("\"mail\" }", "\"post\" }"),
        ("client_id = \"mail\"", "client_id = \"post\""),
        ("client_secret = \"mail\"", "client_secret = \"post\""),
        ("[secrets.part]\n", "[secrets.half]\nwas = \"part\"\n"),
        ("\"part\" }", "\"half\" }"),
    ];
    renamed.iter().fold(BEFORE.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    })
}

fn try_load(text: &str, overlay: &str) -> Result<Loaded, Problems> {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    std::fs::write(dir.path().join("deployer.staging.toml"), overlay).unwrap();
    load(&Inputs {
        manifest,
        ..Inputs::default()
    })
}

fn loaded(text: &str) -> Loaded {
    try_load(text, "").unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What is wrong, and what to do.
fn found(text: &str) -> Vec<(String, String)> {
    let problems = try_load(text, "").unwrap_err();
    let told = problems
        .iter()
        .map(|it| (it.message.clone(), it.help.clone().unwrap_or_default()));
    told.collect()
}

fn names(spec: &EnvironmentSpec) -> BTreeSet<String> {
    let services = spec.services.values().flat_map(|it| {
        let job = it.migrate.iter().map(|it| it.job.clone());
        [it.name.clone(), it.repository.clone()]
            .into_iter()
            .chain(job)
    });
    let databases = spec.databases.values().map(|it| it.name.clone());
    let caches = spec.caches.values().map(|it| it.name.clone());
    let secrets = spec.secrets.values().flat_map(|it| {
        let held = it.member.iter().map(|it| it.held_in.clone());
        std::iter::once(it.name.clone()).chain(held)
    });
    services
        .chain(databases)
        .chain(caches)
        .chain(secrets)
        .collect()
}

#[test]
fn what_is_renamed_keeps_its_names_in_both_clouds() {
    let (before, after) = (loaded(BEFORE), loaded(&after()));
    for cloud in CloudName::ALL {
        let was = before.environment_spec(cloud).unwrap();
        let now = after.environment_spec(cloud).unwrap();
        assert_eq!(names(&now), names(&was), "{cloud}");
        assert_eq!(now.services["web"].key, "web");
        assert_eq!(now.databases["store"].url, "store-url");
        assert_eq!(now.secrets["store-url"].name, was.secrets["main-url"].name);
        assert_eq!(now.secrets["store-ca"].name, was.secrets["main-ca"].name);
        let members = (&now.secrets["half"].member, &was.secrets["part"].member);
        assert_eq!(members.0, members.1);
    }
    let folder = std::path::Path::new("");
    let aws = |it: &Loaded, key: &str| {
        let spec = it.manifest.aws_spec("staging", folder).unwrap();
        spec.services[key].clone()
    };
    let (now, was) = (aws(&after, "web"), aws(&before, "api"));
    assert_eq!(
        (now.family, now.container, now.log_group),
        (was.family, was.container, was.log_group)
    );
}

#[test]
fn what_is_renamed_is_no_other_content() {
    let (before, after) = (loaded(BEFORE).manifest, loaded(&after()).manifest);
    let id = before.content_id("api", "sha256:0").unwrap();
    assert_eq!(after.content_id("web", "sha256:0"), Some(id));
    for cloud in CloudName::ALL {
        let ids = (
            after.overrides_id(cloud, "web"),
            before.overrides_id(cloud, "api"),
        );
        assert_eq!(ids.0, ids.1);
    }
    // One that is not what it was is another content.
    let other = after_with("was = \"mail\"\n", "");
    assert_ne!(
        loaded(&other).manifest.content_id("web", "sha256:0"),
        before.content_id("api", "sha256:0")
    );
}

fn after_with(old: &str, new: &str) -> String {
    let text = after();
    assert!(text.contains(old), "{old}");
    text.replace(old, new)
}

#[test]
fn a_ledger_is_told_which_services_and_secrets_are_called_otherwise() {
    let manifest = loaded(&after()).manifest;
    let renames = manifest.renames();
    assert_eq!(renames.service("web"), "api");
    for (now, was) in [
        ("store-url", "main-url"),
        ("store-password", "main-password"),
        ("store-ca", "main-ca"),
        ("tokens-url", "sessions-url"),
        ("post", "mail"),
        ("half", "part"),
    ] {
        assert_eq!(renames.secret(now), was);
        assert_eq!(renames.secret(was), now);
    }
    assert!(loaded(BEFORE).manifest.renames().is_empty());
    assert_eq!(manifest.renamed().len(), 5);
}

#[test]
fn a_secret_that_is_called_after_nothing_keeps_its_key() {
    let url = "[databases.store]\nurl = \"the-url\"\n";
    let text = after_with("[databases.store]\n", url).replace("\"store-url\"", "\"the-url\"");
    let renames = loaded(&text).manifest.renames();
    assert_eq!(renames.secret("the-url"), "the-url");
    assert_eq!(renames.secret("store-password"), "main-password");
}

#[test]
fn an_overlay_may_say_what_a_thing_was() {
    let text = after_with("was = \"api\"\n", "");
    let loaded = try_load(&text, "[services.web]\nwas = \"api\"\n").unwrap();
    let spec = loaded.environment_spec(CloudName::Aws).unwrap();
    assert_eq!(spec.services["web"].name, "shop-staging-api");
}

#[test]
fn an_origin_is_refused_that_is_none() {
    let check = |old: &str, new: &str, message: &str, help: &str| {
        let found = found(&after_with(old, new));
        let is_it = |it: &&(String, String)| it.0 == message && it.1.contains(help);
        assert!(found.iter().any(|it| is_it(&it)), "{message}: {found:#?}");
    };
    check(
        "was = \"api\"",
        "was = \"web\"",
        "the service `web` is called so now",
        "remove `was`",
    );
    check(
        "was = \"api\"",
        "was = \"A b\"",
        "`A b` cannot name a service",
        "lower-case letters",
    );
    let other = "[services.api]\nimage = \"x.example.com/x:1\"\nport = 1\nhealth = { command = [\"CMD\", \"/x\"] }\n\n[databases.store]";
    check(
        "[databases.store]",
        other,
        "the service `web` was no `api`: that is another one",
        "let the other service have another key",
    );
    let twice = other.replace("[services.api]\n", "[services.www]\nwas = \"api\"\n");
    check(
        "[databases.store]",
        &twice,
        "both `web` and `www` would be what was `api`",
        "remove the other `was`",
    );
    // A secret that has the name of one that is called after a database of before.
    check(
        "[secrets.post]",
        "[secrets.main-url]\nfrom = { generate = \"hex:32\" }\n\n[secrets.post]",
        "the secret `store-url` was no `main-url`: that is another one",
        "let the other secret have another key",
    );
    check(
        "was = \"mail\"",
        "was = \"main-url\"",
        "both `post` and `store-url` would be what was `main-url`",
        "remove the other",
    );
    check(
        "[targets.gcp]\n",
        "[targets.gcp.services.web]\nwas = \"api\"\n[targets.gcp]\n",
        "unknown key `was`",
        "the keys here are `name`",
    );
}

#[test]
fn who_writes_what_a_thing_was_is_told_what_it_is() {
    let old = after_with("{ secret = \"store-url\" }", "{ secret = \"main-url\" }");
    let said = found(&old);
    assert_eq!(said[0].0, "the secret `main-url` is not declared");
    assert_eq!(said[0].1, "`main-url` is called `store-url` now");
    let old = after_with(
        "[targets.gcp]\n",
        "[targets.gcp.services.api]\npublic = false\n[targets.gcp]\n",
    );
    let said = found(&old);
    assert_eq!(said[0].0, "there is no service `api`");
    assert_eq!(said[0].1, "`api` is called `web` now");
}
