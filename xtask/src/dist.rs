//! What a release consists of: a static binary with its completions, manual, schema and licences in
//! an archive, the same binary as a container image, sums, and a script that installs it.

mod archive;
mod elf;
mod image;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use sha2::{Digest, Sha256};

use crate::{run, workspace};

/// The script as it is in the repository; two words of it are filled in.
const INSTALLER: &str = include_str!("dist/install.sh");

const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// `None`: a static one for this machine's processor.
    target: Option<String>,
    profile: String,
    /// A program that is built already.
    binary: Option<PathBuf>,
    /// One of this version that runs here and writes manual, completions and schema, where that of
    /// the release does not.
    pages: Option<PathBuf>,
}

impl Wanted {
    fn read(words: &[&str]) -> Result<Self> {
        let mut wanted = Self {
            target: None,
            profile: "release".to_owned(),
            binary: None,
            pages: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{word} needs a value"))?;
            match *word {
                "--target" => wanted.target = Some((*value).to_owned()),
                "--profile" => wanted.profile = (*value).to_owned(),
                "--binary" => wanted.binary = Some(PathBuf::from(value)),
                "--pages" => wanted.pages = Some(PathBuf::from(value)),
                other => {
                    bail!("`{other}` is none of --target, --profile, --binary and --pages")
                }
            }
        }
        Ok(wanted)
    }

    /// Whether it is only to be seen that everything works: then it is made quickly.
    fn is_trial(&self) -> bool {
        self.profile == "dev"
    }
}

/// `cargo xtask dist [--target TRIPLE|host] [--profile NAME] [--binary FILE] [--pages FILE]`:
/// everything of a release under `target/dist`, installed once into a folder of its own where it
/// runs here.
pub fn command(words: &[&str]) -> Result<()> {
    let wanted = Wanted::read(words)?;
    let version = env!("CARGO_PKG_VERSION");
    let host = toolchain::host()?;
    let target = match wanted.target.as_deref() {
        None => format!("{}-unknown-linux-musl", toolchain::processor(&host)),
        Some("host") => host.clone(),
        Some(target) => target.to_owned(),
    };
    let runs_here = toolchain::processor(&target) == toolchain::processor(&host);
    ensure!(
        runs_here || wanted.pages.is_some(),
        "a program for {target} does not run on {host} and cannot write its manual here: name another \
         one of this version with --pages, or build on such a machine"
    );
    let binary = match &wanted.binary {
        Some(binary) => binary.clone(),
        None => toolchain::build(&target, &host, &wanted.profile, &described(version))?,
    };
    let linked = elf::linkage(&binary)?;
    if target.ends_with("-musl") {
        ensure!(
            linked == elf::Linkage::Static,
            "{} is not static",
            binary.display()
        );
    }
    let release = Release {
        folder: workspace::generated("dist"),
        version,
        target: &target,
    };
    let pages = wanted.pages.as_ref().unwrap_or(&binary);
    release.pack(&binary, pages, wanted.is_trial())?;
    image::write(&release, &binary, linked)?;
    let repository = std::env::var("GITHUB_REPOSITORY").unwrap_or_default();
    let script = release.folder.join("install.sh");
    fs::write(&script, installer(version, &repository)).context("cannot write install.sh")?;
    let sums = release.sums()?;
    fs::write(release.folder.join("SHA256SUMS"), &sums).context("cannot write the sums")?;
    print!("{sums}");
    println!("in {}", release.folder.display());
    if linked == elf::Linkage::Dynamic {
        println!("not static: it runs where the libraries of this machine are");
    }
    match runs_here {
        true => println!("installed and started: {}", release.try_installer()?),
        false => println!("not started: this machine is {host}"),
    }
    Ok(())
}

/// What is made for one target.
struct Release<'a> {
    folder: PathBuf,
    version: &'a str,
    target: &'a str,
}

