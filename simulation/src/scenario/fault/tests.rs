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
    "{ at: 1s, for: 5s, cut: [eu-west, us-east] }",
    "{ at: 1s, for: 5s, cut: [us-east, eu-west], one_way: true }",
    "{ at: 1s, for: 5s, flood: [eu-west, us-east] }",
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
