//! Endpoints that speak TLS, and names with several addresses.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian_config::document::{Protocol, Service};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::time::Instant;

use super::super::{
    Roots,
    testing::{Node, World, answer, request, service, text},
};
use super::ONE;
use crate::problem::{Refusal, UpstreamFault};

/// Serves HTTP over TLS at [`ONE`] under the name `plant.test`, offering these protocols by ALPN. The
/// roots trust it.
fn serve(world: &World, offers: &[&str]) -> Roots {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["plant.test".into()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is one");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults fit")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they belong together");
    config.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    world.raw(ONE, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let name = stream
                .get_ref()
                .1
                .server_name()
                .map(str::to_owned)
                .unwrap_or_default();
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = hyper::service::service_fn(move |request: http::Request<_>| {
                let body = format!("{name} {:?}", request.version());
                drop::<hyper::body::Incoming>(request.into_body());
                async move { Ok::<_, std::convert::Infallible>(answer(200, body)) }
            });
            let io = TokioIo::new(stream);
            if http2 {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(io, service).await;
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(io, service).await;
            }
        }
    });
    let names = &mut *world.names.lock().expect("no panic");
    names.insert(
        "plant.test".into(),
        vec![ONE.parse().expect("it is an address")],
    );
    Roots::Given(Arc::new(roots))
}

fn secure(protocol: Protocol) -> Service {
    let mut settings = service(&[("eu", "plant.test:443")]);
    settings.protocol = protocol;
    settings.retries.attempts = 0;
    for endpoint in settings.endpoints.values_mut().flatten() {
        endpoint.tls = true;
    }
    settings
}

#[tokio::test]
async fn either_protocol_passes_over_tls_with_the_endpoints_name() {
    for (protocol, offers, version) in [
        (Protocol::Http1, "http/1.1", "HTTP/1.1"),
        (Protocol::Http2, "h2", "HTTP/2.0"),
    ] {
        let world = World::default();
        let roots = serve(&world, &[offers]);
        let node = Node::with_roots(&world, "eu-1", &[], roots);
        let plant = node.adopt(secure(protocol));
        for _ in 0..2 {
            let (response, _) = node
                .send(&plant, request("GET"))
                .await
                .expect("it is served");
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(text(response).await, format!("plant.test {version}"));
        }
        assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_vouches_for_or_without_http2_is_not_spoken_to() {
    let world = World::default();
    let roots = serve(&world, &[]);
    let strangers = Roots::Given(Arc::new(RootCertStore::empty()));
    for (roots, protocol) in [(strangers, Protocol::Http1), (roots, Protocol::Http2)] {
        let node = Node::with_roots(&world, "eu-1", &[], roots);
        let plant = node.adopt(secure(protocol));
        let refusal = node
            .send(&plant, request("GET"))
            .await
            .expect_err("it is not good enough");
        assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Connect));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_of_a_name_leaves_time_for_the_next_one() {
    let world = World::default();
    world.http1(ONE, |_| async { answer(200, "") });
    let addresses = ["192.0.2.1:80", ONE].map(|at| at.parse().expect("it is an address"));
    world
        .names
        .lock()
        .expect("no panic")
        .insert("plant.test".into(), addresses.into());
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", "plant.test:80")]));
    let began = Instant::now();
    let (_, served) = node
        .send(&plant, request("GET"))
        .await
        .expect("the second one answers");
    assert_eq!(
        (began.elapsed(), served.retries),
        (Duration::from_millis(500), 0)
    );
}
