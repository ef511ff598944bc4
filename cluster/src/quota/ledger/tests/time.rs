//! Leases, what cools, and log time.

use super::*;

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
