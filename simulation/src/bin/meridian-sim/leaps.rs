//! An idle machine costs nothing: the world runs it when its next timer is due, and leaps over the ticks between.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use meridian_cluster::host::Host;
use meridian_simulation::world::{EPOCH, Links, Place, Seed, TICK, Trace, World};

use super::interposed::Interposed;

/// Ten seconds of a machine that sleeps a second at a time, and of one that waits for a word.
fn ten_seconds() -> (Vec<Duration>, u64) {
    let links = Links::even(1, TICK, TICK);
    let mut world = World::new(Seed(1), links, Trace::new(None), Box::new(Interposed));
    let [sleeper, waiter] = ["sleeper", "waiter"].map(|name| world.add(name, Place(0)));
    let woken = Arc::new(Mutex::new(Vec::new()));
    let wakes = woken.clone();
    world.start(sleeper, |host| async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            wakes.lock().unwrap().push(host.unix_time() - EPOCH);
        }
    });
    let end = world.start(waiter, |host| async move {
        host.stop_asked().await;
        Ok(())
    });
    world.run_for(Duration::from_millis(10_500));
    assert_eq!(end.outcome(), None);
    // What reaches a machine from outside is not missed because no timer of it is due.
    world.ask_to_stop(waiter);
    world.step();
    assert_eq!(end.outcome(), Some(Ok(())));
    let woken = woken.lock().unwrap().clone();
    (woken, world.turns())
}

#[test]
fn machines_run_when_their_timers_are_due_and_not_in_between() {
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread whose clocks are steered must be fresh"
    )]
    let (woken, turns) = std::thread::spawn(ten_seconds).join().unwrap();
    assert_eq!(woken, Vec::from_iter((1..=10).map(Duration::from_secs)));
    // A timer that is far off is looked at a few times on the way (tokio's wheel has levels of 64 slots): far fewer
    // than the 21 000 ticks of two machines.
    assert!((10..100).contains(&turns), "{turns}");
}
