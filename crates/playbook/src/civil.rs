//! The calendar: seconds since 1970 to dates and back, `strftime`, `strptime`. UTC throughout.

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// Days since 1970-01-01.
    days: i64,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Civil {
    /// Returns the date and time `seconds` after 1970 began.
    pub(crate) fn at(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let doe = shifted.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Self {
            year: yoe + era * 400 + i64::from(month <= 2),
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            days,
        }
    }

    fn weekday(self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    fn day_of_year(self) -> i64 {
        self.days - days_from_civil(self.year, 1, 1) + 1
    }

    /// Returns the ISO 8601 year and week.
    fn iso_week(self) -> (i64, i64) {
        let monday_based = (self.weekday() + 6) % 7;
        let thursday = Self::at((self.days - monday_based + 3) * 86_400);
        (thursday.year, (thursday.day_of_year() - 1) / 7 + 1)
    }
}

/// Returns the days from 1970-01-01 to a date.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Formats a time as C's `strftime` does in the C locale. `offset` is the zone's, in seconds.
pub(crate) fn strftime(format: &str, seconds: i64, micros: i64, offset: i64) -> String {
    let civil = Civil::at(seconds.saturating_add(offset));
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('-') => match chars.next() {
                Some(directive) => {
                    let text = directive_text(directive, civil, seconds, micros, offset);
                    let bare = text.trim_start_matches(['0', ' ']);
                    out.push_str(if bare.is_empty() { "0" } else { bare });
                }
                None => out.push_str("%-"),
            },
            Some(directive) => {
                out.push_str(&directive_text(directive, civil, seconds, micros, offset));
            }
            None => out.push('%'),
        }
    }
    out
}

fn directive_text(directive: char, civil: Civil, seconds: i64, micros: i64, offset: i64) -> String {
    let again = |format: &str| strftime(format, seconds, micros, offset);
    let name = |names: &[&str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or("?")
            .to_owned()
    };
    let hour12 = (civil.hour + 11) % 12 + 1;
    match directive {
        'Y' => civil.year.to_string(),
        'C' => format!("{:02}", civil.year / 100),
        'y' => format!("{:02}", civil.year.rem_euclid(100)),
        'm' => format!("{:02}", civil.month),
        'd' => format!("{:02}", civil.day),
        'e' => format!("{:2}", civil.day),
        'H' => format!("{:02}", civil.hour),
        'k' => format!("{:2}", civil.hour),
        'I' => format!("{hour12:02}"),
        'l' => format!("{hour12:2}"),
        'M' => format!("{:02}", civil.minute),
        'S' => format!("{:02}", civil.second),
        'f' => format!("{micros:06}"),
        'p' => if civil.hour < 12 { "AM" } else { "PM" }.to_owned(),
        'P' => if civil.hour < 12 { "am" } else { "pm" }.to_owned(),
        'j' => format!("{:03}", civil.day_of_year()),
        'A' => name(&DAYS, civil.weekday()),
        'a' => name(&DAYS, civil.weekday()).chars().take(3).collect(),
        'B' => name(&MONTHS, civil.month - 1),
        'b' | 'h' => name(&MONTHS, civil.month - 1).chars().take(3).collect(),
        'w' => civil.weekday().to_string(),
        'u' => ((civil.weekday() + 6) % 7 + 1).to_string(),
        'U' => format!("{:02}", (civil.day_of_year() + 6 - civil.weekday()) / 7),
        'W' => format!(
            "{:02}",
            (civil.day_of_year() + 6 - (civil.weekday() + 6) % 7) / 7
        ),
        'V' => format!("{:02}", civil.iso_week().1),
        'G' => civil.iso_week().0.to_string(),
        'g' => format!("{:02}", civil.iso_week().0.rem_euclid(100)),
        's' => seconds.to_string(),
        'z' => {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.abs() / 60;
            format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
        }
        'Z' => "UTC".to_owned(),
        'c' => again("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => again("%m/%d/%y"),
        'F' => again("%Y-%m-%d"),
        'T' | 'X' => again("%H:%M:%S"),
        'R' => again("%H:%M"),
        'r' => again("%I:%M:%S %p"),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        other => format!("%{other}"),
    }
}

/// Reads a time as Python's `datetime.strptime` does; the answer is in microseconds.
pub(crate) fn strptime(text: &str, format: &str) -> Option<i128> {
    let mut read = Reader {
        rest: text,
        year: 1900,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        micros: 0,
        pm: None,
        offset: 0,
    };
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            read.directive(chars.next()?)?;
        } else if c.is_whitespace() {
            read.rest = read.rest.trim_start();
        } else {
            read.rest = read.rest.strip_prefix(c)?;
        }
    }
    if !read.rest.is_empty() {
        return None;
    }
    read.finish()
}

