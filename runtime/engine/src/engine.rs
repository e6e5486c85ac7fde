//! The engine as the command line uses it: preview, run, why.

use std::{collections::BTreeMap, path::PathBuf};

use cerb_lang::Plan;
use cerb_store::{Run, Store};

use crate::{
    Cancel, DeviceChoice, EngineError, Event, Explanation, Outcome, Preview, Registry,
    actions::Actions, clock::Stopwatch, preview::Outlook, publish, run, why,
};

/// What a run may use, and where its results go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Actions at once, and cores in all; at least one.
    pub jobs: usize,
    /// Bytes of memory in all; 0 when nothing bounds it.
    pub memory: u64,
    /// Whether to stop at the first failure.
    pub fail_fast: bool,
    /// The device work is done on.
    pub device: DeviceChoice,
    /// What keys of `device` operators carry: engine, version, instruction set, precision.
    pub device_class: String,
    /// The folder results are published to.
    pub out: PathBuf,
    /// Nodes that run even if their results are there.
    pub refresh: Vec<String>,
    /// The file that holds each secret, by the secret's name.
    pub secrets: BTreeMap<String, PathBuf>,
    /// The program that runs containers, by name or path; the first of podman, docker,
    /// apptainer and singularity on PATH when it is not said.
    pub container: Option<String>,
}

/// Previews, runs and explains plans on one store.
pub struct Engine<'a> {
    registry: &'a Registry,
    store: &'a Store,
    settings: Settings,
}

impl<'a> Engine<'a> {
    /// Returns an engine on a store.
    #[must_use]
    pub fn new(registry: &'a Registry, store: &'a Store, settings: Settings) -> Engine<'a> {
        Engine {
            registry,
            store,
            settings,
        }
    }

    /// Says what a run would do, and changes nothing.
    pub fn preview(&self, plan: &Plan) -> Result<Preview, EngineError> {
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        publish::targets(&actions)?;
        Ok(Outlook::of(&actions, self.store, &self.settings)?.preview(&actions))
    }

    /// Makes the folder results go to, or says why it cannot be written.
    pub fn prepare(&self) -> Result<(), EngineError> {
        publish::prepare(&self.settings.out)
    }

    /// Does what the preview says and publishes the outputs.
    ///
    /// Failures of single actions are in the outcome. `events` is called from
    /// this thread alone, in order; the same events go to `events.jsonl`.
    pub fn run(
        &self,
        plan: &Plan,
        run: &Run,
        events: &(dyn Fn(&Event) + Sync),
        cancel: &Cancel,
    ) -> Result<Outcome, EngineError> {
        let watch = Stopwatch::start();
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        let targets = publish::targets(&actions)?;
        publish::prepare(&self.settings.out)?;
        let outlook = Outlook::of(&actions, self.store, &self.settings)?;
        run::run(
            &actions,
            &targets,
            outlook,
            self.store,
            &self.settings,
            run,
            events,
            cancel,
            &watch,
        )
    }

    /// Explains why a node (`nuclei`, `wsi.nuclei`, `nuclei@KEY`) runs or does not.
    pub fn why(&self, plan: &Plan, name: &str) -> Result<Explanation, EngineError> {
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        let outlook = Outlook::of(&actions, self.store, &self.settings)?;
        why::explain(&actions, &outlook, self.store, name)
    }
}
