//! What the parser makes of a template.

use std::rc::Rc;

use crate::value::Value;

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(Value),
    Name(Rc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, Rc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Args>),
    Filter(Box<Applied>),
    Test(Box<Applied>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Plus(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Concat(Vec<Expr>),
    Choice(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    /// The body of a filter block, as the innermost filter's input.
    Body,
}

/// A filter or a test applied to something.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) name: Rc<str>,
    pub(crate) on: Expr,
    pub(crate) args: Args,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The arguments of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Rc<str>, Expr)>,
    pub(crate) star: Option<Expr>,
    pub(crate) double_star: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// Where an assignment goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Name(Rc<str>),
    Tuple(Vec<Target>),
    /// `ns.attribute` of a namespace.
    Attr(Rc<str>, Rc<str>),
}

/// A macro's parameters and body; also a call block's.
#[derive(Debug)]
pub(crate) struct MacroDef {
    pub(crate) name: Rc<str>,
    pub(crate) params: Vec<(Rc<str>, Option<Expr>)>,
    pub(crate) body: Vec<Stmt>,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub(crate) enum Stmt {
    Text(Rc<str>),
    Output(Expr, u32),
    For(Rc<For>),
    If(Rc<[(Expr, Vec<Stmt>)]>, Rc<[Stmt]>),
    Set(Target, Expr, u32),
    SetBlock(Target, Option<Expr>, Rc<[Stmt]>),
    Macro(Rc<MacroDef>),
    Call(Rc<MacroDef>, Expr),
    Filter(Expr, Rc<[Stmt]>),
    With(Vec<(Target, Expr)>, Rc<[Stmt]>),
    Do(Expr, u32),
    Break,
    Continue,
    Include {
        name: Expr,
        ignore_missing: bool,
        context: bool,
    },
    Import {
        name: Expr,
        target: Rc<str>,
        context: bool,
    },
    FromImport {
        name: Expr,
        names: Vec<(Rc<str>, Rc<str>)>,
        context: bool,
    },
    Extends(Expr),
    Block(Rc<BlockDef>),
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) over: Expr,
    pub(crate) only_if: Option<Expr>,
    pub(crate) recursive: bool,
    pub(crate) body: Vec<Stmt>,
    pub(crate) otherwise: Vec<Stmt>,
    pub(crate) line: u32,
}

#[derive(Debug)]
pub(crate) struct BlockDef {
    pub(crate) name: Rc<str>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) scoped: bool,
}
