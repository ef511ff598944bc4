//! What a node has at hand where requests come that nobody has announced: another region's, or those of a cluster that
//! has just got its ledger.

use super::*;

/// 8 requests a second for so long, as evenly as ticks allow, all admitted.
fn eight_a_second(node: &mut Node, terms: &Terms, seconds: u32) -> Vec<AskItem> {
    let mut said = Vec::new();
    for tick in 0..seconds * 10 {
        if tick * 8 / 10 != (tick + 1) * 8 / 10 {
            let key = node.key(1, terms);
            assert!(node.admits(&key, 1), "at tick {tick}");
        }
        said.extend(node.ticked());
    }
    said
}

#[test]
fn while_there_is_plenty_a_node_keeps_a_seconds_worth_at_hand_for_others_clients() {
    let terms = sliding(200, SECOND);
    let mut node = Node::new();
    // 11 of base, 8 of them in use: enough for what comes, but not for twice as much.
    let said = eight_a_second(&mut node, &terms, 3);
    let wanted = said.iter().map(|item| item.want).max();
    assert!(wanted >= Some(2) && wanted <= Some(6), "{said:?}");

    // Where a quarter of the limit is all that is left, nobody keeps any of it for others.
    let mut node = Node::new();
    let key = node.key(1, &terms);
    let scarce = GrantItem {
        pool: 50,
        ..item(&key, 1, 0)
    };
    node.answer(vec![scarce]);
    let said = eight_a_second(&mut node, &terms, 3);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_node_that_joins_the_others_still_knows_what_it_uses() {
    let terms = sliding(180, SECOND);
    let mut node = Node::new();
    node.keeper.begin(who(7));
    node.keeper.alone(&node.clock);
    eight_a_second(&mut node, &terms, 5);
    node.index += 1;
    let ask = node.keeper.introduce(&node.clock);
    let echo = Echo {
        seq: ask.seq,
        sent_ms: ask.sent_ms,
    };
    let word = node.message(Some(echo), vec![]);
    node.keeper.join(&word, &node.clock);
    // The leader has heard nothing of it, and divides the limit between those that it has heard of.
    recall(&mut node, 1, &terms, 0);
    let said = node.ticked();
    assert!(said[0].returned <= 3 && said[0].rate > 6000, "{said:?}");
    let key = node.key(1, &terms);
    assert!(node.admits(&key, 7), "{:?}", held(&key));
}

#[test]
fn a_node_that_drains_hands_over_what_it_needs_no_more_and_keeps_its_base() {
    let terms = sliding(200, SECOND);
    let mut node = Node::new();
    let key = node.key(1, &terms);
    node.answer(vec![item(&key, 1, 40)]);
    assert!(node.admits(&key, 40));
    node.holder.set_draining(true);
    // What requests on their way need at the pace of lately stays for a moment.
    let said = node.ticks(6 * SECOND);
    assert!(
        said.iter().all(|item| item.want == 40),
        "it wants nothing more: {said:?}"
    );
    // What is free at once, what cools when it has.
    assert_eq!(said.first().map(|item| item.returned), Some(11));
    assert_eq!(said.last().map(|item| item.returned), Some(40));
    assert_eq!(held(&key).free, 11);

    node.holder.set_draining(false);
    let said = eight_a_second(&mut node, &terms, 3);
    let wanted = said
        .iter()
        .map(|item| item.want.wrapping_sub(item.returned));
    assert!(wanted.max() >= Some(2), "it asks as before: {said:?}");
}

#[test]
fn of_a_small_limit_and_of_a_long_one_nothing_stays_at_a_node_that_drains() {
    for (terms, given) in [
        (sliding(10, 10 * SECOND), 3),
        (sliding(1000, Duration::from_secs(60)), 80),
    ] {
        let mut node = Node::new();
        let key = node.key(1, &terms);
        node.answer(vec![item(&key, 1, given)]);
        let all = u32::try_from(held(&key).free).unwrap();
        assert!(node.admits(&key, all - 1));
        node.ticked();
        node.holder.set_draining(true);
        // Though nobody has asked for it for longer than a key is looked at otherwise.
        let said = node.ticks(terms.window() + 4 * SECOND);
        let returned = said.iter().map(|item| item.returned).max();
        assert_eq!(returned, Some(given), "{said:?}");
    }
}
