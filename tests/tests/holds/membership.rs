//! Nodes that are drained, put back, removed, replaced, added, and that come back.

use std::{path::Path, time::Duration};

use meridian_tests::{
    http::get,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
    writers,
};
use tokio::time::Instant;

/// The lease of the profile that `meridian node` runs with: whoever waits for an election waits longer.
const LEASE: Duration = Duration::from_secs(1);

/// A document whose route `/open` needs nothing but a node.
fn document(regions: &[&str]) -> String {
    let regions: String = regions
        .iter()
        .map(|region| format!("  {region}: {{}}\n"))
        .collect();
    format!(
        "meridian: 1\nregions:\n{regions}routes:\n  open: {{ match: {{ path: /open }}, respond: {{ status: 200, json: {{ ok: true }} }}, exempt: [auth, limits] }}\n"
    )
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

/// Waits until the group as `at` sees it is as wanted: voters, learners.
async fn group(
    site: &Site,
    at: &Place,
    what: &str,
    within: Duration,
    wanted: impl Fn(&[String], &[String]) -> bool,
) {
    until(what, within, async || {
        let status = site.try_status(at).await?;
        let (voters, learners) = (
            strings(&status["group"]["voters"]),
            strings(&status["group"]["learners"]),
        );
        if wanted(&voters, &learners) {
            Ok(())
        } else {
            Err(format!("voters {voters:?}, learners {learners:?}"))
        }
    })
    .await;
}

async fn leader(site: &Site, at: &Place) -> String {
    until("a leader", LONG, async || {
        let status = site.try_status(at).await?;
        let leader = status["group"]["leader"].as_str();
        leader.map(str::to_owned).ok_or_else(|| status.to_string())
    })
    .await
}

/// Waits until a node serves the newest revision as `like` has it.
async fn caught_up(site: &Site, node: &Place, like: &Place) {
    let wanted = site.status(like).await["serving"]["revision"].clone();
    until(
        &format!("{} serves revision {wanted}", node.id),
        LONG,
        async || {
            let status = site.try_status(node).await?;
            if status["serving"]["revision"] == wanted {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
}

/// Waits until a probe of a node answers so.
async fn probe(node: &Place, status: u16, says: &str) {
    until(&format!("{} is {says}", node.id), LONG, async || {
        let answer = get("/readyz").try_send(node.admin).await?;
        if answer.status == status && answer.json()["status"] == says {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
}

/// The cluster's id as a data folder remembers it: 32 hexadecimal digits in a file.
fn cluster_id(data: &Path) -> String {
    let bytes = std::fs::read(data.join("files/identity")).expect("it belongs to a cluster");
    let id = bytes
        .windows(32)
        .find(|part| part.iter().all(u8::is_ascii_hexdigit));
    String::from_utf8_lossy(id.expect("the id")).into_owned()
}

async fn kill(process: &mut Process) {
    process.signal("KILL").await;
    process.end(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_leader_hands_over_without_a_failed_write_and_is_put_back() {
    let places = [("a1", "eu"), ("a2", "eu"), ("b1", "us"), ("c1", "ap")];
    let site = Site::new("drained", &places).await;
    let mut processes: Vec<Process> = site.nodes.iter().map(|node| site.spawn(node)).collect();
    let document = document(&["eu", "us", "ap"]);
    let all: Vec<&Place> = site.nodes.iter().collect();
    until("the admin APIs listen", LONG, async || {
        for node in &all {
            get("/livez").try_send(node.admin).await?;
        }
        Ok(())
    })
    .await;
    site.apply(all[0], &document).await;
    site.whole(&all).await;
    group(&site, all[0], "a learner", LONG, |_, learners| {
        learners.len() == 1
    })
    .await;

    let first = leader(&site, all[0]).await;
    let (drained, others): (Vec<usize>, Vec<usize>) = (0..4).partition(|at| all[*at].id == first);
    let (at, witness) = (drained[0], all[others[0]]);
    let drained = all[at];
    let writing = writers::start(&site, &site.nodes, &document);
    writing.acknowledged(20).await;
    let begun = Instant::now();
    let ran = site.admin(witness, &["drain", &first]).await.expect(0);
    assert!(ran.stderr.contains("undrain"), "{ran:?}");
    let next = until("another leads", LONG, async || {
        let next = leader(&site, witness).await;
        if next == first { Err(next) } else { Ok(next) }
    })
    .await;
    probe(drained, 503, "draining").await;
    until("its edge is closed", LONG, async || {
        match get("/open").try_send(drained.http).await {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("{answer:?}")),
        }
    })
    .await;
    let voted = |voters: &[String]| voters.contains(&first);
    if drained.region == "eu" {
        group(
            &site,
            witness,
            "its vote is given away",
            LONG,
            |voters, _| voters.len() == 3 && !voted(voters),
        )
        .await;
    }
    writing.acknowledged(20).await;
    let ended = Instant::now();
    let written = writing.stop(&site, witness).await;
    println!(
        "{first} handed over to {next}: no write acknowledged for at most {:?}, the slowest took {:?}, {} acknowledged",
        written.longest_gap(begun, ended),
        written.slowest(),
        written.acknowledged().count()
    );
    assert_eq!(written.failed().len(), 0, "{:?}", written.failed());
    assert_eq!(written.lost(), Vec::<String>::new());
    // Not one write waited for an election.
    assert!(
        written.longest_gap(begun, ended) < LEASE,
        "{:?}",
        written.longest_gap(begun, ended)
    );

    // It stays a member, says by whom it was drained, takes writes by its API, and stays drained over a restart.
    let status = site.status(drained).await;
    let own = status["nodes"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|node| node["id"] == first.as_str());
    assert_eq!(own.expect("itself")["drained_by"], "test", "{status}");
    site.apply(drained, &format!("{document}# through the drained node\n"))
        .await;
    processes[at].signal("TERM").await;
    assert_eq!(
        processes[at].end(LONG).await.code(),
        Some(0),
        "{}",
        processes[at].stderr()
    );
    processes[at] = site.start(drained).await;
    caught_up(&site, drained, witness).await;
    probe(drained, 503, "draining").await;
    assert!(
        get("/open").try_send(drained.http).await.is_err(),
        "it listens though it is drained"
    );

    // Put back, it listens at the same address.
    site.admin(drained, &["undrain", &first]).await.expect(0);
    until("it serves again", LONG, async || {
        let answer = get("/open").try_send(drained.http).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    assert_eq!(get("/readyz").send(drained.admin).await.status, 200);
    for process in &mut processes {
        process.must_run();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_refused_with_its_old_disk_and_joins_as_new_without() {
    let places = [("a1", "eu"), ("b1", "us"), ("c1", "ap"), ("c2", "ap")];
    let site = Site::new("removed", &places).await;
    let mut processes: Vec<Process> = site.nodes.iter().map(|node| site.spawn(node)).collect();
    let document = document(&["eu", "us", "ap"]);
    let [a1, b1, c1, _] = &site.nodes[..] else {
        panic!("four nodes")
    };
    until("the admin APIs listen", LONG, async || {
        for node in &site.nodes {
            get("/livez").try_send(node.admin).await?;
        }
        Ok(())
    })
    .await;
    site.apply(a1, &document).await;
    site.whole(&site.nodes.iter().collect::<Vec<_>>()).await;
    group(
        &site,
        a1,
        "c1 votes and c2 learns",
        LONG,
        |voters, learners| voters == ["a1", "b1", "c1"] && learners == ["c2"],
    )
    .await;

    // One that serves is not removed, and an unknown one neither.
    let refused = site.admin(b1, &["remove", "c1"]).await.expect(1);
    assert!(refused.stderr.contains("meridian drain c1"), "{refused:?}");
    let refused = site.admin(b1, &["remove", "c9"]).await.expect(1);
    assert!(refused.stderr.contains("c9"), "{refused:?}");

    site.admin(b1, &["drain", "c1"]).await.expect(0);
    site.admin(b1, &["remove", "c1"]).await.expect(0);
    // Its process ends by itself and says why; its vote is another's.
    let ended = processes[2].end(LONG).await;
    assert_eq!(ended.code(), Some(1), "{}", processes[2].stderr());
    let says = "c1 was removed from the cluster";
    let said = processes[2].stderr();
    assert!(said.contains(says), "{said}");
    assert!(!said.contains("work is taken again"), "{said}");
    group(&site, a1, "c2 has its vote", LONG, |voters, learners| {
        voters == ["a1", "b1", "c2"] && learners.is_empty()
    })
    .await;
    site.apply(a1, &format!("{document}# without c1\n")).await;

    // Started again on its old disk it is refused, and ends again.
    let mut again = site.spawn(c1);
    assert_eq!(again.end(LONG).await.code(), Some(1), "{}", again.stderr());
    let said = again.stderr();
    assert!(
        said.contains(says) && !said.contains("serving node="),
        "{said}"
    );
    let status = site.status(a1).await;
    assert_eq!(
        strings(&status["group"]["voters"]),
        ["a1", "b1", "c2"],
        "{status}"
    );
    assert_eq!(
        strings(&status["group"]["learners"]),
        Vec::<String>::new(),
        "{status}"
    );

    // With an empty folder it joins as new, and stays.
    std::fs::remove_dir_all(site.data(c1)).expect("removed");
    processes[2] = site.start(c1).await;
    caught_up(&site, c1, a1).await;
    group(&site, a1, "c1 is a learner", LONG, |voters, learners| {
        voters == ["a1", "b1", "c2"] && learners == ["c1"]
    })
    .await;
    // It lets clients in when the quota's ledger has told it what it may spend.
    until("c1 serves", LONG, async || {
        match get("/open").try_send(c1.http).await?.status {
            200 => Ok(()),
            other => Err(format!("it answers {other}")),
        }
    })
    .await;
    assert_eq!(cluster_id(&site.data(c1)), cluster_id(&site.data(a1)));
    for process in &mut processes {
        process.must_run();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_by_any_living_address_and_come_back_with_their_disk_and_without() {
    let mut site = Site::new("joined", &[("a", "eu"), ("b", "us"), ("c", "ap")]).await;
    let founders = site.nodes.clone();
    let [a, b, c] = &founders[..] else {
        panic!("three nodes")
    };
    let mut processes: Vec<Process> = founders.iter().map(|node| site.spawn(node)).collect();
    let document = document(&["eu", "us", "ap"]);
    until("an admin API listens", LONG, async || {
        get("/livez").try_send(a.admin).await.map(drop)
    })
    .await;
    site.apply(a, &document).await;

    // Two addresses that nobody answers at, and a voter's; then by a learner alone.
    let nobody = || "127.0.0.1:9".parse().expect("an address");
    let gone = Place::new("gone", "eu").fabric;
    let d = site.add("d", "eu", &[nobody(), gone, c.fabric]).await;
    processes.push(site.start(&d).await);
    group(&site, a, "d has joined", LONG, |_, learners| {
        learners == ["d"]
    })
    .await;
    caught_up(&site, &d, a).await;
    let e = site.add("e", "us", &[d.fabric]).await;
    processes.push(site.start(&e).await);
    group(&site, a, "e has joined", LONG, |_, learners| {
        learners == ["d", "e"]
    })
    .await;
    caught_up(&site, &e, a).await;
    site.whole(&site.nodes.iter().collect::<Vec<_>>()).await;

    // Killed and back on its disk within the grace, a voter keeps its vote, and has what it missed.
    kill(&mut processes[2]).await;
    site.apply(a, &format!("{document}# while c was dead\n"))
        .await;
    processes[2] = site.start(c).await;
    caught_up(&site, c, a).await;
    group(&site, c, "c votes", LONG, |voters, _| {
        voters == ["a", "b", "c"]
    })
    .await;

    // Killed and back without its disk, it loses its vote first, and gets one again.
    let id = cluster_id(&site.data(a));
    kill(&mut processes[1]).await;
    std::fs::remove_dir_all(site.data(b)).expect("removed");
    processes[1] = site.start(b).await;
    caught_up(&site, b, a).await;
    let said = processes[1].stderr();
    assert!(
        said.contains("taken into the cluster as a learner"),
        "{said}"
    );
    group(
        &site,
        a,
        "each region has a vote again",
        LONG,
        |voters, _| {
            let of_us = voters
                .iter()
                .filter(|voter| ["b", "e"].contains(&voter.as_str()));
            voters.len() == 3 && of_us.count() == 1
        },
    )
    .await;
    for node in &site.nodes {
        assert_eq!(cluster_id(&site.data(node)), id, "{}", node.id);
    }
    site.apply(b, &format!("{document}# through the one without a disk\n"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_by_a_learner_of_its_region_after_the_grace() {
    let mut site = Site::new("replaced", &[("a1", "eu"), ("b1", "us"), ("c1", "ap")]).await;
    let founders = site.nodes.clone();
    let [a1, _, c1] = &founders[..] else {
        panic!("three nodes")
    };
    let mut processes: Vec<Process> = founders.iter().map(|node| site.spawn(node)).collect();
    let document = document(&["eu", "us", "ap"]);
    until("an admin API listens", LONG, async || {
        get("/livez").try_send(a1.admin).await.map(drop)
    })
    .await;
    site.apply(a1, &document).await;
    // By its name `b2` would come first; by its region it is `c2`.
    for (id, region) in [("b2", "us"), ("c2", "ap")] {
        let node = site.add(id, region, &[a1.fabric]).await;
        processes.push(site.start(&node).await);
        caught_up(&site, &node, a1).await;
    }
    group(&site, a1, "two learners", LONG, |voters, learners| {
        voters == ["a1", "b1", "c1"] && learners == ["b2", "c2"]
    })
    .await;
    let grace = site.status(a1).await["group"]["replaces_after_s"].as_u64();
    let grace = Duration::from_secs(grace.expect("how long a voter may be away"));

    kill(&mut processes[2]).await;
    let killed = Instant::now();
    group(
        &site,
        a1,
        "c2 has the vote of c1",
        grace + LONG,
        |voters, _| {
            assert!(
                voters.contains(&"c1".to_owned()) || voters == ["a1", "b1", "c2"],
                "another one took it: {voters:?}"
            );
            voters == ["a1", "b1", "c2"]
        },
    )
    .await;
    println!(
        "replaced {:?} after it was killed; the grace is {grace:?}",
        killed.elapsed()
    );
    assert!(killed.elapsed() > grace, "{:?}", killed.elapsed());

    // It comes back on its disk: as a learner, its region has its vote.
    site.apply(a1, &format!("{document}# while c1 was dead\n"))
        .await;
    processes[2] = site.start(c1).await;
    caught_up(&site, c1, a1).await;
    group(&site, c1, "c1 learns", LONG, |voters, learners| {
        voters == ["a1", "b1", "c2"] && learners == ["b2", "c1"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_founders_that_find_each_other_again_found_no_second_cluster() {
    let mut site = Site::new("wiped", &[("a", "eu"), ("b", "us"), ("c", "ap")]).await;
    let founders = site.nodes.clone();
    let [a, b, c] = &founders[..] else {
        panic!("three nodes")
    };
    let mut processes: Vec<Process> = founders.iter().map(|node| site.spawn(node)).collect();
    let document = document(&["eu", "us", "ap"]);
    until("an admin API listens", LONG, async || {
        get("/livez").try_send(a.admin).await.map(drop)
    })
    .await;
    site.apply(a, &document).await;
    let d = site.add("d", "eu", &[a.fabric]).await;
    processes.push(site.start(&d).await);
    caught_up(&site, &d, a).await;
    let (id, before) = (
        cluster_id(&site.data(a)),
        site.status(a).await["serving"]["revision"].clone(),
    );

    for process in &mut processes {
        kill(process).await;
    }
    for node in &founders {
        std::fs::rename(site.data(node), site.path(&node.id).join("aside")).expect("moved");
    }
    // Only the learner remembers. Two founders meet it, and ask it to be taken in; it cannot, without its leader. The
    // third comes when they know of it: with it they are all whom a founding needs.
    processes[3] = site.spawn(&d);
    for (at, node) in founders.iter().take(2).enumerate() {
        processes[at] = site.spawn(node);
    }
    until("a founder has met the learner", LONG, async || {
        let said = processes[0].stderr();
        if said.contains("not taken into the cluster yet") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    processes[2] = site.spawn(c);
    until(
        "each founder has been turned away ten times",
        LONG,
        async || {
            for process in &processes[..3] {
                let said = process.stderr();
                let times = said.matches("not taken into the cluster yet").count();
                if times < 10 {
                    return Err(format!("{times}: {said}"));
                }
            }
            Ok(())
        },
    )
    .await;
    for (node, process) in founders.iter().zip(&processes) {
        let status = site.try_status(node).await.expect("it answers");
        assert_eq!(
            strings(&status["group"]["voters"]),
            Vec::<String>::new(),
            "{status}"
        );
        assert_eq!(
            (&status["group"]["term"], &status["serving"]),
            (&0.into(), &serde_json::Value::Null),
            "{status}"
        );
        assert!(
            !process.stderr().contains("the cluster is founded"),
            "{}",
            process.stderr()
        );
    }

    // Two of them get their disks back: the cluster goes on, and takes the third in.
    for (at, node) in [(1, b), (2, c)] {
        processes[at].signal("TERM").await;
        assert_eq!(
            processes[at].end(LONG).await.code(),
            Some(0),
            "{}",
            processes[at].stderr()
        );
        std::fs::remove_dir_all(site.data(node)).expect("removed");
        std::fs::rename(site.path(&node.id).join("aside"), site.data(node)).expect("moved back");
        processes[at] = site.start(node).await;
    }
    caught_up(&site, b, &d).await;
    until("the wiped one serves what was kept", LONG, async || {
        let status = site.try_status(a).await?;
        if status["serving"]["revision"] == before {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    for node in &site.nodes {
        assert_eq!(cluster_id(&site.data(node)), id, "{}", node.id);
    }
    site.apply(a, &format!("{document}# one cluster\n")).await;
    let after = site.status(a).await["serving"]["revision"].as_u64();
    assert_eq!(after, before.as_u64().map(|before| before + 1));
}
