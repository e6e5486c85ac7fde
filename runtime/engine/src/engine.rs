//! The engine as the command line uses it: preview, run, why.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cerb_lang::Plan;
use cerb_store::{Run, Store};

use crate::{
    Cancel, Compared, DeviceChoice, EngineError, Explanation, Moment, OpError, Outcome, Preview,
    Registry, actions::Actions, clock::Stopwatch, preview::Outlook, publish, publish::Target, run,
    why,
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
    /// The folder each root of the pipeline is bound to, where goldens lie.
    pub roots: BTreeMap<String, PathBuf>,
    /// Nodes that run even if their results are there.
    pub refresh: Vec<String>,
    /// The file that holds each secret, by the secret's name.
    pub secrets: BTreeMap<String, PathBuf>,
    /// The program that runs containers, by name or path; the first of podman, docker,
    /// apptainer and singularity on PATH when it is not said.
    pub container: Option<String>,
}

/// What a plan comes to on one store, as it was when it was looked at.
pub struct Look<'p> {
    actions: Actions<'p>,
    targets: Vec<Target>,
    outlook: Outlook,
}

impl Look<'_> {
    /// Returns what a run would do.
    #[must_use]
    pub fn preview(&self) -> Preview {
        self.outlook.preview(&self.actions)
    }
}

/// Previews, runs and explains plans on one store.
pub struct Engine<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) store: &'a Store,
    pub(crate) settings: Settings,
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
        Ok(self.look(plan)?.preview())
    }

    /// Looks at what a run of the plan comes to on this store, for [`run_as_seen`](Engine::run_as_seen).
    pub fn look<'p>(&'p self, plan: &'p Plan) -> Result<Look<'p>, EngineError> {
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        let targets = publish::targets(&actions)?;
        let outlook = Outlook::of(&actions, self.store, &self.settings)?;
        Ok(Look {
            actions,
            targets,
            outlook,
        })
    }

    /// Makes the folder results go to, or says why it cannot be written: another pipeline's
    /// results lie there, or the system does not let it.
    pub fn prepare(&self, plan: &Plan) -> Result<(), EngineError> {
        publish::prepare(&self.settings.out, &plan.name)
    }

    /// Does what the preview says and publishes the outputs.
    ///
    /// Failures of single actions are in the outcome. `events` is called from
    /// this thread alone, in order; the same events go to `events.jsonl`.
    pub fn run(
        &self,
        plan: &Plan,
        run: &Run,
        events: &(dyn Fn(&Moment) + Sync),
        cancel: &Cancel,
    ) -> Result<Outcome, EngineError> {
        self.run_as_seen(self.look(plan)?, run, events, cancel)
    }

    /// Does what a look has shown and publishes the outputs, as [`run`](Engine::run) does.
    pub fn run_as_seen(
        &self,
        look: Look,
        run: &Run,
        events: &(dyn Fn(&Moment) + Sync),
        cancel: &Cancel,
    ) -> Result<Outcome, EngineError> {
        let watch = Stopwatch::start();
        publish::prepare(&self.settings.out, &look.actions.plan.name)?;
        run::run(
            &look.actions,
            &look.targets,
            look.outlook,
            self.store,
            &self.settings,
            run,
            events,
            cancel,
            &watch,
        )
    }

    /// Writes what was made as a golden, to a path where nothing is.
    ///
    /// # Errors
    /// When nothing was made, or the place cannot be written.
    pub fn keep(&self, compared: &Compared, to: &Path) -> Result<(), OpError> {
        let Some(made) = &compared.made else {
            let reason = format!("nothing was made that `{}` could hold", compared.path);
            return Err(OpError::Input(reason));
        };
        let how = self.registry.golden_of(&made.kind, &compared.path);
        how.keep(made, to, self.store)
    }

    /// Explains why a node (`nuclei`, `wsi.nuclei`, `nuclei@KEY`) runs or does not.
    pub fn why(&self, plan: &Plan, name: &str) -> Result<Explanation, EngineError> {
        let actions = Actions::of(plan, self.registry, &self.settings.device_class)?;
        let outlook = Outlook::of(&actions, self.store, &self.settings)?;
        why::explain(&actions, &outlook, self.store, name)
    }
}
