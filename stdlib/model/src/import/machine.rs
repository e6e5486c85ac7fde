//! The stack machine that a pickle is a program for, with the instructions that containers and tensors need.
//!
//! It makes objects of the kinds of [`Object`] and can make no others. What it holds is
//! bounded: by the bytes it reads, and by counts some hundred times those of a checkpoint.

use std::collections::HashMap;
use std::io::Read;

use super::pickle::{Known, Object, Pickle, Refusal, Storage, Tensor, Value};

/// Most bytes of instructions read: the published layout has 71 610, with an optimizer some times that.
const MAX_BYTES: u64 = 16 << 20;
/// Most objects made, and most values held by the stack or copied into containers: some hundred times what a checkpoint needs.
const MAX_VALUES: usize = 1 << 20;

type Step<T> = Result<T, Refusal>;

fn bad<T>(reason: impl Into<String>) -> Step<T> {
    Err(Refusal::Bad(reason.into()))
}

/// Reads one pickle and leaves `input` behind its end.
pub(super) fn run(input: impl Read) -> Step<Pickle> {
    let mut machine = Machine {
        input: input.take(MAX_BYTES),
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    let root = machine.run()?;
    Ok(Pickle {
        objects: machine.objects,
        root,
    })
}

struct Machine<R> {
    input: std::io::Take<R>,
    objects: Vec<Object>,
    stack: Vec<Value>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    /// Values copied into containers so far.
    copied: usize,
}

impl<R: Read> Machine<R> {
    fn run(&mut self) -> Step<Value> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    /// Runs one instruction; the letters are those of Python's `pickletools`.
    fn step(&mut self, code: u8) -> Step<()> {
        match code {
            0x80 => self.protocol(),
            0x95 => self.bytes(8).map(drop), // FRAME: a hint about lengths
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => self.top().and_then(|value| self.push(value)),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' => self.int_line(),
            b'L' => self.long_line(),
            b'J' => self
                .array()
                .and_then(|bytes| self.push(Value::Int(i32::from_le_bytes(bytes).into()))),
            b'K' => self
                .byte()
                .and_then(|byte| self.push(Value::Int(byte.into()))),
            b'M' => self
                .array()
                .and_then(|bytes| self.push(Value::Int(u16::from_le_bytes(bytes).into()))),
            0x8a => self.byte().and_then(|length| self.long(length.into())),
            0x8b => self.length(4).and_then(|length| self.long(length)),
            b'F' => self.line().and_then(|_| self.push(Value::Float)),
            b'G' => self.bytes(8).and_then(|_| self.push(Value::Float)),
            b'V' | b'S' => self.line_text(code),
            b'X' => self.text(4),
            0x8c => self.text(1),
            0x8d => self.text(8),
            b'T' => self.text(4),
            b'U' => self.text(1),
            b'B' => self.skip(4),
            b'C' => self.skip(1),
            0x8e => self.skip(8),
            b')' => self.create(Object::Tuple(Vec::new())),
            b't' => self
                .pop_mark()
                .and_then(|items| self.create(Object::Tuple(items))),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b']' => self.create(Object::List(Vec::new())),
            b'l' => self
                .pop_mark()
                .and_then(|items| self.create(Object::List(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_mark().and_then(|items| self.append(items)),
            b'}' => self.create(Object::Dict(Vec::new())),
            b'd' => self
                .pop_mark()
                .and_then(|items| self.pairs(items))
                .and_then(|pairs| self.create(Object::Dict(pairs))),
            b's' => self.two().and_then(|items| self.set_items(items)),
            b'u' => self.pop_mark().and_then(|items| self.set_items(items)),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            0x81 => self.new_object(),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            b'p' | b'g' => self.memo_line(code),
            b'q' => self.byte().and_then(|slot| self.keep(slot.into())),
            b'r' => self.length(4).and_then(|slot| self.keep(slot)),
            0x94 => self.keep(self.memo.len() as u64),
            b'h' => self.byte().and_then(|slot| self.recall(slot.into())),
            b'j' => self.length(4).and_then(|slot| self.recall(slot)),
            b'i' => self.instance(),
            other => bad(format!(
                "the pickle uses the instruction {other:#04x}, which no checkpoint needs"
            )),
        }
    }

    // Input.

    fn bytes(&mut self, count: u64) -> Step<Vec<u8>> {
        let mut bytes = Vec::new();
        match (&mut self.input).take(count).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 == count => Ok(bytes),
            Ok(_) => bad("the pickle ends too early"),
            Err(error) => bad(format!("the pickle cannot be read: {error}")),
        }
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => bad("the pickle ends too early"),
        }
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn length(&mut self, bytes: u64) -> Step<u64> {
        match bytes {
            1 => self.array().map(|bytes: [u8; 1]| bytes[0].into()),
            4 => self.array().map(|bytes| u32::from_le_bytes(bytes).into()),
            _ => self.array().map(u64::from_le_bytes),
        }
    }

    fn line(&mut self) -> Step<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        String::from_utf8(line).or_else(|_| bad("the pickle holds a line that is not text"))
    }

    // Scalars and texts.

    fn protocol(&mut self) -> Step<()> {
        match self.byte()? {
            0..=5 => Ok(()),
            other => bad(format!("the pickle has protocol {other}, 0 to 5 are read")),
        }
    }

    fn int_line(&mut self) -> Step<()> {
        let line = self.line()?;
        let value = match line.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            number => Value::Int(
                number
                    .trim()
                    .parse()
                    .or_else(|_| bad(format!("`{number}` is not a number")))?,
            ),
        };
        self.push(value)
    }

    fn long_line(&mut self) -> Step<()> {
        let line = self.line()?;
        let number = line.trim_end_matches('L');
        let value = number
            .parse()
            .or_else(|_| bad(format!("`{number}` is not a number")))?;
        self.push(Value::Int(value))
    }

    fn long(&mut self, length: u64) -> Step<()> {
        if length > 16 {
            return bad(format!("the pickle holds an integer of {length} bytes"));
        }
        let bytes = self.bytes(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        let number = i128::from_le_bytes(wide);
        match i64::try_from(number) {
            Ok(small) => self.push(Value::Int(small)),
            Err(_) => self.create(Object::Long(number)),
        }
    }

    fn text(&mut self, length_bytes: u64) -> Step<()> {
        let length = self.length(length_bytes)?;
        let bytes = self.bytes(length)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.create(Object::Text(text)),
            Err(_) => bad("the pickle holds a text that is not UTF-8"),
        }
    }

    fn line_text(&mut self, code: u8) -> Step<()> {
        let line = self.line()?;
        let text = if code == b'S' {
            line.trim_matches(['\'', '"']).to_owned()
        } else {
            line
        };
        self.create(Object::Text(text))
    }

    fn skip(&mut self, length_bytes: u64) -> Step<()> {
        let length = self.length(length_bytes)?;
        self.bytes(length)?;
        self.create(Object::Bytes)
    }

    // Stack and memo.

    fn push(&mut self, value: Value) -> Step<()> {
        if self.stack.len() >= MAX_VALUES {
            return bad("the pickle holds more values than any checkpoint");
        }
        self.stack.push(value);
        Ok(())
    }

    fn create(&mut self, object: Object) -> Step<()> {
        if self.objects.len() >= MAX_VALUES {
            return bad("the pickle makes more objects than any checkpoint");
        }
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn mark(&mut self) -> Step<()> {
        if self.marks.len() >= MAX_VALUES {
            return bad("the pickle opens more groups than any checkpoint");
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Takes the top value; values below an open mark are out of reach.
    fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(value) if self.stack.len() >= floor => Ok(value),
            _ => bad("the pickle takes a value that is not there"),
        }
    }

    fn top(&self) -> Step<Value> {
        self.stack
            .last()
            .copied()
            .map_or_else(|| bad("the pickle reads a value that is not there"), Ok)
    }

    fn two(&mut self) -> Step<Vec<Value>> {
        let second = self.pop()?;
        Ok(vec![self.pop()?, second])
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => bad("the pickle closes a group that it did not open"),
        }
    }

    fn keep(&mut self, slot: u64) -> Step<()> {
        let value = self.top()?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Step<()> {
        match self.memo.get(&slot) {
            Some(&value) => self.push(value),
            None => bad(format!("the pickle recalls {slot}, which it did not keep")),
        }
    }

    fn memo_line(&mut self, code: u8) -> Step<()> {
        let line = self.line()?;
        let slot = line
            .trim()
            .parse()
            .or_else(|_| bad(format!("`{line}` is not a number")))?;
        if code == b'p' {
            self.keep(slot)
        } else {
            self.recall(slot)
        }
    }

    // Containers.

    fn tuple(&mut self, count: usize) -> Step<()> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.create(Object::Tuple(items))
    }

    fn top_object(&mut self) -> Step<&mut Object> {
        match self.top()? {
            Value::Object(index) => self
                .objects
                .get_mut(index)
                .map_or_else(|| bad("the pickle is torn"), Ok),
            _ => bad("the pickle changes a value that cannot change"),
        }
    }

    fn append(&mut self, items: Vec<Value>) -> Step<()> {
        match self.top_object()? {
            Object::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => bad("the pickle appends to what is not a list"),
        }
    }

    fn pairs(&self, items: Vec<Value>) -> Step<Vec<(Value, Value)>> {
        if !items.len().is_multiple_of(2) {
            return bad("the pickle has a key without a value");
        }
        Ok(items
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }

    fn set_items(&mut self, items: Vec<Value>) -> Step<()> {
        let pairs = self.pairs(items)?;
        match self.top_object()? {
            Object::Dict(dict) => {
                dict.extend(pairs);
                Ok(())
            }
            _ => bad("the pickle sets an item of what is not a dict"),
        }
    }

    // Names and what may be made with them.

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.create(Object::Known(Known::named(&module, &name)?))
    }

    /// INST, of protocol 0, names what it would call.
    fn instance(&mut self) -> Step<()> {
        let (module, name) = (self.line()?, self.line()?);
        Known::named(&module, &name)?;
        bad(format!(
            "the pickle makes a `{module}.{name}` in a way that no checkpoint does"
        ))
    }

    fn stack_global(&mut self) -> Step<()> {
        let names = self.two()?;
        let texts: Vec<_> = names
            .iter()
            .filter_map(|&name| self.text_of(name))
            .collect();
        let known = match texts.as_slice() {
            [module, name] => Known::named(module, name)?,
            _ => return bad("the pickle names something without a text"),
        };
        self.create(Object::Known(known))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }

    fn text_of(&self, value: Value) -> Option<&str> {
        match self.object(value) {
            Some(Object::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn items(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::Tuple(items) | Object::List(items)) => Some(items),
            _ => None,
        }
    }

    fn call(&mut self) -> Step<(Known, Vec<Value>)> {
        let items = self.two()?;
        match (self.object(items[0]), self.items(items[1])) {
            (Some(Object::Known(known)), Some(arguments)) if arguments.len() <= 8 => {
                Ok((*known, arguments.to_vec()))
            }
            _ => bad("the pickle makes a value in a way that no checkpoint does"),
        }
    }

    fn reduce(&mut self) -> Step<()> {
        let (known, arguments) = self.call()?;
        match known {
            Known::OrderedDict => {
                let pairs = self.ordered(&arguments)?;
                self.create(Object::Dict(pairs))
            }
            Known::RebuildTensor => {
                let tensor = self.rebuild(&arguments)?;
                self.create(Object::Tensor(Box::new(tensor)))
            }
            // (tensor, requires_grad, hooks): the tensor is all that counts.
            Known::RebuildParameter => match arguments.first() {
                Some(&tensor) if matches!(self.object(tensor), Some(Object::Tensor(_))) => {
                    self.push(tensor)
                }
                _ => bad("a parameter without its tensor"),
            },
            Known::Parameter | Known::Storage(_) => {
                bad("the pickle makes a value in a way that no checkpoint does")
            }
        }
    }

    /// Reads the pairs that Python 2 gave to an ordered dict; Python 3 gives none and sets items.
    fn ordered(&mut self, arguments: &[Value]) -> Step<Vec<(Value, Value)>> {
        let Some(&first) = arguments.first() else {
            return Ok(Vec::new());
        };
        let count = self.items(first).map_or(0, <[Value]>::len);
        self.copied = self.copied.saturating_add(count);
        if self.copied > MAX_VALUES {
            return bad("the pickle copies more values than any checkpoint");
        }
        let pairs = self
            .items(first)
            .map_or_else(|| bad("an ordered dict that is not made of pairs"), Ok)?;
        pairs
            .iter()
            .map(|&pair| match self.items(pair) {
                Some(&[key, value]) => Ok((key, value)),
                _ => bad("an ordered dict that is not made of pairs"),
            })
            .collect()
    }

    /// Reads (storage, offset, shape, strides, …).
    fn rebuild(&self, arguments: &[Value]) -> Step<Tensor> {
        let &[storage, offset, shape, strides, ..] = arguments else {
            return bad("a tensor without its storage and shape");
        };
        let Some(Object::Storage(storage)) = self.object(storage) else {
            return bad("a tensor without its storage");
        };
        let (shape, strides) = (self.extents(shape)?, self.extents(strides)?);
        if shape.len() != strides.len() {
            return bad("a tensor whose shape and strides differ in length");
        }
        Ok(Tensor {
            storage: Storage::clone(storage),
            offset: self.natural(offset)?,
            shape,
            strides,
        })
    }

    fn extents(&self, value: Value) -> Step<Vec<u64>> {
        match self.items(value) {
            Some(items) if items.len() <= 8 => {
                items.iter().map(|&item| self.natural(item)).collect()
            }
            _ => bad("a tensor whose shape is not a list of up to eight numbers"),
        }
    }

    fn natural(&self, value: Value) -> Step<u64> {
        match value {
            Value::Int(number) => {
                u64::try_from(number).or_else(|_| bad(format!("a tensor with the extent {number}")))
            }
            _ => bad("a tensor whose extent is not a number"),
        }
    }

    /// NEWOBJ: parameters of PyTorch before 0.4, as the classic torchvision files hold them.
    fn new_object(&mut self) -> Step<()> {
        match self.call()? {
            (Known::Parameter, arguments) => {
                let tensor = arguments
                    .first()
                    .and_then(|&tensor| self.tensor_index(tensor));
                self.create(Object::Parameter(tensor))
            }
            (Known::OrderedDict, arguments) if arguments.is_empty() => {
                self.create(Object::Dict(Vec::new()))
            }
            _ => bad("the pickle makes a value in a way that no checkpoint does"),
        }
    }

    fn tensor_index(&self, value: Value) -> Option<usize> {
        match (value, self.object(value)) {
            (Value::Object(index), Some(Object::Tensor(_))) => Some(index),
            _ => None,
        }
    }

    /// BUILD gives an object its state: a parameter's tensor, or a dict's attributes (`_metadata`), which say nothing about values.
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let tensor = self
            .items(state)
            .and_then(|items| items.first())
            .and_then(|&tensor| self.tensor_index(tensor));
        match self.top_object()? {
            Object::Dict(_) => Ok(()),
            Object::Parameter(slot) => {
                *slot = tensor.or(*slot);
                Ok(())
            }
            _ => bad("the pickle gives a state to a value that has none"),
        }
    }

    /// Reads ("storage", type, key, location, count[, view]); view is (key, offset, count).
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let storage = match self.items(id) {
            Some(&[tag, kind, key, _, count, ref view @ ..])
                if self.text_of(tag) == Some("storage") =>
            {
                let (Some(Object::Known(Known::Storage(element))), Some(key)) =
                    (self.object(kind), self.text_of(key))
                else {
                    return bad("a storage without type and key");
                };
                let start = match view.first().and_then(|&view| self.items(view)) {
                    Some(&[_, start, _]) => self.natural(start)?,
                    _ => 0,
                };
                Box::new(Storage {
                    element: *element,
                    key: key.to_owned(),
                    count: self.natural(count)?,
                    start,
                })
            }
            _ => return bad("the pickle refers to something outside that is not a storage"),
        };
        self.create(Object::Storage(storage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Step<Pickle> {
        run(bytes)
    }

    #[test]
    fn plain_containers_are_read() {
        let pickle =
            read(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x07X\x01\x00\x00\x00b]q\x01(K\x01K\x02eu.")
                .unwrap();
        let pairs = pickle.dict(pickle.root).unwrap();
        assert_eq!(pickle.text(pairs[0].0), Some("a"));
        assert_eq!(pairs[0].1, Value::Int(7));
        assert_eq!(pickle.describe(pairs[1].1), "a list");
    }

    #[test]
    fn a_name_that_is_not_on_the_list_is_refused_by_name() {
        let system = b"cposix\nsystem\n(X\x02\x00\x00\x00lsl\x85R.";
        assert_eq!(
            read(system).unwrap_err(),
            Refusal::Foreign("posix.system".to_owned())
        );
        let stacked = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
        assert_eq!(
            read(stacked).unwrap_err(),
            Refusal::Foreign("builtins.eval".to_owned())
        );
        let instance = b"(S'ls'\nios\nsystem\n.";
        assert_eq!(
            read(instance).unwrap_err(),
            Refusal::Foreign("os.system".to_owned())
        );
        // A storage by a name of torch that is none.
        assert_eq!(
            read(b"ctorch\nload\n.").unwrap_err(),
            Refusal::Foreign("torch.load".to_owned())
        );
    }

    #[test]
    fn a_dict_that_holds_itself_and_a_very_deep_list_do_no_harm() {
        assert!(read(b"}q\x00X\x01\x00\x00\x00ah\x00s.").is_ok());
        let deep = [vec![b']'; 200_000], vec![b'a'; 199_999], vec![b'.']].concat();
        assert!(read(&deep).is_ok());
    }

    #[test]
    fn a_small_pickle_cannot_grow_without_bound() {
        let many = [vec![b']'; MAX_VALUES + 1], vec![b'.']].concat();
        assert!(matches!(read(&many), Err(Refusal::Bad(_))));
        // One list of 600 000 pairs, made into an ordered dict again and again.
        let pairs = [
            &b"ccollections\nOrderedDict\nq\x00)q\x01((K\x01K\x02t"[..],
            &[b'2'; 600_000],
            b"lq\x02\x85q\x03",
        ]
        .concat();
        let again = [pairs, b"h\x00h\x03R".repeat(10_000), vec![b'.']].concat();
        assert!(matches!(read(&again), Err(Refusal::Bad(_))));
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error_and_not_an_allocation() {
        for bytes in [
            &b"X\xff\xff\xff\xffabc"[..],
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
            b"\x8b\xff\xff\xff\x7f",
            b"",
            b"0",
            b"t",
            b"h\x05",
            b"(K\x01K\x02d0.",
        ] {
            assert!(matches!(read(bytes), Err(Refusal::Bad(_))), "{bytes:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_pickle_is_an_error() {
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x07X\x01\x00\x00\x00b]q\x01(K\x01K\x02eu.";
        assert!((0..bytes.len()).all(|end| read(&bytes[..end]).is_err()));
    }
}
