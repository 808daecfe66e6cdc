//! What is left on a terminal after a command, of all that the terminal was sent; pure.

/// Each command at a prompt, followed by the lines that it left. What a command repeats of the one
/// before (the plan, before it is applied) is told once.
pub fn join(commands: &[(&str, &str)], columns: usize) -> String {
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

/// The lines that stay on a terminal so wide, with their colours: not those of nodes under way,
/// which are drawn over.
fn lines(sent: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A terminal ends lines with both; a carriage return alone goes back to draw over.
    for drawn in sent.replace("\r\n", "\n").split(['\r', '\n']) {
        for line in wrapped(&coloured(drawn), columns) {
            let is_blank = line.trim().is_empty();
            // Drawing over leaves blank pieces behind; one blank line between two others is meant.
            let is_noise = is_blank
                && (drawn.contains('\u{1b}') || follows_progress(&lines) || ends_blank(&lines));
            if !is_noise && !is_under_way(&line) {
                lines.push(line.trim_end().to_owned());
            }
        }
    }
    if ends_blank(&lines) {
        lines.pop();
    }
    lines
}

fn ends_blank(lines: &[String]) -> bool {
    lines.last().is_none_or(|last| last.is_empty())
}

fn follows_progress(lines: &[String]) -> bool {
    lines.last().is_some_and(|last| last.starts_with("  ✓"))
}

/// Spinners are drawn in Braille.
fn is_under_way(line: &str) -> bool {
    let first = line.trim_start().chars().next();
    first.is_some_and(|first| ('\u{2800}'..='\u{28ff}').contains(&first))
}

/// A line as a terminal breaks it. Live lines are filled up to the terminal's width, and the next
/// one follows without an end.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut colours, mut sequence, mut width) = (String::new(), String::new(), 0);
    for letter in line.chars() {
        if letter == '\u{1b}' || !sequence.is_empty() {
            sequence.push(letter);
            if letter == 'm' {
                colours.push_str(&std::mem::take(&mut sequence));
            }
            continue;
        }
        if width == columns {
            lines.push(String::new());
            width = 0;
        }
        if let Some(last) = lines.last_mut() {
            // Colours go with what follows them.
            last.push_str(&std::mem::take(&mut colours));
            last.push(letter);
        }
        width += 1;
    }
    if let Some(last) = lines.last_mut() {
        last.push_str(&colours);
    }
    lines
}

/// The text without any control sequence but those that colour it.
fn coloured(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        kept.push_str(&rest[..at]);
        let sequence = &rest[at..];
        let end = sequence
            .char_indices()
            .skip(2)
            .find(|(_, letter)| letter.is_ascii_alphabetic());
        let Some((last, letter)) = end else {
            return kept;
        };
        if letter == 'm' {
            kept.push_str(&sequence[..=last]);
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
            coloured("\u{1b}[2K\u{1b}[32m+\u{1b}[0m one\u{1b}[1A"),
            "\u{1b}[32m+\u{1b}[0m one"
        );
    }

    #[test]
    fn what_is_drawn_over_does_not_stay() {
        let sent = "plan\r\nof two\r\n\r\n  ⠋ create a 0s\r\n\u{1b}[1A\r\u{1b}[2K  ✓ created a in 1 s\r\n  ⠙ create b 0s\r\u{1b}[2K\r\n\
                    aws: r1 serves\r\n";
        assert_eq!(
            lines(sent, 80),
            [
                "plan",
                "of two",
                "",
                "  ✓ created a in 1 s",
                "aws: r1 serves"
            ]
        );
    }

    #[test]
    fn a_live_line_is_filled_to_the_width_and_the_next_one_follows_it() {
        let sent = "  ✓ a in 1 s    \u{1b}[2m  ⠋ b 0s\u{1b}[0m        ✓ b in 2 s\n";
        assert_eq!(
            wrapped("\u{1b}[1mabc\u{1b}[0md", 3),
            ["\u{1b}[1mabc", "\u{1b}[0md"]
        );
        assert_eq!(
            lines(sent, 16).first().map(String::as_str),
            Some("  ✓ a in 1 s")
        );
    }

    #[test]
    fn a_plan_that_is_told_twice_is_shown_once() {
        let text = join(&[("plan", "a\nb\n"), ("apply", "a\nb\n✓ b\n")], 80);
        assert!(text.ends_with("apply\u{1b}[0m\n✓ b\n"), "{text}");
        assert_eq!(text.matches("a\n").count(), 1, "{text}");
    }
}
