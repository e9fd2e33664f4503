use super::*;

const TINY: Extent = Extent {
    seconds: 0.6,
    queries: 2e3,
    seeds: 1,
    seed: 5,
};

/// Runs a study in the places whose names contain `only`.
fn run(study: Study, only: &str) -> Report {
    let only = [only.to_owned()];
    study.run(&mut Context {
        extent: TINY,
        only: &only,
        progress: &mut std::io::sink(),
    })
}

fn value(table: &Table, name: &str, column: &str) -> f64 {
    let at = table.columns.iter().position(|one| one == column);
    let row = table.rows.iter().find(|row| row.name == name);
    let at = at.unwrap_or_else(|| panic!("no column {column} in {:?}", table.columns));
    row.and_then(|row| row.values[at])
        .expect("a row with a value")
}

#[test]
fn every_study_tells_samples_of_all_batchers_and_no_table_is_without_columns() {
    for study in Study::ALL {
        let only = match study {
            Study::Shapes => "knee48 20 ms x1",
            Study::Applications => "gpu x1",
            Study::Routing | Study::Noise => "gpu 20 ms x8",
            _ => "gpu 20 ms x1",
        };
        let report = run(study, only);
        assert!(!report.samples.is_empty(), "{study:?}");
        assert!(report.tables.len() >= 3, "{study:?}");
        for table in &report.tables {
            assert!(!table.columns.is_empty(), "{study:?}: {}", table.title);
        }
        let names = crate::table::policies(&report.samples);
        assert!(names.contains(&OWN) && names.len() >= 5, "{names:?}");
        for sample in &report.samples {
            let good = sample.figures["good"];
            assert!((0.0..=100.0).contains(&good), "{sample:?}");
        }
        assert!(report.text().contains(OWN));
    }
}

#[test]
fn a_seed_gives_the_same_figures_in_every_study() {
    for (study, only) in [
        (Study::Applications, "gpu x1 step1.5"),
        (Study::Routing, "gpu 20 ms x8 one 2x mmpp0.6"),
        (Study::Drift, "gpu 20 ms x1"),
    ] {
        let [one, other] = [0, 1].map(|_| {
            let report = run(study, only);
            serde_json::to_string(&report).expect("figures are plain")
        });
        assert_eq!(one, other);
    }
}

#[test]
fn a_guarantee_raises_its_application_inside_the_step() {
    let report = run(Study::Applications, "gpu x8 step1.5");
    let column = "step1.5 20 %";
    let without = value(&report.tables[1], OWN, column);
    let part = value(&report.tables[1], "skysail, 0.4 C for 20 ms", column);
    let most = value(&report.tables[1], "skysail, 0.8 C for 20 ms", column);
    assert!(part > without, "{part} with, {without} without");
    assert!(most > part + 5.0, "{most} of nearly all, {part} of half");
}

#[test]
fn sizing_by_the_head_alone_collapses_under_overload() {
    let report = run(Study::Ablation, "mlp 20 ms x8 step1.5");
    let good = |name| value(&report.tables[0], name, "step1.5");
    assert!(good("- head alone") < good(OWN) - 20.0);
}

#[test]
fn late_binding_beats_round_robin_when_one_host_is_slow() {
    let report = run(Study::Routing, "gpu 20 ms x8 one 2x poisson0.7");
    let good = |name| value(&report.tables[0], name, "one 2x poisson0.7");
    assert!(good("round robin") < good(OWN));
}
