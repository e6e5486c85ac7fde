//! One changed value of a pipeline, of its files or of an operator.

use super::pipeline::{
    Arg, BLEND, Call, Dice, FOLDERS, Filter, Lit, MIX, Pipeline, Stage, World, ops,
};

/// A place where something can be changed.
#[derive(Debug, Clone, Copy)]
enum Site {
    /// The revision of `toy.mix`.
    Revision,
    /// A file, by folder and place in it.
    File(usize, usize),
    /// The file that is loaded by its name.
    Loaded,
    /// The value of a `param`.
    Param(usize),
    /// The `where` of a stage.
    Where(usize),
    /// The `if` of a call.
    If(usize, usize),
    /// Which operator is called; on the other side of the `if` or not.
    Callee(usize, usize, bool),
    /// An argument, by its place in the signature.
    Argument(usize, usize, bool, usize),
}

/// A pipeline with its files and operators.
#[derive(Debug, Clone)]
pub struct Setting {
    pub pipeline: Pipeline,
    pub world: World,
    /// Whether the revision of `toy.mix` was raised.
    pub revised: bool,
}

impl Setting {
    /// Changes one value; says where.
    pub fn change(&mut self, dice: &mut Dice<'_>, pick: usize) -> String {
        let sites = self.sites();
        let site = sites[pick % sites.len()];
        self.change_at(site, dice);
        match site {
            Site::File(folder, file) => {
                let key = self.world.folders[folder][file].0;
                format!("the file {}/{key}", FOLDERS[folder])
            }
            Site::Argument(stage, call, second, index) => {
                let op = self.call(stage, call, second).op;
                format!("`{}` in {site:?}", ops()[op].params[index].name)
            }
            site => format!("{site:?}"),
        }
    }

    fn sites(&self) -> Vec<Site> {
        let mut all = vec![Site::Revision, Site::Loaded];
        for (folder, files) in self.world.folders.iter().enumerate() {
            all.extend((0..files.len()).map(|file| Site::File(folder, file)));
        }
        all.extend((0..self.pipeline.params.len()).map(Site::Param));
        for (at, stage) in self.pipeline.stages.iter().enumerate() {
            let filtered = matches!(stage, Stage::For { filter, .. } if filter.is_some());
            all.extend(filtered.then_some(Site::Where(at)));
            for (call, step) in stage.steps().iter().enumerate() {
                all.extend(step.or.as_ref().map(|_| Site::If(at, call)));
                for (second, found) in [false, true].into_iter().zip(step.calls()) {
                    let op = found.op;
                    all.extend((op <= BLEND).then_some(Site::Callee(at, call, second)));
                    let params = 0..ops()[op].params.len();
                    all.extend(params.map(|index| Site::Argument(at, call, second, index)));
                }
            }
        }
        all
    }

    fn change_at(&mut self, site: Site, dice: &mut Dice<'_>) {
        match site {
            Site::Revision => self.revised = true,
            Site::File(folder, file) => self.world.folders[folder][file].1 += 1,
            Site::Loaded => self.world.loaded += 4,
            Site::Param(at) => {
                let (kind, lit) = &mut self.pipeline.params[at];
                *lit = other(lit, dice.lit(*kind));
            }
            Site::Where(at) => {
                if let Stage::For { filter, .. } = &mut self.pipeline.stages[at] {
                    *filter = filter.map(|filter| match filter {
                        Filter::Mpp(least) => Filter::Mpp(least + 150),
                        Filter::Count(least) => Filter::Count(least + 1),
                    });
                }
            }
            Site::If(at, call) => {
                let step = &mut self.pipeline.stages[at].steps_mut()[call];
                step.or.as_mut().unwrap().0.over += 1;
            }
            Site::Callee(at, call, second) => {
                let call = self.call(at, call, second);
                call.op = if call.op == MIX { BLEND } else { MIX };
            }
            Site::Argument(at, call, second, index) => {
                let call = self.call(at, call, second);
                let param = &ops()[call.op].params[index];
                let new = dice.lit(param.kind);
                let arg = match (call.args.get(param.name), &param.default) {
                    (Some(Arg::Lit(lit)), _) | (None, Some(lit)) => Arg::Lit(other(lit, new)),
                    (Some(Arg::More(test)), _) => {
                        let mut test = *test;
                        test.over += 1;
                        Arg::More(test)
                    }
                    (Some(Arg::Choose(test, yes, no)), _) => {
                        let mut test = *test;
                        test.over += 1;
                        Arg::Choose(test, *yes, *no)
                    }
                    _ => Arg::Lit(new),
                };
                call.args.insert(param.name, arg);
            }
        }
    }

    fn call(&mut self, stage: usize, call: usize, second: bool) -> &mut Call {
        let step = &mut self.pipeline.stages[stage].steps_mut()[call];
        match &mut step.or {
            Some((_, other)) if second => other,
            _ => &mut step.call,
        }
    }
}

/// Returns a value that is not the same.
fn other(was: &Lit, new: Lit) -> Lit {
    if *was != new {
        return new;
    }
    match new {
        Lit::Milli(n) => Lit::Milli(n + 600),
        Lit::Whole(n) => Lit::Whole(n + 256),
        Lit::Flag(flag) => Lit::Flag(!flag),
        Lit::Word(word) => Lit::Word(if word == "fine" { "rough" } else { "fine" }),
        Lit::Names(names) if names.is_empty() => Lit::Names(vec!["c"]),
        Lit::Names(_) => Lit::Names(Vec::new()),
    }
}
