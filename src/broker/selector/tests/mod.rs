//! The standard's examples and tables, the rules that are this broker's own, and what is refused.

#![allow(clippy::unwrap_used)]

mod reference;

use std::collections::HashSet;

use super::{MAX_LIST, MAX_NESTING, MAX_TEXT, Selector};

/// Whether a selector matches a message of these headers.
fn matches(selector: &str, headers: &[(&str, &str)]) -> bool {
    let selector = Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    selector.matches(|name| headers.iter().find(|(have, _)| *have == name).map(|(_, value)| *value))
}

/// True, false or unknown: unknown is what neither a condition nor its NOT matches.
fn truth(condition: &str, headers: &[(&str, &str)]) -> Option<bool> {
    match (matches(condition, headers), matches(&format!("NOT ({condition})"), headers)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("{condition} is true, and its NOT too"),
    }
}

#[test]
fn examples_of_the_standard() {
    const T: Option<bool> = Some(true);
    const F: Option<bool> = Some(false);
    const U: Option<bool> = None;
    let car = [("JMSType", "car"), ("color", "blue"), ("weight", "2501")];
    for (condition, headers, expected) in [
        ("JMSType = 'car' AND color = 'blue' AND weight > 2500", &car[..], T),
        ("JMSType = 'car' AND color = 'red' AND weight > 2500", &car, F),
        ("age BETWEEN 15 AND 19", &[("age", "15")], T),
        ("age BETWEEN 15 AND 19", &[("age", "19")], T),
        ("age BETWEEN 15 AND 19", &[("age", "20")], F),
        ("age BETWEEN 15 AND 19", &[], U),
        ("age NOT BETWEEN 15 AND 19", &[("age", "14")], T),
        ("age NOT BETWEEN 15 AND 19", &[("age", "17")], F),
        ("age NOT BETWEEN 15 AND 19", &[], U),
        ("Country IN ('UK', 'US', 'France')", &[("Country", "UK")], T),
        ("Country IN ('UK', 'US', 'France')", &[("Country", "Peru")], F),
        ("Country IN ('UK', 'US', 'France')", &[], U),
        ("Country NOT IN ('UK', 'US', 'France')", &[("Country", "UK")], F),
        ("Country NOT IN ('UK', 'US', 'France')", &[("Country", "Peru")], T),
        ("Country NOT IN ('UK', 'US', 'France')", &[], U),
        ("phone LIKE '12%3'", &[("phone", "123")], T),
        ("phone LIKE '12%3'", &[("phone", "12993")], T),
        ("phone LIKE '12%3'", &[("phone", "1234")], F),
        ("phone LIKE '12%3'", &[], U),
        ("word LIKE 'l_se'", &[("word", "lose")], T),
        ("word LIKE 'l_se'", &[("word", "loose")], F),
        ("underscored LIKE '\\_%' ESCAPE '\\'", &[("underscored", "_foo")], T),
        ("underscored LIKE '\\_%' ESCAPE '\\'", &[("underscored", "bar")], F),
        ("phone NOT LIKE '12%3'", &[("phone", "123")], F),
        ("phone NOT LIKE '12%3'", &[("phone", "12993")], F),
        ("phone NOT LIKE '12%3'", &[("phone", "1234")], T),
        ("phone NOT LIKE '12%3'", &[], U),
        ("prop_name IS NULL", &[], T),
        ("prop_name IS NULL", &[("prop_name", "")], F),
        ("prop_name IS NOT NULL", &[], F),
        ("prop_name IS NOT NULL", &[("prop_name", "x")], T),
        ("name = 'literal''s'", &[("name", "literal's")], T),
        ("a = 57 OR a = -957 OR a = +62", &[("a", "-957")], T),
        ("a = 7E3", &[("a", "7000")], T),
        ("a = -57.9E2", &[("a", "-5790")], T),
        ("a = 7.", &[("a", "7")], T),
        ("a = -95.7 OR a = +6.2", &[("a", "6.2")], T),
    ] {
        assert_eq!(truth(condition, headers), expected, "{condition} of {headers:?}");
    }
}

#[test]
fn tables_of_the_standard() {
    // A header that is not there is unknown.
    const VALUES: [(&str, Option<bool>); 3] = [("TRUE", Some(true)), ("FALSE", Some(false)), ("u", None)];
    for (a, left) in VALUES {
        assert_eq!(truth(&format!("NOT {a}"), &[]), left.map(|truth| !truth));
        for (b, right) in VALUES {
            // AND is the least and OR the greatest, where unknown is between false and true.
            let rank = |truth: Option<bool>| truth.map_or(1, |truth| if truth { 2 } else { 0 });
            let least = if rank(left) < rank(right) { left } else { right };
            let greatest = if rank(left) < rank(right) { right } else { left };
            assert_eq!(truth(&format!("{a} AND {b}"), &[]), least, "{a} AND {b}");
            assert_eq!(truth(&format!("{a} OR {b}"), &[]), greatest, "{a} OR {b}");
        }
    }
}

