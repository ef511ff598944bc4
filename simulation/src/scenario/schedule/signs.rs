//! By what a fault is known to have happened: what the world counted of its doing.
//!
//! In: a kind and whom it befalls. Out: a count that has grown by the fault's end, if the fault did anything.

use crate::{
    scenario::{FaultKind, Share, Target, stage::Stage},
    world::{DiskTouched, Place, Touched},
};

/// What the world has counted so far of what such a fault does.
pub(super) fn count(what: &FaultKind, nodes: &[usize], stage: &Stage) -> u64 {
    let network = stage.world.network();
    let regions = stage.regions.len();
    let mut counted = 0;
    match what {
        FaultKind::Cut(link) | FaultKind::Flap { link, .. } => network.links(|links| {
            counted = link.ways().map(|(from, to)| links.cut_off(from, to)).sum();
        }),
        FaultKind::Slow { link, .. }
        | FaultKind::Lossy { link, .. }
        | FaultKind::Narrow { link, .. } => network.links(|links| {
            let touched = link.ways().map(|(from, to)| links.touched(from, to));
            counted = touched.map(|touched| share_of(what, touched)).sum();
        }),
        FaultKind::Isolate(Target::Region(place)) => network.links(|links| {
            let others = (0..regions).map(Place).filter(|other| other != place);
            counted = others
                .map(|other| links.cut_off(*place, other) + links.cut_off(other, *place))
                .sum();
        }),
        FaultKind::Isolate(_) => {
            let machines = nodes.iter().map(|node| stage.nodes[*node].machine);
            counted = machines.map(|machine| network.kept_off(machine)).sum();
        }
        FaultKind::DiskSlow { .. }
        | FaultKind::DiskStall(_)
        | FaultKind::DiskFull(_)
        | FaultKind::DiskErrors(_) => {
            let machines = nodes.iter().map(|node| stage.nodes[*node].machine);
            let touched = machines.map(|machine| stage.world.disk(machine).touched());
            counted = touched.map(|touched| share_of_disk(what, touched)).sum();
        }
        FaultKind::UpstreamSlow { .. }
        | FaultKind::UpstreamErrors { .. }
        | FaultKind::UpstreamHangs(_) => {
            if let Some(Target::Region(place)) = what.target() {
                counted = stage.manners[place.0].touched();
            }
        }
        FaultKind::IssuerErrors { .. } => counted = stage.issuer.manner.touched(),
        _ => {}
    }
    counted
}

/// Of all that troubles did on a disk, what such a fault does.
fn share_of_disk(what: &FaultKind, touched: DiskTouched) -> u64 {
    match what {
        FaultKind::DiskSlow { .. } | FaultKind::DiskStall(_) => touched.delayed,
        FaultKind::DiskFull(_) => touched.refused,
        FaultKind::DiskErrors(_) => touched.failed,
        _ => 0,
    }
}

/// Of all that troubles did on a link, what such a fault does.
fn share_of(what: &FaultKind, touched: Touched) -> u64 {
    match what {
        FaultKind::Slow { .. } => touched.slowed,
        FaultKind::Lossy {
            loss: Share::NONE,
            duplication: Share::NONE,
            ..
        } => touched.slowed,
        FaultKind::Lossy { .. } => touched.spoilt,
        FaultKind::Narrow { .. } => touched.queued,
        _ => 0,
    }
}

/// What a link has carried, and could carry in a second.
pub(super) fn carried(stage: &Stage, from: Place, to: Place) -> (u64, f64) {
    let mut load = None;
    stage
        .world
        .network()
        .links(|links| load = links.load(from, to));
    load.unwrap_or((0, f64::INFINITY))
}

/// A share in whole percent.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation's bytes are far below what a double counts exactly, and positive"
)]
pub(super) fn percent(part: u64, whole: f64) -> u64 {
    (100.0 * part as f64 / whole) as u64
}
