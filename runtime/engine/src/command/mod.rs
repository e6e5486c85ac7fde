//! External programs: an `op` with a body, run in a directory of its own.
//!
//! [`stage`] links the inputs, [`line`] fills in the command line, [`child`] runs it behind a
//! [`fence`] or in a [`container`] while a [`guard`] stands by, [`log`] keeps what it says, [`stage`] looks whether the
//! inputs still are what they were, and [`collect`] takes what it wrote.

mod child;
mod collect;
mod container;
mod failure;
mod fence;
mod guard;
mod line;
mod log;
mod stage;

use std::{collections::BTreeMap, ffi::OsString, path::Path, sync::Arc};

use cerb_lang::{Command, Facts, Misfit, Origin, Piece, Port, Run, Type, Value};
use cerb_store::Stored;
use serde_json::{Map, Value as Json, json};

use crate::{Bound, Ctx, Needs, OpError, registry::AnyOperator, schema::to_json};
use stage::Stage;

pub use stage::extension;

/// Kinds that a program can write as a plain file: one blob and the name it was written under.
pub const COMMAND_OUTPUTS: &[&str] = &["File", "Report"];

/// Variables of the caller that a program sees; everything else is left out.
const PASSED_ON: [&str; 6] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
];

/// Returns the operator of a command with its effective arguments.
pub(crate) fn operator(
    command: &Arc<Command>,
    args: &BTreeMap<String, Value>,
) -> Result<Box<dyn AnyOperator>, Misfit> {
    let mut typed = BTreeMap::new();
    for param in &command.params {
        let Some(value) = args.get(&param.name) else {
            continue; // Worked out later; `run` asks for it.
        };
        let value = typed_as(value, &param.ty);
        to_json(&value, whole(&param.ty)).map_err(|reason| Misfit {
            code: "lang::bad_value",
            title: format!("`{}` cannot take this `{}`", command.name, param.name),
            labels: vec![(Origin::Param(param.name.clone()), reason)],
            help: None,
        })?;
        typed.insert(param.name.clone(), value);
    }
    Ok(Box::new(Program {
        command: Arc::clone(command),
        args: typed,
    }))
}

/// A command with its arguments.
struct Program {
    command: Arc<Command>,
    args: BTreeMap<String, Value>,
}

impl AnyOperator for Program {
    fn args(&self) -> Result<Json, String> {
        let mut args = Map::new();
        for param in &self.command.params {
            if let Some(value) = self.args.get(&param.name) {
                args.insert(param.name.clone(), to_json(value, whole(&param.ty))?);
            }
        }
        Ok(Json::Object(args))
    }

    fn check(&self, _inputs: &Facts) -> Result<Facts, Misfit> {
        Ok(Facts::default())
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::one_core()
    }

    /// What is run, in what, from what and for what; neither texts for people nor places in the file.
    fn program(&self) -> Option<Json> {
        let command = &self.command;
        let pieces = |pieces: &[Piece]| -> Json {
            let one = |piece: &Piece| match piece {
                Piece::Text(text) => json!({ "text": text }),
                Piece::Port(port) => json!({ "port": port }),
            };
            pieces.iter().map(one).collect()
        };
        let run = match &command.run {
            Run::Shell(line) => json!({ "shell": pieces(line) }),
            Run::Words(words) => {
                json!({ "words": words.iter().map(|word| pieces(word)).collect::<Vec<_>>() })
            }
        };
        let ports = |ports: &[Port]| -> Map<String, Json> {
            let typed = |port: &Port| (port.name.clone(), json!(port.ty.to_string()));
            ports.iter().map(typed).collect()
        };
        let params: Map<String, Json> = command
            .params
            .iter()
            .map(|param| (param.name.clone(), json!(param.ty.to_string())))
            .collect();
        Some(json!({
            "run": run,
            "image": command.image,
            "inputs": ports(&command.inputs),
            "params": params,
            "outputs": ports(&command.outputs),
        }))
    }

