//! What the leader remembers, beside a ledger of two nodes.

use std::time::Duration;

use super::*;
use crate::quota::{
    message::{Act, Entry, Line, Stamp},
    terms::{Kind, OnLapse},
};

const KEY: KeyId = KeyId([1; 16]);

fn apply(ledger: &mut Ledger, act: Act) -> Vec<QuotaGrant> {
    let entry = Entry {
        stamp: Stamp::default(),
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
            cooling: Vec::new(),
            rests: None,
        }],
    }
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
