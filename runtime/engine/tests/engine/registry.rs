//! What the registry reads off an operator, and what it refuses.

use std::collections::BTreeMap;

use cerb_engine::{
    Ctx, Determinism, Entry, ListEnv, Listing, OpError, Operator, Registry, RootRef, ports,
};
use cerb_lang::{Catalog, Facts, Inventory, Misfit, Origin, Type, Unit, Value};
use cerb_store::{Digest, Store, Stored};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::toy::{Add, Number, X, Y, registry};

/// A whole number of pixels, as a unit newtype is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Pixels(u32);
impl JsonSchema for Pixels {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pixels".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 8192, "x-cerb-type": "Px" })
    }
}

/// What lies outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Outside {
    /// White.
    #[default]
    White,
    /// Black.
    Black,
}

/// Cuts patches.
///
/// A second paragraph.
///
/// ```cerb
/// let y = toy.cut(x, side: 448 px)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Cut {
    /// Side of a patch.
    side: Pixels,
    /// What lies outside.
    outside: Outside,
    /// Names, perhaps.
    only: Option<Vec<String>>,
    /// At most so many.
    limit: Option<u32>,
    /// Where it may be left out.
    overlap: Option<Pixels>,
}
impl Default for Cut {
    fn default() -> Self {
        Cut {
            side: Pixels(448),
            outside: Outside::White,
            only: None,
            limit: None,
            overlap: None,
        }
    }
}
impl Operator for Cut {
    const NAME: &'static str = "toy.cut";
    const REVISION: u32 = 3;
    const DETERMINISM: Determinism = Determinism::Device;
    type In = X;
    type Out = Y;
    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let mut facts = inputs.clone();
        facts.set(
            "y",
            "side",
            Value::Quantity(f64::from(self.side.0), Unit::Px),
            Origin::Param("side".to_owned()),
        );
        Ok(facts)
    }
    fn run(&self, X { x }: X, _: &mut Ctx) -> Result<Y, OpError> {
        Ok(Y { y: x })
    }
}

ports! {
    /// Keyed where it must not be.
    struct Wrong {
        /// Many.
        many: cerb_engine::Keyed<Number>,
    }
}

/// Needs an argument, and makes many.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Keyer {}
impl Operator for Keyer {
    const NAME: &'static str = "toy.keyer";
    const REVISION: u32 = 1;
    type In = X;
    type Out = Wrong;
    fn run(&self, _: X, _: &mut Ctx) -> Result<Wrong, OpError> {
        Ok(Wrong {
            many: BTreeMap::new(),
        })
    }
}

/// Lists files of a root.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Scan {
    /// Where to look.
    root: RootRef,
    /// How many at most.
    limit: Option<u32>,
}
impl Listing for Scan {
    const NAME: &'static str = "toy.scan";
    const KIND: &'static str = "Number";
    const MANY: bool = true;
    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let root = env.root(&self.root)?;
        env.below(&self.root, "a/b", "root")?;
        Ok(["b", "a"]
            .into_iter()
            .map(|key| Entry {
                key: key.to_owned(),
                stored: Stored::source(
                    "Number",
                    root.join(key),
                    1,
                    BTreeMap::from([("content".to_owned(), Digest::of(b"").to_string().into())]),
                ),
                facts: BTreeMap::new(),
                shown: format!("data/{key}"),
            })
            .collect::<Vec<_>>()
            .into())
    }
}

fn with_view<T>(body: impl FnOnce(&dyn Catalog) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let roots = BTreeMap::from([("data".to_owned(), dir.path().join("data"))]);
    let registry = registry()
        .with::<Cut>()
        .with_listing::<Scan>()
        .checked()
        .unwrap();
    let env = ListEnv {
        roots: &roots,
        store: &store,
        rehash: false,
    };
    body(&registry.catalog(&env))
}

fn check(args: &[(&str, Value)]) -> Result<Facts, Misfit> {
    let args = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    with_view(|view| view.check("toy.cut", &args, &Facts::default()))
}

