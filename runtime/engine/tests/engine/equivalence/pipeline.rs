//! Random pipelines as data: well typed, whatever they are made from.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Float,
    Px,
    Um,
    Um2,
    Pct,
    Dur,
    Bytes,
    Int,
    Bool,
    Word,
    Names,
    Mpp,
}

/// A plain value, by the kind it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lit {
    /// Thousandths: of the base unit, or of a per cent.
    Milli(i64),
    /// A whole number: of pixels, of KiB.
    Whole(i64),
    Flag(bool),
    Word(&'static str),
    Names(Vec<&'static str>),
}

impl Lit {
    /// Returns what an operator gets to see.
    pub fn json(&self, kind: Kind) -> Json {
        match (self, kind) {
            (Lit::Milli(n), Kind::Pct) => json!(decimal(*n, 5).parse::<f64>().unwrap()),
            (Lit::Milli(n), _) => json!(decimal(*n, 3).parse::<f64>().unwrap()),
            (Lit::Whole(n), Kind::Bytes) => json!(n * 1024),
            (Lit::Whole(n), _) => json!(n),
            (Lit::Flag(flag), _) => json!(flag),
            (Lit::Word(word), _) => json!(word),
            (Lit::Names(names), _) => json!(names),
        }
    }
}

/// Writes a number of `10^-places`, without zeros at its end.
pub fn decimal(n: i64, places: usize) -> String {
    let digits = format!("{n:0width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    match part.trim_end_matches('0') {
        "" => whole.to_owned(),
        part => format!("{whole}.{part}"),
    }
}

/// One parameter of an operator.
pub struct ParamSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// None when it must be given.
    pub default: Option<Lit>,
}

/// An operator, as pipelines see it.
pub struct Op {
    pub name: &'static str,
    pub params: Vec<ParamSpec>,
    pub outputs: &'static [&'static str],
}

pub const MIX: usize = 0;
pub const BLEND: usize = 1;
pub const COARSE: usize = 2;
pub const SPLIT: usize = 3;
pub const GATHER: usize = 4;

/// Returns the operators.
pub fn ops() -> Vec<Op> {
    let param = |name, kind, default| ParamSpec {
        name,
        kind,
        default: Some(default),
    };
    let every = || {
        vec![
            param("by", Kind::Float, Lit::Milli(1000)),
            param("side", Kind::Px, Lit::Whole(4)),
            param("reach", Kind::Um, Lit::Milli(10_000)),
            param("area", Kind::Um2, Lit::Milli(100_000)),
            param("share", Kind::Pct, Lit::Milli(50_000)),
            param("time", Kind::Dur, Lit::Milli(60_000)),
            param("room", Kind::Bytes, Lit::Whole(1024)),
            param("whole", Kind::Int, Lit::Whole(3)),
            param("on", Kind::Bool, Lit::Flag(false)),
            param("how", Kind::Word, Lit::Word("plain")),
            ParamSpec {
                name: "names",
                kind: Kind::Names,
                default: None,
            },
            param("mpp", Kind::Mpp, Lit::Milli(500)),
        ]
    };
    let op = |name, params, outputs| Op {
        name,
        params,
        outputs,
    };
    let at = ParamSpec {
        name: "at",
        kind: Kind::Mpp,
        default: None,
    };
    let into = param("into", Kind::Int, Lit::Whole(2));
    let weight = param("weight", Kind::Float, Lit::Milli(1000));
    vec![
        op("toy.mix", every(), &["made"]),
        op("toy.blend", every(), &["made"]),
        op("toy.coarse", vec![into], &["made"]),
        op("toy.split", vec![at], &["left", "right"]),
        op("toy.gather", vec![weight], &["made"]),
    ]
}

/// An artifact that a call reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The file that `toy.load` finds.
    Loaded,
    /// A variable of the `for` around.
    Var(usize),
    /// What a call made: of the same `for`, or of a stage that is one call.
    Call(Made),
}

/// An output of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    pub stage: usize,
    pub call: usize,
    pub port: usize,
}

/// A keyed collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coll {
    /// The files of a folder.
    Scan(usize),
    /// What a call of a `for` made.
    Field(Made),
}

impl Source {
    fn made(&self) -> Option<Made> {
        match self {
            Source::Call(made) => Some(*made),
            _ => None,
        }
    }
}

impl Coll {
    fn made(&self) -> Option<Made> {
        match self {
            Coll::Field(made) => Some(*made),
            Coll::Scan(_) => None,
        }
    }
}

/// `of.count > over`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    pub of: Source,
    pub over: i64,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    Lit(Lit),
    Param(usize),
    /// `v.mpp`, known of a file while planning.
    Fact(usize),
    /// `x.count`.
    Count(Source),
    /// `x.count > 2`.
    More(Test),
    /// `if x.count > 2 { 1 } else { 5 }`.
    Choose(Test, i64, i64),
    /// `sum(w.x.count)`.
    Total(Coll),
}

