//! Every kind of fault is printed as it is read, and what makes no sense is refused with its place.

use super::*;
use crate::scenario::{Scenario, find};
use meridian_config::diagnose::Source;

/// A line of each kind, as [`Names::line`] prints it.
const LINES: &[&str] = &[
    "{ at: 1s, for: 5s, power_off: leader }",
    "{ at: 1s, for: 5s, power_off: us-east-1 }",
    "{ at: 1s, for: 5s, kill: eu-west }",
    "{ at: 1s, for: 5s, upgrade: leader-node }",
    "{ at: 1s, for: 5s, kill_upstreams: ap-south }",
    "{ at: 1s, for: 1500ms, isolate: us-east }",
    "{ at: 1s, for: 1500ms, isolate: us-east-1 }",
    "{ at: 1s, for: 5s, stop: each }",
    "{ at: 1s, for: 5s, stop: eu-west-1 }",
    "{ at: 1s, for: 5s, join: us-east }",
    "{ at: 1s, for: 5s, cut: [eu-west, us-east] }",
    "{ at: 1s, for: 5s, cut: [us-east, eu-west], one_way: true }",
    "{ at: 1s, for: 5s, flood: [eu-west, us-east] }",
    "{ at: 1s, for: 5s, kill: us-east-1, wipe: true }",
    "{ at: 1s, for: 5s, pause: us-east-1 }",
    "{ at: 1s, for: 5s, suspend: us-east }",
    "{ at: 1s, for: 5s, flap: [eu-west, us-east], down: 300ms, up: 1s }",
    "{ at: 1s, for: 5s, flap: [eu-west, us-east], one_way: true, down: 300ms, up: 1s, drawn: true }",
    "{ at: 1s, for: 5s, slow: [eu-west, us-east], latency: 80ms }",
    "{ at: 1s, for: 5s, slow: [eu-west, us-east], one_way: true, latency: 80ms, jitter: 40ms }",
    "{ at: 1s, for: 5s, lossy: [eu-west, us-east], loss: 2.05% }",
    "{ at: 1s, for: 5s, lossy: [eu-west, us-east], loss: 20%, duplication: 0.01%, jitter: 90ms }",
    "{ at: 1s, for: 5s, disk_slow: leader-node, latency: 50ms }",
    "{ at: 1s, for: 5s, disk_stall: us-east-1 }",
    "{ at: 1s, for: 5s, disk_full: us-east }",
    "{ at: 1s, for: 5s, disk_errors: us-east-1 }",
    "{ at: 1s, for: 5s, disk_corrupt: us-east-1, part: log }",
    "{ at: 1s, for: 5s, disk_corrupt: us-east-1, part: files }",
    "{ at: 1s, for: 5s, clock: us-east-1, offset: -20s }",
    "{ at: 1s, for: 5s, clock: us-east-1, offset: 1500ms, drift: -200ppm }",
    "{ at: 1s, for: 5s, upstream_slow: eu-west, latency: 1s }",
    "{ at: 1s, for: 5s, upstream_errors: leader, share: 30% }",
    "{ at: 1s, for: 5s, upstream_hangs: eu-west }",
    "{ at: 1s, for: 5s, upstream_flaps: eu-west, down: 300ms, up: 2s, drawn: true }",
    "{ at: 1s, for: 5s, issuer_down: true }",
    "{ at: 1s, for: 5s, issuer_errors: 50% }",
    "{ at: 1s, for: 5s, issuer_rotates: true }",
    "{ at: 1s, for: 5s, narrow: [eu-west, us-east], each_second: 64KiB, queue: 200ms }",
];

/// The shipped story of a lost region, with these faults instead of its own.
fn parse(faults: &[&str]) -> Result<Scenario, Vec<String>> {
    let source = find("region-loss", |_| unreachable!("it is shipped")).unwrap();
    let (head, rest) = source.text.split_once("faults:\n").unwrap();
    let calm = rest.lines().find(|line| line.starts_with("calm:")).unwrap();
    let lines: String = faults.iter().map(|line| format!("  - {line}\n")).collect();
    let source = Source {
        name: "s.yaml".to_owned(),
        text: format!("{head}faults:\n{lines}{calm}\n"),
    };
    let told = |mistakes: Vec<meridian_config::diagnose::Diagnostic>| {
        mistakes.iter().map(ToString::to_string).collect()
    };
    Scenario::parse(&source).map_err(told)
}

/// The mistakes in faults, without their places.
fn refused(faults: &[&str]) -> String {
    parse(faults).expect_err("it makes no sense").join("\n")
}

