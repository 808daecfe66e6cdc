//! `deployer status`: what serves and what keeps data, in the clouds' own words, beside what the
//! ledger says.

mod failed;
mod hold;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{RecordStatus, Serving, ServingState};
use deployer_core::error::Result;
use deployer_core::history::History;
use deployer_core::kind::Role;
use deployer_core::ledger::{Hold, Holder, Inventory, Item, Release, Standing, Witness};
use deployer_core::spec::{Replicas, ServiceSpec};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::failed::{Failed, FailedRuns};
use self::hold::held;
use crate::args::{Global, ServiceArgs};
use crate::command::lock;
use crate::command::releases::{self, short};
use crate::duration;
use crate::exit::Exit;
use crate::facts::{self, ImageName};
use crate::machine;
use crate::session::{Place, Session, header};
use crate::view::brief::brief;
use crate::view::plan::role;
use crate::view::status::Row;
use crate::view::{self, foreign};

/// Shows every service asked for on every target, and the databases and caches when none is asked
/// for by name. Exits with the code of what is not as it should be. What cannot be read is told,
/// and everything else is shown all the same.
pub async fn run(global: &Global, session: Session, args: &ServiceArgs) -> Result<Exit> {
    // One that the manifest does not have is told before anything is shown.
    session.services(args.service.as_deref())?;
    let mut shown = Shown {
        form: match (global.json, &args.service) {
            (true, _) => Form::Json,
            (false, Some(_)) => Form::Long,
            (false, None) => Form::Table,
        },
        now: session.clock.now(),
        documents: Vec::new(),
        rows: Vec::new(),
        notes: Vec::new(),
        worst: session.failure(),
        told: BTreeSet::new(),
        failed: BTreeMap::new(),
    };
    for place in &session.places {
        if shown.form == Form::Long {
            for line in view::whole_or_wrapped(&header(place.cloud.target(), &place.caller)) {
                outln!("{line}");
            }
        }
        let standing = place.ledger.lock_standing().await;
        if let Some(Standing::Held { holder, until, .. }) = shown.keep(standing) {
            shown.locked(place.name(), &holder, until);
        }
        // Without it, nothing is known to be destroyed, and nothing to be lost.
        let inventory = shown.keep(place.ledger.inventory().await);
        let failed = shown.keep(FailedRuns::read(place).await);
        for key in session.services(args.service.as_deref())? {
            if let Some(service) = place.env.services.get(&key) {
                shown
                    .service(place, &key, service, (inventory.as_ref(), failed.as_ref()))
                    .await;
            }
        }
        if args.service.is_none() {
            let none = Inventory::default();
            let stores = store::of(place, inventory.as_ref().unwrap_or(&none)).await;
            for store in shown.keep(stores).into_iter().flatten() {
                shown.worst = shown.worst.max(store.judge());
                match shown.form {
                    Form::Json => shown.documents.push(store.document(place)),
                    Form::Long => out!("{}", store.describe()),
                    Form::Table => store.tell(place, shown.row(store.key(), Some(store.sort()))),
                }
            }
        }
    }
    match shown.form {
        Form::Json => view::json(&shown.documents),
        Form::Long => {
            for key in session.services(args.service.as_deref())? {
                out!("{}", releases::newest(&session, &key, TRIES).await);
            }
        }
        Form::Table => shown.print(&session),
    }
    Ok(shown.worst)
}

/// So many of the last releases and attempts are shown of one service.
const TRIES: usize = 3;

/// Where the words behind the labels of one service begin, in columns.
const WORDS: usize = 15;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    /// A line for each service.
    Table,
    /// Everything of one service.
    Long,
}

/// What was shown so far, and how bad it is.
struct Shown {
    form: Form,
    now: Timestamp,
    documents: Vec<Value>,
    rows: Vec<Row>,
    notes: Vec<String>,
    worst: Exit,
    /// The errors that were told: what several readings meet is told once.
    told: BTreeSet<String>,
    /// When the runs failed of which that was told, by their numbers.
    failed: BTreeMap<u64, Timestamp>,
}

