//! `/healthz` and `/readyz`: what orchestrators probe.

use hyper::StatusCode;

use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;
use crate::status::InstanceState;

/// `/healthz`: 503 once the instance has failed and will not come back by itself.
pub fn alive(call: &Call<'_>) -> Result<Response, Failure> {
    let status = call.instance.status();
    Ok(if status.state == InstanceState::Failed {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, format!("failed: {}\n", status.reason))
    } else {
        response::plain(StatusCode::OK, "ok\n".to_owned())
    })
}

/// `/readyz`: 503 and the reason while not every assigned task runs.
pub fn ready(call: &Call<'_>) -> Result<Response, Failure> {
    let status = call.instance.status();
    Ok(if status.ready {
        response::plain(StatusCode::OK, "ready\n".to_owned())
    } else {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", status.reason))
    })
}
