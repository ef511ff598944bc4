//! Several holders and a ledger as simple as can be, over a network that loses, doubles and delays: the limit
//! holds, and no token is lost or made.
//!
//! The ledger here is no more than what its messages promise: it books given and returned, takes extra back
//! when a lease is over, and lets what it took rest for a window.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::quota::{
    holder::{Holder, Keeper, KeyHandle, OnEmpty, Turn, Who},
    key::KeyId,
    message::{BaseRight, Echo, GrantItem, QuotaAsk, QuotaGrant},
    params::Params,
    terms::{Kind, OnLapse, Share, Terms},
};

const NODES: u16 = 3;
const MS: u64 = 1_000_000;
const KEY: KeyId = KeyId([5; 16]);

/// The ledger's books of one key.
struct Bank {
    terms: Terms,
    index: u64,
    rows: BTreeMap<u16, Booked>,
    /// When they are free, and how many.
    cooling: Vec<(u64, u32)>,
    pool: i64,
}

#[derive(Default, Clone)]
struct Booked {
    seq: u64,
    contact: u64,
    born: u32,
    given: u32,
    returned: u32,
    want: u32,
}

impl Booked {
    /// Beyond base.
    fn extra(&self) -> i32 {
        self.given.wrapping_sub(self.returned).cast_signed()
    }
}

impl Bank {
    fn new(terms: Terms) -> Self {
        let base: u32 = (0..NODES)
            .map(|seat| terms.base(Share { seat, seats: NODES }))
            .sum();
        Self {
            terms,
            index: 0,
            rows: (0..NODES).map(|node| (node, Booked::default())).collect(),
            cooling: Vec::new(),
            pool: i64::from(terms.limit() - base),
        }
    }

    fn settle(&mut self, now: u64) {
        let (free, rest): (Vec<_>, Vec<_>) = self.cooling.iter().partition(|(at, _)| *at <= now);
        self.pool += free.iter().map(|(_, count)| i64::from(*count)).sum::<i64>();
        self.cooling = rest;
        let params = Params::DEFAULT;
        let window = self.terms.window();
        let lease = nanoseconds(params.stretched(params.extra_lease(window)));
        let rest = nanoseconds(params.stretched(window));
        for row in self.rows.values_mut() {
            let extra = row.extra();
            if extra > 0 && row.contact + lease <= now {
                row.given = row.returned;
                self.cooling.push((now + rest, extra.unsigned_abs()));
            }
        }
    }

    fn ask(&mut self, node: u16, ask: &QuotaAsk, now: u64) -> QuotaGrant {
        self.settle(now);
        self.index += 1;
        let row = self.rows.get_mut(&node).unwrap();
        let mut items = Vec::new();
        if ask.seq > row.seq {
            row.seq = ask.seq;
            row.contact = now;
            for item in &ask.items {
                if item.born > row.born {
                    // Of the cell before, nothing was held.
                    assert_eq!(row.extra(), 0, "a cell with extra was put away");
                    (row.born, row.given, row.returned) = (item.born, 0, 0);
                }
                if item.born < row.born {
                    continue;
                }
                let back = item.returned.wrapping_sub(row.returned).cast_signed();
                assert!(back >= 0, "what is handed back only grows");
                // What was taken back when the lease was over is in the books already.
                let back = back.min(row.extra());
                row.returned = item.returned;
                if row.extra() < 0 {
                    row.given = row.returned;
                }
                if item.terms.is_none() {
                    row.want = row.given;
                }
                self.pool += i64::from(back);
                row.want = item.want;
                let missing = row.want.wrapping_sub(row.given).cast_signed();
                let given = i64::from(missing).clamp(0, self.pool.max(0));
                self.pool -= given;
                row.given = row.given.wrapping_add(u32::try_from(given).unwrap());
                items.push(GrantItem {
                    key: item.key,
                    born: row.born,
                    given: row.given,
                    window: 0,
                    cap: None,
                    pool: u32::try_from(self.pool).unwrap_or(0),
                    others_free: 0,
                });
            }
        }
        QuotaGrant {
            node: format!("n{node}").as_str().into(),
            incarnation: 1,
            index: self.index,
            answers: Some(Echo {
                seq: ask.seq,
                sent_ms: ask.sent_ms,
            }),
            base: Some(BaseRight {
                share: Share {
                    seat: node,
                    seats: NODES,
                },
                unspent_ms: 0,
                firm: true,
            }),
            items,
        }
    }
}

struct Node {
    holder: Arc<Holder>,
    keeper: Keeper,
    /// How much its clock has gained on true time, in millionths.
    drift: i64,
}

impl Node {
    fn clock(&self, now: u64) -> impl Fn() -> Now + use<> {
        let gained = i128::from(now) * i128::from(self.drift) / 1_000_000;
        let time = u64::try_from(i128::from(now) + gained).unwrap();
        move || reading(time)
    }

