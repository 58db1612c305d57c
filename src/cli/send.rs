//! `send`: sign a connector's case, or a file, as the vendor would, and post it.
//!
//! Cases are recorded bytes, and many of a connector's share the vendor's id of an event. Sent as they are, the second one
//! would be taken for a repeat of the first and dropped without a word, so each has an id of its own, made of its name. The same
//! case again is a repeat, as a vendor's retry is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::map::{header, read, replace};
use super::terminal::Output;
use crate::clock::Clock;
use crate::config::Env;
use crate::connector::{BodyKind, Case, InboundRequest, Renewal, RequestParts, Unverified};
use crate::model::SourceName;
use crate::setup::{Blueprint, Loaded, Source};

/// Sign a case or a file as the vendor would, and post it.
#[derive(Debug, clap::Args)]
pub(super) struct Send {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source to post to; its secrets sign.
    #[arg(long)]
    source: SourceName,
    /// The bridge's public side. Without it: the source's public URL.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// A header to send, as `name: value`, in place of the case's; may be given several times.
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    /// Give it an id that was never used, so that it is a new event whatever was sent before.
    ///
    /// Otherwise a case has its own, the same each time: sent again it is a repeat, as a vendor's retry is. A file is sent as
    /// it is.
    #[arg(long)]
    new_id: bool,
    /// A case of the source's connector, or a file with a body.
    #[arg(value_name = "CASE|FILE")]
    what: String,
}

impl Send {
    pub(super) async fn run(self, output: &Output) -> Result<Exit, Failure> {
        let Loaded { blueprint, .. } =
            Blueprint::load(&self.config.config, &Env::system()).map_err(Failure::Mistakes)?;
        let source = blueprint.sources.get(self.source.as_str()).ok_or_else(|| {
            Failure::Usage(format!(
                "there is no source `{}` in the configuration",
                self.source
            ))
        })?;
        let mut unsigned = self.unsigned(source)?;
        replace(&mut unsigned.headers, &self.header);
        let now = Clock::system().now();
        let nonce = match (self.new_id, self.case(source)) {
            (true, _) => Some(rand::random()),
            (false, Some(case)) => Some(nonce_of(&case.name)),
            (false, None) => None,
        };
        let renewal = nonce.map(|nonce| source.inbound.renew(&mut unsigned, nonce, now));
        let signed = source.inbound.sign(unsigned, now).map_err(Failure::of)?;
        let target = match &self.url {
            Some(base) => base
                .join(&format!("/webhooks/{}", source.name))
                .map_err(Failure::of)?,
            None => {
                let configured = &blueprint.config.sources[source.name.as_str()];
                blueprint.config.source_url(configured)
            }
        };
        let (status, body) = post(&target, signed).await?;
        if output.is_json() {
            let id = match &renewal {
                Some(Renewal::Renewed { field, value }) => {
                    json!({ "field": field, "value": value })
                }
                _ => Value::Null,
            };
            output.json(&json!({ "status": status, "body": body, "new_id": id }));
        } else {
            output.line(format!("{target} answered {status} {body}").trim_end());
        }
        match (renewal, self.new_id) {
            (None, _) => {}
            (Some(Renewal::Renewed { .. }), true) => {}
            (Some(Renewal::Renewed { field, value }), false) => output.note(&format!(
                "{field} is {value}: sent again it is a repeat, unless with --new-id"
            )),
            (Some(Renewal::Kept { by }), _) => output.note(&format!(
                "this source tells repeats by {by}: the same again makes no new event"
            )),
        }
        Ok(if (200..300).contains(&status) {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    /// The case that is meant, if it is one.
    fn case<'s>(&self, source: &'s Source) -> Option<&'s Case> {
        let mut cases = source.connector.cases.iter();
        cases.find(|case| case.name == self.what)
    }

    fn unsigned(&self, source: &Source) -> Result<RequestParts, Failure> {
        if let Some(case) = self.case(source) {
            return case.request().cloned().ok_or_else(|| {
                Failure::Usage(format!(
                    "the case `{}` is about a destination: it has no request",
                    case.name
                ))
            });
        }
        let file = PathBuf::from(&self.what);
        if !file.exists() && self.what != "-" {
            let known: Vec<_> = source
                .connector
                .cases
                .iter()
                .map(|case| case.name.as_str())
                .collect();
            return Err(Failure::Usage(format!(
                "`{}` is neither a file nor a case of `{}` (cases: {})",
                self.what,
                source.connector.name,
                known.join(", ")
            )));
        }
        let content_type = match source.body_kind() {
            BodyKind::Json => "application/json",
            BodyKind::Form => "application/x-www-form-urlencoded",
            BodyKind::Xml => "text/xml",
            BodyKind::Jwt => "application/jwt",
        };
        Ok(RequestParts {
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: read(&file)?.into(),
            ..RequestParts::default()
        })
    }
}

/// The same for the same name, and another one for another.
fn nonce_of(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    digest
        .iter()
        .take(8)
        .fold(0, |nonce, byte| nonce << 8 | u64::from(*byte))
}

/// Posts a signed request; answers status and body.
pub(super) async fn post(
    target: &Url,
    request: InboundRequest<Unverified>,
) -> Result<(u16, String), Failure> {
    let RequestParts {
        path_token,
        query,
        headers,
        body,
        ..
    } = request.into_parts();
    let mut url = target.clone();
    if let Some(token) = path_token {
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("{target} cannot have a path")))?
            .push(&token);
    }
    if !query.is_empty() {
        url.set_query(Some(&query));
    }
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(Failure::of)?;
    let mut post = http.post(url).body(body);
    for (name, value) in headers {
        post = post.header(name, value);
    }
    let begun = Instant::now();
    let response = post.send().await.map_err(|error| {
        if error.is_connect() {
            Failure::Unreachable(format!("no bridge answers at {target}; is it running?"))
        } else {
            Failure::of(error)
        }
    })?;
    let status = response.status().as_u16();
    tracing::debug!(status, ms = begun.elapsed().as_millis(), "POST {target}");
    Ok((status, response.text().await.map_err(Failure::of)?))
}
