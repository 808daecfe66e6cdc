//! What a release consists of: a static binary with its completions, manual, schema and licences in
//! an archive, sums, and a script that installs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::{run, workspace};

/// What is built unless another is asked for: it runs on every Linux of this processor.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The script as it is in the repository; two words of it are filled in.
const INSTALLER: &str = include_str!("dist/install.sh");

const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    target: String,
    /// A program that is built already.
    binary: Option<PathBuf>,
}

impl Wanted {
    fn read(words: &[&str]) -> Result<Self> {
        let mut wanted = Self {
            target: TARGET.to_owned(),
            binary: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{word} needs a value"))?;
            match *word {
                "--target" => wanted.target = (*value).to_owned(),
                "--binary" => wanted.binary = Some(PathBuf::from(value)),
                other => bail!("`{other}` is neither --target nor --binary"),
            }
        }
        Ok(wanted)
    }
}

/// `cargo xtask dist [--target TRIPLE] [--binary FILE]`: everything of a release under
/// `target/dist`.
pub fn command(words: &[&str]) -> Result<()> {
    let wanted = Wanted::read(words)?;
    let version = env!("CARGO_PKG_VERSION");
    let binary = match &wanted.binary {
        Some(binary) => binary.clone(),
        None => {
            let missing = missing(&wanted.target);
            if !missing.is_empty() {
                bail!(
                    "cannot build for {}:\n  {}",
                    wanted.target,
                    missing.join("\n  ")
                );
            }
            build(&wanted.target, version)?
        }
    };
    let folder = workspace::generated("dist");
    let name = format!("deployer-{version}-{}", wanted.target);
    let staged = folder.join(&name);
    if staged.exists() {
        fs::remove_dir_all(&staged).context("cannot remove what the last one left")?;
    }
    stage(&binary, &staged)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    pack(&staged, &archive, &name)?;
    let repository = std::env::var("GITHUB_REPOSITORY").unwrap_or_default();
    let script = folder.join("install.sh");
    fs::write(&script, installer(version, &repository)).context("cannot write install.sh")?;
    let sums = sums(&folder)?;
    fs::write(folder.join("SHA256SUMS"), &sums).context("cannot write the sums")?;
    print!("{sums}");
    println!("in {}", folder.display());
    Ok(())
}

/// What this machine lacks to build for a target, each with the command that mends it.
fn missing(target: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut rustc = Command::new("rustc");
    let asked = run::output(rustc.args(["--print", "target-libdir", "--target", target]));
    let is_there = asked.is_ok_and(|folder| Path::new(folder.trim()).is_dir());
    if !is_there {
        missing.push(format!("the standard library: rustup target add {target}"));
    }
    if target.ends_with("-musl") {
        // `aws-lc` is C; `cc` looks for these names, or what the variable says.
        let variable = format!("CC_{}", target.replace('-', "_"));
        let compilers = ["musl-gcc", "x86_64-linux-musl-gcc"];
        let named = std::env::var_os(&variable).is_some();
        if !named && !compilers.iter().any(|it| run::exists(it)) {
            missing.push(format!(
                "a C compiler for musl: apt-get install musl-tools, or name one in {variable}"
            ));
        }
    }
    missing
}

fn build(target: &str, version: &str) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "deployer",
        "--target",
        target,
    ]);
    build.env("DEPLOYER_VERSION", described(version));
    workspace::build_program(&mut build, "deployer")
}

/// The version with the commit that it was built from, where that can be told.
fn described(version: &str) -> String {
    let mut git = Command::new("git");
    git.current_dir(workspace::root());
    match run::output(git.args(["show", "--no-patch", "--format=%h %cs", "HEAD"])) {
        Ok(commit) => format!("{version} ({})", commit.trim()),
        Err(_) => version.to_owned(),
    }
}

