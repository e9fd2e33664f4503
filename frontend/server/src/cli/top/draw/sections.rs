//! The three tables: applications, versions, replicas.

use ratatui::text::Line;

use super::grid::{Cell, Column, Grid, Row};
use super::paint::Paint;
use crate::cli::top::format::{chosen, count, or_dash, percent, percent_rough, rate, seconds};
use crate::cli::top::sort::Sort;
use crate::cli::top::view::{
    ApplicationView, Health, LearnedView, Rates, ReplicaView, VersionView, View,
};

const APPLICATIONS: [Column; 9] = [
    Column::text("APPLICATION", 12, 0),
    Column::figure("OFFERED/S", 9, 0),
    Column::figure("IN TIME/S", 9, 2),
    Column::figure("IN TIME", 7, 0),
    Column::figure("LATE/S", 6, 1),
    Column::figure("DEFAULT/S", 9, 0),
    Column::figure("P50", 6, 0),
    Column::figure("P99", 6, 0),
    Column::figure("SLO", 5, 0),
];

const VERSIONS: [Column; 14] = [
    Column::text("VERSION", 12, 0),
    Column::figure("ARRIVE/S", 8, 0),
    Column::figure("CAPACITY", 8, 0),
    Column::figure("HEADROOM", 8, 0),
    Column::figure("QUEUE", 5, 0),
    Column::figure("OLDEST", 6, 0),
    Column::figure("BATCH", 5, 0),
    Column::figure("ALPHA", 6, 1),
    Column::figure("BETA", 6, 1),
    Column::figure("MARGIN", 6, 2),
    Column::figure("QUANTILE", 8, 3),
    Column::figure("BATCHES/S", 9, 4),
    Column::text("POLICY", 8, 5),
    Column::text("CURRENT", 7, 5),
];

const REPLICAS: [Column; 7] = [
    Column::text("REPLICA", 12, 0),
    Column::text("STATE", 7, 0),
    Column::figure("BUSY", 4, 0),
    Column::figure("SLOWNESS", 8, 0),
    Column::figure("IN FLIGHT", 9, 0),
    Column::text("TRANSPORT", 9, 0),
    Column::figure("STRAGGLERS/S", 12, 1),
];

/// All of a view, as wide as `width`.
pub(in super::super) fn lines(
    view: &View,
    sort: Sort,
    width: usize,
    paint: Paint,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut section = |columns: &'static [Column], rows: Vec<Row>, none: &'static str| {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let is_empty = rows.is_empty();
        lines.extend(Grid::new(columns, rows).lines(width, paint));
        if is_empty {
            lines.push(Line::styled(format!("  {none}"), paint.quiet()));
        }
    };
    let applications = view.applications.iter().map(application);
    section(
        &APPLICATIONS,
        applications.collect(),
        "none yet: skysail app add NAME --input floats --slo 20ms --default -1",
    );
    section(
        &VERSIONS,
        view.versions.iter().map(version).collect(),
        "none yet: skysail model add NAME 1 --input floats",
    );
    let mut replicas: Vec<_> = view
        .versions
        .iter()
        .flat_map(|version| version.replicas.iter().map(move |one| (version, one)))
        .collect();
    sort.apply_to_replicas(&mut replicas, |(_, one)| one);
    let rows = replicas.iter().map(|(version, one)| replica(version, one));
    section(&REPLICAS, rows.collect(), "none connected");
    lines
}

fn application(one: &ApplicationView) -> Row {
    let bad_if = |is_bad| if is_bad { Health::Bad } else { Health::Good };
    let rates = &one.per_second;
    // Few of them are within the objective.
    let lost = |lost: f64| match lost > 0.0 {
        true => Cell::of(rate(lost), bad_if(one.is_short()).max(Health::Close)),
        false => rate(lost).into(),
    };
    let in_time = or_dash(one.in_time_share, percent);
    Row {
        health: one.health(),
        cells: vec![
            Cell::of(one.name.clone(), one.health()),
            rate(rates.offered).into(),
            rate(rates.in_time).into(),
            Cell::of(in_time, bad_if(one.is_short())),
            lost(rates.late),
            lost(rates.default),
            or_dash(one.p50_seconds, seconds).into(),
            Cell::of(or_dash(one.p99_seconds, seconds), bad_if(one.is_slow())),
            chosen(one.slo_seconds).into(),
        ],
        notes: by_cause("default/s", &rates.default_by_cause)
            .into_iter()
            .collect(),
    }
}

