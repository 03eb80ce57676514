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

#[cfg(test)]
mod tests {
    use super::*;

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