/// Lays out the archive's content; the program writes its own pages.
fn stage(binary: &Path, folder: &Path) -> Result<()> {
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).context("cannot make the folder of the archive")?;
    let program = folder.join("deployer");
    fs::copy(binary, &program).with_context(|| format!("cannot copy {}", binary.display()))?;
    let mut man = Command::new(&program);
    run::output(man.args(["man", "--out"]).arg(folder.join("man")))?;
    for (shell, file) in [
        ("bash", "deployer.bash"),
        ("zsh", "_deployer"),
        ("fish", "deployer.fish"),
    ] {
        let script = run::output(Command::new(&program).args(["completions", shell]))?;
        fs::write(completions.join(file), script).context("cannot write a completion script")?;
    }
    let schema = run::output(Command::new(&program).arg("schema"))?;
    fs::write(folder.join("deployer.schema.json"), schema).context("cannot write the schema")?;
    for file in LICENCES {
        let from = workspace::root().join(file);
        fs::copy(&from, folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(())
}

/// Packs a folder, in the order of names and without times and owners: the same content is the same
/// archive.
fn pack(folder: &Path, archive: &Path, name: &str) -> Result<()> {
    let file = fs::File::create(archive).context("cannot write the archive")?;
    let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    for path in files(folder)? {
        let inside = Path::new(name).join(path.strip_prefix(folder)?);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let is_program = path.file_name().is_some_and(|it| it == "deployer");
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if is_program { 0o755 } else { 0o644 });
        header.set_mtime(0);
        builder
            .append_data(&mut header, inside, content.as_slice())
            .context("cannot write the archive")?;
    }
    let packed = builder.into_inner().and_then(GzEncoder::finish);
    packed.context("cannot write the archive")?;
    Ok(())
}

/// Every file below a folder, in the order of their paths.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).context("cannot read the folder of the archive")? {
        let path = entry
            .context("cannot read the folder of the archive")?
            .path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// A line for each archive and script, as `sha256sum --check` reads it.
fn sums(folder: &Path) -> Result<String> {
    let mut lines = String::new();
    let entries = fs::read_dir(folder).context("cannot read the folder of the release")?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "SHA256SUMS" {
            continue;
        }
        let content = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        lines.push_str(&format!(
            "{}  {name}\n",
            hex::encode(Sha256::digest(content))
        ));
    }
    Ok(lines)
}

fn installer(version: &str, repository: &str) -> String {
    INSTALLER
        .replace("@VERSION@", version)
        .replace("@REPOSITORY@", repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_anything_else_refused() {
        let wanted = Wanted::read(&["--binary", "a/deployer", "--target", "x"]).unwrap();
        assert_eq!(wanted.target, "x");
        assert_eq!(wanted.binary.as_deref(), Some(Path::new("a/deployer")));
        assert_eq!(Wanted::read(&[]).unwrap().target, TARGET);
        assert!(Wanted::read(&["--target"]).is_err() && Wanted::read(&["--fast", "x"]).is_err());
    }

    #[test]
    fn the_same_content_is_the_same_archive_and_its_sum_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let staged = folder.path().join("staged");
        fs::create_dir_all(staged.join("man")).unwrap();
        fs::write(staged.join("deployer"), "program").unwrap();
        fs::write(staged.join("man/deployer.1"), "page").unwrap();
        let archives = ["a.tar.gz", "b.tar.gz"].map(|name| folder.path().join(name));
        for archive in &archives {
            pack(&staged, archive, "deployer-1").unwrap();
        }
        let bytes = fs::read(&archives[0]).unwrap();
        assert_eq!(bytes, fs::read(&archives[1]).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().mode().unwrap())
        });
        let wanted = [
            ("deployer-1/deployer".to_owned(), 0o755),
            ("deployer-1/man/deployer.1".to_owned(), 0o644),
        ];
        assert_eq!(entries.collect::<Vec<_>>(), wanted);
        let sums = sums(folder.path()).unwrap();
        assert_eq!(sums.lines().count(), 2, "{sums}");
        assert!(
            sums.contains(&hex::encode(Sha256::digest(&bytes))),
            "{sums}"
        );
    }

    #[test]
    fn the_installer_knows_its_version_and_where_it_comes_from() {
        let script = installer("1.2.3", "team/deployer");
        assert!(script.contains("1.2.3") && script.contains("team/deployer"));
        assert!(!script.contains('@'), "{script}");
    }
}
