//! The next time of a recurring job, found by trying every minute.

use gearhouse::types::Timestamp;

/// Schedules that peers declare, and whether they are valid.
pub const SCHEDULES: [([&str; 5], bool); 9] = [
    (["*", "*", "*", "*", "*"], true),
    (["*/5", "", "", "", ""], true),
    (["3,17", "*", "*", "*", "*"], true),
    (["0", "*/6", "*", "*", "*"], true),
    (["30", "4", "*", "*", "0"], true),
    (["10-12", "*", "*", "*", "5-6"], true),
    (["60", "*", "*", "*", "*"], false),
    ([",", "*", "*", "*", "*"], false),
    (["*", "*", "*", "*", "7"], false),
];

/// Whether the server must take these fields.
pub fn is_valid(fields: &[&str; 5]) -> bool {
    SCHEDULES.iter().any(|(known, is_valid)| known == fields && *is_valid)
}

/// The first whole minute after `now` that the fields name; UTC, days of the week from 0 = Monday.
pub fn next_after(fields: &[&str; 5], now: Timestamp) -> Timestamp {
    let first = now.as_micros() / 60_000_000 + 1;
    let names = |minute: &u64| {
        // The first day of the epoch was a Thursday.
        let (of_hour, of_day, day) = (minute % 60, minute / 60 % 24, (minute / 1440 + 3) % 7);
        has(fields[0], of_hour) && has(fields[1], of_day) && has(fields[4], day)
    };
    let minute = (first..).find(names).expect("every schedule here comes round within a week");
    Timestamp::from_secs(minute * 60)
}

/// Whether a field names this number. Day of month and month are never limited here.
fn has(field: &str, number: u64) -> bool {
    let as_number = |text: &str| text.parse::<u64>().expect("fields here are numbers");
    field.is_empty()
        || field.split(',').any(|part| match (part.split_once('/'), part.split_once('-')) {
            (Some((_, step)), _) => number.is_multiple_of(as_number(step)),
            (None, Some((first, last))) => (as_number(first)..=as_number(last)).contains(&number),
            (None, None) => part == "*" || as_number(part) == number,
        })
}
