//! Evaluates an expression. Linear in its size but for loops, which the budget bounds.

use std::rc::Rc;

use serde_json::Value as Json;

use super::budget::Budget;
use super::calculate::{calculate, compare, equal};
use super::tree::{Builtin, Comparison, Kind, Logic, Loop, LoopKind, Node};
use super::value::{Fault, Value};
use crate::mapping::datum::Datum;
use crate::mapping::operation::{MAX_TEXT, Operation, Unusable};
use crate::mapping::scope::Scope;

type Result<'v> = std::result::Result<Value<'v>, Fault>;

/// Evaluates the parts of an expression for one event.
pub(super) struct Evaluator<'v, 'b> {
    scope: &'v dyn Scope,
    budget: &'b Budget,
    /// The items of the loops around, outermost first.
    items: Vec<Value<'v>>,
}

impl<'v, 'b> Evaluator<'v, 'b> {
    pub(super) fn new(scope: &'v dyn Scope, budget: &'b Budget) -> Self {
        let items = Vec::new();
        Self {
            scope,
            budget,
            items,
        }
    }

    /// The value of a part.
    ///
    /// # Errors
    /// Why it has none.
    pub(super) fn value(&mut self, node: &'v Node) -> Result<'v> {
        match &node.kind {
            Kind::Json(value) => Ok(Value::json(value)),
            Kind::Decimal(number) => Ok(Value::number(*number)),
            Kind::Nothing => Err(Fault::Nothing),
            Kind::Root(name) => Value::read(self.scope.root(name)),
            Kind::Item(at) => self.items.get(*at).cloned().ok_or(Fault::Nothing),
            Kind::Member { of, name } => {
                let of = self.value(of)?;
                inside(of, |of| member(&of, name))
            }
            Kind::Index { of, at } => {
                let of = self.value(of)?;
                let at = self.value(at)?.plain()?;
                inside(of, |of| index(of, &at))
            }
            Kind::Maybe(of) => maybe(self.value(of)),
            Kind::List(parts) => self.list(parts),
            Kind::Not(of) => self.truth(of).map(|truth| Value::truth(!truth)),
            Kind::Negate(of) => {
                let value = self.plain(of)?;
                let number = value.as_number()?;
                let wrong = || unusable(format!("`-` cannot be used on {}", value.shown()));
                number
                    .map(|number| Value::number(-number))
                    .ok_or_else(wrong)
            }
            Kind::Both(logic, a, b) => self.both(*logic, a, b),
            Kind::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.truth(condition)? { yes } else { no };
                self.value(chosen)
            }
            Kind::Calculate(operator, a, b) => {
                let (a, b) = (self.plain(a)?, self.plain(b)?);
                calculate(*operator, &a, &b, self.budget)
            }
            Kind::Compare(operator, a, b) => {
                let (a, b) = (self.plain(a)?, self.plain(b)?);
                self.compare(*operator, &a, &b).map(Value::truth)
            }
            Kind::In(a, b) => self.is_in(a, b),
            Kind::Has(of) => match self.value(of).and_then(Value::plain) {
                Ok(_) => Ok(Value::truth(true)),
                Err(Fault::Nothing) => Ok(Value::truth(false)),
                Err(fault) => Err(fault),
            },
            Kind::Loop(l) => self.each(l),
            Kind::Apply(operation, of) => self.apply(operation, of),
            Kind::Call(builtin, parts) => self.call(*builtin, parts),
            Kind::Matches(regex, of) => {
                let value = self.plain(of)?;
                let text = text_of(&value, "matches")?;
                self.budget.spend_text(text.len())?;
                Ok(Value::truth(regex.is_match(&text)))
            }
        }
    }

