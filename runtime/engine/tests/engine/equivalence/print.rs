//! A random pipeline as text: plainly, and in as many other ways as the language has of saying the same.

use std::collections::{BTreeMap, BTreeSet};

use cerb_lang::{Given, PlanOptions};

use super::pipeline::{
    Arg, Call, Coll, FOLDERS, Filter, Kind, Lit, Made, Op, Pipeline, Reads, Source, Stage, Step,
    Test, ops,
};
use super::spell::{Rng, plain, spelled, sprinkle};

/// A pipeline as it is given to the language.
#[derive(Debug)]
pub struct Written {
    pub text: String,
    pub options: PlanOptions,
}

/// Writes a pipeline in the plainest way.
pub fn plainly(pipeline: &Pipeline) -> Written {
    Printer::new(pipeline, None).whole()
}

/// Writes a pipeline in another way, with the same meaning.
pub fn otherwise(pipeline: &Pipeline, seed: u64) -> Written {
    Printer::new(pipeline, Some(Rng(seed))).whole()
}

/// A `def` under construction: its ports with type, default and what it is called with.
#[derive(Default)]
struct Def {
    ports: Vec<(String, String, Option<String>, Option<String>)>,
}

struct Printer<'a> {
    pipeline: &'a Pipeline,
    ops: Vec<Op>,
    rng: Option<Rng>,
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    items: Vec<String>,
    /// `let`s of the block that is being written; of the file at the bottom.
    lets: Vec<Vec<String>>,
    def: Option<Def>,
    /// Calls that are written where they are read.
    inlined: BTreeSet<(usize, usize)>,
    /// Stages whose result is a call, not a record of them.
    bare: BTreeSet<usize>,
    params: BTreeMap<String, Given>,
}

const NAMES: &[&str] = &[
    "x", "toy", "mix", "count", "sum", "made", "Report", "by", "data2", "px", "all", "only", "_a",
    "key", "value", "run", "image", "left", "right", "mpp", "B9", "None", "yes",
];

const TYPES: &[(Kind, &str)] = &[
    (Kind::Float, "Float"),
    (Kind::Px, "Px"),
    (Kind::Um, "Um"),
    (Kind::Um2, "Um2"),
    (Kind::Pct, "Pct"),
    (Kind::Dur, "Dur"),
    (Kind::Bytes, "Bytes"),
    (Kind::Int, "Int"),
    (Kind::Bool, "Bool"),
    (Kind::Word, "Str"),
    (Kind::Names, "[Str]"),
    (Kind::Mpp, "Mpp"),
];

fn type_name(kind: Kind) -> &'static str {
    TYPES.iter().find(|(one, _)| *one == kind).unwrap().1
}

