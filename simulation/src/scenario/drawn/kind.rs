//! What can be drawn, and what keeps a kind from being drawn.
//!
//! A core: a kind, bounds and a cluster come in; a reason comes out where the kind finds no room, or would leave no
//! sign, or would take more than the cluster survives.

use std::time::Duration;

use meridian_config::units::duration_text;

use super::{Bounds, Cluster};

/// A kind of fault that can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrawnKind {
    /// `power_off`, of a region or a node.
    PowerOff,
    /// `kill`, of a region or a node.
    Kill,
    /// `kill` with `wipe`, of a node.
    Wipe,
    /// `pause`, of a region or a node.
    Pause,
    /// `suspend`, of a region or a node.
    Suspend,
    /// `stop`, of a region's nodes or of one.
    Stop,
    /// `isolate`, of a region or a node.
    Isolate,
    /// `disk_slow`, of a region or a node.
    DiskSlow,
    /// `disk_stall`, of a region or a node.
    DiskStall,
    /// `disk_full`, of a region or a node.
    DiskFull,
    /// `disk_errors`, of a region or a node.
    DiskErrors,
    /// `disk_corrupt`, of a node.
    DiskCorrupt,
    /// `clock`, of a region or a node.
    Clock,
    /// `cut`, both ways.
    Cut,
    /// `cut`, with `one_way`.
    CutOneWay,
    /// `flap`, now and then one way.
    Flap,
    /// `slow`, now and then one way.
    Slow,
    /// `lossy`, now and then one way.
    Lossy,
    /// `narrow`, now and then one way.
    Narrow,
    /// `kill_upstreams`.
    KillUpstreams,
    /// `upstream_slow`.
    UpstreamSlow,
    /// `upstream_errors`.
    UpstreamErrors,
    /// `upstream_hangs`.
    UpstreamHangs,
    /// `upstream_flaps`.
    UpstreamFlaps,
    /// `issuer_down`.
    IssuerDown,
    /// `issuer_errors`, with an `issuer_rotates` in it: else nobody might ask for keys.
    IssuerErrors,
    /// `issuer_rotates`.
    IssuerRotates,
}

impl DrawnKind {
    /// All, with their names in files.
    pub const ALL: [(&'static str, Self); 27] = [
        ("power_off", Self::PowerOff),
        ("kill", Self::Kill),
        ("wipe", Self::Wipe),
        ("pause", Self::Pause),
        ("suspend", Self::Suspend),
        ("stop", Self::Stop),
        ("isolate", Self::Isolate),
        ("disk_slow", Self::DiskSlow),
        ("disk_stall", Self::DiskStall),
        ("disk_full", Self::DiskFull),
        ("disk_errors", Self::DiskErrors),
        ("disk_corrupt", Self::DiskCorrupt),
        ("clock", Self::Clock),
        ("cut", Self::Cut),
        ("cut_one_way", Self::CutOneWay),
        ("flap", Self::Flap),
        ("slow", Self::Slow),
        ("lossy", Self::Lossy),
        ("narrow", Self::Narrow),
        ("kill_upstreams", Self::KillUpstreams),
        ("upstream_slow", Self::UpstreamSlow),
        ("upstream_errors", Self::UpstreamErrors),
        ("upstream_hangs", Self::UpstreamHangs),
        ("upstream_flaps", Self::UpstreamFlaps),
        ("issuer_down", Self::IssuerDown),
        ("issuer_errors", Self::IssuerErrors),
        ("issuer_rotates", Self::IssuerRotates),
    ];

    /// Its name in bounds.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("unnamed", |(name, _)| name)
    }

