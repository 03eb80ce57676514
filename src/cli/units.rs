//! Sizes as people write them.

/// Reads `4096`, `64KiB`, `256MiB`, `1GiB`, `10kB`, `2M`.
///
/// # Errors
/// A sentence that says what is expected.
pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" | "k" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("'{text}' is not a size such as 65536, 64KiB or 256MiB")),
    };
    let number: usize =
        digits.parse().map_err(|_| format!("'{text}' is not a size such as 65536, 64KiB or 256MiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("'{text}' is too large"))
}

/// Writes a size for people, rounded up.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    // From ten of a unit on: a rounded number then says enough.
    let unit = units.into_iter().find(|(_, shift)| 10 << shift <= bytes);
    unit.map_or(format!("{bytes} bytes"), |(name, shift)| format!("{} {name}", bytes.div_ceil(1 << shift)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let check = |bytes: u64, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0 bytes");
        check(10_239, "10239 bytes");
        check(10_240, "10 KiB");
        check(10_241, "11 KiB");
        check(2 << 20, "2048 KiB");
        check(256 << 20, "256 MiB");
        check(11 << 30, "11 GiB");
        check(u64::MAX, "17179869184 GiB");
    }

    #[test]
    fn sizes() {
        let check =
            |text: &str, expected: Option<usize>| assert_eq!(parse_bytes(text).ok(), expected, "{text:?}");
        check("0", Some(0));
        check("4096", Some(4096));
        check("64KiB", Some(65_536));
        check("2 MiB", Some(2 << 20));
        check("1GB", Some(1_000_000_000));
        check("", None);
        check("MiB", None);
        check("-1", None);
        check("1.5MiB", None);
        check("99999999999GiB", None);
    }
}
