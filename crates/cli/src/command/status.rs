//! `deployer status`: what serves and what keeps data, in the clouds' own words, beside what the ledger says.

mod store;

use std::collections::BTreeSet;

use deployer_core::capability::{RecordStatus, Serving, ServingState};
use deployer_core::error::Result;
use deployer_core::history::History;
use deployer_core::ledger::{Hold, Inventory, Release, Standing};
use deployer_core::spec::ServiceSpec;
use serde_json::{Value, json};

use crate::args::{Global, ServiceArgs};
use crate::command::releases::short;
use crate::exit::Exit;
use crate::session::{Place, Session, header};
use crate::view::{self, foreign};

/// Shows every service asked for on every target, and the databases and caches when none is asked for by name. Exits with
/// the code of what is not as it should be. What cannot be read is told, and everything else is shown all the same.
pub async fn run(global: &Global, session: Session, args: &ServiceArgs) -> Result<Exit> {
    let mut shown = Shown {
        as_json: global.json,
        documents: Vec::new(),
        worst: session.failure(),
        told: BTreeSet::new(),
    };
    for place in &session.places {
        if !global.json {
            outln!("{}", header(place.cloud.target(), &place.caller));
        }
        let standing = place.ledger.lock_standing().await;
        if let Some(Standing::Held { holder, .. }) = shown.keep(standing)
            && !global.json
        {
            outln!("  locked by {}", foreign::one_line(&holder.to_string()));
        }
        // Without it, nothing is known to be destroyed, and nothing to be lost.
        let inventory = shown.keep(place.ledger.inventory().await);
        for key in session.services(args.service.as_deref())? {
            if let Some(service) = place.env.services.get(&key) {
                shown
                    .service(place, &key, service, inventory.as_ref())
                    .await;
            }
        }
        if args.service.is_none() {
            let none = Inventory::default();
            let stores = store::of(place, inventory.as_ref().unwrap_or(&none)).await;
            for store in shown.keep(stores).into_iter().flatten() {
                shown.worst = shown.worst.max(store.judge());
                match global.json {
                    true => shown.documents.push(store.document(place)),
                    false => out!("{}", store.describe()),
                }
            }
        }
    }
    if global.json {
        view::json(&shown.documents);
    }
    Ok(shown.worst)
}

/// What was shown so far, and how bad it is.
struct Shown {
    as_json: bool,
    documents: Vec<Value>,
    worst: Exit,
    /// The errors that were told: what several readings meet is told once.
    told: BTreeSet<String>,
}

impl Shown {
    /// What was read; or the error is told.
    fn keep<T>(&mut self, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                self.worst = self.worst.max(Exit::from(error.kind()));
                if self.told.insert(error.chain().join(
                    "
",
                )) {
                    view::error::print(&error, self.as_json);
                }
                None
            }
        }
    }

    async fn service(
        &mut self,
        place: &Place,
        key: &str,
        service: &ServiceSpec,
        inventory: Option<&Inventory>,
    ) {
        let serving = self.keep(place.cloud.runtime().serving(service).await);
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
        // After a destroy, nothing is what is to be there.
        let empty = inventory.is_some_and(|inventory| inventory.items.is_empty());
        let destroyed = release.is_some() && empty;
        let Some(serving) = serving else {
            return;
        };
        let expected = release.as_ref().filter(|_| !destroyed);
        self.worst = self.worst.max(judge(serving.as_ref(), expected));
        if self.as_json {
            self.documents.push(json!({
                "cloud": place.name(), "target": place.cloud.target(), "service": key, "name": service.name,
                "serving": serving, "release": release, "hold": holds.last(), "holds": holds, "destroyed": destroyed,
                "record": service.record.as_ref().map(|wanted| json!({
                    "name": wanted.name, "zone": wanted.zone, "status": record,
                })),
            }));
        } else if destroyed && serving.is_none() {
            outln!("  {key}  destroyed");
        } else {
            let told = match is_known {
                true => describe(key, serving.as_ref(), release.as_ref(), &holds),
                false => describe_unread(key, serving.as_ref()),
            };
            out!("{told}");
            out!("{}", named(service, record.as_ref()));
        }
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

/// Says when what serves is not what the last release says.
fn differs(serving: &Serving, release: Option<&Release>) -> Option<String> {
    let release = release?;
    let whole = serving.traffic.iter().any(|(revision, share)| {
        *share == 100
            && revision
                .0
                .ends_with(release.revision.0.rsplit('/').next().unwrap_or_default())
    });
    (!whole).then(|| {
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
        ServingState::Failed(why) => format!("failed: {}", foreign::words(why)),
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
            release.content_id,
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
                    lines.push(format!("    image      {}", foreign::one_line(&image.0)));
                }
            }
            if let Some((wanted, running)) = serving.instances {
                lines.push(format!("    instances  {running} of {wanted}"));
            }
            if let Some(url) = &serving.url {
                lines.push(format!("    address    {}", foreign::one_line(url)));
            }
            if let Some(difference) = differs(serving, release) {
                lines.push(format!("    DIFFERS    {difference}"));
            }
        }
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
