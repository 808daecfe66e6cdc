//! What a release is, tried without building one.

use std::process::Output;

use serde_json::Value;

use super::*;

#[test]
fn what_is_asked_for_is_read_and_anything_else_refused() {
    let words = [
        "--binary",
        "a/deployer",
        "--target",
        "x",
        "--profile",
        "dev",
    ];
    let wanted = Wanted::read(&words).unwrap();
    assert_eq!(wanted.target.as_deref(), Some("x"));
    assert_eq!(wanted.binary.as_deref(), Some(Path::new("a/deployer")));
    assert!(wanted.is_trial());
    assert!(!Wanted::read(&[]).unwrap().is_trial());
    assert!(Wanted::read(&["--target"]).is_err() && Wanted::read(&["--fast", "x"]).is_err());
}

#[test]
fn the_same_content_is_the_same_archive_and_its_sum_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir_all(staged.join("man")).unwrap();
    fs::write(staged.join("deployer"), "program").unwrap();
    fs::write(staged.join("man/deployer.1"), "page").unwrap();
    let names = ["deployer-1-a.tar.gz", "deployer-1-b.tar.gz"];
    let archives = names.map(|name| folder.path().join(name));
    for file in &archives {
        archive::pack(&staged, file, "deployer-1", Compression::fast()).unwrap();
    }
    let bytes = fs::read(&archives[0]).unwrap();
    assert_eq!(bytes, fs::read(&archives[1]).unwrap());
    let mut packed = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let entries = packed.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path, entry.header().mode().unwrap())
    });
    let wanted = [
        ("deployer-1/deployer".to_owned(), 0o755),
        ("deployer-1/man/deployer.1".to_owned(), 0o644),
    ];
    assert_eq!(entries.collect::<Vec<_>>(), wanted);
    fs::write(folder.path().join("deployer-0-a.tar.gz"), "of before").unwrap();
    let sums = release(folder.path(), "1").sums().unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    assert!(
        sums.contains(&hex::encode(Sha256::digest(&bytes))),
        "{sums}"
    );
}

fn release<'a>(folder: &Path, version: &'a str) -> Release<'a> {
    Release {
        folder: folder.to_path_buf(),
        version,
        target: TARGET,
    }
}

const TARGET: &str = "x86_64-unknown-linux-musl";

/// A release whose program is a script that says its version.
pub(super) fn released(folder: &Path) -> Release<'static> {
    let release = release(folder, "1.2.3");
    let staged = folder.join(release.name());
    fs::create_dir_all(staged.join("man")).unwrap();
    fs::create_dir_all(staged.join("completions")).unwrap();
    fs::write(staged.join("man/deployer.1"), "page").unwrap();
    for name in ["deployer.bash", "_deployer", "deployer.fish"] {
        fs::write(staged.join("completions").join(name), "complete").unwrap();
    }
    let program = "#!/bin/sh\necho deployer 1.2.3\n";
    fs::write(staged.join("deployer"), program).unwrap();
    let packed = folder.join(format!("{}.tar.gz", release.name()));
    archive::pack(&staged, &packed, &release.name(), Compression::fast()).unwrap();
    fs::write(folder.join("install.sh"), installer("1.2.3", "")).unwrap();
    fs::write(folder.join("SHA256SUMS"), release.sums().unwrap()).unwrap();
    release
}

fn install(folder: &Path, prefix: &Path, target: &str) -> Output {
    let mut script = Command::new("sh");
    script.arg(folder.join("install.sh"));
    script.env(
        "DEPLOYER_REPOSITORY",
        format!("file://{}", folder.display()),
    );
    script.env("DEPLOYER_PREFIX", prefix);
    script.env("DEPLOYER_TARGET", target);
    script.output().unwrap()
}

#[test]
fn the_installer_puts_program_manual_and_completions_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let release = released(folder.path());
    assert_eq!(release.try_installer().unwrap(), "deployer 1.2.3");
    let prefix = folder.path().join("prefix");
    // A second time it replaces what is there.
    for _ in 0..2 {
        let ended = install(folder.path(), &prefix, TARGET);
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{ended:?}");
        assert!(said.contains("deployer 1.2.3 is in"), "{said}");
        assert!(said.contains("is not in your PATH"), "{said}");
    }
    for file in [
        "bin/deployer",
        "share/man/man1/deployer.1",
        "share/bash-completion/completions/deployer",
        "share/zsh/site-functions/_deployer",
        "share/fish/vendor_completions.d/deployer.fish",
    ] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
}

#[test]
fn the_installer_leaves_everything_as_it_is_when_something_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let release = released(folder.path());
    let prefix = folder.path().join("prefix");
    let refused = |target: &str, words: &str| {
        let ended = install(folder.path(), &prefix, target);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(words), "{said}");
        assert!(!prefix.exists());
    };
    refused("sparc-unknown-linux-musl", "sparc-unknown-linux-musl");
    let packed = folder.path().join(format!("{}.tar.gz", release.name()));
    let mut bytes = fs::read(&packed).unwrap();
    bytes.push(0);
    fs::write(packed, bytes).unwrap();
    refused(TARGET, "is not what was released");
    fs::write(folder.path().join("SHA256SUMS"), "").unwrap();
    refused(TARGET, "SHA256SUMS does not name");
}

#[test]
fn the_installer_knows_its_version_and_where_it_comes_from() {
    let script = installer("1.2.3", "team/deployer");
    assert!(script.contains("1.2.3") && script.contains("team/deployer"));
    assert!(!script.contains('@'), "{script}");
}

/// What cargo-binstall reads leads to the archives as they are.
#[test]
fn cargo_binstall_finds_the_archive_and_the_program_in_it() {
    let mut metadata = workspace::cargo();
    metadata.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: Value = serde_json::from_str(&run::output(&mut metadata).unwrap()).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|it| it["name"] == "deployer").unwrap();
    let said = &package["metadata"]["binstall"];
    let version = package["version"].as_str().unwrap();
    for processor in ["x86_64", "aarch64"] {
        for (libc, own) in [("musl", said), ("gnu", &said["overrides"])] {
            let target = format!("{processor}-unknown-linux-{libc}");
            let own = match libc {
                "gnu" => &own[&target],
                _ => own,
            };
            let filled = |key: &str| {
                let text = own[key]
                    .as_str()
                    .unwrap_or_else(|| panic!("{target} {key}"));
                let text = text.replace("{ version }", version);
                let text = text.replace("{ target }", &target);
                text.replace("{ bin }", "deployer")
                    .replace("{ binary-ext }", "")
            };
            let release = Release {
                target: &format!("{processor}-unknown-linux-musl"),
                ..release(Path::new(""), version)
            };
            let name = release.name();
            let url = format!("{{ repo }}/releases/download/v{version}/{name}.tar.gz");
            assert_eq!(filled("pkg-url"), url);
            assert_eq!(filled("bin-dir"), format!("{name}/deployer"));
        }
    }
}
