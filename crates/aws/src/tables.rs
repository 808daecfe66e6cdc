//! The tables of AWS's kinds: the target's own and Route 53's, which is reached through another
//! client. What contradicts itself in them does not compile.

use deployer_core::kind::{Listing, all_differ, is_same};

use crate::site::Facts;
use crate::{dns, kinds};

const TABLES: &[&[Listing<Facts>]] = &[kinds::ALL, dns::kinds::ALL];

/// What the tables say of each kind.
pub(crate) fn all() -> impl Iterator<Item = &'static Listing<Facts>> {
    TABLES.iter().copied().flatten()
}

const _: () = assert!(
    all_differ(&[kinds::NAMES, dns::kinds::NAMES]),
    "two tables have one name"
);
const _: () = each_is_read(kinds::ALL);
const _: () = each_is_read(dns::kinds::ALL);
const _: () = arns_differ(kinds::ALL);

/// A plan reads each thing: what says that it takes nothing to read one has forgotten it.
const fn each_is_read(table: &[Listing<Facts>]) {
    let mut at = 0;
    while at < table.len() {
        let read = table[at].facts.access.read;
        assert!(
            !read.is_empty(),
            "a kind does not say what reading it takes"
        );
        at += 1;
    }
}

/// A tagged thing is told by its ARN's service and sort: two kinds of the same would be taken for
/// each other.
const fn arns_differ(table: &[Listing<Facts>]) {
    let mut at = 0;
    while at < table.len() {
        let mut other = at + 1;
        while other < table.len() {
            if let (Some(one), Some(two)) = (&table[at].facts.arn, &table[other].facts.arn) {
                let same = is_same(one.service, two.service) && is_same(one.sort, two.sort);
                assert!(!same, "two kinds have the same ARNs");
            }
            other += 1;
        }
        at += 1;
    }
}