/// What a call reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    One(Source),
    Two(Source, Source),
    All(Coll),
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub op: usize,
    pub reads: Reads,
    pub args: BTreeMap<&'static str, Arg>,
}

impl Call {
    /// Returns what other calls made of what it reads, once for each place it is read in.
    pub fn read(&self) -> Vec<Made> {
        let mut all: Vec<Option<Made>> = match &self.reads {
            Reads::One(x) => vec![x.made()],
            Reads::Two(x, y) => vec![x.made(), y.made()],
            Reads::All(coll) => vec![coll.made()],
        };
        all.extend(self.args.values().map(|arg| match arg {
            Arg::Count(of) => of.made(),
            Arg::More(test) | Arg::Choose(test, ..) => test.of.made(),
            Arg::Total(coll) => coll.made(),
            Arg::Lit(_) | Arg::Param(_) | Arg::Fact(_) => None,
        }));
        all.into_iter().flatten().collect()
    }
}

/// A call and what comes of it, or an `if` on a result between two calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub call: Call,
    pub or: Option<(Test, Call)>,
    pub output: bool,
}

impl Step {
    fn reads_var(&self, var: usize) -> bool {
        let is = |source: &Source| *source == Source::Var(var);
        self.calls().any(|call| match &call.reads {
            Reads::One(x) => is(x),
            Reads::Two(x, y) => is(x) || is(y),
            Reads::All(_) => false,
        })
    }

    /// Returns the call, and the one on the other side of the `if`.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        std::iter::once(&self.call).chain(self.or.iter().map(|(_, or)| or))
    }
}

/// What a `for` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// `v.mpp > …`, in thousandths.
    Mpp(i64),
    /// `v.count > …`.
    Count(i64),
}

/// One binding of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    Single(Step),
    For {
        over: Vec<Coll>,
        filter: Option<Filter>,
        body: Vec<Step>,
    },
}

impl Stage {
    pub fn steps(&self) -> &[Step] {
        match self {
            Stage::Single(step) => std::slice::from_ref(step),
            Stage::For { body, .. } => body,
        }
    }

    pub fn steps_mut(&mut self) -> &mut [Step] {
        match self {
            Stage::Single(step) => std::slice::from_mut(step),
            Stage::For { body, .. } => body,
        }
    }
}

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    pub params: Vec<(Kind, Lit)>,
    pub stages: Vec<Stage>,
}

/// The files there are: folders of the same keys, one of others, and a single file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub folders: [Vec<(&'static str, u64)>; 3],
    pub loaded: u64,
}

pub const FOLDERS: [&str; 3] = ["a", "b", "c"];

/// Choices in a row; those that are missing are 0, the simplest.
pub struct Dice<'a> {
    pub choices: std::slice::Iter<'a, u16>,
}

impl Dice<'_> {
    fn pick(&mut self, of: usize) -> usize {
        usize::from(*self.choices.next().unwrap_or(&0)) % of.max(1)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.pick(all.len())]
    }

    /// Returns a value of a kind.
    pub fn lit(&mut self, kind: Kind) -> Lit {
        let n = self.pick(3000) as i64;
        match kind {
            Kind::Float | Kind::Um | Kind::Um2 | Kind::Mpp | Kind::Pct => Lit::Milli(n + 1),
            Kind::Dur => Lit::Milli((n + 1) * 600),
            Kind::Px | Kind::Int => Lit::Whole(n + 1),
            Kind::Bytes => Lit::Whole((n + 1) * 256),
            Kind::Bool => Lit::Flag(n % 2 == 0),
            Kind::Word => Lit::Word(["rough", "fine", "plain"][(n % 3) as usize]),
            Kind::Names => {
                Lit::Names([vec!["a"], vec!["b", "a"], vec![]][(n % 3) as usize].clone())
            }
        }
    }
}

/// What a random pipeline is made from.
#[derive(Debug, Clone)]
pub struct Raw {
    pub world: Vec<u16>,
    pub stages: Vec<Vec<u16>>,
}

impl World {
    /// Reads a world off choices.
    pub fn of(raw: &Raw) -> World {
        let mut dice = Dice {
            choices: raw.world.iter(),
        };
        let mut folder = |keys: &[&'static str]| {
            keys.iter()
                .map(|key| (*key, dice.pick(12) as u64))
                .collect()
        };
        World {
            folders: [
                folder(&["k1", "k2", "k3"]),
                folder(&["k1", "k2", "k3"]),
                folder(&["k2", "z"]),
            ],
            loaded: dice.pick(12) as u64,
        }
    }
}

