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
    terms::{Kind, OnLapse, Scope, Share, Terms},
};

mod asking;
mod lives;
mod moving;
mod scarce;
mod silence;

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
    /// Of how many keys extra had run out.
    fn answer(&mut self, items: Vec<GrantItem>) -> usize {
        let sent_ms = self.clock.now().monotonic.0 / 1_000_000;
        self.grant(Some(Echo { seq: 0, sent_ms }), items)
    }

    fn grant(&mut self, answers: Option<Echo>, items: Vec<GrantItem>) -> usize {
        self.index += 1;
        let grant = self.message(answers, items);
        self.keeper.grant(&grant, &self.clock)
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
                scope: Scope::WHOLE,
                unspent_ms: 400 * 24 * 3_600_000,
                waited_ms: u64::MAX,
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
fn a_request_that_comes_with_a_higher_limit_waits_for_it_and_does_not_go_by_the_old_one() {
    let mut node = Node::new();
    let key = node.key(1, &hourly(900));
    assert!(node.admits(&key, 50));
    let said = node.ticked();
    let empty = GrantItem {
        pool: 0,
        ..item(&key, said[0].born, 0)
    };
    node.answer(vec![empty]);
    assert_eq!(node.denied(&key, 1).why, Why::Limit);
    assert!(!key.lacks_base());
    let terms = hourly(3600);
    let key = node
        .holder
        .resolve(key.id(), &terms, OnEmpty::Deny, 2, &node.clock)
        .unwrap();
    assert_eq!(node.denied(&key, 1).why, Why::Local);
    assert!(key.lacks_base(), "it is the keeper's to give");
    node.ticked();
    assert!(node.admits(&key, 1));
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
