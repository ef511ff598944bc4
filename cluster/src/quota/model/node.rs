//! A node of the model: its clocks, and the real holder and keeper of its life.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    task::Context,
    task::Waker,
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};

use super::dice::Dice;
use crate::quota::{
    charge::{Answer, Denial},
    clock::{Clock, Monotonic, Now, Unix},
    holder::{Farewell, Holder, Holding, Keeper, KeyHandle, OnEmpty, Remains, Turn, Who},
    key::KeyId,
    message::{QuotaAsk, QuotaGrant},
    params::Params,
    terms::Terms,
};

/// The limits of a document, by key.
pub(super) type Document = BTreeMap<KeyId, Terms>;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) region: RegionName,
    /// How fast its monotonic clock runs, in millionths off.
    pub(super) drift: i64,
    /// How far its wall clock is off, in microseconds.
    pub(super) offset: i64,
    pub(super) born: u64,
    pub(super) incarnation: u64,
    /// The document on its disk.
    pub(super) as_of: u64,
    pub(super) cut: bool,
    pub(super) life: Option<Life>,
    /// On its disk, from an orderly end: what the next life is to know, and the asks that have no answer yet.
    left: Option<(Remains, BTreeSet<u64>)>,
}

/// One life of a node.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) holder: Arc<Holder>,
    keeper: Keeper,
    document: Document,
    pub(super) as_of: u64,
    /// Requests that find nothing wait so long.
    wait: Duration,
    /// It asks by chance.
    pub(super) wild: bool,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Decision {
    /// It may pass; of a fixed window in this one.
    Pass { terms: Terms, window: u64 },
    /// It may not.
    Deny(KeyHandle, Denial),
    /// Nothing limits it, or nobody is there.
    Unlimited,
}

/// How a life is begun.
#[derive(Debug, Clone)]
pub(super) struct Birth {
    pub(super) document: Document,
    pub(super) params: Params,
    pub(super) wait: Duration,
    pub(super) wild: bool,
}

impl Node {
    pub(super) fn new(id: String, region: &str, drift: i64, offset: i64) -> Self {
        Self {
            id: NodeId::new(id),
            region: RegionName::new(region),
            drift,
            offset,
            born: 0,
            incarnation: 0,
            as_of: 1,
            cut: false,
            life: None,
            left: None,
        }
    }

    /// Its clocks, at a true time in microseconds.
    pub(super) fn clock(&self, real: u64) -> impl Clock + Copy + use<> {
        let now = Now {
            monotonic: Monotonic((local(self.drift, real - self.born) + 1_000_000) * 1000),
            unix: Unix((UNIX + real).saturating_add_signed(self.offset) * 1000),
        };
        move || now
    }

    pub(super) fn begin(&mut self, birth: Birth, real: u64) {
        self.incarnation += 1;
        self.born = real;
        let holder = Arc::new(Holder::with(100, birth.params));
        let who = Who {
            node: self.id.clone(),
            incarnation: self.incarnation,
        };
        let remains = self
            .left
            .take()
            .filter(|(_, unanswered)| unanswered.is_empty());
        self.life = Some(Life {
            keeper: match remains {
                Some((remains, _)) => Keeper::after(holder.clone(), who, remains),
                None => Keeper::new(holder.clone(), who),
            },
            holder,
            document: birth.document,
            as_of: self.as_of,
            wait: birth.wait,
            wild: birth.wild,
        });
    }

    /// Takes in a document.
    pub(super) fn adopt(&mut self, as_of: u64, document: Document) {
        if as_of > self.as_of {
            self.as_of = as_of;
            if let Some(life) = &mut self.life {
                (life.as_of, life.document) = (as_of, document);
            }
        }
    }

    pub(super) fn decide(&self, key: KeyId, cost: u32, real: u64) -> Decision {
        let Some(life) = &self.life else {
            return Decision::Unlimited;
        };
        let Some(terms) = life.document.get(&key) else {
            return Decision::Unlimited;
        };
        let clock = self.clock(real);
        let on_empty = match life.wait.is_zero() {
            true => OnEmpty::Deny,
            false => OnEmpty::Wait(life.wait),
        };
        loop {
            let handle = life
                .holder
                .resolve(key, terms, on_empty, life.as_of, &clock);
            let handle = handle.expect("there are few keys");
            match life.holder.charge(&[(&handle, cost)], &clock) {
                Answer::Admit(_) => {
                    return Decision::Pass {
                        terms: *terms,
                        window: handle.newest_window(),
                    };
                }
                Answer::Deny(denial) => return Decision::Deny(handle, denial),
                Answer::Again => {}
            }
        }
    }

    /// What it holds.
    pub(super) fn holdings(&self, real: u64) -> Vec<Holding> {
        let now = self.clock(real).now();
        let life = self.life.as_ref();
        life.map_or(Vec::new(), |life| life.holder.holdings(now))
    }

    /// Whether it should not wait for its next tick.
    pub(super) fn hungry(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let life = self.life.as_ref();
        life.is_some_and(|life| life.holder.poll_hungry(&mut context).is_ready())
    }

    pub(super) fn tick(&mut self, real: u64, dice: &mut Dice) -> Vec<QuotaAsk> {
        let clock = self.clock(real);
        let Some(life) = &mut self.life else {
            return Vec::new();
        };
        let Turn::Ask(mut asks) = life.keeper.tick(&clock) else {
            panic!("no clock is set in the model");
        };
        if life.wild {
            asks.iter_mut().for_each(|ask| wild(ask, dice));
        }
        asks
    }

    pub(super) fn take(&mut self, grant: &QuotaGrant, real: u64) {
        let clock = self.clock(real);
        if let Some(life) = &mut self.life {
            life.keeper.grant(grant, &clock);
        } else if let (Some((_, unanswered)), Some(echo)) = (&mut self.left, grant.answers)
            && grant.incarnation == self.incarnation
        {
            unanswered.remove(&echo.seq);
        }
    }

    /// Ends its life in order.
    pub(super) fn leave(&mut self, real: u64) -> Vec<QuotaAsk> {
        let clock = self.clock(real);
        let Some(mut life) = self.life.take() else {
            return Vec::new();
        };
        let Farewell { asks, remains } = life.keeper.farewell(&clock);
        let unanswered = asks.iter().map(|ask| ask.seq).collect();
        self.left = remains.map(|remains| (remains, unanswered));
        asks
    }
}

/// What is asked by chance: it must not matter to what is promised.
fn wild(ask: &mut QuotaAsk, dice: &mut Dice) {
    for item in &mut ask.items {
        let number = |dice: &mut Dice, below| u32::try_from(dice.below(below)).expect("small");
        let limit = item.terms.and_then(|at| ask.terms.get(usize::from(at)));
        let limit = limit.map_or(1, |terms| u64::from(terms.limit()));
        if dice.chance(400) {
            item.want = item.want.wrapping_add(number(dice, limit + 1));
        }
        if dice.chance(400) {
            item.rate = number(dice, 1_000_000);
            item.free = number(dice, limit + 1);
            // As they come: dice that fall once more would be another play of each seed.
            item.unit = item.rate % 9;
            item.waits_ms = item.free * 30;
        }
    }
}

/// What a clock that drifts counts in a true time.
pub(super) fn local(drift: i64, real: u64) -> u64 {
    let off = i128::from(real) * i128::from(drift) / 1_000_000;
    u64::try_from(i128::from(real) + off).expect("drift is small")
}

/// The wall clock when the model begins, in microseconds.
pub(super) const UNIX: u64 = 1_000_000_000_000;
