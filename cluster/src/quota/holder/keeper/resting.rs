//! Keys that nobody charges: each is looked at once a minute, until it is as good as new and is put away. A core.

use std::time::Duration;

use super::{
    super::{
        super::{
            clock::{Clock, Now},
            key::KeyId,
        },
        key::{IN_USE, KeyHandle},
        row::{follow_base, nanoseconds},
    },
    Keeper,
};

/// A key that is not in use.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) key: KeyHandle,
    /// Not to be looked at before that moment, in nanoseconds.
    due: u64,
    /// How long to wait before it asks for what it has lent.
    pause: Duration,
}

impl Keeper {
    pub(super) fn put_to_rest(&mut self, id: KeyId, now: Now) {
        let Some(row) = self.rows.get(&id) else {
            return;
        };
        if row.rest() {
            self.floor = self.floor.max(row.index);
            let due = match row.key.0.extra() < 0 {
                // It has asked for what it has lent.
                true => now.monotonic.0.saturating_add(nanoseconds(row.idle_pause)),
                false => 0,
            };
            self.resting.push_back(Resting {
                key: row.key.clone(),
                due,
                pause: row.idle_pause,
            });
            self.rows.remove(&id);
        }
    }

    /// Looks at some of the keys that rest, so that each is looked at once a minute.
    pub(super) fn look_at_resting(&mut self, clock: &impl Clock) {
        let now = clock.now();
        for _ in 0..self.resting.len().div_ceil(TICKS_A_ROUND) {
            let Some(resting) = self.resting.pop_front() else {
                return;
            };
            let handle = resting.key.clone();
            let key = &handle.0;
            if key.cell.marks() & IN_USE != 0 {
                continue;
            }
            key.cell.settle(key.form.pace, clock);
            follow_base(key, &self.base, now);
            if key.cell.held().cool > 0 || resting.due > now.monotonic.0 {
                self.resting.push_back(resting);
            } else if key.extra() != 0 {
                key.cell.mark(IN_USE);
                let row = self.row(&handle, now);
                row.leave(resting.pause);
            } else if key.cell.retire(key.cell.base()) {
                self.holder.forget(&handle);
            } else {
                self.resting.push_back(Resting { due: 0, ..resting });
            }
        }
    }
}

/// Keys that rest are looked at in so many ticks: a minute of them.
const TICKS_A_ROUND: usize = 600;
