//! What one service's releases ought to come to on one cloud, told without the program: lists and
//! numbers, no clock, no cloud.

use std::collections::BTreeSet;

/// What serves: an image of the stage, by its version.
pub type Content = u32;

/// A release as it was recorded.
#[derive(Clone, Copy, Debug)]
struct Release {
    content: Content,
    /// The release that it makes serve again, by its place in the list; its own place, when it is
    /// none.
    origin: usize,
    /// Whether a destroy took its revision away.
    gone: bool,
}

/// One service on one cloud.
#[derive(Clone, Debug, Default)]
pub struct Model {
    releases: Vec<Release>,
    /// Whether the last release serves. Nothing else ever does.
    serves: bool,
    /// Contents that a person went back from, and that nobody asked for since.
    rejected: BTreeSet<Content>,
    /// Those of them that an apply leaves alone: until another content is applied.
    held: BTreeSet<Content>,
}

/// What becomes of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// This release is to serve again, by its place in the list.
    To(usize),
    /// There is none to go back to.
    Nothing,
    /// The one that it would be is gone.
    Gone,
}

impl Model {
    /// What serves.
    pub fn serving(&self) -> Option<Content> {
        let last = self.releases.last().filter(|_| self.serves);
        last.map(|last| last.content)
    }

    /// Whether an apply leaves it alone.
    pub fn holds(&self, content: Content) -> bool {
        self.held.contains(&content)
    }

    /// The content of a release.
    pub fn content(&self, at: usize) -> Content {
        self.releases[at].content
    }

    /// An apply of a content that can serve, and is not held.
    pub fn apply(&mut self, content: Content) {
        if self.serving() != Some(content) {
            self.releases.push(Release {
                content,
                origin: self.releases.len(),
                gone: false,
            });
        }
        self.serves = true;
        self.held.clear();
        self.rejected.remove(&content);
    }

    /// Where a rollback goes: to what served before, never to what was rejected, nor to the same
    /// again.
    pub fn back(&self) -> Back {
        let Some(last) = self.releases.last() else {
            return Back::Nothing;
        };
        let mut at = last.origin;
        while at > 0 {
            let origin = self.releases[at - 1].origin;
            let found = self.releases[origin];
            if found.content != last.content && !self.rejected.contains(&found.content) {
                return match found.gone {
                    true => Back::Gone,
                    false => Back::To(origin),
                };
            }
            at = origin;
        }
        Back::Nothing
    }

    /// A rollback to a release that can serve.
    pub fn roll_back(&mut self, to: usize) {
        let from = self.releases[self.releases.len() - 1].content;
        let content = self.releases[to].content;
        self.releases.push(Release {
            content,
            origin: to,
            gone: false,
        });
        for contents in [&mut self.rejected, &mut self.held] {
            contents.insert(from);
            contents.remove(&content);
        }
    }

    /// A destroy.
    pub fn destroy(&mut self) {
        self.serves = false;
        self.held.clear();
        for release in &mut self.releases {
            release.gone = true;
        }
    }
}
