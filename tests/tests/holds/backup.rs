//! A cluster is lost with all its disks, and begins again on empty nodes with its backup.

use std::{fs, time::Instant};

use meridian_tests::{
    binary::Ran,
    http::{call, get},
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
};

/// A document of so many tenants.
fn tenants(count: usize) -> String {
    let mut text = String::from(
        "meridian: 1\nregions: { eu-west: {}, us-east: {}, ap-south: {} }\nplans: { small: { limits: [5/minute] } }\n\
         routes:\n  open: { match: { path: /open }, respond: { status: 200, json: { ok: true } }, exempt: [auth, limits] }\n\
         tenants:\n",
    );
    for number in 0..count as u64 {
        // As little alike as the ids that a provider gives to organisations.
        let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.push_str(&format!(
            "  tenant-{number:05}: {{ plan: small, aliases: [org_{id:016x}] }}\n"
        ));
    }
    text
}

async fn awaiting(site: &Site, node: &Place) -> Process {
    let mut command = site.command(&site.config(node));
    command.arg("--await-restore");
    let mut process = Process::start(&node.id, &site.path(""), command);
    until("the node waits for a restore", LONG, async || {
        process.must_run();
        let status = site.admin(node, &["status", "-o", "json"]).await;
        let waits = status.stdout.contains("meridian restore FILE");
        if waits { Ok(()) } else { Err(status.stderr) }
    })
    .await;
    process
}

fn restore<'a>(file: &'a str, key: &'a str) -> [&'a str; 4] {
    ["restore", file, "--key", key]
}

/// It failed with this exit and these words, and the node goes on waiting.
fn refused(ran: &Ran, code: i32, words: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(words), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
}

async fn history(site: &Site, node: &Place) -> Vec<(u64, String)> {
    let history = site.admin(node, &["history", "-o", "json"]).await.json();
    let revisions = history["revisions"].as_array().expect("a list");
    revisions
        .iter()
        .map(|revision| {
            let number = revision["revision"].as_u64().expect("a number");
            (
                number,
                revision["digest"].as_str().expect("a digest").to_owned(),
            )
        })
        .collect()
}

