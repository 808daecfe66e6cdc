//! `deployer status`: what serves and what keeps data, in the clouds' own words, beside what the ledger says.

mod store;

use deployer_core::capability::{RecordStatus, Serving, ServingState};
use deployer_core::error::Result;
use deployer_core::history::History;
use deployer_core::ledger::{Hold, Release, Standing};
use deployer_core::spec::ServiceSpec;
use serde_json::json;

use crate::args::{Global, ServiceArgs};
use crate::command::releases::short;
use crate::exit::Exit;
use crate::session::{Session, header};
use crate::view;

/// Shows every service asked for on every target, and the databases and caches when none is asked for by name. Exits with
/// the code of what is not as it should be.
pub async fn run(global: &Global, session: Session, args: &ServiceArgs) -> Result<Exit> {
    let mut worst = session.failure();
    let mut documents = Vec::new();
    for place in &session.places {
        let target = place.cloud.target();
        if !global.json {
            outln!("{}", header(target, &place.caller));
        }
        if let Standing::Held { holder, .. } = place.ledger.lock_standing().await?
            && !global.json
        {
            outln!("  locked by {holder}");
        }
        let inventory = place.ledger.inventory().await?;
        for key in session.services(args.service.as_deref())? {
            let Some(service) = place.env.services.get(&key) else {
                continue;
            };
            let serving = place.cloud.runtime().serving(service).await?;
            let record = store::record(place, service).await?;
            let release = place.ledger.latest_release(&key).await?;
            let releases = place.ledger.releases(&key).await?;
            let follows = |_: &str| false;
            let history = History::new(&releases, &follows);
            let mut holds = place.ledger.holds(&key).await?;
            holds.retain(|hold| history.stands(hold));
            // After a destroy, nothing is what is to be there.
            let destroyed = release.is_some() && inventory.items.is_empty();
            worst = worst.max(judge(
                serving.as_ref(),
                release.as_ref().filter(|_| !destroyed),
            ));
            if global.json {
                documents.push(json!({
                    "cloud": place.name(), "target": target, "service": key, "name": service.name,
                    "serving": serving, "release": release, "hold": holds.last(), "holds": holds, "destroyed": destroyed,
                    "record": service.record.as_ref().map(|wanted| json!({
                        "name": wanted.name, "zone": wanted.zone, "status": record,
                    })),
                }));
            } else if destroyed && serving.is_none() {
                outln!("  {key}  destroyed");
            } else {
                out!(
                    "{}",
                    describe(&key, serving.as_ref(), release.as_ref(), &holds)
                );
                out!("{}", named(service, record.as_ref()));
            }
        }
        if args.service.is_none() {
            for store in store::of(place, &inventory).await? {
                worst = worst.max(store.judge());
                match global.json {
                    true => documents.push(store.document(place)),
                    false => out!("{}", store.describe()),
                }
            }
        }
    }
    if global.json {
        view::json(&documents);
    }
    Ok(worst)
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
        ServingState::InProgress(why) => format!("in progress: {why}"),
        ServingState::Failing(why) => format!("failing: {why}"),
        ServingState::Failed(why) => format!("failed: {why}"),
    }
}

/// The line about a service's own name; none when the manifest gives it none.
fn named(service: &ServiceSpec, record: Option<&RecordStatus>) -> String {
    let Some(wanted) = &service.record else {
        return String::new();
    };
    let says = match record {
        Some(record) => format!("{} {}", record.kind, record.leads_to.join(", ")),
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
                lines.push(format!("    serves     {} {share} %", short(&revision.0)));
                if let Some(image) = serving.images.get(&revision.0) {
                    lines.push(format!("    image      {}", image.0));
                }
            }
            if let Some((wanted, running)) = serving.instances {
                lines.push(format!("    instances  {running} of {wanted}"));
            }
            if let Some(url) = &serving.url {
                lines.push(format!("    address    {url}"));
            }
            if let Some(difference) = differs(serving, release) {
                lines.push(format!("    DIFFERS    {difference}"));
            }
        }
    }
    for hold in holds {
        let (rejected, by, since) = (hold.rejected, &hold.by, hold.since);
        lines.push(match hold.unfinished {
            None => format!("    hold       r{rejected} was rejected by {by} at {since:.0}"),
            Some(to) => format!(
                "    hold       {by} was rolling back from r{rejected} to r{to} at {since:.0} and did not come to the end"
            ),
        });
    }
    lines.join("\n") + "\n"
}
