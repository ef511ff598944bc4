//! How faults are written: read from a file, printed back, and said in words.
//!
//! A kind is a key with a region, a node or a link, and options beside it. A new kind gets a line in
//! [`KINDS`], an arm where the file's faults are read (`raw::faults`), one in [`Names::written`] and one in [`Names::says`]; a test prints
//! and reads every kind.

use std::{collections::BTreeMap, time::Duration};

use meridian_config::units::{duration_text, size_text};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Fault, FaultKind, Link, Rhythm, Share, Spot, Target, Whom};
use crate::world::{Part, Place};

/// The kinds by their keys, and the options that each takes.
pub(in crate::scenario) const KINDS: &[(&str, Options)] = &[
    ("power_off", &[]),
    ("kill", &["wipe"]),
    ("pause", &[]),
    ("suspend", &[]),
    ("upgrade", &[]),
    ("kill_upstreams", &[]),
    ("isolate", &[]),
    ("stop", &[]),
    ("upstream_slow", &["latency"]),
    ("upstream_errors", &["share"]),
    ("upstream_hangs", &[]),
    ("upstream_flaps", &["down", "up", "drawn"]),
    ("issuer_down", &[]),
    ("issuer_errors", &[]),
    ("issuer_rotates", &[]),
    ("disk_slow", &["latency"]),
    ("disk_stall", &[]),
    ("disk_full", &[]),
    ("disk_errors", &[]),
    ("disk_corrupt", &["part"]),
    ("clock", &["offset", "drift"]),
    ("join", &[]),
    ("cut", &["one_way"]),
    ("flap", &["one_way", "down", "up", "drawn"]),
    ("slow", &["one_way", "latency", "jitter"]),
    ("lossy", &["one_way", "loss", "duplication", "jitter"]),
    ("narrow", &["one_way", "each_second", "queue"]),
    ("flood", &[]),
];

/// Names of options.
pub(in crate::scenario) type Options = &'static [&'static str];

/// A fault as it stands in a file: `at`, `for`, a kind, its options.
pub(in crate::scenario) type RawFault = Spanned<BTreeMap<String, Spanned<Value>>>;

/// What may stand behind a key of a fault.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::scenario) enum Value {
    /// `true`, `false`.
    Flag(bool),
    /// A name, a duration, a share.
    Text(String),
    /// `[one, other]`.
    Pair((String, String)),
    /// Nothing that any key takes.
    Other(serde::de::IgnoredAny),
}

/// The names that faults are written and told with.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The regions' names, in order.
    pub regions: &'a [String],
}

