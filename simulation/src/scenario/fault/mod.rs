//! What goes wrong: the kinds of faults as plain data.
//!
//! In: a fault of a scenario file, or one that was drawn from a seed. Out: what the schedule does to the stage.
//! A kind is a value without behaviour: [`text`] reads it from a file, prints it back and says it in words;
//! the schedule carries it out.

mod text;

use std::time::Duration;

pub use text::Names;
pub(super) use text::{KINDS, Options, RawFault, Value, node_name};

use crate::workload::{Area, manner::Ways};
use crate::world::{Capacity, DiskTrouble, Drift, Part, Place, Trouble};

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When it begins, from the moment when all nodes serve.
    pub at: Duration,
    /// What goes wrong.
    pub what: FaultKind,
    /// How long it lasts; for [`FaultKind::Stop`]: how long each node is away after it has ended.
    pub lasts: Duration,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// Nodes lose power; of a region also the upstreams.
    PowerOff(Target),
    /// Nodes are killed; their kernels and the upstreams live.
    Kill(Target),
    /// Nodes are killed, and their disks are replaced by empty ones.
    Wipe(Target),
    /// The processes of nodes stand still, as after SIGSTOP or in a long stall: their kernels take packets and
    /// connections, and every timer is late when they go on.
    Pause(Target),
    /// The machines of nodes stand still, as suspended ones do: they say nothing, and when they go on their
    /// wall clocks have jumped while their monotonic ones stood.
    Suspend(Target),
    /// Nodes are stopped, and start again with this release.
    Upgrade(Target),
    /// The upstreams of a region are killed.
    KillUpstreams(Target),
    /// The upstreams of a region take longer for everything, health checks too.
    UpstreamSlow {
        /// Whose upstreams.
        whom: Target,
        /// By how much.
        latency: Duration,
    },
    /// The upstreams of a region answer a share of all requests, health checks too, with 503.
    UpstreamErrors {
        /// Whose upstreams.
        whom: Target,
        /// How many.
        share: Share,
    },
    /// The upstreams of a region take requests and never answer them.
    UpstreamHangs(Target),
    /// The upstreams of a region are killed and started again and again, killed first.
    UpstreamFlaps {
        /// Whose upstreams.
        whom: Target,
        /// How the times follow each other.
        rhythm: Rhythm,
    },
    /// The issuer of tokens loses power.
    IssuerDown,
    /// The issuer of tokens answers a share of all requests with 503.
    IssuerErrors {
        /// How many.
        share: Share,
    },
    /// The issuer of tokens signs with a new key from then on; while it lasts, the earlier key is published as well.
    IssuerRotates,
    /// Every operation on the disks of nodes takes longer.
    DiskSlow {
        /// Whose disks.
        whom: Target,
        /// By how much.
        latency: Duration,
    },
    /// No operation on the disks of nodes comes to an end.
    DiskStall(Target),
    /// The disks of nodes are full: every write is refused. Whoever makes room starts the node again.
    DiskFull(Target),
    /// The disks of nodes give errors to every read. Whoever mends them starts the node again.
    DiskErrors(Target),
    /// Nodes lose power, and when it is back a bit of what lies on their disks is another one.
    DiskCorrupt {
        /// Whose disks.
        whom: Target,
        /// Where on them.
        part: Part,
    },
    /// The clocks of nodes jump, and drift from there; in the end they are set right.
    Clock {
        /// Whose clocks.
        whom: Target,
        /// How far the wall clock is ahead of the others, in milliseconds; behind, below 0.
        offset_ms: i64,
        /// How much faster the wall clock and the monotonic one run.
        drift: Drift,
    },
    /// What goes over a link is lost.
    Cut(Link),
    /// A link is cut and heals again and again, cut first.
    Flap {
        /// Which link.
        link: Link,
        /// How the times follow each other.
        rhythm: Rhythm,
    },
    /// Everything takes longer over a link.
    Slow {
        /// Which link.
        link: Link,
        /// Added to its latency.
        latency: Duration,
        /// Added as well, evenly drawn from zero to this for each packet.
        jitter: Duration,
    },
    /// A link loses, doubles or reorders packets.
    Lossy {
        /// Which link.
        link: Link,
        /// How many are lost.
        loss: Share,
        /// How many arrive twice.
        duplication: Share,
        /// By how much packets are late, evenly drawn from zero to this: some overtake others.
        jitter: Duration,
    },
    /// A link carries no more than this.
    Narrow {
        /// Which link.
        link: Link,
        /// Bytes in a second.
        each_second: u64,
        /// How long a packet waits for it at most.
        queue: Duration,
    },
    /// A region is cut off from every other; a single node is cut off from everybody, its own region included.
    Isolate(Target),
    /// The nodes of the first region send bulk to those of the second as fast as their connections take it.
    Flood {
        /// Where from.
        from: Place,
        /// Where to.
        to: Place,
    },
    /// A new node of a region joins, stays as long as the fault lasts, and is drained and removed then.
    Join(Place),
    /// Nodes are told to stop, as SIGTERM does, and are started again when they have ended: one after
    /// another, each when the one before serves again and all nodes see each other.
    Stop(Whom),
}

