//! Who founds the quota's ledger: agreed on once, before that group exists.
//!
//! In: the voters of the directory at one moment. Out: the same founders on every node, so that each of them begins
//! the group alike and no two groups come to be. A founder that lost its disk since has another seat, and takes no
//! part in the founding.

use std::collections::BTreeMap;

use meridian_config::name::{NodeId, RegionName};
use serde::{Deserialize, Serialize};

/// The first voters of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founders(pub(crate) BTreeMap<NodeId, Founder>);

/// One of them, as it was a member of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    /// Its region.
    pub(crate) region: RegionName,
    /// The number of its seat in the directory.
    pub(crate) seat: u64,
}
