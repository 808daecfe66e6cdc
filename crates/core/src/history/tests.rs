//! Histories, and where a rollback goes from them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::capability::ImageRef;

fn restores(_: &str) -> bool {
    false
}

/// A release of content `c`, whose revision is `revision`.
fn release(number: u64, c: u32, revision: u32) -> Release {
    let value = json!({
        "number": number, "service": "idp", "content_id": format!("{c:016x}"),
        "image": format!("registry.test/idp@sha256:{c:064x}"), "tag": null,
        "revision": format!("idp:{revision}"), "secrets": {}, "migration": null,
        "spec": {
            "key": "idp", "name": "idp", "repository": "idp", "image": "oci:idp", "port": 3000,
            "health": {
                "path": "/", "command": [], "interval": {"secs": 5, "nanos": 0},
                "timeout": {"secs": 5, "nanos": 0}, "retries": 3,
                "start_period": {"secs": 5, "nanos": 0},
            },
            "cpu": 1000, "memory": 512, "replicas": {"min": 1, "max": 1}, "entrypoint": [],
            "command": [], "env": {}, "secrets": {}, "migrate": null, "url": null, "adopt": false,
            "record": null,
        },
        "at": "2026-01-01T00:00:00Z", "by": "tester", "run": "run 1",
    });
    serde_json::from_value(value).unwrap()
}

/// What happens to a service, one after another.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A content is applied.
    Apply(u32),
    /// The same, and it fails its verification.
    Fails(u32),
    /// A rollback that names no release.
    Back,
    /// A rollback to a release.
    To(u64),
    /// The same content is applied in a revision of its own, as another label makes one.
    Label,
    /// A failed run puts back what served before what it made serve.
    Undone(u32),
}

/// The releases after these steps, as the program records them. A rollback that has nowhere to go
/// changes nothing.
fn after(steps: &[Step]) -> Vec<Release> {
    let mut releases: Vec<Release> = Vec::new();
    let mut revision = 0;
    for step in steps {
        let number = releases.len() as u64 + 1;
        let serves = releases.last().cloned();
        let applied = |revision: &mut u32, c: u32| {
            *revision += 1;
            release(number, c, *revision)
        };
        let back = |to: &Release, from: &Release| Release {
            number,
            rollback_to: Some(to.number),
            rejects: Some(from.number),
            verified: None,
            ..to.clone()
        };
        let next = match (*step, &serves) {
            (Step::Apply(c), _) => vec![applied(&mut revision, c)],
            (Step::Fails(c), _) => {
                let verified = Some(false);
                let it = applied(&mut revision, c);
                vec![Release { verified, ..it }]
            }
            (Step::Label, Some(last)) => {
                revision += 1;
                let revision = Revision(format!("idp:{revision}"));
                let (rollback_to, rejects) = (None, None);
                vec![Release {
                    number,
                    revision,
                    rollback_to,
                    rejects,
                    put_back: false,
                    redeployed: false,
                    ..last.clone()
                }]
            }
            (Step::Back, Some(from)) => {
                let history = History::new(&releases, &restores);
                let to = history.before(from);
                to.map(|to| back(to, from)).into_iter().collect()
            }
            (Step::To(to), Some(from)) => {
                let history = History::new(&releases, &restores);
                let to = history.numbered(to).map(|to| history.origin(to));
                let to = to.filter(|to| !history.same_content(to, from));
                to.map(|to| back(to, from)).into_iter().collect()
            }
            (Step::Undone(c), Some(last)) => {
                let made = applied(&mut revision, c);
                let again = Release {
                    number: number + 1,
                    rollback_to: Some(last.rollback_to.unwrap_or(last.number)),
                    rejects: None,
                    put_back: true,
                    redeployed: false,
                    ..last.clone()
                };
                vec![made, again]
            }
            (Step::Back | Step::To(_) | Step::Label | Step::Undone(_), None) => Vec::new(),
        };
        releases.extend(next);
    }
    releases
}

/// Where a rollback goes after these steps: the content, or nowhere.
#[track_caller]
fn check(steps: &[Step], expected: Option<u32>) {
    let releases = after(steps);
    let history = History::new(&releases, &restores);
    let to = history.before(releases.last().unwrap());
    let content = to.map(|to| u32::from_str_radix(&to.content_id, 16).unwrap());
    assert_eq!(content, expected, "after {steps:?}");
}

use Step::{Apply, Back, Fails, Label, To, Undone};

