//! Orders from plain JSON, in one pass over the bytes: the way of nearly every record.
//!
//! Plain is an object of known fields, each once, whose strings need no unescaping and whose
//! numbers are short. Whatever is not plain, wrong input included, makes the scan give up, and
//! `order_json` decides from the start: so this file knows no errors, and must only never take
//! what the other refuses or would read differently.

use compact_str::CompactString;

use super::order::{Action, Kind, MAX_TEXT_BYTES, Order, Side, TimeInForce};
use super::order_json::{Draft, Field};
use super::price::{PLACES, Price, SCALE};

/// The order that `bytes` spell, if they spell it plainly.
pub(super) fn scan_plain_order(bytes: &[u8]) -> Option<Order> {
    // Once for all strings: it looks at eight bytes at a time, and most strings are shorter.
    let text = std::str::from_utf8(bytes).ok()?;
    let mut scan = Scan { text, bytes, at: 0 };
    let mut draft = Draft::new();
    scan.token(b'{')?;
    let mut ended = scan.usual_fields(&mut draft)?;
    while !ended {
        ended = scan.any_field(&mut draft)?;
    }
    scan.space();
    if scan.at == bytes.len() { draft.finish().ok() } else { None }
}

struct Scan<'a> {
    text: &'a str,
    /// The bytes of the text.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes `byte`, with space before it.
    fn token(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.next()? == byte).then_some(())
    }

    /// Takes the fields that come in the usual order, without space around their names: to look for
    /// one name is far cheaper than to read whichever comes. Whether the object ended.
    fn usual_fields(&mut self, draft: &mut Draft) -> Option<bool> {
        macro_rules! take_usual {
            ($($name:literal $field:ident),+ $(,)?) => {
                $(if self.literal(concat!('"', $name, "\":").as_bytes()) {
                    self.value(Field::$field, draft)?;
                    if self.is_last()? {
                        return Some(true);
                    }
                })+
            };
        }
        take_usual!(
            "order_id" OrderId,
            "investor_id" InvestorId,
            "asset_id" AssetId,
            "current_shares" CurrentShares,
            "current_shared" CurrentShares,
            "shares" Shares,
            "price" Price,
            "order_type" Side,
            "action" Action,
            "kind" Kind,
            "time_in_force" TimeInForce,
        );
        Some(false)
    }

    /// Takes whichever field comes. Whether it was the last.
    fn any_field(&mut self, draft: &mut Draft) -> Option<bool> {
        self.token(b'"')?;
        let field = Field::from_name(self.string()?.as_bytes());
        self.token(b':')?;
        self.value(field, draft)?;
        self.is_last()
    }

    /// Takes what stands behind a field. Whether the object ends there.
    fn is_last(&mut self) -> Option<bool> {
        self.space();
        match self.next()? {
            b',' => Some(false),
            b'}' => Some(true),
            _ => None,
        }
    }

    /// Takes `literal`, if it comes. Inlined, so that its length is known.
    #[inline(always)]
    fn literal(&mut self, literal: &[u8]) -> bool {
        let comes = self.bytes[self.at..].starts_with(literal);
        self.at += if comes { literal.len() } else { 0 };
        comes
    }

    /// The text up to the quote that ends a string; its first quote is taken already.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        let end = start + plain_length(self.bytes.get(start..)?);
        self.at = end + 1;
        (*self.bytes.get(end)? == b'"').then_some(())?;
        self.text.get(start..end)
    }

    /// Takes the value of a field that did not come before. Inlined, as the field is mostly known.
    #[inline(always)]
    fn value(&mut self, field: Field, draft: &mut Draft) -> Option<()> {
        self.space();
        if !draft.mark(field) {
            return None;
        }
        match field {
            Field::OrderId => draft.order.order_id = Some(self.id()?),
            Field::InvestorId => draft.order.investor_id = Some(self.id()?),
            Field::AssetId => draft.order.asset_id = self.id()?,
            Field::CurrentShares => {
                draft.order.current_shares = Some(self.whole().filter(|shares| *shares >= 0)?);
            }
            Field::Shares => draft.set_shares(self.whole()?),
            Field::Price => draft.order.price = Some(self.price()?),
            Field::Side => draft.order.side = Some(Side::from_word(self.text()?)?),
            Field::Action => draft.order.action = Action::from_word(self.text()?)?,
            Field::Kind => draft.order.kind = Kind::from_word(self.text()?)?,
            Field::TimeInForce => draft.order.time_in_force = TimeInForce::from_word(self.text()?)?,
            Field::Unknown => return None,
        }
        Some(())
    }

    fn text(&mut self) -> Option<&'a str> {
        (self.next()? == b'"').then_some(())?;
        self.string()
    }

    fn id(&mut self) -> Option<CompactString> {
        let text = self.text()?;
        (1..=MAX_TEXT_BYTES).contains(&text.len()).then(|| CompactString::new(text))
    }

    /// A whole number of at most 18 digits, which cannot overflow.
    fn whole(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let start = self.at;
        let mut number = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at - start == 18 {
                return None;
            }
            number = number * 10 + i64::from(digit - b'0');
            self.at += 1;
        }
        let digits = self.at - start;
        // JSON has neither 05 nor -0 as a whole number; fractions stop the scan at their point.
        let plain =
            digits > 0 && (digits == 1 || self.bytes[start] != b'0') && !(negative && number == 0);
        plain.then_some(if negative { -number } else { number })
    }

    fn price(&mut self) -> Option<Price> {
        if let Some((price, length)) = short_price(self.bytes.get(self.at..)?) {
            self.at += length;
            return Some(price);
        }
        let rest = self.bytes.get(self.at..)?;
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))?;
        self.at += length;
        std::str::from_utf8(&rest[..length]).ok()?.parse().ok()
    }
}

