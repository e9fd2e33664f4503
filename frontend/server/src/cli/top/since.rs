//! What happened between two answers, from sums.

use std::collections::BTreeMap;

use super::answer::Counts;

/// Sums then and now.
pub(super) struct Since<'a, T> {
    /// Nothing where the sums began between the two.
    pub(super) before: Option<&'a T>,
    pub(super) after: &'a T,
    seconds: f64,
}

impl<'a, T> Since<'a, T> {
    /// What came to `after` in `seconds`. Where a count of `counts` went down, the sums began
    /// anew and all of them are of this interval.
    pub(super) fn new(
        before: Option<&'a T>,
        after: &'a T,
        seconds: f64,
        counts: impl Fn(&T) -> Vec<u64>,
    ) -> Since<'a, T> {
        let has_grown = |before: &&T| {
            let (then, now) = (counts(before), counts(after));
            then.len() <= now.len() && then.iter().zip(&now).all(|(then, now)| then <= now)
        };
        Since {
            before: before.filter(has_grown),
            after,
            seconds: seconds.max(f64::MIN_POSITIVE),
        }
    }

    /// How much a count grew.
    pub(super) fn count(&self, of: impl Fn(&T) -> u64) -> u64 {
        let before = self.before.map_or(0, &of);
        of(self.after).saturating_sub(before)
    }

    /// How much it grew a second.
    pub(super) fn rate(&self, of: impl Fn(&T) -> u64) -> f64 {
        self.count(of) as f64 / self.seconds
    }

    /// The same for each cause of some counts.
    pub(super) fn rates(&self, of: impl Fn(&T) -> &Counts) -> BTreeMap<String, f64> {
        let rate = |name: &String| self.rate(|sums| of(sums).get(name).copied().unwrap_or(0));
        let names = of(self.after).keys();
        names.map(|name| (name.clone(), rate(name))).collect()
    }

    /// The share of the interval by which a sum of seconds grew, at most 1.
    pub(super) fn share(&self, of: impl Fn(&T) -> f64) -> f64 {
        let before = self.before.map_or(0.0, &of);
        ((of(self.after) - before) / self.seconds).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_went_down_began_anew() {
        let counts = |sums: &[u64; 2]| sums.to_vec();
        let since = Since::new(Some(&[10, 4]), &[16, 4], 2.0, counts);
        assert_eq!(
            (since.count(|one| one[0]), since.rate(|one| one[0])),
            (6, 3.0)
        );
        let anew = Since::new(Some(&[10, 4]), &[16, 3], 2.0, counts);
        assert_eq!(
            (anew.count(|one| one[0]), anew.count(|one| one[1])),
            (16, 3)
        );
    }
}
