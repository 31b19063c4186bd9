//! The figures of the documents agree: those of `README.md` are the published ones, from one run.

use std::collections::BTreeSet;
use std::path::Path;

use pabal_benches::documents::{COSTS, RESULTS, block, cost_table, rows};

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The numbers of a text as they are written, `1,000` and `0.35` among them.
fn figures(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !(char.is_ascii_digit() || ".,".contains(char)));
    let words = words.map(|word| word.trim_matches(['.', ',']));
    words.filter(|word| !word.is_empty()).collect()
}

/// What is wrong with a table of costs: rows that the results do not have.
fn unpublished(costs: &str, results: &str) -> Vec<String> {
    let published = rows(results);
    let unknown = rows(costs).into_iter().filter(|row| !published.contains(row));
    unknown.map(|row| row.join(" | ")).collect()
}

#[test]
fn the_costs_of_the_readme_are_rows_of_the_published_results() {
    let (readme, benches) = (document("README.md"), document("benches/README.md"));
    let costs = block(&readme, COSTS).expect("README.md has a block of costs");
    let results = block(&benches, RESULTS).expect("benches/README.md has a block of results");
    assert_eq!(unpublished(costs, results), Vec::<String>::new());
    let table = cost_table(results).expect("the results hold costs");
    assert_eq!(costs.trim(), table.trim(), "run `measure documents` to rewrite README.md");
}

#[test]
fn a_figure_that_the_results_do_not_have_is_found() {
    let head = "| cell | what | Pabal | compared with |\n|---|---|---|---|\n";
    let results =
        format!("{head}| fanout | W1 | 10.2 µs | 8.61 |\n| idle | socket | 4.57 KiB | – |\n");
    let costs =
        format!("{head}| fanout | W1 | 10.2 µs | 10.8 |\n| idle | socket | 4.57 KiB | – |\n");
    assert_eq!(unpublished(&costs, &results), ["fanout | W1 | 10.2 µs | 10.8"]);
    // The figure of another cell is no figure of this one.
    let costs = format!("{head}| idle | socket | 10.2 µs | 8.61 |\n");
    assert_eq!(unpublished(&costs, &results).len(), 1);
}

#[test]
fn the_systems_of_the_readme_have_the_figures_of_the_peers_document() {
    let (readme, peers) = (document("README.md"), document("benches/lab/peers/README.md"));
    let (_, results) = peers.split_once("\n## Results\n").expect("results");
    let published: BTreeSet<_> = rows(results).concat().into_iter().flat_map(figures).collect();
    let (_, table) = readme.split_once("| Pabal | nchan |").expect("a table of systems");
    let table = table.split("\n\n").next().expect("its rows");
    let (mut checked, mut unknown) = (0, Vec::new());
    for row in table.lines().skip(2) {
        // The first cell says what was measured, the others are figures.
        let (_, cells) = row.trim_start_matches('|').split_once('|').expect("cells");
        for figure in figures(cells) {
            checked += 1;
            if !published.contains(figure) {
                unknown.push(figure);
            }
        }
    }
    assert!(checked >= 15, "{checked} figures in the table of systems");
    assert_eq!(unknown, Vec::<&str>::new(), "not in benches/lab/peers/README.md");
}

#[test]
fn other_documents_have_the_published_figures_of_a_cell() {
    const CELLS: [&str; 3] = ["`measure fanout`", "`measure long-poll`", "`measure idle`"];
    let (scale, benches) = (document("docs/scale.md"), document("benches/README.md"));
    let results = block(&benches, RESULTS).expect("benches/README.md has a block of results");
    let published: BTreeSet<_> = rows(results).concat().into_iter().flat_map(figures).collect();
    for cell in CELLS {
        let row = scale.lines().find(|line| line.contains(cell)).expect("a row of the cell");
        let measured: Vec<_> = figures(row).into_iter().filter(|it| it.contains('.')).collect();
        assert!(!measured.is_empty(), "{row}");
        for figure in measured {
            assert!(published.contains(figure), "{figure} is not published: {row}");
        }
    }
}
