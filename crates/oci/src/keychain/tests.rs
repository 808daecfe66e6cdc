//! Logins are found where docker and podman leave them.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

/// A home with its files and, in `bin`, programs.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn helper(&self, name: &str, script: &str) -> &Self {
        let file = format!("bin/docker-credential-{name}");
        self.file(&file, &format!("#!/bin/sh\n{script}\n"));
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path().join(file), all).unwrap();
        self
    }

    fn keychain(&self, more: &[(&str, &str)]) -> Keychain {
        let more = more
            .iter()
            .map(|(name, below)| (*name, self.path().join(below).into()));
        self.keychain_with(more)
    }

    fn keychain_with<'a>(&self, more: impl IntoIterator<Item = (&'a str, OsString)>) -> Keychain {
        let path = format!("{}:/usr/bin:/bin", self.path().join("bin").display());
        let mut variables = HashMap::from([
            ("HOME", self.path().as_os_str().to_owned()),
            ("PATH", path.into()),
        ]);
        variables.extend(more);
        Keychain::new(|name| variables.get(name).cloned())
    }

    async fn search(&self, registry: &str, repository: &str) -> Search {
        self.keychain(&[]).search(registry, repository).await
    }
}

fn shown(search: &Search) -> String {
    match search.found.as_ref().map(|found| &found.credentials) {
        None => "nothing".to_owned(),
        Some(Credentials::Anonymous) => "anonymous".to_owned(),
        Some(Credentials::Basic { user, password }) => {
            format!("{user}:{}", password.expose_secret())
        }
        Some(Credentials::Identity(token)) => format!("identity {}", token.expose_secret()),
        Some(Credentials::Bearer(token)) => format!("bearer {}", token.expose_secret()),
    }
}

const DOCKER: &str = ".docker/config.json";

#[tokio::test]
async fn a_login_stands_in_the_file_in_each_form_that_docker_writes() {
    let home = Home::new();
    home.file(
        DOCKER,
        r#"{"auths": {
            "a.example": {"auth": "dXNlcjpwOnc="},
            "b.example": {"auth": "dXNlcjpwYXNzAAA", "email": "x"},
            "c.example": {"username": "user", "password": "pass"},
            "d.example": {"auth": "PHRva2VuPjp0MGs=", "identitytoken": "t0k"},
            "e.example": {"auth": "PHRva2VuPjp0MGs="},
            "f.example": {"registrytoken": "r3g"},
            "g.example": {},
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"}
        }, "HttpHeaders": {"X": "y"}}"#,
    );
    for (registry, login) in [
        ("a.example", "user:p:w"),
        ("b.example", "user:pass"),
        ("c.example", "user:pass"),
        ("d.example", "identity t0k"),
        ("e.example", "identity t0k"),
        ("f.example", "bearer r3g"),
        ("g.example", "nothing"),
        ("h.example", "nothing"),
        ("docker.io", "hub:pw"),
    ] {
        let found = home.search(registry, "team/app").await;
        assert_eq!(shown(&found), login, "{registry}");
    }
}

#[tokio::test]
async fn the_longest_key_that_fits_wins() {
    let home = Home::new();
    home.file(
        ".config/containers/auth.json",
        r#"{"auths": {
            "quay.io": {"auth": "YTphbGw="},
            "quay.io/team": {"auth": "YTp0ZWFt"},
            "quay.io/team/app": {"auth": "YTphcHA="}
        }}"#,
    );
    for (repository, login) in [
        ("team/app", "a:app"),
        ("team/other", "a:team"),
        ("teams/app", "a:all"),
    ] {
        assert_eq!(shown(&home.search("quay.io", repository).await), login);
    }
}

#[tokio::test]
async fn every_place_is_looked_into_in_order() {
    let home = Home::new();
    let login = |password: &str| {
        format!(r#"{{"auths": {{"a.example": {{"username": "u", "password": "{password}"}}}}}}"#)
    };
    home.file("given/config.json", &login("docker-config"))
        .file("auth.json", &login("auth-file"))
        .file("run/containers/auth.json", &login("podman"))
        .file(".config/containers/auth.json", &login("podman-config"));
    let given = ("DOCKER_CONFIG", "given");
    let file = ("REGISTRY_AUTH_FILE", "auth.json");
    let run = ("XDG_RUNTIME_DIR", "run");
    for (variables, password) in [
        (&[run, file, given][..], "u:docker-config"),
        (&[run, file], "u:auth-file"),
        (&[run], "u:podman"),
        (&[], "u:podman-config"),
    ] {
        let search = home.keychain(variables).search("a.example", "app").await;
        assert_eq!(shown(&search), password);
    }
    // `DOCKER_CONFIG` stands for the folder in the home.
    home.file(DOCKER, &login("home"));
    let elsewhere = home.keychain(&[("DOCKER_CONFIG", "empty")]);
    let search = elsewhere.search("a.example", "app").await;
    assert_eq!(shown(&search), "u:podman-config");
}

#[tokio::test]
async fn a_helper_is_asked_by_name_and_answers_a_login_or_an_identity_token() {
    let home = Home::new();
    let answer = r#"read -r server; printf '{"ServerURL":"%s","Username":"%s","Secret":"of %s"}' "$server" "$NAME" "$server""#;
    home.helper("own", &format!("NAME=user; {answer}"))
        .helper("store", &format!("NAME='<token>'; {answer}"))
        .file(
            DOCKER,
            r#"{"credsStore": "store", "credHelpers": {"a.example": "own"},
                "auths": {"a.example": {}, "b.example": {"auth": "dTpw"}}}"#,
        );
    for (registry, login) in [
        ("a.example", "user:of a.example"),
        ("b.example", "identity of b.example"),
        ("docker.io", "identity of https://index.docker.io/v1/"),
    ] {
        let search = home.search(registry, "app").await;
        assert_eq!(shown(&search), login, "{registry}");
        let from = search.found.unwrap().from;
        assert!(
            from.starts_with("`docker-credential-") && from.contains(DOCKER),
            "{from}"
        );
    }
}

