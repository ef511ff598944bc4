//! Each family of faults once, with everything that must hold: that they really happen is an invariant too.

use std::process::{Command, Output};

fn play(scenario: &str) -> (Output, serde_json::Value) {
    let path = format!(
        "{}/tests/faults/{scenario}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let run = Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
        .args(["run", &path, "--seed", "1", "-o", "json"])
        .output();
    let output = run.expect("the simulator's program was built for this test");
    let talk = String::from_utf8_lossy(&output.stderr);
    let finding = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no finding ({error}); stderr: {talk}"));
    (output, finding)
}

/// The finding of a run in which everything held.
fn held(scenario: &str) -> serde_json::Value {
    let (output, finding) = play(scenario);
    assert!(output.status.success(), "{finding:#}");
    finding
}

/// What the faults of a run were, in words.
fn faults(finding: &serde_json::Value) -> Vec<String> {
    let faults = finding["faults"].as_array().expect("a list of faults");
    let what = faults.iter().map(|fault| fault["what"].as_str());
    what.map(|what| what.unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn single_nodes_fall_silent_die_and_lose_power() {
    let finding = held("nodes");
    let faults = faults(&finding);
    assert_eq!(faults[0], "us-east-2 is cut off from all others");
    assert_eq!(faults[1], "us-east-1 is killed");
    // Whoever led is called by its name.
    assert!(
        faults[2].ends_with("-1 loses power") || faults[2].ends_with("-2 loses power"),
        "{faults:?}"
    );
}

#[test]
fn links_flap_are_slow_lose_packets_and_are_narrow() {
    let finding = held("links");
    let faults = faults(&finding);
    assert_eq!(
        faults[0],
        "the link eu-west – us-east flaps: about 400ms cut, 600ms whole"
    );
    assert_eq!(faults.len(), 4);
}

#[test]
fn processes_stand_still_and_come_back_without_their_disks() {
    let finding = held("processes");
    let faults = faults(&finding);
    assert_eq!(faults[2], "ap-south-1 is killed, the disk is lost");
    // It had nothing left, and has all of it.
    assert!(finding["converged_ms"].as_u64().expect("equal in the end") < 10_000);
}

#[test]
fn disks_are_slow_stall_run_full_give_errors_and_lose_bits() {
    assert_eq!(faults(&held("disks")).len(), 6);
}

#[test]
fn clocks_are_off_and_drift() {
    let faults = faults(&held("clocks"));
    assert_eq!(
        faults[1],
        "the clocks of ap-south-1 are -20s off and drift by -2000 millionths"
    );
}

#[test]
fn upstreams_crawl_err_hang_and_flap() {
    assert_eq!(faults(&held("upstreams")).len(), 4);
}

#[test]
fn the_issuer_rotates_its_key_errs_and_is_away() {
    let finding = held("issuer");
    assert_eq!(faults(&finding).len(), 4);
    // While nobody could learn the new key its tokens could not be judged; then they could.
    let count = |name: &str| finding["requests"][name].as_u64().expect("a number");
    assert!(
        count("refused") > 100 && count("served") > count("refused"),
        "{finding:#}"
    );
}
