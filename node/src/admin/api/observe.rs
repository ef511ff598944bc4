//! What monitoring reads.

use super::{
    Asked, Desk, reply,
    table::{Answer, Handler, Produced, Resource, shape},
};

pub(super) const RESOURCES: &[Resource] = &[metrics_at("/metrics"), metrics_at("/api/v1/metrics")];

/// Prometheus scrapes `/metrics` by default; the other path is beside the other resources.
const fn metrics_at(path: &'static str) -> Resource {
    Resource {
        gives: Produced {
            media: PROMETHEUS,
            shape: shape::<String>,
        },
        ..Resource::get(
            path,
            "This node's counters, in the text format of Prometheus",
            shape::<String>,
            Handler::Now(metrics),
        )
    }
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn metrics(desk: &Desk, _: &Asked) -> Answer {
    Ok(reply::page(PROMETHEUS, desk.node.metrics()))
}
