use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::CrmContact;
use crate::contact::hex;

/// A stable mark of a row as the CRM gave it, under the naming rules of the day: 16 bytes.
///
/// Two rows with one digest are taken for one and the same, so a run passes over a row whose digest it knows. The digest is XXH3 with 128
/// bits, in its canonical byte order, over
///
/// - a byte 1, the version of this encoding,
/// - the fingerprint of the naming rules, 4 bytes,
/// - id, chat id, first name and last name, each as its length in 8 bytes and its bytes,
/// - the stage: a byte 0, or a byte 1, its length and its bytes,
/// - the version: a byte 0, or a byte 1 and 8 bytes,
///
/// with all numbers in little-endian order. A ledger outlives the process and the compiler, so this may only change together with the
/// version. XXH3 is no defence against who makes two rows collide on purpose; all that is won by it is that a change of one's own row goes
/// unseen.
///
/// The default, all zero, is the digest of no row: what has it is never taken for unchanged. Serialised and displayed as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowDigest(#[serde(with = "hex")] [u8; 16]);

impl RowDigest {
    const VERSION: u8 = 1;

    pub(super) fn of(contact: &CrmContact, rules: u32) -> Self {
        let CrmContact { id, chat, first, last, stage, version } = contact;
        let texts = [id, chat.as_str(), first, last, stage.as_deref().unwrap_or_default()];
        let length = Sink::FIXED + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut place = [0; Sink::ON_STACK];
        let mut spill = Vec::new();
        let bytes = if let Some(place) = place.get_mut(..length) {
            place
        } else {
            spill.resize(length, 0);
            &mut spill
        };
        let mut sink = Sink { bytes, end: 0 };
        sink.put(&[Self::VERSION]);
        sink.put(&rules.to_le_bytes());
        texts[..4].iter().for_each(|text| sink.text(text));
        match stage {
            Some(stage) => {
                sink.put(&[1]);
                sink.text(stage);
            }
            None => sink.put(&[0]),
        }
        match version {
            Some(version) => {
                sink.put(&[1]);
                sink.put(&version.to_le_bytes());
            }
            None => sink.put(&[0]),
        }
        Self(xxh3_128(sink.written()).to_be_bytes())
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Takes stored bytes back.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Where a row is written down in one piece; a usual one fits the stack.
struct Sink<'a> {
    bytes: &'a mut [u8],
    end: usize,
}

impl Sink<'_> {
    const ON_STACK: usize = 320;
    /// All but the texts themselves: version of the encoding, rules, five lengths, two marks of presence, version of the row.
    const FIXED: usize = 1 + 4 + 5 * 8 + 2 + 8;

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    fn text(&mut self, text: &str) {
        self.put(&(text.len() as u64).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

impl fmt::Display for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(id: &str, chat: &str, first: &str, last: &str, stage: Option<&str>, version: Option<u64>) -> CrmContact {
        let contact = CrmContact::new(id, chat.parse().unwrap()).named(first, last);
        CrmContact { stage: stage.map(Into::into), version, ..contact }
    }

    #[test]
    fn a_digest_stays_the_same_across_releases() {
        // Computed apart from this crate, from the description of `RowDigest`.
        for (row, rules, golden) in [
            (
                row("crm-7", "12025550142", "Ada", "Lovelace", Some("Lead"), Some(5)),
                7,
                "30bda4492a7be56a02d4da0e6b28bd7d",
            ),
            (row("1", "447700900123", "", "", None, None), 0, "f5cc44124f0dead02f20a69e92d19713"),
            (
                row("00Q1", "123456789012345@lid", "יהודית", "🌸", Some(""), Some(u64::MAX)),
                u32::MAX,
                "9c01ddba8db3749c2e644d30625df1ca",
            ),
            (
                row("9", "447700900123", &"x".repeat(1000), "", Some("Lead"), Some(0)),
                1,
                "8437feae886eba09b6bfbc6ae6f8a1b9",
            ),
        ] {
            assert_eq!(row.digest(rules).to_string(), golden);
        }
    }

    #[test]
    fn a_digest_tells_where_a_field_ends_and_none_from_blank() {
        let chat = "447700900123";
        let rows = [
            row("1", chat, "ab", "c", None, None),
            row("1", chat, "a", "bc", None, None),
            row("1a", chat, "b", "c", None, None),
            row("1", chat, "abc", "", None, None),
            row("1", chat, "ab", "", Some("c"), None),
            row("1", chat, "ab", "c", Some(""), None),
            row("1", chat, "ab", "c", Some("\0"), None),
            row("1", chat, "ab", "c", None, Some(0)),
            row("1", chat, "ab", "c", Some(""), Some(0)),
        ];
        let mut digests: Vec<_> = rows.iter().flat_map(|row| [row.digest(0), row.digest(1)]).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 2 * rows.len());
    }

    #[test]
    fn a_digest_comes_back_from_bytes_and_from_text() {
        let digest = row("1", "447700900123", "Ada", "", None, None).digest(3);
        assert_eq!(RowDigest::from_bytes(*digest.as_bytes()), digest);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<RowDigest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<RowDigest>("\"00\"").is_err());
    }

    proptest! {
        #[test]
        fn any_field_that_changes_changes_the_digest(
            texts in prop::array::uniform4(".{0,90}"),
            stage in prop::option::of(".{0,9}"),
            version in any::<Option<u64>>(),
            rules in any::<u32>(),
            other in ".{0,9}",
        ) {
            let [id, first, last, spare] = texts;
            let base = row(&id, "447700900123", &first, &last, stage.as_deref(), version);
            let digest = base.digest(rules);
            prop_assert_eq!(base.clone().digest(rules), digest);
            prop_assert_ne!(base.digest(rules.wrapping_add(1)), digest);
            let changed = [
                CrmContact { id: other.clone(), ..base.clone() },
                CrmContact { chat: "447700900124".parse().unwrap(), ..base.clone() },
                CrmContact { first: other.clone(), ..base.clone() },
                CrmContact { last: other.clone(), ..base.clone() },
                CrmContact { stage: Some(other), ..base.clone() },
                CrmContact { stage: None, ..base.clone() },
                CrmContact { version: version.map(|version| version ^ 1), ..base.clone() },
                CrmContact { version: None, ..base.clone() },
                CrmContact { first: base.last.clone(), last: base.first.clone(), ..base.clone() },
                CrmContact { id: base.id.clone() + &spare, ..base.clone() },
            ];
            for row in changed {
                prop_assert_eq!(row == base, row.digest(rules) == digest, "{:?} {:?}", row, base);
            }
        }
    }
}
