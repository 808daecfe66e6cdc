//! One registry: asks it for manifests and blobs and gives it manifests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::auth::Session;
use crate::challenge::{Challenge, Scope};
use crate::image::{DOCKER_LIST, DOCKER_MANIFEST, Manifest, OCI_INDEX, OCI_MANIFEST, parse};
use crate::place::{Content, DOCUMENT_LIMIT};
use crate::transport::{self, ANSWER_WITHIN};
use crate::{Digest, Error, ErrorKind, RegistryAuth, Retry};

/// The header in which a registry says what a manifest's digest is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A registry with the credentials for it. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
    retry: Retry,
}

struct Inner {
    base: Url,
    http: reqwest::Client,
    session: Session,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("base", &self.inner.base.as_str())
            .field("session", &self.inner.session)
            .finish_non_exhaustive()
    }
}

/// A manifest that was read from a registry.
#[derive(Debug, Clone)]
pub struct PulledManifest {
    /// The digest of `bytes`, computed here.
    pub digest: Digest,
    /// The manifest's own media type, else the one it was sent with.
    pub media_type: String,
    /// The manifest, unchanged.
    pub bytes: Bytes,
}

impl Registry {
    /// A registry at `base`: https, or http to a loopback address, without a path. `Invalid`
    /// otherwise. Nothing is sent yet.
    pub fn new(base: Url, auth: impl RegistryAuth + 'static) -> Result<Self, Error> {
        let name = host_of(&base);
        Self::called(base, name, Arc::new(auth))
    }

