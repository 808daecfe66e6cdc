//! Text that others wrote (values of the cloud, lines of the app, words of an error) as one that
//! cannot move the cursor, forge a line of ours or flood the screen.

use deployer_core::address::Address;

/// The longest value that a plan shows whole, in characters.
const VALUE: usize = 160;

/// The longest line of an app that a report shows whole, in characters.
const LINE: usize = 400;

/// What stays of the equal beginning and end of two long values, in characters.
const AROUND: usize = 24;

/// A whole text on one line: whatever is no plain character stands as an escape.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, c| {
        match is_plain(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_default()),
        }
        shown
    })
}

/// An address for people: a name that begins with a slash stands apart from its kind, as in plans.
pub fn address(address: &Address) -> String {
    let shown = match address.name.starts_with('/') {
        true => format!(
            "{}/{}/{} {}",
            address.cloud, address.region, address.kind, address.name
        ),
        false => address.to_string(),
    };
    one_line(&shown)
}

/// Words of several lines: each further one is indented, so that none can pass for a line of ours.
pub fn words(text: &str) -> String {
    let lines = text.trim_end_matches(['\n', '\r']).split('\n');
    let lines = lines.map(|line| one_line(line.trim_end_matches('\r')));
    lines.collect::<Vec<_>>().join("\n    ")
}

/// A line of the app for a report: on one line, cut in the middle where it is very long.
pub fn line(text: &str) -> String {
    one_line(&short(text))
}

/// A line of the app as it is, cut in the middle where it is very long: for JSON, which escapes for
/// itself.
pub fn short(text: &str) -> String {
    cut(text, LINE)
}

/// A value for a plan: on one line, cut in the middle where it is very long.
pub fn value(text: &str) -> String {
    one_line(&cut(text, VALUE))
}

/// Two values of one field. Long ones are shown around what differs.
pub fn values(old: &str, new: &str) -> (String, String) {
    let longest = old.chars().count().max(new.chars().count());
    if longest <= VALUE {
        return (one_line(old), one_line(new));
    }
    let equal = |one: &mut dyn Iterator<Item = char>, other: &mut dyn Iterator<Item = char>| {
        one.zip(other)
            .take_while(|(one, other)| one == other)
            .count()
    };
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let before = equal(&mut old.iter().copied(), &mut new.iter().copied());
    let shorter = old.len().min(new.len()) - before;
    let after = equal(
        &mut old.iter().rev().copied(),
        &mut new.iter().rev().copied(),
    )
    .min(shorter);
    let around = |all: &[char]| {
        let from = before.saturating_sub(AROUND);
        let to = (all.len() - after + AROUND).min(all.len());
        let middle: String = all[from..to].iter().collect();
        let left_out = |count: usize| match count {
            0 => String::new(),
            count => format!("({count} characters)"),
        };
        format!(
            "{}{}{}",
            left_out(from),
            value(&middle),
            left_out(all.len() - to)
        )
    };
    (around(&old), around(&new))
}

/// The beginning and the end, and how many characters were left out between.
fn cut(text: &str, longest: usize) -> String {
    let count = text.chars().count();
    if count <= longest {
        return text.to_owned();
    }
    let end = longest / 3;
    let start: String = text.chars().take(longest - end).collect();
    let rest: String = text.chars().skip(count - end).collect();
    format!("{start} ...({} characters)... {rest}", count - longest)
}

/// Whether a character shows as itself and moves nothing. Besides the control characters, those
/// that reorder or hide the text around them are not (Unicode's bidirectional controls, zero-width
/// and line separators).
fn is_plain(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    !c.is_control() && !hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_or_begins_a_line() {
        let forged = "x\n\nNo changes: what is there is what the manifest says.\r\u{1b}[2K\u{9b}31m\u{202e}\ttail";
        let shown = one_line(forged);
        assert!(shown.chars().all(is_plain), "{shown:?}");
        assert_eq!(
            shown,
            r"x\n\nNo changes: what is there is what the manifest says.\r\u{1b}[2K\u{9b}31m\u{202e}\ttail"
        );
        assert_eq!(one_line("Zürich → 東京 🚢"), "Zürich → 東京 🚢");
    }

    #[test]
    fn words_of_several_lines_stay_below_their_first() {
        assert_eq!(words("one\r\ntwo\u{7}\n"), "one\n    two\\u{7}");
    }

    #[test]
    fn what_is_too_long_keeps_both_ends() {
        let long = format!("begin{}end", "0".repeat(300_000));
        let shown = line(&long);
        assert!(shown.chars().count() < LINE + 40, "{}", shown.len());
        assert!(shown.starts_with("begin0") && shown.ends_with("0end"));
        assert!(shown.contains("characters)..."));
        assert_eq!(line(&"é".repeat(LINE)), "é".repeat(LINE));
    }

    #[test]
    fn two_long_values_are_shown_where_they_differ() {
        let value = |middle: &str| format!("{}{middle}{}", "a".repeat(500), "b".repeat(500));
        let (old, new) = values(&value("OLD"), &value("NEWER"));
        let (a, b) = ("a".repeat(AROUND), "b".repeat(AROUND));
        assert_eq!(old, format!("(476 characters){a}OLD{b}(476 characters)"));
        assert_eq!(new, format!("(476 characters){a}NEWER{b}(476 characters)"));
        // One is the beginning of the other.
        let (old, new) = values(&"x".repeat(300), &"x".repeat(301));
        assert_ne!(old, new);
        assert_eq!(values("short", "other"), ("short".into(), "other".into()));
    }
}
