//! What serves, as people read it.

use super::*;

fn served(cloud: CloudName, service: &str, number: u64) -> Served {
    Served {
        cloud,
        service: service.into(),
        number,
        again: None,
        detached: false,
        rejected: false,
        instances: None,
        url: (cloud == CloudName::Gcp).then(|| "https://web.a.run.app".into()),
        checked: None,
    }
}

fn beside<'a>(still: &'a [Still], missed: &'a AllMissed) -> Beside<'a> {
    Beside {
        still,
        missed,
        changes: 0,
    }
}

fn all_got_there() -> AllMissed {
    AllMissed::new()
}

#[test]
fn what_failed_stands_first_in_the_title_and_in_the_table() {
    let all: Vec<Served> = (0..28)
        .map(|it| Served {
            url: None,
            ..served(CloudName::Gcp, &format!("svc-{it:02}"), 1)
        })
        .collect();
    let missed = BTreeMap::from([
        ((CloudName::Aws, "svc-07".to_owned()), Missed::Failed),
        ((CloudName::Gcp, "worker".to_owned()), Missed::NotStarted),
    ]);
    let subject = ("mono", "staging");
    let text = render(
        subject,
        &all,
        beside(&[], &missed),
        &[],
        (Duration::ZERO, 120),
    );
    let lines: Vec<&str> = text.lines().collect();
    let title = "mono · staging: svc-07 FAILED on aws; worker NOT STARTED on gcp; 28 services have a new release";
    assert!(lines[1].starts_with(title), "{text}");
    assert_eq!(lines[4], "svc-07   FAILED  r1  serves", "{text}");
    assert_eq!(lines[5], "worker   -       NOT STARTED", "{text}");
    let one = [served(CloudName::Gcp, "web", 1)];
    let missed = BTreeMap::from([((CloudName::Aws, "web".to_owned()), Missed::Failed)]);
    let text = render(
        ("shop", "staging"),
        &one,
        beside(&[], &missed),
        &[],
        (Duration::ZERO, 80),
    );
    assert!(
        text.contains("web FAILED on aws; web r1 serves on gcp"),
        "{text}"
    );
    assert!(text.contains("web      FAILED  r1  serves"), "{text}");
}

#[test]
fn what_stays_as_it_is_is_one_line() {
    let still = CloudName::ALL.map(|cloud| (cloud, "web".to_owned(), 3));
    let there = all_got_there();
    let beside = beside(&still, &there);
    let text = render(("shop", "staging"), &[], beside, &[], (Duration::ZERO, 80));
    let line = "shop · staging: nothing to do; web stays r3 on aws and gcp";
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(line), "{text}");
    let many: Vec<_> = (0..30)
        .map(|it| (CloudName::Aws, format!("svc-{it:02}"), 1))
        .collect();
    let done = Beside {
        changes: 2,
        ..beside
    };
    let text = render(("shop", "staging"), &[], done, &[], (Duration::ZERO, 80));
    let says = "shop · staging: 2 changes made; web stays";
    assert!(text.contains(says), "{text}");
    let beside = Beside {
        still: &many,
        ..beside
    };
    let text = render(("shop", "staging"), &[], beside, &[], (Duration::ZERO, 80));
    assert!(
        text.contains("nothing to do; 30 services stay as they are"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn one_release_on_both_clouds_is_one_phrase() {
    let both = [
        served(CloudName::Gcp, "web", 3),
        served(CloudName::Aws, "web", 3),
    ];
    let back = ["back: deployer rollback web    (to r2, image 1.0)".to_owned()];
    let took = Duration::from_secs(108);
    let text = render(
        ("shop", "staging"),
        &both,
        beside(&[], &all_got_there()),
        &back,
        (took, 80),
    );
    insta::assert_snapshot!(text, @r"
shop · staging: web r3 serves on aws and gcp                               1m48s
  gcp   https://web.a.run.app
  back: deployer rollback web    (to r2, image 1.0)
");
}

#[test]
fn what_failed_its_verification_is_never_said_to_serve_alone() {
    let mut both = [
        served(CloudName::Aws, "web", 3),
        served(CloudName::Gcp, "web", 3),
    ];
    both[0].rejected = true;
    let text = render(
        ("shop", "staging"),
        &both,
        beside(&[], &all_got_there()),
        &[],
        (Duration::ZERO, 80),
    );
    let says = "r3 failed its verification and serves on aws, r3 serves on gcp";
    assert!(text.contains(says), "{text}");
}

#[test]
fn what_is_different_on_each_cloud_is_said_of_each() {
    let mut both = [
        served(CloudName::Aws, "web", 3),
        served(CloudName::Gcp, "web", 2),
    ];
    both[0].detached = true;
    let text = render(
        ("shop", "staging"),
        &both,
        beside(&[], &all_got_there()),
        &[],
        (Duration::ZERO, 80),
    );
    assert!(
        text.contains("web r3 is rolling out on aws, r2 serves on gcp"),
        "{text}"
    );
}

#[test]
fn thirty_services_have_a_line_each() {
    let all: Vec<Served> = (0..30)
        .map(|it| Served {
            url: None,
            ..served(CloudName::Aws, &format!("svc-{it:02}"), 1)
        })
        .collect();
    let took = Duration::from_secs(24);
    let text = render(
        ("mono", "staging"),
        &all,
        beside(&[], &all_got_there()),
        &[],
        (took, 80),
    );
    assert_eq!(text.lines().count(), 34, "{text}");
    assert!(text.contains("30 services have a new release"), "{text}");
}

#[test]
fn what_was_verified_stands_in_a_table_and_why_something_was_not_below_it() {
    let mut all = [
        served(CloudName::Aws, "web", 3),
        served(CloudName::Gcp, "web", 3),
    ];
    all[0].checked = Some(Checked::Skipped(
        "no address is known: set targets.aws.services.web.url".into(),
    ));
    all[0].instances = Some((1, 1));
    all[1].checked = Some(Checked::Passed(3));
    let still = CloudName::ALL.map(|cloud| (cloud, "worker".to_owned(), 1));
    let back = ["back: deployer rollback web    # to r2, image 1.0".to_owned()];
    let took = Duration::from_secs(108);
    for width in [60, 80, 120] {
        let text = render(
            ("shop", "staging"),
            &all,
            beside(&still, &all_got_there()),
            &back,
            (took, width),
        );
        assert!(text.lines().all(|it| it.chars().count() <= width), "{text}");
    }
    let text = render(
        ("shop", "staging"),
        &all,
        beside(&still, &all_got_there()),
        &back,
        (took, 80),
    );
    insta::assert_snapshot!(text, @r"
shop · staging: web r3 serves on aws and gcp                               1m48s

SERVICE  AWS                       GCP
web      r3  1 of 1  not checked*  r3  verified (3)
worker   r1  unchanged             r1  unchanged

  gcp   https://web.a.run.app
* web on aws: no address is known: set targets.aws.services.web.url
  back: deployer rollback web    # to r2, image 1.0
");
    let many: Vec<_> = (0..30)
        .map(|it| (CloudName::Aws, format!("svc-{it:02}"), 1))
        .collect();
    let text = render(
        ("shop", "staging"),
        &all,
        beside(&many, &all_got_there()),
        &back,
        (took, 80),
    );
    assert!(text.contains("\n30 services unchanged\n"), "{text}");
    assert!(!text.contains("svc-07"), "{text}");
}
