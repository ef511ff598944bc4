//! One cell by hand: what is free when, and what bad input does.

use super::*;
use crate::quota::{
    cell::{Bound, Held, Reach, Short},
    pace::{LONGEST, SHORTEST},
    terms::{WINDOW_LEAST, WINDOW_MOST},
};

fn admits(key: &Key, cost: u32, clock: &Hand) -> bool {
    matches!(key.charge(cost, &always(), clock), Answer::Admit(_))
}

#[test]
fn the_part_that_every_charge_touches_is_two_lines_of_a_cache() {
    assert_eq!(crate::quota::cell::NARROW_BYTES, 128);
}

#[test]
fn a_token_rests_for_a_window_and_at_most_a_slot() {
    let clock = Hand::at(5_000_000_123);
    let key = Key::holding(100, Pace::sliding(SECOND));
    for _ in 0..100 {
        assert!(admits(&key, 1, &clock));
    }
    assert!(!admits(&key, 1, &clock));
    clock.forward(SECOND);
    assert!(!admits(&key, 1, &clock), "the drift is not waited for");
    clock.forward(SECOND / 39);
    assert!(admits(&key, 100, &clock));
}

#[test]
fn of_a_few_tokens_each_rests_for_a_window_and_the_drift() {
    let clock = Hand::at(77);
    let key = Key::holding(3, Pace::sliding(SECOND));
    for _ in 0..3 {
        assert!(admits(&key, 1, &clock));
        clock.forward(SECOND / 10);
    }
    clock.forward(SECOND * 7 / 10 + Duration::from_micros(199));
    assert!(!admits(&key, 1, &clock));
    clock.forward(Duration::from_micros(1));
    assert!(admits(&key, 1, &clock));
    assert!(!admits(&key, 1, &clock));
    clock.forward(SECOND / 10);
    assert!(admits(&key, 1, &clock));
}

#[test]
fn a_fixed_window_has_all_its_tokens_at_its_start() {
    let clock = Hand::at(59_999_999_999);
    let key = Key::holding(10, Pace::fixed(SECOND * 60));
    for _ in 0..10 {
        assert!(admits(&key, 1, &clock));
    }
    assert!(!admits(&key, 1, &clock));
    clock.forward(Duration::from_nanos(1));
    assert!(admits(&key, 10, &clock));
    assert!(!admits(&key, 1, &clock));
}

#[test]
fn a_token_from_another_nodes_window_waits_for_the_next() {
    let clock = Hand::at(59_900_000_000);
    let pace = Pace::fixed(SECOND * 60);
    let key = Key::holding(1, pace);
    assert!(admits(&key, 1, &clock));
    // The giver's clock is ahead: its token was spent in window 0 and is good for 1.
    assert!(key.cell.reach_window(pace, 1, &clock));
    key.cell.credit(1);
    assert!(admits(&key, 2, &clock), "both are counted in window 1");
    assert_eq!(key.cell.newest_window(), 1);
    clock.forward(SECOND * 30);
    assert!(!admits(&key, 1, &clock));
    clock.forward(SECOND * 31);
    assert!(admits(&key, 2, &clock));
}

#[test]
fn a_refund_frees_at_once_within_the_slot_and_not_after() {
    for (held, pace) in [
        (2, Pace::sliding(SECOND)),
        (200, Pace::sliding(SECOND)),
        (200, Pace::fixed(SECOND)),
    ] {
        let clock = Hand::at(10_000_000_000);
        let key = Key::holding(held, pace);
        let Answer::Admit(receipt) = key.charge(held, &always(), &clock) else {
            panic!("denied");
        };
        let spent = receipt.spent();
        assert_eq!(key.cell.refund(pace, held, spent), held);
        assert_eq!(key.cell.refund(pace, held, spent), 0, "twice");
        assert!(admits(&key, held, &clock));
        clock.forward(SECOND / 2);
        key.cell.settle(pace, &clock);
        let refunded = key.cell.refund(pace, 1, spent);
        // Same instant, or same window: still there. Another slot: it stands.
        let stands = held == 200 && pace.is_sliding();
        assert_eq!(refunded, u32::from(!stands));
    }
}

#[test]
fn what_is_taken_back_while_it_cools_is_paid_by_what_cools_off() {
    let clock = Hand::at(0);
    let key = Key::holding(100, Pace::sliding(SECOND));
    assert!(admits(&key, 80, &clock));
    key.cell.reclaim(50);
    assert_eq!(
        key.cell.held(),
        Held {
            free: -30,
            cool: 80
        }
    );
    assert!(!admits(&key, 1, &clock));
    assert_eq!(key.cell.withdraw(10, 0), 0);
    clock.forward(SECOND * 2);
    assert!(admits(&key, 50, &clock));
    assert!(!admits(&key, 1, &clock));
}

#[test]
fn what_is_handed_back_is_free_and_leaves_what_is_kept() {
    let key = Key::holding(100, Pace::sliding(SECOND));
    assert!(admits(&key, 30, &Hand::at(0)));
    assert_eq!(key.cell.withdraw(100, 50), 20);
    assert_eq!(key.cell.withdraw(10, 0), 10);
    assert_eq!(key.cell.held(), Held { free: 40, cool: 30 });
}

#[test]
fn without_contact_a_window_holds_the_base() {
    let clock = Hand::at(0);
    let pace = Pace::sliding(SECOND);
    let key = Key::holding(100, pace);
    key.cell.set_base(10);
    let take = |cost, reach| {
        let bound = Bound {
            reach,
            ..Bound::OPEN
        };
        key.cell.take(pace, cost, bound, clock.now(), &clock)
    };
    assert_eq!(take(11, Reach::Base), Err(Short::Lapsed));
    assert!(take(10, Reach::Base).is_ok());
    assert_eq!(take(1, Reach::Base), Err(Short::Lapsed));
    assert_eq!(take(1, Reach::Nothing), Err(Short::Lapsed));
    assert!(take(1, Reach::Held).is_ok());
}

