//! Keeps what this node holds in step with the ledger: one task around the [`Keeper`].
//!
//! In: ticks, keys that run low, replies and news. Out: asks. It begins when the cluster has a ledger, or had one in an
//! earlier life of this node.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use futures_util::future::join_all;
use meridian_config::name::NodeId;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    NodeClock,
    courier::Courier,
    lone::Lone,
    message::{Reading, Reply, Said},
    offset::{Offset, Offsets},
    tally::{Tallies, add},
    wild::scramble_ask,
};
use crate::{
    consensus::Group,
    directory::Directory,
    host::{Host, blocking},
    quota::{
        clock::{Clock, Now, Unix},
        holder::{Farewell, Holder, Keeper, Remains, Turn, Who},
        message::{QuotaAsk, QuotaGrant},
        onlooker::Onlooker,
        params::Params,
        terms::Share,
    },
};

/// What the share was that the node had last: by it an isolated node goes on after a restart. That the file is there
/// says that the cluster has a ledger.
const FILE: &str = "quota-share";

/// Lives that were begun without a quorum's word: they matter beyond a further start.
const STARTS: &str = "quota-starts";

/// What the life before left of its base, if it ended in order and was heard; there only between two lives.
const REMAINS: &str = "quota-remains";

/// Between two ticks that hungry keys cause.
const GAP: Duration = Duration::from_millis(10);

/// Asks on their way at most: those of three seconds.
const ON_THE_WAY: usize = 32;

/// A ledger that was just founded has a share for everybody within so long.
const SEATED: Duration = Duration::from_secs(2);

/// A node that no ledger answers for so long since its start, or since its machine was suspended, goes on with the share that it had.
const UNANSWERED: Duration = Duration::from_secs(5);

/// How far a node's quota has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The cluster has no ledger, as far as this node knows, or none that has told it of its share: it counts alone.
    #[default]
    Alone,
    /// It has, and has not answered this life of the node yet.
    Unanswered,
    /// No quorum has answered this life yet: the node spends the base share it had before.
    Assumed,
    /// The ledger has answered, and this node has no base yet, or none of long windows: extra is all that it can get of those.
    Seatless,
    /// The ledger has answered, and this node has its base share.
    Answered,
}

impl Stage {
    /// Of a node that was answered so.
    fn of(grant: &QuotaGrant) -> Self {
        match grant.base {
            Some(right) if right.scope.reaches_all() => Self::Answered,
            _ => Self::Seatless,
        }
    }
}

/// Who replied to an ask, and what; none if nobody did in time.
type Replied = Option<(NodeId, Reply)>;

