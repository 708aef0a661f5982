//! Addresses as people write them: `127.0.0.1`, `[::1]:4730`, `localhost:4730`, `:4730`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

/// The port that every Gearman library uses when it is told none.
pub(super) const DEFAULT_PORT: u16 = 4730;

/// A host, or every address of this machine, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Everywhere,
    Ip(IpAddr),
    Name(String),
}

impl Address {
    /// Every address of this machine, at the default port.
    pub(super) const EVERYWHERE: Address = Address { host: Host::Everywhere, port: DEFAULT_PORT };

    /// The addresses to listen on. A host name stands for all of its addresses that this machine has: `localhost`
    /// is often listed with an IPv6 address where there is no IPv6. If it has none, they are returned all the same,
    /// so that binding them can say why.
    ///
    /// # Errors
    /// What the system's resolver says about a name.
    pub(super) fn to_listen(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Everywhere => Ok(here(vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ])),
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => look_up(name, self.port).map(here),
        }
    }

    /// The addresses to try when connecting, best first. "Everywhere" is reached by the loopback.
    ///
    /// # Errors
    /// What the system's resolver says about a name.
    pub(super) fn to_connect(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Everywhere => Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port)]),
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => look_up(name, self.port),
        }
    }
}

/// Those of the addresses that this machine has; all if it has none.
fn here(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_here = |address: &&SocketAddr| UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok();
    let found: Vec<SocketAddr> = addresses.iter().filter(is_here).copied().collect();
    if found.is_empty() { addresses } else { found }
}

fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (name, port).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Text that is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadAddress {
    /// Nothing at all.
    #[error("an address is missing; write HOST, HOST:PORT, [IPV6]:PORT or :PORT")]
    Empty,
    /// A number alone: a port, or a host of that name?
    #[error("to name a port only, write :{0}")]
    OnlyPort(u16),
    /// After the last colon stands no port number.
    #[error("{0:?} is not a port number between 0 and 65535")]
    Port(String),
    /// Brackets around something that is no IPv6 address.
    #[error("[{0}] is not an IPv6 address")]
    Brackets(String),
    /// A name that no resolver would accept.
    #[error("{0:?} is not a host name; write HOST, HOST:PORT, [IPV6]:PORT or :PORT")]
    Name(String),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        Address::parse(text, DEFAULT_PORT)
    }
}

impl Address {
    /// As [`Address::from_str`], for another service than Gearman.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Address, BadAddress> {
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        if let Ok(port) = text.parse() {
            return Err(BadAddress::OnlyPort(port));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Address { host: Host::Ip(ip), port: default_port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port_number(port)?),
            _ => (text, default_port),
        };
        Ok(Address { host: host.parse()?, port })
    }
}

fn port_number(text: &str) -> Result<u16, BadAddress> {
    text.parse().map_err(|_| BadAddress::Port(text.to_owned()))
}

impl FromStr for Host {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Host, BadAddress> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let ip: Ipv6Addr = inner.parse().map_err(|_| BadAddress::Brackets(inner.to_owned()))?;
            Ok(Host::Ip(ip.into()))
        } else if text.is_empty() || text == "*" {
            Ok(Host::Everywhere)
        } else if let Ok(ip) = text.parse::<Ipv4Addr>() {
            Ok(Host::Ip(ip.into()))
        } else if text.chars().all(is_name) {
            Ok(Host::Name(text.to_owned()))
        } else {
            Err(BadAddress::Name(text.to_owned()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Everywhere => write!(f, "*:{}", self.port),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    #[test]
    fn every_usual_way_to_write_an_address_is_understood() {
        assert_eq!(shown("127.0.0.1"), "127.0.0.1:4730");
        assert_eq!(shown("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(shown("::1"), "[::1]:4730");
        assert_eq!(shown("[::1]"), "[::1]:4730");
        assert_eq!(shown("[::1]:80"), "[::1]:80");
        assert_eq!(shown("jobs.example.com"), "jobs.example.com:4730");
        assert_eq!(shown("localhost:81"), "localhost:81");
        assert_eq!(shown(":82"), "*:82");
        assert_eq!(shown("*"), "*:4730");
    }

    #[test]
    fn what_is_no_address_says_what_is_wrong_with_it() {
        assert_eq!(shown("4730"), "to name a port only, write :4730");
        assert!(shown("localhost:http").contains("\"http\" is not a port number"));
        assert!(shown("localhost:65536").contains("\"65536\" is not a port number"));
        assert!(shown("[::x]:1").contains("[::x] is not an IPv6 address"));
        assert!(shown("http://localhost:1").contains("is not a host name"));
        assert!(shown("").contains("missing"));
    }

    #[test]
    fn everywhere_has_ipv4_and_is_reached_by_the_loopback() {
        let address: Address = ":83".parse().unwrap();
        assert!(address.to_listen().unwrap().contains(&"0.0.0.0:83".parse().unwrap()));
        assert_eq!(address.to_connect().unwrap(), ["127.0.0.1:83".parse().unwrap()]);
    }

    #[test]
    fn a_name_stands_for_those_of_its_addresses_that_are_here() {
        let (here_too, elsewhere) = ("127.0.0.1:84".parse().unwrap(), "[2001:db8::1]:84".parse().unwrap());
        assert_eq!(here(vec![elsewhere, here_too]), [here_too]);
        assert_eq!(here(vec![elsewhere]), [elsewhere]);
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for text in ["127.0.0.1:0", "[::1]:80", "localhost:81", "*:82"] {
            assert_eq!(shown(text), text);
        }
    }
}
