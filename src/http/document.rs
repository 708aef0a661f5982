//! What the OpenAPI document says beyond the types of the code: schemas that are another's with a difference, and what holds
//! for all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::events;
use super::jobs::{self, Job};
use crate::policy::Policy;

/// Rules as they may be told.
pub(super) struct NewPolicy;

/// Some fields of a job.
pub(super) struct JobPart;

/// A time as in "1h 30m".
const SPAN: &str = "^(0|[0-9]{1,4} ?(ms|s|m|min|h|d)( [0-9]{1,4} ?(ms|s|m|min|h)){0,3})$";

/// A size as in "64MiB".
const SIZE: &str = "^[0-9]{1,6} ?([KMG]i?)?B$";

impl PartialSchema for NewPolicy {
    fn schema() -> RefOr<Schema> {
        edited::<Policy>(|schema| {
            schema["description"] =
                "Some of the rules for a function; null is as if nothing were said. Times are seconds, or \
                                     text as in `1h 30m`; sizes are bytes, or text as in `64MiB`."
                    .into();
            let about = schema["properties"]["max_waiting_bytes"]["description"].take();
            let bytes = json!({"type": "integer", "format": "int64", "minimum": 0});
            schema["properties"]["max_waiting_bytes"] = json!({
                "description": about,
                "oneOf": [bytes, {"type": "string", "pattern": SIZE}, {"type": "null"}],
            });
            let rules = schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut);
            // Those that are no time have no bound.
            rules.for_each(seconds_or_text);
        })
    }
}

/// A length of time in a request, which is told by its bound: seconds, or text.
fn seconds_or_text(schema: &mut Value) {
    if !names_type(schema, "number") || schema.get("maximum").is_none() {
        return;
    }
    let seconds = json!({"type": "number", "minimum": 0, "maximum": schema["maximum"]});
    let mut either = json!({"oneOf": [seconds, {"type": "string", "pattern": SPAN}, {"type": "null"}]});
    if let Some(about) = schema.get("description") {
        either["description"] = about.clone();
    }
    *schema = either;
}

/// The same for what is submitted and searched for, in bodies and addresses.
fn lengths_of_time(document: &mut Value) {
    for name in ["NewJob", "JobFilter"] {
        let properties = document["components"]["schemas"][name]["properties"].as_object_mut();
        properties.into_iter().flat_map(Map::values_mut).for_each(seconds_or_text);
    }
    each_schema(document, &mut |fields| {
        if fields.contains_key("in")
            && let Some(schema) = fields.get_mut("schema")
        {
            seconds_or_text(schema);
        }
    });
}

impl ToSchema for NewPolicy {
    fn name() -> Cow<'static, str> {
        "NewPolicy".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Policy::schemas(schemas);
    }
}

impl PartialSchema for JobPart {
    fn schema() -> RefOr<Schema> {
        edited::<Job>(|schema| {
            schema["description"] = "Those fields of a job that were asked for.".into();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("required");
            }
        })
    }
}

impl ToSchema for JobPart {
    fn name() -> Cow<'static, str> {
        "JobPart".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Job::schemas(schemas);
    }
}

/// A type's schema with a difference. What cannot be read back stays as it was: a test reads the whole document.
fn edited<T: PartialSchema>(edit: impl FnOnce(&mut Value)) -> RefOr<Schema> {
    let schema = T::schema();
    let Ok(mut value) = serde_json::to_value(&schema) else { return schema };
    edit(&mut value);
    serde_json::from_value(value).unwrap_or(schema)
}

/// What holds for all schemas, and the types do not tell.
pub(super) fn finish(document: &mut Value) {
    lengths_of_time(document);
    each_schema(document, &mut |schema| {
        whole_numbers(schema);
        first_that_fits(schema);
        // What is not said is not said: it is no null.
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
    });
    no_nulls_in_answers(document);
    no_nulls_in_parameters(document);
    listed_words(document, "/api/v1/jobs/{handle}", "fields", &jobs::FIELDS);
    listed_words(document, "/api/v1/events", "what", &events::WHAT);
}

