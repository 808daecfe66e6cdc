//! Which members of what the ledger keeps are keys of the manifest; pure.

use super::{Hold, Release, RunHeader};
use crate::renames::{Keyed, Renames};

/// Taken apart whole: a member that names something and is forgotten here does not compile.
impl Keyed for Release {
    fn exchange(&mut self, renames: &Renames) {
        let Self {
            service,
            secrets,
            spec,
            number: _,
            content_id: _,
            overrides: _,
            image: _,
            tag: _,
            revision: _,
            migration: _,
            at: _,
            by: _,
            run: _,
            rollback_to: _,
            rejects: _,
            put_back: _,
            redeployed: _,
            kept: _,
            detached: _,
            verified: _,
        } = self;
        renames.exchange_service(service);
        renames.secrets_of(secrets);
        spec.exchange(renames);
    }
}

impl Keyed for Hold {
    fn exchange(&mut self, renames: &Renames) {
        let Self {
            secrets,
            rejected: _,
            content_id: _,
            overrides: _,
            serving: _,
            since: _,
            by: _,
            unfinished: _,
        } = self;
        renames.secrets_of(secrets);
    }
}

impl Keyed for RunHeader {
    fn exchange(&mut self, renames: &Renames) {
        let Self {
            contents,
            redeploys,
            // It says itself what was called what.
            manifest: _,
            number: _,
            command: _,
            by: _,
            at: _,
            plan: _,
            typed: _,
        } = self;
        renames.services_of(contents);
        renames.services_of(redeploys);
    }
}
