//! The fabric's bulk connections as the way to peers.

use meridian_cluster::{fabric::Fabric, host::BoxFuture};
use meridian_config::name::NodeId;

use super::{Arrival, Bulk, BulkError, ReadHalf, WriteHalf};

impl Bulk for Fabric {
    fn open(&self, peer: &NodeId) -> BoxFuture<'static, Result<(ReadHalf, WriteHalf), BulkError>> {
        let (fabric, peer) = (self.clone(), peer.clone());
        Box::pin(async move {
            match fabric.open_bulk(&peer).await {
                Ok((send, recv)) => Ok((Box::new(recv) as ReadHalf, Box::new(send) as WriteHalf)),
                Err(error) => Err(BulkError {
                    peer,
                    cause: error.to_string(),
                }),
            }
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        Box::pin(async move {
            let stream = self.accept_bulk().await?;
            Some(Arrival {
                from: stream.from.id,
                region: stream.from.region,
                read: Box::new(stream.recv),
                write: Box::new(stream.send),
            })
        })
    }
}
