//! The Combine on App Runner, from the manifest that is ready for it. The image is the demo's own:
//! of the team's there is none.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::service::Service;
use super::stage::{MANIFEST_OF_COMBINE, Stage};
use super::terminal::{Finished, Say, Terminal};
use crate::{images, workspace};

/// What the demo's service needs beside what The Combine has: it fetches no secret itself.
const STAND_IN: &str = r#"[services.web.env]
DATABASE_URL = { secret = "main-url" }
JWT_PRIVATE_KEY = { secret = "jwt-private" }
JWT_PUBLIC_KEY = { secret = "jwt-public" }

[keys.jwt]
private = "jwt-private"
public = "jwt-public"

[databases.main]
deletion_protection = false

[targets.aws]
execution_role = "the-combine-staging-execution"
"#;

/// The project beside the demo's own.
pub struct Combine {
    terminal: Terminal,
    folder: PathBuf,
}

impl Combine {
    /// Writes the project, with the image of this version.
    pub fn set(stage: &Stage, version: &str) -> Result<Self> {
        let (terminal, folder) = stage.project("the-combine")?;
        let this = Self { terminal, folder };
        fs::write(this.folder.join("deployer.staging.toml"), STAND_IN)?;
        this.use_version(version)?;
        Ok(this)
    }

    /// Puts the manifest into the project, with the image of this version.
    pub fn use_version(&self, version: &str) -> Result<()> {
        let path = workspace::root().join(MANIFEST_OF_COMBINE);
        let manifest = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {MANIFEST_OF_COMBINE}"))?;
        let image = images::directory().join(format!("idp-{version}"));
        let image = format!("image = \"{}\"", image.display());
        let lines = manifest.lines().map(|line| match line {
            line if line.starts_with("image = ") => image.as_str(),
            line => line,
        });
        let manifest = lines.collect::<Vec<_>>().join("\n");
        ensure!(
            manifest.contains(&image),
            "{MANIFEST_OF_COMBINE} names no image"
        );
        eprintln!("    the manifest's image is idp-{version}");
        fs::write(self.folder.join("deployer.toml"), manifest)?;
        Ok(())
    }

    /// Runs `deployer` in the project as a person would.
    pub fn deployer(&self, arguments: &[&str], input: &str, say: Say) -> Result<Finished> {
        eprintln!("    the-combine $ deployer {}", arguments.join(" "));
        self.terminal.run(arguments, input, say)
    }

    /// The service at the address that App Runner gave it.
    pub fn service(&self) -> Result<Service> {
        let status = self
            .terminal
            .run(&["status", "--json"], "", Say::nothing())?;
        let status: Value = serde_json::from_str(&status.stdout)
            .context("`deployer status --json` prints no JSON")?;
        let entries = status.as_array().into_iter().flatten();
        let mut urls = entries.filter_map(|entry| entry["serving"]["url"].as_str());
        Ok(Service::at(
            urls.next().context("App Runner has no address of it")?,
        ))
    }
}
