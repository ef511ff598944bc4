//! Which of several endpoints takes a request: power of two choices, or each in turn.
//!
//! In: how loaded each is (`None`: it takes nothing now). Out: the position of one. Shell:
//! [`super::Client`]. Two random ones and the less loaded of them come close to the least loaded of
//! all, without every worker rushing to the same one (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001).

use meridian_config::document::Balance;

/// Picks one of `count` endpoints. `load` says how busy each is; `draw` picks a number below its
/// argument; `turn` is the caller's, and is moved on by each round-robin pick.
pub(crate) fn pick(
    balance: Balance,
    count: usize,
    load: impl Fn(usize) -> Option<u32>,
    draw: &mut dyn FnMut(usize) -> usize,
    turn: &mut usize,
) -> Option<usize> {
    match balance {
        Balance::LeastLoaded => less_loaded_of_two(count, load, draw),
        Balance::RoundRobin => {
            let found = (0..count)
                .map(|step| (*turn + step) % count)
                .find(|at| load(*at).is_some())?;
            *turn = (found + 1) % count;
            Some(found)
        }
    }
}

fn less_loaded_of_two(
    count: usize,
    load: impl Fn(usize) -> Option<u32>,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Option<usize> {
    // The loads may change between the passes (other workers send too), so the second pass copes with
    // finding fewer than the first one counted.
    let nth = |wanted: usize| {
        (0..count)
            .filter_map(|at| load(at).map(|load| (load, at)))
            .nth(wanted)
    };
    match (0..count).filter(|at| load(*at).is_some()).count() {
        0 => None,
        1 => nth(0).map(|(_, at)| at),
        open => {
            let first = draw(open);
            let second = (first + 1 + draw(open - 1)) % open;
            match (nth(first), nth(second)) {
                (Some(one), Some(other)) => Some(if other.0 < one.0 { other.1 } else { one.1 }),
                (one, other) => one.or(other).map(|(_, at)| at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(numbers: Vec<usize>) -> impl FnMut(usize) -> usize {
        let mut numbers = numbers.into_iter().cycle();
        move |bound| numbers.next().map_or(0, |number| number % bound)
    }

    #[test]
    fn of_two_the_less_loaded_is_picked_whichever_is_drawn_first() {
        for first in 0..2 {
            let loads = [Some(5), Some(1)];
            let picked = pick(
                Balance::LeastLoaded,
                2,
                |at| loads[at],
                &mut drawn(vec![first]),
                &mut 0,
            );
            assert_eq!(picked, Some(1));
        }
    }

    #[test]
    fn in_turn_skips_what_takes_nothing() {
        let loads = [Some(0), None, Some(0)];
        let mut turn = 0;
        let picks: Vec<_> = (0..4)
            .filter_map(|_| {
                pick(
                    Balance::RoundRobin,
                    3,
                    |at| loads[at],
                    &mut |_| 0,
                    &mut turn,
                )
            })
            .collect();
        assert_eq!(picks, [0, 2, 0, 2]);
    }

    proptest! {
        #[test]
        fn a_pick_is_open_and_never_the_most_loaded_where_loads_differ(
            loads in proptest::collection::vec(proptest::option::of(0..50_u32), 0..12),
            numbers in proptest::collection::vec(any::<usize>(), 1..8),
        ) {
            let picked = pick(
                Balance::LeastLoaded, loads.len(), |at| loads[at], &mut drawn(numbers), &mut 0,
            );
            let mut open: Vec<u32> = loads.iter().flatten().copied().collect();
            open.sort_unstable();
            match picked {
                None => prop_assert!(open.is_empty()),
                Some(at) => {
                    let load = loads[at].expect("an open one is picked");
                    if open.len() > 1 && open[open.len() - 2] < open[open.len() - 1] {
                        prop_assert!(load < open[open.len() - 1]);
                    }
                }
            }
        }

        #[test]
        fn in_turn_serves_all_open_ones_equally(
            open in proptest::collection::vec(any::<bool>(), 1..9),
            rounds in 1..5_usize,
        ) {
            let live = open.iter().filter(|open| **open).count();
            let mut counts = vec![0; open.len()];
            let mut turn = 0;
            for _ in 0..live * rounds {
                let at = pick(
                    Balance::RoundRobin, open.len(), |at| open[at].then_some(7), &mut |_| 0, &mut turn,
                ).expect("one is open");
                counts[at] += 1;
            }
            for (count, open) in counts.into_iter().zip(open) {
                prop_assert_eq!(count, if open { rounds } else { 0 });
            }
        }
    }
}