    /// `name` is what the credentials are asked for by.
    fn called(base: Url, name: String, auth: Arc<dyn RegistryAuth>) -> Result<Self, Error> {
        // By its host only: the rest of a wrong address may hold a password.
        let invalid =
            |why| Error::new(ErrorKind::Invalid, "use registry", host_of(&base)).detail(why);
        transport::require_safe(&base).map_err(invalid)?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(invalid("credentials do not belong into the address"));
        }
        if !matches!(base.path(), "" | "/") || base.query().is_some() {
            return Err(invalid("a registry's address has no path"));
        }
        let http = transport::client(&base)?;
        let session = Session::new(name, auth);
        let inner = Arc::new(Inner {
            base,
            http,
            session,
        });
        Ok(Self {
            inner,
            retry: Retry::default(),
        })
    }

    /// The registry that an image reference names by `host[:port]`: plain http when that is this
    /// machine, https otherwise; `docker.io` stands for Docker Hub's address.
    pub fn named(name: &str, auth: impl RegistryAuth + 'static) -> Result<Self, Error> {
        let host = if name == "docker.io" {
            "registry-1.docker.io"
        } else {
            name
        };
        let url = |scheme| {
            Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|e| Error::new(ErrorKind::Invalid, "use registry", host).caused_by(e))
        };
        let local = url("http")?;
        let base = if transport::is_loopback(&local) {
            local
        } else {
            url("https")?
        };
        Self::called(base, name.to_owned(), Arc::new(auth))
    }

    /// The same registry with other patience.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Host and port, as in an image reference.
    pub fn host(&self) -> String {
        host_of(&self.inner.base)
    }

    /// Whether both are the same registry, whatever their credentials.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.inner.base.origin() == other.inner.base.origin()
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// How `repo` (and what is in it) is called in errors.
    pub(crate) fn object(&self, repo: &str, part: &str) -> String {
        let mark = if part.contains(':') { "@" } else { ":" };
        format!("{}/{repo}{mark}{part}", self.host())
    }

    /// An address under `/v2/<repo>/`; the caller has checked `repo`.
    pub(crate) fn address(&self, repo: &str, rest: &str) -> Url {
        let mut url = self.inner.base.clone();
        url.set_path(&format!("/v2/{repo}/{rest}"));
        url
    }

    /// A `Location` header's address, relative to the request or absolute.
    pub(crate) fn location(&self, response: &Response, object: &str) -> Result<Url, Error> {
        let invalid = || Error::new(ErrorKind::Invalid, "upload blob", object);
        let header = response.headers().get(reqwest::header::LOCATION);
        let text = header
            .and_then(|h| h.to_str().ok())
            .ok_or_else(|| invalid().detail("the registry names no place to upload to"))?;
        let url = response
            .url()
            .join(text)
            .map_err(|e| invalid().caused_by(e))?;
        transport::require_safe(&url).map_err(|why| invalid().detail(why))?;
        Ok(url)
    }

    /// Makes a call once, or twice when the registry first wants to know who we are.
    ///
    /// Any answer that is not a success is an error. Credentials go to the registry's own origin
    /// only, also when an upload's address lies elsewhere.
    pub(crate) async fn request(&self, call: &Call<'_>) -> Result<Response, Error> {
        let ours = call.url.origin() == self.inner.base.origin();
        let mut answered = false;
        loop {
            let request = self
                .inner
                .http
                .request(call.method.clone(), call.url.clone());
            let request = request.timeout(call.within).headers(call.headers.clone());
            let request = match &call.payload {
                Payload::Nothing => request,
                Payload::Whole(bytes) => request.body(bytes.clone()),
                Payload::Streamed(make) => request.body(make().await?),
            };
            let scope = call.scope;
            let (http, session) = (&self.inner.http, &self.inner.session);
            let (request, shown) = match ours {
                true => session.authorize(http, request, scope).await?,
                false => (request, None),
            };
            let lost = |e| transport::lost(e, call.action, call.object);
            let response = request.send().await.map_err(lost)?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status() == StatusCode::UNAUTHORIZED
                && ours
                && !answered
                && let Some(challenge) = Challenge::from_headers(response.headers())
                && session.answer(http, challenge, scope, shown).await?
            {
                answered = true;
                continue;
            }
            return Err(transport::refused(response, call.action, call.object).await);
        }
    }

    /// [`Self::request`], repeated on passing failures; for calls that may land twice.
    async fn repeat(&self, call: &Call<'_>) -> Result<Response, Error> {
        let told = |e: &Error, wait| tracing::debug!(error = %e, ?wait, "trying again");
        self.retry.run(|_| self.request(call), told).await
    }

    /// The digest of the manifest that a tag or digest stands for; `None` when there is none, or no
    /// such repository. Never an error for absence.
    pub async fn head_manifest(
        &self,
        repo: &str,
        reference: &str,
    ) -> Result<Option<Digest>, Error> {
        self.head(&Scope::Pull(repo.to_owned()), repo, reference)
            .await
    }

    pub(crate) async fn head(
        &self,
        scope: &Scope,
        repo: &str,
        reference: &str,
    ) -> Result<Option<Digest>, Error> {
        const ACTION: &str = "look up manifest";
        check_name(repo, reference)?;
        let url = self.address(repo, &format!("manifests/{reference}"));
        let object = self.object(repo, reference);
        let call = Call::new(scope, ACTION, &object, Method::HEAD, url);
        let response = match self.repeat(&call.headers(accept_manifests())).await {
            Ok(response) => response,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        match response
            .headers()
            .get(CONTENT_DIGEST)
            .and_then(|h| h.to_str().ok())
        {
            Some(digest) => digest.parse().map(Some),
            // The header is optional; then only the manifest itself can tell.
            None => Ok(Some(self.pull(scope, repo, reference).await?.digest)),
        }
    }

    /// The manifest that a tag or digest stands for. `NotFound` when there is none;
    /// `DigestMismatch` when the bytes are not those of the digest that was asked for.
    pub async fn pull_manifest(
        &self,
        repo: &str,
        reference: &str,
    ) -> Result<PulledManifest, Error> {
        self.pull(&Scope::Pull(repo.to_owned()), repo, reference)
            .await
    }

    async fn pull(
        &self,
        scope: &Scope,
        repo: &str,
        reference: &str,
    ) -> Result<PulledManifest, Error> {
        const ACTION: &str = "read manifest";
        check_name(repo, reference)?;
        let url = self.address(repo, &format!("manifests/{reference}"));
        let object = self.object(repo, reference);
        let call = Call::new(scope, ACTION, &object, Method::GET, url).headers(accept_manifests());
        let attempt = |_| async {
            let response = self.request(&call).await?;
            let sent = header(response.headers(), CONTENT_TYPE.as_str());
            let said = header(response.headers(), CONTENT_DIGEST);
            Ok((document(response, ACTION, &object).await?, sent, said))
        };
        let ignore = |_: &Error, _| {};
        let (bytes, sent, said) = self.retry.run(attempt, ignore).await?;
        let wanted = if reference.contains(':') {
            Some(reference.to_owned())
        } else {
            said
        };
        let digest = match wanted {
            Some(wanted) => wanted.parse::<Digest>()?,
            None => Digest::of(&bytes),
        };
        if !digest.matches(&bytes) {
            return Err(
                Error::new(ErrorKind::DigestMismatch, ACTION, object).detail(format!(
                    "its bytes have the digest {}, not {digest}",
                    Digest::of(&bytes)
                )),
            );
        }
        let (_, media_type) = parse(&digest, &bytes, sent)?;
        Ok(PulledManifest {
            digest,
            media_type,
            bytes,
        })
    }

    /// A blob's bytes, as the registry sends them, unchecked.
    pub(crate) async fn blob(
        &self,
        repo: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Content, Error> {
        const ACTION: &str = "read blob";
        let object = self.object(repo, digest.as_str());
        let scope = Scope::Pull(repo.to_owned());
        let url = self.address(repo, &format!("blobs/{digest}"));
        let call = Call::new(&scope, ACTION, &object, Method::GET, url);
        let response = self
            .request(&call.within(transport::transfer_within(size)))
            .await?;
        let lost = move |e| transport::lost(e, ACTION, &object);
        Ok(response
            .bytes_stream()
            .map(move |chunk| chunk.map_err(&lost))
            .boxed())
    }

    /// Writes a manifest under a tag or its digest; repeated on passing failures, since the same
    /// bytes under the same name change nothing more.
    pub(crate) async fn put_manifest(
        &self,
        scope: &Scope,
        repo: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        const ACTION: &str = "write manifest";
        let object = self.object(repo, reference);
        let invalid = |e| Error::new(ErrorKind::Invalid, ACTION, &object).caused_by(e);
        let media_type = HeaderValue::from_str(&manifest.media_type).map_err(invalid)?;
        let url = self.address(repo, &format!("manifests/{reference}"));
        let call = Call::new(scope, ACTION, &object, Method::PUT, url)
            .headers(HeaderMap::from_iter([(CONTENT_TYPE, media_type)]))
            .payload(Payload::Whole(manifest.bytes.clone()));
        self.repeat(&call).await.map(drop)
    }
}

/// One request: what for, where, with what.
pub(crate) struct Call<'a> {
    scope: &'a Scope,
    action: &'static str,
    object: &'a str,
    method: Method,
    url: Url,
    headers: HeaderMap,
    within: Duration,
    payload: Payload<'a>,
}

