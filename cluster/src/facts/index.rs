//! What the request path asks: is this token revoked, is this address blocked?
//!
//! In: changed rules from the keeper, one writer. Out: answers without a lock and without memory taken.
//!
//! Rules lie on [`Shelf`]s of many small maps, each replaced whole when something on it changes, so that a
//! change copies one map and not a hundred thousand rules, and a reader follows one pointer.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use meridian_config::name::{IssuerName, TenantId};

use super::{
    Fact, FactId,
    fact::Key,
    held::{Change, Held},
};

/// What one fact says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) fact: FactId,
    /// It holds until then: ms since the Unix epoch.
    pub(super) until_ms: u64,
    /// Only tokens of this issuer.
    pub(super) issuer: Option<IssuerName>,
    /// Only tokens issued before this second since the Unix epoch.
    pub(super) issued_before: Option<u64>,
}

/// A verified token, as revocations see it.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Its `jti`, where it has one.
    pub token_id: Option<&'a str>,
    /// Its `sub`.
    pub subject: &'a str,
    /// Who issued it.
    pub issuer: &'a IssuerName,
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Its `iat`, where it has one: seconds since the Unix epoch.
    pub issued: Option<u64>,
}

/// The rules in force, for readers on any thread.
#[derive(Debug, Default)]
pub struct Index {
    token_ids: Shelf<Arc<str>>,
    subjects: Shelf<Arc<str>>,
    tenants: Shelf<Arc<str>>,
    nets: Shelf<IpNet>,
    /// The lengths of prefixes that `nets` has, the longest first.
    lengths: ArcSwap<Lengths>,
    /// How many nets there are of each length; the writer's own.
    counts: std::sync::Mutex<BTreeMap<(bool, u8), usize>>,
    /// Counts changes.
    version: AtomicU64,
}

/// Prefix lengths of the nets of each family.
#[derive(Debug, Default)]
struct Lengths {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Index {
    /// The fact that revokes this token, if one does at that time (ms since the Unix epoch).
    ///
    /// A token without `iat` counts as issued before everything: an issuer that wants its tokens to outlive a
    /// revocation of all earlier ones must say when it made them.
    pub fn revokes(&self, token: Presented<'_>, now_ms: u64) -> Option<FactId> {
        let applies = |rule: &Rule| {
            let issued = token.issued.unwrap_or(0);
            rule.until_ms > now_ms
                && rule.issuer.as_ref().is_none_or(|of| of == token.issuer)
                && rule.issued_before.is_none_or(|before| issued < before)
        };
        token
            .token_id
            .and_then(|id| self.token_ids.find(id, applies))
            .or_else(|| self.subjects.find(token.subject, applies))
            .or_else(|| self.tenants.find(token.tenant.as_str(), applies))
    }

    /// The fact that blocks this address, if one does at that time: of several the narrowest net's.
    pub fn blocks(&self, address: IpAddr, now_ms: u64) -> Option<FactId> {
        if self.nets.is_empty() {
            return None;
        }
        let address = address.to_canonical();
        let lengths = self.lengths.load();
        let lengths = match address {
            IpAddr::V4(_) => &lengths.v4,
            IpAddr::V6(_) => &lengths.v6,
        };
        lengths.iter().find_map(|length| {
            let net = IpNet::new(address, *length).ok()?.trunc();
            self.nets.find(&net, |rule| rule.until_ms > now_ms)
        })
    }

    /// Heeds these facts too: for the tests of its readers. A node's index has one writer, which is not the
    /// caller of this.
    #[doc(hidden)]
    pub fn heed(&self, facts: Vec<Arc<Fact>>) {
        self.change(Held::default().restore(facts, 0));
    }

    /// Whether there is nothing to look up.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
            && [&self.token_ids, &self.subjects, &self.tenants]
                .iter()
                .all(|shelf| shelf.is_empty())
    }

