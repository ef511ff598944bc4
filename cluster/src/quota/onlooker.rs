//! Looks on while limits are kept, for those who check what is promised of them.
//!
//! In: what a node's keeper says and hears, and what its replica of the ledger applies. Out: nothing: an onlooker changes
//! nothing. None but in a simulation.

use std::{fmt, sync::Arc};

use super::{
    holder::Holder,
    ledger::Ledger,
    message::{Entry, QuotaAsk, QuotaGrant},
    service::NodeClock,
};

/// Looks on at one process of a node. Called in the node's own tasks, one call at a time; what is lent is not to be kept
/// beyond the call.
pub trait Onlooker: fmt::Debug + Send + Sync + 'static {
    /// The keeper begins a life, or the same one with nothing held.
    fn begun(&self, life: u64, holder: &Arc<Holder>, clock: &Arc<NodeClock>);

    /// An ask is sent.
    fn asked(&self, ask: &QuotaAsk);

    /// The keeper has been given this, and has taken of it what it takes.
    fn granted(&self, grant: &QuotaGrant);

    /// The keeper has looked at the keys in use: what has cooled off is free.
    fn ticked(&self);

    /// The ledger is this after the entry, which caused these grants.
    fn applied(&self, index: u64, entry: &Entry, grants: &[QuotaGrant], ledger: &Ledger);
}
