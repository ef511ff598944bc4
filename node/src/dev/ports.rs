//! Which ports a dev cluster takes: the default numbers, or free ones.
//!
//! In: the user's wish, and the ports of an earlier run. Out: a [`Plan`] whose ports were free a moment
//! ago.

use std::{collections::BTreeSet, io};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    folder::DevFile,
    plan::{Plan, Purpose},
};
use crate::cli::{
    outcome::Failure,
    outside::{self, Transport},
};

/// Which ports to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ports {
    /// The documented numbers.
    #[default]
    Default,
    /// Free ones; `dev.json` says which.
    Auto,
}

/// Free ports are looked for here: below the range from which Linux gives outgoing connections their
/// ports (32768 and up), so that none is taken while a node is down.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// Tries for one port; that many misses in a row mean that there is something wrong with the machine.
const TRIES: usize = 1_000;

/// Plans a cluster on ports that are free now.
pub(crate) fn plan(
    nodes_per_region: u8,
    ports: Ports,
    earlier: Option<&DevFile>,
) -> Result<Plan, Failure> {
    match ports {
        Ports::Default => Plan::new(nodes_per_region, |owner, purpose, wanted| {
            free(purpose, wanted).map_err(|error| taken(owner, purpose, wanted, &error))?;
            Ok(wanted)
        }),
        Ports::Auto => {
            // The ports of the last run, where they are still free: the document that the cluster
            // holds names them.
            let mut again = Recall::new(earlier);
            let kept = Plan::new(nodes_per_region, |owner, purpose, _| {
                let port = again.port(owner, purpose).ok_or(())?;
                free(purpose, port).map_err(|_| ())?;
                Ok::<_, ()>(port)
            });
            kept.or_else(|()| search(nodes_per_region))
        }
    }
}

fn search(nodes_per_region: u8) -> Result<Plan, Failure> {
    let mut random = StdRng::from_seed(outside::entropy());
    let mut given = BTreeSet::new();
    Plan::new(nodes_per_region, |owner, purpose, _| {
        for _ in 0..TRIES {
            let port = random.random_range(RANGE);
            if !given.contains(&port) && free(purpose, port).is_ok() {
                given.insert(port);
                return Ok(port);
            }
        }
        Err(Failure::failed(format!(
            "no free port for {owner} ({}) between {} and {}; end what holds them",
            purpose.name(),
            RANGE.start,
            RANGE.end
        )))
    })
}

fn free(purpose: Purpose, port: u16) -> io::Result<()> {
    let transport = if purpose.is_udp() {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    outside::is_free(port, transport)
}

fn taken(owner: &str, purpose: Purpose, port: u16, error: &io::Error) -> Failure {
    let kind = if purpose.is_udp() { "UDP" } else { "TCP" };
    let what = purpose.name();
    if error.kind() == io::ErrorKind::AddrInUse {
        Failure::failed(format!(
            "{kind} port {port} ({what} of {owner}) is in use by another process; stop that process, or take free ports with `--ports auto`"
        ))
    } else {
        Failure::failed(format!(
            "{kind} port {port} ({what} of {owner}) cannot be used: {error}; take other ports with `--ports auto`"
        ))
    }
}

/// The ports of an earlier run.
struct Recall<'a> {
    earlier: Option<&'a DevFile>,
}

impl<'a> Recall<'a> {
    fn new(earlier: Option<&'a DevFile>) -> Self {
        Self { earlier }
    }

    fn port(&mut self, owner: &str, purpose: Purpose) -> Option<u16> {
        let earlier = self.earlier?;
        let address = match purpose {
            Purpose::Issuer => &earlier.issuer,
            Purpose::Upstream => {
                let known = earlier.upstreams.iter();
                &known.clone().find(|upstream| upstream.region == owner)?.url
            }
            _ => {
                let node = earlier.nodes.iter().find(|node| node.id == owner)?;
                match purpose {
                    Purpose::Http => &node.http,
                    Purpose::Https => &node.https,
                    Purpose::Fabric => &node.fabric,
                    Purpose::Bulk => &node.bulk,
                    _ => &node.admin,
                }
            }
        };
        address.rsplit_once(':')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let message = taken("eu-west-1", Purpose::Http, 8080, &error).message;
        assert!(message.contains("TCP port 8080"), "{message}");
        assert!(message.contains("eu-west-1"), "{message}");
        assert!(message.contains("--ports auto"), "{message}");
    }

    #[test]
    fn automatic_ports_are_all_different() {
        let plan = plan(2, Ports::Auto, None).unwrap();
        let mut seen = BTreeSet::new();
        for node in &plan.nodes {
            for address in [node.http, node.https, node.fabric, node.bulk, node.admin] {
                assert!(seen.insert(address.port()));
            }
        }
        for upstream in &plan.upstreams {
            assert!(seen.insert(upstream.listen.port()));
        }
        assert!(seen.insert(plan.issuer.port()));
    }

    #[test]
    fn a_second_run_takes_the_ports_of_the_first() {
        let first = plan(1, Ports::Auto, None).unwrap();
        let file =
            super::super::children::dev_file(&first, &std::collections::BTreeMap::new(), None);
        assert_eq!(plan(1, Ports::Auto, Some(&file)).unwrap(), first);
    }
}
