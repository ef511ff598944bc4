//! Each promise is handed what breaks it, and what does not.

mod excused;

use meridian_cluster::quota::{
    cell::Held,
    holder::Holding,
    ledger::Standing,
    terms::{Kind, OnLapse, Terms},
};

use super::*;
use crate::workload::{AppliedSeen, Assumed, Charge};

const KEY: KeyId = KeyId([7; 16]);

/// A history of one limit of 100 a second, by steps of a second.
struct Story(History);

fn terms() -> Terms {
    let second = Duration::from_secs(1);
    Terms::new(100, second, Kind::Sliding, OnLapse::Base).unwrap()
}

fn holding(free: i32, cool: u32, base: u32, extra: i32) -> Holding {
    Holding {
        key: KEY,
        terms: Some(terms()),
        held: Held { free, cool },
        base,
        owed: base,
        extra,
        valid: true,
        in_use: true,
    }
}

fn standing(pool: i64, base: u64, cooling: u64, extra: i64) -> Standing {
    Standing {
        terms: terms(),
        as_of: 1,
        pool,
        base,
        cooling,
        extra: vec![(NodeId::from("a"), extra)],
    }
}

impl Story {
    /// Node a lives its first life, has a base of 25, and is booked 20 beyond by an answer to what it sent at 1 s.
    fn begin() -> Self {
        let mut story = Self(History::default());
        story.deed(0, TokensDeed::Begun { life: 1 });
        story.up(500, 1);
        let sent_ms = 1000;
        story.deed(1000, TokensDeed::Asked { seq: 1, sent_ms });
        story.books(1100, standing(30, 50, 0, 20));
        story.grant(1200, 1, Some(1), None);
        story
    }

    fn deed(&mut self, ms: u64, what: TokensDeed) -> &mut Self {
        self.0.tokens.push(TokensSeen {
            at: Duration::from_millis(ms),
            node: NodeId::from("a"),
            what,
        });
        self
    }

    fn applied(&mut self, ms: u64, applied: AppliedSeen) -> &mut Self {
        self.deed(ms, TokensDeed::Applied(Box::new(applied)))
    }

    fn up(&mut self, ms: u64, life: u64) -> &mut Self {
        let up = Some((NodeId::from("a"), life));
        let changed = Vec::new();
        self.applied(
            ms,
            AppliedSeen {
                up,
                changed,
                ..AppliedSeen::default()
            },
        )
    }

    fn books(&mut self, ms: u64, standing: Standing) -> &mut Self {
        let changed = vec![(KEY, Some(standing))];
        self.applied(
            ms,
            AppliedSeen {
                changed,
                ..AppliedSeen::default()
            },
        )
    }

    fn grant(
        &mut self,
        ms: u64,
        life: u64,
        answers: Option<u64>,
        again: Option<Vec<(KeyId, i32, i32)>>,
    ) -> &mut Self {
        self.deed(
            ms,
            TokensDeed::Granted {
                life,
                answers,
                again,
            },
        )
    }

    fn holds(&mut self, ms: u64, holding: Holding) -> &mut Self {
        self.holds_by(ms, ms, true, holding)
    }

    /// By a clock that shows another time; not settled: no tick has looked at it.
    fn holds_by(&mut self, ms: u64, clock_ms: u64, settled: bool, holding: Holding) -> &mut Self {
        let holdings = vec![holding];
        self.deed(
            ms,
            TokensDeed::Holds {
                holdings,
                settled,
                clock_ms,
            },
        )
    }

    fn charge(&mut self, ms: u64, cost: u64, holding: Holding) -> &mut Self {
        self.charge_by(ms, ms, cost, holding)
    }

    /// By a clock that shows another time.
    fn charge_by(&mut self, ms: u64, clock_ms: u64, cost: u64, holding: Holding) -> &mut Self {
        self.0.charges.push(Charge {
            at: Duration::from_millis(ms),
            node: "a".to_owned(),
            key: format!("{KEY:?}"),
            limit: "tenant-second".to_owned(),
            cost,
            amount: 100,
            span: holding.terms.unwrap().window(),
            window: None,
            back: false,
        });
        let nth = self.0.charges.len() - 1;
        self.deed(
            ms,
            TokensDeed::Charged {
                nth,
                key: KEY,
                holding,
                clock_ms,
            },
        )
    }

