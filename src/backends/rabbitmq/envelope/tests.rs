#![allow(clippy::unwrap_used)]
//! What goes out comes in, and nothing that comes in does harm.

use std::collections::BTreeMap;

use lapin::types::{ByteArray, DecimalValue, FieldArray, LongString};
use proptest::prelude::*;

use super::check::{MAX_BODY, MAX_HEADERS};
use super::*;
use crate::broker::{Destination, Tenant};

fn message(headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let destination = Destination::topic(Tenant::DEFAULT, "a").unwrap();
    Message::new(destination, headers.collect(), "body")
}

fn sealed(headers: &[(&str, &str)]) -> BasicProperties {
    seal(&message(headers), &Internal::default()).unwrap()
}

fn opened(properties: &BasicProperties) -> Vec<(String, String)> {
    let (headers, _) = open(properties);
    headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn table(entries: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn properties_are_properties() {
    let properties = sealed(&[
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("correlation-id", "c"),
        ("reply-to", "/temp-queue/x"),
        ("expiration", "315360000000"),
        ("priority", "9"),
        ("persistent", "true"),
    ]);
    let want = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_content_encoding("gzip".into())
        .with_correlation_id("c".into())
        .with_reply_to("/temp-queue/x".into())
        .with_expiration("315360000000".into())
        .with_priority(9)
        .with_delivery_mode(2)
        .with_headers(FieldTable::default());
    assert_eq!(properties, want);
    assert_eq!(*sealed(&[]).delivery_mode(), Some(1));
    assert_eq!(*sealed(&[("persistent", "false")]).delivery_mode(), Some(1));
}

#[test]
fn other_headers_are_texts() {
    let properties = sealed(&[("type", "t"), ("user-id", "guest"), ("cc", "x"), ("", "no name"), ("k", "")]);
    assert_eq!(
        properties.headers(),
        table(&[
            ("type", text("t")),
            ("user-id", text("guest")),
            ("cc", text("x")),
            ("", text("no name")),
            ("k", text(""))
        ])
        .headers()
    );
    assert_eq!((properties.kind(), properties.user_id()), (&None, &None), "RabbitMQ checks who a user is");
}

#[test]
fn of_repeats_the_first_travels() {
    let properties =
        sealed(&[("k", "1"), ("priority", "1"), ("k", "2"), ("priority", "2"), ("priority", "x")]);
    assert_eq!(opened(&properties), pairs(&[("priority", "1"), ("k", "1")]));
}

#[test]
fn names_with_a_meaning_travel_under_another() {
    for name in [
        "CC",
        "BCC",
        "x-death",
        "x-stream-offset",
        "x-basic-type",
        "x-stentor-from",
        "x-stentor-header-CC",
        "x-stentor-",
    ] {
        let properties = sealed(&[(name, "1234abcd")]);
        let carried = format!("x-stentor-header-{name}");
        assert_eq!(properties.headers(), table(&[(&carried, text("1234abcd"))]).headers());
        assert_eq!(open(&properties).1, Internal::default(), "{name}");
        assert_eq!(opened(&properties), pairs(&[(name, "1234abcd")]));
    }
}

#[test]
fn what_a_property_does_not_say_to_the_letter_is_kept() {
    for headers in
        [[("priority", "007")], [("persistent", "false")], [("persistent", "TRUE")], [("persistent", "")]]
    {
        assert_eq!(opened(&sealed(&headers)), pairs(&headers));
    }
}

#[test]
fn what_the_broker_adds_is_read_again() {
    let internal = Internal {
        key: None,
        destination: Some("/topic/a:b".into()),
        from: Some(0xc0ffee),
        id: Some(MessageId { incarnation: 7, number: u64::MAX }),
        stamp: Some(Stamp { time: 5 << 16, node: 7 }),
    };
    let properties = seal(&message(&[("k", "v"), ("x-stentor-from", "11111111")]), &internal).unwrap();
    let written = table(&[
        ("k", text("v")),
        ("x-stentor-header-x-stentor-from", text("11111111")),
        ("x-stentor-destination", text("/topic/a:b")),
        ("x-stentor-from", text("00c0ffee")),
        ("x-stentor-id", text("00000007-18446744073709551615")),
        ("x-stentor-stamp", text("0000000000050000-00000007")),
    ]);
    assert_eq!(properties.headers(), written.headers());
    let (headers, read) = open(&properties);
    assert_eq!(read, internal);
    assert_eq!(headers.get("x-stentor-from").unwrap(), "11111111");
}

#[test]
fn what_makes_no_sense_is_absent() {
    for name in [DESTINATION, FROM, ID, STAMP, "x-stentor-later"] {
        for value in [
            text(""),
            text("nonsense"),
            text("+0c0ffee"),
            text("00C0FFEE"),
            AMQPValue::LongLongInt(-1),
            AMQPValue::LongString(LongString::from(vec![0xff, 0xfe])),
            AMQPValue::FieldTable(FieldTable::default()),
        ] {
            let (headers, internal) = open(&table(&[(name, value.clone())]));
            assert_eq!(headers.iter().count(), 0, "{name} {value:?}");
            assert_eq!(Internal { destination: None, ..internal }, Internal::default(), "{name} {value:?}");
        }
    }
    let not_text = table(&[(DESTINATION, AMQPValue::LongString(LongString::from(vec![0xff])))]);
    assert_eq!(open(&not_text).1.destination, None);
}

#[test]
fn foreign_properties_have_the_names_of_the_stomp_plug_in() {
    let properties = BasicProperties::default()
        .with_message_id("m".into())
        .with_timestamp(u64::MAX)
        .with_type("t".into())
        .with_user_id("u".into())
        .with_app_id("p".into())
        .with_cluster_id("gone".into())
        .with_priority(0)
        .with_delivery_mode(2);
    let want = [
        ("amqp-message-id", "m"),
        ("type", "t"),
        ("user-id", "u"),
        ("app-id", "p"),
        ("timestamp", "18446744073709551615"),
        ("priority", "0"),
        ("persistent", "true"),
    ];
    assert_eq!(opened(&properties), pairs(&want));
    assert_eq!(opened(&BasicProperties::default().with_delivery_mode(1)), []);
    assert_eq!(opened(&BasicProperties::default().with_delivery_mode(77)), []);
}

#[test]
fn foreign_values_become_text_where_they_have_one() {
    let values = [
        ("a", AMQPValue::Boolean(true)),
        ("b", AMQPValue::ShortShortInt(-1)),
        ("c", AMQPValue::LongLongInt(i64::MIN)),
        ("d", AMQPValue::Timestamp(7)),
        ("e", AMQPValue::Double(0.5)),
        ("f", AMQPValue::Double(f64::NAN)),
        ("g", AMQPValue::ByteArray(ByteArray::from(&b"octets"[..]))),
        ("h", AMQPValue::LongString(LongString::from(b"a\xffb".to_vec()))),
        ("i", AMQPValue::Void),
        ("j", AMQPValue::FieldArray(FieldArray::default())),
        ("k", AMQPValue::FieldTable(FieldTable::default())),
        ("l", AMQPValue::DecimalValue(DecimalValue { scale: 255, value: 1 })),
        ("m", text("nul\0")),
    ];
    let want = [
        ("a", "true"),
        ("b", "-1"),
        ("c", "-9223372036854775808"),
        ("d", "7"),
        ("e", "0.5"),
        ("f", "NaN"),
        ("g", "octets"),
        ("h", "a\u{fffd}b"),
        ("m", "nul\0"),
    ];
    assert_eq!(opened(&table(&values)), pairs(&want));
}

#[test]
fn foreigners_forge_nothing() {
    let forged = [
        ("message-id", text("1")),
        ("cursor", text("1")),
        ("retained", text("true")),
        ("redelivered", AMQPValue::Boolean(true)),
        ("x-stream-offset", AMQPValue::LongLongInt(1)),
        ("x-delivery-count", AMQPValue::LongLongInt(1)),
        ("x-stentor-header-cursor", text("1")),
        ("x-stentor-header-destination", text("/topic/b")),
        ("x-stentor-header-plain", text("1")),
        ("plain", text("2")),
    ];
    assert_eq!(opened(&table(&forged)), pairs(&[("plain", "2")]));
    let twice = [
        ("content-type", text("table")),
        ("persistent", text("table")),
        ("x-stentor-header-persistent", text("carried")),
    ];
    let properties = table(&twice).with_content_type("property".into());
    assert_eq!(opened(&properties), pairs(&[("content-type", "property"), ("persistent", "table")]));
}

#[test]
fn what_amqp_would_refuse_is_refused() {
    let long = "x".repeat(256);
    let own = format!("x-stentor-{}", "x".repeat(229));
    let refused = |name: &str, value: &str| check(&message(&[(name, value)])).unwrap_err();
    assert_eq!(refused(&long, "v"), Unsendable::Name { name: long.clone(), most: 255 });
    assert_eq!(refused(&own, "v"), Unsendable::Name { name: own.clone(), most: 238 });
    for name in ["content-type", "content-encoding", "correlation-id", "reply-to"] {
        assert_eq!(refused(name, &long), Unsendable::Value { name, octets: 256 });
    }
    for bad in ["abc", "-5", "+5", "", " 5", "5 ", "1.5", "315360000001", "99999999999999999999", "٣"] {
        assert_eq!(refused("expiration", bad), Unsendable::Expiration(bad.to_owned()));
    }
    for bad in ["abc", "-1", "+1", "", "256", "1.0"] {
        assert_eq!(refused("priority", bad), Unsendable::Priority(bad.to_owned()));
    }
    assert_eq!(
        refused("expiration", &"0".repeat(256)),
        Unsendable::Value { name: "expiration", octets: 256 }
    );
    assert_eq!(refused("reply-to", "amq.rabbitmq.reply-to"), Unsendable::ReplyTo);
    let text = refused("expiration", "abc").to_string();
    assert!(text.contains("expiration") && text.contains("'abc'") && text.contains("milliseconds"), "{text}");
}

#[test]
fn what_just_fits_is_sent() {
    let name = "x".repeat(255);
    let own = format!("x-stentor-{}", "x".repeat(228));
    let long = "x".repeat(255);
    let headers =
        [(&*name, "v"), (&*own, "w"), ("content-type", &*long), ("expiration", "0"), ("priority", "255")];
    let mut back = opened(&sealed(&headers));
    back.sort();
    let mut want = pairs(&headers);
    want.sort();
    assert_eq!(back, want);
    assert!(check(&message(&[("persistent", &"x".repeat(256))])).is_ok(), "it is no short string");
}

#[test]
fn headers_and_bodies_are_bounded() {
    let of = |octets: usize| check(&message(&[("k", &"x".repeat(octets))]));
    assert_eq!(of(MAX_HEADERS - 7), Ok(()));
    assert_eq!(of(MAX_HEADERS - 6), Err(Unsendable::Headers(MAX_HEADERS + 1)));
    let mut large = message(&[]);
    large.body = vec![0; MAX_BODY].into();
    assert_eq!(check(&large), Ok(()));
    large.body = vec![0; MAX_BODY + 1].into();
    assert_eq!(check(&large), Err(Unsendable::Body(MAX_BODY + 1)));
}

/// Names that are anything, with those that mean something among them.
fn name() -> impl Strategy<Value = String> {
    let known: Vec<&str> = PROPERTIES
        .into_iter()
        .chain(RABBITMQ)
        .chain([DESTINATION, FROM, ID, STAMP, OWN, CARRIED, "cursor", "receipt", "destination", "retain"])
        .collect();
    let carried = prop::sample::select(known.clone()).prop_map(|name| format!("{CARRIED}{name}"));
    let known = prop::sample::select(known).prop_map(str::to_owned);
    prop_oneof![3 => known, 1 => carried, 1 => "[ab]", 1 => "\\PC{0,9}", 1 => "x{250,260}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "\\PC{0,20}",
        Just("true".to_owned()),
        any::<String>(),
        "x{250,260}",
        "[0-9a-f]{8}",
        "[0-9a-f]{8}-[0-9]{1,21}",
        "[0-9a-f]{16}-[0-9a-f]{8}"
    ]
}

fn amqp_value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        value().prop_map(|value| text(&value)),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|octets| AMQPValue::LongString(octets.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|octets| AMQPValue::ByteArray(octets.into())),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|all| AMQPValue::FieldArray(all.into()))
    })
}

