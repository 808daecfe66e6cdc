//! `deployer releases`: what was applied, newest first.

mod one;

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::capability::{Revision, Serving, ServingState};
use deployer_core::error::{Error, Result};
use deployer_core::history::{Current, History, Standing};
use deployer_core::journal::Event;
use deployer_core::ledger::{Hold, Release, RunRecord};
use deployer_core::spec::ServiceSpec;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;

use crate::again::Again;
use crate::args::{Global, ReleasesArgs};
use crate::duration;
use crate::exit::Exit;
pub use crate::facts::revision_name as short;
use crate::facts::{self, Fact, ImageName, Version};
use crate::record;
use crate::session::{Place, Session};
use crate::view;
use crate::view::releases::{Moments, Row, merge};

/// Lists the releases of each service on each target, and which one serves: the cloud's word, not
/// the last record's.
pub async fn run(global: &Global, session: Session, args: &ReleasesArgs) -> Result<Exit> {
    if let (Some(service), Some(word)) = (&args.service, &args.release) {
        return show(global, &session, service, (word, args.diff.as_deref())).await;
    }
    let services = session.services(args.service.as_deref())?;
    let listed = read(&session, &services).await;
    let mut worst = session.failure();
    let mut all = Vec::new();
    for listed in listed {
        match listed {
            Ok(listed) => all.push(listed),
            Err(error) => worst = worst.max(told(&error, global)),
        }
    }
    if global.json {
        // By target, as the clouds are everywhere.
        all.sort_by_key(|it| it.cloud);
        let documents: Vec<_> = all.iter().map(Listed::document).collect();
        view::json(&documents);
        return Ok(worst);
    }
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for listed in &all {
        merge(&mut rows, listed.rows());
        let of_one = match services.len() {
            1 => listed.notes(),
            _ => listed
                .notes()
                .into_iter()
                .map(|it| format!("{} on {it}", listed.service))
                .collect(),
        };
        notes.extend(of_one);
    }
    if rows.is_empty() {
        let apply = Again::new(global, "apply");
        noteln!("nothing was released yet; `{apply}` makes the first release");
        return Ok(worst);
    }
    let (environment, manifest) = (&session.loaded.environment, &session.loaded.manifest);
    let title = match services.as_slice() {
        [one] => format!("{one} · {environment}"),
        _ => format!("{} · {environment}", manifest.app),
    };
    out!("{}", table(&session, &title, &rows, &notes));
    Ok(worst)
}

/// What is known of these services, service by service and then target by target; the runs of a
/// target are read once for all of them.
async fn read(session: &Session, services: &[String]) -> Vec<Result<Listed>> {
    let runs = session.places.iter().map(|place| place.ledger.runs(RUNS));
    let runs = futures::future::join_all(runs).await;
    let (mut all, mut places) = (Vec::new(), Vec::new());
    for (place, runs) in session.places.iter().zip(runs) {
        match runs {
            Ok(runs) => places.push((place, runs)),
            Err(error) => all.push(Err(error)),
        }
    }
    let environment = session.loaded.environment.as_str();
    let reads = services.iter().flat_map(|service| {
        let of_service = |(place, runs)| Listed::read(place, service, environment, runs);
        places
            .iter()
            .map(|(place, runs)| (*place, runs.as_slice()))
            .map(of_service)
    });
    let reads: Vec<_> = reads.collect();
    let mut listed = futures::stream::iter(reads).buffered(AT_ONCE);
    while let Some(one) = listed.next().await {
        all.push(one);
    }
    all
}

/// Prints an error, and says how to end because of it.
fn told(error: &Error, global: &Global) -> Exit {
    view::error::print(error, global.json);
    Exit::from(error.kind())
}

/// Shows one release on every target that has it. `words` name it, and one to compare it with.
async fn show(
    global: &Global,
    session: &Session,
    service: &str,
    words: (&str, Option<&str>),
) -> Result<Exit> {
    let services = session.services(Some(service))?;
    let mut worst = session.failure();
    let mut all = Vec::new();
    for listed in read(session, &services).await {
        match listed {
            Ok(listed) => all.push(listed),
            Err(error) => worst = worst.max(told(&error, global)),
        }
    }
    if all.is_empty() && worst != Exit::Success {
        return Ok(worst);
    }
    let mut found = one::find(service, all, words)?;
    if global.json {
        found.sort_by_key(one::One::cloud);
        let documents: Vec<_> = found.iter().map(one::One::document).collect();
        view::json(&documents);
    } else if words.1.is_some() {
        out!("{}", one::differences(session, &found));
    } else {
        out!("{}", one::describe(session, &found));
    }
    Ok(worst)
}

