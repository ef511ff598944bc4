//! Looks at the node again and again, and puts what has happened into the feed.

use std::{sync::Arc, time::Duration};

use meridian_cluster::host::Host;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{Feed, picture::Picture};
use crate::admin::{
    administered::Administered,
    api,
    body::{Event, Happening},
    moment,
};

/// Time between two looks, which read memory only. People and their tools are told of what lasted as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Acts taken at one look.
const ACTS: usize = 256;

/// Feeds what happens until `stop`.
pub(in crate::admin) async fn follow(
    host: Arc<dyn Host>,
    node: Arc<dyn Administered>,
    feed: Arc<Feed>,
    stop: CancellationToken,
) {
    let look = || Picture {
        view: node.view(),
        group: node.group(),
        newest: node.current(),
    };
    let mut picture = look();
    let mut last_act = node.audit(None, 1).last().map_or(0, |act| act.index);
    let mut ticks = interval(PAUSE);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let now = look();
        let acts = node.audit(Some(last_act), ACTS);
        last_act = acts.last().map_or(last_act, |act| act.index);
        let acts = acts.into_iter().map(|act| Happening::Act {
            entry: api::act(act),
        });
        let unix_ms = u64::try_from(host.unix_time().as_millis()).unwrap_or(u64::MAX);
        for what in acts.chain(now.since(&picture)) {
            feed.push(&Event {
                time: moment::text(unix_ms),
                what,
            });
        }
        picture = now;
    }
    feed.end();
}
