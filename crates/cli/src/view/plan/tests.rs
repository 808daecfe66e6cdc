//! Plans that nobody made, as people would see them.

// long: a picture of each sort of plan

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName, Target};
use deployer_core::fields::{FieldChange, FieldValue};
use deployer_core::node::{Action, Effect, Sort};
use deployer_core::plan::{Change, Drift, Plan};
use jiff::Timestamp;

use super::*;
use crate::facts::{Fact, How, ImageName};
use crate::scene::{FailedBefore, Group, Held, Kind, Last, Side};

mod large;
mod unread;

const OLD: &str = "sha256:02dfa3628d5f0000000000000000000000000000000000000000000000000000";
const NEW: &str = "sha256:c623aae232680000000000000000000000000000000000000000000000000000";

fn target(cloud: CloudName) -> Target {
    let (account, region) = match cloud {
        CloudName::Aws => ("123456789012", "us-east-1"),
        CloudName::Gcp => ("sandbox-project", "us-central1"),
    };
    Target {
        cloud,
        account: account.into(),
        region: region.into(),
        sandbox: true,
    }
}

fn known(text: &str) -> Option<FieldValue> {
    Some(FieldValue::Known(text.into()))
}

fn field(field: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange {
        field: field.into(),
        old: old.and_then(known),
        new: new.and_then(known),
    }
}

fn change(cloud: CloudName, kind: &str, name: &str, action: Action) -> Change {
    let is_step = kind.ends_with(".image") || kind.ends_with(".migration");
    Change {
        address: Address::new(&target(cloud), kind, name),
        sort: if is_step { Sort::Step } else { Sort::Resource },
        action,
        reason: "it differs from the manifest".into(),
        changes: Vec::new(),
        effect: Effect::InPlace,
        settling: None,
        drift: Vec::new(),
        needs: Vec::new(),
        replaces: Vec::new(),
    }
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        app: "shop".into(),
        environment: "staging".into(),
        targets: CloudName::ALL.map(target).to_vec(),
        changes,
        notes: Vec::new(),
        fingerprint: "4f1c2a9d".into(),
    }
}

fn image() -> Fact {
    let name = |tag: &str, digest: &str| ImageName {
        tag: Some(tag.into()),
        digest: digest.into(),
    };
    Fact {
        what: "image".into(),
        how: How::Image {
            old: name("1.0", OLD),
            new: name("1.1", NEW),
        },
    }
}

fn value(what: &str, old: Option<&str>, new: Option<&str>) -> Fact {
    Fact {
        what: what.into(),
        how: How::Values(old.map(str::to_owned), new.map(str::to_owned)),
    }
}

/// The nodes of a service, as they stand on both clouds.
fn nodes(service: &str, action: Action) -> Vec<Change> {
    use CloudName::{Aws, Gcp};
    let name = format!("shop-staging-{service}");
    let repository = format!("shop-staging/{service}");
    let of = |cloud, kind, name: &str| change(cloud, kind, name, action);
    vec![
        of(Aws, "ecr.repository", &name),
        of(Aws, "ecr.image", &name),
        of(Aws, "logs.group", &format!("/ecs/{name}")),
        of(Aws, "ecs.task-definition", &name),
        of(Aws, "ecs.service", &name),
        of(Gcp, "artifactregistry.image", &repository),
        of(Gcp, "run.service", &name),
        of(Gcp, "run.invoker", &name),
    ]
}

fn set(changes: &mut [Change], kind: &str, action: Action, fields: Vec<FieldChange>) {
    let of_kind = changes.iter_mut().filter(|it| it.address.kind == kind);
    for change in of_kind {
        change.action = action;
        change.changes.clone_from(&fields);
    }
}

/// A new image and a new value of a variable, everywhere.
fn new_version(service: &str) -> Vec<Change> {
    let mut changes = nodes(service, Action::NoOp);
    let of = |registry: &str, digest: &str| format!("{registry}/shop@{digest}");
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let (old, new) = (of(host, OLD), of(host, NEW));
    let image = || field("image", Some(&old), Some(&new));
    let level = || field("env.LOG_LEVEL", Some("info"), Some("debug"));
    let pushed = || {
        vec![
            field("digest", None, Some(NEW)),
            field("tag", None, Some("1.1")),
        ]
    };
    set(&mut changes, "ecr.image", Action::Create, pushed());
    set(
        &mut changes,
        "artifactregistry.image",
        Action::Create,
        pushed(),
    );
    set(
        &mut changes,
        "ecs.task-definition",
        Action::Update,
        vec![level(), image()],
    );
    let arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-staging-web:2";
    let definition = field("task_definition", Some(arn), None);
    set(
        &mut changes,
        "ecs.service",
        Action::Update,
        vec![definition],
    );
    set(
        &mut changes,
        "run.service",
        Action::Update,
        vec![level(), image()],
    );
    changes
}

