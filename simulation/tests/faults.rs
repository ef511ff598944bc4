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
