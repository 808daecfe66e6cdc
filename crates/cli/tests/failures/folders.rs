//! A manifest in a sub-folder means the same files wherever the command is typed.

use std::path::Path;

use deployer::Exit;

use crate::in_process::stage::{Ended, Stage, Wanted};

crate::tests! {
    a_manifest_in_a_folder_has_one_ledger_and_one_set_of_files => one_ledger,
}

async fn ok(stage: &Stage, arguments: &[&str]) -> String {
    let (ended, said) = stage.run_with_files(arguments).await;
    let fine = matches!(ended, Ended::Exit(Exit::Success));
    assert!(fine, "{arguments:?} ended with {ended:?}:\n{said}");
    said
}

async fn one_ledger(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let manifest = stage.file("beside", "");
    let folder = Path::new(&manifest).parent().expect("a folder");
    let name = folder.file_name().and_then(|name| name.to_str());
    let relative = format!("{}/deployer.toml", name.expect("a name"));
    let apply = ["apply", "--yes", "--no-verify"];

    // The test is a process of its own.
    std::env::set_current_dir(folder.parent().expect("a folder")).expect("it is there");
    ok(stage, &[&apply[..], &["-f", &relative]].concat()).await;
    std::env::set_current_dir(folder).expect("it is there");
    let said = ok(stage, &["releases", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    for target in listed.as_array().expect("a list") {
        assert_eq!(target["releases"][0]["number"], 1, "{target:#}");
    }
    let said = ok(stage, &apply).await;
    assert!(said.contains("No changes: what is there"), "{said}");
    assert!(folder.join(".deployer/ledger").is_dir());
    assert!(!folder.join(relative).with_file_name("").exists());
    // Where there is none it is said where it was looked for, and how there comes to be one.
    let empty = tempfile::tempdir().expect("a folder");
    std::env::set_current_dir(empty.path()).expect("it is there");
    for command in ["plan", "status", "check"] {
        let (ended, said) = stage.run_with_files(&[command]).await;
        assert!(matches!(ended, Ended::Exit(Exit::Input)), "{ended:?}");
        for says in [
            "there is no `deployer.toml` in ",
            "`deployer init` makes a first one",
        ] {
            assert!(said.contains(says), "{said}");
        }
    }
}
