//! The admin API of a running daemon.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::Name;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::Act;
use crate::cli::Failure;
use crate::cli::failure::chain;
use crate::http::admin::shape::{
    Action, CleanupDone, CleanupRequest, DeliveryFull, EventFull, EventItem, HandlerItem,
    HandlerTest, HandlerTestRequest, List, PauseDone, PauseRequest, ReadmitItem, ReadmitRequest,
    RejectionItem, ReplayRequest, SourceItem, Stats,
};
use crate::secret::Secret;
use crate::store::{DeliveryFilter, EventFilter, RejectionFilter};

mod keys;
mod replay;

/// How long the daemon may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The admin API of a running daemon.
pub struct Remote {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

/// What the API says when it can't do what was asked.
#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

type Query<'a> = Vec<(&'a str, String)>;

impl Remote {
    /// For the listener at `base`, such as `http://127.0.0.1:8081`.
    pub fn new(base: Url, token: Option<Secret>) -> Result<Self, Failure> {
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(Failure::Usage(format!("--url {base}: write http://HOST:PORT")));
        }
        // A redirect would carry the token to another host.
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .build()
            .map_err(|why| Failure::Failed(chain(&why)))?;
        Ok(Self { client, base, token })
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            // Each part is escaped by itself: a provider's id may hold a slash.
            Ok(mut segments) => {
                segments.pop_if_empty().extend(["api", "v1"]).extend(path);
            }
            Err(()) => return Err(Failure::Usage(format!("--url {}: it has no path", self.base))),
        }
        let request = self.client.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|why| {
            Failure::Unreachable(format!(
                "no answer from {}: {}",
                self.base,
                chain(&why.without_url())
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.json::<Problem>().await.ok();
        let said = problem
            .and_then(|problem| problem.detail.or(problem.title))
            .unwrap_or_else(|| format!("{} answered {status}", self.base));
        Err(match status {
            StatusCode::NOT_FOUND => Failure::NotFound(said),
            StatusCode::BAD_REQUEST => Failure::Usage(said),
            StatusCode::UNAUTHORIZED => Failure::Failed(format!(
                "{said}: give the daemon's admin token by --token or HOOKONCE_ADMIN_TOKEN"
            )),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Failure::Unreachable(said),
            _ => Failure::Failed(said),
        })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        response.json().await.map_err(|why| {
            let why = chain(&why.without_url());
            Failure::Failed(format!("{} is not a hookonce of this version: {why}", self.base))
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: Query<'_>,
    ) -> Result<T, Failure> {
        let mut request = self.request(Method::GET, path)?;
        if !query.is_empty() {
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            // reqwest's own `query` is behind a feature; the URL is ours to make.
            let (client, built) = request.build_split();
            let mut built = built.map_err(|why| Failure::Failed(chain(&why)))?;
            built.url_mut().set_query(Some(&text));
            request = RequestBuilder::from_parts(client, built);
        }
        self.read(self.send(request).await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let request = self.request(Method::POST, path)?;
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.read(self.send(request).await?).await
    }

    pub(super) async fn events(&self, filter: &EventFilter) -> Result<List<EventItem>, Failure> {
        let query = pairs([
            ("source", filter.source.clone()),
            ("type", filter.kind.clone()),
            ("state", filter.state.map(|state| state.as_str().to_owned())),
            ("id", filter.id.clone()),
            ("since", filter.since.map(moment)),
            ("until", filter.until.map(moment)),
            ("cursor", filter.cursor.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ]);
        self.get(&["events"], query).await
    }

    pub(super) async fn event(&self, id: &str) -> Result<EventFull, Failure> {
        self.get(&["events", id], Vec::new()).await
    }

    pub(super) async fn event_body(&self, event: Uuid) -> Result<Vec<u8>, Failure> {
        let request = self.request(Method::GET, &["events", &event.to_string(), "body"])?;
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|why| {
            Failure::Unreachable(format!("the body broke off: {}", chain(&why.without_url())))
        })?;
        Ok(body.into())
    }

    pub(super) async fn replay(
        &self,
        event: Uuid,
        to_handler: Option<&Name>,
        again: bool,
    ) -> Result<Vec<Action>, Failure> {
        let wanted = ReplayRequest { to_handler: to_handler.map(ToString::to_string), again };
        let done: List<Action> =
            self.post(&["events", &event.to_string(), "replay"], Some(&wanted)).await?;
        Ok(done.items)
    }

    pub(super) async fn deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<List<DeliveryFull>, Failure> {
        let query = pairs([
            ("state", filter.state.map(|state| state.as_str().to_owned())),
            ("handler", filter.handler.clone()),
            ("source", filter.source.clone()),
            ("type", filter.kind.clone()),
            ("since", filter.since.map(moment)),
            ("until", filter.until.map(moment)),
            ("cursor", filter.cursor.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ]);
        self.get(&["deliveries"], query).await
    }

    pub(super) async fn delivery(&self, id: Uuid) -> Result<DeliveryFull, Failure> {
        self.get(&["deliveries", &id.to_string()], Vec::new()).await
    }

    pub(super) async fn act(&self, act: Act, id: Uuid) -> Result<Action, Failure> {
        self.post(&["deliveries", &id.to_string(), act.verb()], None::<&()>).await
    }

    pub(super) async fn rejections(
        &self,
        filter: &RejectionFilter,
    ) -> Result<List<RejectionItem>, Failure> {
        let query = pairs([
            ("source", filter.source.clone()),
            ("code", filter.code.clone()),
            ("since", filter.since.map(moment)),
            ("cursor", filter.cursor.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ]);
        self.get(&["rejections"], query).await
    }

    pub(super) async fn rejection(&self, id: Uuid) -> Result<RejectionItem, Failure> {
        self.get(&["rejections", &id.to_string()], Vec::new()).await
    }

    pub(super) async fn readmit(
        &self,
        wanted: &ReadmitRequest,
    ) -> Result<Vec<ReadmitItem>, Failure> {
        let done: List<ReadmitItem> = self.post(&["rejections", "readmit"], Some(wanted)).await?;
        Ok(done.items)
    }

    pub(super) async fn sources(&self) -> Result<List<SourceItem>, Failure> {
        self.get(&["sources"], Vec::new()).await
    }

    pub(super) async fn source(&self, name: &str, reveal: bool) -> Result<SourceItem, Failure> {
        let query = pairs([("reveal", reveal.then(|| "true".to_owned()))]);
        self.get(&["sources", name], query).await
    }

    pub(super) async fn reopen(&self, name: &str) -> Result<SourceItem, Failure> {
        self.post(&["sources", name, "reopen"], None::<&()>).await
    }

    pub(super) async fn handlers(&self) -> Result<List<HandlerItem>, Failure> {
        self.get(&["handlers"], Vec::new()).await
    }

    pub(super) async fn handler(&self, name: &str) -> Result<HandlerItem, Failure> {
        self.get(&["handlers", name], Vec::new()).await
    }

    pub(super) async fn pause(
        &self,
        name: &str,
        reason: Option<String>,
    ) -> Result<PauseDone, Failure> {
        self.post(&["handlers", name, "pause"], Some(&PauseRequest { reason })).await
    }

    pub(super) async fn resume(&self, name: &str) -> Result<PauseDone, Failure> {
        self.post(&["handlers", name, "resume"], None::<&()>).await
    }

    pub(super) async fn test_handler(
        &self,
        name: &str,
        event: &str,
    ) -> Result<HandlerTest, Failure> {
        let wanted = HandlerTestRequest { event: event.to_owned() };
        self.post(&["handlers", name, "test"], Some(&wanted)).await
    }

    pub(super) async fn stats(&self, since: DateTime<Utc>) -> Result<Stats, Failure> {
        self.get(&["stats"], pairs([("since", Some(moment(since)))])).await
    }

    pub(super) async fn dry_cleanup(&self) -> Result<CleanupDone, Failure> {
        self.post(&["cleanup"], Some(&CleanupRequest { dry_run: true })).await
    }

    pub(super) async fn cleanup(&self, stop: &CancellationToken) -> Result<CleanupDone, Failure> {
        tokio::select! {
            done = self.post(&["cleanup"], Some(&CleanupRequest { dry_run: false })) => done,
            () = stop.cancelled() => Err(Failure::Interrupted),
        }
    }
}

fn pairs<const N: usize>(pairs: [(&str, Option<String>); N]) -> Query<'_> {
    pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