impl Release<'_> {
    /// What everything of it is called.
    fn name(&self) -> String {
        format!("deployer-{}-{}", self.version, self.target)
    }

    /// Lays out the archive's content and packs it; `pages` writes manual, completions and schema.
    fn pack(&self, binary: &Path, pages: &Path, quickly: bool) -> Result<()> {
        let name = self.name();
        let staged = self.folder.join(&name);
        if staged.exists() {
            fs::remove_dir_all(&staged).context("cannot remove what the last one left")?;
        }
        stage(binary, pages, &staged)?;
        let archive = self.folder.join(format!("{name}.tar.gz"));
        let level = match quickly {
            true => Compression::fast(),
            false => Compression::best(),
        };
        archive::pack(&staged, &archive, &name, level)
    }

    /// A line for each archive of this version and for the script, as `sha256sum --check` reads it.
    fn sums(&self) -> Result<String> {
        let begin = format!("deployer-{}-", self.version);
        let mut lines = String::new();
        let entries =
            fs::read_dir(&self.folder).context("cannot read the folder of the release")?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(&begin) && name != "install.sh" {
                continue;
            }
            let content = fs::read(path).with_context(|| format!("cannot read {name}"))?;
            let sum = hex::encode(Sha256::digest(content));
            lines.push_str(&format!("{sum}  {name}\n"));
        }
        Ok(lines)
    }

    /// Installs it as a person does, from the folder of the release, and says what the program that
    /// was installed calls itself.
    fn try_installer(&self) -> Result<String> {
        let prefix = self.folder.join("installed");
        if prefix.exists() {
            fs::remove_dir_all(&prefix).context("cannot remove what the last one left")?;
        }
        let mut script = Command::new("sh");
        script.arg(self.folder.join("install.sh"));
        script.env("DEPLOYER_PREFIX", &prefix);
        script.env("DEPLOYER_TARGET", self.target);
        let from = format!("file://{}", self.folder.display());
        run::output(script.env("DEPLOYER_REPOSITORY", from)).context("the installer")?;
        let said = run::output(Command::new(prefix.join("bin/deployer")).arg("--version"))?;
        let said = said.trim().to_owned();
        fs::remove_dir_all(&prefix).context("cannot remove what was installed")?;
        ensure!(
            said.contains(self.version),
            "it is version {said}, not {}",
            self.version
        );
        Ok(said)
    }
}

/// The version with the commit that it was built from, where that is known.
fn described(version: &str) -> String {
    match commit(&["show", "--no-patch", "--format=%h %cs", "HEAD"]) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

fn commit(question: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let said = run::output(git.current_dir(workspace::root()).args(question));
    said.ok().map(|said| said.trim().to_owned())
}

/// Lays out the archive's content; `writer`, a program of this version, writes the pages.
fn stage(binary: &Path, writer: &Path, folder: &Path) -> Result<()> {
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).context("cannot make the folder of the archive")?;
    let program = folder.join("deployer");
    fs::copy(binary, &program).with_context(|| format!("cannot copy {}", binary.display()))?;
    let mut man = Command::new(writer);
    run::output(man.args(["man", "--out"]).arg(folder.join("man")))?;
    for (shell, file) in [
        ("bash", "deployer.bash"),
        ("zsh", "_deployer"),
        ("fish", "deployer.fish"),
    ] {
        let script = run::output(Command::new(writer).args(["completions", shell]))?;
        fs::write(completions.join(file), script).context("cannot write a completion script")?;
    }
    let schema = run::output(Command::new(writer).arg("schema"))?;
    fs::write(folder.join("deployer.schema.json"), schema).context("cannot write the schema")?;
    for file in LICENCES {
        let from = workspace::root().join(file);
        fs::copy(&from, folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(())
}

fn installer(version: &str, repository: &str) -> String {
    INSTALLER
        .replace("@VERSION@", version)
        .replace("@REPOSITORY@", repository)
}

#[cfg(test)]
mod action_tests;
#[cfg(test)]
mod tests;
