//! Toy operators on numbers, and plans built by hand: an engine without a pixel and without the language.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use cerb_engine::{
    Cancel, Ctx, DeviceChoice, Engine, EngineError, Event, Explanation, Keyed, Needs, OpError,
    Operator, Outcome, Preview, Registry, Settings, State, ports,
};
use cerb_lang::{
    Attrs, Claim, Cohort, Expect, Facts, Formula, FormulaId, Guard, Item, Listed, Node, Operation,
    Output, Plan, Reads, Reduction, SourceMap, Span, Step, Type, Value, Wire, Work,
    petgraph::graph::{DiGraph, NodeIndex},
};
use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number, stored as its text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(pub f64);

impl Artifact for Number {
    const KIND: &'static str = "Number";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::new("value", "Float", "The number itself.")];
    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let blob = store.put_bytes(self.0.to_string().as_bytes())?;
        Ok(Stored::blob(
            Self::KIND,
            blob,
            BTreeMap::from([("value".to_owned(), self.0.into())]),
        ))
    }
    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        let text = String::from_utf8_lossy(&store.read_blob(&stored.digest)?).into_owned();
        text.parse()
            .map(Number)
            .map_err(|_| StoreError::artifact(Self::KIND, "no number"))
    }
}

/// What operators did, by store, as they tell it themselves.
static DONE: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());
/// Attempts at something, by store and name.
static TRIES: Mutex<Option<HashMap<(PathBuf, String), u32>>> = Mutex::new(None);
/// Memory in use and its peak, by store.
static MEMORY: Mutex<Option<HashMap<PathBuf, (u64, u64)>>> = Mutex::new(None);

pub fn did(ctx: &Ctx, what: String) {
    DONE.lock()
        .unwrap()
        .push((ctx.store().root().to_path_buf(), what));
}

fn tries(ctx: &Ctx, what: &str) -> u32 {
    let mut all = TRIES.lock().unwrap();
    let count = all
        .get_or_insert_default()
        .entry((ctx.store().root().to_path_buf(), what.to_owned()))
        .or_default();
    *count += 1;
    *count
}

ports! {
    /// One number.
    pub struct X {
        /// The number.
        x: Number,
    }
    /// One or two numbers.
    pub struct Two {
        /// The first.
        a: Number,
        /// The second.
        b: Option<Number>,
    }
    /// Numbers by item.
    pub struct All {
        /// The numbers.
        all: Keyed<Number>,
    }
    /// A number made.
    pub struct Y {
        /// The number.
        y: Number,
    }
}

/// Adds a number.
///
/// ```cerb
/// let y = toy.add(x, by: 2.0)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Add {
    /// What is added.
    #[schemars(range(min = -1000.0, max = 1000.0))]
    by: f64,
}
impl Default for Add {
    fn default() -> Self {
        Add { by: 1.0 }
    }
}
impl Operator for Add {
    const NAME: &'static str = "toy.add";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Y;
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<Y, OpError> {
        did(ctx, format!("{}+{}", x.0, self.by));
        Ok(Y {
            y: Number(x.0 + self.by),
        })
    }
}

/// Rounds down.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Floor {}
impl Operator for Floor {
    const NAME: &'static str = "toy.floor";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Y;
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<Y, OpError> {
        did(ctx, format!("floor {}", x.0));
        Ok(Y {
            y: Number(x.0.floor()),
        })
    }
}

/// Adds one or two numbers, with a note when the second is left out.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Plus {}
impl Operator for Plus {
    const NAME: &'static str = "toy.plus";
    const REVISION: u32 = 1;
    type In = Two;
    type Out = Y;
    fn run(&self, Two { a, b }: Two, ctx: &mut Ctx) -> Result<Y, OpError> {
        did(ctx, format!("{}+{:?}", a.0, b.map(|b| b.0)));
        if b.is_none() {
            ctx.note("nothing to add");
        }
        Ok(Y {
            y: Number(a.0 + b.map_or(0.0, |b| b.0)),
        })
    }
}

/// Adds up a cohort.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Sum {}
impl Operator for Sum {
    const NAME: &'static str = "toy.sum";
    const REVISION: u32 = 1;
    type In = All;
    type Out = Y;
    fn run(&self, All { all }: All, ctx: &mut Ctx) -> Result<Y, OpError> {
        did(ctx, "sum".to_owned());
        Ok(Y {
            y: Number(all.values().map(|one| one.0).sum()),
        })
    }
}

