//! How something differs, and what it becomes, in few words.

use super::group::Doing;
use super::lines::{arrow, cut};
use crate::facts::{Fact, How};
use crate::view::foreign;

/// How something differs, in so many characters.
pub fn how(fact: &Fact, room: usize) -> String {
    const DIGESTS: usize = 22;
    match &fact.how {
        How::Words(words) => foreign::one_line(&cut(words, room)),
        How::Values(old, new) => {
            let shown = |value: &Option<String>| match value {
                Some(value) if value.is_empty() => "\"\"".to_owned(),
                Some(value) => foreign::value(value),
                None => "unset".to_owned(),
            };
            arrow(&shown(old), &shown(new), room)
        }
        How::Image { old, new } => {
            let digests = format!("{} → {}", old.short(), new.short());
            let tags = match (&old.tag, &new.tag) {
                (Some(old), Some(new)) => {
                    format!("{} → {}", foreign::one_line(old), foreign::one_line(new))
                }
                (None, Some(new)) => foreign::one_line(new),
                (_, None) => String::new(),
            };
            let both = format!("{tags:<DIGESTS$}{digests}");
            if tags.is_empty() {
                digests
            } else if tags.chars().count() < DIGESTS && both.chars().count() <= room {
                both
            } else {
                cut(&tags, room)
            }
        }
    }
}

/// `r2 → r3`, or `r2 again`.
pub(super) fn releases(doing: &Doing) -> String {
    match doing.releases {
        Some((Some(before), then)) if before == then => format!("r{then} again"),
        Some((Some(before), then)) => format!("r{before} → r{then}"),
        Some((None, then)) => format!("r{then}"),
        None => String::new(),
    }
}
