//! Figures in few characters.

/// A rate, or another count that need not be whole: `0`, `4.5`, `1,204`, `250k`.
pub(super) fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 99.95 {
        format!("{rate:.1}")
    } else if rate < 99_999.5 {
        count(rate.round() as u64)
    } else if rate < 999_500.0 {
        format!("{:.0}k", rate / 1e3)
    } else {
        format!("{:.1}M", rate / 1e6)
    }
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with the unit that makes it short: `850us`, `18.2ms`, `123ms`, `2.5s`, `4min`.
pub(super) fn seconds(seconds: f64) -> String {
    let millis = seconds * 1e3;
    if millis < 0.9995 {
        format!("{:.0}us", seconds * 1e6)
    } else if millis < 99.95 {
        format!("{millis:.1}ms")
    } else if millis < 999.5 {
        format!("{millis:.0}ms")
    } else if seconds < 99.95 {
        format!("{seconds:.1}s")
    } else {
        format!("{:.0}min", seconds / 60.0)
    }
}

/// A time that was chosen by someone, without decimals that say nothing: `20ms`.
pub(super) fn chosen(time: f64) -> String {
    seconds(time).replace(".0", "")
}

/// A share, never rounded up to all: `99.9%`, `100%`.
pub(super) fn percent(share: f64) -> String {
    // The least part more, so that 0.996 is not 99.5.
    let tenths = (share * 1e3 + 1e-9).floor();
    if tenths >= 1e3 || tenths == 0.0 {
        format!("{:.0}%", tenths / 10.0)
    } else {
        format!("{:.1}%", tenths / 10.0)
    }
}

/// A share without decimals.
pub(super) fn percent_rough(share: f64) -> String {
    let percent = (share * 100.0).round();
    // There is no -0 %.
    format!("{}%", if percent == 0.0 { 0.0 } else { percent })
}

/// Something, or `-` where there is nothing.
pub(super) fn or_dash(value: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

/// At most `width` characters; the last is `…` where some are left out. Control characters would
/// move the cursor, so none is left.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let clean = text
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one });
    if text.chars().count() <= width {
        return clean.collect();
    }
    let kept = clean.take(width.saturating_sub(1));
    kept.chain(['…']).take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_exact_where_they_are_small() {
        for (value, shown) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (4.5, "4.5"),
            (99.96, "100"),
            (1_204.4, "1,204"),
            (99_999.0, "99,999"),
            (250_000.0, "250k"),
            (1_207_159.0, "1.2M"),
        ] {
            assert_eq!(rate(value), shown);
        }
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn times_have_the_unit_that_makes_them_short() {
        for (value, shown) in [
            (0.00085, "850us"),
            (0.00099996, "1.0ms"),
            (0.0182, "18.2ms"),
            (0.09996, "100ms"),
            (0.123, "123ms"),
            (2.5, "2.5s"),
            (240.0, "4min"),
        ] {
            assert_eq!(seconds(value), shown);
        }
        assert_eq!(
            (chosen(0.02), chosen(0.0025)),
            ("20ms".into(), "2.5ms".into())
        );
    }

    #[test]
    fn a_share_is_all_only_if_it_is() {
        for (value, shown) in [
            (1.0, "100%"),
            (0.99999, "99.9%"),
            (0.996, "99.6%"),
            (0.0, "0%"),
        ] {
            assert_eq!(percent(value), shown);
        }
        assert_eq!(percent_rough(-0.004), "0%");
        assert_eq!(percent_rough(-0.25), "-25%");
    }

    #[test]
    fn what_is_too_long_says_so() {
        assert_eq!(fitted("digits", 6), "digits");
        assert_eq!(fitted("digits", 4), "dig…");
        assert_eq!(fitted("a\u{1b}[2J", 9), "a [2J");
        assert_eq!(fitted("digits", 0), "");
    }
}
