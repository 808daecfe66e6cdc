//! The kinds of Route 53. They are a table of their own, as their target may be of another cloud:
//! they are reached through what that target has of Route 53.

use super::Api;
use super::record::{Record, Written};
use super::validation::{Proven, Validation};
use crate::site::Facts;

deployer_core::kinds! {
    site: Api, facts: Facts;
    kinds:
        Written as Record,
        Proven as Validation,
    ;
    gone:;
}
