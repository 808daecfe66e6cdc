//! Plans of very many things, of things that take long, and of everything's end.

use super::*;

/// So many services, each with a variable of its own that differs.
fn services(count: usize) -> (Plan, Scene) {
    let mut changes = Vec::new();
    let mut groups = Vec::new();
    for at in 0..count {
        let name = format!("svc-{at:02}");
        let of_it = new_version(&name);
        let own = value(&format!("VARIABLE_{at}"), Some("info"), Some("debug"));
        groups.push(service(&name, &of_it, &[image(), own]));
        changes.extend(of_it);
    }
    let database = change(
        CloudName::Aws,
        "rds.instance",
        "shop-staging-main",
        Action::Replace,
    );
    changes.push(Change {
        effect: Effect::LosesData,
        ..database
    });
    groups.push(store(Kind::Database, "main"));
    (plan(changes), scene(groups))
}

fn shown(plan: &Plan, scene: &Scene, shown: Shown<'_>, width: usize) -> String {
    let layout = Layout {
        colour: false,
        width,
    };
    render(plan, scene, &[], shown, layout)
}

#[test]
fn more_than_forty_blocks_are_a_table_with_what_may_hurt_first() {
    let (plan, scene) = services(45);
    for width in [60, 80, 120] {
        let text = shown(&plan, &scene, Shown::Story, width);
        let long = text.lines().find(|line| line.chars().count() > width);
        assert_eq!(long, None, "more than {width} columns:\n{text}");
        assert!(text.lines().count() < 65, "{text}");
    }
    let text = shown(&plan, &scene, Shown::Story, 80);
    let at = |begins: &str| {
        let mut lines = text.lines();
        let found = lines.position(|line| line.starts_with(begins));
        found.unwrap_or_else(|| panic!("no line begins with `{begins}`:\n{text}"))
    };
    let (head, replaced, first) = (at("     SERVICE "), at("-/+  main "), at("~    svc-00 "));
    assert_eq!((replaced, first), (head + 1, head + 2), "{text}");
    for says in [
        "main (database)",
        "LOSES DATA, REPLACED  -",
        "image, VARIABLE_17",
        "r2 → r3",
    ] {
        assert!(text.contains(says), "{says}:\n{text}");
    }
    let wide = shown(&plan, &scene, Shown::Story, 140);
    assert!(wide.contains("VARIABLE_17 info → debug"), "{wide}");
    assert!(text.contains("\nOne of them whole: deployer plan SERVICE\n"));
    assert!(text.contains("Plan: 45 services roll out on aws and gcp"));
}

#[test]
fn one_of_many_is_shown_whole_and_forty_are_no_table() {
    let (plan, scene) = services(45);
    let text = shown(&plan, &scene, Shown::Of("svc-17"), 80);
    assert!(
        text.contains("VARIABLE_17  info → debug") && !text.contains("SERVICE"),
        "{text}"
    );
    let (plan, scene) = services(39);
    let text = shown(&plan, &scene, Shown::Story, 80);
    assert!(
        text.contains("VARIABLE_38  info → debug") && !text.contains("SERVICE"),
        "{text}"
    );
}

#[test]
fn what_a_plan_takes_is_its_longest_chain_and_what_most_of_that_is_for() {
    let database = change(
        CloudName::Aws,
        "rds.instance",
        "shop-staging-main",
        Action::Create,
    );
    let cache = change(
        CloudName::Gcp,
        "redis.instance",
        "shop-staging-sessions",
        Action::Create,
    );
    let mut of_it = nodes("web", Action::Create);
    let service_at = of_it
        .iter()
        .position(|it| it.address.kind == "ecs.service")
        .unwrap();
    of_it[service_at].needs.push(database.address.clone());
    let service_address = of_it[service_at].address.clone();
    let mut scene = scene(vec![
        store(Kind::Database, "main"),
        store(Kind::Cache, "sessions"),
        service("web", &of_it, &[]),
    ]);
    scene.usual = BTreeMap::from([
        (database.address.clone(), 600),
        (cache.address.clone(), 300),
        (service_address.clone(), 90),
    ]);
    let mut changes = vec![database, cache];
    changes.extend(of_it);
    let all = plan(changes);
    let text = shown(&all, &scene, Shown::Story, 80);
    let says = "\n      About 12 min, most of it for the databases.\n";
    assert!(text.contains(says), "{text}");
    // Where nothing is known, nothing is said.
    let known = std::mem::take(&mut scene.usual);
    let text = shown(&all, &scene, Shown::Story, 80);
    assert!(!text.contains("About "), "{text}");
    scene.usual = known
        .into_iter()
        .filter(|(it, _)| *it == service_address)
        .collect();
    let text = shown(&all, &scene, Shown::Story, 80);
    assert!(text.contains("\n      About 2 min.\n"), "{text}");
    scene.usual.insert(service_address, 8);
    let text = shown(&all, &scene, Shown::Story, 80);
    assert!(!text.contains("About "), "{text}");
}