/// A parameter is words, separated by commas.
fn listed_words(document: &mut Value, path: &str, parameter: &str, words: &[&str]) {
    let get = document["paths"][path]["get"]["parameters"].as_array_mut();
    for found in get.into_iter().flatten().filter(|found| found["name"] == parameter) {
        let any = words.join("|");
        found["schema"]["pattern"] = format!("^({any})(,({any}))*$").into();
    }
}

/// Counts of the server have 32 or 64 bits and no sign; a client that reads them into 64 bits with a sign holds them all.
fn whole_numbers(schema: &mut Map<String, Value>) {
    if !schema.get("type").is_some_and(|kind| names(kind, "integer")) {
        return;
    }
    let is_counted = schema.get("minimum").and_then(Value::as_f64).is_some_and(|minimum| minimum >= 0.0);
    if is_counted && schema.get("format").is_some_and(|format| format == "int32") {
        schema.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
    schema.insert("format".to_owned(), "int64".into());
}

/// An untagged choice is the first that fits, and a second one may fit too.
fn first_that_fits(schema: &mut Map<String, Value>) {
    if schema.contains_key("discriminator") {
        return;
    }
    if let Some(choices) = schema.remove("oneOf") {
        schema.insert("anyOf".to_owned(), choices);
    }
}

/// What is not said in an address or a header is left out.
fn no_nulls_in_parameters(document: &mut Value) {
    each_schema(document, &mut |fields| {
        if fields.contains_key("in")
            && let Some(schema) = fields.get_mut("schema")
        {
            without_null(schema);
        }
    });
}

/// What has no value is left out of answers, not null, unless it must be there.
fn no_nulls_in_answers(document: &mut Value) {
    let mut told = BTreeSet::new();
    if let Some(paths) = document.get("paths") {
        each_operation(paths, &mut |operation| {
            if let Some(body) = operation.get("requestBody") {
                gather_references(body, document, &mut told);
            }
        });
    }
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for (name, schema) in schemas.into_iter().flatten() {
        if told.contains(name) {
            continue;
        }
        let required: BTreeSet<String> = match schema.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => BTreeSet::new(),
        };
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (_, property) in properties.into_iter().flatten().filter(|(name, _)| !required.contains(*name)) {
            without_null(property);
        }
    }
}

fn without_null(property: &mut Value) {
    let is_null = |choice: &Value| choice == &json!({"type": "null"});
    if let Some(Value::Array(kinds)) = property.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            property["type"] = kind.clone();
        }
    }
    let Some(Value::Array(choices)) = property.get_mut("anyOf") else { return };
    choices.retain(|choice| !is_null(choice));
    if let [Value::Object(choice)] = &choices[..] {
        let choice = choice.clone();
        if let Some(property) = property.as_object_mut() {
            property.remove("anyOf");
            property.extend(choice);
        }
    }
}

/// Names of all schemas that this refers to, however far.
fn gather_references(value: &Value, document: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|text| text.strip_prefix("#/components/schemas/"))
                && found.insert(name.to_owned())
                && let Some(schema) = document.pointer(&format!("/components/schemas/{name}"))
            {
                gather_references(schema, document, found);
            }
            fields.values().for_each(|value| gather_references(value, document, found));
        }
        Value::Array(items) => items.iter().for_each(|value| gather_references(value, document, found)),
        _ => {}
    }
}

fn each_operation(paths: &Value, visit: &mut impl FnMut(&Value)) {
    let items = paths.as_object().into_iter().flat_map(Map::values);
    items.filter_map(Value::as_object).flat_map(Map::values).for_each(visit);
}

/// Every object within the document: schemas are among them, and what is done to them says what it means.
fn each_schema(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values_mut().for_each(|value| each_schema(value, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each_schema(value, visit)),
        _ => {}
    }
}

fn names_type(schema: &Value, kind: &str) -> bool {
    schema.get("type").is_some_and(|kinds| names(kinds, kind))
}

fn names(kinds: &Value, kind: &str) -> bool {
    match kinds {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    }
}
