//! The report of a failed run on one cloud, as people read it: what failed, what is known of it, what serves, what to type.

use crate::deployer::Finished;

/// What a run said of one cloud where something failed.
#[derive(Debug)]
pub struct Report {
    /// The line below the name of what failed.
    pub failed: String,
    /// What is known of the service, line by line.
    pub known: Vec<String>,
}

impl Report {
    /// Reads what was said of a node and its service on a cloud.
    #[track_caller]
    pub fn of(finished: &Finished, cloud: &str, address: &str, service: &str) -> Self {
        let lines: Vec<&str> = finished.stderr.lines().collect();
        let after = |start: String| {
            let at = lines.iter().position(|known| known.starts_with(&start));
            let at = at.unwrap_or_else(|| panic!("no line `{start}`: {finished}"));
            lines[at + 1..].iter()
        };
        // And when.
        let failed = after(format!("{cloud}: {address}, ")).next();
        let known = after(format!("{cloud}: what is known of `{service}`:"));
        Self {
            failed: failed.copied().unwrap_or_default().to_owned(),
            known: known
                .map_while(|line| line.strip_prefix("  "))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Panics unless what failed is headed so and told with these words of the cloud.
    #[track_caller]
    pub fn fails(&self, heading: &str, words: &str) -> &Self {
        let start = format!("error ({heading}): ");
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

    /// Panics unless it ends with these lines.
    #[track_caller]
    pub fn ends(&self, lines: &[&str]) {
        let at = self.known.len().saturating_sub(lines.len());
        assert_eq!(self.known[at..], *lines, "{self:#?}");
    }
}
