//! Goldens: bytes by default, a digest by name, a kind's own way when it has one.

use std::path::Path;

use cerb_engine::{Golden as How, OpError, Outcome, Tolerance, Verdict};
use cerb_lang::{
    Claim, Expect, FormulaId, Golden, Held, Span, Unit, Value, petgraph::graph::NodeIndex,
};
use cerb_store::{Artifact, Store, Stored};

use crate::toy::{Bench, From, Number, Toy, registry};

/// Compares numbers as numbers.
struct Near;

impl How for Near {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        let kept: f64 = std::fs::read_to_string(golden)?
            .parse()
            .map_err(|_| OpError::Input("no number".to_owned()))?;
        let bound = match within {
            None => 0.0,
            Some(Tolerance::Share(share)) => share * kept,
            Some(Tolerance::Amount(amount)) => amount,
        };
        let made = Number::open(made, store)?.0;
        Ok(((made - kept).abs() > bound).then(|| format!("{made} is not {kept}")))
    }
}

fn expect(toy: &mut Toy, of: Held, path: &str, within: Option<FormulaId>) {
    toy.plan.expects.push(Expect {
        claim: Claim::Golden(Golden {
            of,
            root: "refs".to_owned(),
            path: path.to_owned(),
            within,
        }),
        text: path.to_owned(),
        otherwise: None,
        span: Span::new(cerb_lang::FileId(0), 0, 1),
    });
}

fn artifact(toy: &Toy, node: NodeIndex) -> Held {
    Held::Artifact {
        node,
        port: "y".to_owned(),
        over: toy.plan.graph[node].over,
    }
}

/// A bench whose root `refs` is a folder of its own.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let refs = bench.dir.path().join("refs");
    std::fs::create_dir(&refs).unwrap();
    bench.settings.roots.insert("refs".to_owned(), refs);
    bench
}

fn keep(bench: &Bench, path: &str, text: &str) {
    std::fs::write(bench.settings.roots["refs"].join(path), text).unwrap();
}

/// Items plus one, each of them a golden, and nothing published.
fn each(bench: &Bench, path: &str) -> Toy {
    let mut toy = bench.toy();
    let items = toy.cohort("s", &[("a", 1.0), ("b", 2.0)]);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(items))]);
    let held = artifact(&toy, add);
    expect(&mut toy, held, path, None);
    toy
}

fn verdict(outcome: &Outcome) -> &Verdict {
    &outcome.verdicts[0].1
}

#[test]
fn each_item_is_held_against_its_file_and_the_run_knows_it() {
    let bench = bench();
    let toy = each(&bench, "{key}.txt");
    keep(&bench, "a.txt", "2");
    let lost = bench.run(&toy);
    let Verdict::Lost(why) = verdict(&lost) else {
        panic!()
    };
    assert_eq!(why, "`b`: there is no `b.txt` in `refs`");
    assert_eq!(lost.exit_code(), 3);
    keep(&bench, "b.txt", "4");
    let outcome = bench.run(&toy);
    assert!(
        matches!(verdict(&outcome), Verdict::Fails(why) if why.starts_with("`b`: it is other bytes"))
    );
    assert_eq!(outcome.goldens.len(), 2);
    assert_eq!(outcome.goldens[0].verdict, Verdict::Holds);
    assert_eq!(
        outcome.goldens[0].digest,
        Some(cerb_store::Digest::of(b"2"))
    );
    keep(&bench, "b.txt", "3");
    assert_eq!(bench.run(&toy).exit_code(), 0);
}

#[test]
fn what_is_kept_holds_from_then_on() {
    let bench = bench();
    for path in ["{key}.txt", "{key}.digest"] {
        let toy = each(&bench, path);
        for compared in bench.run(&toy).goldens {
            bench.engine().keep(&compared, &compared.file).unwrap();
        }
        assert_eq!(bench.run(&toy).exit_code(), 0, "{path}");
    }
    // Files of one's own, and not the store's.
    let file = bench.settings.roots["refs"].join("a.txt");
    std::fs::write(file, "mine").unwrap();
    assert_eq!(bench.run(&each(&bench, "{key}.txt")).exit_code(), 3);
    assert!(bench.preview(&each(&bench, "{key}.txt")).nothing_to_do());
}

#[test]
fn a_kind_is_compared_in_its_own_way() {
    let mut bench = bench();
    bench.registry = registry().golden("Number", &Near);
    keep(&bench, "y.txt", "100");
    let claim = |bench: &Bench, within: Option<Value>| {
        let mut toy = bench.toy();
        let x = toy.single("x", 100.0);
        let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
        let within = within.map(|value| toy.value(value));
        let held = artifact(&toy, add);
        expect(&mut toy, held, "y.txt", within);
        verdict(&bench.run(&toy)).clone()
    };
    assert_eq!(
        claim(&bench, None),
        Verdict::Fails("101 is not 100".to_owned())
    );
    assert_eq!(
        claim(&bench, Some(Value::Quantity(0.01, Unit::Pct))),
        Verdict::Holds
    );
    assert_eq!(claim(&bench, Some(Value::Float(1.0))), Verdict::Holds);
    assert!(matches!(
        claim(&bench, Some(Value::Float(0.5))),
        Verdict::Fails(_)
    ));
    // Bytes have no bound.
    bench.registry = registry();
    assert!(
        matches!(claim(&bench, Some(Value::Float(0.5))), Verdict::Lost(why) if why.contains("leave `within` out"))
    );
}

#[test]
fn temporary_bytes_stay_until_they_were_compared() {
    let bench = bench();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(add))]);
    toy.attrs(add).temp = true;
    toy.output("y", floor);
    bench.run(&toy);
    let held = artifact(&toy, add);
    expect(&mut toy, held, "y.txt", None);
    keep(&bench, "y.txt", "2");
    // Its bytes are gone, and the claim needs them.
    assert_eq!(bench.run(&toy).exit_code(), 0);
}

#[test]
fn values_without_a_way_to_keep_them_cannot_be_judged() {
    let bench = bench();
    let mut toy = bench.toy();
    let three = toy.value(Value::Int(3));
    let columns = vec![("n".to_owned(), three)];
    let held = Held::Values {
        columns,
        over: None,
    };
    expect(&mut toy, held, "n.csv", None);
    assert!(matches!(verdict(&bench.run(&toy)), Verdict::Lost(_)));
}
