//! Values as people write them in options, in the environment and in the configuration file alike.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use ureq::http::Uri;

use super::address::Address;
use crate::config::HttpConfig;
use crate::policy::Policy;

/// A number of bytes: `256MiB`, `1.5GB`, `4096`. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size(pub(super) u64);

/// Longer than any time-out means; a moment so far from now can still be reckoned with.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A length of time with its unit: `30s`, `500ms`, `1h 30m`. Never zero, and at most 100 years.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span(pub(super) Duration);

/// A length of time, or `off`, which `none` and `never` say too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SpanOrOff(pub(super) Option<Duration>);

/// A number from 1 up, or no bound: `unlimited` or `all`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CountOrAll(pub(super) Option<u32>);

/// Where HTTP is spoken: an address, or `off`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AddressOrOff(pub(super) Option<Address>);

/// Where traces are sent: the URL of a collector, with the path that OTLP has there; or `off`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CollectorOrOff(pub(super) Option<String>);

/// The path of a collector where traces go.
const TRACES: &str = "/v1/traces";

/// Text that is not the value that was asked for; says what would be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadValue(String);

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Size, BadValue> {
        match text.parse::<ByteSize>() {
            Ok(ByteSize(0)) => Err(BadValue("a size must be at least 1 byte".to_owned())),
            Ok(ByteSize(bytes)) => Ok(Size(bytes)),
            Err(_) => {
                Err(BadValue(format!("{text:?} is not a size; write for example 64KiB, 256MiB or 1GiB")))
            }
        }
    }
}

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Span, BadValue> {
        match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err(BadValue("the time must be longer than zero".to_owned())),
            Ok(span) if span > LONGEST => {
                Err(BadValue("the time must not be longer than 100 years".to_owned()))
            }
            Ok(span) => Ok(Span(span)),
            Err(why) => Err(BadValue(format!(
                "{text:?} is not a length of time ({why}); write for example 500ms, 30s or 10m"
            ))),
        }
    }
}

impl FromStr for SpanOrOff {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<SpanOrOff, BadValue> {
        match text {
            "off" | "none" | "never" => Ok(SpanOrOff(None)),
            _ => match text.parse() {
                Ok(Span(span)) => Ok(SpanOrOff(Some(span))),
                Err(BadValue(why)) => Err(BadValue(format!("{why}, or off"))),
            },
        }
    }
}

impl FromStr for CountOrAll {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<CountOrAll, BadValue> {
        match (text, text.parse()) {
            ("unlimited" | "all", _) => Ok(CountOrAll(None)),
            (_, Ok(count)) if count > 0 => Ok(CountOrAll(Some(count))),
            _ => Err(BadValue(format!("{text:?} is neither a number from 1 up nor unlimited or all"))),
        }
    }
}

impl FromStr for CollectorOrOff {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<CollectorOrOff, BadValue> {
        let bad = |why: &str| {
            Err(BadValue(format!("{text:?} {why}; write for example http://127.0.0.1:4318, or off")))
        };
        if matches!(text, "off" | "none") {
            return Ok(CollectorOrOff(None));
        }
        let Ok(url) = text.parse::<Uri>() else { return bad("is no URL") };
        match (url.scheme_str(), url.authority()) {
            (Some("https"), _) => {
                return bad(
                    "asks for TLS, which a collector on this machine or a proxy speaks for the server",
                );
            }
            (Some("http"), Some(authority)) if authority.as_str().contains('@') => {
                return bad("has a password in it, which would stand in the log");
            }
            (Some("http"), Some(authority)) if !authority.host().is_empty() && url.query().is_none() => {}
            _ => return bad("is no URL of a collector"),
        }
        let base = text.trim_end_matches('/');
        let path = if base.ends_with(TRACES) { "" } else { TRACES };
        Ok(CollectorOrOff(Some(format!("{base}{path}"))))
    }
}

impl FromStr for AddressOrOff {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<AddressOrOff, BadValue> {
        match text {
            "off" | "none" => Ok(AddressOrOff(None)),
            _ => match Address::parse(text, HttpConfig::PORT) {
                Ok(address) => Ok(AddressOrOff(Some(address))),
                Err(why) => Err(BadValue(format!("{why}, or off"))),
            },
        }
    }
}

