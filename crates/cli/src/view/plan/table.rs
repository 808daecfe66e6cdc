//! A plan of more things than anybody reads one by one: a line for each, on both clouds side by
//! side; pure.

use deployer_core::address::CloudName;
use deployer_core::node::Action;

use crate::again;
use crate::scene::Kind;
use crate::view::foreign;

use super::details;
use super::group::{self, Thing};
use super::lines::{among, cut};
use super::{Layout, how};

/// The longest name in its column, in characters.
const NAME: usize = 24;
/// So much of a name, and of what changes, is told in any case, in characters.
const LEAST: usize = 10;

/// A line of the table.
struct Row {
    mark: Action,
    names: Vec<String>,
    kind: Option<Kind>,
    change: String,
    /// The names alone of what changes.
    brief: String,
    cells: Vec<String>,
}

/// The table, and how one of its lines is seen whole.
pub fn render(things: &[&Thing<'_>], layout: Layout) -> String {
    let clouds = CloudName::ALL;
    let used = |cloud: &CloudName| things.iter().any(|it| it.clouds().contains(cloud));
    let clouds: Vec<CloudName> = clouds.into_iter().filter(used).collect();
    let mut rows: Vec<Row> = Vec::new();
    let told = |it: &&&Thing<'_>| it.action() != Action::NoOp || it.is_held();
    for thing in things.iter().filter(told) {
        let row = row(thing, &clouds);
        let same = |it: &&mut Row| {
            it.kind == Some(Kind::Service)
                && (it.mark, it.kind, &it.change, &it.cells)
                    == (row.mark, row.kind, &row.change, &row.cells)
        };
        match rows.iter_mut().find(same) {
            Some(other) => other.names.extend(row.names),
            None => rows.push(row),
        }
    }
    // What may hurt stands first, as everywhere.
    rows.sort_by_key(|row| match row.mark {
        Action::Replace => 0,
        Action::Delete => 1,
        Action::NoOp | Action::Create | Action::Update | Action::Release => 2,
    });
    let mut table = vec![vec![
        String::new(),
        "SERVICE".to_owned(),
        "CHANGE".to_owned(),
    ]];
    table[0].extend(clouds.iter().map(|it| it.as_str().to_uppercase()));
    let all = group::services(things.iter().copied());
    for row in &rows {
        let name = among(&row.names, &all);
        let name = match row.kind {
            Some(kind) if kind != Kind::Service => format!("{name} ({})", kind.word()),
            Some(_) | None => name,
        };
        let mut cells = vec![details::mark(row.mark).to_owned(), cut(&name, NAME)];
        cells.push(row.change.clone());
        cells.extend(row.cells.clone());
        table.push(cells.iter().map(|it| foreign::one_line(it)).collect());
    }
    let widest = |at: usize| table.iter().map(|row| row[at].chars().count()).max();
    let mut widths: Vec<usize> = (0..table[0].len())
        .map(|at| widest(at).unwrap_or(0))
        .collect();
    // What changes gives way; one service's plan has it whole.
    for column in [2, 1] {
        let all: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        let over = all.saturating_sub(layout.width);
        widths[column] = widths[column]
            .saturating_sub(over)
            .max(LEAST.min(widths[column]));
    }
    for (line, row) in table.iter_mut().skip(1).zip(&rows) {
        if line[2].chars().count() > widths[2] {
            line[2] = foreign::one_line(&row.brief);
        }
    }
    let mut text = String::new();
    for row in &table {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{:<width$}", cut(cell, *width)))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    let one = again::completed("`deployer plan SERVICE`").replace('`', "");
    text.push_str(&format!("\nOne of them whole: {one}\n"));
    text
}

fn row(thing: &Thing<'_>, clouds: &[CloudName]) -> Row {
    const SHOWN: usize = 60;
    let (mut facts, mut whats): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for cloud in thing.clouds() {
        for told in thing.doing(cloud).facts {
            let how = how::how(&told.fact, SHOWN);
            let how: Vec<&str> = how.split_whitespace().collect();
            let fact = format!("{} {}", told.fact.what, how.join(" "));
            if !facts.contains(&fact) {
                facts.push(fact);
            }
            if !whats.contains(&told.fact.what) {
                whats.push(told.fact.what);
            }
        }
    }
    let cell = |cloud: &CloudName| {
        let doing = thing.doing(*cloud);
        let held = thing.side(*cloud).is_some_and(|side| side.hold.is_some());
        let mut words: Vec<String> = Vec::new();
        match (thing.changed(*cloud).next(), doing.releases) {
            (None, _) => {}
            (Some(_), Some(_)) => words.push(how::releases(&doing)),
            (Some(_), None) if doing.is_new => words.push("create".to_owned()),
            // Its effect says it.
            (Some(_), None) if doing.effects.contains("REPLACED") => {}
            (Some(change), None) => words.push(verb(change.action).to_owned()),
        }
        words.extend(doing.effects.iter().map(|it| (*it).to_owned()));
        words.extend(held.then(|| "ON HOLD".to_owned()));
        match words.is_empty() {
            true => "-".to_owned(),
            false => words.join(", "),
        }
    };
    Row {
        mark: thing.action(),
        names: vec![thing.name.clone()],
        kind: thing.kind,
        change: facts.join(", "),
        brief: whats.join(", "),
        cells: clouds.iter().map(cell).collect(),
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::NoOp => "-",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Delete => "delete",
        Action::Release => "leave to itself",
    }
}
