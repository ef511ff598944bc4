//! One node's holder and keeper by hand: what is asked, handed back, doubted and put away.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::quota::{
    cell::Held,
    charge::{Denial, Why},
    holder::{Crowded, Holder, Keeper, KeyHandle, OnEmpty, Turn, Unparked, Who},
    key::KeyId,
    message::{AskItem, BaseRight, Echo, GrantItem, QuotaAsk, QuotaGrant, Recall, Span},
    terms::{Kind, OnLapse, Share, Terms},
};

mod moving;

const TICK: Duration = Duration::from_millis(100);

struct Node {
    holder: Arc<Holder>,
    keeper: Keeper,
    clock: Hand,
    index: u64,
}

fn who(incarnation: u64) -> Who {
    Who {
        node: "eu-west-1".into(),
        incarnation,
    }
}

fn sliding(limit: u64, window: Duration) -> Terms {
    Terms::new(limit, window, Kind::Sliding, OnLapse::Base).unwrap()
}

fn hourly(limit: u64) -> Terms {
    sliding(limit, SECOND * 3600)
}

impl Node {
    /// A node in contact with seat 1 of 9, whose base has rested.
    fn new() -> Self {
        let holder = Arc::new(Holder::new(1000));
        let mut node = Self {
            keeper: Keeper::new(holder.clone(), who(7)),
            holder,
            clock: Hand::at(1_000_000_000_000),
            index: 0,
        };
        node.answer(vec![]);
        node
    }

    fn key(&self, number: u8, terms: &Terms) -> KeyHandle {
        let wait = match terms.pooled() {
            true => OnEmpty::Wait(Duration::from_millis(400)),
            false => OnEmpty::Deny,
        };
        self.holder
            .resolve(KeyId([number; 16]), terms, wait, 1, &self.clock)
            .unwrap()
    }

    fn admits(&self, key: &KeyHandle, cost: u32) -> bool {
        matches!(
            self.holder.charge(&[(key, cost)], &self.clock),
            Answer::Admit(_)
        )
    }

    fn denied(&self, key: &KeyHandle, cost: u32) -> Denial {
        match self.holder.charge(&[(key, cost)], &self.clock) {
            Answer::Deny(denial) => denial,
            other => panic!("{other:?}"),
        }
    }

    fn tick(&mut self) -> Vec<QuotaAsk> {
        self.clock.forward(TICK);
        match self.keeper.tick(&self.clock) {
            Turn::Ask(asks) => asks,
            Turn::Void => panic!("void"),
        }
    }

    /// Ticks so long and returns what was said of keys.
    fn ticks(&mut self, time: Duration) -> Vec<AskItem> {
        let count = time.as_millis() / TICK.as_millis();
        (0..count).flat_map(|_| self.ticked()).collect()
    }

    /// A tick that is answered at once, with no word on any key.
    fn ticked(&mut self) -> Vec<AskItem> {
        let asks = self.tick();
        for ask in &asks {
            let echo = Echo {
                seq: ask.seq,
                sent_ms: ask.sent_ms,
            };
            self.grant(Some(echo), vec![]);
        }
        asks.into_iter().flat_map(|ask| ask.items).collect()
    }

    /// The ledger's word, with a lease from now on.
    fn answer(&mut self, items: Vec<GrantItem>) {
        let sent_ms = self.clock.now().monotonic.0 / 1_000_000;
        self.grant(Some(Echo { seq: 0, sent_ms }), items);
    }

    fn grant(&mut self, answers: Option<Echo>, items: Vec<GrantItem>) {
        self.index += 1;
        let grant = self.message(answers, items);
        self.keeper.grant(&grant, &self.clock);
    }