    fn plain(&mut self, node: &'v Node) -> Result<'v> {
        self.value(node)?.plain()
    }

    /// The truth value of a part.
    ///
    /// # Errors
    /// Why it is unknown.
    pub(super) fn truth(&mut self, node: &'v Node) -> std::result::Result<bool, Fault> {
        let value = self.plain(node)?;
        value
            .as_truth()
            .ok_or_else(|| unusable(format!("{} is neither true nor false", value.shown())))
    }

    fn compare(
        &self,
        operator: Comparison,
        a: &Value<'v>,
        b: &Value<'v>,
    ) -> std::result::Result<bool, Fault> {
        match operator {
            Comparison::Equal => equal(a, b, self.budget),
            Comparison::NotEqual => equal(a, b, self.budget).map(|equal| !equal),
            Comparison::Less => compare(a, b, self.budget).map(std::cmp::Ordering::is_lt),
            Comparison::AtMost => compare(a, b, self.budget).map(std::cmp::Ordering::is_le),
            Comparison::Greater => compare(a, b, self.budget).map(std::cmp::Ordering::is_gt),
            Comparison::AtLeast => compare(a, b, self.budget).map(std::cmp::Ordering::is_ge),
        }
    }

    /// `&&` and `||`: a side that decides makes up for one that is unknown.
    fn both(&mut self, logic: Logic, a: &'v Node, b: &'v Node) -> Result<'v> {
        let first = self.truth(a);
        if first == Ok(logic.decisive()) || first == Err(Fault::Spent) {
            return first.map(Value::truth);
        }
        let second = self.truth(b);
        join(logic, first, second).map(Value::truth)
    }

    fn list(&mut self, parts: &'v [Node]) -> Result<'v> {
        let items: std::result::Result<Vec<_>, _> =
            parts.iter().map(|part| self.plain(part)).collect();
        Ok(Value::List(items?.into()))
    }

    /// An item of a list, or a name of an object.
    fn is_in(&mut self, a: &'v Node, b: &'v Node) -> Result<'v> {
        let (wanted, place) = (self.plain(a)?, self.plain(b)?);
        if let (Value::One(Datum::Json(Json::Object(object))), Some(name)) =
            (&place, wanted.as_text())
        {
            return Ok(Value::truth(object.contains_key(&*name)));
        }
        let items = place.into_items()?;
        self.budget.spend(items.len())?;
        for at in 0..items.len() {
            let item = items.get(at).ok_or(Fault::Nothing)?;
            if equal(&item, &wanted, self.budget)? {
                return Ok(Value::truth(true));
            }
        }
        Ok(Value::truth(false))
    }

