//! Finds out what each secret is to hold: from the machine, from the clouds, or made anew.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use deployer_core::address::CloudName;
use deployer_core::capability::{Cloud, PasswordRule, SecretContent};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::spec::{EnvironmentSpec, KeyHalf, SecretSource, SecretSpec};
use secrecy::{ExposeSecret, SecretString};

use crate::generate::{self, PemPair};

/// One target's secrets, as far as finding their content needs it.
pub struct TargetSecrets<'a> {
    pub cloud: &'a dyn Cloud,
    pub env: &'a EnvironmentSpec,
}

/// What each secret of each target is to hold. Reads; writes nothing.
///
/// `places` are the targets that are worked on, `others` the manifest's other targets: they are
/// only asked for a key pair that is missing here. `sent` returns once what a run that was killed
/// had sent has arrived, and whether there was any. Notes say what was kept because its source is
/// not set on this machine.
pub async fn contents(
    places: &[TargetSecrets<'_>],
    others: &[TargetSecrets<'_>],
    unreachable: &[(CloudName, Error)],
    base: &Path,
    key_bits: &BTreeMap<String, u16>,
    sent: impl AsyncFn() -> Result<bool>,
) -> Result<(
    BTreeMap<CloudName, BTreeMap<String, SecretContent>>,
    Vec<String>,
)> {
    let mut notes = Vec::new();
    let mut contents: BTreeMap<CloudName, BTreeMap<String, SecretContent>> = BTreeMap::new();
    for place in places {
        let cloud = place.cloud.target().cloud;
        for (key, secret) in &place.env.secrets {
            if let Some(content) = local(cloud, secret, base, &mut notes)? {
                contents
                    .entry(cloud)
                    .or_default()
                    .insert(key.clone(), content);
            }
        }
    }
    for place in places {
        let none = BTreeMap::new();
        let own = contents.get(&place.cloud.target().cloud).unwrap_or(&none);
        fit_data(place, own).await?;
    }
    for pair in pairs(places, key_bits) {
        let halves = pair_content(&pair, places, others, unreachable, &sent).await?;
        for (cloud, content) in halves {
            for (key, content) in content {
                contents.entry(cloud).or_default().insert(key, content);
            }
        }
    }
    Ok((contents, notes))
}

/// The content of a secret that needs no look at a cloud. `None` for a half of a key pair, and for
/// what a database or a cache makes.
fn local(
    cloud: CloudName,
    secret: &SecretSpec,
    base: &Path,
    notes: &mut Vec<String>,
) -> Result<Option<SecretContent>> {
    Ok(Some(match &secret.source {
        SecretSource::Cloud => SecretContent::Keep,
        SecretSource::Generate(what) => SecretContent::AtFirst(generate::value(*what)?),
        SecretSource::Key { .. }
        | SecretSource::DatabaseUrl(_)
        | SecretSource::DatabaseHost(_)
        | SecretSource::DatabaseAuthority(_)
        | SecretSource::CacheUrl(_)
        | SecretSource::CacheAuthority(_) => return Ok(None),
        SecretSource::Env(name) => match std::env::var_os(name) {
            Some(raw) => SecretContent::Exactly(of_variable(&secret.key, name, raw)?),
            None => {
                notes.push(format!(
                    "{cloud}: `{name}` is not set here, so secret `{}` is kept as it is",
                    secret.key
                ));
                SecretContent::Keep
            }
        },
        SecretSource::File(path) => {
            SecretContent::Exactly(read_file(&secret.key, &base.join(path))?)
        }
    }))
}

/// What secrets may hold at most, in bytes: Secrets Manager's limit (`SecretString` in its API
/// reference) and Secret Manager's ("Quotas and limits": 64 KiB) are one.
const LARGEST: usize = 65_536;

/// What Windows' editors and PowerShell write before UTF-8: no part of what was meant.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file's content as a secret; one trailing newline is dropped.
///
/// Errors: input, when it cannot be read, is no text, is empty or too large.
pub fn read_file(key: &str, path: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::input(format!(
            "cannot read the value of secret `{key}` from {}",
            path.display()
        ))
        .because(error)
    })?;
    let whence = format!("file {}", path.display());
    fit(key, &whence, trimmed(text), "put the value there")
}

