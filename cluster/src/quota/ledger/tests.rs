//! The ledger by itself, entry by entry. [`crate::quota::model`] plays it with nodes and a network.

use std::time::{Duration, Instant};

use meridian_fuzz::memory;
use proptest::prelude::*;

use super::*;
use crate::quota::{
    message::{Act, AskItem, Entry, Line, QuotaAsk, QuotaGrant, Rests, Span, Wish},
    terms::{Kind, OnLapse},
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
            cooling: Vec::new(),
            rests: None,
        }],
    }
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

/// A node hands back of its base.
fn lending(node: &str, seq: u64, returned: u32, lent: u32, want: u32) -> QuotaAsk {
    let mut ask = ask(node, seq, returned, want);
    ask.items[0].lent = lent;
    ask
}

#[test]
fn base_that_is_lent_is_the_pools_until_it_is_given_again_and_seen() {
    let mut desk = Desk::with(2);
    assert_eq!(given(desk.hear(lending("b", 1, 200, 200, 0))), 0);
    assert_eq!(desk.pool(), 700);
    assert_eq!(given(desk.hear(ask("a", 1, 0, 700))), 700);
    // Out of contact or not, it is lent.
    desk.pass(31);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (0, 700));
    assert_eq!(standing.extra, [(name(1), -200)]);
    desk.pass(62);
    assert_eq!(given(desk.hear(lending("b", 2, 200, 200, 200))), 200);
    // The same again from before it has seen that.
    assert_eq!(given(desk.hear(lending("b", 3, 200, 200, 0))), 200);
    assert_eq!(desk.pool(), 500);
    assert_eq!(given(desk.hear(lending("b", 4, 200, 0, 200))), 200);
    assert_eq!((desk.ledger.keys(), desk.ledger.rows()), (0, 0));
}

#[test]
fn a_wish_from_before_does_not_lend() {
    let mut desk = Desk::with(2);
    let lending = lending("b", 1, 8, 8, 16);
    let wish = Wish {
        node: name(1),
        incarnation: 1,
        item: lending.items[0].clone(),
    };
    desk.hear(lending);
    assert_eq!(given(desk.hear(ask("b", 2, 16, 16))), 16);
    desk.hear(ask("a", 1, 0, 1));
    desk.act(Act::Batch {
        asks: Vec::new(),
        wishes: vec![wish],
    });
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert!(
        standing.extra.iter().all(|(_, extra)| *extra >= 0),
        "{standing:?}"
    );
}

#[test]
fn a_wish_from_before_does_not_hide_that_base_was_lent() {
    let mut desk = Desk::with(2);
    let wanted = ask("b", 1, 8, 16);
    let wish = Wish {
        node: name(1),
        incarnation: 1,
        item: wanted.items[0].clone(),
    };
    let grants = desk.act(Act::Batch {
        asks: vec![lending("b", 2, 16, 8, 8)],
        wishes: vec![wish],
    });
    let given = grants.iter().map(|grant| grant.items[0].given);
    assert_eq!(given.collect::<Vec<_>>(), [8, 16]);
    // Said before it has heard that.
    assert_eq!(
        super::tests::given(desk.hear(lending("b", 3, 16, 8, 10))),
        16
    );
    assert_eq!(desk.pool(), 500);
}

#[test]
fn a_new_life_of_a_node_that_had_lent_has_no_base_before_it_is_there_again() {
    let mut desk = Desk::with(2);
    desk.hear(lending("b", 1, 200, 200, 0));
    desk.hear(ask("a", 1, 0, 700));
    desk.act(Act::NodeUp {
        node: name(1),
        incarnation: 2,
    });
    assert_eq!(desk.pool(), -200);
    assert_eq!(desk.ledger.shorts(), [KEY]);
    let second = |seq| QuotaAsk {
        incarnation: 2,
        items: Vec::new(),
        ..ask("b", seq, 0, 0)
    };
    desk.log_ms += 5000;
    assert_eq!(desk.hear(second(1)).unwrap().base, None);
    desk.hear(ask("a", 2, 200, 700));
    desk.log_ms += 1000;
    desk.hear(second(2));
    let right = desk.hear(second(3)).unwrap().base.unwrap();
    assert_eq!((right.share.seat, right.unspent_ms), (1, 6000));
}