    fn message(&self, answers: Option<Echo>, items: Vec<GrantItem>) -> QuotaGrant {
        QuotaGrant {
            node: "eu-west-1".into(),
            incarnation: 7,
            index: self.index,
            answers,
            base: Some(BaseRight {
                share: Share { seat: 1, seats: 9 },
                past: None,
                unspent_ms: 400 * 24 * 3_600_000,
                waited_ms: u64::MAX,
                firm: true,
            }),
            items,
            recalls: Vec::new(),
        }
    }
}

fn item(key: &KeyHandle, born: u32, given: u32) -> GrantItem {
    GrantItem {
        key: key.id(),
        born,
        given,
        window: 0,
        cap: None,
        pool: 100,
        others_free: 0,
    }
}

fn held(key: &KeyHandle) -> Held {
    crate::quota::charge::Account::cell(key).held()
}

#[test]
fn a_node_spends_its_base_of_a_new_key_without_a_message() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(1800));
    assert!(node.admits(&key, 100));
    assert_eq!(node.denied(&key, 1).why, Why::Local);
    assert_eq!(key.remaining(), (0, 1700));
    let said = node.ticks(SECOND);
    assert!(said[0].want > 0, "{said:?}");
}

#[test]
fn an_idle_tenant_costs_no_message_and_an_idle_node_one_a_second() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(18_000));
    assert!(node.admits(&key, 1));
    node.ticks(SECOND * 20);
    let mut asks = 0;
    for _ in 0..600 {
        let sent = node.tick();
        asks += sent.len();
        assert!(sent.iter().all(|ask| ask.items.is_empty()));
        node.answer(vec![]);
    }
    assert!((59..=61).contains(&asks), "{asks}");
    assert_eq!(node.keeper.in_use(), 0);
}

#[test]
fn a_balanced_hour_limit_is_asked_for_rarely() {
    // A ninth of 36 000 an hour, in steady use at four fifths of it.
    let mut node = Node::new();
    let key = node.key(1, &hourly(36_000));
    let mut born = 0;
    let (mut asked, mut granted) = (0, 0);
    for tick in 0..36_000_u32 {
        if tick * 8 / 90 != (tick + 1) * 8 / 90 {
            assert!(node.admits(&key, 1), "at tick {tick}");
        }
        for item in node.ticked() {
            asked += 1;
            born = item.born;
            granted = item.want.max(granted);
        }
        if granted > 0 {
            node.answer(vec![item(&key, born, granted)]);
        }
    }
    assert!(asked < 360, "{asked} in an hour");
}

#[test]
fn what_runs_low_is_asked_for_once_and_taken_in_once() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(9000, SECOND * 60));
    node.ticked();
    for _ in 0..5 {
        assert!(node.admits(&key, 90));
        node.clock.forward(SECOND / 50);
    }
    let said = node.ticked();
    let [first] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(first.want > 100, "{first:?}");
    assert!(node.ticked().is_empty(), "the leader knows");
    node.answer(vec![item(&key, first.born, 150)]);
    let free = held(&key).free;
    assert_eq!(free, 50 + 150);
    // Doubled, of another cell, and overtaken: nothing.
    node.answer(vec![item(&key, first.born, 150)]);
    node.answer(vec![item(&key, first.born + 1, 999)]);
    // Of the same entry, in which more was given later.
    node.index -= 2;
    node.answer(vec![item(&key, first.born, 100)]);
    assert_eq!(held(&key).free, free);
    node.index -= 2;
    node.answer(vec![item(&key, first.born, 100)]);
    let mut other = node.message(None, vec![item(&key, first.born, 900)]);
    other.index = 99;
    other.incarnation = 6;
    node.keeper.grant(&other, &node.clock);
    assert_eq!(held(&key).free, free);
    // What the ledger took back goes, though it is spent.
    assert!(node.admits(&key, 200));
    node.index += 9;
    node.answer(vec![item(&key, first.born, 50)]);
    assert_eq!(held(&key).free, -100);
}

