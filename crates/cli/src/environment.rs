//! Puts right what libraries read out of this process's environment: one setting opens every path,
//! and nothing on this machine, nor what tells it who it is, is asked for through a proxy.
//!
//! Some clients (those for Google Cloud) can be told of authorities and proxies in no other way
//! than by the environment, and a process changes its own only by `unsafe` means. So the program
//! starts itself again with it put right, in the same process, before it has done anything.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use deployer_aws::Profiles;
use deployer_core::error::{Error, Result};

/// What is never asked for through a proxy, in the forms that clients know: this machine, and the
/// services that tell it who it is. A proxy would be told that it is the proxy's machine: EC2's and
/// Google's metadata, the credentials of ECS tasks and of EKS pods.
///
/// Source: <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-proxy.html>, "Using a
/// proxy on Amazon EC2 instances".
const THIS_MACHINE: [&str; 8] = [
    "localhost",
    "127.0.0.0/8",
    "127.0.0.1",
    "::1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "metadata.google.internal",
];

/// Where systems keep every authority in a file of its own, named by its hash, as a second source
/// beside one file.
const HASHED: [&str; 2] = [
    "/etc/ssl/certs",
    "/etc/pki/ca-trust/extracted/pem/directory-hash",
];

/// Starts the program again where its environment has to be another one; else, and where it cannot,
/// returns.
///
/// Errors: input, when a file of authorities is named that is none.
pub fn put_right() -> Result<()> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let profiles = Profiles::read(variable);
    let changes = changes(variable, &profiles, Path::is_dir)?;
    let (Ok(program), false) = (std::env::current_exe(), changes.is_empty()) else {
        return Ok(());
    };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only where it could not be done: the environment then stays as it is.
    let _failure = again.args(arguments).envs(changes).exec();
    Ok(())
}

/// The variables that are to be set. None of them changes anything the second time.
fn changes(
    variable: impl Fn(&str) -> Option<OsString>,
    profiles: &Profiles,
    is_folder: impl Fn(&Path) -> bool,
) -> Result<Vec<(&'static str, OsString)>> {
    let mut changes = Vec::new();
    if let Some(file) = variable("SSL_CERT_FILE") {
        authorities("SSL_CERT_FILE", Path::new(&file))?;
    }
    let bundle = match (variable("AWS_CA_BUNDLE"), profiles.setting("ca_bundle")) {
        (Some(file), _) => Some(("AWS_CA_BUNDLE", file)),
        (None, Some(file)) => Some(("`ca_bundle` of the AWS profile", OsString::from(file))),
        (None, None) => None,
    };
    if let Some((name, file)) = bundle {
        authorities(name, Path::new(&file))?;
        if variable("SSL_CERT_FILE").is_none() {
            changes.push(("SSL_CERT_FILE", file));
            // The system's own stay trusted: not every host is behind the proxy that signs anew.
            let folder = HASHED.iter().find(|folder| is_folder(Path::new(folder)));
            if let (None, Some(folder)) = (variable("SSL_CERT_DIR"), folder) {
                changes.push(("SSL_CERT_DIR", OsString::from(folder)));
            }
        }
    }
    let proxies = ["http_proxy", "https_proxy", "all_proxy"];
    let proxied = proxies
        .iter()
        .any(|name| variable(name).is_some() || variable(&name.to_uppercase()).is_some());
    if proxied {
        // Of the two names some clients read the one first, some the other.
        let list = variable("no_proxy").or_else(|| variable("NO_PROXY"));
        let list = list.map(|list| list.to_string_lossy().into_owned());
        let wanted = without_proxy(list.as_deref().unwrap_or_default());
        for name in ["no_proxy", "NO_PROXY"] {
            if variable(name) != Some(OsString::from(&wanted)) {
                changes.push((name, OsString::from(&wanted)));
            }
        }
    }
    Ok(changes)
}

