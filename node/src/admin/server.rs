//! The admin listener: connections, TLS, limits, and who calls.
//!
//! In: connections at `listen.admin`. Out: answers of [`super::api`] and [`crate::report::health`]. Every wait
//! here has a bound, so that nobody holds the API open.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_cluster::{
    host::{BoxListener, BoxStream, Host, blocking},
    renewal::Followed,
};
use meridian_config::node_file::NodeFile;
use tokio::{
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{Caller, Roster},
    administered::Administered,
    api::{self, Desk},
    events::{self, Feed},
    fault::Fault,
    tls,
};
use crate::{exchange::Body, report::health};

/// Connections at once. Operators, a scraper and an orchestrator's probes are a few dozen; further ones
/// wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// Time for a request's head, and for a TLS handshake.
const HEAD: Duration = Duration::from_secs(5);

/// Time for an answer, but for a stream's body. A write may wait for an election (see the client's own time).
const ANSWER: Duration = Duration::from_secs(40);

/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the token file is read again.
const REFRESH: Duration = Duration::from_secs(5);

/// Time for open connections to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running admin API.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    tls: Option<tls::Current>,
}

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened at.
    #[error(
        "the admin API cannot listen on {address}: {cause}; stop what holds the port, or change listen.admin in node.yaml"
    )]
    Listen {
        /// `listen.admin`.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Plain HTTP would be reachable from other machines.
    #[error(
        "listen.admin {0} is not loopback, and the admin API has no certificate; give admin.cert, admin.key and admin.client_ca in node.yaml, or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// The token file cannot be used.
    #[error("the token file {path}: {cause}")]
    Tokens {
        /// `admin.tokens`.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate, key or client CA cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::AdminTlsError),
}

/// What every connection shares.
struct Shared {
    desk: Desk,
    roster: ArcSwap<Roster>,
}

impl Admin {
    /// Serves the admin API until `stop`.
    pub(crate) async fn start(
        host: Arc<dyn Host>,
        file: &NodeFile,
        node: Arc<dyn Administered>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, AdminError> {
        let address = file.listen.admin;
        let tls = match &file.admin.tls {
            Some(files) => Some(tls::Current::load(&host, files).await?),
            None if address.ip().is_loopback() => None,
            None => return Err(AdminError::Exposed(address)),
        };
        let path = file.admin.tokens.clone();
        let roster = read_roster(&host, &path)
            .await
            .map_err(|cause| AdminError::Tokens {
                path: path.display().to_string(),
                cause,
            })?;
        if roster.len() == 0 {
            tracing::warn!(
                file = %path.display(),
                "the token file lists nobody: the admin API answers only probes; add an entry that `meridian admin token` prints"
            );
        }
        let listener = host
            .listen(address, 0)
            .map_err(|cause| AdminError::Listen { address, cause })?;
        let address = listener.local_addr();
        // Another process, or this one after a restart, numbers its events anew.
        let feed = Arc::new(Feed::new(u64::from_le_bytes(
            *host
                .entropy("events")
                .first_chunk()
                .expect("32 bytes hold 8"),
        )));
        tracker.spawn(events::follow(
            host.clone(),
            node.clone(),
            feed.clone(),
            stop.clone(),
        ));
        let shared = Arc::new(Shared {
            desk: Desk { host, node, feed },
            roster: ArcSwap::from_pointee(roster),
        });
        tracker.spawn(refresh(shared.clone(), path, stop.clone()));
        tracker.spawn(serve(
            listener,
            shared,
            tls.clone(),
            tracker.clone(),
            stop.clone(),
        ));
        Ok(Self { address, tls })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate files, to be kept in force; none over plain HTTP.
    pub fn followed(&self) -> Option<Followed> {
        self.tls.as_ref().map(tls::Current::followed)
    }
}

async fn read_roster(host: &Arc<dyn Host>, path: &Path) -> Result<Roster, String> {
    let (reader, path) = (host.clone(), path.to_owned());
    let bytes = blocking(host.as_ref(), move || reader.read_named(&path))
        .await
        .map_err(|error| format!("{error}; make it, or correct admin.tokens in node.yaml"))?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Roster::parse(&text).map_err(|error| error.to_string())
}

/// Reads the token file again and again: a token is added or withdrawn without a restart. A broken file
/// leaves the last good one in force.
async fn refresh(shared: Arc<Shared>, path: PathBuf, stop: CancellationToken) {
    let mut ticks = interval(REFRESH);
    let mut complained = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match reread(&shared, &path).await {
            Ok(()) => complained = false,
            Err(cause) if !complained => {
                tracing::warn!(file = %path.display(), %cause, "the token file cannot be used; its last good content stays in force");
                complained = true;
            }
            Err(_) => {}
        }
    }
}

async fn reread(shared: &Shared, path: &Path) -> Result<(), String> {
    let roster = read_roster(&shared.desk.host, path).await?;
    shared.roster.store(Arc::new(roster));
    Ok(())
}

async fn serve(
    mut listener: BoxListener,
    shared: Arc<Shared>,
    tls: Option<tls::Current>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = async {
                let place = places.clone().acquire_owned().await.expect("nobody closes it");
                listener.accept().await.map(|(stream, peer)| (stream, peer, place))
            } => accepted,
        };
        let Ok((stream, peer, place)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let (shared, tls, stop) = (shared.clone(), tls.clone(), stop.clone());
        tracker.spawn(async move {
            connection(stream, peer, shared, tls, stop).await;
            drop(place);
        });
    }
}

async fn connection(
    stream: BoxStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<tls::Current>,
    stop: CancellationToken,
) {
    let (stream, names): (BoxStream, Vec<String>) = match tls {
        None => (stream, Vec::new()),
        Some(tls) => match timeout(HEAD, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let names = tls::client_names(stream.get_ref().1);
                (Box::new(stream), names)
            }
            // A handshake that failed or stalled: whoever it was gets nothing.
            _ => return,
        },
    };
    let names = Arc::new(names);
    let service = service_fn(move |request| {
        let (shared, names) = (shared.clone(), names.clone());
        async move {
            let answered = timeout(ANSWER, respond(&shared, &names, peer, request)).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|_| api::problem(&Fault::Overloaded)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // How a connection ended concerns nobody: every request on it was answered or given up by its client.
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FAREWELL, connection).await;
        }
        _ = connection.as_mut() => {}
    }
}

