//! Verifying: recorded actions are done again elsewhere, and what comes out is compared port by port.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cerb_lang::{Command, Facts, Plan, Type, Value, Work};
use cerb_store::{Digest, Form, Preimage, Record, Store, Stored};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    Bound, Cancel, Ctx, Engine, EngineError, OpError, actions::Actions, command, ctx::Programs,
    exec::message, registry::AnyOperator, schema::from_json,
};

/// Which of the recorded actions are done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How many; all when there are no more.
    pub count: usize,
    /// Chooses them: the same seed takes the same actions.
    pub seed: u64,
}

/// What came of one recorded action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The action as people name it: `nuclei@slide-1`.
    pub action: String,
    /// Its key.
    pub key: Digest,
    /// Its operator.
    pub operator: String,
    /// What the operator promises: `exact`, `device` or `none`.
    pub determinism: String,
    /// Why equal bytes cannot be expected; `None` when they can.
    pub unequal: Option<String>,
    /// What came out.
    #[serde(flatten)]
    pub found: Found,
}

/// What came out of a recorded action that was done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    /// The same bytes at every port.
    Same,
    /// Other bytes.
    Differs {
        /// The first port, by its name, at which they are.
        port: String,
        /// The digest that is recorded; `None` when nothing was made there then.
        recorded: Option<Digest>,
        /// The digest of what came out; `None` when nothing did.
        now: Option<Digest>,
    },
    /// It cannot be done again.
    Unverifiable {
        /// Why.
        why: String,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
}

impl Checked {
    /// Says whether other bytes came out where equal ones are promised.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        self.unequal.is_none() && matches!(self.found, Found::Differs { .. })
    }
}

/// An operator, and the kinds that its input ports read.
type Rebuilt = (Arc<dyn AnyOperator>, BTreeMap<String, String>);

/// Artifacts by kind and digest.
type Pool = HashMap<(String, Digest), Stored>;

