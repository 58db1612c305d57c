//! Log-in with a token, log-out.

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use maud::html;
use serde::Deserialize;

use super::layout::{self, see_other};
use crate::http::auth::{self, COOKIE_NAME};
use crate::http::session::LIFE;
use crate::http::state::Office;

/// Where people go who came for nothing in particular.
const HOME: &str = "/console";

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct LogIn {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct LogOut {
    #[serde(default)]
    csrf: String,
}

pub(super) async fn form(
    request: HttpRequest,
    wanted: web::Query<Wanted>,
    office: web::Data<Office>,
) -> HttpResponse {
    if auth::session(&request, &office).is_some() {
        return see_other(inside(&wanted.next));
    }
    asked(StatusCode::OK, &wanted.next, None)
}

pub(super) async fn log_in(
    request: HttpRequest,
    sent: web::Form<LogIn>,
    office: web::Data<Office>,
) -> HttpResponse {
    let again = |status, why: &str| asked(status, &sent.next, Some(why));
    if !auth::is_same_site(&request) {
        return again(
            StatusCode::FORBIDDEN,
            "That came from a page of another host. Log in here.",
        );
    }
    let now = office.clock.now();
    let Some(from) = request.peer_addr().map(|peer| peer.ip()) else {
        return again(
            StatusCode::BAD_REQUEST,
            "Nobody can be logged in over this connection.",
        );
    };
    if let Some(wait) = office.sessions.wait(from, now) {
        let seconds = wait.as_secs().saturating_add(1);
        let why = format!("Too many wrong tokens. Try again in {seconds} seconds.");
        let mut response = again(StatusCode::TOO_MANY_REQUESTS, &why);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
        return response;
    }
    let Some(role) = office.tokens.role_of(sent.token.trim().as_bytes()) else {
        office.sessions.failed(from, now);
        tracing::warn!(target: "console.refused", %from, "a log-in with a wrong token");
        return again(StatusCode::UNAUTHORIZED, "This token opens nothing here.");
    };
    office.sessions.succeeded(from);
    if let Some(old) = auth::session_token(&request) {
        office.sessions.end(old);
    }
    let token = office.sessions.begin(role, now);
    tracing::info!(target: "console.login", %from, role = role.as_str(), "somebody logged in");
    with_cookie(
        see_other(inside(&sent.next)),
        &request,
        token.expose(),
        LIFE.as_secs(),
    )
}

pub(super) async fn log_out(
    request: HttpRequest,
    sent: web::Form<LogOut>,
    office: web::Data<Office>,
) -> HttpResponse {
    let (Some(session), Some(token)) = (
        auth::session(&request, &office),
        auth::session_token(&request),
    ) else {
        return see_other("/console/login");
    };
    if !auth::is_same_site(&request) || !session.csrf.matches(sent.csrf.as_bytes()) {
        return asked(
            StatusCode::FORBIDDEN,
            "",
            Some("That came from another page. You are still logged in."),
        );
    }
    office.sessions.end(token);
    with_cookie(see_other("/console/login"), &request, "", 0)
}

fn with_cookie(
    mut response: HttpResponse,
    request: &HttpRequest,
    value: &str,
    seconds: i64,
) -> HttpResponse {
    let secure = if auth::came_by_https(request) {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The page to go to: one of the console, whatever the parameter says.
fn inside(next: &str) -> &str {
    let ours = next
        .strip_prefix(HOME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours && plain { next } else { HOME }
}

fn asked(status: StatusCode, next: &str, mistake: Option<&str>) -> HttpResponse {
    let content = html! {
        section class="login" {
            h1 { "Log in" }
            @if let Some(mistake) = mistake { p class="notice" role="alert" { (mistake) } }
            form method="post" action="/console/login" {
                input type="hidden" name="next" value=(inside(next));
                label for="token" { "Token" }
                input id="token" type="password" name="token" autocomplete="current-password" required autofocus;
                button { "Log in" }
            }
            p class="hint" {
                "The admin's token is " code { "admin.token" } " of the configuration or in the file "
                code { "admin-token" } " of the data directory; a viewer's is " code { "admin.viewer_token" } "."
            }
        }
    };
    layout::framed(status, None, "Log in", &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_ins_lead_to_the_console_only() {
        for good in ["/console", "/console/calls?a=b%20c", "/console?x=1"] {
            assert_eq!(inside(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/consolex",
            "https://evil.example/console",
            "/console/\\evil",
            "/console/\r\nx",
        ] {
            assert_eq!(inside(bad), HOME, "{bad:?}");
        }
    }
}
