//! Names to addresses and ports.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// gearmand's port, where nothing else is said.
const DEFAULT_PORT: u16 = 4730;
const SERVICES: &str = "/etc/services";

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error("{from} '{value}' is neither a port number nor a service in {SERVICES}")]
    Port { from: &'static str, value: String },
    #[error("cannot resolve '{host}': {source}")]
    Host { host: String, source: io::Error },
    #[error("'{0}' has no address")]
    Nothing(String),
}

/// The port to listen on: as given, else by GEARMAND_PORT, else that of the service `gearman`, else 4730.
pub(super) fn port(given: Option<&str>, environment: Option<&OsStr>) -> Result<u16, AddressError> {
    let services = std::fs::read_to_string(SERVICES).unwrap_or_default();
    let find = |value: &str, from| {
        number(value)
            .or_else(|| service(&services, value))
            .ok_or_else(|| AddressError::Port { from, value: value.to_owned() })
    };
    if let Some(value) = given {
        return find(value, "--port");
    }
    match environment.map(OsStr::to_string_lossy) {
        // Container platforms set this variable too, to the address of a service called `gearmand`.
        Some(value) if !value.is_empty() && !value.contains("://") => find(&value, "GEARMAND_PORT"),
        _ => Ok(service(&services, "gearman").unwrap_or(DEFAULT_PORT)),
    }
}

/// Every address the host has; without a host, all of this machine's.
pub(super) fn listen(host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, AddressError> {
    let mut addresses: Vec<SocketAddr> = match host {
        None => vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
        Some(host) => (host, port)
            .to_socket_addrs()
            .map_err(|source| AddressError::Host { host: host.to_owned(), source })?
            .collect(),
    };
    addresses.sort();
    addresses.dedup();
    // In many containers `localhost` has an IPv6 address that can't be bound because the machine has no IPv6.
    if addresses.iter().any(SocketAddr::is_ipv4) && !has_ipv6() {
        addresses.retain(SocketAddr::is_ipv4);
    }
    if addresses.is_empty() {
        return Err(AddressError::Nothing(host.unwrap_or_default().to_owned()));
    }
    Ok(addresses)
}

fn has_ipv6() -> bool {
    TcpListener::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0)).is_ok()
}

/// As the system's resolver reads it: blanks before it, a plus sign and zeros are fine.
fn number(value: &str) -> Option<u16> {
    value.trim_start().parse().ok()
}

/// A TCP service's port by one of its names: lines of `NAME PORT/tcp ALIAS… # comment`.
fn service(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name_and_aliases_for_tcp_only() {
        let services =
            "# comment\ndomain 53/udp\ndomain\t\t53/tcp # DNS\nhttp-alt 8080/tcp webcache alt\n\nbad\n";
        assert_eq!(service(services, "domain"), Some(53));
        assert_eq!(service(services, "webcache"), Some(8080));
        assert_eq!(service(services, "DNS"), None);
        assert_eq!(service("gearman 1/udp", "gearman"), None);
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_a_container_platforms_value_is_none() {
        let port = |flag, variable: &str| port(flag, Some(OsStr::new(variable))).unwrap();
        assert_eq!(port(None, "5001"), 5001);
        assert_eq!(port(Some("4730"), "5001"), 4730);
        assert_eq!(port(None, ""), DEFAULT_PORT);
        assert_eq!(port(None, "tcp://10.3.240.1:4730"), DEFAULT_PORT);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for value in ["abc", "-1", "65536", "0x10", "5001x", "=5001", "1.5"] {
            assert!(port(Some(value), None).is_err(), "{value}");
        }
        for value in [" 5001", "+5001", "05001"] {
            assert_eq!(port(Some(value), None).unwrap(), 5001, "{value}");
        }
    }

    #[test]
    fn a_name_stands_for_its_addresses_and_nothing_for_all() {
        assert_eq!(listen(Some("127.0.0.1"), 1).unwrap(), [([127, 0, 0, 1], 1).into()]);
        assert!(listen(Some("localhost"), 1).unwrap().contains(&([127, 0, 0, 1], 1).into()));
        assert!(listen(None, 1).unwrap().contains(&([0, 0, 0, 0], 1).into()));
        assert!(matches!(listen(Some("nowhere.invalid"), 1), Err(AddressError::Host { .. })));
    }
}
