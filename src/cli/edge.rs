//! The flags of `fanfare serve` that say who may come near: origins, hosts, proxies, rates.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;

use super::serve::{OptionalRate, parse_rate};
use crate::session::authority::Authority;
use crate::session::host::{AllowedHost, Hosts};
use crate::session::origin::{AllowedOrigin, Origins};
use crate::session::policy::Policy;
use crate::session::proxy::{Proxies, Trace};
use crate::session::rates::{Bounds, Rates};

/// Who may come near. Rates are written `50`, or with a burst `50/200`; 0 is any number.
#[derive(Args)]
pub(super) struct EdgeFlags {
    /// Origins whose pages may use the server besides its own, separated by commas: https://app.example; exact, without
    /// '*' [default: none].
    #[arg(long, env = "FANFARE_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    allow_origin: Vec<AllowedOrigin>,
    /// Names by which the server may be asked for besides those of loopback, separated by commas: fan.example; or 'any'
    /// [default: none where it listens on loopback, any elsewhere].
    #[arg(long, env = "FANFARE_ALLOW_HOST", value_delimiter = ',', value_name = "HOST")]
    allow_host: Vec<AllowedHost>,
    /// Networks of proxies that are believed for whom they speak, separated by commas: 10.0.0.0/8 [default: none].
    #[arg(long, env = "FANFARE_TRUSTED_PROXY", value_delimiter = ',', value_name = "NETWORK", value_parser = parse_network)]
    trusted_proxy: Vec<IpNet>,
    /// The header in which they say so: x-forwarded-for or forwarded. They must set it themselves.
    #[arg(long, env = "FANFARE_PROXY_HEADER", default_value = "x-forwarded-for", value_name = "NAME", value_parser = parse_trace)]
    proxy_header: Trace,
    /// Commands, and HTTP requests that do not publish, from one address in a second; beyond it 429, error rate_limited.
    #[arg(long, env = "FANFARE_COMMANDS_PER_SECOND_PER_ADDRESS", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    commands_per_second_per_address: OptionalRate,
    /// The same of one user.
    #[arg(long, env = "FANFARE_COMMANDS_PER_SECOND_PER_USER", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    commands_per_second_per_user: OptionalRate,
    /// Events published over one connection in a second; beyond it 429, error rate_limited.
    #[arg(long, env = "FANFARE_PUBLISHES_PER_SECOND", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    publishes_per_second: OptionalRate,
    /// The same from one address.
    #[arg(long, env = "FANFARE_PUBLISHES_PER_SECOND_PER_ADDRESS", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    publishes_per_second_per_address: OptionalRate,
    /// The same of one user.
    #[arg(long, env = "FANFARE_PUBLISHES_PER_SECOND_PER_USER", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    publishes_per_second_per_user: OptionalRate,
    /// New connections from one address in a second, and new streams of a proxy's client; beyond it 429.
    #[arg(long, env = "FANFARE_CONNECTS_PER_SECOND_PER_ADDRESS", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    connects_per_second_per_address: OptionalRate,
    /// New streams of one user in a second; beyond it 429.
    #[arg(long, env = "FANFARE_CONNECTS_PER_SECOND_PER_USER", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    connects_per_second_per_user: OptionalRate,
}

impl EdgeFlags {
    /// The policy that these flags make, of a server at these addresses.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn policy(
        &self,
        authority: Arc<dyn Authority>,
        listen: SocketAddr,
        admin_listen: SocketAddr,
    ) -> Result<Policy, &'static str> {
        let hosts = Hosts::new(self.allow_host.clone(), listen.ip(), admin_listen.ip())?;
        let proxies = Proxies::new(self.trusted_proxy.clone(), self.proxy_header)?;
        let origins = Origins::new(self.allow_origin.iter().copied());
        Ok(Policy { authority, origins, hosts, proxies, rates: self.rates(), ..Policy::default() })
    }

    fn rates(&self) -> Rates {
        Rates {
            commands: Bounds {
                per_connection: None,
                per_address: self.commands_per_second_per_address,
                per_user: self.commands_per_second_per_user,
            },
            publishes: Bounds {
                per_connection: self.publishes_per_second,
                per_address: self.publishes_per_second_per_address,
                per_user: self.publishes_per_second_per_user,
            },
            connects: Bounds {
                per_connection: None,
                per_address: self.connects_per_second_per_address,
                per_user: self.connects_per_second_per_user,
            },
        }
    }
}

