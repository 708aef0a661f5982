//! Which trace something is part of, as the headers `traceparent` and `tracestate` of the W3C's Trace Context tell it.

use serde::{Deserialize, Serialize};

/// Longest `tracestate` that is passed on: what the standard asks for at least. A longer one is left out.
const MOST_STATE: usize = 512;

/// A place in a trace: the span that what comes is a child of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Headers", into = "Headers")]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
    state: String,
}

/// The same as it is sent, and kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    traceparent: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tracestate: String,
}

/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// What the two headers say; `None` if the first one is not as the standard wants it, which then is as none. A second
    /// one that makes no sense is left out.
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let (version, rest) = number(traceparent, 2)?;
        let (trace, rest) = number(rest?, 32)?;
        let (span, rest) = number(rest?, 16)?;
        let (flags, rest) = number(rest?, 2)?;
        // Later versions may have more to say; what this one knows of must stand where it does.
        let is_whole = if version == 0 { rest.is_none() } else { version != 0xff };
        let context = Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()?,
            state: if is_state(tracestate) { tracestate.to_owned() } else { String::new() },
        };
        (is_whole && context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The number of the trace.
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The number of the span that is the parent.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// What else the systems that take part tell each other.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Whether the trace is recorded; if not, no one wants its spans.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// A number of so many hexadecimal digits, all small, and what is behind the hyphen that ends it, if anything is.
fn number(text: &str, digits: usize) -> Option<(u128, Option<&str>)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let is_hex = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let rest = if rest.is_empty() { None } else { Some(rest.strip_prefix('-')?) };
    is_hex.then(|| u128::from_str_radix(number, 16).ok()).flatten().map(|number| (number, rest))
}

fn is_state(text: &str) -> bool {
    text.len() <= MOST_STATE && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

impl TryFrom<Headers> for TraceContext {
    type Error = &'static str;

    fn try_from(headers: Headers) -> Result<Self, Self::Error> {
        TraceContext::parse(&headers.traceparent, &headers.tracestate).ok_or("no trace context")
    }
}

impl From<TraceContext> for Headers {
    fn from(TraceContext { trace, span, flags, state }: TraceContext) -> Self {
        Headers { traceparent: format!("00-{trace:032x}-{span:016x}-{flags:02x}"), tracestate: state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_good_header_is_read() {
        let context = TraceContext::parse(GOOD, "vendor=x").unwrap();
        assert_eq!(
            (context.trace(), context.span(), context.state(), context.is_sampled()),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331, "vendor=x", true)
        );
        let unrecorded = GOOD.replace("-01", "-00");
        assert!(!TraceContext::parse(&unrecorded, "").unwrap().is_sampled());
    }

    #[test]
    fn a_later_version_may_say_more_and_this_one_may_not() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceContext::parse(&later, ""), TraceContext::parse(GOOD, ""));
        assert_eq!(TraceContext::parse(&format!("{later}-more-to-say"), ""), TraceContext::parse(GOOD, ""));
        assert_eq!(TraceContext::parse(&format!("{later}.more"), ""), None);
        assert_eq!(TraceContext::parse(&format!("{GOOD}-more"), ""), None);
        assert_eq!(TraceContext::parse(&format!("{GOOD}-"), ""), None);
    }

    #[test]
    fn a_header_that_is_not_as_the_standard_wants_it_is_as_none() {
        let cases = [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replacen("00", "ff", 1),
            GOOD[..54].to_owned(),
            GOOD[3..].to_owned(),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("0af7", "0ag7"),
            GOOD.replace("0af7", "+af7"),
            GOOD.replace("0af7", "0äf7"),
            format!(" {GOOD}"),
        ];
        for case in cases {
            assert_eq!(TraceContext::parse(&case, ""), None, "{case:?}");
        }
    }

    #[test]
    fn a_state_that_makes_no_sense_or_is_too_long_is_left_out() {
        let state = |text: &str| TraceContext::parse(GOOD, text).unwrap().state().to_owned();
        assert_eq!(state("a=1, b=2"), "a=1, b=2");
        assert_eq!(state("a=\n"), "");
        assert_eq!(state(&"x".repeat(513)), "");
    }

    #[test]
    fn it_is_kept_as_it_was_sent() {
        let context = TraceContext::parse(GOOD, "a=1").unwrap();
        let text = serde_json::to_string(&context).unwrap();
        assert_eq!(text, format!(r#"{{"traceparent":"{GOOD}","tracestate":"a=1"}}"#));
        assert_eq!(serde_json::from_str::<TraceContext>(&text).unwrap(), context);
        assert!(serde_json::from_str::<TraceContext>(r#"{"traceparent":"00"}"#).is_err());
    }
}
