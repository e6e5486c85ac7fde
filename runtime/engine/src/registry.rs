//! The registry: every operator, listing and kind that pipelines may name.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry as Slot},
};

use cerb_lang::{
    Catalog, Facts, Field, Inventory, Listed, Misfit, Origin, Param, Port, Signature, Type, Value,
    Verdict,
};
use cerb_store::{Artifact, Store, Stored};
use serde::de::{DeserializeOwned, value::MapDeserializer};
use serde_json::Value as Json;

use crate::{
    Bound, Ctx, Determinism, Golden, KeepRows, ListEnv, Listing, Needs, OpError, Operator, Ports,
    Rows, golden,
    schema::{Described, ParamSchema, describe, from_json, plain_type, to_json},
};

/// An operator with its parameters, its types forgotten.
pub(crate) trait AnyOperator: Send + Sync {
    /// Effective parameters in base units, defaults explicit.
    fn args(&self) -> Result<Json, String>;
    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit>;
    fn needs(&self, outputs: &Facts) -> Needs;
    /// Input ports that may be read while what stands there is made.
    fn along(&self) -> Vec<&'static str> {
        Vec::new()
    }
    /// Output ports that may be read while they are made.
    fn grows(&self) -> &'static [&'static str] {
        &[]
    }
    /// What else decides its bytes, when it is an external program.
    fn program(&self) -> Option<Json> {
        None
    }
    /// Output ports, those that may stay empty included.
    fn outputs(&self) -> Vec<Port>;
    /// Returns the output port that a record must have and has not: it was made when the operator had other ports.
    fn lacks(&self, made: &BTreeMap<String, Stored>) -> Option<String> {
        let must = |port: &Port| !matches!(port.ty, Type::Optional(_));
        let mut ports = self.outputs().into_iter();
        ports.find_map(|port| (must(&port) && !made.contains_key(&port.name)).then_some(port.name))
    }
    fn run(
        &self,
        bound: &BTreeMap<String, Bound>,
        ctx: &mut Ctx,
    ) -> Result<BTreeMap<String, Stored>, OpError>;
}

impl<O: Operator> AnyOperator for O {
    fn args(&self) -> Result<Json, String> {
        serde_json::to_value(self).map_err(|error| error.to_string())
    }
    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        Operator::check(self, inputs)
    }
    fn needs(&self, outputs: &Facts) -> Needs {
        Operator::needs(self, outputs)
    }
    fn along(&self) -> Vec<&'static str> {
        O::In::growing()
    }
    fn grows(&self) -> &'static [&'static str] {
        O::GROWS
    }
    fn outputs(&self) -> Vec<Port> {
        O::Out::ports()
    }
    fn run(
        &self,
        bound: &BTreeMap<String, Bound>,
        ctx: &mut Ctx,
    ) -> Result<BTreeMap<String, Stored>, OpError> {
        let store: Store = ctx.store().clone();
        let input = O::In::open(bound, &store)?;
        Operator::run(self, input, ctx)?.keep(&store)
    }
}

/// A listing with its parameters, its type forgotten.
trait AnyListing {
    fn list(&self, env: &ListEnv) -> Result<Inventory<crate::Entry>, Misfit>;
}

impl<L: Listing> AnyListing for L {
    fn list(&self, env: &ListEnv) -> Result<Inventory<crate::Entry>, Misfit> {
        Listing::list(self, env)
    }
}

/// Arguments that a struct refuses: at which parameter, and why.
struct Refused {
    param: Option<String>,
    reason: String,
}

type BuildOperator = fn(BTreeMap<String, Json>) -> Result<Box<dyn AnyOperator>, Refused>;
type BuildListing = fn(BTreeMap<String, Json>) -> Result<Box<dyn AnyListing>, Refused>;

enum Build {
    Operator {
        build: BuildOperator,
        determinism: Determinism,
    },
    Listing(BuildListing),
}

