//! The tables of AWS's kinds: the target's own and Route 53's, which is reached through another
//! client.

use deployer_core::kind::Listing;

use crate::site::Facts;
use crate::{dns, kinds};

/// What the tables say of each kind.
pub(crate) fn all() -> impl Iterator<Item = &'static Listing<Facts>> {
    kinds::ALL.iter().chain(dns::kinds::ALL)
}
