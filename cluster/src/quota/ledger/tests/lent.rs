//! Base that nodes have lent.

use super::*;

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
fn a_wish_whose_ask_is_not_applied_gives_nothing_back() {
    let mut desk = Desk::with(2);
    desk.hear(lending("b", 1, 2, 2, 0));
    // The next one hands back and lends one more, and its entry counts for nothing; the leader remembers the wish.
    let wish = Wish {
        node: name(1),
        incarnation: 1,
        item: lending("b", 2, 3, 3, 20).items[0].clone(),
    };
    let wanted = Wish {
        node: name(0),
        incarnation: 1,
        item: ask("a", 2, 0, 1000).items[0].clone(),
    };
    desk.hear(ask("a", 1, 0, 1));
    let pool = desk.pool();
    desk.act(Act::Batch {
        asks: Vec::new(),
        wishes: vec![wanted, wish],
    });
    let standing = desk.ledger.standing(&KEY).unwrap();
    assert_eq!(standing.pool, 0, "{standing:?}");
    let a = pool + 1;
    assert_eq!(standing.extra, [(name(0), a), (name(1), -2)]);
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
fn a_new_life_of_a_node_that_had_lent_has_base_of_shorter_windows_before_it_is_there_again() {
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
    let window_ms = desk.ledger.standing(&KEY).unwrap().terms.window_ms();
    let right = desk.hear(second(1)).unwrap().base.unwrap();
    assert_eq!(
        (right.share.seat, right.scope.within_ms),
        (1, window_ms - 1)
    );
    desk.hear(ask("a", 2, 200, 700));
    desk.log_ms += 1000;
    desk.hear(second(2));
    let right = desk.hear(second(3)).unwrap().base.unwrap();
    assert_eq!((right.share.seat, right.unspent_ms), (1, 6000));
    assert_eq!(right.scope, Scope::WHOLE);
    // What the next life goes on with; one of a node that had lent again waits again.
    desk.act(Act::NodeUp {
        node: name(1),
        incarnation: 3,
    });
    assert_eq!(desk.ledger.right(&name(1)).unwrap().scope, Scope::WHOLE);
    let third = |mut ask: QuotaAsk| {
        ask.incarnation = 3;
        ask
    };
    desk.hear(third(lending("b", 1, 200, 200, 0)));
    desk.hear(ask("a", 3, 200, 900));
    desk.act(Act::NodeUp {
        node: name(1),
        incarnation: 4,
    });
    assert_eq!(
        desk.ledger.right(&name(1)).unwrap().scope.within_ms,
        window_ms - 1
    );
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