#[test]
fn a_spare_is_handed_back_after_a_while_and_said_until_it_is_answered() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(9000, SECOND * 60));
    assert!(node.admits(&key, 1));
    node.ticks(SECOND);
    node.answer(vec![item(&key, 1, 1000)]);
    let mut said = Vec::new();
    for _ in 0..80 {
        said.extend(node.tick());
    }
    let returns: Vec<_> = said.iter().flat_map(|ask| &ask.items).collect();
    // A second at least between repetitions, within the two that are left of eight.
    assert!((2..=3).contains(&returns.len()), "{returns:?}");
    assert!(returns[0].returned >= 990, "{returns:?}");
    assert_eq!(
        held(&key).free + held(&key).cool.cast_signed(),
        1500 - returns[0].returned.cast_signed()
    );
    let answered = Echo {
        seq: said.last().unwrap().seq,
        sent_ms: said.last().unwrap().sent_ms,
    };
    let repeated = said.iter().rfind(|ask| !ask.items.is_empty()).unwrap();
    let echo = Echo {
        seq: repeated.seq,
        ..answered
    };
    node.grant(Some(echo), vec![]);
    assert!(
        node.ticks(SECOND * 3)
            .iter()
            .all(|item| item.returned != returns[0].returned)
    );
    assert!(held(&key).free >= 499, "the base stays");
}

#[test]
fn a_small_limit_is_fetched_when_it_is_wanted_and_waited_for() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(10, SECOND));
    assert!(node.ticked().is_empty());
    let denial = node.denied(&key, 2);
    assert_eq!(denial.why, Why::Local);
    let now = node.clock.now();
    let mut parked = std::pin::pin!(key.park(now, &denial).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    assert!(parked.as_mut().poll(&mut context).is_pending());
    assert_eq!(parked.until().0, now.monotonic.0 + 400_000_000);
    assert!(node.holder.poll_hungry(&mut context).is_ready());
    let said = node.ticked();
    assert_eq!(said[0].want, 2, "{said:?}");
    assert!(node.holder.poll_hungry(&mut context).is_pending());
    node.answer(vec![item(&key, said[0].born, 2)]);
    assert!(parked.as_mut().poll(&mut context).is_ready());
    assert!(node.admits(&key, 2));
    node.clock.forward(SECOND);
    let said = node.ticks(SECOND);
    assert_eq!(said.last().unwrap().returned, 2, "{said:?}");
}

#[test]
fn no_more_wait_than_may_and_none_without_hope() {
    let mut node = Node::new();
    let never = node.key(1, &hourly(100));
    let denial = Denial {
        which: 0,
        why: Why::Local,
        cools_in: None,
        cost: 1,
    };
    assert_eq!(
        never.park(node.clock.now(), &denial).unwrap_err(),
        Unparked::Never
    );
    let key = node.key(2, &sliding(10, SECOND));
    let now = node.clock.now();
    let parked: Vec<_> = (0..64).map(|_| key.park(now, &denial).unwrap()).collect();
    assert_eq!(key.park(now, &denial).unwrap_err(), Unparked::Crowded);
    drop(parked);
    assert!(key.park(now, &denial).is_ok());
    assert_eq!(node.denied(&key, 1).why, Why::Local);
    let said = node.ticked();
    node.answer(vec![GrantItem {
        pool: 0,
        ..item(&key, said[0].born, 0)
    }]);
    assert_eq!(node.denied(&key, 1).why, Why::Limit);
    let soon = Denial {
        cools_in: Some(Duration::from_millis(300)),
        ..denial
    };
    assert_eq!(key.park(now, &denial).unwrap_err(), Unparked::Hopeless);
    let parked = key.park(now, &soon).unwrap();
    assert_eq!(parked.until().0, now.monotonic.0 + 300_000_000);
}