/// Misbehaves when the number is `at`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Trouble {
    /// The number that makes trouble.
    at: f64,
    /// How: `input`, `operator`, `resources`, `infrastructure`, `panic`, `sleep`, `hang`.
    how: String,
    /// How often, before all is well.
    times: u32,
}
impl Default for Trouble {
    fn default() -> Self {
        Trouble {
            at: f64::MAX,
            how: "input".to_owned(),
            times: u32::MAX,
        }
    }
}
impl Operator for Trouble {
    const NAME: &'static str = "toy.trouble";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Y;
    #[expect(clippy::panic, reason = "it is there to panic")]
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<Y, OpError> {
        did(ctx, format!("trouble {}", x.0));
        if x.0 == self.at && tries(ctx, &self.how) <= self.times {
            let text = format!("trouble at {}", x.0);
            match self.how.as_str() {
                "input" => return Err(OpError::Input(text)),
                "operator" => return Err(OpError::Operator(text)),
                "resources" => return Err(OpError::Resources(text)),
                "infrastructure" => return Err(OpError::Infrastructure(text)),
                "panic" => panic!("{text}"),
                "sleep" => loop {
                    ctx.check()?;
                    std::thread::sleep(Duration::from_millis(2));
                },
                _ => std::thread::sleep(Duration::from_millis(1500)),
            }
        }
        Ok(Y { y: x })
    }
}

/// Uses memory and cores for a while.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Heavy {
    bytes: u64,
    cores: usize,
}
impl Default for Heavy {
    fn default() -> Self {
        Heavy { bytes: 1, cores: 1 }
    }
}
impl Operator for Heavy {
    const NAME: &'static str = "toy.heavy";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Y;
    fn needs(&self, _: &Facts) -> Needs {
        Needs {
            cpus: self.cores,
            memory: self.bytes,
            per_core: 0,
            gpu: false,
        }
    }
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<Y, OpError> {
        if let Some(gpus) = ctx.gpus() {
            ctx.note(format!("may use {gpus} GPUs"));
        }
        let root = ctx.store().root().to_path_buf();
        let add = |sign: i64| {
            let mut all = MEMORY.lock().unwrap();
            let (now, peak) = all.get_or_insert_default().entry(root.clone()).or_default();
            *now = now.saturating_add_signed(sign * self.bytes as i64);
            *peak = (*peak).max(*now);
        };
        add(1);
        for done in 0..10 {
            ctx.progress(done, 10, "steps");
            std::thread::sleep(Duration::from_millis(1));
        }
        add(-1);
        Ok(Y { y: x })
    }
}

/// Says what a number comes to, times something, as a plain value.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Measure {
    /// Times what; 0 divides by it.
    times: f64,
}
impl Default for Measure {
    fn default() -> Self {
        Measure { times: 1.0 }
    }
}
ports! {
    /// A plain number.
    pub struct Plain {
        /// The number.
        y: f64,
    }
}
impl Operator for Measure {
    const NAME: &'static str = "toy.measure";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Plain;
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<Plain, OpError> {
        did(ctx, format!("measure {}", x.0));
        let y = if self.times == 0.0 {
            x.0 / self.times
        } else {
            x.0 * self.times
        };
        Ok(Plain { y })
    }
}

/// Returns the registry of all toys.
pub fn registry() -> Registry {
    Registry::new()
        .kind::<Number>()
        .with::<Add>()
        .with::<Floor>()
        .with::<Plus>()
        .with::<Sum>()
        .with::<Trouble>()
        .with::<Heavy>()
        .with::<Measure>()
}

/// A plan under construction.
pub struct Toy {
    pub plan: Plan,
    store: Store,
}

/// What feeds a call: node, and whether its whole cohort is gathered.
#[derive(Clone, Copy)]
pub enum From {
    Each(NodeIndex),
    All(NodeIndex),
}

