//! Nuclei found by the stain alone, compared with those that another published model found
//! on a part of a real slide: not truth, but errors of offset and scale show at once.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

/// Distance at which two centroids are the same nucleus, in µm: about a nuclear radius.
const NEAR: f64 = 6.0;

#[test]
fn most_nuclei_of_a_real_slide_are_found_where_they_are() {
    let data = std::env::var_os("CERB_DATA").map(std::path::PathBuf::from);
    let data = data.unwrap_or_else(|| common::root().join("../shared/data"));
    let slide = data.join("slide/tcga_v5_a7re_left.svs");
    if !slide.is_file() {
        return common::skip(
            "most_nuclei_of_a_real_slide_are_found_where_they_are",
            "no TCGA slide (CERB_DATA)",
            "CERB_REQUIRE_DATA",
        );
    }
    let chain = common::chain(&slide);
    let header = chain.nuclei.header();
    let mpp = header.slide.mpp;
    let ours: Vec<[f64; 2]> = chain
        .nuclei
        .iter()
        .unwrap()
        .map(|n| header.to_level0(n.unwrap().centroid))
        .collect();
    let text = std::fs::read_to_string(data.join("slide/tcga_v5_a7re_left_nuclei.csv")).unwrap();
    let theirs: Vec<[f64; 2]> = text
        .lines()
        .skip(1)
        .map(|line| {
            let mut values = line.split(',').map(|value| value.parse().unwrap());
            [values.next().unwrap(), values.next().unwrap()]
        })
        .collect();
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (i, a) in ours.iter().enumerate() {
        for (j, b) in theirs.iter().enumerate() {
            let distance = (a[0] - b[0]).hypot(a[1] - b[1]) * mpp;
            if distance <= NEAR {
                pairs.push((distance, i, j));
            }
        }
    }
    // One to one, nearest first.
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut used, mut found) = (vec![false; ours.len()], vec![false; theirs.len()]);
    let mut distances = Vec::new();
    for (distance, i, j) in pairs {
        if !used[i] && !found[j] {
            (used[i], found[j]) = (true, true);
            distances.push(distance);
        }
    }
    let share = distances.len() as f64 / theirs.len() as f64;
    let median = distances[distances.len() / 2];
    println!(
        "{} found; {:.1} % of {} have one within {NEAR} µm; {:.1} % of ours are among them; median offset {median:.2} µm",
        ours.len(),
        100.0 * share,
        theirs.len(),
        100.0 * distances.len() as f64 / ours.len() as f64
    );
    assert!(share > 0.75, "{share}");
    assert!(median < 1.0, "{median}");
    assert!(ours.len() < 2 * theirs.len(), "{}", ours.len());
}
