//! What serves, as a table: a line for each service, database and cache, both clouds side by side,
//! and below it what is not as it should be; pure.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use jiff::Timestamp;

use crate::view::foreign;
use crate::view::plan::{cut, list, wrap};

/// One thing on its clouds.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub name: String,
    /// What it is, where it is no service.
    pub sort: Option<&'static str>,
    pub cells: BTreeMap<CloudName, String>,
    /// What is not as it should be, in words, and where.
    pub wrong: Vec<(CloudName, String)>,
    /// What else people should know, and of which cloud.
    pub notes: Vec<(CloudName, String)>,
}

impl Row {
    /// What is said of it, the same words of several clouds once.
    fn told(&self, said: &[(CloudName, String)]) -> Vec<String> {
        let mut told: Vec<(&String, Vec<&str>)> = Vec::new();
        for (cloud, words) in said {
            match told.iter_mut().find(|(same, _)| *same == words) {
                Some((_, clouds)) => clouds.push(cloud.as_str()),
                None => told.push((words, vec![cloud.as_str()])),
            }
        }
        let lines = told.into_iter();
        lines
            .map(|(words, clouds)| format!("{} on {}: {words}", self.name, list(&clouds)))
            .collect()
    }
}

/// The title, with the time of day that the table is of, in UTC, at the right edge.
pub fn headed(title: &str, now: Timestamp, width: usize) -> String {
    let time = now.strftime("%H:%M UTC").to_string();
    let used = title.chars().count() + time.chars().count();
    let gap = width.saturating_sub(used).max(2);
    format!("{title}{:gap$}{time}", "")
}

/// A cell in so many characters, where that goes: what stands last of it is said least, and left
/// out first; what is wrong is said as long as anything is.
fn shortened(cell: &str, room: usize) -> String {
    let mut parts: Vec<&str> = cell.split("  ").collect();
    let is_long = |parts: &[&str]| parts.join("  ").chars().count() > room;
    let is_wrong = |part: &str| part.chars().all(|it| it.is_uppercase() || it == ' ');
    while is_long(&parts) {
        let left = parts.iter().skip(1).rposition(|part| !is_wrong(part));
        match left {
            Some(at) if parts.len() > 2 => _ = parts.remove(at + 1),
            Some(_) | None => break,
        }
    }
    parts.join("  ")
}

/// The longest name of a service that is shown whole, in characters.
const NAME: usize = 24;

