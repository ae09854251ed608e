//! Selectors beside a plain reading of the same rules: expressions are made as trees, written as text, and their
//! values worked out by walking the tree.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::Selector;

#[derive(Debug, Clone)]
enum Tree {
    Name(&'static str),
    Text(String),
    Long(i64),
    Double(f64),
    Boolean(bool),
    Minus(Box<Tree>),
    Plus(Box<Tree>),
    Calculate(char, Box<Tree>, Box<Tree>),
    Compare(&'static str, Box<Tree>, Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    Between(bool, Box<Tree>, Box<Tree>, Box<Tree>),
    In(bool, &'static str, Vec<String>),
    Like(bool, &'static str, String, Option<char>),
    IsNull(bool, &'static str),
}

use Tree::*;

const NAMES: [&str; 4] = ["a", "b.c", "d-e", "like"];

const VALUES: [&str; 29] = [
    "0",
    "0.0",
    "-0.",
    "",
    "5",
    "05",
    "-3",
    "2.50",
    "2.5",
    "2",
    "1e2",
    "100",
    "true",
    "TRUE",
    "False",
    "abc",
    "a_c",
    "100%",
    "+7",
    "7.",
    ".5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "inf",
    "NaN",
    "1e999",
    " 5",
    "0x10",
];

fn names() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![select(&VALUES[..]).prop_map(String::from), "[a'ä%_ ]{0,4}"]
}

fn numbers() -> BoxedStrategy<Tree> {
    let leaf = prop_oneof![
        3 => names().prop_map(Name),
        3 => (-8_i64..8).prop_map(Long),
        1 => any::<i64>().prop_map(Long),
        1 => select(&[i64::MIN, i64::MAX, 0][..]).prop_map(Long),
        1 => select(&[0.0, 0.5, 2.5, 1e2, 1e300, 1e-300, 9_223_372_036_854_775_808.0][..]).prop_map(Double),
        1 => any::<f64>().prop_filter_map("a literal is finite", |x| x.is_finite().then_some(Double(x.abs()))),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|of| Minus(of.into())),
            1 => inner.clone().prop_map(|of| Plus(of.into())),
            4 => (select(&['+', '-', '*', '/'][..]), inner.clone(), inner)
                .prop_map(|(operation, a, b)| Calculate(operation, a.into(), b.into())),
        ]
    })
    .boxed()
}

fn patterns() -> impl Strategy<Value = (String, Option<char>)> {
    prop_oneof![
        "[a05.%_]{0,6}".prop_map(|pattern| (pattern, None)),
        vec(select(&["!%", "!_", "!!", "a", "0", "5", "%", "_", "'"][..]), 0..6)
            .prop_map(|parts| (parts.concat(), Some('!'))),
    ]
}

fn conditions() -> BoxedStrategy<Tree> {
    const ORDER: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];
    let equality = || select(&ORDER[..2]);
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Boolean),
        2 => names().prop_map(Name),
        4 => (select(&ORDER[..]), numbers(), numbers()).prop_map(|(how, a, b)| Compare(how, a.into(), b.into())),
        2 => (equality(), names(), texts())
            .prop_map(|(how, a, b)| Compare(how, Name(a).into(), Text(b).into())),
        1 => (equality(), texts(), names())
            .prop_map(|(how, a, b)| Compare(how, Text(a).into(), Name(b).into())),
        1 => (equality(), names(), names()).prop_map(|(how, a, b)| Compare(how, Name(a).into(), Name(b).into())),
        2 => (any::<bool>(), numbers(), numbers(), numbers())
            .prop_map(|(not, a, b, c)| Between(not, a.into(), b.into(), c.into())),
        1 => (any::<bool>(), names(), vec(texts(), 1..4)).prop_map(|(not, name, list)| In(not, name, list)),
        2 => (any::<bool>(), names(), patterns()).prop_map(|(not, name, (text, escape))| {
            Like(not, name, text, escape)
        }),
        1 => (any::<bool>(), names()).prop_map(|(not, name)| IsNull(not, name)),
    ];
    leaf.prop_recursive(5, 32, 2, move |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| And(a.into(), b.into())),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Or(a.into(), b.into())),
            2 => inner.clone().prop_map(|of| Not(of.into())),
            1 => (equality(), inner.clone(), inner).prop_map(|(how, a, b)| Compare(how, a.into(), b.into())),
        ]
    })
    .boxed()
}