/// The newest releases and attempts of one service, as the whole list shows them; with an empty
/// line before. Nothing where there is none; a target that does not answer is left out.
pub async fn newest(session: &Session, service: &str, count: usize) -> String {
    let mut rows = Vec::new();
    let services = [service.to_owned()];
    for listed in read(session, &services).await.into_iter().flatten() {
        merge(&mut rows, listed.rows());
    }
    rows.truncate(count);
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(session, "the newest", &rows, &[]))
}

fn table(session: &Session, title: &str, rows: &[Row], notes: &[String]) -> String {
    let clouds: Vec<CloudName> = session.places.iter().map(Place::name).collect();
    let moments = match view::is_read_by_people() {
        true => Moments::Ago(session.clock.now()),
        false => Moments::Iso,
    };
    view::releases::render(title, rows, notes, &clouds, moments, view::width())
}

/// One service's releases on one target, with what serves.
struct Listed {
    cloud: CloudName,
    service: String,
    /// Oldest first.
    releases: Vec<Release>,
    holds: Vec<Hold>,
    /// What serves; or why that is not known.
    current: Result<Current, String>,
    /// What gets all of the traffic now.
    takes_all: Option<Revision>,
    /// Why nothing does, where the cloud says so.
    nothing: Option<String>,
    /// Whether the environment was destroyed.
    destroyed: bool,
    /// Whether its roll-out goes on.
    under_way: bool,
    /// What was tried and became no release, newest first.
    attempts: Vec<Attempt>,
}

/// An apply that failed for a service.
struct Attempt {
    at: Timestamp,
    by: String,
    image: ImageName,
    content_id: String,
    /// What it was to serve, where this version can still read it.
    spec: Option<ServiceSpec>,
    outcome: String,
}

/// How many runs are looked through for attempts.
const RUNS: usize = 50;
/// So many services are read at once, on all targets together.
const AT_ONCE: usize = 16;

impl Listed {
    async fn read(
        place: &Place,
        service: &str,
        environment: &str,
        runs: &[RunRecord],
    ) -> Result<Self> {
        let (mut holds, releases) =
            tokio::try_join!(place.ledger.holds(service), place.ledger.releases(service))?;
        let follows = |_: &str| false;
        let history = History::new(&releases, &follows);
        holds.retain(|hold| history.stands(hold));
        let serving = match place.env.services.get(service) {
            Some(spec) if !releases.is_empty() => place.serving(spec).await,
            Some(_) | None => Ok(None),
        };
        let under_way = |serving: &Serving| matches!(serving.state, ServingState::InProgress(_));
        let goes_on = matches!(&serving, Ok(Some(serving)) if under_way(serving));
        let there = serving.as_ref().ok().and_then(Option::as_ref);
        let takes_all = there.and_then(|it| match it.traffic.as_slice() {
            [(revision, 100)] => Some(revision.clone()),
            _ => None,
        });
        let nothing = there.and_then(|it| match &it.state {
            ServingState::Failed(why) if it.traffic.is_empty() => Some(why.clone()),
            _ => None,
        });
        let destroyed = match there {
            Some(_) => false,
            None => is_destroyed(place).await,
        };
        let current = match nothing.is_some() {
            true => Ok(Current::Nothing),
            false => serving
                .map(|serving| Current::of(serving.as_ref()))
                .map_err(|error| error.chain().join(": ")),
        };
        let attempts = attempts(place, (service, environment), runs, &releases);
        Ok(Self {
            cloud: place.name(),
            attempts,
            service: service.to_owned(),
            releases,
            holds,
            current,
            takes_all,
            nothing,
            destroyed,
            under_way: goes_on,
        })
    }

