//! Who has used how much: one shard of all payers.
//!
//! In: a payer and its limits. Out: the account's outcome. A core; [`super::limiter`] holds the shards.
//! Tenants come from the document, so their number is bounded by it. Client addresses come from the
//! network: their number is bounded here, and one more client than fits shares a bucket with all others
//! that do not fit, so that made-up addresses are no way past the limit.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use meridian_config::name::TenantId;

use super::{
    account::{Account, Limits, Outcome},
    sliding::Grain,
    window::Now,
};

/// One key of a shard's map of clients.
///
/// A whole IPv4 address, or an IPv6 /64: the smallest block that one subscriber gets (RFC 6177), within
/// which addresses are free to make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Prefix(IpAddr);

impl Prefix {
    pub(super) fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        })
    }

    pub(super) fn bytes(&self) -> u128 {
        match self.0 {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }
}

/// One shard of all payers.
#[derive(Debug)]
pub(super) struct Accounts {
    tenants: HashMap<TenantId, Account>,
    clients: HashMap<Prefix, Account>,
    clients_max: usize,
    /// Charged by the clients that found no room in the map.
    overflow: Account,
    /// When idle accounts were last dropped.
    swept: Option<Instant>,
}

impl Accounts {
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            tenants: HashMap::new(),
            clients: HashMap::new(),
            clients_max,
            overflow: Account::default(),
            swept: None,
        }
    }

    /// Charges one request of a tenant.
    pub(super) fn charge_tenant(
        &mut self,
        tenant: &TenantId,
        limits: Limits<'_>,
        now: Now,
    ) -> Outcome {
        self.sweep(now, SWEEP_EVERY);
        if let Some(account) = self.tenants.get_mut(tenant) {
            return account.charge(limits, TENANT_GRAIN, now);
        }
        self.tenants
            .entry(tenant.clone())
            .or_default()
            .charge(limits, TENANT_GRAIN, now)
    }

    /// Charges one request that no identity was asked of.
    pub(super) fn charge_client(
        &mut self,
        client: Prefix,
        limits: Limits<'_>,
        now: Now,
    ) -> Outcome {
        self.sweep(now, SWEEP_EVERY);
        if let Some(account) = self.clients.get_mut(&client) {
            return account.charge(limits, CLIENT_GRAIN, now);
        }
        if self.clients.len() >= self.clients_max {
            self.sweep(now, SWEEP_WHEN_FULL);
        }
        if self.clients.len() >= self.clients_max {
            return self.overflow.charge(limits, CLIENT_GRAIN, now);
        }
        self.clients
            .entry(client)
            .or_default()
            .charge(limits, CLIENT_GRAIN, now)
    }

    /// What [`Self::charge_tenant`] would come to; nothing is counted or kept.
    pub(super) fn peek_tenant(
        &mut self,
        tenant: &TenantId,
        limits: Limits<'_>,
        now: Now,
    ) -> Outcome {
        match self.tenants.get_mut(tenant) {
            Some(account) => account.peek(limits, TENANT_GRAIN, now),
            None => Account::default().peek(limits, TENANT_GRAIN, now),
        }
    }

    /// What [`Self::charge_client`] would come to; nothing is counted or kept.
    pub(super) fn peek_client(&mut self, client: Prefix, limits: Limits<'_>, now: Now) -> Outcome {
        let full = self.clients.len() >= self.clients_max;
        match self.clients.get_mut(&client) {
            Some(account) => account.peek(limits, CLIENT_GRAIN, now),
            None if full => self.overflow.peek(limits, CLIENT_GRAIN, now),
            None => Account::default().peek(limits, CLIENT_GRAIN, now),
        }
    }

    /// Drops idle accounts, unless that was done less than `every` ago.
    fn sweep(&mut self, now: Now, every: Duration) {
        let swept = *self.swept.get_or_insert(now.instant);
        if now.instant.saturating_duration_since(swept) < every {
            return;
        }
        self.swept = Some(now.instant);
        self.tenants.retain(|_, account| !account.idle(now));
        self.clients.retain(|_, account| !account.idle(now));
        self.overflow.idle(now);
    }
}

