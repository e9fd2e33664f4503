//! What was measured, as a table for people and as rows and bars for programs.
//!
//! A ratio compares bursts of the same round whose probes agree, and is the median over those
//! rounds: the cores' distance and the machine's mood are then those of both.

use std::fmt::Write;

use skysail_benches::result::{Bar, Results, Row as JsonRow};

use crate::payload::SIZES;
use crate::probe::agree;

/// One burst with one request in flight, or with many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) probe_ns: Option<f64>,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) per_second: f64,
}

/// The bursts of one path and payload, one of each kind a round.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) path: &'static str,
    /// The path that it is compared with.
    pub(crate) yardstick: Option<&'static str>,
    pub(crate) bytes: usize,
    pub(crate) one: Vec<Burst>,
    pub(crate) many: Vec<Burst>,
    /// Why there is none, where there is none.
    pub(crate) missing: Option<&'static str>,
}

/// What a burst says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    P50,
    P99,
    P999,
    One,
    Many,
}

impl Metric {
    const ALL: [Metric; 5] = [
        Metric::P50,
        Metric::P99,
        Metric::P999,
        Metric::One,
        Metric::Many,
    ];

    fn name(self) -> &'static str {
        match self {
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::One => "throughput, 1 in flight",
            Metric::Many => "throughput, 8 in flight",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Metric::P50 | Metric::P99 | Metric::P999 => "us",
            Metric::One | Metric::Many => "/s",
        }
    }

    fn of(self, burst: &Burst) -> f64 {
        match self {
            Metric::P50 => burst.p50_us,
            Metric::P99 => burst.p99_us,
            Metric::P999 => burst.p999_us,
            Metric::One | Metric::Many => burst.per_second,
        }
    }
}

impl Row {
    fn bursts(&self, metric: Metric) -> &[Burst] {
        match metric {
            Metric::Many => &self.many,
            _ => &self.one,
        }
    }

    fn json(&self, metric: Metric) -> JsonRow {
        let bursts = self.bursts(metric).iter();
        let values: Vec<f64> = bursts.map(|burst| metric.of(burst)).collect();
        let bytes = self.bytes as u64;
        JsonRow::new(self.path, bytes, metric.name(), metric.unit(), &values)
    }
}

/// A bar: what `path` may have of `yardstick`'s figure.
struct Limit {
    path: &'static str,
    yardstick: &'static str,
    metric: Metric,
    limit: f64,
    sizes: &'static [usize],
}

const SPINNING: &str = "skysail shm spinning";
const PARK_HOOK: &str = "skysail shm park hook";
const SLEEPING: &str = "skysail shm sleeping";
const IPC: &str = "skysail ipc";
const TCP: &str = "skysail tcp";

/// A throughput must reach its limit, a latency must not exceed it.
const LIMITS: [Limit; 15] = {
    use Metric::{Many, P50, P99};
    const SMALL: &[usize] = &[SIZES[1]];
    const MIDDLE: &[usize] = &[SIZES[2]];
    const ALL: &[usize] = &SIZES;
    const fn limit(
        path: &'static str,
        yardstick: &'static str,
        metric: Metric,
        limit: f64,
        sizes: &'static [usize],
    ) -> Limit {
        Limit {
            path,
            yardstick,
            metric,
            limit,
            sizes,
        }
    }
    [
        limit(SPINNING, "raw ring spinning", P50, 2.0, SMALL),
        limit(SPINNING, "raw ring spinning", P50, 1.2, MIDDLE),
        limit(SPINNING, "raw ring spinning", P99, 2.0, ALL),
        limit(SPINNING, "raw ring spinning", Many, 0.8, MIDDLE),
        limit(SPINNING, "iceoryx2", P50, 1.0, ALL),
        limit(PARK_HOOK, "raw ring park hook", P50, 1.3, ALL),
        limit(PARK_HOOK, "raw ring park hook", P99, 2.0, ALL),
        limit(SLEEPING, "raw ring sleeping", P50, 1.25, ALL),
        limit(SLEEPING, "raw ring sleeping", P99, 2.0, ALL),
        limit(IPC, "raw zmq ipc", P50, 1.15, ALL),
        limit(IPC, "raw zmq ipc", P99, 2.0, ALL),
        limit(IPC, "raw zmq ipc", Many, 0.87, ALL),
        limit(TCP, "raw zmq tcp", P50, 1.15, ALL),
        limit(TCP, "raw zmq tcp", P99, 2.0, ALL),
        limit(TCP, "raw zmq tcp", Many, 0.87, ALL),
    ]
};

