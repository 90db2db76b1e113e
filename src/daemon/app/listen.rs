//! The listeners of the daemon: all are bound before any is served, and each speaks to one door.
//!
//! Connection limits are shared by the listeners of one door: `[rtmp]` and `[rtmps]`, `[http]` and `[https]`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{Extension, Router};
use hyper::service::service_fn;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vitrine_runtime::serve::{
    Admission, Error, Listener, connections, http,
    tls::{HTTP, Identity},
};

use super::config::{CONTROL_MAX_CONNECTIONS, Config};
use crate::{control::Peer, ingest::Ingest, origin::Origin};

/// Bound, not yet accepting.
pub(super) struct Listeners {
    rtmp: Listener,
    rtmps: Option<Listener>,
    http: Listener,
    https: Option<Listener>,
    control: Listener,
}

impl Listeners {
    /// Binds every listener of the configuration.
    ///
    /// # Errors
    /// The first that cannot be bound.
    pub(super) fn bind(config: &Config) -> Result<Self, Error> {
        let maybe = |name, address: Option<SocketAddr>| {
            address
                .map(|address| Listener::bind(name, address))
                .transpose()
        };
        let publishers = |listener: Listener| match config.rtmp.proxy_protocol {
            true => listener.behind(config.rtmp.trusted_proxies.clone()),
            false => listener,
        };
        Ok(Self {
            rtmp: publishers(Listener::bind("rtmp", config.rtmp.listen)?),
            rtmps: maybe("rtmps", config.rtmps)?.map(publishers),
            http: Listener::bind("http", config.http.listen)?,
            https: maybe("https", config.https)?,
            control: Listener::bind("control", config.control.listen)?,
        })
    }

    /// Name and bound address of each.
    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        [
            ("rtmp", Some(&self.rtmp)),
            ("rtmps", self.rtmps.as_ref()),
            ("http", Some(&self.http)),
            ("https", self.https.as_ref()),
            ("control", Some(&self.control)),
        ]
        .into_iter()
        .filter_map(|(name, listener)| Some((name, listener?.local_addr())))
        .collect()
    }

    /// Serves each in a task of its own: RTMP until the door stops, HTTP until `shutdown`.
    pub(super) fn serve(
        self,
        config: &Config,
        identity: Option<&Identity>,
        ingest: &Arc<Ingest>,
        origin: Origin,
        control: Router,
        shutdown: &CancellationToken,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let publishers = Admission::with_max_per_address(
            config.rtmp.max_connections,
            config.rtmp.max_connections_per_address,
        );
        let door = |protocol| {
            let ingest = Arc::clone(ingest);
            move |socket, peer| Arc::clone(&ingest).serve(socket, peer, protocol)
        };
        let stop = ingest.stopping();
        tasks.spawn(connections(
            self.rtmp,
            publishers.clone(),
            None,
            stop.clone(),
            door("rtmp"),
        ));
        if let Some((listener, identity)) = self.rtmps.zip(identity) {
            let tls = Some(identity.acceptor(&[]));
            tasks.spawn(connections(listener, publishers, tls, stop, door("rtmps")));
        }

        let viewers = Admission::with_max_per_address(
            config.http.max_connections,
            config.http.max_connections_per_address,
        )
        .except(config.http.trusted_proxies.clone());
        let playback = move |peer: SocketAddr| {
            let origin = origin.clone();
            service_fn(move |request| {
                let origin = origin.clone();
                async move { Ok::<_, Infallible>(origin.serve(peer.ip(), request).await) }
            })
        };
        tasks.spawn(http(
            self.http,
            viewers.clone(),
            None,
            shutdown.clone(),
            playback.clone(),
        ));
        if let Some((listener, identity)) = self.https.zip(identity) {
            let tls = Some(identity.acceptor(HTTP));
            tasks.spawn(http(listener, viewers, tls, shutdown.clone(), playback));
        }

        let operators = Admission::new(CONTROL_MAX_CONNECTIONS);
        let control = move |peer| {
            let peer = Extension(Peer(peer));
            TowerToHyperService::new(control.clone().layer(peer))
        };
        tasks.spawn(http(
            self.control,
            operators,
            None,
            shutdown.clone(),
            control,
        ));
        tasks
    }
}
