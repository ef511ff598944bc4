//! Mistakes on purpose: each makes one promise break in a real run, and so proves that its invariant notices.
//!
//! In: `planted:` of a scenario file. Out: a checked [`Planted`]. Nothing here reaches a node that runs outside this
//! program: a mistake lies in what the simulator puts around a node, or goes through the hooks that only code can
//! hand over.

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::{gateway::Mistakes, world::Place};

/// Mistakes that are planted in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planted {
    /// The nodes of this region heed no revocation.
    pub deaf_to_revocations: Option<Place>,
    /// The nodes of this region answer a read that must not be old with what they have.
    pub stale_reads: Option<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlanted {
    deaf_to_revocations: Option<Spanned<String>>,
    stale_reads: Option<Spanned<String>>,
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
        }
    }

    /// The mistakes of the nodes of a region.
    pub(super) fn of(&self, place: Place) -> Mistakes {
        Mistakes {
            deaf_to_revocations: self.deaf_to_revocations == Some(place),
            stale_reads: self.stale_reads == Some(place),
        }
    }

    /// Each in words; `region` names a region.
    pub fn tell(&self, region: impl Fn(Place) -> String) -> Vec<String> {
        let mut told = Vec::new();
        let mut of = |place: Option<Place>, what: &str| {
            told.extend(place.map(|place| format!("the nodes of {} {what}", region(place))));
        };
        of(self.deaf_to_revocations, "heed no revocation");
        of(
            self.stale_reads,
            "answer a read that must not be old with what they have",
        );
        told
    }
}
