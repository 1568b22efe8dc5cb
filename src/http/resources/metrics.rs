//! `/metrics`: everything that is measured, for Prometheus.

use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;

/// The metrics, in the format that the client prefers.
pub fn metrics(call: &Call<'_>) -> Result<Response, Failure> {
    let (content_type, text) = call.instance.metrics(call.request.accept());
    Ok(response::text(content_type, text))
}
