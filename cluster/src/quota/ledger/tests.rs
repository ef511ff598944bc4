//! The ledger by itself, entry by entry. [`crate::quota::model`] plays it with nodes and a network.

mod lent;
mod seats;
mod size;
mod time;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::quota::{
    message::{Act, AskItem, Entry, Line, QuotaAsk, QuotaGrant, Rests, Span, Wish},
    terms::{Kind, OnLapse, Scope},
};

const KEY: KeyId = KeyId([1; 16]);

/// One leader's.
fn line() -> Line {
    Line {
        by: name(0),
        after: 0,
    }
}

/// A ledger under hand.
struct Desk {
    ledger: Ledger,
    index: u64,
    log_ms: u64,
}

impl Desk {
    /// With nodes `a`, `b`, `c`, ... in seats.
    fn with(nodes: u64) -> Self {
        let mut desk = Self {
            ledger: Ledger::new(Params::DEFAULT),
            index: 0,
            log_ms: 0,
        };
        desk.act(Act::Split {
            seats: u16::try_from(nodes).unwrap(),
        });
        for number in 0..nodes {
            desk.act(Act::NodeUp {
                node: name(number),
                incarnation: 1,
            });
        }
        desk
    }

    fn act(&mut self, act: Act) -> Vec<QuotaGrant> {
        self.index += 1;
        let stamp = Stamp {
            log_ms: self.log_ms,
            unix_ms: self.log_ms,
        };
        let line = line();
        self.ledger.apply(self.index, &Entry { stamp, line, act })
    }

    fn pass(&mut self, seconds: u64) {
        self.log_ms += seconds * 1000;
        self.act(Act::Expire);
    }

    /// An ask that was sent just now.
    fn hear(&mut self, mut ask: QuotaAsk) -> Option<QuotaGrant> {
        ask.sent_ms += self.log_ms;
        self.hear_late(ask)
    }

    fn hear_late(&mut self, ask: QuotaAsk) -> Option<QuotaGrant> {
        let mut grants = self.act(Act::Batch {
            asks: vec![ask],
            wishes: Vec::new(),
        });
        grants.pop()
    }

    /// All but how many entries there were.
    fn state(&self) -> Vec<u8> {
        let ledger = self.ledger.clone();
        Ledger { last: 0, ..ledger }.encode()
    }

    fn pool(&self) -> i64 {
        self.ledger.standing(&KEY).unwrap().pool
    }
}

fn name(number: u64) -> NodeId {
    NodeId::new(char::from(b'a' + u8::try_from(number).unwrap()).to_string())
}

fn terms(limit: u64) -> Terms {
    let minute = Duration::from_secs(60);
    Terms::new(limit, minute, Kind::Sliding, OnLapse::Base).unwrap()
}

fn ask(node: &str, seq: u64, returned: u32, want: u32) -> QuotaAsk {
    QuotaAsk {
        node: node.into(),
        incarnation: 1,
        seq,
        sent_ms: seq,
        as_of: 1,
        seats: 0,
        fits: false,
        terms: vec![terms(1000)],
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

/// A node hands back of its base.
fn lending(node: &str, seq: u64, returned: u32, lent: u32, want: u32) -> QuotaAsk {
    let mut ask = ask(node, seq, returned, want);
    ask.items[0].lent = lent;
    ask
}

fn given(grant: Option<QuotaGrant>) -> u32 {
    grant.unwrap().items[0].given
}

#[test]
fn half_is_base_and_the_pool_is_given_until_it_is_empty() {
    let mut desk = Desk::with(2);
    let grant = desk.hear(ask("a", 1, 0, 300)).unwrap();
    assert_eq!(grant.items[0].given, 300);
    assert_eq!(grant.items[0].pool, 200);
    let right = grant.base.unwrap();
    assert_eq!(terms(1000).base(right.share), 250);
    assert_eq!(right.unspent_ms, u64::MAX);
    assert_eq!(given(desk.hear(ask("b", 1, 0, 300))), 200);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.base), (0, 500));
    assert_eq!(standing.extra, [(name(0), 300), (name(1), 200)]);
}

#[test]
fn a_repeat_asks_for_nothing_more_and_an_overtaken_ask_changes_nothing() {
    let mut desk = Desk::with(2);
    assert_eq!(given(desk.hear(ask("a", 2, 0, 300))), 300);
    assert_eq!(given(desk.hear(ask("a", 3, 0, 300))), 300);
    let before = desk.state();
    assert_eq!(desk.hear(ask("a", 3, 0, 400)), None);
    assert_eq!(desk.hear(ask("a", 1, 0, 400)), None);
    let stranger = QuotaAsk {
        incarnation: 2,
        ..ask("a", 9, 0, 400)
    };
    assert_eq!(desk.hear(stranger), None);
    assert_eq!(desk.state(), before);
}

