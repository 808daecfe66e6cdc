//! Stands before both clouds' APIs: asks what becomes of each call, and sees to it.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::http::response::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::background::Background;
use crate::call::{ApiCall, Cloud, Effect};
use crate::clock::Clock;
use crate::rates::Buckets;
use crate::server::{hang_up, is_hang_up};
use crate::verdict::{End, Fault, FaultKind, Observer, Rules, Verdict};

/// The largest answer that is kept to be told again.
const KEPT: usize = 4 << 20;

/// Whoever disturbs, counts or watches the calls of a sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Interceptor {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    background: Background,
    observer: Option<Arc<dyn Observer>>,
    rates: Option<Mutex<Buckets>>,
    rules: Mutex<Rules>,
    /// How many calls there were of each name.
    counts: Mutex<BTreeMap<(Cloud, String), u64>>,
    history: Mutex<History>,
}

/// What reads were answered.
#[derive(Default)]
struct History {
    /// How many writes each API has seen.
    writes: HashMap<(Cloud, String), u64>,
    answers: HashMap<(Cloud, String, u64), Answers>,
}

/// The last answer to a request, and the last one from before a write.
struct Answers {
    last: Answer,
    earlier: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    /// The writes that its API had seen.
    writes: u64,
    parts: Parts,
    body: Bytes,
}

/// What a call asks, and what it would have been told a moment ago.
pub(crate) struct Asked {
    /// Its [`identity`].
    pub request: u64,
    /// The answer from before what it asks for was there, when that has only just come to be and
    /// nobody can have asked for it before.
    pub unborn: Option<Response>,
    /// Whether its answer may be from before the last change at all.
    pub lags: bool,
}

impl From<u64> for Asked {
    fn from(request: u64) -> Self {
        Self {
            request,
            unborn: None,
            lags: true,
        }
    }
}