proptest! {
    #[test]
    fn a_message_arrives_as_it_was_sent(headers in prop::collection::vec((name(), value()), 0..12), id: (u32, u64)) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let sent = message(&headers);
        let internal = Internal {
            key: None,
            destination: Some(sent.destination.text().clone()),
            from: Some(id.0),
            id: Some(MessageId { incarnation: id.0, number: id.1 }),
            stamp: Some(Stamp { time: id.1, node: id.0 }),
        };
        let properties = match (check(&sent), seal(&sent, &internal)) {
            (Ok(()), Ok(properties)) => properties,
            (Err(checked), Err(sealed)) => {
                prop_assert_eq!(checked, sealed);
                return Ok(());
            }
            (checked, sealed) => {
                return Err(TestCaseError::fail(format!("{checked:?} but {sealed:?}")));
            }
        };
        let (arrived, read) = open(&properties);
        prop_assert_eq!(read, internal);
        let mut want = BTreeMap::new();
        for (name, value) in headers.into_iter().filter(|(name, _)| is_handed_on(name)) {
            want.entry(name).or_insert(value);
        }
        prop_assert_eq!(arrived.iter().count(), want.len());
        let arrived: BTreeMap<&str, &str> = arrived.iter().map(|(name, value)| (&**name, &**value)).collect();
        prop_assert_eq!(arrived, want);
    }

    #[test]
    fn nothing_that_arrives_does_harm(
        entries in prop::collection::vec((name(), amqp_value()), 0..12),
        short in prop::option::of("\\PC{0,60}"),
        numbers in prop::option::of(any::<(u8, u8, u64)>()),
    ) {
        let entries: BTreeMap<_, _> = entries
            .into_iter()
            .filter_map(|(name, value)| Some((ShortString::try_new(name).ok()?, value)))
            .collect();
        let mut properties = BasicProperties::default().with_headers(entries.into());
        if let Some(short) = short {
            let short = ShortString::try_new(short).unwrap();
            properties = properties.with_type(short.clone()).with_expiration(short.clone()).with_reply_to(short);
        }
        if let Some((priority, mode, time)) = numbers {
            properties = properties.with_priority(priority).with_delivery_mode(mode).with_timestamp(time);
        }
        let (headers, _) = open(&properties);
        prop_assert!(headers.iter().all(|(name, _)| is_handed_on(name)));
        let names: std::collections::HashSet<_> = headers.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), headers.iter().count(), "none comes twice");
    }
}
