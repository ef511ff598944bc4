//! Mistakes on purpose: each makes one promise break in a real run, and so proves that its invariant notices.
//!
//! In: `planted:` of a scenario file. Out: a checked [`Planted`]. Nothing here reaches a node that runs outside this
//! program: a mistake lies in what the simulator puts around a node or writes for it, or goes through the hooks that
//! only code can hand over.

use meridian_cluster::quota::params::Planted as QuotaPlanted;
use meridian_config::diagnose::Source;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::{
    flawed::{Armed, Flaws},
    gateway::Mistakes,
    workload::upstream,
    world::Place,
};

/// Mistakes that are planted in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planted {
    /// The nodes of this region heed no revocation.
    pub deaf_to_revocations: Option<Place>,
    /// The nodes of this region answer a read that must not be old with what they have.
    pub stale_reads: Option<Place>,
    /// The nodes of this region read another command from their log than was written.
    pub altered_commands: Option<Place>,
    /// The nodes of this region send every POST to its upstream twice.
    pub repeated_orders: Option<Place>,
    /// The nodes of this region never close a connection to an upstream.
    pub kept_streams: Option<Place>,
    /// The nodes of this region keep some memory for each connection to an upstream.
    pub hoarded_memory: Option<Place>,
    /// The nodes of this region lose what they send to others, for a moment.
    pub mute: Option<Place>,
    /// The nodes of this region end by themselves.
    pub ends: Option<Place>,
    /// The nodes of this region are not started again.
    pub stays_down: Option<Place>,
    /// The disks of all nodes say that they have flushed and have not.
    pub forgetful_disks: bool,
    /// Nodes that are told to stop end at once.
    pub undrained_stops: bool,
    /// Faults that take nodes down do nothing.
    pub harmless_faults: bool,
    /// The document names a port of the upstreams at which nobody listens.
    pub dead_endpoints: bool,
    /// The document says nothing of residency.
    pub forgotten_residency: bool,
    /// The ledger gives what a node held that began anew to others at once.
    pub crash_without_cooling: bool,
    /// The ledger gives what a node held that was not heard of for long to others at once.
    pub lapse_without_cooling: bool,
    /// Nodes spend what they hold of limits though their leases are over.
    pub ignored_deadlines: bool,
    /// Nodes spend each token of a limit again a fortieth of a window too early.
    pub early_slots: bool,
    /// The ledger gives of a limit what is asked for, whether it is there or not.
    pub gifts: bool,
    /// Nodes say that they have handed tokens back, and keep them.
    pub kept_returns: bool,
    /// Nodes spend their base share of limits at once after a start.
    pub early_base: bool,
    /// A node that was stopped in order takes all that it had spent of its share for cool.
    pub forgotten_spends: bool,
    /// A request that a limit denies leaves what it took of the first of its limits.
    pub costly_denials: bool,
    /// The ledger heeds asks that it has heard before.
    pub heeded_repeats: bool,
    /// What nodes and ledger hint at is random: no mistake, since nothing that is promised rests on it.
    pub wild_hints: bool,
    /// What nodes hold of limits beside their share is good for seconds without contact: no mistake either.
    pub short_leases: bool,
    /// Nobody looks on at the tokens inside nodes: what breaks is seen from outside or not at all.
    pub unwatched_tokens: bool,
    /// Documents are no documents any more.
    pub broken_documents: bool,
    /// The trace tells which process plays the run: two of them never leave the same.
    pub leak: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlanted {
    deaf_to_revocations: Option<Spanned<String>>,
    stale_reads: Option<Spanned<String>>,
    altered_commands: Option<Spanned<String>>,
    repeated_orders: Option<Spanned<String>>,
    kept_streams: Option<Spanned<String>>,
    hoarded_memory: Option<Spanned<String>>,
    mute: Option<Spanned<String>>,
    ends: Option<Spanned<String>>,
    stays_down: Option<Spanned<String>>,
    #[serde(default)]
    forgetful_disks: bool,
    #[serde(default)]
    undrained_stops: bool,
    #[serde(default)]
    harmless_faults: bool,
    #[serde(default)]
    dead_endpoints: bool,
    #[serde(default)]
    forgotten_residency: bool,
    #[serde(default)]
    crash_without_cooling: bool,
    #[serde(default)]
    lapse_without_cooling: bool,
    #[serde(default)]
    ignored_deadlines: bool,
    #[serde(default)]
    early_slots: bool,
    #[serde(default)]
    gifts: bool,
    #[serde(default)]
    kept_returns: bool,
    #[serde(default)]
    early_base: bool,
    #[serde(default)]
    forgotten_spends: bool,
    #[serde(default)]
    costly_denials: bool,
    #[serde(default)]
    heeded_repeats: bool,
    #[serde(default)]
    wild_hints: bool,
    #[serde(default)]
    short_leases: bool,
    #[serde(default)]
    unwatched_tokens: bool,
    #[serde(default)]
    broken_documents: bool,
    #[serde(default)]
    leak: bool,
}

