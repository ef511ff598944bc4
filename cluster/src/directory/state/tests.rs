use meridian_config::name::NodeId;
use proptest::prelude::*;

use super::*;
use crate::{
    directory::{
        SourceFile,
        actor::Actor,
        changes::Changes,
        command::{Ack, Acknowledge, Apply, Note, Rollback},
        overrides::SetQuota,
        packed::{Packed, digest},
    },
    wire,
};

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

fn command(number: u64, action: Action) -> Command {
    Command {
        id: id(number),
        log_time: number,
        unix_ms: number,
        actor: Actor::new("ada", "operator", Some(([192, 0, 2, 7], 4000).into())),
        node: "a".into(),
        action,
    }
}

fn apply(number: u64, text: &str, expect: Option<u64>) -> Command {
    let files = files(text);
    let apply = Apply {
        files: Packed::new(&files).unwrap(),
        digest: digest(&files),
        message: "why".to_owned(),
        expect,
        changes: Changes::default(),
    };
    command(number, Action::Apply(apply))
}

fn roll_back(number: u64, revision: u64, expect: Option<u64>) -> Command {
    let back = Rollback {
        revision,
        message: "it broke".to_owned(),
        expect,
        changes: Changes::default(),
    };
    command(number, Action::Rollback(back))
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
    let second = state.documents.revision(2).unwrap();
    assert_eq!(second.files.unpack(), Ok(files("text 2")));
    assert_eq!(second.summary.digest, digest(&files("text 2")));
    let history: Vec<u64> = state
        .documents
        .history()
        .iter()
        .map(|s| s.revision)
        .collect();
    assert_eq!(history, [3, 2, 1]);
}

#[test]
fn an_expectation_that_fails_changes_nothing() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", Some(0)));
    let conflict = Outcome::Conflict {
        current: 1,
        author: "ada".to_owned(),
    };
    assert_eq!(state.apply(2, apply(2, "two", Some(0))), conflict);
    assert_eq!(state.documents.newest_number(), 1);
    // The same proposal again gets the same answer, though it would fit now.
    state.apply(3, apply(3, "two", Some(1)));
    assert_eq!(state.apply(4, apply(2, "two", Some(2))), conflict);
}

#[test]
fn a_proposal_sent_again_is_applied_once() {
    let mut state = State::default();
    let first = state.apply(5, apply(1, "one", None));
    assert_eq!(state.apply(6, apply(1, "one", None)), first);
    assert_eq!(state.documents.newest_number(), 1);
}

