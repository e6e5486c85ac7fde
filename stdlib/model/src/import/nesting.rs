//! Finds the state dict inside a checkpoint and gives its tensors their plain names.

use super::pickle::{Pickle, Refusal, Tensor, Value};

/// Returns the tensors of the state dict: under `desc` or `state_dict`, or the dict itself.
pub(super) fn tensors(pickle: &Pickle) -> Result<Vec<(String, Tensor)>, Refusal> {
    let Some(top) = pickle.dict(pickle.root) else {
        return Err(Refusal::Bad(format!(
            "it holds {}, not a dict of tensors",
            pickle.describe(pickle.root)
        )));
    };
    let nested = ["desc", "state_dict"]
        .into_iter()
        .find_map(|key| find(pickle, top, key).map(|value| (key, value)));
    let dict = match nested {
        None => top,
        Some((key, value)) => pickle.dict(value).ok_or_else(|| {
            Refusal::Bad(format!(
                "its `{key}` is {}, not a dict of tensors",
                pickle.describe(value)
            ))
        })?,
    };
    if dict.is_empty() {
        return Err(Refusal::Bad("its state dict is empty".to_owned()));
    }
    dict.iter()
        .map(|&(key, value)| named_tensor(pickle, key, value))
        .collect()
}

/// The last of equal keys counts, as in Python.
fn find(pickle: &Pickle, dict: &[(Value, Value)], key: &str) -> Option<Value> {
    dict.iter()
        .rev()
        .find(|&&(name, _)| pickle.text(name) == Some(key))
        .map(|&(_, value)| value)
}

fn named_tensor(pickle: &Pickle, key: Value, value: Value) -> Result<(String, Tensor), Refusal> {
    let name = pickle.text(key).ok_or_else(|| {
        Refusal::Bad(format!(
            "a key of its state dict is {}, not a name",
            pickle.describe(key)
        ))
    })?;
    let tensor = pickle.tensor(value).ok_or_else(|| {
        let found = pickle.describe(value);
        Refusal::Bad(format!("`{name}` in its state dict is {found}, not a tensor (a state dict is looked for at the top, under `desc` and under `state_dict`)"))
    })?;
    Ok((name.to_owned(), tensor.clone()))
}

/// Takes `module.` off every name when every name has it, and off none otherwise.
pub(super) fn without_module(tensors: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    if !tensors.iter().all(|(name, _)| name.starts_with("module.")) {
        return tensors;
    }
    tensors
        .into_iter()
        .map(|(name, tensor)| (name["module.".len()..].to_owned(), tensor))
        .collect()
}
