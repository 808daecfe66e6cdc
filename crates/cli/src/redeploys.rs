//! New roll-outs of what serves that a person asks for: of which services, and after which roll-out
//! of each on each target.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::compose::Part;
use deployer_core::error::{Error, Result};
use deployer_core::redeploy::Redeploy;

use crate::held::HeldService;
use crate::session::{Place, Session};

/// By target and by the services' names.
pub type Redeploys = BTreeMap<CloudName, BTreeMap<String, Redeploy>>;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Of these services, after whatever roll-out is the newest of each.
    Now(BTreeSet<String>),
    /// As a plan file says.
    AsPlanned(Redeploys),
}

impl Asked {
    /// None.
    pub const NOTHING: Self = Self::Now(BTreeSet::new());

    /// The services.
    pub fn services(&self) -> BTreeSet<&str> {
        match self {
            Self::Now(services) => services.iter().map(String::as_str).collect(),
            Self::AsPlanned(redeploys) => {
                let services = redeploys.values().flat_map(BTreeMap::keys);
                services.map(String::as_str).collect()
            }
        }
    }
}

/// What is to be rolled out anew on every target. One that a killed run was asked for is not asked
/// for twice: it comes after the same roll-out as it was to, whether or not it is named again. A
/// service that is not there yet has nothing to start anew.
///
/// Errors: input, when a service is unknown, is not of the part that is planned, or is on hold.
pub async fn find(
    session: &Session,
    asked: &Asked,
    part: &Part,
    held: &[HeldService],
) -> Result<Redeploys> {
    for service in asked.services() {
        check(session, service, part, held)?;
    }
    let mut redeploys = Redeploys::new();
    for place in &session.places {
        let mut due = place.ledger.unfinished_redeploys().await?;
        due.retain(|key, _| part.has(key) && !is_held(held, place, key));
        match asked {
            Asked::AsPlanned(planned) => {
                let planned = planned.get(&place.name()).cloned();
                due.extend(planned.unwrap_or_default());
            }
            Asked::Now(services) => {
                for key in services {
                    if !due.contains_key(key)
                        && let Some(redeploy) = after_newest(place, key).await?
                    {
                        due.insert(key.clone(), redeploy);
                    }
                }
            }
        }
        redeploys.insert(place.name(), due);
    }
    Ok(redeploys)
}

async fn after_newest(place: &Place, key: &str) -> Result<Option<Redeploy>> {
    let Some(service) = place.env.services.get(key) else {
        return Ok(None);
    };
    let newest = place.cloud.services().newest_rollout(service).await?;
    let last = place.ledger.latest_release(key).await?;
    Ok(newest.map(|after| Redeploy {
        after,
        release: last.map_or(0, |last| last.number),
    }))
}

fn check(session: &Session, service: &str, part: &Part, held: &[HeldService]) -> Result<()> {
    session.services(Some(service))?;
    if !part.has(service) {
        let message = format!("`--redeploy {service}` is not of what `--only` applies");
        return Err(Error::input(message).hint(format!("add `--only {service}`")));
    }
    let mut places = session.places.iter();
    let Some(place) = places.find(|place| is_held(held, place, service)) else {
        return Ok(());
    };
    let message = format!(
        "`{service}` is on hold on {}: what serves there is not what the manifest says",
        place.name()
    );
    Err(Error::input(message)
        .hint("`deployer apply --release-hold` makes the manifest's release serve"))
}

fn is_held(held: &[HeldService], place: &Place, service: &str) -> bool {
    let mut held = held.iter();
    held.any(|it| it.cloud == place.name() && it.service == service)
}
