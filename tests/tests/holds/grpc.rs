//! Real gRPC (grpcio) through the gateway, in its own region and through another one: every kind of call,
//! messages of several MiB, trailers, errors that are trailers only.

use meridian_tests::{
    peer::{GrpcUpstream, grpc},
    site::Site,
    wait::{LONG, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_here_and_through_another_region() {
    let site = Site::new("grpc", &[("eu-1", "eu"), ("us-1", "us")]).await;
    let upstream = GrpcUpstream::start(&site.path(""), "plants").await;
    let mut nodes = Vec::new();
    for place in &site.nodes {
        nodes.push(site.start(place).await);
    }
    let document = site.document(&[("us", upstream.address)]);
    let (before, health) = document.split_once("    health:").expect("it has one");
    let (_, after) = health.split_once('\n').expect("it is a line");
    let document = format!(
        "{before}    protocol: http2\n{after}  calls: {{ match: {{ path: \"/plants.Plants/{{*rest}}\" }}, service: plants }}\n"
    )
    .replace("regions:\n", "regions:\n  eu: {}\n");
    site.apply(&site.nodes[0], &document).await;
    let token = site.token("acme", "plants:read");
    // Only `us` has the service: the second node serves it itself, the first by way of the second.
    for place in site.nodes.iter().rev() {
        let address = format!("localhost:{}", place.https.port());
        let ca = site.path("outside-ca.pem");
        let said = until(&format!("{} serves", place.id), LONG, async || {
            let ran = grpc(&address, &token, &ca).await;
            if ran.code == Some(0) {
                Ok(ran.stdout)
            } else {
                Err(format!("{ran:?}"))
            }
        })
        .await;
        assert_eq!(
            said,
            "served by plants\ntalked ROSE FERN MOSS\nfailed with the plant has wilted\ndone\n"
        );
    }
    drop(nodes);
}
