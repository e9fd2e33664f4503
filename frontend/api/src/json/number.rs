//! Numbers of a JSON text, read straight into the element type of a tensor.
//!
//! The common forms (`0.8571763`, `254.0`, `-1`, 17 digits) are read eight digits at a time,
//! as arithmetic on a `u64` of text. A decimal `digits * 10^exponent` is then converted in one
//! floating-point operation wherever that provably rounds as the exact value would. Everything
//! else (long digit strings, large exponents, doubtful roundings, the last bytes of a body)
//! goes through [`fast_float2`], which is exact. So the result is always the correctly rounded
//! one, that of `str::parse`.
//!
//! # Invariants
//! - A number is accepted exactly if RFC 8259 does: no `+1`, `01`, `.5`, `1.` or `NaN`.
//! - No float is infinite: a decimal that rounds to infinity is [`Fault::Range`].
//!
//! # Cost
//! No allocation. 784 shortest-form `f32`: see `benches/micro`. The slow path reads a number twice.

use std::ops::Range;

use skysail_rpc::Element;

/// Why a number is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text at this offset cannot belong to a number.
    Syntax(usize),
    /// The number at these offsets does not fit the element type.
    Range(Range<usize>),
    /// The number at these offsets has a fraction or an exponent.
    NotInteger(Range<usize>),
}

/// An element that a JSON number is read into.
pub(crate) trait Scalar: Element + Default {
    /// Clipper's name of the element type.
    const NAME: &'static str;

    /// The number that starts at `at`, and the offset of the first byte after it.
    fn scan(body: &[u8], at: usize) -> Result<(Self, usize), Fault>;
}

impl Scalar for f32 {
    const NAME: &'static str = "float";

    #[inline(always)]
    fn scan(body: &[u8], at: usize) -> Result<(f32, usize), Fault> {
        if let Some((decimal, end)) = Decimal::scan(body, at)
            && let Some(value) = decimal.to_f32()
        {
            return Ok((value, end));
        }
        scan_exactly(body, at, f32::is_finite)
    }
}

impl Scalar for f64 {
    const NAME: &'static str = "double";

    #[inline(always)]
    fn scan(body: &[u8], at: usize) -> Result<(f64, usize), Fault> {
        if let Some((decimal, end)) = Decimal::scan(body, at)
            && let Some(value) = decimal.to_f64()
        {
            return Ok((value, end));
        }
        scan_exactly(body, at, f64::is_finite)
    }
}

/// Integers are read whole, and then put to the test of their type.
macro_rules! integer {
    ($($rust:ty: $name:literal),+ $(,)?) => {$(
        impl Scalar for $rust {
            const NAME: &'static str = $name;

            #[inline(always)]
            fn scan(body: &[u8], at: usize) -> Result<($rust, usize), Fault> {
                let (value, text) = scan_integer(body, at)?;
                match <$rust>::try_from(value) {
                    Ok(value) => Ok((value, text.end)),
                    Err(_) => Err(Fault::Range(text)),
                }
            }
        }
    )+};
}

integer! {
    i32: "int",
    u8: "UINT8", u16: "UINT16", u32: "UINT32", u64: "UINT64",
    i8: "INT8", i16: "INT16", i64: "INT64",
}

/// The integer that starts at `at`, kept within what no type holds, and where it lies.
#[inline(always)]
fn scan_integer(body: &[u8], at: usize) -> Result<(i128, Range<usize>), Fault> {
    /// More digits than any type has.
    const DIGITS_MAX: usize = 25;
    let text = number_text(body, at)?;
    let negative = body[at] == b'-';
    let digits = &body[at + usize::from(negative)..text.end];
    let mut magnitude = 0_i128;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(Fault::NotInteger(text));
        }
        magnitude = magnitude.wrapping_mul(10) + i128::from(byte - b'0');
    }
    if digits.len() > DIGITS_MAX {
        return Err(Fault::Range(text));
    }
    Ok((if negative { -magnitude } else { magnitude }, text))
}

/// A decimal number: `digits * 10^exponent`, or its negative.
struct Decimal {
    negative: bool,
    /// Below 2^63, so that one signed conversion turns it into a float.
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// The number at `at` if it is well formed and of a common form, with the offset after it.
    /// `None` says nothing about the number.
    #[inline(always)]
    fn scan(body: &[u8], at: usize) -> Option<(Decimal, usize)> {
        // Two copies of the code: a predicted branch costs less than a sum that every later
        // load has to wait for.
        if *body.get(at)? == b'-' {
            Decimal::scan_magnitude::<true>(body, at + 1)
        } else {
            Decimal::scan_magnitude::<false>(body, at)
        }
    }

