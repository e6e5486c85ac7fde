//! Training on a few painted images: it learns, goes on from a checkpoint bit by bit, and refuses what it cannot use.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use cerb_data::sampling::{Order, Plan as Drawing, Sampler, Scheme};
use cerb_data::windows::{Border, Cut};
use cerb_data::{Dataset, Sample, augment, synth, targets};
use cerb_kernels::Products;
use cerb_store::Store;
use cerb_train::heads::{Backbone, Head, HeadKind};
use cerb_train::{
    Adam, Course, Learning, Loader, Making, Plan, Recipe, Schedule, TrainError, Trainer,
};

fn heads() -> Vec<Head> {
    vec![
        Head::new("Nuclei", HeadKind::Inst, 3),
        Head::new("Nuclei#TYPE", HeadKind::Type, 7),
        Head::new("Patch-Class", HeadKind::Out, 9),
    ]
}

fn recipe() -> Recipe {
    Recipe {
        backbone: Backbone::Compact,
        heads: heads(),
        products: Products::Winograd,
        plan: Plan::default(),
        adam: Adam::default(),
        rate: 1e-3,
        schedule: Schedule::Cosine { steps: 40 },
        clip: Some(50.0),
        average: Some(0.9),
        seed: 7,
    }
}

/// Two fields with their objects, and four patches with their classes.
fn datasets(store: &Store) -> [Dataset; 2] {
    let fields = (0..2).map(|seed| {
        let tissue = synth::Tissue::field(seed, 64.0, 64.0).unwrap();
        let window = synth::Window {
            x: 0,
            y: 0,
            width: 128,
            height: 128,
        };
        let painted = synth::paint(&tissue, window, 0.5).unwrap();
        let mut sample = Sample::new(format!("field-{seed}"), 0.5, painted.image);
        for channel in ["Nuclei-INST", "Nuclei-TYPE"] {
            sample = sample.with(channel, painted.labels[channel].clone());
        }
        Ok(sample)
    });
    let patches = (0..4).map(|class| {
        let painted = synth::patch(class, class as u8 + 1, 144, 0.5).unwrap();
        Ok(Sample::new(format!("patch-{class}"), 0.5, painted.image).of_class(class as i32 + 1))
    });
    [
        Dataset::collect(store, Default::default(), fields).unwrap(),
        Dataset::collect(store, Default::default(), patches).unwrap(),
    ]
}

fn making() -> Making {
    Making {
        side: 64,
        class_side: 144,
        cut: Cut {
            window: 128,
            step: 64,
            border: Border::Inside,
        },
        codes: Making::published_codes(&heads()),
        weights: targets::Weights::BetweenObjects,
        change: Some(augment::Options::default()),
        seed: 7,
    }
}

fn loader(store: &Store) -> Loader {
    Loader::new(datasets(store).to_vec(), making()).unwrap()
}

fn drawing(loader: &Loader) -> Drawing {
    let lengths = loader.lengths();
    Drawing {
        objects: vec![lengths[0]],
        patches: Some(lengths[1]),
        batch: 2,
        patch_batch: 2,
        scheme: Scheme::default(),
        order: Order::Shuffled,
    }
}

fn sampler(loader: &Loader) -> Sampler {
    Sampler::new(drawing(loader), 7).unwrap()
}

/// Makes steps; returns the totals of the losses.
fn train(trainer: &mut Trainer, sampler: &mut Sampler, loader: &Loader, steps: u64) -> Vec<f64> {
    let step = |_| {
        let picks = sampler.draw();
        let batch = loader.batch(trainer.steps(), &picks).unwrap();
        trainer.step(&[batch]).unwrap().losses.total()
    };
    (0..steps).map(step).collect()
}

fn course(steps: u64) -> Course {
    Course {
        recipe: recipe(),
        making: making(),
        scheme: Scheme::default(),
        batch: 2,
        patch_batch: 2,
        accumulate: 1,
        steps,
        row: 3,
    }
}

fn learning(store: &Store, checkpoint: Option<&[u8]>) -> Learning {
    let [fields, patches] = datasets(store);
    match checkpoint {
        None => Learning::new(vec![fields], Some(patches), course(14)),
        Some(bytes) => Learning::resume(vec![fields], Some(patches), course(14), bytes),
    }
    .unwrap()
}

#[test]
fn interrupted_at_ten_steps_it_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut whole = learning(&store, None);
    while !whole.done() {
        whole.step().unwrap();
    }
    // Ten of the fourteen steps, drawn.
    let mut random = cerb_image::random::Random::of(&[10]);
    let mut stops: Vec<u64> = (0..10).map(|_| random.below(14) as u64).collect();
    stops.sort_unstable();
    let mut going = learning(&store, None);
    for stop in stops {
        while going.steps() < stop {
            going.step().unwrap();
        }
        going = learning(&store, Some(&going.checkpoint().unwrap()));
    }
    while !going.done() {
        going.step().unwrap();
    }
    assert_eq!(going.history().rows.len(), 5);
    assert_eq!(going.history(), whole.history());
    assert!(going.checkpoint().unwrap() == whole.checkpoint().unwrap());
    assert_eq!((whole.images(), whole.history().rows[4].images), (28, 28));
}

#[test]
fn a_checkpoint_of_other_terms_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let kept = learning(&store, None).checkpoint().unwrap();
    let [fields, patches] = datasets(&store);
    let mut other = course(14);
    other.batch = 3;
    let refused = Learning::resume(vec![fields.clone()], Some(patches.clone()), other, &kept);
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("other arguments"), "{said}");
    // More steps of the same course are no other course.
    Learning::resume(
        vec![fields.clone()],
        Some(patches.clone()),
        course(20),
        &kept,
    )
    .unwrap();
    let swapped = Learning::new(vec![patches], Some(fields), course(14));
    let said = swapped.err().unwrap().to_string();
    assert!(said.contains("one class each"), "{said}");
}

