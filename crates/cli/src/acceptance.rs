//! The last step of `apply` and `rollback`: examines what was made to serve, notes the result on
//! the releases, says the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::LetIn;
use deployer_core::compose::Part;
use deployer_core::engine::Verdict;
use deployer_core::error::Result;
use deployer_core::gate::GATE;
use deployer_core::history::History;
use deployer_core::journal::Event;
use deployer_core::ledger::Release;
use deployer_core::node::Action;
use deployer_verify::{Finding, Outcome, Overall};
use serde_json::json;

use crate::again::Again;
use crate::args::{ApplyArgs, Global};
use crate::exit::Exit;
use crate::facts::revision_name;
use crate::named;
use crate::pins;
use crate::record::Recorded;
use crate::run::{Journals, Unwritten};
use crate::session::{Place, Session};
use crate::system::Stop;
use crate::verification::{self, Verified, Wanted};
use crate::view::served::Checked;
use crate::view::{self, foreign};
use crate::work::Work;

/// How the services took it.
#[derive(Default)]
pub struct Acceptance {
    /// Releases whose verification was due, by target and service.
    due: BTreeMap<(CloudName, String), Release>,
    verified: Vec<Verified>,
    /// Why it was not made.
    left_out: Option<&'static str>,
    /// Where to go back to, by target and service.
    ways_back: BTreeMap<(CloudName, String), u64>,
}

/// What is to be examined.
pub struct Due<'a> {
    pub places: Vec<&'a Place>,
    /// By target and service.
    pub releases: BTreeMap<(CloudName, String), Release>,
    /// Those of which the run made the service: there is no way back.
    pub created: BTreeSet<(CloudName, String)>,
    /// By whose word callers are let in.
    pub let_in: LetIn,
    /// How long some of them may still turn callers away, by what this run changed.
    pub admission: Duration,
    /// Why it is not to be examined, when it is not.
    pub unwanted: Option<&'static str>,
}

/// Examines the services of these releases, on every target at once: tokens of one are worth
/// something only when the others' keys verify them. Notes the result on the releases.
pub async fn examine(
    global: &Global,
    session: &Session,
    due: Due<'_>,
    (journals, stop): (&Journals, &Stop),
    unwritten: &mut Unwritten,
) -> Acceptance {
    let mut acceptance = Acceptance {
        due: due.releases,
        ..Acceptance::default()
    };
    if acceptance.due.is_empty() {
        return acceptance;
    }
    let unseen = acceptance.due.values().all(|release| release.detached);
    let unseen = unseen.then_some("it is not known to serve yet");
    acceptance.left_out = due.unwanted.or(unseen);
    if acceptance.left_out.is_some() {
        return acceptance;
    }
    acceptance.due.retain(|_, release| !release.detached);
    let services: BTreeSet<String> = acceptance.due.keys().map(|(_, key)| key.clone()).collect();
    let wanted = Wanted {
        places: due.places.clone(),
        services: services.into_iter().collect(),
        patience: verification::PATIENCE,
        let_in: due.let_in,
        admission: due.admission,
        timeout: verification::TIMEOUT,
    };
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let reporter = view::progress::beside(global.json, subject, &named::names(session));
    let steps = Steps::of(&acceptance, &due.places, journals);
    steps.begin(unwritten).await;
    tokio::select! {
        // A run that was stopped before it came to this does not begin with it.
        biased;
        () = stop.requested_at_last() => {
            acceptance.left_out = Some("the run was stopped");
            steps.end(&acceptance, unwritten).await;
            return acceptance;
        }
        verified = verification::examine(session, &wanted, reporter.as_ref()) => match verified {
            Ok(verified) => acceptance.verified = verified,
            Err(error) => {
                view::error::print(&error, global.json);
                acceptance.left_out = Some("it could not be made");
                steps.end(&acceptance, unwritten).await;
                return acceptance;
            }
        }
    }
    steps.end(&acceptance, unwritten).await;
    note(&mut acceptance, (&due.places, &due.created), unwritten).await;
    acceptance
}

/// The verifications of a run in its journals: killed on the way, the next run makes them again.
struct Steps<'a> {
    journals: &'a Journals,
    /// By target and service.
    addresses: BTreeMap<(CloudName, String), Address>,
}

impl<'a> Steps<'a> {
    fn of(acceptance: &Acceptance, places: &[&Place], journals: &'a Journals) -> Self {
        let due = acceptance.due.keys().filter_map(|name| {
            let place = places.iter().find(|place| place.name() == name.0)?;
            let service = place.env.services.get(&name.1)?;
            let address = Address::new(place.cloud.target(), GATE, &service.name);
            Some((name.clone(), address))
        });
        Self {
            journals,
            addresses: due.collect(),
        }
    }

    async fn begin(&self, unwritten: &mut Unwritten) {
        for ((cloud, _), address) in &self.addresses {
            let event = Event::Started {
                address: address.clone(),
                action: Action::NoOp,
                // It changes nothing: each try is like any other.
                token: String::new(),
            };
            unwritten.keep(*cloud, self.journals.write(*cloud, event).await);
        }
    }

