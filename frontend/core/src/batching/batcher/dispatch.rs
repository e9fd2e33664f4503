//! From the queue to batches.

use super::super::actions::{Actions, Dispatch};
use super::super::policy::{Decision, Limit, Plan, ShedBy, View};
use super::super::tally::Explained;
use super::*;

/// Time that a batch's first query has left over what is planned with, up to which the margin
/// mattered, also if it was not time that limited the size: after a window was chosen, heads are
/// just as old as it lets them be.
const TIGHT: f64 = 1.1;

/// What a policy gives up.
struct Due {
    before: At,
    keep_last: bool,
    /// Seconds of a batch that ends then.
    needed: f64,
}

impl<Q> Batcher<Q> {
    pub(super) fn send_to_idle(&mut self, now: At, actions: &mut Actions<Q>) {
        while !self.queue.is_empty() {
            let idle = self.fleet.idle(now, |place| self.policy.rank(place));
            let sent = idle.is_some_and(|place| self.serve(now, place, actions));
            if !sent {
                break;
            }
        }
    }

    /// Sends to replicas that are about to end what they have, if nobody waits on purpose.
    pub(super) fn send_ahead(&mut self, now: At, actions: &mut Actions<Q>) {
        while !self.queue.is_empty() && self.wait_until.is_none() {
            let place = self.fleet.nearly_idle(now);
            let sent = place.is_some_and(|place| self.serve(now, place, actions));
            if !sent {
                // The end of the batch that is computed is an event of its own.
                self.wait_until = None;
                break;
            }
        }
    }

    /// Asks the policy until it sends, waits, or the queue is empty; says whether it sent.
    fn serve(&mut self, now: At, place: usize, actions: &mut Actions<Q>) -> bool {
        let mut given_up = 0;
        loop {
            self.drop_stale();
            if self.queue.is_empty() {
                return false;
            }
            let start = self.fleet.start(place, now);
            let view = View {
                now,
                start,
                queue: &self.queue,
                fleet: &self.fleet,
                replica: place,
                arrived_size: self.arrived_size,
                contracts: self.contracts.any(),
            };
            match self.policy.decide(&view) {
                Decision::Send(plan) => {
                    if self.send(now, place, &plan, given_up, actions) {
                        return true;
                    }
                }
                Decision::Wait(until) => {
                    self.wait_until = Some(until);
                    return false;
                }
                Decision::Shed {
                    before,
                    keep_last,
                    by,
                } => {
                    let due = Due {
                        before,
                        keep_last,
                        needed: before.since(start),
                    };
                    let shed = self.shed(&due, by, actions);
                    given_up += shed;
                    debug_assert!(shed > 0, "a policy that sheds nothing is asked for ever");
                    if shed == 0 {
                        self.shed_oldest(actions);
                    }
                }
            }
        }
    }

    /// Fills a batch; says whether any query was left for it.
    fn send(
        &mut self,
        now: At,
        place: usize,
        plan: &Plan,
        given_up: usize,
        actions: &mut Actions<Q>,
    ) -> bool {
        let queued = self.queue.rows();
        let head = self.queue.head().copied();
        let mut flight = self.fleet.prepare(place, now);
        let waited = fill(&mut self.queue, &mut self.queries, &mut flight, plan, now);
        let (rows, number, ahead) = (flight.rows.len(), flight.number, flight.ahead);
        flight.predicted = plan.predicted;
        let slack = head.map_or(f64::INFINITY, |head| head.deadline.since(flight.started));
        flight.bound = plan.limit == Limit::Slack || slack < TIGHT * plan.cautious;
        if let Some(padded) = plan.padded_rows.filter(|_| rows > 0) {
            flight.size *= padded.max(rows) as f64 / rows as f64;
        }
        // Before the first batch nothing is predicted, so nothing is unusual.
        let hedged = plan.hedge_after.filter(|_| self.hedges.is_on());
        flight.hedge_after = hedged.filter(|seconds| *seconds > 0.0);
        if !self.fleet.launch(place, flight) {
            return false;
        }
        self.hedges.earn(rows);
        self.tally.batches += 1;
        self.tally.rows += rows as u64;
        self.tally.waited_micros += (waited * 1e6) as u64;
        self.tally.ahead += u64::from(ahead);
        let replica = self.fleet.at(place).expect("it was just given a batch").id;
        self.log.add(Explained {
            number,
            at: now,
            replica,
            queued,
            head_wait: head.map_or(0.0, |head| now.since(head.arrival)),
            head_slack: head.map_or(0.0, |head| head.deadline.since(now)),
            shed: given_up as u32,
            size: plan.size_max,
            limit: plan.limit,
            rows,
            ahead,
            predicted: plan.predicted,
            cautious: plan.cautious,
            actual: None,
        });
        actions.dispatches.push(Dispatch {
            replica,
            number,
            rows,
            padded_rows: plan.padded_rows,
        });
        true
    }

    /// Gives up what is due; says how much left the queue.
    ///
    /// A hopeless query that never had the time which a batch needs is not shed: it would be late
    /// with nobody beside it, so that its deadline is the cause, and as certain as will be.
    fn shed(&mut self, due: &Due, by: ShedBy, actions: &mut Actions<Q>) -> usize {
        let class = match by {
            ShedBy::Contract => Class::OutOfContract,
            _ => Class::Any,
        };
        let rows_before = self.queue.rows();
        let is_due = |item: &Item| item.deadline < due.before;
        while self.queue.rows() > usize::from(due.keep_last) {
            let Some(item) = self.queue.pop_if(class, is_due) else {
                break;
            };
            let had = item.deadline.since(item.arrival);
            if by == ShedBy::Hopeless && had < due.needed {
                let given = self.give_back_queued(item.key, Cause::ExpiredQueue, None, actions);
                self.tally.expired += u64::from(given);
            } else {
                self.give_back_queued(item.key, Cause::Shed, Some(by), actions);
            }
        }
        rows_before - self.queue.rows()
    }

    /// Drops copies at the head whose query had its outcome.
    fn drop_stale(&mut self) {
        while let Some(item) = self.queue.head() {
            if self.queries.get(item.key).is_some() {
                break;
            }
            self.queue.pop(Class::Any);
        }
    }
}

/// Moves queries from the queue to a batch; says how many seconds they waited, together.
fn fill<Q>(
    queue: &mut Queue,
    queries: &mut Queries<Q>,
    flight: &mut Flight,
    plan: &Plan,
    now: At,
) -> f64 {
    let mut waited = 0.0;
    flight.size = 0.0;
    flight.objective = f64::INFINITY;
    let classes: &[Class] = if plan.contract_first {
        &[Class::InContract, Class::OutOfContract]
    } else {
        &[Class::Any]
    };
    for class in classes {
        let has_room = |flight: &Flight, item: &Item| {
            let size = flight.size + f64::from(item.cost);
            let fits = flight.rows.len() < plan.rows_max && size <= plan.size_max;
            fits || flight.rows.is_empty()
        };
        while let Some(item) = queue.pop_if(*class, |item| has_room(flight, item)) {
            let Some(held) = queries.get_mut(item.key) else {
                continue;
            };
            let is_copy = held.in_flight > 0;
            held.queued = false;
            held.in_flight += 1;
            waited += now.since(item.arrival);
            flight.size += f64::from(item.cost);
            flight.objective = flight.objective.min(item.deadline.since(item.arrival));
            flight.rows.push(Row {
                key: item.key,
                deadline: item.deadline,
                is_copy,
            });
        }
    }
    waited
}
