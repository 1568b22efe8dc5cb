//! Orders from any JSON that spells one, with errors that name the field: serde's way.

use std::fmt;

use compact_str::CompactString;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::order::{Action, Kind, MAX_TEXT_BYTES, Order, Side, TimeInForce};
use super::price::Price;

/// Takes borrowed input only (`from_slice`, `from_str`), because the price is read from its text.
impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderVisitor)
    }
}

/// The fields of the JSON object, by name.
#[derive(Clone, Copy)]
pub(super) enum Field {
    OrderId,
    InvestorId,
    AssetId,
    CurrentShares,
    Shares,
    Price,
    Side,
    Action,
    Kind,
    TimeInForce,
    Unknown,
}

impl Field {
    pub(super) fn from_name(name: &[u8]) -> Self {
        match name {
            b"order_id" => Self::OrderId,
            b"investor_id" => Self::InvestorId,
            b"asset_id" => Self::AssetId,
            b"current_shares" | b"current_shared" => Self::CurrentShares,
            b"shares" => Self::Shares,
            b"price" => Self::Price,
            b"order_type" => Self::Side,
            b"action" => Self::Action,
            b"kind" => Self::Kind,
            b"time_in_force" => Self::TimeInForce,
            _ => Self::Unknown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OrderId => "order_id",
            Self::InvestorId => "investor_id",
            Self::AssetId => "asset_id",
            Self::CurrentShares => "current_shares",
            Self::Shares => "shares",
            Self::Price => "price",
            Self::Side => "order_type",
            Self::Action => "action",
            Self::Kind => "kind",
            Self::TimeInForce => "time_in_force",
            Self::Unknown => "unknown field",
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
                Ok(Field::from_name(name.as_bytes()))
            }
        }

        deserializer.deserialize_identifier(Name)
    }
}

/// An id: neither empty nor longer than [`MAX_TEXT_BYTES`].
struct Text(CompactString);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string of 1 to {MAX_TEXT_BYTES} bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                if text.is_empty() || text.len() > MAX_TEXT_BYTES {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(Text(CompactString::new(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A price read from the text of its number.
struct ExactPrice(Price);

impl<'de> Deserialize<'de> for ExactPrice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

struct OrderVisitor;

impl<'de> Visitor<'de> for OrderVisitor {
    type Value = Order;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an order as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Order, A::Error> {
        let mut draft = Draft::default();
        while let Some(field) = map.next_key::<Field>()? {
            draft
                .read(field, &mut map)
                .map_err(|error| de::Error::custom(format_args!("{}: {error}", field.name())))?;
        }
        draft.finish().map_err(de::Error::custom)
    }
}

/// What was read of an order so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) order_id: Option<CompactString>,
    pub(super) investor_id: Option<CompactString>,
    pub(super) asset_id: Option<CompactString>,
    pub(super) current_shares: Option<i64>,
    pub(super) shares: Option<i64>,
    pub(super) price: Option<Price>,
    pub(super) side: Option<Side>,
    pub(super) action: Option<Action>,
    pub(super) kind: Option<Kind>,
    pub(super) time_in_force: Option<TimeInForce>,
    /// One bit for each field that was read, `null` included.
    seen: u16,
}

impl Draft {
    /// Notes that `field` comes now; false if it came before.
    pub(super) fn mark(&mut self, field: Field) -> bool {
        let bit = 1 << field as u16;
        let first = self.seen & bit == 0;
        self.seen |= bit;
        first
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        if matches!(field, Field::Unknown) {
            return map.next_value::<IgnoredAny>().map(|_| ());
        }
        if !self.mark(field) {
            return Err(de::Error::custom("given twice"));
        }
        match field {
            Field::OrderId => self.order_id = map.next_value::<Option<Text>>()?.map(|text| text.0),
            Field::InvestorId => {
                self.investor_id = map.next_value::<Option<Text>>()?.map(|text| text.0);
            }
            Field::AssetId => self.asset_id = map.next_value::<Option<Text>>()?.map(|text| text.0),
            Field::CurrentShares => {
                self.current_shares = map.next_value()?;
                if self.current_shares.is_some_and(i64::is_negative) {
                    return Err(de::Error::custom("negative, but nobody owns less than nothing"));
                }
            }
            Field::Shares => self.shares = map.next_value()?,
            Field::Price => {
                self.price = map.next_value::<Option<ExactPrice>>()?.map(|price| price.0);
            }
            Field::Side => self.side = map.next_value()?,
            Field::Action => self.action = map.next_value()?,
            Field::Kind => self.kind = map.next_value()?,
            Field::TimeInForce => self.time_in_force = map.next_value()?,
            Field::Unknown => {}
        }
        Ok(())
    }

    /// Fills the defaults in. `shares` is judged here, because an [`Order`] no longer tells an
    /// absent one from 0.
    pub(super) fn finish(self) -> Result<Order, &'static str> {
        let action = self.action.unwrap_or(Action::New);
        let shares = match (self.shares, action) {
            (Some(shares), _) => shares,
            (None, Action::Cancel) => 0,
            (None, Action::New | Action::Replace) => return Err("shares: missing"),
        };
        Ok(Order {
            order_id: self.order_id,
            investor_id: self.investor_id,
            asset_id: self.asset_id.ok_or("asset_id: missing")?,
            current_shares: self.current_shares,
            shares,
            price: self.price,
            side: self.side,
            action,
            kind: self.kind.unwrap_or(Kind::Limit),
            time_in_force: self.time_in_force.unwrap_or(TimeInForce::Gtc),
        })
    }
}
