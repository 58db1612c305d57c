//! From the parser's tree to ours: known names only, within limits, each mistake with its place.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::span::Places;
use super::tree::{Arithmetic, Comparison, Kind, Logic, Node};
use crate::mapping::cursor::TextMistake;
use crate::mapping::path::unknown_root;
use crate::mapping::template::Vocabulary;

/// The deepest that parts may stand inside one another.
const MAX_DEPTH: usize = 32;

/// The most parts.
const MAX_NODES: usize = 300;

/// Checks a tree and makes it ours.
///
/// # Errors
/// Every mistake in it.
pub(super) fn compile(
    tree: &IdedExpr,
    places: &Places<'_>,
    vocabulary: Vocabulary<'_>,
) -> Result<Node, Vec<TextMistake>> {
    let mut compiler = Compiler {
        places,
        vocabulary,
        items: Vec::new(),
        depth: 0,
        nodes: 0,
        mistakes: Vec::new(),
    };
    let node = compiler.node(tree);
    match node {
        Some(node) if compiler.mistakes.is_empty() => Ok(node),
        _ => Err(compiler.mistakes),
    }
}

pub(super) struct Compiler<'a> {
    pub(super) places: &'a Places<'a>,
    pub(super) vocabulary: Vocabulary<'a>,
    /// The items of the loops around, outermost first.
    pub(super) items: Vec<Item>,
    depth: usize,
    nodes: usize,
    mistakes: Vec<TextMistake>,
}

/// The name of a loop's item, and the path of all that it can be.
pub(super) struct Item {
    pub(super) name: Box<str>,
    pub(super) path: Option<String>,
}

