//! Clocks that are not set.

use std::collections::BTreeMap;

use meridian_tests::{
    http::get,
    peer::ahead,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
};

/// How far a node says that its clock is from that of the quota's leader, in seconds; none before it knows.
async fn offset(site: &Site, at: &Place) -> Result<f64, String> {
    let token = site.admin_token();
    let page = get("/metrics").token(&token).try_send(at.admin).await?.body;
    let page = String::from_utf8_lossy(&page);
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("meridian_quota_clock_offset_seconds "));
    let said: f64 = line
        .ok_or("no such metric")?
        .parse()
        .map_err(|_| format!("{line:?} is no number"))?;
    match said.is_nan() {
        true => Err(format!("{} does not know yet", at.id)),
        false => Ok(said),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_two_seconds_ahead_is_found_out() {
    let site = Site::new(
        "clocks",
        &[
            ("eu-west-1", "eu-west"),
            ("us-east-1", "us-east"),
            ("ap-south-1", "ap-south"),
        ],
    )
    .await;
    let [eu, us, ap] = &site.nodes[..] else {
        unreachable!("three nodes")
    };
    let mut command = site.command(&site.config(ap));
    ahead(&mut command, 2.0);
    let mut wrong = Process::start(&ap.id, &site.path(""), command);
    let (first, second) = (site.start(eu).await, site.start(us).await);
    site.whole(&[eu, us, ap]).await;

    until("every node has compared its clock", LONG, async || {
        let mut found = BTreeMap::new();
        for node in &site.nodes {
            found.insert(node.id.clone(), offset(&site, node).await?);
        }
        // Whoever leads, the one clock is two seconds ahead of the others, which agree.
        let apart = |a: &Place, b: &Place| (found[&a.id] - found[&b.id]).abs();
        let told = [apart(ap, eu), apart(ap, us), apart(eu, us)];
        let right = [2.0, 2.0, 0.0];
        let close = std::iter::zip(told, right).all(|(told, right)| (told - right).abs() < 0.2);
        close.then_some(()).ok_or(format!("{found:?}"))
    })
    .await;

    // Whoever has led meanwhile, some node's clock was apart from its leader's.
    until("the log of a node says so", LONG, async || {
        let logs = [&first, &second, &wrong].map(|it| it.stdout() + &it.stderr());
        let said = logs.iter().any(|log| {
            log.lines()
                .any(|line| line.contains("are apart by over 250 ms"))
        });
        said.then_some(()).ok_or(logs.concat())
    })
    .await;
    // In order: the library leaves its files behind where a process is killed.
    wrong.signal("TERM").await;
    wrong.end(LONG).await;
}
