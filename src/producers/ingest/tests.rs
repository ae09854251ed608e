//! The rules of an event, each seen kept and seen broken.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn receipt() -> Timestamp {
    "2026-01-31T12:00:00.250Z".parse().unwrap()
}

fn read(value: Value) -> Result<Event, Rejection> {
    Event::from_value(value, receipt())
}

/// An event in order but for what `extra` adds or replaces.
fn with(extra: Value) -> Value {
    let mut value = json!({"eventType": "payment.failed", "source": "payments"});
    for (field, content) in extra.as_object().unwrap() {
        value[field] = content.clone();
    }
    value
}

fn errors(value: Value) -> BTreeMap<String, String> {
    match read(value) {
        Err(Rejection::Invalid(errors)) => errors,
        other => panic!("{other:?}"),
    }
}

fn latency_of(extra: Value) -> Option<f64> {
    read(with(extra)).unwrap().latency
}

#[test]
fn the_least_event_is_taken_with_the_defaults() {
    let event = read(with(json!({}))).unwrap();
    assert_eq!(event.event_type, "payment.failed");
    assert_eq!(event.source, "payments");
    assert_eq!(event.severity, Severity::Info);
    assert_eq!(event.timestamp, receipt());
    assert_eq!(event.metadata, Value::Null);
    assert!(event.user_id.is_none() && event.session_id.is_none());
    assert!(event.tags.is_empty() && event.latency.is_none());
}