    /// Counts changes: what was looked up at one version need not be again at the same.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Puts changed rules into force. One writer at a time.
    pub(super) fn change(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let (mut token_ids, mut subjects, mut tenants, mut nets) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, rules) in changes {
            let rules: Arc<[Rule]> = rules.into();
            match key {
                Key::TokenId(id) => token_ids.push((id, rules)),
                Key::Subject(subject) => subjects.push((subject, rules)),
                Key::Tenant(tenant) => tenants.push((tenant, rules)),
                Key::Net(net) => nets.push((net, rules)),
            }
        }
        self.token_ids.put(token_ids, |_, _| {});
        self.subjects.put(subjects, |_, _| {});
        self.tenants.put(tenants, |_, _| {});
        if !nets.is_empty() {
            let mut counts = self.counts.lock().unwrap_or_else(|held| held.into_inner());
            self.nets.put(nets, |net, came| {
                let length = (net.addr().is_ipv4(), net.prefix_len());
                let count = counts.entry(length).or_default();
                *count = if came { *count + 1 } else { *count - 1 };
            });
            counts.retain(|_, count| *count > 0);
            let of = |v4| {
                let lengths = counts.keys().rev().filter(|(family, _)| *family == v4);
                lengths.map(|(_, length)| *length).collect()
            };
            self.lengths.store(Arc::new(Lengths {
                v4: of(true),
                v6: of(false),
            }));
        }
        self.version.fetch_add(1, Ordering::Release);
    }
}

type Map<K> = HashMap<K, Arc<[Rule]>>;

/// Keys and the rules they have from now on.
type Puts<K> = Vec<(K, Arc<[Rule]>)>;

/// A map in many small pieces.
#[derive(Debug)]
struct Shelf<K> {
    count: AtomicUsize,
    hasher: RandomState,
    pieces: Box<[ArcSwap<Map<K>>]>,
}

/// Pieces of a shelf: with the most facts that a node holds, one has about 60, and copying it takes about a
/// microsecond.
const PIECES: usize = 4096;

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        let empty = Arc::new(Map::new());
        let piece = || ArcSwap::new(Arc::clone(&empty));
        Self {
            count: AtomicUsize::new(0),
            hasher: RandomState::new(),
            pieces: std::iter::repeat_with(piece).take(PIECES).collect(),
        }
    }
}

