//! The same over the real fabric: QUIC between two nodes of this process, real sockets, real threads.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame as Piece;
use hyper_util::rt::TokioIo;
use meridian_cluster::{
    fabric::{Authority, Fabric, FabricSettings, Trust, TrustPem},
    host::{Host, os::OsHost},
};
use meridian_config::node_file::{AdminFile, FabricFile, Listen, NodeFile};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    exchange::{Body, BodyError},
    problem::{Refusal, UpstreamFault},
    upstream::{
        Client, Destination, Errand, Roots, Setup, Upstreams,
        testing::{
            Count, Failovers, document, fed, full, request, service, until, view, with_body,
        },
    },
};

const LIMIT: Duration = Duration::from_secs(20);

/// A node with a real fabric.
struct Real {
    host: Arc<dyn Host>,
    fabric: Fabric,
    upstreams: Upstreams,
    client: Client,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Real {
    async fn start(
        folder: &Path,
        authority: &Authority,
        id: &str,
        other: &str,
        join: &[String],
    ) -> Self {
        let host: Arc<dyn Host> = Arc::new(OsHost::new(&folder.join(id)).expect("a data folder"));
        let file = node_file(id, join);
        let issued = authority
            .issue(&file.id, &file.region, &[], &[], host.unix_time())
            .expect("a certificate");
        let pem = TrustPem {
            ca: authority.cert_pem().into(),
            cert: issued.cert_pem.into(),
            key: issued.key_pem.into(),
        };
        let trust = Trust::check(&host, &file, &pem).expect("they belong together");
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let settings = FabricSettings::from(&file);
        let fabric = Fabric::start(
            Arc::clone(&host),
            settings,
            trust,
            tracker.clone(),
            stop.clone(),
        )
        .await
        .expect("it listens");
        let seen = Arc::new(view(id, &[other]));
        let upstreams = Upstreams::start(Setup {
            host: Arc::clone(&host),
            view: Arc::new(move || Arc::clone(&seen)),
            bulk: Arc::new(fabric.clone()),
            observer: Arc::new(Failovers::default()),
            roots: Roots::Native,
            tracker: tracker.clone(),
            stop: stop.clone(),
        });
        let client = upstreams.client("worker 0");
        Self {
            host,
            fabric,
            upstreams,
            client,
            stop,
            tracker,
        }
    }

    async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        timeout(LIMIT, self.tracker.wait())
            .await
            .expect("every task ends");
    }
}

/// Two nodes that have met, an upstream beside the second, and the service as the first sees it.
struct Two {
    eu: Real,
    us: Real,
    plant: Arc<Destination>,
    seen: Count,
    _folder: tempfile::TempDir,
}

impl Two {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::create("test", None).expect("an authority");
        let eu = Real::start(folder.path(), &authority, "eu-1", "us-1", &[]).await;
        let join = [eu.fabric.local_control().to_string()];
        let us = Real::start(folder.path(), &authority, "us-1", "eu-1", &join).await;
        until("they meet", || {
            eu.fabric.peers().iter().any(|peer| peer.connected)
        })
        .await;
        let seen = Count::default();
        let at = upstream(&us, seen.clone());
        let settings = service(&[("us", &at)]);
        us.upstreams.adopt(&document(settings.clone()), 1);
        let all = eu.upstreams.adopt(&document(settings), 1);
        let plant = Arc::clone(all.service(&"plant".into()).expect("it is in the document"));
        Self {
            eu,
            us,
            plant,
            seen,
            _folder: folder,
        }
    }

    fn errand(&self) -> Errand<'_> {
        Errand {
            destination: &self.plant,
            zones: &[],
            tenant: None,
            request_id: "r-1",
            leave: None,
        }
    }

    async fn stop(self) {
        self.eu.stop().await;
        self.us.stop().await;
    }
}

/// An upstream on a real socket: sends every body back; a GET is never answered.
fn upstream(node: &Real, seen: Count) -> String {
    let address = ([127, 0, 0, 1], 0).into();
    let mut listener = node.host.listen(address, 0).expect("a free port");
    let at = listener.local_addr().to_string();
    let (tracker, stop) = (node.tracker.clone(), node.stop.clone());
    node.tracker.spawn(async move {
        loop {
            let stream = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok((stream, _)) = listener.accept() => stream,
            };
            let (seen, stop) = (seen.clone(), stop.clone());
            let service =
                hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    seen.add();
                    async move {
                        if request.method() == http::Method::GET {
                            return std::future::pending().await;
                        }
                        let body = request.into_body();
                        let body = body.map_err(|error| BodyError::Upstream(error.to_string()));
                        Ok::<_, std::convert::Infallible>(http::Response::new(Body::new(body)))
                    }
                });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    _ = serving => {}
                }
            });
        }
    });
    at
}

