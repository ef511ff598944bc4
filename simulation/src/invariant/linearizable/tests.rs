//! Histories that have an order and histories that have none; and the search beside one that tries every order.

use proptest::prelude::*;

use super::{search::apply, *};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn deed(called: u64, returned: Option<u64>, act: Act) -> Deed {
    Deed {
        node: "a".to_owned(),
        called: ms(called),
        returned: returned.map(ms),
        act,
    }
}

fn read(called: u64, returned: u64, number: u64, digest: &str) -> Deed {
    let saw = Some((number, digest.to_owned()));
    deed(called, Some(returned), Act::Read(saw))
}

fn write(
    called: u64,
    returned: Option<u64>,
    digest: &str,
    expect: Option<u64>,
    outcome: Written,
) -> Deed {
    let digest = digest.to_owned();
    let act = Act::Write {
        expect,
        digest,
        outcome,
    };
    deed(called, returned, act)
}

fn told(deeds: &[Deed]) -> Vec<String> {
    judge(deeds).into_iter().map(|breach| breach.says).collect()
}

#[test]
fn two_operators_that_race_leave_one_order() {
    let deeds = [
        write(0, Some(10), "x", None, Written::Made(1)),
        read(11, 20, 1, "x"),
        read(11, 21, 1, "x"),
        write(22, Some(40), "y", Some(1), Written::Made(2)),
        write(22, Some(35), "z", Some(1), Written::Conflict(2)),
        read(23, 30, 1, "x"),
        read(41, 50, 2, "y"),
    ];
    assert_eq!(told(&deeds), Vec::<String>::new());
}

#[test]
fn an_old_read_is_told_with_the_time_of_its_answer() {
    let deeds = [
        write(0, Some(10), "x", None, Written::Made(1)),
        write(11, Some(20), "y", None, Written::Made(2)),
        read(21, 30, 1, "x"),
        read(40, 50, 2, "y"),
    ];
    let wrong = judge(&deeds);
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].at, ms(30));
    let says = "through a, from 21ms to 30ms, a read saw revision 1";
    assert!(wrong[0].says.starts_with(says), "{}", wrong[0].says);
    assert!(
        wrong[0].says.contains("became revision 2"),
        "{}",
        wrong[0].says
    );
}

#[test]
fn a_write_without_an_answer_may_have_been_made_at_any_time_or_never() {
    let lost = write(0, None, "x", None, Written::Unknown);
    let first = |digest, number, at| write(at, Some(at + 5), digest, None, Written::Made(number));
    assert_eq!(told(&[lost.clone(), first("y", 1, 10)]), [""; 0]);
    assert_eq!(told(&[lost.clone(), first("y", 2, 10)]), [""; 0]);
    let late = [lost.clone(), first("y", 1, 10), read(20, 25, 2, "x")];
    assert_eq!(told(&late), [""; 0]);
    // But once.
    assert_eq!(told(&[lost, first("y", 3, 10)]).len(), 1);
}

#[test]
fn a_lost_update_and_a_write_that_was_refused_and_made_are_told() {
    let both = [
        write(0, Some(10), "x", Some(0), Written::Made(1)),
        write(0, Some(10), "y", Some(0), Written::Made(1)),
    ];
    assert_eq!(told(&both).len(), 1);
    let refused = [
        write(0, Some(10), "x", Some(0), Written::Nothing),
        read(11, 20, 1, "x"),
    ];
    assert_eq!(told(&refused).len(), 1);
    let conflict = [
        write(0, Some(10), "x", None, Written::Made(1)),
        write(11, Some(20), "y", Some(1), Written::Conflict(1)),
    ];
    assert_eq!(told(&conflict).len(), 1);
}

#[test]
fn a_long_history_with_lost_writes_is_judged_at_once() {
    let mut deeds = vec![];
    for round in 0..300 {
        let at = round * 10;
        let digest = round.to_string();
        deeds.push(write(
            at,
            Some(at + 9),
            &digest,
            None,
            Written::Made(round + 1),
        ));
        deeds.push(read(at + 5, at + 14, round + 1, &digest));
        let conflict = Written::Conflict(round + 1);
        deeds.push(write(at, Some(at + 9), "other", Some(round), conflict));
        if round % 10 == 0 {
            deeds.push(write(at, None, "lost", None, Written::Unknown));
        }
    }
    let bound = deeds.len() * 3;
    assert_eq!(search(&deeds, bound), Found::Order);
    deeds.push(read(4000, 4010, 299, "298"));
    assert_eq!(search(&deeds, CONFIGURATIONS), Found::None);
}

