//! Boards of runs that nobody made, as people would see them.

use deployer_core::address::Target;
use deployer_core::node::{Action, Effect, Sort};
use deployer_core::plan::Change;

use super::*;

fn target(cloud: CloudName) -> Target {
    Target {
        cloud,
        account: "1".into(),
        region: "here".into(),
        sandbox: true,
    }
}

fn address(cloud: CloudName, kind: &str, name: &str) -> Address {
    Address::new(&target(cloud), kind, format!("shop-staging-{name}"))
}

fn plan(nodes: Vec<Address>) -> Plan {
    let change = |address: Address| Change {
        address,
        sort: Sort::Resource,
        action: Action::Create,
        reason: String::new(),
        changes: Vec::new(),
        effect: Effect::InPlace,
        settling: None,
        drift: Vec::new(),
        needs: Vec::new(),
        replaces: Vec::new(),
    };
    Plan {
        app: "shop".into(),
        environment: "staging".into(),
        targets: CloudName::ALL.map(target).to_vec(),
        changes: nodes.into_iter().map(change).collect(),
        notes: Vec::new(),
        fingerprint: String::new(),
    }
}

const SIZE: (usize, usize) = (80, 24);

#[test]
fn each_thing_has_one_line_in_a_fixed_order_whatever_happens() {
    use CloudName::{Aws, Gcp};
    let database = address(Aws, "rds.instance", "main");
    let service = address(Aws, "ecs.service", "web");
    let other = address(Gcp, "run.service", "web");
    let cache = address(Gcp, "redis.instance", "sessions");
    let nodes = vec![
        service.clone(),
        database.clone(),
        other.clone(),
        cache.clone(),
    ];
    let began = Instant::now();
    let at = |seconds| began + Duration::from_secs(seconds);
    let mut board = Board::of(&plan(nodes), &Scene::default(), Some(12), began);
    board.start(&database, "create", began);
    board.note(&database, "RDS says `creating`");
    board.start(&cache, "create", began);
    board.end(&cache, Ended::Well, at(39));
    board.start(&other, "create", at(40));
    board.end(&other, Ended::Badly("REVISION_FAILED".into()), at(62));
    insta::assert_snapshot!(board.render(at(64), SIZE), @r"
shop · staging · run 12                                             2 of 4 · 64s
aws  ⠇ main      RDS says `creating`                                         64s
     · web       waits
gcp  ✓ sessions  done                                                        39s
     ✗ web       REVISION_FAILED                                             22s
Ctrl-C stops after what is in flight.
");
    board.stop();
    let text = board.render(at(65), SIZE);
    assert!(
        text.starts_with("shop · staging · run 12 · STOPPING "),
        "{text}"
    );
    assert!(
        text.contains("waiting for aws main. Again: leave at once."),
        "{text}"
    );
}

#[test]
fn what_waits_says_for_what() {
    use CloudName::{Aws, Gcp};
    let database = address(Aws, "rds.instance", "main");
    let cache = address(Gcp, "redis.instance", "sessions");
    let nodes = ["web", "worker"].map(|it| address(Aws, "ecs.service", it));
    let all = [&[database.clone(), cache.clone()], nodes.as_slice()].concat();
    let mut plan = plan(all);
    for change in &mut plan.changes {
        if change.address == nodes[0] {
            change.needs = vec![database.clone()];
        } else if change.address == nodes[1] {
            change.needs = vec![database.clone(), cache.clone(), nodes[0].clone()];
        }
    }
    let began = Instant::now();
    let mut board = Board::of(&plan, &Scene::default(), None, began);
    board.start(&database, "create", began);
    let text = board.render(began, SIZE);
    assert!(text.contains("web       waits for main\n"), "{text}");
    assert!(
        text.contains("worker    waits for main and 2 more"),
        "{text}"
    );
    board.end(&database, Ended::Well, began);
    let text = board.render(began, SIZE);
    assert!(
        text.contains("worker    waits for sessions and web"),
        "{text}"
    );
}

#[test]
fn at_sixty_columns_the_news_stays_and_nothing_is_wider() {
    let database = address(CloudName::Aws, "rds.instance", "main");
    let began = Instant::now();
    let mut board = Board::of(
        &plan(vec![database.clone()]),
        &Scene::default(),
        Some(12),
        began,
    );
    board.start(&database, "create", began);
    board.note(&database, &"1 of 1 tasks run, not healthy ".repeat(9));
    let text = board.render(began + Duration::from_secs(62), (60, 24));
    assert!(text.lines().all(|it| it.chars().count() <= 60), "{text}");
    assert!(
        text.contains("1 of 1 tasks run") && text.contains(" 62s\n"),
        "{text}"
    );
}

#[test]
fn what_usually_takes_long_says_how_long_where_there_is_room() {
    let database = address(CloudName::Aws, "rds.instance", "main");
    let group = address(CloudName::Aws, "rds.subnet_group", "main");
    let began = Instant::now();
    let nodes = vec![group.clone(), database.clone()];
    let scene = Scene {
        usual: BTreeMap::from([(database.clone(), 465), (group.clone(), 2)]),
        ..Scene::default()
    };
    let mut board = Board::of(&plan(nodes), &scene, None, began);
    board.start(&group, "create", began);
    let later = began + Duration::from_secs(2);
    assert!(
        board
            .render(later, SIZE)
            .lines()
            .any(|it| it.ends_with(" 2s"))
    );
    board.end(&group, Ended::Well, later);
    board.start(&database, "create", later);
    board.note(&database, "RDS says `creating`");
    let later = later + Duration::from_secs(62);
    insta::assert_snapshot!(board.render(later, SIZE), @r"
shop · staging                                                      1 of 2 · 64s
aws  ⠦ main  RDS says `creating`                                 62s of about 8m
Ctrl-C stops after what is in flight.
");
    let narrow = board.render(later, (60, 24));
    assert!(
        narrow.contains(" 62s\n") && !narrow.contains("about"),
        "{narrow}"
    );
    board.end(&database, Ended::Well, later);
    assert!(
        board.render(later, SIZE).ends_with(" 64s"),
        "what ended is over"
    );
}

#[test]
fn more_than_the_terminal_has_folds_but_never_what_failed_or_runs() {
    let nodes: Vec<Address> = (0..30)
        .map(|it| address(CloudName::Aws, "ecs.service", &format!("svc-{it:02}")))
        .collect();
    let now = Instant::now();
    let mut board = Board::of(&plan(nodes.clone()), &Scene::default(), None, now);
    for node in &nodes[..22] {
        board.start(node, "update", now);
        board.end(node, Ended::Well, now);
    }
    board.start(&nodes[22], "update", now);
    board.end(&nodes[22], Ended::Badly("exited with 1".into()), now);
    board.start(&nodes[23], "update", now);
    let text = board.render(now, (80, 12));
    assert!(text.lines().count() <= 12, "{text}");
    for words in ["✗ svc-22", "svc-23", "22 done", "6 waiting"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn what_runs_beyond_the_screen_is_counted_and_what_failed_is_seen() {
    let nodes: Vec<Address> = (0..30)
        .map(|it| address(CloudName::Aws, "ecs.service", &format!("svc-{it:02}")))
        .collect();
    let now = Instant::now();
    let mut board = Board::of(&plan(nodes.clone()), &Scene::default(), None, now);
    for node in &nodes {
        board.start(node, "update", now);
    }
    board.end(&nodes[29], Ended::Badly("denied".into()), now);
    let text = board.render(now, (80, 12));
    assert!(text.lines().count() <= 12, "{text}");
    for words in ["✗ svc-29", "svc-00", "22 more running"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn where_more_runs_than_the_screen_has_each_cloud_is_seen() {
    let of = |cloud, kind: &str| -> Vec<Address> {
        let names = (0..20).map(|it| address(cloud, kind, &format!("svc-{it:02}")));
        names.collect()
    };
    let aws = of(CloudName::Aws, "ecs.service");
    let gcp = of(CloudName::Gcp, "run.service");
    let now = Instant::now();
    let nodes = [aws.as_slice(), &gcp[..3]].concat();
    let mut board = Board::of(&plan(nodes.clone()), &Scene::default(), None, now);
    for node in &nodes {
        board.start(node, "update", now);
    }
    let text = board.render(now, (80, 12));
    assert!(text.lines().count() <= 12, "{text}");
    let rows = text.lines().filter(|it| it.contains("svc-")).count();
    let first = text.lines().position(|it| it.starts_with("gcp"));
    assert_eq!((rows, first), (8, Some(6)), "{text}");
    assert!(text.contains("15 more running"), "{text}");
}