#[test]
fn the_first_cluster_id_stays() {
    let mut state = State::default();
    for (number, name) in [(1, "a"), (2, "b")] {
        let outcome = state.apply(
            number,
            command(
                number,
                Action::Found {
                    cluster_id: name.to_owned(),
                },
            ),
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
fn a_rollback_is_a_new_revision_with_the_old_bytes() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", None));
    state.apply(2, apply(2, "two", None));
    let outcome = state.apply(3, roll_back(3, 1, Some(2)));
    let applied = Outcome::Applied {
        revision: 3,
        index: 3,
    };
    assert_eq!(outcome, applied);
    let newest = state.documents.newest().unwrap();
    assert_eq!(newest.files.unpack(), Ok(files("one")));
    assert_eq!(newest.summary.digest, digest(&files("one")));
    assert_eq!(newest.summary.rollback_of, Some(1));
    assert_eq!(newest.summary.message, "it broke");
}

#[test]
fn a_rollback_to_what_is_not_kept_or_past_another_revision_changes_nothing() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", None));
    assert_eq!(state.apply(2, roll_back(2, 9, None)), Outcome::NotKept);
    let conflict = state.apply(3, roll_back(3, 1, Some(7)));
    assert!(matches!(conflict, Outcome::Conflict { current: 1, .. }));
    assert_eq!(state.documents.newest_number(), 1);
}

#[test]
fn every_act_is_recorded_with_its_revisions_and_refusals_with_their_cause() {
    let mut state = State::default();
    let found = Action::Found {
        cluster_id: "x".to_owned(),
    };
    state.apply(1, command(1, found));
    state.apply(2, apply(2, "one", None));
    state.apply(3, apply(3, "late", Some(0)));
    // Sent again: one act.
    state.apply(4, apply(3, "late", Some(0)));
    state.apply(5, roll_back(5, 1, None));
    let note = Note {
        act: "drain".to_owned(),
        target: "node b".to_owned(),
        refused: Some("it is the last one".to_owned()),
    };
    state.apply(6, command(6, Action::Note(note)));
    let seen: Vec<_> = state
        .audit
        .page(Some(0), 10)
        .into_iter()
        .map(|entry| {
            assert_eq!(
                (entry.actor.name.as_str(), entry.node.as_str()),
                ("ada", "a")
            );
            let revisions = (entry.before, entry.after);
            (
                entry.index,
                entry.act,
                entry.target,
                revisions,
                entry.refused,
            )
        })
        .collect();
    let text = str::to_owned;
    assert_eq!(
        seen,
        [
            (2, text("apply"), text("document"), (0, 1), None),
            (
                3,
                text("apply"),
                text("document"),
                (1, 1),
                Some(text("revision 1 of ada was the newest"))
            ),
            (5, text("rollback"), text("revision 1"), (1, 2), None),
            (
                6,
                text("drain"),
                text("node b"),
                (2, 2),
                Some(text("it is the last one"))
            ),
        ]
    );
}

fn acknowledge(number: u64, revision: u64, acks: &[(&str, Option<&str>)]) -> Command {
    let acks = acks
        .iter()
        .map(|(node, rejected)| (NodeId::from(*node), Ack::new(number, *rejected)))
        .collect();
    command(number, Action::Acknowledge(Acknowledge { revision, acks }))
}

#[test]
fn what_nodes_made_of_a_revision_stays_with_it() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", None));
    state.apply(2, acknowledge(2, 1, &[("a", None), ("b", Some("no key"))]));
    state.apply(3, apply(3, "two", None));
    // Later it could; and of what is not kept nothing is written.
    state.apply(4, acknowledge(4, 1, &[("b", None)]));
    let outcome = state.apply(5, acknowledge(5, 9, &[("a", None)]));
    assert_eq!(outcome, Outcome::Done { index: 5 });
    let acks = &state.documents.revision(1).unwrap().summary.acks;
    let (a, b) = (&acks[&NodeId::from("a")], &acks[&NodeId::from("b")]);
    assert_eq!((a, b), (&Ack::new(2, None), &Ack::new(4, None)));
    assert!(state.documents.revision(2).unwrap().summary.acks.is_empty());
    assert_eq!(state.audit.page(Some(0), 10).len(), 2, "an ack is no act");
}

#[test]
fn acks_are_bounded_in_number_and_length() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", None));
    let long = "x".repeat(10_000);
    for number in 2..400 {
        let node = format!("node-{number}");
        state.apply(number, acknowledge(number, 1, &[(&node, Some(&long))]));
    }
    let length = wire::encode(&state.documents).len();
    assert!(length < 256 * 400, "{length}");
}

fn set_quota(number: u64, tenant: &str, expires_ms: Option<u64>) -> Command {
    let wish = SetQuota {
        tenant: tenant.into(),
        limits: vec!["9000/hour".to_owned()],
        expires_ms,
        reason: "launch day".to_owned(),
    };
    command(number, Action::SetQuota(wish))
}

fn clear_quota(number: u64, tenant: &str) -> Command {
    let tenant = tenant.into();
    command(number, Action::ClearQuota { tenant })
}

/// The entry that last changed a limit of the first revision.
fn index_as_of(state: &State) -> Option<u64> {
    state.overrides().as_of(1, 0).map(|as_of| as_of.index)
}

