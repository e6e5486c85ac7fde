//! A pickle reader that can build tensors and plain containers and nothing else.
//!
//! Pickle is a program for a stack machine that may call any function. This machine knows
//! a closed list of names, calls none of them, and stops at the first that it does not know.
//! Objects live in one list and refer to each other by index, so no input can make the
//! reader recurse; memory is bounded by the length of the input.

use std::io::Read;

use super::element::Element;
use super::machine;

/// Says why a pickle is not read further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It names a function or class that is not on the list.
    Foreign(String),
    /// It is torn or uses an instruction that checkpoints do not need.
    Bad(String),
}

/// A value on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Object(usize),
}

/// A value that others may refer to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Text(String),
    Bytes,
    /// An integer that needs up to 16 bytes.
    Long(i128),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Known(Known),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// A parameter of PyTorch before 0.4, whose tensor comes with its state.
    Parameter(Option<usize>),
}

/// The names that a checkpoint may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Parameter,
    Storage(Element),
}

impl Known {
    pub(super) fn named(module: &str, name: &str) -> Result<Self, Refusal> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch.nn.parameter", "Parameter") => Ok(Self::Parameter),
            ("torch", name) if let Some(element) = Element::of_storage(name) => {
                Ok(Self::Storage(element))
            }
            _ => Err(Refusal::Foreign(format!("{module}.{name}"))),
        }
    }
}

/// Numbers that live elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    pub(crate) element: Element,
    pub(crate) key: String,
    /// Elements in the whole storage.
    pub(crate) count: u64,
    /// Elements before the part that this names (views of PyTorch before 0.4).
    pub(crate) start: u64,
}

/// A window into a storage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) storage: Storage,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<u64>,
}

/// What a pickle holds: its result and everything that the result refers to.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) objects: Vec<Object>,
    pub(crate) root: Value,
}

impl Pickle {
    /// Reads one pickle and leaves `input` behind its end.
    pub(crate) fn read(input: impl Read) -> Result<Self, Refusal> {
        machine::run(input)
    }

    pub(crate) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }

    pub(crate) fn text(&self, value: Value) -> Option<&str> {
        match self.object(value) {
            Some(Object::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value) {
            Some(Object::Dict(pairs)) => Some(pairs),
            _ => None,
        }
    }

    /// Returns the tensor that `value` is, looking through a parameter.
    pub(crate) fn tensor(&self, value: Value) -> Option<&Tensor> {
        match self.object(value)? {
            Object::Tensor(tensor) => Some(tensor),
            Object::Parameter(Some(index)) => match self.objects.get(*index) {
                Some(Object::Tensor(tensor)) => Some(tensor),
                _ => None,
            },
            _ => None,
        }
    }

    /// Says in a word what `value` is.
    pub(crate) fn describe(&self, value: Value) -> &'static str {
        match (value, self.object(value)) {
            (Value::None, _) => "nothing",
            (Value::Bool(_), _) => "a truth value",
            (Value::Int(_) | Value::Float, _) => "a number",
            (_, Some(Object::Long(_))) => "a number",
            (_, Some(Object::Text(_))) => "a text",
            (_, Some(Object::Bytes)) => "bytes",
            (_, Some(Object::List(_) | Object::Tuple(_))) => "a list",
            (_, Some(Object::Dict(_))) => "a dict",
            (_, Some(Object::Tensor(_) | Object::Parameter(_))) => "a tensor",
            (_, _) => "a type",
        }
    }
}