    /// The release that serves, by its number; or what else does, in words.
    fn serves(&self) -> Result<u64, Option<String>> {
        let follows = |_: &str| false;
        let history = History::new(&self.releases, &follows);
        let current = self
            .current
            .as_ref()
            .map_err(|why| Some(format!("what serves is not known: {why}")))?;
        match history.standing(current) {
            Standing::Last(release) | Standing::Earlier(release) => Ok(release.number),
            Standing::Nothing => {
                let last = self.releases.last();
                Err(last.filter(|_| !self.destroyed).map(|last| {
                    let why = self.nothing.as_ref();
                    let why = why.map_or_else(String::new, |why| format!(": {why}"));
                    format!("nothing serves, r{} is to{why}", last.number)
                }))
            }
            Standing::Unrecorded(revision) if self.under_way => Err(Some(format!(
                "{} is being rolled out, and no release says so",
                short(&revision.0)
            ))),
            Standing::Unrecorded(revision) => Err(Some(format!(
                "{} serves, and no release says so",
                short(&revision.0)
            ))),
            Standing::Several(shares) => {
                let shares = shares.iter();
                let shares = shares.map(|(it, share)| format!("{} {share} %", short(&it.0)));
                Err(Some(format!(
                    "several serve: {}",
                    shares.collect::<Vec<_>>().join(", ")
                )))
            }
        }
    }

    /// What a release is on this cloud, in a word or two, and how long it was that until `next`.
    fn cell(&self, release: &Release, next: Option<&Release>, serves: Option<u64>) -> String {
        let last = self.releases.last().map(|last| last.number);
        let mut holds = self.holds.iter();
        if serves == Some(release.number) {
            "serves".to_owned()
        } else if holds.any(|hold| hold.rejected == release.number && hold.unfinished.is_none()) {
            "ON HOLD".to_owned()
        } else if release.detached && last == Some(release.number) {
            "not seen serving".to_owned()
        } else {
            match next {
                Some(next) => format!("served {}", duration::since(release.at, next.at)),
                None => "served".to_owned(),
            }
        }
    }

    /// What is said below the table.
    fn notes(&self) -> Vec<String> {
        let cloud = self.cloud;
        let mut notes = Vec::new();
        if let (Err(Some(words)), false) = (self.serves(), self.releases.is_empty()) {
            notes.push(format!("{cloud}: {words}"));
        }
        for release in self.releases.iter().rev() {
            let number = release.number;
            if release.verified == Some(false) {
                notes.push(format!("{cloud}: r{number} failed its verification"));
            }
            let mut holds = self.holds.iter();
            let hold = holds.find(|hold| hold.rejected == number);
            if let Some(to) = hold.and_then(|hold| hold.unfinished) {
                notes.push(format!(
                    "{cloud}: the rollback of r{number} to r{to} did not come to the end"
                ));
            }
            let kept = release.kept.iter();
            notes.extend(kept.map(|kept| format!("{cloud}: r{number}, but {kept}")));
        }
        notes
    }

    /// What changed from the release before.
    fn changed(&self, release: &Release, before: Option<&Release>) -> Vec<String> {
        let one = match (release.rollback_to, before) {
            (Some(to), _) if release.put_back => format!("r{to} again"),
            (Some(to), _) => format!("back to r{to}"),
            (None, None) => "first".to_owned(),
            (None, Some(before)) if release.redeployed => format!("r{} anew", before.number),
            (None, Some(before)) => {
                let facts = facts::between(&Version::of(before), &Version::of(release));
                if facts.is_empty() && before.overrides != release.overrides {
                    // What no revision has: who may call it, and from where.
                    return vec![format!("[targets.{}]", self.cloud)];
                }
                return names(&facts);
            }
        };
        vec![one]
    }

    fn rows(&self) -> Vec<Row> {
        let follows = |_: &str| false;
        let history = History::new(&self.releases, &follows);
        let is_called = |it: &Revision| history.standing(&Current::One(it.clone()));
        // While it rolls out, what serves is not yet what is to serve.
        let serves = match self.takes_all.as_ref().map(is_called) {
            Some(Standing::Last(release) | Standing::Earlier(release)) => Some(release.number),
            Some(_) => None,
            None if self.under_way => None,
            None => self.serves().ok(),
        };
        let mut before = None;
        let mut rows: Vec<Row> = Vec::new();
        let after = self.releases.iter().skip(1).map(Some);
        for (release, next) in self.releases.iter().zip(after.chain([None])) {
            rows.push(Row {
                service: self.service.clone(),
                number: Some(release.number),
                content_id: release.content_id.clone(),
                image: ImageName::of(release).name(),
                changed: BTreeMap::from([(self.cloud, self.changed(release, before))]),
                cells: BTreeMap::from([(self.cloud, self.cell(release, next, serves))]),
                at: release.at,
                by: release.by.clone(),
            });
            before = Some(release);
        }
        rows.extend(self.attempts.iter().map(|it| self.attempt(it)));
        rows
    }

