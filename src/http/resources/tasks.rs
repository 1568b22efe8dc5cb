//! `/tasks`: the instance and all that is known of its tasks.

use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;

/// The instance's status, as JSON.
pub fn tasks(call: &Call<'_>) -> Result<Response, Failure> {
    Ok(response::json(&call.instance.status()))
}
