//! Several limits of a request: all or none, and who denied.

use super::*;
use crate::quota::{
    cell::Held,
    charge::{Denial, Why, refund},
};

fn bounds(lease: &Lease) -> Bounds<'_> {
    Bounds {
        lease,
        share: WHOLE,
    }
}

fn denial(answer: Answer) -> Denial {
    match answer {
        Answer::Deny(denial) => denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_denied_request_leaves_every_cell_as_it_was() {
    let clock = Hand::at(0);
    let lease = always();
    let hour = Key::holding(1000, Pace::sliding(SECOND * 3600));
    let second = Key::holding(5, Pace::sliding(SECOND));
    let day = Key::holding(3, Pace::fixed(SECOND * 86_400));
    let items = [(&hour, 1), (&second, 2), (&day, 1)];
    for _ in 0..2 {
        let answer = charge(&items, bounds(&lease), &clock);
        assert!(matches!(answer, Answer::Admit(_)));
    }
    for _ in 0..10 {
        let denied = denial(charge(&items, bounds(&lease), &clock));
        assert_eq!((denied.which, denied.why), (1, Why::Limit));
        assert_eq!(denied.cools_in, Some(Duration::from_micros(1_000_200)));
    }
    assert_eq!(hour.cell.held(), Held { free: 998, cool: 2 });
    assert_eq!(second.cell.held(), Held { free: 1, cool: 4 });
    clock.forward(SECOND * 2);
    assert!(matches!(
        charge(&items, bounds(&lease), &clock),
        Answer::Admit(_)
    ));
    let denied = denial(charge(&items, bounds(&lease), &clock));
    assert_eq!(denied.which, 2);
    assert_eq!(second.cell.held(), Held { free: 3, cool: 2 });
}

#[test]
fn of_two_that_deny_the_shorter_window_is_named_in_any_order() {
    let clock = Hand::at(0);
    let lease = always();
    let hour = Key::holding(1, Pace::sliding(SECOND * 3600));
    let second = Key::holding(1, Pace::sliding(SECOND));
    for (items, which) in [
        ([(&hour, 2), (&second, 2)], 1),
        ([(&second, 2), (&hour, 2)], 0),
    ] {
        assert_eq!(denial(charge(&items, bounds(&lease), &clock)).which, which);
    }
}

#[test]
fn a_hundred_limits_and_more_are_one_charge() {
    for count in [100_u32, 500] {
        let clock = Hand::at(0);
        let lease = always();
        let keys: Vec<Key> = (0..count)
            .map(|nth| {
                Key::holding(
                    1 + (nth + 50) % count,
                    Pace::sliding(SECOND * (count - nth)),
                )
            })
            .collect();
        let items: Vec<(&Key, u32)> = keys.iter().map(|key| (key, 1)).collect();
        assert!(matches!(
            charge(&items, bounds(&lease), &clock),
            Answer::Admit(_)
        ));
        let before: Vec<Held> = keys.iter().map(|key| key.cell.held()).collect();
        let denied = denial(charge(&items, bounds(&lease), &clock));
        assert_eq!(keys[denied.which].cell.held().free, 0);
        let after: Vec<Held> = keys.iter().map(|key| key.cell.held()).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn no_limits_admit() {
    let nothing: [(&Key, u32); 0] = [];
    let answer = charge(&nothing, bounds(&always()), &Hand::at(0));
    assert!(matches!(answer, Answer::Admit(_)));
}

#[test]
fn a_limit_charged_twice_in_a_request_pays_twice() {
    let clock = Hand::at(0);
    let key = Key::holding(3, Pace::sliding(SECOND));
    let lease = always();
    let items = [(&key, 1), (&key, 1)];
    assert!(matches!(
        charge(&items, bounds(&lease), &clock),
        Answer::Admit(_)
    ));
    assert_eq!(denial(charge(&items, bounds(&lease), &clock)).which, 1);
    assert_eq!(key.cell.held(), Held { free: 1, cool: 2 });
}

#[test]
fn a_denial_says_whether_tokens_are_elsewhere() {
    let clock = Hand::at(0);
    let mut key = Key::holding(1, Pace::sliding(SECOND));
    let denied = denial(key.charge(2, &always(), &clock));
    assert_eq!((denied.why, denied.cools_in), (Why::Limit, None));
    key.free_elsewhere = true;
    assert_eq!(denial(key.charge(2, &always(), &clock)).why, Why::Local);
}

/// Shows times in order, one a reading.
struct Script(std::sync::Mutex<Vec<u64>>);

impl Script {
    fn new(times: &[u64]) -> Self {
        Self(times.iter().rev().copied().collect::<Vec<_>>().into())
    }
}

impl Clock for Script {
    fn now(&self) -> Now {
        let time = self.0.lock().unwrap().pop();
        reading(time.expect("not read so often"))
    }
}

#[test]
fn a_lease_that_ends_between_check_and_spend_is_noticed() {
    let lease = Lease::new();
    lease.confirm(Monotonic(0));
    let (late, later) = (30_000_000_000, 600_000_000_000);
    let mut key = Key::holding(100, Pace::sliding(SECOND));
    key.validity = Validity::new(SECOND * 30, Some(SECOND * 600));
    key.cell.set_base(5);
    for (cost, second, admitted) in [(50, late - 1, true), (1, late, false), (50, late - 1, true)] {
        let answer = key.charge(cost, &lease, &Script::new(&[1, second]));
        assert_eq!(matches!(answer, Answer::Admit(_)), admitted);
    }
    assert_eq!(key.cell.held(), Held { free: 0, cool: 100 });
    let rested = late + 2_000_000_000;
    let answer = key.charge(5, &lease, &Script::new(&[rested, rested]));
    assert!(matches!(answer, Answer::Admit(_)));
    let denied = denial(key.charge(1, &lease, &Script::new(&[rested])));
    assert_eq!(denied.why, Why::Lapsed);

    let answer = key.charge(1, &lease, &Script::new(&[later - 1_000_000_000, later]));
    assert_eq!(denial(answer).why, Why::Lapsed);
    let denied = denial(key.charge(1, &lease, &Script::new(&[later])));
    assert_eq!(denied.why, Why::Lapsed);
    key.validity = Validity::new(SECOND * 30, None);
    let answer = key.charge(5, &lease, &Script::new(&[later, later]));
    assert!(matches!(answer, Answer::Admit(_)));
}

#[test]
fn an_older_confirmation_shortens_no_lease() {
    use crate::quota::lease::Standing::{BaseOnly, Lapsed, Valid};
    let lease = Lease::new();
    let validity = Validity::new(SECOND * 30, Some(SECOND * 600));
    let standing = |seconds: u64| {
        lease
            .contact(Monotonic(seconds * 1_000_000_000))
            .standing(validity)
    };
    assert_eq!(standing(0), Lapsed);
    lease.confirm(Monotonic(10_000_000_000));
    lease.confirm(Monotonic(5_000_000_000));
    assert_eq!(
        [39, 40, 609, 610].map(standing),
        [Valid, BaseOnly, BaseOnly, Lapsed]
    );
}

#[test]
fn a_node_that_was_never_in_contact_has_its_base_or_nothing() {
    let clock = Hand::at(0);
    let mut key = Key::holding(100, Pace::sliding(SECOND));
    key.cell.set_base(5);
    assert!(matches!(
        key.charge(5, &Lease::new(), &clock),
        Answer::Admit(_)
    ));
    assert_eq!(
        denial(key.charge(1, &Lease::new(), &clock)).why,
        Why::Lapsed
    );
    clock.forward(SECOND * 2);
    key.validity = Validity::new(SECOND * 30, Some(SECOND * 600));
    assert_eq!(
        denial(key.charge(1, &Lease::new(), &clock)).why,
        Why::Lapsed
    );
}

#[test]
fn a_pause_of_an_hour_leaves_the_base_and_new_contact_the_rest() {
    let lease = Lease::new();
    lease.confirm(Monotonic(0));
    let clock = Hand::at(0);
    let key = Key::holding(100, Pace::sliding(SECOND));
    key.cell.set_base(10);
    assert!(matches!(key.charge(100, &lease, &clock), Answer::Admit(_)));
    clock.forward(SECOND * 3600);
    assert!(matches!(key.charge(10, &lease, &clock), Answer::Admit(_)));
    assert_eq!(denial(key.charge(1, &lease, &clock)).why, Why::Lapsed);
    // The ledger took the extra back meanwhile; it says so with the confirmation.
    key.cell.reclaim(90);
    lease.confirm(clock.now().monotonic);
    assert_eq!(denial(key.charge(1, &lease, &clock)).why, Why::Limit);
    clock.forward(SECOND * 2);
    assert!(matches!(key.charge(10, &lease, &clock), Answer::Admit(_)));
    assert_eq!(denial(key.charge(1, &lease, &clock)).why, Why::Limit);
}

#[test]
fn a_refund_gives_every_account_its_own() {
    let clock = Hand::at(0);
    let lease = always();
    let hour = Key::holding(1000, Pace::sliding(SECOND * 3600));
    let second = Key::holding(5, Pace::sliding(SECOND));
    let items = [(&second, 2), (&hour, 3)];
    let Answer::Admit(receipt) = charge(&items, bounds(&lease), &clock) else {
        panic!("denied");
    };
    refund(&items, receipt);
    assert_eq!(
        hour.cell.held(),
        Held {
            free: 1000,
            cool: 0
        }
    );
    assert_eq!(second.cell.held(), Held { free: 5, cool: 0 });
}
