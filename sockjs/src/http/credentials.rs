//! Who a request comes from, as far as it says: an id that was overheard is no authority over a session.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use actix_http::{RequestHead, header};

use crate::config::Config;

/// Cookies of a request that are looked at.
const MAX_COOKIES: usize = 64;

/// What a request brings to say who it is from, hashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Credentials {
    authorization: Option<u64>,
    /// Those that count, in the order of their hashes.
    cookies: Box<[u64]>,
    /// Whether all cookies must be the same, since they were named in the settings, or one of them.
    all: bool,
}

impl Credentials {
    pub(super) fn of(request: &RequestHead, config: &Config) -> Credentials {
        let headers = request.headers();
        let mut cookies: Vec<u64> = headers
            .get_all(header::COOKIE)
            .flat_map(|value| value.as_bytes().split(|&octet| octet == b';'))
            .map(<[u8]>::trim_ascii)
            .filter(|cookie| !cookie.is_empty() && counts(cookie, config))
            .take(MAX_COOKIES)
            .map(hash)
            .collect();
        // Browsers may send them in another order.
        cookies.sort_unstable();
        Credentials {
            authorization: headers.get(header::AUTHORIZATION).map(|value| hash(value.as_bytes())),
            cookies: cookies.into(),
            all: config.credential_cookies.is_some(),
        }
    }

    /// Whether a session that was opened with these lets a request with those in. Who opened it with none has nothing to
    /// be told apart by.
    pub(super) fn admit(&self, asks: &Credentials) -> bool {
        let same_cookies = match self.all {
            true => self.cookies == asks.cookies,
            // Cookies that say nothing of the user come and go.
            false => self.cookies.iter().any(|cookie| asks.cookies.binary_search(cookie).is_ok()),
        };
        (self.authorization.is_none() || self.authorization == asks.authorization)
            && (self.cookies.is_empty() || same_cookies)
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn counts(cookie: &[u8], config: &Config) -> bool {
    let name = cookie.split(|&octet| octet == b'=').next().unwrap_or_default();
    match &config.credential_cookies {
        Some(names) => names.iter().any(|listed| listed.as_bytes() == name),
        None => name != b"JSESSIONID",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn of(headers: &[(&'static str, &'static str)], config: &Config) -> Credentials {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        Credentials::of(request.to_http_request().head(), config)
    }

    #[test]
    fn a_session_is_its_openers() {
        let config = Config::default();
        let of = |headers: &[(&'static str, &'static str)]| of(headers, &config);
        let none = of(&[("cookie", "JSESSIONID=a"), ("x-other", "b")]);
        assert_eq!(none, Credentials::default());
        let alice = of(&[("authorization", "Bearer alice"), ("cookie", "a=1; b=2")]);
        assert!(none.admit(&alice), "it was anybody's");
        assert!(alice.admit(&of(&[("authorization", "Bearer alice"), ("cookie", "b=2; JSESSIONID=x; a=1")])));
        assert!(
            alice.admit(&of(&[("authorization", "Bearer alice"), ("cookie", "a=1; b=3; c=4")])),
            "one changed"
        );
        for stranger in [
            none,
            of(&[("authorization", "Bearer bob"), ("cookie", "a=1; b=2")]),
            of(&[("authorization", "Bearer alice"), ("cookie", "a=2; b=3")]),
            of(&[("cookie", "a=1; b=2")]),
        ] {
            assert!(!alice.admit(&stranger), "{stranger:?}");
        }
    }

    #[test]
    fn cookies_that_say_nothing_of_the_user_can_be_left_out() {
        let config = Config { credential_cookies: Some(vec!["sid".into()]), ..Config::default() };
        let alice = of(&[("cookie", "sid=alice; seen=1")], &config);
        assert!(alice.admit(&of(&[("cookie", "seen=2; sid=alice")], &config)));
        assert!(!alice.admit(&of(&[("cookie", "seen=1; sid=bob")], &config)));
        assert!(!alice.admit(&of(&[("cookie", "seen=1")], &config)));
    }
}