/// Writes trees, with parentheses where they are needed and here and there where they are not.
struct Writer {
    words: Vec<String>,
    seed: u64,
}

impl Writer {
    fn chance(&mut self, one_in: u64) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33).is_multiple_of(one_in)
    }

    fn word(&mut self, word: impl Into<String>) {
        self.words.push(word.into());
    }

    fn keywords(&mut self, words: &str) {
        for word in words.split(' ') {
            let word = if self.chance(2) { word.to_lowercase() } else { word.to_owned() };
            self.word(word);
        }
    }

    fn name(&mut self, name: &str) {
        let plain = !name.contains('-') && name != "like" && !self.chance(4);
        self.word(if plain { name.to_owned() } else { format!("\"{name}\"") });
    }

    fn text(&mut self, text: &str) {
        self.word(format!("'{}'", text.replace('\'', "''")));
    }

    fn long(&mut self, long: i64) {
        if long < 0 {
            self.word("-");
        }
        let size = long.unsigned_abs();
        let word = match self.chance(4) {
            false => format!("{size}"),
            true if self.chance(2) => format!("0x{size:X}"),
            true => format!("0{size:o}L"),
        };
        self.word(word);
    }

    fn two(&mut self, a: &Tree, level: u8, between: &str, b: &Tree, right_level: u8) {
        self.write(a, level);
        self.keywords(between);
        self.write(b, right_level);
    }

    /// Writes an expression where only those stand that bind as `level` does, or more closely.
    fn write(&mut self, tree: &Tree, level: u8) {
        let own = match tree {
            Or(..) => 1,
            And(..) => 2,
            Not(_) => 3,
            Compare(..) | Between(..) | In(..) | Like(..) | IsNull(..) => 4,
            Calculate('+' | '-', ..) => 5,
            Calculate(..) => 6,
            Minus(_) | Plus(_) => 7,
            Long(long) if *long < 0 => 7,
            _ => 8,
        };
        if own < level || self.chance(12) {
            self.word("(");
            self.write_bare(tree);
            self.word(")");
        } else {
            self.write_bare(tree);
        }
    }

    fn write_bare(&mut self, tree: &Tree) {
        let not = |not: &bool, word| if *not { format!("NOT {word}") } else { String::from(word) };
        match tree {
            Name(name) => self.name(name),
            Text(text) => self.text(text),
            Long(long) => self.long(*long),
            Double(double) => self.word(format!("{double:?}")),
            Boolean(boolean) => self.keywords(if *boolean { "TRUE" } else { "FALSE" }),
            Minus(of) | Plus(of) => {
                self.word(if matches!(tree, Minus(_)) { "-" } else { "+" });
                self.write(of, 7);
            }
            Calculate(operation @ ('+' | '-'), a, b) => self.two(a, 5, &operation.to_string(), b, 6),
            Calculate(operation, a, b) => self.two(a, 6, &operation.to_string(), b, 7),
            Compare(how, a, b) => self.two(a, 5, how, b, 5),
            And(a, b) => self.two(a, 2, "AND", b, 3),
            Or(a, b) => self.two(a, 1, "OR", b, 2),
            Not(of) => {
                self.keywords("NOT");
                self.write(of, 3);
            }
            Between(no, a, b, c) => {
                self.two(a, 5, &not(no, "BETWEEN"), b, 5);
                self.keywords("AND");
                self.write(c, 5);
            }
            In(no, name, list) => {
                self.name(name);
                self.keywords(&not(no, "IN"));
                for (at, text) in list.iter().enumerate() {
                    self.word(if at == 0 { "(" } else { "," });
                    self.text(text);
                }
                self.word(")");
            }
            Like(no, name, pattern, escape) => {
                self.name(name);
                self.keywords(&not(no, "LIKE"));
                self.text(pattern);
                if let Some(escape) = escape {
                    self.keywords("ESCAPE");
                    self.text(&escape.to_string());
                }
            }
            IsNull(no, name) => {
                self.name(name);
                self.keywords(if *no { "IS NOT NULL" } else { "IS NULL" });
            }
        }
    }

    fn finish(mut self) -> String {
        let mut text = String::new();
        for word in std::mem::take(&mut self.words) {
            text.push_str(&word);
            text.push_str(if self.chance(5) { "\r\n\t " } else { " " });
        }
        text
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Boolean(bool),
    Long(i64),
    Double(f64),
    Text(String),
    Header(String),
}

