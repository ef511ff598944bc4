//! The shipped scenarios, played by the program: every invariant holds, and one seed twice, in two processes, leaves the
//! same trace to the last event.

mod planted;

use std::process::{Child, Command, Output, Stdio};

fn play(scenario: &str, seed: &str) -> Child {
    let program = env!("CARGO_BIN_EXE_meridian-sim");
    let run = Command::new(program)
        .args(["run", scenario, "--seed", seed, "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    run.expect("the simulator's program was built for this test")
}

fn outcome(run: Child) -> Output {
    run.wait_with_output()
        .expect("a child of this process can be waited for")
}

fn finding(output: &Output) -> serde_json::Value {
    let talk = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no finding ({error}); stderr: {talk}"))
}

#[test]
fn region_loss_holds_and_one_seed_plays_the_same_in_two_processes() {
    // At the same time: what else the machine does must not matter either.
    let (once, again, other) = (
        play("region-loss", "1"),
        play("region-loss", "1"),
        play("region-loss", "2"),
    );
    let (once, again, other) = (outcome(once), outcome(again), outcome(other));
    let (first, second) = (finding(&once), finding(&again));
    assert!(once.status.success(), "{first:#}");
    assert!(first["trace_lines"].as_u64().unwrap() > 20_000, "{first:#}");
    // Whoever judged the admin side had something to judge.
    let deeds = |what: &str| first["deeds"][what].as_u64().unwrap();
    assert!(deeds("reads") > 50 && deeds("made") > 10, "{first:#}");
    assert!(deeds("conflicts") > 3, "{first:#}");
    assert_eq!(first["trace_hash"], second["trace_hash"]);
    assert_eq!(first, second);
    // A hash that is always the same would prove nothing.
    assert_ne!(first["trace_hash"], finding(&other)["trace_hash"]);
}

#[test]
fn the_other_shipped_scenarios_hold() {
    let runs = [
        "process-kill",
        "partition",
        "rolling-upgrade",
        "rolling-restart",
    ];
    let runs = runs.map(|scenario| play(scenario, "1"));
    for output in runs.map(outcome) {
        assert!(output.status.success(), "{:#}", finding(&output));
    }
}

/// Seeds that once broke an invariant.
#[test]
fn seeds_that_broke_hold() {
    // Availability: clients gave a dial up as soon as they began the next one, and kept off a node for seconds
    // after one lost packet, so that two lost packets failed a request, or sent all of them to the farthest region.
    let runs = ["3", "37", "52"].map(|seed| play("process-kill", seed));
    for output in runs.map(outcome) {
        assert!(output.status.success(), "{:#}", finding(&output));
    }
}

#[test]
fn revocations_reach_every_node_that_can_hear_them_and_outlive_restarts() {
    let output = outcome(play("revocation", "1"));
    let finding = finding(&output);
    assert!(output.status.success(), "{finding:#}");
    let count = |name: &str| finding["revocations"][name].as_u64().unwrap();
    // It was not all excused by faults, and neither side of the question stayed empty.
    assert!(count("sent") >= 35, "{finding:#}");
    assert!(count("everywhere") >= 12, "{finding:#}");
    assert!(count("admitted") > 100, "{finding:#}");
    assert!(count("refused") > 500, "{finding:#}");
    assert!(count("slowest_ms") < 500, "{finding:#}");
}

#[test]
fn a_node_that_was_left_behind_is_sent_the_whole_state_and_all_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let run = Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
        .args(["run", "left-behind", "--seed", "1", "-o", "json", "--trace"])
        .arg(&trace)
        .output();
    let output = run.expect("the simulator's program was built for this test");
    assert!(output.status.success(), "{:#}", finding(&output));
    let trace = std::fs::read_to_string(&trace).expect("it was written");
    let installed = trace
        .lines()
        .filter(|line| line.contains("snapshot installed") && line.contains("us-east"));
    assert!(installed.count() > 0, "no snapshot went to us-east");
}

#[test]
fn bulk_at_the_links_limit_looks_like_no_dead_node() {
    let output = outcome(play("bulk-flood", "1"));
    let finding = finding(&output);
    assert!(output.status.success(), "{finding:#}");
    // The links were full (percent of what they carry), and the questions went on all the while.
    for fault in finding["faults"].as_array().unwrap() {
        assert!(fault["signs"].as_u64().unwrap() >= 50, "{finding:#}");
    }
    let flooded = &finding["reads"]["flooded"];
    assert!(flooded["count"].as_u64().unwrap() > 50, "{finding:#}");
}

#[test]
fn a_wrong_scenario_exits_2_and_says_what_is_wrong() {
    let program = env!("CARGO_BIN_EXE_meridian-sim");
    let run = Command::new(program).args(["run", "region-los"]).output();
    let run = run.expect("the simulator's program was built for this test");
    assert_eq!(run.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&run.stderr);
    assert!(talk.contains("no shipped scenario"), "{talk}");
}
