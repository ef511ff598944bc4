//! The end of a life in order: everything beyond base goes back, and the next life is told of base. A core.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    super::{
        super::{
            clock::Clock,
            message::{AskItem, Past, QuotaAsk},
            terms::Kind,
        },
        base::Base,
        moves::parting,
        remains::Remains,
    },
    Keeper,
};

/// The end of a life.
#[derive(Debug)]
pub struct Farewell {
    /// These are to be sent.
    pub asks: Vec<QuotaAsk>,
    /// What the node's next life is to know, if all of these were answered; none if this one had no base.
    pub remains: Option<Remains>,
}

impl Keeper {
    /// Hands back everything, with when what cools is free: for a node that stops in order and has no requests
    /// any more. Nothing can be charged afterwards.
    pub fn farewell(&mut self, clock: &impl Clock) -> Farewell {
        let now = clock.now();
        let mut items = BTreeMap::new();
        let mut stays = Vec::new();
        self.holder.for_each(|handle| {
            let key = &handle.0;
            key.cell.settle(key.form.pace, clock);
            let cooling = key.cell.cooling(key.form.pace, now);
            let held = key.cell.void();
            let (goes, stay) = parting(key, cooling, held.cool);
            let terms = key.terms();
            if terms.is_some_and(|(terms, _)| Remains::tells_of(&terms, &self.holder.params)) {
                stays.push((key.id, stay));
            }
            if key.extra() <= 0 {
                return;
            }
            let given = key.given.load(Relaxed);
            key.returned.store(given, Relaxed);
            let item = AskItem {
                key: key.id,
                terms: None,
                born: key.born,
                returned: given,
                lent: 0,
                want: given,
                window: match key.form.kind {
                    Kind::Sliding => 0,
                    Kind::Fixed => key.cell.newest_window(),
                },
                rate: 0,
                free: 0,
                given: 0,
                unit: 1,
                waits_ms: 0,
                cooling: goes,
                rests: None,
            };
            items.insert(key.id, (item, terms));
        });
        let base = self.base.clone();
        self.rows.clear();
        self.resting.clear();
        // Keys that are met from here on have no base.
        self.base = Base::new(self.holder.params);
        self.holder.base.store(Arc::new(self.base.clone()));
        let asks = self.asks(items.into_values().collect(), now);
        let life = Past {
            incarnation: self.who.incarnation,
            seq: self.seq,
            ended_ms: 0,
        };
        let mut remains = base.remains(life, now);
        if let Some(remains) = &mut remains {
            for (key, spans) in stays {
                remains.add(key, spans);
            }
        }
        Farewell { asks, remains }
    }
}
