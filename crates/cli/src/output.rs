//! Writes to standard output and standard error. A reader that went away (`deployer releases |
//! head`) ends no run: what it does not take is dropped, and the exit code still tells.

use std::fmt::Arguments;
use std::io::Write;

use crate::appearance;
use crate::capture::KEPT;

/// To standard output.
pub(crate) fn to_stdout(text: Arguments<'_>) {
    if KEPT.try_with(|kept| kept.push(text)).is_err() {
        write(&mut std::io::stdout(), text);
    }
}

/// What a reader that went away does not take is dropped.
fn write(to: &mut dyn Write, text: Arguments<'_>) {
    match appearance::is_ascii() && !appearance::is_json() {
        true => to.write_all(in_ascii(&text.to_string()).as_bytes()),
        false => to.write_fmt(text),
    }
    .unwrap_or_default();
}

/// The signs that stand in what people read, and what stands for them where a terminal shows
/// nothing but ASCII.
const SIGNS: [(&str, &str); 4] = [("→", "->"), ("·", "-"), ("…", "..."), ("│", "|")];

fn in_ascii(text: &str) -> String {
    let signs = SIGNS.iter();
    signs.fold(text.to_owned(), |text, (sign, plain)| {
        text.replace(sign, plain)
    })
}

/// Bytes to standard output, at once.
pub(crate) fn bytes_to_stdout(bytes: &[u8]) {
    let kept = KEPT.try_with(|kept| kept.push(format_args!("{}", String::from_utf8_lossy(bytes))));
    if kept.is_err() {
        let mut out = std::io::stdout();
        out.write_all(bytes).unwrap_or_default();
        out.flush().unwrap_or_default();
    }
}

/// To standard error.
pub(crate) fn to_stderr(text: Arguments<'_>) {
    if KEPT.try_with(|kept| kept.push(text)).is_err() {
        write(&mut std::io::stderr(), text);
    }
}

/// To standard output: what was asked for.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::to_stdout(format_args!($($text)*)) };
}

/// A line to standard output.
macro_rules! outln {
    () => { out!("\n") };
    ($($text:tt)*) => { out!("{}\n", format_args!($($text)*)) };
}

/// To standard error: what people should know meanwhile.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::to_stderr(format_args!($($text)*)) };
}

/// A line to standard error.
macro_rules! sayln {
    () => { say!("\n") };
    ($($text:tt)*) => { say!("{}\n", format_args!($($text)*)) };
}

/// A line to standard error that `--quiet` leaves out: what was not asked for, and is no error.
macro_rules! noteln {
    ($($text:tt)*) => {
        if !$crate::appearance::is_quiet() {
            sayln!($($text)*);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_signs_have_a_plain_form_and_what_an_app_printed_stays() {
        let line = "shop · staging: web 1.0 → 1.1 … │ Grüße";
        assert_eq!(in_ascii(line), "shop - staging: web 1.0 -> 1.1 ... | Grüße");
    }
}
