//! Dates and times: Python's `date` and `datetime`.

use std::any::Any;
use std::cmp::Ordering;
use std::rc::Rc;

use super::{Object, Value};
use crate::civil::{self, Civil};
use crate::yaml::{Time, Timestamp};

const MICROS: i128 = 1_000_000;

/// A date, perhaps with a time, perhaps with an offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970 by the clock where it is.
    pub(crate) micros: i128,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Date,
    Time,
    /// With an offset in minutes.
    Zoned(i32),
}

impl Moment {
    /// Returns a time without a zone, `micros` microseconds after the beginning of 1970.
    #[must_use]
    pub fn naive(micros: i128) -> Self {
        let kind = Kind::Time;
        Self { micros, kind }
    }

    /// Returns what a YAML document says.
    pub(crate) fn of_timestamp(stamp: &Timestamp) -> Self {
        let date = [stamp.year.into(), stamp.month.into(), stamp.day.into()];
        let [year, month, day] = date;
        let days = i128::from(civil::days_from_civil(year, month, day));
        let (clock, micros, kind) = match &stamp.time {
            None => ((0, 0, 0), 0, Kind::Date),
            Some(Time {
                clock,
                micros,
                offset,
            }) => (*clock, *micros, offset.map_or(Kind::Time, Kind::Zoned)),
        };
        let (hour, minute, second) = clock;
        let seconds = i128::from(hour) * 3600 + i128::from(minute) * 60 + i128::from(second);
        Self {
            micros: (days * 86_400 + seconds) * MICROS + i128::from(micros),
            kind,
        }
    }

    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Object(object) => object.as_any().downcast_ref::<Self>().copied(),
            _ => None,
        }
    }

    /// Returns the value of it.
    #[must_use]
    pub fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    pub(crate) fn plus(self, micros: i128) -> Self {
        Self {
            micros: self.micros + micros,
            ..self
        }
    }

    pub(crate) fn is_date(self) -> bool {
        self.kind == Kind::Date
    }

    /// Returns the day of it.
    pub(crate) fn day(self) -> Self {
        Self {
            micros: self.micros - self.micros.rem_euclid(86_400 * MICROS),
            kind: Kind::Date,
        }
    }

    pub(crate) fn seconds(self) -> i64 {
        i64::try_from(self.micros.div_euclid(MICROS)).unwrap_or(i64::MAX)
    }

    fn fraction(self) -> i64 {
        i64::try_from(self.micros.rem_euclid(MICROS)).unwrap_or(0)
    }

    /// Returns the time in UTC; one without a zone counts as UTC's.
    pub(crate) fn utc_micros(self) -> i128 {
        match self.kind {
            Kind::Zoned(minutes) => self.micros - i128::from(minutes) * 60 * MICROS,
            Kind::Date | Kind::Time => self.micros,
        }
    }

    /// Writes it as ISO 8601 has it, with `separator` between date and time.
    pub(crate) fn iso(self, separator: char) -> String {
        let civil = Civil::at(self.seconds());
        let date = format!("{:04}-{:02}-{:02}", civil.year, civil.month, civil.day);
        if self.is_date() {
            return date;
        }
        let fraction = match self.fraction() {
            0 => String::new(),
            micros => format!(".{micros:06}"),
        };
        let (hour, minute, second) = (civil.hour, civil.minute, civil.second);
        let zone = match self.kind {
            Kind::Zoned(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
            }
            Kind::Date | Kind::Time => String::new(),
        };
        format!("{date}{separator}{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    }
}

impl Object for Moment {
    fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Date => "date",
            Kind::Time | Kind::Zoned(_) => "datetime",
        }
    }

    fn text(&self) -> String {
        self.iso(' ')
    }

    fn repr(&self) -> String {
        let civil = Civil::at(self.seconds());
        let (year, month, day) = (civil.year, civil.month, civil.day);
        let (hour, minute, second) = (civil.hour, civil.minute, civil.second);
        if self.is_date() {
            return format!("datetime.date({year}, {month}, {day})");
        }
        let mut parts = vec![year, month, day, hour, minute];
        let micros = self.fraction();
        if second != 0 || micros != 0 {
            parts.push(second);
        }
        if micros != 0 {
            parts.push(micros);
        }
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let zone = match self.kind {
            Kind::Zoned(0) => ", tzinfo=datetime.timezone.utc".to_owned(),
            Kind::Zoned(offset) => {
                let seconds = i64::from(offset) * 60;
                let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
                let days = match days {
                    0 => String::new(),
                    days => format!("days={days}, "),
                };
                format!(", tzinfo=datetime.timezone(datetime.timedelta({days}seconds={seconds}))")
            }
            Kind::Date | Kind::Time => String::new(),
        };
        format!("datetime.datetime({}{zone})", parts.join(", "))
    }

    fn attr(&self, name: &str) -> Option<Value> {
        let civil = Civil::at(self.seconds());
        let time = !self.is_date();
        Some(Value::Int(match name {
            "year" => civil.year,
            "month" => civil.month,
            "day" => civil.day,
            "hour" if time => civil.hour,
            "minute" if time => civil.minute,
            "second" if time => civil.second,
            "microsecond" if time => self.fraction(),
            _ => return None,
        }))
    }

    fn equals(&self, other: &dyn Object) -> bool {
        self.order(other) == Some(Ordering::Equal)
    }

    fn order(&self, other: &dyn Object) -> Option<Ordering> {
        let other = other.as_any().downcast_ref::<Self>()?;
        let zoned = |moment: &Self| matches!(moment.kind, Kind::Zoned(_));
        let comparable = self.is_date() == other.is_date() && zoned(self) == zoned(other);
        comparable.then(|| self.utc_micros().cmp(&other.utc_micros()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
