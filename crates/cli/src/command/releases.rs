//! `deployer releases`: what was applied, newest first.

use deployer_core::address::CloudName;
use deployer_core::capability::{Serving, ServingState};
use deployer_core::error::Result;
use deployer_core::history::{Current, History, Standing};
use deployer_core::ledger::{Hold, Release};
use serde_json::json;

use crate::again::Again;
use crate::args::{Global, ServiceArgs};
use crate::exit::Exit;
use crate::session::{Place, Session};
use crate::view;

/// Lists the releases of each service on each target, and which one serves: the cloud's word, not the last record's.
pub async fn run(global: &Global, session: Session, args: &ServiceArgs) -> Result<Exit> {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    let mut worst = session.failure();
    for place in &session.places {
        for service in session.services(args.service.as_deref())? {
            match Listed::read(place, &service).await {
                Ok(listed) => {
                    rows.extend(listed.rows());
                    documents.push(listed.document());
                }
                Err(error) => {
                    worst = worst.max(Exit::from(error.kind()));
                    view::error::print(&error, global.json);
                }
            }
        }
    }
    if global.json {
        view::json(&documents);
    } else if rows.is_empty() {
        let apply = Again::new(global, "apply");
        sayln!("nothing was released yet; `{apply}` makes the first release");
    } else {
        let header = [
            "CLOUD", "SERVICE", "RELEASE", "CONTENT", "TAG", "REVISION", "WHEN", "WHO", "",
        ];
        out!("{}", view::table::render(&header, &rows));
    }
    Ok(worst)
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
}

impl Listed {
    async fn read(place: &Place, service: &str) -> Result<Self> {
        let (mut holds, releases) =
            tokio::try_join!(place.ledger.holds(service), place.ledger.releases(service))?;
        let follows = |_: &str| false;
        let history = History::new(&releases, &follows);
        holds.retain(|hold| history.stands(hold));
        let serving = match place.env.services.get(service) {
            Some(spec) if !releases.is_empty() => place.cloud.runtime().serving(spec).await,
            Some(_) | None => Ok(None),
        };
        let under_way = |serving: &Serving| matches!(serving.state, ServingState::InProgress(_));
        let goes_on = matches!(&serving, Ok(Some(serving)) if under_way(serving));
        let current = serving
            .map(|serving| Current::of(serving.as_ref()))
            .map_err(|error| error.chain().join(": "));
        Ok(Self {
            cloud: place.name(),
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

    fn marks(&self, release: &Release, serves: Option<u64>) -> Vec<String> {
        let mut marks = Vec::new();
        let last = self.releases.last().map(|last| last.number);
        if serves == Some(release.number) && !(self.under_way && release.detached) {
            marks.push("serves".to_owned());
        } else if release.detached && last == Some(release.number) {
            marks.push("not seen serving".to_owned());
        }
        if release.verified == Some(false) {
            marks.push("failed its verification".to_owned());
        }
        let mut holds = self.holds.iter();
        if let Some(hold) = holds.find(|hold| hold.rejected == release.number) {
            marks.push(match hold.unfinished {
                None => "rejected, on hold".to_owned(),
                Some(to) => format!("its rollback to r{to} did not come to the end"),
            });
        }
        if let Some(to) = release.rollback_to {
            marks.push(match release.put_back {
                true => format!("r{to} again"),
                false => format!("rollback to r{to}"),
            });
        }
        marks.extend(release.kept.iter().map(|kept| format!("but {kept}")));
        marks
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let serves = self.serves();
        let (cloud, service) = (self.cloud.to_string(), self.service.clone());
        let mut rows = Vec::new();
        if let (Err(Some(words)), false) = (&serves, self.releases.is_empty()) {
            let mut row = vec![cloud.clone(), service.clone()];
            row.extend(std::iter::repeat_n("-".to_owned(), 6));
            row.push(words.clone());
            rows.push(row);
        }
        let serves = serves.ok();
        rows.extend(self.releases.iter().rev().map(|release| {
            vec![
                cloud.clone(),
                service.clone(),
                format!("r{}", release.number),
                release.content_id.clone(),
                release.tag.clone().unwrap_or_else(|| "-".into()),
                short(&release.revision.0),
                format!("{:.0}", release.at),
                release.by.clone(),
                self.marks(release, serves).join(", "),
            ]
        }));
        rows
    }

    fn document(&self) -> serde_json::Value {
        let serves = self.serves();
        let releases = self.releases.iter().rev();
        let releases: Vec<serde_json::Value> =
            releases.map(view::release::with_short_names).collect();
        json!({
            "cloud": self.cloud, "service": self.service, "hold": self.holds.last(),
            "holds": self.holds, "releases": releases, "serves": serves.as_ref().ok(),
            "serves_in_words": serves.err().flatten(),
        })
    }
}

/// The last part of an ARN; a revision's name as it is.
pub fn short(revision: &str) -> String {
    revision.rsplit('/').next().unwrap_or(revision).to_owned()
}