#[test]
fn a_history_that_is_too_tangled_is_told_and_not_passed() {
    let lost = |digest: &str| write(0, None, digest, None, Written::Unknown);
    let deeds = [lost("a"), lost("b"), lost("c"), read(10, 20, 3, "d")];
    assert_eq!(search(&deeds, 3), Found::TooMany);
}

/// Whether any order of any choice of the unanswered writes fits: tries them all.
fn has_an_order(left: &[&Deed], register: (u64, &str)) -> bool {
    if left.iter().all(|deed| deed.returned.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let deed = left[index];
        let later = |other: &&Deed| other.returned.is_some_and(|end| end < deed.called);
        if left.iter().any(later) {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(index);
        apply(deed, register).is_some_and(|after| has_an_order(&rest, after))
    })
}

#[derive(Debug, Clone)]
struct Plan {
    /// 0: a read, 1: a write, 2 and more: a write on the revision that is so many before the newest, less two.
    what: u8,
    before: u64,
    after: u64,
    lost: bool,
}

/// What a register that keeps its promise would answer, deed for deed at its instant.
fn honest(plans: &[Plan]) -> Vec<Deed> {
    let mut register = (0_u64, String::new());
    let mut deeds = Vec::new();
    for (index, plan) in (0_u64..).zip(plans) {
        let instant = 100 + index * 10;
        let (called, returned) = (instant - plan.before, instant + plan.after);
        let digest = format!("d{index}");
        let expect = match plan.what {
            0 | 1 => None,
            back => Some(register.0.saturating_sub(u64::from(back) - 2)),
        };
        let act = if plan.what == 0 {
            Act::Read((!plan.lost).then(|| register.clone()))
        } else if expect.is_none_or(|expect| expect == register.0) {
            register = (register.0 + 1, digest.clone());
            let outcome = if plan.lost {
                Written::Unknown
            } else {
                Written::Made(register.0)
            };
            Act::Write {
                expect,
                digest,
                outcome,
            }
        } else {
            let outcome = if plan.lost {
                Written::Unknown
            } else {
                Written::Conflict(register.0)
            };
            Act::Write {
                expect,
                digest,
                outcome,
            }
        };
        deeds.push(deed(called, (!plan.lost).then_some(returned), act));
    }
    deeds
}

fn plans(most: usize) -> impl Strategy<Value = Vec<Plan>> {
    let plan = (0_u8..5, 0_u64..60, 0_u64..60, prop::bool::weighted(0.15));
    let plan = plan.prop_map(|(what, before, after, lost)| Plan {
        what,
        before,
        after,
        lost,
    });
    prop::collection::vec(plan, 1..=most)
}

/// Changes what a deed says it saw by one.
fn lie(deed: &mut Deed, up: bool) {
    let shift = |number: u64| {
        if up {
            number + 1
        } else {
            number.saturating_sub(1)
        }
    };
    match &mut deed.act {
        Act::Read(Some((number, _))) => *number = shift(*number),
        Act::Write {
            outcome: Written::Made(number) | Written::Conflict(number),
            ..
        } => *number = shift(*number),
        Act::Read(None) | Act::Write { .. } => {}
    }
}

/// Lets a read answer with what an earlier or later one saw.
fn swap(deeds: &mut [Deed], one: usize, other: usize) {
    if let (Act::Read(a), Act::Read(b)) = (deeds[one].act.clone(), deeds[other].act.clone())
        && deeds[one].returned.is_some()
        && deeds[other].returned.is_some()
    {
        deeds[one].act = Act::Read(b);
        deeds[other].act = Act::Read(a);
    }
}

proptest! {
    #[test]
    fn an_honest_register_always_has_an_order(plans in plans(60)) {
        prop_assert_eq!(told(&honest(&plans)), Vec::<String>::new());
    }

    #[test]
    fn the_search_says_what_trying_every_order_says(
        plans in plans(7),
        lies in prop::collection::vec((0_usize..7, any::<bool>()), 0..2),
        swaps in prop::collection::vec((0_usize..7, 0_usize..7), 0..3),
    ) {
        let mut deeds = honest(&plans);
        let count = deeds.len();
        for (index, up) in lies {
            lie(&mut deeds[index % count], up);
        }
        for (one, other) in swaps {
            swap(&mut deeds, one % count, other % count);
        }
        let mut said: Vec<&Deed> = deeds.iter().collect();
        said.retain(|deed| !matches!(deed.act, Act::Read(None)));
        let expected = if has_an_order(&said, (0, "")) { Found::Order } else { Found::None };
        prop_assert_eq!(search(&deeds, CONFIGURATIONS), expected);
    }
}
