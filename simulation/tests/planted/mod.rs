//! Planted mistakes: for each invariant a run in which it breaks, it and no other; and the same run without the mistake,
//! in which all hold.

use std::{fs, io::Write as _, path::PathBuf};

use serde_json::Value;

use super::{finding, outcome, play};

/// A planted scenario and what it must break.
struct Plant {
    /// The file, without its ending.
    file: &'static str,
    invariant: &'static str,
    /// What each violation begins with.
    says: &'static str,
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted");

impl Plant {
    fn path(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(format!("{}.yaml", self.file))
    }

    /// Plays it with and without the mistake; what broke.
    fn found_out(&self) -> Vec<Value> {
        self.found_out_beside("nothing else")
    }

    /// As [`found_out`](Self::found_out), where the mistake breaks another invariant as well.
    fn found_out_beside(&self, other: &str) -> Vec<Value> {
        let path = self.path();
        let text = fs::read_to_string(&path).expect("the scenario lies beside this file");
        let lines: Vec<&str> = text.lines().collect();
        let (planted, sound): (Vec<&str>, Vec<&str>) =
            lines.iter().partition(|line| line.starts_with("planted:"));
        assert_eq!(planted.len(), 1, "one line plants the mistake");
        let mut without = tempfile::NamedTempFile::new().expect("a file");
        let text = sound.join("\n");
        without
            .write_all(text.as_bytes())
            .expect("it can be written");
        let runs = [path.as_path(), without.path()]
            .map(|path| play(path.to_str().expect("a plain path"), "1"));
        let [planted, sound] = runs.map(outcome);
        assert!(sound.status.success(), "{:#}", finding(&sound));
        assert_eq!(planted.status.code(), Some(1), "{:#}", finding(&planted));
        let broken = finding(&planted);
        let violations = broken["violations"].as_array().expect("a list").clone();
        let own = |violation: &&Value| violation["invariant"] == self.invariant;
        assert!(violations.iter().any(|one| own(&one)), "{violations:#?}");
        for violation in &violations {
            if violation["invariant"] != self.invariant {
                assert_eq!(violation["invariant"], other, "{violations:#?}");
                continue;
            }
            let says = violation["says"].as_str().expect("a sentence");
            assert!(says.starts_with(self.says), "{violations:#?}");
        }
        violations
    }

