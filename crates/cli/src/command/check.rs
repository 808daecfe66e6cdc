//! `deployer check`: the manifest for every environment that it has; asks no cloud.

use std::path::Path;

use deployer_core::error::Result;
use deployer_manifest::{KnownEnvironment, Problem, Severity};
use serde_json::json;

use crate::args::Global;
use crate::exit::Exit;
use crate::{print_problems, session, view};

/// What was found of one environment.
struct Checked {
    environment: KnownEnvironment,
    problems: Vec<Problem>,
}

impl Checked {
    fn faults(&self) -> usize {
        let problems = self.problems.iter();
        problems.filter(|it| it.severity == Severity::Error).count()
    }

    /// `above` of its faults were told of another environment already.
    fn line(&self, above: usize) -> String {
        let KnownEnvironment { name, file } = &self.environment;
        let warnings = self.problems.len() - self.faults();
        let verdict = match (self.faults(), warnings) {
            (0, 0) => "ok".to_owned(),
            (0, _) => format!("ok, {}", count(warnings, "warning")),
            (faults, _) if above == 0 => count(faults, "fault"),
            (faults, _) if above == faults => format!("{}, told above", count(faults, "fault")),
            (faults, _) => format!("{}, {above} of them told above", count(faults, "fault")),
        };
        format!("{name} ({}): {verdict}", file.display())
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// Checks every environment, or the one of `--env`; ends with 64 when one of them has a fault.
pub fn run(global: &Global) -> Result<Exit> {
    let manifest = session::manifest(global);
    let environments = match deployer_manifest::environments(&manifest) {
        Ok(environments) => environments,
        Err(problems) => {
            print_problems(global, &problems);
            return Ok(Exit::Input);
        }
    };
    let environments = match &global.env {
        None => environments,
        Some(name) => vec![one(environments, name, &manifest)],
    };
    let checked: Vec<Checked> = environments
        .into_iter()
        .map(|environment| {
            let name = Some(environment.name.clone());
            let problems = match session::load_of(global, manifest.clone(), name) {
                Ok(loaded) => loaded.warnings,
                Err(problems) => problems.iter().cloned().collect(),
            };
            Checked {
                environment,
                problems,
            }
        })
        .collect();
    let is_good = checked.iter().all(|it| it.faults() == 0);
    tell(global, &checked, is_good);
    Ok(match is_good {
        true => Exit::Success,
        false => Exit::Input,
    })
}

/// The environment asked for, also one that has no file yet: then it is the manifest alone.
fn one(known: Vec<KnownEnvironment>, name: &str, manifest: &Path) -> KnownEnvironment {
    let found = known.into_iter().find(|it| it.name == name);
    found.unwrap_or_else(|| KnownEnvironment {
        name: name.to_owned(),
        file: manifest.to_path_buf(),
    })
}

fn tell(global: &Global, checked: &[Checked], is_good: bool) {
    if global.json {
        let environments = checked.iter().map(|it| {
            json!({
                "environment": it.environment.name, "file": it.environment.file,
                "ok": it.faults() == 0, "problems": it.problems,
            })
        });
        return view::json(&json!({
            "ok": is_good, "environments": environments.collect::<Vec<_>>(),
        }));
    }
    let mut said: Vec<&Problem> = Vec::new();
    for checked in checked {
        // What several environments have in common is told once.
        let is_told = |it: &Problem| {
            said.iter()
                .any(|one| one.to_string() == it.to_string() && one.path == it.path)
        };
        let faults = checked.problems.iter();
        let faults = faults.filter(|it| it.severity == Severity::Error);
        outln!("{}", checked.line(faults.filter(|it| is_told(it)).count()));
        let is_shown = |it: &Problem| !global.quiet || it.severity == Severity::Error;
        let problems = checked.problems.iter();
        let fresh: Vec<&Problem> = problems.filter(|it| is_shown(it) && !is_told(it)).collect();
        let shown: Vec<Problem> = fresh.iter().copied().cloned().collect();
        if !shown.is_empty() {
            view::github::problems(&shown);
            say!("{}", crate::rendered(&shown));
        }
        said.extend(fresh);
    }
}