#[test]
fn a_request_that_waits_is_counted_once_however_often_it_looks() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(10, SECOND));
    let denied = || key.cell().traffic().denied;
    let now = node.clock.now();
    for _ in 0..3 {
        let denial = node.denied(&key, 2);
        assert_eq!(denied(), 2);
        let parked = key.park(now, &denial).unwrap();
        assert_eq!(denied(), 0);
        let said = node.ticked();
        assert!(said.iter().all(|item| item.want == 2), "{said:?}");
        drop(parked);
    }
    let _ = node.denied(&key, 2);
    assert_eq!(denied(), 2, "it was refused");
}

#[test]
fn after_a_long_silence_the_extra_waits_for_the_ledgers_word() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(900, SECOND));
    assert!(node.admits(&key, 1));
    let born = node.ticks(SECOND).first().map_or(1, |item| item.born);
    node.answer(vec![item(&key, born, 100)]);
    // Silence, and so much to do that nothing is handed back. The extra is over after 30 s.
    let mut most = 0;
    for _ in 0..305 {
        node.tick();
        node.admits(&key, 15);
        most = held(&key).cool.max(most);
    }
    assert_eq!(most, 150);
    node.clock.forward(SECOND * 2);
    assert!(!node.admits(&key, 51));
    assert!(node.admits(&key, 50));
    node.clock.forward(SECOND * 2);
    // An answer, but no word on the key.
    node.answer(vec![]);
    assert!(!node.admits(&key, 51));
    let said = node.ticked();
    assert_eq!(said[0].key, key.id());
    node.answer(vec![item(&key, said[0].born, 0)]);
    assert!(node.admits(&key, 50));
    assert_eq!(node.denied(&key, 1).why, Why::Local);
    assert_eq!(held(&key), Held { free: 0, cool: 50 });
}

#[test]
fn a_grant_from_before_a_long_silence_is_not_taken_after_it() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(900, SECOND));
    assert!(node.admits(&key, 1));
    let asks = node.tick();
    // It is answered, late; the ledger takes back what it gave; a heartbeat is answered.
    node.index += 1;
    let echo = Echo {
        seq: asks[0].seq,
        sent_ms: asks[0].sent_ms,
    };
    let late = node.message(Some(echo), vec![item(&key, 1, 100)]);
    node.index += 1;
    node.clock.forward(SECOND * 31);
    node.answer(vec![]);
    node.keeper.grant(&late, &node.clock);
    assert_eq!(held(&key).free, 49);
    node.answer(vec![item(&key, 1, 100)]);
    assert_eq!(held(&key).free, 149, "news is taken");
}

#[test]
fn a_short_silence_changes_nothing() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(900, SECOND));
    assert!(node.admits(&key, 1));
    node.ticks(SECOND);
    node.answer(vec![item(&key, 1, 100)]);
    for _ in 0..250 {
        node.tick();
        node.admits(&key, 10);
    }
    node.answer(vec![]);
    node.clock.forward(SECOND * 2);
    assert!(node.admits(&key, 150));
}

#[test]
fn a_grant_of_a_key_that_is_not_here_is_refused() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(100));
    let mut unknown = item(&key, 3, 40);
    unknown.key = KeyId([9; 16]);
    node.answer(vec![unknown]);
    let said = node.ticked();
    assert_eq!(said.len(), 1);
    let AskItem {
        key,
        terms,
        born,
        returned,
        ..
    } = said[0];
    assert_eq!((key, terms, born, returned), (KeyId([9; 16]), None, 3, 40));
}

#[test]
fn what_is_refused_is_said_until_it_is_answered_and_then_no_more() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(100));
    let mut unknown = item(&key, 3, 40);
    unknown.key = KeyId([9; 16]);
    node.answer(vec![unknown.clone()]);
    let mut said = Vec::new();
    for _ in 0..25 {
        said.extend(node.tick().into_iter().filter(|ask| !ask.items.is_empty()));
    }
    assert_eq!(said.len(), 3, "once a second: {said:?}");
    let echo = Echo {
        seq: said[2].seq,
        sent_ms: said[2].sent_ms,
    };
    // The answer says what it holds again: nothing.
    node.grant(Some(echo), vec![unknown]);
    assert_eq!(node.ticks(SECOND * 5), []);
}

