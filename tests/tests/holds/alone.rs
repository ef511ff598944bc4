//! The peers without a gateway between: what fails here is the fixture's fault.

use meridian_tests::{
    certificates::Authority,
    http::get,
    load,
    peer::{Upstream, curl, web_socket},
    provider::{Provider, Signer},
};

#[tokio::test(flavor = "multi_thread")]
async fn fastapi_and_the_websocket_client_understand_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start(folder.path(), "upstream").await;
    let answer = get("/plants/rose").send(upstream.address).await;
    assert_eq!(answer.json()["plant"], "rose");
    let url = format!("ws://{}/ws", upstream.address);
    let ran = web_socket(&url, "", None).await.expect(0);
    assert!(ran.stdout.contains("echoed 6, closed with 1000"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_under_load_sees_the_gap_when_its_server_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Upstream::start(folder.path(), "one").await;
    let two = Upstream::start(folder.path(), "two").await;
    let client = load::start(get("/plants"), vec![one.address, two.address], 50);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    one.process.signal("KILL").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let seen = client.stop().await;
    assert!(
        seen.good > 10 && seen.broken >= 1 && seen.refused.is_empty(),
        "{seen:?}"
    );
    assert!(seen.longest_gap.as_millis() >= 15, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_publishes_its_keys_over_https() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let mut provider = Provider::start(&authority.issue()).await;
    provider.publish(&[&Signer::new("one")]);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("written");
    let ca = ca.to_str().expect("a plain path");
    let keys = format!("{}/keys", provider.url);
    let ran = curl(&["--cacert", ca, &keys]).await.expect(0);
    assert!(ran.stdout.contains("\"kid\":\"one\""), "{ran:?}");
    provider.go_down().await;
    assert_ne!(curl(&["--cacert", ca, &keys]).await.code, Some(0));
    provider.come_back().await;
    curl(&["--cacert", ca, &keys]).await.expect(0);
    assert_eq!(provider.fetches(), 2);
}
