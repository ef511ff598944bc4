//! What it takes.

use std::time::Instant;

use meridian_fuzz::memory;

use super::*;

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
        "{keys} keys with 9 rows each: {} KiB, {per_key} bytes a key, of which rows 144; {} KiB as a snapshot",
        taken.peak >> 10,
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
