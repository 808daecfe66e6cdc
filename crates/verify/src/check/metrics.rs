//! Metrics: 200, in Prometheus' text format.

use std::sync::LazyLock;

use regex::Regex;
use url::Url;

use crate::finding::Finding;
use crate::http::below;
use crate::verifier::Verifier;

const CHECK: &str = "metrics";

/// `name{label="value"} 1.5 1700000000000`, with an exemplar at most.
static SAMPLE: LazyLock<Regex> = LazyLock::new(|| {
    let label = r#"(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\]|\\.)+")\s*(?:=\s*"(?:[^"\\]|\\.)*")?"#;
    let pattern = format!(
        r"^(?:[A-Za-z_:][A-Za-z0-9_:]*)?\s*(?:\{{\s*(?:{label}\s*(?:,\s*|\s*))*\}})?\s*(?P<value>[+-]?(?:[0-9.eE+-]+|(?i:inf|infinity|nan)))(?:\s+[0-9.-]+)?(?:\s+#.*)?$"
    );
    Regex::new(&pattern).expect("the pattern is constant")
});

/// What is expected.
pub fn expected(path: &str) -> String {
    format!("200 and Prometheus text at {path}")
}

/// Asks for the metrics.
pub async fn check(verifier: &Verifier, base: &Url, path: &str) -> Finding {
    let asked = verifier.get(below(base, path));
    let (took, judgement) = match verifier.http.send(asked).await {
        Err(silence) => (silence.took, Err(silence.why)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body);
            let judgement = answer.expect_status(200).and_then(|()| judge(&text));
            (answer.took, judgement)
        }
    };
    Finding::judged(CHECK, expected(path), took, judgement)
}

/// Counts the samples; every line must be one, a comment or empty.
fn judge(text: &str) -> Result<String, String> {
    let (mut samples, mut types) = (0, 0);
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim() {
            "" => {}
            comment if comment.starts_with('#') => {
                types += usize::from(comment.starts_with("# TYPE "));
            }
            sample if is_sample(sample) => samples += 1,
            _ => return Err(format!("200, but line {number} is no sample")),
        }
    }
    match (samples, types) {
        (0, 0) => Err("200, but no metrics".into()),
        (1, _) => Ok("200, 1 sample".into()),
        (samples, _) => Ok(format!("200, {samples} samples")),
    }
}

fn is_sample(line: &str) -> bool {
    SAMPLE.captures(line).is_some_and(|found| {
        let named = !line.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        named && found["value"].parse::<f64>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_from_other_text() {
        for sample in [
            "up 1",
            "http_requests_total{method=\"GET\",path=\"/a\\\"b\"} 1027 1395066363000",
            "latency_bucket{le=\"+Inf\",} 1.5e-3",
            "{\"a metric\", tenant=\"x\"} NaN",
            "a:b -Inf",
        ] {
            assert!(is_sample(sample), "{sample}");
        }
        for other in [
            "<html>",
            "{\"status\":\"ok\"}",
            "up",
            "17",
            "up one",
            "up{a=1} 1",
        ] {
            assert!(!is_sample(other), "{other}");
        }
    }
}
