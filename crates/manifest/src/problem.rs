//! Says what is wrong with a manifest, where, and what would be right.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

use crate::source::{KeyPath, Origins, Place};

/// Whether the manifest can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One thing that is wrong. Serialised as `--json` prints it; holds no secret value.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Whether the manifest can be used in spite of it.
    pub severity: Severity,
    /// The manifest file, when one holds the fault.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    pub column: Option<usize>,
    /// The variable or flag that holds the fault, when one does.
    pub given_by: Option<String>,
    /// The key: `services.idp.port`. Empty when it is about the whole manifest.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    #[serde(skip)]
    snippet: Option<Snippet>,
}

#[derive(Clone, Debug)]
struct Snippet {
    source: Arc<NamedSource<String>>,
    span: Range<usize>,
}

impl Snippet {
    /// Puts stars in place of `spans`, which keeps every other offset.
    fn hide(&mut self, spans: &[Range<usize>]) {
        if spans.is_empty() {
            return;
        }
        let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
        let mut text = String::with_capacity(self.source.inner().len());
        for (at, c) in self.source.inner().char_indices() {
            match c {
                '\n' => text.push(c),
                _ if hidden(at) => text.extend(std::iter::repeat_n('*', c.len_utf8())),
                _ => text.push(c),
            }
        }
        self.source = Arc::new(NamedSource::new(self.source.name(), text));
    }
}

/// Shows the lines that the span is on, and no others: a neighbour may hold anything.
impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        if context_lines_before == 0 && context_lines_after == 0 {
            // It asks for the position, not for text to show.
            return self.source.read_span(span, 0, 0);
        }
        let text = self.source.inner();
        let end = span.offset() + span.len();
        let start = text
            .get(..span.offset())
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let rest = text.get(end..).unwrap_or_default();
        let end = end + rest.find('\n').unwrap_or(rest.len());
        let lines = SourceSpan::from(start..end);
        self.source.read_span(&lines, 0, 0)
    }
}

impl Problem {
    /// An error about the file `file` as a whole.
    pub(crate) fn in_file(file: PathBuf, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: Some(file),
            line: None,
            column: None,
            given_by: None,
            path: String::new(),
            message: message.into(),
            help: None,
            snippet: None,
        }
    }

    /// An error about a variable or flag that leads nowhere.
    pub(crate) fn given(given_by: String, message: impl Into<String>) -> Self {
        Self {
            file: None,
            given_by: Some(given_by),
            ..Self::in_file(PathBuf::new(), message)
        }
    }

    /// The same where the manifest can be used in spite of it.
    #[must_use]
    pub(crate) fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at `span` of a file.
    #[must_use]
    pub(crate) fn at(mut self, file: &crate::source::SourceFile, span: Range<usize>) -> Self {
        let (line, column) = file.position(span.start);
        self.file = Some(file.path.clone());
        self.line = Some(line);
        self.column = Some(column);
        self.snippet = Some(Snippet {
            source: Arc::clone(&file.source),
            span,
        });
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // Without a source line to point at, the words must say where.
        if self.snippet.is_some() {
            return Ok(());
        }
        if !self.path.is_empty() {
            write!(f, " (`{}`", self.path)?;
        } else if self.given_by.is_some() || self.file.is_some() {
            f.write_str(" (")?;
        } else {
            return Ok(());
        }
        let separator = if self.path.is_empty() { "" } else { ", " };
        match (&self.given_by, &self.file, self.line) {
            (Some(given_by), _, _) => write!(f, "{separator}{given_by})"),
            (None, Some(file), Some(line)) => write!(f, "{separator}{}:{line})", file.display()),
            (None, Some(file), None) => write!(f, "{separator}{})", file.display()),
            (None, None, _) => f.write_str(")"),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let snippet = self.snippet.as_ref()?;
        Some(snippet)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.snippet.as_ref()?.span.clone();
        let label = (!self.path.is_empty()).then(|| self.path.clone());
        let span = LabeledSpan::new_primary_with_span(label, span);
        Some(Box::new(std::iter::once(span)))
    }
}

/// Why a manifest was refused: at least one error, with the warnings that came up on the way.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems, by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// All of them for people, `width` columns wide, each with its source line.
    pub fn render(&self, width: usize, colour: Colour) -> String {
        render(&self.0, width, colour)
    }
}

/// Whether to colour what people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours.
    On,
    /// None.
    Off,
    /// None, and no other characters than ASCII around the text.
    Ascii,
}

/// Problems for people, `width` columns wide, each with its source line.
pub fn render(problems: &[Problem], width: usize, colour: Colour) -> String {
    let mut theme = match colour {
        Colour::On => GraphicalTheme::unicode(),
        Colour::Off => GraphicalTheme::unicode_nocolor(),
        Colour::Ascii => GraphicalTheme::none(),
    };
    // As every other error begins.
    "error:".clone_into(&mut theme.characters.error);
    "warning:".clone_into(&mut theme.characters.warning);
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .with_break_words(false)
        .with_context_lines(1)
        .with_word_separator(textwrap::WordSeparator::AsciiSpace)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation);
    let mut text = String::new();
    for problem in problems {
        // Writing into a string cannot fail.
        let _ = handler.render_report(&mut text, problem);
    }
    text
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self
            .0
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        match errors.count() {
            1 => f.write_str("the manifest has a fault"),
            count => write!(f, "the manifest has {count} faults"),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.0.iter().map(|problem| problem as &dyn Diagnostic),
        ))
    }
}