type Headers = Vec<(&'static str, Option<&'static str>)>;

fn header(headers: &Headers, name: &str) -> Option<&'static str> {
    headers.iter().find(|(have, _)| *have == name).and_then(|(_, value)| *value)
}

fn digits(text: &str) -> bool {
    text.chars().all(|digit| digit.is_ascii_digit())
}

/// `[sign] (digits [. [digits]] | . digits) [e [sign] digits]`
fn is_number(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, unsigned(exponent)),
        None => (text, String::from("0")),
    };
    let mantissa = unsigned(mantissa);
    let (whole, part) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
    digits(whole) && digits(part) && whole.len() + part.len() > 0 && digits(&exponent) && !exponent.is_empty()
}

fn as_number(value: &Value) -> Value {
    match value {
        Value::Header(text) if is_number(text) => match text.parse::<f64>() {
            Ok(_) if text.parse::<i64>().is_ok() => Value::Long(text.parse().unwrap()),
            Ok(double) if double.is_finite() => Value::Double(double),
            _ => Value::Null,
        },
        Value::Long(_) | Value::Double(_) => value.clone(),
        _ => Value::Null,
    }
}

fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(boolean) => Some(*boolean),
        Value::Header(text) => text.to_lowercase().parse().ok(),
        _ => None,
    }
}

fn double(value: &Value) -> f64 {
    match value {
        Value::Long(long) => *long as f64,
        Value::Double(double) => *double,
        _ => panic!("{value:?} is no number"),
    }
}

fn compare_numbers(how: &str, a: &Value, b: &Value) -> Option<bool> {
    let (a, b) = (as_number(a), as_number(b));
    if a == Value::Null || b == Value::Null {
        return None;
    }
    if let (Value::Long(a), Value::Long(b)) = (&a, &b) {
        return Some(ordered(how, a, b));
    }
    Some(ordered(how, &double(&a), &double(&b)))
}

fn ordered<T: PartialOrd>(how: &str, a: &T, b: &T) -> bool {
    match how {
        "=" => a == b,
        "<>" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    }
}

fn compare(how: &str, a: &Value, b: &Value) -> Option<bool> {
    if *a == Value::Null || *b == Value::Null {
        return None;
    }
    if let (Value::Header(x) | Value::Text(x), Value::Text(y)) | (Value::Text(x), Value::Header(y)) = (a, b) {
        return Some(ordered(how, x, y));
    }
    let numbers = compare_numbers(how, a, b);
    if !matches!(how, "=" | "<>") || numbers.is_some() {
        return numbers;
    }
    if let (Some(a), Some(b)) = (as_boolean(a), as_boolean(b)) {
        return Some(ordered(how, &a, &b));
    }
    if let (Value::Header(a), Value::Header(b)) = (a, b) {
        return Some(ordered(how, a, b));
    }
    None
}

fn calculate(operation: char, a: &Value, b: &Value) -> Value {
    match (as_number(a), as_number(b)) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Long(_), Value::Long(0)) if operation == '/' => Value::Null,
        (Value::Long(a), Value::Long(b)) => {
            let (a, b) = (i128::from(a), i128::from(b));
            let exactly = match operation {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                _ => a / b,
            };
            Value::Long(exactly as i64)
        }
        (a, b) => match (double(&a), double(&b)) {
            (_, 0.0) if operation == '/' => Value::Null,
            (a, b) => Value::Double(match operation {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                _ => a / b,
            }),
        },
    }
}

fn not(truth: Option<bool>, not: bool) -> Option<bool> {
    truth.map(|truth| truth != not)
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    if a == Some(false) || b == Some(false) { Some(false) } else { Some(a? && b?) }
}

