//! Where one row of a tensor lies, and how large it is.

use skysail_container::TensorSpec;

/// Where a row of byte strings begins, kept from one row to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The tensor that it is a row of, by a number of the caller's.
    tensor: usize,
    row: usize,
    /// The row's first string.
    pub(crate) first: usize,
}

impl Place {
    /// The place of `row`: by adding up rows from here if it comes later, else from the first.
    pub(crate) fn seek(
        self,
        tensor: usize,
        spec: &TensorSpec,
        row: usize,
        shapes: Option<&[u32]>,
    ) -> Place {
        let Some(shapes) = shapes else {
            let first = row * spec.row_elements().unwrap_or(0);
            return Place { tensor, row, first };
        };
        let near = self.tensor == tensor && self.row <= row;
        let (from, first) = if near { (self.row, self.first) } else { (0, 0) };
        let variable = spec.variable_dims();
        let count = |row: usize| product(spec, &shapes[row * variable..]);
        let first = first + (from..row).map(count).sum::<usize>();
        Place { tensor, row, first }
    }
}

/// Writes the dimensions of `row` to `dims`.
pub(crate) fn dims(
    spec: &TensorSpec,
    row: usize,
    offsets: Option<&[u64]>,
    shapes: Option<&[u32]>,
    dims: &mut Vec<i64>,
) {
    let variable = spec.variable_dims();
    let sizes = shapes.map(|shapes| &shapes[row * variable..]);
    dims.clear();
    dims.extend_from_slice(&spec.dims);
    let mut places = dims.iter_mut().filter(|dim| **dim < 0);
    match (sizes, offsets) {
        (Some(sizes), _) => places
            .zip(sizes)
            .for_each(|(dim, size)| *dim = (*size).into()),
        (None, Some(offsets)) => {
            // One dimension at most varies, and the row's length tells it.
            if let Some(dim) = places.next() {
                let fixed: u64 = fixed(spec).max(1) as u64;
                let size = (offsets[row + 1] - offsets[row]) / fixed;
                *dim = i64::try_from(size).unwrap_or(i64::MAX);
            }
        }
        (None, None) => {}
    }
}

/// Elements of a row of these dimensions.
pub(crate) fn elements(dims: &[i64]) -> usize {
    dims.iter()
        .map(|dim| usize::try_from(*dim).unwrap_or(0))
        .product()
}

/// The sizes of the variable dimensions of a row of `dims`, if the others are those of `spec`.
pub(crate) fn variable(spec: &TensorSpec, dims: &[i64]) -> Option<Vec<u32>> {
    if dims.len() != spec.dims.len() {
        return None;
    }
    let mut sizes = Vec::new();
    for (dim, expected) in dims.iter().zip(&spec.dims) {
        if *expected < 0 {
            sizes.push(u32::try_from(*dim).ok()?);
        } else if dim != expected {
            return None;
        }
    }
    Some(sizes)
}

/// Elements that one step of the only variable dimension has.
pub(crate) fn fixed(spec: &TensorSpec) -> usize {
    let sizes = spec
        .dims
        .iter()
        .filter_map(|dim| usize::try_from(*dim).ok());
    sizes.product()
}

fn product(spec: &TensorSpec, mut sizes: &[u32]) -> usize {
    let mut product = 1;
    for dim in &spec.dims {
        product *= usize::try_from(*dim).unwrap_or_else(|_| {
            let (size, rest) = sizes.split_first().expect("a size a variable dimension");
            sizes = rest;
            *size as usize
        });
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> TensorSpec {
        TensorSpec::parse("x", text).expect("valid")
    }

    #[test]
    fn dimensions_come_from_shapes_or_from_the_rows_length() {
        let mut found = Vec::new();
        dims(&spec("f32[2,3]"), 5, None, None, &mut found);
        assert_eq!(found, [2, 3]);
        dims(&spec("f32[-1,4]"), 1, Some(&[0, 4, 16]), None, &mut found);
        assert_eq!(found, [3, 4]);
        let shapes = [1, 2, 3, 4];
        let offsets = [0, 2, 14];
        dims(
            &spec("f32[-1,-1]"),
            1,
            Some(&offsets),
            Some(&shapes),
            &mut found,
        );
        assert_eq!((&found[..], elements(&found)), (&[3, 4][..], 12));
        assert_eq!(variable(&spec("f32[-1,4]"), &[3, 4]), Some(vec![3]));
        assert_eq!(variable(&spec("f32[-1,4]"), &[3, 5]), None);
        assert_eq!(variable(&spec("f32"), &[1]), None);
    }

    #[test]
    fn strings_are_found_in_any_order_of_rows() {
        let spec = spec("string[-1,2]");
        let shapes = [1, 0, 3, 2];
        let firsts = [0, 2, 2, 8];
        let mut place = Place::default();
        for row in [0, 1, 2, 3, 3, 1, 2, 0, 3] {
            place = place.seek(7, &spec, row, Some(&shapes));
            assert_eq!(place.first, firsts[row], "row {row}");
        }
        assert_eq!(place.seek(8, &spec, 1, Some(&shapes)).first, 2);
    }
}
