//! Operators for random pipelines: parameters of every type, and a result that depends on all of them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use cerb_engine::{
    Ctx, Entry, Keyed, ListEnv, Listing, Misfit, OpError, Operator, Registry, RootRef, ports,
};
use cerb_lang::{Inventory, Unit, Value};
use cerb_store::{Artifact, FieldSpec, Form, Store, StoreError, Stored};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::toy::did;

/// A number, kept as its text; its field `count` is what is left of it by 4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sheet(pub u64);

impl Artifact for Sheet {
    const KIND: &'static str = "Report";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::new("count", "Int", "What is left by 4.")];
    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let blob = store.put_bytes(self.0.to_string().as_bytes())?;
        let fields = BTreeMap::from([("count".to_owned(), (self.0 % 4).into())]);
        Ok(Stored::blob(Self::KIND, blob, fields))
    }
    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        let bytes = match &stored.form {
            Form::Source { path } => fs::read(path).unwrap(),
            _ => store.read_blob(&stored.digest)?,
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.parse()
            .map(Sheet)
            .map_err(|_| StoreError::artifact(Self::KIND, "no number"))
    }
}

/// A text file, as external programs make it.
pub struct Paper;

impl Artifact for Paper {
    const KIND: &'static str = "File";
    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let blob = store.put_bytes(b"paper")?;
        Ok(Stored::blob(Self::KIND, blob, BTreeMap::new()))
    }
    fn open(_stored: &Stored, _store: &Store) -> Result<Self, StoreError> {
        Ok(Paper)
    }
}

/// Returns a number that is another one for any other text.
pub fn mixed(text: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fold) >> 12
}

/// Returns the text that decides a result: the arguments as sorted JSON, and the inputs.
pub fn decides(args: &impl Serialize, inputs: &str) -> String {
    format!("{} {inputs}", serde_json::to_value(args).unwrap())
}

macro_rules! quantity {
    ($name:ident, $inner:ty, $json:literal) => {
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $json, "x-cerb-type": stringify!($name) })
            }
        }
    };
}
quantity!(Px, u32, "integer");
quantity!(Um, f64, "number");
quantity!(Um2, f64, "number");
quantity!(Mpp, f64, "number");
quantity!(Pct, f64, "number");
quantity!(Dur, f64, "number");
quantity!(Bytes, u64, "integer");

/// A word of three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum How {
    #[default]
    Plain,
    Rough,
    Fine,
}

ports! {
    /// One or two.
    pub struct Pair {
        /// The first.
        x: Sheet,
        /// The second.
        y: Option<Sheet>,
    }
    /// One.
    pub struct One {
        /// The only one.
        x: Sheet,
    }
    /// All of a cohort.
    pub struct All {
        /// By key.
        all: Keyed<Sheet>,
    }
    /// What was made.
    pub struct Made {
        /// The result.
        made: Sheet,
    }
    /// A file.
    pub struct Sheets {
        /// The file.
        file: Paper,
    }
    /// Two that were made.
    pub struct Halves {
        /// Depends on everything.
        left: Sheet,
        /// Is often the same.
        right: Sheet,
    }
}

/// A parameter of every type.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Every {
    by: f64,
    side: Px,
    reach: Um,
    area: Um2,
    share: Pct,
    time: Dur,
    room: Bytes,
    whole: i64,
    on: bool,
    how: How,
    names: Option<Vec<String>>,
    mpp: Mpp,
}

impl Default for Every {
    fn default() -> Self {
        Every {
            by: 1.0,
            side: Px(4),
            reach: Um(10.0),
            area: Um2(100.0),
            share: Pct(0.5),
            time: Dur(60.0),
            room: Bytes(1 << 20),
            whole: 3,
            on: false,
            how: How::Plain,
            names: None,
            mpp: Mpp(0.5),
        }
    }
}

/// Mixes one or two numbers with its parameters; the other one of the two operators does the same.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mix<const OTHER: bool, const REVISION: u32>(Every);
impl<const OTHER: bool, const REVISION: u32> JsonSchema for Mix<OTHER, REVISION> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Every::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Every::json_schema(generator)
    }
}
impl<const OTHER: bool, const REVISION: u32> Operator for Mix<OTHER, REVISION> {
    const NAME: &'static str = if OTHER { "toy.blend" } else { "toy.mix" };
    const REVISION: u32 = REVISION;
    type In = Pair;
    type Out = Made;
    fn run(&self, Pair { x, y }: Pair, ctx: &mut Ctx) -> Result<Made, OpError> {
        did(ctx, Self::NAME.to_owned());
        let inputs = format!("{:?} {:?}", x.0, y.map(|y| y.0));
        Ok(Made {
            made: Sheet(mixed(&decides(&self.0, &inputs))),
        })
    }
}

