//! How much of a part of a run was answered in time, and when that is full again after a fault.

use std::ops::{Add, Range};
use std::time::Duration;

use skysail_load::{MOMENT, Moment};

/// Objectives over which goodput must hold to be full again.
const HOLDS_SLOS: usize = 20;
/// How many standard errors a share may lie below what it was.
const ERRORS: f64 = 2.0;

/// Queries of some part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Goodput {
    pub(crate) offered: u64,
    pub(crate) in_time: u64,
}

impl Goodput {
    /// What was intended to be sent within `part`, counted from the end of the warm-up.
    pub(crate) fn of(moments: &[Moment], part: Range<Duration>) -> Goodput {
        let index = |at: Duration| (at.as_nanos() / MOMENT.as_nanos()) as usize;
        let end = index(part.end).min(moments.len());
        let moments = &moments[index(part.start).min(end)..end];
        let each = moments.iter().map(|moment| Goodput {
            offered: moment.offered.into(),
            in_time: moment.in_time.into(),
        });
        each.fold(Goodput::default(), Goodput::add)
    }

    /// Of what was offered, in percent; NaN if nothing was.
    pub(crate) fn percent(self) -> f64 {
        100.0 * self.share()
    }

    fn share(self) -> f64 {
        self.in_time as f64 / self.offered as f64
    }

    /// Whether the share in time is, as far as chance goes, no less than `usual`.
    fn is_full(self, usual: Goodput) -> bool {
        let share = usual.share();
        // With nothing lost before, a loss of one is by chance.
        let variance = (share * (1.0 - share)).max(1.0 / usual.offered.max(1) as f64);
        let error = (variance / self.offered.max(1) as f64).sqrt();
        self.offered > 0 && self.share() >= share - ERRORS * error
    }
}

impl Add for Goodput {
    type Output = Goodput;

    fn add(self, other: Goodput) -> Goodput {
        Goodput {
            offered: self.offered + other.offered,
            in_time: self.in_time + other.in_time,
        }
    }
}

/// The time from `fault` until goodput is full again: until the first instant after which, for
/// 20 objectives, the share in time is as it was before, two standard errors granted. `None` if
/// that is not so before `end`.
pub(crate) fn recovery(
    moments: &[Moment],
    usual: Goodput,
    (fault, end): (Duration, Duration),
    slo: Duration,
) -> Option<Duration> {
    let holds = slo * HOLDS_SLOS as u32;
    let last = end.checked_sub(holds)?;
    let mut at = fault;
    while at <= last {
        if Goodput::of(moments, at..at + holds).is_full(usual) {
            return Some(at - fault);
        }
        at += MOMENT;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SLO: Duration = Duration::from_millis(20);

    /// Two seconds at 1,000 a second; in `bad`, nothing is in time.
    fn moments(bad: Range<usize>) -> Vec<Moment> {
        let moment = |index| Moment {
            offered: 10,
            in_time: if bad.contains(&index) { 0 } else { 10 },
        };
        (0..200).map(moment).collect()
    }

    fn recovered(bad: Range<usize>) -> Option<Duration> {
        let (moments, fault, end) = (moments(bad), 1000 * MS, 2000 * MS);
        let usual = Goodput::of(&moments, Duration::ZERO..fault);
        recovery(&moments, usual, (fault, end), SLO)
    }

    #[test]
    fn a_part_is_cut_out_at_its_moments() {
        let all = moments(100..110);
        let of = |from, to| Goodput::of(&all, from * MS..to * MS);
        let goodput = |offered, in_time| Goodput { offered, in_time };
        assert_eq!(of(0, 1000), goodput(1000, 1000));
        assert_eq!(of(990, 1020), goodput(30, 10));
        assert_eq!(
            of(1990, 9000),
            goodput(10, 10),
            "it ends where the run does"
        );
        assert_eq!(of(3000, 9000), goodput(0, 0));
        assert_eq!(of(900, 1100).percent(), 50.0);
    }

    #[test]
    fn goodput_is_full_again_where_the_bad_moments_end() {
        assert_eq!(recovered(0..0), Some(Duration::ZERO), "nothing happened");
        assert_eq!(recovered(100..116), Some(160 * MS));
        assert_eq!(
            recovered(105..116),
            Some(160 * MS),
            "also where they begin late"
        );
        assert_eq!(recovered(100..200), None);
        assert_eq!(recovered(100..170), None, "not long enough to tell");
    }

    #[test]
    fn what_was_lost_before_need_not_be_regained() {
        let usual = Goodput {
            offered: 1000,
            in_time: 900,
        };
        let full = |in_time| {
            let offered = 100;
            Goodput { offered, in_time }.is_full(usual)
        };
        assert!(full(100) && full(90) && full(85));
        assert!(!full(80));
        assert!(!Goodput::default().is_full(usual), "nothing says so");
    }
}