impl From<Problems> for deployer_core::error::Error {
    fn from(problems: Problems) -> Self {
        let first = problems.0.first().and_then(|problem| problem.help.clone());
        let error = Self::input(problems.to_string());
        let error = match first {
            Some(help) => error.hint(help),
            None => error,
        };
        error.because(problems)
    }
}

/// Collects what the checks find; keeps quiet about what follows from an earlier finding.
pub(crate) struct Report<'a> {
    origins: &'a Origins,
    found: Vec<Problem>,
    /// Keys whose values were dropped or stand in for missing ones: no further check means
    /// anything.
    bad: BTreeSet<KeyPath>,
    /// What no snippet may show.
    hidden: Vec<(PathBuf, Range<usize>)>,
}

/// Which part of `key = value` is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
    /// The value, which may be a secret by mistake: stars are shown for it.
    HiddenValue,
}

impl<'a> Report<'a> {
    pub(crate) fn new(origins: &'a Origins) -> Self {
        Self {
            origins,
            found: vec![],
            bad: BTreeSet::new(),
            hidden: vec![],
        }
    }

    /// Whether anything was found that is no warning.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|it| it.severity == Severity::Error)
    }

    /// Notes that nothing at or below `path` can be judged.
    pub(crate) fn distrust(&mut self, path: KeyPath) {
        self.bad.insert(path);
    }

    /// Whether an earlier finding covers something inside `path`.
    pub(crate) fn distrusts_inside(&self, path: &KeyPath) -> bool {
        let mut bad = self.bad.iter();
        bad.any(|bad| bad.parts().starts_with(path.parts()))
    }

    /// Whether an earlier finding covers `path`.
    pub(crate) fn distrusts(&self, path: &KeyPath) -> bool {
        path.upwards().any(|path| self.bad.contains(&path))
    }

    /// Whether anybody wrote `path`.
    pub(crate) fn has_place(&self, path: &KeyPath) -> bool {
        self.origins.place(path).is_some()
    }

    pub(crate) fn error(
        &mut self,
        path: &KeyPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            path,
            Part::Value,
            message.into(),
            help.into(),
        );
    }

    pub(crate) fn key_error(
        &mut self,
        path: &KeyPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            path,
            Part::Key,
            message.into(),
            help.into(),
        );
    }

    pub(crate) fn hidden_error(
        &mut self,
        path: &KeyPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            path,
            Part::HiddenValue,
            message.into(),
            help.into(),
        );
    }

    pub(crate) fn warning(
        &mut self,
        path: &KeyPath,
        part: Part,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Warning, path, part, message.into(), help.into());
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    fn add(
        &mut self,
        severity: Severity,
        path: &KeyPath,
        part: Part,
        message: String,
        help: String,
    ) {
        if self.distrusts(path) {
            return;
        }
        let path_text = path.to_string();
        let known = |problem: &Problem| problem.path == path_text && problem.message == message;
        if self.found.iter().any(known) {
            return;
        }
        let exact = self.origins.place(path);
        let mut problem = Problem {
            severity,
            help: (!help.is_empty()).then_some(help),
            path: path_text,
            file: None,
            ..Problem::in_file(PathBuf::new(), message)
        };
        match exact.or_else(|| self.origins.home(path)) {
            Some(Place::File { file, key, value }) => {
                let span = match part {
                    // What is missing is missing from a table: point at the table's name.
                    _ if exact.is_none() => key,
                    Part::Key => key,
                    Part::Value | Part::HiddenValue => value,
                };
                problem = problem.at(file, span.clone());
                if part == Part::HiddenValue {
                    self.hidden.push((file.path.clone(), value.clone()));
                }
            }
            Some(place @ (Place::Variable { .. } | Place::Flag { .. })) => {
                problem.given_by = Some(place.origin().to_string());
            }
            None => problem.file = self.origins.first_file().map(|file| file.path.clone()),
        }
        self.found.push(problem);
    }

    /// What was found, by file, line and column; errors and warnings apart.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        for problem in &mut self.found {
            if let (Some(file), Some(snippet)) = (&problem.file, &mut problem.snippet) {
                let hidden = self.hidden.iter().filter(|(path, _)| path == file);
                let spans: Vec<_> = hidden.map(|(_, span)| span.clone()).collect();
                snippet.hide(&spans);
            }
        }
        self.found.sort_by(|a, b| {
            let place = |p: &Problem| (p.file.clone(), p.line, p.column);
            place(a).cmp(&place(b))
        });
        self.found
            .into_iter()
            .partition(|problem| problem.severity == Severity::Error)
    }
}
