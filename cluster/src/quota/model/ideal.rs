//! One limiter that knows all requests at once: what could be admitted of what comes.
//!
//! In: requests, and which nodes stop and start. Out: whether it admits one. A *strict* one keeps what is promised
//! to nodes besides: the base of one that is out of contact is nobody else's, whether it lives or not, until the promise
//! says so. Nobody can admit more than the strict one and keep that.

use std::collections::VecDeque;

use super::scene::NODES;

#[derive(Debug)]
pub(super) struct Ideal {
    limit: Option<u64>,
    window: u64,
    spends: VecDeque<Spend>,
    lives: [u32; NODES],
    /// Spends in the window by lives that go on, and by node those of lives that are over.
    living: u64,
    dead: [u64; NODES],
    kept: [Kept; NODES],
}

#[derive(Debug, Clone, Copy)]
struct Spend {
    at: u64,
    cost: u64,
    node: usize,
    life: u32,
}

/// Base of a node that is not to be spent by others until then.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    base: u64,
    until: u64,
}

impl Ideal {
    pub(super) fn new(limit: u64, window: u64) -> Self {
        Self {
            limit: Some(limit),
            window,
            spends: VecDeque::new(),
            lives: [0; NODES],
            living: 0,
            dead: [0; NODES],
            kept: [Kept::default(); NODES],
        }
    }

    pub(super) fn publish(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    pub(super) fn admits(&mut self, node: usize, cost: u64, now: u64) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        while let Some(spend) = self.spends.front().copied()
            && spend.at + self.window <= now
        {
            self.spends.pop_front();
            match self.lives[spend.node] == spend.life {
                true => self.living -= spend.cost,
                false => self.dead[spend.node] -= spend.cost,
            }
        }
        let kept = self.kept.iter().zip(self.dead);
        // What a life that is over has spent was of its base first.
        let taken: u64 = kept
            .map(|(kept, dead)| match now < kept.until {
                true => dead.max(kept.base),
                false => dead,
            })
            .sum();
        let admits = self.living + taken + cost <= limit;
        if admits {
            let life = self.lives[node];
            self.spends.push_back(Spend {
                at: now,
                cost,
                node,
                life,
            });
            self.living += cost;
        }
        admits
    }

    /// A node's life is over. Its base is to be kept until then.
    pub(super) fn ends(&mut self, node: usize, base: u64, until: u64) {
        let life = self.lives[node];
        let spends = self.spends.iter();
        let spent = spends.filter(|spend| (spend.node, spend.life) == (node, life));
        let spent: u64 = spent.map(|spend| spend.cost).sum();
        self.living -= spent;
        self.dead[node] += spent;
        self.lives[node] += 1;
        self.kept[node] = Kept { base, until };
    }

    /// The node has begun another life, or was declared gone: its base is to be kept for a window more.
    pub(super) fn known(&mut self, node: usize, now: u64) {
        let kept = &mut self.kept[node];
        kept.until = kept.until.min(now + self.window);
    }
}