    #[inline(always)]
    fn scan_magnitude<const NEGATIVE: bool>(
        body: &[u8],
        mut at: usize,
    ) -> Option<(Decimal, usize)> {
        let text = word(body, at)?;
        let mut digits;
        if (text >> 8) as u8 == b'.' {
            digits = u64::from((text as u8).wrapping_sub(b'0'));
            if digits > 9 {
                return None;
            }
            at += 1;
        } else {
            let run = digit_run(text);
            // Long integers, leading zeros and what is no number: the slow path.
            if run == 0 || run == 8 || (text as u8 == b'0' && run > 1) {
                return None;
            }
            digits = value(text, run);
            at += run as usize;
        }
        let mut exponent = 0;
        if *body.get(at)? == b'.' {
            let fraction = Fraction::scan(body, at + 1, digits)?;
            digits = fraction.digits;
            exponent = -(fraction.count as i32);
            at += 1 + fraction.count as usize;
        }
        if body.get(at)? | 0x20 == b'e' {
            let scale;
            (scale, at) = scan_exponent(body, at + 1)?;
            exponent += scale;
        }
        Some((
            Decimal {
                negative: NEGATIVE,
                digits,
                exponent,
            },
            at,
        ))
    }

    /// The nearest `f32`, or `None` where one multiplication cannot tell it.
    ///
    /// The product has three roundings, so it is less than 4 units in the last place of an
    /// `f64` off. Rounding it to `f32` is right unless a midpoint of two `f32`s (bit 28 alone
    /// set, of the 29 that fall away) lies within that distance.
    #[inline(always)]
    fn to_f32(&self) -> Option<f32> {
        const DOUBT: u64 = 4;
        const FALLING: u64 = (1 << 29) - 1;
        let power = usize::try_from(self.exponent + POWER_MAX).ok()?;
        let wide = self.digits as i64 as f64 * POWERS.get(power)?;
        let from_midpoint = (wide.to_bits() & FALLING).wrapping_sub((1 << 28) - DOUBT);
        // Nothing but zero is below 1e-22 here, so the result is never subnormal.
        let value = wide as f32;
        let certain = from_midpoint > 2 * DOUBT && value.is_finite();
        let sign = u32::from(self.negative) << 31;
        certain.then(|| f32::from_bits(value.to_bits() | sign))
    }

    /// The nearest `f64`, or `None` where one operation cannot tell it: both operands must be
    /// exact (Clinger, *How to Read Floating Point Numbers Accurately*, 1990, section 3).
    #[inline(always)]
    fn to_f64(&self) -> Option<f64> {
        let power = POWERS.get(usize::try_from(self.exponent.abs() + POWER_MAX).ok()?)?;
        if self.digits > 1 << 53 {
            return None;
        }
        let digits = self.digits as i64 as f64;
        let value = if self.exponent < 0 {
            digits / power
        } else {
            digits * power
        };
        let sign = u64::from(self.negative) << 63;
        Some(f64::from_bits(value.to_bits() | sign))
    }
}

/// What stands after the point.
struct Fraction {
    /// The digits before the point and these, as one number.
    digits: u64,
    /// How many digits there are after the point.
    count: u32,
}

impl Fraction {
    /// One to 18 digits from `at` on, `whole` before them; `None` if the digits may pass 2^63.
    #[inline(always)]
    fn scan(body: &[u8], at: usize, whole: u64) -> Option<Fraction> {
        let window: &[u8; 24] = body.get(at..)?.first_chunk()?;
        if !window[1].is_ascii_digit() {
            // `254.0`: a predicted branch, where the next number need not wait for a count.
            let digit = window[0].wrapping_sub(b'0');
            return (digit <= 9).then(|| Fraction {
                digits: whole * 10 + u64::from(digit),
                count: 1,
            });
        }
        let first = word(window, 0)?;
        let run = digit_run(first);
        if run == 0 {
            return None;
        }
        let mut fraction = Fraction {
            digits: append(whole, first, run),
            count: run,
        };
        // Shortest forms have 6 to 9 digits at random: a branch on 8 would be missed often.
        if run >= 5 {
            let second = word(window, 8)?;
            let run = digit_run(second) & 0_u32.wrapping_sub(run / 8);
            if whole > 9 && run > 2 {
                return None;
            }
            fraction.digits = append(fraction.digits, second, run);
            fraction.count += run;
            if run == 8 {
                fraction.take_more(word(window, 16)?)?;
            }
        }
        Some(fraction)
    }

