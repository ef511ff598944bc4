//! Operators: one changes the document through the nodes in turn; two more race, each at another node. Both read the
//! newest revision, change that one and no other (`If-Match`), and read again, while everybody else reads too.
//!
//! In: a node's insides, a document. Out: deeds, with what came of them, to the oracle. A deed whose node dies stays
//! without an answer.

use std::time::Duration;

use meridian_cluster::directory::WriteError;
use meridian_config::diagnose::Source;
use tokio::time::sleep;

use super::stage::Stage;
use crate::{
    gateway::{self, Gateway},
    workload::{Act, Deed, Oracle, Written},
};

/// Who does something to the document through a node.
pub(super) struct Editor {
    pub(super) node: String,
    pub(super) gateway: Gateway,
    pub(super) oracle: Oracle,
}

impl Editor {
    /// Applies a document, and remembers what came of it.
    pub(super) async fn write(
        &self,
        source: Source,
        expect: Option<u64>,
    ) -> Result<u64, WriteError> {
        let digest = gateway::digest([(source.name.as_str(), source.text.as_str())]);
        let act = |outcome| Act::Write {
            expect,
            digest: digest.clone(),
            outcome,
        };
        let deed = self.begin(act(Written::Unknown));
        let written = self.gateway.apply(source, expect).await;
        let outcome = match &written {
            Ok(accepted) => Written::Made(accepted.revision),
            Err(WriteError::Conflict { current, .. }) => Written::Conflict(*current),
            // It says of itself that it may take effect, or does not say that nothing was written.
            Err(WriteError::Unconfirmed { .. } | WriteError::Stopped { .. }) => Written::Unknown,
            Err(_) => Written::Nothing,
        };
        if outcome != Written::Unknown {
            self.end(deed, act(outcome));
        }
        written.map(|accepted| accepted.revision)
    }

    /// Reads the newest revision; its number, where the node can be sure of it.
    async fn read(&self) -> Option<u64> {
        let deed = self.begin(Act::Read(None));
        let saw = self.gateway.read().await?;
        let number = saw.0;
        self.end(deed, Act::Read(Some(saw)));
        Some(number)
    }

    /// Reads, changes what it read, and reads again.
    async fn change(self, source: Source) {
        if let Some(newest) = self.read().await {
            // Whoever loses the race looks at what the other one did.
            let _ = self.write(source, Some(newest)).await;
            self.read().await;
        }
    }

    /// Reads now and a little later.
    async fn look(self) {
        self.read().await;
        sleep(LOOK_AGAIN).await;
        self.read().await;
    }

    fn begin(&self, act: Act) -> usize {
        let called = self.oracle.now();
        let mut history = self.oracle.history();
        history.deeds.push(Deed {
            node: self.node.clone(),
            called,
            returned: None,
            act,
        });
        history.deeds.len() - 1
    }

    fn end(&self, deed: usize, act: Act) {
        let returned = self.oracle.now();
        let deed = &mut self.oracle.history().deeds[deed];
        deed.returned = Some(returned);
        deed.act = act;
    }
}

impl Stage {
    /// Lets two operators race, at two nodes that follow from `turn`, while each other node is read through.
    pub(super) fn race(&mut self, turn: usize, documents: [Source; 2]) {
        let mut gateways = self.gateways();
        gateways.retain(|(index, _)| self.nodes[*index].is_known());
        let count = gateways.len();
        if count == 0 {
            return;
        }
        let first = turn % count;
        let second = (first + 1 + (turn / count) % (count - 1).max(1)) % count;
        let [one, other] = documents;
        let mut documents = vec![(first, one), (second, other)];
        for (turn, (index, gateway)) in gateways.into_iter().enumerate() {
            let node = &self.nodes[index];
            let machine = node.machine;
            let editor = || Editor {
                node: node.name(),
                gateway: gateway.clone(),
                oracle: self.oracle.clone(),
            };
            let mine = documents.extract_if(.., |(at, _)| *at == turn);
            let changes: Vec<_> = mine.map(|(_, source)| editor().change(source)).collect();
            let look = changes.is_empty().then(|| editor().look());
            for change in changes {
                self.world.spawn_on(machine, change);
            }
            if let Some(look) = look {
                self.world.spawn_on(machine, look);
            }
        }
    }
}

/// Between an onlooker's reads: a write in between is agreed on, and not yet known everywhere.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Between two races: long enough for one to be over, while the nodes agree; when they do not, they overlap.
pub(super) const RACE: Duration = Duration::from_secs(2);