impl Names<'_> {
    /// A region's name.
    pub fn region(self, place: Place) -> String {
        self.regions[place.0].clone()
    }

    /// A node's name.
    pub fn node(self, spot: Spot) -> String {
        node_name(&self.regions[spot.place.0], spot.number)
    }

    /// A fault as a line of a scenario file's `faults`, without the dash: reading it gives the same fault.
    pub fn line(self, fault: &Fault) -> String {
        let mut pairs = vec![
            ("at", duration_text(fault.at)),
            ("for", duration_text(fault.lasts)),
        ];
        pairs.extend(self.written(&fault.what));
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A kind's key and options as they are written, with their values.
    pub fn written(self, what: &FaultKind) -> Vec<(&'static str, String)> {
        match what {
            FaultKind::PowerOff(at) => vec![("power_off", self.target(*at))],
            FaultKind::Kill(at) => vec![("kill", self.target(*at))],
            FaultKind::Wipe(at) => vec![("kill", self.target(*at)), ("wipe", yes())],
            FaultKind::Pause(at) => vec![("pause", self.target(*at))],
            FaultKind::Suspend(at) => vec![("suspend", self.target(*at))],
            FaultKind::Upgrade(at) => vec![("upgrade", self.target(*at))],
            FaultKind::KillUpstreams(at) => vec![("kill_upstreams", self.target(*at))],
            FaultKind::Isolate(at) => vec![("isolate", self.target(*at))],
            FaultKind::Stop(Whom::Each) => vec![("stop", "each".to_owned())],
            FaultKind::Stop(Whom::Of(at)) => vec![("stop", self.target(*at))],
            FaultKind::DiskSlow { whom, latency } => vec![
                ("disk_slow", self.target(*whom)),
                ("latency", duration_text(*latency)),
            ],
            FaultKind::DiskStall(at) => vec![("disk_stall", self.target(*at))],
            FaultKind::DiskFull(at) => vec![("disk_full", self.target(*at))],
            FaultKind::DiskErrors(at) => vec![("disk_errors", self.target(*at))],
            FaultKind::DiskCorrupt { whom, part } => vec![
                ("disk_corrupt", self.target(*whom)),
                ("part", part_text(*part).to_owned()),
            ],
            FaultKind::Clock {
                whom,
                offset_ms,
                drift,
            } => {
                let mut pairs = vec![("clock", self.target(*whom))];
                pairs.extend((*offset_ms != 0).then(|| ("offset", signed_text(*offset_ms))));
                pairs.extend((drift.0 != 0).then(|| ("drift", format!("{}ppm", drift.0))));
                pairs
            }
            FaultKind::Join(place) => vec![("join", self.region(*place))],
            FaultKind::Cut(link) => self.link("cut", *link),
            FaultKind::UpstreamSlow { whom, latency } => vec![
                ("upstream_slow", self.target(*whom)),
                ("latency", duration_text(*latency)),
            ],
            FaultKind::UpstreamErrors { whom, share } => vec![
                ("upstream_errors", self.target(*whom)),
                ("share", share_text(*share)),
            ],
            FaultKind::UpstreamHangs(at) => vec![("upstream_hangs", self.target(*at))],
            FaultKind::UpstreamFlaps { whom, rhythm } => {
                let mut pairs = vec![("upstream_flaps", self.target(*whom))];
                pairs.extend(rhythm_pairs(*rhythm));
                pairs
            }
            FaultKind::IssuerDown => vec![("issuer_down", yes())],
            FaultKind::IssuerErrors { share } => vec![("issuer_errors", share_text(*share))],
            FaultKind::IssuerRotates => vec![("issuer_rotates", yes())],
            FaultKind::Flap { link, rhythm } => {
                let mut pairs = self.link("flap", *link);
                pairs.extend(rhythm_pairs(*rhythm));
                pairs
            }
            FaultKind::Slow {
                link,
                latency,
                jitter,
            } => {
                let mut pairs = self.link("slow", *link);
                pairs.push(("latency", duration_text(*latency)));
                pairs.extend(some_time("jitter", *jitter));
                pairs
            }
            FaultKind::Lossy {
                link,
                loss,
                duplication,
                jitter,
            } => {
                let mut pairs = self.link("lossy", *link);
                for (key, share) in [("loss", *loss), ("duplication", *duplication)] {
                    pairs.extend((share != Share::NONE).then(|| (key, share_text(share))));
                }
                pairs.extend(some_time("jitter", *jitter));
                pairs
            }
            FaultKind::Narrow {
                link,
                each_second,
                queue,
            } => {
                let mut pairs = self.link("narrow", *link);
                pairs.push(("each_second", size_text(*each_second)));
                pairs.push(("queue", duration_text(*queue)));
                pairs
            }
            FaultKind::Flood { from, to } => vec![("flood", self.pair(*from, *to))],
        }
    }

    /// A fault in words.
    pub fn says(self, what: &FaultKind) -> String {
        match what {
            FaultKind::PowerOff(at) => format!("{} loses power", self.whole(*at)),
            FaultKind::Kill(at) => format!("{} killed", self.who(*at)),
            FaultKind::Wipe(at) => format!("{} killed, the disk is lost", self.who(*at)),
            FaultKind::Pause(at) => format!("{} paused", self.who(*at)),
            FaultKind::Suspend(at) => format!("{} suspended", self.who(*at)),
            FaultKind::Upgrade(at) => format!("{} upgraded", self.who(*at)),
            FaultKind::KillUpstreams(at) => {
                format!("the upstreams of {} are killed", self.whole(*at))
            }
            FaultKind::DiskSlow { whom, latency } => format!(
                "the disk of {} takes {} longer",
                self.whole(*whom),
                duration_text(*latency)
            ),
            FaultKind::DiskStall(at) => format!("the disk of {} stalls", self.whole(*at)),
            FaultKind::DiskFull(at) => format!("the disk of {} is full", self.whole(*at)),
            FaultKind::DiskErrors(at) => {
                format!("the disk of {} cannot be read", self.whole(*at))
            }
            FaultKind::DiskCorrupt { whom, part } => format!(
                "{} loses power, and a bit of its {} is flipped",
                self.whole(*whom),
                part_text(*part)
            ),
            FaultKind::Clock {
                whom,
                offset_ms,
                drift,
            } => {
                let off = format!("are {} off", signed_text(*offset_ms));
                let drifts = format!("drift by {} millionths", drift.0);
                let how = match (*offset_ms, drift.0) {
                    (0, _) => drifts,
                    (_, 0) => off,
                    _ => format!("{off} and {drifts}"),
                };
                format!("the clocks of {} {how}", self.whole(*whom))
            }
            FaultKind::Cut(link) => format!("the link {} is cut", self.way(*link)),
            FaultKind::UpstreamSlow { whom, latency } => format!(
                "the upstreams of {} take {} longer",
                self.whole(*whom),
                duration_text(*latency)
            ),
            FaultKind::UpstreamErrors { whom, share } => format!(
                "the upstreams of {} answer {} of all requests with 503",
                self.whole(*whom),
                share_text(*share)
            ),
            FaultKind::UpstreamHangs(at) => {
                format!("the upstreams of {} never answer", self.whole(*at))
            }
            FaultKind::UpstreamFlaps { whom, rhythm } => format!(
                "the upstreams of {} flap: {}",
                self.whole(*whom),
                rhythm_text(*rhythm, "down", "up")
            ),
            FaultKind::IssuerDown => "the issuer loses power".to_owned(),
            FaultKind::IssuerErrors { share } => format!(
                "the issuer answers {} of all requests with 503",
                share_text(*share)
            ),
            FaultKind::IssuerRotates => "the issuer rotates its key".to_owned(),
            FaultKind::Flap { link, rhythm } => format!(
                "the link {} flaps: {}",
                self.way(*link),
                rhythm_text(*rhythm, "cut", "whole")
            ),
            FaultKind::Slow {
                link,
                latency,
                jitter,
            } => format!(
                "the link {} is slow: {} more, and up to {} of jitter",
                self.way(*link),
                duration_text(*latency),
                duration_text(*jitter)
            ),
            FaultKind::Lossy {
                link,
                loss,
                duplication,
                jitter,
            } => format!(
                "the link {} is lossy: {} lost, {} doubled, up to {} late",
                self.way(*link),
                share_text(*loss),
                share_text(*duplication),
                duration_text(*jitter)
            ),
            FaultKind::Narrow {
                link,
                each_second,
                queue,
            } => format!(
                "the link {} is narrow: {} a second, a queue of {}",
                self.way(*link),
                size_text(*each_second),
                duration_text(*queue)
            ),
            FaultKind::Isolate(at) => format!("{} is cut off from all others", self.whole(*at)),
            FaultKind::Stop(Whom::Each) => {
                "the nodes of all regions are stopped and started again, one after another"
                    .to_owned()
            }
            FaultKind::Stop(Whom::Of(at)) => format!(
                "{} stopped and started again, one after another",
                self.who(*at)
            ),
            FaultKind::Join(place) => format!(
                "a new node joins in {}, serves so long, and is drained and removed",
                self.region(*place)
            ),
            FaultKind::Flood { from, to } => {
                let (from, to) = (self.region(*from), self.region(*to));
                format!("{from} sends bulk to {to} at the link's limit")
            }
        }
    }

    fn target(self, target: Target) -> String {
        match target {
            Target::Region(place) => self.region(place),
            Target::Leader => "leader".to_owned(),
            Target::Node(spot) => self.node(spot),
            Target::LeaderNode => "leader-node".to_owned(),
        }
    }

    fn pair(self, from: Place, to: Place) -> String {
        format!("[{}, {}]", self.region(from), self.region(to))
    }

    fn link(self, key: &'static str, link: Link) -> Vec<(&'static str, String)> {
        let mut pairs = vec![(key, self.pair(link.from, link.to))];
        if link.one_way {
            pairs.push(("one_way", yes()));
        }
        pairs
    }

    /// A link in words.
    fn way(self, link: Link) -> String {
        let way = if link.one_way { "to" } else { "–" };
        format!("{} {way} {}", self.region(link.from), self.region(link.to))
    }

    /// A region or node as a whole, in words.
    fn whole(self, target: Target) -> String {
        match target {
            Target::Region(place) => self.region(place),
            Target::Leader => "the leader's region".to_owned(),
            Target::Node(spot) => self.node(spot),
            Target::LeaderNode => "the leader".to_owned(),
        }
    }

    /// The nodes that are meant, with their verb.
    fn who(self, target: Target) -> String {
        match target {
            Target::Region(_) | Target::Leader => {
                format!("the nodes of {} are", self.whole(target))
            }
            Target::Node(_) | Target::LeaderNode => format!("{} is", self.whole(target)),
        }
    }
}

