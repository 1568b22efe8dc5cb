//! Money as exact decimals: [`Price`] of one share and [`Amount`] of many.
//!
//! Both count units of 0.00000001. They are read from and written to JSON numbers digit by
//! digit, so that no value ever passes through a float.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

use super::decimal_text::{DecimalBuffer, LONGEST_DECIMAL, write_decimal};

/// Decimal places of a price: the most that JSON text may spell.
pub const PLACES: u32 = 8;

/// Units in 1.0.
pub(super) const SCALE: i64 = 10_i64.pow(PLACES);

/// What a share costs, in units of 0.00000001; up to about 92 billion either way.
///
/// ```
/// # use tidemill::exchange::Price;
/// let price: Price = "587.01".parse()?;
/// assert_eq!(price.units(), 58_701_000_000);
/// assert_eq!("5".parse::<Price>()?.to_string(), "5.0");
/// assert_eq!("1e2".parse::<Price>()?.to_string(), "100.0");
/// # Ok::<(), tidemill::exchange::PriceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(i64);

/// Why a text is not a [`Price`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not a number as JSON writes it.
    #[error("not a JSON number; write it like 587.01")]
    NotANumber,
    /// A digit other than 0 stands beyond the eighth decimal place.
    #[error("more than 8 decimal places; round it before sending")]
    TooManyPlaces,
    /// The number is too large for 64 bits of 0.00000001.
    #[error("out of range; the largest price is 92233720368.54775807")]
    OutOfRange,
}

impl Price {
    /// No money at all.
    pub const ZERO: Self = Self(0);

    /// A price of so many units of 0.00000001.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The price in units of 0.00000001.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// The nearest floating-point number, for charts.
    ///
    /// ```
    /// use tidemill::exchange::Price;
    /// assert_eq!(Price::from_units(150_000_000).to_f64(), 1.5);
    /// ```
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / SCALE as f64
    }

    /// Whether the price is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Whether the price is a whole number of `tick`s. Nothing is a multiple of a tick of zero.
    #[must_use]
    pub const fn is_multiple_of(self, tick: Self) -> bool {
        matches!(self.0.checked_rem(tick.0), Some(0))
    }

    /// Writes the text that `Display` writes; returns its length.
    ///
    /// ```
    /// use tidemill::exchange::{LONGEST_DECIMAL, Price};
    /// let mut text = [0; LONGEST_DECIMAL];
    /// let length = Price::from_units(58_701_000_000).write_to(&mut text);
    /// assert_eq!(&text[..length], b"587.01");
    /// ```
    #[inline]
    pub fn write_to(self, text: &mut DecimalBuffer) -> usize {
        let (units, scale) = (self.0.unsigned_abs(), SCALE.unsigned_abs());
        write_decimal(self.0 < 0, u128::from(units / scale), units % scale, text)
    }

    /// What `shares` cost at this price: exact for every pair of 64-bit numbers.
    #[must_use]
    pub const fn times(self, shares: i64) -> Amount {
        Amount(self.0 as i128 * shares as i128)
    }
}

impl std::str::FromStr for Price {
    type Err = PriceError;

    /// Reads a JSON number: an optional `-`, digits, optional fraction, optional exponent.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let magnitude = parse_units(text.strip_prefix('-').unwrap_or(text).as_bytes())?;
        let units = i64::try_from(magnitude).map_err(|_| PriceError::OutOfRange)?;
        Ok(Self(if text.starts_with('-') { -units } else { units }))
    }
}

/// The units that an unsigned JSON number stands for.
///
/// Zeros are counted rather than multiplied out until a digit follows them, so `5.000000000`
/// has one digit and no place too many, and `1000e-3` is 1.
fn parse_units(text: &[u8]) -> Result<u64, PriceError> {
    let mut rest = text;
    let mut digits = Digits::default();
    let whole = digits.take(&mut rest);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return Err(PriceError::NotANumber);
    }
    let mut exponent = 0_i64;
    if let [b'.', after @ ..] = rest {
        rest = after;
        let places = digits.take(&mut rest);
        if places == 0 {
            return Err(PriceError::NotANumber);
        }
        exponent -= i64::try_from(places).map_err(|_| PriceError::TooManyPlaces)?;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        exponent += parse_exponent(after)?;
    } else if !rest.is_empty() {
        return Err(PriceError::NotANumber);
    }
    digits.scaled(exponent + i64::from(PLACES))
}

/// The exponent after `e`. One too large for any price is cut to a size that still is.
fn parse_exponent(text: &[u8]) -> Result<i64, PriceError> {
    const BEYOND_ANY_TEXT: i64 = 1 << 40;
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(PriceError::NotANumber);
    }
    let size = digits
        .iter()
        .fold(0, |size, digit| (size * 10 + i64::from(digit - b'0')).min(BEYOND_ANY_TEXT));
    Ok(sign * size)
}

