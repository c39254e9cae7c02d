//! The wall clock, and dates as AWS writes them. Knows no time zone but UTC.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Seconds since 1970 at `20260102T030405Z`; nothing where it is no such date.
pub(crate) fn unix_of(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |text: &str| -> Option<i64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(4..6)?)?, number(date.get(6..)?)?);
    let (hour, minute, second) = (number(time.get(..2)?)?, number(time.get(2..4)?)?, number(time.get(4..)?)?);
    let fits = date.len() == 8 && time.len() == 6 && (1970..=9999).contains(&year);
    let fits = fits && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|month| days_of(month, leap(year))).sum();
    Some((((years + months + day - 1) * 24 + hour) * 60 + minute) * 60 + second)
}

/// `2026-01-02T03:04:05Z`.
pub(crate) fn date_of(unix: i64) -> String {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut days, seconds) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let mut year = 1970;
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(month, leap(year)) {
        days -= days_of(month, leap(year));
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

const fn days_of(month: i64, leap: bool) -> i64 {
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for (compact, date, unix) in [
            ("19700101T000000Z", "1970-01-01T00:00:00Z", 0),
            ("20150830T123600Z", "2015-08-30T12:36:00Z", 1_440_938_160),
            ("20240229T235959Z", "2024-02-29T23:59:59Z", 1_709_251_199),
            ("20261122T124332Z", "2026-11-22T12:43:32Z", 1_795_351_412),
        ] {
            assert_eq!(unix_of(compact), Some(unix), "{compact}");
            assert_eq!(date_of(unix), date);
        }
        for wrong in
            ["", "20150830", "20150830T1236Z", "20151330T123600Z", "2015-08-30T12:36:00Z", "20150830T123600"]
        {
            assert_eq!(unix_of(wrong), None, "{wrong}");
        }
    }
}
