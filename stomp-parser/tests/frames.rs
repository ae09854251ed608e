//! The rules of frames, one by one, as octets on the wire. Every stream is also decoded octet by
//! octet.

#![allow(clippy::unwrap_used)]

mod support;

use stomp_parser::Version::{V1_0, V1_1, V1_2};
use stomp_parser::{Command, ErrorKind, Headers, Version};
use support::{decode, error, frame, frames, kind, send, value_of_h};

#[test]
fn every_command_is_known() {
    for command in Command::ALL {
        for version in Version::ALL {
            assert_eq!(frame(version, format!("{command}\n\n\0")).command, command);
        }
    }
}

#[test]
fn an_unknown_command_is_named() {
    for (wire, shown) in [
        ("PUBLISH\n\n\0", "\"PUBLISH\""),
        ("send\n\n\0", "\"send\""),
        ("SEND \n\n\0", "\"SEND \""),
        ("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "\"GET /ws HTTP/1.1\\r\""),
        ("\u{16}\u{3}\u{1}\n", "\"\\u{16}\\u{3}\\u{1}\""),
    ] {
        let error = error(V1_2, wire);
        assert_eq!(error.kind(), ErrorKind::UnknownCommand);
        assert!(error.to_string().contains(shown), "{error}");
    }
}

#[test]
fn a_command_line_without_end_is_refused_early() {
    let endless = "X".repeat(33);
    let error = error(V1_2, &endless);
    assert_eq!(error.kind(), ErrorKind::UnknownCommand);
    assert!(error.to_string().contains(&format!("\"{}…\"", &endless[..32])), "{error}");
    assert_eq!(decode(V1_2, &endless[..32]).error, None);
}

#[test]
fn a_header_splits_at_its_first_colon() {
    for version in Version::ALL {
        assert_eq!(value_of_h(version, "h:a:b::c").unwrap(), "a:b::c");
        assert_eq!(value_of_h(version, "h:").unwrap(), "");
    }
}