async fn serves(site: &Site, nodes: &[Place], revision: u64) {
    for node in nodes {
        until(
            &format!("{} serves the document", node.id),
            LONG,
            async || {
                let status = site.admin(node, &["status", "-o", "json"]).await;
                if status.code != Some(0) {
                    return Err(status.stderr);
                }
                let status = status.json();
                let open = get("/open").try_send(node.http).await?;
                if status["serving"]["revision"] == revision && open.status == 200 {
                    Ok(())
                } else {
                    Err(format!("{open:?} {status}"))
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_lost_cluster_begins_again_with_its_backup_of_10_000_tenants() {
    let regions = [
        ("ap-1", "ap-south"),
        ("eu-1", "eu-west"),
        ("us-1", "us-east"),
    ];
    let site = Site::new("test", &regions).await;
    let [first, second, third] = &site.nodes[..] else {
        panic!("three nodes");
    };
    let mut processes = Vec::new();
    for node in &site.nodes {
        processes.push(site.start(node).await);
    }
    site.apply(first, &tenants(10)).await;
    site.apply(second, &tenants(10_000)).await;
    let held = history(&site, first).await;
    assert_eq!(held.len(), 2);
    let block = ["block", "add", "198.51.100.0/24", "--reason", "flood"];
    site.admin(second, &block).await.expect(0);

    let at = |name: &str| site.path(name).to_str().expect("a plain path").to_owned();
    let (file, key, public) = (at("cluster.backup"), at("backup.key"), at("backup.key.pub"));
    site.admin(third, &["backup-key", &key]).await.expect(0);
    refused(
        &site.admin(third, &["backup-key", &key]).await,
        2,
        "name another file",
    );
    refused(
        &site.admin(third, &["backup", &file, "--to", &key]).await,
        2,
        "this is the secret key",
    );
    let begun = Instant::now();
    site.admin(third, &["backup", &file, "--to", &public])
        .await
        .expect(0);
    let saved = begun.elapsed();
    let bytes = fs::read(&file).expect("it was written");
    let late = at("late.backup");
    let other = at("other.key");
    site.admin(third, &["backup-key", &other]).await.expect(0);

    // The living cluster takes none.
    refused(
        &site.admin(first, &restore(&file, &key)).await,
        1,
        "does not wait for a restore",
    );

    // Everything is lost, but for one disk that somebody forgot.
    let mut last = processes.pop().expect("three of them");
    for mut process in processes {
        process.signal("KILL").await;
        process.end(LONG).await;
    }
    until("it misses the majority", LONG, async || {
        let ran = site.admin(third, &["backup", &late, "--to", &public]).await;
        // A write that was under way when the others died is not confirmed.
        if ran.stderr.contains("no quorum") {
            refused(&ran, 4, "ask for a stale backup");
            Ok(())
        } else {
            Err(format!("{ran:?}"))
        }
    })
    .await;
    let stale = [&["backup", &late, "--to", &public][..], &["--stale"]].concat();
    let stale = site.admin(third, &stale).await.expect(0);
    assert!(stale.stdout.contains("without a quorum"), "{stale:?}");
    last.signal("KILL").await;
    last.end(LONG).await;
    for node in [first, second] {
        fs::remove_dir_all(site.data(node)).expect("it was there");
    }
    let leader = awaiting(&site, first).await;

    // What cannot be opened, or is not whole, is refused before any node hears of it.
    let changed = |name: &str, bytes: &[u8]| {
        fs::write(site.path(name), bytes).expect("the test's folder can be written");
        at(name)
    };
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let half = changed("half.backup", &bytes[..bytes.len() / 2]);
    let flipped = changed("flipped.backup", &flipped);
    let document = changed("gateway.backup", b"meridian: 1\n");
    for (file, key, words) in [
        (&half, &key, "it is cut off"),
        (&flipped, &key, "it is damaged"),
        (&document, &key, "it is no backup"),
        (&file, &other, "it is sealed to the key"),
        (&file, &public, "this is the public key"),
    ] {
        refused(&site.admin(first, &restore(file, key)).await, 2, words);
    }
    // Nor is anything but the encoded state taken by the node itself.
    let token = fs::read_to_string(site.path("admin.token")).expect("written before");
    let raw = call("POST", "/api/v1/restore")
        .token(token.trim())
        .header("content-type", "application/octet-stream")
        .body(bytes.clone())
        .send(first.admin)
        .await;
    assert_eq!(raw.status, 422, "{raw:?}");
    let status = site.status(first).await;
    assert_eq!(status["group"]["voters"].as_array().map(Vec::len), Some(0));
    let checked = [&restore(&file, &key)[..], &["--dry-run"]].concat();
    let checked = site.admin(first, &checked).await.expect(0);
    assert!(
        checked.stdout.contains("revision  2 (2 kept)"),
        "{checked:?}"
    );

    // A node that still belongs to the lost cluster stands in the way until it is gone.
    let mut forgotten = site.start(third).await;
    until("it is met", LONG, async || {
        let status = site.status(first).await;
        let nodes = status["nodes"].as_array().expect("a list");
        let met = nodes
            .iter()
            .any(|node| node["id"] == third.id.as_str() && node["state"] == "up");
        if met { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    refused(
        &site.admin(first, &restore(&file, &key)).await,
        1,
        "us-1 can be reached and belongs to a cluster already",
    );
    forgotten.signal("KILL").await;
    forgotten.end(LONG).await;

    let begun = Instant::now();
    let restored = site.admin(first, &restore(&file, &key)).await.expect(0);
    let restored_after = begun.elapsed();
    assert!(
        restored.stdout.contains("restored: revision 2"),
        "{restored:?}"
    );
    serves(&site, &site.nodes[..1], 2).await;
    let served_after = begun.elapsed();
    println!(
        "10 000 tenants: a backup of {} bytes in {saved:?}; restored in {restored_after:?}, served after {served_after:?}",
        bytes.len()
    );

    let _second = site.start(second).await;
    serves(&site, &site.nodes[..2], 2).await;
    assert_eq!(history(&site, second).await, held);

    // The forgotten disk is of the lost cluster: the node is refused, and an empty one joins.
    let mut forgotten = site.start(third).await;
    until("it is told why it is refused", LONG, async || {
        let said = forgotten.stderr();
        if said.contains("data folder belongs to cluster") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    forgotten.signal("KILL").await;
    forgotten.end(LONG).await;
    fs::remove_dir_all(site.data(third)).expect("it was there");
    let _third = site.start(third).await;
    until("all three vote", LONG, async || {
        let status = site.status(third).await;
        match status["group"]["voters"].as_array().map(Vec::len) {
            Some(3) => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await;
    serves(&site, &site.nodes, 2).await;
    assert_eq!(history(&site, third).await, held);
    let blocks = site.admin(third, &["block", "list"]).await.expect(0);
    assert!(blocks.stdout.contains("198.51.100.0/24"), "{blocks:?}");
    site.apply(third, &tenants(3)).await;
    serves(&site, &site.nodes, 3).await;
    drop(leader);
}
