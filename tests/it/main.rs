//! Tests that need no broker.

mod borders;
mod exchange;
mod goldens_files;
mod replay;
