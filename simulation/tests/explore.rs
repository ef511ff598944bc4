//! Many seeds at once, and the bounds of every run: the program as its user meets it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

fn simulator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_meridian-sim"))
}

fn small() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.yaml")
}

fn run(arguments: &[&str]) -> Output {
    let output = simulator().arg("run").args(arguments).output();
    output.expect("the simulator's program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn seeds_that_hold_leave_a_line_each_and_a_summary() {
    let output = run(&[small(), "--seeds", "3..5", "--jobs", "2"]);
    let (data, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{data}{talk}");
    for seed in 3..=5 {
        assert!(data.contains(&format!("seed {seed}: held (")), "{data}");
    }
    assert!(data.contains("small: 3 of 3 seeds held\n"), "{data}");
    assert!(data.contains("seeds/s"), "{data}");
    assert!(data.contains("slowest   seed "), "{data}");
}

#[test]
fn seeds_that_break_are_told_with_the_invariant_and_the_command() {
    let planted = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted/deaf.yaml");
    let output = run(&[planted, "--seeds", "1..1", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(finding["passed"], false);
    let talk = text(&output.stderr);
    assert!(talk.contains("broke     revocation: 1 seed: 1\n"), "{talk}");
    let command = format!("meridian-sim run {planted} --seed 1    # revocation");
    assert!(talk.contains(&command), "{talk}");
}

#[test]
fn what_is_shown_of_the_nodes_log_changes_nothing_of_the_run() {
    let hash = |more: &[&str]| {
        let output = run(&[&[small(), "--seed", "3", "-o", "json"], more].concat());
        let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
        (finding["trace_hash"].clone(), text(&output.stderr))
    };
    let (plain, quiet) = hash(&["-q"]);
    let (shown, told) = hash(&["-q", "--log", "meridian=debug,quinn=trace"]);
    assert!(plain.is_string(), "{plain}");
    assert_eq!(plain, shown);
    assert!(
        told.len() > quiet.len() + 1_000,
        "it showed nothing: {told}"
    );
}

#[test]
fn a_wrong_range_is_refused() {
    for (range, says) in [
        ("9..1", "goes backwards; write 1..9"),
        ("1", "write one like 1..20"),
        ("0..99999999999", "more seeds than"),
    ] {
        let output = run(&[small(), "--seeds", range]);
        assert_eq!(output.status.code(), Some(2), "{range}");
        let talk = text(&output.stderr);
        assert!(talk.contains(says), "{talk}");
    }
}

#[test]
fn a_run_that_takes_too_long_ends_with_what_it_found_and_names_its_seed() {
    let limit = ["--time-limit", "1ms", "-o", "json"];
    let output = run(&[&["left-behind", "--seed", "41"], &limit[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    let violations = finding["violations"].as_array().expect("a list");
    assert_eq!(violations.len(), 1, "{finding:#}");
    assert_eq!(violations[0]["invariant"], "cut short");
    let says = violations[0]["says"].as_str().expect("a text");
    assert!(says.contains("seed 41 ran for more than 1ms"), "{says}");
}

#[test]
fn a_run_that_takes_too_much_memory_ends_too() {
    let output = run(&["left-behind", "--memory-limit", "64MiB", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    let violation = &finding["violations"][0];
    assert_eq!(violation["invariant"], "cut short", "{finding:#}");
    let says = violation["says"].as_str().expect("a text");
    assert!(
        says.contains("seed 1 took ") && says.contains("may have 64MiB"),
        "{says}"
    );
}

#[tokio::test]
async fn ctrl_c_ends_the_children_and_gives_the_summary_so_far() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = folder.path().join("small.yaml");
    std::fs::copy(small(), &scenario).expect("a copy");
    let mut parent = simulator()
        .arg("run")
        .arg(&scenario)
        .args(["--seeds", "1..100000", "--jobs", "2", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator's program was built for this test");
    let mut first = String::new();
    let mut data = BufReader::new(parent.stdout.take().expect("a pipe"));
    data.read_line(&mut first).expect("a finding");
    assert!(first.contains("\"passed\":true"), "{first}");
    assert!(!children(&scenario, parent.id()).is_empty());
    let signalled = Command::new("kill")
        .args(["-INT", &parent.id().to_string()])
        .status();
    assert!(signalled.expect("kill runs").success());
    let id = parent.id();
    drop(data);
    let output = parent.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let talk = text(&output.stderr);
    assert!(talk.contains("more were not played"), "{talk}");
    // They have been killed; the kernel may still be clearing them away.
    let gone = async {
        while !children(&scenario, id).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(30), gone).await;
    assert!(gone.is_ok(), "{:?} still run", children(&scenario, id));
}

/// Processes other than `parent` that play this file; those that have ended are none, collected or not.
fn children(scenario: &Path, parent: u32) -> Vec<String> {
    let path = scenario.to_str().expect("a plain path");
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let mut found = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        // Empty for a process that has ended, unreadable for one that is gone.
        let command = process.path().join("cmdline");
        let command = std::fs::read_to_string(command).unwrap_or_default();
        if name.parse::<u32>().is_ok_and(|id| id != parent) && command.contains(path) {
            found.push(name);
        }
    }
    found
}

#[test]
fn one_seed_is_the_same_in_two_processes() {
    let output = run(&[small(), "--seed", "7", "--verify", "-o", "json"]);
    let talk = text(&output.stderr);
    assert!(output.status.success(), "{talk}");
    let finding: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    let events = finding["trace_lines"].as_u64().expect("a number");
    // The pipes also carry what nodes say when the world is taken down, after the hash.
    let compared = talk.strip_prefix("seed 7 was played twice: ");
    let compared = compared.and_then(|rest| rest.strip_suffix(" events, all equal\n"));
    let compared: u64 = compared
        .and_then(|count| count.parse().ok())
        .expect("a number");
    assert!(events > 1_000 && compared >= events, "{talk}");
}

#[test]
fn a_comparison_of_which_a_half_was_ended_early_says_so_and_finds_no_difference() {
    let bounds = ["--verify", "--time-limit", "1ms"];
    let output = run(&[&["left-behind", "--seed", "41"], &bounds[..]].concat());
    let (data, talk) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{data}{talk}");
    // Where both were ended, it is seldom at the same event; then the finding says it.
    assert!(data.contains("cut short"), "{data}{talk}");
    assert!(!data.contains("DIFFERS"), "{data}{talk}");
}

#[test]
fn drawn_faults_on_nine_nodes_are_the_same_in_two_processes() {
    // Whether all holds is for thousands of seeds to say, not for one.
    let output = run(&["chaos", "--seed", "1", "--verify"]);
    let (data, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(talk.contains("seed 1 was played twice: "), "{data}{talk}");
}

#[test]
fn a_leak_is_told_with_the_first_event_that_differs() {
    let planted = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted/leak.yaml");
    let output = run(&[planted, "--seed", "7", "--verify"]);
    assert_eq!(output.status.code(), Some(1));
    let data = text(&output.stdout);
    assert!(
        data.contains("seed 7: DIFFERS between two processes"),
        "{data}"
    );
    assert!(data.contains("is the first that differs (at "), "{data}");
    let line = |name: &str| {
        let line = data.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no{name}in {data}"))
            .trim()
            .to_owned()
    };
    let (first, second) = (line("  first "), line("  second "));
    assert_ne!(first, second);
    for line in [&first, &second] {
        assert!(line.contains("played by process "), "{line}");
    }
    // What was before is told as well, and it is not from the beginning of the run.
    assert_eq!(data.matches("\n  both ").count(), 5, "{data}");
    let seconds: f64 = first
        .split(' ')
        .next()
        .and_then(|at| at.parse().ok())
        .expect("a time");
    assert!(seconds > 1.0, "{first}");
}

#[test]
fn what_broke_becomes_a_small_file_that_breaks_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("a plain path");
    let planted = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted/deaf.yaml");
    let shrink = ["--shrink", "--shrink-time", "20s", "--out", out];
    let output = run(&[&[planted, "--seed", "1"], &shrink[..]].concat());
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{talk}");
    assert!(
        talk.contains("shrinking seed 1, which broke revocation"),
        "{talk}"
    );
    assert!(talk.contains("it played the same twice, trace "), "{talk}");
    let file = folder.path().join("deaf-1.yaml");
    let small = std::fs::read_to_string(&file).expect("it was written");
    assert!(
        small.contains("Found as seed 1 of deaf, then made smaller."),
        "{small}"
    );
    let path = file.to_str().expect("a plain path");
    let again = run(&[path, "-o", "json"]);
    let finding: serde_json::Value = serde_json::from_slice(&again.stdout).expect("an object");
    assert_eq!(again.status.code(), Some(1), "{finding:#}");
    assert_eq!(finding["violations"][0]["invariant"], "revocation");
    let hash = finding["trace_hash"].as_str().expect("a text");
    assert!(talk.contains(&hash[..16]), "{talk}");
}

#[test]
fn a_schedule_is_drawn_from_the_seed_and_told_before_it_is_played() {
    let explain = |seed: &str| {
        let output = simulator()
            .args(["explain", "chaos", "--seed", seed])
            .output();
        text(
            &output
                .expect("the simulator's program was built for this test")
                .stdout,
        )
    };
    let (one, other) = (explain("1"), explain("2"));
    assert!(one.contains("\nfault    after "), "{one}");
    assert_ne!(one, other);
    assert_eq!(one, explain("1"));
}