impl Toy {
    pub fn new(store: &Store) -> Toy {
        let mut sources = SourceMap::default();
        sources.add("toy.cerb", "let a = 1\nlet b = 2\n");
        let plan = Plan {
            name: "toy".to_owned(),
            doc: String::new(),
            graph: DiGraph::new(),
            cohorts: Vec::new(),
            formulas: Vec::new(),
            outputs: Vec::new(),
            expects: Vec::new(),
            tests: Vec::new(),
            secrets: BTreeMap::new(),
            params: BTreeMap::new(),
            roots: BTreeMap::new(),
            warnings: Vec::new(),
            sources,
        };
        Toy {
            plan,
            store: store.clone(),
        }
    }

    fn listed(&self, key: &str, value: f64) -> Listed {
        let stored = Number(value).store(&self.store).unwrap();
        Listed {
            key: key.to_owned(),
            digest: stored.digest.to_string(),
            path: key.to_owned(),
            facts: BTreeMap::new(),
            handle: serde_json::to_value(&stored).unwrap(),
        }
    }

    fn node(&mut self, name: &str, over: Option<usize>, work: Work) -> NodeIndex {
        let span = Span::new(cerb_lang::FileId(0), 0, 1);
        self.plan.graph.add_node(Node {
            name: name.to_owned(),
            over,
            work,
            outputs: Vec::new(),
            attrs: Attrs::default(),
            guards: Vec::new(),
            span,
            facts: Facts::default(),
        })
    }

    /// Adds a cohort and the node that gives its items.
    pub fn cohort(&mut self, name: &str, items: &[(&str, f64)]) -> NodeIndex {
        let items: Vec<Item> = items
            .iter()
            .map(|(key, value)| Item {
                key: (*key).to_owned(),
                listed: vec![self.listed(key, *value)],
            })
            .collect();
        let cohort = self.plan.cohorts.len();
        self.plan.cohorts.push(Cohort {
            name: name.to_owned(),
            items,
            unreadable: Vec::new(),
            dropped: Vec::new(),
            filter: None,
            tolerate: None,
        });
        self.node(
            name,
            Some(cohort),
            Work::Element {
                cohort,
                variable: 0,
            },
        )
    }

    /// Adds a single listed number.
    pub fn single(&mut self, name: &str, value: f64) -> NodeIndex {
        let listed = self.listed(name, value);
        self.node(name, None, Work::Listed(listed))
    }

    /// Adds a call; it goes over the cohort of whatever it reads item by item.
    pub fn call(
        &mut self,
        name: &str,
        operator: &str,
        args: &[(&str, Value)],
        inputs: &[(&str, From)],
    ) -> NodeIndex {
        let over = inputs.iter().find_map(|(_, from)| match from {
            From::Each(node) => self.plan.graph[*node].over,
            From::All(_) => None,
        });
        let work = Work::Call {
            operator: operator.to_owned(),
            args: args
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            late: BTreeMap::new(),
            command: None,
            arg_spans: args
                .iter()
                .map(|(name, _)| ((*name).to_owned(), Span::new(cerb_lang::FileId(0), 10, 11)))
                .collect(),
        };
        let node = self.node(name, over, work);
        for (port, from) in inputs {
            let (source, gather) = match from {
                From::Each(source) => (*source, false),
                From::All(source) => (*source, true),
            };
            self.wire(source, node, port, gather);
        }
        node
    }

    /// Adds a formula, as it is written on a line of its own.
    pub fn formula(&mut self, text: &str, step: Step, ty: Type, over: Option<usize>) -> FormulaId {
        let file = self.plan.sources.add(text, text);
        let span = Span::new(file, 0, u32::try_from(text.len()).unwrap());
        self.plan.formulas.push(Formula {
            step,
            ty,
            over,
            span,
        });
        FormulaId(u32::try_from(self.plan.formulas.len()).unwrap() - 1)
    }

    /// Adds the formula of a plain value.
    pub fn value(&mut self, value: Value) -> FormulaId {
        let ty = value.type_of();
        self.formula(&value.to_string(), Step::Value(value.clone()), ty, None)
    }

    /// Adds the formula `node.value`.
    pub fn field(&mut self, node: NodeIndex) -> FormulaId {
        let port = self.port(node);
        let over = self.plan.graph[node].over;
        let text = format!("{}.value", self.plan.graph[node].name);
        let field = "value".to_owned();
        let step = Step::Field { node, port, field };
        self.formula(&text, step, Type::Float, over)
    }

