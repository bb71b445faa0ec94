//! `when`: a CEL expression that says whether an event is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, ExecutionError, Program, Value};
use chrono::SecondsFormat;

use super::value::{Json, map, text};
use super::{Failure, compiled, json, plain, sane};
use crate::event::Event;

/// What an expression may name.
const VARIABLES: [&str; 3] = ["event", "headers", "body"];

/// Types, which are values in CEL: `type(body.x) == int`.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "uint"];

/// How deep an expression may be nested. Evaluating takes more than 20 KiB of stack for a level in a debug
/// build, and a thread of the runtime has 2 MiB.
const DEPTH_MAX: usize = 50;

/// What can be called, beside operators and macros.
const FUNCTIONS: [&str; 15] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "max",
    "min",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// A compiled expression.
pub(super) struct Condition {
    text: String,
    program: Program,
    env: Arc<Env>,
    reads_body: bool,
    loops: bool,
}

impl Condition {
    /// Compiles; the fault says what is wrong, and where in the expression.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        sane(text)?;
        compiled(|| Self::compile(text))
    }

    fn compile(text: &str) -> Result<Self, String> {
        let env = Arc::new(Env::stdlib().with_optional_support(false));
        let program = env.compile(text).map_err(|errors| match errors.errors.first() {
            Some(first) => {
                format!("is not CEL at line {}, column {}: {}", first.pos.0, first.pos.1, first.msg)
            }
            None => "is not CEL".to_owned(),
        })?;
        let mut names = Names::default();
        names.of(program.expression());
        let Names { fault, reads_body, loops, .. } = names;
        match fault {
            Some(fault) => Err(fault),
            None => Ok(Self { text: text.to_owned(), program, env, reads_body, loops }),
        }
    }

    /// Whether it goes through lists or maps, by a macro: such a one may take the product of their lengths in
    /// time and memory. Any other takes as much as its text and the event are long.
    pub(super) fn loops(&self) -> bool {
        self.loops
    }

    /// Whether it needs the parsed body.
    pub(super) fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// Whether it is true of this event. Anything but true and false is a failure.
    pub(super) fn holds(&self, event: &Event) -> Result<bool, Failure> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable_from_value("event", facts(event));
        context.add_variable_from_value("headers", headers(event));
        if self.reads_body {
            let Json(body) =
                json::parse(&event.body).map_err(|why| plain(format!("`when`: {why}")))?;
            context.add_variable_as_val("body", body);
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(plain(format!(
                "`when` gave neither true nor false but a value of the type {}",
                other.type_of()
            ))),
            Err(error) => Err(Failure {
                cause: format!("`when`: {}", self.without_values(&error)),
                detail: format!("`when`: {}", detail(&error)),
            }),
        }
    }

    /// What went wrong, by names that stand in the expression and by types.
    fn without_values(&self, error: &ExecutionError) -> String {
        let shown = |name: &str| {
            // A name may come from the event, as in `body[body.key]`.
            if self.text.contains(name) { format!("`{name}`") } else { "of that name".to_owned() }
        };
        match error {
            ExecutionError::NoSuchKey(key) => {
                format!("there is no field {}; guard it with has(…)", shown(key))
            }
            ExecutionError::UndeclaredReference(name) => {
                format!("there is nothing called {}", shown(name))
            }
            ExecutionError::NoSuchOverload(overload) => overload.to_string(),
            ExecutionError::FunctionError { function, .. } => format!("`{function}` failed"),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "a division by zero".to_owned()
            }
            ExecutionError::Overflow(..) => "a number is too large".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
            _ => "it can't be evaluated on this event: two values don't fit together".to_owned(),
        }
    }
}

fn detail(error: &ExecutionError) -> String {
    error.to_string().chars().take(500).collect()
}

/// Walks an expression for names that would fail on every event.
#[derive(Default)]
struct Names {
    scope: Vec<String>,
    depth: usize,
    fault: Option<String>,
    reads_body: bool,
    loops: bool,
}

impl Names {
    fn of(&mut self, node: &IdedExpr) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.note(format!(
                "is nested deeper than {DEPTH_MAX}: a chain of operators counts each"
            ));
        } else {
            self.inside(node);
        }
        self.depth -= 1;
    }

    fn inside(&mut self, node: &IdedExpr) {
        match &node.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.of(&select.operand),
            Expr::Call(call) => {
                // Operators are calls of names such as `_==_` and `@in`.
                let operator = call.func_name.contains(|c: char| !c.is_ascii_alphanumeric());
                if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    self.note(format!("calls `{}`, which isn't a function of CEL", call.func_name));
                }
                call.target.iter().for_each(|target| self.of(target));
                call.args.iter().for_each(|argument| self.of(argument));
            }
            Expr::Comprehension(it) => {
                self.loops = true;
                self.of(&it.iter_range);
                self.of(&it.accu_init);
                let outside = self.scope.len();
                self.scope.extend([it.iter_var.clone(), it.accu_var.clone()]);
                self.scope.extend(it.iter_var2.clone());
                self.of(&it.loop_cond);
                self.of(&it.loop_step);
                self.of(&it.result);
                self.scope.truncate(outside);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.of(element)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.of(&entry.key);
                            self.of(&entry.value);
                        }
                        EntryExpr::StructField(field) => self.of(&field.value),
                    }
                }
            }
            Expr::Struct(it) => {
                self.note(format!("makes a `{}`, which isn't a type of CEL", it.type_name));
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn variable(&mut self, name: &str) {
        if self.scope.iter().any(|inner| inner == name) || TYPES.contains(&name) {
            return;
        }
        if !VARIABLES.contains(&name) {
            self.note(format!("names `{name}`: there are `event`, `headers` and `body`"));
        }
        self.reads_body |= name == "body";
    }

    fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

fn facts(event: &Event) -> Value {
    let facts = [
        ("id", event.event_id.clone()),
        ("type", event.kind.clone()),
        ("source", event.source.to_string()),
        ("received_at", event.received_at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        ("uuid", event.id.to_string()),
    ];
    map(facts.map(|(key, value)| (key.to_owned(), text(value))))
}

fn headers(event: &Event) -> Value {
    map(joined_headers(event).into_iter().map(|(name, value)| (name, text(value))))
}

/// By lower-case name; the values of a repeated one joined by `, ` as HTTP reads them.
pub(super) fn joined_headers(event: &Event) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in event.headers.iter() {
        let value = String::from_utf8_lossy(value);
        joined
            .entry(name.to_owned())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    joined
}
