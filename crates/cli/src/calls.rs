//! What `-v` shows of calls to Google: its clients tell of each attempt by a span, of which a line
//! is made here.
//!
//! The same clients tell of requests and answers as a whole, with what secrets hold: nothing of
//! that is let through, whatever is asked for.

use std::fmt::Debug;
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The span of an attempt, and whose it is (`create_http_attempt_span` in
/// google-cloud-gax-internal's `observability/http_tracing.rs`).
const ATTEMPT: &str = "http_request";
const TRANSPORT: &str = "google_cloud_gax_internal";
/// What all of Google's crates are called.
const CLIENTS: &str = "google_cloud_";

fn is_attempt(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == ATTEMPT && metadata.target().starts_with(TRANSPORT)
}

/// Whether anybody may hear of it.
pub fn is_harmless(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with(CLIENTS) || is_attempt(metadata)
}

/// Makes a line of each attempt that is over.
pub struct Calls {
    /// Where it goes.
    pub say: fn(&str),
}

/// What is known of an attempt, by the names of OpenTelemetry's semantic conventions.
struct Attempt {
    method: String,
    api: String,
    url: String,
    status: Option<String>,
    sent: Instant,
}

impl Attempt {
    fn begun() -> Self {
        Self {
            method: String::new(),
            api: String::new(),
            url: String::new(),
            status: None,
            sent: Instant::now(),
        }
    }

    fn note(&mut self, field: &Field, value: String) {
        match field.name() {
            "http.request.method" => self.method = value,
            "url.domain" => self.api = value,
            "url.full" => self.url = value,
            "http.response.status_code" => self.status = Some(value),
            _ => {}
        }
    }

    /// `gcp run GET /v2/projects/p/locations/l/services/web 200 12ms`.
    fn line(&self) -> String {
        let api = self.api.split('.').next().unwrap_or_default();
        let path = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let path = path.find('/').map_or("/", |at| &path[at..]);
        let path = path.split('?').next().unwrap_or_default();
        let status = self.status.as_deref().unwrap_or("no answer");
        let took = self.sent.elapsed().as_millis();
        format!("gcp {api} {} {path} {status} {took}ms", self.method)
    }
}

impl Visit for Attempt {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.to_string());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Calls {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|it| is_attempt(it.metadata())) else {
            return;
        };
        let mut attempt = Attempt::begun();
        attributes.record(&mut attempt);
        span.extensions_mut().insert(attempt);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(attempt) = span.extensions_mut().get_mut::<Attempt>() {
            values.record(attempt);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        if let Some(attempt) = span.extensions().get::<Attempt>() {
            (self.say)(&attempt.line());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn a_call_to_google_is_a_line_and_what_it_holds_is_none() {
        let say = |line: &str| SAID.lock().unwrap().push(line.to_owned());
        let filter = tracing_subscriber::filter::filter_fn(is_harmless);
        let layers = tracing_subscriber::registry()
            .with(filter)
            .with(Calls { say });
        tracing::subscriber::with_default(layers, || {
            let whole = tracing::info_span!(target: "google_cloud_run_v2::tracing", "http_request");
            assert!(whole.is_disabled(), "a request as a whole");
            let span = tracing::info_span!(
                target: "google_cloud_gax_internal::observability::http_tracing",
                "http_request",
                { "http.request.method" } = "GET",
                { "url.domain" } = "run.googleapis.com",
                { "url.full" } = "http://127.0.0.1:1/v2/projects/p/services/web?alt=json",
                { "http.response.status_code" } = tracing::field::Empty,
            );
            span.record("http.response.status_code", 200_i64);
        });
        let said = SAID.lock().unwrap();
        let [line] = said.as_slice() else {
            panic!("{said:?}")
        };
        let began = line.starts_with("gcp run GET /v2/projects/p/services/web 200 ");
        assert!(began && line.ends_with("ms"), "{line}");
    }
}