/// A number's digits without the zeros at its end, which are only counted.
#[derive(Default)]
struct Digits {
    /// Whether the digits no longer fit 64 bits.
    overflown: bool,
    value: u64,
    zeros: u32,
}

impl Digits {
    /// Takes the digits at the front of `text` and returns how many there were.
    fn take(&mut self, text: &mut &[u8]) -> usize {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = text.split_at(count);
        for digit in digits {
            match digit - b'0' {
                0 => self.zeros = self.zeros.saturating_add(1),
                digit => self.push(digit),
            }
        }
        *text = rest;
        count
    }

    fn push(&mut self, digit: u8) {
        let shift = std::mem::take(&mut self.zeros) + 1;
        let shifted = match (self.value, shift) {
            (0, _) => Some(0),
            (value, 1) => value.checked_mul(10),
            (value, shift) => 10_u64.checked_pow(shift).and_then(|power| value.checked_mul(power)),
        };
        match shifted.and_then(|value| value.checked_add(u64::from(digit))) {
            Some(value) => self.value = value,
            None => self.overflown = true,
        }
    }

    /// The number times ten to the power of `exponent`.
    fn scaled(self, exponent: i64) -> Result<u64, PriceError> {
        let exponent = exponent + i64::from(self.zeros);
        if self.value == 0 && !self.overflown {
            return Ok(0);
        }
        if exponent < 0 {
            return Err(PriceError::TooManyPlaces);
        }
        u32::try_from(exponent)
            .ok()
            .filter(|_| !self.overflown)
            .and_then(|exponent| 10_u64.checked_pow(exponent))
            .and_then(|power| self.value.checked_mul(power))
            .ok_or(PriceError::OutOfRange)
    }
}

/// A sum of prices, in units of 0.00000001.
///
/// Sums stop at the ends of 128 bits (1.7e30 whole units of money) instead of wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

impl Amount {
    /// No money at all.
    pub const ZERO: Self = Self(0);

    /// An amount of so many units of 0.00000001.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The amount in units of 0.00000001.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Writes the text that `Display` writes; returns its length. See [`Price::write_to`].
    #[inline]
    pub fn write_to(self, text: &mut DecimalBuffer) -> usize {
        let (units, scale) = (self.0.unsigned_abs(), SCALE.unsigned_abs());
        let (whole, fraction) = match u64::try_from(units) {
            // Division of 128 bits is slow, and few amounts need it.
            Ok(units) => (u128::from(units / scale), units % scale),
            Err(_) => {
                let scale = u128::from(scale);
                (units / scale, (units % scale) as u64)
            }
        };
        write_decimal(self.0 < 0, whole, fraction, text)
    }

    /// The sum of both, or the end of the range.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::str::FromStr for Amount {
    type Err = PriceError;

    /// Reads plain decimal text, as `Display` writes it.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(PriceError::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > PLACES as usize {
            return Err(PriceError::TooManyPlaces);
        }
        let mut units = 0_i128;
        let padding = std::iter::repeat_n(b'0', PLACES as usize - fraction.len());
        let sign = if text.starts_with('-') { -1 } else { 1 };
        // Signed from the first digit on, because the smallest number has no positive twin.
        for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
            units = units
                .checked_mul(10)
                .and_then(|units| units.checked_add(sign * i128::from(digit - b'0')))
                .ok_or(PriceError::OutOfRange)?;
        }
        Ok(Self(units))
    }
}

/// `Display`, and serde as a JSON number, for a type that has `write_to` and `FromStr`.
macro_rules! decimal_in_text_and_json {
    ($($name:ident),+) => {$(
        impl $name {
            /// Appends the text that `Display` writes, without the detour over a formatter.
            pub fn append_to(self, out: &mut Vec<u8>) {
                self.with_text(|text| out.extend_from_slice(text.as_bytes()));
            }

            fn with_text<T>(self, use_text: impl FnOnce(&str) -> T) -> T {
                let mut text = [0; LONGEST_DECIMAL];
                let length = self.write_to(&mut text);
                // Only ASCII is written, so the text is never empty by default.
                use_text(std::str::from_utf8(&text[..length]).unwrap_or_default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.write_str(text))
            }
        }

        impl Serialize for $name {
            /// Writes a JSON number rather than a string.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| {
                    let raw: &RawValue = serde_json::from_str(text).map_err(ser::Error::custom)?;
                    raw.serialize(serializer)
                })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Box::<RawValue>::deserialize(deserializer)?.get().parse().map_err(de::Error::custom)
            }
        }
    )+};
}

