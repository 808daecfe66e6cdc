//! `deployer plan`: shows what would change; writes nothing but the plan file asked for.

use std::collections::BTreeSet;

use deployer_core::capability::Rerun;
use deployer_core::compose::Part;
use deployer_core::error::{Error, Result};
use deployer_core::plan::Prepared;
use serde_json::json;
use std::io::IsTerminal;

use crate::again::Again;
use crate::args::{Format, Global, PlanArgs, ScopeArgs};
use crate::exit::Exit;
use crate::plan_file::PlanFile;
use crate::recall;
use crate::redeploys::Asked;
use crate::scene::Scene;
use crate::session::{Session, header};
use crate::view;
use crate::view::plan::Shown;
use crate::work::{self, Wish, Work};

/// Plans and shows.
pub async fn run(global: &Global, mut session: Session, args: &PlanArgs) -> Result<Exit> {
    let wish = wish(&args.scope);
    session.leave_unreadable(global).await?;
    let work = work::prepare(&session, &wish).await?;
    let scene = recall::of(&session, Some(&work)).await;
    check_name(args, &session, &scene)?;
    let shown = match &args.name {
        Some(name) => Shown::Of(name),
        None => shown(args.scope.details),
    };
    let apply = args.out.as_ref();
    let apply = apply.map(|path| {
        Again::new(global, "apply")
            .with(&path.display().to_string())
            .to_string()
    });
    let how = How {
        shown,
        format: args.format,
        apply: apply.as_deref(),
    };
    let problem = show(global, &session, &work.prepared, &scene, how);
    if let Some(path) = &args.out {
        let plan = work.prepared.plan.clone();
        let renames = session.loaded.manifest.renames();
        let file = PlanFile::of(
            plan,
            &wish.part,
            wish.release_hold,
            work.sources(),
            &renames,
        )?;
        let file = file.redeploying(work.redeploys.clone());
        file.about(scene).write(path)?;
        if !global.json {
            let apply = Again::new(global, "apply").with(&path.display().to_string());
            noteln!("wrote {}; apply it with `{apply}`", path.display());
        }
    }
    Ok(match problem {
        Some(exit) => exit,
        None if args.detailed_exitcode => differs(&work),
        None => Exit::Success,
    })
}

/// The code of `--detailed-exitcode`.
fn differs(work: &Work) -> Exit {
    match (work.has_changes(), work.held.is_empty()) {
        (true, _) => Exit::Changes,
        // What the manifest says is not what serves, and an apply leaves it so.
        (false, false) => Exit::Held,
        (false, true) => Exit::Success,
    }
}

fn check_name(args: &PlanArgs, session: &Session, scene: &Scene) -> Result<()> {
    let Some(name) = args.name.as_ref().filter(|name| !scene.has(name)) else {
        return Ok(());
    };
    let known: Vec<&str> = scene.groups.iter().map(|it| it.name.as_str()).collect();
    let error = Error::input(format!("there is no service, database or cache `{name}`"));
    let manifest = &session.loaded.manifest;
    let mut whats = ["service", "database", "cache"].into_iter();
    Err(
        error.hint(match whats.find_map(|it| manifest.called_now(it, name)) {
            Some(now) => now.hint(),
            None => format!("the manifest has: {}", known.join(", ")),
        }),
    )
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    pub shown: Shown<'a>,
    pub format: Format,
    /// The command that applies it, where it is written to a file.
    pub apply: Option<&'a str>,
}

impl<'a> How<'a> {
    /// For people, before it is carried out.
    pub fn text(shown: Shown<'a>) -> Self {
        Self {
            shown,
            format: Format::Text,
            apply: None,
        }
    }
}

/// How much of a plan is shown.
pub fn shown(details: bool) -> Shown<'static> {
    match details {
        true => Shown::Details,
        false => Shown::Story,
    }
}

/// What the scope arguments ask for.
pub fn wish(scope: &ScopeArgs) -> Wish {
    Wish {
        part: part(scope.only.iter().cloned().collect()),
        release_hold: scope.release_hold,
        rerun: Rerun::No,
        redeploy: Asked::Now(scope.redeploy.iter().cloned().collect()),
        gates: None,
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
pub fn show(
    global: &Global,
    session: &Session,
    prepared: &Prepared,
    scene: &Scene,
    how: How<'_>,
) -> Option<Exit> {
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
        out!("{}", text(session, prepared, scene, how));
        let blocked = prepared.blocked.iter().map(|blocked| &blocked.error);
        for told in view::error::together(&blocked.collect::<Vec<_>>()) {
            say!("\n{told}");
        }
    }
    errors.iter().map(|error| Exit::from(error.kind())).max()
}

fn text(session: &Session, prepared: &Prepared, scene: &Scene, how: How<'_>) -> String {
    let headers: Vec<_> = session
        .places
        .iter()
        .map(|place| {
            let target = place.cloud.target();
            let header = header(target, &place.caller);
            let header = match how.format {
                Format::Markdown => header,
                _ => view::whole_or_wrapped(&header).join("\n  "),
            };
            (target.clone(), header)
        })
        .collect();
    if how.format == Format::Markdown {
        return view::plan::markdown(&prepared.plan, scene, &headers, how.apply);
    }
    let layout = view::plan::Layout {
        colour: view::colour(std::io::stdout().is_terminal()),
        width: view::width(),
    };
    let text = view::plan::render(&prepared.plan, scene, &headers, how.shown, layout);
    match how.shown {
        view::plan::Shown::Details if view::is_read_by_people() => {
            view::plan::details::folded(&text, layout.width)
        }
        _ => text,
    }
}
