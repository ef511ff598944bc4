//! What it takes.

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