#[test]
fn a_return_that_a_lapse_overtook_is_not_lent() {
    let mut desk = Desk::with(2);
    desk.hear(ask("b", 1, 0, 100));
    desk.pass(31);
    // 120 of what it held, of which 20 were its base's; the 100 are cooling here.
    assert_eq!(given(desk.hear(lending("b", 2, 120, 20, 100))), 100);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (420, 100));
    assert_eq!(standing.extra, [(name(1), -20)]);
}

#[test]
fn a_word_that_a_lapse_overtook_does_not_lend_what_was_given_again() {
    let mut desk = Desk::with(2);
    desk.hear(lending("b", 1, 20, 20, 0));
    // It is given these and 10 more, which reach it after it has said the next.
    assert_eq!(given(desk.hear(lending("b", 2, 20, 20, 30))), 30);
    desk.pass(31);
    assert_eq!(given(desk.hear(lending("b", 3, 20, 20, 20))), 20);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (490, 10));
    assert_eq!(standing.extra, [(name(1), 0)]);
    desk.pass(92);
    desk.hear(ask("b", 4, 20, 20));
    assert_eq!((desk.ledger.keys(), desk.ledger.rows()), (0, 0));
}

#[test]
fn what_was_said_under_a_lease_and_comes_after_its_end_is_said_again() {
    let mut desk = Desk::with(2);
    desk.hear(ask("b", 1, 0, 22));
    // It hands back 29 that it holds, 20 of its base with them, and is given 13 more, which reach it later.
    let mut late = lending("b", 3, 29, 20, 9);
    late.sent_ms = 29_000;
    desk.hear(ask("a", 1, 0, 1));
    desk.pass(31);
    assert_eq!(desk.hear_late(late).unwrap().items, []);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!(standing.cooling, 23, "the lease is over");
    assert!(
        standing.extra.iter().all(|(_, extra)| *extra == 0),
        "{standing:?}"
    );
    // It has 7 less than its base, and says so.
    assert_eq!(given(desk.hear(lending("b", 4, 29, 7, 22))), 22);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!(standing.extra, [(name(1), -7)]);
}

/// A node that holds 300 beyond its base has spent these.
fn resting(node: &str, seq: u64, given: u32, spans: &[(u64, u32)]) -> QuotaAsk {
    let mut ask = ask(node, seq, 0, 300);
    let spans = spans.iter().map(|(ms, count)| Span {
        ms: *ms,
        count: *count,
    });
    let spans = spans.collect();
    ask.items[0].rests = Some(Rests { given, spans });
    ask
}

fn cooling(desk: &Desk) -> u64 {
    let standing = desk.ledger.standing(&KEY);
    standing.map_or(0, |standing| standing.cooling)
}

#[test]
fn what_cools_longer_than_a_lease_waits_for_no_window() {
    let spends = [(20_000, 50), (35_000, 40), (50_000, 60), (58_000, 70)];
    for crash in [false, true] {
        let mut desk = Desk::with(2);
        desk.hear(ask("a", 1, 0, 300));
        desk.hear(resting("a", 2, 300, &spends));
        match crash {
            true => {
                desk.pass(10);
                desk.act(Act::NodeUp {
                    node: name(0),
                    incarnation: 2,
                });
                desk.pass(21);
            }
            false => desk.pass(31),
        }
        assert_eq!(cooling(&desk), 300, "{crash}");
        // The first that cool beyond the lease, of 30 s; those of 35 s may cool before that, and be spent again.
        desk.pass(22);
        assert_eq!(cooling(&desk), 240, "{crash}");
        desk.pass(8);
        assert_eq!(cooling(&desk), 170, "{crash}");
        desk.pass(35);
        assert_eq!(cooling(&desk), 0, "{crash}");
    }
}

