//! What the node's parts need of each other, put into the forms they ask for.

use std::sync::Arc;

use meridian_cluster::{fabric::Fabric, host::BoxFuture};
use meridian_config::name::{NodeId, RegionName};

use crate::{
    forward::{Arrival, Bulk, BulkError, ReadHalf, WriteHalf},
    report::metrics::RequestPath,
    upstream::Observer,
};

/// The fabric's bulk connections, as forwarding sees them.
pub(super) struct FabricBulk(pub(super) Fabric);

impl Bulk for FabricBulk {
    fn open(&self, peer: &NodeId) -> BoxFuture<'static, Result<(ReadHalf, WriteHalf), BulkError>> {
        let (fabric, peer) = (self.0.clone(), peer.clone());
        Box::pin(async move {
            match fabric.open_bulk(&peer).await {
                Ok((send, receive)) => {
                    Ok((Box::new(receive) as ReadHalf, Box::new(send) as WriteHalf))
                }
                Err(error) => Err(BulkError {
                    peer,
                    cause: error.to_string(),
                }),
            }
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        Box::pin(async {
            let stream = self.0.accept_bulk().await?;
            Some(Arrival {
                from: stream.from.id,
                region: stream.from.region,
                read: Box::new(stream.recv),
                write: Box::new(stream.send),
            })
        })
    }
}

/// Counts failovers for the metrics page.
pub(super) struct CountFailovers(pub(super) Arc<RequestPath>);

impl Observer for CountFailovers {
    fn failover(&self, from: &RegionName, to: &RegionName) {
        self.0.failover(from, to).add(0, 0);
    }
}
