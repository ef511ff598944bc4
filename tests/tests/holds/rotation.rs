//! Certificates and the authority itself are replaced under a running cluster, by files alone.

use std::collections::BTreeMap;

use meridian_tests::{
    binary::meridian,
    certificates::Authority,
    http::get,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
};

/// The value of a series whose name and labels end like this.
async fn value(site: &Site, node: &Place, name: &str, file: &str) -> Option<f64> {
    let page = site.metrics(node).await;
    page.lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let of_file = series.ends_with(&format!("{file}\"}}"));
        (series.starts_with(name) && of_file).then(|| value.parse().expect("a number"))
    })
}

/// Waits until every node has a series of a file at a wanted value.
async fn everywhere(site: &Site, name: &str, file: &str, wanted: impl Fn(&str, f64) -> bool) {
    for node in &site.nodes {
        until(
            &format!("{name} of {file} at {}", node.id),
            LONG,
            async || match value(site, node, name, file).await {
                Some(value) if wanted(&node.id, value) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    }
}

/// Waits until every node takes every other for up, over a standing connection.
async fn whole(site: &Site) {
    for node in &site.nodes {
        until(&format!("{} sees all", node.id), LONG, async || {
            let status = site.status(node).await;
            let nodes = status["nodes"].as_array().expect("a list");
            let up = nodes.iter().filter(|node| node["state"] == "up").count();
            if up == site.nodes.len() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_changes_its_authority_and_loses_no_connection() {
    let places = [("one", "here"), ("two", "there"), ("three", "away")];
    let site = Site::new("turning", &places).await;
    let mut nodes: Vec<Process> = site.nodes.iter().map(|node| site.spawn(node)).collect();
    until("the admin APIs listen", LONG, async || {
        for node in &site.nodes {
            get("/livez").try_send(node.admin).await?;
        }
        Ok(())
    })
    .await;
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let document = site.document(&[("here", nowhere), ("there", nowhere), ("away", nowhere)]);
    site.apply(&site.nodes[0], &document).await;
    whole(&site).await;
    everywhere(&site, "meridian_certificate_count", "ca.pem", |_, count| {
        count == 1.0
    })
    .await;
    // What they say from here on: nodes that meet may dial each other at once, and close one connection of two.
    let met: Vec<usize> = nodes.iter().map(|node| node.stderr().len()).collect();
    // For a node that everybody forgets, see below.
    let old = site.path("old");
    let kept = ["ca.pem", "node.pem", "node.key"];
    std::fs::create_dir(&old).expect("made");
    for name in kept {
        std::fs::copy(site.path("ca/three").join(name), old.join(name)).expect("copied");
    }

    let ca = site.path("ca");
    let ca = ca.to_str().expect("a plain path");
    meridian(&["ca", "rotate", ca]).await.expect(0);
    everywhere(&site, "meridian_certificate_count", "ca.pem", |_, count| {
        count == 2.0
    })
    .await;
    let mut before = BTreeMap::new();
    for node in &site.nodes {
        let expires = value(
            &site,
            node,
            "meridian_certificate_expiry_seconds",
            "node.pem",
        )
        .await;
        before.insert(node.id.clone(), expires.expect("it is there"));
    }
    let early = meridian(&["ca", "rotate", ca, "--finish"]).await.expect(1);
    assert!(early.stderr.contains("one, three, two"), "{early:?}");
    meridian(&["ca", "renew", ca]).await.expect(0);
    everywhere(
        &site,
        "meridian_certificate_expiry_seconds",
        "node.pem",
        |id, expires| expires > before[id],
    )
    .await;
    meridian(&["ca", "rotate", ca, "--finish"]).await.expect(0);
    everywhere(&site, "meridian_certificate_count", "ca.pem", |_, count| {
        count == 1.0
    })
    .await;

    // Nobody lost anybody on the way.
    for (node, met) in nodes.iter().zip(met) {
        let said = &node.stderr()[met..];
        assert!(!said.contains("connection ended"), "{said}");
        assert!(!said.contains("cannot be used"), "{said}");
    }
    whole(&site).await;
    // A node that starts again meets the others by the new authority.
    nodes[2].signal("TERM").await;
    assert_eq!(nodes[2].end(LONG).await.code(), Some(0));
    nodes[2] = site.start(&site.nodes[2]).await;
    whole(&site).await;
    site.apply(
        &site.nodes[1],
        &format!("{document}# by the new authority\n"),
    )
    .await;

    // One with certificates of the old authority is refused, and counted.
    nodes[2].signal("TERM").await;
    nodes[2].end(LONG).await;
    for name in kept {
        std::fs::copy(old.join(name), site.path("ca/three").join(name)).expect("copied");
    }
    let forgotten = site.spawn(&site.nodes[2]);
    until("it is refused", LONG, async || {
        let page = site.metrics(&site.nodes[0]).await;
        let refused = page.lines().any(|line| {
            let count = line.strip_prefix("meridian_fabric_refusals_total{reason=\"authority\"} ");
            count.is_some_and(|count| count != "0")
        });
        if refused && forgotten.stderr().contains("reason=\"authority\"") {
            Ok(())
        } else {
            Err(forgotten.stderr())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edges_certificate_is_replaced_and_a_broken_one_is_not_taken() {
    let site = Site::new("edges", &[("one", "here")]).await;
    let node = &site.nodes[0];
    let running = site.start(node).await;
    site.apply(
        node,
        &site.document(&[("here", "127.0.0.1:9".parse().expect("an address"))]),
    )
    .await;
    let trusted_by = async |authority: &str| {
        let ran = tokio::process::Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(site.path(authority))
            .arg(format!("https://localhost:{}/open", node.https.port()))
            .output()
            .await
            .expect("curl runs");
        ran.status.success()
    };
    assert!(trusted_by("outside-ca.pem").await);

    let verbose = async || {
        let answer = get("/healthz?verbose").send(node.admin).await;
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    std::fs::write(site.path("edge.pem"), "-----BEGIN CERT").expect("written");
    running.signal("HUP").await;
    until("the broken file is told", LONG, async || {
        let health = verbose().await;
        let told = health.contains("certificate edge localhost") && health.contains("not in force");
        if told && running.stderr().contains("edge.pem") {
            Ok(())
        } else {
            Err(health)
        }
    })
    .await;
    assert!(
        trusted_by("outside-ca.pem").await,
        "what was in force stays"
    );

    let other = Authority::new();
    let issued = other.issue();
    let write = |name: &str, text: &str| std::fs::write(site.path(name), text).expect("written");
    write("other-ca.pem", other.pem());
    write("edge.key", &issued.key);
    write("edge.pem", &issued.certificate);
    running.signal("HUP").await;
    until("the new certificate is shown", LONG, async || {
        if trusted_by("other-ca.pem").await && !trusted_by("outside-ca.pem").await {
            Ok(())
        } else {
            Err(running.stderr())
        }
    })
    .await;
    until("the fault is forgotten", LONG, async || {
        let health = verbose().await;
        if health.contains("not in force") {
            Err(health)
        } else {
            Ok(())
        }
    })
    .await;
}
