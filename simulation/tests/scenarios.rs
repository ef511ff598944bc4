//! The shipped scenarios, played by the program: every invariant holds, and one seed twice, in two processes, leaves the
//! same trace to the last event; and mistakes on purpose, each of which is found out.

mod planted;
mod shipped;

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn play(scenario: &str, seed: &str) -> Child {
    play_with(scenario, seed, &[])
}

fn play_with(scenario: &str, seed: &str, more: &[&str]) -> Child {
    let program = env!("CARGO_BIN_EXE_meridian-sim");
    let run = Command::new(program)
        .args(["run", scenario, "--seed", seed, "-o", "json"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    run.expect("the simulator's program was built for this test")
}

/// Plays a seed in two processes at the same time: what else the machine does must not matter either. Every invariant
/// holds, and both runs are the same to the last event; the finding.
fn verified(scenario: &str, seed: &str) -> serde_json::Value {
    let (once, again) = (play(scenario, seed), play(scenario, seed));
    let (once, again) = (outcome(once), outcome(again));
    let (first, second) = (finding(&once), finding(&again));
    if first != second {
        let folder = tempfile::tempdir().expect("a folder");
        panic!(
            "{scenario} is not the same twice on seed {seed}; {}",
            first_difference(scenario, seed, folder.path())
        );
    }
    assert!(once.status.success(), "{first:#}");
    first
}

/// The first event that differs between two runs that leave their traces in a folder.
fn first_difference(scenario: &str, seed: &str, folder: &Path) -> String {
    let traces = ["one", "other"].map(|name| folder.join(name));
    let runs = traces.each_ref().map(|trace| {
        let trace = trace.to_str().expect("a plain path");
        play_with(scenario, seed, &["--trace", trace])
    });
    for run in runs {
        outcome(run);
    }
    let [one, other] = traces.map(|trace| std::fs::read_to_string(trace).expect("it was written"));
    let pairs = one.lines().zip(other.lines());
    let same = pairs.take_while(|(one, other)| one == other).count();
    let (one, other) = (one.lines().nth(same), other.lines().nth(same));
    format!("the first event that differs is the {same}th:\n  {one:?}\n  {other:?}")
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
fn a_wrong_scenario_exits_2_and_says_what_is_wrong() {
    let program = env!("CARGO_BIN_EXE_meridian-sim");
    let run = Command::new(program).args(["run", "region-los"]).output();
    let run = run.expect("the simulator's program was built for this test");
    assert_eq!(run.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&run.stderr);
    assert!(talk.contains("no shipped scenario"), "{talk}");
}
