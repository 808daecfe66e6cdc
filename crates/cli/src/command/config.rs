//! `deployer config`: the merged manifest, and where each value comes from.

use deployer_manifest::Loaded;
use serde_json::json;

use crate::args::{ConfigCommand, Global};
use crate::exit::Exit;
use crate::view;

/// Shows the merged manifest.
pub fn run(global: &Global, loaded: &Loaded, command: &ConfigCommand) -> Exit {
    let ConfigCommand::Show { origin } = command;
    let leaves = loaded.leaves();
    if global.json {
        match origin {
            true => view::json(&leaves),
            false => {
                view::json(&json!({"environment": loaded.environment, "manifest": loaded.manifest}))
            }
        }
        return Exit::Success;
    }
    if !origin {
        for leaf in &leaves {
            outln!("{} = {}", leaf.path, leaf.value);
        }
        return Exit::Success;
    }
    let rows: Vec<Vec<String>> = leaves
        .iter()
        .map(|leaf| {
            vec![
                leaf.path.clone(),
                leaf.value.to_string(),
                leaf.origin.to_string(),
            ]
        })
        .collect();
    out!("{}", view::table::render(&["KEY", "VALUE", "FROM"], &rows));
    Exit::Success
}
