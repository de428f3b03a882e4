/// A set of small numbers, at one bit each.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds a number, and says whether it is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.word(word) & bit != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers up to `last` are in here and in none of the others.
    pub(super) fn count_without(&self, last: u64, others: [&Self; 2]) -> u64 {
        let (end, bit) = place(last);
        let count = |(at, word): (usize, &u64)| {
            let up_to_last = if at == end { bit | (bit - 1) } else { u64::MAX };
            let rest = word & up_to_last & !others[0].word(at) & !others[1].word(at);
            u64::from(rest.count_ones())
        };
        self.0.iter().enumerate().take(end + 1).map(count).sum()
    }

    /// The first number from `start` on that is not in here.
    pub(super) fn first_missing(&self, start: u64) -> u64 {
        let (mut at, bit) = place(start);
        let mut free = !self.word(at) & !(bit - 1);
        while free == 0 {
            at += 1;
            free = !self.word(at);
        }
        at as u64 * 64 + u64::from(free.trailing_zeros())
    }

    fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or_default()
    }
}

/// A number that fits no memory is not stored by anyone; it would share the last bit there is.
fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(numbers: impl IntoIterator<Item = u64>) -> Bits {
        let mut bits = Bits::default();
        numbers.into_iter().for_each(|number| assert!(bits.insert(number)));
        bits
    }

    #[test]
    fn a_number_is_new_once() {
        let mut some = bits([0, 63, 64, 1_000]);
        for number in [0, 63, 64, 1_000] {
            assert!(some.contains(number) && !some.insert(number));
        }
        assert!(!some.contains(1) && !some.contains(65) && !some.contains(100_000));
    }

    #[test]
    fn numbers_are_counted_up_to_a_last_one_and_without_others() {
        let (some, odd, none) = (bits(0..200), bits((0..300).filter(|n| n % 2 == 1)), Bits::default());
        for last in [0, 1, 62, 63, 64, 127, 128, 199, 200, 5_000] {
            assert_eq!(some.count_without(last, [&none, &none]), last.min(199) + 1, "{last}");
            assert_eq!(some.count_without(last, [&none, &odd]), last.min(199) / 2 + 1, "{last}");
        }
    }

    #[test]
    fn what_is_missing_is_found_from_anywhere() {
        let some = bits((0..300).filter(|n| ![5, 64, 191, 192].contains(n)));
        for (start, first) in [(0, 5), (5, 5), (6, 64), (64, 64), (65, 191), (192, 192), (193, 300), (900, 900)] {
            assert_eq!(some.first_missing(start), first, "from {start}");
        }
    }
}