    fn each(&mut self, l: &'v Loop) -> Result<'v> {
        let items = self.value(&l.list)?.into_items()?;
        self.budget.spend(items.len())?;
        let mut kept = Vec::new();
        // What has been said so far; unknown items make it unknown unless another one decides.
        let mut said = Ok(l.kind == LoopKind::All);
        let mut count = 0_usize;
        for at in 0..items.len() {
            let item = items.get(at).ok_or(Fault::Nothing)?;
            self.items.push(item.clone());
            let turn = self.turn(l, item);
            self.items.pop();
            match (l.kind, turn?) {
                (LoopKind::All, Turn::Test(test)) => said = join(Logic::And, said, test),
                (LoopKind::Exists, Turn::Test(test)) => said = join(Logic::Or, said, test),
                (LoopKind::ExistsOne, Turn::Test(test)) => count += usize::from(test?),
                (_, Turn::Keep(value)) => kept.push(value),
                (_, Turn::Test(_) | Turn::Skip) => {}
            }
            let decided = match l.kind {
                LoopKind::All => said == Ok(false),
                LoopKind::Exists => said == Ok(true),
                _ => false,
            };
            if decided {
                break;
            }
        }
        Ok(match l.kind {
            LoopKind::All | LoopKind::Exists => Value::truth(said?),
            LoopKind::ExistsOne => Value::truth(count == 1),
            LoopKind::Filter | LoopKind::Map => Value::List(Rc::from(kept)),
        })
    }

    /// One item of a loop.
    fn turn(&mut self, l: &'v Loop, item: Value<'v>) -> std::result::Result<Turn<'v>, Fault> {
        let test = |result| match result {
            Err(Fault::Spent) => Err(Fault::Spent),
            test => Ok(test),
        };
        match l.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => {
                test(self.truth(&l.body)).map(Turn::Test)
            }
            // An item of which nothing is known is not kept, as a rule does not match it.
            LoopKind::Filter => match self.truth(&l.body) {
                Ok(true) => Ok(Turn::Keep(item)),
                Ok(false) | Err(Fault::Nothing) => Ok(Turn::Skip),
                Err(fault) => Err(fault),
            },
            LoopKind::Map => {
                if let Some(filter) = &l.filter {
                    match self.truth(filter) {
                        Ok(true) => {}
                        Ok(false) | Err(Fault::Nothing) => return Ok(Turn::Skip),
                        Err(fault) => return Err(fault),
                    }
                }
                match self.plain(&l.body) {
                    Ok(value) => Ok(Turn::Keep(value)),
                    Err(Fault::Nothing) => Ok(Turn::Skip),
                    Err(fault) => Err(fault),
                }
            }
        }
    }

    /// A function of the rule language.
    fn apply(&mut self, operation: &'v Operation, of: &'v Node) -> Result<'v> {
        let input = self.plain(of).and_then(Value::into_datum);
        let input = match (operation, input) {
            (Operation::Default(text), Err(Fault::Nothing | Fault::NoRow(_))) => {
                return Ok(Value::text(&**text));
            }
            (_, input) => input?,
        };
        if input.is_nothing() {
            return match operation {
                Operation::Default(text) => Ok(Value::text(&**text)),
                _ => Err(Fault::Nothing),
            };
        }
        if let Datum::Json(Json::String(text)) = &input {
            self.budget.spend_text(text.len())?;
        } else if let Datum::Text(text) = &input {
            self.budget.spend_text(text.len())?;
        }
        let result = operation
            .apply(&input, self.scope)
            .map_err(|unusable| match unusable {
                Unusable::NoRow(why) => Fault::NoRow(why),
                Unusable::Unreadable(why) => Fault::Unusable(why),
            })?;
        if let Datum::Text(text) = &result {
            self.budget.spend_text(text.len())?;
        }
        Ok(Value::One(result))
    }

    fn call(&mut self, builtin: Builtin, parts: &'v [Node]) -> Result<'v> {
        let (first, second) = (parts.first(), parts.get(1));
        let first = first.ok_or(Fault::Nothing)?;
        match (builtin, second) {
            (Builtin::Size, _) => self.size(first),
            (Builtin::HasValue, _) => maybe(self.value(first))
                .map(|found| Value::truth(matches!(found, Value::Maybe(Some(_))))),
            (Builtin::OrValue, Some(second)) => match self.plain(first) {
                Err(Fault::Nothing) => self.value(second),
                found => found,
            },
            (Builtin::Or, Some(second)) => match maybe(self.value(first))? {
                Value::Maybe(None) => maybe(self.value(second)),
                found => Ok(found),
            },
            (Builtin::Join, Some(second)) => self.join(first, second),
            (_, Some(second)) => self.search(builtin, first, second),
            (_, None) => Err(Fault::Nothing),
        }
    }

    /// Characters of a text, items of a list, names of an object.
    fn size(&mut self, of: &'v Node) -> Result<'v> {
        let value = self.plain(of)?;
        let size = match &value {
            Value::One(Datum::Json(Json::Array(items))) => items.len(),
            Value::One(Datum::Json(Json::Object(object))) => object.len(),
            Value::List(items) => items.len(),
            other => {
                let text = text_of(other, "size")?;
                self.budget.spend_text(text.len())?;
                text.chars().count()
            }
        };
        Ok(Value::number(size.into()))
    }

    fn search(&mut self, builtin: Builtin, of: &'v Node, part: &'v Node) -> Result<'v> {
        let (value, part) = (self.plain(of)?, self.plain(part)?);
        let name = match builtin {
            Builtin::StartsWith => "startsWith",
            Builtin::EndsWith => "endsWith",
            _ => "contains",
        };
        let (text, part) = (text_of(&value, name)?, text_of(&part, name)?);
        self.budget.spend_text(text.len() + part.len())?;
        Ok(Value::truth(match builtin {
            Builtin::StartsWith => text.starts_with(&*part),
            Builtin::EndsWith => text.ends_with(&*part),
            _ => text.contains(&*part),
        }))
    }

    fn join(&mut self, list: &'v Node, between: &'v Node) -> Result<'v> {
        let items = self.value(list)?.into_items()?;
        let between = self.plain(between)?;
        let between = text_of(&between, "join")?;
        self.budget.spend(items.len())?;
        let mut joined = String::new();
        let items = (0..items.len()).filter_map(|at| items.get(at)?.plain().ok());
        for (at, item) in items.enumerate() {
            let shown = item.shown();
            let datum = item.into_datum()?;
            let text = datum
                .text()
                .ok_or_else(|| unusable(format!("`join` cannot use {shown}")))?;
            if at > 0 {
                joined.push_str(&between);
            }
            joined.push_str(&text);
            if joined.len() > MAX_TEXT {
                return Err(unusable(format!("`join` gives more than {MAX_TEXT} bytes")));
            }
        }
        self.budget.spend_text(joined.len())?;
        Ok(Value::text(joined))
    }
}

