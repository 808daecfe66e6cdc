//! Findings for people: what was expected and what was got, side by side in 80 columns.

use deployer_verify::{Finding, Outcome};

use crate::duration;
use crate::view::plan::broken;
use crate::view::{self, foreign, table};

const CHECK: usize = 12;
const EXPECTED: usize = 22;
const GOT: usize = 23;
/// No column is narrower.
const LEAST: usize = 8;
/// What all of it takes at most.
const ALL: usize = 80;

/// The findings as a table, indented by two; in less than 80 columns on a terminal that has less.
pub fn render(findings: &[Finding]) -> String {
    in_columns(findings, view::width())
}

fn in_columns(findings: &[Finding], width: usize) -> String {
    // What is missing is taken from the widest two.
    let missing = ALL.saturating_sub(width).div_ceil(2);
    let rows = |it| {
        rows(
            it,
            (
                EXPECTED.saturating_sub(missing),
                GOT.saturating_sub(missing),
            ),
        )
    };
    let rows: Vec<Vec<String>> = findings.iter().flat_map(rows).collect();
    let header = ["CHECK", "EXPECTED", "GOT", "TOOK", ""];
    let table = table::render(&header, &rows);
    table.lines().map(|line| format!("  {line}\n")).collect()
}

fn rows(finding: &Finding, (expected, got_in): (usize, usize)) -> Vec<Vec<String>> {
    let (mark, got) = match &finding.outcome {
        Outcome::Passed => ("ok", finding.got.clone()),
        Outcome::Warned(why) => ("warning", format!("{}; {why}", finding.got)),
        Outcome::Failed => ("FAILED", finding.got.clone()),
        Outcome::Skipped(why) => ("skipped", why.clone()),
    };
    let took = match finding.outcome {
        Outcome::Skipped(_) => "-".to_owned(),
        Outcome::Passed | Outcome::Warned(_) | Outcome::Failed => duration::show(finding.took),
    };
    let columns = [
        broken(&foreign::one_line(&finding.check), CHECK),
        broken(&foreign::one_line(&finding.expected), expected.max(LEAST)),
        broken(&foreign::one_line(&got), got_in.max(LEAST)),
        vec![took],
        vec![mark.to_owned()],
    ];
    let height = columns.iter().map(Vec::len).max().unwrap_or_default();
    (0..height)
        .map(|line| {
            let cells = columns.iter();
            cells
                .map(|cell| cell.get(line).cloned().unwrap_or_default())
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn findings_stand_side_by_side_in_80_columns() {
        let finding = |check: &str, expected: &str, got: &str, outcome| Finding {
            check: check.into(),
            expected: expected.into(),
            got: got.into(),
            took: Duration::from_millis(120),
            outcome,
        };
        let findings = [
            finding("health", "200 at /health", "200", Outcome::Passed),
            finding(
                "tls",
                "TLS 1.2 or newer, trusted",
                "TLS 1.3, subject idp.example.com, issuer Test Authority, 20 days left",
                Outcome::Warned("the certificate ends in 20 days".into()),
            ),
            finding(
                "jwks",
                "200 and public keys at /.well-known/jwks.json",
                "404",
                Outcome::Failed,
            ),
            finding(
                "token",
                "a bearer token",
                "",
                Outcome::Skipped("may not read it".into()),
            ),
        ];
        let table = in_columns(&findings, 80);
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
        let expected = [
            "  CHECK   EXPECTED                GOT                      TOOK",
            "  health  200 at /health          200                      0.1s  ok",
            "  tls     TLS 1.2 or newer,       TLS 1.3, subject         0.1s  warning",
            "          trusted                 idp.example.com, issuer",
            "                                  Test Authority, 20 days",
            "                                  left; the certificate",
            "                                  ends in 20 days",
            "  jwks    200 and public keys at  404                      0.1s  FAILED",
            "          /.well-known/jwks.json",
            "  token   a bearer token          may not read it          -     skipped",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
        let narrow = in_columns(&findings, 60);
        let long = narrow.lines().find(|line| line.chars().count() > 60);
        assert_eq!(long, None, "{narrow}");
    }
}