#[test]
fn under_overload_a_part_is_spent_and_lifting_it_is_at_once() {
    let clock = Hand::at(0);
    let pace = Pace::sliding(SECOND);
    let key = Key::holding(1000, pace);
    let take = |cost, share| {
        let bound = Bound {
            share,
            ..Bound::OPEN
        };
        key.cell.take(pace, cost, bound, clock.now(), &clock)
    };
    assert!(take(250, WHOLE / 4).is_ok());
    assert_eq!(take(1, WHOLE / 4), Err(Short::Overloaded));
    assert!(take(750, WHOLE).is_ok());
    assert_eq!(take(1, WHOLE / 4), Err(Short::Empty));
}

#[test]
fn a_key_that_comes_to_hold_many_counts_them_all() {
    let clock = Hand::at(0);
    let key = Key::holding(60_000, Pace::sliding(SECOND));
    assert!(admits(&key, 60_000, &clock));
    key.cell.credit(2_000_000);
    assert!(admits(&key, 1_000_000, &clock));
    clock.forward(SECOND / 2);
    assert!(admits(&key, 1_000_000, &clock));
    assert!(!admits(&key, 1, &clock));
    clock.forward(SECOND * 3 / 5);
    assert!(admits(&key, 1_060_000, &clock));
    assert!(!admits(&key, 1, &clock));
}

#[test]
fn the_greatest_limit_is_spent_whole_in_one_window() {
    let most = i32::MAX.cast_unsigned();
    let clock = Hand::at(0);
    let key = Key::holding(most, Pace::sliding(SECOND));
    for _ in 0..2 {
        assert!(admits(&key, most, &clock));
        assert!(!admits(&key, 1, &clock));
        assert!(!admits(&key, u32::MAX, &clock));
        clock.forward(SECOND * 2);
    }
}

#[test]
fn windows_of_a_millisecond_and_of_a_year_hold() {
    for window in [SHORTEST, SECOND * 3600 * 24 * 365, LONGEST] {
        // A unix time, as a fixed window has it.
        let clock = Hand::at(1_800_000_000_000_000_000);
        for pace in [Pace::sliding(window), Pace::fixed(window)] {
            let key = Key::holding(1000, pace);
            assert!(admits(&key, 1000, &clock));
            assert!(!admits(&key, 1, &clock));
            clock.forward(window + window / 30);
            assert!(admits(&key, 1000, &clock), "{window:?}");
        }
    }
}

#[test]
fn lengths_out_of_range_are_brought_into_it() {
    assert_eq!(Pace::sliding(Duration::ZERO).window(), SHORTEST);
    assert_eq!(Pace::fixed(Duration::MAX).window(), LONGEST);
    assert_eq!((SHORTEST, LONGEST), (WINDOW_LEAST, WINDOW_MOST));
}

#[test]
fn a_clock_that_steps_back_frees_nothing_early() {
    for pace in [Pace::sliding(SECOND), Pace::fixed(SECOND)] {
        let clock = Hand::at(100_000_000_000);
        let key = Key::holding(100, pace);
        assert!(admits(&key, 60, &clock));
        clock.set(50_000_000_000);
        assert!(admits(&key, 40, &clock));
        assert!(!admits(&key, 1, &clock));
        clock.forward(SECOND * 10);
        // It is still before the newest slot: the tokens rest.
        assert!(!admits(&key, 1, &clock));
        clock.set(102_000_000_000);
        assert!(admits(&key, 100, &clock));
    }
}

#[test]
fn a_clock_that_leaps_ahead_by_centuries_is_survived() {
    for pace in [Pace::sliding(SECOND), Pace::fixed(SECOND)] {
        for held in [5, 100] {
            let clock = Hand::at(1);
            let key = Key::holding(held, pace);
            assert!(admits(&key, held, &clock));
            clock.set(u64::MAX - 1);
            assert!(admits(&key, held, &clock));
            assert!(!admits(&key, 1, &clock));
        }
    }
}

#[test]
fn a_cost_of_nothing_takes_nothing() {
    let clock = Hand::at(0);
    let key = Key::holding(1, Pace::sliding(SECOND));
    assert!(admits(&key, 1, &clock));
    assert!(admits(&key, 0, &clock));
    assert_eq!(key.cell.held(), Held { free: 0, cool: 1 });
}

#[test]
fn it_says_when_enough_is_free_again() {
    for (held, late) in [(10, Duration::ZERO), (100, SECOND / 30)] {
        let clock = Hand::at(3_000_000_000);
        let pace = Pace::sliding(SECOND);
        let key = Key::holding(held, pace);
        let half = held / 2;
        let rest = Duration::from_micros(1_000_200);
        assert!(admits(&key, half, &clock));
        clock.forward(SECOND / 2);
        assert!(admits(&key, half, &clock));
        for (cost, exactly) in [(1, rest - SECOND / 2), (half + 1, rest)] {
            let until = key.cell.until(pace, cost, clock.now()).expect("it cools");
            assert!(
                until >= exactly && until <= exactly + late,
                "{held} {cost}: {until:?}"
            );
        }
        assert_eq!(key.cell.until(pace, held + 1, clock.now()), None);
        let until = key.cell.until(pace, held, clock.now()).expect("it cools");
        clock.forward(until - Duration::from_nanos(1));
        assert!(!admits(&key, held, &clock));
        clock.forward(Duration::from_nanos(1));
        assert!(admits(&key, held, &clock));
    }
}
