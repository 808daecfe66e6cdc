//! The plan as Markdown: for the comment of a pull request; pure.

use std::collections::BTreeSet;

use deployer_core::address::{CloudName, Target};
use deployer_core::node::Action;
use deployer_core::plan::Plan;

use crate::scene::Scene;
use crate::view::foreign;

use super::group::{self, Thing};
use super::{details, how, sum};

/// No field of the table is longer, in characters.
const CELL: usize = 100;

/// So many digits of a plan's fingerprint name it.
const DIGITS: usize = 6;

/// A heading with what the plan comes to, a table with a row for each service, database and cache
/// that changes, and every node behind a fold. `apply` is the command that carries it out, where
/// the plan is in a file.
pub fn markdown(
    plan: &Plan,
    scene: &Scene,
    headers: &[(Target, String)],
    apply: Option<&str>,
) -> String {
    let things = group::things(plan, scene);
    let clouds: BTreeSet<CloudName> = plan.targets.iter().map(|it| it.cloud).collect();
    let sums = sum::sum(plan, scene, &things);
    let sums: Vec<String> = sums
        .iter()
        .filter(|it| !it.is_empty())
        .map(|it| it.replace(" (--details)", ""))
        .collect();
    let sums = sums.join(" ");
    let sums = sums.strip_prefix("Plan: ").unwrap_or(&sums);
    let (verdict, rest) = sums.split_once(". ").unwrap_or((sums, ""));
    let mut text = format!(
        "### deployer: {} · {}: {}\n",
        cell(&plan.app),
        cell(&plan.environment),
        verdict.trim_end_matches('.'),
    );
    if !rest.is_empty() {
        text.push_str(&format!("\n{rest}\n"));
    }
    for (cloud, why) in &scene.unread {
        text.push_str(&format!("\n> **NOT PLANNED** {cloud}: {}\n", cell(why)));
    }
    let rows: Vec<&Thing<'_>> = things
        .iter()
        .filter(|it| it.action() != Action::NoOp || it.is_held())
        .collect();
    if !rows.is_empty() {
        let columns: String = clouds.iter().map(|it| format!(" {it} |")).collect();
        text.push_str(&format!("\n| | what | change |{columns}\n"));
        text.push_str(&format!("|---|---|---|{}\n", "---|".repeat(clouds.len())));
    }
    for thing in rows {
        text.push_str(&row(thing, &clouds));
    }
    let notes = plan
        .notes
        .iter()
        .map(|note| format!("\n> {}\n", cell(note)));
    text.extend(notes);
    if !plan.is_empty() {
        let nodes = details::render(plan, scene, headers, false).replace("```", "` ` `");
        text.push_str(&format!(
            "\n<details><summary>node by node</summary>\n\n```text\n{nodes}```\n\n</details>\n"
        ));
        // Of a plan that no file holds there is nothing to name.
        if let Some(apply) = apply {
            let id: String = plan.fingerprint.chars().take(DIGITS).collect();
            text.push_str(&format!(
                "\nPlan `{id}`, refused once anything that it was made from has moved. Apply: `{}`\n",
                apply.replace('`', "'")
            ));
        }
    }
    text
}

fn row(thing: &Thing<'_>, clouds: &BTreeSet<CloudName>) -> String {
    let mut facts: Vec<String> = Vec::new();
    for cloud in thing.clouds() {
        for told in thing.doing(cloud).facts {
            let how = how::how(&told.fact, CELL);
            let how: Vec<&str> = how.split_whitespace().collect();
            let how = cell(&how.join(" "));
            let hand = if told.by_another_hand {
                " (another hand)"
            } else {
                ""
            };
            let fact = format!("`{}` {how}{hand}", cell(&told.fact.what).replace('`', "'"));
            if !facts.contains(&fact) {
                facts.push(fact);
            }
        }
    }
    let mut text = format!(
        "| {} | {} | {} |",
        details::mark(thing.action()),
        cell(&thing.name),
        facts.join(", ")
    );
    for cloud in clouds {
        let doing = thing.doing(*cloud);
        let held = thing.side(*cloud).is_some_and(|side| side.hold.is_some());
        let mut words = doing.acts.clone();
        if doing.is_new {
            words = vec!["create".into()];
        }
        words.extend(doing.effects.iter().map(|it| format!("**{it}**")));
        words.extend(held.then(|| "**ON HOLD**".to_owned()));
        words.extend(doing.releases.map(|_| how::releases(&doing)));
        text.push_str(&format!(" {} |", cell(&words.join(", "))));
    }
    text.push('\n');
    text
}

/// Text of others that opens no tag, breaks no table and mentions nobody.
fn cell(text: &str) -> String {
    let text = foreign::one_line(text);
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('|', "\\|")
        .replace('@', "@\u{2060}")
        .replace('`', "'")
}
