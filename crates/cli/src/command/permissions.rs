//! `deployer permissions`: what the credentials must be allowed, as `docs/permissions.md` has it.

use deployer_core::address::CloudName;

use crate::args::Global;
use crate::exit::Exit;
use crate::view;

/// Prints the page, or its policies and roles as JSON; of one cloud alone with `--cloud`.
pub fn run(global: &Global) -> Exit {
    let clouds = CloudName::ALL.map(|cloud| (cloud, global.cloud.has(cloud)));
    let clouds: Vec<CloudName> = clouds
        .into_iter()
        .filter_map(|(cloud, wanted)| wanted.then_some(cloud))
        .collect();
    match global.json {
        true => view::json(&view::permissions::document(&clouds)),
        false => out!("{}", view::permissions::page(&clouds)),
    }
    Exit::Success
}