struct Registered {
    signature: Signature,
    params: Vec<ParamSchema>,
    build: Build,
}

/// Why a second operator of one name is refused.
const TAKEN: &str = "another operator has this name";

/// A registration that cannot stand: a mistake of whoever wrote the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operator `{operator}` cannot be registered: {reason}")]
pub struct RegistryError {
    /// Its name in pipelines.
    pub operator: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Every operator, listing and kind that pipelines may name.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<String, Registered>,
    kinds: BTreeMap<&'static str, Vec<Field>>,
    goldens: BTreeMap<&'static str, &'static dyn Golden>,
    rows: Option<KeepRows>,
    errors: Vec<RegistryError>,
}

impl Registry {
    /// Returns an empty registry.
    #[must_use]
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds an operator.
    #[must_use]
    pub fn with<O: Operator>(mut self) -> Registry {
        let outputs = O::Out::ports();
        if let Some(port) = outputs.iter().find(|port| matches!(port.ty, Type::Map(_))) {
            self.refuse(
                O::NAME,
                format!(
                    "its output port `{}` is keyed; an action makes one artifact per port",
                    port.name
                ),
            );
            return self;
        }
        let inputs = O::In::ports();
        if let Some(port) = inputs.iter().find(|port| is_plain(&port.ty)) {
            self.refuse(
                O::NAME,
                format!(
                    "its input port `{}` reads a plain value, which is a parameter",
                    port.name
                ),
            );
            return self;
        }
        let build: BuildOperator = |args| Ok(Box::new(construct::<O>(args)?));
        let shape = Shape {
            inputs,
            outputs,
            plan_time: false,
            revision: O::REVISION,
            determinism: O::DETERMINISM,
        };
        self.add(
            O::NAME,
            describe::<O>(),
            shape,
            Build::Operator {
                build,
                determinism: O::DETERMINISM,
            },
        );
        self
    }

    /// Adds a plan-time operator.
    #[must_use]
    pub fn with_listing<L: Listing>(mut self) -> Registry {
        let kind = Type::Kind(L::KIND.to_owned());
        let ty = if L::MANY {
            Type::Map(Box::new(kind))
        } else {
            kind
        };
        let build: BuildListing = |args| Ok(Box::new(construct::<L>(args)?));
        let shape = Shape {
            inputs: Vec::new(),
            outputs: vec![Port {
                name: L::KIND.to_lowercase(),
                ty,
                doc: String::new(),
            }],
            plan_time: true,
            revision: 1,
            determinism: Determinism::Exact,
        };
        self.add(L::NAME, describe::<L>(), shape, Build::Listing(build));
        self
    }

    /// Adds a port type, so that pipelines may write its name.
    #[must_use]
    pub fn kind<A: Artifact>(mut self) -> Registry {
        let mut fields = Vec::new();
        for field in A::FIELDS {
            match plain_type(field.ty) {
                Some(ty) => fields.push(Field {
                    name: field.name.to_owned(),
                    ty,
                    doc: field.doc.to_owned(),
                }),
                None => self.refuse(
                    A::KIND,
                    format!(
                        "its field `{}` has the type `{}`, which no plain value has",
                        field.name, field.ty
                    ),
                ),
            }
        }
        self.kinds.insert(A::KIND, fields);
        self
    }

    /// Says how artifacts of a kind are compared with goldens; else it is by their bytes.
    #[must_use]
    pub fn golden(mut self, kind: &'static str, how: &'static dyn Golden) -> Registry {
        self.goldens.insert(kind, how);
        self
    }

    /// Says how plain values become an artifact that can be kept as a golden.
    #[must_use]
    pub fn rows(mut self, keep: KeepRows) -> Registry {
        self.rows = Some(keep);
        self
    }