#[test]
fn precedence() {
    for (condition, same) in [
        ("TRUE OR FALSE AND FALSE", "TRUE OR (FALSE AND FALSE)"),
        ("NOT FALSE OR TRUE", "(NOT FALSE) OR TRUE"),
        ("NOT a = 5", "NOT (a = 5)"),
        ("NOT a = 6 AND a = 6", "(NOT (a = 6)) AND (a = 6)"),
        ("2 + 3 * 4 = 14", "(2 + (3 * 4)) = 14"),
        ("10 - 3 - 2 = 5", "((10 - 3) - 2) = 5"),
        ("100 / 10 * 2 = 20", "((100 / 10) * 2) = 20"),
        ("-2 * -a = 10", "((-2) * (-a)) = 10"),
        ("a BETWEEN 1 + 1 AND 4 + 1 AND TRUE", "(a BETWEEN (1 + 1) AND (4 + 1)) AND TRUE"),
    ] {
        let headers = [("a", "5")];
        assert_eq!(truth(condition, &headers), truth(same, &headers), "{condition}");
    }
    assert!(matches("2 + 3 * 4 = 14 AND 10 - 3 - 2 = 5 AND 100 / 10 * 2 = 20", &[]));
}

#[test]
fn a_header_is_read_as_what_it_is_compared_with() {
    let headers = [
        ("n", "5"),
        ("filled", "005"),
        ("point", "5.0"),
        ("yes", "True"),
        ("no", "FALSE"),
        ("word", "five"),
        ("empty", ""),
        ("infinite", "inf"),
        ("spaced", " 5"),
        ("huge", "9223372036854775808"),
        ("beyond", "1e999"),
        ("hexadecimal", "0x5"),
    ];
    for (condition, expected) in [
        ("n = 5 AND filled = 5 AND point = 5 AND n = 5.0", Some(true)),
        ("n = '5' AND filled = '005' AND point = '5.0'", Some(true)),
        ("filled = '5'", Some(false)),
        ("n = filled AND filled = point", Some(true)),
        ("yes AND NOT no AND yes = TRUE AND no <> TRUE AND yes <> no", Some(true)),
        ("yes = 'True'", Some(true)),
        ("yes = 'TRUE'", Some(false)),
        ("(n > 4) = yes", Some(true)),
        ("word = n", Some(false)),
        ("word <> n", Some(true)),
        ("empty = ''", Some(true)),
        ("huge > 9223372036854775807", Some(false)), // as doubles they are equal
        ("huge = 9223372036854775808.0", Some(true)),
        // What can't be read.
        ("word = 5", None),
        ("word <> 5", None),
        ("word > 5", None),
        ("word + 1 = 6", None),
        ("-word = 6", None),
        ("word", None),
        ("word = TRUE", None),
        ("n = TRUE", None),
        ("empty = 0", None),
        ("infinite > 5", None),
        ("spaced = 5", None),
        ("beyond > 5", None),
        ("hexadecimal = 5", None),
        ("word > 5 AND FALSE", Some(false)),
        // A condition is a boolean, even if a header alone decided it. (It was compared as that header's text.)
        ("(yes OR FALSE) = word", None),
        ("(no AND TRUE) = word", None),
        ("word > 5 OR TRUE", Some(true)),
        // Of text always.
        ("n IN ('4', '5')", Some(true)),
        ("filled LIKE '%5'", Some(true)),
    ] {
        assert_eq!(truth(condition, &headers), expected, "{condition}");
    }
}

#[test]
fn arithmetic_is_java_s() {
    for (condition, expected) in [
        ("7 / 2 = 3 AND -7 / 2 = -3", Some(true)),
        ("7 / 2.0 = 3.5", Some(true)),
        ("n / 2 = 3 AND d / 2 = 3.5", Some(true)),
        ("9223372036854775807 + 1 = -9223372036854775808", Some(true)),
        ("-9223372036854775808 / -1 = -9223372036854775808", Some(true)),
        ("0.1 + 0.2 = 0.3", Some(false)),
        ("1 / 0 = 1", None),
        ("1.0 / 0 = 1", None),
        ("1 / 0.0 > 1", None),
        ("1e308 * 10 > 1", Some(true)),
        ("1e308 * 10 - 1e308 * 10 <> 0", Some(true)), // NaN
        ("u + 1 = 1", None),
    ] {
        assert_eq!(truth(condition, &[("n", "7"), ("d", "7.0")]), expected, "{condition}");
    }
}

