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
        loop {
            start -= 1;
            room[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Digits { room, start: start as u8 };
            }
        }
    }

    /// The digits as text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.room[usize::from(self.start)..]
    }
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_small_and_large_numbers() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