/// Lets the configuration file write these values the way the command line does, numbers also without quotes.
macro_rules! read_from_text {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Text(PhantomData))
            }
        }
    )*};
}

read_from_text!(Address, AddressOrOff, CollectorOrOff, Size, Span, SpanOrOff, CountOrAll);

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Policies by pattern, as tables of the configuration file. Their keys may have hyphens, as all others there.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies(pub BTreeMap<String, Policy>);

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let tables = BTreeMap::<String, toml::Table>::deserialize(from)?;
        let policy = |(pattern, table): (String, toml::Table)| {
            let wrong = |why: &dyn fmt::Display| {
                Err(D::Error::custom(format!("in the policy for {pattern:?}: {why}")))
            };
            if pattern.is_empty() {
                return wrong(&"it names no function; \"*\" stands for all");
            }
            let mut rules = toml::Table::new();
            for (key, value) in table {
                if let toml::Value::Table(inner) = &value {
                    let whole =
                        [&*pattern, &*key].into_iter().chain(dotted(inner)).collect::<Vec<_>>().join(".");
                    return wrong(&format_args!("a name with a dot needs quotes: [policy.{whole:?}]"));
                }
                if rules.insert(key.replace('-', "_"), value).is_some() {
                    return wrong(&format_args!("{key} is said twice"));
                }
            }
            match Policy::deserialize(rules) {
                Ok(policy) => Ok((pattern, policy)),
                Err(error) => wrong(&error),
            }
        };
        tables.into_iter().map(policy).collect::<Result<_, _>>().map(Policies)
    }
}

/// The rest of a name with dots that was taken for tables within tables.
fn dotted(table: &toml::Table) -> Vec<&str> {
    match table.iter().next() {
        Some((key, toml::Value::Table(inner))) => [&**key].into_iter().chain(dotted(inner)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: FromStr<Err = BadValue> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        let size = |text: &str| text.parse::<Size>().map(|Size(bytes)| bytes);
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("1.5KiB"), Ok(1536));
        assert_eq!(size("2MB"), Ok(2_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["0", "lots", "-1", "5 apples", ""] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert!(refusal::<Size>("5 apples").contains("256MiB"));
    }

    #[test]
    fn a_time_without_a_unit_is_refused_not_guessed() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        assert!(refusal::<Span>("30").contains("unit"));
        assert!(refusal::<Span>("0s").contains("longer than zero"));
        assert!(refusal::<Span>("101years").contains("100 years"));
        assert!("off".parse::<Span>().is_err());
        assert_eq!("off".parse(), Ok(SpanOrOff(None)));
        assert_eq!("30s".parse(), Ok(SpanOrOff(Some(Duration::from_secs(30)))));
        assert!(refusal::<SpanOrOff>("30").ends_with("or off"));
    }

    #[test]
    fn traces_go_to_where_collectors_take_them() {
        let url = |text: &str| text.parse::<CollectorOrOff>().map(|CollectorOrOff(url)| url);
        let good = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(url("http://127.0.0.1:4318"), good("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(url("http://[::1]:4318/"), good("http://[::1]:4318/v1/traces"));
        assert_eq!(url("http://otel/a"), good("http://otel/a/v1/traces"));
        assert_eq!(url("http://otel/a/v1/traces"), good("http://otel/a/v1/traces"));
        assert_eq!(url("off"), Ok(None));
        for bad in ["", "otel:4318", "/v1/traces", "ftp://otel", "http://", "http://otel/?a=b", "http://a b"]
        {
            assert!(refusal::<CollectorOrOff>(bad).contains("http://127.0.0.1:4318"), "{bad:?}");
        }
        assert!(refusal::<CollectorOrOff>("https://otel").contains("TLS"));
        assert!(refusal::<CollectorOrOff>("http://me:secret@otel").contains("password"));
    }

    #[test]
    fn a_count_of_zero_is_refused_since_it_could_mean_none_or_all() {
        assert_eq!("3".parse(), Ok(CountOrAll(Some(3))));
        assert_eq!("unlimited".parse(), Ok(CountOrAll(None)));
        assert_eq!("all".parse(), Ok(CountOrAll(None)));
        assert!(refusal::<CountOrAll>("0").contains("from 1 up"));
        assert!(refusal::<CountOrAll>("-1").contains("from 1 up"));
    }
}
