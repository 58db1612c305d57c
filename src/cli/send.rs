//! `send`: sign a connector's case, or a file, as the vendor would, and post it.
//!
//! Cases are recorded bytes, and many of them share the vendor's id of an event. Sent as they are, the second one would
//! be taken for a repeat of the first and dropped without a word, so each gets an id of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::map::read;
use super::terminal::Output;
use crate::clock::Clock;
use crate::config::Env;
use crate::connector::{BodyKind, InboundRequest, Renewal, RequestParts, Unverified};
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
    /// A header to send, as `name: value`; may be given several times.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// Send the bytes exactly as they are, with the vendor's id of the event: the same id again counts as a repeat.
    ///
    /// Without it the id gets a new value where the source tells repeats by one field.
    #[arg(long)]
    keep_id: bool,
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
        for header in &self.header {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Failure::Usage(format!("`{header}` is no header; write `name: value`"))
            })?;
            unsigned
                .headers
                .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let now = Clock::system().now();
        let renewal =
            (!self.keep_id).then(|| source.inbound.renew(&mut unsigned, rand::random(), now));
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
        match renewal {
            None => {}
            Some(Renewal::Renewed { field, value }) => output.note(&format!(
                "sent with a new id, so that it is no repeat: {field} is {value} (--keep-id sends the bytes as they are)"
            )),
            Some(Renewal::Kept { by }) => output.note(&format!(
                "this source tells repeats by {by}: the same again makes no new event"
            )),
        }
        Ok(if (200..300).contains(&status) {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    fn unsigned(&self, source: &Source) -> Result<RequestParts, Failure> {
        if let Some(case) = source
            .connector
            .cases
            .iter()
            .find(|case| case.name == self.what)
        {
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
