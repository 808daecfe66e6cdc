//! Splits a command into words as the agent does: by `github.com/google/shlex`, which is no shell.
//!
//! Read from its `shlex.go`: spaces, tabs and line ends part words; `'` keeps everything up to the
//! next one; in `"` a backslash keeps whatever comes next and goes itself, before any letter; a `#`
//! at the beginning of a word begins a comment. Nothing is expanded.

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between two words.
    Between,
    /// In one.
    Word,
    /// Behind a backslash, in a word.
    Escaped,
    /// In `"`.
    Double,
    /// Behind a backslash in `"`.
    DoubleEscaped,
    /// In `'`.
    Single,
    /// In a comment.
    Comment,
}

/// The words. The error is the library's.
pub(super) fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut at = At::Between;
    for letter in command.chars() {
        let space = matches!(letter, ' ' | '\t' | '\r' | '\n');
        at = match (at, letter) {
            (At::Between, _) if space => At::Between,
            (At::Between, '#') => At::Comment,
            (At::Between | At::Word, '"') => At::Double,
            (At::Between | At::Word, '\'') => At::Single,
            (At::Between | At::Word, '\\') => At::Escaped,
            (At::Word, _) if space => {
                words.push(std::mem::take(&mut word));
                At::Between
            }
            (At::Double, '\\') => At::DoubleEscaped,
            (At::Double, '"') | (At::Single, '\'') => At::Word,
            (At::Comment, '\n') => At::Between,
            (At::Comment, _) => At::Comment,
            (At::Between | At::Word | At::Escaped, letter) => {
                word.push(letter);
                At::Word
            }
            (At::Double | At::DoubleEscaped, letter) => {
                word.push(letter);
                At::Double
            }
            (At::Single, letter) => {
                word.push(letter);
                At::Single
            }
        };
    }
    match at {
        At::Between | At::Comment => {}
        At::Word => words.push(word),
        At::Escaped | At::DoubleEscaped => return Err("EOF found after escape character"),
        At::Double | At::Single => return Err("EOF found when expecting closing quote"),
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_as_the_agent_parts_them() {
        for (command, words) in [
            ("", &[][..]),
            ("sh -c 'echo \"a  b\"'", &["sh", "-c", "echo \"a  b\""]),
            (r#"a"b c"'d e'\ f"#, &["ab cd e f"]),
            (r#""\$HOME \n \\""#, &[r"$HOME n \"]),
            ("'it'\\''s' ''", &["it's", ""]),
            ("a # b\nc#d '#e'", &["a", "c#d", "#e"]),
            ("'two\nlines'\tx", &["two\nlines", "x"]),
        ] {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
        assert!(split("'a").unwrap_err().contains("closing quote"));
        assert!(split("a\\").unwrap_err().contains("escape"));
    }
}
