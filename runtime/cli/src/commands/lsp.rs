//! `cerb lsp`: answers an editor over standard input and output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cerb_engine::{ListEnv, Registry, View};
use cerb_lang::{
    Catalog, Facts, Field, Inventory, Listed, Misfit, Origin, Signature, Sources, Value, outline,
};
use cerb_lsp::lsp_types::Uri;
use cerb_lsp::{Ended, News, Operators, Workspace, to_uri};
use cerb_store::Store;
use clap::Args;
use tempfile::TempDir;

use crate::args::When;
use crate::commands::explain::PAGES;
use crate::config::{self, Local};
use crate::failure::{Failure, exit};
use crate::given::{LOCAL, bound_roots};
use crate::session::{Beside, folder, registry, store_dir};

/// How long a listing counts; after that it is made again, and counts until that is done.
const FRESH: Duration = Duration::from_secs(30);

/// How long an edit waits for a listing before a stand-in is taken.
const PATIENCE: Duration = Duration::from_millis(200);

/// Answer an editor: mistakes, hover, completion, definitions, renaming, formatting
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb lsp          an editor starts it; docs/editors/ says how

It speaks the Language Server Protocol over standard input and output. Slides are listed in the
background, and only for a pipeline that was run before: otherwise one slide stands in for all.")]
pub struct Lsp {}

impl Lsp {
    /// Serves until the editor asks to stop or goes away.
    pub fn execute(self, _color: When) -> Result<u8, Failure> {
        let editor = Editor::new()?;
        let (connection, writer) = cerb_lsp::stdio();
        let ended = cerb_lsp::serve(&connection, &editor);
        drop(connection);
        writer
            .finish()
            .map_err(|error| Failure::surroundings(error.to_string(), None))?;
        Ok(match ended {
            Ended::Asked => exit::DONE,
            Ended::Left => exit::FAILED,
        })
    }
}

/// The operators and files of this machine, as an editor needs them.
struct Editor {
    registry: Arc<Registry>,
    unbound: BTreeMap<String, PathBuf>,
    /// Never listed with; a catalog has one.
    store: Store,
    /// Files for an editor to open: modules of the prelude, pages of mistakes. Gone with the session.
    folder: TempDir,
    listings: Arc<Listings>,
}

/// What was listed, by what was asked.
#[derive(Default)]
struct Listings {
    made: Mutex<BTreeMap<String, Listing>>,
    came: Condvar,
    /// Whether something else came than was there.
    news: AtomicBool,
}

#[derive(Default)]
struct Listing {
    found: Option<Result<Inventory<Listed>, Misfit>>,
    /// When it was made, or is being made since.
    since: Option<Instant>,
    making: bool,
}

impl Listings {
    fn made(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Editor {
    fn new() -> Result<Editor, Failure> {
        let folder =
            tempfile::tempdir().map_err(|error| Failure::surroundings(error.to_string(), None))?;
        Ok(Editor {
            registry: Arc::new(registry()?),
            unbound: BTreeMap::new(),
            store: Store::open(folder.path())?,
            folder,
            listings: Arc::default(),
        })
    }

    /// Where a text that is inside the program can be opened; it is there to be read only.
    fn laid_out(&self, name: &str, text: &str) -> Option<PathBuf> {
        let place = self.folder.path().join(name);
        if !place.exists() {
            std::fs::create_dir_all(place.parent()?).ok()?;
            // Whole at once: an editor, or the other thread, may look at any time.
            let mut file = tempfile::NamedTempFile::new_in(self.folder.path()).ok()?;
            file.write_all(text.as_bytes()).ok()?;
            let mut rights = file.as_file().metadata().ok()?.permissions();
            rights.set_readonly(true);
            file.as_file().set_permissions(rights).ok()?;
            file.persist(&place).ok()?;
        }
        Some(place)
    }
}

impl Workspace for Editor {
    fn catalog<'a>(&'a self, pipeline: &Path, text: &'a str) -> Box<dyn Operators + 'a> {
        let env = ListEnv {
            roots: &self.unbound,
            store: &self.store,
            rehash: false,
        };
        Box::new(EditorCatalog {
            operators: self.registry.catalog(&env),
            editor: self,
            pipeline: pipeline.to_path_buf(),
            text,
            guessed: AtomicBool::new(false),
        })
    }

    fn news(&self) -> News {
        if self.listings.news.swap(false, Ordering::AcqRel) {
            return News::Here;
        }
        let coming = self.listings.made().values().any(|listing| listing.making);
        if coming { News::Coming } else { News::None }
    }

    fn read(&self, pipeline: &Path, module: &str) -> Result<String, String> {
        Beside::of(pipeline).read(module)
    }

    fn place(&self, pipeline: &Path, module: &str) -> Option<PathBuf> {
        match cerb_ops::prelude::module(module) {
            Some(text) => self.laid_out(&format!("prelude/{module}.cerb"), text),
            None => Some(folder(pipeline).join(module)),
        }
    }

    fn explanation(&self, code: &str) -> Option<Uri> {
        let (_, page) = PAGES.iter().find(|(known, _)| *known == code)?;
        let name = format!("errors/{}.md", code.replace("::", "/"));
        to_uri(&self.laid_out(&name, page)?)
    }

    fn format(&self, pipeline: &Path, text: &str) -> Result<String, String> {
        let name = pipeline.to_string_lossy();
        if cerb_lang::Form::of(&name) == Some(cerb_lang::Form::Yaml) {
            return Err("YAML is left as it is".to_owned());
        }
        cerb_lang::format(text, &name)
            .map_err(|_| "the file has mistakes in its text; repair them first".to_owned())
    }
}

/// The operators, and listings that never keep an editor waiting.
struct EditorCatalog<'a> {
    operators: View<'a>,
    editor: &'a Editor,
    pipeline: PathBuf,
    text: &'a str,
    /// Whether a stand-in was listed.
    guessed: AtomicBool,
}

impl EditorCatalog<'_> {
    /// The folders of the roots that a listing names; nothing when one is bound by nothing.
    fn roots(
        &self,
        args: &BTreeMap<String, Value>,
    ) -> Result<Option<BTreeMap<String, PathBuf>>, Misfit> {
        let beside = folder(&self.pipeline);
        let local =
            config::read_if_there::<Local>(&beside.join(LOCAL)).map_err(|wrong| Misfit {
                code: "cli::bad_values",
                title: format!("`{LOCAL}` cannot be used: {}", wrong.title()),
                labels: vec![(Origin::Call, "where its files lie is said there".to_owned())],
                help: Some(format!("`cerb plan` shows where in `{LOCAL}`")),
            })?;
        let declared = outline(self.text, &self.pipeline.to_string_lossy());
        let bound = bound_roots(&declared, &local.said, beside);
        let named = args.values().filter_map(|value| match value {
            Value::Root(name) => Some(name),
            _ => None,
        });
        let of = |name: &String| Some((name.clone(), bound.get(name)?.clone()));
        Ok(named.map(of).collect())
    }