/// What the task stands on.
pub(super) struct Keeping {
    pub(super) host: Arc<dyn Host>,
    pub(super) holder: Arc<Holder>,
    pub(super) clock: Arc<NodeClock>,
    pub(super) courier: Arc<Courier>,
    pub(super) directory: Directory,
    pub(super) electorate: Group,
    pub(super) node: NodeId,
    /// Which life of the node this is; grows with each start, and when its clocks come apart.
    pub(super) life: u64,
    /// When it began, if the process has lived another before.
    pub(super) reborn: Option<Instant>,
    pub(super) stage: watch::Sender<Stage>,
    pub(super) tallies: Arc<Tallies>,
    pub(super) offsets: Offsets,
    /// What its asks hint at means nothing: for a simulation.
    pub(super) wild_hints: bool,
    pub(super) onlooker: Option<Arc<dyn Onlooker>>,
    pub(super) lone: Arc<Lone>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Keeping {
    /// Keeps in step until the node parts.
    pub(super) async fn run(
        mut self,
        mut news: mpsc::Receiver<QuotaGrant>,
        mut partings: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut stored = self.stored().await;
        self.lone.share(stored.flatten());
        self.recall_starts().await;
        let mut keeper = match self.remains().await {
            Some(remains) => Keeper::after(self.holder.clone(), self.who(), remains),
            None => Keeper::new(self.holder.clone(), self.who()),
        };
        self.show_begin();
        if stored.is_none() {
            self.count_alone(&mut keeper).await;
            // At once: a node that forgot that there is a ledger would admit all of every limit again.
            self.store(&mut stored, keeper.share());
        } else {
            self.stage.send_replace(Stage::Unanswered);
        }
        let born = Instant::now();
        let (replies, mut replied) = mpsc::channel(ON_THE_WAY);
        let mut on_the_way = 0;
        let mut ticks = interval(Params::DEFAULT.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut early = Instant::now();
        loop {
            let holder = self.holder.clone();
            let hungry = async move {
                sleep_until(early).await;
                poll_fn(|context| holder.poll_hungry(context)).await;
            };
            tokio::select! {
                biased;
                Some(done) = partings.recv() => {
                    self.part(&mut keeper).await;
                    let _ = done.send(());
                    return;
                }
                Some(grant) = news.recv() => {
                    add(&self.tallies.recalls, grant.recalls.len());
                    add(&self.tallies.grants, grant.items.len());
                    self.heed(&grant, &mut keeper);
                }
                Some(reply) = replied.recv() => {
                    on_the_way -= 1;
                    match reply {
                        Some((by, reply)) => self.take(&by, reply, &mut keeper),
                        None => add(&self.tallies.unanswered, 1),
                    }
                    // Before that an earlier life's share is all that the node can go on with.
                    if *self.stage.borrow() >= Stage::Seatless {
                        self.store(&mut stored, keeper.share());
                    }
                    continue;
                }
                _ = ticks.tick() => {}
                () = hungry => {}
            }
            early = Instant::now() + GAP;
            self.assume(born, stored.flatten(), &mut keeper);
            self.clock.set_wall(self.host.unix_time());
            match keeper.tick(&*self.clock) {
                Turn::Ask(asks) => {
                    self.show(|onlooker| onlooker.ticked());
                    for ask in asks {
                        // Further ones are said again by later ticks.
                        if on_the_way < ON_THE_WAY {
                            on_the_way += 1;
                            add(&self.tallies.asks, 1);
                            add(&self.tallies.items, ask.items.len());
                            self.say(ask, replies.clone());
                        }
                    }
                }
                Turn::Void => {
                    tracing::warn!(
                        "this machine was suspended, or a clock was set by over a second: the quota held here is given up and asked for anew"
                    );
                    self.live(self.life + 1, &mut keeper);
                    ticks.reset_immediately();
                }
            }
        }
    }

    /// Until the cluster has a ledger, and it has told this node of its base share. A node that has not counted anything
    /// yet when it hears of the ledger (it joins, or is back with an empty disk) waits for the ledger's word instead.
    async fn count_alone(&mut self, keeper: &mut Keeper) {
        keeper.alone(&*self.clock);
        let mut answered: Option<Instant> = None;
        loop {
            sleep(Params::DEFAULT.tick).await;
            self.clock.set_wall(self.host.unix_time());
            // It puts away what nobody uses any more; there is nobody to ask for more.
            if matches!(keeper.tick(&*self.clock), Turn::Void) {
                keeper.begin(self.who());
                keeper.alone(&*self.clock);
                self.show_begin();
            }
            if self.directory.founders().is_none() {
                continue;
            }
            if keeper.in_use() == 0 {
                keeper.begin(self.who());
                self.show_begin();
                self.stage.send_replace(Stage::Unanswered);
                return;
            }
            let ask = keeper.introduce(&*self.clock);
            self.show(|onlooker| onlooker.asked(&ask));
            match self.courier.say(Said::Ask(ask)).await {
                Some(Reply::Granted { grant, .. }) => {
                    let since = *answered.get_or_insert_with(Instant::now);
                    let stage = match Stage::of(&grant) {
                        Stage::Seatless if since.elapsed() < SEATED => continue,
                        // Others are short, and it must not count alone until they are not.
                        stage => stage,
                    };
                    keeper.join(&grant, &*self.clock);
                    self.show_begin();
                    self.show(|onlooker| onlooker.granted(&grant));
                    self.lone.share(keeper.share());
                    self.stage.send_replace(stage);
                    return;
                }
                Some(Reply::Outlived { known }) if known >= self.life => {
                    self.life = known + 1;
                    keeper.begin(self.who());
                    keeper.alone(&*self.clock);
                    self.show_begin();
                }
                _ => {}
            }
        }
    }

    fn who(&self) -> Who {
        Who {
            node: self.node.clone(),
            incarnation: self.life,
        }
    }

    fn live(&mut self, life: u64, keeper: &mut Keeper) {
        self.life = life;
        self.reborn = Some(Instant::now());
        add(&self.tallies.lives, 1);
        self.offsets.forget();
        self.tallies.compared(None);
        keeper.begin(self.who());
        self.show_begin();
        self.stage.send_replace(Stage::Unanswered);
    }

    fn show(&self, how: impl FnOnce(&dyn Onlooker)) {
        if let Some(onlooker) = &self.onlooker {
            how(&**onlooker);
        }
    }

    fn show_begin(&self) {
        self.show(|onlooker| onlooker.begun(self.life, &self.holder, &self.clock));
    }

    fn say(&self, mut ask: QuotaAsk, replies: mpsc::Sender<Replied>) {
        if self.wild_hints {
            scramble_ask(&mut ask);
        }
        self.show(|onlooker| onlooker.asked(&ask));
        let (courier, stop) = (self.courier.clone(), self.stop.clone());
        self.tracker
            .spawn(stop.run_until_cancelled_owned(async move {
                let replied = courier.ask(Said::Ask(ask)).await;
                // The keeper listens as long as the node lives.
                let _ = replies.send(replied).await;
            }));
    }

    fn heed(&self, grant: &QuotaGrant, keeper: &mut Keeper) {
        let lapsed = keeper.grant(grant, &*self.clock);
        add(&self.tallies.lapses, lapsed);
        self.show(|onlooker| onlooker.granted(grant));
    }

    /// Compares this node's wall clock with the leader's. Not by what a life before asked: its clocks came apart.
    fn compare(&mut self, leader: &NodeId, grant: &QuotaGrant, reading: Reading) {
        let unix = u64::try_from(self.host.unix_time().as_nanos()).unwrap_or(u64::MAX);
        let now = Now {
            // As it is: the quota's own takes a step a tick later.
            unix: Unix(unix),
            ..self.clock.now()
        };
        let echo = grant.answers.filter(|_| grant.incarnation == self.life);
        let measured = echo.and_then(|echo| Offset::measure(echo.sent_ms, now, reading));
        if let Some(offset) = measured {
            let surest = self.offsets.take(offset, leader);
            self.tallies.compared(Some(surest));
        }
    }

    fn take(&mut self, by: &NodeId, reply: Reply, keeper: &mut Keeper) {
        match reply {
            Reply::Granted { grant, clock } => {
                self.compare(by, &grant, clock);
                add(&self.tallies.grants, grant.items.len());
                self.heed(&grant, keeper);
                if grant.incarnation == self.life {
                    if let Some(text) = self.lone.answer() {
                        tracing::trace!(target: "meridian::decision", "base agreed");
                        self.store_starts(text);
                    }
                    let now = Stage::of(&grant);
                    add(&self.tallies.seatless, usize::from(now == Stage::Seatless));
                    self.stage.send_if_modified(|stage| {
                        let before = std::mem::replace(stage, now);
                        before != now
                    });
                }
            }
            Reply::Outlived { known } if known >= self.life => self.live(known + 1, keeper),
            _ => add(&self.tallies.unanswered, 1),
        }
    }

    /// Goes on with the share that the node had, where no quorum can tell it another.
    fn assume(&mut self, born: Instant, had: Option<Share>, keeper: &mut Keeper) {
        let Some(share) = had.filter(|_| *self.stage.borrow() == Stage::Unanswered) else {
            return;
        };
        // A machine that was suspended has heard nobody for so long, and takes all for lost at first.
        let lately = 2 * self.electorate.profile().lease();
        let early = match self.reborn {
            Some(reborn) => reborn.elapsed() < lately,
            None => self.electorate.is_young(),
        };
        let cut_off = !self.electorate.status().quorum && !early;
        if cut_off || self.reborn.unwrap_or(born).elapsed() >= UNANSWERED {
            tracing::warn!(
                "no quorum of the quota's ledger answers: this node spends the base share that it had before"
            );
            tracing::trace!(target: "meridian::decision", seats = share.seats, "base assumed");
            keeper.assume(share, &*self.clock);
            self.store_starts(self.lone.begin());
            self.stage.send_replace(Stage::Assumed);
        }
    }

    /// Hands everything back, before a planned stop, and keeps what the next life is to know.
    async fn part(&self, keeper: &mut Keeper) {
        let Farewell { asks, remains } = keeper.farewell(&*self.clock);
        self.show(|onlooker| asks.iter().for_each(|ask| onlooker.asked(ask)));
        let said = asks.into_iter().map(|ask| self.courier.say(Said::Ask(ask)));
        // What is not heard comes back when the lease is over.
        let replies = join_all(said).await;
        let heard = replies.iter().all(|reply| match reply {
            Some(Reply::Granted { grant, .. }) => grant.incarnation == self.life,
            _ => false,
        });
        let Some(remains) = remains.filter(|_| heard) else {
            return;
        };
        let files = self.host.files();
        let write = move || files.write(REMAINS, &remains.encode());
        if let Err(error) = blocking(&*self.host, write).await {
            tracing::error!("the file {REMAINS} cannot be written: {error}");
        }
    }

    /// What the life before left, for this one and for no later one.
    async fn remains(&self) -> Option<Remains> {
        let files = self.host.files();
        let read = move || {
            let bytes = files.read(REMAINS)?;
            files.remove(REMAINS)?;
            Ok::<_, io::Error>(bytes)
        };
        match blocking(&*self.host, read).await {
            Ok(bytes) => match Remains::decode(&bytes?) {
                Ok(remains) => Some(remains),
                Err(error) => {
                    tracing::warn!("the file {REMAINS} is left out: {error}");
                    None
                }
            },
            Err(error) => {
                tracing::error!("the file {REMAINS} cannot be read and is left out: {error}");
                None
            }
        }
    }

    /// What earlier lives have begun without a quorum's word.
    async fn recall_starts(&self) {
        let files = self.host.files();
        match blocking(&*self.host, move || files.read(STARTS)).await {
            Ok(None) => {}
            Ok(Some(bytes)) => self.lone.recall(&String::from_utf8_lossy(&bytes)),
            Err(error) => {
                tracing::error!("the file {STARTS} cannot be read and is left out: {error}");
            }
        }
    }

    fn store_starts(&self, text: String) {
        let host = self.host.clone();
        self.tracker.spawn(async move {
            let files = host.files();
            let written = blocking(&*host, move || files.write(STARTS, text.as_bytes())).await;
            if let Err(error) = written {
                tracing::error!("the file {STARTS} cannot be written: {error}");
            }
        });
    }

    /// The share that an earlier life had; none where there is no file.
    #[allow(
        clippy::option_option,
        reason = "no file, or one of a node without a share"
    )]
    async fn stored(&self) -> Option<Option<Share>> {
        let files = self.host.files();
        match blocking(&*self.host, move || files.read(FILE)).await {
            Ok(bytes) => bytes.map(|bytes| read(&bytes)),
            Err(error) => {
                tracing::error!("the file {FILE} cannot be read and is left out: {error}");
                None
            }
        }
    }

