//! Idempotency-Key for an actix service of your own: the second door to the engine.
//!
//! ```no_run
//! use actix_web::{App, web};
//! use entity::Name;
//! use hookonce::idempotency::middleware::{Current, Idempotency};
//!
//! # fn make(engine: hookonce::idempotency::Engine) {
//! # let name = Name::new("payments").unwrap();
//! let guard = Idempotency::new(engine, name);
//! App::new().wrap(guard).route("/payments", web::post().to(|| async { "paid" }));
//! # }
//! ```

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::ErrorInternalServerError;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use entity::Name;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use sha2::{Digest, Sha256};

use super::fingerprint::{self, fingerprint};
use super::open_keys::OpenKey;
use super::{Begun, Cache, Compare, Effect, Engine, Refusal, Rules, key};
use crate::store::idempotency::{KeyClaim, KeyId};

mod commit;
mod current;
mod reply;
mod run;

pub use current::Current;
use reply::refused;
pub(crate) use reply::replayed;
use run::run;

/// The largest body of a request, in bytes, unless it is said otherwise.
const MAX_BODY: usize = 1 << 20;

/// Whose key it is: a text that no two principals share. `None` when that can't be told.
pub type Scope = Arc<dyn Fn(&HttpRequest) -> Option<String> + Send + Sync>;

/// How a run and its answer are tied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Claim, run, write the answer down: three steps.
    TwoStep,
    /// One transaction, in which the handler works, too.
    SingleTx,
}

/// The middleware, for `App::wrap` or `Scope::wrap`. Cheap to clone.
#[derive(Clone)]
pub struct Idempotency {
    engine: Engine,
    rules: Arc<Rules>,
    scope: Scope,
    methods: Arc<Vec<String>>,
    key_required: bool,
    compare: Compare,
    max_body: usize,
    mode: Mode,
}

impl Idempotency {
    /// POST and PATCH need a key, and it is its Authorization's. `name` is the first part of the scope of
    /// every key, so two services on one database need two names.
    #[must_use]
    pub fn new(engine: Engine, name: Name) -> Self {
        Self {
            engine,
            rules: Arc::new(Rules::new(name)),
            scope: Arc::new(|request| {
                let mut lines = request.headers().get_all("authorization");
                match (lines.next(), lines.next()) {
                    (Some(line), None) => Some(hex::encode(line.as_bytes())),
                    _ => None,
                }
            }),
            methods: Arc::new(vec!["POST".to_owned(), "PATCH".to_owned()]),
            key_required: true,
            compare: Compare::Bytes,
            max_body: MAX_BODY,
            mode: Mode::TwoStep,
        }
    }

    /// Other rules. Their name replaces the one of [`Idempotency::new`]; their `effect` is the mode's, whatever
    /// they say.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// Asks a cache, of the engine's store, for completed answers before the database.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.engine = self.engine.cached(cache);
        self
    }

    /// Says whose key it is: what authenticated the request, never what its sender can choose.
    #[must_use]
    pub fn scope(
        mut self,
        scope: impl Fn(&HttpRequest) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.scope = Arc::new(scope);
        self
    }

    /// The protected methods, in upper case.
    #[must_use]
    pub fn methods<const N: usize>(mut self, methods: [&str; N]) -> Self {
        self.methods = Arc::new(methods.map(str::to_owned).to_vec());
        self
    }

    /// A protected request without a key runs unguarded, in place of 400.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.key_required = false;
        self
    }

    /// What of a body is compared.
    #[must_use]
    pub fn compare(mut self, compare: Compare) -> Self {
        self.compare = compare;
        self
    }

    /// The largest body of a protected request, in bytes. Default 1 MiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The default: the key is claimed, the handler runs, its answer is written down. A crash in between
    /// is decided by the rules' `on_unknown`; a handler that notes its phases ([`Current::reached`]) may
    /// be run again safely.
    #[must_use]
    pub fn two_step(mut self) -> Self {
        self.mode = Mode::TwoStep;
        self
    }

    /// Claim, work and answer are one transaction, which the handler works in ([`Current::transaction`]).
    /// No crash lies between them. A failure (5xx, a panic, longer than the rules' `lease`) rolls all of it
    /// back, and the next request runs; of an answer that refuses (4xx) the work is rolled back and the
    /// answer kept. What the handler begins on the connection is a savepoint.
    #[must_use]
    pub fn single_tx(mut self) -> Self {
        self.mode = Mode::SingleTx;
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for Idempotency
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = Guarded<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let effect = match self.mode {
            Mode::TwoStep => Effect::External,
            Mode::SingleTx => Effect::Transactional,
        };
        let rules = Arc::new(Rules { effect, ..(*self.rules).clone() });
        let settings = Rc::new(Self { rules, ..self.clone() });
        ready(Ok(Guarded { service: Rc::new(service), settings }))
    }
}

