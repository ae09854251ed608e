//! What a selector is compiled to: steps in postfix order, for a machine with a stack.

use smallvec::SmallVec;

use super::like::Pattern;
use super::value::{Arithmetic, Comparison, Number, Truth, Value};

/// Values on the stack for which nothing is allocated: more than a selector has that is not nested deeply.
const INLINE: usize = 16;

/// The steps of one selector. The parser makes only such as leave one value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Program(Vec<Step>);

/// Takes values from the stack, the last operand first, and leaves one.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Header(Box<str>),
    Text(Box<str>),
    Number(Number),
    Boolean(bool),
    Sign {
        negative: bool,
    },
    Calculate(Arithmetic),
    Compare(Comparison),
    Between,
    In(Box<[Box<str>]>),
    Like(Pattern),
    IsNull,
    Not,
    And,
    Or,
    /// Goes on at `to` if what is on the stack decides what follows: it is `decided`, and stays there, as a boolean.
    Skip {
        decided: bool,
        to: usize,
    },
}

/// Characters that the LIKEs of one selector compare for one message at most; what can't be told with so many is unknown.
const EFFORT: u32 = 65_536;

impl Program {
    pub(super) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    /// A `Skip` whose end is not known before [`Program::end_skip`].
    pub(super) fn begin_skip(&mut self, decided: bool) -> usize {
        self.0.push(Step::Skip { decided, to: 0 });
        self.0.len() - 1
    }

    pub(super) fn end_skip(&mut self, at: usize) {
        let end = self.0.len();
        if let Some(Step::Skip { to, .. }) = self.0.get_mut(at) {
            *to = end;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn run<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) -> Truth {
        let mut stack = Stack(SmallVec::new());
        let mut effort = EFFORT;
        let mut at = 0;
        while let Some(step) = self.0.get(at) {
            at += 1;
            let value = match step {
                Step::Header(name) => header(name).map_or(Value::Unknown, Value::Header),
                Step::Text(text) => Value::Text(text),
                Step::Number(number) => Value::Number(*number),
                Step::Boolean(boolean) => Value::Boolean(*boolean),
                Step::Sign { negative } => stack.pop().signed(*negative),
                Step::Calculate(operation) => {
                    let (left, right) = stack.pop_two();
                    left.calculate(*operation, right)
                }
                Step::Compare(comparison) => {
                    let (left, right) = stack.pop_two();
                    left.compare(*comparison, right).into()
                }
                Step::Between => {
                    let (low, high) = stack.pop_two();
                    let value = stack.pop();
                    let above = value.compare(Comparison::GreaterOrEqual, low);
                    and(above, value.compare(Comparison::LessOrEqual, high)).into()
                }
                Step::In(list) => {
                    let value = stack.pop();
                    value.text().map(|text| list.iter().any(|one| **one == *text)).into()
                }
                Step::Like(pattern) => {
                    stack.pop().text().and_then(|text| pattern.matches(text, &mut effort)).into()
                }
                Step::IsNull => Value::Boolean(matches!(stack.pop(), Value::Unknown)),
                Step::Not => stack.pop().truth().map(|truth| !truth).into(),
                Step::And => {
                    let (left, right) = stack.pop_two();
                    and(left.truth(), right.truth()).into()
                }
                Step::Or => {
                    let (left, right) = stack.pop_two();
                    or(left.truth(), right.truth()).into()
                }
                Step::Skip { decided, to } => {
                    let left = stack.pop();
                    if left.truth() == Some(*decided) {
                        at = *to;
                        Value::Boolean(*decided)
                    } else {
                        left
                    }
                }
            };
            stack.0.push(value);
        }
        stack.pop().truth()
    }
}

struct Stack<'a>(SmallVec<[Value<'a>; INLINE]>);

impl<'a> Stack<'a> {
    fn pop(&mut self) -> Value<'a> {
        self.0.pop().unwrap_or(Value::Unknown)
    }

    /// The two operands of a step, in the order in which they were written.
    fn pop_two(&mut self) -> (Value<'a>, Value<'a>) {
        let right = self.pop();
        (self.pop(), right)
    }
}

/// Table 3-4 of the standard.
fn and(left: Truth, right: Truth) -> Truth {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Table 3-5 of the standard.
fn or(left: Truth, right: Truth) -> Truth {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}