#[test]
fn a_cap_takes_back_what_is_free_above_it() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(9000, SECOND * 60));
    assert!(node.admits(&key, 200));
    let born = node.ticked().first().map_or(1, |item| item.born);
    node.answer(vec![GrantItem {
        cap: Some(550),
        ..item(&key, born, 400)
    }]);
    let said = node.ticked();
    assert_eq!(said[0].returned, 350, "{said:?}");
    let Held { free, cool } = held(&key);
    assert_eq!((free, cool), (350, 200));
}

#[test]
fn what_is_in_full_use_beyond_a_cap_goes_as_it_cools_where_nodes_wait_for_it() {
    // By how much of a limit the cap is, and whether nodes wait for the rest.
    for (cap, owed, told, back) in [
        (300, true, 75, 200..=200),
        (300, true, 5, 0..=0),
        // Half as much again it may keep that is wanted, else. What comes free just at a tick is not wanted yet.
        (200, false, 75, 200..=300),
        (400, false, 75, 0..=100),
    ] {
        let mut node = Node::new();
        let terms = sliding(9000, SECOND * 60);
        let key = node.key(1, &terms);
        assert!(node.admits(&key, 500));
        node.denied(&key, 1);
        let born = node.ticked()[0].born;
        let mut returned = 0;
        for turn in 0..75 {
            if turn < told {
                recall_owed(&mut node, 1, &terms, cap, owed);
            }
            node.answer(vec![GrantItem {
                cap: (turn < told).then_some(cap),
                ..item(&key, born, 0)
            }]);
            for _ in 0..9 {
                // All that is there is wanted, and more.
                while node.admits(&key, 10) {}
                let said = node.ticked();
                returned = said.last().map_or(returned, |item| item.returned);
            }
            if turn == 4 {
                let free = if owed || cap == 200 { -200 } else { 0 };
                assert_eq!(held(&key), Held { free, cool: 500 });
            }
        }
        assert!(back.contains(&returned), "{returned} of {back:?}");
        let Held { free, cool } = held(&key);
        assert_eq!(i64::from(free) + i64::from(cool), 500 - i64::from(returned));
        assert!(cool > 150, "it is spent again: {cool}");
    }
}

#[test]
fn a_node_that_needs_less_of_a_scarce_key_says_so() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(5400, SECOND));
    let scarce = |node: &mut Node, born| {
        node.answer(vec![GrantItem {
            cap: Some(600),
            ..item(&key, born, 300)
        }]);
    };
    let mut rates = Vec::new();
    for second in 0..8 {
        for _ in 0..10 {
            // More than its base, of which it says so.
            let _ = second < 3 && node.admits(&key, 40);
            for item in node.ticked() {
                rates.push((second, item.rate));
            }
        }
        if second < 5 {
            scarce(&mut node, 1);
        }
    }
    // It holds enough, and would say nothing.
    let after = rates.iter().filter(|(second, _)| *second >= 3);
    let after: Vec<u32> = after.map(|(_, rate)| *rate).collect();
    assert!((2..=10).contains(&after.len()), "{rates:?}");
    assert!(after.is_sorted_by(|one, next| next < one), "{rates:?}");
    assert!(after.last().unwrap() < &100_000, "{rates:?}");
}

/// A node is asked to hold less.
fn recall(node: &mut Node, number: u8, terms: &Terms, cap: u32) {
    recall_owed(node, number, terms, cap, false);
}

fn recall_owed(node: &mut Node, number: u8, terms: &Terms, cap: u32, owed: bool) {
    node.index += 1;
    let mut grant = node.message(None, vec![]);
    grant.recalls = vec![Recall {
        key: KeyId([number; 16]),
        terms: *terms,
        as_of: 1,
        cap,
        owed,
    }];
    node.keeper.grant(&grant, &node.clock);
}

