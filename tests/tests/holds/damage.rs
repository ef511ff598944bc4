//! A node whose disk comes back damaged, with the real store on it.

use std::{fs, path::Path};

use meridian_tests::{
    http::get,
    site::Site,
    wait::{LONG, until},
};

/// Flips a bit in every 16 KiB of a file that hold anything.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).expect("the store's file");
    for part in bytes.chunks_mut(16 << 10) {
        if let Some(byte) = part.iter_mut().find(|byte| **byte != 0) {
            *byte ^= 1;
        }
    }
    fs::write(file, bytes).expect("the test's folder can be written");
}

fn has(folder: &Path, prefix: &str) -> bool {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names = entries.map(|entry| entry.expect("an entry").file_name());
    names.any(|name| name.to_string_lossy().starts_with(prefix))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_damaged_log_says_so_serves_and_votes_again() {
    let regions = [("a", "eu-west"), ("b", "us-east"), ("c", "ap-south")];
    let site = Site::new("damage", &regions).await;
    let mut processes = Vec::new();
    for node in &site.nodes {
        processes.push(site.start(node).await);
    }
    let (first, last) = (&site.nodes[0], &site.nodes[2]);
    let document = site.document(&[("eu-west", "127.0.0.1:9".parse().expect("an address"))]);
    site.apply(first, &document).await;
    let mut process = processes.pop().expect("three of them");
    process.signal("KILL").await;
    process.end(LONG).await;
    flip(&site.data(last).join("log").join("db"));

    let mut process = site.start(last).await;
    until("it serves", LONG, async || {
        process.must_run();
        let answer = get("/open").try_send(last.http).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    let said = process.stderr();
    assert!(
        said.contains("damaged") && said.contains("rejoins as a learner"),
        "{said}"
    );
    assert!(has(&site.data(last), "log.damaged-"));
    until("it votes again", LONG, async || {
        let status = site.status(last).await;
        let voters = status["group"]["voters"].as_array().cloned();
        let votes = voters.is_some_and(|voters| voters.len() == 3);
        if votes && status["group"]["role"] != "learner" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    site.apply(last, &format!("{document}# once more\n")).await;
}
