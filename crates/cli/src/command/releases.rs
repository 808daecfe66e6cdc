//! `deployer releases`: what was applied, newest first.

mod one;

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::capability::{Serving, ServingState};
use deployer_core::error::Result;
use deployer_core::history::{Current, History, Standing};
use deployer_core::journal::Event;
use deployer_core::ledger::{Hold, Release};
use deployer_core::spec::ServiceSpec;
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
    let mut documents = Vec::new();
    let mut tables = Vec::new();
    let mut worst = session.failure();
    if let (Some(service), Some(word)) = (&args.service, &args.release) {
        return show(global, &session, service, (word, args.diff.as_deref())).await;
    }
    for service in session.services(args.service.as_deref())? {
        let (mut rows, mut notes) = (Vec::new(), Vec::new());
        for place in &session.places {
            match Listed::read(place, &service, &session.loaded.environment).await {
                Ok(listed) => {
                    merge(&mut rows, listed.rows());
                    notes.extend(listed.notes());
                    documents.push((place.name(), listed.document()));
                }
                Err(error) => {
                    worst = worst.max(Exit::from(error.kind()));
                    view::error::print(&error, global.json);
                }
            }
        }
        if !rows.is_empty() {
            tables.push((service, rows, notes));
        }
    }
    if global.json {
        // By target, as the clouds are everywhere.
        documents.sort_by_key(|(cloud, _)| *cloud);
        let documents: Vec<_> = documents.into_iter().map(|(_, it)| it).collect();
        view::json(&documents);
    } else if tables.is_empty() {
        let apply = Again::new(global, "apply");
        noteln!("nothing was released yet; `{apply}` makes the first release");
    } else {
        print(&session, &tables);
    }
    Ok(worst)
}

/// Shows one release on every target that has it. `words` name it, and one to compare it with.
async fn show(
    global: &Global,
    session: &Session,
    service: &str,
    words: (&str, Option<&str>),
) -> Result<Exit> {
    session.services(Some(service))?;
    let mut worst = session.failure();
    let mut all = Vec::new();
    for place in &session.places {
        match Listed::read(place, service, &session.loaded.environment).await {
            Ok(listed) => all.push(listed),
            Err(error) => {
                worst = worst.max(Exit::from(error.kind()));
                view::error::print(&error, global.json);
            }
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
    for place in &session.places {
        if let Ok(listed) = Listed::read(place, service, &session.loaded.environment).await {
            merge(&mut rows, listed.rows());
        }
    }
    rows.truncate(count);
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(session, "the newest", &rows, &[]))
}

fn print(session: &Session, tables: &[(String, Vec<Row>, Vec<String>)]) {
    for (at, (service, rows, notes)) in tables.iter().enumerate() {
        if at > 0 {
            outln!();
        }
        let title = format!("{service} · {}", session.loaded.environment);
        out!("{}", table(session, &title, rows, notes));
    }
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

impl Listed {
    async fn read(place: &Place, service: &str, environment: &str) -> Result<Self> {
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
        let current = serving
            .map(|serving| Current::of(serving.as_ref()))
            .map_err(|error| error.chain().join(": "));
        let attempts = attempts(place, service, environment, &releases).await?;
        Ok(Self {
            cloud: place.name(),
            attempts,
            service: service.to_owned(),
            releases,
            holds,
            current,
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
            Standing::Nothing => Err(None),
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
        if serves == Some(release.number) && !(self.under_way && release.detached) {
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
                return names(&facts::between(&Version::of(before), &Version::of(release)));
            }
        };
        vec![one]
    }

    fn rows(&self) -> Vec<Row> {
        let serves = self.serves().ok();
        let mut before = None;
        let mut rows: Vec<Row> = Vec::new();
        let after = self.releases.iter().skip(1).map(Some);
        for (release, next) in self.releases.iter().zip(after.chain([None])) {
            rows.push(Row {
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

/// What differs, by name.
fn names(facts: &[Fact]) -> Vec<String> {
    match facts.is_empty() {
        true => vec!["nothing said".to_owned()],
        false => facts.iter().map(|it| it.what.clone()).collect(),
    }
}

/// The applies of this service that failed and became no release, newest first.
async fn attempts(
    place: &Place,
    service: &str,
    environment: &str,
    releases: &[Release],
) -> Result<Vec<Attempt>> {
    let Some(wanted) = place.env.services.get(service) else {
        return Ok(Vec::new());
    };
    let mut attempts = Vec::new();
    for header in place.ledger.recent_runs(RUNS).await? {
        let name = format!("run {}", header.number);
        let recorded = releases.iter().any(|release| release.run == name);
        let Some(content) = header.contents.get(service).filter(|_| !recorded) else {
            continue;
        };
        if header.command != "apply" {
            continue;
        }
        let Some(run) = place.ledger.run(header.number).await? else {
            continue;
        };
        // Its own nodes have its name, or begin with it.
        let is_own = |name: &str| {
            let name = name.rsplit('/').next().unwrap_or_default();
            name == wanted.name || name.strip_prefix(&wanted.name) == Some("-migrate")
        };
        let failed = run.entries.iter().any(|entry| match &entry.event {
            Event::Failed { address, .. } => is_own(&address.name),
            _ => false,
        });
        let outcome = run.outcome().unwrap_or_default();
        if !failed || outcome == "succeeded" {
            continue;
        }
        let spec = record::asked_for(&header, place, environment);
        attempts.push(Attempt {
            at: run.entries.last().map_or(header.at, |last| last.at),
            by: header.by.clone(),
            image: ImageName {
                tag: content.tag.clone(),
                digest: content.digest.clone(),
            },
            content_id: content.content_id.clone(),
            spec: spec.and_then(|(_, env)| env.services.get(service).cloned()),
            outcome: match outcome {
                "undone" => "undone".to_owned(),
                _ => "failed".to_owned(),
            },
        });
    }
    Ok(attempts)
}
