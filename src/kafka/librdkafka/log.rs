//! librdkafka's log lines, as `tracing` events of target `tidemill::kafka`.

use std::ffi::{CStr, c_char, c_int};

use rdkafka_sys::bindings::{rd_kafka_name, rd_kafka_t};

/// librdkafka's log callback; called from any of its threads. librdkafka itself redacts the
/// values of sensitive properties.
pub(super) unsafe extern "C" fn forward(
    client: *const rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: the strings are null-terminated and live during the call; the client is null or live.
    let (name, facility, line) = unsafe {
        let name = if client.is_null() { c"" } else { CStr::from_ptr(rd_kafka_name(client)) };
        (name.to_string_lossy(), CStr::from_ptr(facility), CStr::from_ptr(line))
    };
    let (facility, line) = (facility.to_string_lossy(), line.to_string_lossy());
    // syslog levels. librdkafka calls a refused connection an error, but retries it for ever.
    match level {
        // A property given to all clients is of no use to some of them: expected.
        _ if facility == "CONFWARN" => {
            tracing::debug!(target: "tidemill::kafka", client = %name, "{line}");
        }
        // Said dozens of times a second while a cluster is away, which the runtime tells once.
        _ if facility == "ERROR" && line.ends_with("brokers are down") => {
            tracing::debug!(target: "tidemill::kafka", client = %name, "{line}");
        }
        0..=2 => tracing::error!(target: "tidemill::kafka", client = %name, %facility, "{line}"),
        3 | 4 => tracing::warn!(target: "tidemill::kafka", client = %name, %facility, "{line}"),
        5 | 6 => tracing::info!(target: "tidemill::kafka", client = %name, %facility, "{line}"),
        _ => tracing::debug!(target: "tidemill::kafka", client = %name, %facility, "{line}"),
    }
}