/// What one item of a loop gives.
enum Turn<'v> {
    Test(std::result::Result<bool, Fault>),
    Keep(Value<'v>),
    Skip,
}

/// Puts two sides together: one that decides does so alone, one that is unknown makes it unknown.
pub(super) fn join(
    logic: Logic,
    a: std::result::Result<bool, Fault>,
    b: std::result::Result<bool, Fault>,
) -> std::result::Result<bool, Fault> {
    let decisive = Ok(logic.decisive());
    match (a, b) {
        (Err(Fault::Spent), _) | (_, Err(Fault::Spent)) => Err(Fault::Spent),
        (a, b) if a == decisive || b == decisive => decisive,
        (Err(fault), _) | (_, Err(fault)) => Err(fault),
        _ => Ok(!logic.decisive()),
    }
}

fn unusable(why: String) -> Fault {
    Fault::Unusable(why)
}

fn text_of<'t>(
    value: &'t Value<'_>,
    function: &str,
) -> std::result::Result<std::borrow::Cow<'t, str>, Fault> {
    value
        .as_text()
        .ok_or_else(|| unusable(format!("`{function}` cannot be used on {}", value.shown())))
}

fn maybe(result: Result<'_>) -> Result<'_> {
    match result {
        Ok(found @ Value::Maybe(_)) => Ok(found),
        Ok(found) => Ok(Value::Maybe(Some(Box::new(found)))),
        Err(Fault::Nothing) => Ok(Value::Maybe(None)),
        Err(fault) => Err(fault),
    }
}

/// Looks inside a value; what is inside of a `Maybe` is a `Maybe`.
fn inside<'v>(of: Value<'v>, look: impl FnOnce(Value<'v>) -> Result<'v>) -> Result<'v> {
    match of {
        Value::Maybe(None) => Ok(Value::Maybe(None)),
        Value::Maybe(Some(of)) => maybe(look(*of)),
        of => look(of),
    }
}

/// The item at a position, or the value of a computed name.
fn index<'v>(of: Value<'v>, at: &Value<'v>) -> Result<'v> {
    if let Some(name) = at.as_text() {
        return member(&of, &name);
    }
    let wrong = || unusable(format!("{} is no position in a list", at.shown()));
    let position = at.as_number()?.filter(rust_decimal::Decimal::is_integer);
    let position = i64::try_from(position.ok_or_else(wrong)?).map_err(|_too_large| wrong())?;
    let items = of.into_items()?;
    let position = if position < 0 {
        items
            .len()
            .checked_sub(usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX))
    } else {
        usize::try_from(position).ok()
    };
    position.and_then(|at| items.get(at)).ok_or(Fault::Nothing)
}

/// What an object has under a name.
fn member<'v>(of: &Value<'v>, name: &str) -> Result<'v> {
    match of {
        Value::One(Datum::Json(Json::Object(object))) => Value::read(object.get(name)),
        _ => Err(Fault::Nothing),
    }
}