    /// Takes the 17th and 18th digit.
    #[inline(always)]
    fn take_more(&mut self, text: u64) -> Option<()> {
        let run = digit_run(text);
        if run > 2 {
            return None;
        }
        self.digits = append(self.digits, text, run);
        self.count += run;
        (self.digits < 1 << 63).then_some(())
    }
}

/// Powers of ten from 1e-22 to 1e22, each the nearest `f64`; from 1e0 on they are exact.
#[rustfmt::skip]
const POWERS: [f64; 2 * POWER_MAX as usize + 1] = [
    1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12,
    1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0,
    1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
const POWER_MAX: i32 = 22;

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight bytes of text, the first one lowest.
#[inline(always)]
fn word(body: &[u8], at: usize) -> Option<u64> {
    body.get(at..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// How many digits `text` starts with, 0 to 8.
#[inline(always)]
fn digit_run(text: u64) -> u32 {
    let digits = text ^ ZEROS;
    // A carry only reaches bytes after the first that is no digit.
    let other = (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & 0xF0F0_F0F0_F0F0_F0F0;
    other.trailing_zeros() / 8
}

/// The first `run` digits of `text` as a number. Digits are paired, then the pairs, then those
/// (Lemire, *Quickly parsing eight digits*, 2018).
#[inline(always)]
fn value(text: u64, run: u32) -> u64 {
    // Two shifts, because a shift by 64 does not exist.
    let shift = 32 - 4 * run;
    let digits = ((text ^ ZEROS) << shift) << shift;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

/// `before` followed by the first `run` digits of `text`.
#[inline(always)]
fn append(before: u64, text: u64, run: u32) -> u64 {
    const TENS: [u64; 9] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
    ];
    before.wrapping_mul(TENS[run as usize & 15]) + value(text, run)
}

/// The exponent from after its `e` on, and the offset after it; `None` if it is long or none.
fn scan_exponent(body: &[u8], at: usize) -> Option<(i32, usize)> {
    let negative = *body.get(at)? == b'-';
    let at = at + usize::from(matches!(body[at], b'-' | b'+'));
    let text = word(body, at)?;
    let run = digit_run(text);
    let scale = value(text, run) as i32;
    (1..=4)
        .contains(&run)
        .then(|| (if negative { -scale } else { scale }, at + run as usize))
}

/// Any number, by its grammar and an exact conversion of its text.
#[cold]
#[inline(never)]
fn scan_exactly<T: fast_float2::FastFloat>(
    body: &[u8],
    at: usize,
    is_finite: fn(T) -> bool,
) -> Result<(T, usize), Fault> {
    let text = number_text(body, at)?;
    match fast_float2::parse::<T, _>(&body[text.clone()]) {
        Ok(value) if is_finite(value) => Ok((value, text.end)),
        Ok(_) => Err(Fault::Range(text)),
        Err(_) => Err(Fault::Syntax(at)),
    }
}

/// Where the number that starts at `at` lies, by the grammar of RFC 8259, section 6.
pub(crate) fn number_text(body: &[u8], at: usize) -> Result<Range<usize>, Fault> {
    let byte = |at: usize| body.get(at).copied().unwrap_or(0);
    let digits_from = |mut at: usize| {
        let start = at;
        while byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > start {
            Ok(at)
        } else {
            Err(Fault::Syntax(start))
        }
    };
    let whole = at + usize::from(byte(at) == b'-');
    let mut end = digits_from(whole)?;
    if byte(whole) == b'0' && end > whole + 1 {
        return Err(Fault::Syntax(whole + 1));
    }
    if byte(end) == b'.' {
        end = digits_from(end + 1)?;
    }
    if byte(end) | 0x20 == b'e' {
        end += 1 + usize::from(matches!(byte(end + 1), b'-' | b'+'));
        end = digits_from(end)?;
    }
    Ok(at..end)
}

#[cfg(test)]
mod tests;