    /// Returns how artifacts of a kind are compared with the golden of a name.
    pub(crate) fn golden_of(&self, kind: &str, path: &str) -> &'static dyn Golden {
        match self.goldens.get(kind) {
            _ if golden::is_digest(path) => &golden::DigestAlone,
            Some(how) => *how,
            None => &golden::Bytes,
        }
    }

    /// Makes an artifact of plain values.
    pub(crate) fn keep_rows(&self, rows: &Rows, store: &Store) -> Result<Stored, Verdict> {
        match self.rows {
            Some(keep) => keep(rows, store).map_err(|error| Verdict::Lost(error.to_string())),
            None => Err(Verdict::Lost("nothing keeps plain values here".to_owned())),
        }
    }

    /// Adds everything another registry holds; families give one each.
    #[must_use]
    pub fn and(mut self, other: Registry) -> Registry {
        for (name, entry) in other.entries {
            match self.entries.entry(name) {
                Slot::Vacant(free) => {
                    free.insert(entry);
                }
                Slot::Occupied(taken) => {
                    let operator = taken.key().clone();
                    self.errors.push(RegistryError {
                        operator,
                        reason: TAKEN.to_owned(),
                    });
                }
            }
        }
        self.kinds.extend(other.kinds);
        self.goldens.extend(other.goldens);
        self.rows = self.rows.or(other.rows);
        self.errors.extend(other.errors);
        self
    }

    /// Returns the registry, or everything that is wrong with what was added.
    pub fn checked(self) -> Result<Registry, Vec<RegistryError>> {
        if self.errors.is_empty() {
            Ok(self)
        } else {
            Err(self.errors)
        }
    }

    /// Returns the names of the port types.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.keys().copied()
    }

    /// Returns what can be read of artifacts of a kind; nothing of a kind that is not known.
    #[must_use]
    pub fn fields(&self, kind: &str) -> &[Field] {
        self.kinds.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Returns the signatures by name.
    pub fn signatures(&self) -> impl Iterator<Item = &Signature> {
        self.entries.values().map(|entry| &entry.signature)
    }

    /// Returns the catalogue the language asks, with the roots and the store of this run.
    #[must_use]
    pub fn catalog<'a>(&'a self, env: &ListEnv<'a>) -> View<'a> {
        View {
            registry: self,
            env: *env,
        }
    }

    /// Builds an operator from the effective arguments of a plan.
    pub(crate) fn operator(
        &self,
        name: &str,
        args: &BTreeMap<String, Value>,
    ) -> Result<(Box<dyn AnyOperator>, &Signature, Determinism), Misfit> {
        let entry = self.entry(name)?;
        match &entry.build {
            Build::Operator { build, determinism } => {
                let built = build(entry.json(args)?).map_err(|refused| entry.misfit(refused))?;
                Ok((built, &entry.signature, *determinism))
            }
            Build::Listing(_) => Err(plain(
                "engine::plan",
                format!("`{name}` lists while planning and is no node"),
            )),
        }
    }

    /// Builds an operator from the arguments that a pre-image holds.
    pub(crate) fn rebuilt(
        &self,
        name: &str,
        args: BTreeMap<String, Json>,
    ) -> Result<(Box<dyn AnyOperator>, &Signature), Misfit> {
        let entry = self.entry(name)?;
        match &entry.build {
            Build::Operator { build, .. } => {
                let built = build(args).map_err(|refused| entry.misfit(refused))?;
                Ok((built, &entry.signature))
            }
            Build::Listing(_) => Err(plain(
                "engine::plan",
                format!("`{name}` lists while planning and is no node"),
            )),
        }
    }

    fn entry(&self, name: &str) -> Result<&Registered, Misfit> {
        self.entries.get(name).ok_or_else(|| {
            plain(
                "lang::unknown_operator",
                format!("there is no operator `{name}`"),
            )
        })
    }

    fn refuse(&mut self, name: &str, reason: String) {
        self.errors.push(RegistryError {
            operator: name.to_owned(),
            reason,
        });
    }

    fn add(
        &mut self,
        name: &str,
        described: Result<Described, String>,
        shape: Shape,
        build: Build,
    ) {
        let Described {
            doc,
            example,
            params,
        } = match described {
            Ok(described) => described,
            Err(reason) => return self.refuse(name, reason),
        };
        if self.entries.contains_key(name) {
            return self.refuse(name, TAKEN.to_owned());
        }
        if let Some(port) = shape
            .inputs
            .iter()
            .find(|port| params.iter().any(|one| one.param.name == port.name))
        {
            let reason = format!("`{}` is both a port and a parameter", port.name);
            return self.refuse(name, reason);
        }
        let signature = Signature {
            name: name.to_owned(),
            doc,
            example,
            inputs: shape.inputs,
            params: params
                .iter()
                .map(|one| one.param.clone())
                .collect::<Vec<Param>>(),
            outputs: shape.outputs,
            record: false,
            plan_time: shape.plan_time,
            revision: shape.revision,
            determinism: shape.determinism.word().to_owned(),
        };
        self.entries.insert(
            name.to_owned(),
            Registered {
                signature,
                params,
                build,
            },
        );
    }
}