impl Shown {
    /// What was read; or the error is told.
    fn keep<T>(&mut self, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                self.worst = self.worst.max(Exit::from(error.kind()));
                if self.told.insert(error.chain().join("\n")) {
                    view::error::print(&error, self.form == Form::Json);
                }
                None
            }
        }
    }

    /// Says who works on a target, and since when.
    fn locked(&mut self, cloud: CloudName, holder: &Holder, until: Timestamp) {
        let state = lock::passing(machine::Here.known(holder), until < self.now);
        let holder = foreign::one_line(&holder.to_string());
        match self.form {
            Form::Json => {}
            Form::Long => outln!("  locked by {holder}{state}"),
            Form::Table => self
                .notes
                .push(format!("{cloud} is locked by {holder}{state}")),
        }
    }

    /// The line of a thing, over all clouds.
    fn row(&mut self, name: &str, sort: Option<&'static str>) -> &mut Row {
        let same = |row: &Row| row.name == name && row.sort == sort;
        let at = match self.rows.iter().position(same) {
            Some(at) => at,
            None => {
                self.rows.push(Row {
                    name: name.to_owned(),
                    sort,
                    ..Row::default()
                });
                self.rows.len() - 1
            }
        };
        &mut self.rows[at]
    }

    fn print(&self, session: &Session) {
        let clouds: Vec<CloudName> = session.places.iter().map(Place::name).collect();
        let sandbox = session.places.iter().any(|it| it.cloud.target().sandbox);
        let manifest = &session.loaded.manifest;
        let mark = if sandbox { " · SANDBOX" } else { "" };
        let width = view::width();
        let title = format!("{} · {}{mark}", manifest.app, session.loaded.environment);
        outln!("{}", view::status::headed(&title, self.now, width));
        out!(
            "{}",
            view::status::render(&self.rows, &self.notes, &clouds, width)
        );
    }

    async fn service(
        &mut self,
        place: &Place,
        key: &str,
        service: &ServiceSpec,
        (inventory, failed): (Option<&Inventory>, Option<&FailedRuns>),
    ) {
        let serving = self.keep(place.serving(service).await);
        let record = self.keep(store::record(place, service).await).flatten();
        let latest = self.keep(place.ledger.latest_release(key).await);
        let mut holds = self.keep(place.ledger.holds(key).await).unwrap_or_default();
        let releases = self.keep(place.ledger.releases(key).await);
        let follows = |_: &str| false;
        let releases = releases.unwrap_or_default();
        let history = History::new(&releases, &follows);
        holds.retain(|hold| history.stands(hold));
        let is_known = latest.is_some();
        let release = latest.flatten();
        // After a destroy, nothing is what is to be there, until a run makes it anew. What was made
        // a moment before it and is not seen any more stays noted for a while.
        let is_left = |(_, item): &(&Address, &Item)| item.gone_since.is_none();
        let is_it =
            |address: &Address| role(address) == Role::Service && address.name == service.name;
        let destroyed = release.is_some()
            && inventory.is_some_and(|it| {
                let mut left = it.items.iter().filter(is_left).peekable();
                let none = left.peek().is_none();
                let not_seen = matches!(&serving, Some(None));
                none || not_seen && !left.any(|(address, _)| is_it(address))
            });
        let Some(serving) = serving else {
            return;
        };
        let expected = release.as_ref().filter(|_| !destroyed);
        self.worst = self.worst.max(judge(serving.as_ref(), expected));
        let now = self.now;
        let goes_on = |it: &Serving| matches!(it.state, ServingState::InProgress(_));
        let failed = failed.filter(|_| !destroyed && !serving.as_ref().is_some_and(goes_on));
        let looked = Looked {
            serving: serving.as_ref(),
            release: release.as_ref(),
            is_known,
            destroyed,
            holds: &holds,
            releases: &releases,
            failed: failed
                .and_then(|it| it.of(key, release.as_ref()))
                .map(|it| it.together(&mut self.failed)),
            now,
        };
        let miscounted = looked.miscounted(service);
        if looked.failed.is_some() || miscounted.is_some() {
            self.worst = self.worst.max(Exit::Untrue);
        }
        if self.form == Form::Json {
            self.documents.push(json!({
                "cloud": place.name(), "target": place.cloud.target(), "service": key, "name": service.name,
                "serving": serving, "release": release, "hold": holds.last(), "holds": holds, "destroyed": destroyed,
                "failed_since": looked.failed.as_ref().map(Failed::document),
                "record": service.record.as_ref().map(|wanted| json!({
                    "name": wanted.name, "zone": wanted.zone, "status": record,
                })),
            }));
        } else if self.form == Form::Table {
            let row = self.row(key, None);
            row.cells.insert(place.name(), looked.cell(now));
            let cloud = place.name();
            row.wrong.extend(looked.wrong().map(|why| (cloud, why)));
            row.wrong.extend(miscounted.map(|why| (cloud, why)));
            let notes = looked.notes(service, record.as_ref(), now);
            row.notes
                .extend(notes.into_iter().map(|note| (cloud, note)));
        } else if destroyed && serving.is_none() {
            outln!("  {key}  destroyed");
        } else {
            let told = match is_known {
                true => describe(key, serving.as_ref(), release.as_ref(), &holds),
                false => describe_unread(key, serving.as_ref()),
            };
            out!("{}", view::hung(&told, WORDS));
            let more = looked.unsaid().into_iter().chain(miscounted);
            for why in more {
                out!("{}", view::hung(&format!("    {:<9}  {why}", "!"), WORDS));
            }
            out!("{}", named(service, record.as_ref()));
        }
    }
}

