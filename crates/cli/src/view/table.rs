//! Aligned columns for people.

use crate::view::foreign;

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
