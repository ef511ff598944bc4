//! What is said, as asks: items by document, and whether what was spent fits a split that is new. A core.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        super::{
            clock::Now,
            message::{AskItem, ITEMS, QuotaAsk, TERMS},
            terms::Terms,
        },
        row::nanoseconds,
    },
    Keeper,
};

/// What is known of whether what cools here fits a split that is new to this node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fits {
    /// To be looked at then, in nanoseconds, and so much later if it does not.
    Look { at: u64, pause: Duration },
    /// It does, as was said first in this ask.
    Said(u64),
}

/// An item, and of what is known here its terms and the document that they are from.
pub(super) type Said = (AskItem, Option<(Terms, u64)>);

impl Keeper {
    /// Puts items into as many asks as it takes, at least one. An ask has terms of one document.
    pub(super) fn asks(&mut self, mut items: Vec<Said>, now: Now) -> Vec<QuotaAsk> {
        self.sent = Some(now.monotonic.0);
        let newest = self.holder.as_of();
        let document = |terms: &Option<(Terms, u64)>| terms.map_or(newest, |(_, as_of)| as_of);
        items.sort_by_key(|(_, terms)| document(terms));
        let first = items.first().map_or(newest, |(_, terms)| document(terms));
        let mut asks = vec![self.ask(first, now)];
        let mut table: BTreeMap<Terms, u16> = BTreeMap::new();
        for (mut item, terms) in items {
            let as_of = document(&terms);
            let full = asks.last().is_none_or(|ask| {
                ask.items.len() >= ITEMS_OF_AN_ASK || table.len() >= TERMS || ask.as_of != as_of
            });
            if full {
                table.clear();
                asks.push(self.ask(as_of, now));
            }
            let Some(ask) = asks.last_mut() else {
                break;
            };
            item.terms = terms.map(|(terms, _)| {
                *table.entry(terms).or_insert_with(|| {
                    ask.terms.push(terms);
                    u16::try_from(ask.terms.len() - 1).unwrap_or(u16::MAX)
                })
            });
            ask.items.push(item);
        }
        // An item counts as answered with the last of them.
        let first = asks.first().map_or(self.seq, |ask| ask.seq);
        if let Some(rows) = (self.seq > first).then_some(&mut self.rows) {
            for ask in &asks {
                for item in &ask.items {
                    if let Some(row) = rows.get_mut(&item.key) {
                        row.said_in(ask.seq);
                    }
                    if let Some(stranger) = self.strangers.get_mut(&item.key) {
                        stranger.said = Some((ask.seq, now.monotonic.0));
                    }
                }
            }
        }
        asks
    }

    pub(super) fn ask(&mut self, as_of: u64, now: Now) -> QuotaAsk {
        self.seq += 1;
        let fits = self.fits(now);
        QuotaAsk {
            node: self.who.node.clone(),
            incarnation: self.who.incarnation,
            seq: self.seq,
            sent_ms: now.monotonic.0 / 1_000_000,
            as_of,
            seats: self.base.seats(),
            fits,
            terms: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Whether of every key no more cools than base and what is held beyond; false once that was said and heard.
    fn fits(&mut self, now: Now) -> bool {
        let (at, pause) = match self.fits {
            None => return false,
            Some(Fits::Said(_)) => return true,
            Some(Fits::Look { at, pause }) => (at, pause),
        };
        if now.monotonic.0 < at {
            return false;
        }
        let mut fits = true;
        self.holder.for_each(|handle| {
            let key = &handle.0;
            let holds = i64::from(key.cell.base()) + i64::from(key.extra());
            fits &= i64::from(key.cell.held().cool) <= holds;
        });
        let fits = fits || self.holder.params.planted.always_fits;
        self.fits = Some(match fits {
            true => Fits::Said(self.seq),
            false => Fits::Look {
                at: now.monotonic.0 + nanoseconds(pause),
                pause: (pause * 2).min(LOOK_MOST),
            },
        });
        fits
    }
}

/// All keys are looked at for whether they fit a new split again so much later, then twice as late each time.
pub(super) const LOOK: Duration = Duration::from_secs(1);
const LOOK_MOST: Duration = Duration::from_secs(60);

/// Items of an ask: half of what a message takes at most, since an item may have many spans.
const ITEMS_OF_AN_ASK: usize = ITEMS / 2;
