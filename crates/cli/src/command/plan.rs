//! `deployer plan`: shows what would change; writes nothing but the plan file asked for.

use std::collections::BTreeSet;

use deployer_core::capability::Rerun;
use deployer_core::compose::Part;
use deployer_core::error::Result;
use deployer_core::plan::Prepared;
use serde_json::json;
use std::io::IsTerminal;

use crate::again::Again;
use crate::args::{Global, PlanArgs, ScopeArgs};
use crate::exit::Exit;
use crate::plan_file::PlanFile;
use crate::session::{Session, header};
use crate::view;
use crate::work::{self, Wish};

/// Plans and shows.
pub async fn run(global: &Global, mut session: Session, args: &PlanArgs) -> Result<Exit> {
    let wish = wish(&args.scope);
    session.leave_unreadable(global).await?;
    let work = work::prepare(&session, &wish).await?;
    let problem = show(global, &session, &work.prepared);
    if let Some(path) = &args.out {
        let plan = work.prepared.plan.clone();
        let file = PlanFile::new(plan, &wish.part, wish.release_hold, work.sources())?;
        file.write(path)?;
        if !global.json {
            let apply = Again::new(global, "apply").with(&path.display().to_string());
            sayln!("wrote {}; apply it with `{apply}`", path.display());
        }
    }
    Ok(match problem {
        Some(exit) => exit,
        None if args.detailed_exitcode && work.has_changes() => Exit::Changes,
        None => Exit::Success,
    })
}

/// What the scope arguments ask for.
pub fn wish(scope: &ScopeArgs) -> Wish {
    Wish {
        part: part(scope.only.iter().cloned().collect()),
        release_hold: scope.release_hold,
        rerun: Rerun::No,
    }
}

/// The code of these services; of none: everything.
pub fn part(only: BTreeSet<String>) -> Part {
    match only.is_empty() {
        true => Part::All,
        false => Part::CodeOf(only),
    }
}

/// Shows a plan, and what could not be planned. Returns the exit code of the worst problem.
pub fn show(global: &Global, session: &Session, prepared: &Prepared) -> Option<Exit> {
    let blocked = prepared.blocked.iter().map(|blocked| &blocked.error);
    let errors: Vec<_> = session
        .failed
        .iter()
        .map(|(_, error)| error)
        .chain(blocked)
        .collect();
    if global.json {
        view::json(&json!({
            "plan": prepared.plan,
            "counts": prepared.plan.counts(),
            "empty": prepared.plan.is_empty(),
            "errors": errors.iter().map(|error| view::error::document(error)).collect::<Vec<_>>(),
        }));
    } else {
        out!("{}", text(session, prepared));
        for blocked in &prepared.blocked {
            say!("\n{}", view::error::render(&blocked.error));
        }
    }
    errors.iter().map(|error| Exit::from(error.kind())).max()
}

fn text(session: &Session, prepared: &Prepared) -> String {
    let headers: Vec<_> = session
        .places
        .iter()
        .map(|place| {
            let target = place.cloud.target();
            (target.clone(), header(target, &place.caller))
        })
        .collect();
    view::plan::render(
        &prepared.plan,
        &headers,
        view::colour(std::io::stdout().is_terminal()),
    )
}
