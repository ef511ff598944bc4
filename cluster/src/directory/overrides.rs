//! Limits that operators have set for tenants while the cluster runs, in place of those of their plans.
//!
//! In: what was set and cleared, in the log's order. Out: [`Overrides`], the same on every node, and the entry of
//! the log that last changed a limit. A core, part of the directory's state.
//!
//! Limits are kept as they were written, like a document: each node reads them with the parser of the document's.
//! An expiry is a fact about them: a node goes by its own clock, and here it only makes room.

use std::{collections::BTreeMap, fmt, time::Duration};

use meridian_config::{document, name::TenantId, units};
use serde::{Deserialize, Serialize};

/// The most that are kept: one for each of ten thousand tenants is a plan rather than an exception.
pub(crate) const MOST: usize = 10_000;

/// Bytes of texts that are kept of all of them: with the rest of the state they fit a snapshot.
pub(crate) const BYTES: usize = 4 << 20;

/// The longest text of a limit, and of a reason.
const TEXT: usize = 512;

/// How long one is kept beyond its expiry, as facts are: by the greatest clock seen, so that one which runs ahead
/// forgets nothing in force.
const LINGER_MS: u64 = 3600 * 1000;

/// Limits of a tenant in place of its plan's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The limits as they were written, a rate (`1000/hour`) or a map each.
    pub limits: Vec<String>,
    /// Where in the log it was set.
    pub index: u64,
    /// Who set it (the admin token's name).
    pub by: String,
    /// When: ms since the Unix epoch, by the clock of the node that was asked.
    pub unix_ms: u64,
    /// When it is over: ms since the Unix epoch, by each node's own clock; none: when it is cleared.
    pub expires_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

impl Override {
    /// Whether it is over at this time (ms since the Unix epoch).
    pub fn is_over(&self, unix_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= unix_ms)
    }

    fn weight(&self) -> usize {
        let limits: usize = self.limits.iter().map(|text| text.len() + 8).sum();
        limits + self.by.len() + self.reason.len() + 64
    }
}

/// What is asked of a tenant's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetQuota {
    /// Whose.
    pub tenant: TenantId,
    /// As of [`Override::limits`].
    pub limits: Vec<String>,
    /// As of [`Override::expires_ms`].
    pub expires_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

impl SetQuota {
    /// Whether all of it can be kept and read: what is wrong otherwise, a line a mistake.
    pub(crate) fn check(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        if self.reason.len() > TEXT {
            mistakes.push(format!(
                "the reason is {} bytes long; {TEXT} is the most",
                self.reason.len()
            ));
        }
        match self.limits.iter().position(|text| text.len() > TEXT) {
            Some(long) => mistakes.push(format!(
                "limit {}: is {} bytes long; {TEXT} is the most",
                long + 1,
                self.limits[long].len()
            )),
            None => {
                if let Err(wrong) = document::tenant_limits(&self.limits) {
                    mistakes.extend(wrong.iter().map(ToString::to_string));
                }
            }
        }
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(mistakes),
        }
    }

    /// What the audit says it was done to, asked at this time (ms since the Unix epoch).
    pub(crate) fn target(&self, unix_ms: u64) -> String {
        let mut text = format!("{}: {}", self.tenant, self.limits.join(", "));
        if let Some(expires) = self.expires_ms {
            let left = Duration::from_secs(expires.saturating_sub(unix_ms).div_ceil(1000));
            text += &format!(" for {}", units::duration_text(left));
        }
        if !self.reason.is_empty() {
            text += &format!(" ({})", self.reason);
        }
        text
    }
}

/// Why a tenant's limits stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unset {
    /// There is no room for more.
    Full,
    /// There is nothing to clear.
    NotThere,
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "as many limits of tenants are set as the cluster keeps",
            Self::NotThere => "the tenant has the limits of its plan",
        })
    }
}