/// How what comes and goes does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How long it is gone each time.
    pub down: Duration,
    /// How long it is there each time.
    pub up: Duration,
    /// Each of these times is drawn from the seed: from half of it to one and a half.
    pub drawn: bool,
}

/// A share of all, in hundredths of a percent: whole, so that it is read back as it was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// The way between two different regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Where from.
    pub from: Place,
    /// Where to.
    pub to: Place,
    /// Whether the way back is left as it is.
    pub one_way: bool,
}

/// Which nodes are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Every node of every region.
    Each,
    /// These.
    Of(Target),
}

/// A region or a node, by name or by its part at the time of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This region.
    Region(Place),
    /// The region of the node that leads the Raft group when the fault begins.
    Leader,
    /// This node.
    Node(Spot),
    /// The node that leads the Raft group when the fault begins.
    LeaderNode,
}

/// A node, by its region and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Its region.
    pub place: Place,
    /// Its number in that region, from 1.
    pub number: usize,
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl Link {
    /// The directions that are touched, as pairs of regions.
    pub fn ways(self) -> impl Iterator<Item = (Place, Place)> {
        let back = (!self.one_way).then_some((self.to, self.from));
        [(self.from, self.to)].into_iter().chain(back)
    }
}

impl Target {
    /// Whether a node is meant; `None` where that is only known when the fault begins.
    pub fn covers(self, node: Spot) -> Option<bool> {
        match self {
            Self::Region(place) => Some(place == node.place),
            Self::Node(spot) => Some(spot == node),
            Self::Leader | Self::LeaderNode => None,
        }
    }
}

impl FaultKind {
    /// The region or node that it befalls, where it befalls one.
    pub fn target(&self) -> Option<Target> {
        self.clone().target_mut().copied()
    }

    /// The same, to be replaced: by the region or node that `leader` turned out to be.
    pub fn target_mut(&mut self) -> Option<&mut Target> {
        match self {
            Self::PowerOff(target)
            | Self::Kill(target)
            | Self::Wipe(target)
            | Self::Pause(target)
            | Self::Suspend(target)
            | Self::Upgrade(target)
            | Self::KillUpstreams(target)
            | Self::UpstreamSlow { whom: target, .. }
            | Self::UpstreamErrors { whom: target, .. }
            | Self::UpstreamHangs(target)
            | Self::UpstreamFlaps { whom: target, .. }
            | Self::DiskSlow { whom: target, .. }
            | Self::DiskStall(target)
            | Self::DiskFull(target)
            | Self::DiskErrors(target)
            | Self::DiskCorrupt { whom: target, .. }
            | Self::Clock { whom: target, .. }
            | Self::Isolate(target)
            | Self::Stop(Whom::Of(target)) => Some(target),
            Self::Cut(_)
            | Self::IssuerDown
            | Self::IssuerErrors { .. }
            | Self::IssuerRotates
            | Self::Flap { .. }
            | Self::Slow { .. }
            | Self::Lossy { .. }
            | Self::Narrow { .. }
            | Self::Flood { .. }
            | Self::Join(_)
            | Self::Stop(Whom::Each) => None,
        }
    }

