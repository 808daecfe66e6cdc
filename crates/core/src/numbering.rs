//! Numbers releases: what one command makes serve has one number on every target; pure.
//!
//! Nothing is reserved anywhere: the number follows from what the ledgers say and from the content
//! that is to serve. So a command that was killed gets the same number when it goes on, and never
//! climbs.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::CloudName;
use crate::ledger::Release;

/// The newest release of a service on each target whose ledger could be read, before a command
/// records one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest(BTreeMap<CloudName, (u64, String)>);

impl Newest {
    /// Without any release.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the newest release of a target.
    pub fn note(&mut self, cloud: CloudName, release: &Release) {
        self.put(cloud, release.number, &release.content_id);
    }

    /// Notes that a target has this number, for what every target has of this content.
    pub fn put(&mut self, cloud: CloudName, number: u64, content_id: &str) {
        self.0.insert(cloud, (number, content_id.to_owned()));
    }

    /// The highest number on any target; 0 where nothing was released.
    pub fn highest(&self) -> u64 {
        let numbers = self.0.values().map(|(number, _)| *number);
        numbers.max().unwrap_or(0)
    }

    /// The number of what a command makes serve, on each of the targets that take part: one more
    /// than the highest anywhere. Where a target has the same content under the highest number, and
    /// none that takes part has that number yet, it is that one: what a cloud refused, or a kill
    /// prevented, is made up for under the number that it has elsewhere.
    pub fn next(&self, parts: &BTreeSet<CloudName>, content_id: &str) -> u64 {
        let highest = self.highest();
        let mut newest = self.0.values();
        let is_there = newest.any(|(number, content)| *number == highest && content == content_id);
        let has_it = |cloud| matches!(self.0.get(cloud), Some((number, _)) if *number == highest);
        match is_there && !parts.iter().any(has_it) {
            true => highest,
            false => highest + 1,
        }
    }

    /// The same on one target, whose newest release may be of this command already: numbers never
    /// go back.
    pub fn next_on(&self, next: u64, own: Option<u64>) -> u64 {
        match own {
            Some(own) if own >= next => self.highest().max(own) + 1,
            Some(_) | None => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use CloudName::{Aws, Gcp};

    use super::*;

    /// `aws 5 new, gcp 4 old`
    fn newest(said: &str) -> Newest {
        let mut newest = Newest::new();
        for target in said.split(", ").filter(|it| !it.is_empty()) {
            let words: Vec<&str> = target.split(' ').collect();
            let cloud = if words[0] == "aws" { Aws } else { Gcp };
            newest.put(cloud, words[1].parse().unwrap(), words[2]);
        }
        newest
    }

    /// What `new` is called on both clouds when these take part.
    #[track_caller]
    fn check(said: &str, parts: &[CloudName], expected: u64) {
        let parts = parts.iter().copied().collect();
        assert_eq!(newest(said).next(&parts, "new"), expected, "{said}");
    }

    #[test]
    fn an_apply_has_one_number_on_all_clouds_also_where_they_counted_by_themselves() {
        check("", &CloudName::ALL, 1);
        check("aws 2 old, gcp 2 old", &CloudName::ALL, 3);
        check("aws 9 old, gcp 2 old", &CloudName::ALL, 10);
        check("aws 9 old, gcp 2 older", &[Gcp], 10);
        check("gcp 4 old", &[Aws], 5);
    }

    #[test]
    fn what_one_cloud_has_already_has_its_number_on_the_other_one_too() {
        check("aws 3 new, gcp 2 old", &[Gcp], 3);
        // Nothing is to be done there any more: only its record is missing.
        check("aws 3 new, gcp 2 old", &[], 3);
        check("aws 3 new", &[Gcp], 3);
        // And again, however often it is killed or refused.
        check("aws 3 new, gcp 2 old", &[Gcp], 3);
    }

    #[test]
    fn a_number_is_never_given_twice_on_one_cloud() {
        // Made anew there as well: one number for both is one more.
        check("aws 3 new, gcp 2 old", &CloudName::ALL, 4);
        check("aws 3 new, gcp 3 new", &CloudName::ALL, 4);
        let both = newest("aws 3 new, gcp 3 new");
        assert_eq!(both.next(&BTreeSet::new(), "new"), 3);
        assert_eq!(both.next_on(3, Some(3)), 4);
        assert_eq!(both.next_on(3, Some(2)), 3);
        assert_eq!(newest("aws 3 old, gcp 7 old").next_on(3, Some(3)), 8);
        assert_eq!(Newest::new().next_on(1, None), 1);
    }

    #[test]
    fn another_content_of_the_highest_number_is_not_joined() {
        check("aws 3 other, gcp 2 new", &[Gcp], 4);
        check("aws 3 other, gcp 2 new", &[Aws], 4);
    }
}
