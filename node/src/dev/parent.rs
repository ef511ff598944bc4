//! The parent of a dev cluster: starts it, keeps it, takes orders from other terminals, stops it.
//!
//! In: options, visits at the control door, signals, ends of children. Out: children and their orders,
//! `dev.json`, one screen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use meridian_config::name::RegionName;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    control::{self, Done, Request, Visit},
    document,
    folder::{DevFile, DevNode, DevUpstream, Folder},
    hook::{Order, Role},
    issuer::{self, IssuerKey, Wish},
    plan::Plan,
    ports::{self, Ports},
    prepare,
    process::{Ended, Process},
    ready::{self, Document},
    screen,
};
use crate::cli::{
    outcome::{Exit, Failure},
    outside::{self, Readers},
    terminal::Terminal,
};

/// What the user asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Nodes in each region.
    pub(crate) nodes_per_region: u8,
    /// Where state lies.
    pub(crate) folder: Folder,
    /// Start afresh.
    pub(crate) reset: bool,
    /// Which ports.
    pub(crate) ports: Ports,
}

/// Time for the children to drain before they are killed: above a node's own drain deadline.
const DRAIN: Duration = Duration::from_secs(20);

/// Visits and ends that may wait: a few dozen children, and people at terminals.
const EVENTS: usize = 64;

/// Runs a dev cluster until it is told to stop.
pub(crate) async fn run(options: Options, terminal: &Terminal) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut signals = Signals::new()?;
    let folder = options.folder;
    let _lock = folder.occupy()?;
    if options.reset {
        folder.reset()?;
    }
    let earlier = if folder.dev_json().exists() {
        Some(folder.read()?)
    } else {
        None
    };
    let plan = ports::plan(options.nodes_per_region, options.ports, earlier.as_ref())?;
    let moved = fits(&plan, earlier.as_ref(), &folder)?;
    let admin_token = prepare::prepare(&folder, &plan)?;
    let key = IssuerKey::open_or_create(&folder)?;
    let text = document::text(&plan);

    let mut parent = Parent::open(folder, plan, &key).await?;
    let outcome = parent
        .live(&mut signals, terminal, async |plan: &Plan, folder: &Folder| {
            let replace = moved || !folder.document().exists();
            let given = ready::give_document(plan, &admin_token, &text, replace).await?;
            if matches!(given, Document::Applied(_)) || replace {
                folder.put(&folder.document(), text.as_bytes(), Readers::All)?;
            }
            let wish = Wish {
                tenant: "acme".into(),
                subject: "demo".into(),
                scopes: vec!["plants:read".into()],
                roles: Vec::new(),
                lifetime: Duration::from_secs(3600),
            };
            let issuer = format!("http://{}", plan.issuer);
            let token = key.sign(&issuer, &wish, outside::unix_time(), &token_id())?;
            let is_demo = outside::read_text(&folder.document()).is_ok_and(|now| now == text);
            ready::all_serve(plan, is_demo.then_some(token.as_str())).await?;
            if let Document::Kept(revision) = given {
                terminal.say(&format!(
                    "The cluster goes on with its revision {revision}; `meridian dev --reset` starts afresh."
                ));
            }
            Ok(screen::text(plan, folder, &screen::program(), &token, began.elapsed()))
        })
        .await;
    terminal.say("Stopping.");
    parent.stop(&mut signals, terminal).await;
    outcome.map(|()| Exit::Done)
}

/// A `jti`.
pub(crate) fn token_id() -> String {
    blake3::Hash::from_bytes(outside::entropy()).to_hex()[..32].to_owned()
}

