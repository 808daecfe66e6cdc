//! Filter patterns for unstructured events: terms, phrases, `-` and `?`.

use crate::aws::error::AwsError;

/// A parsed pattern; the empty one matches everything.
#[derive(Debug, Default)]
pub struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads a pattern. JSON and space-delimited patterns are refused: the sandbox does not have
    /// them.
    pub fn read(text: &str) -> Result<Self, AwsError> {
        let invalid = |why: &str| {
            AwsError::new(
                "InvalidParameterException",
                format!("Invalid filter pattern: {why}"),
            )
        };
        let text = text.trim();
        if text.starts_with(['{', '[', '%']) {
            return Err(invalid("the sandbox knows terms and phrases only"));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let into = match first {
                '-' => &mut pattern.none,
                '?' => &mut pattern.any,
                _ => &mut pattern.all,
            };
            rest = rest.strip_prefix(['-', '?']).unwrap_or(rest);
            let (term, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted
                    .split_once('"')
                    .ok_or_else(|| invalid("a quote is not closed"))?,
                None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            };
            if term.is_empty() {
                return Err(invalid("a term is empty"));
            }
            into.push(term.to_owned());
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    /// Terms are case-sensitive.
    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || self.any.iter().any(has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, message: &str, expected: bool) {
        assert_eq!(
            Pattern::read(pattern).unwrap().matches(message),
            expected,
            "{pattern}"
        );
    }

    #[test]
    fn a_pattern_wants_every_term_any_of_the_optional_ones_and_none_of_the_excluded() {
        check("", "anything", true);
        check("ERROR disk", "disk ERROR", true);
        check("ERROR disk", "ERROR", false);
        check("\"disk full\"", "the disk full", true);
        check("\"disk full\"", "full disk", false);
        check("?a ?b", "b", true);
        check("?a ?b", "c", false);
        check("ERROR -known", "ERROR known", false);
        assert!(Pattern::read("{ $.level = 1 }").is_err());
    }
}
