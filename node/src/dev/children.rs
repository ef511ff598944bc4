//! The children of a dev cluster: which run, which links are cut, and what is asked of them.
//!
//! In: requests of the control door, ends of processes. Out: started and killed processes, orders, and
//! `dev.json`, which always tells who lives. Its shell is [`super::parent`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use meridian_config::name::RegionName;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    control::{Done, Request},
    folder::{DevFile, DevNode, DevUpstream, Folder},
    hook::{Order, Role},
    plan::Plan,
    process::{Ended, Process},
};
use crate::cli::{outcome::Failure, outside};

/// The children of one dev cluster.
pub(super) struct Children {
    folder: Folder,
    plan: Arc<Plan>,
    /// The living, by name: a node's id, or `upstream-REGION`.
    processes: BTreeMap<String, Process>,
    /// Pairs of regions that are cut, in order.
    cuts: BTreeSet<(RegionName, RegionName)>,
    end: mpsc::Sender<Ended>,
    tracker: TaskTracker,
}

impl Children {
    /// Starts every child. Ends go to `end`.
    pub(super) fn start_all(
        folder: Folder,
        plan: Arc<Plan>,
        end: mpsc::Sender<Ended>,
        tracker: TaskTracker,
    ) -> Result<Self, Failure> {
        let mut children = Self {
            folder,
            plan,
            processes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            end,
            tracker,
        };
        for name in children.names() {
            children.start(&name)?;
        }
        children.write()?;
        Ok(children)
    }

    /// Takes the living out: nodes, then the upstreams they answer from.
    pub(super) fn take(&mut self) -> [Vec<Process>; 2] {
        let mut nodes = Vec::new();
        let mut upstreams = Vec::new();
        for (name, process) in std::mem::take(&mut self.processes) {
            if self.is_node(&name) {
                nodes.push(process);
            } else {
                upstreams.push(process);
            }
        }
        [nodes, upstreams]
    }

    fn is_node(&self, name: &str) -> bool {
        self.plan.nodes.iter().any(|node| node.id.as_str() == name)
    }

    /// Whether an end was unexpected: the child is one of the living, and is so no more.
    pub(super) fn lost(&mut self, ended: &Ended) -> bool {
        let same = self
            .processes
            .get(&ended.name)
            .is_some_and(|process| process.pid == ended.pid);
        if same {
            self.processes.remove(&ended.name);
        }
        same
    }

    /// Every child's name: upstreams first, so that the nodes' first health checks find them.
    fn names(&self) -> Vec<String> {
        let upstreams = self.plan.upstreams.iter();
        upstreams
            .map(|upstream| upstream_name(&upstream.region))
            .chain(self.plan.nodes.iter().map(|node| node.id.to_string()))
            .collect()
    }

