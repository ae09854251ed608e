//! Values, how the text of a header is read as one, and what can be done with them.

use std::cmp::Ordering;

/// An exact number, Java's `long`, or an approximate one, its `double`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Exact(i64),
    Approximate(f64),
}

impl Number {
    /// Reads a header's value: decimal digits with a sign, a point and an exponent as may be, and nothing around them.
    /// It is exact if it has digits alone and 64 bits suffice. Beyond the range of `double` it is no number. There is
    /// no octal here: a leading zero means nothing where people fill up with zeros.
    pub(super) fn read(text: &str) -> Option<Number> {
        if let Ok(exact) = text.parse() {
            return Some(Number::Exact(exact));
        }
        // The standard library takes `inf` and `nan` for numbers too.
        text.parse().ok().filter(|double: &f64| double.is_finite()).map(Number::Approximate)
    }

    /// Java's binary numeric promotion, of a `long` to a `double`.
    fn promoted(self) -> f64 {
        match self {
            Number::Exact(exact) => exact as f64,
            Number::Approximate(approximate) => approximate,
        }
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Exact(a), Number::Exact(b)) => Some(a.cmp(&b)),
            (a, b) => a.promoted().partial_cmp(&b.promoted()),
        }
    }

    fn negated(self) -> Number {
        match self {
            Number::Exact(exact) => Number::Exact(exact.wrapping_neg()),
            Number::Approximate(approximate) => Number::Approximate(-approximate),
        }
    }
}

/// What is on the machine's stack.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// A header that is not there, or whatever came of it.
    Unknown,
    Boolean(bool),
    Number(Number),
    /// A string of the selector.
    Text(&'a str),
    /// A header's value, of no type yet.
    Header(&'a str),
}

/// A truth of three-valued logic.
pub(super) type Truth = Option<bool>;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl From<Truth> for Value<'_> {
    fn from(truth: Truth) -> Self {
        truth.map_or(Value::Unknown, Value::Boolean)
    }
}

impl Value<'_> {
    pub(super) fn truth(self) -> Truth {
        match self {
            Value::Boolean(boolean) => Some(boolean),
            Value::Header(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Header(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    fn number(self) -> Option<Number> {
        match self {
            Value::Number(number) => Some(number),
            Value::Header(text) => Number::read(text),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Header(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn compare(self, comparison: Comparison, other: Value<'_>) -> Truth {
        match comparison {
            Comparison::Equal => self.equals(other),
            Comparison::Unequal => self.equals(other).map(|equal| !equal),
            _ => {
                let order = self.number()?.compare(other.number()?);
                Some(match comparison {
                    Comparison::Less => order.is_some_and(Ordering::is_lt),
                    Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
                    Comparison::Greater => order.is_some_and(Ordering::is_gt),
                    _ => order.is_some_and(Ordering::is_ge),
                })
            }
        }
    }

    /// Reads a header as that which it is compared with; `None` if it can't be, or if these are unlike.
    fn equals(self, other: Value<'_>) -> Truth {
        match (self, other) {
            (Value::Unknown, _) | (_, Value::Unknown) => None,
            (Value::Text(a), b) | (b, Value::Text(a)) => Some(a == b.text()?),
            (Value::Header(a), Value::Header(b)) if a == b => Some(true),
            (Value::Header(a), Value::Header(_)) => {
                let numbers = || Some(self.number()?.compare(other.number()?)?.is_eq());
                let booleans = || Some(self.truth()? == other.truth()?);
                numbers().or_else(booleans).or_else(|| Some(a == other.text()?))
            }
            (Value::Number(a), b) | (b, Value::Number(a)) => {
                Some(a.compare(b.number()?) == Some(Ordering::Equal))
            }
            (Value::Boolean(a), b) | (b, Value::Boolean(a)) => Some(a == b.truth()?),
        }
    }

    pub(super) fn calculate(self, operation: Arithmetic, other: Value<'_>) -> Self {
        self.number().zip(other.number()).and_then(|(a, b)| calculate(operation, a, b)).into()
    }

    pub(super) fn signed(self, negative: bool) -> Self {
        self.number().map(|number| if negative { number.negated() } else { number }).into()
    }
}

impl From<Option<Number>> for Value<'_> {
    fn from(number: Option<Number>) -> Self {
        number.map_or(Value::Unknown, Value::Number)
    }
}

/// `None` for a division by zero: Java has an exception for exact numbers, and infinity, which nobody means, for others.
fn calculate(operation: Arithmetic, a: Number, b: Number) -> Option<Number> {
    if let (Number::Exact(a), Number::Exact(b)) = (a, b) {
        return Some(Number::Exact(match operation {
            Arithmetic::Add => a.wrapping_add(b),
            Arithmetic::Subtract => a.wrapping_sub(b),
            Arithmetic::Multiply => a.wrapping_mul(b),
            Arithmetic::Divide if b == 0 => return None,
            Arithmetic::Divide => a.wrapping_div(b),
        }));
    }
    let (a, b) = (a.promoted(), b.promoted());
    Some(Number::Approximate(match operation {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide if b == 0.0 => return None,
        Arithmetic::Divide => a / b,
    }))
}
