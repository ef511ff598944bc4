//! Each shipped scenario on one seed, twice, in two processes: every invariant holds, and the traces are the same to the
//! last event. A case each, so that they run side by side.

use serde_json::Value;

use super::verified;

macro_rules! shipped {
    ($($test:ident: $scenario:literal,)*) => {
        $(
            #[test]
            fn $test() {
                verified($scenario, "1");
            }
        )*

        const PLAYED: &[&str] = &[$($scenario),*];
    };
}

shipped! {
    process_kill_holds_twice: "process-kill",
    partition_holds_twice: "partition",
    left_behind_holds_twice: "left-behind",
    rolling_upgrade_holds_twice: "rolling-upgrade",
    rolling_restart_holds_twice: "rolling-restart",
    region_return_holds_twice: "region-return",
    split_in_two_holds_twice: "split-in-two",
    minority_writes_holds_twice: "minority-writes",
    one_way_cut_holds_twice: "one-way-cut",
    power_cut_holds_twice: "power-cut",
    change_during_loss_holds_twice: "change-during-loss",
    quota_storm_holds_twice: "quota-storm",
    quota_sun_holds_twice: "quota-sun",
    quota_change_holds_twice: "quota-change",
    quota_restarts_holds_twice: "quota-restarts",
    quota_upgrade_holds_twice: "quota-upgrade",
    quota_echoes_holds_twice: "quota-echoes",
    quota_expiry_holds_twice: "quota-expiry",
    quota_chaos_holds_twice: "quota-chaos",
    residency_loss_holds_twice: "residency-loss",
    thundering_return_holds_twice: "thundering-return",
    join_and_leave_holds_twice: "join-and-leave",
    orderly_upgrade_holds_twice: "orderly-upgrade",
    flapping_link_holds_twice: "flapping-link",
    slow_disk_holds_twice: "slow-disk",
    clock_drift_holds_twice: "clock-drift",
}

/// Those whose finding is looked at more closely, below and in the file above; `chaos` in `explore.rs`.
const ELSEWHERE: [&str; 5] = [
    "region-loss",
    "revocation",
    "bulk-flood",
    "chaos",
    "key-rotation",
];

#[test]
fn every_shipped_scenario_is_played_here() {
    for (name, _) in meridian_simulation::scenario::SHIPPED {
        assert!(
            PLAYED.contains(name) || ELSEWHERE.contains(name),
            "{name} is shipped and not played by any test; name it in `shipped!`"
        );
    }
}

#[test]
fn region_loss_holds_twice_and_another_seed_is_another_run() {
    let first = verified("region-loss", "1");
    assert!(first["trace_lines"].as_u64().unwrap() > 20_000, "{first:#}");
    // Whoever judged the admin side had something to judge.
    let deeds = |what: &str| first["deeds"][what].as_u64().unwrap();
    assert!(deeds("reads") > 50 && deeds("made") > 10, "{first:#}");
    assert!(deeds("conflicts") > 3, "{first:#}");
    // A hash that is always the same would prove nothing.
    let other = super::finding(&super::outcome(super::play("region-loss", "2")));
    assert_ne!(first["trace_hash"], other["trace_hash"]);
}

#[test]
fn revocations_reach_every_node_that_can_hear_them_and_outlive_restarts() {
    let finding = verified("revocation", "1");
    let count = |name: &str| finding["revocations"][name].as_u64().unwrap();
    // It was not all excused by faults, and neither side of the question stayed empty.
    assert!(count("sent") >= 35, "{finding:#}");
    assert!(count("everywhere") >= 12, "{finding:#}");
    assert!(count("admitted") > 100, "{finding:#}");
    assert!(count("refused") > 500, "{finding:#}");
    assert!(count("slowest_ms") < 500, "{finding:#}");
}

#[test]
fn tokens_under_a_key_that_nobody_could_learn_wait_and_all_others_are_served() {
    let finding = verified("key-rotation", "1");
    let count = |name: &str| finding["requests"][name].as_u64().unwrap();
    // While the issuer was away, those under its newest key; the rest of the run, none.
    assert!(count("refused") > 300, "{finding:#}");
    assert!(count("served") > 4 * count("refused"), "{finding:#}");
    assert_eq!(finding["faults"].as_array().unwrap().len(), 4);
}

#[test]
fn bulk_at_the_links_limit_looks_like_no_dead_node() {
    let finding: Value = verified("bulk-flood", "1");
    // The links were full (percent of what they carry), and the questions went on all the while.
    for fault in finding["faults"].as_array().unwrap() {
        assert!(fault["signs"].as_u64().unwrap() >= 50, "{finding:#}");
    }
    let flooded = &finding["reads"]["flooded"];
    assert!(flooded["count"].as_u64().unwrap() > 50, "{finding:#}");
}
