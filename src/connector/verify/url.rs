//! What `{url}` is: the URL that the vendor was told, in the form in which the vendor signs it.

use super::arrival::Arrival;

/// In which form the vendor signs the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlForm {
    /// The public URL and the query as received.
    Public,
    /// As HubSpot documents it: some encoded characters of it are decoded.
    Hubspot,
    /// As Twilio's libraries check it: as it is, without port, with the default port.
    Twilio,
}

impl UrlForm {
    pub(super) const WORDS: [(&'static str, Self); 3] = [
        ("public", Self::Public),
        ("hubspot", Self::Hubspot),
        ("twilio", Self::Twilio),
    ];

    /// The URLs that the vendor may have signed, the likeliest first.
    pub(super) fn candidates(self, arrival: &Arrival<'_>) -> Vec<String> {
        let url = plain(arrival);
        match self {
            Self::Public => vec![url],
            Self::Hubspot => vec![hubspot_decoded(&url)],
            Self::Twilio => with_and_without_port(url),
        }
    }
}

fn plain(arrival: &Arrival<'_>) -> String {
    let base = arrival.site.public_url;
    let base = base.split_once('?').map_or(base, |(base, _)| base);
    let mut url = base.to_owned();
    if let Some(token) = &arrival.parts.path_token {
        url.push('/');
        url.push_str(token);
    }
    if !arrival.parts.query.is_empty() {
        url.push('?');
        url.push_str(&arrival.parts.query);
    }
    url
}

/// HubSpot's list of what is decoded before it signs, from "Validating requests".
const HUBSPOT_DECODES: [(&str, char); 12] = [
    ("3A", ':'),
    ("2F", '/'),
    ("3F", '?'),
    ("40", '@'),
    ("21", '!'),
    ("24", '$'),
    ("27", '\''),
    ("28", '('),
    ("29", ')'),
    ("2A", '*'),
    ("2C", ','),
    ("3B", ';'),
];

fn hubspot_decoded(url: &str) -> String {
    let mut decoded = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let code = after.get(..2).unwrap_or_default();
        let known = HUBSPOT_DECODES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(code));
        match known {
            Some((_, character)) => {
                decoded.push(*character);
                rest = &after[2..];
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn with_and_without_port(url: String) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url];
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(end);
    let port_at = host
        .rfind(':')
        .filter(|&at| host[at + 1..].bytes().all(|b| b.is_ascii_digit()));
    let bare = port_at.map_or(host, |at| &host[..at]);
    let port = if scheme == "https" { 443 } else { 80 };
    let mut urls = vec![
        url.clone(),
        format!("{scheme}://{bare}{tail}"),
        format!("{scheme}://{bare}:{port}{tail}"),
    ];
    urls.dedup();
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubspot_decodes_its_twelve_and_nothing_else() {
        assert_eq!(
            hubspot_decoded("https://h/w?src=hs%3Aapp%2Fv3%20x%3b%"),
            "https://h/w?src=hs:app/v3%20x;%"
        );
        assert_eq!(hubspot_decoded("%é%2"), "%é%2");
    }

    #[test]
    fn twilio_urls_are_tried_with_and_without_port() {
        assert_eq!(
            with_and_without_port("https://h.example/a?b=c:1".to_owned()),
            ["https://h.example/a?b=c:1", "https://h.example:443/a?b=c:1"]
        );
        assert_eq!(
            with_and_without_port("http://h:1234/a".to_owned()),
            ["http://h:1234/a", "http://h/a", "http://h:80/a"]
        );
        let odd = "http://[::1]/a".to_owned();
        assert_eq!(with_and_without_port(odd.clone())[0], odd);
    }
}