/// How many bytes stand before the first that ends a string or needs unescaping, or before the end.
/// Looks at eight bytes at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The top bit of each byte that is below `limit` (at most 128); after the first such byte
    // others may show too.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let found = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += chunk.len();
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    at + bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at)
}

/// A price like `587.01` or `587` and its length; `None` for any other spelling, sound or not.
fn short_price(bytes: &[u8]) -> Option<(Price, usize)> {
    /// What fits 64 bits whatever the digits are.
    const MAX_DIGITS: usize = 10;
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let count =
            rest.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let value =
            rest[..count].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        (value, count)
    };
    let (whole, length) = digits(0);
    if !(1..=MAX_DIGITS).contains(&length) || (bytes[0] == b'0' && length > 1) {
        return None;
    }
    let (units, end) = match bytes.get(length) {
        Some(b'.') => {
            let (fraction, places) = digits(length + 1);
            let missing = PLACES.checked_sub(u32::try_from(places).ok()?)?;
            let fraction = (places > 0).then(|| fraction * 10_i64.pow(missing))?;
            (whole * SCALE + fraction, length + 1 + places)
        }
        _ => (whole * SCALE, length),
    };
    match bytes.get(end) {
        Some(b'.' | b'e' | b'E' | b'+' | b'-' | b'0'..=b'9') => None,
        _ => Some((Price::from_units(units), end)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What serde makes of the bytes.
    fn by_serde(bytes: &[u8]) -> Option<Order> {
        serde_json::from_slice(bytes).ok()
    }

    const PLAIN: &str = r#" {"order_id":"1","investor_id" : "Ma\u0072i","asset_id":"a€","current_shared":10, "shares":-5,"price":5.25e1,"order_type":"SELL","action":"REPLACE","kind":"MARKET","time_in_force":"FOK"} "#;

    #[test]
    fn a_plain_order_is_scanned() {
        let plain = PLAIN.replace("\\u0072", "r");
        let order = scan_plain_order(plain.as_bytes());
        assert!(order.is_some());
        assert_eq!(order, by_serde(plain.as_bytes()));
    }

    #[test]
    fn what_is_not_plain_is_left_to_serde() {
        for json in [
            PLAIN.to_owned(),
            r#"{"order_id":null,"asset_id":"a","action":"CANCEL"}"#.to_owned(),
            r#"{"asset_id":"a","action":"CANCEL","note":1}"#.to_owned(),
            r#"{"asset_id":"a","action":"CANCEL","shares":9223372036854775807}"#.to_owned(),
        ] {
            assert_eq!(scan_plain_order(json.as_bytes()), None, "{json}");
            assert!(by_serde(json.as_bytes()).is_some(), "{json}");
        }
    }

    #[test]
    fn a_string_ends_at_its_first_special_byte_wherever_that_stands() {
        for length in 0..20 {
            for end in ["\"", "\\", "\n", "\u{1f}"] {
                let text = "é".repeat(length / 2) + &" ".repeat(length % 2) + end + "rest \"of it";
                let expected = text.len() - "rest \"of it".len() - 1;
                assert_eq!(plain_length(text.as_bytes()), expected, "{text:?}");
            }
        }
        assert_eq!(plain_length(b"neither quote nor end"), 21);
        assert_eq!(plain_length(b""), 0);
    }

    #[test]
    fn a_short_price_is_what_the_exact_reader_makes_of_it_or_left_to_it() {
        for text in [
            "0",
            "0.5",
            "5",
            "587.01",
            "9999999999",
            "9999999999.99999999",
            "00",
            "01.5",
            "5.",
            ".5",
            "5.000000000",
            "99999999999",
            "-5",
            "5e2",
            "5.5E1",
            "5.5.5",
            "",
            "5-",
            "0.00000001",
        ] {
            if let Some((price, length)) = short_price(text.as_bytes()) {
                assert_eq!((text.parse(), length), (Ok(price), text.len()), "{text}");
            }
        }
        assert_eq!(short_price(b"587.01,"), Some((Price::from_units(58_701_000_000), 6)));
        assert_eq!(short_price(b"5.000000000"), None);
    }

    #[test]
    fn numbers_that_json_does_not_know_are_not_taken() {
        let with =
            |shares: &str| format!(r#"{{"asset_id":"a","action":"CANCEL","shares":{shares}}}"#);
        for shares in ["05", "-05", "00", "-0", "-", "", "+5", "5.0", "5e0", "5 5", "0x5"] {
            assert_eq!(scan_plain_order(with(shares).as_bytes()), None, "{shares}");
        }
        for shares in ["0", "5", "-5", "50", "999999999999999999", "-999999999999999999"] {
            let order = scan_plain_order(with(shares).as_bytes());
            assert_eq!(order.map(|order| order.shares.to_string()).as_deref(), Some(shares));
        }
    }

    /// JSON-like text made of pieces that are each likely to matter.
    fn any_text() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("\"a\""),
            Just("\"\""),
            Just("\"BUY\""),
            Just("\"NEW\""),
            Just("\"CANCEL\""),
            Just("5"),
            Just("-5"),
            Just("-0"),
            Just("0"),
            Just("05"),
            Just("5.0"),
            Just("5e0"),
            Just("1e-9"),
            Just("5."),
            Just("-"),
            Just("null"),
            Just("[]"),
            Just("123456789012345678"),
            Just("1234567890123456789"),
            Just("99999999999999999999"),
            Just("\"\\n\""),
            Just("\"\n\""),
            Just("\"é\""),
            Just("\"a"),
            Just("5x"),
            Just(""),
        ];
        let name = prop_oneof![
            Just("order_id"),
            Just("investor_id"),
            Just("asset_id"),
            Just("current_shares"),
            Just("current_shared"),
            Just("shares"),
            Just("price"),
            Just("order_type"),
            Just("action"),
            Just("note"),
        ];
        let space = || prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n"), 1 => Just("\u{b}"), 1 => Just(",")];
        let field = (space(), name, space(), value, space()).prop_map(
            |(before, name, between, value, after)| {
                format!("{before}\"{name}\":{between}{value}{after}")
            },
        );
        (any::<bool>(), proptest::collection::vec(field, 0..5), space()).prop_map(
            |(sound, fields, after)| {
                let start = if sound { r#"{"asset_id":"a","action":"CANCEL","# } else { "{" };
                format!("{start}{}}}{after}", fields.join(","))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_scan_takes_nothing_that_serde_reads_otherwise(text in any_text()) {
            if let Some(order) = scan_plain_order(text.as_bytes()) {
                prop_assert_eq!(Some(order), by_serde(text.as_bytes()), "{}", text);
            }
        }

        #[test]
        fn nor_with_a_byte_changed(at: prop::sample::Index, byte: u8) {
            let mut bytes = PLAIN.replace("\\u0072", "r").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(order) = scan_plain_order(&bytes) {
                prop_assert_eq!(Some(order), by_serde(&bytes));
            }
        }
    }
}