/// Whether a server may listen on `address`, which the flag `name` has: on one that others can reach only if it knows who
/// they are, or if that is wanted all the same.
///
/// # Errors
/// What to do instead.
pub(super) fn check_bind(
    name: &str,
    address: SocketAddr,
    has_keys: bool,
    insecure: bool,
) -> Result<(), String> {
    if address.ip().to_canonical().is_loopback() || has_keys || insecure {
        return Ok(());
    }
    Err(format!(
        "{name} {address} can be reached by others, and without keys anybody could read and publish everything; \
         listen on 127.0.0.1, give it keys (--token-key, --jwks, --api-keys), or say --insecure if that is what you want"
    ))
}

/// A network, or an address alone.
fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let network = text.parse::<IpNet>().ok().map(|network| network.trunc());
    let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or("a network is an address, or one with the length of its prefix: 10.0.0.0/8")
}

fn parse_trace(text: &str) -> Result<Trace, &'static str> {
    Trace::parse(text).ok_or("x-forwarded-for or forwarded")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::session::authority::Development;
    use crate::words::door::Door;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        flags: EdgeFlags,
    }

    fn policy(arguments: &[&str]) -> Policy {
        let flags = <Only as clap::Parser>::parse_from(["x"].iter().chain(arguments)).flags;
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        flags.policy(Arc::new(Development), listen, listen).unwrap()
    }

    #[test]
    fn an_address_that_others_can_reach_needs_keys_or_courage() {
        for (address, is_public) in [
            ("127.0.0.1:80", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("0.0.0.0:80", true),
            ("[::]:80", true),
            ("192.0.2.1:80", true),
        ] {
            for (has_keys, insecure) in [(false, false), (false, true), (true, false), (true, true)] {
                let outcome = check_bind("--listen", address.parse().unwrap(), has_keys, insecure);
                let is_refused = is_public && !has_keys && !insecure;
                assert_eq!(outcome.is_err(), is_refused, "{address} {has_keys} {insecure}");
                if let Err(message) = outcome {
                    assert!(message.contains("--insecure") && message.contains(address), "{message}");
                }
            }
        }
    }

    #[test]
    fn each_rate_reaches_a_place_of_its_own() {
        let mut seen = vec![Rates::default()];
        let command = <Only as CommandFactory>::command();
        for argument in command.get_arguments() {
            let flag = format!("--{}", argument.get_long().unwrap());
            let variable = format!("FANFARE_{}", flag[2..].to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(&*variable), "{flag}");
            if flag.contains("per-second") {
                let rates = policy(&[&flag, "7"]).rates;
                assert!(!seen.contains(&rates), "{flag} changes nothing, or what another does");
                seen.push(rates);
            }
        }
        assert_eq!(seen.len(), 8);
        assert!(policy(&[]).rates.is_off());
    }

    #[test]
    fn lists_are_separated_by_commas_or_said_again() {
        let policy = policy(&[
            "--allow-origin",
            "https://a.example,https://b.example",
            "--allow-origin",
            "null",
            "--allow-host",
            "fan.example,fan2.example:80",
            "--trusted-proxy",
            "10.1.2.3/8,192.0.2.1",
        ]);
        let origins = ["https://a.example", "https://b.example", "null"].map(|text| text.parse().unwrap());
        assert_eq!(policy.origins, Origins::new(origins));
        assert!(policy.hosts.is_allowed(Door::Public, Some("fan.example:1")));
        assert!(!policy.hosts.is_allowed(Door::Public, Some("fan2.example:1")));
        for (address, expected) in
            [("10.200.0.1", true), ("192.0.2.1", true), ("192.0.2.2", false), ("127.0.0.1", false)]
        {
            assert_eq!(policy.proxies.is_trusted(address.parse().unwrap()), expected, "{address}");
        }
    }
}
