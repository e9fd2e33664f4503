//! Bytes as text.

/// Two digits a byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes, if every pair of characters is two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.len().is_multiple_of(2);
    text.as_bytes()
        .chunks(2)
        .map(byte)
        .collect::<Option<_>>()
        .filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_inverse() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Some(bytes));
        assert!(
            ["0", "0g", "+1", "é"]
                .iter()
                .all(|text| decode(text).is_none())
        );
    }
}