fn rhythm_pairs(rhythm: Rhythm) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("down", duration_text(rhythm.down)),
        ("up", duration_text(rhythm.up)),
    ];
    pairs.extend(rhythm.drawn.then(|| ("drawn", yes())));
    pairs
}

fn rhythm_text(rhythm: Rhythm, down: &str, up: &str) -> String {
    format!(
        "{}{} {down}, {} {up}",
        if rhythm.drawn { "about " } else { "" },
        duration_text(rhythm.down),
        duration_text(rhythm.up)
    )
}

fn yes() -> String {
    "true".to_owned()
}

/// An option whose default is no time at all.
fn some_time(key: &'static str, time: Duration) -> Option<(&'static str, String)> {
    (!time.is_zero()).then(|| (key, duration_text(time)))
}

/// Milliseconds with their sign.
fn signed_text(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        duration_text(Duration::from_millis(ms.unsigned_abs()))
    )
}

fn part_text(part: Part) -> &'static str {
    match part {
        Part::Log => "log",
        Part::Files => "files",
    }
}

/// As `raw::units` reads it.
fn share_text(share: Share) -> String {
    let (percent, rest) = (share.0 / 100, share.0 % 100);
    match rest {
        0 => format!("{percent}%"),
        _ => format!("{percent}.{rest:02}%"),
    }
}

/// How a node of a region is called.
pub(in crate::scenario) fn node_name(region: &str, number: usize) -> String {
    format!("{region}-{number}")
}