impl Pipeline {
    /// Reads a pipeline off choices; it is well typed whatever they are.
    pub fn of(raw: &Raw) -> Pipeline {
        let mut dice = Dice {
            choices: raw.world.iter(),
        };
        let params = [Kind::Mpp, Kind::Float, Kind::Int, Kind::Um, Kind::Pct]
            .into_iter()
            .map(|kind| (kind, dice.lit(kind)))
            .collect();
        let mut made = Pipeline {
            params,
            stages: Vec::new(),
        };
        for choices in &raw.stages {
            let mut dice = Dice {
                choices: choices.iter(),
            };
            let stage = made.stage(&mut dice);
            made.stages.push(stage);
        }
        made.ask();
        made
    }

    /// Makes an output of whatever only some items or one side of an `if` may read, so that it is
    /// made however the conditions come out.
    fn ask(&mut self) {
        let mut asked: Vec<Made> = Vec::new();
        for (at, stage) in self.stages.iter().enumerate() {
            // There may be no items at all.
            let filtered = match stage {
                Stage::For { over, filter, .. } => filter.is_some() || self.family(over[0]) >= 10,
                Stage::Single(_) => false,
            };
            if let Stage::For { over, .. } = stage {
                let branches = stage.steps().iter().any(|step| step.or.is_some());
                asked.extend(over.iter().enumerate().filter_map(|(var, coll)| {
                    let unread = !stage.steps().iter().any(|step| step.reads_var(var));
                    coll.made().filter(|_| filtered || branches || unread)
                }));
            }
            for step in stage.steps() {
                let read = step.calls().flat_map(Call::read);
                asked.extend(
                    read.filter(|made| step.or.is_some() || (filtered && made.stage != at)),
                );
                let test = step.or.iter().filter_map(|(test, _)| test.of.made());
                asked.extend(test.filter(|made| filtered && made.stage != at));
            }
        }
        for made in asked {
            self.stages[made.stage].steps_mut()[made.call].output = true;
        }
    }

    /// Which items a collection has, as a number that only collections of the same items share.
    fn family(&self, coll: Coll) -> usize {
        match coll {
            Coll::Scan(folder) => folder / 2,
            Coll::Field(made) => match &self.stages[made.stage] {
                Stage::For {
                    filter: Some(_), ..
                } => 10 + made.stage,
                Stage::For { over, .. } => self.family(over[0]),
                Stage::Single(_) => 0,
            },
        }
    }

    fn fields(&self) -> Vec<Coll> {
        let mut all = Vec::new();
        for (stage, found) in self.stages.iter().enumerate() {
            if let Stage::For { body, .. } = found {
                for (call, step) in body.iter().enumerate() {
                    for port in 0..ops()[step.call.op].outputs.len() {
                        all.push(Coll::Field(Made { stage, call, port }));
                    }
                }
            }
        }
        all
    }

    fn singles(&self) -> Vec<Source> {
        let mut all = vec![Source::Loaded];
        for (stage, found) in self.stages.iter().enumerate() {
            if let Stage::Single(step) = found {
                for port in 0..ops()[step.call.op].outputs.len() {
                    let call = 0;
                    all.push(Source::Call(Made { stage, call, port }));
                }
            }
        }
        all
    }

    fn stage(&self, dice: &mut Dice<'_>) -> Stage {
        let (fields, singles) = (self.fields(), self.singles());
        let kind = dice.pick(5);
        if kind == 4 || (kind == 3 && fields.is_empty()) {
            return Stage::Single(self.step(dice, &singles, &singles, &fields, &[]));
        }
        if kind == 3 {
            let reads = Reads::All(dice.of(&fields));
            let mut step = self.step(dice, &singles, &singles, &fields, &[]);
            step.call = self.call(dice, GATHER, reads, &singles, &fields, &[]);
            step.or = step
                .or
                .filter(|(_, other)| ops()[other.op].outputs.len() == 1);
            return Stage::Single(step);
        }
        let mut colls = vec![Coll::Scan(0), Coll::Scan(1), Coll::Scan(2)];
        colls.extend(fields.iter().rev());
        let first = dice.of(&colls);
        let mut over = vec![first];
        if dice.pick(3) == 1 {
            let alike: Vec<Coll> = colls
                .iter()
                .copied()
                .filter(|coll| self.family(*coll) == self.family(first))
                .collect();
            over.push(dice.of(&alike));
        }
        let filter = match dice.pick(5) {
            1 if matches!(first, Coll::Scan(_)) => Some(Filter::Mpp([300, 600][dice.pick(2)])),
            2 | 1 => Some(Filter::Count(dice.pick(4) as i64 - 1)),
            _ => None,
        };
        let facts: Vec<usize> = (0..over.len())
            .filter(|var| matches!(over[*var], Coll::Scan(_)))
            .collect();
        let mut body: Vec<Step> = Vec::new();
        let mut items: Vec<Source> = (0..over.len()).map(Source::Var).collect();
        for call in 0..=dice.pick(3) {
            let mut all: Vec<Source> = items.clone();
            all.extend(&singles);
            items.reverse();
            let step = self.step(dice, &items, &all, &fields, &facts);
            items.reverse();
            for port in 0..ops()[step.call.op].outputs.len() {
                let stage = self.stages.len();
                items.push(Source::Call(Made { stage, call, port }));
            }
            body.push(step);
        }
        Stage::For { over, filter, body }
    }