    /// The promises that it breaks.
    fn broken(&self) -> Vec<&'static str> {
        let found = Watch::default().look(&self.0, Duration::MAX).into_iter();
        let found = found.filter(|(_, breaches)| !breaches.is_empty());
        found.map(|(name, _)| name).collect()
    }
}

#[test]
fn a_story_in_which_all_goes_well_breaks_nothing() {
    let mut story = Story::begin();
    story.charge(2000, 30, holding(15, 30, 25, 20));
    story.holds(2010, holding(15, 30, 25, 20));
    story.holds(3100, holding(45, 0, 25, 20));
    assert_eq!(story.broken(), [""; 0]);
    let tried = tried(&story.0);
    assert_eq!((tried.rested, tried.settled, tried.compared), (1, 2, 2));
}

#[test]
fn what_is_given_and_not_there_is_found_and_replicas_that_differ() {
    let mut story = Story::begin();
    story.books(2000, standing(-10, 50, 0, 60));
    assert_eq!(story.broken(), [LEDGER]);
    let mut story = Story::begin();
    story.books(2000, standing(31, 50, 0, 20));
    assert_eq!(story.broken(), [LEDGER]);
    let mut story = Story::begin();
    story.deed(2000, TokensDeed::Apart { index: 3 });
    assert_eq!(story.broken(), [LEDGER]);
}