#[test]
fn a_rollback_goes_to_what_served_before() {
    check(&[Apply(1)], None);
    check(&[Apply(1), Apply(2)], Some(1));
    check(&[Apply(1), Apply(2), Apply(3)], Some(2));
    // One after another, each goes one further.
    check(&[Apply(1), Apply(2), Apply(3), Back], Some(1));
    check(&[Apply(1), Apply(2), Apply(3), Back, Back], None);
}

#[test]
fn what_was_rejected_is_not_where_a_rollback_goes() {
    // The first served before the fourth; the second was rejected.
    check(&[Apply(1), Apply(2), Back, Apply(4)], Some(1));
    check(&[Apply(1), Apply(2), Apply(3), Back, Apply(4)], Some(2));
    check(
        &[
            Apply(1),
            Apply(2),
            Apply(3),
            Back,
            Back,
            Apply(4),
            Apply(5),
            Back,
        ],
        Some(1),
    );
    // Gone back to by name, then forward again by name: what was named last counts.
    check(&[Apply(1), Apply(2), To(1), To(2), Apply(3)], Some(2));
    // Rejected, and applied again on a person's word.
    check(&[Apply(1), Apply(2), Back, Apply(2), Apply(3)], Some(2));
}

#[test]
fn what_failed_its_verification_is_not_where_a_rollback_goes() {
    check(&[Apply(1), Fails(2), Apply(3)], Some(1));
    check(&[Fails(1), Apply(2)], None);
    check(&[Apply(1), Fails(2), Fails(3), Apply(4), Back], None);
}

#[test]
fn another_label_is_no_other_content() {
    check(&[Apply(1), Apply(2), Label], Some(1));
    check(&[Apply(1), Apply(2), Label, Label, Back, Apply(3)], Some(1));
}

#[test]
fn what_an_undo_put_back_counts_as_what_served_and_rejects_nothing() {
    check(&[Apply(1), Undone(2)], None);
    check(&[Apply(1), Apply(2), Undone(3)], Some(1));
    check(&[Apply(1), Undone(2), Apply(2), Apply(3)], Some(2));
}

#[test]
fn what_a_rollback_passes_over_is_named_with_why() {
    use Skipped::{Rejected, SameContent, Unverified};
    let skipped = |steps: &[Step]| {
        let releases = after(steps);
        let history = History::new(&releases, &restores);
        let from = releases.last().unwrap();
        let to = history.before(from).unwrap();
        let skipped = history.skipped(from, to).into_iter();
        let skipped: Vec<_> = skipped.map(|(it, why)| (it.number, why)).collect();
        (to.number, skipped)
    };
    assert_eq!(skipped(&[Apply(1), Apply(2)]), (1, Vec::new()));
    assert_eq!(
        skipped(&[Apply(1), Apply(2), Label]),
        (1, vec![(2, SameContent)])
    );
    assert_eq!(
        skipped(&[Apply(1), Fails(2), Apply(3)]),
        (1, vec![(2, Unverified)])
    );
    let rejected = [
        Apply(1),
        Apply(2),
        Apply(3),
        Back,
        Apply(4),
        To(2),
        Apply(5),
    ];
    let (to, skipped) = skipped(&rejected);
    assert_eq!(to, 2);
    assert!(
        skipped.contains(&(3, Rejected)) && skipped.contains(&(5, Rejected)),
        "{skipped:?}"
    );
}

#[test]
fn releases_of_before_say_by_their_number_what_they_rejected() {
    let mut releases = after(&[Apply(1), Apply(2), Back, Apply(3), Apply(4)]);
    releases[2].rejects = None;
    releases[3].rollback_to = Some(2);
    let history = History::new(&releases, &restores);
    // The fourth is a rollback to the second, typed by name: the second is wanted again.
    assert_eq!(history.before(&releases[4]).unwrap().number, 2);
    releases[3].rollback_to = None;
    let history = History::new(&releases, &restores);
    assert!(history.rejected().contains(&2));
}

#[test]
fn secrets_that_a_rollback_restores_are_content_and_those_that_follow_are_not() {
    let pin = |version: &str| {
        let version = SecretVersion {
            secret: "mail".into(),
            version: version.into(),
        };
        BTreeMap::from([("mail".to_owned(), version)])
    };
    let mut releases = vec![release(1, 1, 1), release(2, 1, 2)];
    releases[0].secrets = pin("1");
    releases[1].secrets = pin("2");
    let before = |follows: bool| {
        let follows = move |_: &str| follows;
        let history = History::new(&releases, &follows);
        history.before(&releases[1]).map(|it| it.number)
    };
    assert_eq!(before(false), Some(1));
    assert_eq!(before(true), None);
}