#[test]
fn everything_that_may_be_said_is_kept() {
    let event = read(with(json!({
        "timestamp": "2026-01-31T13:00:00+01:00", "userId": "u1", "sessionId": "s1", "severity": "critical",
        "tags": {"region": "eu"}, "metadata": {"amount": 3}, "unknown": [1],
    })))
    .unwrap();
    assert_eq!(iso(event.timestamp), "2026-01-31T12:00:00.000Z");
    assert_eq!(event.user_id.as_deref(), Some("u1"));
    assert_eq!(event.session_id.as_deref(), Some("s1"));
    assert_eq!(event.severity, Severity::Critical);
    assert_eq!(event.tags["region"], "eu");
    assert_eq!(event.metadata["amount"], 3);
    assert_eq!(event.latency, Some(250.0));
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let found = errors(json!({
        "eventType": "  ", "source": "s".repeat(101), "timestamp": "yesterday", "userId": 7, "sessionId": ["s"],
        "severity": "FATAL", "tags": {"n": 1}, "metadata": "anything goes",
    }));
    let expected = [
        ("eventType", "must not be blank"),
        ("sessionId", "must be a string, but is an array"),
        ("severity", "must be one of INFO, WARNING, ERROR, CRITICAL, but is \"FATAL\""),
        ("source", "must be at most 100 characters, but has 101"),
        ("tags", "tag \"n\" must be a string, but is a number"),
        ("timestamp", "must be an ISO 8601 date and time, as 2026-01-31T12:00:00Z is, but is \"yesterday\""),
        ("userId", "must be a string, but is a number"),
    ];
    let found: Vec<_> = found.iter().map(|(field, why)| (field.as_str(), why.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_required_is_required() {
    for body in [json!({}), json!({"eventType": null, "source": null})] {
        let found = errors(body);
        assert_eq!(found.len(), 2);
        assert_eq!(found["eventType"], "is required");
        assert_eq!(found["source"], "is required");
    }
    assert_eq!(errors(with(json!({"source": 5})))["source"], "must be a string, but is a number");
}

#[test]
fn null_is_as_good_as_absent_where_nothing_is_required() {
    let event = read(with(json!({
        "timestamp": null, "userId": null, "sessionId": null, "severity": null, "tags": null, "metadata": null,
    })));
    assert!(event.unwrap().user_id.is_none());
    let blank = read(with(json!({"userId": " ", "sessionId": ""}))).unwrap();
    assert!(blank.user_id.is_none() && blank.session_id.is_none());
}

#[test]
fn lengths_are_counted_in_characters() {
    assert!(read(with(json!({"source": "ß".repeat(100)}))).is_ok());
    assert!(read(with(json!({"eventType": "x".repeat(101)}))).is_err());
    assert!(read(with(json!({"userId": "ü".repeat(MAX_ID)}))).is_ok());
    assert!(read(with(json!({"userId": "u".repeat(MAX_ID + 1)}))).is_err());
    assert!(read(with(json!({"sessionId": "s".repeat(MAX_ID + 1)}))).is_err());
}

#[test]
fn tags_are_bounded() {
    let tags = |count: usize| -> Value {
        let tags: BTreeMap<_, _> = (0..count).map(|n| (format!("t{n}"), "v")).collect();
        with(json!({ "tags": tags }))
    };
    assert_eq!(read(tags(MAX_TAGS)).unwrap().tags.len(), MAX_TAGS);
    assert_eq!(errors(tags(MAX_TAGS + 1))["tags"], "must be at most 64 tags, but there are 65");
    assert!(read(with(json!({"tags": {"t": "v".repeat(MAX_TAG_VALUE + 1)}}))).is_err());
    assert!(read(with(json!({"tags": {"t".repeat(MAX_NAME + 1): "v"}}))).is_err());
    assert!(read(with(json!({"tags": ["t"]}))).is_err());
}

#[test]
fn severity_is_known_in_any_case() {
    for (text, severity) in [
        ("info", Severity::Info),
        ("Warning", Severity::Warning),
        ("ERROR", Severity::Error),
        ("cRiTiCaL", Severity::Critical),
    ] {
        let event = read(with(json!({ "severity": text }))).unwrap();
        assert_eq!(event.severity, severity);
        assert_eq!(severity.is_error(), text.to_lowercase() != "info" && text != "Warning");
    }
    assert!(read(with(json!({"severity": "DEBUG"}))).is_err());
    assert!(read(with(json!({"severity": ""}))).is_err());
}

#[test]
fn timestamps_come_in_the_forms_of_iso_8601() {
    for (text, moment) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500Z"),
        ("2026-01-31T12:00:00-05:00", "2026-01-31T17:00:00.000Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
    ] {
        let event = read(with(json!({ "timestamp": text }))).unwrap();
        assert_eq!(iso(event.timestamp), moment, "{text}");
    }
    for text in ["", "12:00", "2026-13-01T00:00:00Z", "1769860800", "31.1.2026"] {
        assert!(read(with(json!({ "timestamp": text }))).is_err(), "{text}");
    }
    assert!(read(with(json!({"timestamp": 1_769_860_800_000_u64}))).is_err());
}

#[test]
fn latency_is_what_the_metadata_say_or_the_time_on_the_way() {
    let earlier = "2026-01-31T12:00:00Z";
    assert_eq!(latency_of(json!({"metadata": {"latency": 12.5}})), Some(12.5));
    assert_eq!(latency_of(json!({"metadata": {"latency": " 40 "}})), Some(40.0));
    assert_eq!(latency_of(json!({ "timestamp": earlier })), Some(250.0));
    let both = json!({"timestamp": earlier, "metadata": {"latency": 3}});
    assert_eq!(latency_of(both), Some(3.0));
    // What is no number falls back on the way; what is a number, but not above 0, does not count.
    for latency in [json!("slow"), json!("NaN"), json!("inf"), json!(null), json!([1])] {
        let extra = json!({"timestamp": earlier, "metadata": {"latency": latency}});
        assert_eq!(latency_of(extra), Some(250.0), "{latency}");
    }
    for latency in [json!(0), json!(-5), json!("0")] {
        let extra = json!({"timestamp": earlier, "metadata": {"latency": latency}});
        assert_eq!(latency_of(extra), None, "{latency}");
    }
    assert_eq!(latency_of(json!({"timestamp": "2026-01-31T12:00:01Z"})), None);
    assert_eq!(latency_of(json!({"metadata": "latency"})), None);
}

#[test]
fn the_answers_have_their_documented_form() {
    let event = read(with(json!({}))).unwrap();
    assert_eq!(
        serde_json::to_value(event.accepted()).unwrap(),
        json!({
            "eventId": event.event_id, "eventType": "payment.failed", "status": "accepted",
            "receivedAt": "2026-01-31T12:00:00.250Z",
        })
    );
    let refused = read(json!({"source": "s"})).unwrap_err();
    assert!(refused.is_senders_fault());
    assert_eq!(
        serde_json::to_value(refused.body()).unwrap(),
        json!({"status": "error", "message": "Validation failed", "errors": {"eventType": "is required"}})
    );
    assert!(!Rejection::NoRandomness.is_senders_fault());
}

#[test]
fn a_body_that_is_no_object_is_named_as_such() {
    let malformed = Event::from_json(b"{\"eventType\": ", receipt()).unwrap_err();
    let body = malformed.body();
    assert_eq!(body.message, "Malformed JSON");
    assert!(body.errors["body"].contains("line 1 column"), "{body:?}");
    assert!(Event::from_json(b"\xff", receipt()).is_err());
    assert!(Event::from_json(b"", receipt()).is_err());
    assert_eq!(errors(json!([1]))["body"], "must be an object, but is an array");
}

#[test]
fn ids_are_unique_and_long() {
    let ids: HashSet<_> = (0..1_000).map(|_| event_id().unwrap()).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.iter().all(|id| id.len() == 36 && id.starts_with("evt_")));
}

#[test]
fn what_was_sent_is_repeated_only_in_part() {
    let why = &errors(with(json!({"severity": "x".repeat(100_000)})))["severity"];
    assert!(why.len() < 150, "{why}");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Event::from_json(&body, receipt());
    }

    #[test]
    fn any_text_in_any_field_is_taken_or_named(
        field in prop::sample::select(vec![
            "eventType", "source", "timestamp", "userId", "sessionId", "severity", "tags", "metadata",
        ]),
        text in ".{0,300}",
    ) {
        match read(with(json!({ field: text }))) {
            Ok(event) => prop_assert!(event.latency.is_none_or(|ms| ms > 0.0)),
            Err(Rejection::Invalid(errors)) => {
                prop_assert_eq!(errors.keys().collect::<Vec<_>>(), vec![field]);
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
