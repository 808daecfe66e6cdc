//! Failures that nobody had, as people would see them.

use std::time::Duration;

use deployer_core::capability::{LogLine, StoppedContainer, StoppedInstance};

use super::*;
use crate::facts::How;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn log(texts: &[&str]) -> Vec<LogLine> {
    let line = |text: &&str| LogLine {
        at: at(0),
        source: "0f3c".into(),
        text: (*text).into(),
        id: String::new(),
    };
    texts.iter().map(line).collect()
}

fn stopped(second: i64, reason: &str) -> StoppedInstance {
    StoppedInstance {
        instance: format!("task-{second}"),
        at: Some(at(second)),
        reason: reason.into(),
        containers: vec![StoppedContainer {
            name: "web".into(),
            exit_code: Some(1),
            reason: None,
        }],
    }
}

fn check() -> HealthSpec {
    HealthSpec {
        path: "/healthz".into(),
        command: vec!["CMD".into(), "/app/check".into()],
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        retries: 3,
        start_period: Duration::ZERO,
    }
}

fn typed(next: &[String]) -> Typed<'_> {
    Typed { next, whole: None }
}

const NEXT: [&str; 2] = [
    "deployer logs web --since 10m",
    "deployer apply    # once the cause is mended",
];

#[test]
fn the_cause_comes_first_and_once() {
    let revision = Revision("arn:aws:ecs:x:task-definition/shop-web:2".into());
    let other = Revision("shop-web-00002-4sx".into());
    let crash = vec![Fact {
        what: "CRASH".into(),
        how: How::Values(None, Some("1".into())),
    }];
    let aws = Side {
        cloud: Some(CloudName::Aws),
        failed: vec![(
            at(60),
            vec!["failed and put back: shop-web:2 is to serve now, not shop-web:3; task stopped: Essential \
                  container in task exited, `web` exited with 1; event: (service shop-web) has started 1 tasks"
                .into()],
        )],
        autopsy: Autopsy {
            stopped: (0..3)
                .map(|it| stopped(59 - it, "Essential container in task exited"))
                .collect(),
            events: vec!["(service shop-web) has started 1 tasks".into()],
            log: log(&["cannot read configuration"]),
            ..Autopsy::default()
        },
        serving: vec![(&revision, 100, Some(2))],
        changed: Some(Changed { since: 2, facts: crash.clone() }),
        ..Side::default()
    };
    let gcp = Side {
        cloud: Some(CloudName::Gcp),
        failed: vec![(
            at(57),
            vec!["failed: REVISION_FAILED: it is not ready".into()],
        )],
        autopsy: Autopsy {
            words: vec!["REVISION_FAILED: it is not ready".into()],
            log: log(&["cannot read configuration", "Container called exit(1)."]),
            ..Autopsy::default()
        },
        serving: vec![(&other, 100, Some(2))],
        changed: Some(Changed {
            since: 2,
            facts: crash,
        }),
        ..Side::default()
    };
    let text = render(
        ("shop", "staging"),
        "web",
        &[aws, gcp],
        &typed(&NEXT.map(str::to_owned)),
        80,
    );
    assert_eq!(
        text.matches("cannot read configuration").count(),
        1,
        "{text}"
    );
    assert_eq!(text.matches("has started 1 tasks").count(), 0, "{text}");
    assert_eq!(text.matches("REVISION_FAILED").count(), 1, "{text}");
    assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text, @r"
shop · staging: web failed on aws and gcp; r2 still serves on both

       web exits with 1: 3 times on aws, once on gcp

       │ cannot read configuration
       (the same on aws and gcp)

changed since r2 (which serves):
       CRASH  unset → 1

aws    failed and put back: shop-web:2 is to serve now, not shop-web:3 (at
       00:01:00 UTC)
       task stopped: Essential container in task exited, `web` exited with 1, 3
       times (last at 00:00:59 UTC)

gcp    failed: REVISION_FAILED: it is not ready (at 00:00:57 UTC)
       │ Container called exit(1).

now    aws and gcp: still serve r2 (shop-web:2; shop-web-00002-4sx)
next   deployer logs web --since 10m
       deployer apply    # once the cause is mended
");
}

#[test]
fn the_health_check_that_failed_is_quoted() {
    let check = check();
    let side = |cloud| Side {
        cloud: Some(cloud),
        failed: vec![(at(0), vec!["failed: it is not healthy".into()])],
        autopsy: Autopsy {
            stopped: vec![stopped(1, "Task failed container health checks")],
            ..Autopsy::default()
        },
        check: Some(&check),
        ..Side::default()
    };
    let shown = |cloud| {
        let sides = [side(cloud)];
        render(("shop", "staging"), "web", &sides, &Typed::default(), 80).replace("\n       ", " ")
    };
    let aws = shown(CloudName::Aws);
    assert!(
        aws.contains("check: CMD /app/check, every 5s for at most 2s, 3 failures"),
        "{aws}"
    );
    assert!(aws.contains("aws: nothing serves"), "{aws}");
    let gcp = shown(CloudName::Gcp);
    assert!(gcp.contains("check: GET /healthz, every 5s"), "{gcp}");
}

#[test]
fn what_cloud_run_says_each_time_is_left_out_and_nothing_else() {
    let said = "failed: REVISION_FAILED: Revision 'web-00003-knj' is not ready and cannot serve traffic. The \
         user-provided container failed to start and listen on the port defined provided by the PORT=8080 \
         environment variable within the allocated timeout. This can happen when the container port is \
         misconfigured or if the timeout is too short. The health check timeout can be extended. Logs for this \
         revision might contain more information.";
    assert_eq!(
        brief(said),
        "failed: REVISION_FAILED: The user-provided container failed to start and listen on the port defined \
         provided by the PORT=8080 environment variable within the allocated timeout"
    );
    for whole in [
        "failed: REVISION_FAILED: Revision 'web' is not ready and cannot serve traffic.",
        "failed: REVISION_FAILED: it is not ready",
        "failed: another thing. Logs for this revision might contain more information.",
    ] {
        assert_eq!(brief(whole), whole);
    }
}

#[test]
fn events_are_told_where_nothing_else_tells_why() {
    let side = Side {
        cloud: Some(CloudName::Aws),
        failed: vec![(at(0), vec!["not ready in time: 0 of 2 tasks run".into()])],
        autopsy: Autopsy {
            events: (0..9).map(|it| format!("event number {it}")).collect(),
            ..Autopsy::default()
        },
        ..Side::default()
    };
    let text = render(("shop", "staging"), "web", &[side], &Typed::default(), 80);
    assert_eq!(text.matches("event: ").count(), EVENTS, "{text}");
    assert!(!text.contains("check:"), "{text}");
}

#[test]
fn what_was_only_held_says_what_serves() {
    let side = Side {
        cloud: Some(CloudName::Gcp),
        ..Side::default()
    };
    let next = NEXT.map(str::to_owned);
    let text = render(("shop", "staging"), "web", &[side], &typed(&next), 80);
    assert!(text.contains("web was not started on gcp"), "{text}");
    assert!(text.contains("now    gcp: nothing serves"), "{text}");
}
