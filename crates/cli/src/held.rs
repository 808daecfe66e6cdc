//! Services that a rollback holds back: which they are, what serves meanwhile, and which secrets
//! that pins.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::capability::SecretContent;
use deployer_core::error::Result;
use deployer_core::history::{Current, History, Standing};
use deployer_core::ledger::Hold;
use secrecy::{ExposeSecret, SecretString};

use crate::facts::revision_name;
use crate::pins;
use crate::session::{Place, Session};

/// What of a service's content is a target's own, by target and service.
pub type Overrides = BTreeMap<(CloudName, String), String>;

/// What each target's secrets are to hold, by the manifest's names.
pub type Contents = BTreeMap<CloudName, BTreeMap<String, SecretContent>>;

/// A service that is left alone.
#[derive(Clone, Debug)]
pub struct HeldService {
    pub cloud: CloudName,
    pub service: String,
    pub hold: Hold,
}

/// The services that a hold leaves alone, as the manifest and the secrets are now.
pub async fn find(
    session: &Session,
    (content_ids, overrides): (&BTreeMap<String, String>, &Overrides),
    contents: &Contents,
) -> Result<Vec<HeldService>> {
    let mut held = Vec::new();
    for place in &session.places {
        let cloud = place.name();
        for (service, content_id) in content_ids {
            let own = overrides.get(&(cloud, service.clone()));
            let all = place.ledger.holds(service).await?;
            if all.is_empty() {
                continue;
            }
            let releases = place.ledger.releases(service).await?;
            let follows = pins::follows(place);
            let history = History::new(&releases, &follows);
            for hold in all.into_iter().filter(|hold| history.stands(hold)) {
                let same = hold.content_id == *content_id
                    && (hold.overrides.is_none() || hold.overrides.as_ref() == own);
                if same
                    && pins_the_same(place, &hold, contents.get(&cloud)).await?
                    && holds_back(place, service, &hold).await?
                {
                    let service = service.clone();
                    held.push(HeldService {
                        cloud,
                        service,
                        hold,
                    });
                    break;
                }
            }
        }
    }
    Ok(held)
}

/// Whether anything serves instead: where a destroy took it away, there is nothing that a hold
/// keeps serving.
async fn holds_back(place: &Place, service: &str, hold: &Hold) -> Result<bool> {
    match place.env.services.get(service) {
        Some(spec) if hold.unfinished.is_none() => Ok(place.serving(spec).await?.is_some()),
        Some(_) | None => Ok(true),
    }
}

/// Whether an apply would pin the secrets that the rejected release pins: one with another value
/// may be what mends it.
async fn pins_the_same(
    place: &Place,
    hold: &Hold,
    contents: Option<&BTreeMap<String, SecretContent>>,
) -> Result<bool> {
    let store = place.cloud.secrets();
    for (key, rejected) in &hold.secrets {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        let status = store.status(&secret.name).await?;
        if status.and_then(|status| status.version).as_ref() != Some(rejected) {
            return Ok(false);
        }
        if let Some(SecretContent::Exactly(wanted)) = contents.and_then(|all| all.get(key)) {
            let held = store.value(&secret.name).await?;
            let same = |held: &SecretString| held.expose_secret() == wanted.expose_secret();
            if !held.as_ref().is_some_and(same) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Says what is held, and what serves meanwhile.
pub async fn note(session: &Session, held: &HeldService) -> String {
    let HeldService {
        cloud,
        service,
        hold,
    } = held;
    if let Some(to) = hold.unfinished {
        return format!(
            "{cloud}: {} was rolling `{service}` back from r{} to r{to} at {:.0} and did not come to the end; apply \
             finishes it, or pass --release-hold",
            hold.by, hold.rejected, hold.since
        );
    }
    let serves = serves_meanwhile(session, held).await;
    format!(
        "{cloud}: `{service}` is on hold and left as it is: {} rolled back from r{} to r{} at {:.0}, and the manifest still says \
         r{}; {serves}; change the image or the configuration, or pass --release-hold",
        hold.by, hold.rejected, hold.serving, hold.since, hold.rejected
    )
}

async fn serves_meanwhile(session: &Session, held: &HeldService) -> String {
    let places = session.places.iter();
    let mut places = places.filter(|place| place.name() == held.cloud);
    let unknown = || "what serves cannot be told".to_owned();
    let Some(place) = places.next() else {
        return unknown();
    };
    let Some(spec) = place.env.services.get(&held.service) else {
        return unknown();
    };
    let asked = tokio::join!(place.serving(spec), place.ledger.releases(&held.service));
    let (Ok(serving), Ok(releases)) = asked else {
        return unknown();
    };
    let follows = pins::follows(place);
    let history = History::new(&releases, &follows);
    match history.standing(&Current::of(serving.as_ref())) {
        Standing::Last(release) | Standing::Earlier(release) => {
            format!(
                "r{} serves ({})",
                release.number,
                revision_name(&release.revision.0)
            )
        }
        Standing::Unrecorded(revision) => format!("{} serves", revision_name(&revision.0)),
        Standing::Several(_) => "several revisions serve".to_owned(),
        Standing::Nothing => "nothing serves".to_owned(),
    }
}