/// By the table of which beginnings of a text match which beginnings of a pattern.
fn is_like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    let mut items = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        items.push(match character {
            _ if Some(character) == escape => (characters.next().unwrap(), true),
            _ => (character, false),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for item in items {
        let before = row.clone();
        for end in 0..=text.len() {
            row[end] = match item {
                ('%', false) => before[..=end].contains(&true),
                ('_', false) => end > 0 && before[end - 1],
                (character, _) => end > 0 && before[end - 1] && text[end - 1] == character,
            };
        }
    }
    row[text.len()]
}

fn truth(tree: &Tree, headers: &Headers) -> Option<bool> {
    as_boolean(&evaluate(tree, headers))
}

fn evaluate(tree: &Tree, headers: &Headers) -> Value {
    let value = |tree: &Tree| evaluate(tree, headers);
    let boolean = match tree {
        Name(name) => {
            return header(headers, name).map_or(Value::Null, |value| Value::Header(value.to_owned()));
        }
        Text(text) => return Value::Text(text.clone()),
        Long(long) => return Value::Long(*long),
        Double(double) => return Value::Double(*double),
        Minus(of) => {
            return match as_number(&value(of)) {
                Value::Long(long) => Value::Long(long.wrapping_neg()),
                Value::Double(double) => Value::Double(-double),
                _ => Value::Null,
            };
        }
        Plus(of) => return as_number(&value(of)),
        Calculate(operation, a, b) => return calculate(*operation, &value(a), &value(b)),
        Boolean(boolean) => Some(*boolean),
        Compare(how, a, b) => compare(how, &value(a), &value(b)),
        And(a, b) => and(truth(a, headers), truth(b, headers)),
        Or(a, b) => not(and(not(truth(a, headers), true), not(truth(b, headers), true)), true),
        Not(of) => not(truth(of, headers), true),
        Between(no, a, b, c) => not(
            and(compare_numbers(">=", &value(a), &value(b)), compare_numbers("<=", &value(a), &value(c))),
            *no,
        ),
        In(no, name, list) => {
            not(header(headers, name).map(|value| list.iter().any(|one| one == value)), *no)
        }
        Like(no, name, pattern, escape) => {
            not(header(headers, name).map(|value| is_like(value, pattern, *escape)), *no)
        }
        IsNull(no, name) => Some(header(headers, name).is_none() != *no),
    };
    boolean.map_or(Value::Null, Value::Boolean)
}

fn headers() -> impl Strategy<Value = Headers> {
    vec(prop::option::weighted(0.8, select(&VALUES[..])), NAMES.len())
        .prop_map(|values| NAMES.into_iter().zip(values).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_selector_means_what_its_tree_means(
        tree in conditions(),
        messages in vec(headers(), 1..8),
        seed: u64,
    ) {
        let mut writer = Writer { words: Vec::new(), seed };
        writer.write(&tree, 1);
        let text = writer.finish();
        prop_assume!(text.len() <= super::MAX_TEXT);
        let selector = Selector::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let opposite = Selector::parse(&format!("NOT({})", selector.text())).ok();
        for headers in messages {
            let expected = truth(&tree, &headers);
            prop_assert_eq!(selector.matches(|name| header(&headers, name)), expected == Some(true), "{}", text);
            if let Some(opposite) = &opposite {
                let matches = opposite.matches(|name| header(&headers, name));
                prop_assert_eq!(matches, expected == Some(false), "NOT {}", text);
            }
        }
        let again = Selector::parse(selector.text()).unwrap();
        prop_assert_eq!(again.text(), selector.text());
        prop_assert_eq!(&again.0.program, &selector.0.program);
        prop_assert!(selector.text().len() <= text.len());
    }

    #[test]
    fn no_text_does_harm(text in prop_oneof![
        ".{0,40}",
        vec(select(&[
            "a", "\"b\"", "'x'", "'", "\"", "5", "-", "+", "*", "/", "(", ")", ",", "=", "<", ">", "<>", ".5e", "0x",
            " ", " NOT ", " AND ", " OR ", " IN ", " LIKE ", " IS ", " NULL ", " BETWEEN ", " ESCAPE ", "TRUE", "_",
        ][..]), 0..30).prop_map(|words| words.concat()),
    ]) {
        match Selector::parse(&text) {
            Ok(selector) => {
                let _ = selector.matches(|_| Some("5"));
                let again = Selector::parse(selector.text()).unwrap();
                prop_assert_eq!(&again, &selector);
                prop_assert_eq!(&again.0.program, &selector.0.program);
            }
            Err(error) => {
                let error = error.to_string();
                prop_assert!(!error.chars().any(char::is_control) && error.len() < 2_000);
            }
        }
    }
}