#[test]
fn a_destroy_says_its_reason_once_and_where_the_last_of_a_database_is() {
    let mut changes = Vec::new();
    for cloud in CloudName::ALL {
        let kind = match cloud {
            CloudName::Aws => "rds.instance",
            CloudName::Gcp => "sql.instance",
        };
        for kind in [kind, "ecs.service"] {
            let deleted = change(cloud, kind, "shop-staging-main", Action::Delete);
            changes.push(Change {
                reason: "destroy was asked for".into(),
                ..deleted
            });
        }
    }
    let scene = scene(vec![store(Kind::Database, "main")]);
    let mut plan = plan(changes);
    let headers: Vec<_> = CloudName::ALL
        .map(|cloud| (target(cloud), cloud.to_string()))
        .to_vec();
    let layout = Layout {
        colour: false,
        width: 80,
    };
    let details = |plan: &Plan| render(plan, &scene, &headers, Shown::Details, layout);
    let text = details(&plan);
    assert_eq!(text.matches("destroy was asked for").count(), 1, "{text}");
    assert!(text.contains("`shop-staging-main-final-…`"), "{text}");
    let story = shown(&plan, &scene, Shown::Story, 80);
    assert_eq!(story.matches("destroy was asked for").count(), 1, "{story}");
    assert!(
        story
            .contains("!  LAST COPY      main on aws: the snapshot `shop-staging-main-final-…` of"),
        "{story}"
    );
    assert!(story.contains("Cloud SQL keeps for 30 days"), "{story}");
    // Several reasons stand where they belong.
    plan.changes[0].reason = "another".into();
    assert_eq!(details(&plan).matches("destroy was asked for").count(), 3);
}

#[test]
fn a_plan_says_the_one_number_that_a_release_has_on_both_clouds() {
    let changes = new_version("web");
    let mut group = service("web", &changes, &[image()]);
    for (cloud, side) in &mut group.sides {
        side.next = Some(9);
        if let (CloudName::Gcp, Some(last)) = (cloud, &mut side.last) {
            last.number = 7;
        }
    }
    let text = shown(&plan(changes), &scene(vec![group]), Shown::Story, 80);
    for says in ["web becomes r9 on aws and gcp", "r2 → r9", "r7 → r9"] {
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn an_image_that_many_services_take_is_said_once_and_no_range_goes_over_another_block() {
    let (plan, mut scene) = services(12);
    // All but one differ by nothing else.
    for (at, group) in scene.groups.iter_mut().enumerate() {
        for side in group.sides.values_mut().filter(|_| at != 5 && at > 1) {
            if let Some(last) = &mut side.last {
                last.facts.retain(|it| it.what == "image");
            }
        }
    }
    let text = shown(&plan, &scene, Shown::Story, 80);
    assert_eq!(text.matches("1.0 → 1.1").count(), 1, "{text}");
    for says in [
        "02dfa3628d5f → c623aae23268: of svc-00 … svc-11 (12 services)",
        "~ svc-02 … svc-04, svc-06 … svc-11 (9 services)",
        "~ svc-05      VARIABLE_5  info → debug",
    ] {
        assert!(text.contains(says), "{says}:\n{text}");
    }
}

#[test]
fn many_deletes_are_counted_by_what_they_are_and_what_loses_data_by_its_address() {
    let mut changes = Vec::new();
    let mut groups = Vec::new();
    for name in ["api", "web", "worker"] {
        let of_it = nodes(name, Action::Delete);
        groups.push(service(name, &of_it, &[]));
        changes.extend(of_it);
    }
    let deleted = |kind: &str, name: &str| change(CloudName::Aws, kind, name, Action::Delete);
    changes.push(Change {
        effect: Effect::LosesData,
        ..deleted("rds.instance", "shop-staging-main")
    });
    for secret in ["shop/staging/token", "shop/staging/key"] {
        changes.push(deleted("secretsmanager.secret", secret));
    }
    groups.push(store(Kind::Database, "main"));
    let (plan, scene) = (plan(changes), scene(groups));
    let sum =
        "Plan: 3 services, 1 database and 2 secrets deleted. 1 node LOSES ITS DATA, which wants:";
    let address = "aws/us-east-1/rds.instance/shop-staging-main\n";
    for width in [40, 80, 120] {
        let text = shown(&plan, &scene, Shown::Story, width);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(sum), "{text}");
        // Where there is no room for it, a shell reads on in the next line.
        let goes_on = if width > 60 { " " } else { " \\\n        " };
        assert!(
            text.contains(&format!("\n      --allow-data-loss{goes_on}{address}")),
            "{text}"
        );
    }
    let details = shown(&plan, &scene, Shown::Details, 80);
    let says = format!("What loses data wants:\n      --allow-data-loss {address}");
    assert!(details.contains(&says), "{details}");
}

#[test]
fn what_is_made_of_each_of_many_is_said_once() {
    let (mut changes, mut groups) = (Vec::new(), Vec::new());
    for (name, port) in [("web", "80"), ("api", "80"), ("worker", "81")] {
        let of_it = nodes(name, Action::Create);
        let mut group = service(name, &of_it, &[]);
        for side in group.sides.values_mut() {
            side.says = vec![format!("port {port}")];
        }
        groups.push(group);
        changes.extend(of_it);
    }
    for name in ["main", "orders"] {
        let kind = "rds.instance";
        let name_there = format!("shop-staging-{name}");
        changes.push(change(CloudName::Aws, kind, &name_there, Action::Create));
        groups.push(store(Kind::Database, name));
    }
    let (plan, scene) = (plan(changes), scene(groups));
    for width in [40, 80] {
        let text = shown(&plan, &scene, Shown::Story, width);
        assert_eq!(text.matches("definition").count(), 1, "{text}");
        let each = text.find("+ each of these services\n").expect("a block");
        assert!(text.find("definition") > Some(each), "{text}");
        assert!(text.contains("main, orders (databases)"), "{text}");
    }
}
