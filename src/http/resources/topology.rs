//! `/topology`: what the application does, as text, JSON or a flowchart.

use crate::http::response::{self, Failure, Response};
use crate::http::route::Call;
use crate::status::TopologyFormat;

/// The topology in the form that `format` names, or else the `Accept` header.
pub fn topology(call: &Call<'_>) -> Result<Response, Failure> {
    let accept = call.request.accept();
    let format = match call.request.parameter("format") {
        Some("text") => TopologyFormat::Text,
        Some("json") => TopologyFormat::Json,
        Some("mermaid") => TopologyFormat::Mermaid,
        Some(other) => {
            let detail = format!("`format` is {other:?}: expected text, json or mermaid");
            return Err(Failure::bad_request(detail));
        }
        None if accept.contains("application/json") => TopologyFormat::Json,
        None if accept.contains("text/vnd.mermaid") => TopologyFormat::Mermaid,
        None => TopologyFormat::Text,
    };
    let content_type = match format {
        TopologyFormat::Text => "text/plain; charset=utf-8",
        TopologyFormat::Json => "application/json",
        TopologyFormat::Mermaid => "text/vnd.mermaid; charset=utf-8",
    };
    Ok(response::text(content_type, call.instance.topology(format)))
}
