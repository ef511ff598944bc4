//! The operator's path: a shipped scenario on a `gateway.yaml` of his own.

use std::{
    io::Write as _,
    process::{Command, Output},
};

const GATEWAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operator/gateway.yaml");

fn meridian_sim(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_meridian-sim");
    let run = Command::new(program).args(arguments).output();
    run.expect("the simulator's program was built for this test")
}

#[test]
fn region_loss_is_played_on_the_operators_document_and_every_route_is_judged() {
    let output = meridian_sim(&[
        "run",
        "region-loss",
        "--config",
        GATEWAY,
        "--nodes",
        "fra=2",
        "-o",
        "json",
    ]);
    let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a finding");
    assert!(output.status.success(), "{finding:#}");
    // Each kind of request in each region has its gap around each fault.
    let gaps = finding["faults"][0]["gaps"].as_array().expect("gaps");
    let of = |region: &str| {
        let gaps = gaps.iter().filter(|gap| gap["region"] == region);
        let mut kinds: Vec<&str> = gaps.filter_map(|gap| gap["kind"].as_str()).collect();
        kinds.sort_unstable();
        kinds
    };
    let all = [
        "GET plants as acme",
        "GET status",
        "POST plants as acme",
        "POST rpc as globex",
    ];
    for region in ["fra", "dub", "iad", "sin"] {
        assert_eq!(of(region), all, "{finding:#}");
    }
    assert!(finding["requests"]["served"].as_u64() > Some(5000));
}

#[test]
fn drawn_faults_befall_the_operators_regions_and_nodes() {
    let mut told = String::new();
    for seed in 1..=12 {
        let seed = seed.to_string();
        let with = [
            "--config",
            GATEWAY,
            "--nodes",
            "fra=3,dub=1,iad=2",
            "--seed",
        ];
        let output = meridian_sim(&[&["explain", "chaos"], &with[..], &[seed.as_str()]].concat());
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {talk}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        told.extend(
            text.lines()
                .filter(|line| line.starts_with("fault "))
                .map(|line| format!("{line}\n")),
        );
    }
    // By their own names; `sin` takes no part of the scenario's.
    for region in ["fra", "dub", "iad"] {
        assert!(told.contains(region), "{told}");
    }
    assert!(
        !told.contains("eu-west") && !told.contains("dub-2"),
        "{told}"
    );
}

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.yaml");

#[test]
fn what_was_given_is_given_to_every_process_and_stands_in_the_command_that_plays_it_again() {
    let given = ["--config", GATEWAY, "--nodes", "fra=2", "-o", "json"];
    for more in [["--seeds", "1..1"].as_slice(), &["--seed", "1", "--verify"]] {
        let output = meridian_sim(&[&["run", SMALL], &given[..], more].concat());
        let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a finding");
        assert!(output.status.success(), "{finding:#}");
        let nodes = finding["phases"][0]["says"].as_str();
        let all = "5 nodes in 4 regions look for each other";
        assert_eq!(nodes, Some(all), "{more:?}");
    }
    let cut = ["--time-limit", "1ms"];
    let output = meridian_sim(&[&["run", SMALL], &given[..], &cut].concat());
    let talk = String::from_utf8_lossy(&output.stderr);
    let again = format!(
        "play it again: meridian-sim run {SMALL} --config {GATEWAY} --nodes fra=2 --seed 1\n"
    );
    assert!(talk.contains(&again), "{talk}");
}

#[test]
fn tenants_of_a_scenario_that_the_operators_take_the_place_of_are_named() {
    let says = "tenants: the scenario's own are not played: bavaria, delaware, wanderer;";
    let output = meridian_sim(&["explain", "residency-loss", "--config", GATEWAY]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("note     {says}")), "{text}");
    assert!(!text.contains("\ntenant "), "{text}");
    let output = meridian_sim(&[
        "run",
        "residency-loss",
        "--config",
        GATEWAY,
        "--time-limit",
        "1ms",
    ]);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains(&format!("note: {says}")), "{talk}");
    let output = meridian_sim(&["explain", "quota-chaos", "--config", GATEWAY]);
    let text = String::from_utf8_lossy(&output.stdout);
    let says = "traffic.asks: not played: clients ask for the routes of";
    assert!(text.contains(&format!("note     {says}")), "{text}");
}

#[test]
fn what_the_operators_document_lacks_is_told_before_anything_is_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    let text = std::fs::read_to_string(GATEWAY).expect("the test's own file");
    let wrong = text.replace("service: rpc", "service: rcp");
    let mut file = std::fs::File::create(&path).expect("the folder can be written");
    file.write_all(wrong.as_bytes()).expect("as above");
    let path = path.to_str().expect("a plain path");
    let output = meridian_sim(&["run", "region-loss", "--config", path]);
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("did you mean \"rpc\"?"), "{talk}");
    assert!(talk.contains("gateway.yaml:4"), "{talk}");

    let output = meridian_sim(&[
        "explain",
        "region-loss",
        "--config",
        GATEWAY,
        "--nodes",
        "fra",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("\"fra\" is no number of nodes"), "{talk}");
}
