//! The origin: playlists and media over HTTP (contracts, section 2), and the folder served at `/`.
//!
//! A bare hyper service: a path is read ([`route`]), judged by the engine's gate against an immutable snapshot, held for
//! a later one where the draft says so (6.2.5.2: blocking reload, blocking hints), and answered by clones of `Bytes`.
//! Every wait is bounded in time and in number. Who may watch is judged before anything is looked up ([`guard`]). Nothing
//! here knows how media is made, and nothing is allocated for a stream that does not exist.

pub mod answer;
pub mod body;
mod client;
pub mod guard;
mod meters;
pub mod range;
mod respond;
pub mod route;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use hyper::{Method, Request, Response, header::HeaderValue};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tower_http::services::ServeDir;
use vitrine_core::{
    engine::gate,
    limits,
    media::Rendition,
    wire::{directive::Directive, m3u8::media::Form},
};
use vitrine_runtime::{clock, network::Networks};

use self::{
    answer::{Cache, Error},
    body::{Body, Content},
    client::Clients,
    guard::Guard,
    meters::{Due, Kind},
    respond::{Asked, Coding, Found},
    route::{Item, Resource, Route},
};
use crate::live::{
    Live, Registry,
    published::{self, Rendered, Text},
    status::State,
};

/// The origin of all streams. A cheap handle.
#[derive(Clone, Debug)]
pub struct Origin {
    registry: Registry,
    files: Option<ServeDir>,
    clients: Clients,
    guard: Guard,
}

impl Origin {
    /// An origin of the streams of `registry`; `static_dir` is served at `/`.
    pub fn new(registry: Registry, static_dir: Option<&Path>) -> Self {
        meters::register();
        Self {
            registry,
            files: static_dir.map(ServeDir::new),
            clients: Clients::behind(Networks::default()),
            guard: Guard::default(),
        }
    }

    /// The same, with `guard` before every stream.
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// The same, behind proxies that are believed when they name their client.
    pub fn behind(self, proxies: Networks) -> Self {
        Self {
            clients: Clients::behind(proxies),
            ..self
        }
    }

    /// Answers a request that came through `peer`: within its client's share, and noted in the request log.
    pub async fn serve<B: Send + 'static>(
        &self,
        peer: IpAddr,
        request: Request<B>,
    ) -> Response<Body> {
        let client = self.clients.address(peer, request.headers());
        let noted = tracing::enabled!(target: REQUEST_LOG, tracing::Level::DEBUG).then(|| {
            let path = route::without_token(request.uri().path());
            (request.method().clone(), path.into_owned())
        });
        let response = match self.clients.admit(client) {
            Ok(_slot) => self.handle(request).await,
            Err(_) => {
                let asked = Asked {
                    method: request.method(),
                    headers: request.headers(),
                };
                let refused = respond::failed(asked, &Error::TooManyWaiters);
                meters::refused(&Error::TooManyWaiters);
                meters::answered(Kind::Refused, Due::Held, &refused);
                refused
            }
        };
        if let Some((method, path)) = noted {
            let status = response.status().as_u16();
            tracing::debug!(target: REQUEST_LOG, %client, %method, path, status, "answered");
        }
        response
    }

    /// Answers one request, when its time has come.
    pub async fn handle<B: Send + 'static>(&self, request: Request<B>) -> Response<Body> {
        let mut due = Due::AtOnce(Instant::now());
        let (kind, response) = match request.uri().path().strip_prefix("/live/") {
            Some(path) => {
                let asked = Asked {
                    method: request.method(),
                    headers: request.headers(),
                };
                let query = request.uri().query().unwrap_or_default();
                self.playback(asked, path, query, &mut due).await
            }
            None => (Kind::Static, self.file(request).await),
        };
        meters::answered(kind, due, &response);
        response
    }

    /// Answers a request under `/live/`, and names its kind for the metrics.
    async fn playback(
        &self,
        asked: Asked<'_>,
        path: &str,
        query: &str,
        due: &mut Due,
    ) -> (Kind, Response<Body>) {
        if *asked.method == Method::OPTIONS {
            return (Kind::Options, respond::options());
        }
        let route = Route::parse(path);
        let kind = route.map_or(Kind::Unknown, |route| route.resource.kind());
        let found = match route {
            Some(_) if !matches!(*asked.method, Method::GET | Method::HEAD) => Err(Error::Method),
            Some(route) => self.admit(asked, route, query, due).await,
            None => Err(Error::NotFound),
        };
        let response = found.unwrap_or_else(|error| {
            meters::refused(&error);
            respond::failed(asked, &error)
        });
        (kind, response)
    }

    /// Answers who may watch.
    async fn admit(
        &self,
        asked: Asked<'_>,
        route: Route<'_>,
        query: &str,
        due: &mut Due,
    ) -> Result<Response<Body>, Error> {
        let verdict = self.guard.judge(&route, clock::wall())?;
        if let Resource::Verdict(_) = route.resource {
            return Ok(respond::granted(verdict));
        }
        let found = self.find(asked, route, query, due).await;
        // Last, so that it holds for whoever waited and whatever was found meanwhile.
        match self.is_taken_down(route) {
            true => Err(Error::TakenDown),
            false => found.map(|found| respond::found(asked, found)),
        }
    }

    async fn find(
        &self,
        asked: Asked<'_>,
        route: Route<'_>,
        query: &str,
        due: &mut Due,
    ) -> Result<Found, Error> {
        let live = self.registry.lookup(route.stream).ok_or(Error::NotFound)?;
        live.count_request();
        match route.resource {
            Resource::Multivariant => multivariant(asked, &live, due).await,
            Resource::Thumbnail => thumbnail(&live),
            Resource::Timeline(epoch) => timeline(asked, &live, epoch).await,
            Resource::Verdict(_) => Err(Error::NotFound),
            Resource::Media {
                epoch,
                rendition,
                item,
            } => {
                let versions = live.rendition(epoch, rendition).ok_or(Error::NotFound)?;
                match item {
                    Item::Playlist => {
                        playlist(asked, &live, versions, Directive::parse(query)?, due).await
                    }
                    _ => media(&live, versions, (epoch, rendition, item), due).await,
                }
            }
        }
    }

    fn is_taken_down(&self, route: Route<'_>) -> bool {
        let epoch = match route.resource {
            Resource::Media { epoch, .. } => Some(epoch),
            Resource::Timeline(epoch) => epoch,
            Resource::Multivariant | Resource::Thumbnail | Resource::Verdict(_) => None,
        };
        self.registry.takedowns().cover(route.stream, epoch)
    }

    async fn file<B: Send + 'static>(&self, request: Request<B>) -> Response<Body> {
        let asked = Asked {
            method: &request.method().clone(),
            headers: &hyper::HeaderMap::new(),
        };
        let Some(files) = &self.files else {
            return respond::failed(asked, &Error::NotFound);
        };
        match files.clone().try_call(request).await {
            Ok(response) => response.map(Body::file),
            Err(error) => respond::failed(asked, &error.into()),
        }
    }
}

