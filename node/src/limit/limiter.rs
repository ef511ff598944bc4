//! The shell around the counts: shards and their locks.
//!
//! In: a [`Charge`] and both clocks, from any worker. Out: [`Outcome`]. Its core is [`super::accounts`].
//!
//! A lock is held for one charge (under a microsecond, no await, no I/O), and a payer's limits all live in
//! one shard, which is what makes a charge all or none. The cluster-wide quota replaces what is behind
//! [`Limiter::charge`] by cells without locks.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use meridian_config::{
    document::Limit,
    name::{RouteName, TenantId},
};

use super::{
    account::{Limits, Outcome},
    accounts::{Accounts, Prefix},
    window::Now,
};

/// One request to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Who pays.
    pub payer: Payer<'a>,
    /// The limits of the tenant's plan, or of unidentified clients.
    pub standing: &'a [Limit],
    /// The route that took the request.
    pub route: &'a RouteName,
    /// The route's own limits.
    pub route_limits: &'a [Limit],
}

/// Who pays for a request.
#[derive(Debug, Clone, Copy)]
pub enum Payer<'a> {
    /// A tenant, known by its token.
    Tenant(&'a TenantId),
    /// Nobody known: the client's address, cut to /64 where it is IPv6.
    Client(IpAddr),
}

/// Counts requests against limits, for all workers of a node.
#[derive(Debug)]
pub struct Limiter {
    shards: Box<[Mutex<Accounts>]>,
}

impl Limiter {
    /// A limiter that has counted nothing yet.
    pub fn new() -> Self {
        let shard = || Mutex::new(Accounts::new(CLIENTS_MAX / SHARDS));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Counts one request against all limits of the charge, or against none of them.
    ///
    /// Windows live on when the document changes, as long as a limit keeps its id, kind and span; see
    /// [`Outcome`] for what comes back. `now` is tokio's clock, `unix` the host's.
    pub fn charge(&self, charge: Charge<'_>, now: Instant, unix: Duration) -> Outcome {
        self.settle(
            charge,
            now,
            unix,
            Accounts::charge_tenant,
            Accounts::charge_client,
        )
    }

    /// What [`Self::charge`] would come to, with the states as they are before it; counts nothing.
    pub fn peek(&self, charge: Charge<'_>, now: Instant, unix: Duration) -> Outcome {
        self.settle(
            charge,
            now,
            unix,
            Accounts::peek_tenant,
            Accounts::peek_client,
        )
    }

    fn settle(
        &self,
        charge: Charge<'_>,
        now: Instant,
        unix: Duration,
        of_tenant: fn(&mut Accounts, &TenantId, Limits<'_>, Now) -> Outcome,
        of_client: fn(&mut Accounts, Prefix, Limits<'_>, Now) -> Outcome,
    ) -> Outcome {
        let limits = Limits {
            standing: charge.standing,
            route: (charge.route, charge.route_limits),
        };
        if limits.is_empty() {
            return Outcome::Admit(Vec::new());
        }
        let now = Now { instant: now, unix };
        match charge.payer {
            Payer::Tenant(tenant) => {
                let mut shard = self.shard(spread(tenant.as_str().as_bytes()));
                of_tenant(&mut shard, tenant, limits, now)
            }
            Payer::Client(address) => {
                let prefix = Prefix::of(address);
                let mut shard = self.shard(spread(&prefix.bytes().to_le_bytes()));
                of_client(&mut shard, prefix, limits, now)
            }
        }
    }

    fn shard(&self, spread: u64) -> std::sync::MutexGuard<'_, Accounts> {
        let index =
            usize::try_from(spread % SHARDS as u64).expect("less than the number of shards");
        // A panic while a shard was locked leaves counts that are at worst one request off.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// FNV-1a, which spreads short keys well enough to choose a shard; within the shard std's keyed hash keeps
/// chosen addresses from colliding.
fn spread(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Enough that two of some dozens of workers seldom want one at once; each costs two empty maps.
const SHARDS: usize = 64;

/// Client prefixes with a bucket of their own, over all shards. Beyond it clients share: see
/// [`super::accounts`] for the memory.
const CLIENTS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(id: &str, amount: u64) -> Limit {
        Limit::new(id, amount, Duration::from_secs(60))
    }

    fn plants() -> RouteName {
        "plants".into()
    }

    fn admits(limiter: &Limiter, charge: Charge<'_>, now: Instant) -> bool {
        matches!(
            limiter.charge(charge, now, Duration::ZERO),
            Outcome::Admit(_)
        )
    }

    #[test]
    fn tenants_and_clients_are_counted_apart() {
        let (limiter, now) = (Limiter::new(), crate::limit::moment());
        let limits = [limit("tenant-minute", 1)];
        let (acme, globex) = (TenantId::from("acme"), TenantId::from("globex"));
        for payer in [
            Payer::Tenant(&acme),
            Payer::Tenant(&globex),
            Payer::Client([192, 0, 2, 1].into()),
            Payer::Client([192, 0, 2, 2].into()),
        ] {
            let charge = Charge {
                payer,
                standing: &limits,
                route: &plants(),
                route_limits: &[],
            };
            assert!(admits(&limiter, charge, now));
            assert!(!admits(&limiter, charge, now));
        }
    }

    #[test]
    fn routes_of_one_tenant_share_its_plan_and_have_limits_of_their_own() {
        let (limiter, now) = (Limiter::new(), crate::limit::moment());
        let acme = TenantId::from("acme");
        let plan = [limit("tenant-minute", 3)];
        let (plants, seeds) = (RouteName::from("plants"), RouteName::from("seeds"));
        let (few, many) = (
            [limit("route.plants-minute", 1)],
            [limit("route.seeds-minute", 9)],
        );
        let on = |route, route_limits| Charge {
            payer: Payer::Tenant(&acme),
            standing: &plan,
            route,
            route_limits,
        };
        assert!(admits(&limiter, on(&plants, &few), now));
        assert!(!admits(&limiter, on(&plants, &few), now));
        assert!(admits(&limiter, on(&seeds, &many), now));
        assert!(admits(&limiter, on(&seeds, &many), now));
        assert!(!admits(&limiter, on(&seeds, &many), now));
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let limiter = Limiter::new();
        let acme = TenantId::from("acme");
        let charge = Charge {
            payer: Payer::Tenant(&acme),
            standing: &[],
            route: &plants(),
            route_limits: &[],
        };
        assert_eq!(
            limiter.charge(charge, crate::limit::moment(), Duration::ZERO),
            Outcome::Admit(Vec::new())
        );
    }

    #[test]
    fn many_threads_together_pass_no_more_than_the_amount() {
        let limiter = Limiter::new();
        let (acme, limits, now) = (
            TenantId::from("acme"),
            [limit("tenant-minute", 1000)],
            crate::limit::moment(),
        );
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let charge = Charge {
                            payer: Payer::Tenant(&acme),
                            standing: &limits,
                            route: &plants(),
                            route_limits: &[],
                        };
                        (0..1000).filter(|_| admits(&limiter, charge, now)).count()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no panic"))
                .sum()
        });
        assert_eq!(passed, 1000);
    }
}