/// All that is set, and since when limits are as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    tenants: BTreeMap<TenantId, Override>,
    bytes: usize,
    /// The entry that last set or cleared one.
    changed: u64,
    /// The newest revision, and the entry that made it.
    revision: (u64, u64),
}

impl Overrides {
    /// One that `ada` set in the first entry of a log, which made the first revision too, for tests of who serves by
    /// it.
    #[doc(hidden)]
    pub fn of_tenant(wish: SetQuota) -> Self {
        let mut overrides = Self::default();
        overrides.revised(1, 1);
        let set = Set {
            index: 1,
            by: "ada",
            unix_ms: 0,
        };
        overrides.set(wish, set, 0).expect("there is room for one");
        overrides
    }

    /// Those that are kept, by tenant: some may be over.
    pub fn all(&self) -> &BTreeMap<TenantId, Override> {
        &self.tenants
    }

    /// A tenant's, if it is in force at this time (ms since the Unix epoch).
    pub fn of(&self, tenant: &TenantId, unix_ms: u64) -> Option<&Override> {
        let set = self.tenants.get(tenant);
        set.filter(|set| !set.is_over(unix_ms))
    }

    /// Which limits a node serves that serves that revision with these, by its clock (ms since the Unix epoch); none if
    /// the revision is not the newest, of which alone the entry is known.
    ///
    /// Of two, the greater is newer, whichever node says so: what is set or cleared comes by an entry, and what is over
    /// counts beside it, since clocks do not agree on when that is. The first node by whose clock it is over decides for
    /// all keys that it shares with others.
    pub fn as_of(&self, revision: u64, unix_ms: u64) -> Option<AsOf> {
        let (newest, index) = self.revision;
        (newest == revision).then(|| {
            let over = self.tenants.values().filter(|set| set.is_over(unix_ms));
            let over = u16::try_from(over.count()).unwrap_or(u16::MAX);
            AsOf {
                index: index.max(self.changed),
                over,
            }
        })
    }

    /// What tells two states apart that nodes see: which revision, and what is set.
    pub(crate) fn version(&self) -> (u64, u64) {
        (self.revision.0, self.changed)
    }

    /// Notes that the entry at `index` made that revision the newest.
    pub(crate) fn revised(&mut self, revision: u64, index: u64) {
        self.revision = (revision, index);
    }

    /// Takes what was set; `clock` is the greatest time seen.
    pub(crate) fn set(&mut self, wish: SetQuota, set: Set<'_>, clock: u64) -> Result<(), Unset> {
        self.forget_over(clock);
        let new = Override {
            limits: wish.limits,
            index: set.index,
            by: set.by.to_owned(),
            unix_ms: set.unix_ms,
            expires_ms: wish.expires_ms,
            reason: wish.reason,
        };
        let before = self.tenants.get(&wish.tenant);
        let count = self.tenants.len() + usize::from(before.is_none());
        let old = before.map_or(0, Override::weight);
        let bytes = self.bytes.saturating_sub(old) + new.weight();
        if count > MOST || bytes > BYTES {
            return Err(Unset::Full);
        }
        self.bytes = bytes;
        self.tenants.insert(wish.tenant, new);
        self.changed = set.index;
        Ok(())
    }

    /// Takes a tenant's out.
    pub(crate) fn clear(&mut self, tenant: &TenantId, index: u64, clock: u64) -> Result<(), Unset> {
        self.forget_over(clock);
        let before = self.tenants.remove(tenant).ok_or(Unset::NotThere)?;
        self.bytes = self.bytes.saturating_sub(before.weight());
        self.changed = index;
        Ok(())
    }

    fn forget_over(&mut self, clock: u64) {
        let over = clock.saturating_sub(LINGER_MS);
        let bytes = &mut self.bytes;
        self.tenants.retain(|_, set| {
            let stays = !set.is_over(over);
            if !stays {
                *bytes = bytes.saturating_sub(set.weight());
            }
            stays
        });
    }
}

