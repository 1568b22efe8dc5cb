//! Orders from any JSON that spells one, with errors that name the field: serde's way.

use std::fmt;

use compact_str::CompactString;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::order::{Action, Kind, MAX_TEXT_BYTES, Order, TimeInForce};
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
        let mut draft = Draft::new();
        while let Some(field) = map.next_key::<Field>()? {
            draft
                .read(field, &mut map)
                .map_err(|error| de::Error::custom(format_args!("{}: {error}", field.name())))?;
        }
        draft.finish().map_err(de::Error::custom)
    }
}

/// What was read of an order so far: what it would be if nothing else came.
pub(super) struct Draft {
    pub(super) order: Order,
    /// One bit for each field that was read, `null` included.
    seen: u16,
    /// Whether there is a number of shares: an [`Order`] no longer tells none from 0.
    has_shares: bool,
}

impl Draft {
    /// With the defaults.
    #[inline]
    pub(super) fn new() -> Self {
        let order = Order {
            order_id: None,
            investor_id: None,
            // No id is empty.
            asset_id: CompactString::const_new(""),
            current_shares: None,
            shares: 0,
            price: None,
            side: None,
            action: Action::New,
            kind: Kind::Limit,
            time_in_force: TimeInForce::Gtc,
        };
        Self { order, seen: 0, has_shares: false }
    }

    /// Notes that `field` comes now; false if it came before.
    #[inline]
    pub(super) fn mark(&mut self, field: Field) -> bool {
        let bit = 1 << field as u16;
        let first = self.seen & bit == 0;
        self.seen |= bit;
        first
    }

    #[inline]
    pub(super) fn set_shares(&mut self, shares: i64) {
        self.order.shares = shares;
        self.has_shares = true;
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        if matches!(field, Field::Unknown) {
            return map.next_value::<IgnoredAny>().map(|_| ());
        }
        if !self.mark(field) {
            return Err(de::Error::custom("given twice"));
        }
        let order = &mut self.order;
        match field {
            Field::OrderId => order.order_id = map.next_value::<Option<Text>>()?.map(|text| text.0),
            Field::InvestorId => {
                order.investor_id = map.next_value::<Option<Text>>()?.map(|text| text.0);
            }
            Field::AssetId => {
                if let Some(text) = map.next_value::<Option<Text>>()? {
                    order.asset_id = text.0;
                }
            }
            Field::CurrentShares => {
                order.current_shares = map.next_value()?;
                if order.current_shares.is_some_and(i64::is_negative) {
                    return Err(de::Error::custom("negative, but nobody owns less than nothing"));
                }
            }
            Field::Shares => {
                if let Some(shares) = map.next_value()? {
                    self.set_shares(shares);
                }
            }
            Field::Price => {
                order.price = map.next_value::<Option<ExactPrice>>()?.map(|price| price.0);
            }
            Field::Side => order.side = map.next_value()?,
            Field::Action => order.action = map.next_value::<Option<_>>()?.unwrap_or(Action::New),
            Field::Kind => order.kind = map.next_value::<Option<_>>()?.unwrap_or(Kind::Limit),
            Field::TimeInForce => {
                order.time_in_force = map.next_value::<Option<_>>()?.unwrap_or(TimeInForce::Gtc);
            }
            Field::Unknown => {}
        }
        Ok(())
    }

    /// The order, unless it lacks what every order of its action needs.
    #[inline]
    pub(super) fn finish(self) -> Result<Order, &'static str> {
        if !self.has_shares && self.order.action != Action::Cancel {
            return Err("shares: missing");
        }
        if self.order.asset_id.is_empty() {
            return Err("asset_id: missing");
        }
        Ok(self.order)
    }
}
