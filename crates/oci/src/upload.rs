//! Brings one blob into a repository: not at all, by mounting it, or by sending its bytes.

use std::sync::{Arc, Mutex};

use futures::{FutureExt, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc::UnboundedSender;
use url::Url;

use crate::challenge::Scope;
use crate::registry::{Call, Payload};
use crate::store::{Store, collect};
use crate::transport::transfer_within;
use crate::{Blob, CopyEvent, Error, ErrorKind, Registry};

const ACTION: &str = "upload blob";

/// Up to this size a blob is sent with the request that completes it; a larger one is streamed
/// before. Four such blobs are in memory at most.
const SMALL: u64 = 4 * 1024 * 1024;

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Present,
    Mounted,
    Uploaded,
}

/// One blob on its way into a repository.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) registry: Registry,
    pub(crate) repo: String,
    pub(crate) store: Store,
    pub(crate) blob: Blob,
    pub(crate) events: UnboundedSender<CopyEvent>,
}

impl Upload {
    fn tell(&self, event: CopyEvent) {
        // Nobody listens any more when the copy has failed already.
        let _ = self.events.send(event);
    }

    fn scope(&self) -> Scope {
        Scope::Push(self.repo.clone())
    }

    fn object(&self) -> String {
        self.registry.object(&self.repo, self.blob.digest.as_str())
    }

    /// Does what is needed, repeating the whole of it on passing failures: an upload that broke
    /// off left nothing behind, and one whose reply was lost is found to be present.
    pub(crate) async fn run(self) -> Result<Outcome, Error> {
        let told = |error: &Error, wait| {
            self.tell(CopyEvent::Retrying {
                what: error.to_string(),
                wait,
            });
        };
        let attempt = |n| {
            let this = self.clone();
            async move { this.attempt(n).await }
        };
        let outcome = self.registry.retry().run(attempt, told).await?;
        let (digest, size) = (self.blob.digest.clone(), self.blob.size);
        self.tell(match outcome {
            Outcome::Present => CopyEvent::BlobPresent { digest, size },
            Outcome::Mounted => CopyEvent::BlobMounted { digest, size },
            Outcome::Uploaded => CopyEvent::BlobUploaded { digest, size },
        });
        Ok(outcome)
    }

    async fn attempt(&self, number: u32) -> Result<Outcome, Error> {
        if self.is_present().await? {
            return Ok(if number == 1 {
                Outcome::Present
            } else {
                Outcome::Uploaded
            });
        }
        let Some(place) = self.begin().await? else {
            return Ok(Outcome::Mounted);
        };
        let (digest, size) = (self.blob.digest.clone(), self.blob.size);
        self.tell(CopyEvent::BlobStarted { digest, size });
        if self.blob.size <= SMALL {
            self.send_whole(place).await?;
        } else {
            self.send_streamed(place).await?;
        }
        Ok(Outcome::Uploaded)
    }

    async fn is_present(&self) -> Result<bool, Error> {
        let url = self
            .registry
            .address(&self.repo, &format!("blobs/{}", self.blob.digest));
        let (scope, object) = (self.scope(), self.object());
        let call = Call::new(&scope, "look up blob", &object, Method::HEAD, url);
        match self.registry.request(&call).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Where to send the blob; `None` when the registry took it from the source repository.
    async fn begin(&self) -> Result<Option<Url>, Error> {
        if let Store::Registry { registry, repo } = &self.store
            && registry.is_same(&self.registry)
            && *repo != self.repo
        {
            let scope = Scope::Mount(self.repo.clone(), repo.clone());
            let query = [
                ("mount", self.blob.digest.as_str()),
                ("from", repo.as_str()),
            ];
            match self.post(&scope, &query).await {
                // Mounting is a favour: one that is refused is asked for again as an upload.
                Err(e) if !e.transient() => {}
                answer => return answer,
            }
        }
        self.post(&self.scope(), &[]).await
    }

    async fn post(&self, scope: &Scope, query: &[(&str, &str)]) -> Result<Option<Url>, Error> {
        let mut url = self.registry.address(&self.repo, "blobs/uploads/");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let object = self.object();
        let call = Call::new(scope, ACTION, &object, Method::POST, url).headers(empty());
        let response = self.registry.request(&call).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        self.registry.location(&response, &object).map(Some)
    }

    async fn send_whole(&self, place: Url) -> Result<(), Error> {
        let Blob { digest, size, .. } = &self.blob;
        let bytes = collect(self.store.blob(digest, *size).await?).await?;
        let (scope, object) = (self.scope(), self.object());
        let call = Call::new(&scope, ACTION, &object, Method::PUT, self.completing(place))
            .headers(octets(*size))
            .within(transfer_within(*size))
            .payload(Payload::Whole(bytes));
        self.registry.request(&call).await?;
        self.tell(CopyEvent::BlobProgress {
            digest: digest.clone(),
            sent: *size,
            size: *size,
        });
        Ok(())
    }

    /// One PATCH with all bytes, as Docker itself does, then the PUT that completes it: the way
    /// that every registry takes.
    async fn send_streamed(&self, place: Url) -> Result<(), Error> {
        let size = &self.blob.size;
        let (scope, object) = (self.scope(), self.object());
        let failure = Arc::new(Mutex::new(None));
        let body = || self.body(failure.clone()).boxed();
        let call = Call::new(&scope, ACTION, &object, Method::PATCH, place)
            .headers(octets(*size))
            .within(transfer_within(*size))
            .payload(Payload::Streamed(&body));
        let sent = self.registry.request(&call).await;
        // What went wrong while reading says more than the upload that broke off because of it.
        if let Some(e) = failure.lock().ok().and_then(|mut f| f.take()) {
            return Err(e);
        }
        let next = self.registry.location(&sent?, &object)?;
        let call = Call::new(&scope, ACTION, &object, Method::PUT, self.completing(next));
        self.registry
            .request(&call.headers(empty()))
            .await
            .map(drop)
    }

    async fn body(&self, failure: Arc<Mutex<Option<Error>>>) -> Result<reqwest::Body, Error> {
        let Blob { digest, size, .. } = self.blob.clone();
        let content = self.store.blob(&digest, size).await?;
        let events = self.events.clone();
        let mut sent = 0;
        Ok(reqwest::Body::wrap_stream(content.map(
            move |chunk| match chunk {
                Ok(chunk) => {
                    sent += chunk.len() as u64;
                    let _ = events.send(CopyEvent::BlobProgress {
                        digest: digest.clone(),
                        sent,
                        size,
                    });
                    Ok(chunk)
                }
                Err(e) => {
                    if let Ok(mut failure) = failure.lock() {
                        *failure = Some(e);
                    }
                    Err(std::io::Error::other("the blob could not be read"))
                }
            },
        )))
    }

    fn completing(&self, mut place: Url) -> Url {
        place
            .query_pairs_mut()
            .append_pair("digest", self.blob.digest.as_str());
        place
    }
}

fn octets(size: u64) -> HeaderMap {
    let kind = HeaderValue::from_static("application/octet-stream");
    HeaderMap::from_iter([(CONTENT_TYPE, kind), (CONTENT_LENGTH, size.into())])
}

/// Some registries want the length of an empty body, too.
fn empty() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))])
}
