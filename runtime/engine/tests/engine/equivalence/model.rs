//! What each call of a pipeline must depend on, worked out without the language and the engine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::pipeline::{
    Arg, BLEND, COARSE, Coll, Filter, MIX, Op, Pipeline, Reads, SPLIT, Source, Stage, Step, World,
    ops,
};
use super::toys::{decides, mixed, mpp};

/// A number that was listed or made.
#[derive(Debug, Clone, Copy)]
struct Known {
    n: u64,
    listed: bool,
}

impl Known {
    fn shown(self) -> String {
        format!("{}{}", if self.listed { "file " } else { "" }, self.n)
    }

    fn more(self, than: i64) -> bool {
        self.n as i64 % 4 > than
    }
}

/// What all calls of a stage made: by call, by item (none for what goes over nothing), by port.
type Results = Vec<BTreeMap<Option<&'static str>, Vec<u64>>>;

/// Works a pipeline out.
pub struct Model<'a> {
    pub pipeline: &'a Pipeline,
    pub world: &'a World,
    /// The revision of `toy.mix`.
    pub revised: bool,
    ops: Vec<Op>,
    results: Vec<Results>,
    /// Everything that decides each action, by node and item.
    pub keys: BTreeMap<(String, Option<String>), String>,
}

impl<'a> Model<'a> {
    /// Works out what every call reads and makes.
    pub fn of(pipeline: &'a Pipeline, world: &'a World, revised: bool) -> Model<'a> {
        let mut model = Model {
            pipeline,
            world,
            revised,
            ops: ops(),
            results: Vec::new(),
            keys: BTreeMap::new(),
        };
        for (at, stage) in pipeline.stages.iter().enumerate() {
            model
                .results
                .push(vec![BTreeMap::new(); stage.steps().len()]);
            match stage {
                Stage::Single(step) => model.step(at, 0, step, None, &[]),
                Stage::For { over, filter, body } => {
                    let items = model.items(over[0]);
                    let columns: Vec<BTreeMap<&str, Known>> =
                        over.iter().map(|coll| model.items(*coll)).collect();
                    for (key, first) in items {
                        let kept = match filter {
                            Some(Filter::Mpp(least)) => mpp(first.n) > *least as f64 / 1000.0,
                            Some(Filter::Count(least)) => first.more(*least),
                            None => true,
                        };
                        let vars: Vec<Known> = columns.iter().map(|all| all[key]).collect();
                        for (call, step) in body.iter().enumerate().filter(|_| kept) {
                            model.step(at, call, step, Some(key), &vars);
                        }
                    }
                }
            }
        }
        model
    }

    /// Returns the keys that differ between actions.
    pub fn distinct(&self) -> BTreeSet<&str> {
        self.keys.values().map(String::as_str).collect()
    }

    fn items(&self, coll: Coll) -> BTreeMap<&'static str, Known> {
        match coll {
            Coll::Scan(folder) => self.world.folders[folder]
                .iter()
                .map(|(key, n)| {
                    let known = Known {
                        n: *n,
                        listed: true,
                    };
                    (*key, known)
                })
                .collect(),
            Coll::Field(made) => self.results[made.stage][made.call]
                .iter()
                .filter_map(|(key, ports)| {
                    let known = Known {
                        n: ports[made.port],
                        listed: false,
                    };
                    Some(((*key)?, known))
                })
                .collect(),
        }
    }

    fn step(
        &mut self,
        stage: usize,
        at: usize,
        step: &Step,
        key: Option<&'static str>,
        vars: &[Known],
    ) {
        let read = |source: &Source| match source {
            Source::Loaded => Known {
                n: self.world.loaded,
                listed: true,
            },
            Source::Var(var) => vars[*var],
            Source::Call(made) => {
                let of = &self.results[made.stage][made.call];
                let ports = of.get(&key).or_else(|| of.get(&None)).unwrap();
                Known {
                    n: ports[made.port],
                    listed: false,
                }
            }
        };
        let (call, side) = match &step.or {
            None => (&step.call, ""),
            Some((test, _)) if read(&test.of).more(test.over) => (&step.call, ".yes"),
            Some((_, other)) => (other, ".no"),
        };
        let op = &self.ops[call.op];
        let mut args: BTreeMap<&str, Json> = BTreeMap::new();
        for param in &op.params {
            let value = match call.args.get(param.name) {
                None => param
                    .default
                    .as_ref()
                    .map_or(Json::Null, |lit| lit.json(param.kind)),
                Some(Arg::Lit(lit)) => lit.json(param.kind),
                Some(Arg::Param(shared)) => self.pipeline.params[*shared].1.json(param.kind),
                Some(Arg::Fact(var)) => json!(mpp(vars[*var].n)),
                Some(Arg::Count(of)) => json!(read(of).n % 4),
                Some(Arg::More(test)) => json!(read(&test.of).more(test.over)),
                Some(Arg::Choose(test, yes, no)) => {
                    json!(if read(&test.of).more(test.over) {
                        yes
                    } else {
                        no
                    })
                }
                Some(Arg::Total(coll)) => {
                    json!(self.items(*coll).values().map(|one| one.n % 4).sum::<u64>())
                }
            };
            args.insert(param.name, value);
        }
        let (inputs, text) = match &call.reads {
            Reads::One(x) => {
                let x = read(x);
                let both = matches!(call.op, MIX | BLEND);
                let y = if both { " None" } else { "" };
                (x.shown(), format!("{}{y}", x.n))
            }
            Reads::Two(x, y) => {
                let (x, y) = (read(x), read(y));
                (
                    format!("{} and {}", x.shown(), y.shown()),
                    format!("{} {:?}", x.n, Some(y.n)),
                )
            }
            Reads::All(coll) => {
                let all: BTreeMap<&str, u64> = self
                    .items(*coll)
                    .into_iter()
                    .map(|(key, one)| (key, one.n))
                    .collect();
                (format!("all {all:?}"), format!("{all:?}"))
            }
        };
        let first = match &call.reads {
            Reads::One(x) | Reads::Two(x, _) => read(x).n,
            Reads::All(_) => 0,
        };
        let made = match call.op {
            COARSE => vec![first % args["into"].as_u64().unwrap().max(1)],
            SPLIT => vec![mixed(&decides(&args, &text)), first % 3],
            _ => vec![mixed(&decides(&args, &text))],
        };
        let revision = 1 + u32::from(call.op == MIX && self.revised);
        let args = serde_json::to_value(&args).unwrap();
        let decided = format!("{} {revision} {args} {inputs}", op.name);
        let name = match key {
            None => format!("s{stage}{side}"),
            Some(_) => format!("s{stage}.n{at}{side}"),
        };
        self.results[stage][at].insert(key, made);
        self.keys.insert((name, key.map(str::to_owned)), decided);
    }
}
