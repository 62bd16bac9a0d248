//! Statements. What they produce is a sequence of values: one alone stays itself, several
//! become one text.

use std::rc::Rc;

use super::objects::{Loop, Macro, Namespace};
use super::{Evaluator, Frame, at_line, defined, keep, trip, truth};
use crate::template::ast::{BlockDef, Expr, For, Stmt, Target};
use crate::template::{Error, ErrorKind, Kwargs, cache, finalize};
use crate::value::{Dict, Mark, Text, Value};

/// How a run of statements ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Out = Vec<Value>;

impl Evaluator<'_> {
    /// Runs a template's, macro's or block's body and returns what it gives.
    pub(in crate::template) fn program(
        &self,
        body: &[Stmt],
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let mut out = Out::new();
        self.run_all(body, frame, &mut out)?;
        self.join(out)
    }

    fn join(&self, mut out: Out) -> Result<Value, Error> {
        out.retain(|value| !matches!(value, Value::None));
        if out.len() <= 1 {
            return Ok(out.pop().unwrap_or_default());
        }
        let mut text = String::new();
        for value in out {
            let piece = finalize::in_text(&value)?;
            self.meter.bytes(piece.len())?;
            text.push_str(&piece);
        }
        Ok(Value::from(text))
    }

    fn run_all(&self, body: &[Stmt], frame: &Rc<Frame>, out: &mut Out) -> Result<Flow, Error> {
        for statement in body {
            let flow = self.run(statement, frame, out)?;
            if flow != Flow::On {
                return Ok(flow);
            }
            if matches!(statement, Stmt::Extends(_)) {
                return self.extend(statement, body, frame, out);
            }
        }
        Ok(Flow::On)
    }

    fn place<T>(&self, line: u32, result: Result<T, Error>) -> Result<T, Error> {
        if self.in_variable.get() {
            return result;
        }
        result.map_err(|error| at_line(error, line, self.file.borrow().as_deref()))
    }

    fn run(&self, statement: &Stmt, frame: &Rc<Frame>, out: &mut Out) -> Result<Flow, Error> {
        self.meter.steps(1)?;
        match statement {
            Stmt::Text(text) => out.push(Value::Str(Text::new(text.clone(), Mark::Data))),
            Stmt::Output(expr, line) => {
                let value = self.place(*line, self.value(expr, frame))?;
                if let (Value::Undefined(undefined), Some(_)) = (&value, &*self.file.borrow()) {
                    return self.place(*line, Err(trip(undefined)));
                }
                match module_body(&value) {
                    Some(body) => out.push(body),
                    None => out.push(value),
                }
            }
            Stmt::For(def) => {
                let line = def.line;
                let over = self.place(line, self.value(&def.over, frame).and_then(defined))?;
                self.place(line, self.for_loop(def, frame, &over, 0, out))?;
            }
            Stmt::If(arms, otherwise) => {
                for (condition, body) in arms.iter() {
                    if truth(&self.value(condition, frame)?)? {
                        return self.run_all(body, frame, out);
                    }
                }
                return self.run_all(otherwise, frame, out);
            }
            Stmt::Set(target, expr, line) => {
                let value = self.place(*line, self.value(expr, frame))?;
                self.assign(target, value, frame)?;
            }
            Stmt::SetBlock(target, filter, body) => {
                let value = self.filtered(filter.as_ref(), body, frame)?;
                self.assign(target, value, frame)?;
            }
            Stmt::Macro(def) => {
                let this = Macro {
                    def: def.clone(),
                    frame: frame.clone(),
                };
                frame.set(def.name.clone(), Value::Object(Rc::new(this)));
            }
            Stmt::Call(def, call) => out.push(self.call_block(def, call, frame)?),
            Stmt::Filter(filter, body) => out.push(self.filtered(Some(filter), body, frame)?),
            Stmt::With(bindings, body) => {
                let inner = frame.child();
                for (target, expr) in bindings {
                    let value = self.value(expr, &inner)?;
                    self.assign(target, value, &inner)?;
                }
                return self.run_all(body, &inner, out);
            }
            Stmt::Do(expr, line) => {
                let value = self.place(*line, self.value(expr, frame))?;
                if let Value::Undefined(undefined) = value
                    && undefined.failed
                {
                    return self.place(*line, Err(trip(&undefined)));
                }
            }
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
            Stmt::Include {
                name,
                ignore_missing,
                context,
            } => self.include(name, *ignore_missing, *context, frame, out)?,
            Stmt::Import {
                name,
                target,
                context,
            } => {
                let module = self.import(name, *context, frame)?;
                frame.set(target.clone(), module);
            }
            Stmt::FromImport {
                name,
                names,
                context,
            } => {
                let module = self.import(name, *context, frame)?;
                for (original, alias) in names {
                    let value = Self::attribute(&module, original)?;
                    frame.set(alias.clone(), value);
                }
            }
            Stmt::Extends(_) => {}
            Stmt::Block(def) => self.block(def, frame, out)?,
        }
        Ok(Flow::On)
    }

    fn for_loop(
        &self,
        def: &Rc<For>,
        frame: &Rc<Frame>,
        over: &Value,
        depth: i64,
        out: &mut Out,
    ) -> Result<(), Error> {
        let mut items = self.items(over)?;
        if let Some(condition) = &def.only_if {
            let mut kept = Vec::new();
            for item in items {
                let inner = frame.child();
                self.assign(&def.target, item.clone(), &inner)?;
                if truth(&self.value(condition, &inner)?)? {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.run_all(&def.otherwise, &frame.child(), out)?;
            return Ok(());
        }
        let mut state = Loop::new(Rc::from(items), depth);
        if def.recursive {
            state.again = Some((def.clone(), frame.clone()));
        }
        let state = Rc::new(state);
        for (at, item) in state.items.iter().enumerate() {
            self.meter.steps(1)?;
            state.at.set(at);
            let inner = frame.child();
            inner.set(Rc::from("loop"), Value::Object(state.clone()));
            self.assign(&def.target, item.clone(), &inner)?;
            if self.run_all(&def.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// Runs a recursive loop's body over other items: `loop(item.children)`.
    pub(super) fn loop_again(
        &self,
        def: &Rc<For>,
        frame: &Rc<Frame>,
        over: &Value,
        depth: i64,
    ) -> Result<Value, Error> {
        let _deeper = self.meter.deeper()?;
        let mut out = Out::new();
        self.for_loop(def, frame, over, depth, &mut out)?;
        self.join(out)
    }

    fn assign(&self, target: &Target, value: Value, frame: &Rc<Frame>) -> Result<(), Error> {
        match target {
            Target::Name(name) => frame.set(name.clone(), value),
            Target::Tuple(targets) => {
                let items = self.items(&value)?;
                if items.len() != targets.len() {
                    let (want, got) = (targets.len(), items.len());
                    return Err(Error::failed(match got > want {
                        true => format!("too many values to unpack (expected {want})"),
                        false => {
                            format!("not enough values to unpack (expected {want}, got {got})")
                        }
                    }));
                }
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item, frame)?;
                }
            }
            Target::Attr(name, attribute) => {
                let namespace = frame.get(name).unwrap_or_default();
                let namespace = match &namespace {
                    Value::Object(object) => object.as_any().downcast_ref::<Namespace>(),
                    _ => None,
                };
                match namespace {
                    Some(namespace) if !namespace.module => namespace.names.set(attribute, value),
                    _ => {
                        return Err(Error::failed(
                            "cannot assign attribute on non-namespace object",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn filtered(
        &self,
        filter: Option<&Expr>,
        body: &[Stmt],
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let inner = frame.child();
        let value = self.program(body, &inner)?;
        let Some(filter) = filter else {
            return Ok(value);
        };
        let value = match value {
            Value::None => Value::str(""),
            value => value,
        };
        inner.set(Rc::from("\0body"), value);
        self.value(filter, &inner)
    }

    fn call_block(
        &self,
        def: &Rc<crate::template::ast::MacroDef>,
        call: &Expr,
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let Expr::Call(callee, args) = call else {
            return Err(Error::failed("a call block needs a call"));
        };
        let caller = Macro {
            def: def.clone(),
            frame: frame.clone(),
        };
        let callee = defined(self.value(callee, frame)?)?;
        let (positional, mut named) = self.arguments(args, frame)?;
        named.insert("caller".to_owned(), Value::Object(Rc::new(caller)));
        self.invoke(&callee, positional, named)
    }

    fn load(&self, name: &str) -> Result<(Rc<Vec<Stmt>>, String), Error> {
        let _deeper = self.meter.deeper()?;
        let from = self.file.borrow().clone();
        let (text, path) = self.outside.load(name, from.as_deref())?;
        let body = cache::template(&text, &self.syntax.borrow()).map_err(|error| {
            let line = error.place.as_ref().map_or(1, |place| place.line);
            at_line(
                Error {
                    place: None,
                    ..error
                },
                line,
                Some(&path),
            )
        })?;
        Ok((body, path))
    }

    fn include(
        &self,
        name: &Expr,
        ignore_missing: bool,
        context: bool,
        frame: &Rc<Frame>,
        out: &mut Out,
    ) -> Result<(), Error> {
        let name = defined(self.value(name, frame)?)?;
        let names = match &name {
            Value::List(_) | Value::Tuple(_) => self.items(&name)?,
            _ => vec![name.clone()],
        };
        let mut missing = Error::failed("template not found");
        for name in &names {
            match self.load(&name.to_string()) {
                Ok((body, path)) => {
                    let inner = if context {
                        frame.child()
                    } else {
                        Frame::isolated()
                    };
                    let value = self.inside(path, || self.program(&body, &inner))?;
                    out.push(value);
                    return Ok(());
                }
                Err(error) if error.kind == ErrorKind::Failed => missing = error,
                Err(error) => return Err(error),
            }
        }
        if ignore_missing { Ok(()) } else { Err(missing) }
    }

    fn import(&self, name: &Expr, context: bool, frame: &Rc<Frame>) -> Result<Value, Error> {
        let name = defined(self.value(name, frame)?)?.to_string();
        let (body, path) = self.load(&name)?;
        let inner = if context {
            frame.child()
        } else {
            Frame::isolated()
        };
        let text = self.inside(path, || self.program(&body, &inner))?;
        let names = Dict::new();
        for (name, value) in inner.names.borrow().iter() {
            names.set(name, value.clone());
        }
        names.set("\0body", text);
        let module = true;
        Ok(Value::Object(Rc::new(Namespace { names, module })))
    }

    /// Renders the parent of a template that extends one, with this one's blocks.
    fn extend(
        &self,
        statement: &Stmt,
        body: &[Stmt],
        frame: &Rc<Frame>,
        out: &mut Out,
    ) -> Result<Flow, Error> {
        let Stmt::Extends(name) = statement else {
            return Ok(Flow::On);
        };
        self.collect_blocks(body);
        let mut ignored = Out::new();
        let after = body
            .iter()
            .skip_while(|s| !matches!(s, Stmt::Extends(_)))
            .skip(1);
        for statement in after.filter(|s| {
            matches!(
                s,
                Stmt::Set(..)
                    | Stmt::SetBlock(..)
                    | Stmt::Macro(_)
                    | Stmt::Import { .. }
                    | Stmt::FromImport { .. }
            )
        }) {
            self.run(statement, frame, &mut ignored)?;
        }
        let name = defined(self.value(name, frame)?)?.to_string();
        let (parent, path) = self.load(&name)?;
        out.clear();
        self.inside(path, || self.run_all(&parent, frame, out))
    }

    fn collect_blocks(&self, body: &[Stmt]) {
        for statement in body {
            if let Stmt::Block(def) = statement {
                let mut blocks = self.blocks.borrow_mut();
                blocks
                    .entry(def.name.clone())
                    .or_default()
                    .push(def.clone());
                drop(blocks);
                self.collect_blocks(&def.body);
            }
        }
    }

    fn block(&self, def: &Rc<BlockDef>, frame: &Rc<Frame>, out: &mut Out) -> Result<(), Error> {
        let mut chain = self
            .blocks
            .borrow()
            .get(&def.name)
            .cloned()
            .unwrap_or_default();
        chain.push(def.clone());
        let value = self.block_at(&chain, 0, frame)?;
        out.push(value);
        Ok(())
    }

    fn block_at(
        &self,
        chain: &[Rc<BlockDef>],
        at: usize,
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let Some(def) = chain.get(at) else {
            return Ok(Value::missing("there is no parent block".to_owned()));
        };
        let _deeper = self.meter.deeper()?;
        let inner = frame.child();
        if at + 1 < chain.len() {
            // `super()` gives the overridden block as it is without further arguments.
            let parent = self.block_at(chain, at + 1, frame).or_else(keep)?;
            let body = Macro {
                def: Rc::new(crate::template::ast::MacroDef {
                    name: Rc::from("super"),
                    params: Vec::new(),
                    body: vec![Stmt::Output(Expr::Const(parent), 0)],
                }),
                frame: inner.clone(),
            };
            inner.set(Rc::from("super"), Value::Object(Rc::new(body)));
        }
        let _ = (def.scoped, Kwargs::new());
        self.program(&def.body, &inner)
    }
}

/// Returns what an imported template printed, for `{{ module }}`.
fn module_body(value: &Value) -> Option<Value> {
    let Value::Object(object) = value else {
        return None;
    };
    let module = object.as_any().downcast_ref::<Namespace>()?;
    module
        .module
        .then(|| module.names.get("\0body").unwrap_or_default())
}
