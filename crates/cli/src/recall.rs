//! Looks at what a plan is about: what the manifest says, what was released before, what failed.
//! Read from the ledger beside the plan.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::compose::{Declared, DeclaredService, Part};
use deployer_core::journal::Event;
use deployer_core::ledger::{Content, Release, RunHeader, RunRecord};
use deployer_core::spec::ServiceSpec;

use crate::examination;
use crate::facts::{self, ImageName, Version};
use crate::held;
use crate::named;
use crate::scene::{FailedBefore, Held, Kind, Last, Scene, Side};
use crate::session::{Place, Session};
use crate::usual;
use crate::work::Work;

/// So many of the newest runs that failed are looked through for one that tried what is planned.
const REPORTS: usize = 5;

/// Looks at what a plan is about. Never fails: what the ledger does not answer is left out.
pub async fn of(session: &Session, work: Option<&Work>) -> Scene {
    let mut scene = Scene {
        at: session.clock.now(),
        ..Scene::default()
    };
    for place in &session.places {
        named::stores(&mut scene, &place.env, place.name());
        named::name_secrets(&mut scene, &place.env);
        let cloud = place.name();
        let last_run = match work {
            Some(_) => place.ledger.last_run().await.ok().flatten(),
            None => None,
        };
        let services = place.env.services.iter();
        let sides = services.map(|(key, spec)| async {
            let mut side = Side {
                name: spec.name.clone(),
                says: named::says(spec, work.and_then(|it| image(it, key))),
                ..Side::default()
            };
            if let Some(work) = work {
                recall(&mut side, place, work, (key, spec), last_run.as_ref()).await;
            }
            (key.clone(), side)
        });
        for (key, side) in futures::future::join_all(sides).await {
            scene.put(Kind::Service, &key, cloud, side);
        }
    }
    scene.unread = unread(session, work);
    if let Some(work) = work {
        if let Part::CodeOf(services) = &work.part {
            scene.code_of = services.iter().cloned().collect();
        }
        number(&mut scene, session, work).await;
        scene.usual = usual::of(session, &work.prepared.plan).await;
    }
    for held in work.map_or(&[][..], |it| &it.held) {
        let note = held::note(session, held).await;
        let hold = &held.hold;
        let group = scene.groups.iter_mut();
        let mut group = group.filter(|it| it.kind == Kind::Service && it.name == held.service);
        if let Some(side) = group.next().and_then(|it| it.sides.get_mut(&held.cloud)) {
            side.hold = Some(Held {
                by: hold.by.clone(),
                from: hold.rejected,
                to: hold.unfinished.unwrap_or(hold.serving),
                since: hold.since,
                unfinished: hold.unfinished.is_some(),
                note,
            });
        }
    }
    scene
        .groups
        .sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    scene
}

/// The targets that could not be read, or not all of them; the first error of each.
fn unread(session: &Session, work: Option<&Work>) -> BTreeMap<CloudName, String> {
    let failed = session.failed.iter();
    let failed = failed.map(|(cloud, error)| (*cloud, error));
    let blocked = work.into_iter().flat_map(|it| &it.prepared.blocked);
    let blocked = blocked.map(|it| (it.address.cloud, &it.error));
    let mut unread = BTreeMap::new();
    for (cloud, error) in failed.chain(blocked) {
        // What was tried, and the last cause: what lies between says how it was found out.
        let words = || {
            let chain = error.chain();
            match chain.as_slice() {
                [] => String::new(),
                [only] => only.clone(),
                [first, .., last] => format!("{first}: {last}"),
            }
        };
        unread.entry(cloud).or_insert_with(words);
    }
    unread
}