#[test]
fn base_of_a_key_that_was_never_met_is_lent_and_wanted_again_by_and_by() {
    let mut node = Node::new();
    let terms = hourly(1800);
    recall(&mut node, 1, &terms, 0);
    let said = node.ticked();
    assert_eq!((said[0].returned, said[0].lent), (100, 100), "{said:?}");
    let key = node.key(1, &terms);
    assert_eq!(held(&key), Held { free: 0, cool: 0 }, "it is not met anew");
    // Nobody uses it: it asks after a minute, then ever half as often, and is not put away before it has all again.
    let said = node.ticks(SECOND * 150);
    let asks = said.iter().filter(|item| item.want == item.returned);
    assert!((1..=2).contains(&asks.count()), "{said:?}");
    let more = node.ticks(SECOND * 3600);
    assert!((3..=6).contains(&more.len()), "{more:?}");
    assert_eq!(node.holder.keys(), 1);
    node.answer(vec![item(&key, said[0].born, 100)]);
    let said = node.ticked();
    assert_eq!((said[0].lent, said[0].want), (0, 100), "it has seen it");
    node.ticks(SECOND * 90);
    assert_eq!(node.holder.keys(), 0);
}

#[test]
fn what_a_node_uses_of_its_base_is_not_lent_unseen() {
    let mut node = Node::new();
    let terms = sliding(9000, SECOND * 60);
    let key = node.key(1, &terms);
    for _ in 0..60 {
        assert!(node.admits(&key, 5));
        node.ticks(SECOND);
    }
    node.ticks(SECOND * 12);
    // 300 a minute are used of 500: the leader can't know.
    recall(&mut node, 1, &terms, 0);
    let said = node.ticked();
    assert!((100..=260).contains(&said[0].lent), "{said:?}");
}

#[test]
fn a_lowered_limit_lowers_the_base_and_a_raised_one_raises_it() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(1800));
    assert!(node.admits(&key, 60));
    for (limit, as_of, all) in [(900, 2, 50), (3600, 3, 200), (900, 2, 200)] {
        let terms = hourly(limit);
        let wait = OnEmpty::Deny;
        node.holder
            .resolve(key.id(), &terms, wait, as_of, &node.clock)
            .unwrap();
        node.ticked();
        let Held { free, cool } = held(&key);
        assert_eq!((free + cool.cast_signed(), cool), (all, 60), "{limit}");
    }
    assert_eq!(key.limit(), 3600, "an older document's");
}

#[test]
fn no_request_under_a_newer_document_spends_the_base_of_an_older_one() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(1800));
    node.ticks(SECOND * 20);
    let lowered = node
        .holder
        .resolve(key.id(), &hourly(180), OnEmpty::Deny, 2, &node.clock);
    assert!(!node.admits(&lowered.unwrap(), 11));
    assert!(node.admits(&key, 10));
}

#[test]
fn what_is_said_of_a_key_is_said_under_the_document_that_it_follows() {
    let mut node = Node::new();
    let old = node.key(1, &hourly(1800));
    let resolve = |number, limit, as_of| {
        let terms = hourly(limit);
        let id = KeyId([number; 16]);
        let key = node
            .holder
            .resolve(id, &terms, OnEmpty::Deny, as_of, &node.clock);
        key.unwrap()
    };
    let new = resolve(2, 900, 2);
    for key in [&old, &new] {
        while node.admits(key, 1) {}
    }
    let asks = node.tick();
    let said = asks
        .iter()
        .map(|ask| (ask.as_of, ask.items[0].key, ask.terms[0].limit()));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [(1, old.id(), 1800), (2, new.id(), 900)]
    );
}

