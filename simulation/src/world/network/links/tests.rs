//! Loss, delay, queues and troubles of links, by a fixed generator.

use super::*;
use crate::world::Seed;

const A: Place = Place(0);
const B: Place = Place(1);
const SMALL: Sent = Sent {
    at: Duration::ZERO,
    length: 100,
};

fn links() -> Links {
    Links::even(2, Duration::from_millis(1), Duration::from_millis(40))
}

#[test]
fn a_cut_is_one_way_until_it_heals() {
    let mut links = links();
    let mut random = Seed(1).stream("test");
    links.cut(A, B);
    assert_eq!(links.packet(&mut random, A, B, SMALL), Verdict::Cut);
    let back = Verdict::Deliver(Duration::from_millis(40));
    assert_eq!(links.packet(&mut random, B, A, SMALL), back);
    links.heal();
    assert_eq!(links.packet(&mut random, A, B, SMALL), back);
}

#[test]
fn loss_and_duplication_happen_about_as_often_as_asked() {
    let mut links = links();
    links.set_conditions(Conditions {
        jitter: Duration::from_millis(20),
        loss: 0.1,
        duplication: 0.2,
    });
    let mut random = Seed(1).stream("test");
    let (mut lost, mut twice) = (0, 0);
    for _ in 0..10_000 {
        match links.packet(&mut random, A, B, SMALL) {
            Verdict::Lose => lost += 1,
            Verdict::Duplicate(..) => twice += 1,
            Verdict::Deliver(delay) => {
                assert!(delay >= Duration::from_millis(40));
                assert!(delay <= Duration::from_millis(60));
            }
            Verdict::Cut | Verdict::Overflow => panic!("nothing is cut or full"),
        }
    }
    assert!((900..1100).contains(&lost), "{lost}");
    assert!((1600..2000).contains(&twice), "{twice}");
}

#[test]
fn a_troubled_link_slows_and_loses_in_its_direction_and_counts_what_it_did() {
    let mut links = links();
    let mut random = Seed(1).stream("test");
    let half = Trouble {
        latency: Duration::from_millis(30),
        loss: 0.5,
        ..Trouble::default()
    };
    links.trouble(A, B, &half);
    links.trouble(A, B, &half);
    let mut lost = 0;
    for _ in 0..1_000 {
        match links.packet(&mut random, A, B, SMALL) {
            Verdict::Lose => lost += 1,
            other => assert_eq!(other, Verdict::Deliver(Duration::from_millis(100))),
        }
    }
    assert!((700..800).contains(&lost), "{lost}");
    let touched = links.touched(A, B);
    assert_eq!((touched.spoilt, touched.slowed), (lost, 1_000 - lost));
    assert_eq!(touched.queued, 0);
    assert!(links.is_doubtful(A, B) && !links.is_doubtful(B, A));
    let back = Verdict::Deliver(Duration::from_millis(40));
    assert_eq!(links.packet(&mut random, B, A, SMALL), back);
    links.heal();
    assert_eq!(links.packet(&mut random, A, B, SMALL), back);
    assert!(!links.is_doubtful(A, B));
}

#[test]
fn a_stream_shares_a_narrow_link_with_the_packets() {
    let mut links = links();
    let mut random = Seed(1).stream("test");
    let narrow = Trouble {
        capacity: Some(Capacity {
            bytes_per_second: 1e6,
            queue: Duration::from_millis(3),
        }),
        ..Trouble::default()
    };
    links.trouble(A, B, &narrow);
    let kilobyte = Sent {
        at: Duration::ZERO,
        length: 1000 - HEADERS,
    };
    let delay = links.stream_delay(&mut random, A, B, kilobyte);
    assert_eq!(delay, Duration::from_millis(41));
    let verdict = links.packet(&mut random, A, B, kilobyte);
    assert_eq!(verdict, Verdict::Deliver(Duration::from_millis(42)));
    assert_eq!(links.touched(A, B).queued, 1);
}

#[test]
fn a_full_link_delays_then_loses_and_neither_the_way_back_nor_a_region_within_is_touched() {
    let mut links = links();
    let mut random = Seed(1).stream("test");
    // A packet of 972 bytes takes a millisecond.
    links.set_capacity(Capacity {
        bytes_per_second: 1e6,
        queue: Duration::from_millis(3),
    });
    let sent = |at| Sent {
        at: Duration::from_millis(at),
        length: 1000 - HEADERS,
    };
    let after = |ms| Verdict::Deliver(Duration::from_millis(ms));
    for wait in 1..=4 {
        assert_eq!(links.packet(&mut random, A, B, sent(0)), after(40 + wait));
    }
    assert_eq!(links.packet(&mut random, A, B, sent(0)), Verdict::Overflow);
    assert_eq!(links.packet(&mut random, B, A, sent(0)), after(41));
    assert_eq!(links.packet(&mut random, A, A, sent(0)), after(1));
    assert_eq!(links.packet(&mut random, A, B, sent(2)), after(43));
    assert_eq!(links.packet(&mut random, A, B, sent(90)), after(41));
}
