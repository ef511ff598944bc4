//! The parent of a dev cluster: starts it, keeps it, takes orders from other terminals, stops it.
//!
//! In: options, visits at the control door, signals, ends of children. Out: children and their orders,
//! `dev.json`, one screen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    children::{Children, dev_file},
    control::{self, Visit},
    document,
    folder::{DevFile, Folder},
    hook::Order,
    issuer::{self, IssuerKey, Wish},
    plan::Plan,
    ports::{self, Ports},
    prepare,
    process::Ended,
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

/// Time for the children to drain before they are killed: above a node's own bounds (30 s for requests,
/// and a few for each part after them). A second Ctrl-C kills at once.
const DRAIN: Duration = Duration::from_secs(45);

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
    terminal.say("Stopping; Ctrl-C again kills.");
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
    children: Children,
    visits: mpsc::Receiver<Visit>,
    ends: mpsc::Receiver<Ended>,
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
        let plan = Arc::new(plan);
        let children = Children::start_all(folder.clone(), plan.clone(), end, tracker.clone())?;
        Ok(Self {
            folder,
            plan,
            children,
            visits,
            ends,
            tracker,
            stop,
        })
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
                    if !self.children.lost(&ended) {
                        continue;
                    }
                    self.children.write()?;
                    if !is_ready {
                        return Err(self.children.stillborn(&ended));
                    }
                    terminal.warn(&format!(
                        "{} ended ({}); its log is {}. Start it again with: dev start {}",
                        ended.name,
                        ended.how,
                        self.folder.log(&ended.name).display(),
                        self.children.owner(&ended.name)
                    ));
                }
                Some((request, reply)) = self.visits.recv() => {
                    let done = self.children.obey(&request).await;
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
        for group in self.children.take() {
            for process in &group {
                process.order(Order::Stop);
            }
            let all = async {
                for process in &group {
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
            for process in &group {
                process.kill().await;
            }
        }
        self.stop.cancel();
        // Ends that nobody reads any more would keep their senders waiting.
        self.ends.close();
        self.tracker.close();
        // A slow reader of the identity provider does not hold up the end.
        let _ = timeout(Duration::from_secs(2), self.tracker.wait()).await;
        // Nobody lives any more.
        if let Err(failure) = self
            .folder
            .write(&dev_file(&self.plan, &BTreeMap::new(), None))
        {
            terminal.warn(&failure.message);
        }
    }
}
