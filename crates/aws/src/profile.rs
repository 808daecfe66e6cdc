//! Reads what this program must know itself of the `aws` tools' files: which profiles there are,
//! and a few of their settings.
//!
//! The SDK reads the same files for credentials and region. The form is that of
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The profiles of `~/.aws/config` and `~/.aws/credentials`, or of what stands for them.
#[derive(Debug, Default)]
pub struct Profiles {
    files: Vec<PathBuf>,
    settings: BTreeMap<String, BTreeMap<String, String>>,
    /// Which one is used.
    name: String,
    /// Whether somebody chose it: else it is `default`, which need not exist.
    chosen: bool,
}

impl Profiles {
    /// Reads the files that these environment variables name; one that cannot be read is taken for
    /// empty, as `aws` takes it.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        // Without a home there is no usual file: the folder that one stands in may be anybody's.
        let home = given("HOME").map(PathBuf::from);
        let file = |name: &str, usual: &str| {
            let named = given(name).map(PathBuf::from);
            named.or_else(|| Some(home.as_ref()?.join(usual)))
        };
        let config = file("AWS_CONFIG_FILE", ".aws/config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        let mut settings = BTreeMap::new();
        let text = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            std::fs::read_to_string(path).ok()
        };
        if let Some(text) = text(&config) {
            sections(&text, Section::of_config, &mut settings);
        }
        if let Some(text) = text(&credentials) {
            sections(&text, Section::of_credentials, &mut settings);
        }
        let chosen = given("AWS_PROFILE").or_else(|| given("AWS_DEFAULT_PROFILE"));
        Self {
            files: config.into_iter().chain(credentials).collect(),
            settings,
            chosen: chosen.is_some(),
            name: chosen.map_or_else(
                || "default".to_owned(),
                |name| name.to_string_lossy().into_owned(),
            ),
        }
    }

    /// The profile in use.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody chose a profile that is in none of the files.
    pub(crate) fn lacks_the_chosen_one(&self) -> bool {
        self.chosen && !self.settings.contains_key(&self.name)
    }

    /// Every profile.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// The files, whether they exist or not.
    pub(crate) fn files(&self) -> String {
        if self.files.is_empty() {
            return "no file (`HOME` is not set)".to_owned();
        }
        let files = self.files.iter();
        let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
        files.join(" and ")
    }

    /// A setting of the profile in use.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.setting_of(&self.name, key)
    }

    /// A setting of the profile in use, or of one that it builds on (`source_profile`); with that
    /// profile's name.
    pub(crate) fn inherited(&self, key: &str) -> Option<(&str, &str)> {
        let mut name = self.name.as_str();
        // A profile may name itself, for its own keys.
        for _ in 0..self.settings.len().max(1) {
            if let Some(value) = self.setting_of(name, key) {
                return Some((name, value));
            }
            name = self.setting_of(name, "source_profile")?;
        }
        None
    }

    fn setting_of(&self, profile: &str, key: &str) -> Option<&str> {
        let value = self.settings.get(profile)?.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What a heading opens.
enum Section {
    Profile(String),
    Other,
}

impl Section {
    /// In the configuration file every profile but the default one has the word before its name.
    fn of_config(heading: &str) -> Self {
        let mut words = heading.splitn(2, char::is_whitespace);
        match (words.next(), words.next()) {
            (Some("profile"), Some(name)) => {
                Self::Profile(name.trim().trim_matches('"').to_owned())
            }
            (Some("default"), None) => Self::Profile("default".to_owned()),
            _ => Self::Other,
        }
    }

    fn of_credentials(heading: &str) -> Self {
        Self::Profile(heading.to_owned())
    }
}

fn sections(
    text: &str,
    section: fn(&str) -> Section,
    into: &mut BTreeMap<String, BTreeMap<String, String>>,
) {
    let mut open = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = trimmed.strip_prefix('[') {
            let heading = heading.split(']').next().unwrap_or_default().trim();
            open = match section(heading) {
                Section::Profile(name) => {
                    into.entry(name.clone()).or_default();
                    Some(name)
                }
                Section::Other => None,
            };
            continue;
        }
        // An indented line belongs to the setting above it.
        if line.starts_with(char::is_whitespace) {
            continue;
        }
        let (Some(name), Some((key, value))) = (&open, trimmed.split_once('=')) else {
            continue;
        };
        let value = value.split(" #").next().unwrap_or_default();
        let value = value.split(" ;").next().unwrap_or_default().trim();
        let settings = into.entry(name.clone()).or_default();
        settings.insert(key.trim().to_lowercase(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, credentials: &str, profile: &str) -> Profiles {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("config"), folder.path().join("keys"));
        std::fs::write(&one, config).unwrap();
        std::fs::write(&other, credentials).unwrap();
        Profiles::read(|name| {
            let value = match name {
                "AWS_CONFIG_FILE" => one.clone().into_os_string(),
                "AWS_SHARED_CREDENTIALS_FILE" => other.clone().into_os_string(),
                "AWS_PROFILE" => profile.into(),
                _ => return None,
            };
            Some(value)
        })
    }

    const CONFIG: &str = "\
[default]
region = us-east-1
[profile corp] # ours
ca_bundle = /etc/corp.pem ; all of them
s3 =
  max_concurrent_requests = 20
[profile \"two words\"]
source_profile = corp
[sso-session corp-sso]
sso_region = eu-west-1
";

    #[test]
    fn profiles_of_both_files_are_known_with_their_settings() {
        let found = read(CONFIG, "[keys]\naws_access_key_id = AKIDEXAMPLE\n", "corp");
        let all: Vec<_> = found.all().collect();
        assert_eq!(all, ["corp", "default", "keys", "two words"]);
        assert_eq!(found.setting("ca_bundle"), Some("/etc/corp.pem"));
        assert_eq!(found.setting("max_concurrent_requests"), None);
        assert_eq!(found.setting("region"), None);
        assert!(!found.lacks_the_chosen_one());
    }

    #[test]
    fn a_profile_has_what_the_one_has_that_it_builds_on() {
        let found = read(CONFIG, "", "two words");
        assert_eq!(found.setting("ca_bundle"), None);
        let bundle = Some(("corp", "/etc/corp.pem"));
        assert_eq!(found.inherited("ca_bundle"), bundle);
        assert_eq!(found.inherited("role_arn"), None);
        let circle = "[profile a]\nsource_profile = b\n[profile b]\nsource_profile = a\n";
        assert_eq!(read(circle, "", "a").inherited("role_arn"), None);
    }

    #[test]
    fn only_a_profile_that_somebody_chose_must_exist() {
        assert!(read(CONFIG, "", "nobody").lacks_the_chosen_one());
        assert!(read(CONFIG, "", "corp-sso").lacks_the_chosen_one());
        let unchosen = read("", "", "");
        assert!(!unchosen.lacks_the_chosen_one());
        assert_eq!(unchosen.name(), "default");
    }

    #[test]
    fn without_a_home_no_file_of_the_folder_one_stands_in_is_read() {
        for home in [None, Some("")] {
            let profiles = Profiles::read(|name| match name {
                "HOME" => home.map(OsString::from),
                _ => None,
            });
            assert_eq!(profiles.files, Vec::<PathBuf>::new());
            assert_eq!(profiles.setting("ca_bundle"), None);
        }
        let named = Profiles::read(|name| (name == "AWS_CONFIG_FILE").then(|| "/x/config".into()));
        assert_eq!(named.files, [PathBuf::from("/x/config")]);
    }
}
