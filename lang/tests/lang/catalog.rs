//! A catalog for tests: operators with ports and facts, listings with made-up slides, and no pixel.

use std::collections::BTreeMap;

use cerb_lang::{
    Catalog, Diagnostics, Facts, Field, Given, Inventory, Listed, Misfit, Origin, Param, Plan,
    PlanOptions, Port, Signature, Sources, Type, Unit, Unreadable, Value,
};

pub struct Toy {
    ops: BTreeMap<String, Signature>,
}

fn kind(name: &str) -> Type {
    match name.strip_suffix('?') {
        Some(name) => Type::Optional(Box::new(kind(name))),
        None => match name.strip_prefix('*') {
            Some(name) => Type::Map(Box::new(kind(name))),
            None if name == "Float" => Type::Float,
            None => Type::Kind(name.to_owned()),
        },
    }
}

fn ports(text: &str) -> Vec<Port> {
    let port = |(name, ty): (&str, &str)| Port {
        name: name.into(),
        ty: kind(ty),
        doc: String::new(),
    };
    text.split_whitespace()
        .filter_map(|p| p.split_once(':'))
        .map(port)
        .collect()
}

fn param(name: &str, ty: Type, default: Option<Value>) -> Param {
    Param {
        name: name.into(),
        ty,
        doc: String::new(),
        default,
        choices: Vec::new(),
    }
}

fn signature(name: &str, inputs: &str, outputs: &str, params: Vec<Param>) -> Signature {
    Signature {
        name: name.into(),
        doc: String::new(),
        example: None,
        inputs: ports(inputs),
        params,
        outputs: ports(outputs),
        record: false,
        plan_time: false,
        revision: 1,
        determinism: "exact".into(),
    }
}

fn listing(name: &str, outputs: &str, params: Vec<Param>) -> Signature {
    Signature {
        plan_time: true,
        ..signature(name, "", outputs, params)
    }
}

const PX: Type = Type::Quantity(Unit::Px);
const MPP: Type = Type::Quantity(Unit::Mpp);

fn px(v: f64) -> Option<Value> {
    Some(Value::Quantity(v, Unit::Px))
}

impl Toy {
    pub fn new() -> Self {
        let optional = |ty: Type| Type::Optional(Box::new(ty));
        let mut method = param("method", Type::Str, Some(Value::Str("otsu".into())));
        method.choices = vec!["otsu".into(), "triangle".into()];
        let ops = [
            listing(
                "slide.scan",
                "slide:*Slide",
                vec![
                    param("root", Type::Root, None),
                    param("pattern", Type::Str, None),
                    param("limit", optional(Type::Int), Some(Value::None)),
                    param("mpp", optional(MPP), Some(Value::None)),
                ],
            ),
            listing(
                "mask.scan",
                "mask:*Mask",
                vec![
                    param("root", Type::Root, None),
                    param("pattern", Type::Str, None),
                ],
            ),
            listing(
                "model.load",
                "model:Model",
                vec![
                    param("root", Type::Root, None),
                    param("path", Type::Str, None),
                ],
            ),
            signature(
                "tissue.mask",
                "slide:Slide",
                "mask:Mask",
                vec![
                    param("at", MPP, Some(Value::Quantity(8.0, Unit::Mpp))),
                    method,
                ],
            ),
            signature("qc.focus", "slide:Slide", "focus:Float", vec![]),
            signature(
                "patch.grid",
                "slide:Slide mask:Mask",
                "grid:PatchGrid",
                vec![
                    param("input", PX, px(448.0)),
                    param("output", PX, px(144.0)),
                    param("at", MPP, None),
                    param(
                        "within",
                        Type::Quantity(Unit::Um),
                        Some(Value::Quantity(0.0, Unit::Um)),
                    ),
                ],
            ),
            signature(
                "cerberus.infer",
                "model:Model slide:Slide grid:PatchGrid",
                "maps:Maps",
                vec![],
            ),
            signature(
                "stain.nuclei",
                "slide:Slide mask:Mask",
                "maps:Maps",
                vec![param("at", MPP, None)],
            ),
            signature(
                "instances.nuclei",
                "maps:Maps",
                "nuclei:Instances",
                vec![
                    param(
                        "min_area",
                        Type::Quantity(Unit::Px2),
                        Some(Value::Quantity(8.0, Unit::Px2)),
                    ),
                    param("tile", PX, px(4096.0)),
                    param("margin", PX, px(64.0)),
                    param("threshold", Type::Float, Some(Value::Float(0.5))),
                ],
            ),
            signature(
                "instances.glands",
                "maps:Maps mask:Mask",
                "glands:Instances",
                vec![],
            ),
            signature(
                "instances.lumina",
                "maps:Maps mask:Mask inside:Instances",
                "lumina:Instances",
                vec![],
            ),
            signature(
                "tissue.classes",
                "maps:Maps mask:Mask",
                "classes:ClassMap",
                vec![],
            ),
            signature(
                "features.slide",
                "nuclei:Instances glands:Instances lumina:Instances",
                "features:Report",
                vec![],
            ),
            signature(
                "export.geojson",
                "nuclei:Instances glands:Instances? lumina:Instances?",
                "file:File",
                vec![],
            ),
            signature("export.parquet", "nuclei:Instances", "file:File", vec![]),
            signature(
                "report.slide",
                "slide:Slide mask:Mask nuclei:Instances",
                "report:Report overlay:File",
                vec![],
            ),
            signature("cohort.table", "tables:*Report", "table:Report", vec![]),
            signature("report.cohort", "table:Report", "report:Report", vec![]),
        ];
        Self {
            ops: ops.into_iter().map(|s| (s.name.clone(), s)).collect(),
        }
    }
}

