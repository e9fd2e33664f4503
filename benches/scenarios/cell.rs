//! The cells: profiles, objectives and replicas, with the capacity that loads are shares of.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use skysail_sim::truth::{Form, Shape};

use crate::{fault, neighbour};

/// The profiles: `alpha + beta b` for a batch of `b`.
const SHAPES: [Shape; 3] = [GPU, MID, WIDE];
/// Objectives in milliseconds.
const SLOS_MS: [u64; 2] = [20, 100];
/// Replicas.
const REPLICAS: [usize; 2] = [1, 4];
/// The largest load of a cell, in shares of its capacity.
pub(crate) const LOAD_MAX: f64 = 3.0;

pub(crate) const GPU: Shape = Shape {
    name: "gpu",
    alpha: 5e-3,
    beta: 1e-3,
    form: Form::Affine,
    rows_max: 64,
};
pub(crate) const MID: Shape = Shape {
    name: "mid",
    alpha: 1e-3,
    beta: 1e-3,
    form: Form::Affine,
    rows_max: 32,
};
pub(crate) const WIDE: Shape = Shape {
    name: "wide",
    alpha: 4e-3,
    beta: 0.2e-3,
    form: Form::Affine,
    rows_max: 64,
};

/// A model, its replicas and the objective of its application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) shape: Shape,
    pub(crate) slo: Duration,
    pub(crate) replicas: usize,
}

impl Cell {
    /// C: queries a second that it bears, stragglers taken off.
    pub(crate) fn capacity(&self) -> f64 {
        self.shape.capacity(self.replicas, self.slo.as_secs_f64())
    }

    /// The largest load that it is put under, in queries a second.
    pub(crate) fn load_max(&self) -> f64 {
        LOAD_MAX * self.capacity()
    }

    pub(crate) fn slo_ms(&self) -> f64 {
        self.slo.as_secs_f64() * 1e3
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{} {} ms x{}",
            self.shape.name,
            self.slo_ms(),
            self.replicas
        );
        f.pad(&text)
    }
}

/// All cells.
pub(crate) fn all() -> impl Iterator<Item = Cell> {
    SHAPES.into_iter().flat_map(|shape| {
        SLOS_MS.into_iter().flat_map(move |slo_ms| {
            REPLICAS.map(|replicas| Cell {
                shape,
                slo: Duration::from_millis(slo_ms),
                replicas,
            })
        })
    })
}

/// What the operator of the bench wants to see.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// The cells of which all these are true.
    Cells(Vec<String>),
    /// The fault of this name.
    Fault(String),
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Selection, String> {
        let faults = fault::ALL.map(|fault| fault.name);
        let faults = || faults.iter().chain([&neighbour::NAME]);
        if faults().any(|name| *name == text) {
            return Ok(Selection::Fault(text.to_owned()));
        }
        let parts: Vec<_> = text.split(',').map(str::to_owned).collect();
        let cells = Selection::Cells(parts);
        if all().any(|cell| cells.has_cell(&cell)) {
            return Ok(cells);
        }
        let faults: Vec<_> = faults().copied().collect();
        Err(format!(
            "no cell and no fault is like that; cells are such as gpu,20,1 or mid or wide,100, \
             faults are {}",
            faults.join(", ")
        ))
    }
}

impl Selection {
    /// Whether a cell is wanted.
    pub(crate) fn has_cell(&self, cell: &Cell) -> bool {
        let Selection::Cells(parts) = self else {
            return false;
        };
        let about = [
            cell.shape.name.to_owned(),
            cell.slo.as_millis().to_string(),
            cell.replicas.to_string(),
        ];
        parts.iter().all(|part| about.contains(part))
    }

    /// Whether the fault of that name is wanted.
    pub(crate) fn has_fault(&self, name: &str) -> bool {
        matches!(self, Selection::Fault(wanted) if wanted == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(text: &str) -> Vec<String> {
        let selection: Selection = text.parse().expect("a selection");
        let cells = all().filter(|cell| selection.has_cell(cell));
        cells.map(|cell| cell.to_string()).collect()
    }

    #[test]
    fn there_are_12_cells_and_parts_of_their_names_pick_them() {
        assert_eq!(all().count(), 12);
        assert_eq!(selected("gpu,20,1"), ["gpu 20 ms x1"]);
        assert_eq!(selected("wide,100"), ["wide 100 ms x1", "wide 100 ms x4"]);
        assert_eq!(selected("4,mid"), ["mid 20 ms x4", "mid 100 ms x4"]);
        assert!(selected("slow-batch").is_empty());
        for wrong in ["", "gpu,", "gpu,30", "GPU", "gpu,mid"] {
            wrong.parse::<Selection>().expect_err("no such cell");
        }
    }

    #[test]
    fn the_capacity_is_that_of_the_largest_batch_that_fits() {
        // Of 5 + b ms: two of 5 rows in 20 ms, less 9 of 333 for stragglers.
        let gpu = all().next().expect("a cell");
        let expected = 5.0 / 0.010 / (1.0 + 9.0 / 333.0);
        assert!(
            (gpu.capacity() - expected).abs() < 1e-6,
            "{}",
            gpu.capacity()
        );
        assert!((gpu.load_max() - 3.0 * expected).abs() < 1e-6);
    }
}
