//! Lines that fit: values cut in their middle, words broken between lines, lists in one phrase;
//! pure.

use deployer_core::address::CloudName;

/// So many names are all told.
const ALL: usize = 4;

/// A text of at most so many characters, its middle left out where it is longer.
pub fn cut(text: &str, room: usize) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(1);
    let end = kept / 2;
    let start: String = text.chars().take(kept - end).collect();
    let rest: String = text.chars().skip(count - end).collect();
    format!("{start}…{rest}")
}

/// `old → new` in so many characters. Long values are cut around what differs.
pub fn arrow(old: &str, new: &str, room: usize) -> String {
    let length = |text: &str| text.chars().count();
    if length(old) + length(new) + 3 <= room {
        return format!("{old} → {new}");
    }
    let same = old.chars().zip(new.chars());
    let same = same.take_while(|(old, new)| old == new).count();
    let room = room.saturating_sub(3);
    let short = length(old).min(length(new));
    let (for_old, for_new) = match short <= room / 3 {
        true if length(old) < length(new) => (short, room - short),
        true => (room - short, short),
        false => (room - room / 2, room / 2),
    };
    let around = |text: &str, room: usize| {
        // What is equal at the beginning is left out where it would push out what differs.
        let left_out = match length(text) > room && same > room / 3 {
            true => same - room / 6,
            false => 0,
        };
        match left_out {
            0 => cut(text, room),
            count => {
                let rest: String = text.chars().skip(count).collect();
                format!("…{}", cut(&rest, room.saturating_sub(1)))
            }
        }
    };
    format!("{} → {}", around(old, for_old), around(new, for_new))
}

/// Words in lines of at most so many characters; a word that is longer is cut in its middle.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = cut(word, room);
        let line = lines.last_mut().expect("there is always a line");
        let used = line.chars().count();
        if used == 0 {
            *line = word;
        } else if used + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

/// Breaks a text between words, and inside one that is wider than the column.
pub fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width) {
            let line = lines.last_mut().expect("there is always a line");
            let used = line.chars().count();
            let room = if used == 0 {
                width
            } else {
                width - used.min(width - 1) - 1
            };
            if piece.len() > room {
                lines.push(piece.iter().collect());
                continue;
            }
            if used > 0 {
                line.push(' ');
            }
            line.extend(piece);
        }
    }
    lines
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `a service`, `2 services`.
pub fn count(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => match word.strip_suffix('y') {
            Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
            _ => format!("{count} {word}s"),
        },
    }
}

/// The names in one phrase: all where they are few, the first and the last with their number where
/// they are many.
pub fn names(names: &[String]) -> String {
    match names {
        [first, .., last] if names.len() > ALL => {
            format!("{first} … {last} ({} services)", names.len())
        }
        _ => names.join(", "),
    }
}

/// The same of some of `all`, which stand in their order: no range goes over one that is not meant.
pub fn among(chosen: &[String], all: &[String]) -> String {
    const RANGES: usize = 3;
    let mut ranges: Vec<Vec<&String>> = Vec::new();
    let mut before = false;
    for name in all {
        let meant = chosen.contains(name);
        match ranges.last_mut() {
            Some(range) if meant && before => range.push(name),
            _ if meant => ranges.push(vec![name]),
            _ => {}
        }
        before = meant;
    }
    let ordered: Vec<String> = ranges.iter().flatten().map(|it| (*it).clone()).collect();
    match ordered.len() == chosen.len() {
        // What is no service stands for itself.
        false => return names(chosen),
        true if ordered.len() <= ALL || ranges.len() <= 1 => return names(&ordered),
        true => {}
    }
    let told = ranges
        .iter()
        .take(RANGES)
        .map(|range| match range.as_slice() {
            [first, _, .., last] => format!("{first} … {last}"),
            few => few
                .iter()
                .map(|it| it.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        });
    let told: Vec<String> = told.collect();
    let more: usize = ranges.iter().skip(RANGES).map(Vec::len).sum();
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more} ({} services)", told.join(", "), chosen.len())
}

/// Clouds in words: `aws, gcp`.
pub(super) fn label(clouds: &[CloudName]) -> String {
    let clouds: Vec<&str> = clouds.iter().map(|it| it.as_str()).collect();
    clouds.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_its_middle_and_nothing_else() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("abcdefghij", 7), "abc…hij");
        assert_eq!(arrow("info", "debug", 40), "info → debug");
        let long = format!("https://example.com/{}/x", "a".repeat(200));
        let other = format!("https://example.com/{}/y", "a".repeat(200));
        let shown = arrow(&long, &other, 50);
        assert!(shown.chars().count() <= 50, "{shown}");
        let (old, new) = shown.split_once(" → ").unwrap();
        assert!(old.ends_with("/x") && new.ends_with("/y"), "{shown}");
    }

    #[test]
    fn what_differs_stays_when_both_ends_are_equal() {
        let value = |middle: &str| format!("{}{middle}{}", "a".repeat(60), "b".repeat(5));
        let shown = arrow(&value("OLD"), &value("NEW"), 60);
        assert!(shown.contains("OLD") && shown.contains("NEW"), "{shown}");
        assert!(shown.chars().count() <= 60, "{shown}");
    }

    #[test]
    fn one_side_that_is_short_leaves_the_room_to_the_other() {
        let shown = arrow("unset", &"v".repeat(100), 40);
        assert!(shown.starts_with("unset → vv"), "{shown}");
        assert_eq!(shown.chars().count(), 40);
    }

    #[test]
    fn names_and_lists_are_phrases() {
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(count(1, "repository"), "1 repository");
        assert_eq!(count(2, "repository"), "2 repositories");
        let many: Vec<String> = (0..30).map(|it| format!("svc-{it:02}")).collect();
        assert_eq!(names(&many), "svc-00 … svc-29 (30 services)");
        assert_eq!(names(&many[..2]), "svc-00, svc-01");
        // A range has nothing in it that is not meant.
        assert_eq!(among(&many, &many), "svc-00 … svc-29 (30 services)");
        let but = |left_out: &[usize]| {
            let chosen = many.iter().enumerate();
            let chosen = chosen.filter(|(at, _)| !left_out.contains(at));
            let chosen: Vec<String> = chosen.map(|(_, name)| name.clone()).collect();
            among(&chosen, &many)
        };
        let two = "svc-00 … svc-06, svc-08 … svc-29 (29 services)";
        assert_eq!(but(&[7]), two);
        let more = "svc-00, svc-02, svc-04 and 24 more (27 services)";
        assert_eq!(but(&[1, 3, 5]), more);
        let other = ["main".to_owned()];
        assert_eq!(among(&other, &many), "main");
    }
}