    /// What it does to a link, where it is a trouble of one.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Slow {
                latency, jitter, ..
            } => Trouble {
                latency: *latency,
                jitter: *jitter,
                ..Trouble::default()
            },
            Self::Lossy {
                loss,
                duplication,
                jitter,
                ..
            } => Trouble {
                loss: loss.ratio(),
                duplication: duplication.ratio(),
                jitter: *jitter,
                ..Trouble::default()
            },
            Self::Narrow {
                each_second, queue, ..
            } => Trouble {
                capacity: Some(Capacity {
                    #[allow(clippy::cast_precision_loss, reason = "a link's speed is round")]
                    bytes_per_second: *each_second as f64,
                    queue: *queue,
                }),
                ..Trouble::default()
            },
            _ => Trouble::default(),
        }
    }

    /// What it does to a disk, where it befalls one.
    pub fn disk_trouble(&self) -> DiskTrouble {
        let well = DiskTrouble::default();
        match self {
            Self::DiskSlow { latency, .. } => DiskTrouble {
                latency: *latency,
                ..well
            },
            Self::DiskStall(_) => DiskTrouble {
                stalls: true,
                ..well
            },
            Self::DiskFull(_) => DiskTrouble { full: true, ..well },
            Self::DiskErrors(_) => DiskTrouble {
                unreadable: true,
                ..well
            },
            _ => well,
        }
    }

    /// What it does to how upstreams answer, where it befalls them.
    pub fn upstream_ways(&self) -> Ways {
        let well = Ways::default();
        match self {
            Self::UpstreamSlow { latency, .. } => Ways {
                slow: *latency,
                ..well
            },
            Self::UpstreamErrors { share, .. } => Ways {
                errors: share.ratio(),
                ..well
            },
            Self::UpstreamHangs(_) => Ways {
                hangs: true,
                ..well
            },
            _ => well,
        }
    }

    /// Whether it has the upstreams of a region down, or may have.
    pub fn keeps_upstreams_down(&self, place: Place) -> bool {
        let down = matches!(
            self,
            Self::PowerOff(_) | Self::KillUpstreams(_) | Self::UpstreamFlaps { .. }
        );
        down && self.target() == Some(Target::Region(place))
    }

    /// What it befalls.
    pub fn area(&self) -> Area {
        match self {
            Self::PowerOff(_)
            | Self::Kill(_)
            | Self::Wipe(_)
            | Self::Pause(_)
            | Self::Suspend(_)
            | Self::Upgrade(_)
            | Self::DiskCorrupt { .. }
            | Self::Isolate(_)
            | Self::Join(_)
            | Self::Stop(_) => Area::Nodes,
            Self::Cut(_)
            | Self::Flap { .. }
            | Self::Slow { .. }
            | Self::Lossy { .. }
            | Self::Narrow { .. }
            | Self::Flood { .. } => Area::Links,
            Self::DiskSlow { .. }
            | Self::DiskStall(_)
            | Self::DiskFull(_)
            | Self::DiskErrors(_) => Area::Disks,
            Self::Clock { .. } => Area::Clocks,
            Self::KillUpstreams(_)
            | Self::UpstreamSlow { .. }
            | Self::UpstreamErrors { .. }
            | Self::UpstreamHangs(_)
            | Self::UpstreamFlaps { .. } => Area::Upstreams,
            Self::IssuerDown | Self::IssuerErrors { .. } | Self::IssuerRotates => Area::Issuer,
        }
    }

    /// How what comes and goes does so, where it does.
    pub fn rhythm(&self) -> Option<Rhythm> {
        match self {
            Self::Flap { rhythm, .. } | Self::UpstreamFlaps { rhythm, .. } => Some(*rhythm),
            _ => None,
        }
    }

    /// Whether nodes that it befell are started again when it is over.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::DiskErrors(_))
    }

    /// Whether a node that it befell no longer knows what it voted for.
    pub fn takes_a_vote(&self) -> bool {
        matches!(self, Self::Wipe(_) | Self::DiskCorrupt { .. })
    }

    /// Whether the nodes it befalls do not run meanwhile.
    pub fn takes_down(&self) -> bool {
        match self {
            Self::PowerOff(_)
            | Self::Kill(_)
            | Self::Wipe(_)
            | Self::Pause(_)
            | Self::Suspend(_)
            | Self::Upgrade(_)
            | Self::DiskCorrupt { .. }
            | Self::Stop(_) => true,
            Self::KillUpstreams(_)
            | Self::UpstreamSlow { .. }
            | Self::UpstreamErrors { .. }
            | Self::UpstreamHangs(_)
            | Self::UpstreamFlaps { .. }
            | Self::IssuerDown
            | Self::IssuerErrors { .. }
            | Self::IssuerRotates
            | Self::DiskSlow { .. }
            | Self::DiskStall(_)
            | Self::DiskFull(_)
            | Self::DiskErrors(_)
            | Self::Clock { .. }
            | Self::Cut(_)
            | Self::Flap { .. }
            | Self::Slow { .. }
            | Self::Lossy { .. }
            | Self::Narrow { .. }
            | Self::Isolate(_)
            | Self::Flood { .. }
            | Self::Join(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
