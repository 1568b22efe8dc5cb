//! `/metadata`: which instance hosts what.

use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;
use crate::status::Query;

/// The instances, and who owns each partition of each store.
pub fn metadata(call: &Call<'_>) -> Result<Response, Failure> {
    Ok(response::json(&call.instance.query(&Query::Metadata)?))
}