impl Engine<'_> {
    /// Does a sample of recorded actions again and compares what comes out with their records.
    ///
    /// `plan` is that of the run that wrote down `recorded`; it says what was listed and which
    /// programs there are. Inputs are lent to `scratch`, a store of its own, where all is done;
    /// this store is only read, and what it does not hold is not remade.
    pub fn verify(
        &self,
        plan: &Plan,
        recorded: &[Preimage],
        sample: Sample,
        scratch: &Store,
        tell: &dyn Fn(&Checked),
        cancel: &Cancel,
    ) -> Result<Vec<Checked>, EngineError> {
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        let mut records: BTreeMap<Digest, (&Preimage, Record)> = BTreeMap::new();
        for one in recorded {
            if let Some(record) = self.store.peek_record(&one.key) {
                records.entry(one.key).or_insert((one, record));
            }
        }
        let made = records
            .values()
            .flat_map(|(_, record)| record.outputs.values());
        let pool: Pool = made
            .chain(actions.sources())
            .map(|stored| ((stored.kind.clone(), stored.digest), stored.clone()))
            .collect();
        let mut order: Vec<(Digest, Digest)> = records
            .keys()
            .map(|key| {
                let drawn = [&sample.seed.to_le_bytes()[..], key.hex().as_bytes()].concat();
                (Digest::derive("cerb sample v1", &drawn), *key)
            })
            .collect();
        order.sort_unstable();
        order.truncate(sample.count);
        let mut all = Vec::new();
        for (_, key) in order {
            if cancel.is_cancelled() {
                break;
            }
            let Some((preimage, record)) = records.get(&key) else {
                continue;
            };
            let checked = self.check(plan, preimage, record, &pool, scratch, cancel);
            tell(&checked);
            all.push(checked);
        }
        all.sort_by(|one, other| one.action.cmp(&other.action));
        Ok(all)
    }

    fn check(
        &self,
        plan: &Plan,
        preimage: &Preimage,
        record: &Record,
        pool: &Pool,
        scratch: &Store,
        cancel: &Cancel,
    ) -> Checked {
        let word = |name: &str| {
            preimage.preimage[name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (determinism, device) = (word("determinism"), word("device"));
        let here = &self.settings.device_class;
        let unequal = match determinism.as_str() {
            "none" => Some("it promises nothing".to_owned()),
            "device" if device != *here => {
                Some(format!("it was made on {device}, and here is {here}"))
            }
            _ => None,
        };
        let found = match self.again(plan, &preimage.preimage, pool, scratch, cancel) {
            Err(Stop::Unverifiable(why)) => Found::Unverifiable { why },
            Err(Stop::Failed(error)) => Found::Failed {
                error: error.to_string(),
            },
            Ok(made) => compare(&record.outputs, &made),
        };
        Checked {
            action: preimage.action.clone(),
            key: preimage.key,
            operator: word("operator"),
            determinism,
            unequal,
            found,
        }
    }

    /// Does an action again, in a store of its own.
    fn again(
        &self,
        plan: &Plan,
        preimage: &Json,
        pool: &Pool,
        scratch: &Store,
        cancel: &Cancel,
    ) -> Result<BTreeMap<String, Stored>, Stop> {
        let (operator, kinds) = self.rebuilt(plan, preimage)?;
        let mut bound = BTreeMap::new();
        for (port, read) in preimage["inputs"].as_object().into_iter().flatten() {
            let kind = kinds.get(port).map(String::as_str).unwrap_or_default();
            let find = |digest: &Json| {
                let parsed = digest.as_str().and_then(|text| text.parse().ok());
                let found = parsed.and_then(|digest| pool.get(&(kind.to_owned(), digest)));
                let gone = |why: &str| {
                    let port = match kind {
                        "" => port.clone(),
                        kind => format!("{port}: {kind}"),
                    };
                    Stop::Unverifiable(format!("what it read at `{port}` {why}"))
                };
                let stored = found.ok_or_else(|| gone("is not recorded any more"))?;
                let lent = lend(self.store, scratch, stored).map_err(|error| gone(&error))?;
                if !lent {
                    return Err(gone("is not in the store any more"));
                }
                Ok(stored.clone())
            };
            let one = match read {
                Json::Object(keyed) => {
                    let each = keyed
                        .iter()
                        .map(|(key, digest)| Ok((key.clone(), find(digest)?)));
                    Bound::Keyed(each.collect::<Result<_, Stop>>()?)
                }
                digest => Bound::One(find(digest)?),
            };
            bound.insert(port.clone(), one);
        }
        let memory = match self.settings.memory {
            0 => u64::MAX,
            memory => memory,
        };
        let needs = operator.needs(&Facts::default());
        let threads = needs.cores_within(self.settings.jobs, memory);
        let mut ctx = Ctx::for_action(
            scratch,
            cancel.clone(),
            Cancel::new(),
            self.settings.device,
            memory,
            threads,
            None,
        )
        .with_programs(Programs {
            secrets: self.settings.secrets.clone(),
            container: self.settings.container.clone(),
        });
        let ran = catch_unwind(AssertUnwindSafe(|| operator.run(&bound, &mut ctx)));
        match ran {
            Ok(made) => made.map_err(Stop::Failed),
            Err(panic) => {
                let words = format!("panicked: {}", message(&*panic));
                Err(Stop::Failed(OpError::Operator(words)))
            }
        }
    }

    /// Builds the operator of a pre-image, with the kinds that its input ports read.
    fn rebuilt(&self, plan: &Plan, preimage: &Json) -> Result<Rebuilt, Stop> {
        let unverifiable = |why: String| Stop::Unverifiable(why);
        let name = preimage["operator"].as_str().unwrap_or_default();
        let args = preimage["args"].as_object().cloned().unwrap_or_default();
        let command = plan.graph.node_weights().find_map(|node| match &node.work {
            Work::Call {
                operator,
                command: Some(command),
                ..
            } if operator == name => Some(command),
            _ => None,
        });
        let (operator, ports, revision) = match command {
            Some(of) => (built(of, &args)?, &of.inputs, of.revision),
            None => {
                let args = args.clone().into_iter().collect();
                let found = self.registry.rebuilt(name, args);
                let (operator, signature) = found.map_err(|misfit| unverifiable(misfit.title))?;
                (operator, &signature.inputs, signature.revision)
            }
        };
        let was = &preimage["revision"];
        if *was != revision {
            let why = format!("`{name}` was of revision {was} and is of revision {revision}");
            return Err(unverifiable(why));
        }
        let now = operator.args().map_err(unverifiable)?;
        let program = operator.program().unwrap_or_default();
        if now != preimage["args"] || program != preimage["program"] {
            return Err(unverifiable(format!("`{name}` takes other arguments now")));
        }
        let kinds = ports.iter().filter_map(|port| {
            let mut ty = &port.ty;
            while let Type::Optional(of) | Type::Map(of) = ty {
                ty = of;
            }
            Some((port.name.clone(), ty.kind()?.to_owned()))
        });
        Ok((Arc::from(operator), kinds.collect()))
    }
}

/// Why an action was not done again.
enum Stop {
    Unverifiable(String),
    Failed(OpError),
}

/// Builds an external program with the arguments of a pre-image.
fn built(
    of: &Arc<Command>,
    args: &serde_json::Map<String, Json>,
) -> Result<Box<dyn AnyOperator>, Stop> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for param in &of.params {
        if let Some(value) = args
            .get(&param.name)
            .and_then(|json| from_json(json, &param.ty))
        {
            values.insert(param.name.clone(), value);
        }
    }
    command::operator(of, &values).map_err(|misfit| Stop::Unverifiable(misfit.title))
}

