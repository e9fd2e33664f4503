//! Getting queries out of batches that are unusually late.

use super::super::actions::{Actions, Cancel};
use super::{At, Batcher};

impl<Q> Batcher<Q> {
    /// Queues copies of what unusually late batches hold, for other replicas.
    pub(super) fn hedge(&mut self, now: At) {
        while let Some(place) = self.fleet.hedgeable(now) {
            let alone = self.fleet.serving() < 2;
            let Some(mut flight) = self.fleet.take_first(place) else {
                return;
            };
            flight.hedge_after = None;
            let least = now.after(self.policy.hedge_slack());
            for row in flight.rows.iter().filter(|_| !alone) {
                let held = self.queries.get(row.key);
                let useful = held.is_some_and(|held| !held.queued && held.deadline >= least);
                if useful && self.hedges.spend() {
                    self.tally.hedged += 1;
                    self.enqueue(row.key);
                }
            }
            self.fleet.put_first(place, flight);
        }
    }

    /// A replica is idle: asks back a batch that waits behind one that is late. Says whether
    /// there was one.
    pub(super) fn relieve(&mut self, now: At, actions: &mut Actions<Q>) -> bool {
        let idle = self.fleet.idle(now, |_| 0.0).is_some();
        let held_up = self.fleet.held_up(now).filter(|_| idle);
        held_up.is_some_and(|place| self.take_back(place, now, actions))
    }

    /// Asks back what a replica has not begun. Where asking twice does no harm its queries are
    /// queued again at once, else when the replica says that it left them.
    pub(super) fn take_back(&mut self, place: usize, now: At, actions: &mut Actions<Q>) -> bool {
        let replica = self.fleet.at_mut(place).expect("a replica has its place");
        let id = replica.id;
        let Some(mut flight) = replica.flights.remove(1) else {
            return false;
        };
        if !flight.cancelled {
            flight.cancelled = true;
            self.tally.cancelled += 1;
            actions.cancels.push(Cancel {
                replica: id,
                number: flight.number,
            });
            let copied = self.options.idempotent;
            for row in flight.rows.iter().filter(|_| copied) {
                let held = self.queries.get(row.key);
                if held.is_some_and(|held| !held.queued && held.deadline > now) {
                    self.enqueue(row.key);
                }
            }
        }
        let replica = self.fleet.at_mut(place).expect("a replica has its place");
        replica.flights.push_back(flight);
        true
    }
}
