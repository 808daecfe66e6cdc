//! How a command looks where its output goes: bar, lines or nothing; colour; and whether the
//! terminal shows more than ASCII.

use std::ffi::OsString;
use std::io::IsTerminal;

use crate::args::{ColorArg, Global, ProgressArg};
use crate::{again, capture};

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Lines that are drawn again.
    Bar,
    /// One line for each event.
    Plain,
    /// Nothing.
    Silent,
}

/// What decides it, beside what was asked for.
#[derive(Clone, Debug, Default)]
struct Screen {
    terminal: bool,
    variables: Vec<(&'static str, OsString)>,
}

/// The variables that are looked at.
const LOOKED_AT: [&str; 8] = [
    "TERM",
    "CI",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
];

impl Screen {
    fn here(terminal: bool) -> Self {
        let set = |name| Some((name, std::env::var_os(name)?));
        Self {
            terminal,
            variables: LOOKED_AT.into_iter().filter_map(set).collect(),
        }
    }

    /// The variable, unless it is empty.
    fn variable(&self, name: &str) -> Option<&OsString> {
        let mut variables = self.variables.iter();
        let found = variables.find(|(known, value)| *known == name && !value.is_empty());
        found.map(|(_, value)| value)
    }

    fn is_dumb(&self) -> bool {
        self.variable("TERM").is_some_and(|term| term == "dumb")
    }

    /// What the locale's characters are: the first of these that is set counts (POSIX, "Environment
    /// Variables", 8.2). Without any it is the C locale; a terminal of today without one shows
    /// UTF-8 all the same, so only a locale that says otherwise counts.
    fn is_ascii(&self) -> bool {
        let mut names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
        let locale = names.find_map(|name| self.variable(name));
        let Some(locale) = locale else { return false };
        let locale = locale.to_string_lossy().to_lowercase();
        !(locale.contains("utf-8") || locale.contains("utf8"))
    }

    fn progress(&self, asked: ProgressArg, quiet: bool) -> Progress {
        match asked {
            ProgressArg::None => Progress::Silent,
            _ if quiet => Progress::Silent,
            ProgressArg::Plain => Progress::Plain,
            ProgressArg::Bar if self.terminal => Progress::Bar,
            ProgressArg::Bar => Progress::Plain,
            ProgressArg::Auto => {
                let plain = self.is_dumb() || self.is_ascii() || self.variable("CI").is_some();
                match self.terminal && !plain {
                    true => Progress::Bar,
                    false => Progress::Plain,
                }
            }
        }
    }

    /// By <https://no-color.org> and <https://bixense.com/clicolors>.
    fn colour(&self, asked: ColorArg) -> bool {
        let is = |name: &str| self.variable(name).is_some_and(|value| value != "0");
        match asked {
            ColorArg::Always => true,
            ColorArg::Never => false,
            ColorArg::Auto if self.variable("NO_COLOR").is_some() => false,
            ColorArg::Auto if is("CLICOLOR_FORCE") => true,
            ColorArg::Auto => {
                let off = self.variable("CLICOLOR").is_some_and(|value| value == "0");
                self.terminal && !off && !self.is_dumb()
            }
        }
    }
}

/// Whether the command that runs is to say nothing but what was asked for, and errors.
pub fn is_quiet() -> bool {
    again::typed().is_some_and(|global| global.quiet)
}

/// Whether the command that runs answers in JSON.
pub fn is_json() -> bool {
    again::typed().is_some_and(|global| global.json)
}

/// How the command that runs shows a run, on standard error.
pub fn progress() -> Progress {
    let (asked, quiet) = again::typed().map_or((ProgressArg::Auto, false), |global| {
        (global.progress, global.quiet)
    });
    // What is kept is read by nobody while it comes.
    let terminal = std::io::stderr().is_terminal() && !capture::is_kept();
    Screen::here(terminal).progress(asked, quiet)
}

/// Whether the command that runs is to colour what goes to a terminal, or not to one.
pub fn colour(terminal: bool) -> bool {
    let asked = again::typed().map_or(ColorArg::Auto, |global| global.color);
    Screen::here(terminal).colour(asked)
}

/// The same before a command runs.
pub fn colour_of(global: &Global, terminal: bool) -> bool {
    Screen::here(terminal).colour(global.color)
}

/// Whether the terminal shows nothing but ASCII, by its locale.
pub fn is_ascii() -> bool {
    Screen::here(false).is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(terminal: bool, variables: &[(&'static str, &str)]) -> Screen {
        let variables = variables.iter();
        Screen {
            terminal,
            variables: variables
                .map(|(name, value)| (*name, value.into()))
                .collect(),
        }
    }

    const UTF8: (&str, &str) = ("LANG", "en_GB.UTF-8");

    #[test]
    fn a_bar_is_for_a_terminal_that_can_draw_it() {
        let progress = |screen: Screen| screen.progress(ProgressArg::Auto, false);
        assert_eq!(progress(screen(true, &[UTF8])), Progress::Bar);
        assert_eq!(progress(screen(true, &[])), Progress::Bar);
        assert_eq!(progress(screen(false, &[UTF8])), Progress::Plain);
        for variable in [("TERM", "dumb"), ("CI", "1"), ("LC_ALL", "C")] {
            assert_eq!(progress(screen(true, &[UTF8, variable])), Progress::Plain);
        }
        // An empty variable is none.
        assert_eq!(progress(screen(true, &[UTF8, ("CI", "")])), Progress::Bar);
    }

    #[test]
    fn what_is_asked_for_comes_first_and_nothing_is_drawn_where_there_is_no_terminal() {
        let dumb = screen(true, &[("TERM", "dumb")]);
        assert_eq!(dumb.progress(ProgressArg::Bar, false), Progress::Bar);
        let pipe = screen(false, &[]);
        assert_eq!(pipe.progress(ProgressArg::Bar, false), Progress::Plain);
        assert_eq!(dumb.progress(ProgressArg::None, false), Progress::Silent);
        assert_eq!(dumb.progress(ProgressArg::Plain, true), Progress::Silent);
    }

    #[test]
    fn colour_follows_what_is_asked_for_then_the_variables_then_the_terminal() {
        let colour = |terminal, variables| screen(terminal, variables).colour(ColorArg::Auto);
        assert!(colour(true, &[]) && !colour(false, &[]));
        assert!(!colour(true, &[("NO_COLOR", "1")]) && colour(true, &[("NO_COLOR", "")]));
        assert!(!colour(true, &[("TERM", "dumb")]) && !colour(true, &[("CLICOLOR", "0")]));
        assert!(colour(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!colour(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!colour(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        let no = screen(true, &[("NO_COLOR", "1")]);
        assert!(no.colour(ColorArg::Always) && !no.colour(ColorArg::Never));
    }

    #[test]
    fn a_locale_without_utf_8_is_ascii_and_the_most_particular_variable_counts() {
        let ascii = |variables| screen(true, variables).is_ascii();
        assert!(!ascii(&[]) && !ascii(&[UTF8]));
        assert!(ascii(&[("LANG", "C")]) && ascii(&[UTF8, ("LC_ALL", "POSIX")]));
        assert!(!ascii(&[("LANG", "C"), ("LC_CTYPE", "C.utf8")]));
    }
}
