//! What an operator can get wrong: each ends in one clear sentence with what to do, and nothing half-done.

use std::net::TcpListener;

use meridian_tests::{
    binary::{Ran, meridian, run},
    http::get,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
};

/// Runs a node that is expected to refuse its start.
pub(crate) async fn refused(site: &Site, node: &Place) -> Ran {
    let ran = run(site.command(&site.config(node))).await;
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let site = Site::new("ports", &[("one", "here")]).await;
    let node = &site.nodes[0];
    for taken in [node.http, node.https, node.admin] {
        let holder = TcpListener::bind(taken).expect("free a moment ago");
        let ran = refused(&site, node).await;
        assert!(ran.stderr.contains(&taken.to_string()), "{taken}: {ran:?}");
        drop(holder);
    }
    for taken in [node.fabric, node.bulk] {
        let holder = std::net::UdpSocket::bind(taken).expect("free a moment ago");
        let ran = refused(&site, node).await;
        assert!(ran.stderr.contains(&taken.to_string()), "{taken}: {ran:?}");
        drop(holder);
    }
    // Nothing half-done: with its ports free it starts.
    let mut started = site.start(node).await;
    started.signal("TERM").await;
    assert_eq!(
        started.end(LONG).await.code(),
        Some(0),
        "{}",
        started.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_fit_stops_the_start() {
    let site = Site::new("fits", &[("one", "here"), ("two", "there")]).await;
    let one = &site.nodes[0];
    // Of another cluster: the trust domain is another.
    site.configure(one, "other");
    let ran = refused(&site, one).await;
    assert!(
        ran.stderr.contains("other") && ran.stderr.contains("fits"),
        "{ran:?}"
    );
    // Of another node.
    site.configure(one, "fits");
    let config = std::fs::read_to_string(site.config(one)).expect("written before");
    let swapped = config.replace("../ca/one/node", "../ca/two/node");
    std::fs::write(site.config(one), swapped).expect("written");
    let ran = refused(&site, one).await;
    assert!(ran.stderr.contains("two"), "{ran:?}");
    // A key that is not the certificate's.
    let crossed = config.replace("../ca/one/node.key", "../ca/two/node.key");
    std::fs::write(site.config(one), crossed).expect("written");
    refused(&site, one).await;
    // No file at all.
    std::fs::write(
        site.config(one),
        config.replace("../ca/one/node.pem", "../none.pem"),
    )
    .expect("written");
    let ran = refused(&site, one).await;
    assert!(ran.stderr.contains("none.pem"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_certificate_of_its_own_authority_is_kept_out() {
    let site = Site::new("ours", &[("one", "here")]).await;
    let ours = &site.nodes[0];
    let mut node = site.start(ours).await;
    // The same names, another authority.
    let mut theirs = Site::new("ours", &[("evil", "here")]).await;
    theirs.nodes.push(ours.clone());
    theirs.configure(&theirs.nodes[0].clone(), "ours");
    let stranger = theirs.spawn(&theirs.nodes[0]);
    let counted = "meridian_fabric_refusals_total{reason=\"authority\"} ";
    until("the stranger has tried, and is counted", LONG, async || {
        let said = stranger.stderr();
        let metrics = site.metrics(ours).await;
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(counted))
            .expect("the series is there from the start");
        // Again and again: a joining node does not give up.
        if said.contains("certificate") && count.parse::<u64>().is_ok_and(|count| count > 1) {
            Ok(())
        } else {
            Err(format!("{count}: {said}"))
        }
    })
    .await;
    for said in [node.stderr(), stranger.stderr()] {
        let lines = said
            .lines()
            .filter(|line| line.contains("reason=\"authority\""));
        assert_eq!(lines.count(), 1, "once a cause and peer: {said}");
    }
    let status = site.status(ours).await;
    assert_eq!(
        status["nodes"].as_array().map(Vec::len),
        Some(1),
        "{status}"
    );
    node.must_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_document_changes_nothing() {
    let site = Site::new("documents", &[("one", "here")]).await;
    let node = &site.nodes[0];
    let _running = site.start(node).await;
    let good = site.document(&[("here", "127.0.0.1:9".parse().expect("an address"))]);
    site.apply(node, &good).await;
    let before = site.status(node).await["serving"].clone();
    let path = site.path("wrong.yaml");
    let file = path.to_str().expect("a plain path");
    for wrong in [
        good.replace("plan: large", "plan: larg"),
        good.replace("service: plants", "service: plant"),
        good.replace("5/minute", "0/minute"),
        "meridian: 2\n".to_owned(),
        "meridian: [".to_owned(),
        String::new(),
    ] {
        std::fs::write(&path, &wrong).expect("written");
        let ran = site.admin(node, &["apply", "-f", file]).await.expect(2);
        assert!(
            format!("{}{}", ran.stdout, ran.stderr).contains("wrong.yaml"),
            "{ran:?}"
        );
    }
    assert_eq!(site.status(node).await["serving"], before);
    // What only a node can find: a production node takes no issuer over plain HTTP.
    let plain = good.replace(&site.provider.url, "http://localhost:1");
    std::fs::write(&path, plain).expect("written");
    let ran = site.admin(node, &["apply", "-f", file]).await;
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(ran.stderr.contains("HTTPS"), "{ran:?}");
    assert_eq!(
        site.status(node).await["serving"],
        before,
        "the last good revision goes on"
    );
    assert_eq!(get("/open").send(node.http).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_with_one_id_one_ends_and_the_cluster_goes_on() {
    let site = Site::new(
        "twins",
        &[("one", "here"), ("two", "there"), ("three", "away")],
    )
    .await;
    let two = &site.nodes[1];
    let mut nodes = Vec::new();
    for node in &site.nodes {
        nodes.push(site.spawn(node));
    }
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let document = site.document(&[("here", nowhere), ("there", nowhere), ("away", nowhere)]);
    until("the admin API listens", LONG, async || {
        get("/livez").try_send(two.admin).await.map(drop)
    })
    .await;
    site.apply(two, &document).await;

    // The same node.yaml on another machine: other addresses, an empty data folder.
    let config = site.configure_in("twin", &Place::new("one", "here"), "twins");
    let mut twin = Process::start("twin", &site.path(""), site.command(&config));
    let ended = until("one of the two ends", LONG, async || {
        let ended = [&mut nodes[0], &mut twin]
            .into_iter()
            .find_map(|process| process.ended().map(|status| (status, process.stderr())));
        ended.ok_or_else(|| format!("{}\n---\n{}", nodes[0].stderr(), twin.stderr()))
    })
    .await;
    let (status, said) = ended;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("id one") && said.contains("stop one of the two"),
        "{said}"
    );
    assert_eq!(get("/open").send(two.http).await.status, 200);
    site.apply(two, &format!("{document}# and it can be changed\n"))
        .await;
    let known = site.status(two).await["nodes"].clone();
    let ids: Vec<_> = known
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| &node["id"])
        .collect();
    assert_eq!(ids.len(), 3, "{known}");
}

#[tokio::test]
async fn the_admin_api_wants_a_token() {
    let site = Site::new("admin", &[("one", "here")]).await;
    let node = &site.nodes[0];
    let _running = site.start(node).await;
    let bare = get("/api/v1/status").send(node.admin).await;
    assert_eq!(bare.status, 401, "{bare:?}");
    let wrong = get("/api/v1/status")
        .token("mrd_wrong")
        .send(node.admin)
        .await;
    assert_eq!(wrong.status, 401, "{wrong:?}");
    assert_eq!(get("/metrics").send(node.admin).await.status, 401);
    let text = site.metrics(node).await;
    for name in [
        "meridian_raft_term{group=\"directory\"}",
        "meridian_config_revision",
    ] {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
}

#[tokio::test]
async fn an_authority_is_not_replaced_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca");
    let ca = ca.to_str().expect("a plain path");
    meridian(&["ca", "init", ca, "--name", "prod"])
        .await
        .expect(0);
    let key = std::fs::read(folder.path().join("ca/ca.key")).expect("made");
    let ran = meridian(&["ca", "init", ca, "--name", "prod"])
        .await
        .expect(1);
    assert!(
        ran.stderr.contains("ca.key") || ran.stderr.contains("ca.pem"),
        "{ran:?}"
    );
    assert_eq!(
        std::fs::read(folder.path().join("ca/ca.key")).expect("kept"),
        key
    );
}