impl Compiler<'_> {
    /// Reads one part and all below it; `None` after a mistake.
    pub(super) fn node(&mut self, tree: &IdedExpr) -> Option<Node> {
        self.nodes += 1;
        let (limit, what) = match (self.depth >= MAX_DEPTH, self.nodes > MAX_NODES) {
            (true, _) => (MAX_DEPTH, "levels"),
            (_, true) => (MAX_NODES, "parts"),
            _ => {
                self.depth += 1;
                let node = self.read(tree);
                self.depth -= 1;
                return node;
            }
        };
        // Told once: every part behind it is too many as well.
        let message = format!("this expression has too many {what}; at most {limit} are allowed");
        if self
            .mistakes
            .iter()
            .all(|mistake| mistake.message != message)
        {
            let help = "use rows, or several rules".to_owned();
            self.mistake(self.places.token(tree.id), message, Some(help));
        }
        None
    }

    pub(super) fn mistake(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let message = message.into();
        self.mistakes.push(TextMistake {
            message,
            help,
            span,
        });
    }

    fn read(&mut self, tree: &IdedExpr) -> Option<Node> {
        let token = self.places.token(tree.id);
        match &tree.expr {
            Expr::Literal(literal) => self.literal(literal, token),
            Expr::Ident(name) => self.name(name, token),
            Expr::Select(select) => {
                let of = self.node(&select.operand)?;
                let end = self.places.name_after(token.end);
                Some(member(of, &select.field, end))
            }
            Expr::List(list) if list.optional_indices.is_empty() => {
                let items = self.nodes(&list.elements)?;
                let span = self.around(token, &items);
                Some(plain(Kind::List(items), span))
            }
            Expr::Call(call) => self
                .operator(call, token.clone())
                .unwrap_or_else(|| self.call(call, token)),
            Expr::Unspecified => {
                self.mistake(token, "this part of the expression is empty", None);
                None
            }
            _ => {
                let help = "an expression gives a text, a number, true or false, or a moment";
                self.mistake(
                    token,
                    "objects cannot be made in a rule",
                    Some(help.to_owned()),
                );
                None
            }
        }
    }

    /// Reads all, even when one has a mistake.
    pub(super) fn nodes(&mut self, trees: &[IdedExpr]) -> Option<Vec<Node>> {
        let nodes: Vec<_> = trees.iter().map(|tree| self.node(tree)).collect();
        nodes.into_iter().collect()
    }

    /// The bytes from the first part to the last, closed.
    pub(super) fn around(&self, token: Range<usize>, parts: &[Node]) -> Range<usize> {
        let start = parts.iter().map(|part| part.span.start).min();
        let end = parts.iter().map(|part| part.span.end).max();
        let start = token.start.min(start.unwrap_or(token.start));
        self.places
            .whole(start..token.end.max(end.unwrap_or(token.end)))
    }

    fn literal(&mut self, literal: &LiteralValue, token: Range<usize>) -> Option<Node> {
        let kind = match literal {
            LiteralValue::Boolean(truth) => Kind::Json(Json::Bool(*truth.inner())),
            LiteralValue::Int(number) => Kind::Decimal(Decimal::from(*number.inner())),
            LiteralValue::UInt(number) => Kind::Decimal(Decimal::from(*number.inner())),
            LiteralValue::Double(number) => {
                let text = self.places.text.get(token.clone()).unwrap_or_default();
                let Some(exact) = decimal(text) else {
                    self.mistake(token, "this number has too many digits to be exact", None);
                    return None;
                };
                Kind::Decimal(if number.inner().is_sign_negative() {
                    -exact
                } else {
                    exact
                })
            }
            LiteralValue::String(text) => Kind::Json(Json::String(text.inner().to_owned())),
            LiteralValue::Null => Kind::Nothing,
            LiteralValue::Bytes(_) => {
                let help = "write a text: 'abc'".to_owned();
                self.mistake(token, "there are no bytes in a rule", Some(help));
                return None;
            }
        };
        Some(plain(kind, token))
    }

    fn name(&mut self, name: &str, token: Range<usize>) -> Option<Node> {
        if let Some(at) = self.items.iter().rposition(|item| *item.name == *name) {
            let path = self.items[at].path.as_deref().map(Box::from);
            return Some(Node {
                kind: Kind::Item(at),
                span: token,
                path,
            });
        }
        if self.vocabulary.roots.contains(&name) {
            let path = Some(name.into());
            return Some(Node {
                kind: Kind::Root(name.into()),
                span: token,
                path,
            });
        }
        let mistake = unknown_root(name, token.start, name, self.vocabulary.roots);
        self.mistake(token, mistake.message, mistake.help);
        None
    }

    /// An operator; outer `None` when it is no operator but a function.
    fn operator(&mut self, call: &CallExpr, token: Range<usize>) -> Option<Option<Node>> {
        if call.target.is_some() {
            return None;
        }
        let (kind, parts): (fn(&str, [Node; 2]) -> Kind, _) =
            match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [of, at]) => {
                    return Some(self.index(&call.func_name, of, at, token));
                }
                (operators::LOGICAL_NOT | operators::NEGATE, [of]) => {
                    return Some(self.unary(&call.func_name, of, token));
                }
                (operators::CONDITIONAL, parts @ [_, _, _]) => {
                    return Some(self.choice(parts, token));
                }
                (operators::LOGICAL_AND | operators::LOGICAL_OR, parts @ [_, _]) => (logic, parts),
                (operators::IN, parts @ [_, _]) => (inside, parts),
                (name, parts @ [_, _]) if arithmetic(name).is_some() => (calculation, parts),
                (name, parts @ [_, _]) if comparison(name).is_some() => (comparing, parts),
                _ => return None,
            };
        Some(self.binary(&call.func_name, kind, parts, token))
    }

    fn binary(
        &mut self,
        name: &str,
        kind: fn(&str, [Node; 2]) -> Kind,
        parts: &[IdedExpr],
        token: Range<usize>,
    ) -> Option<Node> {
        let parts = self.nodes(parts)?;
        let span = self.around(token, &parts);
        let null = parts.iter().find(|part| matches!(part.kind, Kind::Nothing));
        if let (Some(null), Some(_)) = (null, comparison(name)) {
            let help = "nothing there is asked for with has(event.x) and !has(event.x)";
            self.mistake(
                null.span.clone(),
                "nothing can be compared with `null`",
                Some(help.to_owned()),
            );
            return None;
        }
        let parts = <[Node; 2]>::try_from(parts).ok()?;
        Some(plain(kind(name, parts), span))
    }

    fn unary(&mut self, name: &str, of: &IdedExpr, token: Range<usize>) -> Option<Node> {
        let of = self.node(of)?;
        let span = self.around(token, std::slice::from_ref(&of));
        let of = Box::new(of);
        let kind = if name == operators::NEGATE {
            Kind::Negate(of)
        } else {
            Kind::Not(of)
        };
        Some(plain(kind, span))
    }

    fn choice(&mut self, parts: &[IdedExpr], token: Range<usize>) -> Option<Node> {
        let parts = self.nodes(parts)?;
        let span = self.around(token, &parts);
        let parts = <[Node; 3]>::try_from(parts).ok()?;
        Some(plain(Kind::Choice(Box::new(parts)), span))
    }

    /// `a[x]`, `a[?x]` and `a.?x`.
    fn index(
        &mut self,
        name: &str,
        of: &IdedExpr,
        at: &IdedExpr,
        token: Range<usize>,
    ) -> Option<Node> {
        let (of, at) = (self.node(of), self.node(at));
        let (of, at) = (of?, at?);
        let end = if name == operators::OPT_SELECT {
            self.places.name_after(token.end)
        } else {
            self.around(token, std::slice::from_ref(&at)).end
        };
        let node = match at.kind {
            Kind::Json(Json::String(field)) => member(of, &field, end),
            _ => {
                let path = match (&of.path, &at.kind) {
                    (Some(path), Kind::Decimal(n)) if n.is_integer() => {
                        Some(format!("{path}[{n}]").into())
                    }
                    _ => None,
                };
                let span = of.span.start..end;
                let (of, at) = (Box::new(of), Box::new(at));
                Node {
                    kind: Kind::Index { of, at },
                    span,
                    path,
                }
            }
        };
        Some(if name == operators::INDEX {
            node
        } else {
            let (span, path) = (node.span.clone(), node.path.clone());
            Node {
                kind: Kind::Maybe(Box::new(node)),
                span,
                path,
            }
        })
    }
}

