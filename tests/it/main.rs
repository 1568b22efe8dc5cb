//! Tests that need no broker.

mod borders;
mod goldens_files;