#[test]
fn keys_are_put_away_when_nobody_uses_them_and_bounded_in_number() {
    let mut node = Node::new();
    let terms = sliding(900, SECOND);
    let old = node.key(200, &terms);
    assert!(node.admits(&old, 50));
    let holder = Holder::new(3);
    for number in 0..3 {
        let new = holder.resolve(KeyId([number; 16]), &terms, OnEmpty::Deny, 1, &node.clock);
        assert!(new.is_ok());
    }
    let more = holder.resolve(KeyId([9; 16]), &terms, OnEmpty::Deny, 1, &node.clock);
    assert_eq!(more.unwrap_err(), Crowded(3));
    assert_eq!(node.holder.keys(), 1);
    node.ticks(SECOND * 80);
    assert_eq!(node.holder.keys(), 0);
    let answer = node.holder.charge(&[(&old, 1)], &node.clock);
    assert_eq!(answer, Answer::Again);
    let new = node.key(200, &terms);
    assert!(node.admits(&new, 50), "all of its base is there again");
    assert!(!node.admits(&new, 1));
}

#[test]
fn a_key_with_extra_that_nobody_uses_gives_it_back_and_goes() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(9000, SECOND));
    assert!(node.admits(&key, 1));
    node.ticks(SECOND);
    node.answer(vec![item(&key, 1, 50)]);
    let said = node.ticks(SECOND * 200);
    assert_eq!(said.last().unwrap().returned, 50, "{said:?}");
    assert_eq!(node.holder.keys(), 0);
}

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

#[test]
fn a_node_says_now_and_then_how_what_it_holds_of_a_long_window_cools() {
    let mut node = Node::new();
    let key = node.key(1, &sliding(900, SECOND * 80));
    assert!(node.admits(&key, 40));
    let said = node.ticked();
    assert_eq!(said[0].rests, None, "it holds its base");
    node.answer(vec![item(&key, said[0].born, 70)]);
    node.clock.forward(SECOND * 10);
    assert!(node.admits(&key, 60));
    let said = node.ticked();
    let rests = said[0].rests.clone().unwrap();
    // Those of just now may be given back yet.
    let [Span { ms, count: 40 }] = rests.spans[..] else {
        panic!("{rests:?}")
    };
    assert_eq!(rests.given, 70);
    assert!((69_800..72_200).contains(&ms), "{ms}");
    // Of a short window everything is free soon after a lease.
    let short = node.key(2, &sliding(900, SECOND * 40));
    assert!(node.admits(&short, 40));
    let said = node.ticked();
    node.answer(vec![item(&short, said[0].born, 70)]);
    node.clock.forward(SECOND * 10);
    assert!(node.admits(&short, 60));
    let said = node.ticked();
    assert!(
        said.iter()
            .all(|said| said.key != short.id() || said.rests.is_none())
    );
}

#[test]
fn many_keys_take_several_asks() {
    let mut node = Node::new();
    let holder = Arc::new(Holder::new(10_000));
    node.keeper = Keeper::new(holder.clone(), who(7));
    node.holder = holder;
    for number in 0..3000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        // Terms that all differ, more than an ask has room for.
        let terms = hourly(1000 + u64::from(number % 1500));
        let key = node
            .holder
            .resolve(KeyId(id), &terms, OnEmpty::Deny, 1, &node.clock)
            .unwrap();
        assert!(!node.admits(&key, 1));
    }
    let asks = node.tick();
    assert!(asks.len() >= 2);
    let mut items = 0;
    for ask in &asks {
        assert_eq!(ask.check(), Ok(()));
        items += ask.items.len();
        for item in &ask.items {
            let number = u32::from_le_bytes(item.key.0[..4].try_into().unwrap());
            let terms = ask.terms[usize::from(item.terms.unwrap())];
            assert_eq!(terms.limit(), 1000 + number % 1500);
        }
    }
    assert_eq!(items, 3000);
    let Poll::Pending = node
        .holder
        .poll_hungry(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it was told");
    };
}