/// A service behind the middleware.
pub struct Guarded<S> {
    service: Rc<S>,
    settings: Rc<Idempotency>,
}

impl<S, B> Service<ServiceRequest> for Guarded<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, settings) = (Rc::clone(&self.service), Rc::clone(&self.settings));
        Box::pin(async move { settings.serve(request, service).await })
    }
}

impl Idempotency {
    async fn serve<S, B>(
        &self,
        mut request: ServiceRequest,
        service: Rc<S>,
    ) -> Result<ServiceResponse<BoxBody>, Error>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        if !self.methods.iter().any(|method| method == request.method().as_str()) {
            return Ok(service.call(request).await?.map_into_boxed_body());
        }
        let id = match self.key_of(request.request()) {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(service.call(request).await?.map_into_boxed_body()),
            Err(refusal) => {
                self.engine.refused(&self.rules, &refusal);
                return Ok(request.into_response(refused(&refusal)));
            }
        };
        let Some(body) = self.read(&mut request).await? else {
            let response = HttpResponse::PayloadTooLarge().finish();
            return Ok(request.into_response(response));
        };
        let hashed = fingerprint::Request {
            method: request.method().as_str(),
            path: request.path(),
            query: request.uri().query(),
            content_type: request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            body: &body,
        };
        let claim = KeyClaim {
            id,
            request_hash: fingerprint(&hashed, &self.compare),
            lease: self.rules.lease,
            ttl: self.rules.ttl,
        };
        request.set_payload(Payload::from(body));
        let begun = match self.mode {
            Mode::TwoStep => self.engine.begin(claim, &self.rules).await,
            Mode::SingleTx => match self.engine.begin_transaction(claim, &self.rules).await {
                Ok((transaction, open)) => {
                    let current = Current::within(transaction);
                    return self.detach(request, service, current, Some(open)).await;
                }
                Err(begun) => begun,
            },
        };
        match begun {
            Begun::Run(run) => {
                let current = Current::of(run);
                self.detach(request, service, current, None).await
            }
            Begun::Replay(kept) => Ok(request.into_response(replayed(*kept))),
            Begun::Refused(refusal) => Ok(request.into_response(refused(&refusal))),
            Begun::Unguarded => Ok(service.call(request).await?.map_into_boxed_body()),
        }
    }

    fn key_of(&self, request: &HttpRequest) -> Result<Option<KeyId>, Refusal> {
        let lines = request.headers().get_all("idempotency-key").map(HeaderValue::as_bytes);
        let Some(key) = key::parse(lines)? else {
            return if self.key_required { Err(Refusal::Missing) } else { Ok(None) };
        };
        let principal = (self.scope)(request)
            .ok_or_else(|| Refusal::NoScope("the request is nobody's".to_owned()))?;
        let hash = Sha256::digest(principal.as_bytes());
        Ok(Some(KeyId { scope: format!("{}:{}", self.rules.name, hex::encode(hash)), key }))
    }

    async fn read(&self, request: &mut ServiceRequest) -> Result<Option<Bytes>, Error> {
        let mut payload = request.extract::<web::Payload>().await?;
        let mut body = BytesMut::new();
        while let Some(piece) = payload.next().await {
            let piece = piece?;
            if body.len() + piece.len() > self.max_body {
                return Ok(None);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Some(body.freeze()))
    }

    /// Runs the handler on a task of its own, so that a client that hangs up doesn't end it.
    async fn detach<S, B>(
        &self,
        request: ServiceRequest,
        service: Rc<S>,
        current: Current,
        open: Option<OpenKey>,
    ) -> Result<ServiceResponse<BoxBody>, Error>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
        B: MessageBody + 'static,
    {
        let (engine, rules) = (self.engine.clone(), Arc::clone(&self.rules));
        request.extensions_mut().insert(current.clone());
        let task = actix_web::rt::spawn(async move {
            let answered = run(request, service, current, &engine, &rules).await;
            drop(open);
            answered
        });
        // A handler that panicked says nothing; its key stays taken until the lease is over.
        task.await.map_err(|error| {
            tracing::error!(error = %error, "a handler behind an idempotency key panicked");
            ErrorInternalServerError("the handler failed")
        })?
    }
}