#[test]
fn what_is_not_said_of_all_that_is_held_is_not_believed() {
    let spends = [(35_000, 40), (50_000, 60)];
    let mut desk = Desk::with(2);
    // It thinks that it has more than the ledger has for it: that was taken back.
    desk.hear(ask("a", 1, 0, 300));
    desk.hear(resting("a", 2, 301, &spends));
    desk.pass(31);
    desk.pass(30);
    assert_eq!(cooling(&desk), 300);
    desk.pass(31);
    // Said before it has heard of that.
    desk.hear(resting("a", 3, 300, &spends));
    desk.pass(31);
    desk.pass(30);
    assert_eq!(cooling(&desk), 300);
}

#[test]
fn an_entry_whose_time_does_not_follow_counts_for_nothing() {
    let mut ledger = Ledger::new(Params::DEFAULT);
    let up = |number| Act::NodeUp {
        node: name(number),
        incarnation: 1,
    };
    let mut apply = |index, log_ms, by, after, act| {
        let unix_ms = 0;
        let entry = Entry {
            stamp: Stamp { log_ms, unix_ms },
            line: Line { by, after },
            act,
        };
        ledger.apply(index, &entry);
        let known = [0, 1, 2, 3].map(|number| ledger.life(&name(number)).is_some());
        (known.map(u8::from), ledger.now().log_ms)
    };
    let (a, b) = (name(0), name(1));
    assert_eq!(apply(5, 100, a.clone(), 0, up(0)), ([1, 0, 0, 0], 100));
    // One elected after it, which had not applied it.
    assert_eq!(apply(6, 900, b.clone(), 0, up(1)), ([1, 0, 0, 0], 100));
    assert_eq!(apply(7, 150, b.clone(), 5, up(1)), ([1, 1, 0, 0], 150));
    assert_eq!(apply(8, 160, b, 5, up(2)), ([1, 1, 1, 0], 160));
    // The first again, by its time from before.
    assert_eq!(apply(9, 999, a.clone(), 0, up(3)), ([1, 1, 1, 0], 160));
    assert_eq!(apply(10, 170, a, 8, up(3)), ([1, 1, 1, 1], 170));
}

#[test]
fn a_new_life_holds_nothing_and_the_old_ones_tokens_cool() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    desk.log_ms += 5000;
    let up = |incarnation| Act::NodeUp {
        node: name(0),
        incarnation,
    };
    desk.act(up(2));
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (0, 500));
    let before = desk.state();
    desk.act(up(2));
    desk.act(up(1));
    assert_eq!(desk.state(), before);
    desk.log_ms += 7000;
    let second = QuotaAsk {
        incarnation: 2,
        ..ask("a", 1, 0, 10)
    };
    let grant = desk.hear(second).unwrap();
    assert_eq!(grant.items[0].given, 0);
    assert_eq!(grant.base.unwrap().unspent_ms, 7000);
    desk.pass(62);
    assert_eq!(desk.ledger.keys(), 0);
}

#[test]
fn an_orderly_end_leaves_nothing_to_wait_for_that_it_could_tell() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 500));
    let mut last = ask("a", 2, 500, 500);
    last.items[0].cooling = vec![Span {
        ms: 10_000,
        count: 100,
    }];
    desk.hear(last);
    desk.act(Act::NodeUp {
        node: name(0),
        incarnation: 2,
    });
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!((standing.pool, standing.cooling), (400, 100));
    desk.pass(12);
    assert_eq!(desk.ledger.keys(), 0);
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

#[test]
fn a_node_that_comes_has_base_when_no_key_is_in_deficit() {
    let mut desk = Desk::with(2);
    desk.act(Act::Split { seats: 4 });
    let split = |node: &str, seq, returned, want| QuotaAsk {
        seats: 4,
        ..ask(node, seq, returned, want)
    };
    desk.hear(split("a", 1, 0, 500));
    desk.hear(split("b", 1, 0, 0));
    // The wider parts count until a window later: nothing is left for a third.
    desk.act(Act::NodeUp {
        node: name(2),
        incarnation: 1,
    });
    assert_eq!(desk.pool(), -125);
    assert_eq!(desk.hear(ask("c", 1, 0, 0)).unwrap().base, None);
    desk.hear(split("a", 2, 130, 500));
    desk.pass(1);
    let right = desk.hear(ask("c", 2, 0, 0)).unwrap().base.unwrap();
    assert_eq!((right.share.seat, right.share.seats), (2, 4));
    // A window later a and b have the narrower ones.
    desk.pass(95);
    desk.hear(ask("b", 2, 0, 0));
    let standing = desk.ledger.standing(&KEY);
    assert_eq!(standing.map(|standing| standing.base), None);
    desk.hear(ask("b", 3, 0, 1));
    assert_eq!(desk.ledger.standing(&KEY).unwrap().base, 3 * 125);
}