#[test]
fn limits_that_are_set_are_audited_and_say_since_when() {
    let mut state = State::default();
    state.apply(1, apply(1, "one", None));
    assert_eq!(
        index_as_of(&state),
        None,
        "the first version keeps nothing of it"
    );
    state.apply(2, command(2, Action::Raise { level: 2 }));
    assert_eq!(index_as_of(&state), Some(2));
    let done = |index| Outcome::Done { index };
    assert_eq!(
        state.apply(3, set_quota(3, "acme", Some(7_200_003))),
        done(3)
    );
    assert_eq!(index_as_of(&state), Some(3));
    let set = &state.overrides().all()["acme"];
    assert_eq!(
        (set.index, set.by.as_str(), set.reason.as_str()),
        (3, "ada", "launch day")
    );
    // Sent again: the same one.
    assert_eq!(state.apply(4, set_quota(3, "acme", None)), done(3));
    assert_eq!(state.apply(5, clear_quota(5, "acme")), done(5));
    let nothing = state.apply(6, clear_quota(6, "acme"));
    assert!(matches!(nothing, Outcome::Unset(_)), "{nothing:?}");
    assert_eq!(index_as_of(&state), Some(5));
    let acts: Vec<_> = state
        .audit
        .page(Some(1), 10)
        .into_iter()
        .map(|entry| (entry.index, entry.act, entry.target, entry.refused))
        .collect();
    let text = str::to_owned;
    assert_eq!(
        acts,
        [
            (
                3,
                text("quota set"),
                text("acme: 9000/hour for 2h (launch day)"),
                None
            ),
            (5, text("quota clear"), text("acme"), None),
            (
                6,
                text("quota clear"),
                text("acme"),
                Some(text("the tenant has the limits of its plan"))
            ),
        ]
    );
}

#[test]
fn limits_that_are_set_survive_a_snapshot_and_a_restore() {
    let mut state = State::default();
    state.apply(1, command(1, Action::Raise { level: 2 }));
    state.apply(2, apply(2, "one", None));
    state.apply(3, set_quota(3, "acme", None));
    let read = State::decode(&state.encode(), Versions::THIS_RELEASE).unwrap();
    assert_eq!(read, state);
    assert_eq!(index_as_of(&read), Some(3));
    let restored = read.restored("another".to_owned());
    assert_eq!(restored.overrides(), state.overrides());
}

fn note(number: u64, target: &str) -> Command {
    let note = Note {
        act: "drain".to_owned(),
        target: target.to_owned(),
        refused: None,
    };
    command(number, Action::Note(note))
}

#[test]
fn the_oldest_acts_make_room_for_new_ones() {
    let mut state = State::default();
    let many = audit::KEPT as u64 + 10;
    for number in 1..=many {
        state.apply(number, note(number, "node b"));
    }
    let all = state.audit.page(Some(0), usize::MAX);
    assert_eq!(all.len(), audit::KEPT);
    assert_eq!((all[0].index, all.last().unwrap().index), (11, many));
    let indices =
        |page: Vec<AuditEntry>| -> Vec<u64> { page.into_iter().map(|entry| entry.index).collect() };
    assert_eq!(indices(state.audit.page(Some(20), 2)), [21, 22]);
    assert_eq!(indices(state.audit.page(None, 2)), [many - 1, many]);
    assert_eq!(indices(state.audit.page(Some(many), 2)), [0; 0]);
}

#[test]
fn long_acts_are_cut_and_bounded_by_their_bytes() {
    let mut state = State::default();
    let long = "x".repeat(100_000);
    for number in 1..=3000 {
        state.apply(number, note(number, &long));
    }
    let length = wire::encode(&state.audit).len();
    assert!(length <= audit::KEPT_BYTES, "{length}");
    assert_eq!(state.audit.newest().unwrap().index, 3000);
    assert!(state.audit.newest().unwrap().target.len() < 1000);
}

#[test]
fn old_revisions_are_forgotten_and_numbers_go_on() {
    let mut state = State::default();
    let many = documents::KEPT as u64 + 10;
    for number in 1..=many {
        state.apply(number, apply(number, "text", None));
    }
    assert_eq!(state.documents.history().len(), documents::KEPT);
    assert_eq!(state.documents.newest_number(), many);
    assert_eq!(state.documents.revision(10), None);
    assert!(state.documents.revision(11).is_some());
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
    assert!(state.documents.history().len() < 12);
    assert_eq!(state.documents.newest_number(), 12);
    let length = wire::encode(&state).len();
    assert!(length < wire::LIMIT, "{length}");
}