/// Tells a request from others to the same method: two that are equal ask the same.
pub(crate) fn identity(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Interceptor {
    pub(crate) fn new(
        (clock, background): (Clock, Background),
        observer: Option<Arc<dyn Observer>>,
        rates: Option<Buckets>,
        rules: Rules,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                background,
                observer,
                rates: rates.map(Mutex::new),
                rules: Mutex::new(rules),
                counts: Mutex::default(),
                history: Mutex::default(),
            }),
        }
    }

    /// Puts other rules in force, none of which has seen a call.
    pub(crate) fn replace_rules(&self, rules: Rules) {
        *self.rules() = rules;
    }

    /// The rules and how often each fired.
    pub(crate) fn faults_status(&self) -> Value {
        self.rules().status()
    }

    /// How many calls of each API were refused for their rate; `null` when rates are not enforced.
    pub(crate) fn rates_status(&self) -> Value {
        let rates = self.inner.rates.as_ref();
        rates.map_or(Value::Null, |rates| locked(rates).status())
    }

    /// How many calls each cloud got, by name: every try, also one that was refused.
    pub(crate) fn calls_status(&self) -> Value {
        let counts = locked(&self.inner.counts);
        let of = |cloud: Cloud| {
            let own = counts.iter().filter(|((of, _), _)| *of == cloud);
            own.map(|((_, name), count)| (name.clone(), (*count).into()))
                .collect::<serde_json::Map<_, _>>()
        };
        json!({ "aws": of(Cloud::Aws), "gcp": of(Cloud::Google) })
    }

    /// Carries out a call, or whatever was decided instead. `refuse` words a refusal.
    pub(crate) async fn carry(
        &self,
        call: ApiCall,
        asked: impl Into<Asked>,
        refuse: impl FnOnce(&Fault) -> Response,
        effect: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let counted = (call.cloud, call.name.clone());
        *locked(&self.inner.counts).entry(counted).or_default() += 1;
        let Asked {
            request,
            unborn,
            lags,
        } = asked.into();
        let earlier = self
            .earlier(&call, request)
            .map(Answer::response)
            .or(unborn)
            .filter(|_| lags);
        let response = match self.judge(&call, earlier.is_some()) {
            Verdict::Pass => self.carry_out(&call, request, effect).await,
            Verdict::Refuse(fault) if fault.kind == FaultKind::HungUp => hang_up(),
            Verdict::Refuse(fault) => with_retry_after(refuse(&fault), &fault),
            Verdict::LoseReply => {
                self.carry_out(&call, request, effect).await;
                hang_up()
            }
            Verdict::Delay(delay) => {
                let (this, clock, delayed) = (self.clone(), self.inner.clock.clone(), call.clone());
                // What is under way lands, also when its caller has given up.
                let landing = self.inner.background.spawn(async move {
                    clock.sleep(delay).await;
                    this.carry_out(&delayed, request, effect).await
                });
                landing.await.ok().flatten().unwrap_or_else(hang_up)
            }
            Verdict::Stale => match earlier {
                Some(answer) => answer,
                None => self.carry_out(&call, request, effect).await,
            },
        };
        if let Some(observer) = &self.inner.observer {
            let end = match is_hang_up(&response) {
                true => End::HungUp,
                false => End::Answered(response.status().as_u16()),
            };
            observer.after(&call, end);
        }
        response
    }

    /// Whether a rule in force denies every such call.
    pub(crate) fn denies(&self, call: &ApiCall) -> bool {
        self.rules().deny(call)
    }

    /// Asks the observer, then the rules, then the rates: the first that objects decides.
    fn judge(&self, call: &ApiCall, earlier: bool) -> Verdict {
        let observer = self.inner.observer.as_ref();
        let mut verdict = observer.map_or(Verdict::Pass, |it| it.before(call));
        if verdict == Verdict::Pass {
            verdict = self.rules().judge(call, earlier);
        }
        if verdict == Verdict::Pass
            && let Some(rates) = &self.inner.rates
            && !locked(rates).admit(call, self.inner.clock.now())
        {
            verdict = Verdict::Refuse(FaultKind::Throttled.into());
        }
        verdict
    }

    async fn carry_out(
        &self,
        call: &ApiCall,
        request: u64,
        effect: impl Future<Output = Response>,
    ) -> Response {
        let response = effect.await;
        let remember = self.inner.observer.is_some() || self.rules().remember();
        // A registry's answers are large, and say nothing that changes.
        if !remember || call.api() == "registry" {
            return response;
        }
        match call.effect {
            Effect::Write => {
                let api = (call.cloud, call.api().to_owned());
                *self.history().writes.entry(api).or_default() += 1;
                response
            }
            Effect::Read => self.keep(call, request, response).await,
        }
    }

    /// Remembers an answer, and hands it back.
    async fn keep(&self, call: &ApiCall, request: u64, response: Response) -> Response {
        // A long content is not told again.
        if response.body().size_hint().lower() > KEPT as u64 {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = axum::body::to_bytes(body, KEPT).await else {
            return hang_up();
        };
        let mut history = self.history();
        let writes = history.writes(call);
        let answer = Answer {
            writes,
            parts,
            body,
        };
        let response = answer.clone().response();
        let key = (call.cloud, call.name.clone(), request);
        let earlier = match history.answers.remove(&key) {
            Some(known) if known.last.writes == writes => known.earlier,
            Some(known) => Some(known.last),
            None => None,
        };
        let last = answer;
        history.answers.insert(key, Answers { last, earlier });
        response
    }

    /// What the same request was answered before the last write.
    fn earlier(&self, call: &ApiCall, request: u64) -> Option<Answer> {
        let history = self.history();
        let key = (call.cloud, call.name.clone(), request);
        let known = history.answers.get(&key)?;
        match known.last.writes < history.writes(call) {
            true => Some(known.last.clone()),
            false => known.earlier.clone(),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        locked(&self.inner.rules)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        locked(&self.inner.history)
    }
}

impl History {
    fn writes(&self, call: &ApiCall) -> u64 {
        let api = (call.cloud, call.api().to_owned());
        self.writes.get(&api).copied().unwrap_or_default()
    }
}

impl Answer {
    fn response(self) -> Response {
        Response::from_parts(self.parts, Body::from(self.body))
    }
}

fn with_retry_after(mut response: Response, fault: &Fault) -> Response {
    if let Some(after) = fault.retry_after {
        // The header knows whole seconds only.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
