//! Where a page is and what it was asked. All state is in the address, so that it can be kept, sent and gone back to.

use std::collections::BTreeMap;

use maud::{Markup, html};

/// A page of ours with its parameters.
#[derive(Debug, Clone)]
pub(super) struct Address {
    path: &'static str,
    parameters: BTreeMap<String, String>,
}

impl Address {
    /// Reads a query string. What is empty counts as not given, as forms send it so.
    pub(super) fn read(path: &'static str, query: &str) -> Self {
        let parameters = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self { path, parameters }
    }

    /// A page without parameters.
    pub(super) fn new(path: &'static str) -> Self {
        Self::read(path, "")
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.parameters
            .retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// The parameters as a query string.
    pub(super) fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.parameters)
            .finish()
    }

    /// The whole address, for a link.
    pub(super) fn link(&self) -> String {
        if self.parameters.is_empty() {
            return self.path.to_owned();
        }
        format!("{}?{}", self.path, self.query())
    }

    /// The parameters that a form keeps, all but those that it asks for itself.
    pub(super) fn kept(&self, asked: &[&str]) -> Markup {
        html! {
            @for (name, value) in &self.parameters {
                @if !asked.contains(&name.as_str()) {
                    input type="hidden" name=(name) value=(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_what_it_wrote() {
        let address = Address::new("/console/performance")
            .with("groups", r#"[{"name":"a&b=c \"<"}]"#)
            .with("from", "2026-03-27");
        let link = address.link();
        let (_, query) = link.split_once('?').unwrap();
        let read = Address::read("/console/performance", query);
        assert_eq!(read.parameters, address.parameters);
        assert_eq!(
            read.without(&["groups", "from"]).link(),
            "/console/performance"
        );
    }

    #[test]
    fn forms_keep_what_they_do_not_ask_for() {
        let address = Address::read("/console/performance", "a=1&b=%22%3E&c=");
        let kept = address.kept(&["a"]).into_string();
        assert_eq!(kept, r#"<input type="hidden" name="b" value="&quot;&gt;">"#);
    }
}
