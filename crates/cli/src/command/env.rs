//! `deployer env`: the environments that a file or a ledger knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deployer_core::address::CloudName;
use deployer_core::capability::Switching;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::RunRecord;
use deployer_manifest::Loaded;
use jiff::Timestamp;
use serde_json::json;

use crate::args::Global;
use crate::exit::Exit;
use crate::session::{self, Place, Session};
use crate::system::Surroundings;
use crate::view::{self, foreign};
use crate::{destroyed, print_problems};

/// One environment on one target.
struct Row {
    environment: String,
    file: Option<PathBuf>,
    cloud: CloudName,
    target: String,
    last: Option<RunRecord>,
    /// When it was destroyed, where nothing was made since.
    destroyed: Option<Timestamp>,
    failed: Option<Error>,
}

/// Lists the environments with their targets and the last run on each. Writes nothing.
pub async fn list(global: &Global, surroundings: Surroundings) -> Result<Exit> {
    let manifest = session::manifest(global);
    let known = match deployer_manifest::environments(&manifest) {
        Ok(known) => known,
        Err(problems) => {
            print_problems(global, &problems);
            return Ok(Exit::Input);
        }
    };
    let mut files: BTreeMap<String, Option<PathBuf>> = BTreeMap::new();
    files.extend(known.into_iter().map(|it| (it.name, Some(it.file))));
    let mut left: Vec<String> = files.keys().cloned().collect();
    let (mut rows, mut worst) = (Vec::new(), Exit::Success);
    while let Some(name) = left.pop() {
        let loaded = match session::load_of(global, manifest.clone(), Some(name.clone())) {
            Ok(loaded) => loaded,
            Err(problems) => {
                print_problems(global, &problems);
                worst = worst.max(Exit::Input);
                continue;
            }
        };
        let file = files.get(&name).cloned().flatten();
        let (found, others) = look(global, loaded, file, surroundings.clone()).await?;
        for row in &found {
            let code = row.failed.as_ref().map(|it| Exit::from(it.kind()));
            worst = worst.max(code.unwrap_or(Exit::Success));
        }
        rows.extend(found);
        for other in others {
            if !files.contains_key(&other) {
                files.insert(other.clone(), None);
                left.push(other);
            }
        }
    }
    rows.sort_by(|a, b| (&a.environment, a.cloud).cmp(&(&b.environment, b.cloud)));
    tell(global, &rows);
    Ok(worst)
}

/// What the targets of one environment say, and the names of others that their ledgers have.
async fn look(
    global: &Global,
    loaded: Loaded,
    file: Option<PathBuf>,
    surroundings: Surroundings,
) -> Result<(Vec<Row>, Vec<String>)> {
    let environment = loaded.environment.clone();
    let session = Session::open(loaded, global.cloud, Switching::Never, surroundings).await?;
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    for place in &session.places {
        let last = look_back(place).await;
        // Without the right to list more than its own, an environment is one all the same.
        others.extend(place.ledger.environments().await.unwrap_or_default());
        let (last, destroyed, failed) = match last {
            Ok((last, destroyed)) => (last, destroyed, None),
            Err(error) => (None, None, Some(error)),
        };
        rows.push(Row {
            environment: environment.clone(),
            file: file.clone(),
            cloud: place.name(),
            target: place.cloud.target().to_string(),
            last,
            destroyed,
            failed,
        });
    }
    for (cloud, error) in session.failed {
        rows.push(Row {
            environment: environment.clone(),
            file: file.clone(),
            cloud,
            target: "-".into(),
            last: None,
            destroyed: None,
            failed: Some(error),
        });
    }
    Ok((rows, others))
}

/// The last run on a target, and when that destroyed everything.
async fn look_back(place: &Place) -> Result<(Option<RunRecord>, Option<Timestamp>)> {
    let last = place.ledger.last_run().await?;
    let destroyed = match &last {
        Some(run) => destroyed::at(&place.ledger, run).await?,
        None => None,
    };
    Ok((last, destroyed))
}

fn tell(global: &Global, rows: &[Row]) {
    if global.json {
        let documents = rows.iter().map(|row| {
            let last = row.last.as_ref().map(|run| {
                json!({
                    "number": run.header.number, "command": run.header.command,
                    "by": run.header.by, "at": run.header.at, "outcome": run.outcome(),
                })
            });
            json!({
                "environment": row.environment, "file": row.file, "cloud": row.cloud,
                "target": row.target, "last_run": last, "destroyed": row.destroyed,
                "error": row.failed.as_ref().map(view::error::document),
            })
        });
        return view::json(&documents.collect::<Vec<_>>());
    }
    let shown = rows.iter().map(|row| {
        let file = row.file.as_ref().map(|it| it.display().to_string());
        vec![
            row.environment.clone(),
            file.unwrap_or_else(|| "the ledger alone".into()),
            row.target.clone(),
            match (&row.last, &row.failed) {
                (_, Some(error)) => foreign::one_line(&error.to_string()),
                (Some(run), None) => last(run, row.destroyed),
                (None, None) => "-".into(),
            },
        ]
    });
    let header = ["ENVIRONMENT", "FILE", "TARGET", "LAST RUN"];
    out!(
        "{}",
        view::table::fitting(&header, &shown.collect::<Vec<_>>())
    );
}

fn last(run: &RunRecord, destroyed: Option<Timestamp>) -> String {
    if let Some(at) = destroyed {
        return foreign::one_line(&format!("destroyed at {at:.0} by {}", run.header.by));
    }
    let how = run.outcome().unwrap_or("did not end");
    let line = format!(
        "{} {} by {} at {:.0}: {how}",
        run.header.number, run.header.command, run.header.by, run.header.at
    );
    foreign::one_line(&line)
}
