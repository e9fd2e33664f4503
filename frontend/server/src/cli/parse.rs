//! Values of the command line.

use std::time::Duration;

use serde_json::{Value, json};

/// Microseconds of one unit each.
const UNITS: [(&str, f64); 7] = [
    ("us", 1.0),
    ("µs", 1.0),
    ("ms", 1e3),
    ("min", 60e6),
    ("s", 1e6),
    ("h", 3600e6),
    ("d", 86_400e6),
];

/// A time such as `20ms`, `1.5s`, `500us`, `2min`, `12h` or `90d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is not a time, expected a number and a unit: 500us, 20ms, 1.5s");
    let (unit, micros) = UNITS
        .iter()
        .find(|(unit, _)| text.ends_with(unit))
        .ok_or_else(wrong)?;
    let number = text[..text.len() - unit.len()].trim_end();
    let is_decimal = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = number
        .parse::<f64>()
        .ok()
        .filter(|_| is_decimal)
        .ok_or_else(wrong)?;
    let total = (number * micros).round();
    if total > 1e15 {
        return Err(format!("'{text}' is too long a time"));
    }
    // Whole, not negative, and below 2^53.
    Ok(Duration::from_micros(total as u64))
}

/// A share, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let share = number.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("'{text}' is not a share, expected a number from 0 to 1"))
}

/// A rate that is more than nothing, and finite.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let rate = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("'{text}' is not a rate, expected a positive number a second"))
}

/// Microseconds as the API takes them.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The input of a query as JSON text, for an application of this type.
///
/// Numbers are passed on as they were written. For numeric types a bare number is a vector of one;
/// for strings and bytes whatever is not a JSON string is taken as the string itself, and so is
/// what looks like no JSON where the type is not known.
///
/// # Errors
/// If it had to be JSON and is not.
pub(super) fn input(text: &str, input_type: Option<&str>) -> Result<String, serde_json::Error> {
    let parsed = serde_json::from_str::<Value>(text);
    match (input_type, parsed) {
        (_, Ok(Value::String(_))) => Ok(text.to_owned()),
        (Some("strings" | "bytes"), _) => Ok(json!(text).to_string()),
        (_, Ok(Value::Number(_))) => Ok(format!("[{text}]")),
        (_, Ok(_)) => Ok(text.to_owned()),
        (None, Err(_)) if !looks_like_json(text) => Ok(json!(text).to_string()),
        (_, Err(error)) => Err(error),
    }
}

/// Whether a text is meant as an array, an object or a quoted string.
pub(super) fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{', '"'])
}

/// What is wrong with a text that is no JSON, and where; its first line is `line`.
pub(super) fn broken(error: &serde_json::Error, line: usize) -> String {
    let what = error.to_string();
    let what = what
        .rfind(" at line ")
        .map_or(&what[..], |end| &what[..end]);
    let (line, column) = (line + error.line().saturating_sub(1), error.column());
    format!("not JSON at line {line}, column {column}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, micros) in [
            ("20ms", 20_000),
            ("1.5s", 1_500_000),
            ("500us", 500),
            ("0.5ms", 500),
            ("2min", 120_000_000),
            ("3 s", 3_000_000),
            ("12h", 43_200_000_000),
            ("90d", 7_776_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for wrong in [
            "",
            "20",
            "ms",
            "-1ms",
            "1e3ms",
            "inf s",
            "1..5s",
            "20 days",
            "99999999999s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_and_rates_are_numbers_that_json_knows() {
        assert_eq!((share("0.05"), share("1")), (Ok(0.05), Ok(1.0)));
        assert_eq!(rate("120.5"), Ok(120.5));
        for wrong in ["", "x", "NaN", "inf", "-1"] {
            assert!(share(wrong).is_err() && rate(wrong).is_err(), "{wrong}");
        }
        assert!(share("1.5").is_err() && rate("0").is_err());
    }

    #[test]
    fn inputs_are_json_or_bare_strings() {
        for (text, input_type, expected) in [
            ("[1, 2.50]", Some("floats"), "[1, 2.50]"),
            ("5", Some("floats"), "[5]"),
            ("5", Some("strings"), "\"5\""),
            ("[1]", Some("strings"), "\"[1]\""),
            ("[1", Some("strings"), "\"[1\""),
            ("hello \"you\"", Some("strings"), r#""hello \"you\"""#),
            ("\"quoted\"", Some("strings"), "\"quoted\""),
            ("aGk=", Some("bytes"), "\"aGk=\""),
            ("[1,2]", None, "[1,2]"),
            ("win a prize", None, "\"win a prize\""),
        ] {
            let input = input(text, input_type).expect(text);
            assert_eq!(input, expected, "{text}, {input_type:?}");
        }
    }

    #[test]
    fn what_had_to_be_json_is_told_with_its_place() {
        for (text, input_type, says) in [
            (
                "[1,2",
                Some("floats"),
                "not JSON at line 1, column 4: EOF while parsing a list",
            ),
            (
                "[1,\n 2,,3]",
                None,
                "not JSON at line 2, column 4: expected value",
            ),
            (
                "NaN",
                Some("doubles"),
                "not JSON at line 1, column 1: expected value",
            ),
            (
                "[1] 2",
                Some("integers"),
                "not JSON at line 1, column 5: trailing characters",
            ),
        ] {
            let error = input(text, input_type).expect_err(text);
            assert_eq!(broken(&error, 1), says, "{text}");
        }
        let error = input("{", None).expect_err("half an object");
        assert!(broken(&error, 7).starts_with("not JSON at line 7, column 1: EOF"));
    }
}