impl<K: Hash + Eq + Clone> Shelf<K> {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn piece<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a part of the hash is as good as the whole"
        )]
        let hash = self.hasher.hash_one(key) as usize;
        hash % PIECES
    }

    /// The first rule of a key that applies.
    fn find<Q>(&self, key: &Q, applies: impl Fn(&Rule) -> bool) -> Option<FactId>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if self.is_empty() {
            return None;
        }
        let piece = self.pieces[self.piece(key)].load();
        let rules = piece.get(key)?;
        let rule = rules.iter().find(|rule| applies(rule))?;
        Some(rule.fact)
    }

    /// Replaces the rules of keys; no rules: the key goes. `note` hears of each key that came or went.
    fn put(&self, changes: Puts<K>, mut note: impl FnMut(&K, bool)) {
        let mut by_piece: BTreeMap<usize, Puts<K>> = BTreeMap::new();
        for change in changes {
            by_piece
                .entry(self.piece(&change.0))
                .or_default()
                .push(change);
        }
        for (index, changes) in by_piece {
            let mut piece = Map::clone(&self.pieces[index].load());
            for (key, rules) in changes {
                if rules.is_empty() {
                    if piece.remove(&key).is_some() {
                        note(&key, false);
                        self.count.fetch_sub(1, Ordering::AcqRel);
                    }
                } else if piece.insert(key.clone(), rules).is_none() {
                    note(&key, true);
                    self.count.fetch_add(1, Ordering::AcqRel);
                }
            }
            self.pieces[index].store(Arc::new(piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(number: u8, until_ms: u64) -> Rule {
        Rule {
            fact: FactId([number; 16]),
            until_ms,
            issuer: None,
            issued_before: None,
        }
    }

    fn net(text: &str) -> Key {
        Key::Net(text.parse::<IpNet>().unwrap().trunc())
    }

    #[test]
    fn each_kind_of_revocation_finds_its_tokens_and_no_others() {
        let (auth, other) = (IssuerName::from("auth"), IssuerName::from("other"));
        let (acme, globex) = (TenantId::from("acme"), TenantId::from("globex"));
        let token = Presented {
            token_id: Some("t1"),
            subject: "ann",
            issuer: &auth,
            tenant: &acme,
            issued: Some(100),
        };
        let index = Index::default();
        assert!(index.is_empty());
        assert_eq!(index.revokes(token, 5), None);
        let by_issuer = Rule {
            issuer: Some(auth.clone()),
            ..rule(2, 10)
        };
        let by_time = Rule {
            issued_before: Some(100),
            ..rule(3, 10)
        };
        index.change(vec![
            (Key::TokenId("t1".into()), vec![rule(1, 10)]),
            (Key::Subject("ann".into()), vec![by_issuer]),
            (Key::Tenant("acme".into()), vec![by_time]),
        ]);
        let found = |token| index.revokes(token, 5).map(|FactId(id)| id[0]);
        assert_eq!(found(token), Some(1));
        assert_eq!(index.revokes(token, 10), None, "it has expired");
        let another = Presented {
            token_id: None,
            ..token
        };
        assert_eq!(found(another), Some(2));
        let elsewhere = Presented {
            issuer: &other,
            ..another
        };
        assert_eq!(found(elsewhere), None, "issued at that very second");
        for issued in [Some(99), None] {
            let earlier = Presented {
                issued,
                ..elsewhere
            };
            assert_eq!(found(earlier), Some(3));
        }
        let stranger = Presented {
            tenant: &globex,
            issued: None,
            ..elsewhere
        };
        assert_eq!(found(stranger), None);
        index.change(vec![(Key::TokenId("t1".into()), vec![])]);
        assert_eq!(found(token), Some(2));
        assert_eq!(index.version(), 2);
    }

    #[test]
    fn an_address_in_any_blocked_net_is_blocked_by_the_narrowest() {
        let index = Index::default();
        index.change(vec![
            (net("10.0.0.0/8"), vec![rule(1, 10)]),
            (net("10.1.2.3/32"), vec![rule(2, 5)]),
            (net("2001:db8::/32"), vec![rule(3, 10)]),
        ]);
        let found = |address: &str, now| {
            let fact = index.blocks(address.parse().unwrap(), now);
            fact.map(|FactId(id)| id[0])
        };
        assert_eq!(found("10.1.2.3", 0), Some(2));
        assert_eq!(found("10.1.2.3", 7), Some(1), "the narrower has expired");
        assert_eq!(found("::ffff:10.9.9.9", 0), Some(1));
        assert_eq!(found("11.0.0.1", 0), None);
        assert_eq!(found("2001:db8:7::1", 0), Some(3));
        assert_eq!(found("2001:db9::1", 0), None);
        index.change(vec![
            (net("10.0.0.0/8"), vec![]),
            (net("10.1.2.3/32"), vec![]),
        ]);
        assert_eq!(found("10.9.9.9", 0), None);
        assert!(index.lengths.load().v4.is_empty());
    }

    proptest! {
        #[test]
        fn blocks_agree_with_looking_at_every_net(
            nets in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            near: prop::sample::Index,
            address: u32,
        ) {
            let mut nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(address, length)| {
                    let net = ipnet::Ipv4Net::new(address.into(), length).unwrap().trunc();
                    IpNet::V4(net)
                })
                .collect();
            let index = Index::default();
            index.change(nets.iter().map(|net| (Key::Net(*net), vec![rule(1, 10)])).collect());
            if !nets.is_empty() {
                for at in removed {
                    let gone = *at.get(&nets);
                    index.change(vec![(Key::Net(gone), vec![])]);
                    nets.retain(|net| *net != gone);
                    if nets.is_empty() {
                        break;
                    }
                }
            }
            let mut asked = vec![IpAddr::V4(address.into())];
            if !nets.is_empty() {
                asked.push(near.get(&nets).addr());
            }
            for address in asked {
                let naive = nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(index.blocks(address, 0).is_some(), naive);
            }
        }
    }
}