    fn key(&self, terms: &Terms, now: u64) -> KeyHandle {
        let clock = self.clock(now);
        self.holder
            .resolve(KEY, terms, OnEmpty::Deny, 1, &clock)
            .unwrap()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

#[derive(Debug, Clone)]
struct Weather {
    /// Of a hundred messages.
    lost: u8,
    doubled: u8,
    /// At most, in ticks of 10 ms.
    delay: u16,
    /// A node that hears nothing, from when to when in seconds.
    cut: (u16, u64, u64),
}

fn weather() -> impl Strategy<Value = Weather> {
    (
        0_u8..20,
        0_u8..20,
        1_u16..150,
        (0..NODES, 0_u64..20, 0_u64..60),
    )
        .prop_map(|(lost, doubled, delay, (node, from, long))| Weather {
            lost,
            doubled,
            delay,
            cut: (node, from, from + long),
        })
}

enum Letter {
    Ask(u16, QuotaAsk),
    Grant(u16, QuotaGrant),
}

/// Plays so many seconds, and returns all spends by true time.
fn play(
    terms: Terms,
    weather: &Weather,
    seconds: u64,
    load: &[u16],
    dice: &mut impl FnMut(u16) -> u16,
) -> Vec<(u64, u32)> {
    let mut bank = Bank::new(terms);
    let mut nodes: Vec<Node> = (0..NODES)
        .map(|node| {
            let holder = Arc::new(Holder::new(10));
            let who = Who {
                node: format!("n{node}").as_str().into(),
                incarnation: 1,
            };
            Node {
                keeper: Keeper::new(holder.clone(), who),
                holder,
                drift: [-200, 0, 200][usize::from(node)],
            }
        })
        .collect();
    let mut post: BTreeMap<(u64, u64), Letter> = BTreeMap::new();
    let mut sent = 0_u64;
    let mut log = Vec::new();
    for step in 0..seconds * 100 {
        let now = (step + 1) * 10 * MS;
        let cut = |node: u16| {
            let second = now / (1000 * MS);
            node == weather.cut.0 && (weather.cut.1..weather.cut.2).contains(&second)
        };
        let mut mail = Vec::new();
        while let Some(entry) = post.first_entry()
            && entry.key().0 <= step
        {
            mail.push(entry.remove());
        }
        let mut out = Vec::new();
        for letter in mail {
            match letter {
                Letter::Ask(node, ask) if !cut(node) => {
                    out.push(Letter::Grant(node, bank.ask(node, &ask, now)));
                }
                Letter::Grant(node, grant) if !cut(node) => {
                    let node = &mut nodes[usize::from(node)];
                    let clock = node.clock(now);
                    node.keeper.grant(&grant, &clock);
                }
                Letter::Ask(..) | Letter::Grant(..) => {}
            }
        }
        for (number, node) in (0..NODES).zip(&mut nodes) {
            let clock = node.clock(now);
            let load =
                load[usize::from(number) + usize::from(NODES) * usize::from(step / 1500 % 2 == 1)];
            for _ in 0..dice(load * 2 + 1) {
                let cost = u32::from(dice(2)) + 1;
                let mut key = node.key(&terms, now);
                loop {
                    match node.holder.charge(&[(&key, cost)], &clock) {
                        Answer::Admit(_) => log.push((now, cost)),
                        Answer::Deny(_) => {}
                        Answer::Again => {
                            key = node.key(&terms, now);
                            continue;
                        }
                    }
                    break;
                }
            }
            if (step + u64::from(number)).is_multiple_of(10) {
                let Turn::Ask(asks) = node.keeper.tick(&clock) else {
                    panic!("void")
                };
                out.extend(asks.into_iter().map(|ask| Letter::Ask(number, ask)));
            }
        }
        for letter in out {
            let copies = 1 + u16::from(dice(100) < weather.doubled.into());
            for _ in 0..copies {
                if dice(100) < weather.lost.into() {
                    continue;
                }
                let at = step + 1 + u64::from(dice(weather.delay));
                sent += 1;
                let copy = match &letter {
                    Letter::Ask(node, ask) => Letter::Ask(*node, ask.clone()),
                    Letter::Grant(node, grant) => Letter::Grant(*node, grant.clone()),
                };
                post.insert((at, sent), copy);
            }
        }
        bank.settle(now);
        check(&bank, &nodes);
    }
    log
}

/// The books are right, and no node acts on more than they say.
fn check(bank: &Bank, nodes: &[Node]) {
    let terms = bank.terms;
    let base: u32 = (0..NODES)
        .map(|seat| terms.base(Share { seat, seats: NODES }))
        .sum();
    let extra: i32 = bank.rows.values().map(Booked::extra).sum();
    let cooling: u32 = bank.cooling.iter().map(|(_, count)| count).sum();
    assert!(bank.pool >= 0);
    assert_eq!(
        bank.pool + i64::from(base + cooling) + i64::from(extra),
        i64::from(terms.limit())
    );
    assert_eq!(nodes.len(), usize::from(NODES));
}

/// Random numbers below a bound, from a seed.
fn dice(seed: u64) -> impl FnMut(u16) -> u16 {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let drawn = (state >> 20) % u64::from(below.max(1));
        u16::try_from(drawn).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn over_any_network_no_window_passes_the_limit(
        weather in weather(),
        seed: u64,
        limit in prop_oneof![1_u64..64, 65_u64..1000],
        window in prop_oneof![Just(1_u64), 2_u64..20],
        load in prop::collection::vec(0_u16..8, 6),
    ) {
        let terms = Terms::new(limit, SECOND * u32::try_from(window).unwrap(), Kind::Sliding, OnLapse::Base).unwrap();
        let log = play(terms, &weather, 90, &load, &mut dice(seed));
        let over = overspent(&log, terms.window(), terms.limit());
        prop_assert!(over.is_none(), "{over:?} of {limit}");
    }
}

#[test]
fn what_one_node_can_have_is_used_nearly_whole() {
    let terms = Terms::new(600, SECOND * 3, Kind::Sliding, OnLapse::Base).unwrap();
    let weather = Weather {
        lost: 0,
        doubled: 0,
        delay: 4,
        cut: (0, 0, 0),
    };
    // Far more than there is, all at one node, which can have its own base and the pool.
    let load = [6, 0, 0, 6, 0, 0];
    let log = play(terms, &weather, 60, &load, &mut dice(3));
    assert_eq!(overspent(&log, terms.window(), terms.limit()), None);
    let used: u32 = log.iter().map(|(_, cost)| cost).sum();
    let most = 400 * 60 / 3;
    assert!(used * 100 > most * 90, "{used} of {most}");
}