/// Says of the services to which something is done which releases they become.
async fn number(scene: &mut Scene, session: &Session, work: &Work) {
    let services = scene.groups.iter_mut();
    let services = services.filter(|it| it.kind == Kind::Service);
    let numbered = services.map(|group| async {
        for cloud in work.planned().taking_part(&group.name) {
            if let Some(side) = group.sides.get_mut(&cloud) {
                let subject = (cloud, group.name.as_str());
                side.next = Some(
                    work.numbers
                        .next(session, &work.planned(), subject, None)
                        .await,
                );
            }
        }
    });
    futures::future::join_all(numbered).await;
}

fn declared<'a>(work: &'a Work, cloud: CloudName, key: &str) -> Option<&'a DeclaredService> {
    let of = |it: &&Declared| it.cloud == cloud;
    work.declared.iter().find(of)?.services.get(key)
}

fn image(work: &Work, key: &str) -> Option<ImageName> {
    let found = work.images.get(key)?;
    Some(ImageName {
        tag: found.tag.clone(),
        digest: found.digest.clone(),
    })
}

/// What was released before, and whether the last run failed with what is planned now.
async fn recall(
    side: &mut Side,
    place: &Place,
    work: &Work,
    (key, spec): (&str, &ServiceSpec),
    last_run: Option<&RunRecord>,
) {
    let declared = declared(work, place.name(), key);
    side.nodes = declared.map(|it| it.nodes.clone()).unwrap_or_default();
    let content = work.contents(place.name()).remove(key);
    let last: Option<Release> = work.numbers.newest_on(place, key).await.ok().flatten();
    if let (Some(last), Some(image)) = (&last, image(work, key)) {
        let pins = declared.into_iter().flat_map(|it| &it.secrets);
        let pins = pins.filter_map(|(key, version)| Some((key.clone(), version.known()?)));
        let now = Version {
            spec,
            image,
            secrets: pins.collect(),
        };
        let facts = facts::between(&Version::of(last), &now);
        let mut redeploys = work.redeploys.get(&place.name()).into_iter();
        let asked_for = redeploys.any(|it| it.contains_key(key));
        let is_it = content.as_ref().is_some_and(|it| it.is_of(last));
        side.last = Some(Last {
            number: last.number,
            again: is_it && facts.is_empty() && !asked_for,
            facts,
        });
    }
    let Some(content) = content else {
        return;
    };
    if let Some(run) = last_run.filter(|it| attempted(&it.header, key, &content)) {
        if run.outcome() != Some("succeeded") {
            side.failed = failed_before(run, &side.nodes);
        }
    } else if side.last.as_ref().is_none_or(|last| !last.facts.is_empty()) {
        side.failed = failed_earlier(place, key, &content, &side.nodes).await;
    }
    if let Some(failed) = &mut side.failed {
        failed.said = examination::last_line(place, failed.run, key).await;
    }
}

fn attempted(run: &RunHeader, key: &str, content: &Content) -> bool {
    run.command == "apply" && run.contents.get(key) == Some(content)
}

/// What became of this content in a run before the last one, where it never served since: a
/// rollback, or an apply of other services, lies between. What the ledger does not answer is left
/// out.
async fn failed_earlier(
    place: &Place,
    key: &str,
    content: &Content,
    nodes: &BTreeSet<Address>,
) -> Option<FailedBefore> {
    let reported = place.ledger.reported_runs(REPORTS).await.ok()?;
    let tried = reported.iter().find(|it| attempted(it, key, content))?;
    let releases = place.ledger.releases(key).await.ok()?;
    let served_since = releases
        .iter()
        .any(|it| content.is_of(it) && it.made_by().is_some_and(|run| run > tried.number));
    if served_since {
        return None;
    }
    failed_before(&place.ledger.run(tried.number).await.ok()??, nodes)
}

/// The first node of these that failed in a run.
pub fn failed_before(run: &RunRecord, nodes: &BTreeSet<Address>) -> Option<FailedBefore> {
    run.entries.iter().find_map(|entry| match &entry.event {
        Event::Failed { address, why } if nodes.contains(address) => Some(FailedBefore {
            run: run.header.number,
            at: entry.at,
            why: why.clone(),
            said: None,
        }),
        _ => None,
    })
}
