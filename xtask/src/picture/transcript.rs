//! What is left on a terminal after a command, of all that the terminal was sent; pure.

use vt100::Parser;

/// More rows than any command here fills: nothing scrolls away.
const ROWS: u16 = 400;

/// Each command at a prompt, followed by the lines that it left. What a command repeats of the one
/// before (the plan, before it is applied) is told once.
pub fn join(commands: &[(&str, &str)], columns: u16) -> String {
    let mut text = String::new();
    let mut before: Vec<String> = Vec::new();
    for (command, sent) in commands {
        let lines = lines(sent, columns);
        let repeated = lines.iter().zip(&before).take_while(|(a, b)| a == b);
        let new = &lines[repeated.count()..];
        text.push_str(&format!("\u{1b}[1m$ {command}\u{1b}[0m\n"));
        text.push_str(new.join("\n").trim_matches('\n'));
        text.push_str("\n\n");
        before = lines;
    }
    text.trim_end().to_owned() + "\n"
}

/// The lines that stay on a terminal so wide, with their colours.
fn lines(sent: &str, columns: u16) -> Vec<String> {
    let mut parser = Parser::new(ROWS, columns, 0);
    parser.process(sent.as_bytes());
    let rows = parser.screen().rows_formatted(0, columns);
    let rows = rows.map(|row| coloured(&String::from_utf8_lossy(&row)));
    let mut lines: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
    let used = lines.iter().rposition(|line| !line.is_empty());
    lines.truncate(used.map_or(0, |last| last + 1));
    lines
}

/// The text without any control sequence but those that colour it. What moves to the right over
/// empty columns becomes blanks.
fn coloured(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        kept.push_str(&rest[..at]);
        let sequence = &rest[at..];
        let mut letters = sequence.char_indices().skip(2);
        let end = letters.find(|(_, letter)| letter.is_ascii_alphabetic());
        let Some((last, letter)) = end else {
            return kept;
        };
        match letter {
            'm' => kept.push_str(&sequence[..=last]),
            'C' => kept.push_str(&" ".repeat(sequence[2..last].parse().unwrap_or(1))),
            _ => {}
        }
        rest = &sequence[last + 1..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_every_other_control_goes() {
        assert_eq!(
            coloured("\u{1b}[2K\u{1b}[32m+\u{1b}[0m one\u{1b}[1A\u{1b}[3Ctwo"),
            "\u{1b}[32m+\u{1b}[0m one   two"
        );
    }

    #[test]
    fn what_is_drawn_over_does_not_stay() {
        let sent = "plan\r\nof two\r\n\r\naws  ⠋ web  create\r\ngcp  · web  waits\r\n\
                    \u{1b}[2A\r\u{1b}[2Kaws  ✓ web  done\r\n\u{1b}[2Kgcp  ✓ web  done\r\nr1 serves\r\n";
        assert_eq!(
            lines(sent, 80),
            [
                "plan",
                "of two",
                "",
                "aws  ✓ web  done",
                "gcp  ✓ web  done",
                "r1 serves"
            ]
        );
    }

    #[test]
    fn a_long_line_goes_on_in_the_next_one() {
        assert_eq!(lines("abcde\r\nf", 3), ["abc", "de", "f"]);
    }

    #[test]
    fn a_plan_that_is_told_twice_is_shown_once() {
        let text = join(
            &[("plan", "a\r\nb\r\n"), ("apply", "a\r\nb\r\n✓ b\r\n")],
            80,
        );
        assert!(text.ends_with("apply\u{1b}[0m\n✓ b\n"), "{text}");
        assert_eq!(text.matches("a\n").count(), 1, "{text}");
    }
}
