//! Is this endpoint fit to serve?
//!
//! In: outcomes of checks and of requests, with `now`. Out: [`Admission`]. Shells: [`super::endpoint`]
//! (requests) and [`super::check`] (checks). Failed checks or failed requests in a row take an endpoint
//! out. Good checks bring it back where checks are configured; else one trial request at a time does,
//! after a pause that doubles while trials fail. An endpoint that is out because nothing was heard of it may be
//! tried as a last resort: it may be this node that was cut off. Where checks are configured, a new endpoint is proven by
//! its first good check or request; until then others go first.

use std::time::{Duration, Instant};

/// When an endpoint goes out and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whether checks run; without them only requests tell.
    pub(crate) checked: bool,
    /// Good checks in a row that bring it back.
    pub(crate) healthy_after: u32,
    /// Bad checks, or failed requests, in a row that take it out.
    pub(crate) unhealthy_after: u32,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It says that it is well.
    Good,
    /// It says that it is not.
    Bad,
    /// It says nothing.
    Silence,
}

/// How a request at this endpoint ended, as far as health cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered.
    Good,
    /// It answered 502, 503 or 504, or not in time.
    Gateway,
    /// No connection, a broken one, or no HTTP.
    Failed,
}

/// Whether the endpoint takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It does.
    Open,
    /// It takes one trial request from this instant on.
    TrialFrom(Instant),
    /// It takes none: checks decide, or a trial is on its way.
    Closed,
}

/// One endpoint's health.
#[derive(Debug)]
pub(crate) struct Health {
    rules: Rules,
    state: State,
    /// Failures in a row, of requests or checks.
    failed_checks: u32,
    failed_requests: u32,
    gateway_answers: u32,
    pause: Duration,
    /// The last look or request got no answer.
    silent: bool,
    /// It was well once, or nobody checks it.
    proven: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Healthy,
    Out {
        good_checks: u32,
        trial_from: Option<Instant>,
    },
    Trial,
}

impl Health {
    /// A new endpoint takes requests until checks or requests say otherwise.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Healthy,
            failed_checks: 0,
            failed_requests: 0,
            gateway_answers: 0,
            pause: FIRST_PAUSE,
            silent: false,
            proven: !rules.checked,
        }
    }

    /// Whether it takes requests.
    pub(crate) fn admission(&self) -> Admission {
        match self.state {
            State::Healthy => Admission::Open,
            State::Out {
                trial_from: Some(from),
                ..
            } => Admission::TrialFrom(from),
            State::Out {
                trial_from: None, ..
            }
            | State::Trial => Admission::Closed,
        }
    }

    /// Whether it is out because nothing is heard of it, rather than by its own word.
    pub(crate) fn silent(&self) -> bool {
        self.silent && self.state != State::Healthy
    }

    /// Whether anything is known of it: a node that has just started, or a document that has just named it, would
    /// otherwise send requests to one that hangs until its checks have failed.
    pub(crate) fn proven(&self) -> bool {
        self.proven
    }

    /// Whether a good request would change anything: callers skip telling it otherwise.
    pub(crate) fn troubled(&self) -> bool {
        self.state != State::Healthy
            || self.failed_requests > 0
            || self.gateway_answers > 0
            || !self.proven
    }

    /// New rules from a new revision. What is known stays known.
    pub(crate) fn adopt(&mut self, rules: Rules, now: Instant) {
        if self.rules == rules {
            return;
        }
        self.rules = rules;
        self.proven |= !rules.checked;
        if let State::Out { trial_from, .. } = &mut self.state {
            *trial_from = (!rules.checked).then_some(now + self.pause);
        }
    }

    /// A check ended.
    pub(crate) fn check(&mut self, sign: Sign, now: Instant) {
        let good = sign == Sign::Good;
        match sign {
            // Until it is back it stays the last resort that it was.
            Sign::Good => {}
            Sign::Bad => self.silent = false,
            Sign::Silence => self.silent = true,
        }
        self.failed_checks = if good {
            0
        } else {
            self.failed_checks.saturating_add(1)
        };
        match &mut self.state {
            State::Healthy if self.failed_checks >= self.rules.unhealthy_after => self.go_out(now),
            State::Healthy => self.proven |= good,
            State::Out { good_checks, .. } => {
                *good_checks = if good { *good_checks + 1 } else { 0 };
                if *good_checks >= self.rules.healthy_after {
                    self.come_back();
                }
            }
            // Without checks only; the revision that ended them may be a moment older than this one.
            State::Trial => {}
        }
    }

    /// A request that was not a trial ended.
    pub(crate) fn request(&mut self, outcome: Outcome, now: Instant) {
        // What left before the endpoint went out says nothing about it now.
        if self.state != State::Healthy {
            return;
        }
        self.silent = outcome == Outcome::Failed;
        self.proven |= outcome == Outcome::Good;
        match outcome {
            Outcome::Good => (self.failed_requests, self.gateway_answers) = (0, 0),
            Outcome::Gateway => {
                self.failed_requests = 0;
                self.gateway_answers = self.gateway_answers.saturating_add(1);
            }
            Outcome::Failed => self.failed_requests = self.failed_requests.saturating_add(1),
        }
        if self.failed_requests >= self.rules.unhealthy_after
            || self.gateway_answers >= self.rules.unhealthy_after.max(GATEWAY_ANSWERS)
        {
            self.go_out(now);
        }
    }

    /// Claims the one trial, where one is due.
    pub(crate) fn begin_trial(&mut self, now: Instant) -> bool {
        match self.state {
            State::Out {
                trial_from: Some(from),
                ..
            } if from <= now => {
                self.state = State::Trial;
                true
            }
            _ => false,
        }
    }

    /// A request that was sent as a last resort ended.
    pub(crate) fn last_resort(&mut self, outcome: Outcome) {
        let out = matches!(self.state, State::Out { .. });
        // Where checks are configured, they decide.
        if out && outcome == Outcome::Good && !self.rules.checked {
            self.come_back();
        }
    }

    /// The trial ended; `None`: its client went away before it told anything.
    pub(crate) fn end_trial(&mut self, outcome: Option<Outcome>, now: Instant) {
        if self.state != State::Trial {
            return;
        }
        match outcome {
            Some(Outcome::Good) => self.come_back(),
            Some(outcome @ (Outcome::Gateway | Outcome::Failed)) => {
                self.silent = outcome == Outcome::Failed;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.go_out(now);
            }
            None => {
                self.state = State::Out {
                    good_checks: 0,
                    trial_from: Some(now),
                }
            }
        }
    }

    fn go_out(&mut self, now: Instant) {
        let trial_from = (!self.rules.checked).then_some(now + self.pause);
        self.state = State::Out {
            good_checks: 0,
            trial_from,
        };
    }

    fn come_back(&mut self) {
        *self = Self {
            proven: true,
            ..Self::new(self.rules)
        };
    }
}

