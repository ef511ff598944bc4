//! What the leader remembers, beside a ledger of two nodes.

use std::time::Duration;

use super::*;
use crate::quota::{
    message::{Act, Entry, Line, Stamp},
    terms::{Kind, OnLapse},
};

const KEY: KeyId = KeyId([1; 16]);

fn apply(ledger: &mut Ledger, act: Act) -> Vec<QuotaGrant> {
    apply_at(ledger, 0, act)
}

fn apply_at(ledger: &mut Ledger, log_ms: u64, act: Act) -> Vec<QuotaGrant> {
    let entry = Entry {
        stamp: Stamp {
            log_ms,
            ..Stamp::default()
        },
        line: Line::default(),
        act,
    };
    ledger.apply(1, &entry)
}

fn ask(node: &str, seq: u64, returned: u32, want: u32) -> QuotaAsk {
    let terms = Terms::new(1000, Duration::from_secs(60), Kind::Sliding, OnLapse::Base);
    QuotaAsk {
        node: node.into(),
        incarnation: 1,
        seq,
        sent_ms: seq,
        as_of: 1,
        seats: 0,
        fits: false,
        terms: vec![terms.unwrap()],
        items: vec![AskItem {
            key: KEY,
            terms: Some(0),
            born: 1,
            returned,
            lent: 0,
            want,
            window: 0,
            rate: 0,
            free: 0,
            given: 0,
            unit: 1,
            waits_ms: 0,
            cooling: Vec::new(),
            rests: None,
        }],
    }
}

/// Two nodes use all of a key, and more is wanted, when a third takes a seat: its part of the base has to come from them,
/// though each of them holds less than its share of what the limit is.
#[test]
fn in_a_deficit_what_a_node_waits_for_is_recalled_and_no_less() {
    let mut ledger = Ledger::new(Params::DEFAULT);
    let mut leader = Leader::new(Params::DEFAULT);
    let up = |node: &str| Act::NodeUp {
        node: node.into(),
        incarnation: 1,
    };
    let batch = |asks: Vec<QuotaAsk>| Act::Batch {
        asks,
        wishes: Vec::new(),
    };
    apply(&mut ledger, Act::Split { seats: 3 });
    let mut returned = [0, 0];
    let busy = |node: &str, seq, returned, want| {
        let mut ask = ask(node, seq, returned, want);
        // Three times the limit.
        ask.items[0].rate = 50_000;
        ask
    };
    for (node, want) in [("a", 333), ("b", 334)] {
        apply(&mut ledger, up(node));
        apply(&mut ledger, batch(vec![busy(node, 1, 0, want)]));
    }
    let standing = ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.base), (0, 333));
    apply(&mut ledger, up("c"));
    assert_eq!(ledger.shorts(), [KEY]);
    let covered = |ledger: &Ledger| {
        let terms = ledger.standing(&KEY).unwrap().terms;
        ledger.right(&"c".into()).unwrap().scope.covers(&terms)
    };
    assert!(!covered(&ledger));
    for second in 1..=3 {
        let seq = second + 1;
        for ((node, region, want), returned) in [("a", "eu", 333), ("b", "us", 334)]
            .iter()
            .zip(&mut returned)
        {
            let asked = busy(node, seq, *returned, *want);
            leader.hear(&asked, &(*region).into(), second * 1000);
            apply_at(&mut ledger, second * 1000, batch(vec![asked]));
        }
        let recalls = leader.recalls(1, &ledger, second * 1000);
        assert_eq!(recalls.is_empty(), second > 1, "{recalls:?}");
        for recall in recalls {
            let at = usize::from(recall.node == "b".into());
            let cap = recall.recalls[0].cap;
            returned[at] += ledger.held(&recall.node, &KEY) - cap;
        }
    }
    assert!(ledger.standing(&KEY).unwrap().pool >= 0);
    assert!(covered(&ledger), "{returned:?}");
}