#[test]
fn a_loss_that_is_no_number_names_step_and_images_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut learning = learning(&store, None);
    let name = "output_head.Nuclei.INST.x.1.conv.bias";
    let nan = [f32::NAN, 0.0, 0.0];
    learning.trainer().import(name, &nan).unwrap();
    let stopped = loop {
        if let Err(why) = learning.step() {
            break why.to_string();
        }
        assert!(!learning.done());
    };
    assert!(
        stopped.contains("of the images `field-")
            && stopped.ends_with("the loss of `Nuclei-INST` is NaN"),
        "{stopped}"
    );
}

#[test]
fn threads_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let loader = loader(&store);
            let mut trainer = Trainer::new(recipe()).unwrap();
            train(&mut trainer, &mut sampler(&loader), &loader, 3);
            trainer.checkpoint("").unwrap()
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn it_learns() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let loader = loader(&store);
    let mut recipe = recipe();
    recipe.heads.pop();
    let mut trainer = Trainer::new(recipe).unwrap();
    // The same batch again and again.
    let mut drawn = sampler(&loader);
    let picks = loop {
        let picks = drawn.draw();
        if picks.iter().all(|pick| pick.dataset == 0) {
            break picks;
        }
    };
    let batch = loader.batch(0, &picks).unwrap();
    let losses: Vec<f64> = (0..25)
        .map(|_| {
            trainer
                .step(std::slice::from_ref(&batch))
                .unwrap()
                .losses
                .total()
        })
        .collect();
    assert!(losses[24] < 0.6 * losses[0], "{losses:?}");
}

#[test]
fn another_network_s_checkpoint_and_a_cut_one_are_refused() {
    let trainer = Trainer::new(recipe()).unwrap();
    let kept = trainer.checkpoint("").unwrap();
    let mut other = recipe();
    other.heads.pop();
    let refused = Trainer::resume(other, &kept).err().unwrap().to_string();
    assert!(refused.contains("Patch-Class (9 classes)"), "{refused}");
    let mut other = recipe();
    other.rate = 2e-3;
    let refused = Trainer::resume(other, &kept).err().unwrap().to_string();
    assert!(refused.contains("other arguments"), "{refused}");
    for end in [0, 7, 100, kept.len() / 2, kept.len() - 1] {
        let refused = Trainer::resume(recipe(), &kept[..end]).err().unwrap();
        assert!(matches!(refused, TrainError::Checkpoint(_)), "{refused}");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_and_names_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let loader = loader(&store);
    let mut trainer = Trainer::new(recipe()).unwrap();
    let name = "output_head.Nuclei.INST.x.1.conv.bias";
    trainer.import(name, &[f32::NAN, 0.0, 0.0]).unwrap();
    let mut sampler = sampler(&loader);
    let stopped = (0..20).find_map(|_| {
        let batch = loader.batch(trainer.steps(), &sampler.draw()).unwrap();
        trainer.step(&[batch]).err()
    });
    let Some(TrainError::NotFinite { head, value }) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!((head.as_str(), value.as_str()), ("Nuclei-INST", "NaN"));
}

#[test]
fn a_plan_that_names_no_head_or_too_few_weights_is_refused() {
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe();
        change(&mut recipe);
        Trainer::new(recipe).err().unwrap().to_string()
    };
    let said = refused(&|recipe| recipe.plan.frozen.push("Nuclei".into()));
    assert!(
        said.contains("only Nuclei-INST, Nuclei-TYPE, Patch-Class"),
        "{said}"
    );
    let said = refused(&|recipe| {
        recipe
            .plan
            .class_weights
            .insert("Nuclei-TYPE".into(), vec![0.0, 1.0]);
    });
    assert!(
        said.contains("has 7 classes, and weights are given for 2"),
        "{said}"
    );
    let said = refused(&|recipe| recipe.heads[1].channels = 17);
    assert!(said.contains("at most 16"), "{said}");
}

#[test]
fn mirrored_windows_lie_within_and_a_sample_without_labels_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let image = |at: u32| cerb_image::Rgb8::filled(100, 80, [at as u8; 3]);
    let labels = cerb_image::Grid::filled(100, 80, 1);
    let sample = Sample::new("one", 0.5, image(9)).with("Nuclei-INST", labels);
    let dataset = Dataset::collect(&store, Default::default(), [Ok(sample)]).unwrap();
    let making = Making {
        side: 32,
        class_side: 144,
        cut: Cut {
            window: 64,
            step: 32,
            border: Border::Mirror,
        },
        codes: Making::published_codes(&heads()[..1]),
        weights: targets::Weights::Even,
        change: None,
        seed: 7,
    };
    let loader = Loader::new(vec![dataset], making.clone()).unwrap();
    for sample in 0..loader.lengths()[0] {
        let pick = cerb_data::sampling::Pick { dataset: 0, sample };
        let batch = loader.batch(0, &[pick]).unwrap();
        assert!(batch.images.iter().all(|&v| v == 9), "window {sample}");
    }
    let bare = Sample::new("bare", 0.5, image(3));
    let dataset = Dataset::collect(&store, Default::default(), [Ok(bare)]).unwrap();
    let refused = Loader::new(vec![dataset], making)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(refused, "sample `bare` has no annotation");
}
