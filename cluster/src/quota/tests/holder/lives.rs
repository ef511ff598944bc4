//! How a life of a node begins and ends.

use super::*;
use crate::quota::{holder::Farewell, message::Past};

#[test]
fn clocks_that_part_void_everything() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(900));
    assert!(node.admits(&key, 1));
    node.ticked();
    // Suspended: the wall clock went on for an hour, the monotonic one stood still.
    let now = node.clock.now();
    let suspended = move || Now {
        monotonic: Monotonic(now.monotonic.0 + 100_000_000),
        unix: Unix(now.unix.0 + 3_600_000_000_000),
    };
    assert_eq!(node.keeper.tick(&suspended), Turn::Void);
    assert_eq!(node.holder.charge(&[(&key, 1)], &suspended), Answer::Again);
    let key = node
        .holder
        .resolve(key.id(), &hourly(900), OnEmpty::Deny, 1, &suspended);
    let answer = node.holder.charge(&[(&key.unwrap(), 1)], &suspended);
    assert!(matches!(answer, Answer::Deny(_)), "{answer:?}");
    node.keeper.begin(who(8));
    let Turn::Ask(asks) = node.keeper.tick(&suspended) else {
        panic!("again")
    };
    assert_eq!((asks[0].incarnation, asks[0].seq), (8, 1));
}

#[test]
fn a_node_that_starts_alone_spends_the_base_of_limits_that_say_so() {
    let clock = Hand::at(0);
    let holder = Arc::new(Holder::new(10));
    let mut keeper = Keeper::new(holder.clone(), who(1));
    let limit = |on_lapse| Terms::new(900, SECOND, Kind::Sliding, on_lapse).unwrap();
    let key = |number, on_lapse| {
        let terms = limit(on_lapse);
        let key = holder.resolve(KeyId([number; 16]), &terms, OnEmpty::Deny, 1, &clock);
        key.unwrap()
    };
    let (lasting, ending) = (key(1, OnLapse::Base), key(2, OnLapse::Deny));
    let admits =
        |key: &KeyHandle, cost| matches!(holder.charge(&[(key, cost)], &clock), Answer::Admit(_));
    assert!(!admits(&lasting, 1));
    keeper.assume(Share { seat: 0, seats: 9 }, &clock);
    assert!(admits(&lasting, 50));
    assert!(!admits(&lasting, 1));
    assert!(!admits(&ending, 1));
}

#[test]
fn a_node_that_stops_says_when_what_cools_is_free() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(900, SECOND * 40));
    assert!(node.admits(&key, 40));
    let said = node.ticked();
    node.answer(vec![item(&key, said[0].born, 70)]);
    node.clock.forward(SECOND * 10);
    assert!(node.admits(&key, 60));
    node.clock.forward(SECOND * 5);
    let asks = node.keeper.farewell(&node.clock).asks;
    let item = &asks[0].items[0];
    assert_eq!((item.returned, item.want), (70, 70));
    // 100 cool, of which 50 are the base's: those that cool longest.
    let [
        Span {
            ms: first,
            count: 40,
        },
        Span {
            ms: second,
            count: 10,
        },
    ] = item.cooling[..]
    else {
        panic!("{:?}", item.cooling)
    };
    assert!((24_900..26_200).contains(&first), "{first}");
    assert!((34_900..36_200).contains(&second), "{second}");
    assert_eq!(node.holder.charge(&[(&key, 1)], &node.clock), Answer::Again);
}

/// What a node may spend of a key in its next life, 10 s after a life in which it spent 30 of each of its keys, by what the
/// ledger says of the life before.
fn in_the_next_life(past: impl Fn(Past) -> Option<Past>, terms: &Terms, number: u8) -> u32 {
    let mut node = Node::new();
    for number in [1, 2] {
        assert!(node.admits(&node.key(number, terms), 30));
    }
    let Farewell { asks, remains } = node.keeper.farewell(&node.clock);
    let seq = asks.last().unwrap().seq;
    let remains = remains.expect("it had its share");
    let holder = Arc::new(Holder::new(1000));
    node.keeper = Keeper::after(holder.clone(), who(8), remains);
    node.holder = holder;
    let past = past(Past {
        incarnation: 7,
        seq,
        ended_ms: 10_000,
    });
    let mut grant = node.message(None, vec![]);
    grant.incarnation = 8;
    grant.base = grant.base.map(|right| BaseRight {
        unspent_ms: 5000,
        past,
        ..right
    });
    let sent_ms = node.clock.now().monotonic.0 / 1_000_000;
    grant.answers = Some(Echo { seq: 1, sent_ms });
    node.keeper.grant(&grant, &node.clock);
    held(&node.key(number, terms)).free.cast_unsigned()
}

#[test]
fn after_an_orderly_end_base_is_there_but_for_what_cools() {
    let free = |terms, number| in_the_next_life(Some, terms, number);
    let hour = hourly(900);
    assert_eq!((free(&hour, 1), free(&hour, 3)), (20, 50));
    // Of short windows nothing is known, nor of those whose base lapses.
    let second = sliding(900, SECOND * 20);
    let deny = Terms::new(900, SECOND * 3600, Kind::Sliding, OnLapse::Deny).unwrap();
    assert_eq!((free(&second, 3), free(&deny, 3)), (0, 0));
}

#[test]
fn after_any_other_end_a_window_is_waited_for() {
    let hour = hourly(900);
    let later = |past: Past| {
        let incarnation = past.incarnation + 1;
        Some(Past {
            incarnation,
            ..past
        })
    };
    let unheard = |past: Past| {
        let seq = past.seq - 1;
        Some(Past { seq, ..past })
    };
    assert_eq!(in_the_next_life(later, &hour, 3), 0);
    assert_eq!(in_the_next_life(unheard, &hour, 3), 0);
    assert_eq!(in_the_next_life(|_| None, &hour, 3), 0);
}