    /// The key by which a file lists such a fault.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Wipe => "kill",
            Self::CutOneWay => "cut",
            _ => self.name(),
        }
    }

    /// Why it cannot be drawn for such a cluster within such bounds; none: every seed finds room for one.
    pub fn why_not(self, bounds: &Bounds, cluster: &Cluster) -> Option<String> {
        let most = *bounds.lasts.end();
        if self.takes_two_regions() && cluster.regions.len() < 2 {
            return Some("takes two regions".to_owned());
        }
        if self.forgets() && cluster.disks_to_lose() == 0 {
            return Some(
                "needs three nodes that vote: of fewer, none may lose its disk".to_owned(),
            );
        }
        let least = self.least();
        if most < least {
            return Some(format!(
                "may leave no sign in less than {}; write a longer `for`",
                duration_text(least)
            ));
        }
        if self == Self::IssuerErrors {
            if !cluster.traffic {
                return Some("needs traffic: else nobody asks the issuer for keys".to_owned());
            }
            if bounds.at_once < 2 || *bounds.count.start() < 2 {
                let why = "comes with a new key, for which the issuer is asked; write an `at_once` and a `count` from 2 upwards";
                return Some(why.to_owned());
            }
            if most < bounds.shortest_errors() {
                return Some(format!(
                    "needs {} for a new key to be asked for in it; write a longer `for` or a shorter `apart`",
                    duration_text(bounds.shortest_errors())
                ));
            }
        }
        let longest = self.longest(bounds, cluster);
        (bounds.within < *bounds.apart.end() + longest).then(|| {
            format!(
                "may begin after {} and take {}, which does not end within {}; write a longer `within`",
                duration_text(*bounds.apart.end()),
                duration_text(longest),
                duration_text(bounds.within)
            )
        })
    }

    /// The shortest that surely leaves a sign. Nodes speak to each other every 100 ms, and check their region's upstreams
    /// every 500 ms; operators write every 2 s (`editors::RACE`), which reaches every disk.
    pub(super) fn least(self) -> Duration {
        Duration::from_millis(match self {
            Self::DiskSlow | Self::DiskStall | Self::DiskFull | Self::DiskErrors | Self::Lossy => {
                4_000
            }
            Self::UpstreamSlow | Self::UpstreamErrors | Self::UpstreamHangs => 3_000,
            Self::Narrow => 2_000,
            // That it comes back at least once.
            Self::Flap | Self::UpstreamFlaps => 2_000,
            _ => 0,
        })
    }

    /// How long one takes at most.
    fn longest(self, bounds: &Bounds, cluster: &Cluster) -> Duration {
        match self {
            Self::Stop => {
                let nodes = cluster.nodes.iter().max().copied().unwrap_or_default();
                round(*bounds.lasts.start(), nodes)
            }
            Self::IssuerErrors => *bounds.lasts.end() * 2,
            Self::DiskFull | Self::DiskErrors => *bounds.lasts.end() + RESTART,
            _ => *bounds.lasts.end(),
        }
    }

    /// Whether it befalls a link, or all links of a region.
    fn takes_two_regions(self) -> bool {
        self == Self::Isolate || self.is_of_a_link()
    }

    /// Whether it befalls a link.
    pub(super) fn is_of_a_link(self) -> bool {
        matches!(
            self,
            Self::Cut | Self::CutOneWay | Self::Flap | Self::Slow | Self::Lossy | Self::Narrow
        )
    }

    /// Whether it befalls the upstreams of a region, apart from its nodes.
    pub(super) fn is_of_upstreams(self) -> bool {
        matches!(
            self,
            Self::KillUpstreams
                | Self::UpstreamSlow
                | Self::UpstreamErrors
                | Self::UpstreamHangs
                | Self::UpstreamFlaps
        )
    }

    /// Whether it befalls the issuer of tokens.
    pub(super) fn is_of_the_issuer(self) -> bool {
        matches!(
            self,
            Self::IssuerDown | Self::IssuerErrors | Self::IssuerRotates
        )
    }

    /// Whether it befalls disks that go on afterwards with what lies on them, and shows only when they are used.
    pub(super) fn is_of_a_disk(self) -> bool {
        matches!(
            self,
            Self::DiskSlow | Self::DiskStall | Self::DiskFull | Self::DiskErrors
        )
    }

    /// Whether a node that it befell no longer knows what it voted for.
    pub(super) fn forgets(self) -> bool {
        matches!(self, Self::Wipe | Self::DiskCorrupt)
    }

    /// Whether the nodes that it befalls say nothing for some of its time.
    pub(super) fn silences(self) -> bool {
        matches!(
            self,
            Self::PowerOff
                | Self::Kill
                | Self::Wipe
                | Self::Pause
                | Self::Suspend
                | Self::Stop
                | Self::DiskFull
                | Self::DiskErrors
                | Self::DiskCorrupt
        )
    }
}

impl Bounds {
    /// The shortest time of errors in which a new key is asked for.
    pub(super) fn shortest_errors(&self) -> Duration {
        *self.apart.start() + ASKED
    }
}

/// How long it takes to stop and start some nodes one after another, each away for so long.
pub(super) fn round(away: Duration, nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    away.saturating_add(TURN).saturating_mul(nodes)
}

/// For a node that is told to stop to end, and for one that is started again to serve and see all others: SEEN 2 to 5 s.
const TURN: Duration = Duration::from_secs(5);

/// For a node whose disk is well again to be started again (`schedule::active`).
pub(super) const RESTART: Duration = Duration::from_secs(1);

/// For a new key to reach some client's token, and the issuer to be asked for it by some node.
pub(super) const ASKED: Duration = Duration::from_secs(2);