/// A variable's content as a secret; as of a file's, one trailing newline is dropped.
///
/// Errors: input, when it is no text, is empty or too large.
fn of_variable(key: &str, name: &str, raw: OsString) -> Result<SecretString> {
    let whence = format!("variable {name}");
    let Ok(text) = raw.into_string() else {
        let what = format!("the value of secret `{key}` ({whence}) is no UTF-8 text");
        return Err(Error::input(what).hint("encode bytes as text: base64, for instance"));
    };
    let remedy = format!("give `{name}` a value, or unset it: then what the cloud holds is kept");
    fit(key, &whence, trimmed(text), &remedy)
}

/// A value, when both clouds take it. `whence` says where it came from.
///
/// Errors: input, when it is empty, too large or has a NUL: it becomes a variable of a process,
/// where one ends the value.
pub fn fit(key: &str, whence: &str, value: SecretString, remedy: &str) -> Result<SecretString> {
    match value.expose_secret().len() {
        0 => {
            let what = format!("the value of secret `{key}` ({whence}) is empty");
            Err(Error::input(what).hint(remedy))
        }
        length if length > LARGEST => Err(Error::input(format!(
            "the value of secret `{key}` ({whence}) has {length} bytes; {LARGEST} is the most"
        ))
        .hint("store it elsewhere, and its address or key here")),
        _ if value.expose_secret().contains('\0') => Err(Error::input(format!(
            "the value of secret `{key}` ({whence}) has a NUL, which no variable can hold"
        ))
        .hint("encode bytes as text: base64, for instance")),
        _ => Ok(value),
    }
}

/// Refuses what a cloud would refuse as a database's password or a cache's token.
///
/// Errors: input, with the cloud's rule.
pub fn fits_data(place: &TargetSecrets<'_>, key: &str, value: &SecretString) -> Result<()> {
    let Some((used, rule)) = data_rule(place, key) else {
        return Ok(());
    };
    if rule.accepts(value.expose_secret()) {
        return Ok(());
    }
    let cloud = place.cloud.target().cloud;
    Err(Error::input(format!(
        "{cloud} does not take the value of secret `{key}` as {used}"
    ))
    .hint(rule.says))
}

/// What a secret is for, where a cloud has a rule for that.
fn data_rule(place: &TargetSecrets<'_>, key: &str) -> Option<(String, &'static PasswordRule)> {
    let mut databases = place.env.databases.values();
    if let Some(database) = databases.find(|database| database.password == key) {
        let used = format!("the password of database `{}`", database.key);
        return Some((used, place.cloud.databases().password_rule()?));
    }
    let mut caches = place.env.caches.values();
    let cache = caches.find(|cache| cache.token.as_deref() == Some(key))?;
    let used = format!("the token of cache `{}`", cache.key);
    Some((used, place.cloud.caches().token_rule()?))
}

/// The same for every such secret of a place: what is given now, and what somebody stored there
/// before.
async fn fit_data(
    place: &TargetSecrets<'_>,
    contents: &BTreeMap<String, SecretContent>,
) -> Result<()> {
    for (key, secret) in &place.env.secrets {
        if data_rule(place, key).is_none() {
            continue;
        }
        match contents.get(key) {
            Some(SecretContent::Exactly(value)) => fits_data(place, key, value)?,
            Some(SecretContent::Keep | SecretContent::AtFirst(_)) | None => {
                match place.cloud.secrets().value(&secret.name).await {
                    Ok(Some(value)) => fits_data(place, key, &value)?,
                    Ok(None) => {}
                    // Whoever may not read it hears of it from the cloud.
                    Err(error) if error.kind() == ErrorKind::Denied => {}
                    Err(error) => return Err(error),
                }
            }
            Some(SecretContent::From(_)) => {}
        }
    }
    Ok(())
}

/// Drops one trailing newline, and the mark of the byte order that some editors put before a text.
pub fn trimmed(mut text: String) -> SecretString {
    if text.starts_with(BYTE_ORDER_MARK) {
        text.remove(0);
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text.into()
}

/// One key pair: the manifest's names of its halves, and its size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    name: String,
    private: String,
    public: String,
    bits: u16,
}

