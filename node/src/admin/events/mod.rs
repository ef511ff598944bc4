//! What happens on the cluster, kept for a while for those who listen.
//!
//! ```text
//! the node ─► follow (looks, compares) ─► Feed (the last events, numbered) ─► streams of api::events
//! ```
//!
//! - [`Feed`]: the ring of events, and the streams' bound;
//! - [`picture`]: what is compared, and what a difference means. A core;
//! - [`follow`]: the task that looks.

mod follow;
mod picture;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(super) use follow::follow;

use super::body::Event;

/// Events kept for readers that come back. A region that is lost and returns makes some dozens.
const KEPT: usize = 1024;

/// Streams at once. Each holds one of the admin listener's connections, which acts need too.
const STREAMS: usize = 64;

/// The last events of a node.
pub(crate) struct Feed {
    /// Tells this process' numbers from those of another node, or of this one before a restart.
    origin: u64,
    ring: Mutex<Ring>,
    /// The number after the last event; the sender goes when no more will come.
    next: Mutex<Option<watch::Sender<u64>>>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Ring {
    kept: VecDeque<Arc<Kept>>,
    /// The number of the first kept event.
    first: u64,
}

/// An event as it goes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Counts up by one from 0.
    pub(crate) number: u64,
    /// Its type's name.
    pub(crate) kind: &'static str,
    /// The [`Event`] as JSON on one line.
    pub(crate) json: String,
}

/// What a reader has not had yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Whether events between are gone.
    pub(crate) missed: bool,
    /// The next ones, in order.
    pub(crate) events: Vec<Arc<Kept>>,
}

impl Feed {
    /// An empty feed. `origin` differs from start to start and from node to node.
    pub(crate) fn new(origin: u64) -> Self {
        Self {
            origin,
            ring: Mutex::default(),
            next: Mutex::new(Some(watch::Sender::new(0))),
            places: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Adds an event; the oldest goes when there is no room.
    pub(crate) fn push(&self, event: &Event) {
        let json = serde_json::to_string(event).expect("our own types are valid JSON");
        let mut ring = self.ring();
        let number = ring.next();
        ring.kept.push_back(Arc::new(Kept {
            number,
            kind: event.what.kind(),
            json,
        }));
        if ring.kept.len() > KEPT {
            ring.kept.pop_front();
            ring.first += 1;
        }
        drop(ring);
        if let Some(next) = &*self.sender() {
            next.send_replace(number + 1);
        }
    }

    /// No more events: every stream ends.
    pub(crate) fn end(&self) {
        self.sender().take();
    }

    /// The number of the next event: where a new reader begins.
    pub(crate) fn next(&self) -> u64 {
        self.ring().next()
    }

    /// The events from that number on.
    pub(crate) fn from(&self, number: u64) -> Batch {
        let ring = self.ring();
        let skip = usize::try_from(number.saturating_sub(ring.first)).unwrap_or(usize::MAX);
        Batch {
            missed: number < ring.first,
            events: ring.kept.iter().skip(skip).cloned().collect(),
        }
    }

    /// Hears of new events; `None` when no more will come.
    pub(crate) fn listen(&self) -> Option<watch::Receiver<u64>> {
        self.sender().as_ref().map(watch::Sender::subscribe)
    }

    /// A place for one more stream, while there is one.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// The id of the event before that number, as `Last-Event-ID` brings it back.
    pub(crate) fn id_before(&self, number: u64) -> String {
        format!("{:x}-{number}", self.origin)
    }

    /// Where the reader with this `Last-Event-ID` goes on; `None` where the id is not this feed's.
    pub(crate) fn place_after(&self, id: &str) -> Option<u64> {
        let (origin, number) = id.split_once('-')?;
        let known = u64::from_str_radix(origin, 16) == Ok(self.origin);
        let number = number.parse().ok().filter(|_| known)?;
        (number <= self.next()).then_some(number)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> MutexGuard<'_, Option<watch::Sender<u64>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::body::Happening;

    fn serving(revision: u64) -> Event {
        Event {
            time: String::new(),
            what: Happening::Serving {
                node: "n".into(),
                revision,
            },
        }
    }

    #[test]
    fn a_reader_that_comes_back_goes_on_where_it_was() {
        let feed = Feed::new(0xab);
        let start = feed.id_before(feed.next());
        feed.push(&serving(1));
        feed.push(&serving(2));
        let place = feed.place_after(&start).unwrap();
        let batch = feed.from(place);
        assert!(!batch.missed);
        let numbers: Vec<_> = batch.events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, [0, 1]);
        assert_eq!(feed.place_after("ab-2"), Some(2));
        assert_eq!(
            feed.from(2),
            Batch {
                missed: false,
                events: Vec::new()
            }
        );
        for strange in ["ac-1", "ab-3", "ab", "ab-x", "", "-"] {
            assert_eq!(feed.place_after(strange), None, "{strange}");
        }
    }

    #[test]
    fn who_is_too_late_is_told_and_gets_what_is_kept() {
        let feed = Feed::new(1);
        for revision in 0..KEPT as u64 + 5 {
            feed.push(&serving(revision));
        }
        let batch = feed.from(4);
        assert!(batch.missed);
        assert_eq!((batch.events.len(), batch.events[0].number), (KEPT, 5));
        assert!(!feed.from(5).missed);
    }

    #[test]
    fn streams_are_bounded_and_end_with_the_feed() {
        let feed = Feed::new(1);
        let held: Vec<_> = std::iter::from_fn(|| feed.place()).collect();
        assert_eq!(held.len(), STREAMS);
        drop(held);
        assert!(feed.place().is_some());
        let listener = feed.listen().unwrap();
        feed.end();
        assert!(listener.has_changed().is_err());
        assert!(feed.listen().is_none());
        feed.push(&serving(1));
    }
}