fn is_plain(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool | Type::Int | Type::Float | Type::Str | Type::Quantity(_)
    )
}

/// What a registration says beside the schema.
struct Shape {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    plan_time: bool,
    revision: u32,
    determinism: Determinism,
}

/// Reads a parameter struct and names the parameter it stumbles over.
fn construct<T: DeserializeOwned>(args: BTreeMap<String, Json>) -> Result<T, Refused> {
    let current = RefCell::new(None);
    let entries = args.into_iter().map(|(name, value)| {
        *current.borrow_mut() = Some(name.clone());
        (name, value)
    });
    T::deserialize(MapDeserializer::<_, serde_json::Error>::new(entries)).map_err(|error| {
        let reason = error.to_string();
        // A missing parameter is noticed after the last one was read.
        let param = if reason.starts_with("missing field") {
            None
        } else {
            current.take()
        };
        Refused { param, reason }
    })
}

impl Registered {
    /// Turns arguments into JSON in base units and compares them with their ranges.
    fn json(&self, args: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Json>, Misfit> {
        let mut json = BTreeMap::new();
        for (name, value) in args {
            let Some(schema) = self.params.iter().find(|one| one.param.name == *name) else {
                return Err(at(
                    name,
                    "lang::unknown_param",
                    format!("`{}` has no parameter `{name}`", self.signature.name),
                    "not one of its parameters".to_owned(),
                ));
            };
            if matches!(value, Value::None)
                && !matches!(schema.param.ty, Type::Optional(_))
                && schema.param.default == Some(Value::None)
            {
                continue;
            }
            schema.in_range(value, &self.signature.name)?;
            let converted = to_json(value, schema.whole).map_err(|reason| {
                at(
                    name,
                    "lang::bad_value",
                    format!("`{}` cannot take this `{name}`", self.signature.name),
                    reason,
                )
            })?;
            json.insert(name.clone(), converted);
        }
        Ok(json)
    }

    fn misfit(&self, refused: Refused) -> Misfit {
        let operator = &self.signature.name;
        match refused.param {
            Some(param) => {
                let mut misfit = at(
                    &param,
                    "lang::bad_value",
                    format!("`{operator}` cannot take this `{param}`"),
                    refused.reason,
                );
                if let Some(known) = self.params.iter().find(|one| one.param.name == param)
                    && !known.param.choices.is_empty()
                {
                    misfit.help = Some(format!(
                        "it is one of {}",
                        cerb_lang::listed(&known.param.choices, "or")
                    ));
                }
                misfit
            }
            None => plain(
                "engine::plan",
                format!("`{operator}` lacks a parameter: {}", refused.reason),
            ),
        }
    }
}

impl ParamSchema {
    /// Compares a number, or each of a list, with the range the schema states.
    fn in_range(&self, value: &Value, operator: &str) -> Result<(), Misfit> {
        if let Value::List(all) = value {
            return all.iter().try_for_each(|one| self.in_range(one, operator));
        }
        let Some(number) = value.number() else {
            return Ok(());
        };
        let write = |number: f64| match value {
            Value::Quantity(_, unit) => Value::Quantity(number, *unit).to_string(),
            _ => number.to_string(),
        };
        let name = &self.param.name;
        let complain = |limit: String| {
            at(
                name,
                "lang::out_of_range",
                format!("`{name}` of `{operator}` is out of range"),
                format!("{} is not {limit}", write(number)),
            )
        };
        match (self.low, self.high) {
            (Some((low, true)), _) if number < low => {
                Err(complain(format!("at least {}", write(low))))
            }
            (Some((low, false)), _) if number <= low => {
                Err(complain(format!("more than {}", write(low))))
            }
            (_, Some((high, true))) if number > high => {
                Err(complain(format!("at most {}", write(high))))
            }
            (_, Some((high, false))) if number >= high => {
                Err(complain(format!("less than {}", write(high))))
            }
            _ => Ok(()),
        }
    }
}

fn plain(code: &'static str, title: String) -> Misfit {
    Misfit {
        code,
        title,
        labels: Vec::new(),
        help: None,
    }
}

fn at(param: &str, code: &'static str, title: String, label: String) -> Misfit {
    Misfit {
        code,
        title,
        labels: vec![(Origin::Param(param.to_owned()), label)],
        help: None,
    }
}

/// The registry as the language asks it, with the roots and the store of one run.
pub struct View<'a> {
    registry: &'a Registry,
    env: ListEnv<'a>,
}

