//! The grammar, with one word of foresight, and what can be known of types before a message comes.

use super::error::{Broken, Fault};
use super::like::Pattern;
use super::program::{Program, Step};
use super::token::{Keyword, Symbol, Token, Word, normal_form, tokens};
use super::value::{Arithmetic, Comparison, Number};
use super::{MAX_LIST, MAX_NESTING, MAX_PATTERN, MAX_TEXT};

/// The normal form of a selector, and its program.
pub(super) fn compile(text: &str) -> Result<(String, Program), Broken> {
    if text.len() > MAX_TEXT {
        return Err(Broken { at: text.floor_char_boundary(MAX_TEXT), fault: Fault::TooLong });
    }
    let tokens = tokens(text)?;
    let mut parser =
        Parser { tokens: &tokens, at: 0, end: text.len(), depth: 0, program: Program::default() };
    let whole = parser.or()?;
    if parser.at < tokens.len() {
        return Err(parser.expected("an operator, AND, OR or the end"));
    }
    whole.condition()?;
    parser.program.shrink();
    Ok((normal_form(&tokens), parser.program))
}

/// What is known of an expression's value.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A header's, which is read as its place asks.
    Header,
    Text,
    Number,
    Condition,
}

/// An expression whose steps are in the program.
#[derive(Clone, Copy)]
struct Operand {
    kind: Kind,
    at: usize,
}

impl Operand {
    fn condition(self) -> Result<(), Broken> {
        self.must_be(matches!(self.kind, Kind::Header | Kind::Condition), Fault::NotCondition)
    }

    fn number(self) -> Result<(), Broken> {
        self.must_be(matches!(self.kind, Kind::Header | Kind::Number), Fault::NotNumber)
    }

    fn header(self) -> Result<(), Broken> {
        self.must_be(self.kind == Kind::Header, Fault::NotHeader)
    }

    fn like(self, other: Operand) -> Result<(), Broken> {
        let either = self.kind == Kind::Header || other.kind == Kind::Header;
        self.must_be(either || self.kind == other.kind, Fault::Unlike)
    }

    fn must_be(self, is: bool, fault: Fault) -> Result<(), Broken> {
        if is { Ok(()) } else { Err(Broken { at: self.at, fault }) }
    }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Where the text ends.
    end: usize,
    depth: usize,
    program: Program,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Operand, Broken> {
        self.logical(Keyword::Or, Parser::and)
    }

    fn and(&mut self) -> Result<Operand, Broken> {
        self.logical(Keyword::And, Parser::not)
    }