fn pairs(places: &[TargetSecrets<'_>], key_bits: &BTreeMap<String, u16>) -> Vec<Pair> {
    let mut halves: BTreeMap<&str, BTreeMap<KeyHalf, &str>> = BTreeMap::new();
    for place in places {
        for (key, secret) in &place.env.secrets {
            if let SecretSource::Key { pair, half } = &secret.source {
                halves.entry(pair).or_default().insert(*half, key);
            }
        }
    }
    halves
        .into_iter()
        .filter_map(|(name, halves)| {
            Some(Pair {
                name: name.into(),
                private: (*halves.get(&KeyHalf::Private)?).into(),
                public: (*halves.get(&KeyHalf::Public)?).into(),
                bits: key_bits.get(name).copied().unwrap_or(2048),
            })
        })
        .collect()
}

type Halves = Vec<(CloudName, Vec<(String, SecretContent)>)>;

/// Finds the one key pair that every target shares, or makes it where there is none anywhere.
async fn pair_content(
    pair: &Pair,
    places: &[TargetSecrets<'_>],
    others: &[TargetSecrets<'_>],
    unreachable: &[(CloudName, Error)],
    sent: impl AsyncFn() -> Result<bool>,
) -> Result<Halves> {
    let here = publics(pair, places).await?;
    one_pair(pair, &here)?;
    if here.iter().all(|(_, public)| public.is_some()) {
        let keep = |(cloud, _): &(CloudName, Option<SecretString>)| {
            let halves = [&pair.private, &pair.public];
            (
                *cloud,
                halves
                    .map(|key| (key.clone(), SecretContent::Keep))
                    .to_vec(),
            )
        };
        return Ok(here.iter().map(keep).collect());
    }
    let found = match private_anywhere(pair, places, others).await? {
        // A second pair beside one that is on its way would part the clouds.
        None if sent().await? => private_anywhere(pair, places, others).await?,
        found => found,
    };
    let keys = match found {
        Some(private) => PemPair {
            public: generate::public_of(&private)?,
            private,
        },
        None => {
            may_be_made(pair, unreachable)?;
            generate::key_pair(pair.bits)?
        }
    };
    let all = |cloud: CloudName| {
        let halves = vec![
            (
                pair.private.clone(),
                SecretContent::Exactly(keys.private.clone()),
            ),
            (
                pair.public.clone(),
                SecretContent::Exactly(keys.public.clone()),
            ),
        ];
        (cloud, halves)
    };
    Ok(here.iter().map(|(cloud, _)| all(*cloud)).collect())
}

/// Whether every key pair is there on every one of these targets. Reads; judges nothing.
pub async fn has_every_pair(
    places: &[TargetSecrets<'_>],
    key_bits: &BTreeMap<String, u16>,
) -> Result<bool> {
    for pair in pairs(places, key_bits) {
        let here = publics(&pair, places).await?;
        if here.iter().any(|(_, public)| public.is_none()) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn publics(
    pair: &Pair,
    places: &[TargetSecrets<'_>],
) -> Result<Vec<(CloudName, Option<SecretString>)>> {
    let reads = places.iter().filter_map(|place| {
        let secret = place.env.secrets.get(&pair.public)?;
        let private = place.env.secrets.get(&pair.private)?;
        Some(async move {
            let store = place.cloud.secrets();
            let (public, private) =
                futures::try_join!(store.value(&secret.name), store.status(&private.name))?;
            let cloud = place.cloud.target().cloud;
            if let Some(version) = private.as_ref().and_then(|status| status.disabled.as_ref()) {
                return Err(switched_off(pair, cloud, version));
            }
            // A public half whose private half was never stored signs nothing: it counts as absent.
            let whole = private.is_some_and(|status| status.version.is_some());
            Ok((cloud, public.filter(|_| whole)))
        })
    });
    futures::future::try_join_all(reads).await
}

/// Whoever switched a key off may want it back, and what it signed: no other one is made in its
/// place.
fn switched_off(pair: &Pair, cloud: CloudName, version: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "key pair `{}` cannot be used on {cloud}: version {version} of the secret `{}` is disabled",
            pair.name, pair.private
        ),
    )
    .hint(
        "enable that version; or destroy it, where no token that it signed is wanted any more: then the pair of another \
         target is copied, or a new one is made",
    )
}

/// Two targets with different pairs cannot verify each other's tokens.
fn one_pair(pair: &Pair, publics: &[(CloudName, Option<SecretString>)]) -> Result<()> {
    let mut known = publics
        .iter()
        .filter_map(|(cloud, key)| key.as_ref().map(|key| (cloud, key)));
    let Some((first, key)) = known.next() else {
        return Ok(());
    };
    for (other, other_key) in known {
        if normal(key) != normal(other_key) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("key pair `{}` differs between {first} and {other}", pair.name),
            )
            .hint(format!(
                "a token of one is refused by the other; delete the secrets `{}` and `{}` in the cloud whose \
                 pair is to go, then apply: the other cloud's pair is copied there",
                pair.private, pair.public
            )));
        }
    }
    Ok(())
}

fn normal(key: &SecretString) -> String {
    key.expose_secret()
        .replace("\\n", "\n")
        .split_whitespace()
        .collect()
}

async fn private_anywhere(
    pair: &Pair,
    places: &[TargetSecrets<'_>],
    others: &[TargetSecrets<'_>],
) -> Result<Option<SecretString>> {
    match private_in(pair, places).await? {
        Some(found) => Ok(Some(found)),
        None => private_in(pair, others).await,
    }
}

async fn private_in(pair: &Pair, places: &[TargetSecrets<'_>]) -> Result<Option<SecretString>> {
    for place in places {
        let Some(secret) = place.env.secrets.get(&pair.private) else {
            continue;
        };
        let store = place.cloud.secrets();
        if let Some(private) = store.value(&secret.name).await? {
            return Ok(Some(private));
        }
        let status = store.status(&secret.name).await?;
        if let Some(version) = status.and_then(|status| status.disabled) {
            return Err(switched_off(pair, place.cloud.target().cloud, &version));
        }
    }
    Ok(None)
}

fn may_be_made(pair: &Pair, unreachable: &[(CloudName, Error)]) -> Result<()> {
    let Some((cloud, error)) = unreachable.first() else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Credentials,
        format!(
            "key pair `{}` is not here, and {cloud}, which may have it, cannot be asked: {}",
            pair.name,
            error.chain().join(": ")
        ),
    )
    .hint(format!(
        "every target shares one pair: give credentials for {cloud} too, once"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_not_part_of_a_secret() {
        assert_eq!(trimmed("a\nb\n".into()).expose_secret(), "a\nb");
        assert_eq!(trimmed("a\r\n".into()).expose_secret(), "a");
        assert_eq!(trimmed("a\n\n".into()).expose_secret(), "a\n");
        assert_eq!(trimmed("\u{feff}a\n".into()).expose_secret(), "a");
        assert_eq!(trimmed("a\u{feff}".into()).expose_secret(), "a\u{feff}");
    }

    #[test]
    fn a_variable_that_is_empty_and_one_that_is_no_text_are_told_apart() {
        let of = |raw: &[u8]| {
            let raw = std::os::unix::ffi::OsStringExt::from_vec(raw.to_vec());
            of_variable("token", "T", raw)
        };
        assert_eq!(of(b"tok$en%2B\r\n").unwrap().expose_secret(), "tok$en%2B");
        for empty in [&b""[..], b"\n"] {
            let error = of(empty).unwrap_err();
            assert!(
                error.to_string().ends_with("(variable T) is empty"),
                "{error}"
            );
            assert!(error.hint_text().unwrap().contains("unset it"));
        }
        assert!(
            of(b"\xef\xbb\xbf\n")
                .unwrap_err()
                .to_string()
                .ends_with("is empty")
        );
        let error = of(b"hunter2\0x").unwrap_err();
        assert!(error.to_string().contains("has a NUL"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        let error = of(b"hunter2\xff").unwrap_err();
        assert!(error.to_string().contains("is no UTF-8 text"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_may_hold_what_both_clouds_take_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_file("big", &path)
        };
        let largest = "x".repeat(LARGEST);
        assert!(read(largest.as_bytes()).is_ok());
        // The newline is not part of it.
        assert!(read(format!("{largest}\n").as_bytes()).is_ok());
        let error = read(format!("{largest}x").as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("65537 bytes; 65536 is the most"),
            "{error}"
        );
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert!(read(empty).unwrap_err().to_string().ends_with("is empty"));
        }
        assert_eq!(read(b"\xff\xfe").unwrap_err().kind(), ErrorKind::Input);
    }

    #[test]
    fn the_same_key_in_another_spelling_is_the_same_pair() {
        let pair = Pair {
            name: "jwt".into(),
            private: "a".into(),
            public: "b".into(),
            bits: 2048,
        };
        let key = |text: &str| Some(SecretString::from(text));
        let same = [
            (CloudName::Aws, key("x\\ny")),
            (CloudName::Gcp, key("x\ny\n")),
        ];
        assert!(one_pair(&pair, &same).is_ok());
        let other = [(CloudName::Aws, key("x")), (CloudName::Gcp, key("z"))];
        assert!(one_pair(&pair, &other).unwrap_err().hint_text().is_some());
    }
}