/// The table. Those of which something is wrong come first where they are many.
pub fn render(rows: &[Row], notes: &[String], clouds: &[CloudName], width: usize) -> String {
    const MANY: usize = 10;
    let mut services: Vec<&Row> = rows.iter().filter(|row| row.sort.is_none()).collect();
    if services.len() > MANY {
        services.sort_by_key(|row| row.wrong.is_empty());
    }
    let stores: Vec<&Row> = rows.iter().filter(|row| row.sort.is_some()).collect();
    let name = rows.iter().map(|row| row.name.chars().count()).max();
    let name = name.unwrap_or(0).clamp("SERVICE".len(), NAME) + 2;
    // What serves and what is wrong stands whole before the name does.
    let least = |cloud: &CloudName| {
        let cells = rows.iter().filter(|row| row.sort.is_none());
        let cells = cells.filter_map(|row| row.cells.get(cloud));
        let least = cells.map(|cell| shortened(cell, 0).chars().count());
        least.max().unwrap_or(0) + 2
    };
    let taken: usize = clouds.iter().map(least).sum();
    let name = name.min(width.saturating_sub(taken).max("SERVICE".len() + 2));
    let widest = |cloud: &CloudName| {
        let cells = rows.iter().filter_map(|row| row.cells.get(cloud));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (widest + 2).max(8)
    };
    let widths: Vec<usize> = clouds.iter().map(widest).collect();
    // One cloud has what the others do not need.
    let whole = width.saturating_sub(name);
    let all: usize = widths.iter().sum();
    let share = |own: &usize| {
        let others = all - own;
        (*own).min((whole / clouds.len().max(1)).max(whole.saturating_sub(others)))
    };
    let columns: Vec<usize> = widths.iter().map(share).collect();
    let line = |first: &str, cells: Vec<String>| {
        let mut line = format!("{:<name$}", cut(&foreign::one_line(first), name - 2));
        for (cell, column) in cells.iter().zip(&columns) {
            let room = column.saturating_sub(2);
            let cell = cut(&shortened(&foreign::one_line(cell), room), room);
            line.push_str(&format!("{cell:<column$}"));
        }
        format!("{}\n", line.trim_end())
    };
    let head: Vec<String> = clouds
        .iter()
        .map(|cloud| cloud.as_str().to_uppercase())
        .collect();
    let mut text = String::new();
    let cells = |row: &Row| {
        let cells = clouds.iter();
        let cells = cells.map(|cloud| row.cells.get(cloud).cloned().unwrap_or_else(|| "-".into()));
        cells.collect::<Vec<_>>()
    };
    if !services.is_empty() {
        text.push_str(&line("SERVICE", head));
    }
    for row in &services {
        text.push_str(&line(&row.name, cells(row)));
    }
    if !services.is_empty() && !stores.is_empty() {
        text.push('\n');
    }
    for row in &stores {
        text.push_str(&line(&row.name, cells(row)));
    }
    let wrong = rows.iter().flat_map(|row| row.told(&row.wrong));
    let told = rows.iter().flat_map(|row| row.told(&row.notes));
    let told = told.chain(notes.iter().cloned());
    let lines = wrong.map(|it| ("!", it)).chain(told.map(|it| (" ", it)));
    let mut first = true;
    for (mark, words) in lines {
        if std::mem::take(&mut first) {
            text.push('\n');
        }
        let words = foreign::words(&words).replace('\n', " ");
        for (at, line) in wrap(&words, width.saturating_sub(3))
            .into_iter()
            .enumerate()
        {
            let mark = if at == 0 { mark } else { " " };
            text.push_str(&format!("{mark}  {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, aws: &str, gcp: &str) -> Row {
        Row {
            name: name.into(),
            cells: BTreeMap::from([(CloudName::Aws, aws.into()), (CloudName::Gcp, gcp.into())]),
            ..Row::default()
        }
    }

    #[test]
    fn a_line_each_and_below_what_is_wrong() {
        let rows = [
            row("web", "r7 1.1  1 of 1  2m", "r7 1.1  ready  2m  verified"),
            Row {
                wrong: vec![(
                    CloudName::Gcp,
                    "failed: REVISION_FAILED: Revision 'api-00003-mcc' is not ready and cannot serve traffic".into(),
                )],
                notes: CloudName::ALL
                    .map(|cloud| (cloud, "on hold: ana went back from r8 to r7, 2m ago".into()))
                    .to_vec(),
                ..row("api", "r4 1.0  1 of 1  3h", "r4 1.0  FAILED  3h")
            },
            Row {
                sort: Some("database"),
                ..row("main", "PostgreSQL 16.11  ready", "PostgreSQL 16  ready")
            },
        ];
        let notes = ["aws is locked by ana@laptop".to_owned()];
        for width in [60, 80, 120] {
            let text = render(&rows, &notes, &CloudName::ALL, width);
            assert!(text.lines().all(|it| it.chars().count() <= width), "{text}");
        }
        insta::assert_snapshot!(render(&rows, &notes, &CloudName::ALL, 80), @r"
    SERVICE  AWS                      GCP
    web      r7 1.1  1 of 1  2m       r7 1.1  ready  2m  verified
    api      r4 1.0  1 of 1  3h       r4 1.0  FAILED  3h

    main     PostgreSQL 16.11  ready  PostgreSQL 16  ready

    !  api on gcp: failed: REVISION_FAILED: Revision 'api-00003-mcc' is not ready
       and cannot serve traffic
       api on aws and gcp: on hold: ana went back from r8 to r7, 2m ago
       aws is locked by ana@laptop
    ");
    }

    #[test]
    fn what_failed_is_left_out_last_and_a_cloud_has_what_the_other_does_not_need() {
        let failed = "r2 1.1  1 of 1  NEWER FAILED  1m";
        let rows = [row(
            "recommendation-worker",
            failed,
            "r2 1.1  NEWER FAILED  1m",
        )];
        for width in [60, 70, 80] {
            let text = render(&rows, &[], &CloudName::ALL, width);
            assert_eq!(text.matches("NEWER FAILED").count(), 2, "{text}");
            assert!(text.lines().all(|it| it.chars().count() <= width), "{text}");
        }
        let one = [row("web", failed, "-")];
        assert!(render(&one, &[], &CloudName::ALL, 60).contains(failed));
    }

    #[test]
    fn thirty_services_are_thirty_lines_and_the_wrong_ones_come_first() {
        let mut rows: Vec<Row> = (0..30)
            .map(|it| {
                row(
                    &format!("svc-{it:02}"),
                    "r1 1.0  1 of 1  2m",
                    "r1 1.0  ready  2m",
                )
            })
            .collect();
        rows[17].wrong.push((CloudName::Aws, "failing".into()));
        let text = render(&rows, &[], &CloudName::ALL, 80);
        assert_eq!(text.lines().count(), 33, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("svc-17"), "{text}");
    }

    #[test]
    fn a_narrow_cell_is_cut_in_no_word() {
        let rows = [row(
            "web",
            "r7 1.1  1 of 1  2m",
            "r7 1.1  ready  2m  verified",
        )];
        let text = render(&rows, &[], &CloudName::ALL, 50);
        insta::assert_snapshot!(text, @r"
        SERVICE  AWS                 GCP
        web      r7 1.1  1 of 1  2m  r7 1.1  ready  2m
        ");
    }

    #[test]
    fn one_cloud_is_one_column() {
        let text = render(&[row("web", "r1", "r2")], &[], &[CloudName::Gcp], 80);
        assert_eq!(text, "SERVICE  GCP\nweb      r2\n");
    }
}