fn scene(groups: Vec<Group>) -> Scene {
    Scene {
        code_of: BTreeSet::new(),
        groups,
        secrets: BTreeMap::new(),
        at: Timestamp::from_second(10_000).unwrap(),
        usual: BTreeMap::new(),
        unread: BTreeMap::new(),
    }
}

/// A service whose last release is r2.
fn service(name: &str, changes: &[Change], facts: &[Fact]) -> Group {
    let sides = CloudName::ALL.map(|cloud| {
        let of = changes.iter().map(|it| &it.address);
        let of = of.filter(|it| it.cloud == cloud && it.name.ends_with(name));
        let side = Side {
            name: format!("shop-staging-{name}"),
            nodes: of.cloned().collect(),
            says: vec![
                "image 1.0 (02dfa3628d5f), port 3000, 1 vCPU, 2 GiB, 1 instance".into(),
                "env LOG_LEVEL · secrets DATABASE_URL REDIS_URL".into(),
            ],
            last: (!facts.is_empty()).then(|| Last {
                number: 2,
                facts: facts.to_vec(),
                again: false,
            }),
            ..Side::default()
        };
        (cloud, side)
    });
    Group {
        kind: Kind::Service,
        name: name.into(),
        sides: BTreeMap::from(sides),
    }
}

fn store(kind: Kind, name: &str) -> Group {
    let (says, sizes) = match kind {
        Kind::Cache => (
            "Redis 7.0, 1 GiB",
            ["ElastiCache cache.t4g.small", "Memorystore"],
        ),
        Kind::Database | Kind::Service => (
            "PostgreSQL 16, 20 GiB, daily backups for 7 days",
            ["RDS db.t4g.medium", "Cloud SQL db-custom-2-4096"],
        ),
    };
    let sides = CloudName::ALL.into_iter().zip(sizes).map(|(cloud, size)| {
        let side = Side {
            name: format!("shop-staging-{name}"),
            says: vec![says.into()],
            size: Some(format!("{size}, one zone")),
            ..Side::default()
        };
        (cloud, side)
    });
    Group {
        kind,
        name: name.into(),
        sides: sides.collect(),
    }
}

/// The story in 80 columns; none of its lines is longer, nor in 60.
#[track_caller]
fn story(plan: &Plan, scene: &Scene) -> String {
    for width in [60, 80, 120] {
        let layout = Layout {
            colour: false,
            width,
        };
        let text = render(plan, scene, &[], Shown::Story, layout);
        let long = text.lines().find(|line| line.chars().count() > width);
        assert_eq!(long, None, "more than {width} columns:\n{text}");
        assert!(!text.contains("amazonaws.com"), "{text}");
        if width == 80 {
            assert!(text.matches("c623aae23268").count() <= 1, "{text}");
        }
    }
    let layout = Layout {
        colour: false,
        width: 80,
    };
    render(plan, scene, &[], Shown::Story, layout)
}

