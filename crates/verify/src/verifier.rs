//! How a service is asked: with what patience, what trust, and what lets requests through.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::Result;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret;
use url::Url;

use crate::http::{self, Http};
use crate::subject::{Pass, Subject};

/// How to ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a service may take to become healthy; other checks wait for it. Zero asks once.
    pub patience: Duration,
    /// How long it may answer that the caller is not let in (403), where that was only just
    /// changed.
    pub admission: Duration,
    /// When each request is given up.
    pub timeout: Duration,
    /// Certificates that are trusted beside the platform's own.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// Examines services. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    pub(crate) http: Http,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    /// What lets requests to the subject through.
    pass: Option<Pass>,
}

impl Verifier {
    /// Errors: internal, when the platform has no certificates that it trusts.
    pub fn new(clock: Arc<dyn Clock>, settings: Settings) -> Result<Self> {
        let roots = || {
            let der = settings.extra_roots.iter();
            der.filter_map(|root| reqwest::Certificate::from_der(root).ok())
        };
        let builder = || http::builder(settings.timeout).tls_certs_merge(roots());
        Ok(Self {
            http: Http::new(Arc::clone(&clock), builder)?,
            clock,
            settings,
            pass: None,
        })
    }

    /// A request to the subject.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.client(&url).request(method, url);
        let Some(pass) = &self.pass else {
            return request;
        };
        match HeaderValue::from_str(pass.value.expose_secret()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(pass.header, value)
            }
            Err(_) => request,
        }
    }

    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// The same verifier, whose requests are let through to the subject.
    pub(crate) fn for_subject(&self, subject: &Subject) -> Self {
        Self {
            pass: subject.pass.clone(),
            ..self.clone()
        }
    }
}
