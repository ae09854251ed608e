//! What a setting is: a typed slot with a name, a description and a range, filled from raw input.
//! The `settings!` macro declares a section once and derives the struct, its defaults and the visit
//! that loading, checking of names and printing all use. Which settings exist is `config/mod.rs`'s.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A value as it was given, before anybody knows what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A TOML string, an environment variable or a flag.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array.
    List(Vec<Raw>),
    /// Any other form, by its name ("a table", "a float").
    Other(&'static str),
}

impl Raw {
    /// The value as an error message shows it: quoted, on one line, cut to a bearable length.
    pub(super) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        match self {
            Raw::Text(text) if text.chars().count() > LONGEST => {
                format!("{:?}…", text.chars().take(LONGEST).collect::<String>())
            }
            Raw::Text(text) => format!("{text:?}"),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(value) => value.to_string(),
            Raw::List(_) => "a list".to_owned(),
            Raw::Other(form) => (*form).to_owned(),
        }
    }
}

/// Why a value was refused, and what would be taken instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) fix: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, fix: impl Into<String>) -> Wrong {
        Wrong { what: what.into(), fix: fix.into() }
    }

    /// The usual complaint: `raw` cannot be read as a `T`.
    pub(super) fn form<T: Value>(raw: &Raw) -> Wrong {
        Wrong::new(format!("{} is not {}", raw.shown(), T::NAME), format!("give {}", T::EXAMPLE))
    }
}

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// With its article, to complete "this is not …".
    const NAME: &'static str;
    /// To complete "give …".
    const EXAMPLE: &'static str;

    fn parse(raw: &Raw) -> Result<Self, Wrong>;
    /// As a TOML value that `parse` reads back; secrets are masked.
    fn show(&self) -> String;
}

/// What a setting of type `T` may be, beyond what the type says.
pub(super) trait Check<T> {
    fn check(&self, value: &T) -> Result<(), Wrong>;
}

/// Any value of the type.
pub(super) struct Anything;

impl<T> Check<T> for Anything {
    fn check(&self, _: &T) -> Result<(), Wrong> {
        Ok(())
    }
}

impl<T: Value + PartialOrd> Check<T> for RangeInclusive<T> {
    fn check(&self, value: &T) -> Result<(), Wrong> {
        let (least, most) = (self.start().show(), self.end().show());
        if value < self.start() {
            let what = format!("{} is less than the {least} that is needed", value.show());
            Err(Wrong::new(what, format!("give {least} to {most}")))
        } else if value > self.end() {
            let what = format!("{} is more than the {most} that is allowed", value.show());
            Err(Wrong::new(what, format!("give {least} to {most}")))
        } else {
            Ok(())
        }
    }
}

/// Zero, which switches something off, or a value in a range.
pub(super) struct ZeroOr(pub(super) RangeInclusive<Duration>);

impl Check<Duration> for ZeroOr {
    fn check(&self, value: &Duration) -> Result<(), Wrong> {
        if value.is_zero() {
            return Ok(());
        }
        self.0
            .check(value)
            .map_err(|Wrong { what, fix }| Wrong { what, fix: format!("{fix}, or \"0s\" for none") })
    }
}

/// A setting's place in a [`Config`](super::Config), whatever its type.
pub(super) trait Slot {
    fn set(&mut self, raw: &Raw) -> Result<(), Wrong>;
    fn show(&self) -> String;
}

/// The field and its check.
pub(super) struct Field<'a, T>(pub(super) &'a mut T, pub(super) &'a dyn Check<T>);

impl<T: Value> Slot for Field<'_, T> {
    fn set(&mut self, raw: &Raw) -> Result<(), Wrong> {
        let value = T::parse(raw)?;
        self.1.check(&value)?;
        *self.0 = value;
        Ok(())
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// One setting, as a visit of the whole configuration meets it.
pub(super) struct Setting<'a> {
    /// With its section: `outbox.messages`.
    pub(super) name: String,
    /// The lines of its description, each with a leading space.
    pub(super) doc: &'static [&'static str],
    pub(super) slot: &'a mut dyn Slot,
}

/// A group of settings below one name.
pub(super) trait Section {
    /// Calls `visit` with every setting, in the order of their declaration; `prefix` is the section's
    /// name with a dot behind it, or empty.
    fn each(&mut self, prefix: &str, visit: &mut dyn FnMut(Setting<'_>));
}

/// Declares a section: `name: Type = default, check;` for each setting, then its own sections.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $section:ident {
            $( $(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $check:expr; )*
            $( sections { $( $(#[doc = $inner_doc:literal])+ $inner:ident: $inner_type:ty; )* } )?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`; allowed: `", stringify!($check), "`.")]
                pub $name: $type,
            )*
            $( $( $(#[doc = $inner_doc])+ pub $inner: $inner_type, )* )?
        }

        impl Default for $section {
            fn default() -> Self {
                Self {
                    $( $name: $default, )*
                    $( $( $inner: <$inner_type>::default(), )* )?
                }
            }
        }

        impl $crate::config::setting::Section for $section {
            fn each(&mut self, prefix: &str, visit: &mut dyn FnMut($crate::config::setting::Setting<'_>)) {
                $(
                    visit($crate::config::setting::Setting {
                        name: format!("{prefix}{}", stringify!($name)),
                        doc: &[$($doc),+],
                        slot: &mut $crate::config::setting::Field(&mut self.$name, &$check),
                    });
                )*
                $( $( self.$inner.each(&format!("{prefix}{}.", stringify!($inner)), visit); )* )?
            }
        }
    };
}
pub(super) use settings;