decimal_in_text_and_json!(Price, Amount);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Result<i64, PriceError> {
        text.parse::<Price>().map(Price::units)
    }

    #[test]
    fn every_spelling_of_a_json_number_is_read_exactly() {
        for (text, units) in [
            ("5", 500_000_000),
            ("5.0", 500_000_000),
            ("5.00000000000000000000", 500_000_000),
            ("587.01", 58_701_000_000),
            ("1e2", 10_000_000_000),
            ("1E+2", 10_000_000_000),
            ("25e-1", 250_000_000),
            ("100000000000000000000000000000e-29", 100_000_000),
            ("0.00000001", 1),
            ("0.000000000000000000001e13", 1),
            ("0", 0),
            ("-0", 0),
            ("0e999999999999999999999", 0),
            ("-3.5", -350_000_000),
            ("92233720368.54775807", i64::MAX),
        ] {
            assert_eq!(price(text), Ok(units), "{text}");
        }
    }

    #[test]
    fn a_ninth_place_is_refused_unless_it_is_zero() {
        assert_eq!(price("0.123456789"), Err(PriceError::TooManyPlaces));
        assert_eq!(price("1e-9"), Err(PriceError::TooManyPlaces));
        assert_eq!(price("1e-99999999999999999999"), Err(PriceError::TooManyPlaces));
        assert_eq!(
            price("12345678901234567890123456789.123456789"),
            Err(PriceError::TooManyPlaces)
        );
        assert_eq!(price("0.123456780"), Ok(12_345_678));
    }

    #[test]
    fn what_64_bits_do_not_hold_is_out_of_range() {
        for text in [
            "92233720368.54775808",
            "1e11",
            "1e99999999999999999999",
            "123456789012345678901234567890",
        ] {
            assert_eq!(price(text), Err(PriceError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn what_json_does_not_call_a_number_is_refused() {
        for text in [
            "", "-", "+5", ".5", "5.", "05", "1e", "1e+", "1e5.0", "NaN", "Infinity", "\"5\"",
            "5 ", " 5", "--5", "1_0",
        ] {
            assert_eq!(price(text), Err(PriceError::NotANumber), "{text:?}");
        }
    }

    #[test]
    fn a_price_is_shown_with_as_few_places_as_it_needs_but_one() {
        for (units, text) in [
            (500_000_000, "5.0"),
            (58_701_000_000, "587.01"),
            (1, "0.00000001"),
            (0, "0.0"),
            (-350_000_000, "-3.5"),
            (i64::MAX, "92233720368.54775807"),
            (i64::MIN, "-92233720368.54775808"),
        ] {
            assert_eq!(Price::from_units(units).to_string(), text);
        }
        assert_eq!(
            Amount::from_units(i128::MIN).to_string(),
            "-1701411834604692317316873037158.84105728"
        );
    }

    #[test]
    fn a_price_is_shown_as_the_shortest_float_is() {
        let cents = (0..300_000).map(|cents| cents * 1_000_000);
        let fine = (0..300_000).map(|ten_thousandths| ten_thousandths * 10_000);
        let round = (1..=10).map(|zeros| 10_i64.pow(zeros) * SCALE);
        let around_round = round.flat_map(|units| [units - SCALE, units, units + SCALE]);
        for units in cents.chain(fine).chain(around_round) {
            let float = units as f64 / SCALE as f64;
            assert_eq!(Price::from_units(units).to_string(), format!("{float:?}"));
            assert_eq!(Price::from_units(-units - 1).to_string().as_bytes()[0], b'-');
        }
    }

    #[test]
    fn json_carries_a_number_and_not_a_string() {
        assert_eq!(serde_json::to_string(&Price::from_units(500_000_000)).unwrap(), "5.0");
        assert_eq!(serde_json::to_string(&Amount::from_units(1)).unwrap(), "0.00000001");
        assert_eq!(serde_json::from_str::<Price>("587.01").unwrap().units(), 58_701_000_000);
        assert!(serde_json::from_str::<Price>("\"587.01\"").is_err());
    }

    #[test]
    fn only_whole_ticks_are_multiples_of_a_tick() {
        let tick = Price::from_units(10_000);
        assert!(Price::from_units(30_000).is_multiple_of(tick));
        assert!(!Price::from_units(30_001).is_multiple_of(tick));
        assert!(!Price::from_units(30_000).is_multiple_of(Price::ZERO));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(units in any::<i64>().prop_filter("has a twin", |units| *units != i64::MIN), wide: i128) {
            prop_assert_eq!(price(&Price::from_units(units).to_string()), Ok(units));
            prop_assert_eq!(Amount::from_units(wide).to_string().parse(), Ok(Amount::from_units(wide)));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[-+0-9.eE]{0,40}") {
            // serde_json judges the grammar independently; values beyond f64 it refuses too.
            if price(&text).is_ok() {
                prop_assert!(serde_json::from_str::<f64>(&text).is_ok() || text.contains(['e', 'E']));
            }
        }
    }
}