#[test]
fn every_kind_is_printed_as_it_is_read() {
    for line in LINES {
        let scenario = parse(&[line]).unwrap_or_else(|wrong| panic!("{line}: {wrong:#?}"));
        assert_eq!(scenario.names().line(&scenario.faults[0]), *line);
        assert!(!scenario.describe(&scenario.faults[0].what).is_empty());
    }
    for (key, options) in KINDS {
        let has = |word: &str| {
            LINES
                .iter()
                .any(|line| line.contains(&format!(" {word}: ")))
        };
        assert!(has(key), "{key}");
        for option in *options {
            assert!(has(option), "{option}");
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let wrong = parse(&["{ at: 1s, for: 5s, kill: us-east-2 }"]).unwrap_err();
    assert!(wrong[0].contains("s.yaml:"), "{wrong:?}");
    let says = "kill: there is neither a region nor a node \"us-east-2\"; use leader, leader-node, or one of eu-west, us-east, ap-south, eu-west-1, us-east-1, ap-south-1";
    assert!(wrong[0].contains(says), "{wrong:?}");
    let wrong = refused(&["{ at: 1s, for: 5s, kill_upstreams: us-east-1 }"]);
    assert!(wrong.contains("a region has this, not a node"), "{wrong}");
}

#[test]
fn keys_that_mean_nothing_are_refused() {
    let wrong = refused(&["{ at: 1s, for: 5s, kill: us-east, one_way: true }"]);
    assert!(wrong.contains("kill: one_way says nothing here"), "{wrong}");
    let wrong = refused(&["{ at: 1s, for: 5s, kil: us-east }"]);
    assert!(
        wrong.contains("name exactly one of power_off, kill"),
        "{wrong}"
    );
    let wrong = refused(&[
        "{ for: 5s, kill: us-east }",
        "{ at: 1s, for: 5, kill: leader }",
    ]);
    assert!(wrong.contains("faults[0]: at is missing"), "{wrong}");
    assert!(
        wrong.contains("faults.for: write a duration, as 5s"),
        "{wrong}"
    );
    let wrong = refused(&["{ at: 1s, for: 5s, cut: us-east }"]);
    assert!(
        wrong.contains("cut: name two regions, as [eu-west, us-east]"),
        "{wrong}"
    );
}

#[test]
fn a_link_that_goes_wrong_says_how() {
    let found = parse(&["{ at: 1s, for: 5s, slow: [eu-west, us-east] }"]).unwrap_err();
    let says = "s.yaml:30:30: slow: latency is missing; write a duration, as 500ms";
    assert_eq!(found, [says]);
    let wrong = refused(&["{ at: 1s, for: 5s, lossy: [eu-west, us-east] }"]);
    assert!(wrong.contains("loss, duplication, or jitter"), "{wrong}");
    let wrong = refused(&["{ at: 1s, for: 5s, lossy: [eu-west, us-east], loss: 120% }"]);
    assert!(
        wrong.contains("lossy.loss: \"120%\" is not a share"),
        "{wrong}"
    );
    let wrong = refused(&[
        "{ at: 1s, for: 5s, disk_slow: leader-node, latency: 50ms }",
        "{ at: 1s, for: 5s, disk_stall: us-east-1 }",
        "{ at: 1s, for: 5s, disk_full: us-east }",
        "{ at: 1s, for: 5s, disk_errors: us-east-1 }",
        "{ at: 1s, for: 5s, disk_corrupt: us-east-1, part: log }",
        "{ at: 1s, for: 5s, disk_corrupt: us-east-1, part: files }",
        "{ at: 1s, for: 5s, clock: us-east-1, offset: -20s }",
        "{ at: 1s, for: 5s, clock: us-east-1, offset: 1500ms, drift: -200ppm }",
        "{ at: 1s, for: 5s, upstream_slow: eu-west, latency: 1s }",
        "{ at: 1s, for: 5s, upstream_errors: leader, share: 30% }",
        "{ at: 1s, for: 5s, upstream_hangs: eu-west }",
        "{ at: 1s, for: 5s, upstream_flaps: eu-west, down: 300ms, up: 2s, drawn: true }",
        "{ at: 1s, for: 5s, issuer_down: true }",
        "{ at: 1s, for: 5s, issuer_errors: 50% }",
        "{ at: 1s, for: 5s, issuer_rotates: true }",
        "{ at: 1s, for: 5s, narrow: [eu-west, us-east], each_second: 0B, queue: 1s }",
        "{ at: 1s, for: 5s, flap: [eu-west, us-east], down: 0s, up: 1s, drawn: often }",
    ]);
    assert!(
        wrong.contains("narrow.each_second: nothing would pass"),
        "{wrong}"
    );
    assert!(wrong.contains("flap.down: no time at all"), "{wrong}");
    assert!(
        wrong.contains("flap: drawn: write true or false"),
        "{wrong}"
    );
}

#[test]
fn a_disk_and_a_clock_that_go_wrong_say_how() {
    let wrong = refused(&[
        "{ at: 1s, for: 5s, disk_corrupt: us-east-1, part: soul }",
        "{ at: 9s, for: 5s, clock: us-east-1 }",
        "{ at: 9s, for: 5s, clock: us-east-1, offset: -11m }",
        "{ at: 9s, for: 5s, clock: us-east-1, drift: 3% }",
    ]);
    assert!(
        wrong.contains("part: \"soul\" is none; write log or files"),
        "{wrong}"
    );
    assert!(wrong.contains("clock: say how it is wrong"), "{wrong}");
    assert!(
        wrong.contains("clock.offset: at most 600s either way"),
        "{wrong}"
    );
    assert!(wrong.contains("clock.drift: \"3%\" is none"), "{wrong}");
}

#[test]
fn upstreams_and_the_issuer_are_told_what_goes_wrong_and_have_no_more_of_it_than_there_is() {
    let wrong = refused(&[
        "{ at: 1s, for: 5s, upstream_hangs: us-east-1 }",
        "{ at: 1s, for: 5s, upstream_errors: us-east, share: 0% }",
        "{ at: 1s, for: 5s, issuer_errors: true }",
        "{ at: 1s, for: 5s, issuer_down: leader }",
    ]);
    assert!(
        wrong.contains("upstream_hangs: a region has this, not a node"),
        "{wrong}"
    );
    assert!(
        wrong.contains("nothing would happen; write a share above"),
        "{wrong}"
    );
    assert!(
        wrong.contains("issuer_errors: write a share, as 50%"),
        "{wrong}"
    );
    assert!(
        wrong.contains("there is one issuer; write issuer_down: true"),
        "{wrong}"
    );
    let rotate = |at| format!("{{ at: {at}s, for: 5s, issuer_rotates: true }}");
    let wrong = refused(&[&rotate(1), &rotate(3), &rotate(9)]);
    assert!(
        wrong.contains("faults[1]: rotating the issuer's key cannot be done twice at once"),
        "{wrong}"
    );
    assert!(
        wrong.contains("faults[2]: the simulated issuer can rotate its key 2 times"),
        "{wrong}"
    );
}

#[test]
fn a_clock_is_wrong_in_one_way_at_a_time() {
    let wrong = refused(&[
        "{ at: 1s, for: 5s, clock: us-east, offset: 5s }",
        "{ at: 3s, for: 5s, clock: us-east-1, drift: 5ppm }",
    ]);
    assert!(
        wrong.contains("faults[1]: setting the clocks of us-east-1 cannot be done twice"),
        "{wrong}"
    );
}

#[test]
fn a_cluster_may_not_lose_the_disks_of_most_voters() {
    let one = "{ at: 1s, for: 2s, kill: us-east, wipe: true }";
    let wrong = refused(&[one, "{ at: 5s, for: 2s, kill: leader-node, wipe: true }"]);
    assert!(
        wrong.contains("faults[1]: 2 disks would be lost"),
        "{wrong}"
    );
    assert!(wrong.contains("the cluster survives 1"), "{wrong}");
    assert!(parse(&[one, "{ at: 13s, for: 2s, kill: eu-west, wipe: true }"]).is_ok());
}

#[test]
fn faults_that_cannot_happen_as_they_are_listed_are_refused() {
    let wrong = refused(&["{ at: 1s, for: 5s, cut: [us-east, us-east] }"]);
    assert!(wrong.contains("has no link to itself"), "{wrong}");
    let kill = "{ at: 3s, for: 5s, kill: us-east }";
    let wrong = refused(&[kill, "{ at: 7s, for: 5s, power_off: us-east-1 }"]);
    assert!(
        wrong.contains("faults[1]: us-east-1 does not run then"),
        "{wrong}"
    );
    assert!(wrong.contains("from 3s to 8s"), "{wrong}");
    assert!(parse(&[kill, "{ at: 8s, for: 5s, power_off: us-east-1 }"]).is_ok());
    assert!(parse(&[kill, "{ at: 4s, for: 2s, kill: eu-west }"]).is_ok());
}

#[test]
fn what_befalls_the_leader_and_others_at_once_is_refused_where_it_cannot_happen_whoever_leads() {
    let kill = "{ at: 1s, for: 5s, kill: leader }";
    let wrong = refused(&[kill, "{ at: 3s, for: 2s, stop: each }"]);
    assert!(
        wrong.contains("faults[1]: whoever leads does not run then"),
        "{wrong}"
    );
    // The region may be another one, and the next leader is.
    assert!(parse(&[kill, "{ at: 3s, for: 2s, kill: us-east }"]).is_ok());
    assert!(parse(&[kill, "{ at: 3s, for: 2s, power_off: leader }"]).is_ok());
    let wrong = refused(&[kill, "{ at: 1s, for: 2s, pause: leader-node }"]);
    assert!(
        wrong.contains("faults[1]: the leader does not run then"),
        "{wrong}"
    );
    let clock =
        |at: u32, whom: &str| format!("{{ at: {at}s, for: 5s, clock: {whom}, offset: 5s }}");
    let wrong = refused(&[&clock(2, "leader-node"), &clock(2, "leader")]);
    assert!(
        wrong.contains("faults[1]: setting the clocks of the leader cannot be done twice"),
        "{wrong}"
    );
    assert!(parse(&[&clock(2, "leader-node"), &clock(3, "us-east")]).is_ok());
}
