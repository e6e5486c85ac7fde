//! Windows looked at by the GPUs of the machine, each with its own network.

use cerb_engine::{Ctx, OpError};
use cerb_image::{Cell, Rgb8};
use cerb_model::{Gpu, ModelError, Network, Precision, Weights};
use rayon::prelude::*;

use super::deal::{Answers, Batch, Trouble, deal};
use super::tile::Said;
use super::work::{Work, channels, model_error, said};
use crate::reading::gib;

/// Windows that go through a GPU together at most.
const MOST: usize = 32;
/// Share of a GPU's free memory that is counted on, in quarters: what the driver and the engine hold is not told.
const SHARE: (u64, u64) = (3, 4);
/// Copies of a window's picture in memory while it is on its way: one as bytes and one as f32, which is four.
const COPIES: u64 = 5;

/// Looks at the cells and gives what is said of them in their order.
pub(super) fn look(
    weights: Weights,
    precision: Precision,
    work: &Work,
    cells: &[Cell],
    ctx: &mut Ctx,
    take: impl FnMut(Cell, Vec<Said>) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let gpus = preferred(cerb_model::gpus().map_err(model_error)?, ctx.gpus());
    let most = most_by_host(work, gpus.len(), ctx.memory());
    let bytes = window_bytes(work, precision);
    let (mut devices, mut full) = (Vec::new(), None);
    for gpu in gpus {
        let network = match Network::on_gpu(&weights, &gpu, precision) {
            Ok(network) => network,
            // Others may have room for the weights.
            Err(error @ ModelError::NoMemory { .. }) => {
                full = Some(model_error(error));
                ctx.note(format!(
                    "{} has no memory for the weights and is left out",
                    gpu.name()
                ));
                continue;
            }
            Err(error) => return Err(model_error(error)),
        };
        // Asked when the weights are there: the rest is for windows.
        let free = gpu.free_memory();
        let device = Device {
            network,
            name: gpu.name(),
            work,
            memory: free.map(|free| (bytes, free)),
        };
        devices.push((device, batch(free, bytes, most)));
    }
    drop(weights);
    if let (true, Some(error)) = (devices.is_empty(), full) {
        return Err(error);
    }
    look_with(devices, work, cells, ctx, take)
}

/// Looks at the cells with devices that are ready.
fn look_with<D: Answers<Window = Rgb8, Answer = Vec<Said>>>(
    devices: Vec<(D, Batch)>,
    work: &Work,
    cells: &[Cell],
    ctx: &mut Ctx,
    mut take: impl FnMut(Cell, Vec<Said>) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(ctx.threads());
    let pool = pool.build();
    let pool = pool.map_err(|error| OpError::Resources(error.to_string()))?;
    let read = |numbers: &[usize]| {
        let read = || {
            numbers
                .par_iter()
                .map(|&at| work.image(cells[at]))
                .collect()
        };
        pool.install(read)
    };
    deal(ctx, devices, cells.len(), read, |_, at, said| {
        take(cells[at], said)
    })
}

/// Keeps as many GPUs as `@gpu(n)` asks for; all without it.
fn preferred(mut gpus: Vec<Gpu>, asked: Option<usize>) -> Vec<Gpu> {
    gpus.truncate(asked.unwrap_or(usize::MAX));
    gpus
}

/// Returns with how many windows a GPU begins, and the most it is given: what fits by estimate. One, and more while it
/// goes well, where its free memory is not known.
fn batch(free: Option<u64>, bytes: u64, most: usize) -> Batch {
    match free {
        Some(free) => {
            let fit = free / SHARE.1 * SHARE.0 / bytes.max(1);
            let fit = usize::try_from(fit).unwrap_or(usize::MAX).min(most);
            Batch::new(fit, fit)
        }
        None => Batch::new(1, most),
    }
}

fn window_bytes(work: &Work, precision: Precision) -> u64 {
    let header = &work.grid.header;
    cerb_model::window_bytes(header.input, header.output, &work.heads, precision)
}

/// Returns how many windows one GPU may be given by the memory outside it: of each batch, one is looked at, one is
/// being read, and the answers of two wait for their turn.
fn most_by_host(work: &Work, gpus: usize, memory: u64) -> usize {
    let header = &work.grid.header;
    let kept = u64::from(header.output).pow(2);
    let picture = 3 * u64::from(header.input).pow(2);
    let values: u64 = work
        .heads
        .iter()
        .map(|head| head.channels as u64 + 2 * u64::from(channels(head)))
        .sum();
    let window = 2 * COPIES * picture + 2 * 4 * values * kept;
    let all = memory / (window * gpus.max(1) as u64).max(1);
    usize::try_from(all).unwrap_or(usize::MAX).clamp(1, MOST)
}