#[test]
fn a_tag_that_meant_two_images_is_a_question() {
    let mut releases = after(&[Apply(1), Apply(2), Apply(3)]);
    for it in &mut releases {
        it.tag = Some("1.0".into());
    }
    let (image, content) = (releases[1].image.clone(), releases[0].content_id.clone());
    releases[2].image = image;
    let history = History::new(&releases, &restores);
    let Found::Several(found) = history.find("1.0") else {
        panic!("it meant two images")
    };
    let numbers: Vec<u64> = found.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 1], "the newest of each image");
    let number = |word: &str| match history.find(word) {
        Found::One(found) => Some(found.number),
        Found::Nothing | Found::Several(_) => None,
    };
    assert_eq!(number("r2"), Some(2));
    assert_eq!(number("2"), Some(2));
    assert_eq!(number(&content), Some(1));
    assert_eq!(number("idp:3"), Some(3));
    assert_eq!(number("nowhere"), None);
    let image = ImageRef(format!("sha256:{:064x}", 1));
    assert_eq!(number(&image.0), Some(1));
}

#[test]
fn what_was_asked_for_beside_a_revision_is_nothing_to_go_back_from() {
    let mut releases = after(&[Apply(1), Apply(2), Apply(2)]);
    // Who may call it changed, and nothing that a revision has.
    releases[2].revision = releases[1].revision.clone();
    releases[1].overrides = Some("closed".into());
    releases[2].overrides = Some("open".into());
    let history = History::new(&releases, &restores);
    assert_eq!(history.before(&releases[2]).unwrap().number, 1);
    let why = history.skipped(&releases[2], &releases[0]);
    assert_eq!(why, [(&releases[1], Skipped::SameContent)]);
}

#[test]
fn a_content_with_a_targets_own_part_has_an_id_of_its_own_and_an_id_of_before_is_still_known() {
    let mut releases = after(&[Apply(1), Apply(1), Apply(1), Apply(2)]);
    assert_eq!(releases.len(), 4);
    releases[1].overrides = Some("more memory".into());
    releases[2].overrides = Some("less memory".into());
    releases[3].overrides = Some("less memory".into());
    let number = |releases: &[Release], word: &str| {
        let history = History::new(releases, &restores);
        match history.find(word) {
            Found::One(found) => found.number,
            Found::Nothing | Found::Several(_) => 0,
        }
    };
    let common = releases[0].content_id.clone();
    assert_eq!(number(&releases, &common), 1);
    for at in 1..4 {
        let id = releases[at].content();
        assert_eq!(number(&releases, &id), releases[at].number, "{id}");
    }
    // By these releases of before were shown: what every target has.
    let (first, last) = (&releases[1..3], &releases[3..]);
    assert_eq!(number(first, &common), 3, "the newest of them");
    assert_eq!(number(last, &releases[3].content_id), 4);
}

fn serving(state: ServingState, wanted: u32, traffic: &[(u32, u32)]) -> Serving {
    let revision = |number: u32| Revision(format!("arn:x/idp:{number}"));
    Serving {
        service: "idp".into(),
        wanted: Some(revision(wanted)),
        traffic: traffic
            .iter()
            .map(|(it, share)| (revision(*it), *share))
            .collect(),
        images: BTreeMap::new(),
        instances: None,
        state,
        url: None,
        put_back: None,
    }
}