#[test]
fn literals() {
    for same in [
        "0x1F = 31",
        "0XFFl = 255",
        "017 = 15",
        "0b101 = 5",
        "1_000L = 1000",
        "0x7fffffffffffffff = 9223372036854775807",
        "-0x8000000000000000 = -9223372036854775808",
        ".5 = 0.5",
        "5e-1 = .5",
        "5.E+1 = 50.0",
        "1d = 1.0",
        "6.2f <> 6.2",
        "08.5 = 8.5",
        "0 = 0.0",
    ] {
        assert!(matches(same, &[]), "{same}");
    }
    assert!(matches("größe = 'ß' AND $a._1 = 'x'", &[("größe", "ß"), ("$a._1", "x")]));
    assert!(matches("\"content-type\" = 'a' AND \"in\" IS NULL", &[("content-type", "a")]));
    assert!(matches("\"a\"\"b\" = 'a'", &[("a\"b", "a")]));
    assert!(!matches("Color = 'blue'", &[("color", "blue")]));
    assert!(matches("color\tlike\r\n'B%'\x0cor coLor is null", &[("color", "Black")]));
}

#[test]
fn like() {
    for (text, pattern, expected) in [
        ("", "", true),
        ("", "%", true),
        ("", "_", false),
        ("a", "", false),
        ("ä", "_", true),
        ("\n", "_", true),
        ("abcabd", "%ab_", true),
        ("abab", "%ab", true),
        ("mississippi", "%iss%ip%", true),
        ("mississippi", "m%iss%iss%iss%", false),
        ("a.c", "a.c", true),
        ("abc", "a.c", false),
        ("a%", "a!%", true),
        ("ab", "a!%", false),
        ("a!", "a!!", true),
    ] {
        let condition = format!("x LIKE '{pattern}' ESCAPE '!'");
        assert_eq!(matches(&condition, &[("x", text)]), expected, "{text:?} {pattern}");
    }
    // Nothing here is exponential, or recurses.
    let text = "a".repeat(4000);
    assert!(!matches(&format!("x LIKE '{}b'", "%a".repeat(127)), &[("x", &text)]));
}

