//! What this machine knows of a person's clouds without asking them: profiles, gcloud's
//! configuration, the sandbox that is in use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use deployer_aws::Profiles;
use deployer_sandbox::env::Running;

use super::draft::Draft;

/// What was found; what was not, a person says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub account: Option<String>,
    pub aws_region: Option<String>,
    pub project: Option<String>,
    pub gcp_region: Option<String>,
    /// Whether it is the sandbox: then everything else may be called anything.
    pub sandbox: bool,
}

impl Found {
    /// Reads this machine's files; `sandbox` is the one that runs, if any.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>, sandbox: Option<&Running>) -> Self {
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            (!value.is_empty()).then_some(value)
        };
        // One that runs and is not in use says nothing of where this goes.
        let in_use = |it: &&Running| text("AWS_ENDPOINT_URL").as_ref() == Some(&it.aws_url);
        if let Some(running) = sandbox.filter(in_use) {
            return Self {
                account: Some(running.account.clone()),
                aws_region: Some(running.region.clone()),
                project: Some(running.project.clone()),
                gcp_region: Some(running.location.clone()),
                sandbox: true,
            };
        }
        let profiles = Profiles::read(&variable);
        let setting = |key: &str| profiles.setting(key).map(str::to_owned);
        let gcloud = gcloud(&variable);
        let of_gcloud = |section: &str, key: &str| value(&gcloud, section, key);
        Self {
            // `arn:aws:iam::ACCOUNT:role/NAME`.
            account: setting("sso_account_id").or_else(|| {
                let role = setting("role_arn")?;
                role.split(':').nth(4).map(str::to_owned)
            }),
            aws_region: text("AWS_DEFAULT_REGION").or_else(|| setting("region")),
            project: text("CLOUDSDK_CORE_PROJECT").or_else(|| of_gcloud("core", "project")),
            gcp_region: text("CLOUDSDK_RUN_REGION")
                .or_else(|| of_gcloud("run", "region"))
                .or_else(|| of_gcloud("compute", "region")),
            sandbox: false,
        }
    }

    /// Completes where this goes, as far as nobody said it.
    pub fn complete(&self, draft: &mut Draft) {
        if let Some(aws) = &mut draft.aws {
            aws.account = aws.account.take().or_else(|| self.account.clone());
            aws.region = aws.region.take().or_else(|| self.aws_region.clone());
        }
        if let Some(gcp) = &mut draft.gcp {
            gcp.project = gcp.project.take().or_else(|| self.project.clone());
            gcp.region = gcp.region.take().or_else(|| self.gcp_region.clone());
        }
    }

    /// Completes what a sandbox takes under any name, as far as neither a person nor the clouds
    /// said it.
    pub fn complete_sandbox(&self, draft: &mut Draft) {
        if !self.sandbox {
            return;
        }
        let or = |value: &mut Option<String>, usual: &str| {
            value.get_or_insert_with(|| usual.to_owned());
        };
        if let Some(aws) = &mut draft.aws {
            match aws.app_runner {
                true => or(&mut aws.access_role, "sandbox-access"),
                false => {
                    or(&mut aws.cluster, "default");
                    or(&mut aws.execution_role, "sandbox-execution");
                }
            }
            if aws.subnets.is_empty() {
                aws.subnets = SUBNETS.map(str::to_owned).to_vec();
            }
        }
        if let Some(gcp) = &mut draft.gcp
            && (draft.database || draft.cache)
        {
            or(&mut gcp.network, "default");
        }
    }
}

/// Subnets as the sandbox takes them: two, as a database wants.
const SUBNETS: [&str; 2] = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"];

/// The active configuration of gcloud, as text. Empty where there is none.
fn gcloud(variable: impl Fn(&str) -> Option<OsString>) -> String {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let usual = || Some(Path::new(&given("HOME")?).join(".config/gcloud"));
    let Some(folder) = given("CLOUDSDK_CONFIG").map(PathBuf::from).or_else(usual) else {
        return String::new();
    };
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let named = given("CLOUDSDK_ACTIVE_CONFIG_NAME");
    let named = named.map(|name| name.to_string_lossy().into_owned());
    let name = named.unwrap_or_else(|| read(folder.join("active_config")).trim().to_owned());
    let name = if name.is_empty() {
        "default".to_owned()
    } else {
        name
    };
    read(folder.join(format!("configurations/config_{name}")))
}

/// A value of an INI file.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            inside = name.trim() == section;
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_the_active_configuration_of_gcloud_tell_account_region_and_project() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            ".aws/config",
            "[default]\nregion = eu-west-1\nsso_account_id = 111122223333\n[profile prod]\nrole_arn = arn:aws:iam::444455556666:role/deploy\n",
        );
        write(".config/gcloud/active_config", "work\n");
        write(
            ".config/gcloud/configurations/config_work",
            "[core]\nproject = shop-staging\n[run]\nregion = europe-west1\n",
        );
        let found = |profile: Option<&str>| {
            Found::read(
                |name| match name {
                    "HOME" => Some(home.path().into()),
                    "AWS_PROFILE" => profile.map(OsString::from),
                    _ => None,
                },
                None,
            )
        };
        let wanted = Found {
            account: Some("111122223333".into()),
            aws_region: Some("eu-west-1".into()),
            project: Some("shop-staging".into()),
            gcp_region: Some("europe-west1".into()),
            sandbox: false,
        };
        assert_eq!(found(None), wanted);
        assert_eq!(found(Some("prod")).account.as_deref(), Some("444455556666"));
    }

    #[test]
    fn a_machine_that_knows_nothing_says_nothing() {
        assert_eq!(Found::read(|_| None, None), Found::default());
    }
}