impl Limit {
    fn what(&self) -> String {
        let (path, yardstick, metric) = (self.path, self.yardstick, self.metric.name());
        format!("{path} / {yardstick}, {metric}")
    }

    fn bar(&self, bytes: usize, ratio: f64) -> Bar {
        let name = format!("{}, {}", self.what(), size(bytes));
        match self.metric.unit() {
            "/s" => Bar::at_least(&name, ratio, self.limit),
            _ => Bar::at_most(&name, ratio, self.limit),
        }
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Prints it, as one line of JSON or as tables.
    pub(crate) fn print(&self, json: bool) {
        let results = Results::new("rpc", self.json_rows(), self.bars());
        if json {
            results.print(true);
            return;
        }
        let mut text = results.heading();
        text.push_str(&self.probes());
        for bytes in SIZES {
            self.table(bytes, &mut text);
        }
        self.bar_table(&mut text);
        #[allow(clippy::print_stdout, reason = "the result")]
        {
            print!("{text}");
        }
    }

    fn json_rows(&self) -> Vec<JsonRow> {
        let mut rows = Vec::new();
        for row in self.rows.iter().filter(|row| row.missing.is_none()) {
            rows.extend(Metric::ALL.map(|metric| row.json(metric)));
            let probes: Vec<f64> = row.one.iter().filter_map(|burst| burst.probe_ns).collect();
            let bytes = row.bytes as u64;
            rows.push(JsonRow::new(row.path, bytes, "probe", "ns", &probes));
            for (metric, name) in [
                (Metric::P50, "p50 of its yardstick's"),
                (Metric::Many, "throughput of its yardstick's, 8 in flight"),
            ] {
                let ratios = self.ratios(row, row.yardstick, metric);
                if !ratios.is_empty() {
                    rows.push(JsonRow::new(row.path, bytes, name, "x", &ratios));
                }
            }
        }
        rows
    }

    fn bars(&self) -> Vec<Bar> {
        let bars = LIMITS.iter().flat_map(|limit| {
            let bar = |bytes: &usize| limit.bar(*bytes, self.limit_ratio(limit, *bytes));
            limit.sizes.iter().map(bar)
        });
        bars.collect()
    }

    fn limit_ratio(&self, limit: &Limit, bytes: usize) -> f64 {
        let row = self.find(limit.path, bytes);
        row.map_or(f64::NAN, |row| {
            median(&self.ratios(row, Some(limit.yardstick), limit.metric))
        })
    }

    fn find(&self, path: &str, bytes: usize) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.path == path && row.bytes == bytes)
    }

    /// Of each round that can be compared.
    fn ratios(&self, row: &Row, yardstick: Option<&str>, metric: Metric) -> Vec<f64> {
        let Some(other) = yardstick.and_then(|path| self.find(path, row.bytes)) else {
            return Vec::new();
        };
        let rounds = row.bursts(metric).iter().zip(other.bursts(metric));
        rounds
            .filter(|(mine, theirs)| agree(mine.probe_ns, theirs.probe_ns))
            .map(|(mine, theirs)| metric.of(mine) / metric.of(theirs))
            .collect()
    }

    fn probes(&self) -> String {
        let bursts = self
            .rows
            .iter()
            .flat_map(|row| row.one.iter().chain(&row.many));
        let mut probes: Vec<f64> = bursts.filter_map(|burst| burst.probe_ns).collect();
        probes.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (probes.first(), probes.last()) else {
            return "\none core: both sides share it, paths that spin are left out\n".to_owned();
        };
        let middle = probes[probes.len() / 2];
        format!(
            "\ncores exchange a cache line and back in {middle:.0} ns ({least:.0} to {most:.0})\n"
        )
    }

    fn table(&self, bytes: usize, text: &mut String) {
        let mut rows = self.rows.iter().filter(|row| row.bytes == bytes).peekable();
        if rows.peek().is_none() {
            return;
        }
        let title = format!("{} ({bytes} bytes)", size(bytes));
        let heads = ["p50 us", "p99 us", "p99.9 us", "1 in flight", "8 in flight"];
        let [p50, p99, p999, one, many] = heads;
        line(
            text,
            format_args!(
                "\n{title:<24}{p50:>9}{p99:>9}{p999:>10}{one:>13}{many:>13}   of its yardstick"
            ),
        );
        for row in rows {
            line(text, format_args!("  {}", self.table_row(row)));
        }
    }

    fn table_row(&self, row: &Row) -> String {
        if let Some(missing) = row.missing {
            return format!("{:<22}{missing:>9}", row.path);
        }
        let middle = |metric: Metric| row.json(metric).median;
        let [p50, p99, p999] =
            [Metric::P50, Metric::P99, Metric::P999].map(|m| microseconds(middle(m)));
        let [one, many] = [Metric::One, Metric::Many].map(|m| rate(middle(m)));
        let mut text = format!(
            "{:<22}{p50:>9}{p99:>9}{p999:>10}{one:>13}{many:>13}",
            row.path
        );
        let ratios = self.ratios(row, row.yardstick, Metric::P50);
        if let Some(yardstick) = row.yardstick.filter(|_| !ratios.is_empty()) {
            let (ratio, counted, rounds) = (median(&ratios), ratios.len(), row.one.len());
            let rounds = format!("{counted} of {rounds} rounds");
            line(
                &mut text,
                format_args!("   {ratio:>5.2} x {yardstick}, {rounds}"),
            );
            text.pop();
        }
        text
    }

    fn bar_table(&self, text: &mut String) {
        let sizes = SIZES.map(|bytes| format!("{:>11}", size(bytes))).concat();
        line(text, format_args!("\n{:<66}{sizes}", "bars"));
        // What was not asked for is not missed.
        let asked = |limit: &&Limit| self.rows.iter().any(|row| row.path == limit.path);
        for limit in LIMITS.iter().filter(asked) {
            let cells = SIZES.map(|bytes| {
                if !limit.sizes.contains(&bytes) {
                    return format!("{:>11}", "");
                }
                let bar = limit.bar(bytes, self.limit_ratio(limit, bytes));
                match bar.verdict() {
                    "met" => format!("{:>11.2}", bar.value),
                    "missing" => format!("{:>11}", "missing"),
                    _ => format!("{:>11}", format!("{:.2} !", bar.value)),
                }
            });
            let op = limit.bar(0, 0.0).op;
            let what = format!("{} {op} {}", limit.what(), limit.limit);
            line(text, format_args!("  {what:<64}{}", cells.concat()));
        }
        line(text, format_args!("  ! misses its bar"));
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes everything");
}

