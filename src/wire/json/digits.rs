//! Numbers as text, without an allocation.

/// The decimal digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    /// The digits stand at the end.
    room: [u8; DIGITS_MAX],
    start: u8,
}

impl Digits {
    /// The digits of `number`.
    #[must_use]
    pub fn of(mut number: u64) -> Digits {
        let mut room = [b'0'; DIGITS_MAX];
        let mut start = DIGITS_MAX;
        while 10 <= number {
            start -= 2;
            room[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
            number /= 100;
        }
        // None is left of an even count of digits, but for the number nought.
        if number != 0 || start == DIGITS_MAX {
            start -= 1;
            room[start] = b'0' + number as u8;
        }
        Digits { room, start: start as u8 }
    }

    /// The digits as text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.room[usize::from(self.start)..]
    }
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

/// The numbers below a hundred in two digits: two at a time halve the divisions.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_small_and_large_numbers() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let beside = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in (0..1100).chain(beside).chain([1_234_567_890, u64::MAX]) {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
