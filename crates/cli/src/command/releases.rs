//! `deployer releases`: what was applied, newest first.

use deployer_core::error::Result;
use serde_json::json;

use crate::args::{Global, ServiceArgs};
use crate::exit::Exit;
use crate::session::Session;
use crate::view;

/// Lists the releases of each service on each target.
pub async fn run(global: &Global, session: Session, args: &ServiceArgs) -> Result<Exit> {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for place in &session.places {
        for service in session.services(args.service.as_deref())? {
            let hold = place.ledger.hold(&service).await?;
            let mut releases = place.ledger.releases(&service).await?;
            releases.reverse();
            let serving = releases.first().map(|release| release.number);
            for release in &releases {
                let mut marks = Vec::new();
                if Some(release.number) == serving {
                    marks.push(
                        if release.detached {
                            "not seen serving"
                        } else {
                            "serves"
                        }
                        .to_owned(),
                    );
                }
                if release.verified == Some(false) {
                    marks.push("failed its verification".to_owned());
                }
                if hold
                    .as_ref()
                    .is_some_and(|hold| hold.rejected == release.number)
                {
                    marks.push("rejected, on hold".to_owned());
                }
                if let Some(to) = release.rollback_to {
                    marks.push(format!("rollback to r{to}"));
                }
                rows.push(vec![
                    place.name().to_string(),
                    service.clone(),
                    format!("r{}", release.number),
                    release.content_id.clone(),
                    release.tag.clone().unwrap_or_else(|| "-".into()),
                    short(&release.revision.0),
                    format!("{:.0}", release.at),
                    release.by.clone(),
                    marks.join(", "),
                ]);
            }
            documents.push(json!({
                "cloud": place.name(), "service": service, "hold": hold, "releases": releases,
            }));
        }
    }
    if global.json {
        view::json(&documents);
    } else if rows.is_empty() {
        sayln!("nothing was released yet; `deployer apply` makes the first release");
    } else {
        let header = [
            "CLOUD", "SERVICE", "RELEASE", "CONTENT", "TAG", "REVISION", "WHEN", "WHO", "",
        ];
        out!("{}", view::table::render(&header, &rows));
    }
    Ok(session.failure())
}

/// The last part of an ARN; a revision's name as it is.
pub fn short(revision: &str) -> String {
    revision.rsplit('/').next().unwrap_or(revision).to_owned()
}