/// At most 1 026 log entries of 8 bytes for each limit of a tenant: 10 000 tenants that use their hour
/// limits to the full take 80 MB. A place comes back late by a thousandth of the window (3.5 s in an hour).
const TENANT_GRAIN: Grain = Grain(1024);

/// At most 66 entries for each limit of a client: addresses are many, and their limits are small. With the
/// bound on clients a node spends some 45 MB on all of them.
const CLIENT_GRAIN: Grain = Grain(64);

/// Idle accounts cost memory only; a pass over a shard's few thousand accounts takes tens of microseconds.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// While the map is full every unknown client asks for room, so a pass is not made for each of them.
const SWEEP_WHEN_FULL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use meridian_config::document::Limit;

    use super::*;

    fn per_minute(amount: u64) -> Vec<Limit> {
        let minute = Duration::from_secs(60);
        vec![Limit::new("unidentified-minute", amount, minute)]
    }

    fn standing(limits: &[Limit]) -> Limits<'_> {
        static ROUTE: std::sync::LazyLock<meridian_config::name::RouteName> =
            std::sync::LazyLock::new(|| "plants".into());
        Limits {
            standing: limits,
            route: (&ROUTE, &[]),
        }
    }

    fn client(text: &str) -> Prefix {
        Prefix::of(text.parse().expect("an address"))
    }

    fn at(start: Instant, seconds: u64) -> Now {
        let since = Duration::from_secs(seconds);
        Now {
            instant: start + since,
            unix: since,
        }
    }

    fn admitted(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Admit(_))
    }

    #[test]
    fn addresses_of_one_ipv6_subnet_share_a_bucket_and_ipv4_addresses_do_not() {
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn made_up_addresses_share_what_one_client_has_once_the_map_is_full() {
        let (start, limits) = (crate::limit::moment(), per_minute(5));
        let mut accounts = Accounts::new(10);
        let passed = (0..200_u32)
            .filter(|host| {
                let made_up = Prefix::of(IpAddr::from((0x0a00_0000 + host).to_be_bytes()));
                admitted(&accounts.charge_client(made_up, standing(&limits), at(start, 0)))
            })
            .count();
        assert_eq!(passed, 10 + 5);
        assert_eq!(accounts.clients.len(), 10);
        // One that was there before keeps its own bucket.
        assert!(admitted(&accounts.charge_client(
            client("10.0.0.3"),
            standing(&limits),
            at(start, 0)
        )));
    }

    #[test]
    fn idle_accounts_make_room() {
        let (start, limits) = (crate::limit::moment(), per_minute(5));
        let mut accounts = Accounts::new(2);
        for (second, address) in [
            (0, "10.0.0.1"),
            (0, "10.0.0.2"),
            (0, "10.0.0.3"),
            (70, "10.0.0.4"),
        ] {
            accounts.charge_client(client(address), standing(&limits), at(start, second));
        }
        assert_eq!(
            accounts.clients.keys().collect::<Vec<_>>(),
            [&client("10.0.0.4")]
        );
        let tenant = TenantId::from("acme");
        accounts.charge_tenant(&tenant, standing(&limits), at(start, 71));
        accounts.charge_client(client("10.0.0.5"), standing(&limits), at(start, 200));
        assert!(accounts.tenants.is_empty());
    }

    #[test]
    fn a_sweep_forgets_nothing_that_still_counts() {
        let (start, limits) = (crate::limit::moment(), per_minute(3));
        let mut accounts = Accounts::new(10);
        let tenant = TenantId::from("acme");
        let passed = (0..60)
            .filter(|second| {
                admitted(&accounts.charge_tenant(&tenant, standing(&limits), at(start, *second)))
            })
            .count();
        assert_eq!(passed, 3);
    }
}