impl Planted {
    /// Checks what the file says; `region` finds a region by its name, or notes that there is none.
    pub(super) fn check(
        raw: &RawPlanted,
        mut region: impl FnMut(&str, Location) -> Option<Place>,
    ) -> Self {
        let mut place = |name: &Option<Spanned<String>>| {
            let name = name.as_ref()?;
            region(&name.value, name.referenced)
        };
        Self {
            deaf_to_revocations: place(&raw.deaf_to_revocations),
            stale_reads: place(&raw.stale_reads),
            altered_commands: place(&raw.altered_commands),
            repeated_orders: place(&raw.repeated_orders),
            kept_streams: place(&raw.kept_streams),
            hoarded_memory: place(&raw.hoarded_memory),
            mute: place(&raw.mute),
            ends: place(&raw.ends),
            stays_down: place(&raw.stays_down),
            forgetful_disks: raw.forgetful_disks,
            undrained_stops: raw.undrained_stops,
            harmless_faults: raw.harmless_faults,
            dead_endpoints: raw.dead_endpoints,
            forgotten_residency: raw.forgotten_residency,
            crash_without_cooling: raw.crash_without_cooling,
            lapse_without_cooling: raw.lapse_without_cooling,
            ignored_deadlines: raw.ignored_deadlines,
            early_slots: raw.early_slots,
            gifts: raw.gifts,
            kept_returns: raw.kept_returns,
            early_base: raw.early_base,
            forgotten_spends: raw.forgotten_spends,
            costly_denials: raw.costly_denials,
            heeded_repeats: raw.heeded_repeats,
            wild_hints: raw.wild_hints,
            short_leases: raw.short_leases,
            unwatched_tokens: raw.unwatched_tokens,
            broken_documents: raw.broken_documents,
            leak: raw.leak,
        }
    }

    /// What concerns limits.
    pub fn quota(&self) -> QuotaPlanted {
        QuotaPlanted {
            crash_without_cooling: self.crash_without_cooling,
            lapse_without_cooling: self.lapse_without_cooling,
            ignores_deadline: self.ignored_deadlines,
            slot_early: self.early_slots,
            gives_beyond_pool: self.gifts,
            keeps_returns: self.kept_returns,
            base_at_once: self.early_base,
            forgets_remains: self.forgotten_spends,
            denials_cost: self.costly_denials,
            heeds_repeats: self.heeded_repeats,
            wild_hints: self.wild_hints,
            short_leases: self.short_leases,
            ..QuotaPlanted::NONE
        }
    }

    /// The mistakes of the nodes of a region.
    pub(super) fn of(&self, place: Place, armed: &Armed) -> Mistakes {
        let here = |planted: Option<Place>| planted == Some(place);
        Mistakes {
            deaf_to_revocations: here(self.deaf_to_revocations),
            stale_reads: here(self.stale_reads),
            undrained: self.undrained_stops,
            ends: here(self.ends),
            quota: self.quota(),
            unwatched: self.unwatched_tokens,
            flaws: Flaws {
                forgetful_disk: self.forgetful_disks,
                altered_commands: here(self.altered_commands),
                repeated_orders: here(self.repeated_orders),
                kept_streams: here(self.kept_streams),
                hoarded_memory: here(self.hoarded_memory),
                mute: here(self.mute),
                armed: armed.clone(),
            },
        }
    }

    /// The document as it is applied. `armed`: all nodes have served already.
    pub(super) fn spoil(&self, source: Source, armed: bool) -> Source {
        let mut text = source.text;
        if self.dead_endpoints && armed {
            let (port, nobody) = (upstream::PORT, upstream::PORT - 1);
            text = text.replace(&format!(":{port}\""), &format!(":{nobody}\""));
        }
        if self.forgotten_residency {
            text = without_residency(&text);
        }
        if self.broken_documents && armed {
            text.push_str("nothing: of the kind\n");
        }
        let name = source.name;
        Source { name, text }
    }