impl<'a> Printer<'a> {
    fn new(pipeline: &'a Pipeline, rng: Option<Rng>) -> Printer<'a> {
        let mut printer = Printer {
            pipeline,
            ops: ops(),
            rng,
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            items: Vec::new(),
            lets: vec![Vec::new()],
            def: None,
            inlined: BTreeSet::new(),
            bare: BTreeSet::new(),
            params: BTreeMap::new(),
        };
        printer.inlined = printer.inlinable();
        printer
    }

    /// Says yes now and then, in so many of a hundred cases; never when writing plainly.
    fn chance(&mut self, percent: usize) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.pick(100) < percent)
    }

    fn pick(&mut self, of: usize) -> usize {
        self.rng.as_mut().map_or(0, |rng| rng.pick(of))
    }

    /// Returns the name of a binding, another one unless writing plainly.
    fn name(&mut self, plain: &str) -> String {
        if let Some(known) = self.names.get(plain) {
            return known.clone();
        }
        let last = plain.rsplit('.').next().unwrap().to_owned();
        let name = match &mut self.rng {
            None => last,
            Some(rng) => {
                let base = rng.of(NAMES).to_owned();
                let mut name = base.clone();
                while self.taken.contains(&name) {
                    name = format!("{base}{}", rng.pick(1000));
                }
                name
            }
        };
        self.taken.insert(name.clone());
        self.names.insert(plain.to_owned(), name.clone());
        name
    }

    fn fresh(&mut self) -> String {
        let at = self.names.len();
        self.name(&format!("fresh{at}"))
    }

    /// Chooses calls that only one other call reads, as an input, and that are no output.
    fn inlinable(&mut self) -> BTreeSet<(usize, usize)> {
        let uses = self.pipeline.uses();
        let mut direct = BTreeSet::new();
        for step in self.pipeline.stages.iter().flat_map(Stage::steps) {
            let sources = match (&step.or, &step.call.reads) {
                (Some(_), _) | (None, Reads::All(_)) => vec![],
                (None, Reads::One(x)) => vec![*x],
                (None, Reads::Two(x, y)) => vec![*x, *y],
            };
            for source in sources {
                if let Source::Call(made) = source {
                    direct.insert((made.stage, made.call));
                }
            }
        }
        direct.retain(|at| {
            uses.get(at) == Some(&1) && !self.pipeline.stages[at.0].steps()[at.1].output
        });
        direct.into_iter().filter(|_| self.chance(40)).collect()
    }

    fn whole(mut self) -> Written {
        let mut items = Vec::new();
        if self.chance(50) {
            items.push("root data = \"elsewhere\"".to_owned());
        } else {
            items.push("root data".to_owned());
        }
        for (at, (kind, lit)) in self.pipeline.params.iter().enumerate() {
            let item = self.param(at, *kind, lit);
            items.push(item);
        }
        if self.rng.is_none() {
            items.push("let loaded = toy.load(data, \"one.txt\")".to_owned());
            for folder in FOLDERS {
                items.push(format!("let scan_{folder} = toy.scan(data, \"{folder}\")"));
            }
        }
        for (at, stage) in self.pipeline.stages.iter().enumerate() {
            let item = match stage {
                Stage::Single(_) if self.inlined.contains(&(at, 0)) => None,
                Stage::Single(step) => {
                    let name = self.name(&format!("s{at}"));
                    let text = self.step(at, step);
                    Some(format!("let {name} = {text}"))
                }
                Stage::For { over, filter, body } => {
                    let name = self.name(&format!("s{at}"));
                    let text = self.each(at, over, *filter, body);
                    Some(format!("let {name} = {text}"))
                }
            };
            items.extend(item);
            let uses = self.pipeline.uses();
            for (call, step) in stage.steps().iter().enumerate() {
                if !step.output && uses.contains_key(&(at, call)) {
                    continue;
                }
                let made = Made {
                    stage: at,
                    call,
                    port: 0,
                };
                let (text, key) = match stage {
                    Stage::Single(_) => (self.source(at, Source::Call(made)), ""),
                    Stage::For { .. } => (self.field(made), "/{key}"),
                };
                let folder = if self.chance(30) { "other/" } else { "" };
                items.push(format!("output \"{folder}o{at}_{call}{key}.txt\" = {text}"));
            }
        }
        items.append(&mut self.items);
        items.append(&mut self.lets[0]);
        if let Some(rng) = &mut self.rng {
            rng.shuffle(&mut items);
        }
        if self.chance(50) {
            items.insert(0, "cerb 1".to_owned());
        }
        let mut text = items.join("\n") + "\n";
        if let Some(rng) = &mut self.rng {
            text = sprinkle(&text, rng);
        }
        Written {
            text,
            options: PlanOptions {
                params: self.params,
                test: None,
            },
        }
    }

    /// Writes a `param`; otherwise as a `let`, or with another default and the value from outside.
    fn param(&mut self, at: usize, kind: Kind, lit: &Lit) -> String {
        let name = self.name(&format!("p{at}"));
        let value = self.spelled(kind, lit);
        let ty = type_name(kind);
        match self.pick(4) {
            1 => format!("let {name} = {value}"),
            2 => format!("let {name}: {ty} = {value}"),
            3 => {
                let given = Given::new(&value, "-p");
                self.params.insert(name.clone(), given);
                let other = Lit::Milli(1);
                let other = if kind == Kind::Int {
                    Lit::Whole(1)
                } else {
                    other
                };
                format!("param {name}: {ty} = {}", plain(kind, &other))
            }
            _ => format!("param {name}: {ty} = {value}"),
        }
    }

    fn each(&mut self, at: usize, over: &[Coll], filter: Option<Filter>, body: &[Step]) -> String {
        let mut vars = Vec::new();
        for (var, coll) in over.iter().enumerate() {
            let text = self.coll(*coll);
            let name = self.name(&format!("s{at}.v{var}"));
            vars.push(format!("{name} in {text}"));
        }
        let first = self.name(&format!("s{at}.v0"));
        let filter = match filter {
            None => String::new(),
            Some(Filter::Mpp(least)) => {
                let least = self.spelled(Kind::Mpp, &Lit::Milli(least));
                if self.chance(30) {
                    format!(" where !({first}.mpp <= {least})")
                } else {
                    format!(" where {first}.mpp > {least}")
                }
            }
            Some(Filter::Count(over)) => {
                let test = Test {
                    of: Source::Var(0),
                    over,
                };
                format!(" where {}", self.test(at, test))
            }
        };
        self.lets.push(Vec::new());
        let uses = self.pipeline.uses();
        let shown: Vec<usize> = (0..body.len())
            .filter(|call| !self.inlined.contains(&(at, *call)))
            .filter(|call| {
                let inside = self.pipeline.read_inside(at, *call);
                body[*call].output
                    || uses.get(&(at, *call)).copied().unwrap_or(0) > inside
                    || inside == 0
            })
            .collect();
        let mut result = String::new();
        let bare = shown.len() == 1 && self.chance(50);
        for (call, step) in body.iter().enumerate() {
            if self.inlined.contains(&(at, call)) {
                continue;
            }
            let text = self.step(at, step);
            if bare
                && shown == [call]
                && self.pipeline.read_inside(at, call) == 0
                && self.chance(50)
            {
                result = text;
                continue;
            }
            let name = self.name(&format!("s{at}.n{call}"));
            let typed = step.call.op != super::pipeline::SPLIT && self.chance(20);
            let ty = if typed { ": Report" } else { "" };
            self.lets
                .last_mut()
                .unwrap()
                .push(format!("let {name}{ty} = {text}"));
        }
        if bare {
            self.bare.insert(at);
            if result.is_empty() {
                result = self.name(&format!("s{at}.n{}", shown[0]));
            }
        } else {
            let mut fields = Vec::new();
            for call in shown {
                let name = self.name(&format!("s{at}.n{call}"));
                let label = self.label(at, call);
                fields.push(if label == name && !self.chance(30) {
                    name
                } else {
                    format!("{label}: {name}")
                });
            }
            if let Some(rng) = &mut self.rng {
                rng.shuffle(&mut fields);
            }
            let comma = if self.chance(30) { "," } else { "" };
            result = format!("{{ {}{comma} }}", fields.join(", "));
        }
        let block = self.block(result);
        let tolerate = if self.chance(20) {
            " @tolerate(50 %)"
        } else {
            ""
        };
        format!("for {}{filter} {block}{tolerate}", vars.join(", "))
    }

    /// Closes the block that was begun.
    fn block(&mut self, result: String) -> String {
        let mut lets = self.lets.pop().unwrap();
        if let Some(rng) = &mut self.rng {
            rng.shuffle(&mut lets);
        }
        if lets.is_empty() {
            return format!("{{ {result} }}");
        }
        format!("{{\n  {}\n  {result}\n}}", lets.join("\n  "))
    }

    /// The label of a call in the record of its `for`.
    fn label(&mut self, at: usize, call: usize) -> String {
        if self.rng.is_none() {
            return format!("n{call}");
        }
        let plain = format!("label.s{at}.n{call}");
        if let Some(known) = self.names.get(&plain) {
            return known.clone();
        }
        let same = self.names.get(&format!("s{at}.n{call}")).cloned();
        let label = match (same, self.pick(3)) {
            (Some(same), 0) => same,
            // After a dot, any word is a label.
            _ => format!("{}{call}", NAMES[self.pick(NAMES.len())]),
        };
        self.names.insert(plain, label.clone());
        label
    }

    fn field(&mut self, made: Made) -> String {
        let stage = self.name(&format!("s{}", made.stage));
        let label = match self.bare.contains(&made.stage) {
            true => String::new(),
            false => format!(".{}", self.label(made.stage, made.call)),
        };
        let port = self.port(made);
        format!("{stage}{label}{port}")
    }

    fn port(&self, made: Made) -> String {
        let step = &self.pipeline.stages[made.stage].steps()[made.call];
        let outputs = self.ops[step.call.op].outputs;
        match outputs.len() {
            1 => String::new(),
            _ => format!(".{}", outputs[made.port]),
        }
    }

    /// Writes a collection; in a `def`, the port that it is handed to.
    fn coll(&mut self, coll: Coll) -> String {
        let text = match coll {
            Coll::Field(made) => self.field(made),
            Coll::Scan(folder) if self.rng.is_none() => format!("scan_{}", FOLDERS[folder]),
            Coll::Scan(folder) => {
                let folder = self.spelled(Kind::Word, &Lit::Word(FOLDERS[folder]));
                let args = vec![("root", "data".to_owned()), ("folder", folder)];
                let args = self.arguments(args, 2);
                self.maybe_let(&format!("toy.scan({args})"), true)
            }
        };
        self.leaf(text, "Map<Key, Report>")
    }

    /// Writes an artifact; in a `def`, the port that it is handed to.
    fn source(&mut self, at: usize, source: Source) -> String {
        match source {
            Source::Call(made) if self.inlined.contains(&(made.stage, made.call)) => {
                let step = &self.pipeline.stages[made.stage].steps()[made.call];
                let text = self.bare_step(at, step);
                let port = self.port(made);
                match (port.is_empty(), step.or.is_some()) {
                    (true, false) => text,
                    _ => format!("({text}){port}"),
                }
            }
            Source::Loaded => {
                let text = match self.rng.is_none() {
                    true => "loaded".to_owned(),
                    false => {
                        let args = vec![
                            ("root", "data".to_owned()),
                            ("name", "\"one.txt\"".to_owned()),
                        ];
                        format!("toy.load({})", self.arguments(args, 2))
                    }
                };
                self.leaf(text, "Report")
            }
            Source::Var(var) => {
                let text = self.name(&format!("s{at}.v{var}"));
                self.leaf(text, "Report")
            }
            Source::Call(made) => {
                let single = matches!(self.pipeline.stages[made.stage], Stage::Single(_));
                let name = match single {
                    true => self.name(&format!("s{}", made.stage)),
                    false => self.name(&format!("s{}.n{}", made.stage, made.call)),
                };
                let port = self.port(made);
                self.leaf(format!("{name}{port}"), "Report")
            }
        }
    }

    /// Hands something of outside to the `def` that is being written.
    fn leaf(&mut self, text: String, ty: &str) -> String {
        if self.def.is_none() {
            return text;
        }
        let name = self.fresh();
        let def = self.def.as_mut().unwrap();
        def.ports
            .push((name.clone(), ty.to_owned(), None, Some(text)));
        name
    }

    /// Writes a call or an `if`, perhaps through a `def`.
    fn step(&mut self, at: usize, step: &Step) -> String {
        if self.def.is_some() || !self.chance(25) {
            return self.bare_step(at, step);
        }
        self.def = Some(Def::default());
        self.lets.push(Vec::new());
        let text = self.bare_step(at, step);
        let result = if self.chance(30) {
            let name = self.fresh();
            self.lets
                .last_mut()
                .unwrap()
                .push(format!("let {name} = {text}"));
            name
        } else {
            text
        };
        let body = self.block(result);
        let def = self.def.take().unwrap();
        // A `def` may take the place of a word such as `sum`, so it has a name of its own.
        let name = format!("def_{}", self.fresh());
        let ports: Vec<String> = def
            .ports
            .iter()
            .map(|(name, ty, default, _)| match default {
                None => format!("{name}: {ty}"),
                Some(default) => format!("{name}: {ty} = {default}"),
            })
            .collect();
        let ty = match step.call.op {
            super::pipeline::SPLIT => "{left: Report, right: Report}",
            _ => "Report",
        };
        self.items
            .push(format!("def {name}({}) -> {ty} {body}", ports.join(", ")));
        let first = def
            .ports
            .iter()
            .take_while(|(_, _, _, given)| given.is_some())
            .count();
        let args: Vec<(&str, String)> = def
            .ports
            .iter()
            .filter_map(|(name, _, _, given)| Some((name.as_str(), given.clone()?)))
            .collect();
        let args = self.arguments(args, first);
        format!("{name}({args})")
    }

    fn bare_step(&mut self, at: usize, step: &Step) -> String {
        let Some((test, other)) = &step.or else {
            return self.call(at, &step.call);
        };
        let (test, swapped) = match self.chance(30) {
            true => (format!("!({})", self.test(at, *test)), true),
            false => (self.test(at, *test), false),
        };
        let mut side = |call: &Call, name: &str| {
            self.lets.push(Vec::new());
            let text = self.call(at, call);
            let result = if self.chance(50) {
                text
            } else {
                let name = match self.rng {
                    None => name.to_owned(),
                    Some(_) => self.fresh(),
                };
                self.lets
                    .last_mut()
                    .unwrap()
                    .push(format!("let {name} = {text}"));
                name
            };
            self.block(result)
        };
        let (yes, no) = (side(&step.call, "yes"), side(other, "no"));
        match swapped {
            true => format!("if {test} {no} else {yes}"),
            false => format!("if {test} {yes} else {no}"),
        }
    }

    fn call(&mut self, at: usize, call: &Call) -> String {
        let mut args: Vec<(&str, String)> = Vec::new();
        match &call.reads {
            Reads::One(x) => args.push(("x", self.source(at, *x))),
            Reads::Two(x, y) => {
                args.push(("x", self.source(at, *x)));
                args.push(("y", self.source(at, *y)));
            }
            Reads::All(coll) => args.push(("all", self.coll(*coll))),
        }
        // What may stand without its name: everything up to the first that is left out.
        let two = matches!(call.reads, Reads::Two(..)) || call.op > super::pipeline::BLEND;
        let mut first = args.len();
        let mut open = two;
        let kinds: Vec<(&'static str, Kind, Option<Lit>)> = self.ops[call.op]
            .params
            .iter()
            .map(|param| (param.name, param.kind, param.default.clone()))
            .collect();
        for (name, kind, default) in kinds {
            let text = match (call.args.get(name), &default) {
                (Some(arg), _) => self.arg(at, kind, arg),
                (None, Some(default)) if self.chance(30) => self.literal(kind, default),
                _ => {
                    open = false;
                    continue;
                }
            };
            args.push((name, text));
            if open {
                first = args.len();
            }
        }
        let op = self.ops[call.op].name;
        let args = self.arguments(args, first);
        let attribute = match self.pick(8) {
            1 => " @retry(2)",
            2 => " @temp",
            3 => " @timeout(1 h)",
            4 => " @gpu(1)",
            5 => " @retry(1) @temp",
            _ => "",
        };
        format!("{op}({args}){attribute}")
    }

    /// Writes arguments, of which the first few may stand without their names.
    fn arguments(&mut self, args: Vec<(&str, String)>, first: usize) -> String {
        let bare = match &mut self.rng {
            None => 0,
            Some(rng) => rng.pick(first + 1),
        };
        let mut written: Vec<String> = args[..bare].iter().map(|(_, text)| text.clone()).collect();
        let mut named: Vec<String> = args[bare..]
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        if let Some(rng) = &mut self.rng {
            rng.shuffle(&mut named);
        }
        for one in named {
            let at = match self.rng.is_none() {
                true => written.len(),
                false => self.pick(written.len() + 1),
            };
            written.insert(at, one);
        }
        let comma = if !written.is_empty() && self.chance(20) {
            ","
        } else {
            ""
        };
        format!("{}{comma}", written.join(", "))
    }

    fn arg(&mut self, at: usize, kind: Kind, arg: &Arg) -> String {
        let text = match arg {
            Arg::Lit(lit) => return self.literal(kind, lit),
            Arg::Param(shared) => {
                let name = self.name(&format!("p{shared}"));
                return self.maybe_let(&name, false);
            }
            Arg::Fact(var) => {
                let of = self.source(at, Source::Var(*var));
                format!("{of}.mpp")
            }
            Arg::Count(of) => format!("{}.count", self.source(at, *of)),
            Arg::More(test) => self.test(at, *test),
            Arg::Choose(test, yes, no) => {
                let test = self.test(at, *test);
                let yes = self.spelled(Kind::Int, &Lit::Whole(*yes));
                let no = self.spelled(Kind::Int, &Lit::Whole(*no));
                format!("if {test} {{ {yes} }} else {{ {no} }}")
            }
            Arg::Total(coll) => format!("sum({}.count)", self.coll(*coll)),
        };
        self.maybe_let(&text, false)
    }

    fn test(&mut self, at: usize, test: Test) -> String {
        let of = self.source(at, test.of);
        let over = self.spelled(Kind::Int, &Lit::Whole(test.over));
        match self.pick(3) {
            1 => format!("!({of}.count <= {over})"),
            2 => format!("{over} < {of}.count"),
            _ => format!("{of}.count > {over}"),
        }
    }

    /// Writes a value where an argument is; otherwise in a `let`, or as a port of the `def`.
    fn literal(&mut self, kind: Kind, lit: &Lit) -> String {
        let text = self.spelled(kind, lit);
        if self.def.is_some() && self.chance(40) {
            let name = self.fresh();
            let other = self.spelled(kind, lit);
            let (default, given) = match self.pick(3) {
                0 => (Some(text), None),
                1 => (Some(text), Some(other)),
                _ => (None, Some(text)),
            };
            let def = self.def.as_mut().unwrap();
            def.ports
                .push((name.clone(), type_name(kind).to_owned(), default, given));
            return name;
        }
        self.maybe_let(&text, self.def.is_none())
    }

    /// Moves something into a `let` of this block, or of the file.
    fn maybe_let(&mut self, text: &str, anywhere: bool) -> String {
        if !self.chance(15) {
            return text.to_owned();
        }
        let name = self.fresh();
        let at = match anywhere && self.chance(50) {
            true => 0,
            false => self.lets.len() - 1,
        };
        self.lets[at].push(format!("let {name} = {text}"));
        name
    }

    /// Writes a value in one of the ways it can be written, or computes it.
    fn spelled(&mut self, kind: Kind, lit: &Lit) -> String {
        let Some(rng) = &mut self.rng else {
            return plain(kind, lit);
        };
        match spelled(kind, lit, rng) {
            text if rng.pick(10) == 0 => format!("({text})"),
            text if rng.pick(12) == 0 => match rng.pick(2) {
                0 => format!("if 1 < 2 {{ {text} }} else {{ {text} }}"),
                _ => format!("if true && !true {{ {text} }} else {{ {text} }}"),
            },
            text => text,
        }
    }
}
