//! `/books/{asset}`: an asset's order book.

use crate::http::forward;
use crate::http::response::{Failure, Response};
use crate::http::route::Call;
use crate::status::Query;

/// Price levels a side of a book when the client does not say.
const DEFAULT_DEPTH: usize = 10;
/// Most price levels a side.
const MAX_DEPTH: usize = 1000;

/// The best price levels of each side.
pub fn book(call: &Call<'_>) -> Result<Response, Failure> {
    let asset = call.variable(0).to_owned();
    let depth = call.request.number("depth", 1, MAX_DEPTH, DEFAULT_DEPTH)?;
    forward::answer(call, &Query::Book { asset, depth })
}
