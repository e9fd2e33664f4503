//! Datatypes, schemas and the columns of a batch.
//!
//! A *schema* lists a model's input and output tensors by the shape of one row. A *batch* is
//! one [`Column`] a tensor, rows contiguous, row after row. A [`Cell`] is one row of one
//! tensor: what a query brings in and what it gets back. [`ColumnBuilder`] gathers cells
//! into a column; [`Column::cells`] gives them back without a copy.

mod cell;
mod column;
mod datatype;
mod schema;

pub use cell::Cell;
pub use column::{Column, ColumnBuilder, ColumnError, Columns, Rows, columns_from_parts};
pub use datatype::{DataType, Element};
pub use schema::{Dims, Schema, SchemaError, TensorSpec};