/// A network on a GPU.
struct Device<'a> {
    network: Network,
    name: String,
    work: &'a Work<'a>,
    /// What a window takes by estimate, and what was free, in bytes.
    memory: Option<(u64, u64)>,
}

impl Device<'_> {
    /// Says what to do where there is no memory for one window.
    fn too_large(&self, error: &ModelError) -> OpError {
        let input = self.work.grid.header.input;
        let known = self.memory.map(|(takes, free)| {
            format!(
                ", which takes about {} of {} that were free",
                gib(takes),
                gib(free)
            )
        });
        OpError::Resources(format!(
            "{} has no memory for a window of {input} px{}: cut smaller windows, `input: 448 px, output: 144 px`, end what else uses the GPU, or run with --device cpu ({error})",
            self.name,
            known.unwrap_or_default(),
        ))
    }
}

impl Answers for Device<'_> {
    type Window = Rgb8;
    type Answer = Vec<Said>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn answer(&self, windows: &[Rgb8]) -> Result<Vec<Vec<Said>>, Trouble> {
        let Some(last) = windows.last() else {
            return Ok(Vec::new());
        };
        // Kernels are chosen anew for each size of a batch, so there are to be few: the last window fills it up.
        let mut padded = Vec::new();
        let together = match windows.len().next_power_of_two() {
            size if size == windows.len() => windows,
            size => {
                padded.extend_from_slice(windows);
                padded.resize(size, last.clone());
                &padded
            }
        };
        let maps = self
            .network
            .infer(together, &self.work.names(), self.work.kept());
        match maps {
            Ok(maps) => Ok(maps.into_iter().take(windows.len()).map(said).collect()),
            Err(error @ ModelError::NoMemory { .. }) => {
                Err(Trouble::NoMemory(self.too_large(&error)))
            }
            Err(error) => Err(Trouble::Failed(model_error(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, quickstart_slide, store};
    use cerb_image::{GridHeader, PatchGrid};
    use cerb_model::{Backbone, CpuNetwork, Head, HeadKind};
    use cerb_slide::{Outside, ReadOptions, Resample, Slide};

    /// A device that has memory for so many windows.
    struct Small<'a>(Device<'a>, usize);

    impl Answers for Small<'_> {
        type Window = Rgb8;
        type Answer = Vec<Said>;

        fn name(&self) -> String {
            self.0.name()
        }

        fn answer(&self, windows: &[Rgb8]) -> Result<Vec<Vec<Said>>, Trouble> {
            if windows.len() > self.1 {
                let error = ModelError::NoMemory {
                    images: windows.len(),
                    said: "full".into(),
                };
                return Err(Trouble::NoMemory(self.0.too_large(&error)));
            }
            self.0.answer(windows)
        }
    }

    fn grid(slide: &Slide, cells: Vec<Cell>) -> PatchGrid {
        let (width, height) = slide.size_at(0.5).unwrap();
        let header = GridHeader {
            mpp: 0.5,
            input: 208,
            output: 144,
            stride: 144,
            width,
            height,
            scale: slide.scale_at(0.5).unwrap(),
        };
        PatchGrid::new(header, cells)
    }

    fn work<'a>(slide: &Slide, grid: &'a PatchGrid) -> Work<'a> {
        let heads = vec![Head::new("Nuclei", HeadKind::Inst, 3)];
        Work {
            slide: slide.clone(),
            grid,
            names: heads.iter().map(Head::name).collect(),
            heads,
            options: ReadOptions {
                resample: Resample::Area,
                outside: Outside::White,
                allow_upsample: true,
            },
            stain: None,
        }
    }

    #[test]
    fn the_answers_are_the_same_whatever_the_batch_and_the_number_of_devices_and_those_of_the_cores()
     {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let cells: Vec<Cell> = (0..5).map(|col| Cell { row: 1, col }).collect();
        let grid = grid(&slide, cells.clone());
        let work = work(&slide, &grid);
        let weights = Weights::formula(Backbone::Resnet18, &work.heads);
        // Burn's CPU stands in for a GPU, multiplying as one does.
        let device = |room| {
            let device = Device {
                network: Network::as_on_gpu(&weights, Precision::F32).unwrap(),
                name: "GPU 0 (stand-in)".into(),
                work: &work,
                memory: None,
            };
            Small(device, room)
        };
        let answers = |devices| {
            let mut ctx = Ctx::detached(&store).with_threads(2);
            let mut all = Vec::new();
            let take = |cell, said| {
                all.push((cell, said));
                Ok(())
            };
            look_with(devices, &work, &cells, &mut ctx, take).unwrap();
            (all, ctx.notes().len())
        };
        let (alone, silent) = answers(vec![(device(9), Batch::new(1, 1))]);
        assert_eq!((alone.len(), silent), (5, 0));
        // Five windows fill a batch of eight with the last.
        assert_eq!(answers(vec![(device(9), Batch::new(8, 8))]).0, alone);
        assert_eq!(
            answers(vec![(device(2), Batch::new(8, 8))]),
            (alone.clone(), 1)
        );
        let two = vec![(device(9), Batch::new(1, 1)), (device(9), Batch::new(2, 2))];
        assert_eq!(answers(two).0, alone);

        let mut ours = Vec::new();
        let take = |cell, said| {
            ours.push((cell, said));
            Ok(())
        };
        let network = CpuNetwork::load(&weights).unwrap();
        super::super::cores::look(network, &work, &cells, &mut Ctx::detached(&store), take)
            .unwrap();
        for ((cell, theirs), (same, ours)) in alone.iter().zip(&ours) {
            assert_eq!(
                (cell, &theirs[0].0, theirs[0].1),
                (same, &ours[0].0, ours[0].1)
            );
            let apart = theirs[0]
                .2
                .iter()
                .zip(&ours[0].2)
                .map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            assert!(apart <= 5e-4, "{apart}");
        }
        assert_ne!(alone[0].1[0].2, alone[4].1[0].2);
    }

    #[test]
    fn a_window_that_no_gpu_has_memory_for_says_what_to_do() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let cells = vec![Cell { row: 1, col: 0 }];
        let grid = grid(&slide, cells.clone());
        let work = work(&slide, &grid);
        let weights = Weights::formula(Backbone::Resnet18, &work.heads);
        let device = Device {
            network: Network::as_on_gpu(&weights, Precision::F32).unwrap(),
            name: "GPU 0 (stand-in)".into(),
            work: &work,
            memory: Some((2 << 30, 1 << 30)),
        };
        let devices = vec![(Small(device, 0), Batch::new(4, 4))];
        let mut ctx = Ctx::detached(&store);
        let refused = look_with(devices, &work, &cells, &mut ctx, |_, _| Ok(())).unwrap_err();
        let refused = refused.to_string();
        for words in [
            "208 px",
            "2.00 GiB of 1.00 GiB",
            "`input: 448 px",
            "--device cpu",
        ] {
            assert!(refused.contains(words), "{refused}");
        }
        assert!(ctx.notes().is_empty());
    }

    #[test]
    fn a_batch_is_what_memory_holds_and_grows_from_one_where_that_is_not_known() {
        let gib = 1u64 << 30;
        assert_eq!(batch(Some(80 * gib), 2 * gib, 32), Batch::new(16, 16));
        assert_eq!(batch(Some(gib), 2 * gib, 32), Batch::new(1, 1));
        assert_eq!(batch(Some(8000 * gib), gib, 32), Batch::new(32, 32));
        assert_eq!(batch(None, gib, 32), Batch::new(1, 32));
    }

    #[test]
    fn the_memory_of_the_run_bounds_the_batch_too() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let grid = grid(&slide, Vec::new());
        let work = work(&slide, &grid);
        assert_eq!(most_by_host(&work, 1, u64::MAX), MOST);
        assert_eq!(most_by_host(&work, 1, 0), 1);
        let window = most_by_host(&work, 1, 64 << 20);
        assert!((2..MOST).contains(&window), "{window}");
        assert_eq!(most_by_host(&work, 2, 128 << 20), window);
    }

    #[test]
    fn on_a_machine_without_a_gpu_the_reason_is_told() {
        if cerb_model::gpus().is_ok() {
            return;
        }
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let grid = grid(&slide, Vec::new());
        let work = work(&slide, &grid);
        let weights = Weights::formula(Backbone::Resnet18, &work.heads);
        let mut ctx = Ctx::detached(&store);
        let refused = look(weights, Precision::F32, &work, &[], &mut ctx, |_, _| Ok(()));
        assert!(refused.unwrap_err().to_string().contains("--device cpu"));
    }
}