/// The body of a request; what is streamed can be made again for a second attempt.
pub(crate) enum Payload<'a> {
    Nothing,
    Whole(Bytes),
    Streamed(&'a (dyn Fn() -> BoxFuture<'a, Result<reqwest::Body, Error>> + Send + Sync)),
}

impl<'a> Call<'a> {
    /// A call without headers or body that is to be answered soon.
    pub(crate) fn new(
        scope: &'a Scope,
        action: &'static str,
        object: &'a str,
        method: Method,
        url: Url,
    ) -> Self {
        let (headers, within, payload) = (HeaderMap::new(), ANSWER_WITHIN, Payload::Nothing);
        Self {
            scope,
            action,
            object,
            method,
            url,
            headers,
            within,
            payload,
        }
    }

    pub(crate) fn headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    pub(crate) fn payload(self, payload: Payload<'a>) -> Self {
        Self { payload, ..self }
    }
}

fn host_of(base: &Url) -> String {
    let host = base.host_str().unwrap_or_default();
    base.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn accept_manifests() -> HeaderMap {
    let types = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
    let values = types.map(|t| (ACCEPT, HeaderValue::from_static(t)));
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, value);
    }
    headers
}

/// A whole answer of bounded size.
async fn document(response: Response, action: &'static str, object: &str) -> Result<Bytes, Error> {
    let mut all = bytes::BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk.map_err(|e| transport::lost(e, action, object))?);
        if all.len() as u64 > DOCUMENT_LIMIT {
            return Err(Error::new(ErrorKind::Invalid, action, object)
                .detail(format!("it is larger than {DOCUMENT_LIMIT} bytes")));
        }
    }
    Ok(all.freeze())
}

/// `Invalid` unless the repository and the tag or digest follow Docker's rules, which also makes
/// them safe in an address.
pub(crate) fn check_name(repo: &str, reference: &str) -> Result<(), Error> {
    use oci_spec::distribution::Reference;
    let mark = if reference.contains(':') { "@" } else { ":" };
    let whole = format!("registry.invalid/{repo}{mark}{reference}");
    let invalid = || {
        Error::new(
            ErrorKind::Invalid,
            "use image name",
            format!("{repo}{mark}{reference}"),
        )
    };
    let parsed = Reference::try_from(whole.as_str()).map_err(|e| invalid().caused_by(e))?;
    // `a:b` as a repository would be read as a repository with a tag.
    if parsed.repository() == repo {
        Ok(())
    } else {
        Err(invalid())
    }
}
