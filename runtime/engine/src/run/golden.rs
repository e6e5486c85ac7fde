//! Claims about goldens: what was made, item by item, held against the files it was kept in.

use cerb_lang::{FormulaId, Golden, Held, Verdict};
use cerb_store::Stored;

use super::{Driver, Stage};
use crate::{
    golden::{Compared, Rows, Tolerance},
    schema::to_json,
    values::Found,
};

/// Column of a table of values that names the item.
const KEY: &str = "key";

impl Driver<'_> {
    /// Compares everything that a claim holds against goldens.
    pub(super) fn compare(&self, claim: usize, golden: &Golden) -> Vec<Compared> {
        let within = match golden.within.map(|id| self.values().find(id, None)) {
            None => Ok(None),
            Some(Found::Value(value)) => match Tolerance::of(&value) {
                Some(within) => Ok(Some(within)),
                None => Err(Verdict::Lost(format!("{value} is no bound"))),
            },
            Some(other) => Err(unknown(other)),
        };
        let all: Vec<(Option<usize>, Result<Stored, Verdict>)> = match &golden.of {
            Held::Values { columns, over } => vec![(None, self.table(columns, *over))],
            Held::Artifact { over, .. } => {
                let kept = self.actions.kept.iter().filter(|one| one.claim == claim);
                kept.filter_map(|one| {
                    let at = over.zip(one.item);
                    if at.is_some_and(|(cohort, item)| {
                        self.values().kept(cohort, item) == Some(false)
                    }) {
                        return None;
                    }
                    let made = match (self.stored(&one.origin), one.origin.action()) {
                        (Some(stored), _) => Ok(stored.clone()),
                        (None, Some(action)) => match &self.slots[action].stage {
                            Stage::Dropped(_) => return None,
                            Stage::Failed | Stage::Skipped => Err(Verdict::Lost(format!(
                                "`{}` gave no result",
                                self.actions.label(action)
                            ))),
                            _ => Err(Verdict::NotYet),
                        },
                        (None, None) => Err(Verdict::NotYet),
                    };
                    Some((one.item, made))
                })
                .collect()
            }
        };
        let over = golden.of.over();
        let all = all.into_iter().map(|(item, made)| {
            let item = self.actions.key_at(over.zip(item));
            self.compare_one(claim, golden, item, made, within.clone())
        });
        all.collect()
    }

    fn compare_one(
        &self,
        claim: usize,
        golden: &Golden,
        item: Option<&str>,
        made: Result<Stored, Verdict>,
        within: Result<Option<Tolerance>, Verdict>,
    ) -> Compared {
        let path = match item {
            Some(item) => golden.path.replace("{key}", item),
            None => golden.path.clone(),
        };
        let root = self.settings.roots.get(&golden.root);
        let mut compared = Compared {
            claim,
            item: item.map(str::to_owned),
            root: golden.root.clone(),
            file: root.map(|root| root.join(&path)).unwrap_or_default(),
            path,
            digest: None,
            verdict: Verdict::Holds,
            made: None,
        };
        let judged = (|| {
            let made = made?;
            compared.made = Some(made.clone());
            if root.is_none() {
                return Err(Verdict::Lost(format!(
                    "root `{}` is not bound to a folder",
                    golden.root
                )));
            }
            let within = within?;
            if compared.file.symlink_metadata().is_err() {
                return Err(Verdict::Lost(format!(
                    "there is no `{}` in `{}`",
                    compared.path, golden.root
                )));
            }
            let lost = |error: &dyn std::fmt::Display| {
                Verdict::Lost(format!("`{}` cannot be compared: {error}", compared.path))
            };
            let digest = self.store.digest_of(&compared.file, false);
            compared.digest = Some(digest.map_err(|error| lost(&error))?.digest);
            let how = self.actions.registry.golden_of(&made.kind, &compared.path);
            how.differs(&made, &compared.file, within, self.store)
                .map_err(|error| lost(&error))
        })();
        compared.verdict = match judged {
            Ok(None) => Verdict::Holds,
            Ok(Some(words)) => Verdict::Fails(words),
            Err(verdict) => verdict,
        };
        compared
    }

    /// Works out plain values and stores them as a table.
    fn table(
        &self,
        columns: &[(String, FormulaId)],
        over: Option<usize>,
    ) -> Result<Stored, Verdict> {
        let mut rows = Rows::default();
        let taken = columns.iter().any(|(name, _)| name == KEY);
        let key = if taken { "item" } else { KEY };
        let names = columns.iter().map(|(name, _)| name.clone());
        rows.columns = over
            .map(|_| key.to_owned())
            .into_iter()
            .chain(names)
            .collect();
        let items = over.map_or(1, |cohort| self.actions.plan.cohorts[cohort].items.len());
        'items: for item in 0..items {
            let at = over.map(|cohort| (cohort, item));
            if at.is_some_and(|(cohort, item)| self.values().kept(cohort, item) == Some(false)) {
                continue;
            }
            let mut row = Vec::new();
            row.extend(self.actions.key_at(at).map(Into::into));
            for (_, id) in columns {
                match self.values().find(*id, at) {
                    Found::Value(value) => {
                        let whole = matches!(value, cerb_lang::Value::Int(_));
                        row.push(to_json(&value, whole).map_err(Verdict::Lost)?);
                    }
                    Found::Dropped(_) if at.is_some() => continue 'items,
                    other => return Err(unknown(other)),
                }
            }
            rows.rows.push(row);
        }
        self.actions.registry.keep_rows(&rows, self.store)
    }
}

/// What a value that is not there makes of a claim.
fn unknown(found: Found) -> Verdict {
    match found {
        Found::Value(_) | Found::NotYet => Verdict::NotYet,
        Found::Dropped(_) => Verdict::Lost("what it reads was dropped".to_owned()),
        Found::Failed(why) | Found::Wrong(why) => Verdict::Lost(why),
    }
}
