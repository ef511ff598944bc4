//! What is promised of limits (docs/quota.md; docs/design.md, invariant 1), seen from outside and inside the nodes.
//!
//! In: charges, and what was seen of tokens ([`TokensSeen`]). Out: what broke, by the promise's name. `windows` is what
//! clients are promised; the others are why it holds, each checked where something changes: after every entry of the
//! ledger, every tick and every grant of a node, every charge.
//!
//! - [`windows`]: no window admits more than its limit;
//! - `conservation`: each token is in one place, and none is given that is not there;
//! - `booked`: no node acts on more than is booked for it;
//! - `spacing`: a token that was spent rests for a window;
//! - `whole`: and no other does: a denied request leaves nothing;
//! - `deadline`: what a lease says, and what its end takes back;
//! - `incarnation`: what a new life has, and when others have what the old one had;
//! - `repeated`: what was said before changes nothing;
//! - `books`: what all of these go by; `rests`: tokens that must not be given yet.

mod booked;
mod books;
mod conservation;
mod deadline;
mod incarnation;
mod repeated;
mod rests;
mod spacing;
#[cfg(test)]
mod tests;
mod whole;
pub(super) mod windows;

use std::{collections::BTreeSet, time::Duration};

use books::Books;
use meridian_cluster::quota::key::KeyId;
use meridian_config::name::NodeId;

use super::Breach;
use crate::workload::{History, TokensDeed, TokensSeen};

/// The promises' names.
pub(super) const WINDOWS: &str = "quota";
pub(super) const LEDGER: &str = "quota ledger";
pub(super) const BOOKED: &str = "quota booked";
pub(super) const REST: &str = "quota rest";
pub(super) const WHOLE: &str = "quota all or none";
pub(super) const LEASES: &str = "quota leases";
pub(super) const LIVES: &str = "quota lives";
pub(super) const REPEATS: &str = "quota repeats";

/// Looks at limits while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    windows: windows::Watch,
    tokens: Tokens,
}

impl Watch {
    /// `now`: until when no further charge can come.
    pub(super) fn look(
        &mut self,
        history: &History,
        now: Duration,
    ) -> Vec<(&'static str, Vec<Breach>)> {
        let mut found = self.tokens.look(history);
        found.push((WINDOWS, self.windows.look(history, now)));
        found
    }
}

/// How often each promise was put to the test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Changes of a key's record, and how many entries changed one.
    pub changes: u64,
    /// What a node held of a key was compared with what is booked.
    pub compared: u64,
    /// Charges whose node's cooling tokens were counted.
    pub rested: u64,
    /// The same, the other way, at ticks.
    pub settled: u64,
    /// Charges after a lease's end, and ends of leases by the ledger.
    pub late: u64,
    /// The latter.
    pub lapses: u64,
    /// Lives that were over and held something, and charges to lives after a node's first.
    pub lives: u64,
    /// The latter.
    pub charged: u64,
    /// Asks that were answered, and messages that were heard again.
    pub answered: u64,
    /// The latter.
    pub again: u64,
}

/// How often each promise about tokens was put to the test in a run that is over; it is counted once.
pub(super) fn tried(history: &History) -> Tried {
    *history.tried.get_or_init(|| count(history))
}

fn count(history: &History) -> Tried {
    let mut tokens = Tokens::default();
    tokens.look(history);
    tokens.tried
}

/// What breaks a promise.
#[derive(Debug)]
struct Wrong {
    name: &'static str,
    key: Option<KeyId>,
    says: String,
}

/// Looks at tokens.
#[derive(Debug, Default)]
struct Tokens {
    seen: usize,
    books: Books,
    conservation: conservation::Conservation,
    deadline: deadline::Deadline,
    incarnation: incarnation::Incarnation,
    repeated: repeated::Repeated,
    tried: Tried,
    /// Each is told once for a node and a key.
    told: BTreeSet<(&'static str, NodeId, Option<KeyId>)>,
}

impl Tokens {
    fn look(&mut self, history: &History) -> Vec<(&'static str, Vec<Breach>)> {
        let mut found = Vec::new();
        for seen in &history.tokens[self.seen..] {
            for Wrong { name, key, says } in self.judge(history, seen) {
                if self.told.insert((name, seen.node.clone(), key)) {
                    found.push((name, vec![Breach { at: seen.at, says }]));
                }
            }
        }
        self.seen = history.tokens.len();
        found
    }

    fn judge(&mut self, history: &History, seen: &TokensSeen) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let tried = &mut self.tried;
        match &seen.what {
            TokensDeed::Applied(applied) => {
                // Before the books follow: they have what was before.
                let (books, at) = (&self.books, seen.at);
                wrong.extend(self.conservation.judge(books, applied, tried));
                wrong.extend(self.deadline.reclaimed(books, at, applied, tried));
                wrong.extend(self.incarnation.passed_on(books, at, applied, tried));
                wrong.extend(self.repeated.answered(books, applied, tried));
                self.books.follow(history, seen);
            }
            TokensDeed::Apart { index } => wrong.push(Wrong {
                name: LEDGER,
                key: None,
                says: format!(
                    "the ledger's replica at {} is not as the first one was after entry {index}",
                    seen.node
                ),
            }),
            what => {
                self.books.follow(history, seen);
                let books = &self.books;
                match what {
                    TokensDeed::Holds {
                        holdings,
                        settled,
                        clock_ms,
                    } => {
                        // A tick that goes on has noticed that nothing stood still.
                        if *settled || !books.stood_still(&seen.node, seen.at, *clock_ms) {
                            wrong.extend(booked::judge(books, &seen.node, holdings, tried));
                        }
                        if *settled {
                            let at = seen.at;
                            wrong.extend(whole::judge(books, at, &seen.node, holdings, tried));
                        }
                    }
                    TokensDeed::Charged { nth, .. } if !history.charges[*nth].back => {
                        if let Some(charge) = books::Charged::of(history, seen) {
                            wrong.extend(spacing::judge(books, &charge, tried));
                            wrong.extend(deadline::late(books, &charge, tried));
                            wrong.extend(incarnation::early(books, &charge, tried));
                        }
                    }
                    TokensDeed::Granted {
                        again: Some(changes),
                        ..
                    } => wrong.extend(repeated::heard(&seen.node, changes, tried)),
                    _ => {}
                }
            }
        }
        wrong
    }
}
