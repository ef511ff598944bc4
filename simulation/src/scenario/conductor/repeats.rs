//! A network that says things again: messages between nodes and the quota's ledger, late, twice, and from earlier lives.

use rand::RngExt as _;

use super::Play;
use crate::books::Message;

impl Play<'_> {
    /// Has a node say or hear one of the last messages again.
    pub(super) fn repeat_something(&mut self) {
        let random = &mut self.repeats;
        let Some(message) = self
            .stage
            .books
            .recent(|count| random.random_range(0..count))
        else {
            return;
        };
        let of = match &message {
            Message::Ask(ask) => &ask.node,
            Message::Grant(grant) => &grant.node,
        };
        let mut gateways = self.stage.gateways().into_iter();
        let found = gateways.find(|(index, _)| self.stage.nodes[*index].id() == of);
        if let Some((index, gateway)) = found {
            let machine = self.stage.nodes[index].machine;
            self.stage.world.spawn_on(machine, gateway.repeat(message));
        }
    }
}