fn version(one: &VersionView) -> Row {
    // Before the first batch there is nothing to know.
    let known = one.learned.as_ref();
    let known = known.filter(|one| one.alpha_seconds + one.beta_seconds > 0.0);
    let learned = |of: fn(&LearnedView) -> f64| known.map(of);
    let capacity = one.capacity.as_ref().map(|bears| bears.queries_per_second);
    let headroom = or_dash(one.headroom(), percent_rough);
    let current = if one.current { "yes" } else { "-" };
    Row {
        health: one.health(),
        cells: vec![
            Cell::of(one.name(), one.health()),
            rate(one.per_second.arrived).into(),
            or_dash(capacity, rate).into(),
            Cell::of(headroom, one.health()),
            count(one.queue.queries).into(),
            or_dash(one.queue.head_age_seconds, seconds).into(),
            or_dash(one.batch_rows_mean, |rows| format!("{rows:.1}")).into(),
            or_dash(learned(|one| one.alpha_seconds), seconds).into(),
            or_dash(learned(|one| one.beta_seconds), seconds).into(),
            or_dash(learned(|one| one.margin), |margin| format!("{margin:.2}")).into(),
            or_dash(learned(|one| one.quantile), |one| format!("{one:.3}")).into(),
            rate(one.per_second.batches).into(),
            one.policy.clone().unwrap_or_else(|| "-".to_owned()).into(),
            current.to_owned().into(),
        ],
        notes: troubles(one),
    }
}

/// What went wrong with a version's queries, if anything.
fn troubles(one: &VersionView) -> Vec<String> {
    let rates = &one.per_second;
    let mut parts = Vec::new();
    if one.replicas.is_empty() && one.health() == Health::Bad {
        parts.push("no replica connected".to_owned());
    }
    if let Some(objective) = one.objective_seconds.filter(|_| one.bears_nothing()) {
        let objective = chosen(objective);
        parts.push(format!(
            "no batch is expected within the SLO of {objective}"
        ));
    }
    parts.extend(by_cause("shed/s", &rates.shed_by));
    parts.extend(by_cause("late/s", &rates.late_by));
    if rates.expired > 0.0 {
        parts.push(format!("expired/s: {}", rate(rates.expired)));
    }
    if rates.hedged > 0.0 || rates.hedges_won > 0.0 {
        parts.push(format!(
            "hedged/s: {} ({} won, {} rows wasted)",
            rate(rates.hedged),
            rate(rates.hedges_won),
            rate(rates.rows_wasted)
        ));
    }
    parts
}

fn replica(version: &VersionView, one: &ReplicaView) -> Row {
    let is_ready = one.state == "ready";
    let state = if is_ready { Health::Good } else { one.health() };
    let slowness = if one.is_slow {
        Health::Close
    } else {
        Health::Good
    };
    let age = one.in_flight_age_seconds.map(seconds);
    let age = age.map(|age| format!(", {age}")).unwrap_or_default();
    let transport = one.transport.as_deref().unwrap_or("-");
    let transport = match one.transport_seconds > 0.0 {
        true => format!("{transport} {}", seconds(one.transport_seconds)),
        false => transport.to_owned(),
    };
    Row {
        health: one.health(),
        cells: vec![
            Cell::of(format!("{} #{}", version.name(), one.id), one.health()),
            Cell::of(one.state.clone(), state),
            percent_rough(one.busy_share).into(),
            Cell::of(format!("{:.2}", one.slowness), slowness),
            format!("{}{age}", count(one.in_flight)).into(),
            transport.into(),
            rate(one.stragglers_per_second).into(),
        ],
        notes: Vec::new(),
    }
}

/// Rates by cause, the highest first; nothing where all are 0.
fn by_cause(what: &str, rates: &Rates) -> Option<String> {
    let mut some: Vec<_> = rates.iter().filter(|(_, rate)| **rate > 0.0).collect();
    some.sort_by(|a, b| b.1.total_cmp(a.1));
    let named = some
        .iter()
        .map(|(cause, one)| format!("{cause} {}", rate(**one)));
    let text = named.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then(|| format!("{what}: {text}"))
}
