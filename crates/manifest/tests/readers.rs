//! Whatever stands in a manifest file: a clear error that names the file, or a manifest; never a
//! panic.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::path::Path;

use deployer_manifest::{Colour, Inputs, Loaded, Problems, load};
use proptest::prelude::*;
use tempfile::TempDir;

const MANIFEST: &str = r#"app = "shop"
environment = "staging"
[services.web]
image = "registry.example.com/shop:1.4.0"
port = 3000
cpu = "1"
memory = "2GiB"
health = "/health"
migrate = { command = ["migrate"], timeout = "5m" }
[services.web.env]
DATABASE_URL = { secret = "database-url" }
SELF = "${service.url}/x"
[secrets.database-url]
from = { env = "SHOP_DATABASE_URL" }
[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "default"
subnets = ["subnet-0a1b2c3d4e5f60001"]
execution_role = "shop-execution"
[targets.gcp]
project = "shop-staging"
region = "us-central1"
"#;

fn read(file: &Path) -> Result<Loaded, Problems> {
    load(&Inputs {
        manifest: file.to_owned(),
        environment: None,
        vars: Vec::new(),
        set: Vec::new(),
    })
}

const OVERLAY: &str = r#"[services.web]
cpu = "2"
memory = "4GiB"
replicas = { min = 2, max = 4 }
[services.web.env]
GREETING = "good evening"
[targets.aws]
cluster = "staging"
[targets.aws.services.web]
url = "https://shop.example.com"
[targets.gcp.services.web]
url = "https://shop.example.com"
"#;

/// Reads the manifest below an overlay with these bytes.
fn read_overlaid(bytes: &[u8]) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployer.toml");
    std::fs::write(&file, MANIFEST).unwrap();
    std::fs::write(folder.path().join("deployer.staging.toml"), bytes).unwrap();
    read(&file)
}

/// `text` with `word` in the place of some of its bytes.
fn with_word(text: &str, at: usize, gone: usize, word: &str) -> Vec<u8> {
    let mut changed = text.as_bytes()[..at].to_vec();
    changed.extend(word.as_bytes());
    changed.extend(&text.as_bytes()[(at + gone).min(text.len())..]);
    changed
}

fn read_bytes(bytes: &[u8]) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployer.toml");
    std::fs::write(&file, bytes).unwrap();
    read(&file)
}

fn refused(bytes: &[u8]) -> String {
    let problems = read_bytes(bytes).expect_err("it is no manifest");
    problems.render(80, deployer_manifest::Colour::Off)
}

#[test]
fn an_overlay_is_read_and_another_tools_file_in_its_place_is_refused_by_name() {
    read_overlaid(OVERLAY.as_bytes()).expect("it is one");
    for (bytes, words) in [
        (&b"\xff\xfe\x00overlay"[..], "not UTF-8"),
        (b"services:\n  web:\n    cpu: 1\n", "not TOML"),
        (b"[terraform]\nbackend = \"s3\"\n", "terraform"),
    ] {
        let problems = read_overlaid(bytes).expect_err("it is no overlay");
        let said = problems.render(80, deployer_manifest::Colour::Off);
        assert!(
            said.contains(words) && said.contains("deployer.staging.toml"),
            "{said}"
        );
    }
}