    /// Lists in the background, and waits a moment for it.
    fn listed(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        roots: &BTreeMap<String, PathBuf>,
        store: &Path,
    ) -> Option<Result<Inventory<Listed>, Misfit>> {
        let key = format!("{op} {args:?} {roots:?}");
        let listings = &self.editor.listings;
        let mut made = listings.made();
        let known = made.entry(key.clone()).or_default();
        let fresh = known.since.is_some_and(|since| since.elapsed() < FRESH);
        if !known.making && !fresh {
            known.making = true;
            known.since = Some(Instant::now());
            let (registry, all) = (Arc::clone(&self.editor.registry), Arc::clone(listings));
            let (op, args) = (op.to_owned(), args.clone());
            let (roots, store, key) = (roots.clone(), store.to_path_buf(), key.clone());
            std::thread::spawn(move || {
                let found = list(&registry, &op, &args, &roots, &store);
                let mut made = all.made();
                let known = made.entry(key).or_default();
                known.making = false;
                known.since = Some(Instant::now());
                if found.is_some() && found != known.found {
                    known.found = found;
                    all.news.store(true, Ordering::Release);
                }
                drop(made);
                all.came.notify_all();
            });
        }
        let waiting = |made: &mut BTreeMap<String, Listing>| {
            made.get(&key)
                .is_some_and(|l| l.making && l.found.is_none())
        };
        let waited = listings.came.wait_timeout_while(made, PATIENCE, waiting);
        let (made, _) = waited.unwrap_or_else(PoisonError::into_inner);
        made.get(&key)?.found.clone()
    }
}

fn list(
    registry: &Registry,
    op: &str,
    args: &BTreeMap<String, Value>,
    roots: &BTreeMap<String, PathBuf>,
    store: &Path,
) -> Option<Result<Inventory<Listed>, Misfit>> {
    let store = Store::open(store).ok()?;
    let env = ListEnv {
        roots,
        store: &store,
        rehash: false,
    };
    Some(registry.catalog(&env).list(op, args))
}

impl Catalog for EditorCatalog<'_> {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.operators.signature(op)
    }

    fn names(&self) -> Vec<String> {
        self.operators.names()
    }

    fn fields(&self, kind: &str) -> Vec<Field> {
        self.operators.fields(kind)
    }

    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit> {
        self.operators.check(op, args, inputs)
    }

    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        let roots = self.roots(args)?;
        let store = store_dir(None, &self.pipeline);
        // Without a store nothing is known of the slides, and all of them would be read.
        let real = roots.filter(|_| store.join("runs").is_dir());
        let listed = real.and_then(|roots| self.listed(op, args, &roots, &store));
        listed.unwrap_or_else(|| {
            self.guessed.store(true, Ordering::Relaxed);
            Ok(vec![Listed {
                key: "any".to_owned(),
                digest: String::new(),
                path: "not listed yet".to_owned(),
                facts: BTreeMap::new(),
                handle: serde_json::Value::Null,
            }]
            .into())
        })
    }
}

impl Operators for EditorCatalog<'_> {
    fn stands_in(&self) -> bool {
        self.guessed.load(Ordering::Relaxed)
    }
}
