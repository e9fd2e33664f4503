//! Goodput and p99 over time through an overload step, as SVG.

use std::fmt::Write as _;

use crate::kind::Kind;
use crate::load::Load;
use crate::outcome::Counts;
use crate::run::Setting;
use crate::traffic::Traffic;
use crate::truth::SHAPES;

const PARTS: usize = 90;
const LENGTH: f64 = 9.0;
const KINDS: [(Kind, &str); 5] = [
    (Kind::Clipper, "#9467bd"),
    (Kind::Triton, "#7f7f7f"),
    (Kind::Clockwork, "#2ca02c"),
    (Kind::Symphony, "#ff7f0e"),
    (Kind::Window, "#1f77b4"),
];
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;

/// One panel: where it is, and what it shows.
struct Panel {
    top: f64,
    title: &'static str,
    most: f64,
    value: fn(&Counts, &Scale) -> f64,
}

/// Units of the plot.
struct Scale {
    /// Queries of one part at capacity.
    capacity: f64,
    objective: f64,
}

/// The plot of a step to three times the capacity: mlp, 20 ms, 8 replicas.
#[must_use]
pub fn step(seed: u64) -> String {
    let setting = Setting::new(SHAPES[1], 0.020, 8, seed);
    let capacity = setting.capacity();
    let arrivals = Load::Step(3.0).arrivals(capacity, LENGTH, seed);
    let traffic = Traffic::of_one(&arrivals, setting.objective, LENGTH);
    let scale = Scale {
        capacity: capacity * LENGTH / PARTS as f64,
        objective: setting.objective,
    };
    let panels = [
        Panel {
            top: 40.0,
            title: "answered in time, in shares of the capacity",
            most: 1.2,
            value: |counts, scale| counts.good as f64 / scale.capacity,
        },
        Panel {
            top: 340.0,
            title: "p99 of the answers, in shares of the SLO",
            most: 1.5,
            value: |counts, scale| counts.p99() / scale.objective,
        },
    ];
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 960 640' font-family='sans-serif' \
         font-size='12'><rect width='960' height='640' fill='white'/>\n",
    );
    let _ = writeln!(
        svg,
        "<text x='{LEFT}' y='16' fill='#555555'>a model of {}, SLO {:.0} ms, {} replicas; \
         load 0.7, then 3, then 0.7 of the capacity</text>",
        setting.shape.name,
        1e3 * setting.objective,
        setting.replicas
    );
    panels.iter().for_each(|panel| axes(&mut svg, panel));
    for (index, (kind, colour)) in KINDS.iter().enumerate() {
        let outcome = kind.run(&setting, &traffic, PARTS);
        for panel in &panels {
            let points = points(panel, &scale, &outcome.applications[0]);
            let _ = writeln!(
                svg,
                "<polyline fill='none' stroke='{colour}' stroke-width='1.5' points='{points}'/>"
            );
        }
        let x = LEFT + 160.0 * index as f64;
        let name = kind.name();
        let _ = writeln!(svg, "<text x='{x}' y='625' fill='{colour}'>{name}</text>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn points(panel: &Panel, scale: &Scale, parts: &[Counts]) -> String {
    let mut points = String::new();
    for (index, counts) in parts.iter().enumerate() {
        let share = ((panel.value)(counts, scale) / panel.most).min(1.0);
        let x = LEFT + WIDTH * (index as f64 + 0.5) / parts.len() as f64;
        let y = panel.top + HEIGHT * (1.0 - share);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    points
}

fn axes(svg: &mut String, panel: &Panel) {
    let (top, bottom) = (panel.top, panel.top + HEIGHT);
    let _ = writeln!(
        svg,
        "<rect x='{:.0}' y='{top}' width='{:.0}' height='{HEIGHT}' fill='#f3f3f3'/>\
         <text x='{LEFT}' y='{:.0}'>{}</text>\
         <path d='M{LEFT} {top}V{bottom}H{:.0}' fill='none' stroke='black'/>",
        LEFT + WIDTH / 3.0,
        WIDTH / 3.0,
        top - 8.0,
        panel.title,
        LEFT + WIDTH
    );
    for second in (0..=LENGTH as u32).step_by(3) {
        let x = LEFT + WIDTH * f64::from(second) / LENGTH;
        let y = bottom + 16.0;
        let _ = writeln!(
            svg,
            "<text x='{x:.0}' y='{y:.0}' text-anchor='middle'>{second} s</text>"
        );
    }
    for tick in [0.0, 0.5, 1.0] {
        let y = bottom - HEIGHT * tick / panel.most;
        let _ = writeln!(
            svg,
            "<text x='{:.0}' y='{:.0}' text-anchor='end'>{tick}</text>\
             <path d='M{LEFT} {y:.0}h{WIDTH}' stroke='#cccccc'/>",
            LEFT - 8.0,
            y + 4.0
        );
    }
}
