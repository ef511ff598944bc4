//! Which nodes a dev cluster has and which ports they take.
//!
//! In: how many nodes a region, and who gives out ports. Out: a [`Plan`]. A core; its shell is
//! [`super::parent`].

use std::net::SocketAddr;

use meridian_config::name::{NodeId, RegionName};

/// The regions of the demo document, in the order that numbers their nodes.
pub(crate) const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// Most nodes a region may have: the default port ranges of fabric and bulk are 50 apart, and 27
/// processes are more than enough for one machine.
pub(crate) const MOST_NODES_PER_REGION: u8 = 9;

/// A whole dev cluster: what runs and where it listens, all on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Nodes, region by region.
    pub(crate) nodes: Vec<NodePlan>,
    /// The demo upstream of each region.
    pub(crate) upstreams: Vec<UpstreamPlan>,
    /// The demo identity provider.
    pub(crate) issuer: SocketAddr,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePlan {
    /// `REGION-N`.
    pub(crate) id: NodeId,
    /// Its region.
    pub(crate) region: RegionName,
    /// Edge, plain HTTP.
    pub(crate) http: SocketAddr,
    /// Edge, HTTPS.
    pub(crate) https: SocketAddr,
    /// Control fabric (UDP).
    pub(crate) fabric: SocketAddr,
    /// Bulk fabric (UDP).
    pub(crate) bulk: SocketAddr,
    /// Admin API.
    pub(crate) admin: SocketAddr,
}

/// The demo upstream of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamPlan {
    /// Its region.
    pub(crate) region: RegionName,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
}

/// What a port is for; a port is asked for with its default number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Edge, plain HTTP.
    Http,
    /// Edge, HTTPS. The UDP port of the same number is HTTP/3's.
    Https,
    /// Control fabric.
    Fabric,
    /// Bulk fabric.
    Bulk,
    /// Admin API.
    Admin,
    /// Demo identity provider.
    Issuer,
    /// Demo upstream.
    Upstream,
}

impl Purpose {
    /// The number of the first of its kind.
    pub(crate) fn base(self) -> u16 {
        match self {
            Self::Http => 8080,
            Self::Https => 8443,
            Self::Fabric => 7400,
            Self::Bulk => 7450,
            Self::Admin => 7500,
            Self::Issuer => 7600,
            Self::Upstream => 7610,
        }
    }

    /// Whether it is a UDP port.
    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Fabric | Self::Bulk)
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Fabric => "fabric",
            Self::Bulk => "bulk",
            Self::Admin => "admin",
            Self::Issuer => "identity provider",
            Self::Upstream => "demo upstream",
        }
    }
}

impl Plan {
    /// Plans a cluster. `port` is asked once for each port, with its owner, purpose and default number,
    /// and says which number it gets.
    pub(crate) fn new<E>(
        nodes_per_region: u8,
        mut port: impl FnMut(&str, Purpose, u16) -> Result<u16, E>,
    ) -> Result<Self, E> {
        let mut nodes = Vec::new();
        let mut upstreams = Vec::new();
        let mut number = 0;
        for region in REGIONS {
            for place in 1..=nodes_per_region {
                let id = format!("{region}-{place}");
                let mut take =
                    |purpose: Purpose| port(&id, purpose, purpose.base() + number).map(loopback);
                nodes.push(NodePlan {
                    id: NodeId::from(id.as_str()),
                    region: RegionName::from(region),
                    http: take(Purpose::Http)?,
                    https: take(Purpose::Https)?,
                    fabric: take(Purpose::Fabric)?,
                    bulk: take(Purpose::Bulk)?,
                    admin: take(Purpose::Admin)?,
                });
                number += 1;
            }
        }
        for (region, number) in REGIONS.into_iter().zip(0..) {
            let wanted = Purpose::Upstream.base() + number;
            upstreams.push(UpstreamPlan {
                region: RegionName::from(region),
                listen: loopback(port(region, Purpose::Upstream, wanted)?),
            });
        }
        let issuer = port("meridian dev", Purpose::Issuer, Purpose::Issuer.base())?;
        Ok(Self {
            nodes,
            upstreams,
            issuer: loopback(issuer),
        })
    }

    /// Ids of the nodes that found the cluster: the first of each region, so that the voters are spread.
    pub(crate) fn founders(&self) -> Vec<NodeId> {
        let mut founders: Vec<NodeId> = Vec::new();
        let mut last = None;
        for node in &self.nodes {
            if last != Some(&node.region) {
                founders.push(node.id.clone());
                last = Some(&node.region);
            }
        }
        founders
    }

    /// The fabric addresses (control and bulk) of a region's nodes.
    pub(crate) fn fabric_addresses(&self, region: &RegionName) -> Vec<SocketAddr> {
        self.nodes
            .iter()
            .filter(|node| node.region == *region)
            .flat_map(|node| [node.fabric, node.bulk])
            .collect()
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use super::*;

    fn default_plan(nodes_per_region: u8) -> Plan {
        Plan::new::<Infallible>(nodes_per_region, |_, _, wanted| Ok(wanted)).unwrap()
    }

    #[test]
    fn node_k_adds_k_to_each_default_port() {
        let plan = default_plan(2);
        let third = &plan.nodes[2];
        assert_eq!(third.id.as_str(), "us-east-1");
        assert_eq!(
            [
                third.http,
                third.https,
                third.fabric,
                third.bulk,
                third.admin
            ]
            .map(|a| a.port()),
            [8082, 8445, 7402, 7452, 7502]
        );
    }

    #[test]
    fn no_two_listeners_share_a_port_at_the_greatest_size() {
        let mut seen = BTreeSet::new();
        Plan::new::<Infallible>(MOST_NODES_PER_REGION, |_, purpose, wanted| {
            assert!(seen.insert((purpose.is_udp(), wanted)), "{wanted} twice");
            Ok(wanted)
        })
        .unwrap();
    }

    #[test]
    fn the_founders_are_one_of_each_region() {
        let founders: Vec<String> = default_plan(3)
            .founders()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(founders, ["eu-west-1", "us-east-1", "ap-south-1"]);
    }
}
