//! `POST /orders`: orders over HTTP, acknowledged once the brokers have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use serde_json::value::RawValue;
use tidemill::exchange::Order;
use tidemill::http::{Call, Failure, Response, Route, response};

use super::order_sender::{OrderSender, SendError};

/// The route. The body is an order, or a list of them. Either all of them are read, or none is
/// sent and the answer names by index those that cannot be read.
pub fn route(sender: Arc<OrderSender>) -> Route {
    let names = Names::new();
    Route::post("orders", move |call| enter(&sender, &names, call))
}

fn enter(sender: &OrderSender, names: &Names, call: &Call<'_>) -> Result<Response, Failure> {
    let mut orders = read(call.request.json_body()?)?;
    for order in &mut orders {
        names.name(order);
    }
    let ids: Vec<_> = orders.iter().map(|order| order.id().to_owned()).collect();
    sender.send(orders).map_err(refusal)?;
    let acknowledged: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| json!({ "index": index, "order_id": id }))
        .collect();
    Ok(response::json(&json!({ "acknowledged": acknowledged.len(), "orders": acknowledged })))
}

fn refusal(error: SendError) -> Failure {
    match error {
        SendError::Busy => Failure::too_many(error.to_string()),
        SendError::Refused { index, ref reason } => {
            Failure::bad_request("an order cannot be sent; those before it were".to_owned())
                .with_errors([(index, reason.clone())])
        }
        SendError::Undelivered(_) => Failure::unavailable(format!(
            "{error}; they may still have arrived: send them again with the same order_id"
        )),
    }
}

/// Reads an order, or a list of orders.
fn read(body: &[u8]) -> Result<Vec<Order>, Failure> {
    let malformed = |error: serde_json::Error| {
        Failure::bad_request(format!("the body is neither an order nor a list of orders: {error}"))
    };
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let texts: Vec<&RawValue> = if is_list {
        serde_json::from_slice(body).map_err(malformed)?
    } else {
        vec![serde_json::from_slice(body).map_err(malformed)?]
    };
    if texts.is_empty() {
        return Err(Failure::bad_request("the list of orders is empty".to_owned()));
    }
    let (mut orders, mut errors) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match Order::from_json(text.get().as_bytes()) {
            Ok(order) => orders.push(order),
            Err(error) => errors.push((index, error.to_string())),
        }
    }
    if errors.is_empty() {
        return Ok(orders);
    }
    let detail =
        format!("{} of {} orders cannot be read; none was sent", errors.len(), texts.len());
    Err(Failure::bad_request(detail).with_errors(errors))
}

/// Names for orders that come without an id, so that the answer can say what they are called:
/// `http-<when this process started, in ms>-<number>`.
struct Names {
    started_ms: u128,
    next: AtomicU64,
}

impl Names {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_ms: now.as_millis(), next: AtomicU64::new(1) }
    }

    fn name(&self, order: &mut Order) {
        if order.order_id.is_none() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Two instances may have started in the same millisecond, but not two processes of
            // the same number on the same machine.
            let process = std::process::id();
            order.order_id = Some(format!("http-{}-{process}-{number}", self.started_ms).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARI: &str = r#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":10,"shares":5,"price":5.0,"order_type":"SELL"}"#;

    /// What the server would answer.
    fn refused(body: &str) -> (u16, String) {
        let failure = read(body.as_bytes()).unwrap_err();
        (failure.status().as_u16(), format!("{failure:?}"))
    }

    #[test]
    fn one_order_and_a_list_of_orders_are_read() {
        assert_eq!(read(MARI.as_bytes()).unwrap().len(), 1);
        let list = format!(" [{MARI}, {MARI}] ");
        assert_eq!(read(list.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn an_order_that_cannot_be_read_is_named_by_its_index_and_none_is_sent() {
        let list = format!(r#"[{MARI},{{"asset_id":"a","shares":5.5}},{MARI},7]"#);
        let (status, text) = refused(&list);
        assert_eq!(status, 400);
        for part in ["2 of 4 orders", "(1, ", "shares: invalid type", "(3, "] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_body_that_is_no_order_is_refused() {
        for body in ["", "[]", "[", "7 8", "{\"asset_id\":"] {
            assert_eq!(refused(body).0, 400, "{body}");
        }
    }

    #[test]
    fn orders_without_an_id_get_one_each_and_others_keep_theirs() {
        let names = Names::new();
        let mut order = read(MARI.as_bytes()).unwrap().remove(0);
        names.name(&mut order);
        assert_eq!(order.id(), "1");
        let mut unnamed = [order.clone(), order];
        for order in &mut unnamed {
            order.order_id = None;
            names.name(order);
        }
        assert_ne!(unnamed[0].id(), unnamed[1].id());
        assert!(!unnamed[0].id().is_empty());
    }

    #[test]
    fn what_the_client_should_do_tells_from_the_status() {
        let undelivered = SendError::Undelivered("timed out".to_owned());
        let too_large = SendError::Refused { index: 3, reason: "too large".to_owned() };
        for (error, status) in [(SendError::Busy, 429), (undelivered, 503), (too_large, 400)] {
            assert_eq!(refusal(error).status().as_u16(), status);
        }
    }
}
