//! A plan for people: what happens to each service, database and cache, on both clouds side by
//! side; or node by node; or as Markdown.

mod block;
mod danger;
pub mod details;
mod fields;
mod group;
mod how;
mod lines;
mod markdown;
mod story;
mod sum;
mod table;

use deployer_core::address::Target;
use deployer_core::plan::Plan;

use crate::scene::Scene;

pub use danger::cause;
pub use fields::{
    counts_in_time, is_a_consequence, is_migration, leaves, left, losses, role, word,
};
pub use group::{Thing, things};
pub use how::how;
pub use lines::{broken, count, cut, list, names, wrap};
pub use markdown::markdown;

pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const PLAIN: &str = "\x1b[0m";

/// How a plan is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub colour: bool,
    /// In columns.
    pub width: usize,
}

impl Layout {
    /// Colour repeats a word or a mark that stands there anyway.
    fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("{code}{text}{PLAIN}"),
            false => text.to_owned(),
        }
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// What happens to each service, database and cache.
    Story,
    /// The same of one.
    Of(&'a str),
    /// Every node that changes, field by field, with every default.
    Details,
}

/// The plan as text. `headers` are the targets with their callers.
pub fn render(
    plan: &Plan,
    scene: &Scene,
    headers: &[(Target, String)],
    shown: Shown<'_>,
    layout: Layout,
) -> String {
    match shown {
        Shown::Details => details::render(plan, scene, headers, layout.colour),
        Shown::Story => story::render(plan, scene, None, layout),
        Shown::Of(name) => story::render(plan, scene, Some(name), layout),
    }
}

#[cfg(test)]
mod tests;
