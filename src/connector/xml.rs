//! XML as a tree of JSON values, and the removal of elements' contents from XML.
//!
//! Attributes become `@name`; the text of an element with attributes or children `#text`; repeated
//! elements a list. Prefixes stay (`sf:Amount`), namespace declarations are dropped, and
//! `xsi:nil="true"` is null. There are no DTDs and no entities but XML's own five and character
//! references, so nothing can expand.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde_json::{Map, Value};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

/// Reads a document; the root element is the only key at the top.
pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|_binary| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut tree = Tree::default();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => tree.open(&start)?,
            Event::Empty(start) => {
                tree.open(&start)?;
                tree.close()?;
            }
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => tree.text(&resolve(&reference)?)?,
            Event::DocType(_) => return Err("it has a DTD".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference
        .resolve_char_ref()
        .map_err(|error| error.to_string())?
    {
        return Ok(character.to_string());
    }
    let name = reference.xml10_content();
    resolve_xml_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| format!("it has an unknown entity `&{name};`"))
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    nodes: usize,
    root: Option<(String, Value)>,
}

struct Element {
    name: String,
    members: Map<String, Value>,
    text: String,
    nil: bool,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        self.count()?;
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err("it has more than one root element".to_owned());
        }
        let mut element = Element {
            name: start.name().as_ref().to_owned(),
            members: Map::new(),
            text: String::new(),
            nil: false,
        };
        for attribute in start.attributes() {
            self.count()?;
            let attribute = attribute.map_err(|error| error.to_string())?;
            let name = attribute.key.as_ref();
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| error.to_string())?;
            if name == "xmlns" || name.starts_with("xmlns:") {
                continue;
            }
            if name == "xsi:nil" && matches!(value.as_ref(), "true" | "1") {
                element.nil = true;
                continue;
            }
            let value = Value::String(value.into_owned());
            element.members.insert(format!("@{name}"), value);
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let element = self.open.pop().ok_or("it closes more than it opens")?;
        let name = element.name.clone();
        let value = element.into_value();
        match self.open.last_mut() {
            None => self.root = Some((name, value)),
            Some(parent) => match parent.members.get_mut(&name) {
                None => {
                    parent.members.insert(name, value);
                }
                Some(Value::Array(items)) => items.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            },
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err("it has text outside of its root element".to_owned()),
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} nodes"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Value, String> {
        if let Some(element) = self.open.last() {
            return Err(format!("`{}` is not closed", element.name));
        }
        let (name, value) = self.root.ok_or("it has no element")?;
        Ok(Value::Object(Map::from_iter([(name, value)])))
    }
}

impl Element {
    fn into_value(mut self) -> Value {
        let text = self.text.trim();
        if self.members.is_empty() {
            return if self.nil && text.is_empty() {
                Value::Null
            } else {
                Value::String(text.to_owned())
            };
        }
        if !text.is_empty() {
            let text = Value::String(text.to_owned());
            self.members.insert("#text".to_owned(), text);
        }
        Value::Object(self.members)
    }
}

/// Where the contents of the elements of these names (with or without prefix) stand, outermost
/// only, in the order of the document.
pub(super) fn contents_of(body: &[u8], names: &[String]) -> Result<Vec<Range<usize>>, String> {
    let text = std::str::from_utf8(body).map_err(|_binary| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => {
                let local = start.local_name();
                let full = start.name();
                let named = |n: &String| n == local.as_ref() || n == full.as_ref();
                if names.iter().any(named) {
                    let span = reader
                        .read_to_end(full)
                        .map_err(|error| error.to_string())?;
                    let place = |at: u64| usize::try_from(at).map_err(|error| error.to_string());
                    found.push(place(span.start)?..place(span.end)?);
                }
            }
            Event::DocType(_) => return Err("it has a DTD".to_owned()),
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn elements_become_texts_objects_and_lists() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
            <soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">
              <n><Id>1</Id><sf:Amount xmlns:sf="urn:sf">1 &lt; 2 &#65;</sf:Amount></n>
              <n type="x">text<![CDATA[ <raw> ]]></n><n/><e xsi:nil="true"/>
            </soapenv:Envelope>"#;
        assert_eq!(
            decode(body).unwrap(),
            json!({"soapenv:Envelope": {
                "n": [{"Id": "1", "sf:Amount": "1 < 2 A"}, {"@type": "x", "#text": "text <raw>"}, ""],
                "e": null
            }})
        );
    }

    #[test]
    fn dtds_unknown_entities_and_broken_documents_are_refused() {
        let deep = "<a>".repeat(65) + &"</a>".repeat(65);
        let wide = format!("<r>{}</r>", "<a/>".repeat(MAX_NODES));
        for bad in [
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<a>&unknown;</a>",
            "<a><b></a>",
            "<a>",
            "<a/><b/>",
            "text",
            "<a x='1' x='2'/>",
            "</a>",
            &deep,
            &wide,
        ] {
            let shown = &bad[..bad.len().min(60)];
            assert!(decode(bad.as_bytes()).is_err(), "{shown} should be refused");
        }
        assert!(decode(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn contents_are_found_whatever_the_prefix() {
        let body = "<r><SessionId>abc</SessionId><x:SessionId a='1'>d<i/></x:SessionId></r>";
        let found = contents_of(body.as_bytes(), &["SessionId".to_owned()]).unwrap();
        let texts: Vec<&str> = found.into_iter().map(|range| &body[range]).collect();
        assert_eq!(texts, ["abc", "d<i/>"]);
    }

    proptest! {
        #[test]
        fn reading_arbitrary_text_never_panics(text in "[<>/a&;!\\[\\]CDATA?='\" -]{0,80}") {
            let _read = decode(text.as_bytes());
            let _found = contents_of(text.as_bytes(), &["a".to_owned()]);
        }
    }
}
