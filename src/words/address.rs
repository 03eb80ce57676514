//! What counts as one address.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which a client is counted: of IPv6 its network of 64 bits, since whoever has one address has all of that;
/// one of IPv4 is the same however it is written.
#[must_use]
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let check = |text: &str, expected: &str| {
            assert_eq!(counted(text.parse().unwrap()).to_string(), expected, "{text}");
        };
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::");
    }
}