    /// Adds the formula `node.value op limit`.
    pub fn compare(&mut self, node: NodeIndex, op: Operation, limit: f64) -> FormulaId {
        let left = self.field(node);
        let right = self.value(Value::Float(limit));
        let over = self.plan.graph[node].over;
        let text = format!(
            "{}.value {} {limit:?}",
            self.plan.graph[node].name,
            op.symbol()
        );
        self.formula(&text, Step::Binary(op, left, right), Type::Bool, over)
    }

    /// Adds the formula `how(node.value)`.
    pub fn reduce(&mut self, how: Reduction, of: FormulaId, cohort: usize) -> FormulaId {
        let formula = &self.plan.formulas[of.0 as usize];
        let text = format!("{}({})", how.word(), self.plan.sources.text(formula.span));
        let ty = match how {
            Reduction::Count => Type::Int,
            Reduction::All | Reduction::Any => Type::Bool,
            _ => Type::Float,
        };
        self.formula(&text, Step::Reduce { how, cohort, of }, ty, None)
    }

    /// Returns the name of the port a node gives.
    fn port(&self, node: NodeIndex) -> String {
        match self.plan.graph[node].work {
            Work::Choose(_) | Work::Only => "value".to_owned(),
            _ => "y".to_owned(),
        }
    }

    /// Wires the fields that a formula reads to the node that reads them, as the language does.
    fn wire_fields(&mut self, id: FormulaId, to: NodeIndex) {
        let mut stack = vec![(id, false)];
        while let Some((id, gather)) = stack.pop() {
            match self.plan.formulas[id.0 as usize].step.clone() {
                Step::Field { node, port, .. } => {
                    let wire = Wire {
                        from: port,
                        to: String::new(),
                        gather,
                        reads: Reads::Fields,
                    };
                    self.plan.graph.add_edge(node, to, wire);
                }
                Step::Not(of) | Step::Negate(of) => stack.push((of, gather)),
                Step::Binary(_, a, b) => stack.extend([(a, gather), (b, gather)]),
                Step::If(a, b, c) => stack.extend([(a, gather), (b, gather), (c, gather)]),
                Step::Reduce { of, .. } => stack.push((of, true)),
                Step::Value(_) | Step::Each(_) => {}
            }
        }
    }

    /// Puts a condition around a node.
    pub fn guard(&mut self, node: NodeIndex, condition: FormulaId, wanted: bool) {
        self.plan.graph[node]
            .guards
            .push(Guard { condition, wanted });
        self.wire_fields(condition, node);
    }

    /// Wires what a `where` reads to a node that gathers its items.
    pub fn guard_wires(&mut self, node: NodeIndex, condition: FormulaId) {
        self.wire_fields(condition, node);
    }

    /// Lets an argument be worked out when running.
    pub fn late(&mut self, node: NodeIndex, name: &str, formula: FormulaId) {
        if let Work::Call { args, late, .. } = &mut self.plan.graph[node].work {
            args.remove(name);
            late.insert(name.to_owned(), formula);
        }
        self.wire_fields(formula, node);
    }

    /// Adds an `if` between two results.
    pub fn choose(
        &mut self,
        name: &str,
        condition: FormulaId,
        yes: NodeIndex,
        no: NodeIndex,
    ) -> NodeIndex {
        let over = self.plan.graph[yes].over.or(self.plan.graph[no].over);
        let node = self.node(name, over, Work::Choose(condition));
        for (to, from) in [("yes", yes), ("no", no)] {
            self.wire(from, node, to, false);
        }
        self.wire_fields(condition, node);
        node
    }

    /// Adds an `only` of a node that goes over a cohort.
    pub fn only(&mut self, name: &str, of: NodeIndex) -> NodeIndex {
        let node = self.node(name, None, Work::Only);
        self.wire(of, node, "all", true);
        node
    }

    /// Adds a cohort of the items of another that a condition keeps, and the node that gives them.
    pub fn kept(&mut self, name: &str, cohort: usize, filter: FormulaId) -> NodeIndex {
        let mut kept = self.plan.cohorts[cohort].clone();
        kept.name = name.to_owned();
        kept.filter = Some(filter);
        self.plan.cohorts.push(kept);
        let cohort = self.plan.cohorts.len() - 1;
        let work = Work::Element {
            cohort,
            variable: 0,
        };
        self.node(name, Some(cohort), work)
    }