#[test]
fn a_signature_is_read_off_the_struct() {
    with_view(|view| {
        let cut = view.signature("toy.cut").unwrap();
        assert_eq!(cut.doc, "Cuts patches.\n\nA second paragraph.");
        assert_eq!(
            cut.example.as_deref(),
            Some("let y = toy.cut(x, side: 448 px)")
        );
        assert_eq!(
            (cut.revision, cut.determinism.as_str(), cut.plan_time),
            (3, "device", false)
        );
        let param = |name: &str| cut.params.iter().find(|param| param.name == name).unwrap();
        assert_eq!(
            (param("side").ty.clone(), param("side").default.clone()),
            (
                Type::Quantity(Unit::Px),
                Some(Value::Quantity(448.0, Unit::Px))
            )
        );
        assert_eq!(param("side").doc, "Side of a patch.");
        assert_eq!(
            (
                param("outside").ty.clone(),
                param("outside").choices.clone()
            ),
            (Type::Str, vec!["white".to_owned(), "black".to_owned()])
        );
        assert_eq!(
            param("outside").default,
            Some(Value::Str("white".to_owned()))
        );
        assert_eq!(param("limit").ty, Type::Optional(Box::new(Type::Int)));
        assert_eq!(
            param("only").ty,
            Type::Optional(Box::new(Type::List(Box::new(Type::Str))))
        );
        assert_eq!(
            param("overlap").ty,
            Type::Optional(Box::new(Type::Quantity(Unit::Px)))
        );
        assert_eq!(cut.inputs[0].doc, "The number.");
        assert_eq!(cut.inputs[0].ty, Type::Kind("Number".to_owned()));
        let sum = view.signature("toy.sum").unwrap();
        assert_eq!(
            sum.inputs[0].ty,
            Type::Map(Box::new(Type::Kind("Number".to_owned())))
        );
        let plus = view.signature("toy.plus").unwrap();
        assert_eq!(
            plus.inputs[1].ty,
            Type::Optional(Box::new(Type::Kind("Number".to_owned())))
        );
    });
}

#[test]
fn facts_come_from_the_operator() {
    let facts = check(&[("side", Value::Quantity(144.0, Unit::Px))]).unwrap();
    assert_eq!(facts.number("y", "side"), Some(144.0));
}

#[test]
fn a_refused_value_names_its_parameter() {
    let at = |args: &[(&str, Value)]| {
        let misfit = check(args).unwrap_err();
        (
            misfit.labels.first().map(|(origin, _)| origin.clone()),
            misfit
                .labels
                .first()
                .map(|(_, text)| text.clone())
                .unwrap_or_default(),
            misfit.help,
        )
    };
    let side = Some(Origin::Param("side".to_owned()));
    let (origin, text, _) = at(&[
        ("outside", Value::Str("white".to_owned())),
        ("side", Value::Quantity(9000.0, Unit::Px)),
    ]);
    assert_eq!(
        (origin, text.as_str()),
        (side.clone(), "9000 px is not at most 8192 px")
    );
    let (origin, text, _) = at(&[("side", Value::Quantity(1.5, Unit::Px))]);
    assert_eq!((origin, text.as_str()), (side, "1.5 is not a whole number"));
    let (origin, _, help) = at(&[
        ("outside", Value::Str("grey".to_owned())),
        ("side", Value::Quantity(4.0, Unit::Px)),
    ]);
    assert_eq!(origin, Some(Origin::Param("outside".to_owned())));
    assert_eq!(help.as_deref(), Some("it is one of `white` or `black`"));
    let (origin, ..) = at(&[("sied", Value::Int(1))]);
    assert_eq!(origin, Some(Origin::Param("sied".to_owned())));
}

#[test]
fn a_missing_argument_is_told() {
    with_view(|view| {
        let misfit = view.list("toy.scan", &BTreeMap::new()).unwrap_err();
        assert_eq!(
            misfit.title,
            "`toy.scan` lacks a parameter: missing field `root`"
        );
    });
}

#[test]
fn a_listing_gives_sorted_entries_with_handles() {
    with_view(|view| {
        let args = BTreeMap::from([
            ("root".to_owned(), Value::Root("data".to_owned())),
            ("limit".to_owned(), Value::None),
        ]);
        let listed = view.list("toy.scan", &args).unwrap().entries;
        assert_eq!(
            listed
                .iter()
                .map(|one| one.key.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        let stored: Stored = serde_json::from_value(listed[0].handle.clone()).unwrap();
        assert_eq!(stored.digest.to_string(), listed[0].digest);
        assert_eq!(
            view.signature("toy.scan").unwrap().gives(),
            "Map<Key, Number>"
        );
        let args = BTreeMap::from([("root".to_owned(), Value::Root("nowhere".to_owned()))]);
        assert!(
            view.list("toy.scan", &args)
                .unwrap_err()
                .help
                .unwrap()
                .contains("--root nowhere=DIR")
        );
    });
}

#[test]
fn two_operators_of_one_name_are_refused() {
    let errors = registry().with::<Add>().checked().err().unwrap();
    assert_eq!(
        errors[0].to_string(),
        "operator `toy.add` cannot be registered: another operator has this name"
    );
    assert!(
        registry()
            .and(Registry::new().with::<Add>())
            .checked()
            .is_err()
    );
}

#[test]
fn an_output_cannot_be_keyed() {
    let errors = Registry::new().with::<Keyer>().checked().err().unwrap();
    assert!(
        errors[0].reason.contains("output port `many` is keyed"),
        "{errors:?}"
    );
}

#[test]
fn random_streams_depend_on_seed_and_name_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Ctx::detached(&Store::open(dir.path()).unwrap());
    let draw = |seed, name| {
        let mut stream = ctx.rng(seed, name);
        (0..4).map(|_| stream.next_u64()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
    let mut stream = ctx.rng(7, "x");
    assert!((0..1000).all(|_| (0.0..1.0).contains(&stream.next_f64()) && stream.below(10) < 10));
}