fn refused(
    code: &'static str,
    title: String,
    labels: Vec<(Origin, String)>,
    help: Option<String>,
) -> Misfit {
    Misfit {
        code,
        title,
        labels,
        help,
    }
}

fn entry(key: &str, path: String, facts: &[(&str, Value)]) -> Listed {
    Listed {
        key: key.into(),
        digest: format!("{:064x}", key.len()),
        path,
        facts: facts
            .iter()
            .map(|(name, v)| ((*name).to_owned(), v.clone()))
            .collect(),
        handle: serde_json::Value::Null,
    }
}

impl Catalog for Toy {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.ops.get(op)
    }

    fn names(&self) -> Vec<String> {
        self.ops.keys().cloned().collect()
    }

    fn fields(&self, kind: &str) -> Vec<Field> {
        let field = |name: &str, ty: Type| Field {
            name: name.to_owned(),
            ty,
            doc: String::new(),
        };
        match kind {
            "Instances" => vec![
                field("count", Type::Int),
                field("area", Type::Quantity(Unit::Um2)),
            ],
            "Mask" => vec![field("tissue_fraction", Type::Float)],
            _ => Vec::new(),
        }
    }

    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit> {
        let mut out = Facts::default();
        let input = |port: &str, fact: &str| Origin::Input {
            port: port.into(),
            fact: fact.into(),
        };
        match op {
            "tissue.mask" if inputs.get("slide", "mpp").is_none() => {
                return Err(refused(
                    "slide::no_mpp",
                    "no resolution is known".into(),
                    vec![(
                        input("slide", "mpp"),
                        "neither in the file nor given here".into(),
                    )],
                    Some("state it, `slide.scan(data, \"*.svs\", mpp: 0.25 mpp)`".into()),
                ));
            }
            "patch.grid" => {
                let own = inputs.number("slide", "mpp").unwrap_or(0.0);
                if args["at"].number().is_some_and(|at| at < own / 2.0) {
                    return Err(refused(
                        "slide::upsampling",
                        "pixels finer than the scanner made were asked for".into(),
                        vec![(
                            Origin::Param("at".into()),
                            format!("the slide has {own} mpp"),
                        )],
                        Some(format!("read it as it is, `at: {own} mpp`")),
                    ));
                }
                out.set(
                    "grid",
                    "mpp",
                    args["at"].clone(),
                    Origin::Param("at".into()),
                );
                if args["input"].number() < args["output"].number() {
                    let title = "a patch is smaller than what is kept of it".to_owned();
                    let labels = vec![
                        (
                            Origin::Param("input".into()),
                            format!("{} are read", args["input"]),
                        ),
                        (
                            Origin::Param("output".into()),
                            format!("{} are kept", args["output"]),
                        ),
                    ];
                    return Err(refused("lang::out_of_range", title, labels, None));
                }
            }
            "cerberus.infer" => {
                let (patches, weights) =
                    (inputs.number("grid", "mpp"), inputs.number("model", "mpp"));
                if let (Some(patches), Some(weights)) = (patches, weights)
                    && (patches - weights).abs() > 1e-6
                {
                    return Err(refused(
                        "lang::mpp_mismatch",
                        "patches and weights disagree on resolution".into(),
                        vec![
                            (
                                input("grid", "mpp"),
                                format!("patches are cut at {patches} mpp"),
                            ),
                            (
                                input("model", "mpp"),
                                format!("these weights were trained at {weights} mpp"),
                            ),
                        ],
                        Some(format!(
                            "cut at the training resolution, `at: {weights} mpp`"
                        )),
                    ));
                }
                out.set(
                    "maps",
                    "mpp",
                    Value::Quantity(patches.unwrap_or(0.5), Unit::Mpp),
                    input("grid", "mpp"),
                );
            }
            _ => {}
        }
        Ok(out)
    }

    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        let mpp = ("mpp", Value::Quantity(0.25, Unit::Mpp));
        let pattern = args.get("pattern").and_then(Value::text).unwrap_or("");
        let Value::Root(root) = &args["root"] else {
            return Err(refused(
                "lang::type_mismatch",
                "no root".into(),
                vec![],
                None,
            ));
        };
        let all: Vec<Listed> = match (op, pattern) {
            (_, "none") => vec![],
            ("model.load", _) => {
                let path = args["path"].text().unwrap_or("").to_owned();
                return Ok(vec![entry(
                    "model",
                    path,
                    &[("mpp", Value::Quantity(0.5, Unit::Mpp))],
                )]
                .into());
            }
            (_, "twice/*") => vec![
                entry("a", format!("{root}/a.svs"), std::slice::from_ref(&mpp)),
                entry("a", format!("{root}/a.tif"), &[mpp]),
            ],
            (_, "mixed/*") => vec![
                entry("a", format!("{root}/a.svs"), std::slice::from_ref(&mpp)),
                entry("b", format!("{root}/b.svs"), &[mpp]),
                entry("c", format!("{root}/c.svs"), &[]),
            ],
            (_, "scales/*") => vec![
                entry("a", format!("{root}/a.svs"), std::slice::from_ref(&mpp)),
                entry(
                    "b",
                    format!("{root}/b.svs"),
                    &[("mpp", Value::Quantity(0.5, Unit::Mpp))],
                ),
            ],
            (_, "one/*") => vec![entry("a", format!("{root}/a.svs"), &[mpp])],
            (_, "fewer/*") => vec![entry("a", format!("{root}/a.png"), &[mpp])],
            _ => ["c", "a", "b"]
                .iter()
                .map(|key| entry(key, format!("{root}/{key}.svs"), std::slice::from_ref(&mpp)))
                .collect(),
        };
        let limit = match args.get("limit") {
            Some(Value::Int(n)) => usize::try_from(*n).unwrap_or(0),
            _ => usize::MAX,
        };
        let mut found = Inventory::from(all.into_iter().take(limit).collect::<Vec<_>>());
        // "damaged/*" has one of three that cannot be read, "ruined/*" nothing else.
        let all = found.entries.len();
        found.entries.sort_by(|one, other| one.key.cmp(&other.key));
        let bad = match pattern {
            "damaged/*" => found.entries.split_off(all - 1),
            "ruined/*" => found.entries.split_off(0),
            _ => Vec::new(),
        };
        if !bad.is_empty() {
            found.warnings.push(refused(
                "slide::unreadable",
                format!("{} of {all} files cannot be read as slides", bad.len()),
                vec![(Origin::Param("pattern".into()), "matched here".into())],
                None,
            ));
        }
        let unreadable = bad.into_iter().map(|entry| Unreadable {
            key: entry.key,
            path: entry.path,
            why: "it is cut off".into(),
        });
        found.unreadable = unreadable.collect();
        Ok(found)
    }
}