    /// Each in words; `region` names a region.
    pub fn tell(&self, region: impl Fn(Place) -> String) -> Vec<String> {
        let mut told = Vec::new();
        let of_regions = [
            (
                self.altered_commands,
                "read another command from their log than was written",
            ),
            (self.deaf_to_revocations, "heed no revocation"),
            (
                self.stale_reads,
                "answer a read that must not be old with what they have",
            ),
            (
                self.repeated_orders,
                "send every POST to its upstream twice",
            ),
            (self.kept_streams, "never close a connection to an upstream"),
            (
                self.hoarded_memory,
                "keep a quarter of a megabyte for each connection to an upstream",
            ),
            (self.mute, "lose what they send to others, for a moment"),
            (self.ends, "end by themselves"),
            (self.stays_down, "are not started again"),
        ];
        for (place, what) in of_regions {
            told.extend(place.map(|place| format!("the nodes of {} {what}", region(place))));
        }
        let everywhere = [
            (
                self.forgetful_disks,
                "disks say that they have flushed and have not",
            ),
            (
                self.undrained_stops,
                "nodes that are told to stop end at once",
            ),
            (
                self.harmless_faults,
                "faults that take nodes down do nothing",
            ),
            (
                self.dead_endpoints,
                "the document names a port of the upstreams at which nobody listens",
            ),
            (
                self.forgotten_residency,
                "the document says nothing of residency",
            ),
            (
                self.crash_without_cooling,
                "the ledger gives what a node held that began anew to others at once",
            ),
            (
                self.lapse_without_cooling,
                "the ledger gives what a node held that was not heard of to others at once",
            ),
            (
                self.ignored_deadlines,
                "nodes spend what they hold of limits though their leases are over",
            ),
            (
                self.early_slots,
                "nodes spend each token of a limit again a fortieth of a window too early",
            ),
            (
                self.gifts,
                "the ledger gives of a limit what is asked for, whether it is there or not",
            ),
            (
                self.kept_returns,
                "nodes say that they have handed tokens back, and keep them",
            ),
            (
                self.early_base,
                "nodes spend their base share of limits at once after a start",
            ),
            (
                self.forgotten_spends,
                "a node that was stopped in order takes all that it had spent of its share for cool",
            ),
            (
                self.costly_denials,
                "a request that a limit denies leaves what it took of the first of its limits",
            ),
            (
                self.heeded_repeats,
                "the ledger heeds asks that it has heard before",
            ),
            (
                self.wild_hints,
                "what nodes and ledger hint at is random, which nothing that is promised rests on",
            ),
            (
                self.short_leases,
                "what a node holds of limits beside its share is good for 3 s without contact, its share of those that deny for 8 s",
            ),
            (
                self.unwatched_tokens,
                "nobody looks on at the tokens inside nodes",
            ),
            (self.broken_documents, "documents are no documents any more"),
            (self.leak, "the trace tells which process plays it"),
        ];
        for (planted, what) in everywhere {
            told.extend(planted.then(|| what.to_owned()));
        }
        told
    }
}

/// A document, in YAML or JSON, without its tenants' zones.
fn without_residency(text: &str) -> String {
    let mut left = text;
    let mut without = String::new();
    while let Some(at) = left.find("residency")
        && let Some(end) = left[at..].find(']')
    {
        let before = left[..at].trim_end_matches('"').trim_end();
        let after = left[at + end + 1..].trim_start();
        let (kept, after) = match before.strip_suffix(',') {
            Some(kept) => (kept, after),
            None => (before, after.trim_start_matches(',')),
        };
        without.push_str(kept);
        without.push(' ');
        left = after;
    }
    without + left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_spoiled_document_lacks_what_was_planted_and_nothing_else() {
        let text =
            "tenants:\n  a: { issuers: [i], residency: [eu, us] }\n  e: [\"http://u:8000\"]\n";
        let none = Planted::default();
        assert_eq!(none.spoil(source(text), true).text, text);
        let both = Planted {
            dead_endpoints: true,
            forgotten_residency: true,
            ..none.clone()
        };
        let spoiled = "tenants:\n  a: { issuers: [i] }\n  e: [\"http://u:7999\"]\n";
        assert_eq!(both.spoil(source(text), true).text, spoiled);
        let json = "{ \"a\": { \"residency\": [ \"eu\" ], \"plan\": \"p\" } }\n";
        let spoiled = "{ \"a\": { \"plan\": \"p\" } }\n";
        let told = both.spoil(source(json), false).text;
        assert_eq!(told.replace("  ", " "), spoiled);
        let broken = Planted {
            broken_documents: true,
            ..none
        };
        assert_eq!(broken.spoil(source(text), false).text, text);
        assert_ne!(broken.spoil(source(text), true).text, text);
    }
}
