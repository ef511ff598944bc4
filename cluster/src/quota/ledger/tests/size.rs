//! What it takes.

use std::time::Instant;

use meridian_fuzz::memory;

use super::*;
use crate::{quota::leader::Leader, wire};
use meridian_config::name::RegionName;

/// Tenants of the next test; `MERIDIAN_QUOTA_TENANTS` measures more.
const TENANTS: u32 = 10_000;

/// Many tenants, each with a row for every node.
fn busy(tenants: u32, nodes: u64) -> Desk {
    let mut desk = Desk::with(nodes);
    for (seq, first) in (1..).zip((0..tenants).step_by(1000)) {
        for node in 0..nodes {
            let mut asking = ask(name(node).as_str(), seq, 0, 20);
            let item = asking.items[0].clone();
            asking.items = (first..tenants.min(first + 1000))
                .map(|tenant| AskItem {
                    key: key(tenant),
                    ..item.clone()
                })
                .collect();
            desk.hear(asking);
        }
    }
    desk
}

fn key(tenant: u32) -> KeyId {
    let mut id = [0; 16];
    let spread = u64::from(tenant).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    id[..8].copy_from_slice(&spread.to_le_bytes());
    KeyId(id)
}

#[test]
fn tenants_in_use_take_so_much_memory_and_idle_ones_none() {
    let asked = std::env::var("MERIDIAN_QUOTA_TENANTS").ok();
    let tenants = asked.map_or(TENANTS, |asked| asked.parse().unwrap());
    let (mut desk, taken) = memory::measure(|| busy(tenants, 9));
    let (keys, rows) = (desk.ledger.keys(), desk.ledger.rows());
    assert_eq!((keys, rows), (tenants as usize, 9 * tenants as usize));
    let per_key = taken.peak / keys;
    let snapshot = desk.state();
    println!(
        "{keys} keys with 9 rows each: {} KiB, {per_key} bytes a key, of which rows {}; {} KiB as a snapshot",
        taken.peak >> 10,
        9 * size_of::<super::book::Row>(),
        snapshot.len() >> 10,
    );
    assert!(per_key < 500, "{per_key}");
    assert!(snapshot.len() / keys < 300);
    let read = Ledger::decode(&snapshot, Params::DEFAULT).unwrap();
    assert_eq!((read.keys(), read.rows()), (keys, rows));
    // All leases are over, and a window later all has cooled.
    desk.pass(31);
    desk.pass(62);
    assert_eq!((desk.ledger.keys(), desk.ledger.rows()), (0, 0));
}

#[test]
fn how_many_items_a_second_are_applied() {
    let mut desk = busy(2000, 9);
    let mut asks = Vec::new();
    for seq in 100..110 {
        for node in 0..9 {
            let mut asking = ask(name(node).as_str(), seq, 0, 20);
            let item = asking.items[0].clone();
            asking.items = (0..200)
                .map(|tenant| AskItem {
                    key: key(tenant * 10),
                    returned: u32::try_from(seq - 100).unwrap(),
                    want: 20 + u32::try_from(seq - 100).unwrap(),
                    ..item.clone()
                })
                .collect();
            asks.push(asking);
        }
    }
    let entries = asks.into_iter().map(|ask| {
        let act = Act::Batch {
            asks: vec![ask],
            wishes: Vec::new(),
        };
        let stamp = Stamp::default();
        let line = line();
        Entry { stamp, line, act }.encode()
    });
    let entries: Vec<_> = entries.collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "it is printed, and nothing depends on it"
    )]
    let begin = Instant::now();
    let mut answered = 0;
    for bytes in &entries {
        let entry = Entry::decode(bytes).unwrap();
        let grants = desk.ledger.apply(1000, &entry);
        answered += grants.iter().map(|grant| grant.items.len()).sum::<usize>();
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{:.0} items a second on one core, decoding included",
        answered as f64 / seconds
    );
    assert_eq!(answered, 18_000);
}

/// What asks go through at a leader whose nodes have spoken of thousands of keys lately, but for the log and the network: read,
/// thought of, cut, made an entry, applied, dressed and written, a batch each 15 ms; and its look for recalls, a seventh
/// as often. Of every tenth key nodes want more than there is.
#[test]
fn how_many_items_a_second_pass_a_leader() {
    const NODES: u64 = 9;
    /// Of each node in a batch.
    const ITEMS: u32 = 25;
    let (keys, batches) = (ITEMS * 300, 400_u64);
    let mut desk = busy(keys, NODES);
    let mut memory = Leader::new(Params::DEFAULT);
    let region = |node: u64| RegionName::new(["eu", "us", "ap"][(node % 3) as usize]);
    let said = |batch: u64, node: u64| {
        let mut asking = ask(name(node).as_str(), 1000 + batch, 0, 20);
        let item = asking.items[0].clone();
        let first = u32::try_from(batch).unwrap() * ITEMS;
        let keys = (first..first + ITEMS).map(|tenant| AskItem {
            key: key(tenant % keys),
            want: if tenant % 10 == 0 { 150 } else { 25 },
            rate: if node == 0 { 10 } else { 4000 },
            ..item.clone()
        });
        asking.items = keys.collect();
        wire::encode(&asking)
    };
    let said: Vec<Vec<Vec<u8>>> = (0..batches)
        .map(|batch| (0..NODES).map(|node| said(batch, node)).collect())
        .collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "it is printed, and nothing depends on it"
    )]
    let now = || Instant::now();
    let mut begin = now();
    let (mut answered, mut recalls, mut bytes) = (0, 0, 0);
    for (batch, said) in (0_u64..).zip(&said) {
        if batch == 300 {
            // All keys are known.
            (begin, answered) = (now(), 0);
        }
        let now_ms = batch * 15;
        let mut asks = Vec::new();
        for (node, said) in (0_u64..).zip(said) {
            let ask: QuotaAsk = wire::decode(said).unwrap();
            memory.hear(&ask, &region(node), now_ms);
            asks.push(ask);
        }
        memory.cut(&mut asks, &desk.ledger);
        let wishes = memory.wishes(&desk.ledger);
        desk.index += 1;
        let entry = Entry {
            stamp: Stamp {
                log_ms: now_ms,
                unix_ms: now_ms,
            },
            line: line(),
            act: Act::Batch { asks, wishes },
        };
        let entry = Entry::decode(&entry.encode()).unwrap();
        let mut grants = desk.ledger.apply(desk.index, &entry);
        memory.dress(&mut grants, &desk.ledger);
        for grant in grants {
            answered += grant.items.len();
            bytes += wire::encode(&grant).len();
        }
        if batch % 7 == 0 {
            memory.forget(now_ms);
            let news = memory.recalls(desk.index, &desk.ledger, now_ms);
            recalls += news.iter().map(|grant| grant.recalls.len()).sum::<usize>();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{:.0} items a second on one core of a leader that knows {} keys; {recalls} recalls, {} KiB of grants",
        answered as f64 / seconds,
        desk.ledger.keys(),
        bytes >> 10
    );
    assert!(answered >= 100 * 9 * 25, "{answered}");
    assert!(recalls > 0);
}