/// One service on one target.
struct Looked<'a> {
    serving: Option<&'a Serving>,
    release: Option<&'a Release>,
    /// Whether the ledger could be read.
    is_known: bool,
    destroyed: bool,
    holds: &'a [Hold],
    releases: &'a [Release],
    /// The newest attempt that failed since the release.
    failed: Option<Failed>,
    now: Timestamp,
}

impl Looked<'_> {
    /// `r7 1.1  1 of 1  2m  verified`
    fn cell(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        match self.release {
            _ if self.destroyed && self.serving.is_none() => return "destroyed".into(),
            Some(release) => parts.push(format!(
                "r{} {}",
                release.number,
                ImageName::of(release).name()
            )),
            None if self.is_known => parts.push("no release".to_owned()),
            None => parts.push("its release cannot be read".to_owned()),
        }
        let Some(serving) = self.serving else {
            let nothing = if self.release.is_some() {
                "NOTHING THERE"
            } else {
                "-"
            };
            parts.push(match (&self.failed, self.release) {
                (Some(_), None) => "FAILED".to_owned(),
                _ => nothing.into(),
            });
            return parts.join("  ");
        };
        let expected = self.release.filter(|_| !self.destroyed);
        match &serving.state {
            ServingState::Ready if differs(serving, expected).is_some() => {
                parts.push("DIFFERS".into());
            }
            ServingState::Ready => parts.push(match serving.instances {
                Some((wanted, running)) => format!("{running} of {wanted}"),
                None => "ready".into(),
            }),
            ServingState::InProgress(_) => parts.push("in progress".into()),
            ServingState::Failing(_) => parts.push("FAILING".into()),
            // What failed came after it: the release serves on.
            ServingState::Failed(_) if self.outlives().is_some() => {
                parts.push("NEWER FAILED".into());
            }
            ServingState::Failed(_) => parts.push("FAILED".into()),
        }
        let cloud_says = self.outlives().is_some();
        if self.failed.is_some() && !cloud_says {
            parts.push("NEWER FAILED".into());
        }
        if let Some(release) = self.release {
            parts.push(duration::since(release.at, now));
            match release.verified {
                Some(true) if cloud_says || self.failed.is_some() => {}
                Some(true) => parts.push("verified".into()),
                Some(false) => parts.push("NOT VERIFIED".into()),
                None => {}
            }
        }
        parts.join("  ")
    }

    /// The release that serves on although a newer one failed.
    fn outlives(&self) -> Option<&Release> {
        let serving = self.serving?;
        let release = self.release.filter(|_| !self.destroyed)?;
        let failed = matches!(serving.state, ServingState::Failed(_));
        (failed && has_all(serving, release)).then_some(release)
    }

    /// What the app printed last, as the end of a sentence.
    fn printed(&self) -> String {
        let failed = self.failed.as_ref();
        failed.map(Failed::printed).unwrap_or_default()
    }

    /// The attempt that failed, by the ledger: the cloud says nothing of it, or at length.
    fn unsaid(&self) -> Option<String> {
        let failed = self.failed.as_ref()?;
        // What never came to serve is what the cloud describes: its own words say the same.
        let state = self.serving.map(|serving| &serving.state);
        let describes = matches!(
            state,
            Some(ServingState::Failed(_) | ServingState::Failing(_))
        );
        if describes && self.outlives().is_none() {
            return None;
        }
        let failed = failed.in_words(self.now);
        Some(match (self.release, self.serving) {
            (Some(release), Some(_)) => format!("r{} serves; {failed}", release.number),
            (Some(_), None) => failed,
            (None, _) => format!("nothing serves; {failed}"),
        })
    }

    /// How many instances are asked for, where neither the manifest nor the release says that.
    fn miscounted(&self, service: &ServiceSpec) -> Option<String> {
        let (wanted, _) = self.serving?.instances?;
        let release = self.release.filter(|_| !self.destroyed)?;
        let specs = [service, &release.spec];
        let says = |spec: &ServiceSpec| {
            let Replicas { min, max } = spec.replicas;
            spec.unsaid.contains("replicas") || (min..=max).contains(&wanted)
        };
        (!specs.into_iter().any(says)).then(|| {
            let count = facts::replicas(service.replicas);
            format!("DIFFERS: {wanted} instances are asked for, the manifest says {count}")
        })
    }

    /// What is not as it should be.
    fn wrong(&self) -> impl Iterator<Item = String> {
        let expected = self.release.filter(|_| !self.destroyed);
        let state = self.serving.and_then(|serving| match &serving.state {
            ServingState::Ready | ServingState::InProgress(_) => None,
            _ if self.outlives().is_some() && self.failed.is_some() => None,
            state @ (ServingState::Failing(_) | ServingState::Failed(_)) => {
                Some(match self.outlives() {
                    Some(release) => format!(
                        "r{} serves; what came after it {}{}",
                        release.number,
                        in_words(state),
                        self.printed()
                    ),
                    None => format!("{}{}", in_words(state), self.printed()),
                })
            }
        });
        // While it rolls out, what serves is not yet what is to serve; where nothing does, or
        // several do, that is what the cloud says failed.
        let settled = self.serving.filter(|it| match it.state {
            ServingState::InProgress(_) => false,
            ServingState::Failed(_) => it.traffic.len() == 1,
            ServingState::Ready | ServingState::Failing(_) => true,
        });
        let differs = settled.and_then(|it| differs(it, expected));
        let differs = differs.map(|difference| format!("DIFFERS: {difference}"));
        let gone = expected.filter(|_| self.serving.is_none());
        let gone = gone.map(|it| format!("r{} is to serve, and nothing is there", it.number));
        let verified = self.release.and_then(|it| it.verified);
        let verified = (verified == Some(false)).then(|| "VERIFICATION FAILED".to_owned());
        let unsaid = self.unsaid();
        let all = [state, unsaid, differs, gone, verified];
        all.into_iter().flatten()
    }

    /// What else people should know.
    fn notes(
        &self,
        service: &ServiceSpec,
        record: Option<&RecordStatus>,
        now: Timestamp,
    ) -> Vec<String> {
        let holds = self.holds.iter();
        let mut notes: Vec<String> = holds.map(|it| held(it, self.releases, now)).collect();
        if let Some(ServingState::InProgress(why)) = self.serving.map(|it| &it.state) {
            notes.push(format!("in progress: {why}"));
        }
        let named = named(service, record);
        let named: Vec<&str> = named.split_whitespace().skip(1).collect();
        if !named.is_empty() {
            notes.push(named.join(" "));
        }
        notes
    }
}