    fn store(&self, stored: &mut Option<Option<Share>>, share: Option<Share>) {
        if *stored == Some(share) {
            return;
        }
        *stored = Some(share);
        self.lone.share(share);
        let (host, text) = (self.host.clone(), write(share));
        self.tracker.spawn(async move {
            let files = host.files();
            let written = blocking(&*host, move || files.write(FILE, text.as_bytes())).await;
            if let Err(error) = written {
                tracing::error!("the file {FILE} cannot be written: {error}");
            }
        });
    }
}

/// Asks the task to hand everything back, and waits for it no longer than that.
pub(super) async fn part(partings: &mpsc::Sender<oneshot::Sender<()>>, patience: Duration) {
    let (done, heard) = oneshot::channel();
    if partings.try_send(done).is_ok() {
        let _ = timeout(patience, heard).await;
    }
}

fn read(bytes: &[u8]) -> Option<Share> {
    let (seat, seats) = str::from_utf8(bytes).ok()?.trim().split_once('/')?;
    let (seat, seats) = (seat.parse().ok()?, seats.parse().ok()?);
    (seat < seats).then_some(Share { seat, seats })
}

fn write(share: Option<Share>) -> String {
    share.map_or_else(String::new, |Share { seat, seats }| {
        format!("{seat}/{seats}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_back_and_damage_is_none() {
        let share = Some(Share { seat: 3, seats: 9 });
        assert_eq!(read(write(share).as_bytes()), share);
        assert_eq!(read(write(None).as_bytes()), None);
        for damaged in ["9/9", "3", "a/9", "3/70000", "\u{fffd}"] {
            assert_eq!(read(damaged.as_bytes()), None, "{damaged}");
        }
    }
}