/// Whether the plan fits the cluster that the folder holds; `true` where its addresses changed, so that
/// its document needs new ones.
fn fits(plan: &Plan, earlier: Option<&DevFile>, folder: &Folder) -> Result<bool, Failure> {
    let Some(earlier) = earlier else {
        return Ok(false);
    };
    let now = dev_file(plan, &BTreeMap::new(), None);
    let ids =
        |file: &DevFile| -> Vec<String> { file.nodes.iter().map(|node| node.id.clone()).collect() };
    if ids(earlier) != ids(&now) {
        return Err(Failure::failed(format!(
            "{} holds a cluster of {} nodes, and {} are wanted; start afresh with --reset, or name another folder with --dir",
            folder.root().display(),
            earlier.nodes.len(),
            plan.nodes.len()
        )));
    }
    let urls =
        |file: &DevFile| -> Vec<String> { file.upstreams.iter().map(|u| u.url.clone()).collect() };
    Ok(earlier.issuer != now.issuer || urls(earlier) != urls(&now))
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

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("no signal handler: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Parent {
    folder: Folder,
    plan: Arc<Plan>,
    /// Living children by name.
    processes: BTreeMap<String, Process>,
    /// Pairs of regions that are cut, in order.
    cuts: BTreeSet<(RegionName, RegionName)>,
    visits: mpsc::Receiver<Visit>,
    ends: mpsc::Receiver<Ended>,
    end: mpsc::Sender<Ended>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Parent {
    /// Opens the doors and starts every child.
    async fn open(folder: Folder, plan: Plan, key: &IssuerKey) -> Result<Self, Failure> {
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let door = control::open(&folder)?;
        let listener = outside::listen(plan.issuer).await.map_err(|error| {
            Failure::failed(format!(
                "the identity provider cannot listen on {}: {error}; take free ports with `--ports auto`",
                plan.issuer
            ))
        })?;
        tracker.spawn(issuer::run(
            listener,
            format!("http://{}", plan.issuer),
            key.public().clone(),
            tracker.clone(),
            stop.clone(),
        ));
        let (visit, visits) = mpsc::channel(EVENTS);
        let (end, ends) = mpsc::channel(EVENTS);
        tracker.spawn(control::serve(door, visit, tracker.clone(), stop.clone()));
        let mut parent = Self {
            folder,
            plan: Arc::new(plan),
            processes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            visits,
            ends,
            end,
            tracker,
            stop,
        };
        let names = parent.names();
        for name in names {
            parent.start(&name)?;
        }
        parent.write()?;
        Ok(parent)
    }

    /// Waits for readiness, shows it, and serves until a signal.
    async fn live(
        &mut self,
        signals: &mut Signals,
        terminal: &Terminal,
        make_ready: impl AsyncFnOnce(&Plan, &Folder) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let (plan, folder) = (self.plan.clone(), self.folder.clone());
        let ready = make_ready(&plan, &folder);
        tokio::pin!(ready);
        let mut is_ready = false;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                Some(ended) = self.ends.recv() => {
                    let expected = !self.forget(&ended);
                    self.write()?;
                    if expected {
                        continue;
                    }
                    if !is_ready {
                        return Err(self.stillborn(&ended));
                    }
                    terminal.warn(&format!(
                        "{} ended ({}); its log is {}. Start it again with: dev start {}",
                        ended.name,
                        ended.how,
                        self.folder.log(&ended.name).display(),
                        self.owner(&ended.name)
                    ));
                }
                Some((request, reply)) = self.visits.recv() => {
                    let done = self.obey(&request).await;
                    if let Ok(done) = &done {
                        terminal.say(&done.message);
                    }
                    // The visitor may have hung up.
                    let _ = reply.send(done);
                }
                shown = &mut ready, if !is_ready => {
                    terminal.data(&shown?);
                    is_ready = true;
                }
            }
        }
    }

    /// Drains and stops the nodes, then the upstreams they answer from, then the rest.
    async fn stop(mut self, signals: &mut Signals, terminal: &Terminal) {
        let (upstreams, nodes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.processes)
            .into_iter()
            .partition(|(name, _)| self.plan.nodes.iter().all(|node| node.id.as_str() != name));
        for group in [nodes, upstreams] {
            for (_, process) in &group {
                process.order(Order::Stop);
            }
            let all = async {
                for (_, process) in &group {
                    process.ended().await;
                }
            };
            let drained = tokio::select! {
                biased;
                drained = timeout(DRAIN, all) => drained.is_ok(),
                () = signals.next() => false,
            };
            if !drained {
                terminal.say("Killing what has not drained.");
            }
            for (_, process) in &group {
                process.kill().await;
            }
        }
        self.stop.cancel();
        // Ends that nobody reads any more would keep their senders waiting.
        self.ends.close();
        self.tracker.close();
        // A slow reader of the identity provider does not hold up the end.
        let _ = timeout(Duration::from_secs(2), self.tracker.wait()).await;
        if let Err(failure) = self
            .folder
            .write(&dev_file(&self.plan, &BTreeMap::new(), None))
        {
            terminal.warn(&failure.message);
        }
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
    fn owner<'a>(&self, name: &'a str) -> &'a str {
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

    /// Drops a child from the living; false where it was none of them (it was killed on request).
    fn forget(&mut self, ended: &Ended) -> bool {
        let same = self
            .processes
            .get(&ended.name)
            .is_some_and(|process| process.pid == ended.pid);
        if same {
            self.processes.remove(&ended.name);
        }
        same
    }

    fn stillborn(&self, ended: &Ended) -> Failure {
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

    async fn obey(&mut self, request: &Request) -> Result<Done, Failure> {
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
            .filter(|name| self.plan.nodes.iter().any(|node| node.id.as_str() == name))
            .collect();
        Done { message, nodes }
    }

    /// The children behind a node's id or a region's name.
    fn resolve(&self, name: &str) -> Result<Vec<String>, Failure> {
        if self.plan.nodes.iter().any(|node| node.id.as_str() == name) {
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

    fn write(&self) -> Result<(), Failure> {
        let pids = self
            .processes
            .iter()
            .map(|(name, process)| (name.clone(), process.pid))
            .collect();
        self.folder
            .write(&dev_file(&self.plan, &pids, Some(std::process::id())))
    }
}