struct Reader<'a> {
    rest: &'a str,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    pm: Option<bool>,
    offset: i64,
}

impl Reader<'_> {
    fn number(&mut self, most: usize) -> Option<i64> {
        let digits = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        let number = self.rest.get(..digits)?.parse().ok()?;
        self.rest = &self.rest[digits..];
        Some(number)
    }

    fn name(&mut self, names: &[&str], short: bool) -> Option<i64> {
        for (index, name) in names.iter().enumerate() {
            let name = if short { &name[..3] } else { name };
            if let Some(start) = self.rest.get(..name.len())
                && start.eq_ignore_ascii_case(name)
            {
                self.rest = &self.rest[name.len()..];
                return i64::try_from(index).ok();
            }
        }
        None
    }

    fn directive(&mut self, directive: char) -> Option<()> {
        match directive {
            'Y' => self.year = self.number(4)?,
            'y' => {
                let year = self.number(2)?;
                self.year = year + if year < 69 { 2000 } else { 1900 };
            }
            'm' => self.month = self.number(2)?,
            'd' => self.day = self.number(2)?,
            'H' => self.hour = self.number(2)?,
            'I' => self.hour = self.number(2)? % 12,
            'M' => self.minute = self.number(2)?,
            'S' => self.second = self.number(2)?,
            'f' => {
                let before = self.rest.len();
                let n = self.number(6)?;
                let digits = u32::try_from(before - self.rest.len()).ok()?;
                self.micros = n * 10_i64.pow(6_u32.saturating_sub(digits));
            }
            'b' => self.month = self.name(&MONTHS, true)? + 1,
            'B' => self.month = self.name(&MONTHS, false)? + 1,
            'a' => drop(self.name(&DAYS, true)?),
            'A' => drop(self.name(&DAYS, false)?),
            'j' => {
                self.month = 1;
                self.day = self.number(3)?;
            }
            'p' => {
                self.pm = Some(
                    self.name(&["AM ", "PM "], false)
                        .or_else(|| self.meridiem())?
                        == 1,
                );
            }
            'z' => self.zone()?,
            'Z' => {
                self.rest = self
                    .rest
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic());
            }
            'T' => "H:M:S".chars().try_for_each(|c| self.piece(c))?,
            'F' => "Y-m-d".chars().try_for_each(|c| self.piece(c))?,
            '%' => self.rest = self.rest.strip_prefix('%')?,
            _ => return None,
        }
        Some(())
    }

    fn meridiem(&mut self) -> Option<i64> {
        let start = self.rest.get(..2)?;
        let pm = match start.to_ascii_lowercase().as_str() {
            "am" => 0,
            "pm" => 1,
            _ => return None,
        };
        self.rest = &self.rest[2..];
        Some(pm)
    }

    fn piece(&mut self, c: char) -> Option<()> {
        if c.is_ascii_alphabetic() {
            return self.directive(c);
        }
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    fn zone(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Some(());
        }
        let sign = if self.rest.starts_with('-') { -1 } else { 1 };
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let hours = self.number(2)?;
        self.rest = self.rest.strip_prefix(':').unwrap_or(self.rest);
        self.offset = sign * (hours * 3600 + self.number(2)? * 60);
        Some(())
    }

    fn finish(self) -> Option<i128> {
        let hour = self.hour + if self.pm == Some(true) { 12 } else { 0 };
        let valid = (1..=12).contains(&self.month)
            && self.day >= 1
            && hour < 24
            && self.minute < 60
            && self.second < 62;
        let days = days_from_civil(self.year, self.month, self.day);
        if !valid {
            return None;
        }
        let seconds = days * 86_400 + hour * 3600 + self.minute * 60 + self.second;
        Some(i128::from(seconds) * 1_000_000 + i128::from(self.micros))
    }
}
