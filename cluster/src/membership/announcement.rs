//! What a node says of itself, as the keys and values of gossip.
//!
//! One key a fact, so that gossip sends only what changed. A core, paired with the shell in `gossip`.

use std::{collections::BTreeMap, time::Duration};

use super::Announced;
use crate::version::Versions;

/// Bytes of keys and values that a node may gossip. Gossip's own message limit is a little under twice
/// this, and past it a value would silently never spread.
pub(super) const LIMIT: usize = 32 * 1024;

/// Characters of a rejection's reason that are gossiped; the node's log has the rest.
const REASON_LIMIT: usize = 1024;

const REVISION: &str = "revision";
const REJECTED: &str = "rejected";
const DECIDED: &str = "decided";
const LOAD: &str = "load";
const DRAINING: &str = "draining";
/// Count and digest of the facts held.
const FACTS: &str = "facts";
/// As `1-2`. A node of the first version does not say it.
const VERSIONS: &str = "versions";
const SERVICE: &str = "service.";
const ADDRESS: &str = "address.";
/// In µs.
const LATENCY: &str = "latency.";

/// The keys and values that say `announced`, and how many services were left out to stay within
/// [`LIMIT`]: peers then believe them healthy until a forwarded request finds otherwise.
pub(super) fn write(announced: &Announced) -> (BTreeMap<String, String>, usize) {
    let mut keys = BTreeMap::from([
        (REVISION.to_owned(), announced.revision.to_string()),
        (DECIDED.to_owned(), announced.decided_ms.to_string()),
        (LOAD.to_owned(), announced.load.to_string()),
    ]);
    if announced.draining {
        keys.insert(DRAINING.to_owned(), String::new());
    }
    if let Some((revision, reason)) = &announced.rejected {
        let reason: String = reason.chars().take(REASON_LIMIT).collect();
        keys.insert(REJECTED.to_owned(), format!("{revision} {reason}"));
    }
    if let Some(digest) = &announced.facts {
        keys.insert(FACTS.to_owned(), digest.to_string());
    }
    if announced.versions != Versions::first() {
        keys.insert(VERSIONS.to_owned(), announced.versions.to_string());
    }
    for (name, address) in &announced.addresses {
        keys.insert(format!("{ADDRESS}{name}"), address.clone());
    }
    for (region, latency) in &announced.latencies {
        keys.insert(
            format!("{LATENCY}{region}"),
            latency.as_micros().to_string(),
        );
    }
    let mut size: usize = keys
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let mut left_out = 0;
    for (name, healthy) in &announced.services {
        let (key, value) = (format!("{SERVICE}{name}"), healthy.to_string());
        size += key.len() + value.len();
        if size > LIMIT {
            left_out += 1;
        } else {
            keys.insert(key, value);
        }
    }
    (keys, left_out)
}

/// What keys and values say. Unknown keys are of a later version; what cannot be read is left at its
/// default.
pub(super) fn read<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> Announced {
    let mut announced = Announced::default();
    for (key, value) in keys {
        if let Some(name) = key.strip_prefix(SERVICE) {
            if let Ok(healthy) = value.parse() {
                announced.services.insert(name.into(), healthy);
            }
        } else if let Some(name) = key.strip_prefix(ADDRESS) {
            announced
                .addresses
                .insert(name.to_owned(), value.to_owned());
        } else if let Some(region) = key.strip_prefix(LATENCY) {
            if let Ok(micros) = value.parse() {
                let latency = Duration::from_micros(micros);
                announced.latencies.insert(region.into(), latency);
            }
        } else {
            match key {
                REVISION => announced.revision = value.parse().unwrap_or_default(),
                DECIDED => announced.decided_ms = value.parse().unwrap_or_default(),
                LOAD => announced.load = value.parse().unwrap_or_default(),
                DRAINING => announced.draining = true,
                FACTS => announced.facts = value.parse().ok(),
                VERSIONS => announced.versions = value.parse().unwrap_or_default(),
                REJECTED => {
                    announced.rejected = value.split_once(' ').and_then(|(revision, reason)| {
                        Some((revision.parse().ok()?, reason.to_owned()))
                    });
                }
                _ => {}
            }
        }
    }
    announced
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(keys: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
        keys.iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            revision in any::<u64>(),
            decided_ms in any::<u64>(),
            load in any::<u32>(),
            draining in any::<bool>(),
            rejected in prop::option::of((any::<u64>(), ".{0,80}")),
            services in prop::collection::btree_map("[a-z-]{1,12}", any::<u32>(), 0..8),
            addresses in prop::collection::btree_map("[a-z]{1,8}", "[0-9.:]{1,20}", 0..4),
            latencies in prop::collection::btree_map("[a-z-]{1,12}", any::<u32>(), 0..4),
            facts in prop::option::of(any::<u32>()),
            (oldest, more) in (1_u8..9, 0_u8..9),
        ) {
            let announced = Announced {
                revision,
                rejected,
                decided_ms,
                load,
                draining,
                services: services.into_iter().map(|(name, n)| (name.as_str().into(), n)).collect(),
                addresses,
                latencies: latencies
                    .into_iter()
                    .map(|(name, n)| (name.as_str().into(), Duration::from_micros(n.into())))
                    .collect(),
                facts: facts.map(|count| format!("{count} {:032x}", u128::from(count) << 64).parse().unwrap()),
                versions: Versions { oldest, newest: oldest + more },
            };
            let (keys, left_out) = write(&announced);
            prop_assert_eq!(left_out, 0);
            prop_assert_eq!(read(pairs(&keys)), announced);
        }

        #[test]
        fn whatever_peers_gossip_is_read(keys in prop::collection::btree_map(".{0,20}", ".{0,20}", 0..20)) {
            read(pairs(&keys));
        }
    }

    #[test]
    fn more_services_than_gossip_carries_are_left_out_and_counted() {
        let announced = Announced {
            services: (0..5000)
                .map(|n| (format!("service-number-{n}").as_str().into(), 3))
                .collect(),
            ..Announced::default()
        };
        let (keys, left_out) = write(&announced);
        assert!(left_out > 0);
        assert!(pairs(&keys).map(|(k, v)| k.len() + v.len()).sum::<usize>() <= LIMIT);
        assert_eq!(read(pairs(&keys)).services.len() + left_out, 5000);
    }
}