#[test]
fn what_is_handed_back_is_free_at_once_and_an_idle_key_has_no_record() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 300));
    assert_eq!(given(desk.hear(ask("a", 2, 300, 300))), 300);
    assert_eq!((desk.ledger.keys(), desk.ledger.rows()), (0, 0));
    // The node's totals go on where they were.
    assert_eq!(given(desk.hear(ask("a", 3, 300, 350))), 350);
    assert_eq!(desk.pool(), 450);
}

#[test]
fn a_lapse_takes_back_and_frees_a_window_later() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    desk.pass(30);
    assert_eq!(desk.pool(), 0);
    desk.pass(1);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (0, 500));
    desk.pass(59);
    assert_eq!(
        desk.pool(),
        0,
        "a window after the lease, not after the contact"
    );
    desk.pass(3);
    assert_eq!(desk.ledger.keys(), 0);

    // The node hears of it. What it has handed back meanwhile isn't taken from its base.
    assert_eq!(given(desk.hear(ask("a", 2, 20, 500))), 500);
    assert_eq!(desk.pool(), 20);
}

#[test]
fn a_return_that_arrives_after_the_lapse_is_not_counted_twice() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    desk.hear(ask("b", 1, 0, 0));
    desk.pass(31);
    assert_eq!(given(desk.hear(ask("a", 2, 20, 0))), 20, "base + 20 - 20");
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (0, 500));
}

#[test]
fn a_lowered_limit_is_in_deficit_until_enough_has_come_back() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    let lowered = |seq, returned, want| QuotaAsk {
        as_of: 2,
        terms: vec![terms(600)],
        ..ask("a", seq, returned, want)
    };
    assert_eq!(given(desk.hear(lowered(2, 0, 500))), 500);
    assert_eq!(desk.pool(), -200);
    // A node that has not heard of it asks under the new terms all the same.
    assert_eq!(given(desk.hear(ask("b", 1, 0, 50))), 0);
    desk.hear(lowered(3, 250, 500));
    assert_eq!(desk.pool(), 50);
    let raised = QuotaAsk {
        as_of: 3,
        terms: vec![terms(1000)],
        ..ask("a", 4, 250, 500)
    };
    desk.hear(raised);
    assert_eq!(desk.pool(), 250);
}

#[test]
fn a_cell_that_was_forgotten_is_met_again_with_totals_from_0() {
    let mut desk = Desk::with(2);
    // It has not seen what it was given.
    desk.hear(ask("a", 1, 0, 300));
    let mut fresh = ask("a", 2, 0, 40);
    fresh.items[0].born = 2;
    assert_eq!(given(desk.hear(fresh)), 40);
    assert_eq!(desk.pool(), 460);
    // A key that it was told of and does not know.
    let mut unknown = ask("a", 3, 0, 0);
    unknown.items[0].born = 3;
    unknown.items[0].terms = None;
    assert_eq!(given(desk.hear(unknown)), 0);
    assert_eq!(desk.ledger.keys(), 0);
}

#[test]
fn a_wish_is_given_when_there_is_some_and_is_no_contact() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    let wanted = ask("b", 1, 0, 100);
    let wish = Wish {
        node: name(1),
        incarnation: 1,
        item: wanted.items[0].clone(),
    };
    assert_eq!(given(desk.hear(wanted)), 0);
    desk.hear(ask("a", 2, 80, 500));
    let grants = desk.act(Act::Batch {
        asks: Vec::new(),
        wishes: vec![wish],
    });
    assert_eq!(grants[0].items[0].given, 80);
    assert_eq!(grants[0].answers, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_asks_leave_no_more_tokens_than_the_limit(
        asks in prop::collection::vec((0..3_u64, 0..4_u32, any::<u32>(), any::<u32>(), 1..4_u32), 1..60),
    ) {
        let mut desk = Desk::with(3);
        for (seq, (node, step, returned, want, born)) in (1..).zip(asks) {
            let mut asking = ask(name(node).as_str(), seq, returned, want);
            asking.items[0].born = born;
            desk.hear(asking);
            desk.log_ms += u64::from(step) * 9000;
            if let Some(standing) = desk.ledger.standing(&KEY) {
                prop_assert!(standing.pool >= 0);
                let extra: i64 = standing.extra.iter().map(|(_, extra)| *extra).sum();
                let sum = (standing.base + standing.cooling).cast_signed() + extra + standing.pool;
                prop_assert_eq!(sum, 1000);
            }
        }
        let read = Ledger::decode(&desk.state(), Params::DEFAULT).unwrap();
        prop_assert_eq!(read.encode(), desk.state());
    }

    #[test]
    fn any_bytes_give_an_answer(bytes: Vec<u8>) {
        let _ = Ledger::decode(&bytes, Params::DEFAULT);
    }
}