/// The target of one line for each request; queries and viewer tokens are left out.
const REQUEST_LOG: &str = "vitrine::access";

impl Resource {
    /// The name in metrics.
    fn kind(self) -> Kind {
        match self {
            Self::Multivariant => Kind::Multivariant,
            Self::Thumbnail => Kind::Thumbnail,
            Self::Timeline(_) => Kind::Timeline,
            Self::Verdict(_) => Kind::Verdict,
            Self::Media {
                item: Item::Playlist,
                ..
            } => Kind::Playlist,
            Self::Media {
                item: Item::Init(_),
                ..
            } => Kind::Init,
            Self::Media {
                item: Item::Segment(_),
                ..
            } => Kind::Segment,
            Self::Media {
                item: Item::Part(_),
                ..
            } => Kind::Part,
        }
    }
}

async fn multivariant(asked: Asked<'_>, live: &Live, due: &mut Due) -> Result<Found, Error> {
    let mut master = live.master();
    let ready = master.borrow_and_update().clone();
    let ready = match ready {
        Some(ready) => ready,
        None if live.status().state == State::Ended => return Err(Error::NotFound),
        None => {
            let _waiter = live.wait().ok_or(Error::TooManyWaiters)?;
            *due = Due::Held;
            let deadline = Instant::now() + limits::MULTIVARIANT_WAIT;
            let there = |ready: &Option<_>| ready.is_some() || live.is_taken_down(None);
            match timeout_at(deadline, master.wait_for(there)).await {
                Ok(Ok(ready)) => ready.clone().ok_or(Error::NotReady)?,
                Ok(Err(_)) => return Err(Error::Unavailable),
                Err(_) => return Err(Error::NotReady),
            }
        }
    };
    Ok(text(asked, PLAYLIST, &ready.text, Cache::MULTIVARIANT))
}

fn thumbnail(live: &Live) -> Result<Found, Error> {
    let still = live.thumbnail().ok_or(Error::NotFound)?;
    Ok(Found {
        media_type: "image/jpeg",
        etag: tag(&still),
        cache: Cache::THUMBNAIL,
        coding: Coding::Ranges,
        content: Content::Whole(still.bytes.clone()),
    })
}

async fn timeline(asked: Asked<'_>, live: &Live, epoch: Option<u64>) -> Result<Found, Error> {
    let timeline = live.timeline(epoch).ok_or(Error::NotFound)?;
    let page = match timeline.page() {
        Some(page) => page,
        // A long one takes longer than other requests should wait for.
        None => {
            let written = spawn_blocking(move || timeline.write());
            written.await.map_err(|_| Error::Unavailable)?
        }
    };
    // At the stable address another epoch may follow at once, until the stream is over.
    let over = page.ended && (epoch.is_some() || live.status().state == State::Ended);
    let cache = Cache::timeline(over);
    Ok(text(asked, "application/json", &page.text, cache))
}

