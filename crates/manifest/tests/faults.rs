//! Shows what people are told about manifests that are wrong, 80 columns wide and without colour.

// long: one fault after the other, each with all that is said of it

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use deployer_manifest::{Colour, Inputs, load};
use tempfile::TempDir;

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

[targets.gcp]
project = "acme-identity"
region = "us-central1"

[targets.aws.services.idp]
target_group = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/idp/0123456789abcdef"
"#;

/// What is said of `text`, with `vars` and `set`.
fn said_with(text: &str, vars: &[(&str, &str)], set: &[&str]) -> String {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    let inputs = Inputs {
        manifest,
        environment: None,
        vars: vars
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        set: set.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    let shown = match load(&inputs) {
        Ok(loaded) => deployer_manifest::render(&loaded.warnings, 80, Colour::Off),
        Err(problems) => problems.render(80, Colour::Off),
    };
    shown.replace(&format!("{}/", dir.path().display()), "")
}

fn said(text: &str) -> String {
    said_with(text, &[], &[])
}

/// [`BASE`] with `from` replaced; fails when there is no `from`.
fn base(from: &str, to: &str) -> String {
    assert!(BASE.contains(from));
    BASE.replace(from, to)
}

/// One line per fault, sorted: which are found, not how they are drawn.
fn found(text: &str) -> Vec<String> {
    found_with(text, &[])
}

fn found_with(text: &str, set: &[&str]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    let inputs = Inputs {
        manifest,
        set: set.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Inputs::default()
    };
    let Err(problems) = load(&inputs) else {
        return vec![];
    };
    let mut lines: Vec<_> = problems
        .iter()
        .map(|problem| {
            let place = problem
                .line
                .map_or(String::new(), |line| format!("{line}: "));
            let help = problem
                .help
                .as_deref()
                .map_or(String::new(), |help| format!(" [{help}]"));
            format!("{place}{}: {}{help}", problem.path, problem.message)
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_good_manifest_is_met_with_silence() {
    assert_eq!(said(BASE), "");
}

#[test]
fn a_service_that_nothing_checks_on_aws_is_warned_of() {
    let group = "target_group = \"arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/idp/0123456789abcdef\"";
    insta::assert_snapshot!(said(&base(group, "")));
    let own = "port = 3000\nhealth = { command = [\"CMD\", \"/app/idp\", \"healthcheck\"] }";
    assert_eq!(said(&base(group, "").replace("port = 3000", own)), "");
}

#[test]
fn faults_of_different_causes_are_drawn_together() {
    let text = base(
        "port = 3000",
        "prot = 3000\ncpu = 0.5\nmemory = \"8GiB\"\nhealth = 7\n\n[services.idp.env]\nPORT = 80\nURL = { secret = \"database-ulr\" }\n\n[secrets.database-url]\nfrom = { env = \"DATABASE_URL\" }",
    );
    insta::assert_snapshot!(said(&text));
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    insta::assert_snapshot!(said("app = \"x\nport 3\n[services\n"));
}

#[test]
fn a_value_from_a_variable_or_a_flag_names_it() {
    let vars = [("DEPLOYER_SERVICES__IDP__PORT", "many")];
    insta::assert_snapshot!(said_with(
        BASE,
        &vars,
        &["services.idp.memory=3000", "services"]
    ));
}

#[test]
fn a_secret_pasted_into_the_manifest_is_not_printed_again() {
    let text = format!(
        "{BASE}\n[secrets.db]\nfrom = \"postgres://u:hunter2@db/x\"\n[services.idp.env]\nURL = \"postgres://u:hunter2@db/x\"\nDB = {{ secret = \"db\" }}\n"
    );
    let shown = said(&text);
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn missing_keys_name_their_table_and_are_found_together() {
    insta::assert_debug_snapshot!(found(
        "[services.idp]\n[targets.aws]\nregion = \"us-east-1\"\n[targets.gcp]\n"
    ));
}

#[test]
fn an_empty_manifest_lacks_everything() {
    insta::assert_debug_snapshot!(found(""));
}

#[test]
fn ids_of_the_wrong_shape_are_refused() {
    let flags = [
        "targets.aws.account=\"12345\"",
        "targets.aws.region=\"us-east\"",
        "targets.aws.subnets=[\"net-1\", \"subnet-0123456789abcdef0\", \"subnet-x\"]",
        "targets.aws.security_groups=[\"subnet-0123456789abcdef0\"]",
        "targets.aws.execution_role=\"arn:aws:iam::123456789012:user/x\"",
        "targets.aws.task_role=\"arn:aws:iam::210987654321:role/x\"",
        "targets.aws.log_retention_days=45",
        "targets.aws.ledger=\"gs://bucket/x\"",
        "targets.aws.endpoint=\"localhost:80\"",
        "targets.aws.services.idp.target_group=\"main\"",
        "targets.gcp.project=\"X\"",
        "targets.gcp.region=\"us-east-1\"",
        "targets.gcp.vpc_connector=\"c\"",
        "targets.gcp.network=\"n\"",
        "targets.gcp.service_account=\"me\"",
        "targets.gcp.services.web.cpu=1",
        "targets.gcp.services.idp.name=\"Idp\"",
    ];
    insta::assert_debug_snapshot!(found_with(BASE, &flags));
}

#[test]
fn sizes_are_judged_after_the_targets_override() {
    let text = base("port = 3000", "port = 3000\ncpu = 1\nmemory = \"2GiB\"");
    assert_eq!(found(&text), Vec::<String>::new());
    insta::assert_debug_snapshot!(found_with(
        &text,
        &[
            "targets.aws.services.idp.memory=512MiB",
            "targets.gcp.services.idp.cpu=500m",
            "targets.gcp.services.idp.concurrency=80",
            "targets.gcp.services.idp.cpu_idle=false",
        ]
    ));
}

#[test]
fn quantities_that_cannot_be_read_say_how_to_write_them() {
    insta::assert_debug_snapshot!(found_with(
        BASE,
        &[
            "services.idp.cpu=\"lots\"",
            "services.idp.memory=\"512MB\"",
            "services.idp.replicas={ min = 4, max = 2 }",
            "services.idp.port=70000",
            "services.idp.health={ path = \"health\", interval = \"soon\", retrys = 3 }",
            "services.idp.migrate={ mode = \"exec\", timeout = \"1.5\" }",
            "targets.aws.services.idp.replicas=\"two\"",
            "targets.gcp.services.idp.replicas=0",
            "secrets.key.from={ generate = \"hex:4\" }",
            "secrets.pem.from={ generate = \"rsa:1024\" }",
            "secrets.two.from={ env = \"A\", file = \"b\" }",
        ]
    ));
}

#[test]
fn templates_are_checked_for_every_target() {
    let text = format!(
        "{BASE}\n[services.idp.env]\nA = \"${{target.regoin}}\"\nB = \"${{env\"\nC = \"${{service.url}}\"\nD = \"${{target.project}}\"\nE = \"$${{fine}}\"\n"
    );
    insta::assert_debug_snapshot!(found(&text));
}

#[test]
fn variables_that_the_clouds_keep_or_refuse_are_refused() {
    let text = format!(
        "{BASE}\n[services.idp.env]\nPORT = 1\nK_SERVICE = \"x\"\nCLOUD_RUN_JOB = \"x\"\nAWSAPPRUNNER_X = \"x\"\nX_GOOGLE_Y = \"x\"\n\"my var\" = \"x\"\n\"a=b\" = \"x\"\n"
    );
    insta::assert_debug_snapshot!(found(&text));
}

#[test]
fn two_things_with_one_name_are_refused() {
    let web = "[services.web]\nimage = \"registry.example.com/web:1\"\nport = 80\n[targets.gcp.services.web]\nname = \"agentidp-staging-idp\"\n";
    let secrets = "[secrets.a]\nname = \"same\"\n[secrets.b]\nname = \"same\"\n";
    let keys = "[keys.jwt]\nprivate = \"a\"\npublic = \"p\"\n";
    insta::assert_debug_snapshot!(found(&format!("{BASE}\n{web}{secrets}{keys}")));
}

#[test]
fn tags_fit_both_clouds() {
    insta::assert_debug_snapshot!(found(&format!(
        "{BASE}\n[tags]\n\"aws:x\" = \"1\"\n\"a;b\" = \"1\"\n\"1st\" = \"x\"\nok = \"a<b\"\nenv = \"${{env}}\"\n"
    )));
}

#[test]
fn a_missing_file_and_a_file_that_is_no_text_are_told_apart() {
    let inputs = Inputs {
        manifest: "nowhere/deployer.toml".into(),
        ..Inputs::default()
    };
    let problems = load(&inputs).unwrap_err();
    insta::assert_snapshot!(problems.render(80, Colour::Off));

    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, [0xff, 0xfe, 0]).unwrap();
    let problems = load(&Inputs {
        manifest,
        ..Inputs::default()
    })
    .unwrap_err();
    assert_eq!(
        problems.iter().next().unwrap().message,
        "the manifest is not UTF-8 text"
    );
}

#[test]
fn problems_are_data_too() {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, base("port = 3000", "port = \"x\"")).unwrap();
    let problems = load(&Inputs {
        manifest,
        ..Inputs::default()
    })
    .unwrap_err();
    let mut json = serde_json::to_value(&problems).unwrap();
    json[0]["file"] = "deployer.toml".into();
    insta::assert_json_snapshot!(json);
}

#[test]
fn a_member_is_taken_only_of_a_secret_that_the_cloud_holds() {
    let with = |secret: &str| {
        said(&format!(
            "{BASE}\n[services.idp.env]\nDB = {{ secret = \"db\" }}\n[secrets.db]\n{secret}\n"
        ))
    };
    for (secret, why) in [
        (
            "key = \"password\"\nfrom = { env = \"DB\" }",
            "only of a secret that the cloud holds",
        ),
        ("key = \"a:b\"", "cannot name a member"),
        ("key = \"\"", "cannot name a member"),
        (
            "key = \"password\"\ninject = \"reference\"",
            "not a member of it",
        ),
    ] {
        let said = with(secret);
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(why), "{secret}:\n{said}");
    }
    assert_eq!(with("key = \"password\""), "");
}

/// What was said, wherever its lines were broken.
fn flat(said: &str) -> String {
    let words = said.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn names_that_others_gave_are_read_and_not_made() {
    let with = |from: &str| {
        said(&format!(
            "{BASE}\n[services.idp.env]\nDB = {{ secret = \"db\" }}\n[secrets.db]\n{from}\n\
             [targets.aws.secrets.db]\nname = \"rds!db-1a2b\"\n\
             [targets.gcp.secrets.db]\nname = \"projects/shared-things/secrets/db\"\n"
        ))
    };
    assert_eq!(with(""), "");
    let said = flat(&with("from = { generate = \"hex:32\" }"));
    assert!(
        said.contains("cannot name a secret in Secrets Manager"),
        "{said}"
    );
    assert!(
        said.contains("cannot name a secret in Secret Manager"),
        "{said}"
    );
}

#[test]
fn members_of_one_secret_share_its_name_and_nothing_else_does() {
    let with = |other: &str| {
        said(&format!(
            "{BASE}\n[services.idp.env]\nA = {{ secret = \"a\" }}\nB = {{ secret = \"b\" }}\n\
             [secrets.a]\nname = \"shared\"\nkey = \"user\"\n[secrets.b]\nname = \"shared\"\n{other}\n"
        ))
    };
    assert_eq!(with("key = \"password\""), "");
    assert!(with("").contains("two things at once"));
}

#[test]
fn paths_that_google_answers_itself_are_refused_with_a_way_out() {
    let health = "port = 3000\nhealth = \"/healthz\"";
    let refused = said(&base("port = 3000", health));
    for words in [
        "Google answers `/healthz` itself",
        "health = \"/healthz\"",
        "\"/health\"",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    let checks = "\n[[services.idp.verify.checks]]\npath = \"/_ah/warmup\"\n";
    assert!(said(&format!("{BASE}{checks}")).contains("`/_ah/warmup`"));
    let perhaps = "port = 3000\nhealth = \"/readyz\"";
    let warned = flat(&said(&base("port = 3000", perhaps)));
    assert!(warned.contains("`/readyz` may never"), "{warned}");
    // ECS takes any path.
    let google = "\n[targets.gcp]\nproject = \"acme-identity\"\nregion = \"us-central1\"\n";
    let alone = base(google, "").replace("port = 3000", health);
    assert!(!said(&alone).contains("Google"), "{}", said(&alone));
}

#[test]
fn a_clients_secret_is_not_sent_over_plain_http() {
    let asking = |url: &str| {
        let token = "\n[services.idp.verify.token]\npath = \"/token\"\nclient_id = \"id\"\nclient_secret = \"word\"\n\
                     \n[secrets.id]\nfrom = \"cloud\"\n\n[secrets.word]\nfrom = \"cloud\"\n";
        found(&format!("{BASE}url = \"{url}\"\n{token}"))
    };
    assert_eq!(asking("https://idp.example.com"), Vec::<String>::new());
    assert_eq!(asking("http://127.0.0.1:8080"), Vec::<String>::new());
    let refused = asking("http://idp.example.com");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("targets.aws.services.idp.url"),
        "{refused:?}"
    );
    assert!(refused[0].contains("over plain http"), "{refused:?}");
}

#[test]
fn names_that_frameworks_read_are_taken() {
    let names = [
        "spring.datasource.url",
        "Logging__LogLevel__Default",
        "ConnectionStrings:Default",
        "DDL-AUTO",
        "hosts[0]",
        "1ST",
    ];
    let lines: String = names
        .iter()
        .map(|name| format!("\"{name}\" = \"x\"\n"))
        .collect();
    assert_eq!(
        found(&format!("{BASE}\n[services.idp.env]\n{lines}")),
        Vec::<String>::new()
    );
}

#[test]
fn a_value_is_as_long_as_each_cloud_takes_it_in_bytes_whichever_way_it_came() {
    let declared = |text: &str| found(&format!("{BASE}\n[services.idp.env]\nLONG = \"{text}\"\n"));
    let fits = "\u{e9}".repeat(16_384);
    assert_eq!(declared(&fits), Vec::<String>::new());
    let too_long = declared(&format!("{fits}x"));
    assert_eq!(too_long.len(), 1, "{too_long:?}");
    assert!(
        too_long[0].starts_with(
            "22: services.idp.env.LONG: `LONG` has 32769 bytes; Cloud Run takes 32768"
        )
    );

    let set = format!("services.idp.env.LONG={fits}x");
    let set = found_with(BASE, &[&set]);
    assert!(
        set[0].contains("services.idp.env.LONG: `LONG` has 32769 bytes"),
        "{set:?}"
    );

    let own = format!("{BASE}\n[targets.gcp.services.idp.env]\nLONG = \"{fits}x\"\n");
    assert!(
        found(&own)[0].contains("targets.gcp.services.idp.env.LONG"),
        "{:?}",
        found(&own)
    );
    // What one target has in its place is what counts there.
    let shorter = format!(
        "{BASE}\n[services.idp.env]\nLONG = \"{fits}x\"\n[targets.gcp.services.idp.env]\nLONG = \"x\"\n"
    );
    assert_eq!(found(&shorter), Vec::<String>::new());
}

#[test]
fn the_variables_of_a_service_fit_a_task_definition_and_a_revision() {
    let many = |count: usize, length: usize| {
        let value = "x".repeat(length);
        let lines: String = (0..count)
            .map(|at| format!("V{at:04} = \"{value}\"\n"))
            .collect();
        found(&format!("{BASE}\n[services.idp.env]\n{lines}"))
    };
    assert_eq!(many(1000, 10), Vec::<String>::new());
    let found = many(3, 30_000);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains(
            "bytes together, written as ECS takes them; a task definition takes 65536 in all"
        ),
        "{found:?}"
    );
    let found = many(1001, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("1001 variables; Cloud Run takes 1000"),
        "{found:?}"
    );
}

#[test]
fn what_a_task_definition_takes_is_counted_as_it_is_sent() {
    let with = |lines: &str| found(&format!("{BASE}\n[services.idp.env]\n{lines}"));
    // Quotation marks are escaped, and every name is written once more.
    let quotes = "'".to_owned() + &"\"".repeat(33_000) + "'";
    let two = format!("A = {quotes}\nB = 'b'\n");
    assert!(
        with(&two)
            .iter()
            .any(|it| it.contains("a task definition takes 65536"))
    );
    let secrets: String = (0..600)
        .map(|at| format!("V{at:04} = {{ secret = \"s{at}\" }}\n"))
        .collect();
    let declared: String = (0..600)
        .map(|at| format!("[secrets.s{at}]\nfrom = \"cloud\"\n"))
        .collect();
    let all = with(&format!("{secrets}\n{declared}"));
    assert!(
        all.iter()
            .any(|it| it.contains("a task definition takes 65536")),
        "{all:?}"
    );
}

#[test]
fn a_variable_has_a_name_and_a_value_that_a_process_can_hold() {
    let with = |line: &str| found(&format!("{BASE}\n[services.idp.env]\n{line}\n"));
    let found = with("A = \"a\\u0000b\"");
    assert!(
        found.iter().any(|it| it.contains("`A` has a NUL")),
        "{found:?}"
    );
    let long = "N".repeat(32_769);
    let found = with(&format!("{long} = \"x\""));
    assert!(
        found
            .iter()
            .any(|it| it.contains("has 32769 characters; Cloud Run takes 32768")),
        "{found:?}"
    );
}

#[test]
fn an_address_of_a_service_has_nothing_that_paths_cannot_go_below() {
    let with = |url: &str| {
        found(&format!(
            "{BASE}\n[targets.gcp.services.idp]\nurl = \"{url}\"\n"
        ))
    };
    assert_eq!(with("https://idp.example.com/app"), Vec::<String>::new());
    for url in ["https://a.example/?v=1", "https://a.example/#top"] {
        assert!(
            with(url)[0].contains("has a query or a fragment"),
            "{:?}",
            with(url)
        );
    }
    let found = with("https://app:hunter2@a.example");
    assert!(found[0].contains("holds a user or a password"), "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

const APP_RUNNER: &str = r#"app = "coach"

[services.web]
image = "registry.example.com/web:1.0.0"
port = 3000

[targets.aws]
account = "123456789012"
region = "us-east-1"
runtime = "app-runner"
access_role = "AppRunnerECRAccessRole"
"#;

#[test]
fn app_runner_needs_neither_cluster_nor_subnets() {
    assert_eq!(said(APP_RUNNER), "");
}

#[test]
fn a_migration_by_exec_is_refused_on_app_runner() {
    let exec = "services.web.migrate={ mode = \"exec\", command = [\"migrate\"] }";
    let found = found_with(APP_RUNNER, &[exec]);
    let [only] = found.as_slice() else {
        panic!("one problem: {found:?}")
    };
    assert!(
        only.contains("nobody gets into App Runner's instances"),
        "{only}"
    );
    assert!(only.contains("mode = \"job\""), "{only}");
}

#[test]
fn what_app_runner_cannot_do_is_refused_with_the_way_out() {
    let flags = [
        "services.web.cpu=0.5",
        "services.web.memory=\"2GiB\"",
        "services.web.replicas={ min = 0, max = 2 }",
        "services.web.entrypoint=[\"/app\"]",
        "services.web.command=[\"serve\", \"two\\nlines\"]",
        "services.web.architecture=\"arm64\"",
        "services.web.health={ path = \"/\", command = [\"CMD\", \"/app\"], interval = \"30s\", start_period = \"10s\" }",
        "services.web.env.DEPLOYER_SECRETS=\"x\"",
        "services.web.migrate={ command = [\"migrate\"] }",
        "targets.aws.services.web.concurrency=500",
        "targets.aws.services.web.enable_execute_command=true",
        "targets.aws.services.web.minimum_healthy_percent=50",
        "targets.aws.services.web.scaling={ cpu = 50 }",
        "targets.aws.services.web.target_group=\"arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/idp/0123456789abcdef\"",
    ];
    insta::assert_debug_snapshot!(found_with(APP_RUNNER, &flags));
}

#[test]
fn app_runner_and_ecs_each_say_which_roles_they_lack() {
    let without = APP_RUNNER.replace("access_role = \"AppRunnerECRAccessRole\"\n", "");
    let secret = "[services.web.env]\nKEY = { secret = \"key\" }\n[secrets.key]\n";
    let mixed = "[targets.aws.services.web]\nruntime = \"ecs\"\nconcurrency = 3\n";
    let found = [
        found(&format!("{without}\n{secret}")),
        found(&format!("{APP_RUNNER}\n{mixed}")),
    ];
    insta::assert_debug_snapshot!(found);
}

#[test]
fn a_region_with_a_slip_in_it_is_told_and_a_new_one_is_not() {
    for (from, to, meant) in [
        ("us-east-1", "us-esat-1", "us-east-1"),
        ("us-central1", "us-cental1", "us-central1"),
    ] {
        let text = base(
            &format!("region = \"{from}\""),
            &format!("region = \"{to}\""),
        );
        let said = said(&text);
        assert!(
            said.contains(&format!("`{to}` is no region that is known")),
            "{said}"
        );
        assert!(said.contains(&format!("did you mean `{meant}`?")), "{said}");
    }
    let said = said(&base(
        "region = \"us-central1\"",
        "region = \"mars-northwest7\"",
    ));
    assert!(!said.contains("no region"), "{said}");
}
