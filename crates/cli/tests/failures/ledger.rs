//! A damaged ledger is told by the name of what is damaged, before anything is changed, and is
//! never written over.

use deployer::Exit;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{APPLY, SECOND, first_serves, run, says};
use crate::in_process::stage::{Stage, Wanted};

crate::tests! {
    a_damaged_ledger_is_told_before_anything_is_done => damaged,
}

/// What stands in the place of an object.
const DAMAGES: [&[u8]; 4] = [
    b"",
    b"{\"format\": 1, ",
    b"\xff\xfe\x00",
    br#"{"version": 4, "terraform_version": "1.9.0", "resources": []}"#,
];

async fn damaged(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let back = ["rollback", "--yes", "--no-verify"];
    run(stage, &back, "all", Exit::Success).await;
    stage.want(&Wanted {
        greeting: "good evening",
        ..SECOND
    });
    let needed = needed(stage).await;
    assert!(needed.len() >= 10, "{needed:?}");
    for (path, damage) in needed.iter().zip(DAMAGES.iter().cycle()) {
        let whole = read(stage, path).await;
        write(stage, path, damage.to_vec()).await;
        // The other cloud's ledger is whole: it goes its own way.
        let cloud = match path.as_ref().contains("/aws-") {
            true => "aws",
            false => "gcp",
        };
        let mut commands = vec![APPLY];
        if !path.as_ref().contains("/run") && !path.as_ref().contains("/left") {
            commands.push(&["destroy", "--yes"]);
        }
        for command in commands {
            stage.calls.arm(None);
            let said = run(stage, command, cloud, Exit::Failure).await;
            says(&said, &[path.as_ref(), "hint:"]);
            assert_eq!(stage.calls.writes(), [] as [&str; 0], "{path}: {said}");
            assert_eq!(
                read(stage, path).await,
                *damage,
                "{path} is as it was found"
            );
        }
        write(stage, path, whole).await;
    }
    run(stage, APPLY, "all", Exit::Success).await;
}

/// What an apply has to read: everything but what lies behind the latest.
async fn needed(stage: &Stage) -> Vec<Path> {
    let paths = stage.ledger.standing().await;
    let folder = |path: &Path, depth: usize| {
        let parts: Vec<_> = path.parts().map(|it| it.as_ref().to_owned()).collect();
        parts[..parts.len().saturating_sub(depth)].join("/")
    };
    let is_latest = |path: &&Path| {
        let name = path.as_ref();
        if name.contains("/lock") || name.ends_with("clock.json") {
            return false;
        }
        let mut beside = paths.iter();
        // Each is read alike: one of the items stands for all.
        if name.contains("/inventory/") {
            let of_it = |it: &&Path| folder(it, 2) == folder(path, 2);
            return paths.iter().find(of_it) == Some(path)
                && folder(path, 2).ends_with("inventory");
        }
        if name.contains("/releases/") || name.contains("/run-headers/") {
            return !beside.any(|it| folder(it, 1) == folder(path, 1) && it > *path);
        }
        // Of the last run its first and its last entry.
        if name.contains("/runs/") {
            let of_a_later_run =
                |it: &Path| folder(it, 2) == folder(path, 2) && folder(it, 1) > folder(path, 1);
            let last = paths
                .iter()
                .rev()
                .find(|it| folder(it, 1) == folder(path, 1));
            let first = paths.iter().find(|it| folder(it, 1) == folder(path, 1));
            return !beside.any(of_a_later_run) && (last == Some(*path) || first == Some(*path));
        }
        true
    };
    let mut needed: Vec<Path> = paths.iter().filter(is_latest).cloned().collect();
    // The last run first: what is found out later may have begun another one.
    needed.sort_by_key(|path| !path.as_ref().contains("/run"));
    needed
}

async fn read(stage: &Stage, path: &Path) -> Vec<u8> {
    let found = stage.ledger.get(path).await.expect("it is there");
    found.bytes().await.expect("its content").to_vec()
}

async fn write(stage: &Stage, path: &Path, bytes: Vec<u8>) {
    let put = stage.ledger.put(path, bytes.into()).await;
    put.expect("memory takes it");
}
