//! What a node gives up where others want more of a key than there is.

use super::*;

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
fn whether_requests_wait_is_known_though_others_had_asked_for_the_key_before_any_came_here() {
    let mut node = Node::new();
    let terms = hourly(1800);
    recall(&mut node, 1, &terms, 0);
    node.ticked();
    let wait = OnEmpty::Wait(Duration::from_millis(400));
    let resolve = |as_of| {
        let key = KeyId([1; 16]);
        let key = node.holder.resolve(key, &terms, wait, as_of, &node.clock);
        key.unwrap()
    };
    // The recall was under document 1; what an older one says does not count.
    let denial = node.denied(&resolve(0), 1);
    assert!(resolve(0).park(node.clock.now(), &denial).is_err());
    assert!(resolve(1).park(node.clock.now(), &denial).is_ok());
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