#[tokio::test]
async fn a_helper_without_a_login_leaves_the_file_its_turn() {
    let home = Home::new();
    home.helper(
        "store",
        "echo 'credentials not found in native keychain'; exit 1",
    )
    .file(
        DOCKER,
        r#"{"credsStore": "store", "auths": {"a.example": {"auth": "dTpw"}}}"#,
    );
    assert_eq!(shown(&home.search("a.example", "app").await), "u:p");
    let none = home.search("b.example", "app").await;
    assert_eq!(shown(&none), "nothing");
    let said = none.in_vain.join("; ");
    assert!(
        said.contains("`docker-credential-store` (has none)"),
        "{said}"
    );
}

#[tokio::test]
async fn what_goes_wrong_is_named_and_never_with_a_secret() {
    for (script, config, words) in [
        (
            "exit 0",
            r#"{"credsStore": "absent"}"#,
            "`docker-credential-absent` (is not in the PATH)",
        ),
        (
            "echo 'the vault is locked'; exit 1",
            r#"{"credsStore": "s"}"#,
            "(the vault is locked)",
        ),
        (
            "echo '{\"Username\":\"u\",\"Secret\":\"hunter2\"}'; exit 3",
            r#"{"credsStore": "s"}"#,
            "failed: exit status: 3",
        ),
        (
            "echo hunter2",
            r#"{"credsStore": "s"}"#,
            "(did not answer with a login)",
        ),
        (
            "exit 0",
            r#"{"credsStore": "../bin/docker-credential-s"}"#,
            "is no name of a program",
        ),
        (
            "exit 0",
            r#"{"auths": {"a.example": {"auth": "hunter2!"}}}"#,
            "`auths` of `a.example`: `auth` is not base64",
        ),
        (
            "exit 0",
            r#"{"auths": {"a.example": {"auth": "aHVudGVyMg=="}}}"#,
            "is not `USER:PASSWORD`",
        ),
        (
            "exit 0",
            "{\"auths\": {\n\"a.example\": \"hunter2\"}}",
            "is damaged at line 2",
        ),
        (
            "exit 0",
            r#"{"auths": {"b.example": {}}}"#,
            "(no login for it)",
        ),
    ] {
        let home = Home::new();
        home.helper("s", script).file(DOCKER, config);
        let search = home.search("a.example", "app").await;
        assert_eq!(shown(&search), "nothing", "{config}");
        let said = search.in_vain.join("; ");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let nowhere = Home::new();
    let said = nowhere.search("a.example", "app").await.in_vain.join("; ");
    assert!(said.contains("config.json (no such file)"), "{said}");
}

#[tokio::test]
async fn the_variable_with_logins_comes_first_and_is_never_quoted() {
    let home = Home::new();
    let logins = |user: &str| {
        format!(
            r#"{{"auths":{{"ghcr.io":{{"username":"{user}","password":"of {user}"}}}},"credsStore":"nowhere"}}"#
        )
    };
    home.file(DOCKER, &logins("file"));
    let given = |text: String| home.keychain_with([("DOCKER_AUTH_CONFIG", text.into())]);
    let found = given(logins("variable"))
        .search("ghcr.io", "team/app")
        .await;
    assert_eq!(shown(&found), "variable:of variable");
    assert_eq!(found.found.unwrap().from, "`DOCKER_AUTH_CONFIG`");
    // Its helper is not asked: what it has no login for is looked for elsewhere.
    let none = given(logins("variable"))
        .search("quay.io", "team/app")
        .await;
    assert_eq!(none.in_vain[0], "`DOCKER_AUTH_CONFIG` (no login for it)");
    let damaged = given("{hunter2".into()).search("ghcr.io", "team/app").await;
    assert_eq!(shown(&damaged), "file:of file");
    assert!(damaged.in_vain[0].starts_with("`DOCKER_AUTH_CONFIG` (is damaged at line 1"));
    assert!(!format!("{damaged:?}").contains("hunter2"), "{damaged:?}");
    let empty = given(String::new()).search("ghcr.io", "team/app").await;
    assert_eq!(shown(&empty), "file:of file");
}
