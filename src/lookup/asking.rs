//! One question to a vendor's API: authorized, sent, judged, told.

use std::time::Duration;

use tokio::time::Instant;

use super::desk::Desk;
use super::plan::Job;
use super::token::{NoToken, basic};
use crate::connector::{
    ApiAuth, DestinationAnswer, LookupVerdict, PreparedRequest, bearer, secret_forms,
};
use crate::egress::{Answer, excerpt, parse_retry_after};
use crate::metrics::LookupResult;
use crate::model::Secret;
use crate::telemetry::mask_text;

/// Characters of an answer's text that a reason may have.
const DETAIL: usize = 160;

impl Desk {
    /// Asks, with another token if the one at hand turns out to be worth nothing.
    pub(super) async fn ask(&self, job: &Job) -> LookupVerdict {
        let started = Instant::now();
        let verdict = match self.exchange(job, true).await {
            Ok((answer, token)) => self.judge(job, &answer, token.as_ref()),
            Err(verdict) => verdict,
        };
        self.announce(job, &verdict, started.elapsed());
        verdict
    }

    /// The answer, and the token that it was asked for with, if there was one.
    async fn exchange(
        &self,
        job: &Job,
        may_renew: bool,
    ) -> std::result::Result<(Answer, Option<Secret>), LookupVerdict> {
        let mut request = job.question.request.clone();
        let mut token = None;
        match &self.api.auth {
            ApiAuth::Open | ApiAuth::NotSet(_) => {}
            ApiAuth::Header(name, value) => set_header(&mut request, name, value.expose()),
            ApiAuth::Query(name, value) => {
                request
                    .url
                    .query_pairs_mut()
                    .append_pair(name, value.expose());
            }
            ApiAuth::Basic(user, password) => {
                set_header(&mut request, "authorization", &basic(user, password));
            }
            ApiAuth::OAuth2(_) => {
                let granted = self.token().await?;
                set_header(&mut request, "authorization", bearer(&granted).expose());
                token = Some(granted);
            }
        }
        let failed = |reason: String| LookupVerdict::Failed {
            reason,
            retry_after: None,
        };
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if let (Some(token), Some(tokens), 401) = (&token, &self.tokens, answer.status) {
            // A token may be withdrawn before its time; a new one tells whether that was it.
            tokens.forget(token).await;
            if may_renew {
                return Box::pin(self.exchange(job, false)).await;
            }
        }
        Ok((answer, token))
    }

    async fn token(&self) -> std::result::Result<Secret, LookupVerdict> {
        let Some(tokens) = &self.tokens else {
            return Err(LookupVerdict::Refused("there are no tokens".to_owned()));
        };
        tokens
            .get(&self.client)
            .await
            .map_err(|no_token| match no_token {
                NoToken::Refused(reason) => LookupVerdict::Refused(reason),
                NoToken::Failed(reason) => LookupVerdict::Failed {
                    reason,
                    retry_after: None,
                },
            })
    }

    fn judge(&self, job: &Job, answer: &Answer, token: Option<&Secret>) -> LookupVerdict {
        let verdict = job.step.judge(
            &DestinationAnswer {
                status: answer.status,
                headers: &answer.headers,
                body: &answer.body,
            },
            answer.cut,
        );
        match verdict {
            LookupVerdict::Refused(reason) => {
                LookupVerdict::Refused(self.with_detail(reason, answer, token))
            }
            LookupVerdict::Failed {
                reason,
                retry_after,
            } => {
                let header = answer
                    .headers
                    .iter()
                    .find(|(name, _)| name == "retry-after");
                let now = self.clock.now();
                LookupVerdict::Failed {
                    reason: self.with_detail(reason, answer, token),
                    retry_after: retry_after.or_else(|| parse_retry_after(&header?.1, now)),
                }
            }
            other => other,
        }
    }

    /// The reason with what the vendor wrote about it, if that is a text for people.
    fn with_detail(&self, reason: String, answer: &Answer, token: Option<&Secret>) -> String {
        let is_success = (200..300).contains(&answer.status);
        let is_page = answer.body.trim_ascii_start().starts_with(b"<");
        let mut secrets = self.api.auth.secrets();
        secrets.extend(token);
        let text = excerpt(&answer.body, |text| scrubbed(text, &secrets));
        let text: String = mask_text(text.trim()).chars().take(DETAIL).collect();
        if is_success || is_page || text.is_empty() {
            return reason;
        }
        format!("{reason}: {text}")
    }

    /// The wide line of a look-up and its metrics, of one happening in one place.
    fn announce(&self, job: &Job, verdict: &LookupVerdict, took: Duration) {
        let (result, reason) = match verdict {
            LookupVerdict::Answered(_) => (LookupResult::Answered, ""),
            LookupVerdict::NotThere => (LookupResult::None, ""),
            LookupVerdict::Refused(reason) => (LookupResult::Refused, reason.as_str()),
            LookupVerdict::Failed { reason, .. } => (LookupResult::Failed, reason.as_str()),
        };
        self.metrics.made(result, took);
        tracing::info!(
            target: "lookup.made", source = %self.source, lookup = job.step.name(), result = result.as_str(),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), reason,
            "a look-up was made"
        );
    }
}

fn set_header(request: &mut PreparedRequest, name: &str, value: &str) {
    request.headers.retain(|(known, _)| known != name);
    request
        .headers
        .push((name.to_ascii_lowercase(), value.to_owned()));
}

/// A text without these secrets, plain or percent-encoded.
fn scrubbed(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let bare = secret.expose().trim_start_matches("Bearer ");
        for form in secret_forms(&Secret::new(bare)) {
            if !form.expose().is_empty() {
                text = text.replace(form.expose(), "•••");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_an_answer_in_every_form() {
        let (key, token) = (Secret::new("Bearer k/1+2"), Secret::new("granted=="));
        let text = "no key k/1+2 (k%2F1%2B2) with granted== or granted%3D%3D";
        assert_eq!(
            scrubbed(text, &[&key, &token, &Secret::new("")]),
            "no key ••• (•••) with ••• or •••"
        );
    }
}