    fn step(
        &self,
        dice: &mut Dice<'_>,
        first: &[Source],
        second: &[Source],
        fields: &[Coll],
        facts: &[usize],
    ) -> Step {
        let op = [MIX, COARSE, BLEND, SPLIT, MIX][dice.pick(5)];
        let call = self.reading(dice, op, first, second, fields, facts);
        let mut or = None;
        if dice.pick(5) == 1 && op != SPLIT {
            let test = Test {
                of: dice.of(second),
                over: dice.pick(3) as i64,
            };
            let op = [MIX, COARSE, BLEND][dice.pick(3)];
            or = Some((test, self.reading(dice, op, first, second, fields, facts)));
        }
        Step {
            call,
            or,
            output: dice.pick(3) == 1,
        }
    }

    fn reading(
        &self,
        dice: &mut Dice<'_>,
        op: usize,
        first: &[Source],
        second: &[Source],
        fields: &[Coll],
        facts: &[usize],
    ) -> Call {
        let x = dice.of(first);
        let reads = match dice.pick(3) {
            1 if op == MIX || op == BLEND => Reads::Two(x, dice.of(second)),
            _ => Reads::One(x),
        };
        self.call(dice, op, reads, second, fields, facts)
    }

    fn call(
        &self,
        dice: &mut Dice<'_>,
        op: usize,
        reads: Reads,
        near: &[Source],
        fields: &[Coll],
        facts: &[usize],
    ) -> Call {
        let mut args = BTreeMap::new();
        let params = ops().remove(op).params;
        if op == SPLIT {
            args.insert("at", Arg::Lit(dice.lit(Kind::Mpp)));
        }
        for _ in 0..dice.pick(4) {
            let param = &params[dice.pick(params.len())];
            let shared = self.params.iter().position(|(kind, _)| *kind == param.kind);
            let test = Test {
                of: dice.of(near),
                over: dice.pick(3) as i64,
            };
            let arg = match (dice.pick(6), param.kind) {
                (1, _) if shared.is_some() => Arg::Param(shared.unwrap()),
                (2 | 3, Kind::Mpp) if !facts.is_empty() => Arg::Fact(dice.of(facts)),
                (2, Kind::Int) => Arg::Count(test.of),
                (3, Kind::Int) => Arg::Choose(test, 1, 5 + dice.pick(2) as i64),
                (4, Kind::Int) if !fields.is_empty() => Arg::Total(dice.of(fields)),
                (2 | 3, Kind::Bool) => Arg::More(test),
                (_, kind) => Arg::Lit(dice.lit(kind)),
            };
            args.insert(param.name, arg);
        }
        Call { op, reads, args }
    }

    /// Returns the calls that others read, and in how many places.
    pub fn uses(&self) -> BTreeMap<(usize, usize), usize> {
        let over = self.stages.iter().flat_map(|stage| match stage {
            Stage::For { over, .. } => over.as_slice(),
            Stage::Single(_) => &[],
        });
        let steps = self.stages.iter().flat_map(Stage::steps);
        let tests = steps.filter_map(|step| step.or.as_ref()?.0.of.made());
        let mut uses = BTreeMap::new();
        for made in over
            .filter_map(Coll::made)
            .chain(tests)
            .chain(self.calls().flat_map(Call::read))
        {
            *uses.entry((made.stage, made.call)).or_default() += 1;
        }
        uses
    }

    /// Returns in how many places of its own `for` a call is read.
    pub fn read_inside(&self, stage: usize, call: usize) -> usize {
        let steps = self.stages[stage].steps();
        let tests = steps
            .iter()
            .filter_map(|step| step.or.as_ref()?.0.of.made());
        let calls = steps.iter().flat_map(Step::calls);
        tests
            .chain(calls.flat_map(Call::read))
            .filter(|made| (made.stage, made.call) == (stage, call))
            .count()
    }

    /// Returns every call.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.stages
            .iter()
            .flat_map(Stage::steps)
            .flat_map(Step::calls)
    }
}
