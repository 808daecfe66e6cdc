//! `deployer show`: shows a plan that `plan --out` wrote; asks no cloud and needs no manifest.

use std::io::IsTerminal;

use deployer_core::address::Target;
use deployer_core::error::Result;

use crate::again::{self, Again};
use crate::args::{Format, Global, ShowArgs, Which};
use crate::exit::Exit;
use crate::plan_file::PlanFile;
use crate::view::{self, plan};

/// Reads and shows.
pub fn run(global: &Global, args: &ShowArgs) -> Result<Exit> {
    let file = PlanFile::read(&args.plan)?;
    // What it says to type works on what it is of, whatever the environment is here.
    let cloud = match file.plan.targets.as_slice() {
        [one] => Which::from(one.cloud),
        _ => global.cloud,
    };
    let of_the_plan = Global {
        env: Some(file.plan.environment.clone()),
        cloud,
        ..global.clone()
    };
    again::here_at_once(&of_the_plan, || show(&of_the_plan, args, &file))
}

fn show(global: &Global, args: &ShowArgs, file: &PlanFile) -> Result<Exit> {
    if global.json {
        view::json(&serde_json::json!({
            "plan": file.plan, "counts": file.plan.counts(), "empty": file.plan.is_empty(),
        }));
        return Ok(Exit::Success);
    }
    let targets = file.plan.targets.iter();
    let headers: Vec<(Target, String)> = targets
        .map(|target| (target.clone(), target.to_string()))
        .collect();
    let shown = match args.details {
        true => plan::Shown::Details,
        false => plan::Shown::Story,
    };
    match args.format {
        Format::Markdown => {
            let apply = Again::new(global, "apply").with(&args.plan.display().to_string());
            let apply = apply.to_string();
            let text = plan::markdown(&file.plan, &file.scene, &headers, Some(&apply));
            out!("{text}");
        }
        Format::Text => {
            let layout = plan::Layout {
                colour: view::colour(std::io::stdout().is_terminal()),
                width: view::width(),
            };
            let text = plan::render(&file.plan, &file.scene, &headers, shown, layout);
            let text = match args.details && view::is_read_by_people() {
                true => plan::details::folded(&text, layout.width),
                false => text,
            };
            out!("{text}");
        }
    }
    Ok(Exit::Success)
}