fn node_file(id: &str, join: &[String]) -> NodeFile {
    let free = ([127, 0, 0, 1], 0).into();
    NodeFile {
        cluster: "test".into(),
        bootstrap: vec![],
        id: id.into(),
        region: id[..id.len() - 2].into(),
        data_dir: "data".into(),
        listen: Listen {
            http: None,
            https: None,
            fabric: free,
            bulk: free,
            admin: free,
        },
        fabric: FabricFile {
            advertise: None,
            advertise_bulk: None,
            ca: "ca.pem".into(),
            cert: "node.pem".into(),
            key: "node.key".into(),
            join: join.to_vec(),
        },
        tls: vec![],
        admin: AdminFile {
            tokens: "tokens.yaml".into(),
            tls: None,
        },
    }
}

#[tokio::test]
async fn bodies_cross_the_fabric_whole_and_many_at_once() {
    let two = Two::start().await;
    let exchange = |size: usize| {
        let (two, sent) = (&two, Bytes::from(vec![size.to_le_bytes()[0]; size]));
        async move {
            let post = with_body("POST", full(sent.clone()));
            let (response, served) = two
                .eu
                .client
                .send(two.errand(), post)
                .await
                .expect("served");
            assert_eq!(served.region.as_str(), "us");
            let back = response
                .into_body()
                .collect()
                .await
                .expect("it is sound")
                .to_bytes();
            assert!(back == sent, "{} of {size}", back.len());
        }
    };
    let sizes = [0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 3_000_000]
        .into_iter()
        .cycle()
        .take(60);
    timeout(LIMIT, futures_util::future::join_all(sizes.map(exchange)))
        .await
        .expect("in time");
    two.stop().await;
}

#[tokio::test]
async fn a_call_streams_both_ways_over_the_fabric() {
    let two = Two::start().await;
    let (feed, body) = fed();
    let post = two.eu.client.send(two.errand(), with_body("POST", body));
    let (response, _) = timeout(LIMIT, post)
        .await
        .expect("in time")
        .expect("the head comes first");
    let mut body = response.into_body();
    for message in ["one", "two", "three"] {
        feed.send(Ok(Piece::data(Bytes::from(message))))
            .await
            .expect("it is read");
        let back = timeout(LIMIT, body.frame())
            .await
            .expect("in time")
            .expect("more comes");
        assert_eq!(
            back.expect("it is sound").into_data().expect("it is data"),
            message
        );
    }
    drop(feed);
    assert!(
        timeout(LIMIT, body.frame())
            .await
            .expect("in time")
            .is_none()
    );
    two.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_the_other_end_of_the_fabric() {
    let two = Two::start().await;
    let pending = two.eu.client.send(two.errand(), request("GET"));
    tokio::select! {
        biased;
        _ = pending => panic!("nobody answers"),
        () = until("it has arrived", || two.seen.now() == 1) => {}
    }
    let all = two.us.upstreams.destinations(1).expect("it was adopted");
    let there = Arc::clone(all.service(&"plant".into()).expect("it is in the document"));
    until("its place is free", || there.in_flight() == 0).await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_stops_fails_what_it_had_in_flight_at_once() {
    let two = Two::start().await;
    let mut get = request("POST");
    *get.method_mut() = http::Method::GET;
    // Not to be repeated, so that the failure shows.
    let mut settings = two.plant.settings.clone();
    settings.retries.attempts = 0;
    let all = two.eu.upstreams.adopt(&document(settings), 2);
    let plant = Arc::clone(all.service(&"plant".into()).expect("it is in the document"));
    let errand = Errand {
        destination: &plant,
        ..two.errand()
    };
    let pending = two.eu.client.send(errand, get);
    let stop = async {
        until("it has arrived", || two.seen.now() == 1).await;
        two.us.stop().await;
    };
    let (sent, ()) = timeout(Duration::from_secs(5), async {
        tokio::join!(pending, stop)
    })
    .await
    .expect("well before the response's time is over");
    assert_eq!(
        sent.expect_err("it broke").refusal,
        Refusal::UpstreamError(UpstreamFault::Reset)
    );
    two.eu.stop().await;
}