async fn playlist(
    asked: Asked<'_>,
    live: &Live,
    versions: watch::Receiver<Arc<Rendered>>,
    directive: Directive,
    due: &mut Due,
) -> Result<Found, Error> {
    let judge =
        |version: &Rendered, _waited: bool| match gate::playlist(version.snapshot(), directive) {
            gate::Playlist::Serve(form) => Some(Ok(form)),
            gate::Playlist::TooFar => Some(Err(Error::TooFar)),
            gate::Playlist::Wait => None,
        };
    let (version, form): (_, Form) = hold(live, versions, judge, due).await?;
    let snapshot = version.snapshot();
    let cache = Cache::playlist(
        snapshot.constants.target_duration,
        directive.at_least.is_some(),
        snapshot.ended,
    );
    Ok(text(asked, PLAYLIST, version.playlist(form), cache))
}

async fn media(
    live: &Live,
    versions: watch::Receiver<Arc<Rendered>>,
    (epoch, rendition, item): (u64, Rendition, Item),
    due: &mut Due,
) -> Result<Found, Error> {
    let judge = |version: &Rendered, waited: bool| {
        let snapshot = version.snapshot();
        let verdict = match item {
            Item::Part(number) => gate::part(snapshot, number),
            Item::Segment(msn) => gate::segment(snapshot, msn),
            Item::Init(_) | Item::Playlist => gate::Media::Serve,
        };
        let content = match (verdict, item) {
            (gate::Media::Wait, _) => return None,
            (gate::Media::Missing, _) | (_, Item::Playlist) => None,
            (_, Item::Init(number)) => snapshot.init(number).cloned().map(Content::Whole),
            (_, Item::Part(number)) => snapshot.part(number).cloned().map(Content::Whole),
            (_, Item::Segment(msn)) => snapshot.segment(msn).cloned().map(Content::Chain),
        };
        let target_duration = snapshot.constants.target_duration;
        let missing = || {
            if waited {
                Error::NeverCame { target_duration }
            } else {
                Error::NotFound
            }
        };
        Some(content.ok_or_else(missing))
    };
    let (_, content) = hold(live, versions, judge, due).await?;
    let name = match item {
        Item::Init(number) => format!("\"{epoch}-{rendition}-i{number}\""),
        Item::Segment(msn) => format!("\"{epoch}-{rendition}-s{msn}\""),
        Item::Part(number) => format!("\"{epoch}-{rendition}-p{number}\""),
        Item::Playlist => return Err(Error::NotFound),
    };
    Ok(Found {
        media_type: media_type(rendition, item),
        // A media URI never means two things, so its name is as strong a validator as its bytes.
        etag: HeaderValue::try_from(name).expect("letters, digits and quotes"),
        cache: Cache::Immutable,
        coding: Coding::Ranges,
        content,
    })
}

/// Asks `judge` about one version after another until it has an answer; the flag tells it that the request was held.
/// No longer than three target durations (draft, 6.2.5.2), and only so many requests of a stream at once.
async fn hold<T>(
    live: &Live,
    mut versions: watch::Receiver<Arc<Rendered>>,
    judge: impl Fn(&Rendered, bool) -> Option<Result<T, Error>>,
    due: &mut Due,
) -> Result<(Arc<Rendered>, T), Error> {
    let version = versions.borrow_and_update().clone();
    if let Some(answer) = judge(&version, false) {
        return Ok((version, answer?));
    }
    let _waiter = live.wait().ok_or(Error::TooManyWaiters)?;
    *due = Due::Held;
    let target_duration = Duration::from_secs(version.snapshot().constants.target_duration.into());
    let deadline = Instant::now() + 3 * target_duration;
    drop(version);
    loop {
        match timeout_at(deadline, versions.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Unavailable),
            Err(_) => return Err(Error::Late),
        }
        let version = versions.borrow_and_update().clone();
        if let Some(answer) = judge(&version, true) {
            *due = Due::Released(version.published());
            return Ok((version, answer?));
        }
    }
}

/// Media type of playlists.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

fn text(asked: Asked<'_>, media_type: &'static str, text: &Text, cache: Cache) -> Found {
    let (coding, body) = match asked.gzip() {
        true => (Coding::Gzip, text.gzip()),
        false => (Coding::Plain, text.plain()),
    };
    Found {
        media_type,
        etag: tag(body),
        cache,
        coding,
        content: Content::Whole(body.bytes.clone()),
    }
}

fn tag(body: &published::Body) -> HeaderValue {
    HeaderValue::from_maybe_shared(body.etag.clone()).expect("hexadecimal digits in quotes")
}

/// Media types of the Apple authoring specification: initialization segments by kind, media segments `video/iso.segment`;
/// there is no such type for sound.
fn media_type(rendition: Rendition, item: Item) -> &'static str {
    match (rendition, item) {
        (Rendition::Audio, _) => "audio/mp4",
        (_, Item::Init(_)) => "video/mp4",
        _ => "video/iso.segment",
    }
}