/// Which limits a node serves, in the order in which they come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AsOf {
    /// The entry of the log that last changed one, by a document or by an operator.
    pub index: u64,
    /// How many of those that are set were over by then; at most [`MOST`] are.
    over: u16,
}

impl AsOf {
    /// As a number that has their order: how asks to the ledger say it. A log of 2^48 entries is longer than any.
    pub fn number(self) -> u64 {
        self.index << 16 | u64::from(self.over)
    }
}

/// Who sets something, and when.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a> {
    pub(crate) index: u64,
    pub(crate) by: &'a str,
    pub(crate) unix_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(tenant: &str, limits: &[&str], expires_ms: Option<u64>) -> SetQuota {
        SetQuota {
            tenant: tenant.into(),
            limits: limits.iter().map(|&text| text.to_owned()).collect(),
            expires_ms,
            reason: "launch day".to_owned(),
        }
    }

    /// By a clock that stands at the epoch.
    fn as_of(overrides: &Overrides, revision: u64) -> Option<u64> {
        overrides.as_of(revision, 0).map(|as_of| as_of.index)
    }

    fn at(index: u64) -> Set<'static> {
        Set {
            index,
            by: "ada",
            unix_ms: index * 1000,
        }
    }

    #[test]
    fn what_is_set_holds_until_it_is_cleared_or_over() {
        let mut overrides = Overrides::default();
        let (acme, globex) = (TenantId::from("acme"), TenantId::from("globex"));
        overrides.revised(1, 4);
        assert_eq!(as_of(&overrides, 1), Some(4));
        overrides
            .set(wish("acme", &["9000/hour"], Some(5_000)), at(5), 0)
            .unwrap();
        overrides
            .set(wish("globex", &["1/second"], None), at(6), 0)
            .unwrap();
        let acmes = overrides.of(&acme, 4_999).unwrap();
        assert_eq!((acmes.by.as_str(), acmes.index), ("ada", 5));
        assert!(overrides.of(&acme, 5_000).is_none());
        assert!(overrides.of(&globex, u64::MAX).is_some());
        assert_eq!(
            (as_of(&overrides, 1), as_of(&overrides, 2)),
            (Some(6), None)
        );
        overrides.clear(&globex, 9, 0).unwrap();
        assert_eq!(overrides.clear(&globex, 10, 0), Err(Unset::NotThere));
        assert!(overrides.of(&globex, 0).is_none());
        assert_eq!(as_of(&overrides, 1), Some(9));
        overrides.revised(2, 12);
        assert_eq!(
            (as_of(&overrides, 1), as_of(&overrides, 2)),
            (None, Some(12))
        );
    }

    #[test]
    fn nodes_whose_clocks_differ_agree_on_which_limits_are_newer() {
        let mut overrides = Overrides::default();
        overrides.revised(1, 4);
        for (tenant, index, expires_ms) in [("acme", 5, 5_000), ("globex", 6, 9_000)] {
            overrides
                .set(wish(tenant, &["9/hour"], Some(expires_ms)), at(index), 0)
                .unwrap();
        }
        // Two nodes, one of them 700 ms ahead: of what they say at one moment, the one's is newer or the same, never
        // older; and newer exactly where it has dropped what the other has not.
        let acme = TenantId::from("acme");
        let mut before = None;
        for ms in (0..12_000).step_by(100) {
            let (behind, ahead) = (overrides.as_of(1, ms), overrides.as_of(1, ms + 700));
            assert!(behind >= before && ahead >= behind, "at {ms}");
            let drops = |ms| overrides.of(&acme, ms).is_none();
            if drops(ms + 700) != drops(ms) {
                assert!(ahead > behind, "at {ms}");
            }
            before = behind;
        }
        let last = overrides.as_of(1, u64::MAX).unwrap();
        assert_eq!((last.index, last.number()), (6, 6 << 16 | 2));
        // What is set after that is newer still, though what is over is forgotten.
        let (clock, wish) = (20_000 + LINGER_MS, wish("initech", &["9/hour"], None));
        overrides.set(wish, at(7), clock).unwrap();
        let newest = overrides.as_of(1, 0).unwrap();
        assert!(newest > last && newest.number() > last.number());
        assert_eq!(overrides.all().len(), 1);
    }

    #[test]
    fn what_is_over_is_forgotten_late_and_makes_room() {
        let mut overrides = Overrides::default();
        overrides
            .set(wish("acme", &["9000/hour"], Some(1_000)), at(1), 0)
            .unwrap();
        overrides
            .set(wish("globex", &["1/second"], None), at(2), LINGER_MS)
            .unwrap();
        assert_eq!(overrides.all().len(), 2, "a clock may run ahead");
        overrides
            .set(
                wish("globex", &["2/second"], None),
                at(3),
                LINGER_MS + 1_000,
            )
            .unwrap();
        assert_eq!(overrides.all().len(), 1);
        let left: usize = overrides.all().values().map(Override::weight).sum();
        assert_eq!(overrides.bytes, left);
        overrides.clear(&"globex".into(), 4, 0).unwrap();
        assert_eq!(overrides.bytes, 0);
    }

    #[test]
    fn there_is_a_most_in_number_and_in_bytes() {
        let mut overrides = Overrides::default();
        for number in 0..MOST as u64 {
            let tenant = format!("t{number}");
            overrides
                .set(wish(&tenant, &["1/second"], None), at(number), 0)
                .unwrap();
        }
        let more = overrides.set(wish("more", &["1/second"], None), at(1), 0);
        assert_eq!(more, Err(Unset::Full));
        // One that is there can be changed.
        overrides
            .set(wish("t7", &["2/second"], None), at(2), 0)
            .unwrap();
        let mut overrides = Overrides::default();
        let long = "x".repeat(TEXT);
        let texts = [long.as_str(); 128];
        let held = (0..)
            .take_while(|number| {
                let tenant = format!("t{number}");
                overrides.set(wish(&tenant, &texts, None), at(1), 0).is_ok()
            })
            .count();
        assert!(overrides.bytes <= BYTES && held > 50, "{held}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let told = |limits: &[&str]| wish("t", limits, None).check().unwrap_err();
        assert!(
            wish("t", &["10/hour", "{ rate: 5/second, window: fixed }"], None)
                .check()
                .is_ok()
        );
        assert_eq!(
            told(&["10/hour", "{ rate: 5/second, window: fixd }"]),
            ["limit 2:1:27: limits[1].window: \"fixd\" is not known here; did you mean \"fixed\"?"]
        );
        assert_eq!(
            told(&["0/hour"]),
            ["limit 1:1:1: limits[0]: \"0/hour\" admits nothing; the amount must be at least 1"]
        );
        assert_eq!(
            told(&["1/hour", "2/hour"]),
            [
                "limit 2:1:1: limits[1]: a limit before it has the id \"tenant-hour\" too; give one a name, { rate: …, name: … }"
            ]
        );
        assert!(
            told(&[])[0].contains("name at least one"),
            "{:?}",
            told(&[])
        );
        assert!(told(&[&"x".repeat(513)])[0].contains("limit 1: is 513 bytes long"));
        let long = SetQuota {
            reason: "r".repeat(513),
            ..wish("t", &["1/hour"], None)
        };
        assert!(long.check().unwrap_err()[0].contains("513"));
    }

    #[test]
    fn the_audit_says_what_for_how_long_and_why() {
        let hours = wish("acme", &["9000/hour", "90/second"], Some(7_201_000));
        assert_eq!(
            hours.target(1_000),
            "acme: 9000/hour, 90/second for 2h (launch day)"
        );
        let plain = SetQuota {
            reason: String::new(),
            ..wish("acme", &["9000/hour"], None)
        };
        assert_eq!(plain.target(1_000), "acme: 9000/hour");
    }
}
