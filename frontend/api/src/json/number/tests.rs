use super::*;
use crate::json::random::Random;

/// Text before and after a number, so that the fast path has bytes to load.
const TAIL: &str = ",                                ";

fn scan_both<T: Scalar + std::fmt::Debug>(text: &str) -> Result<(T, usize), Fault> {
    let long = T::scan(format!("{text}{TAIL}").as_bytes(), 0);
    let short = T::scan(text.as_bytes(), 0);
    assert_eq!(
        long.as_ref().ok(),
        short.as_ref().ok(),
        "{text} depends on what follows it"
    );
    long
}

fn check_f32(text: &str) {
    let expected: f32 = text.parse().expect("a number");
    match scan_both::<f32>(text) {
        Ok((value, end)) => {
            assert_eq!(value.to_bits(), expected.to_bits(), "{text} as f32");
            assert_eq!(end, text.len(), "{text}");
        }
        Err(fault) => {
            assert!(expected.is_infinite(), "{text}: {fault:?}");
            assert_eq!(fault, Fault::Range(0..text.len()), "{text}");
        }
    }
}

fn check_f64(text: &str) {
    let expected: f64 = text.parse().expect("a number");
    match scan_both::<f64>(text) {
        Ok((value, end)) => {
            assert_eq!(value.to_bits(), expected.to_bits(), "{text} as f64");
            assert_eq!(end, text.len(), "{text}");
        }
        Err(fault) => {
            assert!(expected.is_infinite(), "{text}: {fault:?}");
            assert_eq!(fault, Fault::Range(0..text.len()), "{text}");
        }
    }
}

fn check(text: &str) {
    check_f32(text);
    check_f64(text);
}

#[test]
fn reads_every_form_of_number_as_the_standard_library_does() {
    for text in [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1",
        "-1",
        "12345678",
        "123456789",
        "9007199254740993",
        "0.1",
        "0.5",
        "3.14159",
        "1e0",
        "1E5",
        "1e+5",
        "1e-5",
        "1.5e-3",
        "0e0",
        "0.0e-400",
        "1e22",
        "1e23",
        "123456789012345678",
        "1234567890123456789",
        "12345678901234567890",
        "99999999999999999999999999",
        "0.000000000000000000000000000001",
        "1e-45",
        "1e-46",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        "1.1754943508222875e-38",
        "3.4028234663852886e38",
        "3.4028235677973366e38",
        "3.4028235677973365e38",
        "1e39",
        "1e300",
        "1e308",
        "1e309",
        "1e999",
        "-1e999",
        "1e99999999999",
        "1e-99999999999",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "16777217",
        "16777219",
        "16777217.0",
        "16777217.00000000001",
        "0.00000000000000001",
        "9.999999999999999999",
        "9.223372036854775807",
        "9.223372036854775808",
        "9.22337203685477580",
        "9.92233720368547758",
        "0.999999999999999999",
        "8388608.5",
        "8388609.5",
        "1234567.12345678",
        "1234567.1234567890123",
        "99.99999999999",
    ] {
        check(text);
        check(&format!("-{}", text.trim_start_matches('-')));
    }
}

#[test]
fn rounds_random_decimals_correctly() {
    let mut random = Random::new(7);
    for _ in 0..40_000 {
        let whole = random.digits(1, 9);
        let fraction = random.digits(1, 20);
        check(&format!("{whole}.{fraction}"));
        check(&format!("0.{fraction}"));
    }
}

#[test]
fn rounds_random_decimals_with_exponents_correctly() {
    let mut random = Random::new(8);
    for _ in 0..40_000 {
        let exponent = random.below(700) as i64 - 350;
        let (whole, fraction) = (random.digits(1, 4), random.digits(1, 18));
        check(&format!("{whole}.{fraction}e{exponent}"));
        check(&format!("{whole}e{}", exponent / 8));
    }
}

#[test]
fn reads_back_what_the_shortest_form_of_any_float_says() {
    let mut random = Random::new(9);
    let mut buffer = ryu::Buffer::new();
    for _ in 0..40_000 {
        let single = f32::from_bits(random.next() as u32);
        if single.is_finite() {
            check(buffer.format_finite(single));
            check(&format!("{single}"));
            check(&format!("{single:.16e}"));
        }
        let double = f64::from_bits(random.next());
        if double.is_finite() {
            check(buffer.format_finite(double));
            check(&format!("{double:.16e}"));
        }
        let unit = random.unit();
        check(&format!("{unit}"));
        check(&format!("{unit:.17}"));
        check(buffer.format_finite(unit as f32));
    }
}

#[test]
fn decides_midpoints_and_their_neighbours_correctly() {
    let mut random = Random::new(10);
    for _ in 0..40_000 {
        // Exact midpoints of two f32s with at most 18 digits, and the decimals beside them.
        let mantissa = (1 << 23) + random.below(1 << 23);
        let shift = random.below(12) as i32;
        let midpoint = (2 * mantissa + 1) as f64 / f64::from(1 << shift);
        let text = format!("{midpoint}");
        check(&text);
        let point = if text.contains('.') { "" } else { "." };
        check(&format!("{text}{point}00000001"));
        check(&format!("{text}{point}0000000000000000000000001"));
        // The same beside a subnormal or tiny f32.
        let tiny = f64::from(f32::from_bits(random.next() as u32 & 0x0fff_ffff));
        let above = f64::from_bits(tiny.to_bits() + (1 << 28));
        check(&format!("{above:e}"));
        check(&format!(
            "{:e}",
            f64::from_bits(above.to_bits() + random.below(9) - 4)
        ));
    }
}

#[test]
fn refuses_what_is_no_json_number() {
    for text in [
        "", "-", "+1", ".5", "1.", "01", "-01", "00", "00.5", "1e", "1e+", "1.e5", "-.5", "--1",
        "NaN", "nan", "inf", "-inf", "Infinity", "x", "\"1\"", "[1]", "0x10", "1.-5", "/.5", ":.5",
    ] {
        assert!(
            matches!(scan_both::<f32>(text), Err(Fault::Syntax(_)) | Ok((_, 1))),
            "{text}"
        );
        let after = scan_both::<f64>(text).map_or(0, |(_, end)| end);
        assert!(
            after < text.len() || text.is_empty(),
            "{text} was taken whole"
        );
        assert!(
            scan_both::<i32>(text).map_or(0, |(_, end)| end) < text.len().max(1),
            "{text}"
        );
    }
}

#[test]
fn takes_integers_only_if_they_are_whole_and_fit() {
    for value in [0, 1, -1, 9, 1_234_567_890, i32::MAX, i32::MIN] {
        let text = value.to_string();
        assert_eq!(scan_both::<i32>(&text), Ok((value, text.len())));
    }
    assert_eq!(scan_both::<i32>("-0"), Ok((0, 2)));
    for text in ["2147483648", "-2147483649", "99999999999999999999999"] {
        assert_eq!(scan_both::<i32>(text), Err(Fault::Range(0..text.len())));
    }
    for text in ["1.0", "1e3", "-0.5"] {
        assert_eq!(
            scan_both::<i32>(text),
            Err(Fault::NotInteger(0..text.len()))
        );
    }
}