impl Catalog for View<'_> {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.registry.entries.get(op).map(|entry| &entry.signature)
    }

    fn names(&self) -> Vec<String> {
        self.registry.entries.keys().cloned().collect()
    }

    fn fields(&self, kind: &str) -> Vec<Field> {
        self.registry.fields(kind).to_vec()
    }

    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit> {
        let entry = self.registry.entry(op)?;
        let json = entry.json(args)?;
        match &entry.build {
            Build::Operator { build, .. } => build(json)
                .map_err(|refused| entry.misfit(refused))?
                .check(inputs),
            Build::Listing(build) => {
                build(json).map_err(|refused| entry.misfit(refused))?;
                Ok(Facts::default())
            }
        }
    }

    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        let entry = self.registry.entry(op)?;
        let Build::Listing(build) = &entry.build else {
            return Err(plain(
                "engine::plan",
                format!("`{op}` runs; it does not list while planning"),
            ));
        };
        let listing = build(entry.json(args)?).map_err(|refused| entry.misfit(refused))?;
        let batch = self.env.store.batch();
        let Inventory {
            mut entries,
            unreadable,
            warnings,
        } = listing.list(&self.env)?;
        drop(batch);
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let kind = entry
            .signature
            .outputs
            .first()
            .and_then(|port| port.ty.kind());
        let fields = kind.map_or(&[][..], |kind| self.registry.fields(kind));
        let entries = entries.into_iter().map(|one| listed(one, fields));
        Ok(Inventory {
            entries: entries.collect::<Result<_, _>>()?,
            unreadable,
            warnings,
        })
    }
}

/// Hands on what was listed. What its kind's fields say is a fact like what the listing says.
fn listed(mut entry: crate::Entry, fields: &[Field]) -> Result<Listed, Misfit> {
    for field in fields {
        let json = entry.stored.fields.get(&field.name);
        if let Some(value) = json.and_then(|json| from_json(json, &field.ty)) {
            entry.facts.entry(field.name.clone()).or_insert(value);
        }
    }
    let handle = serde_json::to_value(&entry.stored).map_err(|error| {
        plain(
            "engine::unwritable_handle",
            format!("`{}` cannot be handed on: {error}", entry.shown),
        )
    })?;
    Ok(Listed {
        key: entry.key,
        digest: entry.stored.digest.to_string(),
        path: entry.shown,
        facts: entry.facts,
        handle,
    })
}
