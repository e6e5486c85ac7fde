//! A call with all its arguments: the operator built, and what its key begins with.

use std::{collections::BTreeMap, sync::Arc};

use cerb_lang::{Command, Misfit, Value};
use serde_json::{Map, Value as Json, json};

use crate::{Determinism, Needs, Registry, command, registry::AnyOperator};

/// What all actions of one node share; one action alone when arguments are worked out for it.
pub(crate) struct NodeWork {
    pub operator: Arc<dyn AnyOperator>,
    pub operator_name: String,
    pub determinism: Determinism,
    pub needs: Needs,
    /// The pre-image of its keys, without the inputs.
    pub preimage: Map<String, Json>,
}

impl NodeWork {
    /// Builds the operator; the misfit says which argument it refuses.
    pub fn of(
        registry: &Registry,
        operator: &str,
        command: Option<&Arc<Command>>,
        args: &BTreeMap<String, Value>,
        device_class: &str,
    ) -> Result<NodeWork, Misfit> {
        let (built, revision, determinism) = match command {
            Some(of) => (
                command::operator(of, args)?,
                of.revision,
                Determinism::Exact,
            ),
            None => {
                let (built, signature, determinism) = registry.operator(operator, args)?;
                (built, signature.revision, determinism)
            }
        };
        let args = built.args().map_err(|reason| Misfit {
            code: "lang::bad_value",
            title: format!("`{operator}` cannot take these arguments: {reason}"),
            labels: Vec::new(),
            help: None,
        })?;
        let mut preimage = Map::new();
        preimage.insert("operator".to_owned(), json!(operator));
        preimage.insert("revision".to_owned(), json!(revision));
        preimage.insert("determinism".to_owned(), json!(determinism.word()));
        if determinism == Determinism::Device {
            preimage.insert("device".to_owned(), json!(device_class));
        }
        preimage.insert("args".to_owned(), args);
        if let Some(program) = built.program() {
            preimage.insert("program".to_owned(), program);
        }
        Ok(NodeWork {
            needs: built.needs(),
            operator: Arc::from(built),
            operator_name: operator.to_owned(),
            determinism,
            preimage,
        })
    }
}