proptest! {
    #[test]
    fn a_replica_that_restores_a_snapshot_ends_the_same(
        steps in prop::collection::vec((0..30_u64, prop::option::of(0..20_u64), 0..6_u8), 0..60),
        at: prop::sample::Index,
    ) {
        let at = at.index(steps.len() + 1);
        let mut whole = State::default();
        whole.apply(1, command(100, Action::Raise { level: 2 }));
        let mut restored = State::default();
        for (position, (number, expect, kind)) in steps.iter().enumerate() {
            if position == at {
                restored = State::decode(&whole.encode(), Versions::THIS_RELEASE).unwrap();
            }
            let index = position as u64 + 2;
            let command = match kind {
                0 => apply(*number, &format!("text {number}"), *expect),
                1 => roll_back(*number, *number, *expect),
                2 => acknowledge(*number, *number, &[("b", Some("no"))]),
                3 => set_quota(*number, &format!("t{}", number % 3), *expect),
                4 => clear_quota(*number, &format!("t{}", number % 3)),
                _ => note(*number, "node b"),
            };
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
                let conflict = matches!(outcome, Outcome::Conflict { current: c, .. } if c == current);
                prop_assert!(conflict);
            }
        }
    }
}

/// A fact with texts of so many bytes in all.
fn fact(number: u64, text: usize) -> Arc<Fact> {
    let token = format!("{number:0>width$}", width = text.clamp(12, 512));
    let reason = "r".repeat(text.saturating_sub(512).min(512));
    Arc::new(Fact {
        id: format!("{number:032x}").parse().unwrap(),
        claim: crate::facts::Claim::Revoke(crate::facts::Revocation::TokenId(token)),
        expires_ms: u64::MAX,
        made_ms: u64::MAX - 1,
        node: "n".into(),
        actor: Actor::new("o", "r", Some(([255; 16], 65_535).into())),
        reason,
    })
}

#[test]
fn a_state_with_all_the_facts_it_may_hold_fits_a_snapshot() {
    // As much as everything else takes: documents, acts, outcomes of writes.
    const BESIDE: usize = 12 << 20;
    for text in [0, 64, 1024] {
        let mut state = State::default();
        let mut number = 0;
        let refused = loop {
            let facts: Vec<_> = (number..number + 256).map(|n| fact(n, text)).collect();
            number += 256;
            match state.apply(number, command(number, Action::KeepFacts(facts))) {
                Outcome::FactsKept { refused } if refused.is_empty() => {}
                Outcome::FactsKept { refused } => break refused,
                other => panic!("{other:?}"),
            }
        };
        assert!(!refused.is_empty());
        let bytes = wire::encode(&state);
        let held = state.facts.len();
        println!(
            "{held} facts with {text} bytes of text: a state of {} bytes",
            bytes.len()
        );
        assert!(bytes.len() + BESIDE < wire::STATE_LIMIT, "{}", bytes.len());
        assert!(state.facts.bytes() <= crate::facts::BYTES_LIMIT);
        assert_eq!(State::decode(&bytes, Versions::THIS_RELEASE), Ok(state));
    }
}

#[test]
fn facts_of_one_command_are_on_one_page_of_the_audit() {
    let mut state = State::default();
    for number in 1..=3 {
        let first = number * 10;
        let facts = (first..first + 5).map(|n| fact(n, 0)).collect();
        state.apply(number, command(number, Action::KeepFacts(facts)));
    }
    let (mut after, mut seen) = (0, 0);
    loop {
        let page = state.audit.page(Some(after), 3);
        let Some(last) = page.last() else { break };
        assert_eq!(page.len(), 5);
        after = last.index;
        seen += page.len();
    }
    assert_eq!(seen, 15);
    assert_eq!(state.audit.page(Some(0), 5).len(), 5);
    assert!(state.audit.page(Some(0), 0).is_empty());
}