    fn attempt(&self, attempt: &Attempt) -> Row {
        let digest = &attempt.image.digest;
        let mut releases = self.releases.iter();
        let of_image = releases.find(|it| it.image.0.ends_with(digest));
        // Headers of before do not say the tag; a release of the image may.
        let known = of_image.and_then(|it| it.tag.clone());
        let image = ImageName {
            tag: attempt.image.tag.clone().or(known),
            digest: digest.clone(),
        };
        let before = self.releases.iter().rfind(|it| it.at < attempt.at);
        let changed = match (before, &attempt.spec) {
            (Some(before), Some(spec)) => {
                let now = Version {
                    spec,
                    image: image.clone(),
                    secrets: BTreeMap::new(),
                };
                names(&facts::between(&Version::of(before), &now))
            }
            (None, _) => vec!["first".to_owned()],
            (Some(_), None) => Vec::new(),
        };
        Row {
            service: self.service.clone(),
            number: None,
            content_id: attempt.content_id.clone(),
            image: image.name(),
            changed: BTreeMap::from([(self.cloud, changed)]),
            cells: BTreeMap::from([(self.cloud, attempt.outcome.clone())]),
            at: attempt.at,
            by: attempt.by.clone(),
        }
    }

    fn document(&self) -> serde_json::Value {
        let serves = self.serves();
        let releases = self.releases.iter().rev();
        let releases: Vec<serde_json::Value> =
            releases.map(view::release::with_short_names).collect();
        let holds = self.holds.iter().map(|hold| {
            let mut value = json!(hold);
            value["content_id"] = json!(hold.content());
            value
        });
        let holds: Vec<serde_json::Value> = holds.collect();
        json!({
            "cloud": self.cloud, "service": self.service, "hold": holds.last(),
            "holds": holds, "releases": releases, "serves": serves.as_ref().ok(),
            "serves_in_words": serves.err().flatten(),
        })
    }
}

/// Whether nothing of ours is left on a target; not where its ledger does not say so.
async fn is_destroyed(place: &Place) -> bool {
    let inventory = place.ledger.inventory().await;
    inventory.is_ok_and(|it| it.items.values().all(|item| item.gone_since.is_some()))
}

/// What differs, by name.
fn names(facts: &[Fact]) -> Vec<String> {
    match facts.is_empty() {
        true => vec!["nothing said".to_owned()],
        false => facts.iter().map(|it| it.what.clone()).collect(),
    }
}

/// The applies of this service that failed and became no release, newest first.
fn attempts(
    place: &Place,
    (service, environment): (&str, &str),
    runs: &[RunRecord],
    releases: &[Release],
) -> Vec<Attempt> {
    let Some(wanted) = place.env.services.get(service) else {
        return Vec::new();
    };
    // Its own nodes have its name, or begin with it.
    let is_own = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name == wanted.name || name.strip_prefix(&wanted.name) == Some("-migrate")
    };
    let attempt = |run: &RunRecord| {
        let header = &run.header;
        let content = header.contents.get(service)?;
        let recorded = releases
            .iter()
            .any(|release| release.made_by() == Some(header.number));
        let failed = run.entries.iter().any(|entry| match &entry.event {
            Event::Failed { address, .. } => is_own(&address.name),
            _ => false,
        });
        let outcome = run.outcome().unwrap_or_default();
        if header.command != "apply" || recorded || !failed || outcome == "succeeded" {
            return None;
        }
        let spec = record::asked_for(header, place, environment);
        Some(Attempt {
            at: run.entries.last().map_or(header.at, |last| last.at),
            by: header.by.clone(),
            image: ImageName {
                tag: content.tag.clone(),
                digest: content.digest.clone(),
            },
            content_id: content.content_id.clone(),
            spec: spec.and_then(|(manifest, env)| {
                record::spec_then(place, (&manifest, &env), service).map(|(_, spec)| spec)
            }),
            outcome: match outcome {
                "undone" => "undone".to_owned(),
                _ => "failed".to_owned(),
            },
        })
    };
    runs.iter().filter_map(attempt).collect()
}
