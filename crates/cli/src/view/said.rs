//! What is said of things, a name and its words in two columns; pure.

use crate::facts::Fact;
use crate::view::foreign;
use crate::view::plan::{cut, how, wrap};

/// What is said of a name.
#[derive(Clone, Debug)]
pub enum Said {
    /// How it differs.
    Differs(Fact),
    /// Words of ours.
    Words(String),
    /// A value, cut in its middle where it is long.
    Value(String),
}

/// The rows as lines of at most `width` characters with an indent of two, what is said in one
/// column.
pub fn in_columns(rows: &[(String, Said)], width: usize) -> Vec<String> {
    const INDENT: usize = 2;
    const COLUMN: usize = 24;
    let longest = rows.iter().map(|(what, _)| what.chars().count()).max();
    let column = longest.unwrap_or(0).min(COLUMN);
    let room = width.saturating_sub(INDENT + column + 2);
    let mut lines = Vec::new();
    for (what, said) in rows {
        let what = foreign::one_line(&cut(what, COLUMN));
        let said = match said {
            Said::Differs(fact) => vec![how(fact, room)],
            Said::Words(words) => wrap(&foreign::one_line(words), room),
            Said::Value(value) => vec![cut(&foreign::one_line(value), room)],
        };
        for (at, line) in said.into_iter().enumerate() {
            let what = if at == 0 { what.as_str() } else { "" };
            lines.push(format!("{what:<column$}  {line}").trim_end().to_owned());
        }
    }
    lines
}