/// The list with this machine on it.
fn without_proxy(list: &str) -> String {
    let mut hosts: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .collect();
    if hosts.contains(&"*") {
        return "*".to_owned();
    }
    for host in THIS_MACHINE {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.join(",")
}

/// Errors: input, naming the setting and the file that holds no certificate; what would come else
/// is a client that trusts nobody.
fn authorities(name: &str, file: &Path) -> Result<()> {
    let wrong = |why: &str| {
        Error::input(format!("{name} names {}, {why}", file.display()))
            .hint("name a file with the certificates of the authorities to trust, PEM, or unset it")
    };
    let text = std::fs::read(file).map_err(|error| wrong("which cannot be read").because(error))?;
    let parsed = pem::parse_many(&text);
    let parsed = parsed.map_err(|error| wrong("which is damaged").because(error))?;
    match parsed
        .iter()
        .any(|block| block.tag().ends_with("CERTIFICATE"))
    {
        true => Ok(()),
        false => Err(wrong("which holds no certificate")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const AUTHORITY: &str = include_str!("../tests/in_process/authority.pem");

    fn changed(variables: &[(&str, &str)], config: &str) -> Result<BTreeMap<&'static str, String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), config).unwrap();
        let config = folder.path().join("config").into_os_string();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let profiles = Profiles::read(|name| match name {
            "AWS_CONFIG_FILE" => Some(config.clone()),
            other => variable(other),
        });
        let debian = |folder: &Path| folder == Path::new("/etc/ssl/certs");
        let changes = changes(variable, &profiles, debian)?;
        Ok(changes
            .into_iter()
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect())
    }

    fn bundle() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("corp.pem");
        std::fs::write(&file, AUTHORITY).unwrap();
        let name = file.display().to_string();
        (folder, name)
    }

    #[test]
    fn the_setting_for_aws_opens_every_path_and_the_systems_authorities_stay() {
        let (_folder, file) = bundle();
        let profile = format!("[default]\nca_bundle = {file}\n");
        let wanted = BTreeMap::from([
            ("SSL_CERT_FILE", file.clone()),
            ("SSL_CERT_DIR", "/etc/ssl/certs".to_owned()),
        ]);
        assert_eq!(changed(&[("AWS_CA_BUNDLE", &file)], "").unwrap(), wanted);
        assert_eq!(changed(&[], &profile).unwrap(), wanted);
        // Who set the general one meant it.
        let both = changed(&[("AWS_CA_BUNDLE", &file), ("SSL_CERT_FILE", &file)], "");
        assert_eq!(both.unwrap(), BTreeMap::new());
        assert_eq!(changed(&[], "").unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_file_without_a_certificate_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.pem");
        std::fs::write(&file, "no certificate\n").unwrap();
        let file = file.display().to_string();
        for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            for file in [&file, "/nowhere/corp.pem"] {
                let error = changed(&[(name, file)], "").unwrap_err();
                let said = error.to_string();
                assert!(said.contains(name) && said.contains(file), "{said}");
            }
        }
    }

    #[test]
    fn nothing_on_this_machine_is_asked_for_through_a_proxy() {
        let corp = ("HTTPS_PROXY", "http://proxy.corp.example:3128");
        let changes = changed(&[corp, ("NO_PROXY", "corp.example, localhost")], "").unwrap();
        let list = "corp.example,localhost,127.0.0.0/8,127.0.0.1,::1,169.254.169.254,169.254.170.2,169.254.170.23,\
                    metadata.google.internal";
        let wanted = BTreeMap::from([("no_proxy", list.to_owned()), ("NO_PROXY", list.to_owned())]);
        assert_eq!(changes, wanted);
        let again = changed(&[corp, ("NO_PROXY", list), ("no_proxy", list)], "");
        assert_eq!(again.unwrap(), BTreeMap::new());
        let none = changed(&[corp, ("NO_PROXY", "*"), ("no_proxy", "*")], "");
        assert_eq!(none.unwrap(), BTreeMap::new());
        assert_eq!(changed(&[("NO_PROXY", "x")], "").unwrap(), BTreeMap::new());
    }
}
