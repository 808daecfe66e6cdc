//! Google's logging query language: comparisons joined by AND, OR, NOT, parentheses and
//! juxtaposition.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

const SEVERITIES: [&str; 9] = [
    "DEFAULT",
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "ALERT",
    "EMERGENCY",
];

/// The severity that a line's own word means.
pub fn severity_name(word: &str) -> Option<&'static str> {
    let upper = word.to_ascii_uppercase();
    let upper = match upper.as_str() {
        "WARN" => "WARNING",
        "FATAL" => "CRITICAL",
        other => other,
    };
    SEVERITIES.iter().find(|name| **name == upper).copied()
}

/// A parsed query.
pub struct Filter(Expression);

enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare {
        path: Vec<String>,
        operator: Operator,
        value: String,
        pattern: Option<Regex>,
    },
    Word(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Has,
    Matches,
    NotMatches,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Quoted(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 12] = [
    "!=", "<=", ">=", "=~", "!~", "=", "<", ">", ":", "(", ")", "-",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment
                .split_once('\n')
                .map_or("", |(_, after)| after)
                .trim_start();
            continue;
        }
        if let Some(body) = rest.strip_prefix('"') {
            let (value, after) = quoted(body)?;
            out.push(Token::Quoted(value));
            rest = after.trim_start();
            continue;
        }
        if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            out.push(Token::Symbol(symbol));
            rest = rest[symbol.len()..].trim_start();
            continue;
        }
        let end = word_end(rest);
        if end == 0 {
            return Err(format!("syntax error at {rest:?}"));
        }
        out.push(Token::Text(rest[..end].to_owned()));
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// A word ends at a space, a bracket or an operator; a quoted part of a path (`labels."a.b/c"`)
/// belongs to it.
fn word_end(text: &str) -> usize {
    let mut in_quotes = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            c if c.is_whitespace() || "()=<>:!,".contains(c) => return at,
            _ => {}
        }
    }
    text.len()
}

fn quoted(body: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &body[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                // An escape that strings do not know is a regular expression's.
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("unclosed quotation mark".into())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let hit = self
            .peek()
            .is_some_and(|t| matches!(t, Token::Symbol(s) if *s == symbol));
        self.at += usize::from(hit);
        hit
    }

    fn take_word(&mut self, word: &str) -> bool {
        let hit = self
            .peek()
            .is_some_and(|t| matches!(t, Token::Text(s) if s == word));
        self.at += usize::from(hit);
        hit
    }

    /// OR binds tighter than AND in this language.
    fn conjunction(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.disjunction()?];
        loop {
            self.take_word("AND");
            match self.peek() {
                None => break,
                Some(Token::Symbol(")")) => break,
                Some(_) => parts.push(self.disjunction()?),
            }
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expression::All(parts)
        })
    }

    fn disjunction(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.term()?];
        while self.take_word("OR") {
            parts.push(self.term()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expression::Any(parts)
        })
    }

    fn term(&mut self) -> Result<Expression, String> {
        if self.take_word("NOT") || self.take_symbol("-") {
            return Ok(Expression::Not(Box::new(self.term()?)));
        }
        if self.take_symbol("(") {
            let inner = self.conjunction()?;
            return if self.take_symbol(")") {
                Ok(inner)
            } else {
                Err("missing )".into())
            };
        }
        let left = match self.tokens.get(self.at) {
            Some(Token::Text(text)) | Some(Token::Quoted(text)) => text.clone(),
            Some(Token::Symbol(symbol)) => return Err(format!("unexpected {symbol:?}")),
            None => return Err("unexpected end".into()),
        };
        self.at += 1;
        let Some(operator) = self.operator() else {
            return Ok(Expression::Word(left.to_lowercase()));
        };
        if self.take_symbol("(") {
            return self.alternatives(&left, operator);
        }
        let value = self.value()?;
        compare(&left, operator, value)
    }

    /// `field=("a" OR "b")`.
    fn alternatives(&mut self, left: &str, operator: Operator) -> Result<Expression, String> {
        let mut any = vec![compare(left, operator, self.value()?)?];
        while self.take_word("OR") {
            any.push(compare(left, operator, self.value()?)?);
        }
        if self.take_symbol(")") {
            Ok(Expression::Any(any))
        } else {
            Err("missing )".into())
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let Some(Token::Symbol(symbol)) = self.peek() else {
            return None;
        };
        let operator = match *symbol {
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterEqual,
            ":" => Operator::Has,
            "=~" => Operator::Matches,
            "!~" => Operator::NotMatches,
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }

    fn value(&mut self) -> Result<String, String> {
        let minus = if self.take_symbol("-") { "-" } else { "" };
        let value = match self.peek() {
            Some(Token::Text(text)) | Some(Token::Quoted(text)) => format!("{minus}{text}"),
            Some(Token::Symbol(symbol)) => return Err(format!("unexpected {symbol:?}")),
            None => return Err("a value is missing".into()),
        };
        self.at += 1;
        // An unquoted timestamp was cut at its colons.
        let mut value = value;
        while value.starts_with(|c: char| c.is_ascii_digit())
            && value.contains('T')
            && self.take_symbol(":")
        {
            value.push(':');
            value.push_str(&self.value()?);
        }
        Ok(value)
    }
}

fn compare(left: &str, operator: Operator, value: String) -> Result<Expression, String> {
    let pattern = match operator {
        Operator::Matches | Operator::NotMatches => {
            Some(Regex::new(&value).map_err(|_| format!("invalid regular expression {value:?}"))?)
        }
        _ => None,
    };
    Ok(Expression::Compare {
        path: path(left),
        operator,
        value,
        pattern,
    })
}

/// `labels."run.googleapis.com/execution_name"` has two parts.
fn path(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_quotes = false;
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            c => parts
                .last_mut()
                .expect("there is always a last part")
                .push(c),
        }
    }
    parts
}