/// What serves, where the ledger does not say what should.
fn describe_unread(key: &str, serving: Option<&Serving>) -> String {
    let text = describe(key, serving, None, &[]);
    text.replacen("no release", "its release cannot be read", 1)
}

fn judge(serving: Option<&Serving>, release: Option<&Release>) -> Exit {
    match (serving, release) {
        (None, None) => Exit::Success,
        (None, Some(_)) => Exit::Untrue,
        (Some(serving), _) => match serving.state {
            ServingState::Failing(_) | ServingState::Failed(_) => Exit::Untrue,
            ServingState::InProgress(_) => Exit::Success,
            ServingState::Ready => {
                differs(serving, release).map_or(Exit::Success, |_| Exit::Untrue)
            }
        },
    }
}

/// Whether a release gets all of the traffic.
fn has_all(serving: &Serving, release: &Release) -> bool {
    let name = release.revision.0.rsplit('/').next().unwrap_or_default();
    let mut traffic = serving.traffic.iter();
    traffic.any(|(revision, share)| *share == 100 && revision.0.ends_with(name))
}

/// Says when what serves is not what the last release says.
fn differs(serving: &Serving, release: Option<&Release>) -> Option<String> {
    let release = release?;
    (!has_all(serving, release)).then(|| {
        let shares: Vec<String> = serving
            .traffic
            .iter()
            .map(|(revision, share)| format!("{} {share} %", short(&revision.0)))
            .collect();
        format!(
            "the ledger says r{} ({}), the cloud says {}",
            release.number,
            short(&release.revision.0),
            shares.join(", ")
        )
    })
}