    /// What the user calls a child: a node's id, or an upstream's region.
    pub(super) fn owner<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix("upstream-").unwrap_or(name)
    }

    fn start(&mut self, name: &str) -> Result<(), Failure> {
        let node = self.plan.nodes.iter().find(|node| node.id.as_str() == name);
        let upstream = self
            .plan
            .upstreams
            .iter()
            .find(|upstream| upstream_name(&upstream.region) == name);
        let role = match (node, upstream) {
            (Some(node), _) => Role::Node {
                config: self.folder.node(name).join("node.yaml"),
                cut: self.severed(&node.region),
            },
            (None, Some(upstream)) => Role::Upstream {
                region: upstream.region.to_string(),
                listen: upstream.listen,
            },
            (None, None) => return Err(Failure::invalid(format!("there is no {name}"))),
        };
        let process = Process::start(name, role, &self.folder, &self.tracker, self.end.clone())
            .map_err(|error| {
                Failure::failed(format!(
                    "{name} cannot be started: {error}; free memory or disk and try `dev start {}`",
                    self.owner(name)
                ))
            })?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// Why the cluster did not come up: a child ended, and what its log says last.
    pub(super) fn stillborn(&self, ended: &Ended) -> Failure {
        let path = self.folder.log(&ended.name);
        let log = outside::read_text(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(3)..].join("\n");
        Failure::failed(format!(
            "{} ended ({}) before the cluster was ready; its log {} ends with:\n{last}",
            ended.name,
            ended.how,
            path.display()
        ))
    }

    /// Does what a visitor asks.
    pub(super) async fn obey(&mut self, request: &Request) -> Result<Done, Failure> {
        match request {
            Request::Kill(name) => {
                let names = self.resolve(name)?;
                let mut killed = Vec::new();
                for name in names {
                    // Out of the living first: its end is then expected.
                    if let Some(process) = self.processes.remove(&name) {
                        process.kill().await;
                        killed.push(name);
                    }
                }
                self.write()?;
                Ok(self.done("Killed", "was running", name, killed))
            }
            Request::Start(name) => {
                let mut started = Vec::new();
                for name in self.resolve(name)? {
                    if !self.processes.contains_key(&name) {
                        self.start(&name)?;
                        started.push(name);
                    }
                }
                self.write()?;
                Ok(self.done("Started", "was dead", name, started))
            }
            Request::Cut(one, other) => {
                let (one, other) = (self.region(one)?, self.region(other)?);
                if one == other {
                    return Err(Failure::invalid(format!(
                        "a region is not cut off from itself; name two of {}",
                        self.regions().join(", ")
                    )));
                }
                let message = format!("Cut: no packet passes between {one} and {other}.");
                self.cuts.insert(if one < other {
                    (one, other)
                } else {
                    (other, one)
                });
                self.spread_cuts();
                Ok(Done {
                    message,
                    nodes: Vec::new(),
                })
            }
            Request::Heal => {
                self.cuts.clear();
                self.spread_cuts();
                Ok(Done {
                    message: "Healed: every link is whole.".into(),
                    nodes: Vec::new(),
                })
            }
        }
    }

    fn done(&self, did: &str, state: &str, asked: &str, names: Vec<String>) -> Done {
        let message = if names.is_empty() {
            format!("Nothing of {asked} {state}.")
        } else {
            format!("{did}: {}.", names.join(", "))
        };
        let nodes = names
            .into_iter()
            .filter(|name| self.is_node(name))
            .collect();
        Done { message, nodes }
    }

    /// The children behind a node's id or a region's name.
    fn resolve(&self, name: &str) -> Result<Vec<String>, Failure> {
        if self.is_node(name) {
            return Ok(vec![name.to_owned()]);
        }
        let Ok(region) = self.region(name) else {
            let nodes: Vec<String> = self.plan.nodes.iter().map(|n| n.id.to_string()).collect();
            return Err(Failure::invalid(format!(
                "there is no node or region {name:?}; there are {} and {}",
                self.regions().join(", "),
                nodes.join(", ")
            )));
        };
        let nodes = self.plan.nodes.iter().filter(|node| node.region == region);
        Ok(std::iter::once(upstream_name(&region))
            .chain(nodes.map(|node| node.id.to_string()))
            .collect())
    }

    fn region(&self, name: &str) -> Result<RegionName, Failure> {
        self.plan
            .upstreams
            .iter()
            .map(|upstream| &upstream.region)
            .find(|region| region.as_str() == name)
            .cloned()
            .ok_or_else(|| {
                Failure::invalid(format!(
                    "there is no region {name:?}; there are {}",
                    self.regions().join(", ")
                ))
            })
    }

    fn regions(&self) -> Vec<String> {
        let upstreams = self.plan.upstreams.iter();
        upstreams
            .map(|upstream| upstream.region.to_string())
            .collect()
    }

    /// The addresses that a region's nodes cannot reach.
    fn severed(&self, region: &RegionName) -> BTreeSet<SocketAddr> {
        self.cuts
            .iter()
            .filter_map(|(one, other)| {
                if one == region {
                    Some(other)
                } else if other == region {
                    Some(one)
                } else {
                    None
                }
            })
            .flat_map(|other| self.plan.fabric_addresses(other))
            .collect()
    }

    fn spread_cuts(&self) {
        for node in &self.plan.nodes {
            if let Some(process) = self.processes.get(node.id.as_str()) {
                process.order(Order::Cut {
                    addresses: self.severed(&node.region),
                });
            }
        }
    }

    /// Writes `dev.json` as things are now.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let pids = self
            .processes
            .iter()
            .map(|(name, process)| (name.clone(), process.pid))
            .collect();
        self.folder
            .write(&dev_file(&self.plan, &pids, Some(std::process::id())))
    }
}

/// `dev.json` for these processes.
pub(crate) fn dev_file(plan: &Plan, pids: &BTreeMap<String, u32>, own: Option<u32>) -> DevFile {
    DevFile {
        pid: own,
        issuer: format!("http://{}", plan.issuer),
        nodes: plan
            .nodes
            .iter()
            .map(|node| DevNode {
                id: node.id.to_string(),
                region: node.region.to_string(),
                pid: pids.get(node.id.as_str()).copied(),
                https: format!("https://{}", node.https),
                http: format!("http://{}", node.http),
                admin: format!("http://{}", node.admin),
                fabric: node.fabric.to_string(),
                bulk: node.bulk.to_string(),
            })
            .collect(),
        upstreams: plan
            .upstreams
            .iter()
            .map(|upstream| DevUpstream {
                region: upstream.region.to_string(),
                pid: pids.get(&upstream_name(&upstream.region)).copied(),
                url: format!("http://{}", upstream.listen),
            })
            .collect(),
    }
}

fn upstream_name(region: &RegionName) -> String {
    format!("upstream-{region}")
}
