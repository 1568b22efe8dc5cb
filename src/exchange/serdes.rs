//! How the exchange's keys and values become bytes, where the library's own serdes do not know.

use compact_str::CompactString;
use tidemill_topology::prelude::*;

use super::order::Order;
use super::order_layout::{decode_order, encode_order};

/// Short UTF-8 text, such as an asset's id, without an allocation for most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Serde<CompactString> for Text {
    fn serialize(&self, value: &CompactString, out: &mut Vec<u8>) -> SerdeResult {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<CompactString> {
        Ok(CompactString::from_utf8(bytes)?)
    }

    fn to_json(&self, value: &CompactString) -> Option<serde_json::Value> {
        Some(value.as_str().into())
    }

    fn read_text(&self, text: &str) -> SerdeResult<CompactString> {
        Ok(text.into())
    }
}

/// Orders as investors send them: JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderJson;

impl Serde<Order> for OrderJson {
    fn serialize(&self, value: &Order, out: &mut Vec<u8>) -> SerdeResult {
        value.write_json(out);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Order> {
        Ok(Order::from_json(bytes)?)
    }
}

/// Orders on their way to the task of their asset, in the layout of [`encode_order`].
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderLayout;

impl Serde<Order> for OrderLayout {
    fn serialize(&self, value: &Order, out: &mut Vec<u8>) -> SerdeResult {
        encode_order(value, out);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> SerdeResult<Order> {
        Ok(decode_order(bytes)?)
    }
}
