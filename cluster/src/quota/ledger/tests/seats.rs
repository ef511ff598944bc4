//! Whose the parts of base are.

use super::*;

#[test]
fn a_node_that_comes_has_base_of_a_key_when_none_with_such_a_window_is_in_deficit() {
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
    let right = desk.hear(ask("c", 1, 0, 0)).unwrap().base.unwrap();
    assert!(
        !right
            .scope
            .covers(&desk.ledger.standing(&KEY).unwrap().terms)
    );
    assert_eq!(right.scope.within_ms, 59_999);
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

/// Two keys are in deficit; the one with the shorter window is out of it first.
#[test]
fn the_right_to_longer_windows_is_given_later_and_its_wait_begins_anew() {
    const SHORT: KeyId = KeyId([2; 16]);
    let ten = Duration::from_secs(10);
    let ten = Terms::new(1000, ten, Kind::Fixed, OnLapse::Base).unwrap();
    let mut desk = Desk::with(2);
    desk.act(Act::Split { seats: 4 });
    let both = |node: &str, seq, long: (u32, u32), short: (u32, u32)| {
        let mut ask = ask(node, seq, long.0, long.1);
        ask.seats = 4;
        ask.terms.push(ten);
        let mut item = ask.items[0].clone();
        (item.key, item.terms, item.returned, item.want) = (SHORT, Some(1), short.0, short.1);
        ask.items.push(item);
        ask
    };
    desk.hear(both("a", 1, (0, 500), (0, 500)));
    desk.hear(both("b", 1, (0, 0), (0, 0)));
    desk.act(Act::NodeUp {
        node: name(2),
        incarnation: 1,
    });
    let right = |desk: &Desk| desk.ledger.right(&name(2)).unwrap();
    assert_eq!(right(&desk).scope.within_ms, 9_999);
    desk.log_ms += 2000;
    desk.hear(both("a", 2, (0, 500), (130, 500)));
    assert_eq!(right(&desk).scope.within_ms, 59_999);
    assert!(right(&desk).scope.covers(&ten));
    assert_eq!(right(&desk).waited_ms, 0);
    desk.log_ms += 3000;
    desk.act(Act::Expire);
    assert_eq!(right(&desk).waited_ms, 3000);
    desk.hear(both("a", 3, (130, 500), (130, 500)));
    desk.log_ms += 1000;
    desk.act(Act::Expire);
    assert_eq!(
        (right(&desk).scope, right(&desk).waited_ms),
        (Scope::WHOLE, 0)
    );
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
    assert!(!grant.base.unwrap().scope.covers(&deny));
    assert_eq!(desk.pool(), -250);
    seq += 1;
    returned += 250;
    desk.log_ms += 1000;
    desk.hear(denying("a", seq, returned, 750));
    let right = desk.hear(denying("b", 2, 0, 0)).unwrap().base.unwrap();
    assert!(right.scope.is_whole());
}
