//! What is asked for, handed back and waited for.

use super::*;

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

/// Requests of 150, of a limit of which the base is 100: what one takes is asked for and kept at hand; where they wait, it is
/// fetched.
#[test]
fn what_one_request_takes_is_asked_for_and_kept_at_hand() {
    for (wait, kept) in [(0, true), (400, false)] {
        let mut node = Node::new();
        let terms = sliding(1800, SECOND * 60);
        let on_empty = match wait {
            0 => OnEmpty::Deny,
            _ => OnEmpty::Wait(Duration::from_millis(wait)),
        };
        let key = node
            .holder
            .resolve(KeyId([1; 16]), &terms, on_empty, 1, &node.clock);
        let key = key.unwrap();
        node.denied(&key, 150);
        let said = node.ticked();
        assert_eq!((said[0].want, said[0].unit), (50, 150), "{said:?}");
        assert_eq!(said[0].waits_ms, u32::try_from(wait).unwrap());
        node.answer(vec![item(&key, said[0].born, 50)]);
        assert!(node.admits(&key, 150));
        let said = node.ticks(SECOND);
        let wanted = said.iter().map(|item| item.want).max().unwrap_or(0);
        assert_eq!(wanted >= 50 + 150, kept, "{said:?}");
    }
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