    async fn end(&self, acceptance: &Acceptance, unwritten: &mut Unwritten) {
        for ((cloud, service), address) in &self.addresses {
            let mut verified = acceptance.verified.iter();
            let verified = verified.find(|it| it.cloud == *cloud && it.service == *service);
            let failure = match (acceptance.left_out, verified) {
                (Some(why), _) => Some(why.to_owned()),
                (None, Some(it)) if it.overall() == Overall::Failed => Some(it.counts()),
                (None, _) => None,
            };
            let address = address.clone();
            let written = match failure {
                Some(why) => {
                    let event = Event::Failed { address, why };
                    self.journals.write(*cloud, event).await
                }
                None => self.passed(*cloud, address).await,
            };
            unwritten.keep(*cloud, written);
        }
    }

    async fn passed(&self, cloud: CloudName, address: Address) -> Result<()> {
        let landed = Event::Landed {
            address: address.clone(),
        };
        self.journals.write(cloud, landed).await?;
        self.journals.write(cloud, Event::Ready { address }).await
    }
}

/// What an apply has to examine: every service whose release was not verified yet, on every target
/// that got there.
pub async fn of_apply<'a>(
    session: &'a Session,
    args: &ApplyArgs,
    work: &Work,
    verdicts: &BTreeMap<CloudName, Verdict>,
    unwritten: &mut Unwritten,
) -> Due<'a> {
    let places: Vec<&Place> = session
        .places
        .iter()
        .filter(|place| verdicts.get(&place.name()).is_some_and(Verdict::succeeded))
        .filter(|place| !work.prepared.is_blocked(place.name()))
        .collect();
    let releases = due(&places, work, unwritten).await;
    let names = releases.keys().cloned();
    Due {
        created: names
            .filter(|(cloud, service)| work.creates(*cloud, service))
            .collect(),
        releases,
        places,
        let_in: let_in(work),
        admission: admission(work),
        unwanted: match (args.no_verify, args.detach) {
            (true, _) => Some("--no-verify"),
            (false, true) => Some("it is not known to serve yet"),
            (false, false) => None,
        },
    }
}

/// A run of code alone changes nothing of who may call.
fn let_in(work: &Work) -> LetIn {
    match work.part {
        Part::All => LetIn::Manifest,
        Part::CodeOf(_) => LetIn::Cloud,
    }
}

/// How long what this run changed takes to be known everywhere.
fn admission(work: &Work) -> Duration {
    let changes = work.prepared.plan.changes.iter();
    let changed: BTreeSet<_> = changes
        .filter(|change| change.action != Action::NoOp)
        .map(|change| &change.address)
        .collect();
    let nodes = work.prepared.graph.iter().map(|(_, entry)| &entry.node);
    let nodes = nodes.filter(|node| changed.contains(node.address()));
    nodes.map(|node| node.spreads()).max().unwrap_or_default()
}

/// The latest release of each declared service, where it was not verified.
async fn due(
    places: &[&Place],
    work: &Work,
    unwritten: &mut Unwritten,
) -> BTreeMap<(CloudName, String), Release> {
    let mut due = BTreeMap::new();
    for place in places {
        let cloud = place.name();
        let declared = work.declared.iter().find(|one| one.cloud == cloud);
        for key in declared.into_iter().flat_map(|one| one.services.keys()) {
            let latest = place.ledger.latest_release(key).await;
            let latest = unwritten.keep(cloud, latest).flatten();
            if let Some(release) = latest.filter(|release| release.verified != Some(true)) {
                due.insert((cloud, key.clone()), release);
            }
        }
    }
    due
}

async fn note(
    acceptance: &mut Acceptance,
    (places, created): (&[&Place], &BTreeSet<(CloudName, String)>),
    unwritten: &mut Unwritten,
) {
    for one in &acceptance.verified {
        let name = (one.cloud, one.service.clone());
        let place = places.iter().find(|place| place.name() == one.cloud);
        let (Some(release), Some(place)) = (acceptance.due.get(&name), place) else {
            continue;
        };
        let passed = match one.overall() {
            // Nothing was found out.
            Overall::Skipped => continue,
            Overall::Passed => true,
            Overall::Failed => false,
        };
        if release.verified != Some(passed) {
            let noted = place.ledger.note_verified(release, passed).await;
            unwritten.keep(one.cloud, noted);
        }
        if !passed && !created.contains(&name) {
            let back = unwritten.keep(one.cloud, way_back(place, release).await);
            if let Some(number) = back.flatten() {
                acceptance.ways_back.insert(name, number);
            }
        }
    }
}

/// Where a rollback that names no release goes.
async fn way_back(place: &Place, release: &Release) -> Result<Option<u64>> {
    let releases = place.ledger.releases(&release.service).await?;
    let follows = pins::follows(place);
    let history = History::new(&releases, &follows);
    Ok(history.before(release).map(|earlier| earlier.number))
}

