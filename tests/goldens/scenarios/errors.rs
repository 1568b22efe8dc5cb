//! Records that fail.

use super::Declare;

pub fn find(_: &str) -> Option<Declare> {
    None
}