#[test]
fn a_new_version_is_its_cause_and_one_line_of_what_is_done() {
    let changes = new_version("web");
    let facts = [image(), value("LOG_LEVEL", Some("info"), Some("debug"))];
    let scene = scene(vec![
        service("web", &changes, &facts),
        store(Kind::Database, "main"),
    ]);
    let mut changes = changes;
    changes.push(change(
        CloudName::Aws,
        "rds.instance",
        "shop-staging-main",
        Action::NoOp,
    ));
    insta::assert_snapshot!(story(&plan(changes), &scene), @r"
    shop · staging · SANDBOX
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

    ~ web         image      1.0 → 1.1             02dfa3628d5f → c623aae23268
                  LOG_LEVEL  info → debug
        aws, gcp  push · roll out                   r2 → r3

      main (database): no change

    Plan: web becomes r3 on aws and gcp. Nothing is deleted, no data is touched.
          Nodes: 2 to create or run, 3 to update, 4 unchanged (--details).
    ");
}

#[test]
fn a_first_plan_says_what_the_manifest_says_and_what_is_public() {
    use CloudName::{Aws, Gcp};
    let mut changes = nodes("web", Action::Create);
    let open = vec![field("everyone may call it", None, Some("yes"))];
    set(&mut changes, "run.invoker", Action::Create, open);
    let name = "shop-staging-main";
    for (cloud, kind) in [
        (Aws, "rds.subnet_group"),
        (Aws, "rds.instance"),
        (Gcp, "sql.instance"),
        (Aws, "secretsmanager.secret"),
        (Gcp, "secretmanager.secret"),
    ] {
        changes.push(change(cloud, kind, name, Action::Create));
    }
    let repository = "artifactregistry.repository";
    changes.push(change(Gcp, repository, "shop-staging", Action::Create));
    let scene = scene(vec![
        store(Kind::Database, "main"),
        service("web", &changes, &[]),
    ]);
    insta::assert_snapshot!(story(&plan(changes), &scene), @r"
    shop · staging · SANDBOX                                    nothing is there yet
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

    !  PUBLIC         web answers everyone on gcp

    + main (database)
                  PostgreSQL 16, 20 GiB, daily backups for 7 days
        aws       RDS db.t4g.medium, one zone
        gcp       Cloud SQL db-custom-2-4096, one zone

    + web         image 1.0 (02dfa3628d5f), port 3000, 1 vCPU, 2 GiB, 1 instance
                  env LOG_LEVEL · secrets DATABASE_URL REDIS_URL
        aws       repository, log group, task definition, service
        gcp       service, callers of service

    + registry
        gcp       repository

    + secrets
        aws, gcp  1 made: shop-staging-main

    Plan: 1 service and 1 database to create on aws and gcp.
          Nodes: 14 to create or run (--details).
    ");
}

#[test]
fn the_same_change_in_thirty_services_is_said_once() {
    let names: Vec<String> = (0..30).map(|it| format!("svc-{it:02}")).collect();
    let mut changes = Vec::new();
    let mut groups = Vec::new();
    for name in &names {
        let of_it = new_version(name);
        let mut facts = vec![image()];
        if name == "svc-03" {
            facts.push(value("LOG_LEVEL", Some("info"), Some("debug")));
        }
        groups.push(service(name, &of_it, &facts));
        changes.extend(of_it);
    }
    let text = {
        let layout = Layout {
            colour: false,
            width: 80,
        };
        render(&plan(changes), &scene(groups), &[], Shown::Story, layout)
    };
    assert!(text.lines().count() <= 20, "{text}");
    insta::assert_snapshot!(text, @r"
    shop · staging · SANDBOX
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

      image 1.0 → 1.1 02dfa3628d5f → c623aae23268: of svc-00 … svc-29 (30 services)

    ~ svc-00 … svc-02, svc-04 … svc-29 (29 services)
        aws, gcp  push · roll out                   r2 → r3

    ~ svc-03      LOG_LEVEL  info → debug
        aws, gcp  push · roll out                   r2 → r3

    Plan: 30 services roll out on aws and gcp. Nothing is deleted, no data is
          touched.
          Nodes: 60 to create or run, 90 to update, 90 unchanged (--details).
    ");
}

#[test]
fn another_hand_danger_and_a_replaced_database_come_first() {
    use CloudName::{Aws, Gcp};
    let mut changes = nodes("web", Action::NoOp);
    let count = vec![field("desired_count", Some("3"), Some("1"))];
    set(&mut changes, "ecs.service", Action::Update, count);
    let hot = vec![field("env.HOT", Some("fix"), None)];
    set(&mut changes, "run.service", Action::Update, hot);
    for change in &mut changes {
        let drift = change.changes.iter().map(|it| Drift {
            field: it.field.clone(),
            left: it.new.clone(),
        });
        change.drift = drift.collect();
    }
    let mut database = change(Aws, "rds.instance", "shop-staging-main", Action::Replace);
    database.changes = vec![field("version", Some("16"), Some("15"))];
    database.effect = Effect::LosesData;
    database.reason = "PostgreSQL 16 does not become 15".into();
    changes.push(database);
    changes.push(change(
        Gcp,
        "sql.instance",
        "shop-staging-main",
        Action::NoOp,
    ));
    let facts = [value("unrelated", None, None)];
    let mut groups = vec![
        store(Kind::Database, "main"),
        service("web", &changes, &facts),
    ];
    for side in groups[1].sides.values_mut() {
        side.last = Some(Last {
            number: 7,
            facts: Vec::new(),
            again: false,
        });
    }
    insta::assert_snapshot!(story(&plan(changes), &scene(groups)), @r"
    shop · staging · SANDBOX
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

    !  LOSES DATA     aws: database shop-staging-main is replaced: version;
                      PostgreSQL 16 does not become 15
    !  ANOTHER HAND   web: 2 fields changed since the last apply, by no run of ours

    -/+ main (database)
                  version  16 → 15
        aws       replace database · LOSES DATA · REPLACED

    ~ web
        aws       replicas  3 → 1  ANOTHER HAND, put back
                  update service
        gcp       HOT       fix → unset  ANOTHER HAND, put back
                  roll out                          r7 → r8

    Plan: web becomes r8 on gcp; main replaced. 1 node LOSES ITS DATA, which wants:
          --allow-data-loss aws/us-east-1/rds.instance/shop-staging-main
          Nodes: 2 to update, 1 to replace, 7 unchanged (--details).
    ");
}

#[test]
fn what_failed_before_is_said_and_compared_with_the_last_release() {
    let mut changes = nodes("web", Action::NoOp);
    let definition = vec![field("task_definition", Some("web:2"), Some("web:3"))];
    set(&mut changes, "ecs.service", Action::Update, definition);
    let failed = format!("failed: REVISION_FAILED: {}", "words ".repeat(80));
    let serving = vec![field("serving", Some(&failed), Some("ready"))];
    set(&mut changes, "run.service", Action::Update, serving);
    let mut web = service("web", &changes, &[value("CRASH", None, Some("1"))]);
    for side in web.sides.values_mut() {
        side.failed = Some(FailedBefore {
            run: 6,
            at: Timestamp::from_second(9_880).unwrap(),
            why: "aws/here/ecs.service/web failed: web:2 is to serve now; task stopped: `web` exited with 1; event: (service web) x"
                .into(),
            said: Some("cannot read configuration".into()),
        });
    }
    insta::assert_snapshot!(story(&plan(changes), &scene(vec![web])), @r#"
    shop · staging · SANDBOX
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

    !  FAILED BEFORE  web on aws, gcp: this very content failed 2m ago (run 6):
                      "cannot read configuration"

    ~ web         CRASH  unset → 1
        aws, gcp  roll out                          r2 → r3

    Plan: web becomes r3 on aws and gcp. Nothing is deleted, no data is touched.
          Nodes: 2 to update, 6 unchanged (--details).
    "#);
}

#[test]
fn a_hold_is_shown_as_a_hold_and_never_as_nothing() {
    let mut web = service("web", &[], &[]);
    let note = "aws: `web` is on hold and left as it is";
    for side in web.sides.values_mut() {
        side.hold = Some(Held {
            by: "ana".into(),
            from: 7,
            to: 6,
            since: Timestamp::from_second(9_460).unwrap(),
            unfinished: false,
            note: note.into(),
        });
    }
    let mut plan = plan(Vec::new());
    plan.notes.push(note.into());
    let scene = scene(vec![web]);
    let text = story(&plan, &scene);
    assert!(!text.contains("nothing of this environment"), "{text}");
    insta::assert_snapshot!(text, @r"
    shop · staging · SANDBOX
      aws  123456789012 us-east-1      gcp  sandbox-project us-central1

      web         ON HOLD on aws, gcp: ana went back from r7 to r6, 9m ago; the
                  manifest still says r7
                  go on: change the image or the configuration, or
                  deployer apply --release-hold

    Plan: nothing to do, 1 service on hold.
    ");
    let layout = Layout {
        colour: false,
        width: 80,
    };
    let details = render(&plan, &scene, &[], Shown::Details, layout);
    assert!(
        details.contains("Plan: nothing to do, 1 service on hold."),
        "{details}"
    );
}

#[test]
fn one_name_shows_that_alone() {
    let mut changes = new_version("web");
    let others = new_version("worker");
    let facts = [value("LOG_LEVEL", Some("info"), Some("debug"))];
    let scene = scene(vec![
        service("web", &changes, &[image()]),
        service("worker", &others, &facts),
    ]);
    changes.extend(others);
    let layout = Layout {
        colour: false,
        width: 80,
    };
    let text = render(&plan(changes), &scene, &[], Shown::Of("worker"), layout);
    assert!(
        text.contains("~ worker") && !text.contains("~ web"),
        "{text}"
    );
    assert!(text.contains("Shown: worker alone"), "{text}");
}

#[test]
fn of_one_that_stays_as_it_is_the_plan_says_so() {
    let mut changes = new_version("web");
    let still = nodes("worker", Action::NoOp);
    let scene = scene(vec![
        service("web", &changes, &[image()]),
        service("worker", &still, &[]),
    ]);
    changes.extend(still);
    let layout = Layout {
        colour: false,
        width: 80,
    };
    let text = render(&plan(changes), &scene, &[], Shown::Of("worker"), layout);
    assert!(text.contains("\n  worker: no change\n"), "{text}");
    assert!(text.contains("Plan: web becomes"), "{text}");
}

#[test]
fn a_plan_of_code_alone_says_of_nothing_else_that_it_is_as_it_is_to_be() {
    let changes = nodes("web", Action::NoOp);
    let mut scene = scene(vec![service("web", &changes, &[])]);
    let plan = plan(changes);
    assert!(story(&plan, &scene).contains("what is there is what the manifest says"));
    scene.code_of.insert("web".into());
    for text in [story(&plan, &scene), details::summary(&plan, &scene)] {
        assert!(
            text.contains("No changes to the code of web: nothing else"),
            "{text}"
        );
    }
}

#[test]
fn nothing_is_there_only_where_nothing_is() {
    let mut changes = nodes("web", Action::Create);
    let scene = scene(vec![service("web", &changes, &[])]);
    assert!(story(&plan(changes.clone()), &scene).contains("nothing is there yet"));
    changes.extend(nodes("web", Action::NoOp).into_iter().take(1));
    assert!(!story(&plan(changes), &scene).contains("nothing is there yet"));
}

#[test]
fn values_of_others_forge_no_line_and_no_markdown() {
    let mut changes = nodes("web", Action::NoOp);
    let forged = "x\n\nNo changes.\u{1b}[2K<script>|`@everyone";
    let env = vec![field("env.X", Some("y"), Some(forged))];
    set(&mut changes, "run.service", Action::Update, env);
    let scene = scene(vec![service("web", &changes, &[])]);
    let plan = plan(changes);
    let text = story(&plan, &scene);
    assert!(text.contains(r"x\n\nNo changes."), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let page = markdown(&plan, &scene, &[], None);
    let table: String = page
        .lines()
        .take_while(|it| !it.starts_with("<details>"))
        .collect();
    assert!(
        !table.contains("<script>") && !table.contains("@everyone"),
        "{page}"
    );
    let row = page
        .lines()
        .find(|it| it.starts_with("| ~ |"))
        .expect("a row");
    assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
}

#[test]
fn a_pull_request_gets_a_table_and_every_node_behind_a_fold() {
    let changes = new_version("web");
    let facts = [image(), value("LOG_LEVEL", Some("info"), Some("debug"))];
    let scene = scene(vec![service("web", &changes, &facts)]);
    let page = markdown(
        &plan(changes),
        &scene,
        &[],
        Some("deployer apply plan.json"),
    );
    let (page, rest) = page.split_once("<details>").expect("a fold");
    let (_, end) = rest.split_once("</details>").expect("its end");
    insta::assert_snapshot!(format!("{page}{end}"), @r"
    ### deployer: shop · staging: web becomes r3 on aws and gcp

    Nothing is deleted, no data is touched. Nodes: 2 to create or run, 3 to update, 3 unchanged.

    | | what | change | aws | gcp |
    |---|---|---|---|---|
    | ~ | web | `image` 1.0 → 1.1 02dfa3628d5f → c623aae23268, `LOG_LEVEL` info → debug | push, roll out, r2 → r3 | push, roll out, r2 → r3 |



    Plan `4f1c2a`, refused once anything that it was made from has moved. Apply: `deployer apply plan.json`
    ");
}

#[test]
fn colour_only_repeats_what_stands_there() {
    let changes = new_version("web");
    let scene = scene(vec![service("web", &changes, &[image()])]);
    let plan = plan(changes);
    let shown = |colour| {
        let layout = Layout { colour, width: 80 };
        render(&plan, &scene, &[], Shown::Story, layout)
    };
    let mut without = shown(true);
    for code in [RED, GREEN, YELLOW, BOLD, PLAIN] {
        without = without.replace(code, "");
    }
    assert_eq!(without, shown(false));
}