fn in_words(state: &ServingState) -> String {
    match state {
        ServingState::Ready => "ready".to_owned(),
        ServingState::InProgress(why) => format!("in progress: {}", foreign::words(why)),
        ServingState::Failing(why) => format!("failing: {}", foreign::words(why)),
        ServingState::Failed(why) => format!("failed: {}", brief(&foreign::words(why))),
    }
}

/// The line about a service's own name; none when the manifest gives it none.
fn named(service: &ServiceSpec, record: Option<&RecordStatus>) -> String {
    let Some(wanted) = &service.record else {
        return String::new();
    };
    let says = match record {
        Some(record) => {
            let leads_to = foreign::one_line(&record.leads_to.join(", "));
            format!("{} {leads_to}", foreign::one_line(&record.kind))
        }
        None => "no record in the zone".to_owned(),
    };
    format!("    name       {} {says}\n", wanted.name)
}

fn describe(
    key: &str,
    serving: Option<&Serving>,
    release: Option<&Release>,
    holds: &[Hold],
) -> String {
    let mut lines = vec![match release {
        Some(release) => format!(
            "  {key}  r{} content {}{}",
            release.number,
            release.content(),
            match release.verified {
                Some(true) => ", verified",
                Some(false) => ", VERIFICATION FAILED",
                None => "",
            }
        ),
        None => format!("  {key}  no release"),
    }];
    match serving {
        None => lines.push("    nothing of that name in the cloud".into()),
        Some(serving) => {
            lines.push(format!("    state      {}", in_words(&serving.state)));
            for (revision, share) in &serving.traffic {
                let serves = foreign::one_line(&short(&revision.0));
                lines.push(format!("    serves     {serves} {share} %"));
                if let Some(image) = serving.images.get(&revision.0) {
                    let tag = release.filter(|it| it.image == *image);
                    let tag = tag.and_then(|it| it.tag.as_ref());
                    let tag = tag.map_or_else(String::new, |tag| format!("{tag} "));
                    let image = format!("{tag}{}", facts::short(&image.0));
                    lines.push(format!("    image      {}", foreign::one_line(&image)));
                }
            }
            if let Some((wanted, running)) = serving.instances {
                lines.push(format!("    instances  {running} of {wanted}"));
            }
            if let Some(url) = &serving.url {
                lines.push(format!("    address    {}", foreign::one_line(url)));
            }
            let split =
                matches!(serving.state, ServingState::Failed(_)) && serving.traffic.len() > 1;
            if let Some(difference) = differs(serving, release).filter(|_| !split) {
                lines.push(format!("    DIFFERS    {difference}"));
            }
        }
    }
    if let Some(release) = release {
        let (at, by) = (release.at, foreign::one_line(&release.by));
        lines.push(format!("    released   {at:.0} by {by}"));
    }
    for hold in holds {
        let (rejected, by, since) = (hold.rejected, foreign::one_line(&hold.by), hold.since);
        lines.push(match hold.unfinished {
            None => format!("    hold       r{rejected} was rejected by {by} at {since:.0}"),
            Some(to) => format!(
                "    hold       {by} was rolling back from r{rejected} to r{to} at {since:.0} and did not come to the end"
            ),
        });
    }
    lines.join("\n") + "\n"
}
