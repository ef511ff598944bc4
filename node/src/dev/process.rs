//! One child process: its pipe, its log, its end.
//!
//! In: what it is, and orders for it. Out: an event when it has ended.

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    folder::Folder,
    hook::{Order, Role},
};

/// A child that runs.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its process id.
    pub(crate) pid: u32,
    orders: mpsc::Sender<Order>,
    kill: CancellationToken,
    ended: CancellationToken,
}

/// A child has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its name.
    pub(crate) name: String,
    /// Which of its lives: a started-again child has the same name.
    pub(crate) pid: u32,
    /// How, for people.
    pub(crate) how: String,
}

/// Orders that may wait for a child; people send them, one at a time.
const ORDERS: usize = 16;

/// A child that does not take its orders for so long is stuck; orders to it are dropped.
const WRITE: Duration = Duration::from_secs(2);

impl Process {
    /// Starts a child and greets it. Its output goes to its log file.
    pub(crate) fn start(
        name: &str,
        role: Role,
        folder: &Folder,
        tracker: &TaskTracker,
        events: mpsc::Sender<Ended>,
    ) -> io::Result<Self> {
        let log_path = folder.log(name);
        if let Some(parent) = log_path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log_path)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("dev-child")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches the parent alone, which then stops its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child
            .id()
            .expect("a child that was not waited for has an id");
        let stdin = child.stdin.take().expect("its stdin is a pipe");
        let (orders, queue) = mpsc::channel(ORDERS);
        orders
            .try_send(Order::Begin(role))
            .expect("a new queue has room for the greeting");
        let process = Self {
            pid,
            orders,
            kill: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let life = Life {
            name: name.to_owned(),
            pid,
            child,
            stdin,
            queue,
            kill: process.kill.clone(),
            ended: process.ended.clone(),
            events,
        };
        tracker.spawn(life.live());
        Ok(process)
    }

    /// Sends an order; one that is stuck or ended gets none.
    pub(crate) fn order(&self, order: Order) {
        // A full queue means a stuck child, which no order helps.
        let _ = self.orders.try_send(order);
    }

    /// kill -9, and waits for the end.
    pub(crate) async fn kill(&self) {
        self.kill.cancel();
        self.ended.cancelled().await;
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

struct Life {
    name: String,
    pid: u32,
    child: Child,
    stdin: ChildStdin,
    queue: mpsc::Receiver<Order>,
    kill: CancellationToken,
    ended: CancellationToken,
    events: mpsc::Sender<Ended>,
}

impl Life {
    async fn live(mut self) {
        let mut killed = false;
        let how = loop {
            tokio::select! {
                biased;
                status = self.child.wait() => break describe(status),
                () = self.kill.cancelled(), if !killed => {
                    killed = true;
                    // It may have ended by itself in this moment.
                    let _ = self.child.start_kill();
                }
                Some(order) = self.queue.recv() => {
                    let line = order.line();
                    let write = async {
                        self.stdin.write_all(line.as_bytes()).await?;
                        self.stdin.flush().await
                    };
                    // A child that ended or is stuck is noticed by its own signs.
                    let _ = timeout(WRITE, write).await;
                }
            }
        };
        let ended = Ended {
            name: self.name,
            pid: self.pid,
            how,
        };
        self.ended.cancel();
        // The parent may have left its loop already.
        let _ = self.events.send(ended).await;
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(9)) => "killed".to_owned(),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}