impl Filter {
    /// Parses a query; an empty one admits everything. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self(Expression::All(Vec::new())));
        }
        let mut parser = Parser { tokens, at: 0 };
        let expression = parser.conjunction()?;
        match parser.peek() {
            None => Ok(Self(expression)),
            Some(token) => Err(format!("unexpected {token:?}")),
        }
    }

    /// Whether an entry is asked for.
    pub fn admits(&self, entry: &Value) -> bool {
        self.0.admits(entry)
    }
}

impl Expression {
    fn admits(&self, entry: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.admits(entry)),
            Self::Any(parts) => parts.iter().any(|part| part.admits(entry)),
            Self::Not(inner) => !inner.admits(entry),
            Self::Word(word) => entry.to_string().to_lowercase().contains(word),
            Self::Compare {
                path,
                operator,
                value,
                pattern,
            } => {
                let found = look_up(entry, path);
                compare_field(path, found, *operator, value, pattern.as_ref())
            }
        }
    }
}

fn look_up<'a>(entry: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(entry, |at, part| {
        at.get(part)
            .or_else(|| at.get(super::super::schema::snake(part)))
    })
}

fn compare_field(
    path: &[String],
    found: Option<&Value>,
    operator: Operator,
    value: &str,
    pattern: Option<&Regex>,
) -> bool {
    let severity = path.len() == 1 && path[0] == "severity";
    let text = match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if severity => "DEFAULT".into(),
        Some(Value::Null) | None => {
            return matches!(operator, Operator::NotEqual | Operator::NotMatches);
        }
        Some(Value::Object(_) | Value::Array(_)) if operator == Operator::Has && value == "*" => {
            return true;
        }
        Some(other) => other.to_string(),
    };
    let order = || {
        if severity {
            rank(&text).cmp(&rank(value))
        } else {
            order(&text, value)
        }
    };
    match operator {
        Operator::Equal => order() == Ordering::Equal,
        Operator::NotEqual => order() != Ordering::Equal,
        Operator::Less => order() == Ordering::Less,
        Operator::LessEqual => order() != Ordering::Greater,
        Operator::Greater => order() == Ordering::Greater,
        Operator::GreaterEqual => order() != Ordering::Less,
        Operator::Has => value == "*" || text.to_lowercase().contains(&value.to_lowercase()),
        Operator::Matches => pattern.is_some_and(|p| p.is_match(&text)),
        Operator::NotMatches => !pattern.is_some_and(|p| p.is_match(&text)),
    }
}

fn rank(severity: &str) -> Option<usize> {
    let name = severity_name(severity)?;
    SEVERITIES.iter().position(|s| *s == name)
}

/// Timestamps compare as moments, numbers as numbers, the rest as text.
fn order(left: &str, right: &str) -> Ordering {
    if let (Ok(l), Ok(r)) = (
        left.parse::<jiff::Timestamp>(),
        right.parse::<jiff::Timestamp>(),
    ) {
        return l.cmp(&r);
    }
    if let (Ok(l), Ok(r)) = (left.parse::<f64>(), right.parse::<f64>()) {
        return l.total_cmp(&r);
    }
    left.cmp(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admits(filter: &str) -> bool {
        let entry = json!({
            "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
            "resource": { "type": "cloud_run_job", "labels": { "job_name": "migrate", "location": "us-central1" } },
            "labels": { "run.googleapis.com/execution_name": "migrate-x" },
            "severity": "ERROR", "textPayload": "relation users missing", "timestamp": "2026-11-22T01:02:03.000004Z",
        });
        Filter::parse(filter)
            .expect("the filter is well formed")
            .admits(&entry)
    }

    #[test]
    fn the_filters_that_gcloud_and_people_write_are_understood() {
        assert!(admits(""));
        assert!(admits(
            "resource.type=\"cloud_run_job\" resource.labels.job_name=\"migrate\""
        ));
        assert!(admits(
            "resource.type = cloud_run_job AND labels.\"run.googleapis.com/execution_name\"=\"migrate-x\""
        ));
        assert!(admits(
            "timestamp>=\"2026-11-21T01:02:03.000004Z\" AND severity>=WARNING"
        ));
        assert!(admits(
            "(resource.type=a OR resource.type=cloud_run_job) users"
        ));
        assert!(admits(
            "textPayload=~\"relation \\w+ missing\" -resource.labels.location=eu"
        ));
        assert!(admits("resource.labels.job_name=(\"a\" OR \"migrate\")"));
        assert!(admits("timestamp>=2026-11-22T01:00:00Z"));
    }

    #[test]
    fn what_does_not_match_is_left_out_and_what_is_not_a_filter_is_refused() {
        assert!(!admits("severity>ERROR"));
        assert!(!admits("NOT textPayload:users"));
        assert!(!admits("timestamp<\"2026-11-21T00:00:00Z\""));
        assert!(Filter::parse("a=").is_err());
        assert!(Filter::parse("(a=b").is_err());
        assert!(Filter::parse("a=\"b").is_err());
    }
}
