//! What the encoder writes, octet for octet.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use stomp_parser::Version::{V1_0, V1_1, V1_2};
use stomp_parser::{
    Command, Frame, Version, encode_body, encode_command, encode_connect_header, encode_content_length,
    encode_header,
};
use support::{encoded, frame, send};

fn header(name: &str, value: &str, version: Version) -> String {
    let mut out = BytesMut::new();
    encode_header(name, value, version, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn connect_header(name: &str, value: &str) -> String {
    let mut out = BytesMut::new();
    encode_connect_header(name, value, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_frame_ends_with_one_nul_and_no_line_end() {
    for version in Version::ALL {
        let receipt = Frame::new(Command::Receipt).header("receipt-id", "1");
        assert_eq!(encoded(&receipt, version), "RECEIPT\nreceipt-id:1\n\n\0");
    }
}

#[test]
fn each_version_escapes_what_it_can() {
    let (name, value) = ("n\r\n:\\", "v\r\n:\\");
    assert_eq!(header(name, value, V1_0), "n\r  \\:v\r :\\\n");
    assert_eq!(header(name, value, V1_1), "n\r\\n\\c\\\\:v\r\\n\\c\\\\\n");
    assert_eq!(header(name, value, V1_2), "n\\r\\n\\c\\\\:v\\r\\n\\c\\\\\n");
    assert_eq!(connect_header(name, value), "n\\:v:\\\n");
}

#[test]
fn no_version_can_say_nul() {
    for version in Version::ALL {
        assert_eq!(header("a\0b", "c\0d", version), "a b:c d\n");
    }
    assert_eq!(connect_header("a\0b", "c\0d"), "ab:cd\n");
}

#[test]
fn plain_text_goes_as_it_is() {
    for version in Version::ALL {
        assert_eq!(header("naïve", " 🐎 ", version), "naïve: 🐎 \n");
    }
}

#[test]
fn a_header_without_a_name_is_left_out() {
    assert_eq!(header("", "a", V1_2), "");
    assert_eq!(connect_header("\r\n", "a"), "");
    assert_eq!(header(" \n", "a", V1_0), "");
    assert_eq!(connect_header(" ", "a"), "");
    assert_eq!(header(" ", "a", V1_2), " :a\n");
}

#[test]
fn no_name_can_pose_as_content_length() {
    for name in
        ["content-length\n", " content-length", "content-\0length", "content-length:", "content-length\r"]
    {
        for version in Version::ALL {
            assert_eq!(header(name, "5", version), "", "{name:?}");
        }
        assert_eq!(connect_header(name, "5"), "");
    }
    assert_eq!(header("content-lengths", "5", V1_0), "content-lengths:5\n");
}

#[test]
fn content_length_is_added_to_bodies() {
    for command in [Command::Send, Command::Message, Command::Error] {
        let frame = Frame::new(command).body("hé\0");
        assert_eq!(encoded(&frame, V1_2), format!("{command}\ncontent-length:4\n\nhé\0\0"));
        assert_eq!(encoded(&Frame::new(command), V1_2), format!("{command}\n\n\0"));
    }
}

#[test]
fn a_true_content_length_stays_and_an_untrue_one_is_corrected() {
    let with = |value: &str, body: &'static str| {
        let frame = send().header("content-length", value).header("a", "b").body(body);
        encoded(&frame, V1_1)
    };
    assert_eq!(with("2", "hi"), "SEND\ncontent-length:2\na:b\n\nhi\0");
    assert_eq!(with("02", "hi"), "SEND\ncontent-length:02\na:b\n\nhi\0");
    assert_eq!(with("0", ""), "SEND\ncontent-length:0\na:b\n\n\0");
    for untrue in ["3", "x", "", "-2", " 2"] {
        assert_eq!(with(untrue, "hi"), "SEND\ncontent-length:2\na:b\n\nhi\0");
    }
    let repeated = send().header("content-length", "9").header("content-length", "7").body("hi");
    assert_eq!(encoded(&repeated, V1_2), "SEND\ncontent-length:2\ncontent-length:7\n\nhi\0");
    assert_eq!(frame(V1_2, encoded(&repeated, V1_2)).body, "hi");
}

#[test]
fn a_body_is_left_out_where_none_may_be() {
    let frame = Frame::new(Command::Receipt).header("content-length", "2").body("hi");
    assert_eq!(encoded(&frame, V1_2), "RECEIPT\ncontent-length:0\n\n\0");
}

#[test]
fn connected_is_never_escaped_and_cannot_be_split() {
    let connected = Frame::new(Command::Connected).header("session", "a\r\nrole:admin\n\n\0\\c");
    for version in Version::ALL {
        assert_eq!(encoded(&connected, version), "CONNECTED\nsession:arole:admin\\c\n\n\0");
    }
}

#[test]
fn the_parts_make_the_whole() {
    for version in Version::ALL {
        let message = Frame::new(Command::Message)
            .header("destination", "/topic/a:b")
            .header("subscription", "sub\\0")
            .body("body");
        let mut parts = BytesMut::new();
        encode_command(Command::Message, &mut parts);
        for (name, value) in message.headers.iter() {
            encode_header(name, value, version, &mut parts);
        }
        encode_content_length(4, &mut parts);
        encode_body(b"body", &mut parts);
        assert_eq!(parts, encoded(&message, version));
    }
}

#[test]
fn a_length_of_any_number_of_digits() {
    for octets in [0, 7, 10, 99, 65_536, usize::MAX] {
        let mut out = BytesMut::new();
        encode_content_length(octets, &mut out);
        assert_eq!(out, format!("content-length:{octets}\n"));
    }
}

#[test]
fn escaping_takes_one_pass() {
    // A line of nothing but colons, the worst case for anything that searches again after each.
    let value = ":".repeat(1 << 20);
    assert_eq!(header("a", &value, V1_2).len(), 2 * value.len() + 3);
}
