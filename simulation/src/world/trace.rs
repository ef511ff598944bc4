//! What happened, hashed: two runs of one seed must agree on every line.
//!
//! In: the network's events and the `meridian::decision` lines of the code under test, each with the
//! simulated time. Out: one BLAKE3 hash, and the lines themselves where a file was asked for. Lines hold
//! times, lengths and decisions; packets' contents differ between runs (the TLS library also draws
//! from the processor) and must never stand here.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{Event, Subscriber, field::Visit};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::heap;

/// The trace of a run. Clones are one trace.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hasher: blake3::Hasher,
    /// Lines that are not hashed yet: many at once hash faster.
    unhashed: Vec<u8>,
    lines: u64,
    file: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
    now: Duration,
    /// Whose turn it is.
    machine: Arc<str>,
    /// What every line begins with until the next turn; empty until the first of them.
    head: String,
    line: String,
    listener: Option<Listener>,
}

type Listener = Box<dyn FnMut(&Decision<'_>) + Send>;

/// One decision of the code under test.
#[derive(Debug)]
pub struct Decision<'a> {
    /// When, since the run's start.
    pub at: Duration,
    /// Which machine took it.
    pub machine: &'a str,
    /// Its fields as `name=value` pairs in the order they were written, the message first.
    pub text: &'a str,
}

impl Trace {
    /// An empty trace; `file` takes its lines as text.
    pub fn new(file: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                hasher: blake3::Hasher::new(),
                unhashed: Vec::new(),
                lines: 0,
                file,
                failed: None,
                now: Duration::ZERO,
                machine: Arc::from("world"),
                head: String::new(),
                line: String::new(),
                listener: None,
            })),
        }
    }

    /// Hands every later decision to `listener` too.
    pub fn listen(&self, listener: impl FnMut(&Decision<'_>) + Send + 'static) {
        self.inner().listener = Some(Box::new(listener));
    }

    /// Sets the time and the machine that later lines carry.
    pub fn turn(&self, now: Duration, machine: &Arc<str>) {
        let mut inner = self.inner();
        inner.now = now;
        if !Arc::ptr_eq(&inner.machine, machine) {
            inner.machine = Arc::clone(machine);
        }
        inner.head.clear();
    }

    /// Adds a line of the world's own.
    pub fn line(&self, text: fmt::Arguments<'_>) {
        let mut inner = self.inner();
        inner.begin();
        inner
            .line
            .write_fmt(text)
            .expect("formatting into a String cannot fail");
        inner.end();
    }

    /// The hash of all lines so far, and their number.
    pub fn digest(&self) -> (String, u64) {
        let mut inner = self.inner();
        inner.hash();
        (inner.hasher.finalize().to_hex().to_string(), inner.lines)
    }

    /// Writes what is still buffered, and says whether the file took every line.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if let Some(failed) = inner.failed.take() {
            return Err(failed);
        }
        inner.file.as_mut().map_or(Ok(()), |file| file.flush())
    }

    /// A layer that adds the decisions of the code under test to this trace.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let listens = |metadata: &tracing::Metadata<'_>| metadata.target() == DECISIONS;
        DecisionLayer(self.clone()).with_filter(tracing_subscriber::filter::filter_fn(listens))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

impl Inner {
    fn begin(&mut self) {
        if self.head.is_empty() {
            let (seconds, micros) = (self.now.as_secs(), self.now.subsec_micros());
            let machine = &self.machine;
            write!(self.head, "{seconds}.{micros:06} {machine} ")
                .expect("formatting into a String cannot fail");
        }
        self.line.clear();
        self.line.push_str(&self.head);
    }

    fn hash(&mut self) {
        self.hasher.update(&self.unhashed);
        self.unhashed.clear();
    }

    fn end(&mut self) {
        self.line.push('\n');
        self.lines += 1;
        self.unhashed.extend_from_slice(self.line.as_bytes());
        if self.unhashed.len() >= HASHED_AT_ONCE {
            self.hash();
        }
        if let Some(file) = &mut self.file
            && self.failed.is_none()
        {
            self.failed = file.write_all(self.line.as_bytes()).err();
        }
    }
}

/// Bytes of lines that are hashed together: enough for the widest of BLAKE3's vector code (16 chunks of 1 KiB).
const HASHED_AT_ONCE: usize = 16 * 1024;

/// The target of decision lines.
const DECISIONS: &str = "meridian::decision";

struct DecisionLayer(Trace);

impl<S: Subscriber> Layer<S> for DecisionLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut inner = self.0.inner();
        let inner = &mut *inner;
        inner.begin();
        let head = inner.line.len();
        event.record(&mut Fields(&mut inner.line));
        if let Some(listener) = &mut inner.listener {
            let decision = Decision {
                at: inner.now,
                machine: &inner.machine,
                text: inner.line[head..].trim_end(),
            };
            heap::outside(|| listener(&decision));
        }
        inner.end();
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.0, "{value:?} ")
        } else {
            write!(self.0, "{}={value:?} ", field.name())
        };
        written.expect("formatting into a String cannot fail");
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn decisions_and_only_decisions_reach_hash_and_listener() {
        let trace = Trace::new(None);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = heard.clone();
        trace.listen(move |decision| {
            hear.lock()
                .unwrap()
                .push(format!("{} {}", decision.machine, decision.text));
        });
        trace.turn(Duration::from_millis(5), &Arc::from("eu-west-1"));
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(trace.layer()),
            || {
                tracing::trace!(target: "meridian::decision", term = 3, "vote");
                tracing::error!("not a decision");
            },
        );
        assert_eq!(*heard.lock().unwrap(), ["eu-west-1 vote term=3"]);
        let (hash, lines) = trace.digest();
        assert_eq!(lines, 1);
        let line = b"0.005000 eu-west-1 vote term=3 \n";
        assert_eq!(hash, blake3::hash(line).to_hex().to_string());
    }
}
