//! Points in time as an operator writes and reads them, and places in topics that they stand for.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use tidemill::operations::starting_point::StartingPoint;

const DAY_MS: i64 = 86_400_000;

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointInTime(pub i64);

impl FromStr for PointInTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        parse(text, i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).map(Self).ok_or_else(|| {
            "expected a time like 2026-11-23T08:00:00Z, milliseconds since 1970, or an age like 90s, \
             15m, 2h or 7d"
                .to_owned()
        })
    }
}

/// The value of `reset --to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingPointArg {
    /// The one input that is meant; `None` for all others.
    pub topic: Option<String>,
    /// Where to begin.
    pub point: StartingPoint,
}

impl FromStr for StartingPointArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, point) = match text.split_once('=') {
            Some((topic, point)) => (Some(topic.to_owned()), point),
            None => (None, text),
        };
        let point = match point {
            "earliest" => StartingPoint::Earliest,
            "latest" => StartingPoint::Latest,
            time => {
                let PointInTime(time) = time
                    .parse()
                    .map_err(|reason: String| format!("{reason}; or earliest, or latest"))?;
                StartingPoint::Time(time)
            }
        };
        Ok(Self { topic, point })
    }
}

/// The time that `text` says, where it is now `now`.
fn parse(text: &str, now: i64) -> Option<i64> {
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    if let Some((unit, number)) =
        text.char_indices().next_back().map(|(at, unit)| (unit, &text[..at]))
        && let Ok(number) = number.parse::<u32>()
    {
        let unit = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => DAY_MS,
            _ => return None,
        };
        return Some(now - i64::from(number) * unit);
    }
    rfc_3339(text)
}

/// `2026-11-23`, with a time (`T08:00`, `T08:00:00`, `T08:00:00.123`) and its zone (`Z`, `+01:00`).
fn rfc_3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00Z"));
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (time, zone_ms) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (hours, minutes) = time[at + 1..].split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            (&time[..at], if time[at..].starts_with('-') { -minutes } else { minutes } * 60_000)
        }
    };
    let mut parts = time.splitn(3, ':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let second: f64 = parts.next().unwrap_or("0").parse().ok()?;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..61.0).contains(&second) {
        return None;
    }
    // A count of milliseconds within a minute.
    let second_ms = (second * 1_000.0).round() as i64;
    let days = days_since_1970(year, month, day);
    Some(days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second_ms - zone_ms)
}

/// Days from 1970-01-01, by the calendar that puts leap days at a year's end (from March on).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A time as `2026-11-23T08:00:00.123Z`; `-` for none.
pub fn shown(millis: i64) -> String {
    if millis < 0 {
        return "-".to_owned();
    }
    let (days, in_day) = (millis / DAY_MS + 719_468, millis % DAY_MS);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_in_every_form() {
        for (text, millis) in [
            ("1700000000123", 1_700_000_000_123),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
            ("2023-11-14 17:13:20-05:00", 1_700_000_000_000),
            ("2024-02-29", 1_709_164_800_000),
            ("1970-01-01T00:00Z", 0),
            ("2h", 10_000_000 - 7_200_000),
            ("90s", 10_000_000 - 90_000),
        ] {
            assert_eq!(parse(text, 10_000_000), Some(millis), "{text}");
        }
        for text in ["", "now", "5x", "2023-13-01", "2023-11-14T22:13", "2023-11-14T25:00Z", "é"] {
            assert_eq!(parse(text, 0), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for millis in [0, 951_782_399_999, 951_782_400_000, 1_700_000_000_123, 4_102_444_800_000] {
            assert_eq!(rfc_3339(&shown(millis)), Some(millis), "{}", shown(millis));
        }
        assert_eq!(shown(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(shown(-1), "-");
    }

    #[test]
    fn a_starting_point_may_be_of_one_topic() {
        let of = |text: &str| text.parse::<StartingPointArg>();
        assert_eq!(of("latest").unwrap().point, StartingPoint::Latest);
        let one = of("assets=earliest").unwrap();
        assert_eq!((one.topic.as_deref(), one.point), (Some("assets"), StartingPoint::Earliest));
        assert_eq!(of("orders=17").unwrap().point, StartingPoint::Time(17));
        assert!(of("orders=soon").unwrap_err().contains("earliest"));
    }
}
