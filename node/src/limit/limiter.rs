//! What the request path asks: may this request pass, and who pays for it?

use std::{net::IpAddr, sync::Arc, time::Duration};

use meridian_cluster::quota::service::Quota;
use meridian_config::{document::Limit, name::TenantId};

use super::{
    alarm::{Alarms, Level},
    charging,
    former::Former,
    outcome::{LimitState, Outcome},
    paid::Paid,
};

/// One request to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Who pays.
    pub payer: Payer<'a>,
    /// The token's subject; empty without one.
    pub subject: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The limits of the tenant, or of clients that no identity was asked of.
    pub standing: &'a [Limit],
    /// The route's own limits.
    pub route_limits: &'a [Limit],
    /// What the standing limits and the route's were before.
    pub former: [&'a [Former]; 2],
    /// What it takes of each.
    pub cost: u32,
    /// How overloaded the worker is, from 0 to 1.
    pub overload: f64,
    /// Which limits these are: of two, the greater number is newer.
    pub as_of: u64,
}

/// Who pays for a request.
#[derive(Debug, Clone, Copy)]
pub enum Payer<'a> {
    /// A tenant, known by its token.
    Tenant(&'a TenantId),
    /// Nobody known.
    Nobody,
}

/// Charges requests to limits, for all workers of a node.
#[derive(Debug, Clone)]
pub struct Limiter {
    quota: Quota,
    alarms: Arc<Alarms>,
}

/// What came of a charge, and what is to be said of it.
#[derive(Debug)]
pub struct Charged {
    /// What came of it.
    pub outcome: Outcome,
    /// What it has paid with, to be given back if the request reaches nothing.
    pub paid: Paid,
    /// How long it waited for tokens, if it did.
    pub waited: Option<Duration>,
    /// What the tenant has just come to of its limits.
    pub reached: Vec<Level>,
}

impl Limiter {
    /// A limiter that spends what a node holds.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            alarms: Arc::default(),
        }
    }

    /// Charges one request to all limits, or to none. Waits where a limit has requests wait, and no longer.
    ///
    /// What was spent stays so when the document changes, as long as a limit keeps its id, kind, window and
    /// `on_lapse`; what it was before counts beside it for a window if it does not.
    pub async fn charge(&self, charge: Charge<'_>) -> Charged {
        charging::charge(&self.quota.charging(), &charge, &self.alarms).await
    }

    /// Gives back what a request has paid with that has reached nothing, and says so in the states that its charge came
    /// to. Whether anything came back: only within the slot of the window (a fortieth of a sliding one, all of a fixed
    /// one) that it was spent in.
    pub fn give_back(&self, paid: Paid, states: &mut [LimitState]) -> bool {
        paid.give_back(&self.quota.charging(), states)
    }

    /// What [`Self::charge`] would come to, with the states as they are before it; counts nothing.
    pub fn peek(&self, charge: Charge<'_>) -> Outcome {
        charging::peek(&self.quota.charging(), &charge)
    }
}

#[cfg(test)]
mod tests {
    use meridian_config::document::{OnEmpty, Per, Window};
    use tokio::time::sleep;

    use super::{super::outcome::Why, *};

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn limiter() -> Limiter {
        Limiter::new(Quota::alone(Duration::from_secs(1_800_000_000)))
    }

    fn limit(id: &str, amount: u64) -> Limit {
        Limit {
            on_empty: OnEmpty::Deny,
            ..Limit::new(id, amount, Duration::from_secs(60))
        }
    }

