//! Functions and loops of an expression, checked when it is read.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr, operators};
use serde_json::Value as Json;

use super::compile::{Compiler, Item, plain};
use super::tree::{Builtin, Kind, Loop, LoopKind, Node};
use crate::diagnostic::did_you_mean;
use crate::mapping::function::{self, FUNCTIONS, Given};
use crate::mapping::path::Path;
use crate::mapping::rows::regex;

/// The most loops inside one another.
const MAX_LOOPS: usize = 2;

const LOOPS: [(&str, LoopKind); 5] = [
    (operators::ALL, LoopKind::All),
    (operators::EXISTS, LoopKind::Exists),
    (operators::EXISTS_ONE, LoopKind::ExistsOne),
    (operators::FILTER, LoopKind::Filter),
    (operators::MAP, LoopKind::Map),
];

impl Compiler<'_> {
    /// `f(x)` and `x.f()`, which are the same.
    pub(super) fn call(&mut self, call: &CallExpr, token: Range<usize>) -> Option<Node> {
        let name = call.func_name.as_str();
        if let (Some(list), Some((_, kind))) =
            (&call.target, LOOPS.iter().find(|(known, _)| *known == name))
        {
            return self.for_each(*kind, list, &call.args, token);
        }
        let given: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        let start = match &call.target {
            None => self.places.name_before(token.start),
            Some(_) => token.start,
        };
        let token = start..token.end;
        if name == operators::HAS {
            return self.has(&given, token);
        }
        if name == "matches" {
            return self.matches(&given, token);
        }
        if let Some((_, count, builtin)) = Builtin::ALL.iter().find(|(known, ..)| *known == name) {
            return self.builtin(name, *builtin, *count, &given, token);
        }
        self.function(name, &given, token)
    }

    fn all(&mut self, trees: &[&IdedExpr]) -> Option<Vec<Node>> {
        let nodes: Vec<_> = trees.iter().map(|tree| self.node(tree)).collect();
        nodes.into_iter().collect()
    }

    fn builtin(
        &mut self,
        name: &str,
        builtin: Builtin,
        count: usize,
        given: &[&IdedExpr],
        token: Range<usize>,
    ) -> Option<Node> {
        if given.len() != count {
            let values = if count == 1 { "value" } else { "values" };
            let message = format!(
                "`{name}` takes {count} {values}, and {} are given",
                given.len()
            );
            self.mistake(token, message, None);
            return None;
        }
        let parts = self.all(given)?;
        let span = self.around(token, &parts);
        Some(plain(Kind::Call(builtin, parts), span))
    }

    fn has(&mut self, given: &[&IdedExpr], token: Range<usize>) -> Option<Node> {
        let [of] = given else {
            self.mistake(
                token,
                "`has` takes one field",
                Some("example: has(event.a.b)".to_owned()),
            );
            return None;
        };
        let of = self.node(of)?;
        let span = self.around(token, std::slice::from_ref(&of));
        if !matches!(
            of.kind,
            Kind::Member { .. }
                | Kind::Index { .. }
                | Kind::Root(_)
                | Kind::Item(_)
                | Kind::Maybe(_)
        ) {
            self.mistake(
                of.span,
                "`has` asks for a field",
                Some("example: has(event.a.b)".to_owned()),
            );
            return None;
        }
        Some(plain(Kind::Has(Box::new(of)), span))
    }

    fn matches(&mut self, given: &[&IdedExpr], token: Range<usize>) -> Option<Node> {
        let example = || Some("example: event.name.matches('^Deal [0-9]+')".to_owned());
        let [of, pattern] = given else {
            self.mistake(token, "`matches` takes a text and a pattern", example());
            return None;
        };
        let (of, pattern) = (self.node(of), self.node(pattern));
        let (of, pattern) = (of?, pattern?);
        let Kind::Json(Json::String(text)) = &pattern.kind else {
            self.mistake(
                pattern.span,
                "the pattern of `matches` is written in the rule",
                example(),
            );
            return None;
        };
        let regex = match regex(text) {
            Ok(regex) => regex,
            Err(message) => {
                self.mistake(pattern.span, message, None);
                return None;
            }
        };
        let parts = [of, pattern];
        let span = self.around(token, &parts);
        let [of, _] = parts;
        Some(plain(Kind::Matches(regex, Box::new(of)), span))
    }

    /// A function of the rule language: its value first, then its arguments as behind the colon.
    fn function(&mut self, name: &str, given: &[&IdedExpr], token: Range<usize>) -> Option<Node> {
        if !FUNCTIONS.iter().any(|function| function.name == name) {
            self.unknown(name, token);
            return None;
        }
        let Some((of, arguments)) = given.split_first() else {
            let help = Some(format!("example: {name}(event.x)"));
            self.mistake(token, format!("`{name}` takes a value"), help);
            return None;
        };
        let (of, arguments) = (self.node(of), self.all(arguments));
        let (of, mut parts) = (of?, arguments?);
        let mut arguments = Vec::new();
        for part in &parts {
            let Some(argument) = self.argument(part) else {
                let help = "write a text, a number, or a path such as event.currency";
                let message = format!("this cannot be an argument of `{name}`");
                self.mistake(part.span.clone(), message, Some(help.to_owned()));
                return None;
            };
            arguments.push(argument);
        }
        let path = of.span.clone();
        let built = function::build(name, &arguments, self.vocabulary.tables);
        parts.push(of);
        let span = self.around(token, &parts);
        let of = parts.pop()?;
        match built {
            Ok(operation) => Some(plain(Kind::Apply(operation, Box::new(of)), span)),
            Err((message, help)) => {
                let at = if arguments.is_empty() {
                    span
                } else {
                    path.end..span.end
                };
                self.mistake(at, message, help);
                None
            }
        }
    }

    fn argument(&self, part: &Node) -> Option<Given> {
        match &part.kind {
            Kind::Json(Json::String(text)) => Some(Given::Text(text.clone())),
            Kind::Decimal(number) => Some(Given::Text(number.to_string())),
            _ => {
                let path = part.path.as_deref().filter(|path| !path.contains("[*]"))?;
                Path::parse(path, self.vocabulary.roots)
                    .ok()
                    .map(Given::Path)
            }
        }
    }

    fn unknown(&mut self, name: &str, token: Range<usize>) {
        let names = || {
            let own = FUNCTIONS.iter().map(|function| function.name);
            let builtin = Builtin::ALL.iter().map(|(name, ..)| *name);
            let loops = LOOPS.iter().map(|(name, _)| *name);
            own.chain(builtin)
                .chain(loops)
                .chain([operators::HAS, "matches"])
        };
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.mistake(
            token,
            format!("there is no function called `{name}`"),
            Some(help),
        );
    }

    fn for_each(
        &mut self,
        kind: LoopKind,
        list: &IdedExpr,
        arguments: &[IdedExpr],
        token: Range<usize>,
    ) -> Option<Node> {
        let example = || Some("example: event.items.exists(item, item.paid)".to_owned());
        let (name, filter, body) = match arguments {
            [name, body] => (name, None, body),
            [name, filter, body] if kind == LoopKind::Map => (name, Some(filter), body),
            _ => {
                self.mistake(token, "a loop takes a name and an expression", example());
                return None;
            }
        };
        let Expr::Ident(name_text) = &name.expr else {
            self.mistake(
                self.places.token(name.id),
                "a loop begins with a name for the item",
                example(),
            );
            return None;
        };
        if self.vocabulary.roots.contains(&name_text.as_str()) {
            let message = format!("`{name_text}` cannot name the item: it is a source");
            self.mistake(self.places.token(name.id), message, example());
            return None;
        }
        let list = self.node(list);
        let path = list
            .as_ref()
            .and_then(|list| Some(format!("{}[*]", list.path.as_deref()?)));
        self.items.push(Item {
            name: name_text.as_str().into(),
            path,
        });
        let loops = self.items.len();
        if loops > MAX_LOOPS {
            let message =
                format!("{loops} loops inside one another; at most {MAX_LOOPS} are allowed");
            self.mistake(token.clone(), message, None);
        }
        let filter = filter.map(|filter| self.node(filter));
        let body = self.node(body);
        self.items.pop();
        let (list, filter, body) = (list?, filter.map_or(Some(None), |f| f.map(Some))?, body?);
        let token = list.span.start..token.end;
        let span = self.around(token, std::slice::from_ref(&body));
        Some(plain(
            Kind::Loop(Box::new(Loop {
                kind,
                list,
                filter,
                body,
            })),
            span,
        ))
    }
}