    /// Operands joined by AND or by OR. What is behind one that decides it is skipped.
    fn logical(
        &mut self,
        keyword: Keyword,
        operand: impl Fn(&mut Self) -> Result<Operand, Broken>,
    ) -> Result<Operand, Broken> {
        let mut left = operand(self)?;
        while self.eat(keyword) {
            left.condition()?;
            let or = keyword == Keyword::Or;
            let skip = self.program.begin_skip(or);
            operand(self)?.condition()?;
            self.program.push(if or { Step::Or } else { Step::And });
            self.program.end_skip(skip);
            left.kind = Kind::Condition;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Operand, Broken> {
        let at = self.position();
        if !self.eat(Keyword::Not) {
            return self.test();
        }
        self.deeper(at, Parser::not)?.condition()?;
        self.program.push(Step::Not);
        Ok(Operand { kind: Kind::Condition, at })
    }

    fn test(&mut self) -> Result<Operand, Broken> {
        let left = self.sum()?;
        if let Some(comparison) = self.comparison() {
            let right = self.sum()?;
            if matches!(comparison, Comparison::Equal | Comparison::Unequal) {
                left.like(right)?;
            } else {
                left.number()?;
                right.number()?;
            }
            self.program.push(Step::Compare(comparison));
        } else if self.eat(Keyword::Is) {
            left.header()?;
            let not = self.eat(Keyword::Not);
            self.expect(Keyword::Null, "NULL or NOT NULL")?;
            self.program.push(Step::IsNull);
            self.end_test(not);
        } else {
            let not = self.eat(Keyword::Not);
            if self.eat(Keyword::Between) {
                self.between(left)?;
            } else if self.eat(Keyword::In) {
                left.header()?;
                self.list()?;
            } else if self.eat(Keyword::Like) {
                left.header()?;
                self.pattern()?;
            } else if not {
                return Err(self.expected("BETWEEN, IN or LIKE"));
            } else {
                return Ok(left);
            }
            self.end_test(not);
        }
        Ok(Operand { kind: Kind::Condition, at: left.at })
    }

    fn end_test(&mut self, not: bool) {
        if not {
            self.program.push(Step::Not);
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.symbol()? {
            Symbol::Equal => Comparison::Equal,
            Symbol::Unequal => Comparison::Unequal,
            Symbol::Less => Comparison::Less,
            Symbol::LessOrEqual => Comparison::LessOrEqual,
            Symbol::Greater => Comparison::Greater,
            Symbol::GreaterOrEqual => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn between(&mut self, value: Operand) -> Result<(), Broken> {
        value.number()?;
        self.sum()?.number()?;
        self.expect(Keyword::And, "AND and the upper bound of BETWEEN")?;
        self.sum()?.number()?;
        self.program.push(Step::Between);
        Ok(())
    }

    fn list(&mut self) -> Result<(), Broken> {
        let mut list = Vec::new();
        self.expect_symbol(Symbol::Open, "'(' and the strings of IN")?;
        loop {
            if list.len() == MAX_LIST {
                return Err(Broken { at: self.position(), fault: Fault::TooMany });
            }
            list.push(self.text("a string, since IN lists strings")?.into());
            if !self.eat_symbol(Symbol::Comma) {
                break;
            }
        }
        self.expect_symbol(Symbol::Close, "',' or ')'")?;
        self.program.push(Step::In(list.into()));
        Ok(())
    }

    fn pattern(&mut self) -> Result<(), Broken> {
        let at = self.position();
        let text = self.text("a string, the pattern of LIKE")?;
        if text.len() > MAX_PATTERN {
            return Err(Broken { at, fault: Fault::LongPattern });
        }
        let mut escape = None;
        if self.eat(Keyword::Escape) {
            let at = self.position();
            let mut characters = self.text("a string of one character")?.chars();
            escape = characters.next();
            if escape.is_none() || characters.next().is_some() {
                return Err(Broken { at, fault: Fault::Escape });
            }
        }
        let pattern = Pattern::new(text, escape).map_err(|fault| Broken { at, fault })?;
        self.program.push(Step::Like(pattern));
        Ok(())
    }

    fn sum(&mut self) -> Result<Operand, Broken> {
        self.calculation(
            [(Symbol::Plus, Arithmetic::Add), (Symbol::Minus, Arithmetic::Subtract)],
            Parser::product,
        )
    }

    fn product(&mut self) -> Result<Operand, Broken> {
        self.calculation(
            [(Symbol::Times, Arithmetic::Multiply), (Symbol::Over, Arithmetic::Divide)],
            Parser::unary,
        )
    }

    fn calculation(
        &mut self,
        operations: [(Symbol, Arithmetic); 2],
        operand: impl Fn(&mut Self) -> Result<Operand, Broken>,
    ) -> Result<Operand, Broken> {
        let mut left = operand(self)?;
        while let Some((_, operation)) =
            operations.into_iter().find(|(symbol, _)| Some(*symbol) == self.symbol())
        {
            left.number()?;
            self.at += 1;
            operand(self)?.number()?;
            self.program.push(Step::Calculate(operation));
            left.kind = Kind::Number;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Operand, Broken> {
        let at = self.position();
        let negative = match self.symbol() {
            Some(Symbol::Minus) => true,
            Some(Symbol::Plus) => false,
            _ => return self.primary(),
        };
        self.at += 1;
        // A literal takes its minus with it, since the least exact number has no positive counterpart.
        if let (true, Some(&Word::Exact(size))) = (negative, self.word()) {
            self.at += 1;
            let number = 0_i64.checked_sub_unsigned(size).ok_or(Broken { at, fault: Fault::TooLarge })?;
            return Ok(self.operand(at, Kind::Number, Step::Number(Number::Exact(number))));
        }
        self.deeper(at, Parser::unary)?.number()?;
        Ok(self.operand(at, Kind::Number, Step::Sign { negative }))
    }

    fn primary(&mut self) -> Result<Operand, Broken> {
        let at = self.position();
        let (kind, step) = match self.word() {
            Some(Word::Symbol(Symbol::Open)) => {
                self.at += 1;
                let inner = self.deeper(at, Parser::or)?;
                self.expect_symbol(Symbol::Close, "an operator or ')'")?;
                return Ok(Operand { at, ..inner });
            }
            Some(Word::Name(name)) => (Kind::Header, Step::Header((&**name).into())),
            Some(Word::Text(text)) => (Kind::Text, Step::Text((&**text).into())),
            Some(Word::Exact(size)) => {
                let number = i64::try_from(*size).map_err(|_| Broken { at, fault: Fault::TooLarge })?;
                (Kind::Number, Step::Number(Number::Exact(number)))
            }
            Some(Word::Approximate(number)) => (Kind::Number, Step::Number(Number::Approximate(*number))),
            Some(Word::Keyword(Keyword::True)) => (Kind::Condition, Step::Boolean(true)),
            Some(Word::Keyword(Keyword::False)) => (Kind::Condition, Step::Boolean(false)),
            Some(Word::Keyword(Keyword::Null)) => {
                return Err(self.expected("a value: what is NULL is asked by IS NULL"));
            }
            _ => return Err(self.expected("a value: a header's name, a number, a 'string', TRUE or FALSE")),
        };
        self.at += 1;
        Ok(self.operand(at, kind, step))
    }

    fn operand(&mut self, at: usize, kind: Kind, step: Step) -> Operand {
        self.program.push(step);
        Operand { kind, at }
    }

    /// What is nested in a thing that begins at `at`. Only by this do the methods above recurse.
    fn deeper(
        &mut self,
        at: usize,
        inner: impl Fn(&mut Self) -> Result<Operand, Broken>,
    ) -> Result<Operand, Broken> {
        if self.depth == MAX_NESTING {
            return Err(Broken { at, fault: Fault::TooDeep });
        }
        self.depth += 1;
        let operand = inner(self)?;
        self.depth -= 1;
        Ok(operand)
    }

    fn word(&self) -> Option<&'a Word<'a>> {
        self.tokens.get(self.at).map(|token| &token.word)
    }

    fn symbol(&self) -> Option<Symbol> {
        if let Some(Word::Symbol(symbol)) = self.word() { Some(*symbol) } else { None }
    }

    /// Where the next word stands, or the end.
    fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |token| token.at)
    }

    fn eat(&mut self, keyword: Keyword) -> bool {
        let found = self.word() == Some(&Word::Keyword(keyword));
        self.at += usize::from(found);
        found
    }

    fn eat_symbol(&mut self, symbol: Symbol) -> bool {
        let found = self.symbol() == Some(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: Keyword, what: &'static str) -> Result<(), Broken> {
        if self.eat(keyword) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn expect_symbol(&mut self, symbol: Symbol, what: &'static str) -> Result<(), Broken> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, Broken> {
        let Some(Word::Text(text)) = self.word() else { return Err(self.expected(what)) };
        self.at += 1;
        Ok(text)
    }

    fn expected(&self, what: &'static str) -> Broken {
        Broken { at: self.position(), fault: Fault::Expected(what) }
    }
}