#[test]
fn a_wider_part_that_was_not_spent_does_not_count() {
    let mut desk = Desk::with(2);
    let split = |node: &str, seq, fits| QuotaAsk {
        seats: 4,
        fits,
        ..ask(node, seq, 0, 1)
    };
    desk.hear(ask("a", 1, 0, 1));
    desk.act(Act::Split { seats: 4 });
    let base = |desk: &Desk| desk.ledger.standing(&KEY).unwrap().base;
    // Who says that it fits the old split says nothing of the new one.
    let before = QuotaAsk {
        seats: 2,
        ..split("a", 2, true)
    };
    desk.hear(before);
    desk.hear(split("a", 3, false));
    desk.hear(split("b", 1, true));
    assert_eq!(base(&desk), 250 + 125);
    desk.hear(split("a", 4, true));
    assert_eq!(base(&desk), 2 * 125);
}

#[test]
fn what_an_earlier_life_spent_of_a_wider_part_is_not_the_next_ones_to_deny() {
    let mut desk = Desk::with(1);
    desk.hear(ask("a", 1, 0, 1));
    desk.act(Act::Split { seats: 2 });
    desk.act(Act::NodeUp {
        node: name(0),
        incarnation: 2,
    });
    let again = |seq| QuotaAsk {
        incarnation: 2,
        seats: 2,
        fits: true,
        ..ask("a", seq, 0, 1)
    };
    let base = |desk: &Desk| desk.ledger.standing(&KEY).unwrap().base;
    desk.pass(20);
    desk.hear(again(1));
    assert_eq!(base(&desk), 500);
    // A window after the earlier life was over.
    desk.pass(41);
    desk.hear(again(2));
    assert_eq!(base(&desk), 250);
}

#[test]
fn a_node_that_is_gone_leaves_its_base_to_the_pool_a_window_later() {
    let mut desk = Desk::with(2);
    desk.hear(ask("a", 1, 0, 1));
    desk.act(Act::NodeGone {
        node: name(1),
        incarnation: 1,
    });
    assert_eq!(desk.ledger.standing(&KEY).unwrap().base, 500);
    desk.log_ms += 25_000;
    desk.hear(ask("a", 2, 0, 1));
    desk.log_ms += 25_000;
    desk.hear(ask("a", 3, 0, 1));
    desk.log_ms += 25_000;
    desk.hear(ask("a", 4, 0, 1));
    assert_eq!(desk.ledger.standing(&KEY).unwrap().base, 250);
    // Its seat is the next one's, who must wait for nobody.
    desk.act(Act::NodeUp {
        node: name(2),
        incarnation: 1,
    });
    let right = desk.hear(ask("c", 1, 0, 0)).unwrap().base.unwrap();
    assert_eq!((right.share.seat, right.unspent_ms), (1, 75_000));
}

#[test]
fn a_node_out_of_contact_gets_its_firm_base_back_when_nothing_is_short() {
    let mut desk = Desk::with(2);
    let minute = Duration::from_secs(60);
    let deny = Terms::new(1000, minute, Kind::Sliding, OnLapse::Deny).unwrap();
    let denying = |node: &str, seq, returned, want| QuotaAsk {
        terms: vec![deny],
        ..ask(node, seq, returned, want)
    };
    let mut seq = 0;
    let mut returned = 0;
    for _ in 0..40 {
        seq += 1;
        desk.hear(denying("a", seq, 0, 750));
        desk.log_ms += 20_000;
    }
    assert_eq!(desk.pool(), 0);
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!(standing.base, 250, "b's went to a");
    let grant = desk.hear(denying("b", 1, 0, 0)).unwrap();
    assert!(!grant.base.unwrap().firm);
    assert_eq!(desk.pool(), -250);
    seq += 1;
    returned += 250;
    desk.log_ms += 1000;
    desk.hear(denying("a", seq, returned, 750));
    assert!(desk.hear(denying("b", 2, 0, 0)).unwrap().base.unwrap().firm);
}