#[test]
fn what_is_refused() {
    for (text, expected) in [
        ("", "at its end: expected a value"),
        (" ", "at its end: expected a value"),
        ("weight >", "at its end: expected a value"),
        (&*format!("x LIKE '{}'", "%".repeat(257)), "longer than 256 octets"),
        ("weight > > 5", "at character 10, '> 5': expected a value"),
        ("ä = 'x' ; DROP", "at character 9, '; DROP': this character"),
        ("a != 5", "at character 3, '!= 5': this character"),
        ("a = 'x", "at character 5, '\\'x': a string"),
        ("a = \"x", "at character 5, '\\\"x': a name"),
        ("\"\" = 5", "at character 1, '\\\"\\\" = 5': a name in double quotes is empty"),
        ("a = 5x", "at character 5, '5x': this is no number"),
        ("a = 09", "at character 5, '09': this is no number"),
        ("a = 1__", "this is no number"),
        ("a = 1_e5", "this is no number"),
        ("a = 0x", "this is no number"),
        ("a = 0xFF.8p1", "this is no number"),
        ("a = 1.2.3", "this is no number"),
        ("a = 1e", "this is no number"),
        ("a = 9223372036854775808", "this number is too large"),
        ("a = -9223372036854775809", "this number is too large"),
        ("a = 99999999999999999999", "this number is too large"),
        ("a = 1e309", "this number is too large"),
        ("a = 1e39f", "this number is too large"),
        ("a = 5 b", "at character 7, 'b': expected an operator"),
        ("a = b = c", "at character 7, '= c': expected an operator"),
        ("(a = 5", "at its end: expected an operator or ')'"),
        ("a = 5)", "at character 6, ')': expected an operator"),
        ("a = NULL", "at character 5, 'NULL': expected a value: what is NULL is asked by IS NULL"),
        ("a IS 5", "expected NULL or NOT NULL"),
        ("a NOT 5", "expected BETWEEN, IN or LIKE"),
        ("a BETWEEN 1 OR 2", "expected AND and the upper bound"),
        ("a IN ()", "expected a string"),
        ("a IN (5)", "expected a string"),
        ("a IN ('x' 'y')", "expected ',' or ')'"),
        ("a LIKE b", "expected a string"),
        ("a LIKE 'x' ESCAPE ''", "the ESCAPE must be one character"),
        ("a LIKE 'x' ESCAPE 'yz'", "the ESCAPE must be one character"),
        ("a LIKE '!x' ESCAPE '!'", "at character 8, '\\'!x\\' ESCAPE \\'!\\'': in this pattern"),
        ("a LIKE 'x!' ESCAPE '!'", "in this pattern"),
        ("'x' LIKE 'x'", "at character 1, '\\'x\\' LIKE \\'x\\'': expected a header's name"),
        ("a + 1 IS NULL", "expected a header's name"),
        ("5", "expected a condition"),
        ("'x'", "expected a condition"),
        ("a + b", "expected a condition"),
        ("NOT 'x'", "at character 5, '\\'x\\'': expected a condition"),
        ("a = 5 OR 6", "at character 10, '6': expected a condition"),
        ("a < 'x'", "at character 5, '\\'x\\'': expected a number"),
        ("a > TRUE", "expected a number"),
        ("-'x' = 5", "expected a number"),
        ("a * (b = c) > 5", "expected a number"),
        ("a BETWEEN 'a' AND 'b'", "expected a number"),
        ("5 = '5'", "unlike things"),
        ("content-type = 'text/plain'", "at character 1, 'content-type = \\'text/plain\\'': unlike things"),
        ("and = 5", "expected a value"),
    ] {
        let error = Selector::parse(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("the selector is wrong at "), "{error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn bounds() {
    let padded = |length: usize| format!("a = 5{}", " ".repeat(length - 5));
    assert!(Selector::parse(&padded(MAX_TEXT)).is_ok());
    let error = Selector::parse(&padded(MAX_TEXT + 1)).unwrap_err().to_string();
    assert!(error.contains("at character 4097") && error.contains("longer than 4096 octets"), "{error}");
    // A character that stands across the bound.
    assert!(Selector::parse(&"ä".repeat(MAX_TEXT)).unwrap_err().to_string().contains("at character 2049"));

    for (open, inner, close) in [("(", "a", ")"), ("NOT ", "a", ""), ("- ", "a", "")] {
        let nested = |depth| {
            let expression = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            if open == "- " { format!("{expression} > 0") } else { expression }
        };
        assert!(Selector::parse(&nested(MAX_NESTING)).is_ok(), "{open}");
        let error = Selector::parse(&nested(MAX_NESTING + 1)).unwrap_err().to_string();
        assert!(error.contains("more than 64 deep"), "{error}");
        let _ = Selector::parse(&nested(4000 / open.len())).unwrap_err();
    }
    let list = |length: usize| format!("a IN ({}'')", "'',".repeat(length - 1));
    assert!(Selector::parse(&list(MAX_LIST)).is_ok());
    let error = Selector::parse(&list(MAX_LIST + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 256 strings"), "{error}");

    // As many operands as there is room for.
    assert!(matches(&format!("a{}", " AND a".repeat(600)), &[("a", "true")]));
    assert!(matches(&format!("1{} = 1000", "+1".repeat(999)), &[]));
    let deep = format!("{}1{} = 65", "1+(".repeat(64), ")".repeat(64));
    assert!(matches(&deep, &[]));
}

#[test]
fn an_error_is_safe_to_echo() {
    let text = format!("a = 'x\n\u{7}\u{202e}{}", "y".repeat(1000));
    let error = Selector::parse(&text).unwrap_err().to_string();
    assert!(!error.chars().any(char::is_control) && error.len() < 300, "{error}");
}

#[test]
fn the_normal_form() {
    for (text, normal) in [
        (" a  =  5 ", "a=5"),
        ("a between 1 and 0X1F", "a BETWEEN 1 AND 0x1f"),
        ("\"a\" = 5 OR \"a-b\" = 5", "a=5 OR\"a-b\"=5"),
        ("\"and\" is null", "\"and\"IS NULL"),
        ("a > .5 AND .5 < a", "a>.5 AND .5<a"),
        ("NOT ( a or b )", "NOT(a OR b)"),
        ("a - - 5 > 0", "a--5>0"),
        ("a like 'It''s' escape '!'", "a LIKE'It''s'ESCAPE'!'"),
    ] {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.text(), normal);
        let again = Selector::parse(normal).unwrap();
        assert_eq!((again.text(), &again.0.program), (normal, &selector.0.program));
        assert_eq!(HashSet::from([selector, again]).len(), 1);
    }
    assert_ne!(Selector::parse("a = 5").unwrap(), Selector::parse("A = 5").unwrap());
    assert_ne!(Selector::parse("a = 'x'").unwrap(), Selector::parse("a = 'X'").unwrap());
}

/// However long the text and however many the patterns, one message takes a bounded effort; what it does not tell is unknown.
#[test]
fn patterns_have_a_bounded_effort() {
    let pattern = format!("%{}b", "a".repeat(200));
    let text = "a".repeat(100_000);
    let like = format!("h LIKE '{pattern}'");
    for selector in [like.clone(), format!("NOT ({like})")] {
        let parsed = Selector::parse(&selector).unwrap();
        assert!(!parsed.matches(|_| Some(&*text)), "{selector}");
        // Shorter texts are told.
        assert_eq!(parsed.matches(|_| Some("aab")), selector.starts_with("NOT"), "{selector}");
    }
}
