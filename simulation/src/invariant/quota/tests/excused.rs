//! What looks like a breach and is none, each beside what is one.

use super::*;

/// The same limit, of a minute.
fn of_a_minute(holding: Holding) -> Holding {
    Holding {
        terms: Some(minute()),
        ..holding
    }
}

fn minute() -> Terms {
    let minute = Duration::from_secs(60);
    Terms::new(100, minute, Kind::Sliding, OnLapse::Base).unwrap()
}

#[test]
fn a_machine_that_stood_still_is_excused_until_its_next_tick() {
    let late = holding(19, 26, 25, 20);
    let spent = |clock_ms: u64, ticked: Option<u64>| {
        let mut story = Story::begin();
        if let Some(ms) = ticked {
            story.holds_by(ms, clock_ms - 10, true, holding(45, 0, 25, 20));
        }
        story.charge_by(40_000, clock_ms, 26, late);
        story.broken()
    };
    assert_eq!(spent(5000, None), [""; 0]);
    assert_eq!(spent(39_500, None), [LEASES], "it stood for half a second");
    assert_eq!(spent(5000, Some(39_990)), [LEASES], "it has ticked since");
    assert_eq!(spent(5000, Some(4990)), [""; 0], "it had ticked before");
    // What it holds then is judged when a tick has looked at it.
    let held = |settled: bool| {
        let mut story = Story::begin();
        story.books(40_000, standing(30, 50, 20, 0));
        story.holds_by(40_001, 5000, settled, holding(45, 0, 25, 20));
        story.broken()
    };
    assert_eq!((held(false), held(true)), (vec![], vec![BOOKED]));
}

#[test]
fn what_a_life_that_lost_its_lease_twice_has_spent_rests_once() {
    let books = |pool, cooling, extra| Standing {
        terms: minute(),
        ..standing(pool, 50, cooling, extra)
    };
    let cooling = |after_both: u64| {
        let mut story = Story::begin();
        story.books(1150, books(30, 0, 20));
        story.charge(30_900, 45, of_a_minute(holding(0, 45, 25, 20)));
        story.books(31_010, books(30, 20, 0));
        let sent_ms = 31_500;
        story.deed(31_500, TokensDeed::Asked { seq: 2, sent_ms });
        story.books(31_900, books(10, 20, 20));
        story.grant(32_000, 1, Some(2), None);
        let pool = 50 - after_both.cast_signed();
        story.books(61_600, books(pool, after_both, 0));
        story.broken()
    };
    assert_eq!(cooling(20), [""; 0]);
    assert_eq!(cooling(19), [LEASES]);
}

#[test]
fn what_a_grown_base_makes_good_need_not_rest() {
    let grown = |base: u32| {
        let mut story = Story::begin();
        story.charge(30_900, 45, holding(0, 45, 25, 20));
        story.books(31_010, standing(30, 50, 20, 0));
        story.holds(31_020, holding(0, 45, base, 45 - base.cast_signed()));
        story.books(31_100, standing(40, 50, 10, 0));
        story.broken()
    };
    // The same of a life that is over.
    let over = |base: u32| {
        let mut story = Story::begin();
        story.charge(4400, 45, holding(0, 45, 25, 20));
        story.holds(4450, holding(0, 45, base, 45 - base.cast_signed()));
        story.deed(4500, TokensDeed::Begun { life: 2 });
        let up = Some((NodeId::from("a"), 2));
        let changed = vec![(KEY, Some(standing(40, 50, 10, 0)))];
        story.applied(
            5000,
            AppliedSeen {
                up,
                changed,
                ..AppliedSeen::default()
            },
        );
        story.broken().contains(&LIVES)
    };
    assert_eq!((over(35), over(34)), (false, true));
    // What it holds beyond its base was booked for it till then, and is judged by another promise.
    let leases = |broken: Vec<&str>| broken.contains(&LEASES);
    assert!(!leases(grown(35)));
    assert!(leases(grown(34)) && leases(grown(25)));
}

#[test]
fn a_life_after_one_that_assumed_its_share_has_of_base_what_that_one_left() {
    let base = |base: u32| {
        let mut story = Story(History::default());
        story.deed(0, TokensDeed::Begun { life: 1 });
        story.up(500, 1);
        story.charge(10_000, 20, of_a_minute(holding(5, 20, 25, 0)));
        story.deed(20_000, TokensDeed::Begun { life: 2 });
        story.0.assumed.push(Assumed {
            at: Duration::from_millis(20_100),
            node: "a".to_owned(),
            agreed: None,
            seats: 2,
        });
        story.charge(21_000, 10, of_a_minute(holding(15, 10, 25, 0)));
        story.deed(30_000, TokensDeed::Begun { life: 3 });
        story.up(31_000, 3);
        let left = Holding {
            owed: 25,
            ..of_a_minute(holding(0, 1, base, 0))
        };
        story.charge(32_000, 1, left);
        story.broken()
    };
    assert_eq!((base(15), base(16)), (vec![], vec![LIVES]));
}