    /// As [`found_out`](Self::found_out), and the run was broken off at once, with the time.
    fn found_out_at_once(&self) {
        let violations = self.found_out();
        let at = violations[0]["at_ms"].as_u64();
        assert!(at.is_some_and(|at| at > 0), "{violations:#?}");
        assert!(violations.len() < 5, "{violations:#?}");
    }
}

#[test]
fn a_node_that_heeds_no_revocation_is_found_out() {
    let deaf = Plant {
        file: "deaf",
        invariant: "revocation",
        says: "us-east-1 admitted badge",
    };
    deaf.found_out_at_once();
}

#[test]
fn a_node_that_answers_sure_reads_from_what_it_has_is_found_out() {
    let stale = Plant {
        file: "stale",
        invariant: "linearizable admin",
        says: "through us-east-1, from ",
    };
    stale.found_out_at_once();
}

#[test]
fn a_node_that_sends_an_order_twice_is_found_out() {
    let repeated = Plant {
        file: "repeated",
        invariant: "at most once",
        says: "order ",
    };
    repeated.found_out_at_once();
}

#[test]
fn a_node_that_never_closes_a_connection_is_found_out() {
    let kept = Plant {
        file: "kept",
        invariant: "bounded",
        says: "us-east-1 holds ",
    };
    kept.found_out_at_once();
}

#[test]
fn a_node_whose_memory_grows_is_found_out() {
    let hoard = Plant {
        file: "hoard",
        invariant: "bounded",
        says: "us-east-1 holds ",
    };
    hoard.found_out_at_once();
}

#[test]
fn a_node_that_falls_silent_beside_a_flood_is_found_out() {
    let mute = Plant {
        file: "mute",
        invariant: "isolation",
        says: "",
    };
    let violations = mute.found_out();
    let of_it = |one: &&Value| {
        one["says"]
            .as_str()
            .is_some_and(|it| it.contains("us-east-1"))
    };
    assert!(violations.iter().any(|one| of_it(&one)), "{violations:#?}");
}

#[test]
fn a_node_that_ends_by_itself_is_found_out() {
    let ends = Plant {
        file: "ends",
        invariant: "nothing collapses",
        says: "us-east-1 ended by itself: a planted mistake",
    };
    ends.found_out_at_once();
}

#[test]
fn a_node_that_never_comes_back_is_found_out() {
    let down = Plant {
        file: "stays-down",
        invariant: "convergence",
        says: "the nodes were not equal within 10s of calm",
    };
    down.found_out();
}

#[test]
fn a_node_that_applies_another_command_is_found_out() {
    let altered = Plant {
        file: "altered",
        invariant: "agreement",
        says: "",
    };
    altered.found_out_at_once();
}

#[test]
fn disks_that_only_say_that_they_have_flushed_are_found_out() {
    let forgetful = Plant {
        file: "forgetful",
        invariant: "agreement",
        says: "",
    };
    // What a log has lost of answers is answered again.
    forgetful.found_out_beside("quota repeats");
}

#[test]
fn nodes_that_do_not_finish_before_they_stop_are_found_out() {
    let undrained = Plant {
        file: "undrained",
        invariant: "planned stops",
        says: "",
    };
    // A node that ends at once is a crash, and the next one ends as soon as it is back.
    undrained.found_out_beside("availability");
}

#[test]
fn a_fault_that_does_nothing_is_found_out() {
    let harmless = Plant {
        file: "harmless",
        invariant: "faults happened",
        says: "",
    };
    harmless.found_out();
}

#[test]
fn a_gateway_that_reaches_no_upstream_is_found_out() {
    let dead = Plant {
        file: "dead-endpoints",
        invariant: "availability",
        says: "",
    };
    dead.found_out();
}

#[test]
fn a_document_without_its_residency_is_found_out() {
    let unbound = Plant {
        file: "unbound",
        invariant: "residency",
        says: "request ",
    };
    unbound.found_out_at_once();
}

#[test]
fn a_cluster_that_takes_no_document_any_more_is_found_out() {
    let broken = Plant {
        file: "broken",
        invariant: "progress",
        says: "waited 5s in vain until the last document was accepted",
    };
    broken.found_out();
}

/// Mistakes in what limits rest on, and by which promise each is found before a client can notice.
const OF_LIMITS: [(&str, &str); 10] = [
    ("quota-gifts", "quota ledger"),
    ("quota-keeps", "quota booked"),
    ("quota-early", "quota rest"),
    ("quota-denials", "quota all or none"),
    ("quota-deadline", "quota leases"),
    ("quota-lapse", "quota leases"),
    ("quota-crash", "quota lives"),
    ("quota-base", "quota lives"),
    ("quota-forgets", "quota lives"),
    ("quota-repeats", "quota repeats"),
];

#[test]
fn mistakes_in_what_limits_rest_on_are_found_out_inside_the_nodes() {
    for (file, invariant) in OF_LIMITS {
        let planted = Plant {
            file,
            invariant,
            says: "",
        };
        // It may be the very charge that a client could notice.
        let violations = planted.found_out_beside("quota");
        let at = violations[0]["at_ms"].as_u64();
        assert!(at.is_some_and(|at| at > 0), "{violations:#?}");
        assert!(violations.len() < 5, "{violations:#?}");
    }
}

#[test]
fn limits_that_are_passed_are_found_out_from_outside() {
    for file in [
        "quota-crash",
        "quota-lapse",
        "quota-deadline",
        "quota-early",
    ] {
        let planted = Plant {
            file,
            invariant: "quota",
            says: "the limit ",
        };
        let text = fs::read_to_string(planted.path()).expect("the scenario lies beside this file");
        let text = text.replace(": true }", ": true, unwatched_tokens: true }");
        let mut outside = tempfile::NamedTempFile::new().expect("a file");
        outside
            .write_all(text.as_bytes())
            .expect("it can be written");
        let run = play(outside.path().to_str().expect("a plain path"), "1");
        let broken = finding(&outcome(run));
        let violations = broken["violations"].as_array().expect("a list");
        assert!(!violations.is_empty(), "{file}: {broken:#}");
        for violation in violations {
            assert_eq!(violation["invariant"], planted.invariant, "{violations:#?}");
            let says = violation["says"].as_str().expect("a sentence");
            assert!(says.starts_with(planted.says), "{violations:#?}");
        }
    }
}