fn median(values: &[f64]) -> f64 {
    JsonRow::new("", 0, "", "", values).median
}

/// A payload in the words of the table.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Three digits that matter.
fn microseconds(us: f64) -> String {
    match us {
        ..1.0 => format!("{us:.3}"),
        ..10.0 => format!("{us:.2}"),
        ..100.0 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        ..1e4 => format!("{per_second:.0} /s"),
        ..1e6 => format!("{:.1} k/s", per_second / 1e3),
        _ => format!("{:.2} M/s", per_second / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &'static str, yardstick: Option<&'static str>, bursts: &[(f64, f64)]) -> Row {
        let burst = |(probe, us): &(f64, f64)| Burst {
            probe_ns: Some(*probe),
            p50_us: *us,
            p99_us: 2.0 * us,
            p999_us: 3.0 * us,
            per_second: 1e6 / us,
        };
        let bursts: Vec<Burst> = bursts.iter().map(burst).collect();
        Row {
            path,
            yardstick,
            bytes: SIZES[1],
            one: bursts.clone(),
            many: bursts,
            missing: None,
        }
    }

    #[test]
    fn compares_only_rounds_whose_probes_agree() {
        let raw = row(
            "raw zmq ipc",
            None,
            &[(110.0, 50.0), (110.0, 50.0), (110.0, 40.0)],
        );
        let ours = row(
            IPC,
            Some("raw zmq ipc"),
            &[(120.0, 55.0), (530.0, 200.0), (100.0, 42.0)],
        );
        let report = Report {
            rows: vec![raw, ours],
        };
        let ratios = report.ratios(&report.rows[1], Some("raw zmq ipc"), Metric::P50);
        assert_eq!(ratios, [1.1, 1.05]);
        let bars = report.bars();
        let bar = |name: &str| bars.iter().find(|bar| bar.name == name).expect("a bar");
        let met = bar("skysail ipc / raw zmq ipc, p50, 3 KB");
        assert_eq!((met.value, met.pass), (1.1, true));
        let missing = bar("skysail tcp / raw zmq tcp, p50, 3 KB");
        assert_eq!(missing.verdict(), "missing");
    }

    #[test]
    fn figures_show_three_digits() {
        let shown = [0.1234, 1.234, 12.34, 1234.5].map(microseconds);
        assert_eq!(shown, ["0.123", "1.23", "12.3", "1234"]);
        assert_eq!(
            [999.0, 34_500.0, 2.1e6].map(rate),
            ["999 /s", "34.5 k/s", "2.10 M/s"]
        );
        assert_eq!(SIZES.map(size), ["64 B", "3 KB", "200 KB", "2.4 MB"]);
    }
}