#[test]
fn escapes_are_those_of_the_version() {
    for (line, v1_0, v1_1, v1_2) in [
        (r"h:a\nb", Ok("a\\nb"), Ok("a\nb"), Ok("a\nb")),
        (r"h:a\cb", Ok("a\\cb"), Ok("a:b"), Ok("a:b")),
        (r"h:a\\b", Ok("a\\\\b"), Ok("a\\b"), Ok("a\\b")),
        (r"h:\\n\\", Ok("\\\\n\\\\"), Ok("\\n\\"), Ok("\\n\\")),
        (r"h:a\rb", Ok("a\\rb"), Err(ErrorKind::InvalidEscape), Ok("a\rb")),
        (r"h:a\tb", Ok("a\\tb"), Err(ErrorKind::InvalidEscape), Err(ErrorKind::InvalidEscape)),
        (r"h:a\Nb", Ok("a\\Nb"), Err(ErrorKind::InvalidEscape), Err(ErrorKind::InvalidEscape)),
        (r"h:a\é", Ok("a\\é"), Err(ErrorKind::InvalidEscape), Err(ErrorKind::InvalidEscape)),
        (r"h:a\", Ok("a\\"), Err(ErrorKind::InvalidEscape), Err(ErrorKind::InvalidEscape)),
        (r"h:a\\\", Ok("a\\\\\\"), Err(ErrorKind::InvalidEscape), Err(ErrorKind::InvalidEscape)),
    ] {
        for (version, expected) in [(V1_0, v1_0), (V1_1, v1_1), (V1_2, v1_2)] {
            assert_eq!(value_of_h(version, line), expected.map(str::to_owned), "{line} in {version}");
        }
    }
    assert_eq!(frame(V1_1, "SEND\na\\cb:1\n\n\0").get("a:b"), Some("1"));
    assert_eq!(kind(V1_1, "SEND\na\\:1\n\n\0"), ErrorKind::InvalidEscape);
}

#[test]
fn an_invalid_escape_is_named() {
    let wrong = error(V1_1, "SEND\ndestination:/a\\rb\n\n\0").to_string();
    assert!(wrong.contains("has the escape \"\\r\""), "{wrong}");
    assert!(wrong.contains("STOMP 1.1 are \\n, \\c and \\\\,"), "{wrong}");
    let lone = error(V1_2, "SEND\ndestination:/a\\\n\n\0").to_string();
    assert!(lone.contains("\"destination:/a\\\" ends with a lone backslash"), "{lone}");
}

#[test]
fn frames_that_open_a_session_are_never_unescaped() {
    for command in ["CONNECT", "STOMP", "CONNECTED"] {
        for version in [None, Some(V1_0), Some(V1_1), Some(V1_2)] {
            let wire = format!("{command}\nversion:1.2\naccept-version:1.2\npasscode:a\\tb\\n\\\n\n\0");
            assert_eq!(frame(version, wire).get("passcode"), Some("a\\tb\\n\\"));
        }
    }
}

#[test]
fn nothing_is_unescaped_before_a_version_is_known() {
    assert_eq!(frame(None, "ERROR\nmessage: a\\tb\n\n\0").get("message"), Some(" a\\tb"));
}

#[test]
fn the_version_of_the_first_frame_holds_for_the_next() {
    let wire = "CONNECT\naccept-version:1.1\npasscode:\\n\n\n\0SEND\nh:a\\nb\n\n\0";
    let frames = frames(None, wire);
    assert_eq!(frames[0].get("passcode"), Some("\\n"));
    assert_eq!(frames[1].get("h"), Some("a\nb"));
}

#[test]
fn only_1_0_trims_spaces() {
    let wire = "SEND\n  h :  a b \n\n\0";
    let expect = |name: &str, value: &str| Headers::from_iter([(name, value)]);
    assert_eq!(frame(V1_0, wire).headers, expect("h", "a b"));
    assert_eq!(frame(V1_1, wire).headers, expect("  h ", "  a b "));
    assert_eq!(frame(V1_2, wire).headers, expect("  h ", "  a b "));
    assert_eq!(frame(V1_0, "SEND\nh: \t\n\n\0").get("h"), Some("\t"));
    assert_eq!(kind(V1_0, "SEND\n :a\n\n\0"), ErrorKind::EmptyHeaderName);
    assert_eq!(frame(V1_1, "SEND\n :a\n\n\0").get(" "), Some("a"));
}

#[test]
fn a_first_frame_is_trimmed_when_it_asks_for_1_0() {
    let passcode = |wire: &str| frame(None, wire).get("passcode").map(str::to_owned);
    assert_eq!(passcode("CONNECT\npasscode: a \n\n\0").unwrap(), "a");
    assert_eq!(passcode("CONNECT\naccept-version:1.0\npasscode: a \n\n\0").unwrap(), "a");
    assert_eq!(passcode("CONNECT\naccept-version:1.0,1.1\npasscode: a \n\n\0").unwrap(), " a ");
    assert_eq!(passcode("CONNECTED\npasscode: a \n\n\0").unwrap(), "a");
    assert_eq!(passcode("CONNECTED\nversion:1.1\npasscode: a \n\n\0").unwrap(), " a ");
}

#[test]
fn cr_lf_ends_lines_in_1_2() {
    let wire = "SEND\r\nh:a\r\nb:\r\n\r\nx\0";
    let expected = send().header("h", "a").header("b", "").body("x");
    assert_eq!(frame(V1_2, wire), expected);
    assert_eq!(frame(V1_2, "SEND\r\nh:a\nb:\n\r\nx\0"), expected);
}

#[test]
fn cr_lf_ends_lines_before_a_version_is_known() {
    for versions in ["", "accept-version:1.0\r\n", "accept-version:1.1\r\n"] {
        let wire = format!("CONNECT\r\n{versions}login:a\r\n\r\n\0");
        assert_eq!(frame(None, wire).get("login"), Some("a"));
    }
}

#[test]
fn cr_is_an_ordinary_octet_before_1_2() {
    for version in [V1_0, V1_1] {
        assert_eq!(value_of_h(version, "h:a\rb\r").unwrap(), "a\rb\r");
        assert_eq!(kind(version, "SEND\r\nh:a\r\n\r\n\0"), ErrorKind::LineEnding);
        assert_eq!(kind(version, "SEND\nh:a\r\n\r\n\0"), ErrorKind::LineEnding);
        assert_eq!(frame(version, "SEND\nh:a\n\n\r\n\0").body, "\r\n");
    }
}

#[test]
fn cr_inside_of_a_line_is_an_error_in_1_2() {
    assert_eq!(value_of_h(V1_2, "h:a\rb"), Err(ErrorKind::RawCarriageReturn));
    assert_eq!(value_of_h(V1_2, "h:a\r\r"), Err(ErrorKind::RawCarriageReturn));
    assert_eq!(kind(V1_2, "SEND\n\r\r\n\n\0"), ErrorKind::RawCarriageReturn);
    let connect = frame(None, "CONNECT\naccept-version:1.2\npasscode:a\rb\n\n\0");
    assert_eq!(connect.get("passcode"), Some("a\rb"));
}

#[test]
fn line_ends_between_frames_are_skipped_and_counted() {
    for version in [None, Some(V1_0), Some(V1_1), Some(V1_2)] {
        let outcome = decode(version, "\n\r\n\nRECEIPT\n\n\0\r\n\nRECEIPT\n\n\0\n");
        assert_eq!(outcome.error, None);
        assert_eq!(outcome.frames.len(), 2);
        assert_eq!(outcome.heartbeats, 6);
    }
    assert_eq!(kind(V1_2, "\r\rSEND\n\n\0"), ErrorKind::UnknownCommand);
}

#[test]
fn a_header_without_colon_is_named() {
    let error = error(V1_2, "SUBSCRIBE\nid:1\ndestination=/topic/a\n\n\0");
    assert_eq!(error.kind(), ErrorKind::HeaderWithoutColon);
    assert!(error.to_string().contains("\"destination=/topic/a\""), "{error}");
}

#[test]
fn a_header_needs_a_name() {
    for version in Version::ALL {
        assert_eq!(kind(version, "SEND\n:a\n\n\0"), ErrorKind::EmptyHeaderName);
    }
}

#[test]
fn of_repeated_headers_the_first_counts_and_all_are_kept() {
    let frame = frame(V1_2, "SEND\nfoo:World\nfoo:Hello\ncontent-length:1\ncontent-length:2\n\nx\0");
    assert_eq!(frame.get("foo"), Some("World"));
    assert_eq!(frame.headers.len(), 4);
    assert_eq!(frame.body, "x");
}

#[test]
fn nul_ends_no_header_section() {
    for wire in ["SEND\n\0", "SEND\nh:a\0\n\n\0", "SEND\0\n\n", "\0", "SEND\nh:a\n\0"] {
        assert_eq!(kind(V1_2, wire), ErrorKind::NulInHeaders, "{wire:?}");
    }
    assert_eq!(decode(V1_2, "SEND\n\na\0b\0").frames[0].body, "a");
}

#[test]
fn headers_are_utf8() {
    assert_eq!(value_of_h(V1_2, "h:žluťoučký 🐎").unwrap(), "žluťoučký 🐎");
    let error = error(V1_2, b"SEND\na:b\nh:caf\xe9\nc:d\n\n\0");
    assert_eq!(error.kind(), ErrorKind::NotUtf8);
    assert!(error.to_string().contains("line \"h:caf\\xe9\" is"), "{error}");
}

#[test]
fn bodies_are_octets() {
    assert_eq!(&frame(V1_2, b"SEND\n\n\xff\r\n\xfe\0").body[..], b"\xff\r\n\xfe");
}

#[test]
fn content_length_counts_octets_without_the_nul() {
    for version in Version::ALL {
        assert_eq!(frame(version, "SEND\ncontent-length:3\n\na\0b\0").body, "a\0b");
        assert_eq!(frame(version, "SEND\ncontent-length:5\n\né€\0").body.len(), 5);
    }
}

#[test]
fn the_octet_after_the_body_is_nul() {
    let error = error(V1_2, "SEND\nreceipt:r-1\ncontent-length:4\n\nhällo\0");
    assert_eq!(error.kind(), ErrorKind::MissingNul);
    assert!(error.to_string().contains("4 octets"), "{error}");
    assert_eq!(error.receipt(), Some("r-1"));
    assert_eq!(kind(V1_2, "SEND\ncontent-length:0\n\na\0"), ErrorKind::MissingNul);
}

#[test]
fn content_length_is_a_number_of_octets() {
    for value in ["-1", "+5", " 5", "5 ", "", "0x5", "5.0", "٣", "18446744073709551616", "1e3"] {
        let wire = format!("SEND\ncontent-length:{value}\n\nhello\0");
        assert_eq!(kind(V1_1, &wire), ErrorKind::InvalidContentLength, "{value:?}");
        assert_eq!(kind(V1_2, &wire), ErrorKind::InvalidContentLength, "{value:?}");
    }
    assert_eq!(frame(V1_0, "SEND\ncontent-length: 5\n\nhello\0").body, "hello");
    assert_eq!(frame(V1_2, "SEND\ncontent-length:000000000000000000000005\n\nhello\0").body, "hello");
    assert_eq!(kind(V1_2, "SEND\ncontent-length:18446744073709551615\n\n"), ErrorKind::BodyTooLarge);
}

#[test]
fn only_send_message_and_error_have_bodies() {
    for command in Command::ALL {
        let plain = format!("{command}\n\nhello\0");
        let declared = format!("{command}\ncontent-length:5\n\nhello\0");
        if matches!(command, Command::Send | Command::Message | Command::Error) {
            assert_eq!(frame(V1_2, plain).body, "hello");
            assert_eq!(frame(V1_2, declared).body, "hello");
        } else {
            assert_eq!(kind(V1_2, plain), ErrorKind::BodyNotAllowed);
            let error = error(V1_2, declared);
            assert_eq!(error.kind(), ErrorKind::BodyNotAllowed);
            assert!(error.to_string().contains(command.as_str()), "{error}");
        }
        assert_eq!(frame(V1_2, format!("{command}\ncontent-length:0\n\n\0")).body, "");
        assert_eq!(kind(V1_2, format!("{command}\ncontent-length:x\n\n\0")), ErrorKind::InvalidContentLength);
    }
}

#[test]
fn an_error_knows_the_receipt_that_was_asked_for() {
    for (version, wire, receipt) in [
        (V1_2, "SUBSCRIBE\nreceipt:a\\cb\r\nreceipt:c\nbad\n\n\0", Some("a:b")),
        (V1_1, "SUBSCRIBE\nreceipt:7\nbad\n\n\0", Some("7")),
        (V1_0, "SUBSCRIBE\n receipt : 7 \nbad\n\n\0", Some("7")),
        (V1_2, "SUBSCRIBE\nbad\nreceipt:8\n\n\0", Some("8")),
        (V1_2, "SUBSCRIBE\nreceipt:9\n\nbody\0", Some("9")),
        (V1_2, "SUBSCRIBE\nreceipt:9\n\0", Some("9")),
        (V1_2, "SUBSCRIBE\nreceipt:9\0", None),
        (V1_2, "SEND\nreceipt:9\ncontent-length:x\n\n\0", Some("9")),
        (V1_2, "SEND\nreceipt:9\\x\n\n\0", None),
        (V1_2, "CONNECT\nreceipt:9\nbad\n\n\0", None),
        (V1_2, "NONE\nreceipt:9\n\nreceipt:body\0", Some("9")),
        (V1_2, "NONE\n\nreceipt:body\0", None),
        (V1_0, "connect\n receipt : 9 \n\n\0", Some("9")),
        (V1_2, "GET / HTTP/1.1\nreceipt:9\n\n\0", None),
    ] {
        assert_eq!(error(version, wire).receipt(), receipt, "{wire:?}");
    }
}

#[test]
fn what_follows_an_error_is_dropped() {
    let outcome = decode(V1_2, "SEND\n\na\0NONE\n\n\0SEND\n\nb\0");
    assert_eq!(outcome.frames.len(), 1);
    assert_eq!(outcome.error.unwrap().kind(), ErrorKind::UnknownCommand);
}
