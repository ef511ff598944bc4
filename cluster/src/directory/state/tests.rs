use proptest::prelude::*;

use super::*;
use crate::{directory::SourceFile, directory::command::digest, wire};

fn id(number: u64) -> ProposalId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ProposalId(bytes)
}

fn files(text: &str) -> Vec<SourceFile> {
    vec![SourceFile {
        name: "gateway.yaml".to_owned(),
        text: text.to_owned(),
    }]
}

fn apply(number: u64, text: &str, expect: Option<u64>) -> Command {
    let files = files(text);
    Command {
        id: id(number),
        log_time: number,
        unix_ms: number,
        action: Action::Apply(Apply {
            files: Packed::new(&files).unwrap(),
            digest: digest(&files),
            author: "ada".to_owned(),
            message: "why".to_owned(),
            expect,
        }),
    }
}

#[test]
fn revisions_count_up_and_keep_their_bytes() {
    let mut state = State::default();
    for number in 1..=3 {
        let outcome = state.apply(10 + number, apply(number, &format!("text {number}"), None));
        assert_eq!(
            outcome,
            Outcome::Applied {
                revision: number,
                index: 10 + number
            }
        );
    }
    let second = state.revision(2).unwrap();
    assert_eq!(second.files.unpack(), Ok(files("text 2")));
    assert_eq!(second.summary.digest, digest(&files("text 2")));
    let history: Vec<u64> = state.history().iter().map(|s| s.revision).collect();
    assert_eq!(history, [3, 2, 1]);
}

#[test]
fn an_expectation_that_fails_changes_nothing() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", Some(0)));
    let conflict = Outcome::Conflict { current: 1 };
    assert_eq!(state.apply(2, apply(2, "two", Some(0))), conflict);
    assert_eq!(state.newest_number(), 1);
    // The same proposal again gets the same answer, though it would fit now.
    state.apply(3, apply(3, "two", Some(1)));
    assert_eq!(state.apply(4, apply(2, "two", Some(2))), conflict);
}

#[test]
fn a_proposal_sent_again_is_applied_once() {
    let mut state = State::default();
    let first = state.apply(5, apply(1, "one", None));
    assert_eq!(state.apply(6, apply(1, "one", None)), first);
    assert_eq!(state.newest_number(), 1);
}

#[test]
fn the_first_cluster_id_stays() {
    let mut state = State::default();
    for (number, name) in [(1, "a"), (2, "b")] {
        let outcome = state.apply(
            number,
            Command {
                id: id(number),
                log_time: 0,
                unix_ms: 0,
                action: Action::Found {
                    cluster_id: name.to_owned(),
                },
            },
        );
        let cluster_id = "a".to_owned();
        assert_eq!(outcome, Outcome::Founded { cluster_id });
    }
    assert_eq!(state.cluster_id(), Some("a"));
}

#[test]
fn time_never_goes_back() {
    let mut state = State::default();
    state.apply(1, apply(9, "later", None));
    state.apply(2, apply(3, "earlier", None));
    assert_eq!(state.log_time(), 9);
}

#[test]
fn old_revisions_are_forgotten_and_numbers_go_on() {
    let mut state = State::default();
    let many = KEPT as u64 + 10;
    for number in 1..=many {
        state.apply(number, apply(number, "text", None));
    }
    assert_eq!(state.history().len(), KEPT);
    assert_eq!(state.newest_number(), many);
    assert_eq!(state.revision(10), None);
    assert!(state.revision(11).is_some());
}

#[test]
fn documents_that_do_not_compress_are_bounded_by_their_bytes() {
    use rand::{RngExt as _, SeedableRng as _, distr::Alphanumeric};
    let random = rand::rngs::StdRng::from_seed([7; 32]);
    let text: String = random
        .sample_iter(Alphanumeric)
        .take(1_000_000)
        .map(char::from)
        .collect();
    let mut state = State::default();
    for number in 1..=12 {
        state.apply(number, apply(number, &text, None));
    }
    assert!(state.history().len() < 12);
    assert_eq!(state.newest_number(), 12);
    let length = wire::encode(&state).len();
    assert!(length < wire::LIMIT, "{length}");
}

proptest! {
    #[test]
    fn a_replica_that_restores_a_snapshot_ends_the_same(
        steps in prop::collection::vec((0..30_u64, prop::option::of(0..20_u64)), 0..60),
        at: prop::sample::Index,
    ) {
        let at = at.index(steps.len() + 1);
        let mut whole = State::default();
        let mut restored = State::default();
        for (position, (number, expect)) in steps.iter().enumerate() {
            if position == at {
                restored = wire::decode(&wire::encode(&whole)).unwrap();
            }
            let index = position as u64 + 1;
            let command = apply(*number, &format!("text {number}"), *expect);
            let outcome = whole.apply(index, command.clone());
            if position >= at {
                prop_assert_eq!(restored.apply(index, command), outcome);
            }
        }
        if at < steps.len() {
            prop_assert_eq!(restored, whole);
        }
    }

    #[test]
    fn a_revision_is_added_exactly_when_the_expectation_holds(
        steps in prop::collection::vec(prop::option::of(0..12_u64), 0..40),
    ) {
        let mut state = State::default();
        let mut current = 0;
        for (position, expect) in steps.into_iter().enumerate() {
            let number = position as u64;
            let outcome = state.apply(number, apply(number, "text", expect));
            if expect.is_none_or(|expected| expected == current) {
                current += 1;
                prop_assert_eq!(outcome, Outcome::Applied { revision: current, index: number });
            } else {
                prop_assert_eq!(outcome, Outcome::Conflict { current });
            }
        }
    }
}
