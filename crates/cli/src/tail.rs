//! Lines of a log that is asked for again and again: each once, also where one comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::capability::LogLine;
use jiff::Timestamp;

/// How late a line may come: with an earlier time than lines that are there already, of another
/// instance or of the same moment. Agents send what they have gathered for some seconds
/// (falcosecurity/plugins#893).
const LATE: Duration = Duration::from_secs(60);

/// What was printed so far.
pub struct Seen {
    /// Nothing before it is asked for.
    pub floor: Timestamp,
    /// When the newest line was printed that there was.
    newest: Timestamp,
    /// Whether it was looked at.
    pub any: bool,
    /// The lines of the last while, by what they are known by.
    printed: BTreeSet<(Timestamp, String)>,
}

impl Seen {
    /// Nothing yet.
    pub fn from(floor: Timestamp) -> Self {
        Self {
            floor,
            newest: floor,
            any: false,
            printed: BTreeSet::new(),
        }
    }

    /// From when on lines may still come.
    pub fn next_since(&self) -> Timestamp {
        let back = self.newest.checked_sub(LATE).unwrap_or(Timestamp::MIN);
        back.max(self.floor)
    }

    /// The lines that were not printed yet.
    pub fn fresh(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        self.any = true;
        let (floor, printed) = (self.floor, &mut self.printed);
        let mut fresh = lines;
        fresh.retain(|line| line.at >= floor && printed.insert((line.at, known_by(line))));
        if let Some(last) = fresh.iter().map(|line| line.at).max() {
            self.newest = self.newest.max(last);
        }
        let since = self.next_since();
        self.printed.retain(|(at, _)| *at >= since);
        fresh
    }
}

/// How long a line is held back for one that is of before it and comes later. That is ours.
const HELD: Duration = Duration::from_secs(4);

/// Lines that come out of their order, put into it as far as they do not come too late.
#[derive(Default)]
pub struct Sorted {
    /// By when they were printed, those of one moment as the cloud gave them; with when they came.
    waiting: BTreeMap<(Timestamp, u64), (Duration, LogLine)>,
    count: u64,
}

impl Sorted {
    /// Takes lines that came now.
    pub fn add(&mut self, lines: Vec<LogLine>, now: Duration) {
        for line in lines {
            self.waiting.insert((line.at, self.count), (now, line));
            self.count += 1;
        }
    }

    /// The lines that were held back long enough, and all that are of before them.
    pub fn due(&mut self, now: Duration) -> Vec<LogLine> {
        let due = |came: &Duration| now.saturating_sub(*came) >= HELD;
        let mut waiting = self.waiting.iter();
        let last = waiting.rfind(|(_, (came, _))| due(came));
        let Some((last, _)) = last.map(|(key, line)| (*key, line)) else {
            return Vec::new();
        };
        let later = self.waiting.split_off(&(last.0, last.1 + 1));
        let due = std::mem::replace(&mut self.waiting, later);
        due.into_values().map(|(_, line)| line).collect()
    }

    /// All of them: nothing more comes.
    pub fn rest(&mut self) -> Vec<LogLine> {
        let rest = std::mem::take(&mut self.waiting);
        rest.into_values().map(|(_, line)| line).collect()
    }
}

/// The cloud's name for a line, or all that is known of it.
fn known_by(line: &LogLine) -> String {
    match line.id.is_empty() {
        true => format!("{} {}", line.source, line.text),
        false => line.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64, id: &str) -> LogLine {
        LogLine {
            at: Timestamp::from_second(second).unwrap(),
            source: "a".into(),
            text: "ready".into(),
            id: id.into(),
        }
    }

    fn ids(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.id).collect()
    }

    #[test]
    fn a_line_is_printed_once_also_when_several_share_a_moment_or_come_late() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let mut seen = Seen::from(second(5));
        let first = seen.fresh(vec![line(5, "1"), line(70, "2")]);
        assert_eq!(ids(first), ["1", "2"]);
        assert_eq!(seen.next_since(), second(10));
        // Of the same moment, of an earlier one by another instance, and equal in all but its id.
        let later = vec![line(20, "late"), line(70, "2"), line(70, "3")];
        assert_eq!(ids(seen.fresh(later.clone())), ["late", "3"]);
        assert_eq!(ids(seen.fresh(later)), Vec::<String>::new());
        seen.fresh(vec![line(200, "4")]);
        assert_eq!(seen.printed.len(), 1, "what cannot come again is forgotten");
    }

    #[test]
    fn a_line_that_comes_late_stands_where_it_was_printed() {
        let seconds = Duration::from_secs;
        let mut sorted = Sorted::default();
        sorted.add(vec![line(5, "1"), line(5, "2"), line(9, "5")], seconds(10));
        assert_eq!(ids(sorted.due(seconds(12))), Vec::<String>::new());
        sorted.add(vec![line(7, "3"), line(9, "6"), line(8, "4")], seconds(13));
        assert_eq!(ids(sorted.due(seconds(14))), ["1", "2", "3", "4", "5"]);
        assert_eq!(ids(sorted.due(seconds(14))), Vec::<String>::new());
        assert_eq!(ids(sorted.rest()), ["6"]);
    }

    #[test]
    fn lines_without_ids_are_known_by_what_they_say() {
        let mut seen = Seen::from(Timestamp::UNIX_EPOCH);
        assert_eq!(seen.fresh(vec![line(5, ""), line(5, "")]).len(), 1);
        assert_eq!(seen.fresh(vec![line(5, ""), line(6, "")]).len(), 1);
    }
}