    fn charge<'a>(payer: Payer<'a>, standing: &'a [Limit], route: &'a [Limit]) -> Charge<'a> {
        Charge {
            payer,
            subject: "ada",
            client: CLIENT,
            standing,
            route_limits: route,
            former: [&[], &[]],
            cost: 1,
            overload: 0.0,
            as_of: 1,
        }
    }

    async fn admits(limiter: &Limiter, charge: Charge<'_>) -> bool {
        matches!(limiter.charge(charge).await.outcome, Outcome::Admit { .. })
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_subjects_and_clients_are_counted_apart() {
        let limiter = limiter();
        let mut limits = [limit("one", 1)];
        let (acme, globex) = (TenantId::from("acme"), TenantId::from("globex"));
        for payer in [Payer::Tenant(&acme), Payer::Tenant(&globex), Payer::Nobody] {
            assert!(admits(&limiter, charge(payer, &limits, &[])).await);
            assert!(!admits(&limiter, charge(payer, &limits, &[])).await);
        }
        let acme = Payer::Tenant(&acme);
        limits[0].per = Per::Subject;
        for subject in ["ada", "bob"] {
            let charge = Charge {
                subject,
                ..charge(acme, &limits, &[])
            };
            assert!(admits(&limiter, charge).await);
            assert!(!admits(&limiter, charge).await);
        }
        limits[0].per = Per::ClientIp;
        for (payer, client) in [
            (acme, CLIENT),
            (Payer::Nobody, CLIENT),
            (Payer::Nobody, [192, 0, 2, 2].into()),
        ] {
            let charge = Charge {
                client,
                ..charge(payer, &limits, &[])
            };
            assert!(admits(&limiter, charge).await);
            assert!(!admits(&limiter, charge).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_is_counted_by_no_limit() {
        let limiter = limiter();
        let (plan, route) = ([limit("tenant", 3)], [limit("route.plants", 1)]);
        let acme = TenantId::from("acme");
        let acme = Payer::Tenant(&acme);
        assert!(admits(&limiter, charge(acme, &plan, &route)).await);
        for _ in 0..5 {
            let outcome = limiter.charge(charge(acme, &plan, &route)).await.outcome;
            let Outcome::Refuse {
                limit,
                why,
                retry_after,
                states,
            } = outcome
            else {
                panic!("admitted past the limit");
            };
            assert_eq!((&*limit, why), ("route.plants", Why::Limit));
            let (least, most) = (Duration::from_secs(60), Duration::from_secs(73));
            assert!((least..=most).contains(&retry_after), "{retry_after:?}");
            let left: Vec<u64> = states.iter().map(|state| state.remaining).collect();
            assert_eq!(left, [2, 0]);
        }
        for left in [true, true, false] {
            assert_eq!(admits(&limiter, charge(acme, &plan, &[])).await, left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_its_cost_of_every_limit() {
        let limiter = limiter();
        let plan = [limit("tenant", 10)];
        let acme = TenantId::from("acme");
        let dear = Charge {
            cost: 4,
            ..charge(Payer::Tenant(&acme), &plan, &[])
        };
        for left in [true, true, false] {
            assert_eq!(admits(&limiter, dear).await, left);
        }
        assert!(admits(&limiter, charge(Payer::Tenant(&acme), &plan, &[])).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_node_admits_a_part_by_priority_and_says_so() {
        let limiter = limiter();
        let acme = TenantId::from("acme");
        for (priority, admitted) in [(100, 10), (50, 5), (0, 0)] {
            let plan = [Limit {
                priority,
                ..limit(&format!("p{priority}"), 10)
            }];
            let calm = charge(Payer::Tenant(&acme), &plan, &[]);
            let pressed = Charge {
                overload: 1.0,
                ..calm
            };
            for _ in 0..admitted {
                let Outcome::Admit { states, .. } = limiter.charge(pressed).await.outcome else {
                    panic!("refused at {priority}");
                };
                let told = &*states.last().unwrap().id == "overload";
                assert_eq!(told, priority < 100);
            }
            if admitted < 10 {
                let outcome = limiter.charge(pressed).await.outcome;
                let why = match outcome {
                    Outcome::Refuse { why, .. } => why,
                    Outcome::Admit { .. } => panic!("admitted at {priority}"),
                };
                assert_eq!(why, Why::Overload);
                assert!(admits(&limiter, calm).await, "it lifts at once");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shadow_limit_is_counted_and_refuses_nobody() {
        let limiter = limiter();
        let shadow = Limit {
            shadow: true,
            ..limit("trial", 1)
        };
        let plan = [limit("tenant", 3), shadow];
        let acme = TenantId::from("acme");
        for over in [0, 1, 1] {
            let outcome = limiter
                .charge(charge(Payer::Tenant(&acme), &plan, &[]))
                .await;
            let Outcome::Admit { states, shadowed } = outcome.outcome else {
                panic!("refused");
            };
            assert_eq!((states.len(), shadowed.len()), (1, over));
        }
        assert!(!admits(&limiter, charge(Payer::Tenant(&acme), &plan, &[])).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_what_cools_off_where_its_limit_says_so() {
        let limiter = limiter();
        let second = Limit {
            on_empty: OnEmpty::Wait(Duration::from_secs(2)),
            ..Limit::new("second", 1, Duration::from_secs(1))
        };
        let plan = [second];
        let acme = TenantId::from("acme");
        let begun = tokio::time::Instant::now();
        for _ in 0..3 {
            assert!(admits(&limiter, charge(Payer::Tenant(&acme), &plan, &[])).await);
        }
        let took = begun.elapsed();
        let (least, most) = (Duration::from_secs(2), Duration::from_millis(2100));
        assert!((least..most).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_window_begins_anew_with_the_next() {
        let limiter = limiter();
        let plan = [Limit {
            window: Window::Fixed,
            ..limit("minute", 1)
        }];
        let acme = TenantId::from("acme");
        let charge = charge(Payer::Tenant(&acme), &plan, &[]);
        sleep(Duration::from_secs(59)).await;
        assert!(admits(&limiter, charge).await);
        assert!(!admits(&limiter, charge).await);
        sleep(Duration::from_millis(1001)).await;
        assert!(admits(&limiter, charge).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_says_what_a_charge_would_and_counts_nothing() {
        let limiter = limiter();
        let plan = [limit("tenant", 2)];
        let acme = TenantId::from("acme");
        let charge = charge(Payer::Tenant(&acme), &plan, &[]);
        let left = |outcome: &Outcome| {
            let (Outcome::Admit { states, .. } | Outcome::Refuse { states, .. }) = outcome;
            states[0].remaining
        };
        assert_eq!(left(&limiter.peek(charge)), 2);
        assert_eq!(left(&limiter.charge(charge).await.outcome), 1);
        assert_eq!(left(&limiter.peek(charge)), 1);
        limiter.charge(charge).await;
        let full = limiter.peek(charge);
        assert!(matches!(full, Outcome::Refuse { .. }), "{full:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_paid_comes_back_within_its_slot_and_not_after() {
        let limiter = limiter();
        let acme = TenantId::from("acme");
        let shadow = Limit {
            shadow: true,
            ..limit("trial", 100)
        };
        // Of a small limit the very instant counts, of a greater one a fortieth of the window.
        let plan = [limit("small", 3), limit("great", 100), shadow];
        let charge = charge(Payer::Tenant(&acme), &plan, &[]);
        let left = |states: &[LimitState]| -> Vec<u64> {
            states.iter().map(|state| state.remaining).collect()
        };
        let pay = async || {
            let charged = limiter.charge(charge).await;
            let Outcome::Admit { states, .. } = charged.outcome else {
                panic!("refused");
            };
            (charged.paid, states)
        };
        for _ in 0..5 {
            let (paid, mut states) = pay().await;
            assert_eq!(left(&states), [2, 99]);
            assert!(limiter.give_back(paid, &mut states));
            assert_eq!(left(&states), [3, 100]);
        }
        let (paid, mut states) = pay().await;
        sleep(Duration::from_secs(3)).await;
        let (later, mut states_later) = pay().await;
        assert!(limiter.give_back(paid, &mut states), "of the small one");
        assert_eq!(left(&states), [2, 99], "the great one's slot is over");
        assert!(limiter.give_back(later, &mut states_later));
        let (_, states) = pay().await;
        assert_eq!(left(&states), [2, 98]);
        assert!(!limiter.give_back(Paid::default(), &mut []));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_near_its_limit_is_told_of_and_others_are_not() {
        let limiter = limiter();
        let acme = TenantId::from("acme");
        let plan = [limit("tenant", 10)];
        let mut levels = Vec::new();
        for _ in 0..12 {
            let charged = limiter
                .charge(charge(Payer::Tenant(&acme), &plan, &[]))
                .await;
            levels.push(charged.reached);
        }
        let mut expected = vec![Vec::new(); 12];
        expected[7] = vec![Level::High];
        expected[9] = vec![Level::Full];
        assert_eq!(levels, expected);
        let of_each = [Limit {
            per: Per::ClientIp,
            ..limit("each", 1)
        }];
        let charged = limiter
            .charge(charge(Payer::Tenant(&acme), &of_each, &[]))
            .await;
        assert_eq!(charged.reached, []);
        let charged = limiter.charge(charge(Payer::Nobody, &plan[..], &[])).await;
        assert_eq!(charged.reached, []);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_a_request_waited_is_told() {
        let limiter = limiter();
        let second = Limit {
            on_empty: OnEmpty::Wait(Duration::from_secs(2)),
            ..Limit::new("second", 1, Duration::from_secs(1))
        };
        let plan = [second];
        let acme = TenantId::from("acme");
        let charge = charge(Payer::Tenant(&acme), &plan, &[]);
        assert_eq!(limiter.charge(charge).await.waited, None);
        let waited = limiter.charge(charge).await.waited.unwrap();
        let (least, most) = (Duration::from_secs(1), Duration::from_millis(1100));
        assert!((least..most).contains(&waited), "{waited:?}");
    }
}