#[test]
fn the_rest_of_a_wish_is_met_without_another_ask() {
    let mut ledger = Ledger::new(Params::DEFAULT);
    let mut leader = Leader::new(Params::DEFAULT);
    apply(&mut ledger, Act::Split { seats: 2 });
    for node in ["a", "b"] {
        let node = node.into();
        apply(
            &mut ledger,
            Act::NodeUp {
                node,
                incarnation: 1,
            },
        );
    }
    let batch = |asks: Vec<QuotaAsk>| Act::Batch {
        asks,
        wishes: Vec::new(),
    };
    apply(&mut ledger, batch(vec![ask("a", 1, 0, 500)]));
    let wanted = ask("b", 1, 0, 100);
    leader.hear(&wanted, &"eu".into(), 0);
    apply(&mut ledger, batch(vec![wanted]));
    assert_eq!(leader.wishes(&ledger), [], "there is nothing");
    for (seq, returned, given) in [(2, 30, 30), (3, 70, 70), (4, 400, 100)] {
        apply(&mut ledger, batch(vec![ask("a", seq, returned, 500)]));
        let wishes = leader.wishes(&ledger);
        assert_eq!(wishes.len(), 1, "{returned}");
        assert_eq!(leader.wishes(&ledger), [], "it is proposed already");
        let asks = Vec::new();
        let grants = apply(&mut ledger, Act::Batch { asks, wishes });
        assert_eq!(grants[0].items[0].given, given);
    }
    assert_eq!(leader.wishes(&ledger), [], "it is met");
}

/// Of 100, of which base is 50, two nodes want 60 at once for a request each, again and again: one has all of it, the other
/// hands its base back, and in another turn it is the other's.
#[test]
fn what_is_too_little_for_two_requests_is_one_nodes_in_its_turn() {
    let minute = Duration::from_secs(60);
    let terms = Terms::new(100, minute, Kind::Sliding, OnLapse::Base).unwrap();
    for (turn, winner) in [(0, "a"), (1, "b")] {
        let at = turn * TURN_MS.1;
        let mut ledger = Ledger::new(Params::DEFAULT);
        let mut leader = Leader::new(Params::DEFAULT);
        apply(&mut ledger, Act::Split { seats: 2 });
        for node in ["a", "b"] {
            let node = node.into();
            let up = Act::NodeUp {
                node,
                incarnation: 1,
            };
            apply(&mut ledger, up);
        }
        let wanting = |node: &str| {
            let mut ask = ask(node, 1, 0, 35);
            ask.terms = vec![terms];
            (ask.items[0].free, ask.items[0].unit) = (25, 60);
            ask
        };
        let mut asks = vec![wanting("a"), wanting("b")];
        for ask in &asks {
            leader.hear(ask, &ask.node.as_str().into(), at);
        }
        // So that there is a record, and the log's time.
        let mut first = wanting("a");
        first.items[0].want = 1;
        let act = Act::Batch {
            asks: vec![first],
            wishes: Vec::new(),
        };
        apply_at(&mut ledger, at, act);
        leader.cut(&mut asks, &ledger);
        let wants: Vec<u32> = asks.iter().map(|ask| ask.items[0].want).collect();
        assert_eq!(wants, if winner == "a" { [35, 0] } else { [1, 35] });
        let recalls = leader.recalls(1, &ledger, at);
        let recalled: Vec<_> = recalls
            .iter()
            .map(|grant| (grant.node.as_str(), grant.recalls[0].cap))
            .collect();
        assert_eq!(recalled, [(if winner == "a" { "b" } else { "a" }, 0)]);
    }
}

/// What comes over the network may be anything.
#[test]
fn a_request_that_takes_nothing_or_more_than_there_is_breaks_nothing() {
    let mut ledger = Ledger::new(Params::DEFAULT);
    let mut leader = Leader::new(Params::DEFAULT);
    apply(&mut ledger, Act::Split { seats: 1 });
    let up = Act::NodeUp {
        node: "a".into(),
        incarnation: 1,
    };
    apply(&mut ledger, up);
    for (unit, waits_ms) in [(0, 0), (u32::MAX, 0), (u32::MAX, u32::MAX), (0, u32::MAX)] {
        let mut wild = ask("a", 1, 0, 2000);
        (wild.items[0].unit, wild.items[0].waits_ms) = (unit, waits_ms);
        wild.items[0].rate = u32::MAX;
        leader.hear(&wild, &"eu".into(), 0);
        let mut asks = vec![wild.clone()];
        apply(
            &mut ledger,
            Act::Batch {
                asks: vec![wild],
                wishes: Vec::new(),
            },
        );
        leader.cut(&mut asks, &ledger);
        leader.recalls(1, &ledger, 0);
        leader.wishes(&ledger);
        leader.forget(0);
    }
}
