//! The report of a failed run on one cloud, as people read it: what failed, what is known of it,
//! what serves, what to type.

use crate::deployer::Finished;

/// What a run said of one cloud where something failed.
#[derive(Debug)]
pub struct Report {
    /// The first line of the cloud's own part: the error.
    pub failed: String,
    /// What is known of the service: what every cloud's app printed, and the rest of the cloud's
    /// own part.
    pub known: Vec<String>,
    /// What serves there.
    pub serves: String,
    /// What to type.
    pub next: Vec<String>,
}

/// Where everything but the labels begins, in columns.
const INDENT: usize = 7;

/// What is said of a cloud, of it alone or of several at once: `aws and gcp: still serve r2 (...)`.
fn told_of(cloud: &str, now: &[String]) -> Option<String> {
    let of_it = |line: &&String| {
        let (clouds, _) = line.split_once(": ").unwrap_or_default();
        clouds.split([' ', ',']).any(|it| it == cloud)
    };
    now.iter().find(of_it).cloned()
}

impl Report {
    /// Reads what was said of a service on a cloud.
    #[track_caller]
    pub fn of(finished: &Finished, cloud: &str, service: &str) -> Self {
        let title = format!(": {service} failed on ");
        let mut lines = finished.stderr.lines();
        let found = lines.any(|line| line.contains(&title));
        assert!(found, "no line with `{title}`: {finished}");
        let (mut failed, mut known) = (None, Vec::new());
        let (mut now, mut next) = (Vec::new(), Vec::new());
        let mut label = String::new();
        for line in lines {
            let (start, text) = match line.char_indices().nth(INDENT) {
                Some((at, _)) => line.split_at(at),
                None => (line, ""),
            };
            if line.is_empty() {
                label.clear();
                continue;
            }
            if !start.trim().is_empty() {
                label = start.trim().to_owned();
            }
            match label.as_str() {
                "" => known.push(text.to_owned()),
                "now" => now.push(text.to_owned()),
                "next" if text.trim().is_empty() => break,
                "next" => next.push(text.to_owned()),
                of if of == cloud && failed.is_none() => failed = Some(text.to_owned()),
                of if of == cloud => known.push(text.to_owned()),
                _ => {}
            }
        }
        Self {
            failed: failed.unwrap_or_else(|| panic!("nothing is said of {cloud}: {finished}")),
            known,
            serves: told_of(cloud, &now).unwrap_or_default(),
            next,
        }
    }

    /// Panics unless what failed is headed so and told with these words of the cloud.
    #[track_caller]
    pub fn fails(&self, heading: &str, words: &str) -> &Self {
        let start = format!("{heading}: ");
        let as_said = self.failed.starts_with(&start) && self.failed.contains(words);
        assert!(as_said, "`{start}... {words}` is not said: {self:#?}");
        self
    }

    /// Panics unless some line of what is known begins so and has these words.
    #[track_caller]
    pub fn knows(&self, start: &str, words: &str) -> &Self {
        let fits = |line: &String| line.starts_with(start) && line.contains(words);
        let found = self.known.iter().any(fits);
        assert!(found, "no line `{start}... {words}`: {self:#?}");
        self
    }

    /// Panics unless this revision still serves everything.
    #[track_caller]
    pub fn serves(&self, revision: &str) -> &Self {
        let alone = format!("({revision}, 100 %)");
        let alone = self.serves.contains(": still serves r") && self.serves.contains(&alone);
        let on_both = self.serves.contains(": still serve r") && self.serves.contains(revision);
        assert!(alone || on_both, "`{revision}` does not serve: {self:#?}");
        self
    }

    /// Panics unless these commands are what to type.
    #[track_caller]
    pub fn ends(&self, commands: &[&str]) {
        assert_eq!(self.next[..commands.len()], *commands, "{self:#?}");
    }
}
