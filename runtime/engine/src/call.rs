//! A call with all its arguments: the operator built, and what its key begins with.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use cerb_lang::{Command, Facts, Misfit, Value};
use cerb_store::{Digest, Hasher, canonical};
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
    /// The canonical pre-image on either side of the inputs.
    around: (Vec<u8>, Vec<u8>),
}

impl NodeWork {
    /// Builds the operator; `outputs` is what is known of what it makes. The misfit says which argument it refuses.
    pub fn of(
        registry: &Registry,
        operator: &str,
        command: Option<&Arc<Command>>,
        args: &BTreeMap<String, Value>,
        device_class: &str,
        outputs: &Facts,
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
        let around = around(&preimage);
        Ok(NodeWork {
            around,
            needs: built.needs(outputs),
            operator: Arc::from(built),
            operator_name: operator.to_owned(),
            determinism,
            preimage,
        })
    }

    /// Returns the key of an action by what [`inputs`](crate::key::inputs) wrote of it.
    pub fn key(&self, inputs: &[u8]) -> Digest {
        static CONTEXT: LazyLock<Hasher> = LazyLock::new(|| Digest::deriver("cerb action v1"));
        let mut hasher = CONTEXT.clone();
        hasher.update(&self.around.0);
        hasher.update(inputs);
        hasher.update(&self.around.1);
        hasher.finish()
    }

    /// Returns the digest of operator, revision and arguments: of all that decides the bytes beside what is read.
    pub fn by(&self) -> Digest {
        let mut hasher = Digest::deriver("cerb operator v1");
        hasher.update(&self.around.0);
        hasher.update(&self.around.1);
        hasher.finish()
    }

    /// Returns all that an action is keyed by, for people and for comparing.
    pub fn whole(&self, inputs: &[u8]) -> Json {
        let mut whole = self.preimage.clone();
        let inputs = serde_json::from_slice(inputs).unwrap_or_default();
        whole.insert(INPUTS.to_owned(), inputs);
        Json::Object(whole)
    }
}

/// The field of a pre-image that differs between the actions of a node.
const INPUTS: &str = "inputs";

/// Divides the canonical form of a pre-image where its inputs go.
fn around(preimage: &Map<String, Json>) -> (Vec<u8>, Vec<u8>) {
    let part = |after: bool| {
        let fields = preimage
            .iter()
            .filter(|(name, _)| (name.as_str() > INPUTS) == after);
        let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
        canonical(&Json::Object(fields.collect()))
    };
    let (mut head, tail) = (part(false), part(true));
    head.pop();
    if head.len() > 1 {
        head.push(b',');
    }
    head.extend_from_slice(b"\"inputs\":");
    let tail = match tail.as_slice() {
        b"{}" => b"}".to_vec(),
        tail => [b",", &tail[1..]].concat(),
    };
    (head, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_canonical_whole() {
        let whole = json!({"args": {"x": 1.5}, "operator": "a", "revision": 2});
        for left_out in ["", "args", "operator", "revision"] {
            let mut preimage = whole.as_object().cloned().unwrap_or_default();
            preimage.remove(left_out);
            if left_out == "operator" {
                preimage.remove("revision");
            }
            let (head, tail) = around(&preimage);
            preimage.insert("inputs".to_owned(), json!({"x": "d"}));
            let parts = [head.as_slice(), br#"{"x":"d"}"#, &tail].concat();
            assert_eq!(parts, canonical(&Json::Object(preimage)));
        }
    }
}
