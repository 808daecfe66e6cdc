//! What a service accepts as a name, and names that are made to fit.

use std::sync::LazyLock;

use regex_lite::Regex;
use sha2::{Digest, Sha256};

/// What a service accepts as a name.
#[derive(Debug)]
pub struct Rule {
    /// What is named: "an ECS service".
    pub what: &'static str,
    /// At most so many characters.
    pub longest: usize,
    /// The rule, for people.
    pub says: &'static str,
    /// Whether capitals are taken.
    pub case: Case,
    /// What a whole name must match.
    pub pattern: LazyLock<Regex>,
}

/// Which letters a name may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They are.
    Any,
    /// They are not: a made name has none.
    Lower,
}

/// Makes a rule: what is named, the greatest length, [`Case`], the pattern, and the rule for
/// people.
#[macro_export]
macro_rules! name_rule {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $case:ident, $pattern:literal, $says:literal) => {
        $(#[$doc])*
        pub static $name: $crate::names::Rule = $crate::names::Rule {
            what: $what,
            longest: $longest,
            says: $says,
            case: $crate::names::Case::$case,
            pattern: ::std::sync::LazyLock::new(|| $crate::names::Regex::new($pattern).expect("the pattern is a constant")),
        };
    };
}

impl Rule {
    /// Whether `name` may be used as it is.
    pub fn accepts(&self, name: &str) -> bool {
        name.len() <= self.longest && self.pattern.is_match(name)
    }

    /// `name` itself when it fits; else its beginning and eight digits that only it has.
    pub fn fit(&self, name: &str) -> String {
        let name = match self.case {
            Case::Any => name.to_owned(),
            Case::Lower => name.to_lowercase(),
        };
        if name.len() <= self.longest {
            return name;
        }
        let digest = hex::encode(Sha256::digest(name.as_bytes()));
        let mark = digest.get(..8).unwrap_or(&digest);
        let mut room = self.longest - mark.len() - 1;
        while !name.is_char_boundary(room) {
            room -= 1;
        }
        let head = name
            .get(..room)
            .unwrap_or_default()
            .trim_end_matches(['-', '_', '/', '.']);
        format!("{head}-{mark}")
    }
}

/// `APP-ENV`, the beginning of most names.
pub fn prefix(app: &str, environment: &str) -> String {
    format!("{app}-{environment}")
}

/// `APP-ENV` for the service that is called like the app, else `APP-ENV-SERVICE`; before any rule.
///
/// A second service never renames the first.
pub fn service(app: &str, environment: &str, key: &str) -> String {
    if key == app {
        prefix(app, environment)
    } else {
        format!("{app}-{environment}-{key}")
    }
}

/// The instance of a database or a cache: as [`service`], with single hyphens, which RDS and
/// ElastiCache want.
pub fn instance(rule: &Rule, app: &str, environment: &str, key: &str) -> String {
    let mut name = service(app, environment, key);
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    rule.fit(&name)
}

/// A text in letters, digits, `-` and `_`, and still told apart from others.
pub fn plain(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.chars().all(allowed) {
        return text.to_owned();
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    let kept: String = text.chars().filter(|c| allowed(*c)).collect();
    format!("{kept}-{}", digest.get(..8).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    name_rule!(
        /// A rule.
        SHORT, "a thing", 49, Lower, "^[a-z]([a-z0-9-]*[a-z0-9])?$", "lower case"
    );

    #[test]
    fn a_second_service_does_not_rename_the_first() {
        assert_eq!(service("idp", "staging", "idp"), "idp-staging");
        assert_eq!(service("idp", "staging", "web"), "idp-staging-web");
    }

    #[test]
    fn a_name_that_is_too_long_keeps_its_beginning_and_stays_unique() {
        let long = |end: &str| SHORT.fit(&format!("{}-{end}", "identity-provider".repeat(4)));
        let (a, b) = (long("a"), long("b"));
        assert_eq!(a.len(), 49);
        assert!(SHORT.accepts(&a), "{a}");
        assert!(a.starts_with("identity-provider"));
        assert_ne!(a, b);
        assert_eq!(a, long("a"));
    }

    #[test]
    fn a_truncated_name_never_ends_in_two_separators() {
        let name = SHORT.fit(&format!("{}-{}", "a".repeat(39), "b".repeat(20)));
        assert!(!name.contains("--"), "{name}");
    }

    #[test]
    fn a_text_with_odd_characters_is_still_told_apart() {
        assert_eq!(plain("password"), "password");
        assert!(plain("pass word").starts_with("password-"));
        assert_ne!(plain("pass word"), plain("pass.word"));
    }
}
