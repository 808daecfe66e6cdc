//! The program as a container image, made without Docker: an OCI layout in an archive.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use oci_spec::image::{Arch, Config, ConfigBuilder};

use super::elf::Linkage;
use super::{Release, archive, commit, toolchain};
use crate::oci_layout::{self, File, Image, Layer};
use crate::run;

/// Where the program is in the image.
const PROGRAM: &str = "usr/bin/deployer";
/// The authorities that it trusts: this machine's.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes `NAME.oci.tar` beside the archive. A program that is not static gets the libraries of
/// this machine with it: an image to try, and none to release.
pub(super) fn write(release: &Release, binary: &Path, linked: Linkage) -> Result<()> {
    let libraries = match linked {
        Linkage::Static => Vec::new(),
        Linkage::Dynamic => libraries(binary)?,
    };
    let authorities = Path::new("/").join(AUTHORITIES);
    if !authorities.exists() {
        bail!(
            "{} is missing: apt-get install ca-certificates",
            authorities.display()
        );
    }
    let mut files = vec![file(PROGRAM, binary)?, file(AUTHORITIES, &authorities)?];
    for library in libraries {
        files.push(file(&library.to_string_lossy(), &library)?);
    }
    // Images are unpacked there.
    files.push(File {
        path: "tmp/.keep".to_owned(),
        mode: 0o644,
        contents: Vec::new(),
    });
    let image = Image::new(
        architecture(release.target)?,
        config(release.version)?,
        vec![Layer::new(files)?],
    )?;
    let layout = release.folder.join(format!("{}.oci", release.name()));
    let digest = oci_layout::write_layout(&layout, release.version, &image)?;
    let packed = release.folder.join(format!("{}.oci.tar", release.name()));
    archive::pack_plain(&layout, &packed)?;
    fs::remove_dir_all(&layout).context("cannot remove the layout")?;
    println!("image {digest}");
    Ok(())
}

fn file(inside: &str, from: &Path) -> Result<File> {
    Ok(File {
        path: inside.trim_start_matches('/').to_owned(),
        mode: 0o755,
        contents: fs::read(from).with_context(|| format!("cannot read {}", from.display()))?,
    })
}

fn architecture(target: &str) -> Result<Arch> {
    match toolchain::processor(target) {
        "x86_64" => Ok(Arch::Amd64),
        "aarch64" => Ok(Arch::ARM64),
        other => bail!("no image has been thought of for {other}"),
    }
}

fn config(version: &str) -> Result<Config> {
    let label = |name: &str, value: String| (format!("org.opencontainers.image.{name}"), value);
    let mut labels = HashMap::from([
        label("title", "deployer".to_owned()),
        label("version", version.to_owned()),
        label("licenses", "Apache-2.0 OR MIT".to_owned()),
    ]);
    labels.extend(commit(&["rev-parse", "HEAD"]).map(|commit| label("revision", commit)));
    if let Ok(repository) = std::env::var("GITHUB_REPOSITORY") {
        labels.extend([label("source", format!("https://github.com/{repository}"))]);
    }
    let config = ConfigBuilder::default()
        .entrypoint(vec![format!("/{PROGRAM}")])
        .env(vec!["PATH=/usr/bin".to_owned()])
        // The manifest's folder is mounted here.
        .working_dir("/work")
        .labels(labels)
        .build()?;
    Ok(config)
}

/// The libraries that a program is loaded with on this machine, and the loader.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let said = run::output(Command::new("ldd").arg(binary))?;
    Ok(paths(&said).into_iter().map(PathBuf::from).collect())
}

/// `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the loader.
fn paths(said: &str) -> Vec<&str> {
    let words = said.lines().flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_and_the_loader_are_read_from_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let wanted = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths(said), wanted);
    }

    #[test]
    fn an_image_is_for_the_processor_of_its_target() {
        assert_eq!(
            architecture("aarch64-unknown-linux-musl").unwrap(),
            Arch::ARM64
        );
        assert!(architecture("riscv64gc-unknown-linux-musl").is_err());
    }

    #[tokio::test]
    async fn the_image_is_one_that_deployer_itself_reads() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("deployer");
        fs::write(&binary, "program").unwrap();
        let release = Release {
            folder: folder.path().to_path_buf(),
            version: "1.2.3",
            target: "x86_64-unknown-linux-musl",
        };
        write(&release, &binary, Linkage::Static).unwrap();
        // By its tag: another one is refused.
        let packed = "oci-archive:deployer-1.2.3-x86_64-unknown-linux-musl.oci.tar:1.2.3";
        let source = deployer_oci::ImageSource::parse(packed, folder.path()).unwrap();
        let image = source.open(deployer_oci::Anonymous).await.unwrap();
        image.require_platform("linux", "amd64").unwrap();
        assert!(image.require_platform("linux", "arm64").is_err());
        assert!(image.config("linux", "amd64").await.unwrap().is_some());
    }
}
