//! What a node believes after it has not been heard, and of keys that it does not know.

use super::*;

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
    assert_eq!(node.answer(vec![]), 1, "keys whose extra has run out");
    assert!(!node.admits(&key, 51));
    assert_eq!(node.answer(vec![]), 0, "it is said once");
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
    assert_eq!(node.answer(vec![]), 0, "nothing has run out");
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
