//! The kinds of this cloud. What is not listed here cannot be declared.

use deployer_core::kind::Role;

use crate::database::{instance, user, within};
use crate::project::Project;
use crate::registry::{Copy, IMAGE, Repository};
use crate::runtime::jobs::Executions;
use crate::runtime::{invoker, job, migration, service};
use crate::site::Facts;
use crate::{cache, dns, secret_access, secret_store};

deployer_core::kinds! {
    site: Project, facts: Facts;
    kinds:
        Repository,
        service::RunService,
        job::RunJob,
        invoker::Invoker,
        secret_store::Secret,
        secret_access::Access,
        instance::Instance,
        cache::Instance,
        dns::Record,
    ;
    // A database and its user go with their instance: dropped on their own before it, they would be
    // missing from its last backup. The others are steps, and what of somebody else's is only read.
    gone:
        within::Within = within::KIND => Role::BesideDatabase,
        user::User = user::KIND => Role::BesideDatabase,
        Copy = IMAGE => Role::Image,
        secret_store::Taken = secret_store::MEMBER => Role::Secret,
        Executions = migration::KIND => Role::Migration,
    ;
}

/// A plan reads each thing: what says that it takes nothing to read one has forgotten it.
const _: () = {
    let mut at = 0;
    while at < ALL.len() {
        let read = ALL[at].facts.access.read;
        assert!(
            !read.is_empty(),
            "a kind does not say what reading it takes"
        );
        at += 1;
    }
};