    /// Adds a claim.
    pub fn expect(&mut self, claim: FormulaId) {
        let span = self.plan.formulas[claim.0 as usize].span;
        self.plan.expects.push(Expect {
            claim: Claim::Holds(claim),
            text: self.plan.sources.text(span).to_owned(),
            otherwise: Some("look again".to_owned()),
            span,
        });
    }

    fn wire(&mut self, from: NodeIndex, to: NodeIndex, port: &str, gather: bool) {
        let wire = Wire {
            from: self.port(from),
            to: port.to_owned(),
            gather,
            reads: Reads::Artifact,
        };
        self.plan.graph.add_edge(from, to, wire);
    }

    /// Publishes what a node makes.
    pub fn output(&mut self, path: &str, node: NodeIndex) {
        let over = self.plan.graph[node].over;
        let port = self.port(node);
        let span = Span::new(cerb_lang::FileId(0), 0, 1);
        self.plan.outputs.push(Output {
            path: path.to_owned(),
            node,
            port,
            over,
            span,
        });
    }

    /// Returns the attributes of a node, to set them.
    pub fn attrs(&mut self, node: NodeIndex) -> &mut Attrs {
        &mut self.plan.graph[node].attrs
    }
}

/// A store and a results folder of one test.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub registry: Registry,
    pub settings: Settings,
}

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let settings = Settings {
            jobs: 4,
            memory: 0,
            fail_fast: false,
            device: DeviceChoice::Cpu,
            device_class: "toy".to_owned(),
            out: dir.path().join("out"),
            roots: BTreeMap::new(),
            refresh: Vec::new(),
            secrets: BTreeMap::new(),
            container: None,
        };
        Bench {
            dir,
            store,
            registry: registry(),
            settings,
        }
    }

    /// Opens the store of another bench again, as another process would, with results of its own.
    pub fn beside(other: &Bench) -> Bench {
        Bench {
            store: Store::open(other.store.root()).unwrap(),
            ..Bench::new()
        }
    }

    pub fn engine(&self) -> Engine<'_> {
        Engine::new(&self.registry, &self.store, self.settings.clone())
    }

    pub fn toy(&self) -> Toy {
        Toy::new(&self.store)
    }

    pub fn preview(&self, toy: &Toy) -> Preview {
        self.engine().preview(&toy.plan).unwrap()
    }

    pub fn why(&self, toy: &Toy, name: &str) -> Explanation {
        self.engine().why(&toy.plan, name).unwrap()
    }

    pub fn try_run(
        &self,
        toy: &Toy,
        cancel: &Cancel,
    ) -> Result<(Outcome, Vec<Event>), EngineError> {
        let run = self.store.begin_run().unwrap();
        let events = Mutex::new(Vec::new());
        let outcome = self.engine().run(
            &toy.plan,
            &run,
            &|moment| events.lock().unwrap().push(moment.event.clone()),
            cancel,
        )?;
        Ok((outcome, events.into_inner().unwrap()))
    }

    pub fn run(&self, toy: &Toy) -> Outcome {
        self.try_run(toy, &Cancel::new()).unwrap().0
    }

    /// Returns what operators did on this store since it was last asked, sorted.
    pub fn done(&self) -> Vec<String> {
        let mut all = DONE.lock().unwrap();
        let (mine, others): (Vec<_>, Vec<_>) = all
            .drain(..)
            .partition(|(root, _)| root == self.store.root());
        *all = others;
        let mut mine: Vec<String> = mine.into_iter().map(|(_, what)| what).collect();
        mine.sort();
        mine
    }

    /// Returns the peak of the memory that heavy toys held at once.
    pub fn peak(&self) -> u64 {
        MEMORY
            .lock()
            .unwrap()
            .get_or_insert_default()
            .get(self.store.root())
            .map_or(0, |(_, peak)| *peak)
    }

    /// Returns what stands at an output path.
    pub fn out(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.settings.out.join(path)).ok()
    }
}

/// Returns the state of an action, `node` or `node@item`.
pub fn state(preview: &Preview, name: &str) -> State {
    let (node, item) = name
        .split_once('@')
        .map_or((name, None), |(node, item)| (node, Some(item)));
    preview
        .actions
        .iter()
        .find(|one| one.node == node && one.item.as_deref() == item)
        .unwrap()
        .state
        .clone()
}
