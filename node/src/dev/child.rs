//! A child of `meridian dev`: a node, or a region's demo upstream.
//!
//! In: orders of the parent, over the pipe that is standard input. Out: a process that ends when it is
//! told to, and at once when the pipe ends, because then its parent is gone.

use std::{
    io::{self, BufRead, IsTerminal},
    net::SocketAddr,
    sync::mpsc as blocking,
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    hook::{Order, Role},
    upstream,
};
use crate::cli::{
    outcome::{Exit, Failure},
    outside,
};

/// The greeting is written before the child is even scheduled; this long means that there is no parent.
const GREETING: Duration = Duration::from_secs(5);

/// Orders that may wait; a person sends them, one at a time.
const ORDERS: usize = 16;

/// Runs as the parent says.
pub(crate) fn run() -> Result<Exit, Failure> {
    let (role, orders) = greet()?;
    match role {
        Role::Upstream { region, listen } => run_upstream(region, listen, orders),
        Role::Node { config, cut } => super::node::run(&config, cut, orders),
    }
}

/// Waits for the greeting, and leaves a thread that passes on what follows.
fn greet() -> Result<(Role, mpsc::Receiver<Order>), Failure> {
    let stranger = || {
        Failure::invalid(
            "this command is for the children of `meridian dev`; run a node with `meridian node --config node.yaml`",
        )
    };
    if io::stdin().is_terminal() {
        return Err(stranger());
    }
    let (greeting, greeted) = blocking::sync_channel(1);
    let (sender, orders) = mpsc::channel(ORDERS);
    // A thread of its own: it must notice the parent's end even when the runtime is stuck.
    std::thread::Builder::new()
        .name("parent".into())
        .spawn(move || {
            let mut lines = io::stdin().lock().lines();
            let first = lines.next().and_then(Result::ok);
            let first = first.and_then(|line| Order::read(&line));
            let known = first.is_some();
            // Whoever waits may have given up.
            let _ = greeting.send(first);
            if !known {
                // A stranger: the waiting thread says so and ends the process.
                return;
            }
            for line in lines {
                let Ok(line) = line else { break };
                if let Some(order) = Order::read(&line)
                    && sender.blocking_send(order).is_err()
                {
                    break;
                }
            }
            // The parent is gone, killed perhaps. Nobody is left to drain for.
            std::process::exit(Exit::Failed.code().into());
        })
        .map_err(|error| Failure::failed(format!("no thread to hear the parent: {error}")))?;
    match greeted.recv_timeout(GREETING) {
        Ok(Some(Order::Begin(role))) => Ok((role, orders)),
        _ => Err(stranger()),
    }
}

fn run_upstream(
    region: String,
    listen: SocketAddr,
    mut orders: mpsc::Receiver<Order>,
) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let listener = outside::listen(listen).await.map_err(|error| {
            Failure::failed(format!(
                "the demo upstream of {region} cannot listen on {listen}: {error}; `--ports auto` takes free ports"
            ))
        })?;
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        tracker.spawn(upstream::run(listener, region, tracker.clone(), stop.clone()));
        while let Some(order) = orders.recv().await {
            if order == Order::Stop {
                break;
            }
        }
        stop.cancel();
        tracker.close();
        // A response that a client reads slowly does not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(2), tracker.wait()).await;
        Ok(Exit::Done)
    })
}
