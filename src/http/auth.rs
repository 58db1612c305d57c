//! Access to the admin side: a bearer token for programs, a session's cookie for browsers; what a role may do.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use actix_web::{FromRequest, HttpRequest, web};

use super::error::{ApiError, Code};
use super::session::Session;
use super::state::Office;
use crate::model::Secret;

/// The name of the cookie with a session's token.
pub(super) const COOKIE_NAME: &str = "outcome_bridge_session";
/// The header in which a browser's script brings the session's CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Read everything, change nothing.
    Viewer,
    /// Everything.
    Admin,
}

impl Role {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

/// The tokens that open the admin side, by role.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Opens everything.
    pub admin: Secret,
    /// Opens everything for reading, if there is one.
    pub viewer: Option<Secret>,
}

impl Tokens {
    /// What a token opens. Compared in constant time.
    pub(super) fn role_of(&self, token: &[u8]) -> Option<Role> {
        let fits = |secret: &Secret| !secret.is_empty() && secret.matches(token);
        let viewer = self.viewer.as_ref().is_some_and(fits);
        if fits(&self.admin) {
            Some(Role::Admin)
        } else {
            viewer.then_some(Role::Viewer)
        }
    }
}

/// Proof that the request may do what it asks of the admin API: reading for every role, changes for admins only.
/// Every admin handler takes one.
pub(super) struct Admin;

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(admit(request).map(|()| Self))
    }
}

fn admit(request: &HttpRequest) -> Result<(), ApiError> {
    let unknown = || {
        ApiError::new(
            Code::Unauthorized,
            "bring the admin token: `Authorization: Bearer …` (it is `admin.token` of the \
             configuration, or in the file `admin-token` of the data directory)",
        )
    };
    let office = request
        .app_data::<web::Data<Office>>()
        .ok_or_else(unknown)?;
    let changes = !request.method().is_safe();
    let role = if request.headers().contains_key(AUTHORIZATION) {
        bearer(request)
            .and_then(|token| office.tokens.role_of(token))
            .ok_or_else(unknown)?
    } else {
        let session = session(request, office).ok_or_else(unknown)?;
        if changes && !(is_same_site(request) && brings_csrf(request, &session)) {
            return Err(ApiError::new(
                Code::Forbidden,
                "a change with a cookie needs the session's token in `X-CSRF-Token`, from a page of this host",
            ));
        }
        session.role
    };
    if changes && role == Role::Viewer {
        return Err(ApiError::new(
            Code::Forbidden,
            "this is the viewer's token: it may read, not change; bring the admin's",
        ));
    }
    Ok(())
}

fn bearer(request: &HttpRequest) -> Option<&[u8]> {
    let bytes = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = bytes.split_at_checked(b"bearer ".len())?;
    // There may be several blanks between the two.
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii_start())
}

fn brings_csrf(request: &HttpRequest, session: &Session) -> bool {
    let value = request.headers().get(CSRF_HEADER);
    value.is_some_and(|value| session.csrf.matches(value.as_bytes()))
}

/// The session of the request's cookie.
pub(super) fn session(request: &HttpRequest, office: &Office) -> Option<Session> {
    office
        .sessions
        .find(session_token(request)?, office.clock.now())
}

/// The token in the session's cookie.
pub(super) fn session_token(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers().get_all(COOKIE);
    headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token)
}

/// Whether a browser sent it from a page of this very host. Browsers say where a form came from and pages cannot
/// change that; a program that says nothing is no browser that was tricked.
pub(super) fn is_same_site(request: &HttpRequest) -> bool {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str());
    if let Some(site) = text("sec-fetch-site")
        && !matches!(site, Ok("same-origin" | "none"))
    {
        return false;
    }
    match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (None, _) => true,
        (Some(Ok(origin)), Some(Ok(host))) => origin
            .split_once("://")
            .is_some_and(|(_, named)| named.eq_ignore_ascii_case(host)),
        _ => false,
    }
}

/// Whether the browser came by HTTPS, so that a cookie may be kept to it. A browser says so itself when it sends a form,
/// whatever stands in between; where it does not, a proxy does. Who forges either gets a cookie that is of no use to him.
pub(super) fn came_by_https(request: &HttpRequest) -> bool {
    let origin = request
        .headers()
        .get(ORIGIN)
        .and_then(|value| value.to_str().ok());
    match origin.and_then(|origin| origin.split_once("://")) {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https"),
        None => request
            .connection_info()
            .scheme()
            .eq_ignore_ascii_case("https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn https_is_what_the_browser_or_else_the_proxy_says() {
        for (headers, https) in [
            (&[][..], false),
            (&[("origin", "http://bridge.local:8081")], false),
            (&[("origin", "https://bridge.local")], true),
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-proto", "HTTPS, http")], true),
            (&[("x-forwarded-proto", "http")], false),
            (&[("forwarded", "for=192.0.2.1;proto=https")], true),
            (&[("origin", "null"), ("x-forwarded-proto", "https")], true),
            // Between the browser and the proxy, and between the proxy and here.
            (
                &[("origin", "https://b"), ("x-forwarded-proto", "http")],
                true,
            ),
            (
                &[("origin", "http://b"), ("x-forwarded-proto", "https")],
                false,
            ),
        ] {
            let request = headers.iter().fold(TestRequest::post(), |request, header| {
                request.insert_header(*header)
            });
            assert_eq!(
                came_by_https(&request.to_http_request()),
                https,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn each_token_opens_its_role() {
        let tokens = Tokens {
            admin: Secret::new("the-admins-token-1"),
            viewer: Some(Secret::new("the-viewers-token")),
        };
        assert_eq!(tokens.role_of(b"the-admins-token-1"), Some(Role::Admin));
        assert_eq!(tokens.role_of(b"the-viewers-token"), Some(Role::Viewer));
        assert_eq!(tokens.role_of(b"the-viewers-toke"), None);
        let none = Tokens {
            admin: Secret::new(""),
            viewer: Some(Secret::new("")),
        };
        assert_eq!(none.role_of(b""), None);
    }

    #[test]
    fn pages_of_other_hosts_are_recognized() {
        let from = |headers: &[(&'static str, &'static str)]| {
            let mut request = TestRequest::post().insert_header(("host", "bridge.local:8081"));
            for header in headers {
                request = request.insert_header(*header);
            }
            is_same_site(&request.to_http_request())
        };
        assert!(from(&[]));
        assert!(from(&[
            ("origin", "http://bridge.local:8081"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(from(&[("origin", "https://Bridge.local:8081")]));
        for wrong in ["http://evil.example", "null", "http://bridge.local:9", ""] {
            assert!(!from(&[("origin", wrong)]), "{wrong}");
        }
        for wrong in ["cross-site", "same-site", ""] {
            assert!(!from(&[("sec-fetch-site", wrong)]), "{wrong}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let request = TestRequest::get()
            .insert_header(("cookie", "a=b; outcome_bridge_session=abc; c"))
            .to_http_request();
        assert_eq!(session_token(&request), Some("abc"));
        let none = TestRequest::get()
            .insert_header(("cookie", "x_outcome_bridge_session=abc"))
            .to_http_request();
        assert_eq!(session_token(&none), None);
    }
}