async fn respond(
    shared: &Shared,
    names: &[String],
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, content) = request.into_parts();
    let path = parts.uri.path();
    if matches!(parts.method, Method::GET | Method::HEAD)
        && let Some(response) = health::answer(path, parts.uri.query(), &shared.desk.node.health())
    {
        return response;
    }
    let roster = shared.roster.load_full();
    let Some(caller) = identify(&roster, names, &parts.headers) else {
        tracing::info!(target: "meridian::audit", %peer, method = %parts.method, path, outcome = "unauthenticated");
        return api::problem(&Fault::Unauthenticated);
    };
    let answer = api::answer(&shared.desk, caller, peer, &parts, content).await;
    // Every act is in the cluster's audit. What is refused here, before it is one, only this log has.
    // Reads change nothing and would drown the acts.
    if let Err(fault) = &answer
        && !matches!(parts.method, Method::GET | Method::HEAD)
    {
        tracing::info!(
            target: "meridian::audit",
            who = caller.name, role = caller.role.name(), %peer, method = %parts.method, path,
            outcome = fault.problem().name(),
        );
    }
    answer.unwrap_or_else(|fault| api::problem(&fault))
}

/// Who calls: by token, else by client certificate.
fn identify<'a>(
    roster: &'a Roster,
    names: &[String],
    headers: &http::HeaderMap,
) -> Option<&'a Caller> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return roster.by_certificate(names);
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    roster.by_token(token.trim_ascii())
}

#[cfg(test)]
mod tests;
