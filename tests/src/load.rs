//! A client that asks at a steady rate and measures how long it went without an answer.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::http::{Call, Wire};

/// A running client.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    client: JoinHandle<Record>,
}

/// What a client saw.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Answers with status 200.
    pub good: usize,
    /// Answers with another status, by status.
    pub refused: Vec<u16>,
    /// Requests without an answer.
    pub broken: usize,
    /// The longest time between two good answers.
    pub longest_gap: Duration,
}

/// Starts a client that asks `rate` times a second over a kept connection. When the connection fails it
/// goes on with the next address, as a client behind several DNS answers does.
pub fn start(call: Call, addresses: Vec<SocketAddr>, rate: u32) -> Load {
    let (stop, stopped) = watch::channel(false);
    Load {
        stop,
        client: tokio::spawn(ask(call, addresses, rate, stopped)),
    }
}

impl Load {
    /// Stops the client and tells what it saw.
    pub async fn stop(self) -> Record {
        self.stop.send_replace(true);
        self.client.await.expect("the client does not panic")
    }
}

async fn ask(
    call: Call,
    addresses: Vec<SocketAddr>,
    rate: u32,
    stopped: watch::Receiver<bool>,
) -> Record {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut record = Record::default();
    let mut wire: Option<Wire> = None;
    let mut next = 0;
    let mut last_good: Option<Instant> = None;
    while !*stopped.borrow() {
        ticks.tick().await;
        if wire.is_none() {
            wire = Wire::open(addresses[next % addresses.len()]).await.ok();
        }
        let answer = match &mut wire {
            Some(wire) => wire.send(&call, Duration::from_secs(2)).await,
            None => Err("no connection".to_owned()),
        };
        match answer {
            Ok(answer) if answer.status == 200 => {
                let now = Instant::now();
                let gap = last_good.map_or(Duration::ZERO, |last| now - last);
                record.longest_gap = record.longest_gap.max(gap);
                record.good += 1;
                last_good = Some(now);
            }
            Ok(answer) => record.refused.push(answer.status),
            Err(_) => {
                record.broken += 1;
                wire = None;
                next += 1;
            }
        }
    }
    record
}
