//! Sixteen bytes as 32 hexadecimal digits: how marks and digests are shown and serialised.

use std::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, Visitor},
};

/// The bytes as text.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8; 16]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&mut [0; 32], self.0))
    }
}

/// Digits written at once: each for itself would cost more than all else in a record.
fn text<'t>(digits: &'t mut [u8; 32], bytes: &[u8; 16]) -> &'t str {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    str::from_utf8(digits).unwrap_or_default()
}

pub(crate) fn read(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text(&mut [0; 32], bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    deserializer.deserialize_str(Digits)
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        read(text).ok_or_else(|| E::custom("not 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_nothing_else_is_read() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(Hex(&bytes).to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(read("00112233445566778899AABBccddeeff"), Some(bytes));
        for text in ["", "0", "00112233445566778899aabbccddeef", "00112233445566778899aabbccddeefff"] {
            assert_eq!(read(text), None);
        }
        for text in
            ["+0112233445566778899aabbccddeeff", "0011223344556677889éaabbccddeef", "g0112233445566778899aabbccddeeff"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
