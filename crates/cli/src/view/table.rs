//! Aligned columns for people.

use std::ops::Range;

use crate::view::plan::{broken, cut};
use crate::view::{self, foreign};

/// Where the further lines of a row begin that is folded.
const INDENT: usize = 4;

/// The same for standard output: on a terminal no line is longer than that is wide, elsewhere each
/// row stands whole.
pub fn fitting(header: &[&str], rows: &[Vec<String>]) -> String {
    match view::is_read_by_people() {
        true => folded(header, rows, view::width()),
        false => render(header, rows),
    }
}

/// Rows in so many columns: what does not fit beside the others stands in further lines below,
/// under its part of the header.
fn folded(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let whole = render(header, rows);
    if whole.lines().all(|line| line.chars().count() <= width) {
        return whole;
    }
    let header: Vec<String> = header.iter().map(|it| (*it).to_owned()).collect();
    let cells = |row: &Vec<String>| row.iter().map(|it| foreign::one_line(it)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&header).chain(rows).map(cells).collect();
    let widest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let room = |line: usize| width.saturating_sub(if line == 0 { 0 } else { INDENT });
    let mut lines: Vec<Range<usize>> = vec![Range { start: 0, end: 0 }];
    let mut used = 0;
    for at in 0..header.len() {
        let last = lines.len() - 1;
        let gap = if used == 0 { 0 } else { 2 };
        if used > 0 && used + gap + widest(at) > room(last) {
            lines.push(at..at + 1);
            used = widest(at);
        } else {
            lines[last].end = at + 1;
            used += gap + widest(at);
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (number, line) in lines.iter().enumerate() {
            let indent = if number == 0 { 0 } else { INDENT };
            let cells = line
                .clone()
                .filter_map(|at| Some((row.get(at)?, widest(at))));
            let cells: Vec<(&String, usize)> = cells.collect();
            let told = match cells.as_slice() {
                [(alone, _)] => broken(alone, room(number)),
                beside => {
                    let cells = beside.iter();
                    let cells = cells.map(|(it, wide)| format!("{:<wide$}", cut(it, *wide)));
                    vec![cells.collect::<Vec<_>>().join("  ")]
                }
            };
            for told in told
                .iter()
                .map(|it| it.trim_end())
                .filter(|it| !it.is_empty())
            {
                text.push_str(&format!("{:indent$}{told}\n", ""));
            }
        }
    }
    text
}

/// Rows in columns, two spaces apart, no trailing spaces. A cell may hold text of others: it stands
/// on one line.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|cell| foreign::one_line(cell));
        cells.collect::<Vec<String>>()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in &rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_wider_than_the_terminal_folds_and_loses_nothing() {
        let header = [
            "CLOUD", "SECRET", "NAME", "VERSION", "CHANGED", "SOURCE", "USED BY",
        ];
        let row = |cloud: &str, key: &str| {
            let name = format!("shop-production-{key}-0123456789abcdef");
            let changed = "2026-11-30T17:00:00Z";
            let cells = [
                cloud,
                key,
                &name,
                "12",
                changed,
                "set by hand",
                "web, worker, admin",
            ];
            cells.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
        };
        let rows = [row("aws", "api-token"), row("gcp", "mail-password")];
        for width in [40, 60, 80, 100] {
            let text = folded(&header, &rows, width);
            let long = text.lines().find(|line| line.chars().count() > width);
            assert_eq!(long, None, "more than {width} columns:\n{text}");
            // A name that is wider than a line goes on in the next one.
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            for cell in rows.iter().flatten() {
                let is_there = squeezed(&text).contains(&squeezed(cell));
                assert!(is_there, "no `{cell}` in {width} columns:\n{text}");
            }
        }
        let text = folded(&header, &rows, 200);
        assert_eq!(text, render(&header, &rows));
        assert_eq!(text.lines().count(), 3);
    }
}