#[test]
fn a_node_that_acts_on_more_than_is_booked_is_found_and_one_that_lost_a_token() {
    for more in [
        holding(46, 0, 25, 21),
        holding(46, 0, 25, 20),
        holding(44, 0, 25, 20),
    ] {
        let mut story = Story::begin();
        story.holds(2000, more);
        assert_eq!(story.broken(), [BOOKED], "{more:?}");
    }
    // What the ledger has taken back is no longer acted on by who knows that it may.
    let mut story = Story::begin();
    let late = Holding {
        valid: false,
        ..holding(45, 0, 25, 20)
    };
    story.books(40_000, standing(30, 50, 20, 0));
    story.holds(40_001, late);
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn a_token_that_is_spent_twice_within_a_window_is_found() {
    let mut story = Story::begin();
    story.charge(2000, 30, holding(15, 30, 25, 20));
    story.charge(2900, 20, holding(25, 20, 25, 20));
    assert_eq!(story.broken(), [REST]);
    let mut story = Story::begin();
    story.charge(2000, 30, holding(15, 30, 25, 20));
    story.charge(3000, 20, holding(25, 20, 25, 20));
    assert_eq!(story.broken(), [""; 0]);
}

#[test]
fn what_a_denied_request_left_behind_is_found() {
    let mut story = Story::begin();
    story.charge(2000, 30, holding(15, 30, 25, 20));
    story.holds(2100, holding(14, 31, 25, 20));
    assert_eq!(story.broken(), [WHOLE]);
    let mut story = Story::begin();
    story.charge(2000, 30, holding(15, 30, 25, 20));
    story.holds(3100, holding(44, 1, 25, 20));
    assert_eq!(story.broken(), [WHOLE]);
}

#[test]
fn a_node_that_spends_more_than_base_after_its_lease_is_found() {
    let spent_at = |ms: u64| {
        let mut story = Story::begin();
        story.charge(ms, 26, holding(19, 26, 25, 20));
        story.broken()
    };
    assert_eq!(spent_at(31_000), [""; 0]);
    assert_eq!(spent_at(31_020), [LEASES]);
    let mut base = Story::begin();
    base.charge(40_000, 25, holding(20, 25, 25, 20));
    assert_eq!(base.broken(), [""; 0]);
    assert_eq!(tried(&base.0).late, 1);
}

#[test]
fn what_the_ledger_takes_back_is_over_for_the_node_and_rests_for_a_window() {
    let taken = |ms: u64, cooling: u64, then: u64| {
        let mut story = Story::begin();
        story.charge(ms - 101, 45, holding(0, 45, 25, 20));
        story.books(ms, standing(50 - cooling.cast_signed(), 50, cooling, 0));
        story.books(then, standing(50, 50, 0, 0));
        story.broken()
    };
    assert_eq!(taken(31_001, 20, 32_001), [""; 0]);
    assert_eq!(taken(30_900, 20, 32_001), [LEASES], "early");
    assert_eq!(taken(31_001, 0, 32_001), [LEASES], "given at once");
    assert_eq!(taken(31_001, 20, 31_800), [LEASES], "given too soon");
    assert_eq!(taken(31_001, 20, 31_910), [""; 0], "it has cooled");
    // It is heard of again, and spends what it is given anew.
    let mut again = Story::begin();
    again.charge(30_900, 45, holding(0, 45, 25, 20));
    again.books(31_001, standing(30, 50, 20, 0));
    let sent_ms = 31_500;
    again.deed(31_500, TokensDeed::Asked { seq: 2, sent_ms });
    again.books(31_905, standing(20, 50, 0, 30));
    again.grant(31_910, 1, Some(2), None);
    again.charge(31_915, 55, holding(0, 55, 25, 30));
    again.books(31_920, standing(19, 50, 1, 30));
    assert_eq!(again.broken(), [""; 0]);
}

#[test]
fn what_a_life_left_rests_for_a_window_and_the_next_one_waits_as_long_for_its_base() {
    let next = |cooling: u64| {
        let mut story = Story::begin();
        story.charge(4400, 45, holding(0, 45, 25, 20));
        let after = standing(50 - cooling.cast_signed(), 50, cooling, 0);
        story.deed(4500, TokensDeed::Begun { life: 2 });
        let up = Some((NodeId::from("a"), 2));
        let changed = vec![(KEY, Some(after))];
        story.applied(
            5000,
            AppliedSeen {
                up,
                changed,
                ..AppliedSeen::default()
            },
        );
        story
    };
    assert_eq!(next(20).broken(), [""; 0]);
    assert_eq!(next(0).broken(), [LIVES]);
    let mut early = next(20);
    early.charge(5400, 1, holding(24, 1, 25, 0));
    assert_eq!(early.broken(), [LIVES]);
    let mut assumed = next(20);
    assumed.charge(5400, 1, holding(24, 1, 25, 0));
    assumed.0.assumed.push(Assumed {
        at: Duration::from_millis(4600),
        node: "a".to_owned(),
        agreed: None,
        seats: 2,
    });
    assert_eq!(assumed.broken(), [""; 0]);
    let mut rested = next(20);
    rested.charge(5500, 1, holding(24, 1, 25, 0));
    assert_eq!(rested.broken(), [""; 0]);
    let mut unknown = Story::begin();
    unknown.deed(4500, TokensDeed::Begun { life: 2 });
    unknown.charge(4600, 1, holding(24, 1, 25, 0));
    assert_eq!(unknown.broken(), [LIVES]);
}

#[test]
fn an_ask_that_is_heeded_again_is_found_and_a_grant() {
    let answered = |asks: &[(u64, u64)]| {
        let mut story = Story::begin();
        for (life, seq) in asks {
            let answered = vec![(NodeId::from("a"), *life, *seq)];
            story.applied(
                2000,
                AppliedSeen {
                    answered,
                    ..AppliedSeen::default()
                },
            );
        }
        story.broken()
    };
    assert_eq!(answered(&[(1, 1), (1, 2)]), [""; 0]);
    assert_eq!(answered(&[(1, 2), (1, 2)]), [REPEATS]);
    assert_eq!(answered(&[(1, 2), (1, 1)]), [REPEATS]);
    assert_eq!(answered(&[(2, 1)]), [REPEATS]);
    let heard = |changes| {
        let mut story = Story::begin();
        story.grant(2000, 1, None, Some(changes));
        story.broken()
    };
    assert_eq!(heard(vec![]), [""; 0]);
    assert_eq!(heard(vec![(KEY, 20, 40)]), [REPEATS]);
}
