//! Domains that services answer for, in the manifest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::path::Path;

use deployer_core::address::CloudName;
use deployer_manifest::{Colour, Inputs, Loaded, load};
use tempfile::TempDir;

const BASE: &str = r#"app = "shop"

[services.web]
image = "registry.example.com/web:1.0.0"
port = 3000

[targets.aws]
account = "123456789012"
region = "us-east-1"
runtime = "app-runner"
access_role = "pull"
"#;

fn loaded(more: &str) -> Result<Loaded, String> {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, format!("{BASE}{more}")).unwrap();
    let inputs = Inputs {
        manifest,
        environment: None,
        vars: Vec::new().into_iter().collect(),
        set: Vec::new(),
    };
    load(&inputs).map_err(|problems| problems.render(200, Colour::Off))
}

fn of_web(lines: &str) -> String {
    format!("\n[targets.aws.services.web]\n{lines}\n")
}

#[test]
fn a_domain_with_its_www_is_one_and_the_first_is_where_people_come() {
    let more = of_web("domains = [\"WWW.Example.com.\", \"example.com\"]\nzone = \"Example.com.\"");
    let loaded = loaded(&more).unwrap();
    let spec = loaded.environment_spec(CloudName::Aws).unwrap();
    let web = &spec.services["web"];
    assert_eq!(web.url.as_deref(), Some("https://www.example.com"));
    assert_eq!(web.domains, ["www.example.com", "example.com"]);
    let environment = &loaded.environment;
    let aws = loaded
        .manifest
        .aws_spec(environment, Path::new("."))
        .unwrap();
    let asked = aws.services["web"].runtime.app_runner().unwrap();
    let domains: Vec<(&str, bool)> = asked
        .domains
        .iter()
        .map(|it| (it.name.as_str(), it.www))
        .collect();
    assert_eq!(domains, [("example.com", true)]);
    assert_eq!(asked.zone.as_deref(), Some("example.com"));
}

#[test]
fn what_cannot_be_a_domain_of_a_service_says_why_and_the_way_out() {
    let six = r#"domains = ["a.b.c", "b.b.c", "c.b.c", "d.b.c", "e.b.c", "f.b.c"]"#;
    let cases = [
        (
            r#"domains = ["*.example.com"]"#,
            "one name, not all of a zone",
        ),
        (
            r#"domains = ["https://example.com"]"#,
            "is not a name in the DNS",
        ),
        (
            r#"domains = ["example.com", "Example.com"]"#,
            "would lead to two places",
        ),
        (
            "domains = [\"example.com\"]\nzone = \"example.org\"",
            "is not in the zone `example.org`",
        ),
        (six, "5 domains"),
        ("zone = \"example.com\"", "`zone` is of `domains`"),
        ("adopt_records = true", "`adopt_records` is of `domains`"),
        (
            "runtime = \"ecs\"\ndomains = [\"example.com\"]",
            "a service on ECS answers for no domain by itself",
        ),
        (
            "dns = { name = \"a.example.com\", zone = \"example.com\", load_balancer = \"main\" }",
            "App Runner has no load balancer",
        ),
    ];
    for (lines, words) in cases {
        let said = loaded(&of_web(lines)).map(drop).unwrap_err();
        assert!(said.contains(words), "{lines}:\n{said}");
    }
}