/// Keeps little of a number, so that it often comes out the same.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Coarse {
    into: i64,
}
impl Default for Coarse {
    fn default() -> Self {
        Coarse { into: 2 }
    }
}
impl Operator for Coarse {
    const NAME: &'static str = "toy.coarse";
    const REVISION: u32 = 1;
    type In = One;
    type Out = Made;
    fn run(&self, One { x }: One, ctx: &mut Ctx) -> Result<Made, OpError> {
        did(ctx, Self::NAME.to_owned());
        Ok(Made {
            made: Sheet(x.0 % self.into.unsigned_abs().max(1)),
        })
    }
}

/// Makes two of one.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    at: Mpp,
}
impl Operator for Split {
    const NAME: &'static str = "toy.split";
    const REVISION: u32 = 1;
    type In = One;
    type Out = Halves;
    fn run(&self, One { x }: One, ctx: &mut Ctx) -> Result<Halves, OpError> {
        did(ctx, Self::NAME.to_owned());
        Ok(Halves {
            left: Sheet(mixed(&decides(self, &x.0.to_string()))),
            right: Sheet(x.0 % 3),
        })
    }
}

/// Makes one of all.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gather {
    weight: f64,
}
impl Default for Gather {
    fn default() -> Self {
        Gather { weight: 1.0 }
    }
}
impl Operator for Gather {
    const NAME: &'static str = "toy.gather";
    const REVISION: u32 = 1;
    type In = All;
    type Out = Made;
    fn run(&self, All { all }: All, ctx: &mut Ctx) -> Result<Made, OpError> {
        did(ctx, Self::NAME.to_owned());
        let all: BTreeMap<String, u64> = all.into_iter().map(|(key, one)| (key, one.0)).collect();
        Ok(Made {
            made: Sheet(mixed(&decides(self, &format!("{all:?}")))),
        })
    }
}

/// Makes a file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Print {}
impl Operator for Print {
    const NAME: &'static str = "toy.print";
    const REVISION: u32 = 1;
    type In = One;
    type Out = Sheets;
    fn run(&self, _input: One, ctx: &mut Ctx) -> Result<Sheets, OpError> {
        did(ctx, Self::NAME.to_owned());
        Ok(Sheets { file: Paper })
    }
}

fn entry(env: &ListEnv<'_>, key: &str, path: PathBuf) -> Entry {
    let blob = env.store.digest_of(&path, env.rehash).unwrap();
    let number: u64 = fs::read_to_string(&path).unwrap().parse().unwrap();
    let fields = BTreeMap::from([
        ("content".to_owned(), blob.digest.to_string().into()),
        ("count".to_owned(), (number % 4).into()),
    ]);
    Entry {
        key: key.to_owned(),
        shown: key.to_owned(),
        facts: BTreeMap::from([("mpp".to_owned(), Value::Quantity(mpp(number), Unit::Mpp))]),
        stored: Stored::source(Sheet::KIND, path, blob.size, fields),
    }
}

/// Returns the resolution that a listing finds in a file.
#[expect(clippy::cast_precision_loss, reason = "0, 1 or 2")]
pub fn mpp(number: u64) -> f64 {
    0.25 * (1 + number % 3) as f64
}

/// Lists the files of a folder, by their names without extensions.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    root: RootRef,
    folder: String,
    limit: Option<u32>,
}
impl Listing for Scan {
    const NAME: &'static str = "toy.scan";
    const KIND: &'static str = Sheet::KIND;
    const MANY: bool = true;
    fn list(&self, env: &ListEnv<'_>) -> Result<Inventory<Entry>, Misfit> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(env.below(&self.root, &self.folder, "folder")?)
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect();
        paths.sort();
        paths.truncate(self.limit.map_or(usize::MAX, |limit| limit as usize));
        let key = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        Ok(paths
            .into_iter()
            .map(|path| entry(env, &key(&path), path))
            .collect::<Vec<_>>()
            .into())
    }
}

/// Finds one file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    root: RootRef,
    name: String,
}
impl Listing for Load {
    const NAME: &'static str = "toy.load";
    const KIND: &'static str = Sheet::KIND;
    const MANY: bool = false;
    fn list(&self, env: &ListEnv<'_>) -> Result<Inventory<Entry>, Misfit> {
        let path = env.below(&self.root, &self.name, "name")?;
        Ok(vec![entry(env, "one", path)].into())
    }
}

/// Returns the registry; `revised` has raised the revision of `toy.mix`.
pub fn registry(revised: bool) -> Registry {
    let registry = Registry::new()
        .kind::<Sheet>()
        .with::<Mix<true, 1>>()
        .with::<Coarse>()
        .with::<Split>()
        .with::<Gather>()
        .with::<Print>()
        .with_listing::<Scan>()
        .with_listing::<Load>();
    let registry = if revised {
        registry.with::<Mix<false, 2>>()
    } else {
        registry.with::<Mix<false, 1>>()
    };
    registry.checked().unwrap()
}
