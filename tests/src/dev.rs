//! A cluster made by `meridian dev`: three regions, one node each, demo upstreams, a demo provider.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binary::{Ran, command, run},
    http::{Answer, Call},
    process::Process,
    wait::{LONG, until},
};

/// A running dev cluster. Its processes end with it: the parent is killed, and the children notice.
#[derive(Debug)]
pub struct Dev {
    folder: TempDir,
    process: Process,
}

/// One node of it, as `dev.json` tells.
#[derive(Debug, Clone)]
pub struct Node {
    /// `REGION-N`.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its process; none while it is dead.
    pub pid: Option<u32>,
    /// Edge, plain HTTP.
    pub http: SocketAddr,
    /// Edge, HTTPS.
    pub https: SocketAddr,
    /// Admin API.
    pub admin: SocketAddr,
}

impl Dev {
    /// Starts one in a new folder and waits until it says that it is ready.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    /// Starts one in a folder, which may hold the state of an earlier one.
    pub async fn start_in(folder: TempDir) -> Self {
        let mut arguments = command(&["dev", "--ports", "auto", "--dir"]);
        arguments.arg(folder.path().join("dev"));
        let mut process = Process::start("dev", folder.path(), arguments);
        until("the dev cluster is ready", LONG, async || {
            process.must_run();
            // It prints its one screen when it is ready, and nothing to stdout before.
            if process.stdout().contains("ready in") {
                Ok(())
            } else {
                Err(process.stderr())
            }
        })
        .await;
        Self { folder, process }
    }

    /// Its folder.
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("dev")
    }

    /// The screen that it showed when it was ready.
    pub fn screen(&self) -> String {
        self.process.stdout()
    }

    /// Its nodes as `dev.json` tells now.
    pub fn nodes(&self) -> Vec<Node> {
        let text = std::fs::read_to_string(self.folder().join("dev.json")).expect("dev.json");
        let file: Value = serde_json::from_str(&text).expect("dev.json is JSON");
        let nodes = file["nodes"].as_array().expect("dev.json lists nodes");
        nodes.iter().map(Node::read).collect()
    }

    /// The node of a region.
    pub fn node(&self, region: &str) -> Node {
        let mut nodes = self.nodes().into_iter();
        nodes
            .find(|node| node.region == region)
            .unwrap_or_else(|| panic!("no node in {region}"))
    }

    /// A token of the demo provider.
    pub async fn token(&self, tenant: &str, scopes: &[&str]) -> String {
        let mut arguments = vec!["token", "--tenant", tenant];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        self.dev(&arguments)
            .await
            .expect(0)
            .stdout
            .trim()
            .to_owned()
    }

    /// Runs `meridian dev …` on this cluster.
    pub async fn dev(&self, arguments: &[&str]) -> Ran {
        let mut command = command(&["dev"]);
        command.args(arguments).arg("--dir").arg(self.folder());
        run(command).await
    }

    /// Runs an admin command at one node.
    pub async fn admin(&self, node: &Node, arguments: &[&str]) -> Ran {
        let mut command = command(arguments);
        command
            .args(["--admin", &format!("http://{}", node.admin)])
            .arg("--token-file")
            .arg(self.folder().join("admin.token"));
        run(command).await
    }

    /// `meridian status` as one node tells it.
    pub async fn status(&self, node: &Node) -> Value {
        self.admin(node, &["status", "-o", "json"])
            .await
            .expect(0)
            .json()
    }

    /// The node that leads, as `node` tells it.
    pub async fn leader(&self, node: &Node) -> Node {
        let id = until("a leader is known", LONG, async || {
            let status = self.status(node).await;
            status["group"]["leader"]
                .as_str()
                .map(str::to_owned)
                .ok_or(status.to_string())
        })
        .await;
        let mut nodes = self.nodes().into_iter();
        nodes
            .find(|node| node.id == id)
            .unwrap_or_else(|| panic!("no node {id}"))
    }

    /// What a process of the cluster has logged: a node's id, or `upstream-REGION`.
    pub fn log(&self, name: &str) -> String {
        let path = self.folder().join("logs").join(format!("{name}.log"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Stops it as Ctrl-C does; panics unless it ends well and leaves no process behind.
    pub async fn stop(mut self) -> TempDir {
        let children: Vec<u32> = self.nodes().iter().filter_map(|node| node.pid).collect();
        self.process.signal("INT").await;
        let status = self.process.end(LONG).await;
        assert!(status.success(), "{status}: {}", self.process.stderr());
        for pid in children {
            assert!(!alive(pid), "process {pid} is left behind");
        }
        self.folder
    }

    /// Kills the parent as a crash would; its children must notice and end.
    pub async fn crash(mut self) {
        let children: Vec<u32> = self.nodes().iter().filter_map(|node| node.pid).collect();
        self.process.signal("KILL").await;
        self.process.end(LONG).await;
        until(
            "the children end after their parent",
            LONG,
            async || match children.iter().find(|pid| alive(**pid)) {
                None => Ok(()),
                Some(pid) => Err(format!("process {pid} lives")),
            },
        )
        .await;
    }
}

impl Node {
    fn read(value: &Value) -> Self {
        let text = |name: &str| {
            value[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name}: {value}"))
        };
        let address = |name: &str, scheme: &str| {
            let url = text(name);
            let address = url
                .strip_prefix(scheme)
                .unwrap_or_else(|| panic!("{name}: {url}"));
            address
                .parse()
                .unwrap_or_else(|error| panic!("{name}: {url}: {error}"))
        };
        Self {
            id: text("id").to_owned(),
            region: text("region").to_owned(),
            pid: value["pid"]
                .as_u64()
                .map(|pid| u32::try_from(pid).expect("a process id")),
            http: address("http", "http://"),
            https: address("https", "https://"),
            admin: address("admin", "http://"),
        }
    }

    /// Sends a request until its answer is as wanted.
    pub async fn eventually(
        &self,
        call: &Call,
        within: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        until(
            &format!("the wanted answer at {}", self.id),
            within,
            async || {
                let answer = call.try_send(self.http).await?;
                if wanted(&answer) {
                    Ok(answer)
                } else {
                    Err(format!("{answer:?}"))
                }
            },
        )
        .await
    }
}

/// Whether a process exists.
pub fn alive(pid: u32) -> bool {
    // A zombie that its parent has not reaped yet is dead enough.
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat.contains(") Z "))
}