/// Many tenants, each with a row for every node.
fn busy(tenants: u32, nodes: u64) -> Desk {
    let mut desk = Desk::with(nodes);
    for (seq, first) in (1..).zip((0..tenants).step_by(1000)) {
        for node in 0..nodes {
            let mut asking = ask(name(node).as_str(), seq, 0, 20);
            let item = asking.items[0].clone();
            asking.items = (first..tenants.min(first + 1000))
                .map(|tenant| AskItem {
                    key: key(tenant),
                    ..item.clone()
                })
                .collect();
            desk.hear(asking);
        }
    }
    desk
}

fn key(tenant: u32) -> KeyId {
    let mut id = [0; 16];
    let spread = u64::from(tenant).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    id[..8].copy_from_slice(&spread.to_le_bytes());
    KeyId(id)
}

/// Tenants of the next test; `MERIDIAN_QUOTA_TENANTS` measures more.
const TENANTS: u32 = 10_000;

#[test]
fn tenants_in_use_take_so_much_memory_and_idle_ones_none() {
    let asked = std::env::var("MERIDIAN_QUOTA_TENANTS").ok();
    let tenants = asked.map_or(TENANTS, |asked| asked.parse().unwrap());
    let (mut desk, taken) = memory::measure(|| busy(tenants, 9));
    let (keys, rows) = (desk.ledger.keys(), desk.ledger.rows());
    assert_eq!((keys, rows), (tenants as usize, 9 * tenants as usize));
    let per_key = taken.peak / keys;
    let snapshot = desk.state();
    println!(
        "{keys} keys with 9 rows each: {} KiB, {per_key} bytes a key, of which rows 144; {} KiB as a snapshot",
        taken.peak >> 10,
        snapshot.len() >> 10,
    );
    assert!(per_key < 500, "{per_key}");
    assert!(snapshot.len() / keys < 300);
    let read = Ledger::decode(&snapshot, Params::DEFAULT).unwrap();
    assert_eq!((read.keys(), read.rows()), (keys, rows));
    // All leases are over, and a window later all has cooled.
    desk.pass(31);
    desk.pass(62);
    assert_eq!((desk.ledger.keys(), desk.ledger.rows()), (0, 0));
}

#[test]
fn how_many_items_a_second_are_applied() {
    let mut desk = busy(2000, 9);
    let mut asks = Vec::new();
    for seq in 100..110 {
        for node in 0..9 {
            let mut asking = ask(name(node).as_str(), seq, 0, 20);
            let item = asking.items[0].clone();
            asking.items = (0..200)
                .map(|tenant| AskItem {
                    key: key(tenant * 10),
                    returned: u32::try_from(seq - 100).unwrap(),
                    want: 20 + u32::try_from(seq - 100).unwrap(),
                    ..item.clone()
                })
                .collect();
            asks.push(asking);
        }
    }
    let entries = asks.into_iter().map(|ask| {
        let act = Act::Batch {
            asks: vec![ask],
            wishes: Vec::new(),
        };
        let stamp = Stamp::default();
        let line = line();
        Entry { stamp, line, act }.encode()
    });
    let entries: Vec<_> = entries.collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "it is printed, and nothing depends on it"
    )]
    let begin = Instant::now();
    let mut answered = 0;
    for bytes in &entries {
        let entry = Entry::decode(bytes).unwrap();
        let grants = desk.ledger.apply(1000, &entry);
        answered += grants.iter().map(|grant| grant.items.len()).sum::<usize>();
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{:.0} items a second on one core, decoding included",
        answered as f64 / seconds
    );
    assert_eq!(answered, 18_000);
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