    fn outputs(&self) -> Vec<Port> {
        self.command.outputs.clone()
    }

    fn run(
        &self,
        bound: &BTreeMap<String, Bound>,
        ctx: &mut Ctx,
    ) -> Result<BTreeMap<String, Stored>, OpError> {
        let store = ctx.store().clone();
        let name = &self.command.name;
        let mut stage = Stage::new(&ctx.scratch()?)?;
        for (port, bound) in bound {
            stage.put(port, bound, &store)?;
        }
        for param in &self.command.params {
            match self.args.get(&param.name) {
                Some(Value::Secret(secret)) => stage.put_secret(&param.name, secret, ctx)?,
                Some(_) => {}
                None => {
                    let text = format!("parameter `{}` of `{name}` has no value", param.name);
                    return Err(OpError::Operator(text));
                }
            }
        }
        let line = line::fill(&self.command, &self.args, &stage)?;
        let mut variables = settings(ctx, &stage);
        let (process, fence, stop) = match &self.command.image {
            None => {
                let passed = PASSED_ON
                    .iter()
                    .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
                variables.extend(passed);
                variables.extend(line.variables.iter().cloned());
                (line.process(&stage, variables), Some(stage.dir()), None)
            }
            Some(image) => {
                variables.push(("HOME".into(), stage.tmp().into()));
                variables.extend(line.variables.iter().cloned());
                let path = std::env::var_os("PATH").unwrap_or_default();
                let engine = container::Engine::find(ctx.container(), &path)?;
                let boxed = engine.process(image, &line, &stage, &variables);
                (boxed.process, None, boxed.stop)
            }
        };
        let ended = child::run(process, fence, stop, ctx, stage.masks())
            .map_err(|error| failure::unstarted(name, &line, &error))?;
        stage.forget_secrets();
        if ended.fenced == Some(false)
            && !fence::TOLD.swap(true, std::sync::atomic::Ordering::SeqCst)
        {
            ctx.note(fence::MISSING);
        }
        let mut logs = BTreeMap::new();
        for (stream, bytes) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            if !bytes.is_empty() {
                logs.insert(stream.to_owned(), store.put_bytes(bytes)?);
            }
        }
        stage.unchanged(name, &store)?;
        ended.check(name, &line, &logs, &store)?;
        let outputs = collect::outputs(&self.command, &stage, &store)?;
        ctx.logs = logs;
        Ok(outputs)
    }
}

/// Returns the variables that tell a program what it was given.
fn settings(ctx: &Ctx, stage: &Stage) -> Vec<(OsString, OsString)> {
    let threads = OsString::from(ctx.threads().to_string());
    let mut variables = vec![
        ("TMPDIR".into(), stage.tmp().into()),
        ("CERB_THREADS".into(), threads.clone()),
        ("OMP_NUM_THREADS".into(), threads),
    ];
    if ctx.memory() != u64::MAX {
        variables.push(("CERB_MEMORY".into(), ctx.memory().to_string().into()));
    }
    variables
}

/// Says whether numbers of a type are whole.
fn whole(ty: &Type) -> bool {
    match ty {
        Type::Int => true,
        Type::List(inner) | Type::Optional(inner) => whole(inner),
        _ => false,
    }
}

/// Returns a value as its parameter declares it: `1` is a Float where one is asked for.
fn typed_as(value: &Value, ty: &Type) -> Value {
    match (value, ty) {
        (Value::Int(value), Type::Float) => Value::Float(*value as f64),
        (Value::List(all), Type::List(inner)) => {
            Value::List(all.iter().map(|one| typed_as(one, inner)).collect())
        }
        (Value::None, _) => Value::None,
        (value, Type::Optional(inner)) => typed_as(value, inner),
        (value, _) => value.clone(),
    }
}

/// Writes a path as messages show it: below the directory of the program.
fn shown(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}