/// Says at which port, by name, other bytes came out first.
fn compare(recorded: &BTreeMap<String, Stored>, now: &BTreeMap<String, Stored>) -> Found {
    let ports = recorded.keys().chain(now.keys());
    let ports: std::collections::BTreeSet<&String> = ports.collect();
    for port in ports {
        let [was, is] = [recorded, now].map(|all| all.get(port).map(|stored| stored.digest));
        if was != is {
            return Found::Differs {
                port: port.clone(),
                recorded: was,
                now: is,
            };
        }
    }
    Found::Same
}

/// Lends an artifact's bytes to another store, as links where that can be; `false` when they are not here.
fn lend(from: &Store, to: &Store, stored: &Stored) -> Result<bool, String> {
    let words = |error: &dyn std::fmt::Display| format!("cannot be read: {error}");
    match &stored.form {
        Form::Source { path } => Ok(path.exists()),
        Form::Blob => link(from, to, &stored.digest).map_err(|error| words(&error)),
        Form::Tree => {
            let tree = match from.tree(&stored.digest) {
                Ok(tree) => tree,
                Err(cerb_store::StoreError::Missing { .. }) => return Ok(false),
                Err(error) => return Err(words(&error)),
            };
            for blob in tree.entries.values() {
                if !link(from, to, &blob.digest).map_err(|error| words(&error))? {
                    return Ok(false);
                }
            }
            to.put_tree(&tree).map_err(|error| words(&error))?;
            Ok(true)
        }
    }
}

fn link(from: &Store, to: &Store, digest: &Digest) -> io::Result<bool> {
    let (here, there) = (from.blob_path(digest), to.blob_path(digest));
    // Also when it came out of another action there: what is gone is gone.
    if !here.exists() {
        return Ok(false);
    }
    if there.exists() {
        return Ok(true);
    }
    if let Some(folder) = there.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::hard_link(&here, &there) {
        Ok(()) => Ok(true),
        // Another filesystem, or one without links.
        Err(_) => fs::copy(&here, &there).map(|_| true),
    }
}
