//! What is counted, and the text that Prometheus reads.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// The counters of one process; they start at zero with it.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Answered requests by method, route and status.
    pub requests: IntCounterVec,
    /// Tokens issued.
    pub tokens: IntCounter,
}

impl Metrics {
    /// Makes the counters for a process that runs `version`.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("http_requests_total", "HTTP requests answered."),
            &["method", "route", "status"],
        )?;
        let tokens = IntCounter::new("idp_tokens_issued_total", "Access tokens issued.")?;
        let build = IntGaugeVec::new(
            Opts::new("idp_build_info", "The release that runs."),
            &["version"],
        )?;
        build.with_label_values(&[version]).set(1);
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            requests,
            tokens,
        })
    }

    /// The text exposition format, version 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