/// A cloud that does not say whether it describes what failed or what it put back.
#[test]
fn what_was_put_back_is_what_the_ledger_knows() {
    let second = |seconds: i64| Timestamp::from_second(seconds).ok();
    let mut releases = after(&[Apply(1), Apply(2)]);
    for (release, at) in releases.iter_mut().zip([1_000, 2_000]) {
        release.at = second(at).unwrap();
    }
    let failed = || ServingState::Failed("it failed".into());
    let told = |releases: &[Release], wanted: u32, (began, since): (i64, i64)| {
        let described = Serving {
            put_back: Some(PutBack {
                began: second(began),
                served_since: second(since),
            }),
            ..serving(failed(), wanted, &[])
        };
        let settled = settled(described, releases);
        let serves = settled.traffic.first().map(|(it, _)| it.0.clone());
        (settled.state, serves)
    };
    let serves = |number: u32| Some(format!("idp:{number}"));
    // The third failed, and stays described; or the second is described again.
    assert_eq!(told(&releases, 3, (3_000, 1_800)), (failed(), serves(2)));
    let put_back = told(&releases, 2, (3_000, 1_800));
    assert_eq!(put_back, (ServingState::Ready, serves(2)));
    // Going back to the first failed: what is described is a release, and does not serve.
    assert_eq!(told(&releases, 1, (3_000, 1_800)), (failed(), serves(2)));
    // Another hand deployed in between: nobody knows what served.
    assert_eq!(told(&releases, 3, (3_000, 2_500)), (failed(), None));
    assert_eq!(told(&[], 3, (3_000, 1_800)), (failed(), None));
    // A run that left at once recorded what failed later; its clock is behind.
    releases[1].detached = true;
    assert_eq!(told(&releases, 2, (2_010, 800)), (failed(), serves(1)));
    assert_eq!(told(&releases, 3, (3_000, 1_990)), (failed(), serves(2)));
}

#[test]
fn what_serves_is_told_by_the_cloud_and_not_by_the_last_record() {
    let releases = after(&[Apply(1), Apply(2)]);
    let history = History::new(&releases, &restores);
    let standing = |serving: &Serving| history.standing(&Current::of(Some(serving)));
    let ready = || ServingState::Ready;
    let last = standing(&serving(ready(), 2, &[(2, 100)]));
    assert_eq!(last, Standing::Last(&releases[1]));
    let earlier = standing(&serving(ready(), 1, &[(1, 100)]));
    assert_eq!(earlier, Standing::Earlier(&releases[0]));
    let third = Standing::Unrecorded(Revision("arn:x/idp:3".into()));
    assert_eq!(standing(&serving(ready(), 3, &[(3, 100)])), third);
    // On its way it is what is to serve; when it failed, what takes the traffic.
    let way = ServingState::InProgress("1 of 2".into());
    assert_eq!(standing(&serving(way, 3, &[(2, 100)])), third);
    let failed = || ServingState::Failed("no".into());
    let second = Standing::Last(&releases[1]);
    assert_eq!(standing(&serving(failed(), 3, &[(2, 100)])), second);
    let split = standing(&serving(failed(), 3, &[(1, 50), (2, 50)]));
    assert!(matches!(split, Standing::Several(shares) if shares.len() == 2));
    assert_eq!(history.standing(&Current::of(None)), Standing::Nothing);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..5_u32).prop_map(Apply),
        1 => (1..5_u32).prop_map(Fails),
        3 => Just(Back),
        1 => (1..6_u64).prop_map(To),
        1 => Just(Label),
        1 => (1..5_u32).prop_map(Undone),
    ]
}

proptest! {
    /// Told apart from the function itself: a list of what served, and a set of what was rejected
    /// since it was last asked for.
    #[test]
    fn a_rollback_never_goes_to_what_serves_was_rejected_or_failed(
        steps in prop::collection::vec(step(), 1..14)
    ) {
        let releases = after(&steps);
        let Some(from) = releases.last() else { return Ok(()) };
        let history = History::new(&releases, &restores);
        let mut rejected: BTreeSet<&str> = BTreeSet::new();
        for it in &releases {
            if let Some(bad) = it.rejects {
                rejected.insert(&releases[bad as usize - 1].content_id);
            }
            if !it.put_back {
                rejected.remove(it.content_id.as_str());
            }
        }
        let served: BTreeSet<&str> = releases.iter().map(|it| it.content_id.as_str()).collect();
        if let Some(to) = history.before(from) {
            prop_assert!(to.number < from.number);
            prop_assert!(to.rollback_to.is_none());
            prop_assert!(served.contains(to.content_id.as_str()));
            prop_assert_ne!(&to.content_id, &from.content_id);
            prop_assert!(!rejected.contains(to.content_id.as_str()), "{:?}", steps);
            let verdicts = releases.iter().rev().filter(|it| it.content_id == to.content_id);
            prop_assert_ne!(verdicts.filter_map(|it| it.verified).next(), Some(false));
        }
    }

    /// However often it is typed, it comes to an end.
    #[test]
    fn rollbacks_one_after_another_come_to_an_end(steps in prop::collection::vec(step(), 1..14)) {
        let mut steps = steps;
        let length = after(&steps).len();
        steps.extend([Back; 20]);
        prop_assert!(after(&steps).len() <= 2 * length + 1);
        if length > 0 {
            check(&steps, None);
        }
    }
}
