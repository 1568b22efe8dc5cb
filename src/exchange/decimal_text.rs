//! Decimals as text, written digit by digit and without a zero too many.

use super::price::PLACES;

/// Most bytes that a [`Price`](super::Price) or an [`Amount`](super::Amount) takes as text: a sign,
/// the 31 digits before the point of an `i128`, the point, and eight places.
pub const LONGEST_DECIMAL: usize = 1 + 31 + 1 + PLACES as usize;

/// Where a decimal's text goes.
pub type DecimalBuffer = [u8; LONGEST_DECIMAL];

/// Writes the shortest form with at least one place, like `5.0` or `587.01`; returns its length.
/// `fraction` counts units of 0.00000001.
#[inline]
pub(super) fn write_decimal(
    negative: bool,
    whole: u128,
    fraction: u64,
    to: &mut DecimalBuffer,
) -> usize {
    to[0] = b'-';
    let point = write_whole(whole, to, usize::from(negative));
    to[point] = b'.';
    let places = point + 1;
    // Most prices end within two places.
    if fraction.is_multiple_of(1_000_000) {
        let pair = fraction / 1_000_000;
        put(two(pair), to, places);
        return places + 2 - usize::from(pair.is_multiple_of(10));
    }
    put(four(fraction / 10_000), to, places);
    put(four(fraction % 10_000), to, places + 4);
    let mut end = places + 8;
    while to[end - 1] == b'0' {
        end -= 1;
    }
    end
}

/// Writes a whole number at `at`; returns where it ends.
#[inline]
fn write_whole(whole: u128, to: &mut DecimalBuffer, at: usize) -> usize {
    match u64::try_from(whole) {
        Ok(small @ 0..10_000) => {
            // Shifted within a register: the zeros before it.
            let zeros =
                usize::from(small < 1_000) + usize::from(small < 100) + usize::from(small < 10);
            let word = u32::from_le_bytes(four(small)) >> (8 * zeros);
            put(word.to_le_bytes(), to, at);
            at + 4 - zeros
        }
        _ => write_large(whole, to, at),
    }
}

/// Writes what has more than four digits, the last four on their own.
fn write_large(whole: u128, to: &mut DecimalBuffer, at: usize) -> usize {
    let (rest, last) = match u64::try_from(whole) {
        // Division of 128 bits is slow, and a price never needs it.
        Ok(small) => (u128::from(small / 10_000), small % 10_000),
        Err(_) => (whole / 10_000, (whole % 10_000) as u64),
    };
    let end = write_whole(rest, to, at);
    put(four(last), to, end);
    end + 4
}

#[inline]
fn put<const N: usize>(digits: [u8; N], to: &mut DecimalBuffer, at: usize) {
    to[at..at + N].copy_from_slice(&digits);
}

/// The digits of a number below 10,000.
#[inline]
fn four(number: u64) -> [u8; 4] {
    let ([a, b], [c, d]) = (two(number / 100), two(number % 100));
    [a, b, c, d]
}

/// The digits of a number below 100.
#[inline]
fn two(number: u64) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}
