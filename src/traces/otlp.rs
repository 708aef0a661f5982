//! Spans as OTLP has them in JSON: an ExportTraceServiceRequest. Its 64-bit numbers are strings and its ids hexadecimal, as
//! its specification wants; see docs/decisions/0010 for why it is written here.

use serde::Serialize;

use super::spans::{self, Value};
use crate::types::Timestamp;

/// The kind of a span that does what another one asked for earlier.
const CONSUMER: u8 = 5;

/// The status code of a span that failed.
const ERROR: u8 = 2;

/// Flags of a span: its trace is recorded; whether its parent is of another process is known; and it is.
const SAMPLED: u32 = 1;
const IS_KNOWN: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;

/// The body of a request. `version`: the server's.
pub(super) fn encode(spans: &[spans::Span], version: &str) -> Vec<u8> {
    let attribute = |key, text| Attribute { key, value: Is::Text(text) };
    let resource = vec![attribute("service.name", "gearhouse"), attribute("service.version", version)];
    let scope = ScopeSpans {
        scope: Scope { name: "gearhouse", version },
        spans: spans.iter().map(Span::from).collect(),
    };
    let request = Request {
        resource_spans: [ResourceSpans { resource: Resource { attributes: resource }, scope_spans: [scope] }],
    };
    serde_json::to_vec(&request).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope<'a>,
    spans: Vec<Span<'a>>,
}

#[derive(Serialize)]
struct Scope<'a> {
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: Is<'a>,
}

#[derive(Serialize)]
enum Is<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "intValue")]
    Number(String),
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

impl<'a> From<&'a spans::Span> for Span<'a> {
    fn from(span: &'a spans::Span) -> Self {
        let attributes = span.attributes.iter().map(|(key, value)| Attribute {
            key,
            value: match value {
                Value::Text(text) => Is::Text(text),
                Value::Number(number) => Is::Number(number.to_string()),
            },
        });
        Span {
            trace_id: format!("{:032x}", span.trace),
            span_id: format!("{:016x}", span.id),
            parent_span_id: span.parent.map(|parent| format!("{parent:016x}")),
            trace_state: &span.state,
            flags: SAMPLED | IS_KNOWN | if span.is_entry { IS_REMOTE } else { 0 },
            name: &span.name,
            kind: CONSUMER,
            start_time_unix_nano: nanos(span.start),
            end_time_unix_nano: nanos(span.end),
            attributes: attributes.collect(),
            status: span.error.map(|message| Status { code: ERROR, message }),
        }
    }
}

fn nanos(at: Timestamp) -> String {
    at.as_micros().saturating_mul(1000).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_as_the_specification_has_it() {
        let span = spans::Span {
            trace: 0xa,
            id: 0xb,
            parent: Some(0xc),
            is_entry: true,
            state: "vendor=x".into(),
            name: "job mail".into(),
            start: Timestamp::from_micros(1_800_000_000_000_001),
            end: Timestamp::from_micros(u64::MAX),
            attributes: vec![("a", Value::Text("b".into())), ("n", Value::Number(7))],
            error: Some("lost"),
        };
        let body: serde_json::Value = serde_json::from_slice(&encode(&[span], "1.2.3")).unwrap();
        let expected = json!({"resourceSpans": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "gearhouse"}},
                {"key": "service.version", "value": {"stringValue": "1.2.3"}},
            ]},
            "scopeSpans": [{
                "scope": {"name": "gearhouse", "version": "1.2.3"},
                "spans": [{
                    "traceId": "0000000000000000000000000000000a",
                    "spanId": "000000000000000b",
                    "parentSpanId": "000000000000000c",
                    "traceState": "vendor=x",
                    "flags": 0x301,
                    "name": "job mail",
                    "kind": 5,
                    "startTimeUnixNano": "1800000000000001000",
                    "endTimeUnixNano": "18446744073709551615",
                    "attributes": [
                        {"key": "a", "value": {"stringValue": "b"}},
                        {"key": "n", "value": {"intValue": "7"}},
                    ],
                    "status": {"code": 2, "message": "lost"},
                }],
            }],
        }]});
        assert_eq!(body, expected);
    }
}
