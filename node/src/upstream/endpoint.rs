//! One endpoint as all workers of a node see it: how loaded it is, and whether it takes requests.
//!
//! Enters: tickets taken and outcomes told by [`super::Client`]s, checks by [`super::check`]. Leaves: the
//! load and the admission. Core: [`super::health`]. In the good state nothing here locks.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, uri::Authority};
use meridian_config::document;
use tokio::sync::watch;

use super::health::{Admission, Health, Outcome, Rules, Sign};

/// An endpoint of the own region.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Tells it from every other endpoint of this node's life.
    pub(crate) number: u64,
    /// Where it is.
    pub(crate) address: document::Endpoint,
    /// `host:port` as requests name it (without the scheme's own port).
    pub(crate) authority: Authority,
    /// The same as a header.
    pub(crate) host: HeaderValue,
    in_flight: AtomicU32,
    health: Mutex<Health>,
    /// The health's admission, for readers that must not lock: 0 open, `u64::MAX` closed, else the
    /// milliseconds after `origin` from which a trial is due.
    admission: AtomicU64,
    troubled: AtomicBool,
    /// Out because nothing is heard of it.
    silent: AtomicBool,
    /// It was well once, or nobody checks it.
    proven: AtomicBool,
    origin: Instant,
    /// Told when the admission changes, or it is proven, so that the node announces it.
    changes: Arc<watch::Sender<u64>>,
}

impl Endpoint {
    /// `None` for a host name that cannot stand in a request.
    pub(crate) fn new(
        number: u64,
        address: document::Endpoint,
        rules: Rules,
        changes: Arc<watch::Sender<u64>>,
        now: Instant,
    ) -> Option<Self> {
        let host = if address.host.contains(':') {
            format!("[{}]", address.host)
        } else {
            address.host.clone()
        };
        let own_port = if address.tls { 443 } else { 80 };
        let text = if address.port == own_port {
            host
        } else {
            format!("{host}:{}", address.port)
        };
        Some(Self {
            number,
            authority: text.parse().ok()?,
            host: HeaderValue::from_str(&text).ok()?,
            address,
            in_flight: AtomicU32::new(0),
            health: Mutex::new(Health::new(rules)),
            admission: AtomicU64::new(OPEN),
            troubled: AtomicBool::new(rules.checked),
            silent: AtomicBool::new(false),
            proven: AtomicBool::new(!rules.checked),
            origin: now,
            changes,
        })
    }

    /// How many requests are in flight; `None` where it takes none now.
    pub(crate) fn load(&self, now: Instant) -> Option<u32> {
        let load = self.in_flight.load(Relaxed);
        (self.admits(now) && load < MOST_IN_FLIGHT).then_some(load)
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether it is at its bound of requests in flight.
    pub(crate) fn full(&self) -> bool {
        self.in_flight.load(Relaxed) >= MOST_IN_FLIGHT
    }

    /// Whether it takes all requests (an endpoint on trial does not).
    pub(crate) fn healthy(&self) -> bool {
        self.admission.load(Relaxed) == OPEN
    }

    /// Whether it was well once, or nobody checks it. Those that are not yet come after all that are, here and elsewhere.
    pub(crate) fn proven(&self) -> bool {
        self.proven.load(Relaxed)
    }

    /// A place for one request; `None` where another request has taken the trial.
    pub(crate) fn ticket(self: &Arc<Self>, now: Instant) -> Option<Ticket> {
        let trial = !self.healthy();
        if trial && !self.change(|health| health.begin_trial(now)) {
            return None;
        }
        Some(self.hand_out(if trial {
            Mission::Trial
        } else {
            Mission::Plain
        }))
    }

    /// How many requests are in flight, where it is out because nothing is heard of it and has room for a request as
    /// a last resort: few, since each may wait for as long as a connection takes.
    pub(crate) fn last_resort_load(&self) -> Option<u32> {
        let load = self.in_flight.load(Relaxed);
        (self.silent.load(Relaxed) && load < MOST_AS_LAST_RESORT).then_some(load)
    }

    /// A place for one request as a last resort.
    pub(crate) fn last_resort_ticket(self: &Arc<Self>) -> Option<Ticket> {
        self.last_resort_load()?;
        Some(self.hand_out(Mission::LastResort))
    }

    fn hand_out(self: &Arc<Self>, mission: Mission) -> Ticket {
        self.in_flight.fetch_add(1, Relaxed);
        Ticket {
            endpoint: Arc::clone(self),
            mission,
            told: false,
        }
    }

    /// A check ended.
    pub(crate) fn checked(&self, sign: Sign, now: Instant) {
        self.change(|health| health.check(sign, now));
    }

    /// New rules from a new revision.
    pub(crate) fn adopt(&self, rules: Rules, now: Instant) {
        self.change(|health| health.adopt(rules, now));
    }

    fn admits(&self, now: Instant) -> bool {
        match self.admission.load(Relaxed) {
            OPEN => true,
            CLOSED => false,
            from => from <= self.since(now),
        }
    }

    fn since(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(CLOSED)
    }

    fn change<T>(&self, act: impl FnOnce(&mut Health) -> T) -> T {
        // A panic inside the core is a bug of ours; its numbers stay usable.
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut health);
        let admission = match health.admission() {
            Admission::Open => OPEN,
            Admission::Closed => CLOSED,
            // Rounded up, so that a trial that looks due is due.
            Admission::TrialFrom(from) => self
                .since(from + Duration::from_micros(999))
                .clamp(OPEN + 1, CLOSED - 1),
        };
        self.troubled.store(health.troubled(), Relaxed);
        self.silent.store(health.silent(), Relaxed);
        let proves = !self.proven.swap(health.proven(), Relaxed) && health.proven();
        let before = self.admission.swap(admission, Relaxed);
        drop(health);
        if proves || (before == OPEN) != (admission == OPEN) {
            tracing::trace!(
                target: "meridian::decision",
                endpoint = %self.authority,
                healthy = admission == OPEN,
                proves,
                "endpoint health changed"
            );
            self.changes.send_modify(|count| *count += 1);
        }
        result
    }
}