#[test]
fn other_files_are_refused_by_name() {
    for (bytes, words) in [
        (&b"\xff\xfe\x00manifest"[..], "not UTF-8"),
        (br#"{"format": 1, "kind": "deployer plan"}"#, "not TOML"),
        (b"services:\n  web:\n    image: shop\n", "not TOML"),
        (b"version = 4\n[terraform]\nbackend = \"s3\"\n", "terraform"),
    ] {
        let said = refused(bytes);
        assert!(
            said.contains(words) && said.contains("deployer.toml"),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_is_much_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployer.toml");
    // Takes no room: nobody writes it.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let problems = read(&path).expect_err("it is no manifest");
    let said = problems.render(80, deployer_manifest::Colour::Off);
    assert!(said.contains("104857600 bytes"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Err(problems) = read_bytes(&bytes) {
            prop_assert!(problems.iter().count() > 0);
        }
    }

    #[test]
    fn a_truncated_manifest_never_panics(end in 0..MANIFEST.len()) {
        if let Err(problems) = read_bytes(&MANIFEST.as_bytes()[..end]) {
            prop_assert!(!problems.render(80, deployer_manifest::Colour::Off).is_empty());
        }
    }

    #[test]
    fn a_manifest_with_another_word_somewhere_never_panics(
        at in 0..MANIFEST.len(),
        gone in 0..12_usize,
        word in r#"([\[\]{}="$0-9a-z.\n-]{0,8}|\$\{[a-z.]{0,12}\}?|99999999999999999999|-1|\u{0}|é)"#,
    ) {
        if let Err(problems) = read_bytes(&with_word(MANIFEST, at, gone, &word)) {
            prop_assert!(!problems.render(80, deployer_manifest::Colour::Off).is_empty());
        }
    }

    #[test]
    fn a_truncated_overlay_never_panics(end in 0..OVERLAY.len()) {
        if let Err(problems) = read_overlaid(&OVERLAY.as_bytes()[..end]) {
            prop_assert!(!problems.render(80, deployer_manifest::Colour::Off).is_empty());
        }
    }

    #[test]
    fn an_overlay_with_another_word_somewhere_never_panics(
        at in 0..OVERLAY.len(),
        gone in 0..12_usize,
        word in r#"([\[\]{}="$0-9a-z.\n-]{0,8}|\$\{[a-z.]{0,12}\}?|99999999999999999999|-1|\u{0}|é)"#,
    ) {
        if let Err(problems) = read_overlaid(&with_word(OVERLAY, at, gone, &word)) {
            prop_assert!(!problems.render(80, deployer_manifest::Colour::Off).is_empty());
        }
    }
}

const BASE: &str = r#"app = "agentidp"

[services.idp]
image = "registry.example.com/idp:1.0.0"
port = 3000

[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "main"
subnets = ["subnet-0123456789abcdef0"]
execution_role = "ecsTaskExecutionRole"

[targets.aws.services.idp]
target_group = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/idp/0123456789abcdef"
"#;

/// [`BASE`] with `from` replaced; fails when there is no `from`.
fn with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from));
    BASE.replace(from, to)
}

/// What a manifest is read to, and its inputs beside.
fn inputs_of(text: &str) -> (TempDir, Inputs) {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    let inputs = Inputs {
        manifest,
        ..Inputs::default()
    };
    (dir, inputs)
}

#[test]
fn a_value_of_another_type_says_how_it_is_written() {
    let check = |from: &str, to: &str, says: &str| {
        let (_dir, inputs) = inputs_of(&with(from, to));
        let said = load(&inputs).unwrap_err().render(80, Colour::Off);
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(says), "`{says}` for `{to}`:\n{said}");
    };
    let port = "port = 3000";
    check(
        port,
        "port = \"8080\"",
        "help: write it without quotes: `port = 8080`",
    );
    check(port, "port = \"http\"", "help: write it as `port = 8080`");
    check(
        port,
        "port = 3000\nmigrate = \"migrate\"",
        "help: write it as `migrate = { command = [\"npm\", \"run\", \"migrate\"] }`",
    );
    check(
        port,
        "port = 3000\ncommand = \"node server.js\"",
        "help: write it as `command = [\"node\", \"server.js\"]`",
    );
    check(
        "subnets = [\"subnet-0123456789abcdef0\"]",
        "subnets = \"subnet-0123456789abcdef0\"",
        "help: write it as `subnets = [\"...\"]`",
    );
}

#[test]
fn who_only_reads_is_not_kept_from_it_by_a_fault_of_one_service() {
    let read = |text: &str| {
        let (_dir, inputs) = inputs_of(text);
        let read = deployer_manifest::load_to_read(&inputs);
        assert!(load(&inputs).is_err(), "{text}");
        read.map(|loaded| {
            let cloud = deployer_core::address::CloudName::Aws;
            assert!(loaded.environment_spec(cloud).is_ok());
            loaded
                .passed
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        })
    };
    let section = "[targets.aws.services.idp]\n";
    let exec = with(
        section,
        &format!("{section}enable_execute_command = true\n"),
    );
    let warnings = read(&exec).unwrap();
    assert!(
        warnings
            .iter()
            .any(|it| it.contains("ECS Exec needs a task role")),
        "{warnings:?}"
    );
    // What it is called decides what is looked at; what is not known may be anything.
    for fatal in [
        with(section, &format!("{section}name = \"a b\"\n")),
        exec.replace("port = 3000", "prot = 3000"),
        exec.replace(
            "port = 3000",
            "port = 3000\nenv = { TOKEN = { secret = \"nope\" } }",
        ),
        exec.replace("account = \"123456789012\"", "account = \"12\""),
    ] {
        assert!(read(&fatal).is_err(), "{fatal}");
    }
}
