//! The prelude: modules of the language that `use` finds by their bare name.

/// The modules and their texts, by name.
const MODULES: &[(&str, &str)] = &[("nuclei", include_str!("../../prelude/nuclei.cerb"))];

/// Returns the text of a module of the prelude.
#[must_use]
pub fn module(name: &str) -> Option<&'static str> {
    MODULES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// Returns the names of the prelude's modules, sorted.
#[must_use]
pub fn modules() -> Vec<&'static str> {
    MODULES.iter().map(|(name, _)| *name).collect()
}