pub struct Files(pub BTreeMap<String, String>);

impl Sources for Files {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| "there is no such file".to_owned())
    }
}

pub fn files(all: &[(&str, &str)]) -> Files {
    Files(
        all.iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

pub fn plan_with(
    text: &str,
    params: &[(&str, &str)],
    sources: &Files,
) -> Result<Plan, Diagnostics> {
    tested(text, params, sources, None)
}

/// Plans a test of the text, or the text itself.
pub fn tested(
    text: &str,
    params: &[(&str, &str)],
    sources: &Files,
    test: Option<&str>,
) -> Result<Plan, Diagnostics> {
    plan_file(text, "test.cerb", params, sources, test)
}

/// Plans a file in the form of its name.
pub fn plan_named(
    text: &str,
    name: &str,
    params: &[(&str, &str)],
    sources: &Files,
) -> Result<Plan, Diagnostics> {
    plan_file(text, name, params, sources, None)
}

/// Plans a file in the form of its name, or a test of it.
pub fn plan_file(
    text: &str,
    name: &str,
    params: &[(&str, &str)],
    sources: &Files,
    test: Option<&str>,
) -> Result<Plan, Diagnostics> {
    let params = params
        .iter()
        .map(|(name, value)| {
            let given = Given::new(value, "-p");
            ((*name).to_owned(), given)
        })
        .collect();
    cerb_lang::plan(
        text,
        name,
        &PlanOptions {
            params,
            test: test.map(str::to_owned),
        },
        &Toy::new(),
        sources,
    )
}

pub fn plan(text: &str) -> Result<Plan, Diagnostics> {
    plan_with(text, &[], &files(&[]))
}

pub fn good(text: &str) -> Plan {
    plan(text).unwrap_or_else(|found| panic!("{}", found.render(false, 100)))
}

pub fn codes(text: &str) -> Vec<String> {
    plan(text).err().map_or_else(Vec::new, |found| {
        found.items.iter().map(|d| d.code.clone()).collect()
    })
}