impl Acceptance {
    /// The targets where a service does not do what it should.
    pub fn failed(&self) -> BTreeSet<CloudName> {
        let failed = self.verified.iter();
        failed
            .filter(|one| one.overall() == Overall::Failed)
            .map(|one| one.cloud)
            .collect()
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self.failed().is_empty() {
            true => Exit::Success,
            false => Exit::VerificationFailed,
        }
    }

    /// How the verification of a release ended. `None` where none was made.
    pub fn checked(&self, cloud: CloudName, service: &str) -> Option<Checked> {
        let mut verified = self.verified.iter();
        let one = verified.find(|it| it.cloud == cloud && it.service == service)?;
        let is_passed = |it: &&Finding| matches!(it.outcome, Outcome::Passed | Outcome::Warned(_));
        Some(match one.overall() {
            Overall::Passed => Checked::Passed(one.findings.iter().filter(is_passed).count()),
            Overall::Failed => Checked::Failed,
            Overall::Skipped => Checked::Skipped(why_not(one).to_owned()),
        })
    }

    /// Instances asked for and running, as its verification saw them.
    pub fn instances(&self, cloud: CloudName, service: &str) -> Option<(u32, u32)> {
        let mut verified = self.verified.iter();
        let one = verified.find(|it| it.cloud == cloud && it.service == service)?;
        one.serving.as_ref()?.instances
    }

    /// Says what was found: a line where all is well, everything where it is not. The outcome says
    /// already which of `recorded` passed or could not be asked.
    pub fn tell(&self, global: &Global, recorded: &[Recorded]) {
        if let Some(why) = self.left_out {
            if global.json {
                view::json_line(&json!({ "event": "not_verified", "why": why }));
            } else {
                let verify = Again::new(global, "verify");
                noteln!("not verified: {why}; `{verify}` does it");
            }
            return;
        }
        for one in &self.verified {
            let name = (one.cloud, one.service.clone());
            let next = self.next(global, &name);
            if global.json {
                let mut line = verification::document(one);
                line["event"] = json!("verification");
                line["release"] = json!(self.due.get(&name).map(|release| release.number));
                if one.overall() == Overall::Failed {
                    line["serving"] = json!(one.serving);
                    line["next"] = json!(next);
                }
                view::json_line(&line);
                continue;
            }
            let is_it = |it: &Recorded| it.cloud == one.cloud && it.release.service == one.service;
            let is_told = recorded.iter().any(is_it);
            match one.overall() {
                // The table says how many passed; what could not be asked is no news each time.
                Overall::Passed if is_told && !has_warnings(one) => {}
                Overall::Skipped if is_told => {}
                Overall::Passed => tell_passed(one),
                Overall::Skipped => noteln!(
                    "{}: `{}` is not verified: {}",
                    one.cloud,
                    one.service,
                    foreign::words(why_not(one))
                ),
                Overall::Failed => self.tell_failed(one, &next),
            }
        }
    }

    fn tell_failed(&self, one: &Verified, next: &str) {
        let release = self.due.get(&(one.cloud, one.service.clone()));
        let number = release.map_or_else(String::new, |release| format!(" r{}", release.number));
        sayln!(
            "\n{}: verification of `{}`{number} failed: {}",
            one.cloud,
            one.service,
            one.counts()
        );
        say!("{}", view::findings::render(&one.findings));
        for (revision, share) in one.serving.iter().flat_map(|serving| &serving.traffic) {
            sayln!("  serves: {} ({share} %)", revision_name(&revision.0));
        }
        sayln!("  next: {next}");
    }

    fn next(&self, global: &Global, name: &(CloudName, String)) -> String {
        let (cloud, service) = name;
        match self.ways_back.get(name) {
            Some(number) => Again::new(global, "rollback")
                .with(service)
                .option("--to", &format!("r{number}"))
                .on(*cloud)
                .to_string(),
            None => "correct the image or the configuration and apply again; there is no earlier \
                     release to go back to"
                .into(),
        }
    }
}

/// Why a service was not asked.
fn why_not(one: &Verified) -> &str {
    let why = one.address.as_ref().err();
    why.map_or("nothing could be checked", String::as_str)
}

/// Whether something passed in part.
fn has_warnings(one: &Verified) -> bool {
    let mut findings = one.findings.iter();
    findings.any(|it| matches!(it.outcome, Outcome::Warned(_)))
}

fn tell_passed(one: &Verified) {
    noteln!(
        "{}: `{}` is verified: {}",
        one.cloud,
        one.service,
        one.counts()
    );
    for finding in &one.findings {
        let check = foreign::one_line(&finding.check);
        match &finding.outcome {
            Outcome::Warned(why) => noteln!("  warning: {check}: {}", foreign::words(why)),
            Outcome::Skipped(why) => noteln!("  skipped: {check}: {}", foreign::words(why)),
            Outcome::Passed | Outcome::Failed => {}
        }
    }
}