/// Gateway answers in a row that take an endpoint out, at the least. It lives after all: an application
/// behind it may be at fault for one path only.
const GATEWAY_ANSWERS: u32 = 5;

/// Long enough for a process to restart.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// A trial costs one request's first try; one a minute is little.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHECKED: Rules = Rules {
        checked: true,
        healthy_after: 2,
        unhealthy_after: 3,
    };
    const PASSIVE: Rules = Rules {
        checked: false,
        ..CHECKED
    };

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn bad_checks_in_a_row_take_it_out_and_good_ones_bring_it_back() {
        let now = start();
        let mut health = Health::new(CHECKED);
        for sign in [Sign::Bad, Sign::Silence, Sign::Good, Sign::Bad, Sign::Bad] {
            health.check(sign, now);
            assert_eq!(health.admission(), Admission::Open);
        }
        health.check(Sign::Bad, now);
        assert_eq!(health.admission(), Admission::Closed);
        health.check(Sign::Good, now);
        assert_eq!(health.admission(), Admission::Closed);
        health.check(Sign::Good, now);
        assert_eq!(health.admission(), Admission::Open);
    }

    #[test]
    fn an_endpoint_that_says_nothing_is_told_from_one_that_says_no() {
        let now = start();
        let mut health = Health::new(CHECKED);
        assert!(!health.silent());
        for sign in [Sign::Silence; 3] {
            health.check(sign, now);
        }
        assert!(health.silent());
        health.check(Sign::Bad, now);
        assert!(!health.silent());
        health.check(Sign::Silence, now);
        health.check(Sign::Good, now);
        assert!(health.silent(), "it has to be good twice");
        // Checks decide.
        health.last_resort(Outcome::Good);
        assert_eq!(health.admission(), Admission::Closed);

        let mut health = Health::new(PASSIVE);
        (0..3).for_each(|_| health.request(Outcome::Failed, now));
        assert!(health.silent());
        health.last_resort(Outcome::Failed);
        assert!(health.silent());
        health.last_resort(Outcome::Good);
        assert_eq!(health.admission(), Admission::Open);
        (0..5).for_each(|_| health.request(Outcome::Gateway, now));
        assert!(!health.silent() && health.admission() != Admission::Open);
    }

    #[test]
    fn what_is_checked_is_proven_by_its_first_good_check_or_request_for_good() {
        let now = start();
        assert!(Health::new(PASSIVE).proven(), "nothing else would prove it");
        let mut checked = Health::new(CHECKED);
        checked.check(Sign::Silence, now);
        checked.request(Outcome::Gateway, now);
        assert!(!checked.proven() && checked.admission() == Admission::Open);
        checked.check(Sign::Good, now);
        assert!(checked.proven());
        (0..3).for_each(|_| checked.check(Sign::Bad, now));
        (0..2).for_each(|_| checked.check(Sign::Good, now));
        assert!(checked.proven() && checked.admission() == Admission::Open);

        let mut asked = Health::new(CHECKED);
        assert!(asked.troubled(), "a good request tells something");
        asked.request(Outcome::Good, now);
        assert!(asked.proven() && !asked.troubled());
        asked.adopt(PASSIVE, now);
        asked.adopt(CHECKED, now);
        assert!(asked.proven());
    }

    #[test]
    fn failed_requests_in_a_row_take_it_out_too() {
        let now = start();
        let mut health = Health::new(CHECKED);
        for outcome in [
            Outcome::Failed,
            Outcome::Failed,
            Outcome::Good,
            Outcome::Failed,
            Outcome::Failed,
        ] {
            health.request(outcome, now);
        }
        assert_eq!(health.admission(), Admission::Open);
        assert!(health.troubled());
        health.request(Outcome::Failed, now);
        assert_eq!(health.admission(), Admission::Closed);
    }

    #[test]
    fn gateway_answers_count_only_from_five_on() {
        let now = start();
        let mut health = Health::new(CHECKED);
        (0..4).for_each(|_| health.request(Outcome::Gateway, now));
        assert_eq!(health.admission(), Admission::Open);
        health.request(Outcome::Gateway, now);
        assert_eq!(health.admission(), Admission::Closed);
    }

    #[test]
    fn without_checks_one_trial_after_a_pause_decides() {
        let now = start();
        let mut health = Health::new(PASSIVE);
        (0..3).for_each(|_| health.request(Outcome::Failed, now));
        assert_eq!(health.admission(), Admission::TrialFrom(now + FIRST_PAUSE));
        assert!(!health.begin_trial(now + FIRST_PAUSE - Duration::from_millis(1)));
        let later = now + FIRST_PAUSE;
        assert!(health.begin_trial(later));
        assert!(!health.begin_trial(later), "one trial at a time");
        health.end_trial(Some(Outcome::Failed), later);
        assert_eq!(
            health.admission(),
            Admission::TrialFrom(later + 2 * FIRST_PAUSE)
        );
        let last = later + 2 * FIRST_PAUSE;
        assert!(health.begin_trial(last));
        health.end_trial(Some(Outcome::Good), last);
        assert_eq!(health.admission(), Admission::Open);
        assert!(!health.troubled());
    }

    #[test]
    fn a_trial_whose_client_left_is_free_again_at_once() {
        let now = start();
        let mut health = Health::new(PASSIVE);
        (0..3).for_each(|_| health.request(Outcome::Failed, now));
        let later = now + FIRST_PAUSE;
        assert!(health.begin_trial(later));
        health.end_trial(None, later);
        assert!(health.begin_trial(later));
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Check(Sign),
        Request(Outcome),
        Trial(Option<Outcome>),
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Good),
            Just(Outcome::Gateway),
            Just(Outcome::Failed)
        ]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            prop_oneof![Just(Sign::Good), Just(Sign::Bad), Just(Sign::Silence)]
                .prop_map(Event::Check),
            any_outcome().prop_map(Event::Request),
            proptest::option::of(any_outcome()).prop_map(Event::Trial),
        ]
    }

    proptest! {
        #[test]
        fn it_never_stays_out_for_good(
            events in proptest::collection::vec((any_event(), 0..20_000_u64), 0..80),
            checked: bool,
        ) {
            let rules = Rules { checked, ..CHECKED };
            let mut health = Health::new(rules);
            let mut now = start();
            for (event, gap) in events {
                now += Duration::from_millis(gap);
                match event {
                    // Checks run only where they are configured.
                    Event::Check(sign) if checked => health.check(sign, now),
                    Event::Check(_) => {}
                    Event::Request(outcome) => health.request(outcome, now),
                    Event::Trial(outcome) => {
                        if health.begin_trial(now) {
                            health.end_trial(outcome, now);
                        }
                    }
                }
            }
            if checked {
                health.check(Sign::Good, now);
                health.check(Sign::Good, now);
            } else if let Admission::TrialFrom(from) = health.admission() {
                prop_assert!(from <= now + LONGEST_PAUSE);
                prop_assert!(health.begin_trial(from));
                health.end_trial(Some(Outcome::Good), from);
            }
            prop_assert_eq!(health.admission(), Admission::Open);
        }
    }
}
