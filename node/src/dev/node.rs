//! A node as a child of `meridian dev`: the real node over a host whose links can be cut.
//!
//! In: its file and the parent's orders. Out: the node's end.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc};

use meridian_cluster::bootstrap::Origin;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cut::{DevHost, Severed},
    hook::Order,
};
use crate::{
    Hooks,
    cli::{
        node,
        outcome::{Exit, Failure},
    },
};

/// Runs a node until it is told to stop.
pub(crate) fn run(
    config: &Path,
    cut: BTreeSet<SocketAddr>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<Exit, Failure> {
    let severed = Severed::default();
    severed.set(cut);
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let wrapped = severed.clone();
    let stopping = stop.clone();
    node::start(
        config,
        Origin::Founding,
        Hooks {
            dev: true,
            ..Hooks::default()
        },
        move |host| {
            tracker.spawn(async move {
                while let Some(order) = orders.recv().await {
                    match order {
                        Order::Cut { addresses } => severed.set(addresses),
                        Order::Stop => stop.cancel(),
                        Order::Begin(_) => {}
                    }
                }
            });
            Arc::new(DevHost::new(host, wrapped, stopping))
        },
    )
}
