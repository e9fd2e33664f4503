//! In which order things are shown.

use std::cmp::Reverse;

use super::view::{ApplicationView, ReplicaView, VersionView, View};

/// An order of applications, versions and replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// By name; nothing moves.
    #[default]
    Name,
    /// The most queries, and the busiest replica, first.
    Load,
    /// What misses its objective, or is closest to it, first.
    Trouble,
}

impl Sort {
    /// The order that follows.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Name => Sort::Load,
            Sort::Load => Sort::Trouble,
            Sort::Trouble => Sort::Name,
        }
    }

    /// Its name on the command line and on the screen.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Load => "load",
            Sort::Trouble => "trouble",
        }
    }

    /// Puts a view in this order; what is alike is by name.
    pub(super) fn apply(self, view: &mut View) {
        view.applications.sort_by(|a, b| a.name.cmp(&b.name));
        let name = |one: &VersionView| (one.model.clone(), one.version.clone());
        view.versions.sort_by_key(name);
        for version in &mut view.versions {
            version.replicas.sort_by_key(|one| one.id);
        }
        match self {
            Sort::Name => {}
            Sort::Load => {
                view.applications
                    .sort_by(|a, b| b.per_second.offered.total_cmp(&a.per_second.offered));
                view.versions
                    .sort_by(|a, b| b.per_second.arrived.total_cmp(&a.per_second.arrived));
            }
            Sort::Trouble => {
                view.applications
                    .sort_by(|a, b| worse(a).cmp(&worse(b)).then(less(share(a), share(b))));
                view.versions.sort_by(|a, b| {
                    let health = Reverse(a.health()).cmp(&Reverse(b.health()));
                    health.then(less(a.headroom(), b.headroom()))
                });
            }
        }
    }

    /// Puts replicas of any versions in this order; that of their versions if by name.
    pub(super) fn apply_to_replicas<T>(self, all: &mut [T], replica: impl Fn(&T) -> &ReplicaView) {
        match self {
            Sort::Name => {}
            Sort::Load => all.sort_by(|a, b| {
                let (a, b) = (replica(a), replica(b));
                b.busy_share.total_cmp(&a.busy_share)
            }),
            Sort::Trouble => all.sort_by(|a, b| {
                let (a, b) = (replica(a), replica(b));
                let health = Reverse(a.health()).cmp(&Reverse(b.health()));
                health.then(b.slowness.total_cmp(&a.slowness))
            }),
        }
    }
}

fn worse(one: &ApplicationView) -> Reverse<super::view::Health> {
    Reverse(one.health())
}

fn share(one: &ApplicationView) -> Option<f64> {
    one.in_time_share
}

/// The least first; nothing last.
fn less(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    let value = |one: Option<f64>| one.unwrap_or(f64::INFINITY);
    value(a).total_cmp(&value(b))
}
