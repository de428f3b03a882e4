//! Which word was meant.

/// Of the words, the one that is most like the text, if any is but a slip or two away.
pub(super) fn closest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let far = text.chars().count() / 3 + 1;
    let slips = |word: &'w str| (slips(&text.to_lowercase(), &word.to_lowercase()), word);
    let (least, word) = words.into_iter().map(slips).min_by_key(|(slips, _)| *slips)?;
    (least <= far && least < word.chars().count()).then_some(word)
}

/// How many letters have to be put in, left out, changed, or swapped with the next one, to make one text of the other.
pub(super) fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (n, char) in one.iter().enumerate() {
        let (above, mut row) = (&rows[n], vec![n + 1]);
        for (m, wanted) in other.iter().enumerate() {
            let mut least = (above[m] + usize::from(char != wanted)).min(above[m + 1] + 1).min(row[m] + 1);
            if n > 0 && m > 0 && *char == other[m - 1] && one[n - 1] == *wanted {
                least = least.min(rows[n - 1][m - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let words = ["first", "last", "phone", "Mobiltelefon"];
        for (text, meant) in [
            ("fist", Some("first")),
            ("fisrt", Some("first")),
            ("PHONE", Some("phone")),
            ("fone", Some("phone")),
            ("Mobil-Telefon", Some("Mobiltelefon")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(text, words), meant, "{text:?}");
        }
        assert_eq!(closest("first", []), None);
    }
}