/// A node that is no path.
pub(super) fn plain(kind: Kind, span: Range<usize>) -> Node {
    Node {
        kind,
        span,
        path: None,
    }
}

fn member(of: Node, name: &str, end: usize) -> Node {
    let span = of.span.start..end;
    let path = of.path.as_ref().map(|path| {
        let is_plain = |c: char| c.is_alphanumeric() || "_-@#:$".contains(c);
        if !name.is_empty() && name.chars().all(is_plain) {
            format!("{path}.{name}").into()
        } else {
            format!("{path}.[\"{}\"]", name.replace('"', "\"\"")).into()
        }
    });
    let kind = Kind::Member {
        of: Box::new(of),
        name: name.into(),
    };
    Node { kind, span, path }
}

/// The number that a literal spells, exactly.
fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim_start_matches('-');
    Decimal::from_str_exact(text)
        .or_else(|_exponent| Decimal::from_scientific(text))
        .ok()
}

fn logic(name: &str, [a, b]: [Node; 2]) -> Kind {
    let logic = if name == operators::LOGICAL_AND {
        Logic::And
    } else {
        Logic::Or
    };
    Kind::Both(logic, Box::new(a), Box::new(b))
}

fn inside(_: &str, [a, b]: [Node; 2]) -> Kind {
    Kind::In(Box::new(a), Box::new(b))
}

fn calculation(name: &str, [a, b]: [Node; 2]) -> Kind {
    // The caller has seen that it is one.
    let operator = arithmetic(name).unwrap_or(Arithmetic::Add);
    Kind::Calculate(operator, Box::new(a), Box::new(b))
}

fn comparing(name: &str, [a, b]: [Node; 2]) -> Kind {
    // The caller has seen that it is one.
    let operator = comparison(name).unwrap_or(Comparison::Equal);
    Kind::Compare(operator, Box::new(a), Box::new(b))
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::AtMost,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::AtLeast,
        _ => return None,
    })
}
