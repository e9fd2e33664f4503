//! An upper bound: a fluid server.
//!
//! It has the rate of the largest batch that fits the objective, no batching delay and no
//! stragglers; it serves first come first, and refuses what it cannot finish in time.

use crate::truth::Shape;

/// Of the arrivals, how many it serves in time.
#[must_use]
pub fn good(shape: &Shape, replicas: usize, objective: f64, arrivals: &[u64]) -> u64 {
    let rows = shape.rows_within(objective) as f64;
    let each = shape.seconds(rows) / rows / replicas as f64;
    let (mut free_at, mut good) = (0.0_f64, 0);
    for arrival in arrivals {
        let now = *arrival as f64 / 1e9;
        let end = free_at.max(now) + each;
        if end <= now + objective {
            free_at = end;
            good += 1;
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::SHAPES;

    #[test]
    fn refuses_what_it_cannot_finish() {
        // 15 queries in 20 ms: 1.33 ms each.
        let at_once = vec![0; 40];
        assert_eq!(good(&SHAPES[2], 1, 0.020, &at_once), 15);
        assert_eq!(good(&SHAPES[2], 2, 0.020, &at_once), 30);
    }
}