/// A request's place at an endpoint: counted while it lives.
#[derive(Debug)]
pub(crate) struct Ticket {
    endpoint: Arc<Endpoint>,
    mission: Mission,
    told: bool,
}

/// Why a request goes to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mission {
    /// It takes all requests.
    Plain,
    /// To see whether it does again.
    Trial,
    /// There is nothing better.
    LastResort,
}

impl Ticket {
    /// Whose place it is.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Says how the try went; only the first word counts.
    pub(crate) fn tell(&mut self, outcome: Outcome, now: Instant) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let plain_news = outcome != Outcome::Good || self.endpoint.troubled.load(Relaxed);
        match self.mission {
            Mission::Trial => self
                .endpoint
                .change(|health| health.end_trial(Some(outcome), now)),
            Mission::LastResort => self.endpoint.change(|health| health.last_resort(outcome)),
            Mission::Plain if plain_news => {
                self.endpoint.change(|health| health.request(outcome, now));
            }
            Mission::Plain => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
        if self.mission == Mission::Trial && !self.told {
            let now = tokio::time::Instant::now().into_std();
            self.endpoint.change(|health| health.end_trial(None, now));
        }
    }
}

const OPEN: u64 = 0;
const CLOSED: u64 = u64::MAX;

/// More than one endpoint serves at once, and less than what exhausts the node's file descriptors. Past
/// it the endpoint is passed over; with all of them full the request is refused as overload.
const MOST_IN_FLIGHT: u32 = 4096;

/// At an endpoint of which nothing is heard. Where it is dead, so many requests wait for a connection at a time, and the
/// others are refused at once.
const MOST_AS_LAST_RESORT: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(checked: bool) -> Arc<Endpoint> {
        let address = document::Endpoint {
            tls: false,
            host: "10.0.0.1".into(),
            port: 8000,
        };
        let rules = Rules {
            checked,
            healthy_after: 1,
            unhealthy_after: 1,
        };
        let now = tokio::time::Instant::now().into_std();
        let changes = Arc::new(watch::Sender::new(0));
        Arc::new(Endpoint::new(1, address, rules, changes, now).expect("the host is an address"))
    }

    #[test]
    fn tickets_are_the_load_while_they_live() {
        let endpoint = endpoint(true);
        let now = endpoint.origin;
        let first = endpoint.ticket(now);
        let second = endpoint.ticket(now);
        assert_eq!(endpoint.load(now), Some(2));
        drop((first, second));
        assert_eq!(endpoint.load(now), Some(0));
    }

    #[test]
    fn a_failure_closes_it_for_all_and_is_told_to_who_announces() {
        let endpoint = endpoint(true);
        let now = endpoint.origin;
        assert!(!endpoint.proven());
        endpoint.checked(Sign::Good, now);
        assert!(endpoint.proven());
        let changes = endpoint.changes.subscribe();
        let told = *changes.borrow();
        endpoint
            .ticket(now)
            .expect("it is open")
            .tell(Outcome::Failed, now);
        assert_eq!(endpoint.load(now), None);
        assert!(!endpoint.healthy());
        assert_eq!(*changes.borrow(), told + 1);
        endpoint.checked(Sign::Good, now);
        assert!(endpoint.healthy());
        assert_eq!(*changes.borrow(), told + 2);
    }

    #[test]
    fn a_trial_is_one_request_and_dropping_it_frees_it() {
        let endpoint = endpoint(false);
        let start = endpoint.origin;
        endpoint
            .ticket(start)
            .expect("it is open")
            .tell(Outcome::Failed, start);
        assert!(endpoint.ticket(start).is_none());
        let later = start + Duration::from_secs(6);
        assert_eq!(endpoint.load(later), Some(0));
        let mut trial = endpoint.ticket(later).expect("a trial is due");
        assert_eq!(endpoint.load(later), None);
        trial.tell(Outcome::Good, later);
        assert!(endpoint.healthy());
    }

    #[test]
    fn as_a_last_resort_a_silent_endpoint_takes_a_few_requests_and_one_that_refuses_none() {
        let endpoint = endpoint(true);
        let now = endpoint.origin;
        assert!(endpoint.last_resort_ticket().is_none(), "it is well");
        endpoint.checked(Sign::Bad, now);
        assert!(endpoint.last_resort_ticket().is_none(), "it said no");
        endpoint.checked(Sign::Silence, now);
        let tickets: Vec<_> = std::iter::from_fn(|| endpoint.last_resort_ticket()).collect();
        assert_eq!(tickets.len(), 64);
        drop(tickets);
        let mut ticket = endpoint.last_resort_ticket().expect("there is room again");
        ticket.tell(Outcome::Good, now);
        assert!(!endpoint.healthy(), "checks decide");
    }

    #[test]
    fn the_schemes_own_port_is_not_named() {
        let plain = endpoint(false);
        assert_eq!(plain.authority, "10.0.0.1:8000");
        let address = document::Endpoint {
            tls: true,
            host: "2001:db8::1".into(),
            port: 443,
        };
        let changes = Arc::clone(&plain.changes);
        let rules = Rules {
            checked: false,
            healthy_after: 1,
            unhealthy_after: 1,
        };
        let secure =
            Endpoint::new(1, address, rules, changes, plain.origin).expect("it is an address");
        assert_eq!(secure.authority, "[2001:db8::1]");
    }
}
